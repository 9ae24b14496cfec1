//! The lock manager of one database in this process: it holds the disk's locks for all connections and arbitrates between
//! them in memory. This file has its state, its mode, which file it is, and the places of its connections; a lock call is in
//! [`super::call`], taking and giving locks in [`super::network`] and [`super::trusted`].

use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, TryLockError};
use std::time::Duration;

use super::handles::OwnHandles;
use super::known::Known;
use super::level::{Arbiter, Level};
use super::linger::Linger;
use super::messages::{self, Weight};
use super::process;
use super::seat::{Base, Parked, Seat};
use super::settings::Wishes;
use super::trusted::TrustedLock;
use super::turn::Turn;
use crate::protocol::lease;
use crate::protocol::{Node, Paths};
use crate::storage::{FileId, Instant, Kind, Storage};
use crate::switches::{self, Guard};

/// How a database's locks are kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    Trusted,
    NetworkExclusive,
}

impl Mode {
    pub fn name(self) -> &'static str {
        match self {
            Mode::Trusted => "trusted",
            Mode::NetworkExclusive => "network-exclusive",
        }
    }
}

/// One database.
pub struct Database {
    pub(super) storage: Arc<dyn Storage>,
    pub(super) paths: Arc<Paths>,
    pub(super) kind: Kind,
    pub(super) device: u64,
    /// Driven step by step by a simulator: no thread of ours, and nobody ever blocks on a mutex.
    pub(super) stepped: bool,
    /// The mode, for who must not wait for `inner`.
    is_network: AtomicBool,
    /// In trusted mode: the registry has appeared beside locks of ours.
    usurped: AtomicBool,
    /// Whether the journal is one that may have to be rolled back, as seen when SHARED was taken. Written under `inner`'s mutex
    /// or by the connection that is alone with EXCLUSIVE.
    journal_is_hot: AtomicBool,
    /// Which file it was when somebody last looked, to know it again under another path.
    id: Mutex<Option<FileId>>,
    pub(super) inner: Mutex<Inner>,
}

pub(super) struct Inner {
    pub mode: Mode,
    pub arbiter: Arbiter,
    pub node: Option<Node>,
    pub own: OwnHandles,
    pub generation: u64,
    /// Database handles of connections that hold no lock, by seat: a fence closes them before it renames over the file, as
    /// some network clients do that in two steps for a file that they have open.
    pub parked: Vec<(u64, Parked)>,
    /// The seat of a connection that is at SHARED, has L, and waits for EXCLUSIVE to roll a hot journal back.
    pub recovering: Option<u64>,
    pub linger: Linger,
    pub known: Known,
    pub turn: Turn,
    /// The directory was synced since this process first wrote here: both files keep their names when the power goes.
    pub names_are_safe: bool,
    pub trusted: TrustedLock,
    pub lease_ms: u64,
    pub seats: usize,
    pub last_seat: u64,
    /// Somebody of ours waits for another node: the service thread keeps sampling until then.
    pub watch_until: Instant,
    /// What the file looked like when SHARED was taken, to notice who changes it all the same.
    pub baseline: Option<super::intruder::Look>,
    pub intruders_due: Instant,
    pub intrusions: u64,
    pub takeovers: u64,
}

impl Inner {
    /// Takes a seat's handle into care while it holds no lock.
    pub fn park(&mut self, seat: u64, base: &mut dyn Base) {
        if !switches::off(Guard::Parking)
            && let Some(handle) = base.park()
        {
            self.parked.push((seat, handle));
        }
    }

    /// How often a connection of trusted mode that holds a lock is looked after: whoever makes the registry elsewhere waits for
    /// the default lease, whatever ours is.
    pub fn registry_interval(&self) -> Duration {
        Duration::from_millis(self.lease_ms.min(lease::DEFAULT_MS)) / 6
    }
}

impl Inner {
    /// Whether a connection of ours other than this one waits to roll a hot journal back.
    pub fn is_recovered_by_another(&self, seat: u64) -> bool {
        self.recovering.is_some_and(|id| id != seat)
    }

    /// The parked handle of a seat, unless a fence has closed it.
    pub fn unpark(&mut self, seat: u64) -> Option<Parked> {
        let at = self.parked.iter().position(|(id, _)| *id == seat)?;
        Some(self.parked.swap_remove(at).1)
    }
}

