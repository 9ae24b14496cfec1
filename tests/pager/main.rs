//! What SQLite's pager demands of a VFS, each known way to break it as a test: through the library just built, in hosts of
//! several SQLite versions, on a tracing VFS that can fail, stop or kill at any call. A test shows its fault too: with the
//! guard taken out, or with SQLite's own `unix`.

mod commit;
#[path = "../common/mod.rs"]
mod common;
mod counted;
mod elsewhere;
mod encrypted;
mod endings;
mod faults;
mod held_names;
mod memory;
mod modes;
mod nolock;
mod order;
mod pending;
mod power;
mod reading;
mod recovery;
mod room;
mod supers;
mod takeover;
