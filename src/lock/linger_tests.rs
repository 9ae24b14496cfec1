//! Locks that are kept beyond the transaction: between two hosts, on a real disk. The service thread knows nothing of these
//! managers, so the test itself lets each look after its locks, and nothing depends on how fast anything is.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use super::coherence_tests::{Program, host, run_without};
use super::{Base, Database, Level, LockError, STAMP, Seat, Wishes};
use crate::protocol::Paths;

/// Longer than any test.
fn long() -> Wishes {
    Wishes { linger_ms: Some(60_000), ..Wishes::default() }
}

struct Place {
    paths: Arc<Paths>,
    _dir: tempfile::TempDir,
}

impl Place {
    fn new() -> Place {
        let dir = tempfile::tempdir().unwrap();
        let paths = Arc::new(Paths::new(&dir.path().join("db")));
        std::fs::write(&paths.database, [1; 64]).unwrap();
        std::fs::write(&paths.journal, []).unwrap();
        // Coord is known here already: nobody has to wait for earlier readers.
        std::fs::create_dir(&paths.registry).unwrap();
        Place { paths, _dir: dir }
    }

    /// Whether a name that begins so is there.
    fn has(&self, dir: &Path, word: &str) -> bool {
        let Ok(names) = std::fs::read_dir(dir) else { return false };
        names.flatten().any(|name| name.file_name().to_string_lossy().starts_with(word))
    }

    /// What is on disk: reader, writer, exclusive.
    fn held(&self) -> (bool, bool, bool) {
        let (registry, lock) = (&self.paths.registry, &self.paths.lock);
        (self.has(registry, "reader."), self.has(lock, "write."), self.has(registry, "exclusive."))
    }
}

fn transaction(database: &Database, seat: &mut Seat, base: &mut Program, highest: Level) -> Result<(), LockError> {
    for level in [Level::Shared, Level::Reserved, Level::Exclusive] {
        if level <= highest
            && let Err(error) = database.lock(seat, level, base)
        {
            database.unlock(seat, Level::None, base);
            return Err(error);
        }
    }
    database.unlock(seat, Level::Shared, base);
    database.unlock(seat, Level::None, base);
    Ok(())
}

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
    here.doubt();
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
    here.doubt();
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