impl Database {
    pub(super) fn new(storage: Arc<dyn Storage>, paths: Arc<Paths>, kind: Kind, mode: Mode, lease_ms: u64) -> Database {
        let inner = Inner {
            mode,
            arbiter: Arbiter::default(),
            node: None,
            own: OwnHandles::default(),
            generation: 1,
            parked: Vec::new(),
            recovering: None,
            linger: Linger::default(),
            known: Known::default(),
            turn: Turn::default(),
            names_are_safe: false,
            trusted: TrustedLock::default(),
            lease_ms,
            seats: 0,
            last_seat: 0,
            watch_until: Instant::default(),
            baseline: None,
            intruders_due: Instant::default(),
            intrusions: 0,
            takeovers: 0,
        };
        let device = storage.attributes(&paths.parent).map_or(0, |found| found.id.device);
        let id = storage.attributes(&paths.database).ok().map(|found| found.id);
        Database {
            storage,
            paths,
            kind,
            device,
            stepped: false,
            is_network: AtomicBool::new(mode == Mode::NetworkExclusive),
            usurped: AtomicBool::new(false),
            journal_is_hot: AtomicBool::new(false),
            id: Mutex::new(id),
            inner: Mutex::new(inner),
        }
    }

    /// A manager in network-exclusive mode over any storage, outside of the process's own, for a simulator that calls
    /// [`Database::tick`] itself and runs one step at a time.
    pub fn stepped(storage: Arc<dyn Storage>, path: &std::path::Path, lease_ms: u64) -> Database {
        let kind = storage.kind(path);
        let database = Database::new(storage, Arc::new(Paths::new(path)), kind, Mode::NetworkExclusive, lease_ms);
        Database { stepped: true, ..database }
    }

