//! The lock manager of one process: one per database, shared by all its connections.
pub mod report;
