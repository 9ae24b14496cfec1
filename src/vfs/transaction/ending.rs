//! How a transaction ends in network-exclusive mode: the journal is finalised through its own handle, and COMMIT is reported once
//! that is confirmed.

use std::ffi::c_int;

use super::ZERO_HEADER;
use crate::host::ffi::*;
use crate::lock::{self, Base, Level, Writing};
use crate::switches::{self, Guard};
use crate::vfs::base::BaseFile;
use crate::vfs::database_file::DatabaseFile;
use crate::vfs::refusals;

/// The sync of a journal's end failed: the end counts as written though it is not. Everybody sees it, and a loss of power would
/// bring the old journal back, under what others have committed since. So it is written once more, as other bytes; whether that worked.
pub(in crate::vfs) fn end_again(journal: &BaseFile) -> bool {
    switches::off(Guard::EndAgain)
        || (journal.write(&[0; ZERO_HEADER], 0) == SQLITE_OK && journal.sync(SQLITE_SYNC_NORMAL) == SQLITE_OK)
}

impl DatabaseFile {
    /// `xDelete` of the journal: its header is overwritten through its own handle, as PERSIST does it, or it is cut to nothing. An
    /// unlink that is carried out late would take the next owner's journal away. `None`: in trusted mode the platform's VFS may have
    /// to delete it, with or without `sync_dir`.
    pub fn delete_journal(&mut self, sync_dir: &mut c_int) -> Option<c_int> {
        if let Err(text) = lock::check(self.seat.fork()) {
            // A forked child that rolls back: the journal is its parent's.
            return Some(self.fail(SQLITE_IOERR_DELETE, text));
        }
        if let Some(text) = self.refusal.clone().filter(|_| !switches::off(Guard::Refused)) {
            return Some(self.fail(SQLITE_IOERR_DELETE, text));
        }
        if self.is_trusted() {
            return self.end_trusted(sync_dir);
        }
        if self.seat.level() < Level::Reserved {
            let text = format!("coord: {} was to be deleted without a lock", self.paths().journal.display());
            return Some(self.fail(SQLITE_IOERR_DELETE, text));
        }
        if self.handles.journal.is_none() {
            if self.handles.open_journal(true).is_err() {
                return Some(SQLITE_IOERR_DELETE);
            }
            // Opened by name: it counts only once a heartbeat has succeeded after it.
            let confirmed = self.confirm(SQLITE_IOERR_DELETE);
            if confirmed != SQLITE_OK {
                return Some(confirmed);
            }
            // What it ends in is not known.
            self.transaction.must_cut = true;
        }
        if self.must_be_rolled_back() {
            self.transaction.poisoned = true;
            let text = format!("coord: {} is not empty any more", self.paths().database.display());
            return Some(self.fail(SQLITE_IOERR_DELETE, text));
        }
        // What another transaction has left may end in the name of a super-journal.
        let foreign = self.transaction.recovering || !(self.transaction.has_header || switches::off(Guard::ForeignCut));
        let cut = self.transaction.must_cut || foreign;
        Some(match cut {
            true => self.finalise(|journal| journal.truncate(0)),
            false => self.finalise(|journal| journal.write(&[0; ZERO_HEADER], 0)),
        })
    }

    /// SQLite removes a hot journal under RESERVED, without rolling it back, where it has found the database empty under SHARED. While that
    /// was shared a program on the server may have begun to fill it since, in trusted mode: whoever locks anew finds both.
    fn must_be_rolled_back(&self) -> bool {
        if self.seat.level() != Level::Reserved || self.transaction.has_header || switches::off(Guard::EmptyStill) {
            return false;
        }
        let mut first = [0];
        let read = self.handles.journal.as_ref().map(|journal| journal.read_into(&mut first, 0));
        let hot = match read {
            None | Some(SQLITE_IOERR_SHORT_READ) => false,
            Some(SQLITE_OK) => first != [0],
            // Nobody can say that it is not.
            Some(_) => !switches::off(Guard::HotUnread),
        };
        hot && !self.database.peek(1).is_ok_and(|bytes| bytes.is_empty())
    }

    /// A WAL beside an empty database may be all there is of it.
    pub fn delete_wal(&mut self) -> c_int {
        let text = refusals::wal_beside(&self.paths().database);
        self.fail(SQLITE_IOERR_DELETE, text)
    }

