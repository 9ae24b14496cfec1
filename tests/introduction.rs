//! Coord comes to a database that is in use already, on a filesystem that other hosts use: on the server's own disk somebody
//! may be reading by native locks alone. Nobody may write before he has had the time to notice.

mod common;

use common::host::{Host, Sqlite};
use common::opener::Opener;
use std::path::{Path, PathBuf};

/// A process for which every filesystem is a shared one.
fn guest() -> Host {
    let mut host = Host::with(&[("a", Sqlite::Newest)], &[("COORD_TEST_SHARED", "1")]);
    host.load(&common::extension()).ok();
    host
}

fn readers(database: &Path) -> Vec<PathBuf> {
    let registry = PathBuf::from(format!("{}.readers", database.display()));
    let names = std::fs::read_dir(registry).expect("the registry is there");
    let names = names.map(|entry| entry.expect("it can be listed").path());
    names.filter(|path| path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("reader."))).collect()
}

fn uri(database: &Path) -> String {
    // No waiting in the call: the test looks at what is refused.
    Opener::coord("coord_recovery_wait=0&coord_unlock_asap=1").uri(database)
}

#[test]
fn nobody_writes_before_earlier_readers_had_their_time() {
    let dir = common::dir();
    let database = dir.path().join("old.sqlite");
    let plain = rusqlite::Connection::open(&database).expect("it opens");
    plain.execute_batch("CREATE TABLE t(a); INSERT INTO t VALUES(1)").expect("it is made");
    drop(plain);
    let (mut maker, mut other) = (guest(), guest());
    for host in [&mut maker, &mut other] {
        host.open("db", &uri(&database)).ok();
        assert_eq!(host.exec("db", "SELECT a FROM t").value(), "1", "reading goes on at once");
    }
    // Neither whoever made the registry nor who came after him.
    for host in [&mut maker, &mut other] {
        assert_eq!(host.exec("db", "INSERT INTO t VALUES(2)").error().code & 0xff, 5, "it is busy");
    }
    let stand_in = readers(&database);
    assert_eq!(stand_in.len(), 1, "{stand_in:?}");
    // The control: it is that name, and nothing else, which makes them wait.
    std::fs::remove_file(&stand_in[0]).expect("it can be removed");
    for host in [&mut other, &mut maker] {
        host.exec("db", "INSERT INTO t VALUES(2)").ok();
    }
    assert_eq!(maker.exec("db", "SELECT count(*) FROM t").value(), "3");
}

const READ: [&str; 3] = ["exec", "db", "SELECT count(*) FROM t"];

/// A program that stands still while it makes the registry of this database, and the file that it waits to be gone.
fn standing_maker(dir: &Path, env: &[(&str, &str)]) -> (PathBuf, Host, PathBuf) {
    let (database, schedule) = (dir.join("old.sqlite"), dir.join("stops"));
    let plain = rusqlite::Connection::open(&database).expect("it opens");
    plain.execute_batch("CREATE TABLE t(a)").expect("it is made");
    drop(plain);
    std::fs::write(&schedule, "hold registry-begun\n").unwrap();
    let stops = ("COORD_TEST_STOPS", schedule.to_str().expect("a plain path"));
    let mut maker = Host::with(&[("a", Sqlite::Newest)], &[&[("COORD_TEST_SHARED", "1"), stops], env].concat());
    maker.load(&common::extension()).ok();
    maker.open("db", &uri(&database)).ok();
    maker.send(&READ);
    let held = schedule.with_added_extension("registry-begun").with_added_extension("held");
    common::until("it to have begun", || held.exists());
    (database, maker, held)
}

/// Who makes the registry is killed in the middle of it; what comes of another one's first write then.
fn shared_by_who_was_killed(env: &[(&str, &str)]) -> Result<String, i32> {
    let dir = common::dir();
    let (database, maker, _) = standing_maker(dir.path(), env);
    maker.kill();
    let mut other = guest();
    // Nobody alive holds the lock directory; that it is left is looked at first.
    std::fs::remove_dir(format!("{}.lock", database.display())).expect("it is empty");
    other.open("db", &uri(&database)).ok();
    let written = other.exec("db", "INSERT INTO t VALUES(2)").result;
    written.map_err(|error| error.code & 0xff)
}

