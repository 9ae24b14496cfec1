//! Many processes on one database through the extension, killed and frozen in the middle: not one commit is lost.

mod common;

use common::opener::Opener;
use common::scenario;

#[test]
fn worker_entry() {
    common::worker::entry();
}

#[test]
fn killed_and_frozen_it_adds_up_in_trusted_mode() {
    scenario::killed_and_frozen_it_adds_up(&Opener::coord("coord_mode=trusted"));
}

#[test]
fn killed_and_frozen_it_adds_up_in_network_exclusive_mode() {
    scenario::killed_and_frozen_it_adds_up(&Opener::coord("coord_mode=network-exclusive"));
}

/// Trusted mode has no such case: there only the dead are deposed.
#[test]
fn frozen_past_its_lease_it_comes_back_to_an_error() {
    let opener = Opener::coord("coord_mode=network-exclusive&coord_lease_ms=1000");
    scenario::frozen_past_its_lease_it_comes_back_to_an_error(&opener);
}
