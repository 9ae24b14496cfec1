//! Transactions in SQLite's order of steps, over the real lock manager: pre-images into a journal, journal synced, header
//! synced, pages, sync, journal cut to nothing, sync, confirmation. Some write a part of their pages before the end, as SQLite
//! does when its cache is full, and some of these roll back.

use std::io;
use std::sync::Arc;

use coord::lock::{Base, Database, Level, LockError, STAMP, STAMP_AT, Seat, Wishes};
use coord::protocol::Paths;
use coord::protocol::lease::Standing;
use coord::protocol::switches::{self, Guard};
use coord::storage::{Access, DataFile, Storage};

use super::base::Handles;
use super::history::{Content, Fate, PAGE, PAGES};
use super::storage::{SimStorage, database};
use super::weather::Broken;

const HEADER: usize = 16;
const MAGIC: u8 = 0xd9;
/// A sixth of the lease, by a clock that may be slow, and a little for the asking.
const HEARTBEAT: u64 = 250 * super::world::MS;

/// Why a transaction stopped.
#[derive(Debug)]
pub enum Stop {
    Busy,
    Lost,
    /// The application rolled it back.
    RolledBack,
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
    task: usize,
    /// What it read or wrote last, as SQLite's page cache has it.
    cache: Option<Content>,
}

impl Connection {
    pub fn open(manager: Arc<Database>, storage: SimStorage, who: String) -> Connection {
        let linger_ms = Some(storage.world.state().linger_ms);
        let seat = manager.sit(0, Wishes { lease_ms: 1000, linger_ms, ..Wishes::default() });
        let paths = Paths::new(&database());
        let task = storage.task;
        // The first opening, by name and without a lock.
        let database = storage.open(&paths.database, Access::ReadWrite).ok();
        let handles = Handles {
            storage,
            paths,
            database,
            journal: None,
            dirty: false,
            journal_dirty: false,
            journal_named: false,
            doubt: false,
        };
        Connection { manager, seat, handles, who, task, cache: None }
    }

    pub fn close(mut self) {
        self.world().holds(self.task, Level::None, None);
        self.manager.stand_up(&mut self.seat, &mut self.handles);
    }

    fn lock(&mut self, level: Level) -> Result<(), Stop> {
        let locked = self.manager.lock(&mut self.seat, level, &mut self.handles);
        let (level, lease) = (self.seat.level(), self.seat.lease());
        let mut state = self.world();
        let task = self.task;
        state.note(task, || match &locked {
            Ok(()) => format!("believes it holds {level:?}"),
            Err(error) => format!("got no lock: {error:?}; holds {level:?}"),
        });
        // What it holds while it waits for EXCLUSIVE is no more than before.
        state.holds(task, if locked.is_ok() { level } else { level.min(Level::Reserved) }, lease);
        drop(state);
        Ok(locked?)
    }

    fn unlock(&mut self, level: Level) {
        {
            let mut state = self.world();
            let task = self.task;
            state.note(task, || format!("unlocks to {level:?}"));
            state.holds(task, level, self.seat.lease());
        }
        self.manager.unlock(&mut self.seat, level, &mut self.handles);
    }

