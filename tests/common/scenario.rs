//! What whole crews of workers go through; each ends with the bank's check and fails the test by itself.

use super::bank::{self, Reported};
use super::opener::Opener;
use super::worker::{End, Role, Spec, Worker};
use super::{Rng, dir};
use std::path::Path;
use std::time::Duration;

/// A bank of this way of opening, and a connection to it.
pub fn new_bank(opener: &Opener, database: &Path) -> rusqlite::Connection {
    let mut db = opener.open(database).expect("the database opens");
    bank::create(&mut db).expect("the bank is founded");
    db
}

/// Four writers and two readers. Victims die inside a commit or at a random moment after a freeze, and are replaced; one
/// stands still inside a commit, holding the write lock, and goes on. No survivor sees an error but "locked".
pub fn killed_and_frozen_it_adds_up(opener: &Opener) {
    let dir = dir();
    let database = dir.path().join("bank.sqlite");
    let mut db = new_bank(opener, &database);
    let mut rng = Rng::printed();
    // Processes die here, not the machine: nothing has to reach the disk.
    let spec = |id, role| Spec { prelude: "PRAGMA synchronous=OFF".into(), ..Spec::new(id, role, opener, &database) };
    let readers = Worker::start_all((100..102).map(|id| spec(id, Role::Reader)));
    let mut writers = Worker::start_all((0..4).map(|id| spec(id, Role::Writer)));
    let mut ended = Vec::new();
    for id in 10..20 {
        // The victim is at work, else its death shows nothing.
        let victim = writers.swap_remove(rng.below(writers.len() as u64) as usize);
        victim.wait_for_commits(1);
        if id % 2 == 0 {
            std::thread::sleep(Duration::from_micros(rng.below(20_000)));
            victim.freeze();
            victim.thaw();
            ended.push(victim.kill());
        } else {
            ended.push(victim.die_in_commit());
        }
        assert!(ended.iter().all(End::killed));
        writers.extend(Worker::start_all([spec(id, Role::Writer)]));
    }
    let mut frozen = writers.pop().expect("four work");
    frozen.wait_for_commits(1);
    frozen.freeze_in_commit();
    let code = db.execute_batch("BEGIN IMMEDIATE").unwrap_err().sqlite_error_code();
    assert_eq!(code, Some(rusqlite::ErrorCode::DatabaseBusy), "the frozen worker holds the write lock");
    frozen.thaw();
    frozen.wait_for_commits(1);
    writers.push(frozen);
    ended.extend(writers.into_iter().map(Worker::finish));
    for end in readers.into_iter().map(Worker::finish) {
        assert!(end.right().views > 0);
    }
    for end in ended.iter().filter(|end| !end.killed()) {
        assert_eq!(end.right().not_busy(), 0, "{end:?}");
    }
    settle(&mut db, &ended);
}

/// One writer stands still inside a commit for longer than its lease: the others go on without it, and it comes back
/// to an error, not to a silent loss. Afterwards it works again.
pub fn frozen_past_its_lease_it_comes_back_to_an_error(opener: &Opener) {
    let dir = dir();
    let database = dir.path().join("bank.sqlite");
    let mut db = new_bank(opener, &database);
    let spec = |id, role| Spec { busy_ms: 10_000, ..Spec::new(id, role, opener, &database) };
    let readers = Worker::start_all([spec(100, Role::Reader)]);
    let others = Worker::start_all((1..3).map(|id| spec(id, Role::Writer)));
    let mut frozen = Worker::start(spec(0, Role::Writer));
    frozen.go();
    frozen.wait_for_commits(3);
    frozen.freeze_in_commit();
    // It holds the write lock, so nobody commits again before it was deposed.
    others.iter().for_each(|other| other.wait_for_commits(3));
    frozen.thaw();
    frozen.wait_for_commits(3);
    let frozen = frozen.finish();
    assert!(frozen.right().not_busy() > 0, "it came back as if nothing had happened: {frozen:?}");
    let mut ended: Vec<End> = others.into_iter().chain(readers).map(Worker::finish).collect();
    for end in &ended {
        assert_eq!(end.right().not_busy(), 0, "{end:?}");
    }
    ended.push(frozen);
    settle(&mut db, &ended);
}

fn settle(db: &mut rusqlite::Connection, ended: &[End]) {
    let reported = Reported::read(ended.iter().map(|end| end.spec.reports()));
    assert!(reported.committed.len() > 8, "too few commits to show anything: {}", reported.committed.len());
    bank::assert_right(db, &reported);
}
