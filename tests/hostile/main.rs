//! Hostile and broken surroundings: strange names and contents, paths that are something else, missing rights, full disks,
//! files that go away. Each time a sentence that helps or correct work; never a crash, a hang, or a changed database.

#[path = "../common/mod.rs"]
mod common;

mod gone;
mod panics;
mod parameters;
mod paths;
mod registry;
mod rights;
mod room;
mod special;

#[test]
fn visitor_entry() {
    common::visitor::entry();
}
