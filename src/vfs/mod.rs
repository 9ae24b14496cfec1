//! The shim between SQLite and its platform's VFS.
//!
//! A database is opened through the platform's VFS and its pages are forwarded; locks are asked of [`crate::lock`]. Its
//! journal, in network-exclusive mode, is a view on a handle that the connection keeps. Everything else (temporary files,
//! super-journals, immutable databases) is the platform's alone, as is what is in a journal of trusted mode.

mod base;
mod connections;
mod control;
mod database_file;
mod handles;
mod host_copy;
mod io_methods;
mod journal_file;
mod kept_journal;
mod methods;
mod open;
mod patience;
mod reading;
mod refusals;
mod transaction;
mod trusted_journal;

pub use control::FCNTL_REFUSAL;
pub use host_copy::{Registered, base_name, flush_log, make_default, register};
pub use refusals::foreseen as foreseen_refusal;
