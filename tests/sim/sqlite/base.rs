//! The files of the VFS below the shim ([`super::vfs`]): those of the simulated storage, of whichever machine's turn it is.
//! Temporary files are in memory. The locks are for trusted mode; in network-exclusive mode nobody may ask for any.
//!
//! A step of a process that was killed unwinds ([`Crashed`]). SQLite cannot be unwound: here, as at the shim's own methods, it
//! becomes an error, and the task runs to its end with nothing but errors while nothing of it reaches the world any more.

use std::cell::{Cell, RefCell};
use std::ffi::{CStr, OsStr, c_char, c_int, c_void};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use coord::lock::simulated::Played;
use coord::storage::{Access, DataFile, Owner, Storage};
use rusqlite::ffi::*;

use super::native::{self, Handle};
use crate::sim::machines::Crashed;
use crate::sim::server::Inode;
use crate::sim::storage::SimStorage;
use crate::sim::turns::task;
use crate::sim::world::{State, World};

const OWNER: Owner = Owner { mode: 0o644, uid: 0, gid: 0 };

/// Who acts on this thread: the world, and the process of each of its tasks.
pub struct Stage {
    pub world: Arc<World>,
    pub processes: Vec<Played>,
    /// There are native locks.
    pub native: bool,
}

thread_local! {
    static STAGE: RefCell<Option<Stage>> = const { RefCell::new(None) };
    /// Who was last given a page of a database, and at what time of the world.
    static LAST_READ: Cell<Option<(usize, u64)>> = const { Cell::new(None) };
}

/// What is opened on this thread from now on is opened by the running task of `stage`; without one, by nobody.
pub fn set(stage: Option<Stage>) {
    native::forget();
    STAGE.set(stage);
}

fn has_native_locks() -> bool {
    STAGE.with_borrow(|stage| stage.as_ref().is_some_and(|stage| stage.native))
}

/// No page has been given to anybody: from here on [`has_just_read`] tells of what comes.
pub fn forget_reads() {
    LAST_READ.set(None);
}

/// Whether the running task has been given a page of a database at this very moment: nothing has happened since.
pub fn has_just_read(now: u64) -> bool {
    LAST_READ.get() == Some((task(), now))
}

/// The storage of the running task.
pub(super) fn here() -> Option<SimStorage> {
    STAGE.with_borrow(|stage| Some(SimStorage { world: stage.as_ref()?.world.clone(), task: task() }))
}

/// The process of the running task. Also asked for while a thread ends, when its own variables may be gone.
pub(super) fn who() -> Option<Played> {
    STAGE.try_with(|stage| stage.borrow().as_ref()?.processes.get(task()).cloned()).ok().flatten()
}

/// What SQLite's block holds: the head that every file has, and ours.
#[repr(C)]
pub(super) struct File {
    pub head: sqlite3_file,
    pub inner: *mut Inner,
}

pub(super) enum Inner {
    Database(Box<dyn DataFile>, Handle),
    /// A journal; and its directory, if it may have been made and that was not synced yet.
    Other(Box<dyn DataFile>, Option<PathBuf>),
    Temporary(Vec<u8>),
}

impl Inner {
    pub fn open(name: *const c_char, flags: c_int) -> io::Result<Inner> {
        if name.is_null() {
            return Ok(Inner::Temporary(Vec::new()));
        }
        let storage = here().ok_or(io::ErrorKind::NotFound)?;
        // SAFETY: a C text of SQLite's.
        let path = unsafe { path(name) };
        let access = if flags & SQLITE_OPEN_READWRITE != 0 { Access::ReadWrite } else { Access::Read };
        let opened = match storage.open(path, access) {
            Err(error) if error.kind() == io::ErrorKind::NotFound && flags & SQLITE_OPEN_CREATE != 0 => {
                let _ = storage.create_new(path, b"", OWNER);
                storage.open(path, access)?
            }
            opened => opened?,
        };
        if flags & SQLITE_OPEN_MAIN_DB != 0 {
            let handle = Handle::new(opened.id()?.inode as Inode);
            return Ok(Inner::Database(opened, handle));
        }
        // As in os_unix.c: who may have made a journal syncs its directory with it.
        let dir = path.parent().filter(|_| flags & SQLITE_OPEN_CREATE != 0);
        Ok(Inner::Other(opened, dir.map(Path::to_path_buf)))
    }

