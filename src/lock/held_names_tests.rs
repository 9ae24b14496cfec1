//! A client that looks no name up again while any program of its host has the file open (9p), and a takeover elsewhere that has
//! replaced the files.

use std::sync::atomic::Ordering;

use super::two_hosts::{Place, host_on, long, run_without, transaction};
use super::{Base, Level, LockError};
use crate::protocol::names::{Kind, Name, NodeId};

/// What a takeover leaves in the registry.
fn replaced_elsewhere(place: &Place) {
    let epoch = Name { node: NodeId::new("elsewhere", "00000000", 1, 1), n: 1, kind: Kind::Epoch };
    std::fs::write(place.paths.registry.join(epoch.to_string()), []).unwrap();
}

/// Others of this host cannot read the new files while a lock is kept on the old ones, however often it is used.
#[test]
fn a_lock_that_keeps_others_from_replaced_files_is_given_up() {
    let place = Place::new();
    let (here, mut mine) = host_on(&place.paths, "9p", 60_000);
    let mut seat = here.sit(0, long());
    transaction(&here, &mut seat, &mut mine, Level::Shared).unwrap();
    here.tick();
    assert!(place.held().0, "kept");
    replaced_elsewhere(&place);
    let soon = std::time::Instant::now() + std::time::Duration::from_secs(2);
    while place.held().0 && std::time::Instant::now() < soon {
        transaction(&here, &mut seat, &mut mine, Level::Shared).unwrap();
        here.tick();
    }
    println!("STATE {}", place.held().0);
    assert!(!place.held().0, "the old files stay open");
    // Whoever reads next is on the new ones, and keeps them.
    transaction(&here, &mut seat, &mut mine, Level::Shared).unwrap();
    here.tick();
    assert!(place.held().0);
    here.stand_up(&mut seat, &mut mine);
}

/// The negative control.
#[test]
fn without_the_guard_it_is_kept_for_ever() {
    let said =
        run_without("held-names", "lock::held_names_tests::a_lock_that_keeps_others_from_replaced_files_is_given_up");
    assert!(said.contains("STATE true"), "{said}");
}

/// Who wants to write in the middle of a transaction must open the new files, and others of his host have the old ones open: he is
/// busy, and reads on as soon as he can.
#[test]
fn who_could_not_open_them_for_writing_reads_on() {
    let place = Place::new();
    let (here, mut mine) = host_on(&place.paths, "9p", 60_000);
    let mut seat = here.sit(0, long());
    here.lock(&mut seat, Level::Shared, &mut mine).unwrap();
    replaced_elsewhere(&place);
    mine.client.held.store(true, Ordering::Relaxed);
    assert!(matches!(here.lock(&mut seat, Level::Reserved, &mut mine), Err(LockError::Busy)));
    assert!(!mine.is_open());
    assert!(
        matches!(here.reopen(&mut seat, &mut mine), Err(LockError::Busy)),
        "not an error that ends the transaction"
    );
    mine.client.held.store(false, Ordering::Relaxed);
    here.reopen(&mut seat, &mut mine).unwrap();
    assert_eq!((mine.first_byte(), here.has_moved(&seat)), (1, false));
    here.lock(&mut seat, Level::Reserved, &mut mine).unwrap();
    assert!(mine.has_journal());
    here.unlock(&mut seat, Level::None, &mut mine);
    here.stand_up(&mut seat, &mut mine);
}
