//! A client that looks no name up again while anybody has its file open (9p): who holds no lock has nothing open.

use crate::common::{self, host::Host};
use crate::room::{NETWORK, Room, UNIX, host, sum};

const HELD: (&str, &str) = ("COORD_TEST_SHARED", "9p");
const PYTHON: &str = "/usr/bin/python3";

/// The files of the database that the program has open.
fn open_files(host: &Host, room: &Room) -> Vec<String> {
    let descriptors = std::fs::read_dir(format!("/proc/{}/fd", host.pid())).expect("its descriptors");
    let paths = descriptors.filter_map(|entry| std::fs::read_link(entry.ok()?.path()).ok());
    let (database, journal) = (room.database.clone(), room.beside("-journal"));
    paths.filter(|path| *path == database || *path == journal).map(|path| path.display().to_string()).collect()
}

/// After opening, after reading and after writing; that there is anything to close, the last look shows.
fn seen(env: &[(&str, &str)]) -> [usize; 4] {
    let room = Room::with_rows();
    // The introduction of the registry is not looked at here.
    std::fs::create_dir(room.beside(".readers")).unwrap();
    let mut host = host(env);
    let uri = room.uri(&format!("{NETWORK}&coord_unlock_asap=1"));
    host.open("db", &uri).ok();
    host.exec("db", "PRAGMA coord_status").ok();
    let opened = open_files(&host, &room).len();
    assert_eq!(sum(&mut host, "db"), "200");
    let read = open_files(&host, &room).len();
    host.exec("db", "UPDATE t SET v = v + 1").ok();
    let written = open_files(&host, &room).len();
    host.exec("db", "BEGIN IMMEDIATE").ok();
    let held = open_files(&host, &room).len();
    host.exec("db", "ROLLBACK").ok();
    [opened, read, written, held.min(1)]
}

#[test]
fn nothing_is_open_without_a_lock() {
    assert_eq!(seen(&[HELD]), [0, 0, 0, 1]);
}

/// The negative control: without the guard all stay open, also where no client makes anything of it.
#[test]
fn without_the_guard_files_stay_open() {
    for env in [&[HELD, ("COORD_TEST_WITHOUT", "held-names")][..], &[("COORD_TEST_SHARED", "1")]] {
        let [opened, read, written, held] = seen(env);
        assert!(opened > 0 && read > 0 && written > 0 && held > 0, "{env:?}: {opened} {read} {written} {held}");
    }
}

/// What a connection finds out of a file when it opens it, it finds out before it lets go of that.
#[test]
fn a_wal_database_is_refused_all_the_same() {
    let room = Room::with_rows();
    let plain = rusqlite::Connection::open(&room.database).unwrap();
    plain.query_row("PRAGMA journal_mode=WAL", [], |_| Ok(())).unwrap();
    drop(plain);
    let mut host = host(&[HELD]);
    let answer = host.open("db", &room.uri(NETWORK));
    assert!(answer.error().message.contains("WAL mode"), "{answer:?}");
    host.open("plain", &room.uri(UNIX)).ok();
    host.exec("plain", "PRAGMA journal_mode=DELETE").ok();
}

/// A kept lock ends on coord's own thread, which closes what SQLite has opened: not in a program whose SQLite has no mutexes.
#[test]
fn a_program_without_threads_keeps_no_lock_there() {
    let kept = |env: &[(&str, &str)]| {
        let room = Room::with_rows();
        std::fs::create_dir(room.beside(".readers")).unwrap();
        let mut host = host(env);
        host.open("db", &room.uri(&format!("{NETWORK}&coord_linger_ms=60000"))).ok();
        assert_eq!(sum(&mut host, "db"), "200");
        let names = std::fs::read_dir(room.beside(".readers")).unwrap().flatten();
        names.filter(|name| name.file_name().to_string_lossy().starts_with("reader.")).count()
    };
    let alone = ("COORD_TEST_THREADSAFE", "0");
    assert_eq!(kept(&[HELD, alone]), 0);
    // The control; and where no handle is closed there is no reason to.
    assert_eq!((kept(&[HELD]), kept(&[("COORD_TEST_SHARED", "1"), alone])), (1, 1));
}

/// A transaction whose files were replaced, and that cannot open the new ones yet, is copied by the backup API: it takes a plain
/// `SQLITE_BUSY` for a page to leave out, so it must be told in other words. What came of the copy.
fn copied(env: &[(&str, &str)]) -> Result<String, String> {
    let room = Room::with_rows();
    let registry = room.beside(".readers");
    std::fs::create_dir(&registry).unwrap();
    let (held, copy) = (room.beside(".held"), room.beside(".copy"));
    let sign = ("COORD_TEST_HELD", held.to_str().expect("a plain path"));
    let mut host = Host::python(&[&[HELD, sign], env].concat());
    host.load(&common::extension()).ok();
    host.open("db", &room.uri(NETWORK)).ok();
    host.exec("db", "PRAGMA cache_size=1; BEGIN; SELECT count(*) FROM t").ok();
    std::fs::write(registry.join("epoch.elsewhere-00000000-1-0000000000000001.1"), "").unwrap();
    std::fs::write(&held, "").unwrap();
    let told = host.exec("db", "UPDATE t SET v = 2");
    assert!(told.result.as_ref().is_err_and(|error| error.message.contains("locked")), "{told:?}");
    let answer = host.call(&["backup", "db", copy.to_str().expect("a plain path")]);
    answer.result.map_err(|error| error.message)?;
    let copy = rusqlite::Connection::open(&copy).unwrap();
    copy.query_row("SELECT sum(v) FROM t", [], |row| row.get::<_, i64>(0))
        .map(|sum| sum.to_string())
        .map_err(|error| error.to_string())
}

#[test]
fn a_backup_of_pages_that_cannot_be_read_fails() {
    if !common::have(PYTHON) {
        return;
    }
    let failed = copied(&[]);
    assert!(failed.as_ref().is_err_and(|text| text.contains("locked")), "{failed:?}");
}

/// The negative control: the copy is said to be done, and is not one.
#[test]
fn without_the_guard_it_leaves_them_out() {
    if !common::have(PYTHON) {
        return;
    }
    let done = copied(&[("COORD_TEST_WITHOUT", "busy-read")]);
    assert!(done.as_ref().is_err_and(|text| !text.contains("locked")), "{done:?}");
}
