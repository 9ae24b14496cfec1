//! This process's side of one database: its registration, and the names it has on disk. Its heartbeat is in `heartbeat.rs`.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use super::beat::Beat;
use super::error::{Denied, Holder};
use super::lease::{self, Lease};
use super::names::{Kind, Name, NodeId};
use super::observer::Observer;
use super::paths::Paths;
use super::registry::{Census, LockView};
use crate::storage::{Instant, Owner, Storage};
use crate::switches::{self, Guard};

/// At least a twelfth of a lease apart.
const LOCK_TRIES: u8 = 12;

/// What a node is told at its start.
#[derive(Clone, Debug)]
pub struct Settings {
    pub lease_ms: u64,
    /// No other kernel reaches this filesystem: no fence for the provably dead, no waiting for crossing renames.
    pub local: bool,
    /// The server may rename by handle (SMB): a tombstone is believed only after a whole lease.
    pub renames_by_handle: bool,
    /// Who has the files open keeps others of his host from seeing that they were replaced (9p).
    pub holds_names: bool,
    /// Rights for whatever is made.
    pub owner: Owner,
    /// `coord/<version> sqlite/<version>`, for people.
    pub client: String,
}

/// The open handles of whoever uses a node. All calls come from inside calls of [`Node`], on the caller's thread.
pub trait Files {
    /// Opens what the coming level will use, by name. With `listed` the client's memory of the names is not to be trusted
    /// ([`Storage::open_listed`]). What was open under these names is closed afterwards.
    fn reopen(&mut self, node: &mut Node, listed: bool) -> Result<(), Denied>;
    /// Closes what is open under the database's and the journal's name, before a fence renames over them.
    fn release(&mut self);
    /// With a reader's name up and nobody exclusive: looks once more for a journal that was not there before. Whether there is none.
    fn look_for_journal(&mut self, node: &mut Node) -> Result<bool, Denied>;
}

/// A registered node. See the module's head.
pub struct Node {
    pub(super) storage: Arc<dyn Storage>,
    pub(super) paths: Arc<Paths>,
    pub(super) settings: Settings,
    pub(super) id: NodeId,
    pub(super) lease: Arc<Lease>,
    /// Counter of names; never reset, no name is used twice.
    n: u64,
    pub(super) beat: u64,
    pub(super) beat_sent: Instant,
    /// Names that heartbeats tried since the last success, with the moment before they were sent.
    pub(super) tried: Vec<(u64, Instant)>,
    pub(super) reader: Option<Name>,
    /// Stands while we wait for SHARED, so that a holder who only keeps the lock sees that it is wanted.
    pub(super) wish: Option<Name>,
    pub(super) exclusive: Option<Name>,
    pub(super) write: Option<Name>,
    /// Foreign names that stood in the way when `exclusive` was put up; only these count.
    pub(super) blockers: Option<Vec<Name>>,
    /// Files of ours that must go and would not yet.
    litter: Vec<PathBuf>,
    /// How often it is still to be tried to remove L, which was not empty when we left it.
    lock_left: u8,
    lock_due: Instant,
    /// Names of ours in L of which we were told that they could not be made, and how often each is still to be looked for.
    late_writes: Vec<(PathBuf, u8)>,
    pub(super) observer: Observer,
    /// Replacements of database and journal that our handles know of.
    pub(super) epoch: std::collections::BTreeSet<Name>,
    /// Sentences for the log, oldest first.
    pub(super) notices: Vec<String>,
    pub(super) takeovers: u64,
    pub(super) looked_for_idle: bool,
    /// Whose `exclusive.*` was there when we last looked as a reader, and when that was.
    pub(super) writer: Option<Name>,
    /// While we are exclusive: somebody was seen to wait for SHARED.
    pub(super) reader_waits: bool,
    /// While we read where names are held: the files were seen to be replaced.
    pub(super) in_the_way: bool,
    pub(super) looked_for_writers: Instant,
}

