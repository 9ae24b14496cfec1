//! Names of super-journals at the end of a journal, which SQLite believes: one of a file that is not there says "do not roll back".

use std::ffi::{OsString, c_int};
use std::os::unix::ffi::OsStringExt;
use std::path::PathBuf;

use super::{KEPT_JOURNAL, MAGIC};
use crate::host::ffi::*;
use crate::lock::{Level, Writing};
use crate::switches::{self, Guard};
use crate::vfs::database_file::DatabaseFile;

/// Whether this is what ends a super-journal's name in a journal: SQLite writes that, and then its pages, before anybody is asked
/// whether the commit may be. It never may, so the name is not let count: whoever rolled the pages back after a crash would
/// look for a file of this host's, and take its absence for a commit. Nothing else is written that is as long.
pub(super) fn ends_name(data: &[u8]) -> bool {
    data == MAGIC && !switches::off(Guard::SuperTail)
}

impl DatabaseFile {
    /// RESERVED was granted, and is given back if the journal cannot be brought into order: SQLite is told that it has not got it, and
    /// would keep everybody out for as long as it reads.
    pub(in crate::vfs) fn prepare_write(&mut self, before: Level) -> c_int {
        let code = self.prepare_journal();
        if code != SQLITE_OK && before == Level::Shared && !switches::off(Guard::RefusedReserved) {
            self.unlock(SQLITE_LOCK_SHARED);
        }
        code
    }

    /// RESERVED was taken: an older use of the file without coord may have left the name of a super-journal at the journal's
    /// end, which would hide a hot journal from whoever comes after us; or a long journal.
    fn prepare_journal(&mut self) -> c_int {
        if !self.seat.take_fresh_journal() {
            // It is the one that we finalised last, under the same holding of the lock.
            return SQLITE_OK;
        }
        let code = self.cut_foreign_journal();
        if code != SQLITE_OK && !switches::off(Guard::CutAgain) {
            // Whoever tries again under this lock, which may be kept meanwhile, begins here.
            self.seat.keep_fresh_journal();
        }
        code
    }

    fn cut_foreign_journal(&mut self) -> c_int {
        let Some(journal) = self.handles.journal.as_ref().filter(|_| !self.database.journal_is_hot()) else {
            return SQLITE_OK;
        };
        let size = match journal.size() {
            Ok(size) => size,
            Err(code) => return code,
        };
        let mut tail = [0; MAGIC.len()];
        let at = size - MAGIC.len() as i64;
        if at >= 0 {
            match journal.read_into(&mut tail, at) {
                SQLITE_OK | SQLITE_IOERR_SHORT_READ => {}
                code => return code,
            }
        }
        if tail != MAGIC && size <= KEPT_JOURNAL {
            return SQLITE_OK;
        }
        // The lock may have been granted at an earlier attempt.
        let _writing = match Writing::begin(self.seat.fork()) {
            Ok(writing) => writing,
            Err(text) => return self.fail(SQLITE_IOERR_TRUNCATE, text),
        };
        let checked = self.check_lease(SQLITE_IOERR_TRUNCATE);
        if checked != SQLITE_OK {
            return checked;
        }
        let Some(journal) = &self.handles.journal else { return SQLITE_IOERR_TRUNCATE };
        self.handles.journal_dirty = true;
        match journal.truncate(0) {
            SQLITE_OK => self.check_lease(SQLITE_IOERR_TRUNCATE),
            code => {
                self.write_failed(code);
                code
            }
        }
    }

    /// The super-journal that a hot journal names, if its directory is not there: then nobody can tell here whether it is
    /// gone, and SQLite would take the half-written database for a whole one.
    ///
    /// # Errors
    /// The code of a read that failed: SQLite reads the same, and this time it may work.
    pub(super) fn super_journal_elsewhere(&self) -> Result<Option<PathBuf>, c_int> {
        match self.super_journal() {
            Ok(Some(name)) if name.parent().is_some_and(|parent| !parent.is_dir()) => Ok(Some(name)),
            Err(code) if !switches::off(Guard::SuperUnread) => Err(code),
            _ => Ok(None),
        }
    }

    /// The name of a super-journal at the journal's end.
    fn super_journal(&self) -> Result<Option<PathBuf>, c_int> {
        let Some(journal) = &self.handles.journal else { return Ok(None) };
        let read = |buffer: &mut [u8], offset| match journal.read_into(buffer, offset) {
            SQLITE_OK => Ok(()),
            code => Err(code),
        };
        // Length of the name, its checksum, magic.
        let mut tail = [0; 16];
        let end = journal.size()? - 16;
        if end < 0 {
            return Ok(None);
        }
        read(&mut tail, end)?;
        let length = u32::from_be_bytes([tail[0], tail[1], tail[2], tail[3]]);
        let begins = end - i64::from(length);
        if tail[8..] != MAGIC || !(1..=4096).contains(&length) || begins < 0 {
            return Ok(None);
        }
        let mut name = vec![0; length as usize];
        read(&mut name, begins)?;
        Ok(Some(PathBuf::from(OsString::from_vec(name))))
    }
}
