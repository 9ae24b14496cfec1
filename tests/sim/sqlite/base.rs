//! The VFS below the shim: files of the simulated storage, of whichever machine's turn it is. Temporary files are
//! in memory. Its locks are for trusted mode; in network-exclusive mode nobody may ask for any.
//!
//! A step of a process that was killed unwinds ([`Crashed`]). SQLite cannot be unwound: here, as at the shim's own methods, it
//! becomes an error, and the task runs to its end with nothing but errors while nothing of it reaches the world any more.

use std::cell::{Cell, RefCell};
use std::ffi::{CStr, OsStr, c_char, c_int, c_void};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Once};
use std::time::Duration;

use coord::lock::simulated::{self, Played};
use coord::storage::{Access, DataFile, Owner, Storage};
use rusqlite::auto_extension::{RawAutoExtension, register_auto_extension};
use rusqlite::ffi::*;

use super::native::{self, Handle};
use crate::sim::machines::Crashed;
use crate::sim::server::Inode;
use crate::sim::storage::SimStorage;
use crate::sim::turns::task;
use crate::sim::weather::Broken;
use crate::sim::world::{State, World};

const OWNER: Owner = Owner { mode: 0o644, uid: 0, gid: 0 };

/// Who acts on this thread: the world, and the process of each of its tasks.
pub struct Stage {
    pub world: Arc<World>,
    pub processes: Vec<Played>,
    /// There are native locks.
    pub trusted: bool,
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

fn is_trusted() -> bool {
    STAGE.with_borrow(|stage| stage.as_ref().is_some_and(|stage| stage.trusted))
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
fn here() -> Option<SimStorage> {
    STAGE.with_borrow(|stage| Some(SimStorage { world: stage.as_ref()?.world.clone(), task: task() }))
}

/// The process of the running task. Also asked for while a thread ends, when its own variables may be gone.
fn who() -> Option<Played> {
    STAGE.try_with(|stage| stage.borrow().as_ref()?.processes.get(task()).cloned()).ok().flatten()
}

/// What SQLite's block holds: the head that every file has, and ours.
#[repr(C)]
struct File {
    head: sqlite3_file,
    inner: *mut Inner,
}

enum Inner {
    Database(Box<dyn DataFile>, Handle),
    /// A journal; and its directory, if it may have been made and that was not synced yet.
    Other(Box<dyn DataFile>, Option<PathBuf>),
    Temporary(Vec<u8>),
}

impl Inner {
    fn open(name: *const c_char, flags: c_int) -> io::Result<Inner> {
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
        if let (Inner::Database(_, handle), true, Some(storage)) = (self, is_trusted(), here())
            && !handle.may_write()
        {
            let text = format!("task {} changes the database without EXCLUSIVE", storage.task);
            storage.world.state().history.violated(text);
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
            (Inner::Database(_, handle), Some(storage)) if is_trusted() => {
                storage.world.local(storage.task, |state, _| {
                    let process = state.tasks[storage.task].process;
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
unsafe fn path<'a>(name: *const c_char) -> &'a Path {
    // SAFETY: the caller's promise.
    Path::new(OsStr::from_bytes(unsafe { CStr::from_ptr(name) }.to_bytes()))
}

/// What `work` says, or `code` where it fails or its process is dead.
fn caught(code: c_int, work: impl FnOnce() -> io::Result<c_int>) -> c_int {
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
        file.sync()?;
        Ok(SQLITE_OK)
    };
    x_file_size(file, out: *mut sqlite3_int64) else SQLITE_IOERR_FSTAT => {
        *out = file.size()? as sqlite3_int64;
        Ok(SQLITE_OK)
    };
    x_lock(file, level: c_int) else SQLITE_IOERR_LOCK => file.natively(|handle, state, process| {
        handle.lock(state, process, level, state.broken == Some(Broken::OpenLocks))
    });
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

static METHODS: sqlite3_io_methods = sqlite3_io_methods {
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

unsafe extern "C" fn x_open(
    _: *mut sqlite3_vfs,
    name: *const c_char,
    file: *mut sqlite3_file,
    flags: c_int,
    out_flags: *mut c_int,
) -> c_int {
    // SAFETY: SQLite's block is as large as our `szOsFile` says.
    unsafe { (*file).pMethods = std::ptr::null() };
    caught(SQLITE_CANTOPEN, || {
        let inner = Inner::open(name, flags)?;
        // SAFETY: as above; the place for the flags is null or SQLite's.
        unsafe {
            (*file.cast::<File>()).inner = Box::into_raw(Box::new(inner));
            (*file).pMethods = &METHODS;
            if !out_flags.is_null() {
                *out_flags = flags;
            }
        }
        Ok(SQLITE_OK)
    })
}

unsafe extern "C" fn x_delete(_: *mut sqlite3_vfs, name: *const c_char, sync_dir: c_int) -> c_int {
    caught(SQLITE_IOERR_DELETE, || {
        let storage = here().ok_or(io::ErrorKind::NotFound)?;
        // SAFETY: a C text of SQLite's.
        let path = unsafe { path(name) };
        match storage.unlink(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(SQLITE_IOERR_DELETE_NOENT),
            done => done?,
        }
        match path.parent().filter(|_| sync_dir != 0) {
            Some(dir) => storage.sync_dir(dir).map(|()| SQLITE_OK),
            None => Ok(SQLITE_OK),
        }
    })
}

unsafe extern "C" fn x_access(_: *mut sqlite3_vfs, name: *const c_char, _: c_int, out: *mut c_int) -> c_int {
    caught(SQLITE_IOERR_ACCESS, || {
        let storage = here().ok_or(io::ErrorKind::NotFound)?;
        // SAFETY: a C text, and a place for the answer. As in os_unix.c an empty file is none.
        unsafe { *out = c_int::from(storage.attributes(path(name)).is_ok_and(|found| found.is_dir || found.size > 0)) };
        Ok(SQLITE_OK)
    })
}

unsafe extern "C" fn x_full_pathname(_: *mut sqlite3_vfs, name: *const c_char, size: c_int, out: *mut c_char) -> c_int {
    // SAFETY: a C text, and room for `size` bytes.
    unsafe {
        let bytes = CStr::from_ptr(name).to_bytes_with_nul();
        if bytes.len() > size as usize {
            return SQLITE_CANTOPEN;
        }
        out.copy_from_nonoverlapping(bytes.as_ptr().cast(), bytes.len());
    }
    SQLITE_OK
}

/// Asked for once, to seed a generator that all connections of the program share: it makes the checksums of journals, on which
/// nothing depends but the bytes.
unsafe extern "C" fn x_randomness(_: *mut sqlite3_vfs, size: c_int, out: *mut c_char) -> c_int {
    // SAFETY: room for `size` bytes.
    unsafe { out.write_bytes(0x5a, size as usize) };
    size
}

unsafe extern "C" fn x_sleep(_: *mut sqlite3_vfs, microseconds: c_int) -> c_int {
    caught(microseconds, || {
        if let Some(storage) = here() {
            storage.sleep(Duration::from_micros(microseconds as u64));
        }
        Ok(microseconds)
    })
}

unsafe extern "C" fn x_current_time(_: *mut sqlite3_vfs, out: *mut f64) -> c_int {
    // SAFETY: a place for the answer.
    unsafe { *out = 2_460_000.5 };
    SQLITE_OK
}

unsafe extern "C" fn x_last_error(_: *mut sqlite3_vfs, _: c_int, _: *mut c_char) -> c_int {
    0
}

/// Makes this VFS the default, and puts coord on top of it, in the SQLite that this program carries.
pub fn register() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let vfs = Box::leak(Box::new(sqlite3_vfs {
            iVersion: 1,
            szOsFile: size_of::<File>() as c_int,
            mxPathname: 512,
            pNext: std::ptr::null_mut(),
            zName: c"simulated".as_ptr(),
            pAppData: std::ptr::null_mut(),
            xOpen: Some(x_open),
            xDelete: Some(x_delete),
            xAccess: Some(x_access),
            xFullPathname: Some(x_full_pathname),
            xDlOpen: None,
            xDlError: None,
            xDlSym: None,
            xDlClose: None,
            xRandomness: Some(x_randomness),
            xSleep: Some(x_sleep),
            xCurrentTime: Some(x_current_time),
            xGetLastError: Some(x_last_error),
            xCurrentTimeInt64: None,
            xSetSystemCall: None,
            xGetSystemCall: None,
            xNextSystemCall: None,
        }));
        // SAFETY: the structure lives for ever. The entry point has the signature that SQLite documents for extensions; the
        // two sides only name its opaque pointers differently.
        unsafe {
            simulated::ask(who);
            assert_eq!(sqlite3_vfs_register(vfs, 1), SQLITE_OK);
            let entry = coord::entry::sqlite3_coord_auto_init as *const ();
            let entry = std::mem::transmute::<*const (), RawAutoExtension>(entry);
            register_auto_extension(entry).expect("SQLite takes the entry point");
        }
        // The first connection registers the shim, which takes the default VFS of that moment for its base.
        drop(rusqlite::Connection::open_in_memory().expect("a connection"));
    });
}