impl Node {
    /// Registers (PROTOCOL.md, Registration). The registry must exist.
    pub fn register(storage: Arc<dyn Storage>, paths: Arc<Paths>, mut settings: Settings) -> Result<Node, Denied> {
        let lease = lease::clamp(settings.lease_ms);
        settings.lease_ms = lease.as_millis() as u64;
        let process = storage.process();
        let id = NodeId::new(&process.hostname, &process.boot_id, process.pid, storage.random());
        let mut node = Node {
            lease: Arc::new(Lease::default()),
            n: 0,
            beat: 0,
            beat_sent: Instant::default(),
            tried: Vec::new(),
            reader: None,
            wish: None,
            exclusive: None,
            write: None,
            blockers: None,
            litter: Vec::new(),
            lock_left: 0,
            lock_due: Instant::default(),
            late_writes: Vec::new(),
            observer: Observer::default(),
            epoch: Default::default(),
            notices: Vec::new(),
            takeovers: 0,
            looked_for_idle: false,
            writer: None,
            reader_waits: false,
            in_the_way: false,
            looked_for_writers: Instant::default(),
            id,
            storage,
            paths,
            settings,
        };
        // A repeated create must never make a second beat: it is made under another word and renamed.
        let new = node.next(Kind::New);
        let contents =
            Beat::new(&*node.storage, &node.id, &node.paths.database, node.settings.lease_ms, &node.settings.client);
        let new_path = node.in_registry(&new);
        let made = node.storage.create_new(&new_path, &contents.encode(), node.settings.owner);
        if let Err(error) = made {
            node.discard(new_path.clone());
            return Err(Denied::io("register at", &new_path)(error));
        }
        let beat = node.next(node.beat_kind());
        let sent = node.storage.now();
        if let Err(error) = node.storage.rename(&new_path, &node.in_registry(&beat)) {
            node.discard(node.in_registry(&beat));
            node.discard(new_path.clone());
            return Err(Denied::io("register at", &new_path)(error));
        }
        node.beat_succeeded(beat.n, sent);
        if let Err(denied) = node.refuse_other_protocols() {
            node.unregister();
            return Err(denied);
        }
        Ok(node)
    }

    pub fn id(&self) -> &NodeId {
        &self.id
    }

    pub fn lease(&self) -> &Arc<Lease> {
        &self.lease
    }

    pub fn lease_span(&self) -> Duration {
        Duration::from_millis(self.settings.lease_ms)
    }

    pub fn holds_write_lock(&self) -> bool {
        self.write.is_some()
    }

    pub fn is_reader(&self) -> bool {
        self.reader.is_some()
    }

    pub fn has_exclusive(&self) -> bool {
        self.exclusive.is_some()
    }

    /// Whether anything of ours stands on disk that others wait for.
    pub fn has_presence(&self) -> bool {
        let names = [&self.reader, &self.write, &self.exclusive];
        names.iter().any(|name| name.is_some()) || self.wish.is_some() || !self.litter.is_empty() || self.lock_left > 0
    }

    /// Takeovers since the last call.
    pub fn take_takeovers(&mut self) -> u64 {
        std::mem::take(&mut self.takeovers)
    }

    pub fn observer(&self) -> &Observer {
        &self.observer
    }

    /// Sentences for the log since the last call.
    pub fn take_notices(&mut self) -> Vec<String> {
        std::mem::take(&mut self.notices)
    }

    // --- names ---

    pub(super) fn next(&mut self, kind: Kind) -> Name {
        self.n += 1;
        let presence = matches!(kind, Kind::Reader | Kind::Exclusive | Kind::Wish | Kind::Write);
        let n = if presence && switches::off(Guard::FreshNames) { 0 } else { self.n };
        Name { node: self.id.clone(), n, kind }
    }

    pub(super) fn in_registry(&self, name: &Name) -> PathBuf {
        self.paths.registry.join(name.to_string())
    }

    pub(super) fn in_lock(&self, name: &Name) -> PathBuf {
        self.paths.lock.join(name.to_string())
    }

    /// A name never used before in the database's own directory, for [`Storage::open_listed`].
    pub fn scratch(&mut self) -> PathBuf {
        let name = self.next(Kind::New);
        self.paths.scratch(&name)
    }

