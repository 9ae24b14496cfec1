//! The part of SQLite's C interface that a VFS with a few SQL functions needs, as of SQLite 3.26.
//!
//! Names are those of `sqlite3.h` and `sqlite3ext.h`, so that its manual can be read beside this code. Nothing here links
//! against SQLite: there are only types and numbers, and every function is reached through the table that the host hands
//! to an entry point (see [`super::api`]).
//!
//! **A host may be older or newer than what is declared here.** [`sqlite3_api_routines`] is longer than the table of an old
//! host, so never make a reference to a host's and never copy one whole; fields below a `Since` line exist from that version of
//! the host on. [`sqlite3_module`] is shorter than that of a new host, which its `iVersion` says.
//!
//! Structures and constants are declared through two small macros that also list them in [`LAYOUT`] and [`CONSTANTS`];
//! `tests/layout.rs` holds both lists against a real `sqlite3ext.h`, so that nothing declared here goes unchecked.
//! It is one long file as the lists are: what was declared in a second one could be missing from them unnoticed.

#![allow(non_camel_case_types, non_snake_case)]

use std::ffi::{c_char, c_double, c_int, c_uchar, c_void};
use std::mem::{offset_of, size_of};

/// One structure as it is declared here: its C name, its size, and the offset of each field.
#[derive(Debug)]
pub struct Structure {
    pub name: &'static str,
    pub size: usize,
    pub fields: &'static [(&'static str, usize)],
}

