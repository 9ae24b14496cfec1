//! Something else where a database, its journal, its lock directory or its registry should be.

use crate::common::bank::Sql;
use crate::common::hostile::{self, NETWORK, Place, TRUSTED};
use crate::common::visitor::Visitor;
use std::os::unix::fs::symlink;
use std::path::Path;

fn fifo(path: &Path) {
    use std::os::unix::ffi::OsStrExt;
    let path = std::ffi::CString::new(path.as_os_str().as_bytes()).unwrap();
    // SAFETY: a C text.
    assert_eq!(unsafe { libc::mkfifo(path.as_ptr(), 0o666) }, 0);
}

/// What is not a directory where a directory of ours must be: the sentence names it, says what is wrong and the cure.
#[test]
fn whatever_is_in_the_way_of_a_directory_is_named() {
    for suffix in [".lock", ".readers"] {
        type Maker = fn(&Path);
        let makers: [(&str, Maker); 5] = [
            ("a file", |path| std::fs::write(path, "precious").unwrap()),
            ("a link to a directory", |path| symlink(path.parent().unwrap(), path).unwrap()),
            ("a dangling link", |path| symlink("/no/such/place", path).unwrap()),
            ("a link to itself", |path| symlink(path, path).unwrap()),
            ("a FIFO", fifo),
        ];
        for (what, make) in makers {
            let place = Place::new();
            make(&place.beside(suffix));
            let text = place.assert_refused("", &[&format!("state.sqlite{suffix}"), "is in the way", "remove it"]);
            assert!(!what.contains("link") || text.contains("symbolic link"), "{what}: {text}");
            place.assert_refused(NETWORK, &[&format!("state.sqlite{suffix}"), "is in the way"]);
            let (text, json) = place.inspect();
            assert!(text.contains("is in the way") && json["needs_attention"] == true, "{text}");
            std::fs::remove_file(place.beside(suffix)).unwrap();
            place.assert_works(NETWORK);
        }
    }
}

/// The same, when it comes after the database was opened.
#[test]
fn whatever_comes_in_the_way_later_is_named_too() {
    for mode in [TRUSTED, NETWORK] {
        let place = Place::new();
        let mut db = place.open(mode).unwrap();
        db.sql("SELECT count(*) FROM t").unwrap();
        std::fs::write(place.lock(), "precious").unwrap();
        db.sql("INSERT INTO t VALUES(3, 3)").unwrap_err();
        let text = hostile::complaint(&mut db);
        assert!(text.contains("state.sqlite.lock is in the way") && text.contains("remove it"), "{mode}: {text}");
        std::fs::remove_file(place.lock()).unwrap();
        place.assert_untouched();
        db.sql("INSERT INTO t VALUES(3, 3)").unwrap();
    }
}

/// A directory, a FIFO, a device or a socket as the database: refused at once, without touching it.
#[test]
fn only_a_regular_file_is_a_database() {
    let dir = crate::common::dir();
    let at = |name: &str| dir.path().join(name);
    std::fs::create_dir(at("directory")).unwrap();
    fifo(&at("fifo"));
    let _socket = std::os::unix::net::UnixListener::bind(at("socket")).unwrap();
    let before = hostile::names(dir.path());
    // In a process of its own: the answer has a deadline.
    let mut visitor = Visitor::new(dir.path());
    for path in [at("directory"), at("fifo"), at("socket"), "/dev/null".into(), "/dev/zero".into()] {
        for mode in [TRUSTED, NETWORK] {
            let error = visitor.open(&path, mode).unwrap_err();
            assert!(error.message.contains("is not a regular file"), "{}: {error}", path.display());
        }
    }
    assert_eq!(hostile::names(dir.path()), before);
}

/// A file that is no database, or half of one: SQLite's own error, no lock left, not a byte changed.
#[test]
fn garbage_is_not_a_database_and_stays_as_it_is() {
    let header = b"SQLite format 3\0";
    for (what, bytes) in [
        ("text", b"precious data of somebody else\n".repeat(100)),
        ("a header alone", header.to_vec()),
        ("zeros", vec![0; 5000]),
        ("noise", (0..9000u32).map(|i| (i.wrapping_mul(2_654_435_761) >> 13) as u8).collect()),
    ] {
        for mode in [TRUSTED, NETWORK] {
            let mut place = Place::new();
            std::fs::write(&place.database, &bytes).unwrap();
            place.bytes = bytes.clone();
            match place.open(mode) {
                Ok(mut db) => {
                    let error = db.sql("SELECT count(*) FROM t").unwrap_err();
                    assert!(matches!(error.primary(), 26 | 11 | 1), "{what} {mode}: {error}");
                    let _ = db.sql("BEGIN IMMEDIATE; ROLLBACK");
                }
                Err(error) => assert!(matches!(error.primary(), 26 | 11), "{what} {mode}: {error}"),
            }
            place.assert_untouched();
            assert!(!place.lock().exists(), "{what} {mode}");
        }
    }
}

