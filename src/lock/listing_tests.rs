//! What a listing of the registry may miss, and what is seen by who would list nothing.

use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use super::two_hosts::{Place, Program, at_once, host_on, run_without};
use super::{Database, Level, LockError, Seat, Wishes};
use crate::protocol::names::{Copy, Kind, Name, NodeId};

const LEASE_MS: u64 = 30_000;

/// A host that has registered, which lists as well, and holds nothing.
fn at_rest(place: &Place) -> (Database, Program, Seat) {
    let (here, mut reader) = host_on(&place.paths, "test", LEASE_MS);
    let mut seat = here.sit(0, at_once());
    here.lock(&mut seat, Level::Shared, &mut reader).unwrap();
    here.unlock(&mut seat, Level::None, &mut reader);
    (here, reader, seat)
}

/// A reader who lives lists the registry in two requests; between them a takeover ends. The holder before is frozen with its clock, and
/// writes on into the old files when it goes on.
#[test]
fn a_takeover_in_the_middle_of_a_listing_is_not_missed() {
    let place = Place::new();
    let (here, mut reader, mut seat) = at_rest(&place);
    let (there, mut frozen) = host_on(&place.paths, "test", LEASE_MS);
    let mut frozen_seat = there.sit(0, at_once());
    for level in [Level::Shared, Level::Reserved, Level::Exclusive] {
        there.lock(&mut frozen_seat, level, &mut frozen).unwrap();
    }
    let (heir, mut program) = host_on(&place.paths, "test", LEASE_MS);
    program.client.clock.begin();
    let mut heir_seat = heir.sit(0, Wishes { recovery_wait: false, ..at_once() });
    let deposed = || place.names().iter().any(|name| matches!(name.kind, Kind::Deposed { .. }));
    while !deposed() {
        assert!(matches!(heir.lock(&mut heir_seat, Level::Shared, &mut program), Err(LockError::Busy)));
        program.client.clock.goes_on(Duration::from_secs(1));
        here.inner().node.as_mut().unwrap().heartbeat().unwrap();
    }
    // Until the tombstone may be acted on.
    program.client.clock.goes_on(Duration::from_secs(6));
    let taken = Arc::new(Mutex::new(None));
    let out = taken.clone();
    let takes_over = Box::new(move || {
        heir.lock(&mut heir_seat, Level::Shared, &mut program).unwrap();
        heir.unlock(&mut heir_seat, Level::None, &mut program);
        *out.lock().unwrap() = Some((heir, program, heir_seat));
    });
    *reader.client.listings.in_parts.lock().unwrap() = Some(("exclusive.", takes_over));
    here.lock(&mut seat, Level::Shared, &mut reader).unwrap();
    assert!(taken.lock().unwrap().is_some(), "it was taken over meanwhile");
    let first = reader.first_byte();
    frozen.database.as_ref().unwrap().write_at(&[first + 1; 64], 0).unwrap();
    reader.forget();
    let mut last = [0];
    reader.database.as_ref().unwrap().read_at(&mut last, 63).unwrap();
    println!("STATE {}", last[0] == first);
    assert_eq!(last[0], first, "two states under one lock");
    here.stand_up(&mut seat, &mut reader);
    let (heir, mut program, mut heir_seat) = taken.lock().unwrap().take().unwrap();
    heir.stand_up(&mut heir_seat, &mut program);
}

/// The negative control.
#[test]
fn with_one_listing_the_old_files_are_read() {
    let test = "lock::listing_tests::a_takeover_in_the_middle_of_a_listing_is_not_missed";
    assert!(run_without("listed-twice", test).contains("STATE false"));
}

/// A hot journal lies aside, under the name that a late rename has given it. Who puts it back gives it a name of his own first, in the
/// middle of our listing.
#[test]
fn what_lies_aside_is_not_missed_while_it_is_given_another_name() {
    let place = Place::new();
    std::fs::write(&place.paths.database, [2; 64]).unwrap();
    let aside = |host: &str, n: u64| {
        let node = NodeId::new(host, "00000000", 7, 1);
        place.paths.registry.join(Name { node, n, kind: Kind::Aside(Copy::Journal) }.to_string())
    };
    let (late, next) = (aside("breaker", 9), aside("holder", 5));
    let (here, mut reader, mut seat) = at_rest(&place);
    std::fs::write(&late, [0xd9; 512]).unwrap();
    let _ = std::fs::remove_file(&place.paths.journal);
    let renamed = Box::new(move || std::fs::rename(late, next).unwrap());
    *reader.client.listings.in_parts.lock().unwrap() = Some(("aside.breaker", renamed));
    let shared = here.lock(&mut seat, Level::Shared, &mut reader);
    let seen = shared.is_err() || here.journal_is_hot();
    println!("STATE {seen}");
    assert!(seen, "half a transaction is read");
    here.stand_up(&mut seat, &mut reader);
}

/// The negative control.
#[test]
fn with_one_listing_a_hot_journal_is_missed() {
    let test = "lock::listing_tests::what_lies_aside_is_not_missed_while_it_is_given_another_name";
    assert!(run_without("listed-twice", test).contains("STATE false"));
}

