//! The order of data in network-exclusive mode: what must be on stable storage before what, and how a transaction ends.
//! It holds whatever `PRAGMA synchronous` and `journal_mode` say.

mod ending;
mod records;
mod supers;

pub(super) use ending::end_again;

use std::ffi::c_int;
use std::sync::atomic::Ordering;

use super::database_file::DatabaseFile;
use crate::host::ffi::*;
use crate::lock::{self, Level, Mode, Writing};
use crate::switches::{self, Guard};

/// The first bytes of a journal that is to be rolled back, and the last of one that names a super-journal.
const MAGIC: [u8; 8] = [0xd9, 0xd5, 0x05, 0xf9, 0x20, 0xa1, 0x63, 0xd7];
/// How PERSIST ends a transaction, and we where we may: the journal's header overwritten with this many zeros.
pub(super) const ZERO_HEADER: usize = 28;
/// Up to here a journal keeps its length, so that the next transaction writes over blocks that are there already: on a disk that
/// is most of what a commit costs beside its syncs. A longer one is cut, so that it does not keep the space.
const KEPT_JOURNAL: i64 = 1 << 20;

/// What a connection's present transaction has done so far.
#[derive(Debug, Default)]
pub struct Transaction {
    /// The connection that has begun it: of those that share SQLite's cache of the file one at a time writes. Its address.
    pub connection: usize,
    /// A journal header was written, or a part of it,
    has_header: bool,
    /// and all of it.
    journaled: bool,
    records: records::Records,
    /// The header's first byte, held back until EXCLUSIVE: the journal must not look hot before.
    held_back: Option<u8>,
    /// EXCLUSIVE was taken without RESERVED, to roll a hot journal back,
    recovering: bool,
    /// and the journal was opened for it.
    journal_opened: bool,
    /// Under this lock, which SQLite keeps (`locking_mode=EXCLUSIVE`), a journal was rolled back, or found to be none: what is in it
    /// must not be taken for a part of the next one.
    over_an_old_one: bool,
    /// The journal was finalised; the commit still has to be confirmed, the file may still be cut.
    finalised: bool,
    /// Hot journal beside us that we did not roll back: nothing may be read.
    pub poisoned: bool,
    /// The journal may end in the name of a super-journal, or is longer than what is kept: it is cut in the end.
    must_cut: bool,
    /// In trusted mode: SQLite has synced the database, so `synchronous` is not OFF.
    pub synced: bool,
    /// A sync failed: the next may lie, so nothing is finalised any more under this lock.
    pub sync_failed: bool,
    pub failed: bool,
    /// SQLite has asked for the journal's size and not written to it since: it is rolling back all of it.
    pub undoing: bool,
    /// How often SQLite was told that it can be neither ended nor undone.
    refusals: u32,
}

impl Transaction {
    pub fn locked(&mut self, before: Level, now: Level) {
        if now == Level::Exclusive {
            self.recovering = before == Level::Shared;
            self.over_an_old_one |= self.recovering;
            self.journal_opened = false;
        }
    }

    /// Whether a journal that may have to be rolled back stays when the lock goes.
    pub fn left_a_journal(&self, level: Level) -> bool {
        level == Level::Exclusive && (self.has_header || self.recovering) && !self.finalised
    }

    /// Whether it has begun to write.
    pub fn writes(&self) -> bool {
        self.has_header && !self.finalised
    }

    /// Whether it is that of a COMMIT, if anything is synced now.
    pub fn is_kept(&self) -> bool {
        self.writes() && !self.undoing
    }

    /// Whether it has EXCLUSIVE to roll a journal back and has not even opened it: SQLite opens it before it reads anything, but for
    /// `journal_mode=OFF`.
    pub fn passes_over(&self) -> bool {
        self.recovering && !self.journal_opened
    }

    /// Whether anything was left undone or went wrong, so that nothing may rest on it.
    pub fn is_unclean(&self) -> bool {
        self.writes() || self.failed || self.sync_failed || self.poisoned
    }