    pub(super) fn inner(&self) -> MutexGuard<'_, Inner> {
        if !self.stepped {
            return self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        }
        loop {
            match self.inner.try_lock() {
                Ok(inner) => return inner,
                Err(TryLockError::Poisoned(poisoned)) => return poisoned.into_inner(),
                Err(TryLockError::WouldBlock) => self.storage.sleep(Duration::from_micros(100)),
            }
        }
    }

    /// `inner`, if nobody is in the middle of a call.
    pub(super) fn try_inner(&self) -> Option<MutexGuard<'_, Inner>> {
        match self.inner.try_lock() {
            Ok(inner) => Some(inner),
            Err(TryLockError::Poisoned(poisoned)) => Some(poisoned.into_inner()),
            Err(TryLockError::WouldBlock) => None,
        }
    }

    /// Whether the file is on a disk of this host, as far as its filesystem's type says.
    pub fn is_local(&self) -> bool {
        self.kind.is_local()
    }

    pub fn mode(&self) -> Mode {
        if self.is_network.load(Ordering::Acquire) { Mode::NetworkExclusive } else { Mode::Trusted }
    }

    pub(super) fn enter_network_mode(&self, inner: &mut Inner) {
        inner.mode = Mode::NetworkExclusive;
        self.is_network.store(true, Ordering::Release);
    }

    /// Which file this is, as far as known without asking the filesystem.
    pub(super) fn id(&self) -> Option<FileId> {
        *self.id.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn set_id(&self, id: Option<FileId>) {
        *self.id.lock().unwrap_or_else(PoisonError::into_inner) = id;
    }

    pub(super) fn usurp(&self) {
        self.usurped.store(true, Ordering::Release);
    }

    pub(super) fn unusurp(&self) {
        self.usurped.store(false, Ordering::Release);
    }

    /// In trusted mode: why the connections must not go on.
    pub fn usurped(&self) -> Option<String> {
        self.usurped.load(Ordering::Acquire).then(|| self.usurped_text())
    }

    pub fn kind(&self) -> &Kind {
        &self.kind
    }

    pub fn paths(&self) -> &Paths {
        &self.paths
    }

    pub fn now(&self) -> Instant {
        self.storage.now()
    }

    /// A place for one more connection.
    pub fn sit(&self, copy: usize, wishes: Wishes) -> Seat {
        let mut inner = self.inner();
        inner.seats += 1;
        inner.last_seat += 1;
        Seat {
            id: inner.last_seat,
            level: Level::None,
            lease: None,
            generation: inner.generation,
            read: inner.generation,
            confirmed: false,
            copy,
            wishes,
            fork: process::fork_generation(),
            hold: 0,
            known: Known::default(),
            writes: false,
            wrote: false,
            asked: Instant::default(),
            fresh_journal: false,
            waited_for: Vec::new(),
            busy: None,
        }
    }

    /// Whether a connection of this process holds RESERVED or more.
    pub fn is_reserved(&self) -> bool {
        self.inner().arbiter.reserved()
    }

    /// Whether there is a journal to be rolled back, as of the present lock.
    pub fn journal_is_hot(&self) -> bool {
        self.journal_is_hot.load(Ordering::Acquire)
    }

    pub(super) fn set_journal_hot(&self, hot: bool) {
        self.journal_is_hot.store(hot, Ordering::Release);
    }

    /// The write lock goes while the journal is not finalised: whoever reads next must look.
    pub fn journal_left(&self) {
        self.set_journal_hot(true);
        self.inner().linger.spoil();
    }

    /// The journal was finalised under EXCLUSIVE.
    pub fn journal_finalised(&self) {
        self.set_journal_hot(false);
    }

    /// The database's first bytes, at most `limit`, for who holds no lock: around this host's cache where other hosts write.
    pub fn peek(&self, limit: usize) -> std::io::Result<Vec<u8>> {
        self.storage.read_uncached(&self.paths.database, limit)
    }

    /// The size of what the path leads to, for who holds no lock.
    pub fn size(&self) -> Option<u64> {
        self.storage.attributes(&self.paths.database).ok().map(|found| found.size)
    }

    /// Whether handles without a lock would stand in the way of whoever opens the files anew on this host.
    pub fn holds_names(&self) -> bool {
        self.kind.holds_names() && !switches::off(Guard::HeldNames)
    }

    /// Nothing of ours is locked: closes what would keep this host's client from learning that the files were replaced.
    pub(super) fn let_names_go(&self, inner: &mut Inner) {
        let held = inner.node.as_ref().is_some_and(Node::is_reader);
        if self.holds_names() && !held && Self::active(inner) == Level::None {
            inner.own = OwnHandles::default();
            inner.parked.clear();
            // Who opens them next cannot say that they are the same.
            inner.generation += 1;
        }
    }

    /// Gives a connection its parked handle for a moment in which it needs it without a lock.
    pub fn unpark(&self, seat: &Seat, base: &mut dyn Base) {
        if let Some(handle) = self.inner().unpark(seat.id) {
            base.unpark(handle);
        }
    }

    /// Takes a handle into care, in network-exclusive mode: closing it drops no lock there.
    pub fn park(&self, seat: &Seat, base: &mut dyn Base) {
        let mut inner = self.inner();
        if inner.mode == Mode::NetworkExclusive {
            inner.park(seat.id, base);
        }
    }

    /// Whether nobody of ours has it open, and a local database has lost its registry since this was made for it: others may share it by
    /// native locks by now. Whoever looks after heartbeats, or for another database, may not have let go of this yet.
    pub(super) fn is_forsaken(&self) -> bool {
        let Some(inner) = self.try_inner() else { return false };
        let unused = inner.seats == 0 && inner.mode == Mode::NetworkExclusive && self.kind.is_local();
        let gone = |path| self.storage.attributes(path).is_err_and(|error| error.kind() == io::ErrorKind::NotFound);
        unused && gone(&self.paths.registry) && !gone(&self.paths.database)
    }

    /// Whether the path leads to another file by now than the one that the connection has open. Then nothing is kept.
    pub fn has_moved(&self, seat: &Seat) -> bool {
        let mut inner = self.inner();
        let mut moved = seat.generation != inner.generation || inner.own.has_moved(&*self.storage, &self.paths);
        if moved && seat.generation == inner.generation && self.put_back(&mut inner, seat) {
            moved = inner.own.has_moved(&*self.storage, &self.paths);
        }
        if moved {
            inner.linger.spoil();
        }
        moved
    }

    /// Whoever was frozen in a fence of his own, and deposed, may have moved our database aside just now. The holder of L puts it
    /// back at once, without an error for the program. Whether it looked.
    fn put_back(&self, inner: &mut Inner, seat: &Seat) -> bool {
        let Some(node) = inner.node.as_mut().filter(|node| node.holds_write_lock()) else { return false };
        let current = seat.lease.as_ref().is_some_and(|lease| Arc::ptr_eq(lease, node.lease()));
        current && seat.level >= Level::Reserved && node.settle_late_moves().is_ok()
    }

    /// Closes a connection's handle, or keeps it open for as long as closing it would drop the native locks that another copy
    /// of SQLite in this process holds on the same file.
    pub fn close_handle(&self, copy: usize, handle: Box<dyn std::any::Any + Send>) {
        let mut inner = self.inner();
        if inner.mode == Mode::Trusted && inner.arbiter.other_copy(copy) {
            inner.trusted.keep_open(copy, handle);
        } else {
            // Under the mutex: nobody takes a native lock in between.
            drop(handle);
        }
    }

    /// A last connection's goodbye: the node ends.
    pub fn stand_up(&self, seat: &mut Seat, base: &mut dyn Base) {
        self.unlock(seat, Level::None, base);
        if process::is_stranger(seat.fork) {
            return;
        }
        let mut inner = self.inner();
        self.forget_deferred(&mut inner, seat);
        inner.unpark(seat.id);
        inner.seats -= 1;
        if inner.seats == 0 {
            if let Some(mut node) = inner.node.take() {
                node.unregister();
            }
            self.forget(&mut inner);
            inner.own = OwnHandles::default();
        }
    }

    /// Hands the protocol's sentences on.
    pub(super) fn flush(&self, inner: &mut Inner) {
        if let Some(node) = &mut inner.node {
            for notice in node.take_notices() {
                messages::say(Weight::Notice, notice);
            }
        }
    }
}
