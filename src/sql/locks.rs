//! `coord_locks(path)`: who holds what on a database, as a table.
//!
//! ```sql
//! SELECT kind, host, pid, user, verdict FROM coord_locks('/data/shared.db');
//! ```
//!
//! The rows are read once, when a scan begins, by [`crate::lock::report::inspect`]; that changes nothing on disk. The path is
//! a hidden last column, which is how SQLite hands the argument of a table-valued function over.

use std::ffi::{CStr, c_char, c_int, c_void};
use std::io;
use std::path::{Path, PathBuf};
use std::ptr::null_mut;

use super::defined;
use super::functions::Answer;
use crate::guard::{caught, guard};
use crate::host::Api;
use crate::host::ffi::*;
use crate::lock::report::LockRow;

/// Where the rows come from.
pub(super) type Inspect = fn(&Path) -> io::Result<Vec<LockRow>>;

const DECLARATION: &CStr = c"CREATE TABLE coord_locks(kind TEXT, node TEXT, host TEXT, pid INTEGER, user TEXT, \
    command TEXT, age_ms INTEGER, beat_age_ms INTEGER, lease_ms INTEGER, verdict TEXT, mine INTEGER, path TEXT HIDDEN)";

/// The place of `path` among the columns.
const PATH: c_int = 11;

/// How `xBestIndex` tells `xFilter` that the path comes as its argument.
const WITH_PATH: c_int = 1;

const USAGE: &str = "coord: coord_locks needs the path of a database: SELECT * FROM coord_locks('/path/to/file.db')";

/// The value of one column. Numbers that nobody knows are NULL.
fn column(row: &LockRow, path: &Path, column: c_int) -> Answer {
    let text = |text: &String| Answer::Text(text.clone());
    let number = |number: Option<u64>| match number {
        Some(number) => Answer::Integer(i64::try_from(number).unwrap_or(i64::MAX)),
        None => Answer::Null,
    };
    match column {
        0 => text(&row.kind),
        1 => text(&row.node),
        2 => text(&row.host),
        3 => number(row.pid.map(u64::from)),
        4 => text(&row.user),
        5 => text(&row.command),
        6 => number(row.age_ms),
        7 => number(row.beat_age_ms),
        8 => number(row.lease_ms),
        9 => text(&row.verdict),
        10 => Answer::Integer(i64::from(row.mine)),
        PATH => Answer::Text(path.to_string_lossy().into_owned()),
        _ => Answer::Null,
    }
}

/// The rows for an argument as it was given.
fn rows(inspect: Inspect, argument: Option<Vec<u8>>) -> Result<(PathBuf, Vec<LockRow>), String> {
    let argument = argument.filter(|argument| !argument.is_empty()).ok_or(USAGE)?;
    let given = path_from(argument)?;
    let path = std::path::absolute(&given).map_err(|error| unreadable(&given, &error))?;
    let rows = inspect(&path).map_err(|error| unreadable(&path, &error))?;
    Ok((given, rows))
}

fn unreadable(path: &Path, error: &io::Error) -> String {
    format!("coord: cannot tell the locks of {}: {error}", path.display())
}

/// A path as SQL has it: any bytes but NUL on Unix, UTF-8 elsewhere.
pub(super) fn path_from(bytes: Vec<u8>) -> Result<PathBuf, String> {
    #[cfg(unix)]
    {
        use std::os::unix::ffi::OsStringExt;
        Ok(std::ffi::OsString::from_vec(bytes).into())
    }
    #[cfg(not(unix))]
    {
        String::from_utf8(bytes).map(PathBuf::from).map_err(|_| "coord: the path is not UTF-8".to_owned())
    }
}

// --- the glue to C ---

/// What goes with the module on one connection.
#[derive(Clone, Copy)]
struct Source {
    api: &'static Api,
    inspect: Inspect,
}

/// The table, of which SQLite knows the head.
#[repr(C)]
struct Table {
    head: sqlite3_vtab,
    source: Source,
}

/// One scan, of which SQLite knows the head.
#[repr(C)]
struct Cursor {
    head: sqlite3_vtab_cursor,
    api: &'static Api,
    path: PathBuf,
    rows: Vec<LockRow>,
    next: usize,
}

