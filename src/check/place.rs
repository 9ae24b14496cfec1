//! Where a check works: one directory of its own in the directory that is checked. Every name that it makes carries its key,
//! 64 random bits, and no other name is ever touched.
//!
//! ```text
//!     coord-check.<node>/            (coord-check-peer.<node>/ if it looks for another host)
//!         owner.<key>                    the process, as JSON
//!         beat.<key>.<n>                 renamed to the next n about twice a second
//!         w.<word>.<key>/                one for each step
//!             <word>.<key>.<n>
//! ```

use std::ffi::OsStr;
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use super::bench::{Halt, Trouble, failed};
use super::leftovers;
use crate::protocol::NodeId;
use crate::storage::{Owner, Storage};

pub(super) const SOLO: &str = "coord-check.";
pub(super) const PEER: &str = "coord-check-peer.";

/// How often, and how far apart, a directory is tried to be emptied: a client keeps the name of an open file for a while.
const TRIES: u32 = 20;
const PAUSE: Duration = Duration::from_millis(50);

pub(super) struct Place<'a> {
    storage: &'a dyn Storage,
    /// The directory that is checked.
    pub root: PathBuf,
    /// Our own in it.
    pub dir: PathBuf,
    pub node: NodeId,
    pub owner: Owner,
    beat: AtomicU64,
    count: AtomicU64,
    notes: Vec<String>,
    cleared: bool,
}

impl<'a> Place<'a> {
    /// Clears up after earlier checks and makes the directory.
    pub fn make(storage: &'a dyn Storage, root: &Path, prefix: &str) -> Result<Place<'a>, Trouble> {
        let shown = root.display();
        let cannot = |what: &str| Trouble::Cannot(format!("cannot check {shown}: {what}"));
        let given = std::path::absolute(root).map_err(|error| cannot(&error.to_string()))?;
        let root = given.canonicalize().map_err(|error| cannot(&error.to_string()))?;
        let found = storage.attributes(&root).map_err(|error| cannot(&error.to_string()))?;
        if !found.is_dir {
            let parent = root.parent().unwrap_or(Path::new("/")).display();
            return Err(cannot(&format!("it is not a directory; give the one that the database is in ({parent})")));
        }
        let notes = leftovers::sweep(storage, &root);
        let process = storage.process();
        let node = NodeId::new(&process.hostname, &process.boot_id, process.pid, storage.random());
        // As coord would make them for a database of the directory's owner; we must always get at them ourselves.
        let owner = Owner { mode: found.mode & 0o666 | 0o600, uid: found.uid, gid: found.gid };
        let dir = root.join(format!("{prefix}{node}"));
        storage.make_dir(&dir, owner).map_err(|error| {
            let why = match error.kind() {
                ErrorKind::PermissionDenied | ErrorKind::ReadOnlyFilesystem => {
                    "; coord makes names beside a database, so every program that uses one, a reader too, must be able to write \
                     in its directory"
                }
                ErrorKind::StorageFull | ErrorKind::QuotaExceeded => "; free some space and run it again",
                _ => "",
            };
            cannot(&format!("nothing can be made in it: {error}{why}"))
        })?;
        let mut place = Place {
            storage,
            root,
            dir,
            node,
            owner,
            beat: AtomicU64::new(0),
            count: AtomicU64::new(0),
            notes,
            cleared: false,
        };
        let text = serde_json::to_vec(&process).unwrap_or_default();
        let written = storage.create_new(&place.dir.join(owner_name(place.node.key)), &text, owner);
        let beating = written.and_then(|()| storage.create_new(&place.beat_path(0), b"", owner));
        match beating {
            Ok(()) => Ok(place),
            Err(error) => Err(cannot(&format!("a file in it cannot be written: {error}")).leaving(place.clear())),
        }
    }

    pub fn notes(&self) -> Vec<String> {
        self.notes.clone()
    }

    fn beat_path(&self, n: u64) -> PathBuf {
        self.dir.join(format!("beat.{:016x}.{n}", self.node.key))
    }

    /// Shows that this check goes on. A failure shows in what comes next.
    pub fn beat(&self) {
        let n = self.beat.load(Ordering::Relaxed);
        if self.storage.rename(&self.beat_path(n), &self.beat_path(n + 1)).is_ok() {
            self.beat.store(n + 1, Ordering::Relaxed);
        }
    }

    /// A name never used before.
    pub fn name(&self, word: &str) -> String {
        name(self.node.key, word, self.count.fetch_add(1, Ordering::Relaxed))
    }

    /// A new directory for a step.
    pub fn work(&self, word: &str) -> Result<PathBuf, Halt> {
        let dir = work_dir(&self.dir, self.node.key, word);
        self.storage.make_dir(&dir, self.owner).map_err(failed("make a directory"))?;
        Ok(dir)
    }

    /// Removes all that was made. Says what could not be removed.
    pub fn clear(&mut self) -> Option<String> {
        self.cleared = true;
        match remove(self.storage, &self.dir, self.node.key) {
            Ok(()) => None,
            Err(why) => Some(format!("{} could not be removed: {why}", self.dir.display())),
        }
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        if !self.cleared {
            self.clear();
        }
    }
}

pub(super) fn name(key: u64, word: &str, n: u64) -> String {
    format!("{word}.{key:016x}.{n}")
}

pub(super) fn work_dir(dir: &Path, key: u64, word: &str) -> PathBuf {
    dir.join(format!("w.{word}.{key:016x}"))
}

pub(super) fn owner_name(key: u64) -> String {
    format!("owner.{key:016x}")
}

/// Removes a check's directory and what it has made in it, and nothing else.
pub(super) fn remove(storage: &dyn Storage, dir: &Path, key: u64) -> Result<(), String> {
    let mut last = String::new();
    for attempt in 0..TRIES {
        if attempt > 0 {
            storage.sleep(PAUSE);
        }
        match remove_once(storage, dir, &format!("{key:016x}")) {
            Ok(true) => return Ok(()),
            Ok(false) => return Err("there is something in it that is not of a check".to_string()),
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
            Err(error) => last = error.to_string(),
        }
    }
    Err(last)
}

/// `false`: a stranger's file stays, and the directory with it.
fn remove_once(storage: &dyn Storage, dir: &Path, key: &str) -> io::Result<bool> {
    let mut strangers = false;
    // What identifies it goes last, so that what is left of a removal that broke off is still recognised.
    let owner = format!("owner.{key}");
    let mut names = storage.list(dir)?;
    names.sort_by_key(|name| *name == *owner);
    for name in names {
        let path = dir.join(&name);
        if !is_of(&name, key) {
            strangers = true;
            continue;
        }
        if name == *owner && strangers {
            continue;
        }
        match storage.unlink(&path) {
            Ok(()) => {}
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            Err(error) => match storage.attributes(&path) {
                Err(gone) if gone.kind() == ErrorKind::NotFound => {}
                Ok(found) if found.is_dir => strangers |= !remove_once(storage, &path, key)?,
                _ => return Err(error),
            },
        }
    }
    if strangers {
        return Ok(false);
    }
    storage.remove_dir(dir)?;
    Ok(true)
}

/// Whether a name carries the key, or is what a client makes of such a file that is still open.
fn is_of(name: &OsStr, key: &str) -> bool {
    let bytes = name.as_encoded_bytes();
    bytes.windows(key.len()).any(|part| part.eq_ignore_ascii_case(key.as_bytes()))
        || bytes.starts_with(b".nfs")
        || bytes.starts_with(b".fuse_hidden")
        || bytes.starts_with(b".smb")
}
