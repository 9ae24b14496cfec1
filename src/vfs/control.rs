//! `xFileControl` of a database: pragmas, the commit's second phase, and what must not reach the platform's VFS.

use std::ffi::{CStr, c_char, c_int, c_void};

use super::connections;
use super::database_file::DatabaseFile;
use super::refusals;
use crate::host::ffi::*;
use crate::lock::{self, Mode};
use crate::switches::{self, Guard};

/// Asks a file of coord's for its refusal: `char **`, allocated by the host, null if there is none. Any other VFS answers
/// `SQLITE_NOTFOUND`. In the range that SQLite leaves to VFSes.
pub const FCNTL_REFUSAL: c_int = 0x636f_7264;

const WAL_TEXT: &str = "coord: a WAL needs memory shared by all clients, which no network gives; the database keeps its rollback \
                        journal";

impl DatabaseFile {
    /// # Safety
    /// `argument` is what the operation asks for.
    pub unsafe fn control(&mut self, operation: c_int, argument: *mut c_void) -> c_int {
        let inherited = lock::check(self.seat.fork()).is_err();
        // SAFETY: throughout: SQLite's argument for the operation of that number.
        unsafe {
            match operation {
                // In a forked child nothing is asked of the manager, whose mutex may be held for ever.
                SQLITE_FCNTL_PRAGMA | SQLITE_FCNTL_COMMIT_PHASETWO | SQLITE_FCNTL_HAS_MOVED if inherited => {
                    SQLITE_IOERR
                }
                // Would make its parent's file longer.
                SQLITE_FCNTL_SIZE_HINT if inherited => SQLITE_IOERR,
                FCNTL_REFUSAL => {
                    let text = self.refusal.as_deref().map_or(std::ptr::null_mut(), |text| self.alloc(text));
                    argument.cast::<*mut c_char>().write(text);
                    SQLITE_OK
                }
                SQLITE_FCNTL_LOCKSTATE => {
                    argument.cast::<c_int>().write(self.seat.level().code());
                    SQLITE_OK
                }
                SQLITE_FCNTL_VFSNAME => {
                    let text = self.alloc(&format!("coord/{}", self.handles.host.base_name()));
                    argument.cast::<*mut c_char>().write(text);
                    SQLITE_OK
                }
                SQLITE_FCNTL_PRAGMA => self.pragma(argument.cast()),
                SQLITE_FCNTL_PDB => {
                    self.handles.connection = argument.cast();
                    self.handles.control(operation, argument);
                    SQLITE_OK
                }
                SQLITE_FCNTL_BUSYHANDLER => {
                    self.handles.busy_handler = argument.cast();
                    self.handles.control(operation, argument)
                }
                // Pages served from a mapping would come past every check.
                SQLITE_FCNTL_MMAP_SIZE => {
                    argument.cast::<i64>().write(0);
                    SQLITE_OK
                }
                SQLITE_FCNTL_SYNC if self.is_one_of_several(!argument.is_null()) => {
                    let text = refusals::several_files(&self.paths().database);
                    self.fail(SQLITE_ERROR, text)
                }
                SQLITE_FCNTL_COMMIT_PHASETWO => match self.commit_confirmed() {
                    SQLITE_OK => {
                        self.handles.control(operation, argument);
                        SQLITE_OK
                    }
                    code => code,
                },
                SQLITE_FCNTL_HAS_MOVED if self.database.mode() == Mode::NetworkExclusive => {
                    let moved = self.database.has_moved(&self.seat) && !switches::off(Guard::HasMoved);
                    argument.cast::<c_int>().write(c_int::from(moved));
                    SQLITE_OK
                }
                // Would make the file longer, without a journal.
                SQLITE_FCNTL_SIZE_HINT if self.database.mode() == Mode::NetworkExclusive => SQLITE_OK,
                SQLITE_FCNTL_CHUNK_SIZE | SQLITE_FCNTL_POWERSAFE_OVERWRITE | SQLITE_FCNTL_PERSIST_WAL => {
                    let value = *argument.cast::<c_int>();
                    if value >= 0 {
                        self.handles.remember(operation, value);
                    }
                    self.forward(operation, argument)
                }
                SQLITE_FCNTL_BEGIN_ATOMIC_WRITE
                | SQLITE_FCNTL_COMMIT_ATOMIC_WRITE
                | SQLITE_FCNTL_ROLLBACK_ATOMIC_WRITE => SQLITE_NOTFOUND,
                // Lock waits of the platform's VFS are not ours.
                SQLITE_FCNTL_LOCK_TIMEOUT if self.database.mode() == Mode::NetworkExclusive => SQLITE_NOTFOUND,
                _ => self.forward(operation, argument),
            }
        }
    }