    pub fn unlocked(&mut self, level: Level) {
        let poisoned = self.poisoned && level != Level::None;
        *self = Transaction { poisoned, ..Transaction::default() };
    }
}

impl DatabaseFile {
    fn is_trusted(&self) -> bool {
        self.database.mode() == Mode::Trusted
    }

    /// Notes whose transaction it is that begins, from SQLite's word of who runs the file now. Later in a transaction that may be
    /// another one: a function in one of its statements may use a connection of its own.
    pub(super) fn begun_by(&mut self) {
        // SAFETY: SQLite gave the place for as long as the file is open, and we are inside a call of its connection.
        self.transaction.connection = unsafe { self.handles.connection.as_ref() }.map_or(0, |place| place.addr());
    }

    /// Tells the other files whose transaction has begun to write this one.
    pub(super) fn tell_writing(&self) {
        let connection = if self.transaction.writes() { self.transaction.connection } else { 0 };
        self.writing.store(connection, Ordering::Release);
    }

    /// Whether the database may be written now; brings the journal into order first.
    pub(super) fn may_write(&mut self, cutting: bool) -> Result<(), c_int> {
        let code = if cutting { SQLITE_IOERR_TRUNCATE } else { SQLITE_IOERR_WRITE };
        if let Err(text) = lock::check(self.seat.fork()) {
            return Err(self.fail(code, text));
        }
        if self.seat.level() != Level::Exclusive {
            let text =
                format!("coord: {} was to be written without a lock (nolock=1?)", self.paths().database.display());
            return Err(self.fail(code, text));
        }
        if self.is_trusted() {
            return Ok(());
        }
        let journaled = self.transaction.journaled
            || (self.transaction.recovering && self.transaction.journal_opened)
            || (cutting && self.transaction.finalised);
        if !journaled && !switches::off(Guard::JournalRule) {
            let text = format!(
                "coord: {} was to be written without a rollback journal; journal_mode must be DELETE, TRUNCATE or PERSIST here, \
                 as OFF, MEMORY and WAL cannot be rolled back by another host",
                self.paths().database.display()
            );
            return Err(self.fail(code, text));
        }
        self.has_whole_journal(code)?;
        if let Some(first) = self.transaction.held_back {
            let Some(journal) = &self.handles.journal else {
                let text = format!("coord: {} was closed under this transaction", self.paths().journal.display());
                return Err(self.fail(code, text));
            };
            let written = journal.write(&[first], 0);
            self.transaction.held_back = None;
            self.handles.journal_dirty = true;
            if written != SQLITE_OK {
                self.journal_write_failed(written);
                return Err(written);
            }
        }
        if !switches::off(Guard::JournalRule)
            && let Err(code) = self.handles.sync_journal()
        {
            self.journal_sync_failed(code);
            return Err(code);
        }
        Ok(())
    }

    /// Whether SQLite finds a journal. `None`: let the platform's VFS say.
    pub fn journal_exists(&mut self) -> Option<bool> {
        if self.is_trusted() || self.seat.level() == Level::None {
            return None;
        }
        if lock::check(self.seat.fork()).is_err() {
            return Some(false);
        }
        switches::stop_point("journal-asked");
        Some(self.transaction.has_header || self.database.journal_is_hot())
    }

    /// Whether there is a file by the name of a WAL: asked of the platform's VFS once while a lock is held or kept; in trusted mode
    /// once while the database stays as it is, as whoever makes a WAL of its journal changes its header first. `None`: let the
    /// platform's VFS say.
    pub fn wal_exists(&mut self, ask: impl FnOnce() -> Option<bool>) -> Option<bool> {
        if self.seat.level() == Level::None || lock::check(self.seat.fork()).is_err() {
            return None;
        }
        if self.is_trusted() {
            if self.stamp.is_some() && self.stamp == self.without_wal {
                return Some(false);
            }
            let found = ask()?;
            self.without_wal = self.stamp.filter(|_| !found);
            self.tell_of_wal(found);
            return Some(found);
        }
        if self.database.recall(&self.seat).no_wal {
            return Some(false);
        }
        let found = ask()?;
        self.tell_of_wal(found);
        if !found && self.check_lease(SQLITE_IOERR_ACCESS) == SQLITE_OK {
            self.database.learn(&mut self.seat, |known| known.no_wal = true);
        }
        Some(found)
    }

