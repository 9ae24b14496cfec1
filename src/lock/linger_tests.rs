//! Locks that are kept beyond the transaction: between two hosts, on a real disk. The service thread knows nothing of these
//! managers, so the test itself lets each look after its locks, and nothing depends on how fast anything is.

use std::sync::atomic::{AtomicBool, Ordering};

use super::two_hosts::{Place, Program, host, host_on, long, run_without, transaction};
use super::{Base, Level, LockError, STAMP, Seat, Wishes};
use crate::protocol::names::{Kind, Name};

/// One host has done a transaction and keeps its lock; another wants `wanted`. What it gets, while the first one's service
/// thread goes on looking after its locks.
fn kept_and_wanted(kept: Level, wanted: Level) -> Result<(), LockError> {
    let place = Place::new();
    let ((here, mut mine), (there, mut theirs)) = (host(&place.paths), host(&place.paths));
    let (mut seat, mut other) = (here.sit(0, long()), there.sit(0, long()));
    transaction(&here, &mut seat, &mut mine, kept).unwrap();
    let writes = kept == Level::Exclusive;
    assert_eq!(place.held(), (true, writes, writes), "the lock is kept");
    let done = AtomicBool::new(false);
    let got = std::thread::scope(|scope| {
        let other = scope.spawn(|| {
            let got = transaction(&there, &mut other, &mut theirs, wanted);
            done.store(true, Ordering::Release);
            there.stand_up(&mut other, &mut theirs);
            got
        });
        while !done.load(Ordering::Acquire) {
            here.tick();
            std::thread::yield_now();
        }
        other.join().unwrap()
    });
    here.stand_up(&mut seat, &mut mine);
    assert_eq!(place.held(), (false, false, false), "nothing stays behind");
    println!("STATE {}", got.is_ok());
    got
}

#[test]
fn a_kept_write_lock_goes_to_who_wants_to_read() {
    kept_and_wanted(Level::Exclusive, Level::Shared).expect("it is given up");
}

#[test]
fn a_kept_write_lock_goes_to_who_wants_to_write() {
    kept_and_wanted(Level::Exclusive, Level::Exclusive).expect("it is given up");
}

#[test]
fn a_kept_read_lock_goes_to_who_wants_to_write() {
    kept_and_wanted(Level::Shared, Level::Exclusive).expect("it is given up");
}

/// The negative control: a holder who does not heed requests keeps the other out.
#[test]
fn without_heeding_requests_the_other_stays_out() {
    for test in ["a_kept_write_lock_goes_to_who_wants_to_read", "a_kept_read_lock_goes_to_who_wants_to_write"] {
        let said = run_without("linger-request", &format!("lock::linger_tests::{test}"));
        assert!(said.contains("STATE false"), "{said}");
    }
}

/// Two that read, or the same one again, take nothing from each other.
#[test]
fn kept_read_locks_of_two_hosts_stand_beside_each_other() {
    let place = Place::new();
    let ((here, mut mine), (there, mut theirs)) = (host(&place.paths), host(&place.paths));
    let (mut seat, mut other) = (here.sit(0, long()), there.sit(0, long()));
    for _ in 0..3 {
        transaction(&here, &mut seat, &mut mine, Level::Shared).unwrap();
        transaction(&there, &mut other, &mut theirs, Level::Shared).unwrap();
        here.tick();
        there.tick();
    }
    let readers = std::fs::read_dir(&place.paths.registry).unwrap().flatten();
    let readers = readers.filter(|name| name.file_name().to_string_lossy().starts_with("reader.")).count();
    assert_eq!(readers, 2);
    here.stand_up(&mut seat, &mut mine);
    there.stand_up(&mut other, &mut theirs);
}

/// What is known of the file is known for as long as the lock is there, and not a moment longer.
#[test]
fn what_is_remembered_goes_with_the_lock() {
    let place = Place::new();
    let (here, mut mine) = host(&place.paths);
    let mut seat = here.sit(0, long());
    let again = |seat: &mut Seat, mine: &mut Program| {
        here.lock(seat, Level::Shared, mine).unwrap();
        let known = here.recall(seat).stamp;
        here.learn(seat, |known| known.stamp = Some([7; STAMP]));
        here.unlock(seat, Level::None, mine);
        known
    };
    assert_eq!(again(&mut seat, &mut mine), None);
    assert_eq!(again(&mut seat, &mut mine), Some([7; STAMP]), "kept");
    assert_eq!(here.recall(&seat).stamp, None, "without a lock nothing is answered");
    assert!(here.release());
    assert_eq!(place.held(), (false, false, false));
    assert_eq!(again(&mut seat, &mut mine), None, "given up");
    here.doubt(&mut seat);
    assert_eq!(again(&mut seat, &mut mine), None, "in doubt");
    assert_eq!(again(&mut seat, &mut mine), Some([7; STAMP]));
    here.stand_up(&mut seat, &mut mine);
}

