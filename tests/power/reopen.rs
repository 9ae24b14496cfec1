//! What a program finds that opens the disk after the cut, in the same way as before.

use crate::common::SOON;
use crate::disk::Image;
use crate::record::{self, NAME, Recorded, Way};
use std::collections::HashMap;
use std::collections::hash_map::DefaultHasher;
use std::hash::{Hash, Hasher};
use std::path::Path;
use std::time::{Duration, Instant};

/// What was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Found {
    /// Whole, with these contents.
    Contents(String),
    /// Not to be read, or not whole.
    Broken(String),
    /// Nobody gets in.
    Held(String),
}

/// What that comes to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    Right,
    /// An earlier state, whole: a reported commit is missing.
    Lost,
    /// None of the states.
    Torn,
    Held,
}

pub fn judge(found: &Found, recorded: &Recorded, due: std::ops::RangeInclusive<usize>) -> Verdict {
    match found {
        Found::Held(_) => Verdict::Held,
        Found::Broken(_) => Verdict::Torn,
        Found::Contents(contents) if recorded.contents[due.clone()].contains(contents) => Verdict::Right,
        Found::Contents(contents) if recorded.contents[..*due.start()].contains(contents) => Verdict::Lost,
        Found::Contents(_) => Verdict::Torn,
    }
}

/// Opens each disk once.
pub struct Reopener {
    way: Way,
    folder: tempfile::TempDir,
    known: HashMap<u64, Found>,
}

impl Reopener {
    pub fn new(way: Way) -> Reopener {
        // In memory if there is such a place: the disk that is tested is the model, not this one.
        let fast = Path::new("/dev/shm");
        let folder = if fast.is_dir() { tempfile::tempdir_in(fast) } else { tempfile::tempdir() };
        Reopener { way, folder: folder.expect("a folder"), known: HashMap::new() }
    }

    /// How many different disks there were.
    pub fn disks(&self) -> usize {
        self.known.len()
    }

    pub fn found(&mut self, image: &Image) -> Found {
        let mut hasher = DefaultHasher::new();
        image.hash(&mut hasher);
        let key = hasher.finish();
        if let Some(found) = self.known.get(&key) {
            return found.clone();
        }
        let folder = self.folder.path().join("disk");
        put_down(image, &folder);
        let found = open(self.way, &folder, !image.names.is_empty());
        std::fs::remove_dir_all(&folder).expect("a folder of ours");
        self.known.insert(key, found.clone());
        found
    }
}

/// The image as files.
pub fn put_down(image: &Image, folder: &Path) {
    std::fs::create_dir(folder).expect("a new folder");
    for (name, content) in &image.files {
        std::fs::write(folder.join(name), content).expect("a file");
    }
    for (name, content) in &image.names {
        let path = folder.join(name);
        let directory = if name.ends_with('/') { &path } else { path.parent().expect("in a directory") };
        std::fs::create_dir_all(directory).expect("a directory");
        if !name.ends_with('/') {
            std::fs::write(&path, content).expect("a file");
        }
    }
}

/// As a program that waits, until it gets in.
pub fn open_patiently(way: Way, folder: &Path) -> Found {
    let end = Instant::now() + SOON;
    loop {
        match open(way, folder, true) {
            Found::Held(_) if Instant::now() < end => std::thread::sleep(Duration::from_millis(50)),
            found => return found,
        }
    }
}

/// `locks`: there are names of the dead, which must not keep anybody from writing.
pub fn open(way: Way, folder: &Path, locks: bool) -> Found {
    let look = || {
        let db = way.opener().open(&folder.join(NAME))?;
        db.execute_batch("PRAGMA synchronous=OFF")?;
        let check: String = db.query_row("PRAGMA integrity_check", [], |row| row.get(0))?;
        if check != "ok" {
            return Ok(Found::Broken(check));
        }
        let contents = record::contents(&db)?;
        if locks {
            db.execute_batch("BEGIN IMMEDIATE; COMMIT")?;
        }
        Ok(Found::Contents(contents))
    };
    match look() {
        Ok(found) => found,
        Err::<_, rusqlite::Error>(error) => match error.sqlite_error_code() {
            Some(rusqlite::ErrorCode::DatabaseBusy) => Found::Held(error.to_string()),
            _ => Found::Broken(error.to_string()),
        },
    }
}
