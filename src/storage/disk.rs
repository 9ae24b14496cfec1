//! Real files and the real clock.
//!
//! Every descriptor is close-on-exec. A call that a signal interrupted is repeated where that changes nothing (open, read,
//! list, sync, lock); **one that makes, moves or removes a name is not**: the first attempt may have happened, and its repeat
//! would report somebody else's doing. The caller gets `Interrupted` and looks, as after any other error.

use std::ffi::OsString;
use std::io;
use std::path::Path;
use std::time::Duration;

use super::queue::LocalQueue;
use super::{
    Access, Attributes, DataFile, FileId, Incarnation, Instant, Kind, Liveness, LocalGuard, Owner, Process, Storage,
};
use super::{kind, liveness};

mod attributes;
mod clock;
mod data;
mod listing;
mod names;
mod native_locks;
mod open;
mod rights;

pub(crate) use clock::{now, random};

/// This host's files and clock. Holds nothing: any number of them are alike.
#[derive(Clone, Copy, Debug, Default)]
pub struct Disk {
    _private: (),
}

impl Disk {
    pub fn new() -> Disk {
        liveness::watch_forks();
        Disk { _private: () }
    }
}

impl Storage for Disk {
    fn now(&self) -> Instant {
        Instant(crate::switches::clock(clock::now().0))
    }

    fn sleep(&self, span: Duration) {
        std::thread::sleep(span);
    }

    fn date(&self) -> String {
        clock::date()
    }

    fn random(&self) -> u64 {
        clock::random()
    }

    fn make_dir(&self, dir: &Path, owner: Owner) -> io::Result<()> {
        names::make_dir(dir, owner)
    }

    fn remove_dir(&self, dir: &Path) -> io::Result<()> {
        std::fs::remove_dir(dir)
    }

    fn create_new(&self, path: &Path, contents: &[u8], owner: Owner) -> io::Result<()> {
        names::create_new(path, contents, owner)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        std::fs::rename(from, to)
    }

    fn link(&self, file: &Path, name: &Path) -> io::Result<()> {
        std::fs::hard_link(file, name)
    }

    fn unlink(&self, path: &Path) -> io::Result<()> {
        std::fs::remove_file(path)
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<OsString>> {
        Ok(listing::entries(dir)?.into_iter().map(|entry| entry.name).collect())
    }

    fn read_small(&self, path: &Path, limit: usize) -> io::Result<Vec<u8>> {
        names::read_small(path, limit)
    }

    fn append_line(&self, path: &Path, line: &str, owner: Owner) -> io::Result<()> {
        names::append_line(path, line, owner)
    }

    fn attributes(&self, path: &Path) -> io::Result<Attributes> {
        attributes::of_path(path)
    }

    fn incarnation(&self, path: &Path) -> io::Result<Incarnation> {
        attributes::incarnation(path)
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        names::sync_dir(dir)
    }

    fn open(&self, path: &Path, access: Access) -> io::Result<Box<dyn DataFile>> {
        Ok(Box::new(data::DiskFile::new(open::regular(path, access)?, path)))
    }

    fn read_uncached(&self, path: &Path, limit: usize) -> io::Result<Vec<u8>> {
        data::read_uncached(path, limit)
    }

    fn open_listed(&self, path: &Path, access: Access, scratch: &Path) -> io::Result<Box<dyn DataFile>> {
        Ok(Box::new(data::DiskFile::new(open::listed(path, access, scratch)?, path)))
    }

    fn spelled_otherwise(&self, path: &Path) -> io::Result<Option<OsString>> {
        open::spelled_otherwise(path)
    }

    fn create_data(&self, path: &Path, owner: Owner) -> io::Result<Box<dyn DataFile>> {
        Ok(Box::new(data::DiskFile::new(names::create_data(path, owner)?, path)))
    }

    fn copy_attributes(&self, from: &Path, to: &Path) -> io::Result<()> {
        attributes::copy(from, to)
    }

    fn kind(&self, path: &Path) -> Kind {
        kind::classify(path)
    }

    fn native_locks(&self, path: &Path) -> io::Result<bool> {
        native_locks::exclude_each_other(path)
    }

    fn process(&self) -> Process {
        liveness::this_process()
    }

    fn liveness(&self, process: &Process) -> Liveness {
        liveness::judge(process)
    }

    fn known_for(&self, what: &str, state: &str) -> Duration {
        liveness::known_for(what, state)
    }

    fn local_guard(&self, path: &Path) -> LocalGuard {
        liveness::local_guard(path).map_or_else(LocalGuard::default, LocalGuard::holding)
    }

    fn local_queue(&self, path: &Path) -> Option<LocalQueue> {
        liveness::local_queue(path).map(LocalQueue::on)
    }
}

/// Which file this is.
fn id_of(found: &std::fs::Metadata) -> FileId {
    use std::os::unix::fs::MetadataExt;
    FileId { device: found.dev(), inode: found.ino() }
}

/// An error of this kind with the path in its text.
fn refuse(kind: io::ErrorKind, path: &Path, what: &str) -> io::Error {
    io::Error::new(kind, format!("{}: {what}", path.display()))
}

#[cfg(test)]
mod tests;
