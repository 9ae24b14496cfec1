//! One SQLite, its symbols hidden, offered as a table of functions. The library source of every package `v3_*`.

use libsqlite3_sys as _;

#[path = "api.rs"]
mod api;

/// The table of this copy.
#[unsafe(no_mangle)]
pub extern "C" fn coord_test_sqlite() -> *const api::Api {
    &raw const api::linked::API
}
