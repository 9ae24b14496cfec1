//! The functions of one SQLite copy that the driver uses, as a table.
//!
//! Each package `v3_*` links one bundled SQLite into a shared object whose only exported symbol is
//! `coord_test_sqlite`, which returns this table. SQLite's own symbols stay hidden in there, so a process may load
//! several and they are as independent as Python's and apsw's are. The signatures are our own because those of the
//! old libsqlite3-sys releases differ; all these functions and constants are older than the oldest copy.

#![allow(non_camel_case_types, dead_code)]

use std::ffi::{c_char, c_int, c_uchar, c_void};

pub enum sqlite3 {}
pub enum sqlite3_stmt {}
pub enum sqlite3_file {}

/// `sqlite3_vfs`, version 3. Only the fields that the driver touches have their real type.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct sqlite3_vfs {
    pub version: c_int,
    pub sz_os_file: c_int,
    pub mx_pathname: c_int,
    pub next: *mut sqlite3_vfs,
    pub name: *const c_char,
    pub app_data: *mut c_void,
    pub open:
        Option<unsafe extern "C" fn(*mut sqlite3_vfs, *const c_char, *mut sqlite3_file, c_int, *mut c_int) -> c_int>,
    pub delete: Option<unsafe extern "C" fn(*mut sqlite3_vfs, *const c_char, c_int) -> c_int>,
    pub access: Option<unsafe extern "C" fn(*mut sqlite3_vfs, *const c_char, c_int, *mut c_int) -> c_int>,
    pub full_pathname: Option<unsafe extern "C" fn(*mut sqlite3_vfs, *const c_char, c_int, *mut c_char) -> c_int>,
    pub dl: [Option<unsafe extern "C" fn()>; 4],
    pub randomness: Option<unsafe extern "C" fn(*mut sqlite3_vfs, c_int, *mut c_char) -> c_int>,
    pub sleep: Option<unsafe extern "C" fn(*mut sqlite3_vfs, c_int) -> c_int>,
    pub current_time: Option<unsafe extern "C" fn(*mut sqlite3_vfs, *mut f64) -> c_int>,
    pub get_last_error: Option<unsafe extern "C" fn(*mut sqlite3_vfs, c_int, *mut c_char) -> c_int>,
    pub current_time_int64: Option<unsafe extern "C" fn(*mut sqlite3_vfs, *mut i64) -> c_int>,
    pub system_call: [Option<unsafe extern "C" fn()>; 3],
}

macro_rules! api {
    ($($field:ident = $symbol:ident ( $($arg:ty),* $(; $dots:tt)? ) $(-> $ret:ty)?;)*) => {
        #[repr(C)]
        #[derive(Clone, Copy)]
        pub struct Api { $(pub $field: unsafe extern "C" fn($($arg),* $(, $dots)?) $(-> $ret)?,)* }

        #[cfg(feature = "linked")]
        pub mod linked {
            use super::*;
            unsafe extern "C" { $(fn $symbol($(_: $arg),* $(, $dots)?) $(-> $ret)?;)* }
            pub static API: Api = Api { $($field: $symbol,)* };
        }
    };
}

api! {
    libversion = sqlite3_libversion() -> *const c_char;
    config = sqlite3_config(c_int; ...) -> c_int;
    initialize = sqlite3_initialize() -> c_int;
    shutdown = sqlite3_shutdown() -> c_int;
    open_v2 = sqlite3_open_v2(*const c_char, *mut *mut sqlite3, c_int, *const c_char) -> c_int;
    close = sqlite3_close(*mut sqlite3) -> c_int;
    errmsg = sqlite3_errmsg(*mut sqlite3) -> *const c_char;
    extended_errcode = sqlite3_extended_errcode(*mut sqlite3) -> c_int;
    busy_timeout = sqlite3_busy_timeout(*mut sqlite3, c_int) -> c_int;
    enable_load_extension = sqlite3_enable_load_extension(*mut sqlite3, c_int) -> c_int;
    load_extension = sqlite3_load_extension(*mut sqlite3, *const c_char, *const c_char, *mut *mut c_char) -> c_int;
    file_control = sqlite3_file_control(*mut sqlite3, *const c_char, c_int, *mut c_void) -> c_int;
    prepare_v2 = sqlite3_prepare_v2(*mut sqlite3, *const c_char, c_int, *mut *mut sqlite3_stmt, *mut *const c_char) -> c_int;
    step = sqlite3_step(*mut sqlite3_stmt) -> c_int;
    finalize = sqlite3_finalize(*mut sqlite3_stmt) -> c_int;
    column_count = sqlite3_column_count(*mut sqlite3_stmt) -> c_int;
    column_type = sqlite3_column_type(*mut sqlite3_stmt, c_int) -> c_int;
    column_text = sqlite3_column_text(*mut sqlite3_stmt, c_int) -> *const c_uchar;
    column_bytes = sqlite3_column_bytes(*mut sqlite3_stmt, c_int) -> c_int;
    free = sqlite3_free(*mut c_void);
    vfs_find = sqlite3_vfs_find(*const c_char) -> *mut sqlite3_vfs;
    vfs_register = sqlite3_vfs_register(*mut sqlite3_vfs, c_int) -> c_int;
}

pub const OK: c_int = 0;
pub const ROW: c_int = 100;
pub const DONE: c_int = 101;
pub const NULL: c_int = 5;
pub const OPEN_READWRITE_CREATE_URI: c_int = 0x2 | 0x4 | 0x40;
pub const CONFIG_MMAP_SIZE: c_int = 22;
pub const FCNTL_VFSNAME: c_int = 12;
pub const ACCESS_EXISTS: c_int = 0;
