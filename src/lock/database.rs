//! The lock manager of one database in this process: it holds the disk's locks for all connections and arbitrates between
//! them in memory. This file takes and gives locks in network-exclusive mode; [`super::trusted`] in trusted mode.

use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, TryLockError};
use std::time::Duration;

use super::handles::{Handles, OwnHandles};
use super::level::{Arbiter, Level};
use super::messages::{self, Weight};
use super::process;
use super::seat::{Base, LockError, Seat};
use super::settings::{ModeWish, Wishes};
use super::trusted::TrustedLock;
use crate::protocol::switches::{self, Guard};
use crate::protocol::{self, Denied, Holder, Node, Paths, write_lock::POLL};
use crate::storage::{FileId, Instant, Kind, Owner, Storage};

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
    stepped: bool,
    /// The mode, for who must not wait for `inner`.
    is_network: AtomicBool,
    /// In trusted mode: the registry has appeared beside locks of ours.
    usurped: AtomicBool,
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
    /// Whether the journal is one that may have to be rolled back, as seen when SHARED was taken.
    pub journal_is_hot: bool,
    /// The registry was made by us beside an existing database: nobody writes before this moment.
    pub quiet_until: Option<Instant>,
    pub trusted: TrustedLock,
    pub lease_ms: u64,
    pub seats: usize,
    pub last_seat: u64,
    /// Somebody of ours waits for another node: the service thread keeps sampling until then.
    pub watch_until: Instant,
    /// What the file looked like when SHARED was taken, to notice who changes it all the same.
    pub baseline: Option<super::intruder::Look>,
    pub intrusions: u64,
    pub takeovers: u64,
}