macro_rules! structures {
    ($(
        $(#[$attribute:meta])*
        pub struct $name:ident { $(pub $field:ident: $type:ty,)+ }
    )+) => {
        $(
            $(#[$attribute])*
            #[repr(C)]
            pub struct $name { $(pub $field: $type,)+ }
        )+
        /// Every structure of this module, for the comparison with a real header.
        pub const LAYOUT: &[Structure] = &[$(
            Structure {
                name: stringify!($name),
                size: size_of::<$name>(),
                fields: &[$((stringify!($field), offset_of!($name, $field)),)+],
            },
        )+];
    };
}

macro_rules! constants {
    ($($name:ident = $value:expr;)+) => {
        $(pub const $name: c_int = $value;)+
        /// Every constant of this module, for the comparison with a real header.
        pub const CONSTANTS: &[(&str, c_int)] = &[$((stringify!($name), $name),)+];
    };
}

macro_rules! opaque {
    ($($name:ident)+) => {
        $(
            /// Only ever seen behind a pointer.
            #[repr(C)]
            pub struct $name {
                _private: [u8; 0],
                _not_send: std::marker::PhantomData<(*mut u8, std::marker::PhantomPinned)>,
            }
        )+
    };
}

pub type sqlite3_int64 = i64;
pub type sqlite3_uint64 = u64;

opaque! { sqlite3 sqlite3_context sqlite3_value sqlite3_stmt }

/// A function of an extension that SQLite calls when the extension is loaded (`sqlite3_loadext_entry`).
pub type EntryPoint = unsafe extern "C" fn(*mut sqlite3, *mut *mut c_char, *const sqlite3_api_routines) -> c_int;

/// The implementation of an SQL function.
pub type ScalarFunction = unsafe extern "C" fn(*mut sqlite3_context, c_int, *mut *mut sqlite3_value);

/// A field of [`sqlite3_api_routines`] that is here only to hold its place.
pub type Unused = unsafe extern "C" fn();

/// In C a pointer to a function; here an address, because only the two special values are ever passed.
pub type sqlite3_destructor_type = *const c_void;

/// The callee copies the text before it returns.
pub const SQLITE_TRANSIENT: sqlite3_destructor_type = std::ptr::without_provenance(usize::MAX);

structures! {
    /// The head of an open file. An implementation's own fields follow it, up to `szOsFile` bytes in all.
    pub struct sqlite3_file {
        pub pMethods: *const sqlite3_io_methods,
    }

    /// The methods of an open file: up to `xDeviceCharacteristics` in version 1, `xShmUnmap` in version 2, all in version 3.
    #[derive(Clone, Copy)]
    pub struct sqlite3_io_methods {
        pub iVersion: c_int,
        pub xClose: Option<unsafe extern "C" fn(*mut sqlite3_file) -> c_int>,
        pub xRead: Option<unsafe extern "C" fn(*mut sqlite3_file, *mut c_void, c_int, sqlite3_int64) -> c_int>,
        pub xWrite: Option<unsafe extern "C" fn(*mut sqlite3_file, *const c_void, c_int, sqlite3_int64) -> c_int>,
        pub xTruncate: Option<unsafe extern "C" fn(*mut sqlite3_file, sqlite3_int64) -> c_int>,
        pub xSync: Option<unsafe extern "C" fn(*mut sqlite3_file, c_int) -> c_int>,
        pub xFileSize: Option<unsafe extern "C" fn(*mut sqlite3_file, *mut sqlite3_int64) -> c_int>,
        pub xLock: Option<unsafe extern "C" fn(*mut sqlite3_file, c_int) -> c_int>,
        pub xUnlock: Option<unsafe extern "C" fn(*mut sqlite3_file, c_int) -> c_int>,
        pub xCheckReservedLock: Option<unsafe extern "C" fn(*mut sqlite3_file, *mut c_int) -> c_int>,
        pub xFileControl: Option<unsafe extern "C" fn(*mut sqlite3_file, c_int, *mut c_void) -> c_int>,
        pub xSectorSize: Option<unsafe extern "C" fn(*mut sqlite3_file) -> c_int>,
        pub xDeviceCharacteristics: Option<unsafe extern "C" fn(*mut sqlite3_file) -> c_int>,
        pub xShmMap: Option<unsafe extern "C" fn(*mut sqlite3_file, c_int, c_int, c_int, *mut *mut c_void) -> c_int>,
        pub xShmLock: Option<unsafe extern "C" fn(*mut sqlite3_file, c_int, c_int, c_int) -> c_int>,
        pub xShmBarrier: Option<unsafe extern "C" fn(*mut sqlite3_file)>,
        pub xShmUnmap: Option<unsafe extern "C" fn(*mut sqlite3_file, c_int) -> c_int>,
        pub xFetch: Option<unsafe extern "C" fn(*mut sqlite3_file, sqlite3_int64, c_int, *mut *mut c_void) -> c_int>,
        pub xUnfetch: Option<unsafe extern "C" fn(*mut sqlite3_file, sqlite3_int64, *mut c_void) -> c_int>,
    }

    /// A VFS: up to `xGetLastError` in version 1, `xCurrentTimeInt64` in version 2, all in version 3.
    #[derive(Clone, Copy)]
    pub struct sqlite3_vfs {
        pub iVersion: c_int,
        pub szOsFile: c_int,
        pub mxPathname: c_int,
        pub pNext: *mut sqlite3_vfs,
        pub zName: *const c_char,
        pub pAppData: *mut c_void,
        pub xOpen: Option<
            unsafe extern "C" fn(*mut sqlite3_vfs, *const c_char, *mut sqlite3_file, c_int, *mut c_int) -> c_int,
        >,
        pub xDelete: Option<unsafe extern "C" fn(*mut sqlite3_vfs, *const c_char, c_int) -> c_int>,
        pub xAccess: Option<unsafe extern "C" fn(*mut sqlite3_vfs, *const c_char, c_int, *mut c_int) -> c_int>,
        pub xFullPathname: Option<unsafe extern "C" fn(*mut sqlite3_vfs, *const c_char, c_int, *mut c_char) -> c_int>,
        pub xDlOpen: Option<unsafe extern "C" fn(*mut sqlite3_vfs, *const c_char) -> *mut c_void>,
        pub xDlError: Option<unsafe extern "C" fn(*mut sqlite3_vfs, c_int, *mut c_char)>,
        pub xDlSym: Option<
            unsafe extern "C" fn(*mut sqlite3_vfs, *mut c_void, *const c_char) -> Option<unsafe extern "C" fn()>,
        >,
        pub xDlClose: Option<unsafe extern "C" fn(*mut sqlite3_vfs, *mut c_void)>,
        pub xRandomness: Option<unsafe extern "C" fn(*mut sqlite3_vfs, c_int, *mut c_char) -> c_int>,
        pub xSleep: Option<unsafe extern "C" fn(*mut sqlite3_vfs, c_int) -> c_int>,
        pub xCurrentTime: Option<unsafe extern "C" fn(*mut sqlite3_vfs, *mut c_double) -> c_int>,
        pub xGetLastError: Option<unsafe extern "C" fn(*mut sqlite3_vfs, c_int, *mut c_char) -> c_int>,
        pub xCurrentTimeInt64: Option<unsafe extern "C" fn(*mut sqlite3_vfs, *mut sqlite3_int64) -> c_int>,
        pub xSetSystemCall: Option<
            unsafe extern "C" fn(*mut sqlite3_vfs, *const c_char, Option<unsafe extern "C" fn()>) -> c_int,
        >,
        pub xGetSystemCall: Option<
            unsafe extern "C" fn(*mut sqlite3_vfs, *const c_char) -> Option<unsafe extern "C" fn()>,
        >,
        pub xNextSystemCall: Option<unsafe extern "C" fn(*mut sqlite3_vfs, *const c_char) -> *const c_char>,
    }

    /// The methods of a virtual table, up to version 3 (SQLite 3.26); version 4 (3.44) has one more.
    #[derive(Clone, Copy)]
    pub struct sqlite3_module {
        pub iVersion: c_int,
        pub xCreate: Option<VtabConnect>,
        pub xConnect: Option<VtabConnect>,
        pub xBestIndex: Option<unsafe extern "C" fn(*mut sqlite3_vtab, *mut sqlite3_index_info) -> c_int>,
        pub xDisconnect: Option<unsafe extern "C" fn(*mut sqlite3_vtab) -> c_int>,
        pub xDestroy: Option<unsafe extern "C" fn(*mut sqlite3_vtab) -> c_int>,
        pub xOpen: Option<unsafe extern "C" fn(*mut sqlite3_vtab, *mut *mut sqlite3_vtab_cursor) -> c_int>,
        pub xClose: Option<unsafe extern "C" fn(*mut sqlite3_vtab_cursor) -> c_int>,
        pub xFilter: Option<
            unsafe extern "C" fn(
                *mut sqlite3_vtab_cursor,
                c_int,
                *const c_char,
                c_int,
                *mut *mut sqlite3_value,
            ) -> c_int,
        >,
        pub xNext: Option<unsafe extern "C" fn(*mut sqlite3_vtab_cursor) -> c_int>,
        pub xEof: Option<unsafe extern "C" fn(*mut sqlite3_vtab_cursor) -> c_int>,
        pub xColumn: Option<unsafe extern "C" fn(*mut sqlite3_vtab_cursor, *mut sqlite3_context, c_int) -> c_int>,
        pub xRowid: Option<unsafe extern "C" fn(*mut sqlite3_vtab_cursor, *mut sqlite3_int64) -> c_int>,
        pub xUpdate: Option<
            unsafe extern "C" fn(*mut sqlite3_vtab, c_int, *mut *mut sqlite3_value, *mut sqlite3_int64) -> c_int,
        >,
        pub xBegin: Option<unsafe extern "C" fn(*mut sqlite3_vtab) -> c_int>,
        pub xSync: Option<unsafe extern "C" fn(*mut sqlite3_vtab) -> c_int>,
        pub xCommit: Option<unsafe extern "C" fn(*mut sqlite3_vtab) -> c_int>,
        pub xRollback: Option<unsafe extern "C" fn(*mut sqlite3_vtab) -> c_int>,
        pub xFindFunction: Option<
            unsafe extern "C" fn(
                *mut sqlite3_vtab,
                c_int,
                *const c_char,
                *mut Option<ScalarFunction>,
                *mut *mut c_void,
            ) -> c_int,
        >,
        pub xRename: Option<unsafe extern "C" fn(*mut sqlite3_vtab, *const c_char) -> c_int>,
        pub xSavepoint: Option<unsafe extern "C" fn(*mut sqlite3_vtab, c_int) -> c_int>,
        pub xRelease: Option<unsafe extern "C" fn(*mut sqlite3_vtab, c_int) -> c_int>,
        pub xRollbackTo: Option<unsafe extern "C" fn(*mut sqlite3_vtab, c_int) -> c_int>,
        pub xShadowName: Option<unsafe extern "C" fn(*const c_char) -> c_int>,
    }

    /// The head of a virtual table; SQLite fills `pModule` and `nRef`.
    pub struct sqlite3_vtab {
        pub pModule: *const sqlite3_module,
        pub nRef: c_int,
        pub zErrMsg: *mut c_char,
    }

    /// The head of a cursor on a virtual table; SQLite fills it.
    pub struct sqlite3_vtab_cursor {
        pub pVtab: *mut sqlite3_vtab,
    }

    /// A question to `xBestIndex` and its answer. SQLite makes it.
    pub struct sqlite3_index_info {
        pub nConstraint: c_int,
        pub aConstraint: *mut sqlite3_index_constraint,
        pub nOrderBy: c_int,
        pub aOrderBy: *mut sqlite3_index_orderby,
        pub aConstraintUsage: *mut sqlite3_index_constraint_usage,
        pub idxNum: c_int,
        pub idxStr: *mut c_char,
        pub needToFreeIdxStr: c_int,
        pub orderByConsumed: c_int,
        pub estimatedCost: c_double,
        pub estimatedRows: sqlite3_int64,
        pub idxFlags: c_int,
        pub colUsed: sqlite3_uint64,
    }

    /// One term of a WHERE clause.
    pub struct sqlite3_index_constraint {
        pub iColumn: c_int,
        pub op: c_uchar,
        pub usable: c_uchar,
        pub iTermOffset: c_int,
    }

    /// One term of an ORDER BY clause.
    pub struct sqlite3_index_orderby {
        pub iColumn: c_int,
        pub desc: c_uchar,
    }

    /// What becomes of one term of a WHERE clause.
    pub struct sqlite3_index_constraint_usage {
        pub argvIndex: c_int,
        pub omit: c_uchar,
    }

    /// The host's table of functions. It ends where its version ends: read single fields through a raw pointer, and none
    /// below a `Since` line that the host's version does not reach.
    pub struct sqlite3_api_routines {
        pub aggregate_context: Option<Unused>,
        pub aggregate_count: Option<Unused>,
        pub bind_blob: Option<Unused>,
        pub bind_double: Option<Unused>,
        pub bind_int: Option<Unused>,
        pub bind_int64: Option<Unused>,
        pub bind_null: Option<Unused>,
        pub bind_parameter_count: Option<Unused>,
        pub bind_parameter_index: Option<Unused>,
        pub bind_parameter_name: Option<Unused>,
        pub bind_text: Option<Unused>,
        pub bind_text16: Option<Unused>,
        pub bind_value: Option<Unused>,
        pub busy_handler: Option<Unused>,
        pub busy_timeout: Option<Unused>,
        pub changes: Option<Unused>,
        pub close: Option<Unused>,
        pub collation_needed: Option<Unused>,
        pub collation_needed16: Option<Unused>,
        pub column_blob: Option<Unused>,
        pub column_bytes: Option<Unused>,
        pub column_bytes16: Option<Unused>,
        pub column_count: Option<Unused>,
        pub column_database_name: Option<Unused>,
        pub column_database_name16: Option<Unused>,
        pub column_decltype: Option<Unused>,
        pub column_decltype16: Option<Unused>,
        pub column_double: Option<Unused>,
        pub column_int: Option<Unused>,
        pub column_int64: Option<Unused>,
        pub column_name: Option<Unused>,
        pub column_name16: Option<Unused>,
        pub column_origin_name: Option<Unused>,
        pub column_origin_name16: Option<Unused>,
        pub column_table_name: Option<Unused>,
        pub column_table_name16: Option<Unused>,
        pub column_text: Option<Unused>,
        pub column_text16: Option<Unused>,
        pub column_type: Option<Unused>,
        pub column_value: Option<Unused>,
        pub commit_hook: Option<Unused>,
        pub complete: Option<Unused>,
        pub complete16: Option<Unused>,
        pub create_collation: Option<Unused>,
        pub create_collation16: Option<Unused>,
        pub create_function: Option<Unused>,
        pub create_function16: Option<Unused>,
        pub create_module: Option<Unused>,
        pub data_count: Option<Unused>,
        pub db_handle: Option<Unused>,
        pub declare_vtab: Option<unsafe extern "C" fn(*mut sqlite3, *const c_char) -> c_int>,
        pub enable_shared_cache: Option<Unused>,
        pub errcode: Option<Unused>,
        pub errmsg: Option<Unused>,
        pub errmsg16: Option<Unused>,
        pub exec: Option<Unused>,
        pub expired: Option<Unused>,
        pub finalize: Option<Unused>,
        pub free: Option<unsafe extern "C" fn(*mut c_void)>,
        pub free_table: Option<Unused>,
        pub get_autocommit: Option<Unused>,
        pub get_auxdata: Option<Unused>,
        pub get_table: Option<Unused>,
        pub global_recover: Option<Unused>,
        pub interruptx: Option<Unused>,
        pub last_insert_rowid: Option<Unused>,
        pub libversion: Option<unsafe extern "C" fn() -> *const c_char>,
        pub libversion_number: Option<unsafe extern "C" fn() -> c_int>,
        pub malloc: Option<unsafe extern "C" fn(c_int) -> *mut c_void>,
        pub mprintf: Option<Unused>,
        pub open: Option<Unused>,
        pub open16: Option<Unused>,
        pub prepare: Option<Unused>,
        pub prepare16: Option<Unused>,
        pub profile: Option<Unused>,
        pub progress_handler: Option<Unused>,
        pub realloc: Option<Unused>,
        pub reset: Option<Unused>,
        pub result_blob: Option<Unused>,
        pub result_double: Option<Unused>,
        pub result_error: Option<unsafe extern "C" fn(*mut sqlite3_context, *const c_char, c_int)>,
        pub result_error16: Option<Unused>,
        pub result_int: Option<Unused>,
        pub result_int64: Option<unsafe extern "C" fn(*mut sqlite3_context, sqlite3_int64)>,
        pub result_null: Option<unsafe extern "C" fn(*mut sqlite3_context)>,
        pub result_text: Option<Unused>,
        pub result_text16: Option<Unused>,
        pub result_text16be: Option<Unused>,
        pub result_text16le: Option<Unused>,
        pub result_value: Option<Unused>,
        pub rollback_hook: Option<Unused>,
        pub set_authorizer: Option<Unused>,
        pub set_auxdata: Option<Unused>,
        pub xsnprintf: Option<Unused>,
        pub step: Option<Unused>,
        pub table_column_metadata: Option<Unused>,
        pub thread_cleanup: Option<Unused>,
        pub total_changes: Option<Unused>,
        pub trace: Option<Unused>,
        pub transfer_bindings: Option<Unused>,
        pub update_hook: Option<Unused>,
        pub user_data: Option<unsafe extern "C" fn(*mut sqlite3_context) -> *mut c_void>,
        pub value_blob: Option<Unused>,
        pub value_bytes: Option<unsafe extern "C" fn(*mut sqlite3_value) -> c_int>,
        pub value_bytes16: Option<Unused>,
        pub value_double: Option<Unused>,
        pub value_int: Option<Unused>,
        pub value_int64: Option<unsafe extern "C" fn(*mut sqlite3_value) -> sqlite3_int64>,
        pub value_numeric_type: Option<Unused>,
        pub value_text: Option<unsafe extern "C" fn(*mut sqlite3_value) -> *const c_uchar>,
        pub value_text16: Option<Unused>,
        pub value_text16be: Option<Unused>,
        pub value_text16le: Option<Unused>,
        pub value_type: Option<unsafe extern "C" fn(*mut sqlite3_value) -> c_int>,
        pub vmprintf: Option<Unused>,
        pub overload_function: Option<Unused>,
        pub prepare_v2: Option<Unused>,
        pub prepare16_v2: Option<Unused>,
        pub clear_bindings: Option<Unused>,
        pub create_module_v2: Option<
            unsafe extern "C" fn(
                *mut sqlite3,
                *const c_char,
                *const sqlite3_module,
                *mut c_void,
                Option<unsafe extern "C" fn(*mut c_void)>,
            ) -> c_int,
        >,
        pub bind_zeroblob: Option<Unused>,
        pub blob_bytes: Option<Unused>,
        pub blob_close: Option<Unused>,
        pub blob_open: Option<Unused>,
        pub blob_read: Option<Unused>,
        pub blob_write: Option<Unused>,
        pub create_collation_v2: Option<Unused>,
        pub file_control: Option<unsafe extern "C" fn(*mut sqlite3, *const c_char, c_int, *mut c_void) -> c_int>,
        pub memory_highwater: Option<Unused>,
        pub memory_used: Option<Unused>,
        pub mutex_alloc: Option<Unused>,
        pub mutex_enter: Option<Unused>,
        pub mutex_free: Option<Unused>,
        pub mutex_leave: Option<Unused>,
        pub mutex_try: Option<Unused>,
        pub open_v2: Option<Unused>,
        pub release_memory: Option<Unused>,
        pub result_error_nomem: Option<Unused>,
        pub result_error_toobig: Option<Unused>,
        pub sleep: Option<Unused>,
        pub soft_heap_limit: Option<Unused>,
        pub vfs_find: Option<unsafe extern "C" fn(*const c_char) -> *mut sqlite3_vfs>,
        pub vfs_register: Option<unsafe extern "C" fn(*mut sqlite3_vfs, c_int) -> c_int>,
        pub vfs_unregister: Option<Unused>,
        pub xthreadsafe: Option<unsafe extern "C" fn() -> c_int>,
        pub result_zeroblob: Option<Unused>,
        pub result_error_code: Option<unsafe extern "C" fn(*mut sqlite3_context, c_int)>,
        pub test_control: Option<Unused>,
        pub randomness: Option<Unused>,
        pub context_db_handle: Option<unsafe extern "C" fn(*mut sqlite3_context) -> *mut sqlite3>,
        pub extended_result_codes: Option<Unused>,
        pub limit: Option<Unused>,
        pub next_stmt: Option<Unused>,
        pub sql: Option<Unused>,
        pub status: Option<Unused>,
        pub backup_finish: Option<Unused>,
        pub backup_init: Option<Unused>,
        pub backup_pagecount: Option<Unused>,
        pub backup_remaining: Option<Unused>,
        pub backup_step: Option<Unused>,
        pub compileoption_get: Option<Unused>,
        pub compileoption_used: Option<Unused>,
        pub create_function_v2: Option<
            unsafe extern "C" fn(
                *mut sqlite3,
                *const c_char,
                c_int,
                c_int,
                *mut c_void,
                Option<ScalarFunction>,
                Option<ScalarFunction>,
                Option<unsafe extern "C" fn(*mut sqlite3_context)>,
                Option<unsafe extern "C" fn(*mut c_void)>,
            ) -> c_int,
        >,
        pub db_config: Option<Unused>,
        pub db_mutex: Option<Unused>,
        pub db_status: Option<Unused>,
        pub extended_errcode: Option<Unused>,
        pub log: Option<unsafe extern "C" fn(c_int, *const c_char, ...)>,
        pub soft_heap_limit64: Option<Unused>,
        pub sourceid: Option<Unused>,
        pub stmt_status: Option<Unused>,
        pub strnicmp: Option<Unused>,
        pub unlock_notify: Option<Unused>,
        pub wal_autocheckpoint: Option<Unused>,
        pub wal_checkpoint: Option<Unused>,
        pub wal_hook: Option<Unused>,
        pub blob_reopen: Option<Unused>,
        pub vtab_config: Option<unsafe extern "C" fn(*mut sqlite3, c_int, ...) -> c_int>,
        pub vtab_on_conflict: Option<Unused>,
        pub close_v2: Option<Unused>,
        pub db_filename: Option<unsafe extern "C" fn(*mut sqlite3, *const c_char) -> *const c_char>,
        pub db_readonly: Option<Unused>,
        pub db_release_memory: Option<Unused>,
        pub errstr: Option<Unused>,
        pub stmt_busy: Option<Unused>,
        pub stmt_readonly: Option<Unused>,
        pub stricmp: Option<Unused>,
        pub uri_boolean: Option<unsafe extern "C" fn(*const c_char, *const c_char, c_int) -> c_int>,
        pub uri_int64: Option<Unused>,
        pub uri_parameter: Option<Unused>,
        pub xvsnprintf: Option<Unused>,
        pub wal_checkpoint_v2: Option<Unused>,
        pub auto_extension: Option<unsafe extern "C" fn(Option<unsafe extern "C" fn()>) -> c_int>,
        pub bind_blob64: Option<Unused>,
        pub bind_text64: Option<Unused>,
        pub cancel_auto_extension: Option<unsafe extern "C" fn(Option<unsafe extern "C" fn()>) -> c_int>,
        pub load_extension: Option<Unused>,
        pub malloc64: Option<unsafe extern "C" fn(sqlite3_uint64) -> *mut c_void>,
        pub msize: Option<Unused>,
        pub realloc64: Option<Unused>,
        pub reset_auto_extension: Option<Unused>,
        pub result_blob64: Option<Unused>,
        pub result_text64: Option<
            unsafe extern "C" fn(*mut sqlite3_context, *const c_char, sqlite3_uint64, sqlite3_destructor_type, c_uchar),
        >,
        pub strglob: Option<Unused>,
        pub value_dup: Option<Unused>,
        pub value_free: Option<Unused>,
        pub result_zeroblob64: Option<Unused>,
        pub bind_zeroblob64: Option<Unused>,
        pub value_subtype: Option<Unused>,
        pub result_subtype: Option<Unused>,
        pub status64: Option<Unused>,
        pub strlike: Option<Unused>,
        pub db_cacheflush: Option<Unused>,
        pub system_errno: Option<Unused>,
        pub trace_v2: Option<Unused>,
        pub expanded_sql: Option<Unused>,
        pub set_last_insert_rowid: Option<Unused>,
        pub prepare_v3: Option<Unused>,
        pub prepare16_v3: Option<Unused>,
        pub bind_pointer: Option<Unused>,
        pub result_pointer: Option<Unused>,
        pub value_pointer: Option<Unused>,
        pub vtab_nochange: Option<Unused>,
        pub value_nochange: Option<Unused>,
        pub vtab_collation: Option<Unused>,
        pub keyword_count: Option<Unused>,
        pub keyword_name: Option<Unused>,
        pub keyword_check: Option<Unused>,
        pub str_new: Option<Unused>,
        pub str_finish: Option<Unused>,
        pub str_appendf: Option<Unused>,
        pub str_vappendf: Option<Unused>,
        pub str_append: Option<Unused>,
        pub str_appendall: Option<Unused>,
        pub str_appendchar: Option<Unused>,
        pub str_reset: Option<Unused>,
        pub str_errcode: Option<Unused>,
        pub str_length: Option<Unused>,
        pub str_value: Option<Unused>,
        pub create_window_function: Option<Unused>,
        pub normalized_sql: Option<Unused>,
        pub stmt_isexplain: Option<Unused>,
        pub value_frombind: Option<Unused>,
        pub drop_modules: Option<Unused>,
        pub hard_heap_limit64: Option<Unused>,
        pub uri_key: Option<Unused>,
        pub filename_database: Option<unsafe extern "C" fn(*const c_char) -> *const c_char>,
        pub filename_journal: Option<unsafe extern "C" fn(*const c_char) -> *const c_char>,
        pub filename_wal: Option<unsafe extern "C" fn(*const c_char) -> *const c_char>,
        pub create_filename: Option<
            unsafe extern "C" fn(
                *const c_char,
                *const c_char,
                *const c_char,
                c_int,
                *mut *const c_char,
            ) -> *const c_char,
        >,
        pub free_filename: Option<unsafe extern "C" fn(*const c_char)>,
        pub database_file_object: Option<unsafe extern "C" fn(*const c_char) -> *mut sqlite3_file>,
        pub txn_state: Option<Unused>,
        pub changes64: Option<Unused>,
        pub total_changes64: Option<Unused>,
        pub autovacuum_pages: Option<Unused>,
        pub error_offset: Option<Unused>,
        pub vtab_rhs_value: Option<Unused>,
        pub vtab_distinct: Option<Unused>,
        pub vtab_in: Option<Unused>,
        pub vtab_in_first: Option<Unused>,
        pub vtab_in_next: Option<Unused>,
        pub deserialize: Option<Unused>,
        pub serialize: Option<Unused>,
        pub db_name: Option<Unused>,
        pub value_encoding: Option<Unused>,
        pub is_interrupted: Option<unsafe extern "C" fn(*mut sqlite3) -> c_int>,
    }
}

/// `xCreate` and `xConnect`.
pub type VtabConnect = unsafe extern "C" fn(
    *mut sqlite3,
    *mut c_void,
    c_int,
    *const *const c_char,
    *mut *mut sqlite3_vtab,
    *mut *mut c_char,
) -> c_int;

constants! {
    // Result codes.
    SQLITE_OK = 0;
    SQLITE_ERROR = 1;
    SQLITE_INTERNAL = 2;
    SQLITE_PERM = 3;
    SQLITE_ABORT = 4;
    SQLITE_BUSY = 5;
    SQLITE_LOCKED = 6;
    SQLITE_NOMEM = 7;
    SQLITE_READONLY = 8;
    SQLITE_INTERRUPT = 9;
    SQLITE_IOERR = 10;
    SQLITE_CORRUPT = 11;
    SQLITE_NOTFOUND = 12;
    SQLITE_FULL = 13;
    SQLITE_CANTOPEN = 14;
    SQLITE_PROTOCOL = 15;
    SQLITE_EMPTY = 16;
    SQLITE_SCHEMA = 17;
    SQLITE_TOOBIG = 18;
    SQLITE_CONSTRAINT = 19;
    SQLITE_MISMATCH = 20;
    SQLITE_MISUSE = 21;
    SQLITE_NOLFS = 22;
    SQLITE_AUTH = 23;
    SQLITE_FORMAT = 24;
    SQLITE_RANGE = 25;
    SQLITE_NOTADB = 26;
    SQLITE_NOTICE = 27;
    SQLITE_WARNING = 28;
    SQLITE_ROW = 100;
    SQLITE_DONE = 101;
    // Extended result codes.
    SQLITE_ERROR_MISSING_COLLSEQ = SQLITE_ERROR | (1 << 8);
    SQLITE_ERROR_RETRY = SQLITE_ERROR | (2 << 8);
    SQLITE_ERROR_SNAPSHOT = SQLITE_ERROR | (3 << 8);
    SQLITE_ERROR_RESERVESIZE = SQLITE_ERROR | (4 << 8);
    SQLITE_ERROR_KEY = SQLITE_ERROR | (5 << 8);
    SQLITE_ERROR_UNABLE = SQLITE_ERROR | (6 << 8);
    SQLITE_IOERR_READ = SQLITE_IOERR | (1 << 8);
    SQLITE_IOERR_SHORT_READ = SQLITE_IOERR | (2 << 8);
    SQLITE_IOERR_WRITE = SQLITE_IOERR | (3 << 8);
    SQLITE_IOERR_FSYNC = SQLITE_IOERR | (4 << 8);
    SQLITE_IOERR_DIR_FSYNC = SQLITE_IOERR | (5 << 8);
    SQLITE_IOERR_TRUNCATE = SQLITE_IOERR | (6 << 8);
    SQLITE_IOERR_FSTAT = SQLITE_IOERR | (7 << 8);
    SQLITE_IOERR_UNLOCK = SQLITE_IOERR | (8 << 8);
    SQLITE_IOERR_RDLOCK = SQLITE_IOERR | (9 << 8);
    SQLITE_IOERR_DELETE = SQLITE_IOERR | (10 << 8);
    SQLITE_IOERR_BLOCKED = SQLITE_IOERR | (11 << 8);
    SQLITE_IOERR_NOMEM = SQLITE_IOERR | (12 << 8);
    SQLITE_IOERR_ACCESS = SQLITE_IOERR | (13 << 8);
    SQLITE_IOERR_CHECKRESERVEDLOCK = SQLITE_IOERR | (14 << 8);
    SQLITE_IOERR_LOCK = SQLITE_IOERR | (15 << 8);
    SQLITE_IOERR_CLOSE = SQLITE_IOERR | (16 << 8);
    SQLITE_IOERR_DIR_CLOSE = SQLITE_IOERR | (17 << 8);
    SQLITE_IOERR_SHMOPEN = SQLITE_IOERR | (18 << 8);
    SQLITE_IOERR_SHMSIZE = SQLITE_IOERR | (19 << 8);
    SQLITE_IOERR_SHMLOCK = SQLITE_IOERR | (20 << 8);
    SQLITE_IOERR_SHMMAP = SQLITE_IOERR | (21 << 8);
    SQLITE_IOERR_SEEK = SQLITE_IOERR | (22 << 8);
    SQLITE_IOERR_DELETE_NOENT = SQLITE_IOERR | (23 << 8);
    SQLITE_IOERR_MMAP = SQLITE_IOERR | (24 << 8);
    SQLITE_IOERR_GETTEMPPATH = SQLITE_IOERR | (25 << 8);
    SQLITE_IOERR_CONVPATH = SQLITE_IOERR | (26 << 8);
    SQLITE_IOERR_VNODE = SQLITE_IOERR | (27 << 8);
    SQLITE_IOERR_AUTH = SQLITE_IOERR | (28 << 8);
    SQLITE_IOERR_BEGIN_ATOMIC = SQLITE_IOERR | (29 << 8);
    SQLITE_IOERR_COMMIT_ATOMIC = SQLITE_IOERR | (30 << 8);
    SQLITE_IOERR_ROLLBACK_ATOMIC = SQLITE_IOERR | (31 << 8);
    SQLITE_IOERR_DATA = SQLITE_IOERR | (32 << 8);
    SQLITE_IOERR_CORRUPTFS = SQLITE_IOERR | (33 << 8);
    SQLITE_IOERR_IN_PAGE = SQLITE_IOERR | (34 << 8);
    SQLITE_IOERR_BADKEY = SQLITE_IOERR | (35 << 8);
    SQLITE_IOERR_CODEC = SQLITE_IOERR | (36 << 8);
    SQLITE_LOCKED_SHAREDCACHE = SQLITE_LOCKED | (1 << 8);
    SQLITE_LOCKED_VTAB = SQLITE_LOCKED | (2 << 8);
    SQLITE_BUSY_RECOVERY = SQLITE_BUSY | (1 << 8);
    SQLITE_BUSY_SNAPSHOT = SQLITE_BUSY | (2 << 8);
    SQLITE_BUSY_TIMEOUT = SQLITE_BUSY | (3 << 8);
    SQLITE_CANTOPEN_NOTEMPDIR = SQLITE_CANTOPEN | (1 << 8);
    SQLITE_CANTOPEN_ISDIR = SQLITE_CANTOPEN | (2 << 8);
    SQLITE_CANTOPEN_FULLPATH = SQLITE_CANTOPEN | (3 << 8);
    SQLITE_CANTOPEN_CONVPATH = SQLITE_CANTOPEN | (4 << 8);
    SQLITE_CANTOPEN_DIRTYWAL = SQLITE_CANTOPEN | (5 << 8);
    SQLITE_CANTOPEN_SYMLINK = SQLITE_CANTOPEN | (6 << 8);
    SQLITE_CORRUPT_VTAB = SQLITE_CORRUPT | (1 << 8);
    SQLITE_CORRUPT_SEQUENCE = SQLITE_CORRUPT | (2 << 8);
    SQLITE_CORRUPT_INDEX = SQLITE_CORRUPT | (3 << 8);
    SQLITE_READONLY_RECOVERY = SQLITE_READONLY | (1 << 8);
    SQLITE_READONLY_CANTLOCK = SQLITE_READONLY | (2 << 8);
    SQLITE_READONLY_ROLLBACK = SQLITE_READONLY | (3 << 8);
    SQLITE_READONLY_DBMOVED = SQLITE_READONLY | (4 << 8);
    SQLITE_READONLY_CANTINIT = SQLITE_READONLY | (5 << 8);
    SQLITE_READONLY_DIRECTORY = SQLITE_READONLY | (6 << 8);
    SQLITE_ABORT_ROLLBACK = SQLITE_ABORT | (2 << 8);
    SQLITE_NOTICE_RECOVER_WAL = SQLITE_NOTICE | (1 << 8);
    SQLITE_NOTICE_RECOVER_ROLLBACK = SQLITE_NOTICE | (2 << 8);
    SQLITE_NOTICE_RBU = SQLITE_NOTICE | (3 << 8);
    SQLITE_WARNING_AUTOINDEX = SQLITE_WARNING | (1 << 8);
    SQLITE_OK_LOAD_PERMANENTLY = 1 << 8;
    SQLITE_OK_SYMLINK = 2 << 8;
    // How a file is opened, and what it is (xOpen).
    SQLITE_OPEN_READONLY = 0x00000001;
    SQLITE_OPEN_READWRITE = 0x00000002;
    SQLITE_OPEN_CREATE = 0x00000004;
    SQLITE_OPEN_DELETEONCLOSE = 0x00000008;
    SQLITE_OPEN_EXCLUSIVE = 0x00000010;
    SQLITE_OPEN_AUTOPROXY = 0x00000020;
    SQLITE_OPEN_URI = 0x00000040;
    SQLITE_OPEN_MEMORY = 0x00000080;
    SQLITE_OPEN_MAIN_DB = 0x00000100;
    SQLITE_OPEN_TEMP_DB = 0x00000200;
    SQLITE_OPEN_TRANSIENT_DB = 0x00000400;
    SQLITE_OPEN_MAIN_JOURNAL = 0x00000800;
    SQLITE_OPEN_TEMP_JOURNAL = 0x00001000;
    SQLITE_OPEN_SUBJOURNAL = 0x00002000;
    SQLITE_OPEN_SUPER_JOURNAL = 0x00004000;
    SQLITE_OPEN_NOMUTEX = 0x00008000;
    SQLITE_OPEN_FULLMUTEX = 0x00010000;
    SQLITE_OPEN_SHAREDCACHE = 0x00020000;
    SQLITE_OPEN_PRIVATECACHE = 0x00040000;
    SQLITE_OPEN_WAL = 0x00080000;
    SQLITE_OPEN_NOFOLLOW = 0x01000000;
    SQLITE_OPEN_EXRESCODE = 0x02000000;
    SQLITE_OPEN_MASTER_JOURNAL = 0x00004000;
    // What a device promises (xDeviceCharacteristics).
    SQLITE_IOCAP_ATOMIC = 0x00000001;
    SQLITE_IOCAP_ATOMIC512 = 0x00000002;
    SQLITE_IOCAP_ATOMIC1K = 0x00000004;
    SQLITE_IOCAP_ATOMIC2K = 0x00000008;
    SQLITE_IOCAP_ATOMIC4K = 0x00000010;
    SQLITE_IOCAP_ATOMIC8K = 0x00000020;
    SQLITE_IOCAP_ATOMIC16K = 0x00000040;
    SQLITE_IOCAP_ATOMIC32K = 0x00000080;
    SQLITE_IOCAP_ATOMIC64K = 0x00000100;
    SQLITE_IOCAP_SAFE_APPEND = 0x00000200;
    SQLITE_IOCAP_SEQUENTIAL = 0x00000400;
    SQLITE_IOCAP_UNDELETABLE_WHEN_OPEN = 0x00000800;
    SQLITE_IOCAP_POWERSAFE_OVERWRITE = 0x00001000;
    SQLITE_IOCAP_IMMUTABLE = 0x00002000;
    SQLITE_IOCAP_BATCH_ATOMIC = 0x00004000;
    SQLITE_IOCAP_SUBPAGE_READ = 0x00008000;
    // Lock levels (xLock, xUnlock).
    SQLITE_LOCK_NONE = 0;
    SQLITE_LOCK_SHARED = 1;
    SQLITE_LOCK_RESERVED = 2;
    SQLITE_LOCK_PENDING = 3;
    SQLITE_LOCK_EXCLUSIVE = 4;
    // xAccess.
    SQLITE_ACCESS_EXISTS = 0;
    SQLITE_ACCESS_READWRITE = 1;
    SQLITE_ACCESS_READ = 2;
    // xSync.
    SQLITE_SYNC_NORMAL = 2;
    SQLITE_SYNC_FULL = 3;
    SQLITE_SYNC_DATAONLY = 16;
    // xShmLock.
    SQLITE_SHM_UNLOCK = 1;
    SQLITE_SHM_LOCK = 2;
    SQLITE_SHM_SHARED = 4;
    SQLITE_SHM_EXCLUSIVE = 8;
    SQLITE_SHM_NLOCK = 8;
    // xFileControl.
    SQLITE_FCNTL_LOCKSTATE = 1;
    SQLITE_FCNTL_GET_LOCKPROXYFILE = 2;
    SQLITE_FCNTL_SET_LOCKPROXYFILE = 3;
    SQLITE_FCNTL_LAST_ERRNO = 4;
    SQLITE_FCNTL_SIZE_HINT = 5;
    SQLITE_FCNTL_CHUNK_SIZE = 6;
    SQLITE_FCNTL_FILE_POINTER = 7;
    SQLITE_FCNTL_SYNC_OMITTED = 8;
    SQLITE_FCNTL_WIN32_AV_RETRY = 9;
    SQLITE_FCNTL_PERSIST_WAL = 10;
    SQLITE_FCNTL_OVERWRITE = 11;
    SQLITE_FCNTL_VFSNAME = 12;
    SQLITE_FCNTL_POWERSAFE_OVERWRITE = 13;
    SQLITE_FCNTL_PRAGMA = 14;
    SQLITE_FCNTL_BUSYHANDLER = 15;
    SQLITE_FCNTL_TEMPFILENAME = 16;
    SQLITE_FCNTL_MMAP_SIZE = 18;
    SQLITE_FCNTL_TRACE = 19;
    SQLITE_FCNTL_HAS_MOVED = 20;
    SQLITE_FCNTL_SYNC = 21;
    SQLITE_FCNTL_COMMIT_PHASETWO = 22;
    SQLITE_FCNTL_WIN32_SET_HANDLE = 23;
    SQLITE_FCNTL_WAL_BLOCK = 24;
    SQLITE_FCNTL_ZIPVFS = 25;
    SQLITE_FCNTL_RBU = 26;
    SQLITE_FCNTL_VFS_POINTER = 27;
    SQLITE_FCNTL_JOURNAL_POINTER = 28;
    SQLITE_FCNTL_WIN32_GET_HANDLE = 29;
    SQLITE_FCNTL_PDB = 30;
    SQLITE_FCNTL_BEGIN_ATOMIC_WRITE = 31;
    SQLITE_FCNTL_COMMIT_ATOMIC_WRITE = 32;
    SQLITE_FCNTL_ROLLBACK_ATOMIC_WRITE = 33;
    SQLITE_FCNTL_LOCK_TIMEOUT = 34;
    SQLITE_FCNTL_DATA_VERSION = 35;
    SQLITE_FCNTL_SIZE_LIMIT = 36;
    SQLITE_FCNTL_CKPT_DONE = 37;
    SQLITE_FCNTL_RESERVE_BYTES = 38;
    SQLITE_FCNTL_CKPT_START = 39;
    SQLITE_FCNTL_EXTERNAL_READER = 40;
    SQLITE_FCNTL_CKSM_FILE = 41;
    SQLITE_FCNTL_RESET_CACHE = 42;
    SQLITE_FCNTL_NULL_IO = 43;
    SQLITE_FCNTL_BLOCK_ON_CONNECT = 44;
    SQLITE_FCNTL_FILESTAT = 45;
    // Text encodings and marks of an SQL function. DIRECTONLY and INNOCUOUS are since 3.31.
    SQLITE_UTF8 = 1;
    SQLITE_UTF16LE = 2;
    SQLITE_UTF16BE = 3;
    SQLITE_UTF16 = 4;
    SQLITE_DETERMINISTIC = 0x00000800;
    SQLITE_DIRECTONLY = 0x00080000;
    SQLITE_INNOCUOUS = 0x00200000;
    // Types of a value.
    SQLITE_INTEGER = 1;
    SQLITE_FLOAT = 2;
    SQLITE_TEXT = 3;
    SQLITE_BLOB = 4;
    SQLITE_NULL = 5;
    // Virtual tables: constraints (xBestIndex), scan flags, marks (vtab_config; the marks are since 3.31).
    SQLITE_INDEX_SCAN_UNIQUE = 1;
    SQLITE_INDEX_CONSTRAINT_EQ = 2;
    SQLITE_INDEX_CONSTRAINT_GT = 4;
    SQLITE_INDEX_CONSTRAINT_LE = 8;
    SQLITE_INDEX_CONSTRAINT_LT = 16;
    SQLITE_INDEX_CONSTRAINT_GE = 32;
    SQLITE_INDEX_CONSTRAINT_MATCH = 64;
    SQLITE_INDEX_CONSTRAINT_LIKE = 65;
    SQLITE_INDEX_CONSTRAINT_GLOB = 66;
    SQLITE_INDEX_CONSTRAINT_REGEXP = 67;
    SQLITE_INDEX_CONSTRAINT_NE = 68;
    SQLITE_INDEX_CONSTRAINT_ISNOT = 69;
    SQLITE_INDEX_CONSTRAINT_ISNOTNULL = 70;
    SQLITE_INDEX_CONSTRAINT_ISNULL = 71;
    SQLITE_INDEX_CONSTRAINT_IS = 72;
    SQLITE_INDEX_CONSTRAINT_LIMIT = 73;
    SQLITE_INDEX_CONSTRAINT_OFFSET = 74;
    SQLITE_INDEX_CONSTRAINT_FUNCTION = 150;
    SQLITE_VTAB_CONSTRAINT_SUPPORT = 1;
    SQLITE_VTAB_INNOCUOUS = 2;
    SQLITE_VTAB_DIRECTONLY = 3;
}
