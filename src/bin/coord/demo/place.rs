//! Where the demo's database lies: a new one, and nothing left of it afterwards.

use crate::{inspect, out};
use coord::protocol::names::{Kind, Name};
use std::ffi::{OsStr, OsString};
use std::fs;
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};

const NAME: &str = "demo.sqlite";

pub struct Place {
    pub database: PathBuf,
    dir: PathBuf,
    /// Directories that were made, the outermost first.
    made: Vec<PathBuf>,
}

impl Place {
    /// Makes the directory if need be; refuses one in which there is already anything by the database's name. From then on the
    /// database is there, empty, so that nobody else's can come in between.
    pub fn new(dir: Option<&Path>) -> Result<Place, String> {
        let place = match dir {
            Some(dir) => Place::given(dir)?,
            None => Place::temporary()?,
        };
        let claimed = place.nothing_there().and_then(|()| place.claim());
        claimed.inspect_err(|_| drop(place.remove_dirs()))?;
        Ok(place)
    }

    fn given(dir: &Path) -> Result<Place, String> {
        let cannot = |what: &str, error: io::Error| {
            format!("cannot {what} the directory {}: {error}", out::harmless(&dir.display().to_string()))
        };
        let whole = std::path::absolute(dir).map_err(|error| cannot("find", error))?;
        let mut place = Place { database: PathBuf::new(), dir: PathBuf::new(), made: Vec::new() };
        let made = place.make_dirs(&whole).and_then(|()| whole.canonicalize());
        place.dir = made.map_err(|error| {
            let _ = place.remove_dirs();
            cannot("make", error)
        })?;
        place.database = place.dir.join(NAME);
        Ok(place)
    }

