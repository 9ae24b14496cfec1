//! What the tests of this module use: the programs of two hosts, each with a cache of its own, on one real disk. No service thread
//! knows of their managers, so a test itself lets each look after its locks.

mod clock;
mod listing;
mod program;

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::ffi::OsString;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use clock::Clock;
use listing::Listings;
pub(super) use program::Program;

use super::{Database, Level, LockError, Mode, Seat, Wishes};
use crate::protocol::Paths;
use crate::protocol::names::{self, Name, NodeId};
use crate::storage::disk::Disk;
use crate::storage::kind::Class;
use crate::storage::{
    Access, Attributes, DataFile, FileId, Incarnation, Instant, Kind, Liveness, LocalGuard, Owner, Process, Storage,
};

type Pages = Arc<Mutex<HashMap<FileId, Vec<u8>>>>;

/// A host with a cache of its own.
pub(super) struct Client {
    server: Disk,
    pages: Pages,
    /// Other programs of this host have the old files open, and as long as anybody has, it gives those (9p).
    pub held: AtomicBool,
    /// A file has one name only (answered as AFS does from one directory into another).
    pub no_links: AtomicBool,
    /// No file of somebody else's can be made.
    pub no_copies: AtomicBool,
    /// There is no room for a reader's name.
    pub no_readers: AtomicBool,
    /// Its next name in the lock directory cannot be made, as far as it is told.
    pub late_write: Mutex<Option<PathBuf>>,
    pub refuses_write: AtomicBool,
    /// It removes no tombstone.
    pub keeps_tombstones: AtomicBool,
    /// No heartbeat gets through.
    pub no_beats: AtomicBool,
    /// No registry in the making can be renamed.
    pub stuck: AtomicBool,
    /// Nothing can be learned of a registry.
    pub blind: AtomicBool,
    /// The next registry to get its name gets it only when a name is removed; until then that has failed.
    pub late_registry: AtomicBool,
    late: Mutex<Option<(PathBuf, PathBuf)>>,
    /// What happens before its next reader's name is made.
    pub before_reader: Mutex<Option<Act>>,
    pub clock: Arc<Clock>,
    pub listings: Listings,
    /// A process of this host that is provably dead.
    pub dead: AtomicU32,
    /// It has not learned that the database was replaced by somebody else, and goes on to give what is here under its name.
    pub remembers: Mutex<Option<PathBuf>>,
}

/// What a server needs to take a mebibyte.
const WRITING: Duration = Duration::from_secs(2);

pub(super) type Act = Box<dyn FnOnce() + Send>;

struct CachedFile {
    file: Box<dyn DataFile>,
    pages: Pages,
    clock: Arc<Clock>,
}

impl Client {
    fn cached(&self, file: Box<dyn DataFile>) -> Box<dyn DataFile> {
        Box::new(CachedFile { file, pages: self.pages.clone(), clock: self.clock.clone() })
    }

    /// What this client takes the name for.
    fn known(&self, path: &Path) -> PathBuf {
        let old = self.remembers.lock().unwrap().clone().filter(|_| path.ends_with("db"));
        old.unwrap_or_else(|| path.to_path_buf())
    }
}