#[test]
fn a_maker_who_is_killed_leaves_no_registry_that_nobody_stands_in() {
    assert_eq!(shared_by_who_was_killed(&[]), Err(5), "it is busy");
}

/// The negative control.
#[test]
fn a_registry_that_is_made_step_by_step_is_left_without() {
    let written = shared_by_who_was_killed(&[("COORD_TEST_WITHOUT", "whole-registry")]);
    assert!(written.is_ok(), "{written:?}");
}

/// Who stands still with the lock directory that he has made for this has lost it, and another's is there: he must not share what a
/// program on the server may be writing. What he is told.
fn shared_without_the_lock(env: &[(&str, &str)]) -> Result<String, i32> {
    let dir = common::dir();
    let (database, mut maker, held) = standing_maker(dir.path(), env);
    let lock = PathBuf::from(format!("{}.lock", database.display()));
    let _ = std::fs::remove_dir(&lock);
    std::fs::create_dir(&lock).expect("another's");
    std::fs::write(lock.join("write.server-00000000-9-00000000000000ff.1"), "").expect("another's");
    std::fs::remove_file(held).unwrap();
    maker.answer(&READ).result.map_err(|error| error.code & 0xff)
}

#[test]
fn who_has_lost_the_lock_does_not_share_the_database() {
    assert_eq!(shared_without_the_lock(&[]), Err(5), "it is busy");
    // The control.
    let shared = shared_without_the_lock(&[("COORD_TEST_WITHOUT", "registry-locked")]);
    assert!(shared.is_ok(), "{shared:?}");
}

#[test]
fn a_new_database_makes_nobody_wait() {
    let dir = common::dir();
    let database = dir.path().join("new.sqlite");
    let mut maker = guest();
    maker.open("db", &uri(&database)).ok();
    maker.exec("db", "CREATE TABLE t(a)").ok();
    assert!(readers(&database).is_empty());
}

/// A database that somebody else makes in the very moment in which this program has found none: it is opened, not refused.
fn made_while_opened(env: &[(&str, &str)]) -> Result<String, String> {
    let dir = common::dir();
    let database = dir.path().join("new.sqlite");
    let (schedule, registry) = (dir.path().join("stops"), format!("{}.readers", database.display()));
    std::fs::write(&schedule, "hold database-missing\n").unwrap();
    std::fs::create_dir(registry).unwrap();
    let stops = ("COORD_TEST_STOPS", schedule.to_str().expect("a plain path"));
    let shared = ("COORD_TEST_SHARED", "1");
    let mut late = Host::with(&[("a", Sqlite::Newest)], &[&[shared, stops], env].concat());
    late.load(&common::extension()).ok();
    let request = ["open", "db", &uri(&database)];
    late.send(&request);
    let held = schedule.with_added_extension("database-missing").with_added_extension("held");
    common::until("it to have found none", || held.exists());
    let mut maker = guest();
    maker.open("db", &uri(&database)).ok();
    maker.exec("db", "CREATE TABLE t(a); INSERT INTO t VALUES(7)").ok();
    std::fs::remove_file(held).unwrap();
    late.answer(&request).result.map_err(|error| error.message)?;
    Ok(late.exec("db", "SELECT a FROM t").value())
}

#[test]
fn a_database_that_appears_while_it_is_opened_is_opened() {
    assert_eq!(made_while_opened(&[]).as_deref(), Ok("7"));
    // The control.
    let refused = made_while_opened(&[("COORD_TEST_WITHOUT", "open-again")]);
    assert!(refused.as_ref().is_err_and(|text| text.contains("unable to open")), "{refused:?}");
}