/// Without `xCreate`, the table is there without CREATE VIRTUAL TABLE and cannot be made with it.
static MODULE: sqlite3_module = sqlite3_module {
    iVersion: 1,
    xCreate: None,
    xConnect: Some(connect),
    xBestIndex: Some(best_index),
    xDisconnect: Some(disconnect),
    xDestroy: None,
    xOpen: Some(open),
    xClose: Some(close),
    xFilter: Some(filter),
    xNext: Some(next),
    xEof: Some(eof),
    xColumn: Some(read_column),
    xRowid: Some(rowid),
    xUpdate: None,
    xBegin: None,
    xSync: None,
    xCommit: None,
    xRollback: None,
    xFindFunction: None,
    xRename: None,
    xSavepoint: None,
    xRelease: None,
    xRollbackTo: None,
    xShadowName: None,
};

/// Defines the table on one connection.
///
/// # Safety
/// As [`super::register`].
pub(super) unsafe fn define(api: &'static Api, db: *mut sqlite3, inspect: Inspect) -> Result<(), String> {
    let source = Box::into_raw(Box::new(Source { api, inspect })).cast::<c_void>();
    // SAFETY: the caller's promise for `db`; the module expects a `Source`, and the host calls `drop_source` once, also if it
    // refuses.
    let code = unsafe { api.create_module(db, c"coord_locks", &MODULE, source, Some(drop_source)) };
    defined(api, "the table coord_locks", code)
}

unsafe extern "C" fn drop_source(source: *mut c_void) {
    // SAFETY: made by `define`, and the host calls this once, at the end.
    drop(unsafe { Box::from_raw(source.cast::<Source>()) });
}

unsafe extern "C" fn connect(
    db: *mut sqlite3,
    source: *mut c_void,
    _: c_int,
    _: *const *const c_char,
    table: *mut *mut sqlite3_vtab,
    _: *mut *mut c_char,
) -> c_int {
    guard(SQLITE_ERROR, || {
        // SAFETY: set by `define`, alive for as long as the module.
        let source = unsafe { *source.cast::<Source>() };
        // SAFETY: inside xConnect, with its connection.
        let code = unsafe { source.api.declare_vtab(db, DECLARATION) };
        if code != SQLITE_OK {
            return code;
        }
        // SAFETY: as above.
        let code = unsafe { source.api.vtab_direct_only(db) };
        if code != SQLITE_OK {
            return code;
        }
        let head = sqlite3_vtab { pModule: &raw const MODULE, nRef: 0, zErrMsg: null_mut() };
        // SAFETY: the host's place for the answer. The head is the first field.
        unsafe { *table = Box::into_raw(Box::new(Table { head, source })).cast() };
        SQLITE_OK
    })
}

/// There is one plan: the path as argument. Any other gets a cost at which it is only taken when there is no choice, and then
/// `filter` explains.
unsafe extern "C" fn best_index(_: *mut sqlite3_vtab, info: *mut sqlite3_index_info) -> c_int {
    guard(SQLITE_ERROR, || {
        // SAFETY: the host's question, for us alone until we return.
        let info = unsafe { &mut *info };
        for index in 0..usize::try_from(info.nConstraint).unwrap_or(0) {
            // SAFETY: both arrays are that long.
            let (term, usage) = unsafe { (&*info.aConstraint.add(index), &mut *info.aConstraintUsage.add(index)) };
            if term.iColumn == PATH && c_int::from(term.op) == SQLITE_INDEX_CONSTRAINT_EQ && term.usable != 0 {
                usage.argvIndex = 1;
                usage.omit = 1;
                info.idxNum = WITH_PATH;
                info.estimatedCost = 1000.0;
                info.estimatedRows = 10;
                return SQLITE_OK;
            }
        }
        info.idxNum = 0;
        info.estimatedCost = 1e50;
        SQLITE_OK
    })
}

unsafe extern "C" fn disconnect(table: *mut sqlite3_vtab) -> c_int {
    // SAFETY: made by `connect`, and the host calls this once, at the end.
    guard((), || drop(unsafe { Box::from_raw(table.cast::<Table>()) }));
    SQLITE_OK
}

