//! How far a transaction's journal is written and synced, and what tells it from every other.

use std::ffi::c_int;

use super::Handles;
use crate::host::ffi::*;
use crate::switches::{self, Guard};

/// The rest of a journal's header behind the number of its records, which is written again: SQLite draws the first four bytes
/// at random, for the records' checksums (<https://www.sqlite.org/fileformat2.html#the_rollback_journal>).
pub(super) type JournalMark = [u8; 16];

/// Where a journal has its mark.
pub(super) const MARK_AT: usize = 12;

impl Handles {
    /// Syncs the journal if anything in it is not on stable storage.
    pub fn sync_journal(&mut self) -> Result<(), c_int> {
        if !self.journal_dirty {
            return Ok(());
        }
        let Some(journal) = &self.journal else {
            // Closed with what nobody can vouch for.
            return if switches::off(Guard::JournalGone) { Ok(()) } else { Err(SQLITE_IOERR_FSYNC) };
        };
        match journal.sync(SQLITE_SYNC_NORMAL) {
            SQLITE_OK => {
                (self.journal_dirty, self.journal_safe) = (false, self.journal_written);
                Ok(())
            }
            code => Err(code),
        }
    }

    /// A sync of the journal failed: what was written since the one before goes. It covers no change of the database, as none is made
    /// before a sync, and may be there in parts. SQLite's checksum looks at every 200th byte of a page, so that it could take such
    /// a record for a whole one and roll the database back to it.
    ///
    /// `may`: we are still somebody. It is not read again in either case.
    ///
    /// # Errors
    /// The code of the cut: the record's checksum is what is left then, and the cut may still be carried out, late.
    pub fn cut_journal(&mut self, may: bool) -> Result<(), c_int> {
        if !self.is_journal_ahead() || switches::off(Guard::TornTail) {
            return Ok(());
        }
        self.journal_cut = true;
        match self.journal.as_ref().filter(|_| may).map(|journal| journal.truncate(self.journal_safe)) {
            Some(code) if code != SQLITE_OK => Err(code),
            _ => Ok(()),
        }
    }

    /// Whether this transaction has written records since its journal was last synced.
    pub fn is_journal_ahead(&self) -> bool {
        self.journal_written > self.journal_safe
    }

    /// This was written at the journal's beginning.
    pub fn journal_begun(&mut self, data: &[u8]) {
        if let Some(mark) = data.get(MARK_AT..MARK_AT + size_of::<JournalMark>()) {
            self.journal_mark = mark.try_into().ok();
        }
    }

    /// What is in the journal now is no part of the next transaction.
    pub fn journal_ended(&mut self) {
        (self.journal_mark, self.journal_written, self.journal_safe) = (None, 0, 0);
        (self.journal_cut, self.sync_failed) = (false, false);
    }
}
