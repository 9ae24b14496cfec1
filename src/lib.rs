//! `coord`: share an ordinary SQLite file where file locks are broken, missing or local to a node, without a server.
//!
//! The library is a loadable extension ([`entry`]) that registers a VFS ([`vfs`]) over the platform's, by calls of the program's own
//! SQLite ([`host`]). Locks are kept by a
//! manager for each database ([`lock`]), which speaks the on-disk protocol ([`protocol`]) through a narrow view of
//! filesystem and clock ([`storage`]). Beside the manager stands the qualification of a filesystem ([`check`]), which asks
//! of it what the protocol will. Imports go down only, in this order; below all lie [`guard`](mod@guard), which keeps a panic
//! from reaching C, and [`switches`], by which tests take guards out.

pub mod check;
pub mod entry;
pub mod guard;
pub mod host;
pub mod lock;
pub mod protocol;
pub mod sql;
pub mod storage;
pub mod switches;
pub mod vfs;
