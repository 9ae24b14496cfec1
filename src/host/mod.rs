//! The host's SQLite: the one copy of SQLite, in the program we are loaded into, that has called us.
//!
//! coord links against no SQLite. An entry point is handed a table of functions; [`capture`] checks it and keeps it as an
//! [`Api`], one for each copy of SQLite in the process, which everything above passes along. What C must be told lies in [`ffi`],
//! and how file names look to a VFS in [`name`].
//!
//! Relies on nothing else of coord.

pub mod api;
pub mod ffi;
pub mod name;

pub use api::{Api, HOSTS_MAX, capture, in_slot};
pub use name::{OwnedName, path_of, uri_parameters};
