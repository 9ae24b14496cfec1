//! One connection at a lock manager, and what the manager needs of it.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use super::known::Known;
use super::level::Level;
use super::settings::Wishes;
use crate::protocol::Lease;
use crate::storage::Instant;

/// The connection's own handles, opened through the host's platform VFS. Called on the connection's thread, inside its own
/// lock calls; `native_*` also, in trusted mode with two copies of SQLite in one process, inside another connection's.
pub trait Base {
    /// Opens the database anew through its path, the new handle first, then closes the old one. Without native locks in
    /// network-exclusive mode. `NotFound` if there is no such file and `create` is not set.
    fn reopen(&mut self, native_locks: bool, create: bool) -> io::Result<()>;
    /// Whether the database's handle is open.
    fn is_open(&self) -> bool;
    /// Closes the database's handle.
    fn close(&mut self);
    /// Opens the journal for reading and writing and keeps it; nothing if that was done. `make`: L is held, and one that is missing
    /// is made. `NotFound` else.
    fn open_journal(&mut self, make: bool) -> io::Result<()>;
    fn close_journal(&mut self);
    /// Whether a journal is kept open.
    fn has_journal(&self) -> bool;
    /// Whether this connection opened its database for writing.
    fn is_writable(&self) -> bool;
    /// Whether the database may be made if it is missing.
    fn may_create(&self) -> bool;
    /// Writes what was not synced yet to stable storage.
    fn sync(&mut self) -> io::Result<()>;
    /// The platform's own lock.
    fn native_lock(&mut self, level: Level) -> Result<(), LockError>;
    /// Gives the platform's own lock back down to `level`; what that says nobody could act on.
    fn native_unlock(&mut self, level: Level);
    /// Parts with the database's handle while the connection holds no lock, so that a fence of this process can close it;
    /// `None` keeps it.
    fn park(&mut self) -> Option<Parked> {
        None
    }
    /// Takes back what [`Base::park`] gave.
    fn unpark(&mut self, _handle: Parked) {}
    /// For how much longer the program's busy handler lets a call wait; `None`: no more. Asked for each stretch anew.
    fn patience(&mut self) -> Option<Duration> {
        None
    }
    /// Whether the program wants the running statement to stop.
    fn is_interrupted(&self) -> bool;
    /// The host's SQLite version, for people.
    fn client(&self) -> String;
}

/// A database handle in the care of the lock manager. Closed on drop.
pub type Parked = Box<dyn std::any::Any + Send>;

/// Why a lock call failed.
#[derive(Debug)]
pub enum LockError {
    /// Try again later.
    Busy,
    /// The platform's own code (trusted mode).
    Native(i32),
    /// The lock was lost, or could not be taken for a reason that trying again will not cure.
    Failed(String),
    /// The database cannot be opened any more.
    CannotOpen(String),
    /// A read-only connection asked for what needs writing, or locks cannot be made for want of permission.
    ReadOnly(String),
    /// No room for a lock's name.
    Full(String),
    /// The program wants the statement to stop (`sqlite3_interrupt`).
    Interrupted,
}

/// A connection's place.
pub struct Seat {
    pub(super) id: u64,
    pub(super) level: Level,
    /// The node under which the present lock was taken; `None` in trusted mode or without a lock.
    pub(super) lease: Option<Arc<Lease>>,
    /// Which replacement of the files the connection's handles belong to.
    pub(super) generation: u64,
    /// The same when its present lock was granted: what SQLite has read is of those files.
    pub(super) read: u64,
    /// Whether the node was confirmed after the connection opened its handle.
    pub(super) confirmed: bool,
    /// Which copy of SQLite the connection is of.
    pub(super) copy: usize,
    pub(super) wishes: Wishes,
    pub(super) fork: u32,
    /// What is known of the file, as of the present lock.
    pub(super) known: Known,
    /// In which holding of L the connection's journal was opened.
    pub(super) hold: u64,
    /// When the present SHARED was asked for, if it was not there already.
    pub(super) asked: Instant,
    /// The connection's last transaction wrote, so the next one probably will; and the present one has.
    pub(super) writes: bool,
    pub(super) wrote: bool,
    /// The journal was opened since it was last asked.
    pub(super) fresh_journal: bool,
    /// Foreign names for which a full wait was made: the same one still there is busy at once.
    pub(super) waited_for: Vec<String>,
    /// Who stood in the way when the last call was busy.
    pub(super) busy: Option<String>,
}

impl Seat {
    pub fn level(&self) -> Level {
        self.level
    }

    /// How long an unused lock is kept for this connection; `None`: by what taking it costs.
    pub(super) fn linger(&self) -> Option<Duration> {
        self.wishes.linger()
    }

    pub fn wishes(&mut self) -> &mut Wishes {
        &mut self.wishes
    }

    /// Whether the journal was opened since the last call, so that what is in it is not known.
    pub fn take_fresh_journal(&mut self) -> bool {
        std::mem::take(&mut self.fresh_journal)
    }

    /// It was not looked at after all.
    pub fn keep_fresh_journal(&mut self) {
        self.fresh_journal = true;
    }

    /// In which process, counted by forks, it was taken.
    pub fn fork(&self) -> u32 {
        self.fork
    }

    /// Who stood in the way when the last lock call was busy, as a sentence.
    pub fn take_busy(&mut self) -> Option<String> {
        self.busy.take()
    }

    pub fn lease(&self) -> Option<&Arc<Lease>> {
        self.lease.as_ref()
    }
}