impl Storage for Client {
    fn now(&self) -> Instant {
        self.clock.now().unwrap_or_else(|| self.server.now())
    }
    fn sleep(&self, span: Duration) {
        match self.clock.now() {
            None => self.server.sleep(span),
            Some(_) => self.clock.goes_on(span),
        }
    }
    fn date(&self) -> String {
        self.server.date()
    }
    fn random(&self) -> u64 {
        self.server.random()
    }
    fn make_dir(&self, dir: &Path, owner: Owner) -> io::Result<()> {
        self.server.make_dir(dir, owner)
    }
    fn remove_dir(&self, dir: &Path) -> io::Result<()> {
        self.server.remove_dir(dir)
    }
    fn create_new(&self, path: &Path, contents: &[u8], owner: Owner) -> io::Result<()> {
        let reader = path.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(b"reader."));
        let act = if reader { self.before_reader.lock().unwrap().take() } else { None };
        if let Some(act) = act {
            act();
        }
        if path.to_string_lossy().contains(".lock/write.") && self.refuses_write.swap(false, Ordering::Relaxed) {
            *self.late_write.lock().unwrap() = Some(path.to_path_buf());
            return Err(io::ErrorKind::TimedOut.into());
        }
        if reader && self.no_readers.load(Ordering::Relaxed) {
            return Err(io::ErrorKind::StorageFull.into());
        }
        self.server.create_new(path, contents, owner)
    }
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let is_beat = to.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(b"beat."));
        if is_beat {
            self.clock.beat();
        }
        if self.no_beats.load(Ordering::Relaxed) && is_beat {
            return Err(io::ErrorKind::TimedOut.into());
        }
        if self.stuck.load(Ordering::Relaxed) && from.to_string_lossy().contains("/.db.new.") {
            return Err(io::ErrorKind::TimedOut.into());
        }
        if to.extension().is_some_and(|end| end == "readers") && self.late_registry.swap(false, Ordering::Relaxed) {
            *self.late.lock().unwrap() = Some((from.to_path_buf(), to.to_path_buf()));
            return Err(io::ErrorKind::TimedOut.into());
        }
        self.server.rename(from, to)
    }
    fn link(&self, file: &Path, name: &Path) -> io::Result<()> {
        match self.no_links.load(Ordering::Relaxed) {
            true => Err(io::ErrorKind::CrossesDevices.into()),
            false => self.server.link(file, name),
        }
    }
    fn unlink(&self, path: &Path) -> io::Result<()> {
        if self.keeps_tombstones.load(Ordering::Relaxed) && path.to_string_lossy().contains("/deposed.") {
            return Err(io::ErrorKind::TimedOut.into());
        }
        let unlinked = self.server.unlink(path);
        if let Some((from, to)) = self.late.lock().unwrap().take() {
            let _ = self.server.rename(&from, &to);
        }
        unlinked
    }
    fn list(&self, dir: &Path) -> io::Result<Vec<OsString>> {
        self.listings.list(&self.server, dir)
    }
    fn read_small(&self, path: &Path, limit: usize) -> io::Result<Vec<u8>> {
        self.server.read_small(path, limit)
    }
    fn append_line(&self, path: &Path, line: &str, owner: Owner) -> io::Result<()> {
        self.server.append_line(path, line, owner)
    }
    fn incarnation(&self, dir: &Path) -> io::Result<Incarnation> {
        self.server.incarnation(dir)
    }
    fn attributes(&self, path: &Path) -> io::Result<Attributes> {
        if self.blind.load(Ordering::Relaxed) && path.extension().is_some_and(|end| end == "readers") {
            return Err(io::ErrorKind::PermissionDenied.into());
        }
        self.server.attributes(&self.known(path))
    }
    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        self.server.sync_dir(dir)
    }
    fn open(&self, path: &Path, access: Access) -> io::Result<Box<dyn DataFile>> {
        let path = self.listings.goes_by(self.known(path))?;
        Ok(self.cached(self.server.open(&path, access)?))
    }
    fn read_uncached(&self, path: &Path, limit: usize) -> io::Result<Vec<u8>> {
        self.server.read_uncached(path, limit)
    }
    fn open_listed(&self, path: &Path, access: Access, scratch: &Path) -> io::Result<Box<dyn DataFile>> {
        if self.held.load(Ordering::Relaxed) {
            return Err(io::ErrorKind::StaleNetworkFileHandle.into());
        }
        self.listings.looks_for(path);
        if self.known(path) != path {
            *self.remembers.lock().unwrap() = None;
        }
        Ok(self.cached(self.server.open_listed(path, access, scratch)?))
    }
    fn create_data(&self, path: &Path, owner: Owner) -> io::Result<Box<dyn DataFile>> {
        if self.no_copies.load(Ordering::Relaxed) && path.to_string_lossy().contains("/fence.") {
            return Err(io::ErrorKind::PermissionDenied.into());
        }
        Ok(self.cached(self.server.create_data(path, owner)?))
    }
    fn copy_attributes(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.server.copy_attributes(from, to)
    }
    fn kind(&self, path: &Path) -> Kind {
        self.server.kind(path)
    }
    fn process(&self) -> Process {
        self.server.process()
    }
    fn liveness(&self, process: &Process) -> Liveness {
        if process.pid == self.dead.load(Ordering::Relaxed) {
            return Liveness::Dead;
        }
        self.server.liveness(process)
    }
    fn known_for(&self, what: &str, state: &str) -> Duration {
        self.clock.known_for(what, state).unwrap_or_else(|| self.server.known_for(what, state))
    }
    fn local_guard(&self, path: &Path) -> LocalGuard {
        self.server.local_guard(path)
    }
}

impl DataFile for CachedFile {
    fn id(&self) -> io::Result<FileId> {
        self.file.id()
    }
    fn size(&self) -> io::Result<u64> {
        self.file.size()
    }
    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        let mut pages = self.pages.lock().unwrap();
        let id = self.file.id()?;
        if let Entry::Vacant(vacant) = pages.entry(id) {
            let mut whole = vec![0; self.file.size()? as usize];
            self.file.read_at(&mut whole, 0)?;
            vacant.insert(whole);
        }
        let rest = pages[&id].get(offset as usize..).unwrap_or_default();
        let got = rest.len().min(buf.len());
        buf[..got].copy_from_slice(&rest[..got]);
        Ok(got)
    }
    fn write_at(&self, buf: &[u8], offset: u64) -> io::Result<()> {
        self.pages.lock().unwrap().remove(&self.file.id()?);
        if self.clock.now().is_some() {
            self.clock.goes_on(WRITING * (buf.len() as u32) / (1 << 20));
        }
        self.file.write_at(buf, offset)
    }
    fn set_len(&self, len: u64) -> io::Result<()> {
        self.pages.lock().unwrap().remove(&self.file.id()?);
        self.file.set_len(len)
    }
    fn sync(&self) -> io::Result<()> {
        self.file.sync()
    }
    fn drop_cache(&self) -> io::Result<()> {
        self.pages.lock().unwrap().remove(&self.file.id()?);
        Ok(())
    }
    fn clone_from(&self, _: &dyn DataFile) -> bool {
        false
    }
}

