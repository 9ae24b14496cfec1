//! A rollback journal in trusted mode: the platform's own file, of which a forked child makes no use. The descriptor, and the place
//! in the file that goes with it, are its parent's, and so is the transaction that the journal undoes.

use std::ffi::{c_int, c_void};

use super::base::BaseFile;
use super::database_file::DatabaseFile;
use crate::host::ffi::*;
use crate::lock;
use crate::switches::{self, Guard};

/// See the module's head. The database outlives its journal: the pager closes it first.
pub struct TrustedJournal {
    owner: *mut DatabaseFile,
    file: BaseFile,
}

impl TrustedJournal {
    /// # Safety
    /// `owner` is an open database, run by the calling thread, and stays open for longer than this.
    pub unsafe fn new(owner: *mut DatabaseFile, file: BaseFile) -> TrustedJournal {
        TrustedJournal { owner, file }
    }

    /// What `work` gives, or `code` with a sentence in a forked child.
    fn own(&self, code: c_int, work: impl FnOnce(&BaseFile) -> c_int) -> c_int {
        // SAFETY: see the struct; both are only used by the thread that runs the connection.
        let owner = unsafe { &mut *self.owner };
        match lock::check(owner.seat.fork()) {
            Err(text) if !switches::off(Guard::ForkedJournal) => owner.fail(code, text),
            _ => work(&self.file),
        }
    }

    /// # Safety
    /// `buffer` has room for `amount` bytes.
    pub unsafe fn read(&self, buffer: *mut c_void, amount: c_int, offset: i64) -> c_int {
        // SAFETY: the caller's promise.
        self.own(SQLITE_IOERR_READ, |file| unsafe { file.read(buffer, amount, offset) })
    }

    pub fn write(&self, data: &[u8], offset: i64) -> c_int {
        self.own(SQLITE_IOERR_WRITE, |file| file.write(data, offset))
    }

    pub fn truncate(&self, size: i64) -> c_int {
        self.own(SQLITE_IOERR_TRUNCATE, |file| file.truncate(size))
    }

    pub fn sync(&self, flags: c_int) -> c_int {
        self.own(SQLITE_IOERR_FSYNC, |file| file.sync(flags))
    }

    pub fn size(&self, out: &mut i64) -> c_int {
        self.own(SQLITE_IOERR_FSTAT, |file| match file.size() {
            Ok(size) => {
                *out = size;
                SQLITE_OK
            }
            Err(code) => code,
        })
    }

    /// # Safety
    /// `argument` is what the operation asks for.
    pub unsafe fn control(&self, operation: c_int, argument: *mut c_void) -> c_int {
        // SAFETY: the caller's promise.
        self.own(SQLITE_IOERR, |file| unsafe { file.control(operation, argument) })
    }

    pub fn sector_size(&self) -> c_int {
        self.file.sector_size()
    }

    pub fn characteristics(&self) -> c_int {
        self.file.characteristics()
    }
}
