//! An open database: SQLite's file methods over the platform's handle, with the lock manager asked for locks and the lease
//! checked around everything that reads or writes.

use std::ffi::{c_char, c_int};
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;

use super::handles::Handles;
use super::host_copy::{HostCopy, flush_log};
use super::transaction::Transaction;
use crate::host::ffi::*;
use crate::lock::{self, Database, Level, LockError, Mode, STAMP, STAMP_AT, Seat, Weight, Wishes, Writing};
use crate::protocol::Paths;
use crate::protocol::lease::Standing;
use crate::switches::{self, Guard};

/// Device characteristics that stay true through coord; the others promise what only the platform's own path keeps
/// (commits without a journal, no need for journal syncs, handles that are kept open).
const CHARACTERISTICS: c_int = SQLITE_IOCAP_POWERSAFE_OVERWRITE | SQLITE_IOCAP_SUBPAGE_READ;

/// What an ordinary database begins with; one that SQLite's pager encrypts does not.
const MAGIC: &[u8] = b"SQLite format 3\0";
/// Where the two file format versions stand (<https://www.sqlite.org/fileformat.html>, 1.3.2): 2 means WAL.
const WAL_MARK: std::ops::Range<usize> = 18..20;
/// So much of the beginning tells.
pub const WAL_HEADER: usize = WAL_MARK.end;

/// Whether a database that begins so is in WAL mode. Of an encrypted one nothing is known, and nothing of it may be touched.
pub fn says_wal(beginning: &[u8]) -> bool {
    beginning.starts_with(MAGIC) && beginning.get(WAL_MARK).is_some_and(|versions| versions.contains(&2))
}

/// One open database. Lives in its own allocation, which SQLite's file points to.
pub struct DatabaseFile {
    pub handles: Handles,
    pub seat: Seat,
    pub database: Arc<Database>,
    pub transaction: Transaction,
    /// The address of the connection whose transaction has begun to write here, or 0: for the other files of the process.
    pub writing: Arc<AtomicUsize>,
    /// Why nothing may be done with this database; noted at open, where no sentence would reach the user.
    pub refusal: Option<String>,
    /// What was last said to this connection's user.
    pub last_error: Option<String>,
    name: *const c_char,
    /// Answered from what was true at the first opening, as SQLite reads them at odd times.
    sector_size: c_int,
    characteristics: c_int,
    /// The user was told why the present lock is worth nothing any more; what fails after that has nothing to add.
    lost_told: bool,
    /// `PRAGMA locking_mode=EXCLUSIVE` was given.
    pub locking_mode_exclusive: bool,
    /// In trusted mode: what SQLite compares its cache by, as read under the present lock, and as it was when there was no WAL.
    pub stamp: Option<[u8; STAMP]>,
    pub without_wal: Option<[u8; STAMP]>,
}

impl DatabaseFile {
    pub fn new(
        host: &'static HostCopy,
        name: *const c_char,
        flags: c_int,
        database: Arc<Database>,
        wishes: Wishes,
    ) -> DatabaseFile {
        let seat = database.sit(host.api.slot(), wishes);
        DatabaseFile {
            handles: Handles::new(host, name, database.paths(), flags),
            seat,
            database,
            transaction: Transaction::default(),
            writing: Arc::default(),
            refusal: None,
            last_error: None,
            name,
            sector_size: 4096,
            characteristics: SQLITE_IOCAP_POWERSAFE_OVERWRITE,
            lost_told: false,
            locking_mode_exclusive: false,
            stamp: None,
            without_wal: None,
        }
    }

    pub fn paths(&self) -> &Paths {
        self.database.paths()
    }

    pub fn name(&self) -> *const c_char {
        self.name
    }

    /// After the first opening.
    pub fn opened(&mut self) {
        if let Some(file) = &self.handles.database {
            self.sector_size = file.sector_size();
            self.characteristics = file.characteristics() & CHARACTERISTICS;
        }
    }

    /// Says a sentence to whoever listens: the log, `coord_last_error()`, `PRAGMA coord_error`.
    pub fn say(&mut self, text: String) {
        lock::say(Weight::Warning, text.clone());
        self.last_error = Some(text);
        flush_log(self.handles.host.api);
    }

    /// `code`, with a sentence.
    pub fn fail(&mut self, code: c_int, text: impl Into<String>) -> c_int {
        self.say(text.into());
        code
    }

    /// What the program is told where somebody is in the way; who, it may ask.
    pub fn busy(&mut self) -> c_int {
        if let Some(text) = self.seat.take_busy() {
            self.last_error = Some(text);
        }
        SQLITE_BUSY
    }

    pub fn is_network(&self) -> bool {
        self.seat.lease().is_some()
    }

