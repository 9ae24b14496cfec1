//! SQLite in the loop: the bundled SQLite over the real shim over the simulated world, so that pager, shim and protocol are
//! judged together.
//!
//! [`base`] is the platform's VFS as the shim finds it, a thin layer over the simulated storage, with [`native`] locks in trusted mode. [`client`] is a program that
//! keeps a bank in a database, over one [`session`]'s connection; [`ledger`] knows what it was told and judges what it saw; [`run`] plays one seed.

pub mod base;
pub mod client;
pub mod ledger;
pub mod native;
pub mod run;
pub mod session;
pub mod vfs;
