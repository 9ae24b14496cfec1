//! The host's SQLite: the one copy of SQLite, in the program we are loaded into, that has called us.
//!
//! coord links against no SQLite. An entry point is handed a table of functions; [`capture`] checks it and keeps it as an
//! [`Api`], one for each copy of SQLite in the process, which everything above passes along. What C must be told lies in [`ffi`],
//! how file names look to a VFS in [`name`], and what keeps a panic from reaching C in [`guard`](mod@guard).
//!
//! Relies on nothing else of coord.

pub mod api;
pub mod ffi;
pub mod guard;
pub mod name;

pub use api::{Api, HOSTS_MAX, capture, in_slot};
pub use guard::{caught, guard, on_panic};
pub use name::{OwnedName, path_of, uri_parameters};