    /// Removes a file of ours: a failed create counts as made and a failed unlink as not done, until the name is gone.
    pub(super) fn discard(&mut self, path: PathBuf) {
        match self.storage.unlink(&path) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(_) if switches::off(Guard::Litter) => {}
            Err(_) => self.litter.push(path),
        }
    }

    /// Tries again to remove what would not go.
    pub fn sweep(&mut self) {
        if self.lease.is_deposed() {
            // A deposed node touches nothing: whoever holds L clears up after it.
            self.litter.clear();
            self.late_writes.clear();
            self.lock_left = 0;
            return;
        }
        for path in std::mem::take(&mut self.litter) {
            self.discard(path);
        }
        if self.lock_left > 0 && self.write.is_none() && self.storage.now() >= self.lock_due {
            self.try_to_remove_lock(self.lock_left - 1);
        }
    }

    /// It may be made still, in somebody else's L by then.
    pub(super) fn await_late_write(&mut self, path: PathBuf) {
        if !switches::off(Guard::LateWrite) {
            self.late_writes.push((path, LOCK_TRIES));
        }
    }

    /// Removes L, unless somebody is in it. What is in it may be nobody's: a name that would not go, or one that an NFS client keeps until
    /// its last request for a removed file is answered. So it is tried again for a while.
    pub(super) fn remove_lock(&mut self) {
        self.try_to_remove_lock(LOCK_TRIES);
    }

    fn try_to_remove_lock(&mut self, more: u8) {
        for (path, more) in std::mem::take(&mut self.late_writes) {
            if self.storage.unlink(&path).is_err() && more > 0 {
                self.late_writes.push((path, more - 1));
            }
        }
        let removed = self.storage.remove_dir(&self.paths.lock);
        let stays =
            removed.is_err_and(|error| error.kind() != io::ErrorKind::NotFound) && !switches::off(Guard::LockLeft);
        self.lock_left = match self.late_writes.is_empty() {
            true if stays => more,
            true => 0,
            false => more.max(1),
        };
        self.lock_due = self.storage.now().after(self.lease_span() / 12);
    }

    // --- listings ---

    /// Lists G. Fresh if this node has just changed it.
    pub(super) fn census(&mut self) -> Result<Census, Denied> {
        let asked = self.storage.now();
        let listed = self.storage.list(&self.paths.registry);
        let names = listed.map_err(Denied::io("list", &self.paths.registry))?;
        let census = Census::sort(names, asked, self.storage.now());
        self.observer.sample(&census, &self.id);
        if !self.lease.is_deposed() {
            self.remove_unheld(&census);
        }
        Ok(census)
    }

    /// Takes one more sample of everybody else.
    pub fn observe(&mut self) -> Result<(), Denied> {
        self.census().map(drop)
    }

    /// Lists G after an own change in it that needs no heartbeat.
    pub(super) fn fresh_census(&mut self) -> Result<Census, Denied> {
        let name = self.next(Kind::New);
        let path = self.in_registry(&name);
        let made = self.storage.create_new(&path, b"", self.settings.owner);
        self.discard(path.clone());
        made.map_err(Denied::io("make a file in", &self.paths.registry))?;
        self.census()
    }

    /// Names of ours in G that we do not hold come from creates that failed and landed: away with them.
    fn remove_unheld(&mut self, census: &Census) {
        let held = [self.reader.clone(), self.exclusive.clone(), self.wish.clone()];
        let stray = census.presence().chain(&census.litter);
        let stray: Vec<PathBuf> = stray
            .filter(|name| name.node == self.id && !held.contains(&Some((*name).clone())))
            .filter(|name| !matches!(name.kind, Kind::Beat { .. }))
            .map(|name| self.in_registry(name))
            .collect();
        for path in stray {
            self.discard(path);
        }
    }

    pub(super) fn lock_view(&self) -> Result<LockView, Denied> {
        let listed = self.storage.list(&self.paths.lock);
        Ok(LockView::sort(listed.map_err(Denied::io("list", &self.paths.lock))?))
    }

    /// Describes who stands in the way, with what is known of its silence.
    pub(super) fn holder(&self, name: &Name, beat: Option<(u64, u64)>, doing: &'static str) -> Holder {
        let lease = lease::clamp(beat.map_or(lease::DEFAULT_MS, |(_, lease_ms)| lease_ms));
        Holder {
            silent: self.observer.silent(&name.node),
            node: Some(name.node.clone()),
            name: name.to_string(),
            // Of a node without heartbeat the name itself: short-lived programs, too, must learn how long it stands there.
            sign: beat.map_or(name.to_string(), |(n, lease_ms)| Name::beat(&name.node, n, lease_ms).to_string()),
            ..Holder::nobody(doing, lease)
        }
    }

    /// Ends this node: presence first, the beat last. A deposed node leaves everything but its reader's name.
    pub fn unregister(&mut self) {
        self.withdraw_wish();
        if let Some(name) = self.reader.take() {
            self.discard(self.in_registry(&name));
        }
        if self.lease.is_deposed() {
            return;
        }
        self.release_write_lock();
        if let Some(name) = self.exclusive.take() {
            self.discard(self.in_registry(&name));
        }
        // For the last time.
        self.lock_due = Instant::default();
        self.sweep();
        if self.litter.is_empty() {
            // With something left behind the beat stays too: it is what lets others depose us and clear up.
            let _ = self.storage.unlink(&self.beat_path(self.beat));
        }
        self.lease.depose();
    }
}

impl Drop for Node {
    /// A panic on its way out of a call of ours loses the node with its presence still on disk: it gives itself up, so that
    /// the next holder need not wait for a lease that nobody keeps up.
    fn drop(&mut self) {
        if std::thread::panicking() {
            // A second panic on the way would end the program.
            let _ = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| self.depose_self()));
        }
    }
}
