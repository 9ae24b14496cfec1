//! A takeover from a host that is silent in the middle of its pages, on servers that do things in their own way.

use std::sync::atomic::Ordering;
use std::time::Duration;

use super::two_hosts::{Place, Program, at_once, host_on, run_without};
use super::{Database, Level, LockError, Seat};
use crate::protocol::names::Kind;

const LEASE_MS: u64 = 30_000;

/// Somebody is silent from now on in the middle of a transaction; and a host whose clock goes on by itself.
fn silent(place: &Place) -> ((Database, Program, Seat), (Database, Program)) {
    let (there, mut dead) = host_on(&place.paths, "test", LEASE_MS);
    let mut seat = there.sit(0, at_once());
    for level in [Level::Shared, Level::Reserved, Level::Exclusive] {
        there.lock(&mut seat, level, &mut dead).unwrap();
    }
    dead.journal.as_ref().unwrap().write_at(&[0xd9; 512], 0).unwrap();
    let (here, heir) = host_on(&place.paths, "test", LEASE_MS);
    heir.client.clock.now.store(1, Ordering::Relaxed);
    ((there, dead, seat), (here, heir))
}

/// Tries until it is not busy any more, as programs do.
fn take_over(here: &Database, seat: &mut Seat, heir: &mut Program) {
    for _ in 0..200 {
        match here.lock(seat, Level::Shared, heir) {
            Err(LockError::Busy) => heir.client.clock.goes_on(Duration::from_secs(1)),
            taken => return taken.unwrap(),
        }
    }
    panic!("busy for ever: {:?}", seat.take_busy());
}

/// A takeover moves the files aside before it links the copies in their places. Where that link is refused for good, they are renamed.
#[test]
fn it_goes_through_where_a_file_has_one_name_only() {
    let place = Place::new();
    let (_silent, (here, mut heir)) = silent(&place);
    let mut seat = here.sit(0, at_once());
    heir.client.no_links.store(true, Ordering::Relaxed);
    take_over(&here, &mut seat, &mut heir);
    assert_eq!((heir.first_byte(), here.journal_is_hot()), (1, true), "the old state, and the journal that says so");
    assert!(!place.names().iter().any(|name| matches!(name.kind, Kind::Aside(_))), "{:?}", place.names());
    here.unlock(&mut seat, Level::None, &mut heir);
    here.stand_up(&mut seat, &mut heir);
}

/// Who copies a large database and gives no sign of life meanwhile is taken over from himself.
#[test]
fn it_is_never_silent_for_a_lease_while_a_server_copies() {
    let place = Place::new();
    std::fs::OpenOptions::new().write(true).open(&place.paths.database).unwrap().set_len(24 << 20).unwrap();
    let (_silent, (here, mut heir)) = silent(&place);
    let mut seat = here.sit(0, at_once());
    take_over(&here, &mut seat, &mut heir);
    let silent = Duration::from_nanos(heir.client.clock.silent.load(Ordering::Relaxed));
    println!("STATE {}", silent.as_secs());
    assert!(silent < Duration::from_millis(LEASE_MS) / 2, "{silent:?}");
    assert_eq!((heir.first_byte(), place.paths.database.metadata().unwrap().len()), (1, 24 << 20));
    here.unlock(&mut seat, Level::None, &mut heir);
    here.stand_up(&mut seat, &mut heir);
}

/// The negative control.
#[test]
fn without_portions_it_is_silent_for_longer() {
    let said = run_without("copy-beats", "lock::takeover_tests::it_is_never_silent_for_a_lease_while_a_server_copies");
    let seconds = said.split("STATE ").nth(1).and_then(|rest| rest.split_whitespace().next()?.parse().ok());
    assert!(seconds.is_some_and(|seconds: u64| seconds * 1000 > LEASE_MS), "{said}");
}
