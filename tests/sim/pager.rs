//! Transactions in SQLite's order of steps, over the real lock manager: pre-images into a journal, journal synced, header
//! synced, pages, sync, journal cut to nothing, sync, confirmation.

use std::io;
use std::sync::Arc;

use coord::lock::{Base, Database, Level, LockError, STAMP, STAMP_AT, Seat, Wishes};
use coord::protocol::Paths;
use coord::protocol::lease::Standing;
use coord::protocol::switches::{self, Guard};
use coord::storage::{Access, DataFile, Owner, Storage};

use super::history::{Content, Fate, PAGE, PAGES};
use super::storage::{SimStorage, database};

const HEADER: usize = 16;
const MAGIC: u8 = 0xd9;
/// A sixth of the lease, by a clock that may be slow, and a little for the asking.
const HEARTBEAT: u64 = 250 * super::world::MS;

/// One connection's handles.
struct Handles {
    storage: SimStorage,
    paths: Paths,
    database: Option<Box<dyn DataFile>>,
    journal: Option<Box<dyn DataFile>>,
    dirty: bool,
    journal_dirty: bool,
    /// The database behind the handle may be another one: what was read from it before counts no more.
    doubt: bool,
}

const OWNER: Owner = Owner { mode: 0o644, uid: 0, gid: 0 };

impl Base for Handles {
    fn reopen(&mut self, _: bool, create: bool) -> io::Result<()> {
        if create {
            self.storage.create_new(&self.paths.database, b"", OWNER)?;
        }
        self.database = Some(self.storage.open(&self.paths.database, Access::ReadWrite)?);
        self.doubt = true;
        Ok(())
    }

    fn is_open(&self) -> bool {
        self.database.is_some()
    }

    fn close(&mut self) {
        self.database = None;
    }

    fn open_journal(&mut self) -> io::Result<()> {
        if self.journal.is_some() {
            return Ok(());
        }
        let opened = self.storage.open(&self.paths.journal, Access::ReadWrite).or_else(|_| {
            let _ = self.storage.create_new(&self.paths.journal, b"", OWNER);
            self.storage.open(&self.paths.journal, Access::ReadWrite)
        });
        self.journal = Some(opened?);
        Ok(())
    }

    fn close_journal(&mut self) {
        self.journal_dirty = false;
        self.journal = None;
    }

    fn has_journal(&self) -> bool {
        self.journal.is_some()
    }

    fn is_writable(&self) -> bool {
        true
    }

    fn may_create(&self) -> bool {
        true
    }

    fn sync(&mut self) -> io::Result<()> {
        if self.journal_dirty
            && let Some(journal) = &self.journal
        {
            journal.sync()?;
            self.journal_dirty = false;
        }
        if self.dirty
            && let Some(database) = &self.database
        {
            database.sync()?;
            self.dirty = false;
        }
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
        "simulation".to_string()
    }
}

/// Why a transaction stopped.
#[derive(Debug)]
pub enum Stop {
    Busy,
    Lost,
}

impl From<LockError> for Stop {
    fn from(error: LockError) -> Stop {
        match error {
            LockError::Busy | LockError::Interrupted => Stop::Busy,
            _ => Stop::Lost,
        }
    }
}

/// A connection.
pub struct Connection {
    manager: Arc<Database>,
    seat: Seat,
    handles: Handles,
    who: String,
    /// What it read or wrote last, as SQLite's page cache has it.
    cache: Option<Content>,
}

impl Connection {
    pub fn open(manager: Arc<Database>, storage: SimStorage, who: String, linger_ms: u64) -> Connection {
        let seat = manager.sit(0, Wishes { lease_ms: 1000, linger_ms: Some(linger_ms), ..Wishes::default() });
        let paths = Paths::new(&database());
        // The first opening, by name and without a lock.
        let first = storage.open(&paths.database, Access::ReadWrite).ok();
        let handles = Handles {
            storage,
            paths,
            database: first,
            journal: None,
            dirty: false,
            journal_dirty: false,
            doubt: false,
        };
        Connection { manager, seat, handles, who, cache: None }
    }

    pub fn close(mut self) {
        self.manager.stand_up(&mut self.seat, &mut self.handles);
    }