    // --- the lease ---

    /// Whether what we hold is still ours; where our clock says that the lease has run out, a heartbeat decides.
    pub fn check_lease(&mut self, code: c_int) -> c_int {
        // A forked child's copy of the lease says nothing of what its parent still holds.
        if let Err(text) = lock::check(self.seat.fork()) {
            return self.fail(code, text);
        }
        let Some(lease) = self.seat.lease() else {
            return match self.database.usurped().filter(|_| self.seat.level() > Level::None) {
                Some(text) => self.fail(code, text),
                None => SQLITE_OK,
            };
        };
        if switches::off(Guard::LeaseCheck) {
            return SQLITE_OK;
        }
        match lease.standing(self.database.now()) {
            Standing::Valid => SQLITE_OK,
            Standing::Lapsed => match self.database.renew(&self.seat) {
                Ok(()) => SQLITE_OK,
                Err(text) => self.fail(code, text),
            },
            Standing::Deposed if self.lost_told => code,
            Standing::Deposed => {
                self.lost_told = true;
                let text = self.database.lost();
                self.fail(code, text)
            }
        }
    }

    /// A heartbeat now, or `code` with a sentence.
    pub fn confirm(&mut self, code: c_int) -> c_int {
        match self.database.confirm(&self.seat) {
            Ok(()) => SQLITE_OK,
            Err(text) => self.fail(code, text),
        }
    }

    // --- writing ---

    pub fn write(&mut self, data: &[u8], offset: i64) -> c_int {
        if let Err(code) = self.may_write(false).and_then(|()| self.has_its_record(data.len(), offset)) {
            return code;
        }
        let cleaned = self.without_wal_mark(data, offset);
        if cleaned.is_some() {
            // SQLite has the page with the mark in its cache.
            self.handles.doubt = true;
        }
        let data = cleaned.as_deref().unwrap_or(data);
        let done = self.changed(SQLITE_IOERR_WRITE, |file| file.write(data, offset));
        if done == SQLITE_OK && self.is_network() {
            self.database.wrote(&mut self.seat, data, offset);
        } else if done != SQLITE_OK {
            self.database.doubt(&mut self.seat);
        }
        done
    }

    pub fn truncate(&mut self, size: i64) -> c_int {
        if let Err(code) = self.may_write(true) {
            return code;
        }
        let done = self.changed(SQLITE_IOERR_TRUNCATE, |file| file.truncate(size));
        let headless = size < STAMP_AT + STAMP as i64;
        self.handles.was_empty |= headless && !switches::off(Guard::EmptyDatabase);
        if done == SQLITE_OK && self.is_network() {
            self.database.learn(&mut self.seat, |known| {
                known.size = None;
                known.stamp = known.stamp.filter(|_| !headless);
            });
        }
        done
    }

    /// One change of the database, with the lease checked before and after.
    fn changed(&mut self, code: c_int, change: impl FnOnce(&super::base::BaseFile) -> c_int) -> c_int {
        let _writing = match Writing::begin(self.seat.fork()) {
            Ok(writing) => writing,
            Err(text) => return self.fail(code, text),
        };
        let before = self.check_lease(code);
        if before != SQLITE_OK {
            return before;
        }
        let Some(file) = &self.handles.database else { return code };
        self.handles.database_dirty = true;
        switches::stop_point("database-write");
        let done = change(file);
        if done != SQLITE_OK {
            self.write_failed(done);
            return done;
        }
        self.check_lease(code)
    }

    /// A change failed: unless the disk was full it may still be carried out, late.
    pub fn write_failed(&mut self, code: c_int) {
        self.transaction.failed = true;
        self.database.doubt(&mut self.seat);
        if code & 0xff != SQLITE_FULL {
            self.database.write_failed(&self.seat);
        }
    }

    /// A page 1 that says "WAL" (a backup from such a database) would leave a file that nobody can open through coord.
    fn without_wal_mark(&mut self, data: &[u8], offset: i64) -> Option<Vec<u8>> {
        if offset != 0 || !says_wal(data) {
            return None;
        }
        let mut cleaned = data.to_vec();
        cleaned[WAL_MARK].iter_mut().filter(|version| **version == 2).for_each(|version| *version = 1);
        lock::say(
            Weight::Notice,
            format!(
                "coord: {} was to be marked as a WAL database, which needs shared memory; it stays one with a rollback journal",
                self.paths().database.display()
            ),
        );
        Some(cleaned)
    }