/// No lock is kept: nobody ticks here.
pub(super) fn at_once() -> Wishes {
    Wishes { unlock_asap: true, ..Wishes::default() }
}

pub(super) fn host(paths: &Arc<Paths>) -> (Database, Program) {
    host_on(paths, "test", 60_000)
}

pub(super) fn host_on(paths: &Arc<Paths>, filesystem: &str, lease_ms: u64) -> (Database, Program) {
    let [held, no_links, no_copies, no_readers, late_registry, blind, refuses_write, stuck, keeps_tombstones, no_beats] =
        [(); 10].map(|()| AtomicBool::new(false));
    let (server, pages) = (Disk::new(), Pages::default());
    let (before_reader, clock) = (Mutex::default(), Arc::default());
    process_of(
        Arc::new(Client {
            server,
            pages,
            held,
            no_links,
            no_copies,
            no_readers,
            late_registry,
            blind,
            refuses_write,
            stuck,
            keeps_tombstones,
            no_beats,
            late_write: Mutex::default(),
            late: Mutex::default(),
            before_reader,
            clock,
            listings: Listings::default(),
            dead: AtomicU32::new(0),
            remembers: Mutex::default(),
        }),
        paths,
        filesystem,
        lease_ms,
    )
}

/// One more process of a host.
pub(super) fn process_of(
    client: Arc<Client>,
    paths: &Arc<Paths>,
    filesystem: &str,
    lease_ms: u64,
) -> (Database, Program) {
    let kind = Kind { name: filesystem.to_string(), class: Class::Shared };
    let database = Database::new(client.clone(), paths.clone(), kind, Mode::NetworkExclusive, lease_ms);
    let program = Program { client, paths: paths.clone(), database: None, journal: None, before_opening: None };
    (database, program.another())
}

/// Longer than any test.
pub(super) fn long() -> Wishes {
    Wishes { linger_ms: Some(60_000), ..Wishes::default() }
}

pub(super) struct Place {
    pub(super) paths: Arc<Paths>,
    _dir: tempfile::TempDir,
}

impl Place {
    pub(super) fn new() -> Place {
        let dir = tempfile::tempdir().unwrap();
        let paths = Arc::new(Paths::new(&dir.path().join("db")));
        std::fs::write(&paths.database, [1; 64]).unwrap();
        std::fs::write(&paths.journal, []).unwrap();
        // Coord is known here already: nobody has to wait for earlier readers.
        std::fs::create_dir(&paths.registry).unwrap();
        Place { paths, _dir: dir }
    }

    /// Whether a name that begins so is there.
    fn has(&self, dir: &Path, word: &str) -> bool {
        let Ok(names) = std::fs::read_dir(dir) else { return false };
        names.flatten().any(|name| name.file_name().to_string_lossy().starts_with(word))
    }

    /// The names in the registry.
    pub(super) fn names(&self) -> Vec<Name> {
        let names = std::fs::read_dir(&self.paths.registry).unwrap().flatten();
        names.filter_map(|name| Name::parse(&name.file_name())).collect()
    }

    /// What a takeover elsewhere leaves in the registry when it has replaced the files.
    pub(super) fn replaced_elsewhere(&self) {
        let epoch = Name { node: NodeId::new("elsewhere", "00000000", 1, 1), n: 1, kind: names::Kind::Epoch };
        std::fs::write(self.paths.registry.join(epoch.to_string()), []).unwrap();
    }

    /// What is on disk: reader, writer, exclusive.
    pub(super) fn held(&self) -> (bool, bool, bool) {
        let (registry, lock) = (&self.paths.registry, &self.paths.lock);
        (self.has(registry, "reader."), self.has(lock, "write."), self.has(registry, "exclusive."))
    }
}

pub(super) fn transaction(
    database: &Database,
    seat: &mut Seat,
    base: &mut Program,
    highest: Level,
) -> Result<(), LockError> {
    for level in [Level::Shared, Level::Reserved, Level::Exclusive] {
        if level <= highest
            && let Err(error) = database.lock(seat, level, base)
        {
            database.unlock(seat, Level::None, base);
            return Err(error);
        }
    }
    database.unlock(seat, Level::Shared, base);
    database.unlock(seat, Level::None, base);
    Ok(())
}

/// What a test prints as it fails without a guard.
pub(super) fn run_without(guard: &str, test: &str) -> String {
    let mut again = std::process::Command::new(std::env::current_exe().unwrap());
    again.args(["--exact", test, "--nocapture"]);
    let run = again.env("COORD_TEST_WITHOUT", guard).output().unwrap();
    assert!(!run.status.success(), "{test} does not need {guard}");
    String::from_utf8_lossy(&run.stdout).into_owned()
}
