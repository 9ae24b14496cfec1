//! The VFS itself: opening, removing and looking up, a clock that stands still, and how SQLite comes by it. Its files are those
//! of [`super::base`].

use std::ffi::{CStr, c_char, c_int};
use std::io;
use std::sync::Once;
use std::time::Duration;

use coord::lock::simulated;
use coord::storage::Storage;
use rusqlite::auto_extension::{RawAutoExtension, register_auto_extension};
use rusqlite::ffi::*;

use super::base::{File, Inner, METHODS, caught, here, path, who};

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
            zName: c"unix-simulated".as_ptr(),
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