    fn lock(&mut self, level: Level) -> Result<(), Stop> {
        Ok(self.manager.lock(&mut self.seat, level, &mut self.handles)?)
    }

    fn unlock(&mut self, level: Level) {
        self.manager.unlock(&mut self.seat, level, &mut self.handles);
    }

    fn check(&mut self) -> Result<(), Stop> {
        if switches::off(Guard::LeaseCheck) {
            return Ok(());
        }
        let lease = self.seat.lease().ok_or(Stop::Lost)?;
        match lease.standing(self.manager.now()) {
            Standing::Valid => Ok(()),
            Standing::Lapsed => self.manager.renew(&self.seat).map_err(|_| Stop::Lost),
            Standing::Deposed => Err(Stop::Lost),
        }
    }

    /// One data operation, with the lease checked around it.
    fn io<R>(&mut self, what: impl FnOnce(&mut Handles) -> io::Result<R>) -> Result<R, Stop> {
        self.check()?;
        match what(&mut self.handles) {
            Ok(result) => {
                self.check()?;
                Ok(result)
            }
            Err(_) => {
                self.manager.doubt();
                self.manager.write_failed(&self.seat);
                Err(Stop::Lost)
            }
        }
    }

    fn shared(&mut self) -> Result<(), Stop> {
        self.lock(Level::Shared)?;
        if self.manager.journal_is_hot() {
            self.lock(Level::Exclusive)?;
            if self.manager.journal_is_hot() {
                self.roll_back()?;
            }
            self.unlock(Level::Shared);
        }
        Ok(())
    }

    fn roll_back(&mut self) -> Result<(), Stop> {
        let journal = self.io(|handles| {
            let journal = handles.journal.as_ref().ok_or(io::ErrorKind::NotFound)?;
            let mut data = vec![0; HEADER + PAGES * (PAGE + 1)];
            let got = journal.read_at(&mut data, 0)?;
            data.truncate(got);
            Ok(data)
        })?;
        let count = journal.get(1).copied().unwrap_or(0) as usize;
        for record in journal[HEADER.min(journal.len())..].chunks_exact(PAGE + 1).take(count) {
            let page = record[0] as u64 * PAGE as u64;
            self.write_database(&record[1..], page)?;
        }
        self.io(|handles| handles.sync())?;
        self.finalise()
    }

    fn write_database(&mut self, data: &[u8], offset: u64) -> Result<(), Stop> {
        self.io(|handles| {
            handles.dirty = true;
            handles.database.as_ref().ok_or(io::ErrorKind::NotFound)?.write_at(data, offset)
        })?;
        self.manager.wrote(&self.seat, data, offset as i64);
        Ok(())
    }

    fn journal(&mut self, what: impl FnOnce(&dyn DataFile) -> io::Result<()>) -> Result<(), Stop> {
        self.io(|handles| {
            handles.journal_dirty = true;
            what(&**handles.journal.as_ref().ok_or(io::ErrorKind::NotFound)?)
        })
    }

    fn finalise(&mut self) -> Result<(), Stop> {
        self.journal(|journal| {
            journal.set_len(0)?;
            journal.sync()
        })?;
        self.manager.journal_finalised();
        Ok(())
    }

    /// The stamp that the database has now, from memory where the manager knows it.
    fn stamp(&mut self) -> Result<[u8; STAMP], Stop> {
        if let Some(known) = self.manager.recall(&self.seat).stamp {
            self.must_be_valid();
            return Ok(known);
        }
        let mut stamp = [0; STAMP];
        let file = self.handles.database.as_ref().ok_or(Stop::Lost)?;
        file.read_at(&mut stamp, STAMP_AT as u64).map_err(|_| Stop::Lost)?;
        self.check()?;
        self.manager.learn(&self.seat, |known| known.stamp = Some(stamp));
        Ok(stamp)
    }

    /// What a transaction finds at its beginning: what the connection remembers, if that is still good.
    fn content(&mut self) -> Result<Content, Stop> {
        let stamp = self.stamp()?;
        let doubt = std::mem::take(&mut self.handles.doubt);
        if let Some(cache) = self.cache.as_ref().filter(|cache| !doubt && cache.stamp() == stamp) {
            return Ok(cache.clone());
        }
        let content = self.read_all()?;
        self.cache = Some(content.clone());
        Ok(content)
    }

