//! A registry that is made, and names in it and in the lock directory that come late, by hosts of which each sees what it is told.

use std::sync::atomic::Ordering;
use std::time::Duration;

use super::two_hosts::{Place, at_once, host, run_without};
use super::{Database, Level, LockError, Mode, Wishes, attach};
use crate::protocol::Paths;
use crate::protocol::names::Name;
use crate::storage::Kind;
use crate::storage::kind::Class;

/// Two make the registry at once, and the other one was faster: there is his, whole, and of ours nothing is left.
#[test]
fn a_registry_that_another_has_made_meanwhile_is_not_replaced() {
    let place = Place::new();
    std::fs::remove_dir(&place.paths.registry).unwrap();
    let (here, mut mine) = host(&place.paths);
    let mut seat = here.sit(0, at_once());
    let (registry, theirs) = (place.paths.registry.clone(), "reader.other-0-00000000000000aa.1");
    let faster = move || {
        std::fs::create_dir(&registry).unwrap();
        std::fs::write(registry.join(theirs), []).unwrap();
    };
    *mine.client.before_reader.lock().unwrap() = Some(Box::new(faster));
    here.lock(&mut seat, Level::Shared, &mut mine).unwrap();
    let stand_ins: Vec<String> =
        place.names().iter().filter(|name| name.node.is_nobody()).map(Name::to_string).collect();
    assert_eq!(stand_ins, [theirs]);
    here.unlock(&mut seat, Level::None, &mut mine);
    here.stand_up(&mut seat, &mut mine);
    assert_eq!(beside(&place), Vec::<String>::new());
}

/// The registry gets its name only after that has failed: it is there with the name in it that stands for readers, or not at all.
#[test]
fn a_registry_that_gets_its_name_late_has_the_stand_in() {
    let place = Place::new();
    std::fs::remove_dir(&place.paths.registry).unwrap();
    let (here, mut mine) = host(&place.paths);
    let mut seat = here.sit(0, at_once());
    mine.client.late_registry.store(true, Ordering::Relaxed);
    let first = here.lock(&mut seat, Level::Shared, &mut mine).is_ok();
    if !first {
        here.lock(&mut seat, Level::Shared, &mut mine).unwrap();
    }
    let stands = place.names().iter().any(|name| name.node.is_nobody());
    println!("STATE {first} {stands}");
    assert!(stands, "{:?}", place.names());
    here.unlock(&mut seat, Level::None, &mut mine);
    here.stand_up(&mut seat, &mut mine);
    assert_eq!(beside(&place), Vec::<String>::new());
}

/// The negative control.
#[test]
fn without_moving_it_away_a_late_registry_has_no_stand_in() {
    let said =
        run_without("late-registry", "lock::introduce_tests::a_registry_that_gets_its_name_late_has_the_stand_in");
    assert!(said.contains("STATE true false"), "{said}");
}

/// It could neither be given its name nor be moved away, so it may come still: until then nobody may begin to write on the server.
#[test]
fn the_lock_stays_where_a_registry_may_come_still() {
    let place = Place::new();
    std::fs::remove_dir(&place.paths.registry).unwrap();
    let (here, mut mine) = host(&place.paths);
    let mut seat = here.sit(0, at_once());
    mine.client.stuck.store(true, Ordering::Relaxed);
    here.lock(&mut seat, Level::Shared, &mut mine).unwrap_err();
    println!("STATE {}", place.paths.lock.exists());
    assert!(place.paths.lock.exists() && !place.paths.registry.exists());
    here.stand_up(&mut seat, &mut mine);
}

/// The negative control.
#[test]
fn without_the_guard_the_lock_goes_before_the_registry_comes() {
    let said = run_without("lock-kept", "lock::introduce_tests::the_lock_stays_where_a_registry_may_come_still");
    assert!(said.contains("STATE false"), "{said}");
}

/// What was to go at once: names in the database's directory that begin with a dot.
fn beside(place: &Place) -> Vec<String> {
    let names = std::fs::read_dir(&place.paths.parent).unwrap().map(|entry| entry.unwrap().file_name());
    names.map(|name| name.to_string_lossy().into_owned()).filter(|name| name.starts_with('.')).collect()
}

/// The name that stands for readers on the server could not be made: then the database is not shared yet, and the next one puts it up.
#[test]
fn a_registry_without_the_stand_in_does_not_stay() {
    let place = Place::new();
    std::fs::remove_dir(&place.paths.registry).unwrap();
    let (here, mut mine) = host(&place.paths);
    let mut seat = here.sit(0, at_once());
    mine.client.no_readers.store(true, Ordering::Relaxed);
    assert!(matches!(here.lock(&mut seat, Level::Shared, &mut mine), Err(LockError::Full(_))));
    assert!(!place.paths.registry.exists() && !place.paths.lock.exists());
    assert_eq!(beside(&place), Vec::<String>::new());
    mine.client.no_readers.store(false, Ordering::Relaxed);
    here.lock(&mut seat, Level::Shared, &mut mine).unwrap();
    assert!(place.names().iter().any(|name| name.node.is_nobody()), "{:?}", place.names());
    here.unlock(&mut seat, Level::None, &mut mine);
    here.stand_up(&mut seat, &mut mine);
}