    /// How many bytes there were.
    fn read(&mut self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        match self {
            Inner::Database(file, _) => {
                let got = file.read_at(buffer, offset)?;
                LAST_READ.set(here().map(|storage| (storage.task, storage.world.state().now)));
                Ok(got)
            }
            Inner::Other(file, _) => file.read_at(buffer, offset),
            Inner::Temporary(data) => {
                let rest = data.get(offset as usize..).unwrap_or_default();
                let got = rest.len().min(buffer.len());
                buffer[..got].copy_from_slice(&rest[..got]);
                Ok(got)
            }
        }
    }

    /// Nobody, and no part of the shim, changes the database without the lock that keeps the others out.
    fn is_changed(&self) {
        if let (Inner::Database(_, handle), true, Some(storage)) = (self, has_native_locks(), here()) {
            let mut state = storage.world.state();
            // In network-exclusive mode the native locks are nobody's business any more.
            let may = match state.is_shared() {
                // Whoever made it so from another host has waited for him who holds the lock directory, not for native locks.
                true => !handle.is_locked() || state.serves,
                false => handle.may_write(),
            };
            if !may {
                state.history.violated(format!("task {} changes the database without EXCLUSIVE", storage.task));
            }
        }
    }

    fn write(&mut self, bytes: &[u8], offset: u64) -> io::Result<()> {
        self.is_changed();
        match self {
            Inner::Database(file, _) | Inner::Other(file, _) => file.write_at(bytes, offset),
            Inner::Temporary(data) => {
                let (from, to) = (offset as usize, offset as usize + bytes.len());
                data.resize(data.len().max(to), 0);
                data[from..to].copy_from_slice(bytes);
                Ok(())
            }
        }
    }

    fn truncate(&mut self, size: u64) -> io::Result<()> {
        self.is_changed();
        match self {
            Inner::Database(file, _) | Inner::Other(file, _) => file.set_len(size),
            Inner::Temporary(data) => {
                data.truncate(size as usize);
                Ok(())
            }
        }
    }

    fn sync(&mut self) -> io::Result<()> {
        match self {
            Inner::Database(file, _) => file.sync(),
            Inner::Other(file, dir) => {
                file.sync()?;
                match (dir.take(), here()) {
                    (Some(dir), Some(storage)) => storage.sync_dir(&dir),
                    _ => Ok(()),
                }
            }
            Inner::Temporary(_) => Ok(()),
        }
    }

    /// A step at the native locks of a database.
    fn natively(&mut self, what: impl FnOnce(&Handle, &State, usize) -> c_int) -> io::Result<c_int> {
        match (self, here()) {
            (Inner::Database(_, handle), Some(storage)) if has_native_locks() => {
                storage.world.local(storage.task, |state, host| {
                    let process = state.tasks[storage.task].process;
                    if state.serves && host > 0 {
                        state.history.violated(format!("task {} asks for native locks on a network", storage.task));
                    }
                    let code = what(handle, state, process);
                    state.note(storage.task, || format!("native locks: {code}, now {}", handle.level()));
                    Ok(code)
                })
            }
            _ => Err(io::ErrorKind::Unsupported.into()),
        }
    }

    fn size(&mut self) -> io::Result<u64> {
        match self {
            Inner::Database(file, _) | Inner::Other(file, _) => file.size(),
            Inner::Temporary(data) => Ok(data.len() as u64),
        }
    }
}

/// # Safety
/// `name` is a C text that outlives the result.
pub(super) unsafe fn path<'a>(name: *const c_char) -> &'a Path {
    // SAFETY: the caller's promise.
    Path::new(OsStr::from_bytes(unsafe { CStr::from_ptr(name) }.to_bytes()))
}

/// What `work` says, or `code` where it fails or its process is dead.
pub(super) fn caught(code: c_int, work: impl FnOnce() -> io::Result<c_int>) -> c_int {
    match catch_unwind(AssertUnwindSafe(work)) {
        Ok(Ok(done)) => done,
        Ok(Err(error)) if error.kind() == io::ErrorKind::StorageFull => SQLITE_FULL,
        Ok(Err(_)) => code,
        Err(payload) => {
            if !payload.is::<Crashed>()
                && let Some(storage) = here()
            {
                storage.world.state().history.violated("a panic in the simulated VFS".to_string());
            }
            code
        }
    }
}