    /// Whether the transaction that is about to be committed writes another database file as well. `named`: SQLite has made a
    /// super-journal, which it does unless `synchronous` is OFF for all of them but one.
    fn is_one_of_several(&self, named: bool) -> bool {
        let beside = || self.transaction.is_kept() && connections::another_writes(self, self.transaction.connection);
        self.database.mode() == Mode::NetworkExclusive && (named || (!switches::off(Guard::OneFile) && beside()))
    }

    /// Hands an operation to the platform's VFS, also while the handle is in the manager's care.
    ///
    /// # Safety
    /// `argument` is what the operation asks for.
    unsafe fn forward(&mut self, operation: c_int, argument: *mut c_void) -> c_int {
        let parked = self.handles.database.is_none() && lock::check(self.seat.fork()).is_ok();
        if parked {
            self.database.unpark(&self.seat, &mut self.handles);
        }
        // SAFETY: the caller's promise.
        let code = unsafe { self.handles.control(operation, argument) };
        if parked {
            self.database.park(&self.seat, &mut self.handles);
        }
        code
    }

    fn alloc(&self, text: &str) -> *mut c_char {
        self.handles.host.api.alloc_text(text)
    }

    /// # Safety
    /// `argument` is the array of `SQLITE_FCNTL_PRAGMA`: answer, name, value or null.
    unsafe fn pragma(&mut self, argument: *mut *mut c_char) -> c_int {
        let text = |at: usize| {
            // SAFETY: the caller's promise.
            let text = unsafe { *argument.add(at) };
            // SAFETY: a C text of SQLite's.
            (!text.is_null()).then(|| unsafe { CStr::from_ptr(text) }.to_string_lossy().to_ascii_lowercase())
        };
        let (name, value) = (text(1).unwrap_or_default(), text(2));
        let answer = match name.as_str() {
            "coord_status" => Some((SQLITE_OK, self.status())),
            "coord_linger" => Some(self.linger(value.as_deref())),
            "coord_error" => Some((SQLITE_OK, self.last_error.clone().unwrap_or_default())),
            "mmap_size" => Some((SQLITE_OK, "0".to_string())),
            "locking_mode" => {
                // SQLite takes anything else for a question.
                match value.as_deref() {
                    Some("exclusive") => self.locking_mode_exclusive = true,
                    Some("normal") => self.locking_mode_exclusive = false,
                    _ => {}
                }
                None
            }
            "journal_mode" if value.as_deref() == Some("wal") => {
                if self.locking_mode_exclusive {
                    // SQLite would do it: without shared memory a WAL works for one connection alone.
                    Some((SQLITE_ERROR, WAL_TEXT.to_string()))
                } else {
                    self.say(WAL_TEXT.to_string());
                    None
                }
            }
            name if name.starts_with("coord_") => Some((
                SQLITE_ERROR,
                format!("coord: there is no PRAGMA {name}; there are coord_status, coord_error and coord_linger"),
            )),
            _ => None,
        };
        match answer {
            Some((code, text)) => {
                // SAFETY: SQLite's place for the answer, which it frees.
                unsafe { *argument = self.alloc(&text) };
                code
            }
            // SAFETY: SQLite's argument.
            None => unsafe { self.handles.control(SQLITE_FCNTL_PRAGMA, argument.cast()) },
        }
    }

    /// `PRAGMA coord_linger` and `PRAGMA coord_linger=…`: for how long this connection keeps an unused lock.
    fn linger(&mut self, value: Option<&str>) -> (c_int, String) {
        let wishes = self.seat.wishes();
        if let Some(value) = value
            && let Err(takes) = wishes.set_linger(value)
        {
            return (SQLITE_ERROR, format!("coord: PRAGMA coord_linger={value} is not understood: it takes {takes}"));
        }
        let span = wishes.linger().map(|span| span.as_millis().to_string());
        (SQLITE_OK, span.unwrap_or_else(|| "auto".to_string()))
    }

    fn status(&self) -> String {
        let mut status = self.database.status();
        if let Some(fields) = status.as_object_mut() {
            fields.insert("connectionLevel".to_string(), self.seat.level().name().into());
            fields.insert("refusal".to_string(), self.refusal.clone().into());
        }
        status.to_string()
    }
}
