//! A rollback journal as SQLite sees it, in network-exclusive mode: a view on the handle that its database keeps open.

use std::ffi::{c_int, c_void};

use super::database_file::DatabaseFile;
use crate::host::ffi::*;
use crate::lock::{self, Level};
use crate::switches::{self, Guard};

/// How a journal was opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Use {
    /// Under SHARED, to see whether it is hot: answered from what the lock manager saw, without a handle.
    Peek,
    /// Under RESERVED or more: the database's kept handle.
    Full,
}

/// See the module's head. The database outlives its journal: the pager closes it first.
pub struct JournalFile {
    owner: *mut DatabaseFile,
    how: Use,
}

impl JournalFile {
    /// Opens the journal of `owner`.
    ///
    /// # Errors
    /// The code for SQLite.
    ///
    /// # Safety
    /// `pointer` is an open database, from the registry of connections, run by the calling thread.
    pub unsafe fn open(pointer: *mut DatabaseFile, flags: c_int) -> Result<JournalFile, c_int> {
        // SAFETY: the caller's promise. The borrow ends with this call; the journal keeps the pointer.
        let owner = unsafe { &mut *pointer };
        let for_writing = flags & SQLITE_OPEN_READWRITE != 0;
        // Between transactions a handle may be kept with the lock; it is nobody's before the connection is RESERVED again.
        let kept = owner.handles.journal.is_some() && owner.seat.level() >= Level::Reserved;
        let how = match (kept, for_writing) {
            (true, _) => Use::Full,
            (false, false) if owner.database.journal_is_hot() => Use::Peek,
            // Without a lock, or read-write where no handle is kept: SQLite must not get one that nobody confirmed.
            _ => return Err(SQLITE_CANTOPEN),
        };
        if how == Use::Full {
            owner.journal_opened(for_writing)?;
        }
        Ok(JournalFile { owner: pointer, how })
    }

    fn owner(&mut self) -> &mut DatabaseFile {
        // SAFETY: see the struct; both are only used by the thread that runs the connection.
        unsafe { &mut *self.owner }
    }

    /// # Safety
    /// `buffer` has room for `amount` bytes.
    pub unsafe fn read(&mut self, buffer: *mut c_void, amount: c_int, offset: i64) -> c_int {
        if self.how == Use::Peek {
            // SQLite asks for the first byte only. It was not zero.
            // SAFETY: the caller's promise.
            unsafe {
                buffer.write_bytes(0, usize::try_from(amount).unwrap_or(0));
                if amount > 0 && offset == 0 {
                    buffer.cast::<u8>().write(0xd9);
                }
            }
            return if amount <= 1 { SQLITE_OK } else { SQLITE_IOERR_SHORT_READ };
        }
        let owner = self.owner();
        if let Err(text) = lock::check(owner.seat.fork()) {
            // As in the database's `read`.
            return owner.fail(SQLITE_IOERR_READ, text);
        }
        let failed = owner.journal_read_back(offset);
        if failed != SQLITE_OK {
            return failed;
        }
        if owner.handles.journal_cut {
            // A rollback of everything asks for the size first, which is where it is counted: this one may be of a statement only.
            return SQLITE_IOERR_READ;
        }
        let code = match &owner.handles.journal {
            // SAFETY: the caller's promise.
            Some(journal) => unsafe { journal.read(buffer, amount, offset) },
            None => SQLITE_IOERR_READ,
        };
        match owner.check_lease(SQLITE_IOERR_READ) {
            SQLITE_OK => code,
            lost => lost,
        }
    }

    pub fn write(&mut self, data: &[u8], offset: i64) -> c_int {
        match self.how {
            Use::Full => self.owner().write_journal(data, offset),
            Use::Peek => SQLITE_IOERR_WRITE,
        }
    }

    pub fn truncate(&mut self, size: i64) -> c_int {
        match self.how {
            Use::Full => self.owner().truncate_journal(size),
            Use::Peek => SQLITE_IOERR_TRUNCATE,
        }
    }

    pub fn sync(&mut self) -> c_int {
        match self.how {
            Use::Full => self.owner().sync_journal(),
            Use::Peek => SQLITE_OK,
        }
    }

    pub fn size(&mut self, out: &mut i64) -> c_int {
        let how = self.how;
        // A whole rollback begins so; one to a savepoint does not, and a COMMIT may follow it.
        self.owner().transaction.undoing |= how == Use::Full;
        let failed = if how == Use::Full { self.owner().journal_read_back(0) } else { SQLITE_OK };
        if failed != SQLITE_OK {
            return failed;
        }
        let owner = self.owner();
        if owner.handles.journal_cut && how == Use::Full {
            owner.refuse_again();
            return SQLITE_IOERR_FSTAT;
        }
        match (&owner.handles.journal, how) {
            (Some(journal), Use::Full) => match journal.size() {
                Ok(size) => {
                    *out = size;
                    SQLITE_OK
                }
                Err(code) => code,
            },
            // A takeover closed it and could not open it again. Taken for empty it would undo nothing, and what SQLite has cached would
            // count as rolled back.
            (None, Use::Full) if !switches::off(Guard::JournalGone) => SQLITE_IOERR_FSTAT,
            _ => {
                *out = 1;
                SQLITE_OK
            }
        }
    }

    pub fn sector_size(&mut self) -> c_int {
        self.owner().sector_size()
    }

    pub fn characteristics(&mut self) -> c_int {
        self.owner().characteristics()
    }
}