    /// The end of a transaction: the database is safe first, then the journal goes, and that is synced too.
    pub(super) fn finalise(&mut self, end: impl FnOnce(&BaseFile) -> c_int) -> c_int {
        let _writing = match Writing::begin(self.seat.fork()) {
            Ok(writing) => writing,
            Err(text) => return self.fail(SQLITE_IOERR_TRUNCATE, text),
        };
        if self.transaction.sync_failed || self.handles.sync_failed {
            self.refuse_again();
            let text = format!(
                "coord: a sync of {} failed in this transaction, so it cannot be committed: the next sync may report success \
                 without having written",
                self.paths().database.display()
            );
            return self.fail(SQLITE_IOERR_FSYNC, text);
        }
        let checked = self.check_lease(SQLITE_IOERR_TRUNCATE);
        if checked != SQLITE_OK {
            return checked;
        }
        if !switches::off(Guard::DatabaseSync)
            && let Err(code) = self.handles.sync_database()
        {
            self.transaction.sync_failed = true;
            self.write_failed(code);
            return code;
        }
        let Some(journal) = &self.handles.journal else { return SQLITE_IOERR_TRUNCATE };
        switches::stop_point("finalise");
        self.handles.journal_dirty = true;
        let ended = end(journal);
        let synced = if ended == SQLITE_OK { journal.sync(SQLITE_SYNC_NORMAL) } else { ended };
        if synced != SQLITE_OK {
            self.transaction.sync_failed = true;
            // A sync may take its time.
            if ended == SQLITE_OK
                && self.check_lease(synced) == SQLITE_OK
                && let Some(journal) = &self.handles.journal
                && !end_again(journal)
            {
                self.database.end_is_lost(&self.seat);
            }
            self.write_failed(synced);
            return synced;
        }
        self.handles.journal_dirty = false;
        self.handles.journal_ended();
        // Under a lock that is kept, what comes next needs a header of its own.
        (self.transaction.has_header, self.transaction.journaled, self.transaction.recovering) = (false, false, false);
        self.transaction.must_cut = false;
        self.transaction.held_back = None;
        self.transaction.finalised = true;
        self.tell_writing();
        switches::stop_point("finalised");
        let checked = self.check_lease(SQLITE_IOERR_TRUNCATE);
        let clears = checked == SQLITE_OK && self.seat.level() == Level::Exclusive;
        if clears || switches::off(Guard::HotCleared) {
            // Below, it was not hot; and after a deposition what others see as hot is not the one that we have ended.
            self.database.journal_finalised();
        }
        checked
    }

    /// `SQLITE_FCNTL_COMMIT_PHASETWO`: the journal is gone, COMMIT is about to be reported. It counts only if we are still
    /// somebody after that: else whoever deposed us may have rolled it back.
    pub(in crate::vfs) fn commit_confirmed(&mut self) -> c_int {
        if self.is_trusted() {
            self.handles.was_empty = false;
            // Whoever has taken the database over meanwhile may have rolled back what was written.
            return self.still_trusted(SQLITE_IOERR);
        }
        if !std::mem::take(&mut self.transaction.finalised) || switches::off(Guard::CommitCheck) {
            return SQLITE_OK;
        }
        match self.database.confirm(&self.seat) {
            Ok(()) => {
                self.handles.was_empty = false;
                // The file may still be cut (auto-vacuum) before the lock is given back.
                self.transaction.finalised = true;
                switches::stop_point("confirmed");
                SQLITE_OK
            }
            Err(why) => {
                let text = format!(
                    "coord: it is not known whether this COMMIT took effect: {} contains all of it or nothing. Look before you run \
                     it again ({why})",
                    self.paths().database.display()
                );
                self.fail(SQLITE_IOERR, text)
            }
        }
    }

    /// EXCLUSIVE without RESERVED ends. A hot journal that was not even opened was not rolled back; one that was opened and
    /// left in place is cold (its super-journal is gone) and would hide the next one.
    pub(in crate::vfs) fn end_recovery(&mut self, level: Level) {
        if !self.transaction.recovering || level == Level::None || self.transaction.failed {
            return;
        }
        if !self.transaction.journal_opened {
            self.transaction.poisoned = self.database.journal_is_hot();
            return;
        }
        let left = self.handles.journal.as_ref().and_then(|journal| journal.size().ok()).unwrap_or(0);
        if left > 0 && !self.transaction.has_header && self.database.journal_is_hot() {
            let _ = self.finalise(|journal| journal.truncate(0));
        }
    }
}