/// File methods, each with the code of its failure.
macro_rules! methods {
    ($($name:ident ( $file:ident $(, $argument:ident : $type:ty)* ) else $code:expr => $body:expr;)+) => {
        $(unsafe extern "C" fn $name(file: *mut sqlite3_file $(, $argument: $type)*) -> c_int {
            // SAFETY: SQLite calls with files that `x_open` has filled, from one thread at a time, and with arguments that
            // the method's documentation promises.
            caught($code, || unsafe {
                let $file = &mut *(*file.cast::<File>()).inner;
                $body
            })
        })+
    };
}

methods! {
    x_read(file, to: *mut c_void, amount: c_int, at: sqlite3_int64) else SQLITE_IOERR_READ => {
        let buffer = std::slice::from_raw_parts_mut(to.cast::<u8>(), amount as usize);
        let got = file.read(buffer, at as u64)?;
        buffer[got..].fill(0);
        Ok(if got == buffer.len() { SQLITE_OK } else { SQLITE_IOERR_SHORT_READ })
    };
    x_write(file, from: *const c_void, amount: c_int, at: sqlite3_int64) else SQLITE_IOERR_WRITE => {
        file.write(std::slice::from_raw_parts(from.cast::<u8>(), amount as usize), at as u64)?;
        Ok(SQLITE_OK)
    };
    x_truncate(file, size: sqlite3_int64) else SQLITE_IOERR_TRUNCATE => {
        file.truncate(size as u64)?;
        Ok(SQLITE_OK)
    };
    x_sync(file, _flags: c_int) else SQLITE_IOERR_FSYNC => {
        Ok(if file.sync().is_ok() { SQLITE_OK } else { SQLITE_IOERR_FSYNC })
    };
    x_file_size(file, out: *mut sqlite3_int64) else SQLITE_IOERR_FSTAT => {
        *out = file.size()? as sqlite3_int64;
        Ok(SQLITE_OK)
    };
    x_lock(file, level: c_int) else SQLITE_IOERR_LOCK
        => file.natively(|handle, state, process| handle.lock(state, process, level));
    x_unlock(file, level: c_int) else SQLITE_OK => file.natively(|handle, _, process| {
        handle.unlock(process, level);
        SQLITE_OK
    });
    x_check_reserved(file, out: *mut c_int) else SQLITE_IOERR_CHECKRESERVEDLOCK => file.natively(|handle, state, _| {
        *out = c_int::from(handle.is_reserved(state));
        SQLITE_OK
    });
}

unsafe extern "C" fn x_close(file: *mut sqlite3_file) -> c_int {
    // SAFETY: filled by `x_open`; SQLite closes a file once.
    drop(unsafe { Box::from_raw((*file.cast::<File>()).inner) });
    SQLITE_OK
}

unsafe extern "C" fn x_control(_: *mut sqlite3_file, _: c_int, _: *mut c_void) -> c_int {
    SQLITE_NOTFOUND
}

unsafe extern "C" fn x_sector_size(_: *mut sqlite3_file) -> c_int {
    4096
}

unsafe extern "C" fn x_characteristics(_: *mut sqlite3_file) -> c_int {
    SQLITE_IOCAP_POWERSAFE_OVERWRITE
}

pub(super) static METHODS: sqlite3_io_methods = sqlite3_io_methods {
    iVersion: 1,
    xClose: Some(x_close),
    xRead: Some(x_read),
    xWrite: Some(x_write),
    xTruncate: Some(x_truncate),
    xSync: Some(x_sync),
    xFileSize: Some(x_file_size),
    xLock: Some(x_lock),
    xUnlock: Some(x_unlock),
    xCheckReservedLock: Some(x_check_reserved),
    xFileControl: Some(x_control),
    xSectorSize: Some(x_sector_size),
    xDeviceCharacteristics: Some(x_characteristics),
    xShmMap: None,
    xShmLock: None,
    xShmBarrier: None,
    xShmUnmap: None,
    xFetch: None,
    xUnfetch: None,
};
