//! Dropping the client's cache: two clients of one server, each of which keeps what it has read of a file until it is told
//! to drop it, as the kernels of two hosts do. On a disk the drop has no effect, so this is where it is shown to be needed.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::ffi::OsString;
use std::io;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use super::{Base, Database, Level, LockError, Mode, Wishes};
use crate::protocol::Paths;
use crate::protocol::names::{self, Name, NodeId};
use crate::storage::disk::Disk;
use crate::storage::kind::Class;
use crate::storage::{
    Access, Attributes, DataFile, FileId, Instant, Kind, Liveness, LocalGuard, Owner, Process, Storage,
};

type Pages = Arc<Mutex<HashMap<FileId, Vec<u8>>>>;

/// A host with a cache of its own.
struct Client {
    server: Disk,
    pages: Pages,
}

struct CachedFile {
    file: Box<dyn DataFile>,
    pages: Pages,
}

impl Client {
    fn cached(&self, file: Box<dyn DataFile>) -> Box<dyn DataFile> {
        Box::new(CachedFile { file, pages: self.pages.clone() })
    }
}

impl Storage for Client {
    fn now(&self) -> Instant {
        self.server.now()
    }
    fn sleep(&self, span: Duration) {
        self.server.sleep(span);
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
        self.server.create_new(path, contents, owner)
    }
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.server.rename(from, to)
    }
    fn link(&self, file: &Path, name: &Path) -> io::Result<()> {
        self.server.link(file, name)
    }
    fn unlink(&self, path: &Path) -> io::Result<()> {
        self.server.unlink(path)
    }
    fn list(&self, dir: &Path) -> io::Result<Vec<OsString>> {
        self.server.list(dir)
    }
    fn read_small(&self, path: &Path, limit: usize) -> io::Result<Vec<u8>> {
        self.server.read_small(path, limit)
    }
    fn append_line(&self, path: &Path, line: &str, owner: Owner) -> io::Result<()> {
        self.server.append_line(path, line, owner)
    }
    fn attributes(&self, path: &Path) -> io::Result<Attributes> {
        self.server.attributes(path)
    }
    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        self.server.sync_dir(dir)
    }
    fn open(&self, path: &Path, access: Access) -> io::Result<Box<dyn DataFile>> {
        Ok(self.cached(self.server.open(path, access)?))
    }
    fn read_uncached(&self, path: &Path, limit: usize) -> io::Result<Vec<u8>> {
        self.server.read_uncached(path, limit)
    }
    fn open_listed(&self, path: &Path, access: Access, scratch: &Path) -> io::Result<Box<dyn DataFile>> {
        Ok(self.cached(self.server.open_listed(path, access, scratch)?))
    }
    fn create_data(&self, path: &Path, owner: Owner) -> io::Result<Box<dyn DataFile>> {
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
        self.server.liveness(process)
    }
    fn known_for(&self, key: &str) -> Duration {
        self.server.known_for(key)
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

/// What stands for SQLite on a client: handles of its own, on the same cache.
pub(super) struct Program {
    client: Arc<Client>,
    paths: Arc<Paths>,
    database: Option<Box<dyn DataFile>>,
    journal: Option<Box<dyn DataFile>>,
    /// What somebody else does just before the database is opened next.
    before_opening: Option<Box<dyn FnOnce() + Send>>,
}

impl Program {
    /// Another connection on the same host.
    pub(super) fn another(&self) -> Program {
        let (client, paths) = (self.client.clone(), self.paths.clone());
        let mut program = Program { client, paths, database: None, journal: None, before_opening: None };
        program.reopen(false, false).unwrap();
        program
    }

    /// This client remembers no page.
    pub(super) fn forget(&self) {
        self.client.pages.lock().unwrap().clear();
    }

    pub(super) fn first_byte(&self) -> u8 {
        let mut byte = [0];
        self.database.as_ref().unwrap().read_at(&mut byte, 0).unwrap();
        byte[0]
    }
}

impl Base for Program {
    fn reopen(&mut self, _: bool, _: bool) -> io::Result<()> {
        if let Some(act) = self.before_opening.take() {
            act();
        }
        self.database = Some(self.client.open(&self.paths.database, Access::ReadWrite)?);
        Ok(())
    }
    fn close(&mut self) {
        self.database = None;
    }
    fn is_open(&self) -> bool {
        self.database.is_some()
    }
    fn open_journal(&mut self, make: bool) -> io::Result<()> {
        if make {
            std::fs::OpenOptions::new().append(true).create(true).open(&self.paths.journal)?;
        }
        self.journal = Some(self.client.open(&self.paths.journal, Access::ReadWrite)?);
        Ok(())
    }
    fn close_journal(&mut self) {
        self.journal = None;
    }
    fn has_journal(&self) -> bool {
        self.journal.is_some()
    }
    fn is_writable(&self) -> bool {
        true
    }
    fn may_create(&self) -> bool {
        false
    }
    fn sync(&mut self) -> io::Result<()> {
        Ok(())
    }
    fn native_lock(&mut self, _: Level) -> Result<(), LockError> {
        Ok(())
    }
    fn native_unlock(&mut self, _: Level) {}
    fn is_interrupted(&self) -> bool {
        false
    }
    fn client(&self) -> String {
        "test".to_string()
    }
}

/// No lock is kept: nobody ticks here.
fn at_once() -> Wishes {
    Wishes { unlock_asap: true, ..Wishes::default() }
}

pub(super) fn host(paths: &Arc<Paths>) -> (Database, Program) {
    host_on(paths, "test", 60_000)
}

pub(super) fn host_on(paths: &Arc<Paths>, filesystem: &str, lease_ms: u64) -> (Database, Program) {
    let client = Arc::new(Client { server: Disk::new(), pages: Pages::default() });
    let kind = Kind { name: filesystem.to_string(), class: Class::Shared };
    let database = Database::new(client.clone(), paths.clone(), kind, Mode::NetworkExclusive, lease_ms);
    let program = Program { client, paths: paths.clone(), database: None, journal: None, before_opening: None };
    (database, program.another())
}

#[test]
fn who_takes_shared_reads_what_others_have_written() {
    let dir = tempfile::tempdir().unwrap();
    let paths = Arc::new(Paths::new(&dir.path().join("db")));
    std::fs::write(&paths.database, [1]).unwrap();
    std::fs::write(&paths.journal, [0]).unwrap();
    // Coord is known here already: nobody has to wait for earlier readers.
    std::fs::create_dir(&paths.registry).unwrap();
    let ((here, mut reader), (there, mut writer)) = (host(&paths), host(&paths));
    let (mut seat, mut other) = (here.sit(0, at_once()), there.sit(0, at_once()));
    here.lock(&mut seat, Level::Shared, &mut reader).unwrap();
    assert_eq!((reader.first_byte(), here.journal_is_hot()), (1, false));
    here.unlock(&mut seat, Level::None, &mut reader);
    for level in [Level::Shared, Level::Reserved, Level::Exclusive] {
        there.lock(&mut other, level, &mut writer).unwrap();
    }
    writer.journal.as_ref().unwrap().write_at(&[0xd9], 0).unwrap();
    writer.database.as_ref().unwrap().write_at(&[2], 0).unwrap();
    there.unlock(&mut other, Level::None, &mut writer);
    here.lock(&mut seat, Level::Shared, &mut reader).unwrap();
    println!("STATE {} {}", reader.first_byte(), here.journal_is_hot());
    assert_eq!((reader.first_byte(), here.journal_is_hot()), (2, true), "an old page or an old journal was read");
    here.stand_up(&mut seat, &mut reader);
    there.stand_up(&mut other, &mut writer);
}

/// The platform's VFS opens by name, after our own descriptor was opened and compared with the directory. If the file is
/// replaced in between, the connection must not go on with another one than the manager looks after.
#[test]
fn a_file_that_is_replaced_while_it_is_opened_is_opened_anew() {
    let dir = tempfile::tempdir().unwrap();
    let paths = Arc::new(Paths::new(&dir.path().join("db")));
    let replace = |content: u8| {
        let copy = dir.path().join("copy");
        std::fs::write(&copy, [content]).unwrap();
        std::fs::rename(&copy, &paths.database).unwrap();
    };
    replace(1);
    std::fs::create_dir(&paths.registry).unwrap();
    let (here, mut reader) = host(&paths);
    let mut seat = here.sit(0, at_once());
    here.lock(&mut seat, Level::Shared, &mut reader).unwrap();
    here.unlock(&mut seat, Level::None, &mut reader);
    // Replaced once before the call, so that all handles are opened anew, and once within it.
    replace(2);
    let (copy, live) = (dir.path().join("late"), paths.database.clone());
    std::fs::write(&copy, [3]).unwrap();
    reader.before_opening = Some(Box::new(move || std::fs::rename(&copy, &live).unwrap()));
    let busy = here.lock(&mut seat, Level::Shared, &mut reader);
    println!("STATE {}", busy.is_ok());
    assert!(matches!(busy, Err(LockError::Busy)), "two different files are in use");
    here.lock(&mut seat, Level::Shared, &mut reader).unwrap();
    assert_eq!((reader.first_byte(), here.has_moved(&seat)), (3, false));
    here.stand_up(&mut seat, &mut reader);
}

/// Between moving the journal aside and linking its copy a takeover leaves no journal for a moment. Who waits for the lock then
/// must not make one: it would be in the way of the copy.
#[test]
fn who_waits_for_the_lock_makes_no_journal() {
    let dir = tempfile::tempdir().unwrap();
    let paths = Arc::new(Paths::new(&dir.path().join("db")));
    std::fs::write(&paths.database, [1]).unwrap();
    std::fs::write(&paths.journal, [0]).unwrap();
    std::fs::create_dir(&paths.registry).unwrap();
    let ((here, mut holder), (there, mut waiter)) = (host(&paths), host(&paths));
    let (mut seat, mut other) = (here.sit(0, at_once()), there.sit(0, at_once()));
    there.lock(&mut other, Level::Shared, &mut waiter).unwrap();
    for level in [Level::Shared, Level::Reserved] {
        here.lock(&mut seat, level, &mut holder).unwrap();
    }
    std::fs::rename(&paths.journal, dir.path().join("aside")).unwrap();
    assert!(matches!(there.lock(&mut other, Level::Reserved, &mut waiter), Err(LockError::Busy)));
    println!("STATE {}", paths.journal.exists());
    assert!(!paths.journal.exists());
    std::fs::rename(dir.path().join("aside"), &paths.journal).unwrap();
    here.stand_up(&mut seat, &mut holder);
    there.stand_up(&mut other, &mut waiter);
}

/// The negative control: without the guard there is one.
#[test]
fn without_the_guard_a_waiter_makes_one() {
    let said = without("journal-under-lock", "who_waits_for_the_lock_makes_no_journal");
    assert!(said.contains("STATE true"), "{said}");
}

/// A writer's attempt at EXCLUSIVE had to open everything anew and failed after it had closed the journal; the program tries again.
/// SQLite has written into that journal what undoes its changes: nobody may change the database without it.
#[test]
fn a_writer_that_tries_again_has_its_journal() {
    let dir = tempfile::tempdir().unwrap();
    let paths = Arc::new(Paths::new(&dir.path().join("db")));
    std::fs::write(&paths.database, [1]).unwrap();
    std::fs::create_dir(&paths.registry).unwrap();
    let (here, mut writer) = host(&paths);
    let mut seat = here.sit(0, at_once());
    for level in [Level::Shared, Level::Reserved] {
        here.lock(&mut seat, level, &mut writer).unwrap();
    }
    assert!(writer.has_journal(), "made under the lock");
    // As the first attempt left it.
    writer.close_journal();
    let foreign = NodeId::new("elsewhere", "00000000", 1, 1);
    let epoch = Name { node: foreign, n: 1, kind: names::Kind::Epoch };
    std::fs::write(paths.registry.join(epoch.to_string()), []).unwrap();
    here.lock(&mut seat, Level::Exclusive, &mut writer).unwrap();
    println!("STATE {}", writer.has_journal());
    assert!(writer.has_journal());
    here.stand_up(&mut seat, &mut writer);
}

/// The negative control: without the guard EXCLUSIVE is given all the same.
#[test]
fn without_the_guard_it_has_none() {
    let said = without("journal-wanted", "a_writer_that_tries_again_has_its_journal");
    assert!(said.contains("STATE false"), "{said}");
}

/// The negative control: without the comparison the lock is given.
#[test]
fn without_the_comparison_two_files_are_in_use() {
    let said = without("handle-check", "a_file_that_is_replaced_while_it_is_opened_is_opened_anew");
    assert!(said.contains("STATE true"), "{said}");
}

/// The negative control: without the guard both the page and the journal are what this client remembers.
#[test]
fn without_the_drop_old_pages_are_read() {
    let said = without("cache-drop", "who_takes_shared_reads_what_others_have_written");
    assert!(said.contains("STATE 1 false"), "{said}");
}

/// What a test of this file prints as it fails without a guard.
fn without(guard: &str, test: &str) -> String {
    run_without(guard, &format!("lock::coherence_tests::{test}"))
}

/// The same for a test by its whole name.
pub(super) fn run_without(guard: &str, test: &str) -> String {
    let mut again = std::process::Command::new(std::env::current_exe().unwrap());
    again.args(["--exact", test, "--nocapture"]);
    let run = again.env("COORD_TEST_WITHOUT", guard).output().unwrap();
    assert!(!run.status.success(), "{test} does not need {guard}");
    String::from_utf8_lossy(&run.stdout).into_owned()
}