    fn is_broken(&self, broken: Broken) -> bool {
        self.world().broken == Some(broken)
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
                self.manager.doubt(&mut self.seat);
                self.manager.write_failed(&self.seat);
                Err(Stop::Lost)
            }
        }
    }

    fn shared(&mut self) -> Result<(), Stop> {
        self.lock(Level::Shared)?;
        if self.manager.journal_is_hot() && !self.sees_a_writer() {
            self.lock(Level::Exclusive)?;
            if self.manager.journal_is_hot() {
                self.world().count("transaction: hot journal rolled back");
                self.roll_back()?;
            }
            self.unlock(Level::Shared);
        }
        Ok(())
    }

    /// What SQLite would be told by a wrong check for a reserved lock.
    fn sees_a_writer(&self) -> bool {
        let state = self.world();
        state.broken == Some(Broken::ReservedBesideRecoverer)
            && state
                .server
                .list(&self.handles.paths.lock)
                .is_ok_and(|names| names.iter().any(|name| name.starts_with("write.")))
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
        self.sync_database()?;
        self.finalise()
    }

    fn write_database(&mut self, data: &[u8], offset: u64) -> Result<(), Stop> {
        self.io(|handles| {
            handles.dirty = true;
            handles.database.as_ref().ok_or(io::ErrorKind::NotFound)?.write_at(data, offset)
        })?;
        self.manager.wrote(&mut self.seat, data, offset as i64);
        Ok(())
    }

    fn sync_database(&mut self) -> Result<(), Stop> {
        if self.is_broken(Broken::DatabaseUnsynced) {
            self.handles.dirty = false;
        }
        self.io(|handles| handles.sync())
    }

    fn journal(&mut self, what: impl FnOnce(&dyn DataFile) -> io::Result<()>) -> Result<(), Stop> {
        self.io(|handles| {
            handles.journal_dirty = true;
            what(&**handles.journal.as_ref().ok_or(io::ErrorKind::NotFound)?)
        })
    }

    fn sync_journal(&mut self) -> Result<(), Stop> {
        if self.is_broken(Broken::JournalUnsynced) {
            self.handles.journal_dirty = false;
            return Ok(());
        }
        self.io(|handles| {
            handles.journal_dirty = true;
            handles.sync_journal()
        })
    }

    fn finalise(&mut self) -> Result<(), Stop> {
        if self.is_broken(Broken::JournalUnlinked) {
            self.io(|handles| handles.storage.unlink(&handles.paths.journal))?;
            self.handles.journal = None;
            self.manager.journal_finalised();
            return Ok(());
        }
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
            self.world().count("lock: answered from memory");
            self.must_be_valid();
            // It asks the server nothing, but takes its time.
            self.handles.storage.sleep(std::time::Duration::from_micros(100));
            return Ok(known);
        }
        let mut stamp = [0; STAMP];
        let file = self.handles.database.as_ref().ok_or(Stop::Lost)?;
        file.read_at(&mut stamp, STAMP_AT as u64).map_err(|_| Stop::Lost)?;
        self.check()?;
        self.manager.learn(&mut self.seat, |known| known.stamp = Some(stamp));
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

    fn must_be_valid(&self) {
        let valid = self.seat.lease().map(|lease| lease.standing(self.manager.now()));
        if valid != Some(Standing::Valid) {
            let text = format!("S2: {} was given data after its lease had run out", self.who);
            self.world().history.violated(text);
        }
    }

    fn read_all(&mut self) -> Result<Content, Stop> {
        let mut pages = [[0; PAGE]; PAGES];
        let before = self.is_broken(Broken::CheckBeforeRead);
        for (number, page) in pages.iter_mut().enumerate() {
            if before {
                self.check()?;
            }
            let file = self.handles.database.as_ref().ok_or(Stop::Lost)?;
            file.read_at(page, (number * PAGE) as u64).map_err(|_| Stop::Lost)?;
            if !before {
                self.check()?;
            }
            self.must_be_valid();
        }
        Ok(Content::of(pages))
    }

    fn world(&self) -> std::sync::MutexGuard<'_, super::world::State> {
        self.handles.storage.world.state()
    }

    fn draw(&self, limit: u64) -> u64 {
        self.world().tasks[self.task].rng.below(limit)
    }

    /// What must be seen by a lock that is asked for now.
    fn known(&self) -> (usize, u64) {
        let state = self.world();
        (state.history.reported.len(), state.now)
    }

    fn saw(&self, content: &Content, (known, since): (usize, u64)) {
        let mut state = self.world();
        let process = state.tasks[self.task].process;
        // Who stood still meanwhile may have the snapshot it had, until its next heartbeat; never a mix.
        let undisturbed = state.processes[process].disturbed + HEARTBEAT < since;
        let known = undisturbed.then_some(known);
        let who = self.who.clone();
        state.note(self.task, || format!("reads {:x?}", content.tags()));
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

    /// A transaction that changes nothing: whoever makes it still clears up after the dead.
    pub fn touch(&mut self) {
        let _ = self.shared().and_then(|()| self.lock(Level::Reserved)).and_then(|()| self.lock(Level::Exclusive));
        self.unlock(Level::None);
    }

    /// A write transaction.
    pub fn write(&mut self, tag: u64) -> Result<(), Stop> {
        self.world().history.fates.insert(tag, Fate::Running);
        let mut fate = Fate::Failed;
        let done = self.transaction(tag, &mut fate);
        {
            let mut state = self.world();
            let task = self.task;
            state.note(task, || format!("transaction {tag:x}: {done:?}, {fate:?}"));
            // Before the locks go: from then on others may look.
            match &done {
                Ok(()) => state.history.report(tag),
                Err(_) => drop(state.history.fates.insert(tag, fate)),
            }
        }
        if done.is_err() {
            self.cache = None;
        }
        // Who does not get EXCLUSIVE rolls back: he has written nothing but his journal. Otherwise it may not be finalised.
        let clean = match done {
            Err(Stop::Busy) if self.seat.level() >= Level::Reserved => self.finalise().is_ok(),
            Err(Stop::Busy | Stop::Lost) => false,
            _ => true,
        };
        if !clean {
            self.manager.doubt(&mut self.seat);
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
        if self.draw(8) == 0 {
            // It thinks, while others of its process go on.
            let span = self.draw(400);
            self.handles.storage.sleep(std::time::Duration::from_millis(span));
        }
        self.lock(Level::Reserved)?;
        let after = before.next(tag);
        self.journal(|journal| journal.write_at(&[0; HEADER], 0))?;
        // The cache is full after some pages: these are journaled, and written, before the others.
        let (spilled, keeps) = (self.draw(3 * PAGES as u64) as usize, self.draw(4) > 0);
        let spilled = if spilled < PAGES { spilled } else { 0 };
        if spilled > 0 {
            self.world().count("transaction: pages written before its end");
            self.write_pages(&before, &after, 0..spilled)?;
        }
        if !keeps {
            self.world().count("transaction: rolled back by its maker");
            if spilled > 0 {
                self.roll_back()?;
            } else {
                self.finalise()?;
            }
            return Err(Stop::RolledBack);
        }
        self.write_pages(&before, &after, spilled..PAGES)?;
        self.sync_database()?;
        *fate = Fate::Unknown;
        self.world().history.fates.insert(tag, Fate::Unknown);
        self.finalise()?;
        if !switches::off(Guard::CommitCheck) {
            self.manager.confirm(&self.seat).map_err(|_| Stop::Lost)?;
        }
        self.cache = Some(after);
        Ok(())
    }

    /// Journals these pages, and writes them once the journal is certain.
    fn write_pages(&mut self, before: &Content, after: &Content, which: std::ops::Range<usize>) -> Result<(), Stop> {
        for number in which.clone() {
            let mut record = vec![number as u8];
            record.extend_from_slice(&before.pages[number]);
            self.journal(|journal| journal.write_at(&record, (HEADER + number * (PAGE + 1)) as u64))?;
        }
        self.become_exclusive()?;
        self.sync_journal()?;
        let mut header = [0; HEADER];
        (header[0], header[1]) = (MAGIC, which.end as u8);
        self.journal(|journal| journal.write_at(&header, 0))?;
        self.sync_journal()?;
        for number in which {
            self.write_database(&after.pages[number], (number * PAGE) as u64)?;
        }
        Ok(())
    }

    fn become_exclusive(&mut self) -> Result<(), Stop> {
        let mut tries = 0;
        while let Err(stop) = self.lock(Level::Exclusive) {
            tries += 1;
            if tries > 20 || matches!(stop, Stop::Lost) {
                return Err(stop);
            }
            self.handles.storage.sleep(std::time::Duration::from_millis(20));
        }
        Ok(())
    }
}