/// A name in the lock directory that could not be made is there all the same, late, in another's: it would keep every writer out for
/// as long as its node lives.
#[test]
fn a_writers_name_that_comes_late_goes_again() {
    let place = Place::new();
    let (here, mut mine) = host(&place.paths);
    let mut seat = here.sit(0, at_once());
    mine.client.clock.begin();
    here.lock(&mut seat, Level::Shared, &mut mine).unwrap();
    mine.client.refuses_write.store(true, Ordering::Relaxed);
    here.lock(&mut seat, Level::Reserved, &mut mine).unwrap_err();
    let late = mine.client.late_write.lock().unwrap().take().expect("it was refused");
    std::fs::create_dir(&place.paths.lock).unwrap();
    std::fs::write(&late, []).unwrap();
    for _ in 0..3 {
        mine.client.clock.goes_on(Duration::from_secs(6));
        here.tick();
    }
    println!("STATE {}", late.exists());
    assert!(!late.exists() && !place.paths.lock.exists());
    here.unlock(&mut seat, Level::None, &mut mine);
    here.stand_up(&mut seat, &mut mine);
}

/// The negative control.
#[test]
fn without_looking_for_it_a_late_writers_name_stays() {
    let said = run_without("late-write", "lock::introduce_tests::a_writers_name_that_comes_late_goes_again");
    assert!(said.contains("STATE true"), "{said}");
}

/// A breaker on a network had linked his copy as the database when he died; who finishes it has the disk itself, where a rename between
/// two names of one file does nothing.
#[test]
fn a_copy_that_has_two_names_keeps_the_right_one() {
    let place = Place::new();
    let (_, mut mine) = host(&place.paths);
    let kind = Kind { name: "ext4".to_string(), class: Class::Local };
    let here = Database::new(mine.client.clone(), place.paths.clone(), kind, Mode::NetworkExclusive, 60_000);
    let node = "dead-00000000-7-00000000000000aa";
    std::fs::write(place.paths.registry.join(format!("deposed.{node}.1.00000000000000bb.1")), []).unwrap();
    std::fs::create_dir(&place.paths.lock).unwrap();
    let ready = place.paths.lock.join(format!("fence.{node}.3.ready"));
    std::fs::hard_link(&place.paths.database, &ready).unwrap();
    let mut seat = here.sit(0, at_once());
    here.lock(&mut seat, Level::Shared, &mut mine).unwrap();
    here.lock(&mut seat, Level::Reserved, &mut mine).unwrap();
    println!("STATE {}", ready.exists());
    assert!(!ready.exists() && std::fs::read(&place.paths.database).unwrap() == [1; 64]);
    here.unlock(&mut seat, Level::None, &mut mine);
    here.stand_up(&mut seat, &mut mine);
}

/// The negative control.
#[test]
fn without_the_unlink_it_keeps_both() {
    let said = run_without("two-names", "lock::introduce_tests::a_copy_that_has_two_names_keeps_the_right_one");
    assert!(said.contains("STATE true"), "{said}");
}

/// A program in trusted mode, and a registry of which it can learn nothing: that is no sign that there is none.
#[test]
fn a_registry_that_cannot_be_looked_at_may_be_there() {
    let place = Place::new();
    let (_, mut mine) = host(&place.paths);
    let kind = Kind { name: "ext4".to_string(), class: Class::Local };
    let here = Database::new(mine.client.clone(), place.paths.clone(), kind, Mode::Trusted, 60_000);
    let mut seat = here.sit(0, at_once());
    mine.client.blind.store(true, Ordering::Relaxed);
    let granted = here.lock(&mut seat, Level::Shared, &mut mine).is_ok();
    println!("STATE {granted}");
    assert!(!granted && here.look_now());
    here.stand_up(&mut seat, &mut mine);
}

/// The negative control.
#[test]
fn without_the_look_it_is_taken_for_missing() {
    let said = run_without("registry-seen", "lock::introduce_tests::a_registry_that_cannot_be_looked_at_may_be_there");
    assert!(said.contains("STATE true"), "{said}");
}

/// The service thread still has the manager of a database that nobody uses, when its registry is removed and a connection opens it anew: the
/// manager's mode is over.
#[test]
fn a_manager_whose_registry_is_gone_is_not_used_again() {
    let dir = tempfile::tempdir().unwrap();
    let database = dir.path().canonicalize().unwrap().join("db");
    std::fs::write(&database, [1; 64]).unwrap();
    let registry = Paths::new(&database).registry;
    std::fs::create_dir(&registry).unwrap();
    let old = attach(&database, &Wishes::default()).unwrap();
    assert_eq!(old.mode(), Mode::NetworkExclusive);
    std::fs::remove_dir(&registry).unwrap();
    let service = std::thread::spawn(move || {
        std::thread::sleep(Duration::from_millis(50));
        drop(old);
    });
    assert_eq!(attach(&database, &Wishes::default()).unwrap().mode(), Mode::Trusted);
    service.join().unwrap();
}