/// Whatever went wrong, the locks end with the transaction.
#[test]
fn nothing_is_kept_after_a_failure() {
    let place = Place::new();
    let (here, mut mine) = host(&place.paths);
    let mut seat = here.sit(0, long());
    for level in [Level::Shared, Level::Reserved, Level::Exclusive] {
        here.lock(&mut seat, level, &mut mine).unwrap();
    }
    here.doubt(&mut seat);
    here.unlock(&mut seat, Level::Shared, &mut mine);
    assert_eq!(place.held(), (true, false, false));
    here.unlock(&mut seat, Level::None, &mut mine);
    assert_eq!(place.held(), (false, false, false));
    here.stand_up(&mut seat, &mut mine);
}

/// A journal handle belongs to one holding of L: under another it is opened and confirmed anew.
#[test]
fn a_journal_is_opened_anew_under_another_holding() {
    let place = Place::new();
    let (here, mut mine) = host(&place.paths);
    let mut seat = here.sit(0, long());
    transaction(&here, &mut seat, &mut mine, Level::Exclusive).unwrap();
    assert!(mine.has_journal() && seat.take_fresh_journal());
    transaction(&here, &mut seat, &mut mine, Level::Exclusive).unwrap();
    assert!(mine.has_journal() && !seat.take_fresh_journal(), "the same");
    assert!(here.release());
    here.lock(&mut seat, Level::Shared, &mut mine).unwrap();
    assert!(!mine.has_journal(), "closed");
    here.unlock(&mut seat, Level::None, &mut mine);
    transaction(&here, &mut seat, &mut mine, Level::Exclusive).unwrap();
    assert!(mine.has_journal() && seat.take_fresh_journal(), "another");
    here.stand_up(&mut seat, &mut mine);
}

/// The wish of the connection decides.
#[test]
fn who_wants_to_unlock_at_once_does() {
    let place = Place::new();
    let (here, mut mine) = host(&place.paths);
    for wishes in [Wishes { unlock_asap: true, ..long() }, Wishes { linger_ms: Some(0), ..Wishes::default() }] {
        let mut seat = here.sit(0, wishes);
        transaction(&here, &mut seat, &mut mine, Level::Exclusive).unwrap();
        assert_eq!(place.held(), (false, false, false));
        here.stand_up(&mut seat, &mut mine);
    }
}

/// One connection stays at SHARED on the files that were there before, another of its process goes through a fence and does not
/// get EXCLUSIVE because of the first; then the first one writes. It must be on the files that have the names.
#[test]
fn who_stayed_behind_a_fence_writes_into_the_file_that_has_the_name() {
    let place = Place::new();
    let ((here, mut mine), (there, mut theirs)) =
        (host_on(&place.paths, "test", 1000), host_on(&place.paths, "test", 1000));
    let (mut stays, mut fences) = (here.sit(0, long()), here.sit(0, long()));
    let (mut zombie, mut second) = (there.sit(0, long()), mine.another());
    here.lock(&mut stays, Level::Shared, &mut mine).unwrap();
    let ours: Vec<Name> = place.names();
    there.lock(&mut zombie, Level::Shared, &mut theirs).unwrap();
    // A third host has deposed the second one.
    let beat = |name: &Name| matches!(name.kind, Kind::Beat { .. }) && ours.iter().all(|known| known.node != name.node);
    let beat = place.names().into_iter().find(beat).unwrap();
    let stone = Name { kind: Kind::Deposed { by: 7, m: 1 }, ..beat.clone() };
    let path = |name: &Name| place.paths.registry.join(name.to_string());
    std::fs::rename(path(&beat), path(&stone)).unwrap();
    let before = std::fs::metadata(&place.paths.database).unwrap();
    here.lock(&mut fences, Level::Shared, &mut second).unwrap();
    let soon = std::time::Instant::now() + std::time::Duration::from_secs(20);
    while same(&before, &std::fs::metadata(&place.paths.database).unwrap()) {
        assert!(std::time::Instant::now() < soon, "nothing was replaced");
        // The tombstone must have stood for a sixth of a lease.
        here.lock(&mut fences, Level::Reserved, &mut second).unwrap();
        assert!(matches!(here.lock(&mut fences, Level::Exclusive, &mut second), Err(LockError::Busy)));
        here.unlock(&mut fences, Level::Shared, &mut second);
    }
    here.unlock(&mut fences, Level::None, &mut second);
    for level in [Level::Reserved, Level::Exclusive] {
        here.lock(&mut stays, level, &mut mine).unwrap();
    }
    std::fs::write(&place.paths.database, [9; 64]).unwrap();
    mine.forget();
    println!("STATE {} {}", mine.first_byte(), here.has_moved(&stays));
    assert_eq!((mine.first_byte(), here.has_moved(&stays)), (9, false), "it writes into a file without a name");
    here.unlock(&mut stays, Level::None, &mut mine);
    here.stand_up(&mut stays, &mut mine);
    here.stand_up(&mut fences, &mut second);
    there.stand_up(&mut zombie, &mut theirs);
}

