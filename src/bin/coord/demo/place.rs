//! Where the demo's database lies: a new one, and nothing left of it afterwards.

use crate::{inspect, out};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

const NAME: &str = "demo.sqlite";

pub struct Place {
    pub database: PathBuf,
    dir: PathBuf,
    dir_is_ours: bool,
}

impl Place {
    /// Makes the directory if need be; refuses one in which there is already anything by the database's name.
    pub fn new(dir: Option<&Path>) -> Result<Place, String> {
        let place = match dir {
            Some(dir) => Place::given(dir)?,
            None => Place::temporary()?,
        };
        if let Some(name) = place.names()?.into_iter().next() {
            return Err(format!(
                "{} already has a {}; the demo overwrites nothing: remove it or choose another --dir",
                out::harmless(&place.dir.display().to_string()),
                out::harmless(&name.to_string_lossy())
            ));
        }
        Ok(place)
    }

    fn given(dir: &Path) -> Result<Place, String> {
        let cannot = |what: &str, error: io::Error| {
            format!("cannot {what} the directory {}: {error}", out::harmless(&dir.display().to_string()))
        };
        let dir_is_ours = !dir.exists();
        fs::create_dir_all(dir).map_err(|error| cannot("make", error))?;
        let dir = dir.canonicalize().map_err(|error| cannot("find", error))?;
        Ok(Place { database: dir.join(NAME), dir, dir_is_ours })
    }

    fn temporary() -> Result<Place, String> {
        let parent = std::env::temp_dir();
        let random = getrandom::u64().map_err(|error| format!("no random number for a new name: {error}"))?;
        let dir = parent.join(format!("coord-demo-{random:016x}"));
        fs::create_dir(&dir).map_err(|error| format!("cannot make a directory in {}: {error}", parent.display()))?;
        let mut place = Place::given(&dir)?;
        place.dir_is_ours = true;
        Ok(place)
    }

    pub fn journal(&self) -> PathBuf {
        inspect::beside(&self.database, "-journal")
    }

    /// Everything here whose name begins with the database's.
    fn names(&self) -> Result<Vec<std::ffi::OsString>, String> {
        let names = fs::read_dir(&self.dir).and_then(|entries| {
            let names = entries.map(|entry| entry.map(|entry| entry.file_name()));
            names.collect::<io::Result<Vec<_>>>()
        });
        let names = names.map_err(|error| format!("cannot read {}: {error}", self.dir.display()))?;
        Ok(names.into_iter().filter(|name| name.as_encoded_bytes().starts_with(NAME.as_bytes())).collect())
    }

    /// Removes what the demo made, and the directory if that was new too and is empty now.
    pub fn remove(&self) -> Result<(), String> {
        for name in self.names()? {
            let path = self.dir.join(name);
            let is_dir = path.symlink_metadata().is_ok_and(|metadata| metadata.is_dir());
            let removed = if is_dir { fs::remove_dir_all(&path) } else { fs::remove_file(&path) };
            removed.map_err(|error| format!("cannot remove {}: {error}", path.display()))?;
        }
        if self.dir_is_ours {
            fs::remove_dir(&self.dir).map_err(|error| format!("cannot remove {}: {error}", self.dir.display()))?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_new_directory_goes_and_what_others_put_there_stays() {
        let parent = tempfile::tempdir().unwrap();
        let dir = parent.path().join("new");
        let place = Place::new(Some(&dir)).unwrap();
        fs::write(&place.database, "").unwrap();
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
}
