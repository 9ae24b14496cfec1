//! Listings that others act around, or in the middle of: many a client asks for a directory in several requests.

use std::ffi::OsString;
use std::io;
use std::path::Path;
use std::sync::Mutex;

use super::Act;
use crate::storage::Storage;
use crate::storage::disk::Disk;

/// What happens at a client's next listings.
#[derive(Default)]
pub struct Listings {
    /// Right before and after it lists the lock directory, with its own name in it.
    pub around: Mutex<Option<(Act, Act)>>,
    /// Between the two requests of the registry's: names that begin with this word are in the second one's answer.
    pub in_parts: Mutex<Option<(&'static str, Act)>>,
}

impl Listings {
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
        if extends("readers")
            && let Some((word, act)) = self.in_parts.lock().unwrap().take()
        {
            let late = |name: &OsString| name.to_string_lossy().starts_with(word);
            let mut names = server.list(dir)?;
            names.retain(|name| !late(name));
            act();
            names.extend(server.list(dir)?.into_iter().filter(late));
            return Ok(names);
        }
        server.list(dir)
    }
}
