//! What the protocol asks of a filesystem and a clock, and nothing more.
//!
//! Everything above this floor reaches files, directories and time through [`Storage`] and [`DataFile`] alone, so the same
//! code runs on a disk ([`disk`]), in a simulator and under injected faults. Each call says what it promises; a call that
//! returns an error promises nothing, not even that it did not happen.

use std::ffi::OsString;
use std::io;
use std::path::Path;
use std::time::Duration;

pub mod disk;
mod guard;
pub mod kind;
pub mod liveness;
pub mod queue;
#[cfg(test)]
#[path = "../../tests/common/skip.rs"]
mod skip;

pub use guard::{Incarnation, LocalGuard};
pub use kind::Kind;
pub use liveness::{Liveness, Process};

/// A moment on a clock that counts time spent asleep (`CLOCK_BOOTTIME`), in nanoseconds from an arbitrary origin. Never
/// compared between hosts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct Instant(pub u64);

impl Instant {
    /// Time from `earlier` to `self`; zero if the order is the other way round.
    pub fn since(self, earlier: Instant) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(earlier.0))
    }

    /// The moment `span` after this one.
    pub fn after(self, span: Duration) -> Instant {
        Instant(self.0.saturating_add(u64::try_from(span.as_nanos()).unwrap_or(u64::MAX)))
    }
}

/// Whether a [`Storage::link`] was refused for good: by a filesystem without hard links, or, as AFS and some that are made of several
/// do, with none from one directory into another.
pub fn has_no_links(error: &io::Error) -> bool {
    use io::ErrorKind::{CrossesDevices, PermissionDenied, TooManyLinks, Unsupported};
    matches!(error.kind(), Unsupported | PermissionDenied | CrossesDevices | TooManyLinks)
}

/// Which file an open handle or a name stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct FileId {
    pub device: u64,
    pub inode: u64,
}

/// What a file or directory looks like to `stat`.
#[derive(Clone, Copy, Debug)]
pub struct Attributes {
    pub id: FileId,
    pub is_dir: bool,
    pub is_symlink: bool,
    pub size: u64,
    pub links: u64,
    /// Permission bits only (`0o7777`).
    pub mode: u32,
    pub uid: u32,
    pub gid: u32,
}

/// Whose rights a new name gets: those of the database it belongs to, whatever the umask.
#[derive(Clone, Copy, Debug)]
pub struct Owner {
    pub mode: u32,
    pub uid: u32,
    pub gid: u32,
}

/// How a data file is opened. None of these creates it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    Read,
    ReadWrite,
}

/// A filesystem and a clock. Paths are absolute. All calls may block for as long as the filesystem does.
pub trait Storage: Send + Sync {
    // --- clock ---
    /// Now, by a clock that counts sleep. No I/O; cheap (no system call on Linux).
    fn now(&self) -> Instant;
    /// Lets `span` pass.
    fn sleep(&self, span: Duration);
    /// The date for people, RFC 3339 in UTC; never used for a decision.
    fn date(&self) -> String;
    /// 64 unpredictable bits.
    fn random(&self) -> u64;

    // --- names ---
    /// Makes one directory, atomically: exactly one of several callers succeeds, the others get `AlreadyExists`.
    fn make_dir(&self, dir: &Path, owner: Owner) -> io::Result<()>;
    /// Removes an empty directory (`DirectoryNotEmpty` otherwise).
    fn remove_dir(&self, dir: &Path) -> io::Result<()>;
    /// Makes a new file with these contents and closes it. Exclusive: `AlreadyExists` if the name is taken.
    fn create_new(&self, path: &Path, contents: &[u8], owner: Owner) -> io::Result<()>;
    /// Renames, replacing `to` atomically.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;
    /// Gives a file a second name. `AlreadyExists` if that is taken; [`has_no_links`] says of which errors a file has one name only.
    fn link(&self, file: &Path, name: &Path) -> io::Result<()>;
    /// Removes a file's name.
    fn unlink(&self, path: &Path) -> io::Result<()>;
    /// The names in a directory without `.` and `..`, read whole from a newly opened directory. Fresh if this process has just
    /// changed that directory; may miss a name that is renamed meanwhile, never a settled one.
    fn list(&self, dir: &Path) -> io::Result<Vec<OsString>>;
    /// At most `limit` bytes of a small regular file, opened anew (never blocks on a FIFO or device).
    fn read_small(&self, path: &Path, limit: usize) -> io::Result<Vec<u8>>;
    /// Appends one line to a file for people, making it if need be; one write.
    fn append_line(&self, path: &Path, line: &str, owner: Owner) -> io::Result<()>;
    /// `lstat`: does not follow a symbolic link at the end. May be cached by a network client.
    fn attributes(&self, path: &Path) -> io::Result<Attributes>;
    /// Which of the files or directories that were made under this name one after the other it is now. Asked where no other host
    /// makes any.
    ///
    /// # Errors
    /// `NotFound` if there is none.
    fn incarnation(&self, path: &Path) -> io::Result<Incarnation>;
    /// Makes the directory's names durable.
    fn sync_dir(&self, dir: &Path) -> io::Result<()>;

