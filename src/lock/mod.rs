//! The lock manager of one process: one [`Database`] for each file, shared by all its connections, also by those of several
//! copies of SQLite. It holds the disk's locks for the node, arbitrates between connections in memory by SQLite's rules, and
//! never waits for another connection of its own process, which may be the same thread.

mod call;
#[cfg(test)]
mod coherence_tests;
mod database;
mod distrust;
mod failure;
mod handles;
#[cfg(test)]
mod held_names_tests;
mod introduce;
#[cfg(test)]
mod introduce_tests;
mod intruder;
mod journal;
mod known;
mod level;
mod linger;
#[cfg(test)]
mod linger_tests;
#[cfg(test)]
mod listing_tests;
mod messages;
mod network;
mod process;
pub mod report;
mod seat;
mod service;
mod settings;
#[cfg(feature = "simulation")]
pub mod simulated;
mod standing;
#[cfg(test)]
mod takeover_tests;
mod trusted;
mod turn;
#[cfg(test)]
mod two_hosts;

pub use database::{Database, Mode};
pub use known::{Known, STAMP, STAMP_AT};
pub use level::Level;
pub use linger::release_all;
pub use messages::{Weight, last as last_message, say, take as take_messages};
pub use process::{Writing, attach, canonical, check, detached, in_real_directory, storage};
pub use seat::{Base, LockError, Parked, Seat};
pub use settings::{ModeWish, Wishes};
