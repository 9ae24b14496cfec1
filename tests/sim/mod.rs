//! A simulated world behind `coord`'s storage trait: files, directories, clocks, hosts and their caches, deterministic from one
//! seed, with operations that are delivered late, twice, or with a wrong answer. The real lock manager and protocol run in it.
//!
//! The tasks take [`turns`]. [`server`] is the file server, [`machines`] are its clients, [`world`] decides whose step is next, [`events`] what befalls it
//! in the [`weather`] of the seed, [`storage`] is one host's view, [`pager`] makes transactions in SQLite's order of steps, [`history`] judges what they saw, [`run`] plays one seed.

pub mod base;
pub mod checks;
pub mod events;
pub mod file;
pub mod history;
pub mod machines;
pub mod pager;
pub mod roles;
pub mod run;
pub mod server;
pub mod shrink;
pub mod storage;
pub mod turns;
pub mod weather;
pub mod world;