unsafe extern "C" fn open(table: *mut sqlite3_vtab, cursor: *mut *mut sqlite3_vtab_cursor) -> c_int {
    guard(SQLITE_ERROR, || {
        // SAFETY: made by `connect`.
        let api = unsafe { (*table.cast::<Table>()).source.api };
        let head = sqlite3_vtab_cursor { pVtab: table };
        let new = Cursor { head, api, path: PathBuf::new(), rows: Vec::new(), next: 0 };
        // SAFETY: the host's place for the answer. The head is the first field.
        unsafe { *cursor = Box::into_raw(Box::new(new)).cast() };
        SQLITE_OK
    })
}

unsafe extern "C" fn close(cursor: *mut sqlite3_vtab_cursor) -> c_int {
    // SAFETY: made by `open`, and the host calls this once, at the end.
    guard((), || drop(unsafe { Box::from_raw(cursor.cast::<Cursor>()) }));
    SQLITE_OK
}

/// Begins a scan: reads all rows.
unsafe extern "C" fn filter(
    cursor: *mut sqlite3_vtab_cursor,
    plan: c_int,
    _: *const c_char,
    count: c_int,
    arguments: *mut *mut sqlite3_value,
) -> c_int {
    guard(SQLITE_ERROR, || {
        // SAFETY: made by `open`; nobody else uses it during this call.
        let cursor = unsafe { &mut *cursor.cast::<Cursor>() };
        // SAFETY: made by `connect`, and outlives its cursors; nobody else uses it during this call.
        let table = unsafe { &mut *cursor.head.pVtab.cast::<Table>() };
        let Source { api, inspect } = table.source;
        cursor.rows = Vec::new();
        cursor.next = 0;

        let argument = match plan {
            // SAFETY: `best_index` has asked for this argument, and the host hands it over.
            WITH_PATH if count == 1 => unsafe { api.value_text(*arguments) },
            _ => None,
        };
        match caught(|| rows(inspect, argument)).and_then(|rows| rows) {
            Ok((path, rows)) => {
                (cursor.path, cursor.rows) = (path, rows);
                SQLITE_OK
            }
            Err(sentence) => {
                // SAFETY: null or a text from the host's allocator, that it has not taken yet.
                unsafe { api.free(table.head.zErrMsg.cast()) };
                table.head.zErrMsg = api.alloc_text(&sentence);
                SQLITE_ERROR
            }
        }
    })
}

unsafe extern "C" fn next(cursor: *mut sqlite3_vtab_cursor) -> c_int {
    // SAFETY: made by `open`; nobody else uses it during this call.
    guard((), || unsafe { (*cursor.cast::<Cursor>()).next += 1 });
    SQLITE_OK
}

unsafe extern "C" fn eof(cursor: *mut sqlite3_vtab_cursor) -> c_int {
    guard(1, || {
        // SAFETY: made by `open`; nobody changes it during this call.
        let cursor = unsafe { &*cursor.cast::<Cursor>() };
        c_int::from(cursor.next >= cursor.rows.len())
    })
}

unsafe extern "C" fn read_column(
    cursor: *mut sqlite3_vtab_cursor,
    context: *mut sqlite3_context,
    index: c_int,
) -> c_int {
    guard(SQLITE_ERROR, || {
        // SAFETY: made by `open`; nobody changes it during this call.
        let cursor = unsafe { &*cursor.cast::<Cursor>() };
        let answer = cursor.rows.get(cursor.next).map_or(Answer::Null, |row| column(row, &cursor.path, index));
        // SAFETY: the context that the host waits for an answer in.
        unsafe { answer.give(cursor.api, context) };
        SQLITE_OK
    })
}

unsafe extern "C" fn rowid(cursor: *mut sqlite3_vtab_cursor, id: *mut sqlite3_int64) -> c_int {
    guard(SQLITE_ERROR, || {
        // SAFETY: made by `open`; nobody changes it during this call. The host's place for the answer.
        unsafe { *id = i64::try_from((*cursor.cast::<Cursor>()).next).unwrap_or(i64::MAX) };
        SQLITE_OK
    })
}