    pub fn sync(&mut self, flags: c_int) -> c_int {
        if !self.handles.database_dirty {
            return SQLITE_OK;
        }
        let before = self.check_lease(SQLITE_IOERR_FSYNC);
        if before != SQLITE_OK {
            return before;
        }
        let Some(file) = &self.handles.database else { return SQLITE_IOERR_FSYNC };
        match file.sync(flags) {
            SQLITE_OK => {
                self.handles.database_dirty = false;
                self.transaction.synced = true;
                self.check_lease(SQLITE_IOERR_FSYNC)
            }
            code => {
                self.transaction.sync_failed = true;
                self.write_failed(code);
                code
            }
        }
    }

    // --- locks ---

    pub fn lock(&mut self, level: c_int) -> c_int {
        super::patience::begin();
        flush_log(self.handles.host.api);
        if let Some(text) = self.refusal.clone() {
            return self.fail(SQLITE_CANTOPEN, text);
        }
        let before = self.seat.level();
        let wanted = Level::from_code(level);
        switches::stop_point(wanted.name());
        let result = self.database.lock(&mut self.seat, wanted, &mut self.handles);
        let code = match result {
            Ok(()) => {
                self.transaction.locked(before, wanted);
                if before == Level::Shared {
                    self.begun_by();
                }
                self.stamp = self.stamp.filter(|_| before > Level::None);
                if wanted == Level::Reserved { self.prepare_write(before) } else { SQLITE_OK }
            }
            Err(LockError::Busy) => self.busy(),
            // Not busy: a busy handler would go on waiting against the program's will.
            Err(LockError::Interrupted) => SQLITE_INTERRUPT,
            Err(LockError::Native(code)) => code,
            Err(LockError::Failed(text)) => {
                self.lost_told = before != Level::None;
                self.fail(SQLITE_IOERR_LOCK, text)
            }
            // In the middle of a statement SQLite goes on after these, and a COMMIT would keep the half of it.
            Err(LockError::CannotOpen(text) | LockError::ReadOnly(text))
                if before >= Level::Reserved && !switches::off(Guard::SpillRefused) =>
            {
                self.fail(SQLITE_IOERR_LOCK, text)
            }
            Err(LockError::CannotOpen(text)) => self.fail(SQLITE_CANTOPEN, text),
            Err(LockError::ReadOnly(text)) => self.fail(SQLITE_READONLY, text),
            Err(LockError::Full(text)) => self.fail(SQLITE_FULL, text),
        };
        flush_log(self.handles.host.api);
        code
    }

    pub fn unlock(&mut self, level: c_int) -> c_int {
        let level = Level::from_code(level);
        // SQLite only ever goes down to SHARED or NONE. Asked for anything between, what is held is kept: a writer without the
        // lock directory must not come of it.
        if level <= Level::Shared && level < self.seat.level() {
            // Not in a forked child: its parent's threads may have held the manager's mutex at the fork.
            let ours = lock::check(self.seat.fork()).is_ok();
            if ours && self.is_network() && self.seat.level() >= Level::Reserved {
                self.end_recovery(level);
                if self.transaction.left_a_journal(self.seat.level()) {
                    self.database.journal_left();
                } else if self.transaction.is_unclean() {
                    self.database.doubt(&mut self.seat);
                }
            }
            self.transaction.unlocked(level);
            self.tell_writing();
            self.lost_told &= level != Level::None;
            self.database.unlock(&mut self.seat, level, &mut self.handles);
            // Not before: giving the lock back may sync it.
            self.handles.journal_ended();
        }
        flush_log(self.handles.host.api);
        SQLITE_OK
    }

    pub fn check_reserved(&mut self, out: &mut c_int) -> c_int {
        if let Err(text) = lock::check(self.seat.fork()) {
            return self.fail(SQLITE_IOERR_CHECKRESERVEDLOCK, text);
        }
        match (&self.handles.database, self.database.mode()) {
            (Some(file), Mode::Trusted) => file.check_reserved(out),
            _ => {
                // Only connections of this very process count: in doubt no, which makes SQLite ask for EXCLUSIVE and be busy.
                *out = c_int::from(self.database.is_reserved());
                SQLITE_OK
            }
        }
    }

    pub fn sector_size(&self) -> c_int {
        self.sector_size
    }

    pub fn characteristics(&self) -> c_int {
        self.characteristics
    }

    /// Gives everything back.
    pub fn close(mut self: Box<Self>) -> c_int {
        let fork = lock::check(self.seat.fork()).is_err();
        if !fork {
            self.remove_kept_journal();
        }
        self.handles.journal = None;
        self.database.clone().stand_up(&mut self.seat, &mut self.handles);
        if fork {
            return SQLITE_OK;
        }
        if let Some(file) = self.handles.database.take() {
            self.database.close_handle(self.handles.host.api.slot(), Box::new(file));
        }
        flush_log(self.handles.host.api);
        SQLITE_OK
    }
}