/// A reader whose client knew of no journal; one that is hot has been made since, by somebody who has given the lock back. At the moment
/// in which the reader looks for it, somebody who replaces it has moved it aside.
fn beside_a_replacement(
    place: &Place,
    meanwhile: impl FnOnce(&Place, &Name) -> Option<Box<dyn FnOnce() + Send>>,
) -> bool {
    std::fs::write(&place.paths.database, [2; 64]).unwrap();
    let (here, mut reader, mut seat) = at_rest(place);
    std::fs::remove_file(&place.paths.journal).unwrap();
    let journal = place.paths.journal.clone();
    let hot = Box::new(move || std::fs::write(journal, [0xd9; 512]).unwrap());
    *reader.client.before_reader.lock().unwrap() = Some(hot);
    let aside = Name { node: NodeId::new("heir", "00000000", 7, 1), n: 5, kind: Kind::Aside(Copy::Journal) };
    let next = meanwhile(place, &aside);
    let (journal, aside) = (place.paths.journal.clone(), place.paths.registry.join(aside.to_string()));
    let client = reader.client.clone();
    let moved = Box::new(move || {
        std::fs::rename(journal, aside).unwrap();
        *client.listings.in_parts.lock().unwrap() = next.map(|act| ("aside.", act));
    });
    *reader.client.listings.before_look.lock().unwrap() = Some(moved);
    let shared = here.lock(&mut seat, Level::Shared, &mut reader);
    assert!(reader.client.listings.before_look.lock().unwrap().is_none(), "it was looked for");
    let seen = shared.is_err() || here.journal_is_hot();
    println!("STATE {seen}");
    here.stand_up(&mut seat, &mut reader);
    seen
}

#[test]
fn a_hot_journal_is_not_missed_while_it_is_being_replaced() {
    assert!(beside_a_replacement(&Place::new(), |_, _| None), "half a transaction is read");
}

/// The negative control.
#[test]
fn without_a_listing_after_the_look_a_hot_journal_is_missed() {
    let test = "lock::listing_tests::a_hot_journal_is_not_missed_while_it_is_being_replaced";
    assert!(run_without("listed-twice", test).contains("STATE false"));
}

/// And the replacement ends in the middle of the listing that comes after the look.
#[test]
fn a_hot_journal_is_not_missed_when_its_replacement_ends_while_that_is_listed() {
    let ends = |place: &Place, aside: &Name| -> Option<Box<dyn FnOnce() + Send>> {
        let (journal, registry) = (place.paths.journal.clone(), place.paths.registry.clone());
        let aside = registry.join(aside.to_string());
        let epoch = Name { node: NodeId::new("heir", "00000000", 7, 1), n: 6, kind: Kind::Epoch };
        Some(Box::new(move || {
            std::fs::copy(&aside, journal).unwrap();
            std::fs::write(registry.join(epoch.to_string()), []).unwrap();
            std::fs::remove_file(aside).unwrap();
        }))
    };
    assert!(beside_a_replacement(&Place::new(), ends), "half a transaction is read");
}

/// The negative control.
#[test]
fn with_one_listing_after_the_look_a_hot_journal_is_missed() {
    let test = "lock::listing_tests::a_hot_journal_is_not_missed_when_its_replacement_ends_while_that_is_listed";
    assert!(run_without("missing-twice", test).contains("STATE false"));
}

