//! A simulated world behind `coord`'s storage trait: files, directories, clocks, hosts and their caches, deterministic from one
//! seed, with operations that are delivered late, twice, or with a wrong answer. The real lock manager and protocol run in it.
//!
//! [`server`] is the file server, [`world`] decides whose step is next and what befalls it, in the [`weather`] of the seed, [`storage`] is one host's view,
//! [`pager`] makes transactions in SQLite's order of steps, [`history`] judges what they saw, [`run`] plays one seed.
//! [`sqlite`] has the bundled SQLite in place of the pager.

pub mod history;
pub mod pager;
pub mod run;
pub mod server;
pub mod sqlite;
pub mod storage;
pub mod weather;
pub mod world;
