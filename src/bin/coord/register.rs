//! The one place where the command ties coord to the SQLite that it carries.

use rusqlite::Connection;
use rusqlite::auto_extension::{RawAutoExtension, register_auto_extension};

/// Makes every later connection of this process find the VFS `coord` and coord's SQL functions.
///
/// The VFS is registered by the first connection that is opened, so one is opened here and closed again.
pub fn register() -> Result<(), String> {
    let told = |error: rusqlite::Error| format!("cannot register coord with SQLite: {error}");
    // SAFETY: the entry point has the C signature that SQLite documents for extensions; the two sides only name its opaque
    // pointers differently. It opens no connection and leaves the list of auto-extensions alone.
    unsafe {
        let entry = coord::entry::sqlite3_coord_auto_init as *const ();
        register_auto_extension(std::mem::transmute::<*const (), RawAutoExtension>(entry)).map_err(told)?;
    }
    Connection::open_in_memory().map(drop).map_err(told)
}