    fn make_dirs(&mut self, whole: &Path) -> io::Result<()> {
        let mut ancestors: Vec<_> = whole.ancestors().collect();
        ancestors.reverse();
        for dir in ancestors {
            if dir.is_dir() {
                continue;
            }
            match fs::create_dir(dir) {
                Ok(()) => self.made.push(dir.canonicalize()?),
                // Somebody else's, made at this moment.
                Err(_) if dir.is_dir() => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    fn temporary() -> Result<Place, String> {
        let random = getrandom::u64().map_err(|error| format!("no random number for a new name: {error}"))?;
        Place::given(&std::env::temp_dir().join(format!("coord-demo-{random:016x}")))
    }

    fn nothing_there(&self) -> Result<(), String> {
        let names = self.names()?;
        match names.iter().find(|name| name.as_encoded_bytes().starts_with(NAME.as_bytes())) {
            Some(name) => Err(self.taken(&name.to_string_lossy())),
            None => Ok(()),
        }
    }

    fn taken(&self, name: &str) -> String {
        format!(
            "{} already has a {}; the demo overwrites nothing: remove it or choose another --dir",
            out::harmless(&self.dir.display().to_string()),
            out::harmless(name)
        )
    }

    /// Makes the database, empty. What has come there since it was looked is somebody else's.
    fn claim(&self) -> Result<(), String> {
        match fs::File::create_new(&self.database) {
            Ok(_) => Ok(()),
            Err(error) if error.kind() == ErrorKind::AlreadyExists => Err(self.taken(NAME)),
            Err(error) => Err(format!("cannot make {}: {error}", out::harmless(&self.database.display().to_string()))),
        }
    }

    pub fn journal(&self) -> PathBuf {
        inspect::beside(&self.database, "-journal")
    }

    fn names(&self) -> Result<Vec<OsString>, String> {
        let names = fs::read_dir(&self.dir).and_then(|entries| {
            let names = entries.map(|entry| entry.map(|entry| entry.file_name()));
            names.collect::<io::Result<Vec<_>>>()
        });
        names.map_err(|error| format!("cannot read {}: {error}", self.dir.display()))
    }

    /// Removes what the demo made, and the directories that were new too and are empty now. The database has been claimed.
    pub fn remove(&self) -> Result<(), String> {
        for name in self.names()?.into_iter().filter(|name| is_made_by_the_demo(name)) {
            let path = self.dir.join(name);
            let is_dir = path.symlink_metadata().is_ok_and(|metadata| metadata.is_dir());
            let removed = if is_dir { remove_flat(&path) } else { fs::remove_file(&path) };
            removed.map_err(|error| format!("cannot remove {}: {error}", path.display()))?;
        }
        self.remove_dirs()
    }

    fn remove_dirs(&self) -> Result<(), String> {
        for dir in self.made.iter().rev() {
            match fs::remove_dir(dir) {
                Ok(()) => {}
                // Somebody has put something there.
                Err(error) if error.kind() == ErrorKind::DirectoryNotEmpty => break,
                Err(error) => return Err(format!("cannot remove {}: {error}", dir.display())),
            }
        }
        Ok(())
    }
}

/// The database, what SQLite and coord have beside it, and what a process that was killed leaves of a look at their directory.
fn is_made_by_the_demo(name: &OsStr) -> bool {
    let Some(name) = name.to_str() else { return false };
    let beside = |rest: &str| matches!(rest, "" | "-journal" | ".lock" | ".readers");
    let scratch = || name.strip_prefix('.').and_then(|name| name.strip_prefix(NAME)?.strip_prefix('.'));
    name.strip_prefix(NAME).is_some_and(beside)
        || scratch()
            .is_some_and(|rest| Name::parse(OsStr::new(rest)).is_some_and(|name| matches!(name.kind, Kind::New)))
}

/// A directory in which there are only files.
fn remove_flat(dir: &Path) -> io::Result<()> {
    for entry in fs::read_dir(dir)? {
        fs::remove_file(entry?.path())?;
    }
    fs::remove_dir(dir)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_new_directory_goes_and_what_others_put_there_stays() {
        let parent = tempfile::tempdir().unwrap();
        let dir = parent.path().join("new");
        let place = Place::new(Some(&dir)).unwrap();
        fs::create_dir(inspect::registry(&place.database)).unwrap();
        place.remove().unwrap();
        assert!(!dir.exists());

        fs::write(parent.path().join("mine.txt"), "").unwrap();
        let place = Place::new(Some(parent.path())).unwrap();
        fs::write(place.journal(), "").unwrap();
        place.remove().unwrap();
        assert!(parent.path().join("mine.txt").exists() && !place.journal().exists());
    }

    #[test]
    fn an_existing_database_or_anything_of_one_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("demo.sqlite-journal"), "precious").unwrap();
        let error = Place::new(Some(dir.path())).err().unwrap();
        assert!(error.contains("demo.sqlite-journal") && error.contains("--dir"), "{error}");
        assert!(dir.path().join("demo.sqlite-journal").exists());
    }

    #[test]
    fn what_only_begins_like_the_database_stays() {
        let dir = tempfile::tempdir().unwrap();
        let place = Place::new(Some(dir.path())).unwrap();
        let made = ["-journal", ".lock", ".readers"].map(|suffix| inspect::beside(&place.database, suffix));
        fs::write(&made[0], "").unwrap();
        for dir in &made[1..] {
            fs::create_dir(dir).unwrap();
            fs::write(dir.join("beat.h-7-00000000000000aa.3.1000"), "").unwrap();
        }
        fs::write(dir.path().join(".demo.sqlite.new.h-7-00000000000000aa.9"), "").unwrap();
        let others = [".demo.sqlite.new.mine", "demo.sqlite-wal.bak", "demo.sqlite.mine", "demo.sqlite3"];
        others.iter().for_each(|name| fs::write(dir.path().join(name), "precious").unwrap());
        place.remove().unwrap();
        let mut left = place.names().unwrap();
        left.sort();
        assert_eq!(left, others);
    }

    #[test]
    fn a_database_that_came_in_between_is_nobodys_to_touch() {
        let parent = tempfile::tempdir().unwrap();
        let place = Place::given(&parent.path().join("nest")).unwrap();
        place.nothing_there().unwrap();
        fs::write(&place.database, "precious").unwrap();
        let error = place.claim().unwrap_err();
        assert!(error.contains("demo.sqlite") && error.contains("overwrites nothing"), "{error}");
        assert_eq!(fs::read(&place.database).unwrap(), b"precious");
    }

    #[test]
    fn the_database_is_claimed_at_once() {
        let dir = tempfile::tempdir().unwrap();
        let place = Place::new(Some(dir.path())).unwrap();
        assert!(place.database.exists());
        assert!(Place::new(Some(dir.path())).is_err(), "a second demo would use the same database");
        place.remove().unwrap();
        assert!(!place.database.exists());
    }

    #[test]
    fn all_directories_that_were_made_go_if_they_are_empty() {
        let parent = tempfile::tempdir().unwrap();
        let (nest, a) = (parent.path().join("nest"), parent.path().join("nest/a"));
        Place::new(Some(&a.join("b"))).unwrap().remove().unwrap();
        assert!(!nest.exists());
        let place = Place::new(Some(&a.join("b"))).unwrap();
        fs::write(nest.join("mine.txt"), "").unwrap();
        place.remove().unwrap();
        assert!(!a.exists() && nest.join("mine.txt").exists());
        // Of those that were there already none goes, whatever ends the demo.
        fs::write(nest.join("demo.sqlite"), "precious").unwrap();
        assert!(Place::new(Some(&nest)).is_err());
        Place::new(Some(&nest.join("c"))).unwrap().remove().unwrap();
        assert!(nest.exists());
    }
}
