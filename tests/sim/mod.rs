//! A simulated world behind `coord`'s storage trait: files, directories, clocks, hosts and their caches, deterministic from one
//! seed, with operations that are delivered late, twice, or with a wrong answer. The real lock manager and protocol run in it.
//!
//! [`server`] is the file server, [`machines`] are its clients, [`storage`] and [`file`] are one host's view of it,
//! [`machine_memory`] is what its programs keep there. [`world`]
//! decides whose step is next, and the tasks take [`turns`]; [`events`] befall them, and the [`disk`] fails, in the [`weather`] of the seed. [`pager`]
//! makes transactions in SQLite's order of steps with the handles of [`base`]; [`sqlite`] has the bundled SQLite in its place.
//! [`checks`] judges every step, [`orders`] the order in which names go, [`history`] what the transactions saw. [`run`] plays one
//! seed with the [`roles`] that it gives out; [`shrink`] makes one that fails smaller.

pub mod base;
pub mod checks;
pub mod disk;
pub mod events;
pub mod file;
pub mod history;
pub mod machine_memory;
pub mod machines;
pub mod orders;
pub mod pager;
pub mod roles;
pub mod run;
pub mod server;
pub mod shrink;
pub mod sqlite;
pub mod storage;
pub mod turns;
pub mod weather;
pub mod world;