    fn read_all(&mut self) -> Result<Content, Stop> {
        let mut pages = [[0; PAGE]; PAGES];
        for (number, page) in pages.iter_mut().enumerate() {
            let file = self.handles.database.as_ref().ok_or(Stop::Lost)?;
            file.read_at(page, (number * PAGE) as u64).map_err(|_| Stop::Lost)?;
            self.check()?;
            self.must_be_valid();
        }
        Ok(Content::of(pages))
    }

    fn must_be_valid(&self) {
        let valid = self.seat.lease().map(|lease| lease.standing(self.manager.now()));
        if valid != Some(Standing::Valid) {
            let text = format!("{} was given data after its lease had run out", self.who);
            self.world().history.violated(text);
        }
    }

    fn world(&self) -> std::sync::MutexGuard<'_, super::world::State> {
        self.handles.storage.world.state()
    }

    /// What must be seen by a lock that is asked for now.
    fn known(&self) -> (usize, u64) {
        let state = self.world();
        (state.history.reported.len(), state.now)
    }

    fn saw(&self, content: &Content, (known, since): (usize, u64)) {
        let mut state = self.world();
        let process = state.tasks[self.handles.storage.task].process;
        // Who stood still meanwhile may have the snapshot it had, until its next heartbeat; never a mix.
        let undisturbed = state.processes[process].disturbed + HEARTBEAT < since;
        let known = undisturbed.then_some(known);
        let who = self.who.clone();
        state.history.saw(&who, content, known);
    }

    /// A read transaction.
    pub fn read(&mut self) -> Result<(), Stop> {
        let known = self.known();
        let content = self.shared().and_then(|()| self.content());
        if let Ok(content) = &content {
            self.saw(content, known);
        }
        self.unlock(Level::None);
        content.map(drop)
    }

    /// A write transaction.
    pub fn write(&mut self, tag: u64) -> Result<(), Stop> {
        self.world().history.fates.insert(tag, Fate::Running);
        let mut fate = Fate::Failed;
        let done = self.transaction(tag, &mut fate);
        // Before the locks go: from then on others may look.
        match &done {
            Ok(()) => self.world().history.report(tag),
            Err(_) => {
                self.world().history.fates.insert(tag, fate);
                // Its journal may not be finalised, and what it has in memory may not be in the file.
                self.cache = None;
                self.manager.doubt();
            }
        }
        if done.is_ok() {
            self.unlock(Level::Shared);
        }
        self.unlock(Level::None);
        done
    }

    fn transaction(&mut self, tag: u64, fate: &mut Fate) -> Result<(), Stop> {
        let known = self.known();
        self.shared()?;
        let before = self.content()?;
        self.saw(&before, known);
        self.lock(Level::Reserved)?;
        let after = before.next(tag);
        self.journal(|journal| journal.write_at(&[0; HEADER], 0))?;
        for (number, page) in before.pages.iter().enumerate() {
            let mut record = vec![number as u8];
            record.extend_from_slice(page);
            self.journal(|journal| journal.write_at(&record, (HEADER + number * (PAGE + 1)) as u64))?;
        }
        let mut tries = 0;
        while let Err(stop) = self.lock(Level::Exclusive) {
            tries += 1;
            if tries > 20 || matches!(stop, Stop::Lost) {
                return Err(stop);
            }
            self.handles.storage.sleep(std::time::Duration::from_millis(20));
        }
        self.journal(|journal| journal.sync())?;
        let mut header = [0; HEADER];
        (header[0], header[1]) = (MAGIC, PAGES as u8);
        self.journal(|journal| {
            journal.write_at(&header, 0)?;
            journal.sync()
        })?;
        for (number, page) in after.pages.iter().enumerate() {
            self.write_database(page, (number * PAGE) as u64)?;
        }
        self.io(|handles| handles.sync())?;
        *fate = Fate::Unknown;
        self.world().history.fates.insert(tag, Fate::Unknown);
        self.finalise()?;
        if !switches::off(Guard::CommitCheck) {
            self.manager.confirm(&self.seat).map_err(|_| Stop::Lost)?;
        }
        self.cache = Some(after);
        Ok(())
    }
}