impl Database {
    pub(super) fn new(storage: Arc<dyn Storage>, paths: Arc<Paths>, kind: Kind, mode: Mode, lease_ms: u64) -> Database {
        let inner = Inner {
            mode,
            arbiter: Arbiter::default(),
            node: None,
            own: OwnHandles::default(),
            generation: 1,
            journal_is_hot: false,
            quiet_until: None,
            trusted: TrustedLock::default(),
            lease_ms,
            seats: 0,
            last_seat: 0,
            watch_until: Instant::default(),
            baseline: None,
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

    pub(super) fn usurped_text(&self) -> String {
        format!(
            "coord: another host has put {} into network-exclusive mode (its registry {} has appeared), so the native locks of this \
             transaction protect nothing. Roll back and run it again",
            self.paths.database.display(),
            self.paths.registry.display()
        )
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
            confirmed: false,
            copy,
            wishes,
            fork: process::fork_generation(),
            waited_for: Vec::new(),
            busy: None,
        }
    }

    /// Takes `level`, waiting as far as the protocol asks a lock call to wait.
    pub fn lock(&self, seat: &mut Seat, level: Level, base: &mut dyn Base) -> Result<(), LockError> {
        if level <= seat.level {
            return Ok(());
        }
        let mut polls = 0;
        let mut deadline = None;
        loop {
            let denied = {
                // First of all: in a forked child a thread of its parent may hold the mutex for ever.
                process::check(seat.fork).map_err(LockError::Failed)?;
                let mut inner = self.inner();
                // And again: the end of the program may have been first.
                process::check(seat.fork).map_err(LockError::Failed)?;
                let attempt = self.attempt(&mut inner, seat, level, base);
                self.flush(&mut inner);
                match attempt {
                    Ok(()) => {
                        process::count_lock();
                        if !self.stepped {
                            process::wake_service(self, &inner);
                        }
                        return Ok(());
                    }
                    Err(denied) => denied,
                }
            };
            let holder = match denied {
                Failure::Lock(error) => {
                    seat.busy = self.busy_natively(seat.id, &error);
                    return Err(error);
                }
                Failure::Protocol(Denied::Busy(holder)) => holder,
                Failure::Protocol(denied) => return Err(self.failed(denied)),
            };
            if base.is_interrupted() {
                return Err(LockError::Interrupted);
            }
            match self.patience(seat, &holder, level, &mut polls, &mut deadline) {
                Some(span) => self.storage.sleep(span),
                None => {
                    let text = format!("coord: {} is in use: {holder}", self.paths.database.display());
                    seat.busy = Some(text.clone());
                    messages::say(Weight::Notice, text);
                    return Err(LockError::Busy);
                }
            }
        }
    }

    /// What there is to say of a lock that was busy without the protocol being asked.
    fn busy_natively(&self, id: u64, error: &LockError) -> Option<String> {
        let who = match error {
            LockError::Busy if self.inner().arbiter.is_alone(id) => "by a program that uses SQLite's own file locks",
            LockError::Busy => {
                "by another connection of this very program, or by one that uses SQLite's own file locks"
            }
            _ => return None,
        };
        Some(format!("coord: {} is in use {who}", self.paths.database.display()))
    }

    /// How long to wait before the next look, or `None` to be busy. An active holder is given two polling intervals, once
    /// for each name; a silent one's lease is waited out, once for each episode, as short-lived programs would never get
    /// past a dead holder otherwise.
    fn patience(
        &self,
        seat: &mut Seat,
        holder: &Holder,
        level: Level,
        polls: &mut u32,
        deadline: &mut Option<Instant>,
    ) -> Option<Duration> {
        let now = self.storage.now();
        self.inner().watch_until = now.after(holder.lease * 2);
        if let Some(end) = *deadline {
            if now < end {
                return Some((holder.lease / 12).min(Duration::from_millis(250)));
            }
            seat.waited_for.push(holder.episode());
            return None;
        }
        let known = || match holder.silent > holder.lease / 12 || *polls > 0 {
            true => Duration::ZERO,
            false => self.storage.known_for(&format!("{} {}", self.paths.registry.display(), holder.sign)),
        };
        let silent = holder.silent > holder.lease / 2 || (!holder.sign.is_empty() && known() >= holder.lease / 3);
        if silent && seat.wishes.recovery_wait && !seat.waited_for.contains(&holder.episode()) {
            *deadline = Some(now.after(holder.lease + holder.lease / 2 + Duration::from_secs(1)));
            return Some(POLL);
        }
        let first_sight =
            level == Level::Shared || !seat.waited_for.contains(&holder.name) || switches::off(Guard::WaitOnce);
        if *polls < 2 && first_sight {
            *polls += 1;
            return Some(POLL);
        }
        if seat.waited_for.len() > 64 {
            seat.waited_for.clear();
        }
        seat.waited_for.push(holder.name.clone());
        None
    }

    fn attempt(&self, inner: &mut Inner, seat: &mut Seat, level: Level, base: &mut dyn Base) -> Result<(), Failure> {
        if inner.mode == Mode::Trusted {
            return self.lock_trusted(inner, seat, level, base);
        }
        match level {
            Level::Shared => self.lock_shared(inner, seat, base),
            Level::Reserved => self.lock_reserved(inner, seat, base),
            _ => self.lock_exclusive(inner, seat, base),
        }
    }

    /// NONE → SHARED.
    pub(super) fn lock_shared(&self, inner: &mut Inner, seat: &mut Seat, base: &mut dyn Base) -> Result<(), Failure> {
        if !inner.arbiter.admits(seat.id, Level::Shared) {
            return Err(Failure::Lock(LockError::Busy));
        }
        self.be_registered(inner, base)?;
        let reading = inner.node.as_ref().is_some_and(Node::is_reader);
        if reading {
            // Those inside finish; but with ever new ones a writer elsewhere would wait for ever.
            let waits = inner.node.as_mut().ok_or_else(Failure::no_node)?.writer_waits()?;
            if let Some(holder) = waits {
                return Err(Denied::Busy(Box::new(holder)).into());
            }
        } else {
            match self.enter_reader(inner, seat, base) {
                // Deposed while it held nothing, as a node without locks sends no heartbeats: nothing was lost.
                Err(Failure::Protocol(Denied::Deposed(_))) => self.enter_reader(inner, seat, base)?,
                entered => entered?,
            }
            if let Err(denied) = self.look_at_files(inner) {
                if let Some(node) = &mut inner.node {
                    node.leave_reader();
                }
                return Err(denied);
            }
        }
        if let Err(failure) = self.settle_handle(inner, seat, base, reading) {
            if let (false, Some(node)) = (reading, &mut inner.node) {
                node.leave_reader();
            }
            return Err(failure);
        }
        let node = inner.node.as_mut().ok_or_else(Failure::no_node)?;
        seat.lease = Some(node.lease().clone());
        seat.level = Level::Shared;
        inner.arbiter.set(seat.id, Level::Shared, seat.lease.clone(), seat.copy);
        Ok(())
    }

    /// The connection's own handle under the node's SHARED. One that was opened by name after the node was last confirmed
    /// counts only once a heartbeat has succeeded since: what the name stood for may be somebody else's by then.
    fn settle_handle(
        &self,
        inner: &mut Inner,
        seat: &mut Seat,
        base: &mut dyn Base,
        joining: bool,
    ) -> Result<(), Failure> {
        // Also where the database was missing when the connection was opened, and somebody else has made it since.
        let replaced = seat.generation != inner.generation || !base.is_open();
        if replaced {
            base.reopen(false, false).map_err(Denied::io("open", &self.paths.database))?;
            seat.generation = inner.generation;
        }
        if replaced || (joining && !seat.confirmed) {
            inner.node.as_mut().ok_or_else(Failure::no_node)?.heartbeat()?;
        }
        seat.confirmed = true;
        Ok(())
    }

    fn enter_reader(&self, inner: &mut Inner, seat: &mut Seat, base: &mut dyn Base) -> Result<(), Failure> {
        self.be_registered(inner, base)?;
        self.open_own(inner, seat, base)?;
        let Some(mut node) = inner.node.take() else { return Err(Failure::no_node()) };
        let entered = node.enter_reader(&mut Handles::new(self, inner, seat, base));
        inner.takeovers += node.take_takeovers();
        inner.node = Some(node);
        Ok(entered?)
    }

    /// With SHARED confirmed: the client's cached pages go, then the journal is looked at.
    fn look_at_files(&self, inner: &mut Inner) -> Result<(), Failure> {
        inner.journal_is_hot = inner.own.look(&self.paths)?;
        let node = inner.node.as_mut().ok_or_else(Failure::no_node)?;
        node.check_lease()?;
        Ok(())
    }

    /// SHARED → RESERVED.
    fn lock_reserved(&self, inner: &mut Inner, seat: &mut Seat, base: &mut dyn Base) -> Result<(), Failure> {
        self.still_current(inner, seat)?;
        if !inner.arbiter.admits(seat.id, Level::Reserved) {
            return Err(Failure::Lock(LockError::Busy));
        }
        self.take_write_lock(inner, seat, base)?;
        seat.level = Level::Reserved;
        inner.arbiter.set(seat.id, Level::Reserved, seat.lease.clone(), seat.copy);
        Ok(())
    }

    /// Takes L with the connection's journal open under it.
    fn take_write_lock(&self, inner: &mut Inner, seat: &mut Seat, base: &mut dyn Base) -> Result<(), Failure> {
        if !inner.own.has_journal() && base.is_writable() {
            // Ours has the database's group whatever this user's is, so that others who share it can roll it back.
            let made = self.storage.create_data(&self.paths.journal, self.owner()?);
            if let Err(error) = made
                && error.kind() != io::ErrorKind::AlreadyExists
            {
                return Err(Denied::io("make", &self.paths.journal)(error).into());
            }
        }
        base.open_journal().map_err(Denied::io("open", &self.paths.journal))?;
        let Some(mut node) = inner.node.take() else { return Err(Failure::no_node()) };
        let mut acquired = node.acquire_write_lock(&mut Handles::new(self, inner, seat, base));
        if acquired.is_ok() && seat.generation != inner.generation {
            // Another connection of ours went through a replacement of the files; this one has not seen it yet.
            acquired = Handles::new(self, inner, seat, base).reopen_base().and_then(|()| node.heartbeat());
            if acquired.is_err() {
                node.release_write_lock();
            }
        }
        inner.takeovers += node.take_takeovers();
        inner.node = Some(node);
        if acquired.is_err() {
            base.close_journal();
        }
        Ok(acquired?)
    }

    /// RESERVED or PENDING → EXCLUSIVE, and SHARED → EXCLUSIVE to roll a hot journal back.
    fn lock_exclusive(&self, inner: &mut Inner, seat: &mut Seat, base: &mut dyn Base) -> Result<(), Failure> {
        self.still_current(inner, seat)?;
        let recovering = seat.level == Level::Shared;
        if recovering {
            if !inner.arbiter.admits(seat.id, Level::Exclusive) {
                return Err(Failure::Lock(LockError::Busy));
            }
            if !base.is_writable() {
                let text = format!(
                    "coord: {} was left in the middle of a transaction and must be rolled back first, which this read-only \
                     connection cannot do. Open it once for writing",
                    self.paths.database.display()
                );
                return Err(Failure::Lock(LockError::ReadOnly(text)));
            }
            self.take_write_lock(inner, seat, base)?;
        } else if seat.level < Level::Pending {
            seat.level = Level::Pending;
            inner.arbiter.set(seat.id, Level::Pending, seat.lease.clone(), seat.copy);
        }
        let result = self.become_exclusive(inner, seat, base);
        match result {
            Ok(()) => {
                seat.level = Level::Exclusive;
                inner.arbiter.set(seat.id, Level::Exclusive, seat.lease.clone(), seat.copy);
                inner.baseline = None;
                Ok(())
            }
            Err(failure) => {
                if recovering {
                    // Two that want to roll back would wait for each other: everything is given up at once.
                    base.close_journal();
                    if let Some(node) = &mut inner.node {
                        node.release_write_lock();
                    }
                }
                Err(failure)
            }
        }
    }

    fn become_exclusive(&self, inner: &mut Inner, seat: &mut Seat, base: &mut dyn Base) -> Result<(), Failure> {
        if let Some(until) = inner.quiet_until {
            let now = self.storage.now();
            if now < until {
                // Silent for longer than half its lease: the call waits instead of being busy.
                let wait = until.since(now);
                let holder = Holder::waiting("still settling after coord was introduced to it", wait);
                return Err(Denied::Busy(Box::new(holder)).into());
            }
            inner.quiet_until = None;
        }
        let Some(mut node) = inner.node.take() else { return Err(Failure::no_node()) };
        let exclusive = node.become_exclusive(&mut Handles::new(self, inner, seat, base));
        inner.takeovers += node.take_takeovers();
        inner.node = Some(node);
        exclusive?;
        if seat.level == Level::Shared {
            inner.journal_is_hot = inner.own.look(&self.paths)?;
        }
        if !inner.arbiter.admits(seat.id, Level::Exclusive) {
            return Err(Failure::Lock(LockError::Busy));
        }
        Ok(())
    }

    /// Nothing may be built on a lock whose node was deposed meanwhile: SQLite's cache may be old.
    fn still_current(&self, inner: &mut Inner, seat: &Seat) -> Result<(), Failure> {
        let node = inner.node.as_mut().ok_or_else(Failure::no_node)?;
        let current = seat.lease.as_ref().is_some_and(|lease| Arc::ptr_eq(lease, node.lease()));
        if !current {
            return Err(Failure::Lock(LockError::Failed(lost(&self.paths))));
        }
        node.check_lease()?;
        Ok(())
    }

    /// Gives locks back down to `level`. Never fails, and always ends at `level` in memory.
    pub fn unlock(&self, seat: &mut Seat, level: Level, base: &mut dyn Base) {
        if level >= seat.level || process::is_stranger(seat.fork) {
            seat.level = seat.level.min(level);
            return;
        }
        let mut inner = self.inner();
        if seat.lease.is_none() {
            self.unlock_trusted(&mut inner, seat, level, base);
        } else {
            self.unlock_network(&mut inner, seat, level, base);
        }
        self.flush(&mut inner);
    }

    fn unlock_network(&self, inner: &mut Inner, seat: &mut Seat, level: Level, base: &mut dyn Base) {
        if seat.level >= Level::Reserved {
            // Our half of coherence: what we wrote is on the server before anybody else may look.
            let synced = base.sync();
            base.close_journal();
            if let Some(node) = current(inner, seat) {
                if let Err(error) = synced {
                    messages::say(
                        Weight::Warning,
                        format!("coord: cannot sync {}: {error}", self.paths.database.display()),
                    );
                    self.distrust(node);
                }
                node.release_write_lock();
            }
        }
        seat.level = level;
        inner.arbiter.set(seat.id, level, seat.lease.clone(), seat.copy);
        if level == Level::None {
            seat.waited_for.clear();
            let Some(lease) = seat.lease.take() else { return };
            let last = !inner.arbiter.others_under(seat.id, &lease);
            if let Some(node) = inner.node.as_mut().filter(|node| Arc::ptr_eq(node.lease(), &lease) && last) {
                node.leave_reader();
                inner.own.forget_journal();
                inner.baseline = None;
            }
        }
    }

    /// An operation failed that may still be carried out late: where another kernel could see it, the node gives itself up
    /// so that the next holder fences.
    fn distrust(&self, node: &mut Node) {
        if !self.kind.is_local() {
            node.depose_self();
        }
    }

    /// As a connection's write, truncate or sync failed for another reason than a full disk.
    pub fn write_failed(&self, seat: &Seat) {
        let mut inner = self.inner();
        if let Some(node) = current(&mut inner, seat) {
            self.distrust(node);
        }
    }

    /// A heartbeat now, under the node that the seat's lock was taken with: after a commit, or a handle's opening.
    pub fn confirm(&self, seat: &Seat) -> Result<(), String> {
        process::check(seat.fork)?;
        let mut inner = self.inner();
        let Some(node) = current(&mut inner, seat) else { return Err(lost(&self.paths)) };
        node.heartbeat().map_err(|denied| denied.to_string())
    }

    /// As [`Database::confirm`], and the lease is valid when it returns: where it has run out by our clock.
    pub fn renew(&self, seat: &Seat) -> Result<(), String> {
        process::check(seat.fork)?;
        let mut inner = self.inner();
        let Some(node) = current(&mut inner, seat) else { return Err(lost(&self.paths)) };
        node.renew().map_err(|denied| denied.to_string())
    }

    /// Opens the connection's handles anew under its present lock: true if that worked, and a heartbeat since then says that
    /// the lock is still ours.
    pub fn reopen(&self, seat: &mut Seat, base: &mut dyn Base) -> bool {
        let mut inner = self.inner();
        let reopened = Handles::new(self, &mut inner, seat, base).reopen_base().is_ok();
        reopened && current(&mut inner, seat).is_some_and(|node| node.heartbeat().is_ok())
    }

    /// What a connection is told whose node was deposed.
    pub fn lost(&self) -> String {
        lost(&self.paths)
    }

    /// Whether a connection of this process holds RESERVED or more.
    pub fn is_reserved(&self) -> bool {
        self.inner().arbiter.reserved()
    }

    /// Whether there is a journal to be rolled back, as of the present lock.
    pub fn journal_is_hot(&self) -> bool {
        self.inner().journal_is_hot
    }

    /// The write lock goes while the journal is not finalised: whoever reads next must look.
    pub fn journal_left(&self) {
        self.inner().journal_is_hot = true;
    }

    /// The journal was finalised under EXCLUSIVE.
    pub fn journal_finalised(&self) {
        self.inner().journal_is_hot = false;
    }

    /// Whether the path still leads to the file that we have open.
    pub fn has_moved(&self) -> bool {
        let inner = self.inner();
        inner.own.has_moved(&*self.storage, &self.paths)
    }

    /// Registers this process at the database, making the registry if need be.
    fn be_registered(&self, inner: &mut Inner, base: &mut dyn Base) -> Result<(), Failure> {
        if let Some(node) = inner.node.as_mut().filter(|node| !node.has_presence()) {
            // Between transactions a node gives no sign of life. If it was deposed meanwhile it had nothing to lose.
            match node.heartbeat_if_due() {
                Ok(()) | Err(Denied::Deposed(_)) => {}
                Err(denied) => return Err(denied.into()),
            }
        }
        if inner.node.as_ref().is_some_and(|node| !node.lease().is_deposed()) {
            return Ok(());
        }
        if let Some(mut old) = inner.node.take() {
            old.leave_reader();
        }
        self.make_registry(inner)?;
        let owner = self.owner()?;
        let settings = protocol::Settings {
            lease_ms: inner.lease_ms,
            local: self.kind.is_local(),
            renames_by_handle: matches!(self.kind.name.as_str(), "cifs" | "smb3" | "smb2"),
            owner,
            client: base.client(),
        };
        inner.node = Some(Node::register(self.storage.clone(), self.paths.clone(), settings)?);
        // What the new node's handles were opened under is not known any more.
        inner.own = OwnHandles::default();
        Ok(())
    }

    /// Rights for what we make: the database's own.
    pub(super) fn owner(&self) -> Result<Owner, Failure> {
        let model = self.storage.attributes(&self.paths.database).or_else(|_| {
            let parent = self.storage.attributes(&self.paths.parent);
            parent.map(|found| crate::storage::Attributes { mode: found.mode & 0o666, ..found })
        });
        let model = model.map_err(Denied::io("look at", &self.paths.database))?;
        // Whoever may write the database may hold its locks; its owner always.
        Ok(Owner { mode: (model.mode & 0o666) | 0o600, uid: model.uid, gid: model.gid })
    }

    fn make_registry(&self, inner: &mut Inner) -> Result<(), Failure> {
        match self.storage.attributes(&self.paths.registry) {
            Ok(found) if found.is_dir => return Ok(()),
            Ok(_) => {
                let text = format!(
                    "coord: {} is in the way: it must be coord's registry, a directory. Look what made it and remove it",
                    self.paths.registry.display()
                );
                return Err(Denied::Refused(text).into());
            }
            Err(_) => {}
        }
        let existing = self.storage.attributes(&self.paths.database).is_ok_and(|found| found.size > 0);
        let locked = existing && !self.kind.is_local() && self.lock_for_registry(inner)?;
        let made = self.make_registry_now(inner, existing);
        if locked {
            let _ = self.storage.remove_dir(&self.paths.lock);
        }
        made
    }

    /// Takes L while the registry is made beside an existing database: on the server's own disk a program in trusted mode may
    /// be writing, which holds L and has no heartbeat. False if L was held by the same name for ten leases.
    fn lock_for_registry(&self, inner: &mut Inner) -> Result<bool, Failure> {
        match self.storage.make_dir(&self.paths.lock, self.owner()?) {
            Ok(()) => return Ok(true),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            Err(error) => return Err(Denied::io("make the lock directory", &self.paths.lock)(error).into()),
        }
        let names = self.storage.list(&self.paths.lock).unwrap_or_default();
        let lease = Duration::from_millis(inner.lease_ms);
        let key = format!("unregistered {} {names:?}", self.paths.lock.display());
        if self.storage.known_for(&key) >= lease * 10 {
            return Ok(false);
        }
        let doing = "locked by a program on the server that does not share it over the network yet (or left so: then remove its \
                     .lock directory)";
        Err(Denied::Busy(Box::new(Holder::nobody(doing, lease))).into())
    }

    fn make_registry_now(&self, inner: &mut Inner, existing: bool) -> Result<(), Failure> {
        match self.storage.make_dir(&self.paths.registry, self.owner()?) {
            Ok(()) => {
                if existing && !self.kind.is_local() {
                    // On the server's own disk somebody may be reading who has not looked for the registry yet.
                    let lease = Duration::from_millis(inner.lease_ms);
                    inner.quiet_until = Some(self.storage.now().after(lease));
                }
            }
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            Err(error) => return Err(Denied::io("make the registry", &self.paths.registry)(error).into()),
        }
        Ok(())
    }

    /// Opens our own descriptors before SHARED is confirmed. A missing database is one that is just being replaced, or was
    /// never made: whoever wants it takes L and finishes the one, or makes the other.
    fn open_own(&self, inner: &mut Inner, seat: &mut Seat, base: &mut dyn Base) -> Result<(), Failure> {
        let named = self.storage.attributes(&self.paths.database).is_ok();
        if inner.own.database.is_some() && named && inner.own.has_moved(&*self.storage, &self.paths) {
            // Replaced while nobody of ours held a lock, by a restored backup perhaps: all handles are of another file. Where it
            // was deleted or moved away they stay: no new database springs up under the name, and writing is an error.
            inner.own = OwnHandles::default();
            inner.generation += 1;
        }
        let scratch = inner.node.as_mut().ok_or_else(Failure::no_node)?.scratch();
        match inner.own.open(&*self.storage, &self.paths, &scratch) {
            Ok(()) => return Ok(()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(Denied::io("open", &self.paths.database)(error).into()),
        }
        let Some(mut node) = inner.node.take() else { return Err(Failure::no_node()) };
        let mut handles = Handles::new(self, inner, seat, base);
        let made = node.acquire_write_lock(&mut handles).and_then(|()| {
            let missing = handles.database_is_missing();
            let done = if missing { handles.make_database(&mut node) } else { Ok(()) };
            node.release_write_lock();
            done
        });
        inner.takeovers += node.take_takeovers();
        let scratch = node.scratch();
        inner.node = Some(node);
        made?;
        inner.own.open(&*self.storage, &self.paths, &scratch).map_err(Denied::io("open", &self.paths.database))?;
        Ok(())
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
        inner.seats -= 1;
        if inner.seats == 0 {
            if let Some(mut node) = inner.node.take() {
                node.unregister();
            }
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

    fn failed(&self, denied: Denied) -> LockError {
        match denied {
            Denied::Io { ref source, ref path, .. }
                if *path == self.paths.database && source.kind() == io::ErrorKind::NotFound =>
            {
                LockError::CannotOpen(format!("coord: there is no database {}", path.display()))
            }
            Denied::Io { ref source, .. } => {
                let gone = |dir: &std::path::Path| {
                    let found = self.storage.attributes(dir);
                    found.is_err_and(|error| error.kind() == io::ErrorKind::NotFound)
                };
                match source.kind() {
                    io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => LockError::Full(format!(
                        "coord: {denied}. A lock is a name on that disk: free some space there"
                    )),
                    io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => {
                        LockError::ReadOnly(format!(
                            "coord: {denied}. A lock is a name in that directory: give this user write permission there"
                        ))
                    }
                    io::ErrorKind::NotFound if gone(&self.paths.registry) => LockError::Failed(format!(
                        "coord: {denied}. The registry {} was removed or the database moved while this program had it open: \
                         close the database in all programs that use it, then open it anew",
                        self.paths.registry.display()
                    )),
                    _ => LockError::Failed(format!("coord: {denied}")),
                }
            }
            denied => LockError::Failed(denied.to_string()),
        }
    }

    /// Checks a wish against the mode that the database is in.
    pub(super) fn contradiction(&self, mode: Mode, wish: ModeWish) -> Option<String> {
        (mode == Mode::NetworkExclusive && wish == ModeWish::Trusted).then(|| {
            format!(
                "coord: {} is in network-exclusive mode (its registry {} exists), so coord_mode=trusted would let this program \
                 read and write beside the others' locks. Leave coord_mode out",
                self.paths.database.display(),
                self.paths.registry.display()
            )
        })
    }
}

/// The node that the seat's lock was taken under, if it is still ours.
pub(super) fn current<'a>(inner: &'a mut Inner, seat: &Seat) -> Option<&'a mut Node> {
    let lease = seat.lease.as_ref()?;
    inner.node.as_mut().filter(|node| Arc::ptr_eq(node.lease(), lease))
}

fn lost(paths: &Paths) -> String {
    format!(
        "coord: this process was silent for longer than its lease and lost its locks on {}; nothing it had not yet committed \
         was written. Roll back and run the transaction again",
        paths.database.display()
    )
}

/// What stops an attempt.
pub(super) enum Failure {
    Protocol(Denied),
    Lock(LockError),
}

impl Failure {
    pub fn no_node() -> Failure {
        Failure::Lock(LockError::Failed("coord: this process is not registered at the database".to_string()))
    }
}

impl From<Denied> for Failure {
    fn from(denied: Denied) -> Failure {
        Failure::Protocol(denied)
    }
}