    /// A program without coord made one since we opened the database. SQLite refuses it by itself, without saying why.
    fn tell_of_wal(&mut self, found: bool) {
        if found {
            self.say(super::refusals::wal_beside(&self.paths().database));
        }
    }

    // --- what SQLite does to the journal ---

    pub(super) fn journal_opened(&mut self, for_writing: bool) -> Result<(), c_int> {
        if !for_writing {
            return Ok(());
        }
        if self.transaction.recovering
            && let Some(name) = self.super_journal_elsewhere()?
        {
            let text = format!(
                "coord: {} was left in the middle of a transaction over several files, written under another path ({}). Open it \
                 once under that path, so that all of them are rolled back or kept together",
                self.paths().database.display(),
                name.display()
            );
            return Err(self.fail(SQLITE_CANTOPEN, text));
        }
        self.transaction.journal_opened = true;
        Ok(())
    }

    pub(super) fn write_journal(&mut self, data: &[u8], offset: i64) -> c_int {
        let ends = offset == 0 && data.len() == ZERO_HEADER && data.iter().all(|byte| *byte == 0);
        if ends {
            return self.finalise(|journal| journal.write(data, 0));
        }
        let _writing = match Writing::begin(self.seat.fork()) {
            Ok(writing) => writing,
            Err(text) => return self.fail(SQLITE_IOERR_WRITE, text),
        };
        let checked = self.check_lease(SQLITE_IOERR_WRITE);
        if checked != SQLITE_OK {
            return checked;
        }
        if let Err(code) = self.has_whole_journal(SQLITE_IOERR_WRITE) {
            return code;
        }
        self.transaction.undoing = false;
        let mut hidden = None;
        if offset == 0 {
            if self.transaction.finalised {
                // The next one under a lock that SQLite keeps.
                self.begun_by();
            }
            self.transaction.has_header = true;
            self.transaction.finalised = false;
            self.tell_writing();
            self.transaction.held_back = None;
            if data.first().is_some_and(|first| *first != 0) && self.seat.level() < Level::Exclusive {
                let mut copy = data.to_vec();
                self.transaction.held_back = Some(std::mem::take(&mut copy[0]));
                hidden = Some(copy);
            }
        }
        let Some(journal) = &self.handles.journal else { return SQLITE_IOERR_WRITE };
        self.handles.journal_dirty = true;
        // A header of its own, not the count of records that is written into it later.
        let begins = offset == 0 && data.len() > ZERO_HEADER;
        if begins && self.transaction.over_an_old_one && !switches::off(Guard::OldJournal) {
            let cut = journal.truncate(0);
            if cut != SQLITE_OK {
                self.journal_write_failed(cut);
                return cut;
            }
        }
        let end = offset + data.len() as i64;
        self.transaction.must_cut |= end > KEPT_JOURNAL;
        let data = if supers::ends_name(data) { &[0; MAGIC.len()] } else { data };
        let written = journal.write(hidden.as_deref().unwrap_or(data), offset);
        if written != SQLITE_OK {
            self.journal_write_failed(written);
            return written;
        }
        if offset == 0 {
            self.transaction.journaled = true;
            self.handles.journal_begun(data);
        }
        self.transaction.records.written(data, offset);
        self.handles.journal_written = self.handles.journal_written.max(end);
        self.check_lease(SQLITE_IOERR_WRITE)
    }

