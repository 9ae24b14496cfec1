//! The methods of the VFS itself. What is not a database, its journal or its WAL goes straight to the platform's VFS.

use std::ffi::{c_char, c_double, c_int, c_void};

use super::connections::{self, Part};
use super::host_copy::{HostCopy, in_slot};
use super::{open, patience};
use crate::guard::guard;
use crate::host::api::HOSTS_MAX;
use crate::host::ffi::*;

/// Our VFS for the host in `slot`, standing on a VFS that looks like `model`.
pub fn table(slot: usize, model: &sqlite3_vfs) -> sqlite3_vfs {
    TABLES[slot.min(HOSTS_MAX - 1)](model)
}

const TABLES: [fn(&sqlite3_vfs) -> sqlite3_vfs; HOSTS_MAX] = [
    build::<0>,
    build::<1>,
    build::<2>,
    build::<3>,
    build::<4>,
    build::<5>,
    build::<6>,
    build::<7>,
    build::<8>,
    build::<9>,
    build::<10>,
    build::<11>,
    build::<12>,
    build::<13>,
    build::<14>,
    build::<15>,
];

fn build<const SLOT: usize>(model: &sqlite3_vfs) -> sqlite3_vfs {
    let version = model.iVersion.clamp(1, 3);
    let mut vfs = sqlite3_vfs {
        iVersion: version,
        // The base's, to the byte: programs store files of one VFS and close them by the size of another.
        szOsFile: model.szOsFile,
        mxPathname: model.mxPathname,
        pNext: std::ptr::null_mut(),
        zName: std::ptr::null(),
        pAppData: std::ptr::null_mut(),
        xOpen: Some(x_open::<SLOT>),
        xDelete: Some(x_delete::<SLOT>),
        xAccess: Some(x_access::<SLOT>),
        xFullPathname: Some(x_full_pathname::<SLOT>),
        xDlOpen: Some(x_dl_open::<SLOT>),
        xDlError: Some(x_dl_error::<SLOT>),
        xDlSym: Some(x_dl_sym::<SLOT>),
        xDlClose: Some(x_dl_close::<SLOT>),
        xRandomness: Some(x_randomness::<SLOT>),
        xSleep: Some(x_sleep::<SLOT>),
        xCurrentTime: Some(x_current_time::<SLOT>),
        xGetLastError: Some(x_get_last_error::<SLOT>),
        xCurrentTimeInt64: None,
        xSetSystemCall: None,
        xGetSystemCall: None,
        xNextSystemCall: None,
    };
    if version >= 2 && model.xCurrentTimeInt64.is_some() {
        vfs.xCurrentTimeInt64 = Some(x_current_time_int64::<SLOT>);
    }
    if version >= 3 && model.xSetSystemCall.is_some() {
        vfs.xSetSystemCall = Some(x_set_system_call::<SLOT>);
        vfs.xGetSystemCall = Some(x_get_system_call::<SLOT>);
        vfs.xNextSystemCall = Some(x_next_system_call::<SLOT>);
    }
    vfs
}

fn base<const SLOT: usize>() -> Option<(&'static HostCopy, *mut sqlite3_vfs)> {
    in_slot(SLOT).map(|copy| (copy, copy.base(true)))
}

/// Calls a method of the VFS below.
macro_rules! forward {
    ($slot:ident, $fallback:expr, $name:ident ( $($argument:expr),* )) => {
        // SAFETY: a registered VFS; the arguments are what our own caller gave for the same method.
        match base::<$slot>().and_then(|(_, vfs)| unsafe { (*vfs).$name }.map(|method| (method, vfs))) {
            // SAFETY: as above.
            Some((method, vfs)) => unsafe { method(vfs, $($argument),*) },
            None => $fallback,
        }
    };
}

unsafe extern "C" fn x_open<const SLOT: usize>(
    _: *mut sqlite3_vfs,
    name: *const c_char,
    file: *mut sqlite3_file,
    flags: c_int,
    out_flags: *mut c_int,
) -> c_int {
    // SAFETY: SQLite's file is at least as large as its head.
    unsafe { (*file).pMethods = std::ptr::null() };
    guard(SQLITE_CANTOPEN, || {
        let Some((copy, vfs)) = base::<SLOT>() else { return SQLITE_CANTOPEN };
        // SAFETY: the arguments are SQLite's.
        match unsafe { open::open(copy, name, file, flags, out_flags) } {
            Some(code) => code,
            // SAFETY: a registered VFS, and SQLite's own arguments; sizes of files are the same.
            None => unsafe {
                match (*vfs).xOpen {
                    Some(method) => method(vfs, name, file, flags, out_flags),
                    None => SQLITE_CANTOPEN,
                }
            },
        }
    })
}

