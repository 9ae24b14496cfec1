//! A VFS made as PROJ makes its own (so GDAL and spatialite): a struct of its own with the default VFS's functions
//! copied into it and called with *its* pointer; an open that replaces `pMethods` by a changed copy and keeps the
//! original xClose behind the file, at the default VFS's szOsFile, looked up again at close.

use crate::api::{self, Api, sqlite3_file, sqlite3_vfs};
use crate::sqlite::{Answer, Error, c, done};
use std::ffi::{c_char, c_int, c_void};
use std::ptr::{null, null_mut};
use std::sync::Mutex;

type Close = unsafe extern "C" fn(*mut sqlite3_file) -> c_int;

/// A whole `sqlite3_io_methods` of version 3: the version and 18 functions. PROJ copies it whole, whatever the version.
type Methods = [*const c_void; 19];

struct Base {
    api: &'static Api,
    open_on: *mut sqlite3_vfs,
}
unsafe impl Send for Base {}
static BASE: Mutex<Option<Base>> = Mutex::new(None);

/// Registers VFS `foreign` over the present default, calls its path functions for `path`, and tells what they said.
pub fn register(api: &'static Api, path: &str) -> Result<Answer, Error> {
    let base = unsafe { (api.vfs_find)(null()) };
    let default = unsafe { *base };
    let mut guard = BASE.lock().unwrap();
    if guard.is_some() {
        return Err(Error::usage("the foreign VFS is registered already"));
    }
    *guard = Some(Base { api, open_on: base });
    drop(guard);
    // What nobody may follow: the application data of a struct that is not the default's.
    let poison = 0x10 as *mut c_void;
    let foreign = Box::into_raw(Box::new(sqlite3_vfs {
        version: 1,
        sz_os_file: default.sz_os_file + size_of::<*const c_void>() as c_int,
        next: null_mut(),
        name: c"foreign".as_ptr(),
        app_data: poison,
        open: Some(open),
        ..default
    }));
    done(unsafe { (api.vfs_register)(foreign, 0) })?;
    let path = c(path);
    let mut full = vec![0 as c_char; default.mx_pathname as usize + 1];
    let mut exists = -1;
    let mut random = [0 as c_char; 8];
    let codes = unsafe {
        let f = &*foreign;
        [
            f.full_pathname.unwrap()(foreign, path.as_ptr(), default.mx_pathname, full.as_mut_ptr()),
            f.access.unwrap()(foreign, full.as_ptr(), api::ACCESS_EXISTS, &mut exists),
            f.randomness.unwrap()(foreign, random.len() as c_int, random.as_mut_ptr()).min(0),
            f.sleep.unwrap()(foreign, 1).min(0),
            f.current_time.unwrap()(foreign, &mut 0.0),
            f.current_time_int64.map_or(0, |f| f(foreign, &mut 0)),
            f.delete.unwrap()(foreign, c"/nonexistent/coord".as_ptr(), 0),
        ]
    };
    let names = [
        "xFullPathname",
        "xAccess",
        "xRandomness",
        "xSleep",
        "xCurrentTime",
        "xCurrentTimeInt64",
        "xDelete",
    ];
    let mut rows: Vec<Vec<Option<String>>> = names
        .iter()
        .zip(codes)
        .map(|(name, code)| vec![Some(name.to_string()), Some(code.to_string())])
        .collect();
    rows[0].push(Some(unsafe { crate::sqlite::text(full.as_ptr()) }));
    rows[1].push(Some(exists.to_string()));
    Ok(Answer {
        rows,
        text: String::new(),
    })
}

unsafe extern "C" fn open(
    _foreign: *mut sqlite3_vfs,
    name: *const c_char,
    file: *mut sqlite3_file,
    flags: c_int,
    out: *mut c_int,
) -> c_int {
    unsafe {
        let base = BASE.lock().unwrap().as_ref().unwrap().open_on;
        let code = (*base).open.unwrap()(base, name, file, flags, out);
        if code != api::OK {
            return code;
        }
        let methods = file.cast::<*const Methods>();
        let mut copy = **methods;
        file.byte_add((*base).sz_os_file as usize)
            .cast::<*const c_void>()
            .write(copy[1]);
        copy[1] = close as *const c_void;
        methods.write(Box::leak(Box::new(copy)));
        api::OK
    }
}

unsafe extern "C" fn close(file: *mut sqlite3_file) -> c_int {
    unsafe {
        let default = (BASE.lock().unwrap().as_ref().unwrap().api.vfs_find)(null());
        let stored = file
            .byte_add((*default).sz_os_file as usize)
            .cast::<*const c_void>()
            .read();
        let original: Close = std::mem::transmute(stored);
        original(file)
    }
}