/// A database that says WAL, and a WAL beside one that does not.
#[test]
fn a_wal_is_refused_with_the_way_out() {
    let mut place = Place::new();
    place.bytes[18] = 2;
    place.bytes[19] = 2;
    std::fs::write(&place.database, &place.bytes).unwrap();
    for mode in [TRUSTED, NETWORK] {
        place.assert_refused(mode, &["state.sqlite is in WAL mode", "journal_mode=DELETE"]);
    }
    let place = Place::new();
    std::fs::write(place.beside("-wal"), "something").unwrap();
    for mode in [TRUSTED, NETWORK] {
        place.assert_refused(mode, &["state.sqlite-wal lies beside", "journal_mode=DELETE"]);
    }
    assert_eq!(std::fs::read_to_string(place.beside("-wal")).unwrap(), "something");
    // To SQLite an empty one is none, and nothing removes it.
    std::fs::write(place.beside("-wal"), "").unwrap();
    place.assert_works(TRUSTED);
    place.assert_works(NETWORK);
}

/// SQLite says only that it is unable to open the database file.
#[test]
fn what_cannot_be_opened_is_said_with_the_reason() {
    let place = Place::new();
    let nowhere = place.dir.path().join("missing").join("state.sqlite");
    let mut visitor = Visitor::new(place.dir.path());
    assert_eq!(visitor.open(&nowhere, "mode=rw").unwrap_err().primary(), 14);
    visitor.open(&place.database, "").unwrap();
    let said = visitor.sql("SELECT coord_last_error()").unwrap()[0][0].clone();
    assert!(said.contains("missing/state.sqlite cannot be opened: No such file"), "{said}");
    place.assert_untouched();
}

/// What a real writer in WAL mode left: its transactions are not ignored, and its WAL is not removed.
#[test]
fn a_live_wal_is_left_alone() {
    let place = Place::new();
    let mut plain = rusqlite::Connection::open(&place.database).unwrap();
    plain.sql("PRAGMA journal_mode=WAL; INSERT INTO t VALUES(3, 'in the WAL')").unwrap();
    let wal = std::fs::read(place.beside("-wal")).unwrap();
    for mode in [TRUSTED, NETWORK] {
        let error = place.open(mode).map(drop).unwrap_err();
        assert!(error.message.contains("WAL mode"), "{error}");
    }
    assert!(std::fs::read(place.beside("-wal")).unwrap() == wal);
    assert_eq!(plain.sql("SELECT count(*) FROM t").unwrap()[0][0], "3");
}

/// A journal that is a link would have somebody else's file written and cut to nothing.
#[test]
fn a_journal_that_is_no_file_is_not_written_through() {
    let place = Place::new();
    let victim = place.dir.path().join("victim");
    std::fs::write(&victim, "precious").unwrap();
    type Maker<'a> = &'a dyn Fn(&Path);
    let makers: [(&str, Maker); 3] = [
        ("a link", &|path| symlink(&victim, path).unwrap()),
        ("a directory", &|path| std::fs::create_dir(path).unwrap()),
        ("a FIFO", &fifo),
    ];
    for (what, make) in makers {
        let journal = place.beside("-journal");
        make(&journal);
        let mut visitor = Visitor::new(place.dir.path());
        visitor.open(&place.database, NETWORK).unwrap();
        visitor.sql("INSERT INTO t VALUES(3, 3)").expect_err(what);
        let text = visitor.complaint();
        assert!(text.contains("state.sqlite-journal") && text.contains("not a regular file"), "{what}: {text}");
        visitor.end();
        assert_eq!(std::fs::read_to_string(&victim).unwrap(), "precious", "{what}");
        place.assert_untouched();
        assert!(!place.lock().exists(), "{what}: a lock was left");
        let _ = std::fs::remove_file(&journal);
        let _ = std::fs::remove_dir(&journal);
    }
    place.assert_works(NETWORK);
}