unsafe extern "C" fn x_delete<const SLOT: usize>(
    _: *mut sqlite3_vfs,
    name: *const c_char,
    mut sync_dir: c_int,
) -> c_int {
    // SAFETY: SQLite's name; the connection it belongs to is the one that calls.
    let own = guard(Some(SQLITE_IOERR_DELETE), || unsafe {
        let (file, part) = connections::owner(name)?;
        match part {
            Part::Journal => (*file).delete_journal(&mut sync_dir),
            Part::Wal => Some((*file).delete_wal()),
        }
    });
    match own {
        Some(code) => code,
        None => forward!(SLOT, SQLITE_IOERR_DELETE, xDelete(name, sync_dir)),
    }
}

unsafe extern "C" fn x_access<const SLOT: usize>(
    _: *mut sqlite3_vfs,
    name: *const c_char,
    flags: c_int,
    out: *mut c_int,
) -> c_int {
    if flags == SQLITE_ACCESS_EXISTS {
        let ask = || {
            let mut found = 0;
            let code = forward!(SLOT, SQLITE_IOERR_ACCESS, xAccess(name, flags, &raw mut found));
            (code == SQLITE_OK).then_some(found != 0)
        };
        // SAFETY: as in `x_delete`.
        let own = guard(None, || unsafe {
            match connections::owner(name)? {
                (file, Part::Journal) => (*file).journal_exists(),
                (file, Part::Wal) => (*file).wal_exists(ask),
            }
        });
        if let Some(exists) = own {
            // SAFETY: SQLite's place for the answer.
            unsafe { *out = c_int::from(exists) };
            return SQLITE_OK;
        }
    }
    forward!(SLOT, SQLITE_IOERR_ACCESS, xAccess(name, flags, out))
}

unsafe extern "C" fn x_full_pathname<const SLOT: usize>(
    _: *mut sqlite3_vfs,
    name: *const c_char,
    size: c_int,
    out: *mut c_char,
) -> c_int {
    forward!(SLOT, SQLITE_CANTOPEN, xFullPathname(name, size, out))
}

unsafe extern "C" fn x_dl_open<const SLOT: usize>(_: *mut sqlite3_vfs, name: *const c_char) -> *mut c_void {
    forward!(SLOT, std::ptr::null_mut(), xDlOpen(name))
}

unsafe extern "C" fn x_dl_error<const SLOT: usize>(_: *mut sqlite3_vfs, size: c_int, out: *mut c_char) {
    forward!(SLOT, Default::default(), xDlError(size, out))
}

unsafe extern "C" fn x_dl_sym<const SLOT: usize>(
    _: *mut sqlite3_vfs,
    library: *mut c_void,
    symbol: *const c_char,
) -> Option<unsafe extern "C" fn()> {
    forward!(SLOT, None, xDlSym(library, symbol))
}

unsafe extern "C" fn x_dl_close<const SLOT: usize>(_: *mut sqlite3_vfs, library: *mut c_void) {
    forward!(SLOT, Default::default(), xDlClose(library))
}

unsafe extern "C" fn x_randomness<const SLOT: usize>(_: *mut sqlite3_vfs, size: c_int, out: *mut c_char) -> c_int {
    forward!(SLOT, 0, xRandomness(size, out))
}

/// Where the default busy handler waits. It counts what it asked for, not what passed, so it is never cut short.
unsafe extern "C" fn x_sleep<const SLOT: usize>(_: *mut sqlite3_vfs, microseconds: c_int) -> c_int {
    if patience::noted(microseconds) {
        return microseconds;
    }
    forward!(SLOT, 0, xSleep(microseconds))
}

unsafe extern "C" fn x_current_time<const SLOT: usize>(_: *mut sqlite3_vfs, out: *mut c_double) -> c_int {
    forward!(SLOT, SQLITE_ERROR, xCurrentTime(out))
}

unsafe extern "C" fn x_current_time_int64<const SLOT: usize>(_: *mut sqlite3_vfs, out: *mut sqlite3_int64) -> c_int {
    forward!(SLOT, SQLITE_ERROR, xCurrentTimeInt64(out))
}

unsafe extern "C" fn x_get_last_error<const SLOT: usize>(_: *mut sqlite3_vfs, size: c_int, out: *mut c_char) -> c_int {
    forward!(SLOT, 0, xGetLastError(size, out))
}

unsafe extern "C" fn x_set_system_call<const SLOT: usize>(
    _: *mut sqlite3_vfs,
    name: *const c_char,
    call: Option<unsafe extern "C" fn()>,
) -> c_int {
    forward!(SLOT, SQLITE_NOTFOUND, xSetSystemCall(name, call))
}

unsafe extern "C" fn x_get_system_call<const SLOT: usize>(
    _: *mut sqlite3_vfs,
    name: *const c_char,
) -> Option<unsafe extern "C" fn()> {
    forward!(SLOT, None, xGetSystemCall(name))
}

unsafe extern "C" fn x_next_system_call<const SLOT: usize>(_: *mut sqlite3_vfs, name: *const c_char) -> *const c_char {
    forward!(SLOT, std::ptr::null(), xNextSystemCall(name))
}
