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

#[test]
fn a_new_database_makes_nobody_wait() {
    let dir = common::dir();
    let database = dir.path().join("new.sqlite");
    let mut maker = guest();
    maker.open("db", &uri(&database)).ok();
    maker.exec("db", "CREATE TABLE t(a)").ok();
    assert!(readers(&database).is_empty());
}
