//! The one place where the command ties coord to the SQLite that it carries.

use rusqlite::Connection;

/// Makes every later connection of this process find the VFS `coord` and coord's SQL functions.
///
/// The VFS is registered by the first connection that is opened, so one is opened here and closed again.
pub fn register() -> Result<(), String> {
    // SEAM: when coord::entry is there, put this in place of the next line (the cast is for its own sqlite3 types):
    //     let entry: unsafe extern "C" fn() = coord::entry::sqlite3_coord_auto_init as …;
    //     // SAFETY: the entry point has the signature that sqlite3_auto_extension documents, opens no connection.
    //     let code = unsafe { rusqlite::ffi::sqlite3_auto_extension(Some(std::mem::transmute(entry))) };
    //     if code != rusqlite::ffi::SQLITE_OK { return Err(…) }
    Connection::open_in_memory()
        .map(drop)
        .map_err(|error| format!("cannot register coord with SQLite: {error}"))
}
