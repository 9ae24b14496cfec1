//! Listings that others act around, or in the middle of: many a client asks for a directory in several requests.

use std::ffi::OsString;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use super::Act;
use crate::storage::Storage;
use crate::storage::disk::Disk;

/// What happens at a client's next listings.
#[derive(Default)]
pub struct Listings {
    /// Right before and after it lists the lock directory, with its own name in it.
    pub around: Mutex<Option<(Act, Act)>>,
    /// Between the two requests of the registry's: names with this word in them are in the second one's answer.
    pub in_parts: Mutex<Option<(&'static str, Act)>>,
    /// The same of the lock directory's, with its own name in it.
    pub lock_in_parts: Mutex<Option<(&'static str, Act)>>,
    /// This client goes by an old journal until it lists the directory: what has this path, or, where nothing has, one that is gone from
    /// the server.
    pub old_journal: Mutex<Option<PathBuf>>,
    /// Before a journal is looked for by a listing.
    pub before_look: Mutex<Option<Act>>,
}

impl Listings {
    /// What opening this file by its name gives.
    pub fn goes_by(&self, path: PathBuf) -> io::Result<PathBuf> {
        match self.old_journal.lock().unwrap().clone().filter(|_| is_journal(&path)) {
            Some(old) if old.exists() => Ok(old),
            Some(_) => Err(io::ErrorKind::StaleNetworkFileHandle.into()),
            None => Ok(path),
        }
    }

    /// This file is about to be opened by what a listing says.
    pub fn looks_for(&self, path: &Path) {
        *self.old_journal.lock().unwrap() = None;
        let act = if is_journal(path) { self.before_look.lock().unwrap().take() } else { None };
        if let Some(act) = act {
            act();
        }
    }

    pub fn list(&self, server: &Disk, dir: &Path) -> io::Result<Vec<OsString>> {
        let extends = |word: &str| dir.extension().is_some_and(|extension| extension == word);
        if extends("lock")
            && server.list(dir).is_ok_and(|names| !names.is_empty())
            && let Some((before, after)) = self.around.lock().unwrap().take()
        {
            before();
            let listed = server.list(dir);
            after();
            return listed;
        }
        let parts = if extends("readers") { self.in_parts.lock().unwrap().take() } else { None };
        let entered = || {
            let mut names = server.list(dir).into_iter().flatten();
            extends("lock") && names.any(|name| name.to_string_lossy().starts_with("write."))
        };
        let parts = if entered() { self.lock_in_parts.lock().unwrap().take() } else { parts };
        if let Some((word, act)) = parts {
            let late = |name: &OsString| name.to_string_lossy().contains(word);
            let mut names = server.list(dir)?;
            names.retain(|name| !late(name));
            act();
            names.extend(server.list(dir)?.into_iter().filter(late));
            return Ok(names);
        }
        server.list(dir)
    }
}

fn is_journal(path: &Path) -> bool {
    path.to_string_lossy().ends_with("-journal")
}