/// One who made copies for a takeover was deposed himself before they counted. Their last rename comes in the middle of the heir's listing,
/// and so do the last pages of whom they were made from; the heir dies before he has cleared up, and somebody else comes.
#[test]
fn copies_that_were_completed_while_they_were_listed_are_seen() {
    let place = Place::new();
    let node = NodeId::new("breaker", "00000000", 7, 1);
    let name = |n: u64, kind: Kind| Name { node: node.clone(), n, kind }.to_string();
    let (lock, registry) = (place.paths.lock.clone(), place.paths.registry.clone());
    std::fs::create_dir(&lock).unwrap();
    let [journal, database, ready] =
        [Copy::Journal, Copy::Database, Copy::Ready].map(|copy| lock.join(name(5, Kind::Fence(copy))));
    std::fs::write(&journal, [0xd9; 512]).unwrap();
    std::fs::write(&database, [2; 64]).unwrap();
    std::fs::write(registry.join(name(4, Kind::Exclusive)), []).unwrap();
    std::fs::write(registry.join(name(6, Kind::Deposed { by: 2, m: 1 })), []).unwrap();
    std::fs::write(&place.paths.database, [2; 64]).unwrap();
    std::fs::write(&place.paths.journal, [0xd9; 512]).unwrap();
    let live = (place.paths.database.clone(), place.paths.journal.clone());
    let (heir, mut program) = host_on(&place.paths, "test", LEASE_MS);
    program.client.clock.begin();
    let completed = Box::new(move || {
        std::fs::rename(database, ready).unwrap();
        std::fs::write(live.0, [3; 64]).unwrap();
        std::fs::write(live.1, []).unwrap();
    });
    *program.client.listings.lock_in_parts.lock().unwrap() = Some((".database", completed));
    // He cannot clear up.
    program.client.keeps_tombstones.store(true, Ordering::Relaxed);
    let mut seat = heir.sit(0, at_once());
    let mut tries = 0;
    while program.client.listings.lock_in_parts.lock().unwrap().is_some() || tries == 0 {
        let _ = heir.lock(&mut seat, Level::Shared, &mut program);
        program.client.clock.goes_on(Duration::from_secs(1));
        tries += 1;
        assert!(tries < 100, "nothing was listed");
    }
    program.client.no_beats.store(true, Ordering::Relaxed);
    let (next, mut other) = host_on(&place.paths, "test", LEASE_MS);
    other.client.clock.begin();
    let mut theirs = next.sit(0, at_once());
    let mut taken = Err(LockError::Busy);
    for _ in 0..200 {
        taken = next.lock(&mut theirs, Level::Shared, &mut other);
        if taken.is_ok() {
            break;
        }
        other.client.clock.goes_on(Duration::from_secs(1));
    }
    taken.unwrap();
    if !next.journal_is_hot() {
        // What is left in the lock directory only a writer sees, and what its maker was deposed by must have stood for a while.
        for _ in 0..2 {
            next.lock(&mut theirs, Level::Shared, &mut other).unwrap();
            next.lock(&mut theirs, Level::Reserved, &mut other).unwrap();
            other.client.clock.goes_on(Duration::from_secs(LEASE_MS / 1000));
            next.unlock(&mut theirs, Level::None, &mut other);
        }
        next.lock(&mut theirs, Level::Shared, &mut other).unwrap();
    }
    other.forget();
    let state = (other.first_byte(), next.journal_is_hot());
    println!("STATE {state:?}");
    assert!(state == (2, true) || state == (3, false), "the pages of one moment and the journal of another: {state:?}");
    next.stand_up(&mut theirs, &mut other);
    heir.stand_up(&mut seat, &mut program);
}

/// The negative control.
#[test]
fn with_one_listing_of_a_lone_journal_the_copies_are_of_two_moments() {
    let test = "lock::listing_tests::copies_that_were_completed_while_they_were_listed_are_seen";
    assert!(run_without("journal-alone", test).contains("STATE (2, false)"));
}

/// The journal was replaced, and this host's client gives the old one, of which the server knows nothing any more, until it learns that the
/// directory has changed.
#[test]
fn a_journal_that_is_gone_from_the_server_is_looked_for_by_a_listing() {
    let place = Place::new();
    let (here, mut reader) = host_on(&place.paths, "test", LEASE_MS);
    let mut seat = here.sit(0, at_once());
    std::fs::write(&place.paths.journal, [0xd9; 512]).unwrap();
    *reader.client.listings.old_journal.lock().unwrap() = Some(place.paths.registry.join("nowhere"));
    let shared = here.lock(&mut seat, Level::Shared, &mut reader);
    println!("STATE {shared:?}");
    shared.unwrap();
    assert!(here.journal_is_hot());
    here.stand_up(&mut seat, &mut reader);
}

/// The negative control.
#[test]
fn without_a_listing_for_a_stale_name_it_is_an_error() {
    let test = "lock::listing_tests::a_journal_that_is_gone_from_the_server_is_looked_for_by_a_listing";
    assert!(run_without("stale-name", test).contains("STATE Err"));
}

/// The create of `exclusive.*` was carried out once more, late, when its node had long given the lock up and was reading: the node lives, so
/// nobody else may remove that name, and it lists nothing for its own sake.
#[test]
fn a_name_that_was_made_once_more_goes_while_its_node_reads() {
    let place = Place::new();
    let (here, mut reader) = host_on(&place.paths, "test", LEASE_MS);
    reader.client.clock.begin();
    let mut seat = here.sit(0, at_once());
    for level in [Level::Shared, Level::Reserved, Level::Exclusive] {
        here.lock(&mut seat, level, &mut reader).unwrap();
    }
    let name = place.names().into_iter().find(|name| name.kind == Kind::Exclusive).unwrap();
    here.unlock(&mut seat, Level::None, &mut reader);
    here.lock(&mut seat, Level::Shared, &mut reader).unwrap();
    std::fs::write(place.paths.registry.join(name.to_string()), []).unwrap();
    let (there, mut other) = host_on(&place.paths, "test", LEASE_MS);
    other.client.clock.begin();
    let mut theirs = there.sit(0, at_once());
    let mut waited = 0;
    while waited < 200 && there.lock(&mut theirs, Level::Shared, &mut other).is_err() {
        for clock in [&other.client.clock, &reader.client.clock] {
            clock.goes_on(Duration::from_secs(1));
        }
        here.tick();
        waited += 1;
    }
    println!("STATE {}", waited < 200);
    assert!(waited < 60, "{waited} s");
    here.stand_up(&mut seat, &mut reader);
    there.stand_up(&mut theirs, &mut other);
}

/// The negative control.
#[test]
fn without_a_look_at_each_heartbeat_everybody_is_kept_out() {
    let test = "lock::listing_tests::a_name_that_was_made_once_more_goes_while_its_node_reads";
    assert!(run_without("beat-looks", test).contains("STATE false"));
}