    pub(super) fn truncate_journal(&mut self, size: i64) -> c_int {
        if size == 0 {
            return self.finalise(|journal| journal.truncate(0));
        }
        let checked = self.check_lease(SQLITE_IOERR_TRUNCATE);
        if checked != SQLITE_OK {
            return checked;
        }
        let Some(journal) = &self.handles.journal else { return SQLITE_IOERR_TRUNCATE };
        self.handles.journal_dirty = true;
        match journal.truncate(size) {
            SQLITE_OK => self.check_lease(SQLITE_IOERR_TRUNCATE),
            code => {
                self.journal_write_failed(code);
                code
            }
        }
    }

    pub(super) fn sync_journal(&mut self) -> c_int {
        let checked = self.check_lease(SQLITE_IOERR_FSYNC);
        if checked != SQLITE_OK {
            return checked;
        }
        match self.handles.sync_journal() {
            Ok(()) => self.check_lease(SQLITE_IOERR_FSYNC),
            Err(code) => {
                self.journal_sync_failed(code);
                code
            }
        }
    }

    /// SQLite is about to read its own journal, to undo what it has changed. What a client cannot send it drops, and tells
    /// nobody before the next sync; SQLite takes a record that is not there for the journal's end, and what it has still to
    /// restore for restored. Behind what it has written, where SQLite looks before each sync, there is nothing of its own.
    pub(super) fn journal_read_back(&mut self, offset: i64) -> c_int {
        let mine = self.transaction.has_header && !self.transaction.finalised;
        let is_own = mine && offset < self.handles.journal_written;
        let known = self.handles.journal_cut || !self.handles.journal_dirty;
        if is_own && !known && !switches::off(Guard::ReadBack) {
            return self.sync_journal();
        }
        SQLITE_OK
    }

    fn journal_sync_failed(&mut self, code: c_int) {
        self.transaction.sync_failed = true;
        // The sync may have taken its time.
        let may = self.check_lease(code) == SQLITE_OK;
        let cut = self.handles.cut_journal(may);
        if let (Err(code), false) = (cut, switches::off(Guard::LateCut)) {
            self.write_failed(code);
        }
        self.write_failed(code);
        if self.locking_mode_exclusive && !switches::off(Guard::KeptCut) {
            // SQLite would keep the lock, and could neither go on nor roll back under it; others can.
            self.database.depose(&self.seat);
        }
    }

    /// SQLite is told that the transaction can neither be ended nor undone here. It gives its lock up then and begins anew; if it asks
    /// for the same again under the same lock it keeps that for good, by a `locking_mode=EXCLUSIVE` that we were not told of (for all
    /// files at once SQLite tells the first alone) or with an error of another kind. Others can do what this one cannot.
    pub(super) fn refuse_again(&mut self) {
        self.transaction.refusals += 1;
        if self.transaction.refusals > 1 && !switches::off(Guard::KeptCut) {
            self.database.depose(&self.seat);
        }
    }

    /// A write of the journal failed. On a network that may be the answer to an earlier one, of which no sync will speak any more: Linux'
    /// NFS client tells a full disk to the next write (`nfs_file_write`, since 5.19). As after a sync that failed, what was
    /// written since the last one may be missing.
    fn journal_write_failed(&mut self, code: c_int) {
        let doubtful = !self.database.is_local() && self.handles.is_journal_ahead();
        if doubtful && !switches::off(Guard::LostRecord) {
            self.journal_sync_failed(code);
        } else {
            self.write_failed(code);
        }
    }

    /// Refuses to go on with a transaction whose journal has lost its end: what it changes now could not be undone.
    fn has_whole_journal(&mut self, code: c_int) -> Result<(), c_int> {
        if !self.handles.journal_cut && !self.handles.sync_failed {
            return Ok(());
        }
        let text = format!(
            "coord: a part of {} could not be written, so this transaction cannot go on; roll it back",
            self.paths().journal.display()
        );
        Err(self.fail(code, text))
    }
}