/// The negative control.
#[test]
fn without_following_a_replacement_a_file_without_a_name_is_written() {
    let test = "lock::linger_tests::who_stayed_behind_a_fence_writes_into_the_file_that_has_the_name";
    let said = run_without("linger-generation", test);
    assert!(said.contains("STATE 1 true"), "{said}");
}

/// A backup is put back by hand while a read lock is kept. What the process knows under that lock is of the file that went: a
/// connection that was opened since, and so is on the new one, must not join it.
#[test]
fn a_lock_kept_on_another_file_is_not_joined() {
    let place = Place::new();
    let (here, mut mine) = host(&place.paths);
    let mut seat = here.sit(0, long());
    transaction(&here, &mut seat, &mut mine, Level::Shared).unwrap();
    let backup = place.paths.parent.join("backup");
    std::fs::write(&backup, [2; 64]).unwrap();
    std::fs::rename(&backup, &place.paths.database).unwrap();
    let (mut other, mut second) = (here.sit(0, long()), mine.another());
    let first = here.lock(&mut other, Level::Shared, &mut second);
    println!("STATE joined {}", first.is_ok());
    assert!(matches!(first, Err(LockError::Busy)), "{first:?}");
    assert_eq!(place.held(), (false, false, false), "the lock is given up");
    here.lock(&mut other, Level::Shared, &mut second).unwrap();
    assert_eq!((second.first_byte(), here.has_moved(&other)), (2, false));
    here.unlock(&mut other, Level::None, &mut second);
    here.stand_up(&mut other, &mut second);
    here.stand_up(&mut seat, &mut mine);
}

/// The negative control.
#[test]
fn without_comparing_the_files_a_lock_on_another_one_is_joined() {
    let said = run_without("joined-file", "lock::linger_tests::a_lock_kept_on_another_file_is_not_joined");
    assert!(said.contains("STATE joined true"), "{said}");
}

fn same(one: &std::fs::Metadata, other: &std::fs::Metadata) -> bool {
    std::os::unix::fs::MetadataExt::ino(one) == std::os::unix::fs::MetadataExt::ino(other)
}

/// Who has RESERVED on top of a lock that was kept lets readers of other hosts in until it needs EXCLUSIVE.
#[test]
fn readers_come_in_beside_a_reserved_lock_that_was_exclusive() {
    let place = Place::new();
    let ((here, mut mine), (there, mut theirs)) = (host(&place.paths), host(&place.paths));
    let (mut seat, mut other) = (here.sit(0, long()), there.sit(0, long()));
    transaction(&here, &mut seat, &mut mine, Level::Exclusive).unwrap();
    for level in [Level::Shared, Level::Reserved] {
        here.lock(&mut seat, level, &mut mine).unwrap();
    }
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let reader = scope.spawn(|| {
            let got = there.lock(&mut other, Level::Shared, &mut theirs);
            done.store(true, Ordering::Release);
            got
        });
        while !done.load(Ordering::Acquire) {
            here.tick();
            std::thread::yield_now();
        }
        reader.join().unwrap().expect("nobody is exclusive");
    });
    assert!(matches!(here.lock(&mut seat, Level::Exclusive, &mut mine), Err(LockError::Busy)), "beside a reader");
    there.unlock(&mut other, Level::None, &mut theirs);
    there.release();
    here.lock(&mut seat, Level::Exclusive, &mut mine).unwrap();
    here.stand_up(&mut seat, &mut mine);
    there.stand_up(&mut other, &mut theirs);
}

/// SQLite makes its journal for each transaction; ours stays open, so somebody must notice that it was removed.
#[test]
fn a_journal_that_was_removed_by_hand_is_made_anew() {
    let place = Place::new();
    let (here, mut mine) = host(&place.paths);
    let mut seat = here.sit(0, long());
    transaction(&here, &mut seat, &mut mine, Level::Exclusive).unwrap();
    std::fs::remove_file(&place.paths.journal).unwrap();
    // Longer than between two looks.
    std::thread::sleep(std::time::Duration::from_millis(60));
    for level in [Level::Shared, Level::Reserved] {
        here.lock(&mut seat, level, &mut mine).unwrap();
    }
    assert!(place.paths.journal.is_file() && seat.take_fresh_journal());
    here.unlock(&mut seat, Level::None, &mut mine);
    here.stand_up(&mut seat, &mut mine);
}

/// A process keeps locks on so many databases, and gives up those on others at once.
#[test]
fn locks_are_kept_on_a_bounded_number_of_databases() {
    let places: Vec<Place> = (0..80).map(|_| Place::new()).collect();
    let mut hosts: Vec<_> = places.iter().map(|place| host(&place.paths)).collect();
    let mut seats: Vec<Seat> = hosts.iter().map(|(here, _)| here.sit(0, long())).collect();
    for ((here, mine), seat) in hosts.iter_mut().zip(&mut seats) {
        transaction(here, seat, mine, Level::Shared).unwrap();
    }
    let kept = places.iter().filter(|place| place.held().0).count();
    assert!((1..=64).contains(&kept), "{kept} are kept");
    for ((here, mine), seat) in hosts.iter_mut().zip(&mut seats) {
        here.stand_up(seat, mine);
    }
}
