//! What coord adds to SQL: functions ([`functions`]) and the table-valued function `coord_locks` ([`locks`]).
//!
//! They tell about this process, about lock directories and about filesystems; none takes a lock or changes a file, but
//! `coord_check` makes some of its own and removes them. All are defined on one connection by [`register`], with the functions of
//! the SQLite copy that the connection belongs to. The functions `coord_default` and `coord_check` and the table are closed to
//! views and triggers (on hosts from 3.31 on, which can tell): a database from elsewhere shall not reach them through its schema.

use std::ffi::c_int;

use crate::host::Api;
use crate::host::ffi::{SQLITE_BUSY, SQLITE_MISUSE, SQLITE_OK, sqlite3};

mod functions;
mod locks;
#[cfg(test)]
mod tests;

/// Defines everything on one connection. Harmless if it is there already, also from within a running statement (as in
/// `SELECT load_extension(...)` on a connection that an auto-extension has been through before).
///
/// # Errors
/// A sentence: what could not be defined, and the host's code.
///
/// # Safety
/// `db` is an open connection of `api`'s host, and this thread may use it.
pub unsafe fn register(api: &'static Api, db: *mut sqlite3) -> Result<(), String> {
    for function in functions::ALL {
        // SAFETY: the caller's promise.
        unsafe { functions::define(api, db, function) }?;
    }
    // SAFETY: the caller's promise.
    unsafe { locks::define(api, db, crate::lock::report::inspect) }
}

/// Hosts before this one refuse to define a module a second time, and call it a misuse.
const MODULES_REPLACED_SINCE: i32 = 3_030_000;

/// What the host's answer to a definition means. A function that is there already cannot be replaced while a statement
/// runs, which the host calls busy: then the one that is there serves.
fn defined(api: &Api, name: &str, code: c_int) -> Result<(), String> {
    match code {
        SQLITE_OK | SQLITE_BUSY => Ok(()),
        SQLITE_MISUSE if api.version_number() < MODULES_REPLACED_SINCE => Ok(()),
        _ => Err(format!("coord: SQLite refused to define {name} on this connection (code {code}).")),
    }
}
