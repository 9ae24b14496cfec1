//! Transactions in SQLite's order of steps, over the real lock manager: pre-images into a journal, journal synced, header
//! synced, pages, sync, journal cut to nothing, sync, confirmation. Some write a part of their pages before the end, as SQLite
//! does when its cache is full, and some of these roll back.

mod transactions;

use std::io;
use std::sync::Arc;

use coord::lock::{Base, Database, Level, LockError, STAMP, STAMP_AT, Seat, Wishes};
use coord::protocol::Paths;
use coord::protocol::lease::Standing;
use coord::storage::{Access, DataFile, Storage};
use coord::switches::{self, Guard};

use super::base::{Handles, synced};
use super::history::{Content, PAGE, PAGES};
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
    /// Nothing more can be written.
    Full,
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
        // The first opening, by name and without a lock. The shim does not keep that either where it would stand in the way.
        let database = storage.open(&paths.database, Access::ReadWrite).ok().filter(|_| !manager.holds_names());
        let handles = Handles {
            storage,
            paths,
            database,
            journal: None,
            dirty: false,
            journal_dirty: false,
            sync_failed: false,
            journal_mark: None,
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
        self.handles.journal_mark = None;
        self.handles.sync_failed = false;
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
            Err(error) => {
                self.manager.doubt(&mut self.seat);
                if error.kind() == io::ErrorKind::StorageFull {
                    return Err(Stop::Full);
                }
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
        let mut again = Ok(());
        let ended = self.journal(|journal| {
            journal.set_len(0)?;
            let ended = synced(journal);
            if ended.is_err() && !switches::off(Guard::EndAgain) {
                again = journal.write_at(&[0; HEADER], 0).and_then(|()| synced(journal));
            }
            ended
        });
        if again.is_err() {
            // As the shim has it.
            self.manager.end_is_lost(&self.seat);
        }
        ended?;
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
}