    // --- data ---
    /// Opens a data file through its name. On a caching client the name may still lead to a file that was replaced since:
    /// see [`Storage::open_listed`].
    fn open(&self, path: &Path, access: Access) -> io::Result<Box<dyn DataFile>>;
    /// The file's first bytes, at most `limit`, read without asking this host's cache and without leaving anything in it: a
    /// page that is read without a lock could otherwise arrive late and be taken for a fresh one. `Unsupported` where
    /// that cannot be done. On a filesystem that no other host writes to a plain read.
    fn read_uncached(&self, path: &Path, limit: usize) -> io::Result<Vec<u8>>;
    /// Opens a data file and makes sure that it is the one the server has under this name now: makes and removes
    /// `scratch` (a name never used before, in the same directory) so that the client's knowledge of the directory is void,
    /// lists it afresh, and opens until the inode is the listed one. `NotFound` if it is not listed.
    fn open_listed(&self, path: &Path, access: Access, scratch: &Path) -> io::Result<Box<dyn DataFile>>;
    /// The name under which a file is listed, if that is another spelling of this one, which the filesystem takes for the same.
    fn spelled_otherwise(&self, path: &Path) -> io::Result<Option<OsString>> {
        let _ = path;
        Ok(None)
    }
    /// Makes a new, empty data file to be filled (exclusive), open for reading and writing.
    fn create_data(&self, path: &Path, owner: Owner) -> io::Result<Box<dyn DataFile>>;
    /// Gives `to` mode, owner, group, ACL and extended attributes of `from`. An error if ownership cannot be kept.
    fn copy_attributes(&self, from: &Path, to: &Path) -> io::Result<()>;

    // --- this host ---
    /// What filesystem a path (or its parent, if it does not exist) is on.
    fn kind(&self, path: &Path) -> Kind;
    /// Whether native byte-range locks of two openings of this file keep each other out, which trusted mode rests on.
    /// `Unsupported` where that cannot be asked.
    fn native_locks(&self, path: &Path) -> io::Result<bool> {
        let _ = path;
        Err(io::Error::from(io::ErrorKind::Unsupported))
    }
    /// Who this process is, as written into beat files and judged by other processes of this host.
    fn process(&self) -> Process;
    /// Whether that process is provably dead: same host (boot, pid namespace), and its liveness lock can be taken. Any doubt
    /// is [`Liveness::Unknown`].
    fn liveness(&self, process: &Process) -> Liveness;
    /// How long this host has known `what` (a foreign node of a database) to be as `state` says (its heartbeat's name), remembered in a
    /// host-local file across short-lived processes, or by this one alone where the host has no place for that; zero at the first call.
    /// One state of each is remembered, the last one asked for: a file for every heartbeat would fill the disk. A hint for waiting only.
    fn known_for(&self, what: &str, state: &str) -> Duration;
    /// Waits for, and holds until it is dropped, a lock among this user's processes on this host that remembers which directory
    /// of that name is theirs.
    fn local_guard(&self, path: &Path) -> LocalGuard;
    /// The order of this user's processes that wait for what `path` stands for; `None` where there is none.
    fn local_queue(&self, _path: &Path) -> Option<queue::LocalQueue> {
        None
    }
}

/// An open data file. Closed on drop.
pub trait DataFile: Send {
    fn id(&self) -> io::Result<FileId>;
    fn size(&self) -> io::Result<u64>;
    /// Reads as many bytes as there are, up to the buffer's length.
    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize>;
    /// Writes all of `buf`.
    fn write_at(&self, buf: &[u8], offset: u64) -> io::Result<()>;
    fn set_len(&self, len: u64) -> io::Result<()>;
    /// Data and size are on stable storage.
    fn sync(&self) -> io::Result<()>;
    /// Drops what this host has cached of the file, for all its descriptors, so that the next read asks the server. Nothing
    /// on filesystems that no other host can write to.
    fn drop_cache(&self) -> io::Result<()>;
    /// Tries to fill this (empty) file with `source`'s content in one step that copies nothing (reflink): true if it is now
    /// complete, false if the caller must copy.
    fn clone_from(&self, source: &dyn DataFile) -> bool;
    /// The descriptor, where there is one (for reflinks between files of the same storage).
    fn raw_fd(&self) -> Option<i32> {
        None
    }
}
