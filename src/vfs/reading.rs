//! Reading from an open database, under a lock and without one.

use std::ffi::{c_int, c_void};

use super::database_file::DatabaseFile;
use crate::host::ffi::*;
use crate::lock::{self, Level, LockError, Mode, STAMP, STAMP_AT};
use crate::switches::{self, Guard};

/// As far as the database is read without a lock: its header (SQLite's file format, section 1.3).
const HEADER: usize = 100;

impl DatabaseFile {
    /// # Safety
    /// `buffer` has room for `amount` bytes.
    pub unsafe fn read(&mut self, buffer: *mut c_void, amount: c_int, offset: i64) -> c_int {
        if let Err(text) = lock::check(self.seat.fork()) {
            // Before anything is read: a platform's VFS may move the place in the file, which a child shares with its parent.
            return self.fail(SQLITE_IOERR_READ, text);
        }
        let beyond = offset.saturating_add(amount.into()) > HEADER as i64;
        if let Some(text) = self.refusal.clone().filter(|_| beyond && !switches::off(Guard::Refused)) {
            return self.fail(SQLITE_CANTOPEN, text);
        }
        let passes_over = self.transaction.passes_over() && self.is_hot_still();
        if self.transaction.poisoned || passes_over {
            // What SQLite has passed over under a lock that it keeps it does not look at again.
            let cure = match passes_over {
                true => "Close it and open it anew, with journal_mode=DELETE",
                false => "End its transaction and try again, with journal_mode=DELETE if it has OFF",
            };
            let text = format!(
                "coord: {} was left in the middle of a transaction, and this connection did not roll it back. {cure}",
                self.paths().database.display()
            );
            return self.fail(SQLITE_IOERR_READ, text);
        }
        if offset == STAMP_AT && usize::try_from(amount) == Ok(STAMP) {
            // SAFETY: the caller's promise.
            return self.read_stamp(unsafe { &mut *buffer.cast::<[u8; STAMP]>() });
        }
        // SAFETY: the caller's promise.
        unsafe { self.read_from_file(buffer, amount, offset) }
    }

    fn is_hot_still(&self) -> bool {
        self.database.journal_is_hot() && !switches::off(Guard::NotRolledBack)
    }

    /// The bytes by which SQLite knows whether its cache is still good, from memory where they are known.
    fn read_stamp(&mut self, stamp: &mut [u8; STAMP]) -> c_int {
        let known = self.is_network().then(|| self.database.recall(&self.seat));
        match known.and_then(|known| known.stamp) {
            Some(known) => *stamp = known,
            None => {
                // SAFETY: room for as many bytes.
                let code = unsafe { self.read_from_file(stamp.as_mut_ptr().cast(), STAMP as c_int, STAMP_AT) };
                if code != SQLITE_OK {
                    if code == SQLITE_IOERR_SHORT_READ {
                        self.handles.doubt = false;
                        self.handles.was_empty = !switches::off(Guard::EmptyDatabase);
                    }
                    return code;
                }
                match known {
                    Some(_) => self.database.learn(&mut self.seat, |known| known.stamp = Some(*stamp)),
                    None => self.stamp = Some(*stamp),
                }
            }
        }
        if std::mem::take(&mut self.handles.doubt) | std::mem::take(&mut self.handles.was_empty) {
            // The file is another one: the cache is not good.
            stamp[0] ^= 0x80;
        }
        SQLITE_OK
    }

