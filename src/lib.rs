//! `coord`: share an ordinary SQLite file where file locks are broken, missing or local to a node.
pub mod host;
pub mod lock;
pub mod protocol;
pub mod sql;
pub mod storage;
pub mod vfs;