    unsafe fn read_from_file(&mut self, buffer: *mut c_void, amount: c_int, offset: i64) -> c_int {
        switches::stop_point("database-read");
        // SAFETY: the caller's promise, here and below.
        let mut code = unsafe { self.read_base(buffer, amount, offset) };
        if code != SQLITE_OK
            && code != SQLITE_IOERR_SHORT_READ
            && self.is_network()
            && self.seat.level() == Level::Shared
        {
            // A takeover elsewhere may have replaced the file; while our reader's name stands nobody can have written. Who
            // holds the write lock has no such excuse, and must not lose the journal's handle.
            if self.confirm(code) == SQLITE_OK {
                match self.database.reopen(&mut self.seat, &mut self.handles) {
                    // SAFETY: as above.
                    Ok(()) => code = unsafe { self.read_base(buffer, amount, offset) },
                    Err(LockError::Busy) => code = self.busy_reading(),
                    Err(LockError::Failed(text) | LockError::CannotOpen(text)) => self.say(text),
                    Err(_) => {}
                }
            }
        }
        switches::stop_point("database-read");
        if code == SQLITE_OK || code == SQLITE_IOERR_SHORT_READ {
            let checked = self.check_lease(SQLITE_IOERR_READ);
            if checked != SQLITE_OK {
                return checked;
            }
        }
        code
    }

    /// An extended code: `sqlite3_backup_step` takes the plain one for a page that need not be copied now, and goes on behind it.
    fn busy_reading(&mut self) -> c_int {
        match self.busy() {
            SQLITE_BUSY if !switches::off(Guard::BusyRead) => SQLITE_BUSY_RECOVERY,
            code => code,
        }
    }

    unsafe fn read_base(&self, buffer: *mut c_void, amount: c_int, offset: i64) -> c_int {
        if self.seat.level() == Level::None && self.database.mode() == Mode::NetworkExclusive {
            let amount = usize::try_from(amount).unwrap_or(0);
            // SAFETY: the caller's promise; the bytes have values from here on.
            let buffer = unsafe {
                buffer.write_bytes(0, amount);
                std::slice::from_raw_parts_mut(buffer.cast(), amount)
            };
            return self.read_unlocked(buffer, usize::try_from(offset).unwrap_or(usize::MAX));
        }
        match &self.handles.database {
            // SAFETY: the caller's promise.
            Some(file) => unsafe { file.read(buffer, amount, offset) },
            None if self.seat.level() > Level::None => SQLITE_IOERR_READ,
            None => {
                // Refused: nothing of it is read.
                // SAFETY: the caller's promise.
                unsafe { buffer.write_bytes(0, usize::try_from(amount).unwrap_or(0)) };
                SQLITE_IOERR_SHORT_READ
            }
        }
    }

    /// What SQLite reads without a lock is the header, as a hint of what to expect. It does not go through the client's cache,
    /// where an old page could appear again after the lock has dropped it. What cannot be read so is empty until it is locked,
    /// as is a database that is not made yet or just being replaced. `buffer` comes filled with zeros.
    pub fn read_unlocked(&self, buffer: &mut [u8], offset: usize) -> c_int {
        let end = offset.saturating_add(buffer.len());
        if end > HEADER {
            return SQLITE_IOERR_SHORT_READ;
        }
        let first = self.database.peek(end).unwrap_or_default();
        let found = first.get(offset..).unwrap_or_default();
        buffer[..found.len()].copy_from_slice(found);
        if found.len() == buffer.len() { SQLITE_OK } else { SQLITE_IOERR_SHORT_READ }
    }

    pub fn size(&mut self, out: &mut i64) -> c_int {
        if let Err(text) = lock::check(self.seat.fork()) {
            return self.fail(SQLITE_IOERR_FSTAT, text);
        }
        if self.is_network()
            && let Some(size) = self.database.recall(&self.seat).size
        {
            *out = size;
            return SQLITE_OK;
        }
        let size = match &self.handles.database {
            Some(file) => file.size(),
            None if self.seat.level() > Level::None => Err(SQLITE_IOERR_FSTAT),
            // Without a lock the handle is in the manager's care, or there is no file yet.
            None => Ok(self.database.size().and_then(|size| i64::try_from(size).ok()).unwrap_or(0)),
        };
        match size {
            Ok(size) => {
                *out = size;
                let checked = self.check_lease(SQLITE_IOERR_FSTAT);
                if checked == SQLITE_OK && self.is_network() {
                    self.database.learn(&mut self.seat, |known| known.size = Some(size));
                }
                checked
            }
            Err(code) => code,
        }
    }
}
