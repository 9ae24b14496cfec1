//! What goes away under an open connection: the database, the registry, the lock directory.

use crate::common::bank::Sql;
use crate::common::hostile::{self, AT_ONCE, NETWORK, Place, TRUSTED};
use crate::common::visitor::{Visit, Visitor};
use std::fs;

/// A deleted or moved database is not written under its old name, and no new one springs up there.
#[test]
fn a_database_that_was_deleted_or_moved_is_not_written() {
    for mode in [TRUSTED, NETWORK] {
        for moved in [false, true] {
            let place = Place::new();
            let elsewhere = place.dir.path().join("elsewhere.sqlite");
            let mut db = place.open(mode).unwrap();
            db.sql("SELECT * FROM t").unwrap();
            match moved {
                true => fs::rename(&place.database, &elsewhere).unwrap(),
                false => fs::remove_file(&place.database).unwrap(),
            }
            for _ in 0..2 {
                db.sql("BEGIN IMMEDIATE; INSERT INTO t VALUES(3, 3); COMMIT").unwrap_err();
                let _ = db.sql("ROLLBACK");
            }
            assert!(!place.lock().exists(), "{mode} moved {moved}: a lock was left");
            assert!(!place.database.exists(), "{mode} moved {moved}: a new file was made");
            drop(db);
            if moved {
                assert!(fs::read(&elsewhere).unwrap() == place.bytes);
                hostile::assert_works(&elsewhere, mode);
            }
        }
    }
}

/// Replaced by another file (a restored backup): the next transaction is the new file's, or an error.
#[test]
fn a_database_that_was_replaced_is_never_mixed() {
    for mode in [TRUSTED, NETWORK] {
        let place = Place::new();
        let mut db = place.open(mode).unwrap();
        db.sql("SELECT * FROM t").unwrap();
        let backup = Place::new();
        rusqlite::Connection::open(&backup.database).unwrap().sql("INSERT INTO t VALUES(7, 'backup')").unwrap();
        fs::copy(&backup.database, place.dir.path().join("new")).unwrap();
        fs::rename(place.dir.path().join("new"), &place.database).unwrap();
        let written = db.sql("INSERT INTO t VALUES(3, 3)");
        let _ = db.sql("ROLLBACK");
        drop(db);
        let mut plain = rusqlite::Connection::open(&place.database).unwrap();
        assert_eq!(plain.sql("PRAGMA integrity_check").unwrap()[0][0], "ok", "{mode}");
        let rows = plain.sql("SELECT group_concat(a) FROM t").unwrap()[0][0].clone();
        let right = if written.is_ok() { "1,2,7,3" } else { "1,2,7" };
        assert_eq!(rows, right, "{mode}: {written:?}");
    }
}

/// Without its registry a node is nobody: I/O errors, never a fall back to native locks beside others.
#[test]
fn a_registry_that_was_removed_is_an_error_until_the_database_is_opened_anew() {
    for in_transaction in [false, true] {
        let place = Place::registered();
        let mut db = place.open(AT_ONCE).unwrap();
        db.sql("SELECT * FROM t").unwrap();
        if in_transaction {
            db.sql("BEGIN IMMEDIATE; INSERT INTO t VALUES(3, 3)").unwrap();
        }
        fs::remove_dir_all(place.registry()).unwrap();
        for sql in ["COMMIT", "SELECT * FROM t", "INSERT INTO t VALUES(4, 4)", "SELECT * FROM t"] {
            if sql == "COMMIT" && !in_transaction {
                continue;
            }
            let error = db.sql(sql).unwrap_err();
            assert_eq!(error.primary(), 10, "{sql}: {error}");
            let text = hostile::complaint(&mut db);
            assert!(text.contains("state.sqlite"), "{text}");
            if sql.starts_with("SELECT") {
                assert!(text.contains("was removed") && text.contains("open it anew"), "{text}");
            }
            let _ = db.sql("ROLLBACK");
        }
        // A second connection of this process does not fall back either.
        let mut second = place.open("").unwrap();
        assert_eq!(second.sql("INSERT INTO t VALUES(5, 5)").unwrap_err().primary(), 10);
        drop((db, second));
        place.assert_untouched();
        let _ = fs::remove_dir_all(place.lock());
        place.assert_works("");
    }
}

/// It was opened with a registry and has asked for nothing yet; `coord detach` removes that, and others share the file by native locks on a
/// local disk. So none is made beside them.
#[test]
fn a_registry_that_was_removed_before_the_first_use_is_not_made_anew() {
    for (guards, made) in [("", false), ("registry-gone", true)] {
        let place = Place::registered();
        let mut early = Visit::default().env("COORD_TEST_WITHOUT", guards).start(place.dir.path());
        early.open(&place.database, "").unwrap();
        fs::remove_dir_all(place.registry()).unwrap();
        let answer = early.sql("SELECT * FROM t");
        assert_eq!((answer.is_ok(), place.registry().exists()), (made, made), "{guards}: {answer:?}");
        if !made {
            let text = early.complaint();
            assert!(text.contains("state.sqlite.readers was removed") && text.contains("open it anew"), "{text}");
            early.open(&place.database, "").unwrap();
            assert_eq!(early.sql("SELECT count(*) FROM t").unwrap()[0][0], "2");
        }
        place.assert_untouched();
    }
}

/// A lock directory that somebody removed by hand, with another writer in a new one: at most one of them writes.
#[test]
fn a_lock_directory_removed_by_hand_lets_one_writer_win() {
    for mode in [TRUSTED, NETWORK] {
        let place = Place::new();
        let mut db = place.open(mode).unwrap();
        db.sql("BEGIN IMMEDIATE; INSERT INTO t VALUES(3, 'first')").unwrap();
        fs::remove_dir_all(place.lock()).unwrap();
        let mut other = Visitor::new(place.dir.path());
        other.open(&place.database, mode).unwrap();
        let theirs = other.sql("BEGIN IMMEDIATE; INSERT INTO t VALUES(4, 'second')");
        let mine = db.sql("COMMIT");
        if mode == NETWORK {
            assert!(theirs.is_ok());
            mine.as_ref().unwrap_err();
            let text = hostile::complaint(&mut db);
            assert!(
                text.contains("state.sqlite.lock was removed") && text.contains("leave lock directories alone"),
                "{text}"
            );
        }
        if mine.is_err() {
            let _ = db.sql("ROLLBACK");
        }
        let theirs = theirs.and_then(|_| {
            let mut result = other.sql("COMMIT");
            for _ in 0..20 {
                if result.as_ref().is_err_and(|error| error.is_busy()) {
                    result = other.sql("COMMIT");
                }
            }
            result
        });
        assert!(mine.is_ok() != theirs.is_ok() || mode == TRUSTED, "{mode}: {mine:?} {theirs:?}");
        drop(db);
        other.end();
        let mut plain = rusqlite::Connection::open(&place.database).unwrap();
        assert_eq!(plain.sql("PRAGMA integrity_check").unwrap()[0][0], "ok");
        for (value, result) in [("first", &mine), ("second", &theirs)] {
            let found = plain.sql(&format!("SELECT count(*) FROM t WHERE b = '{value}'")).unwrap()[0][0].clone();
            assert_eq!(found, if result.is_ok() { "1" } else { "0" }, "{mode}: {value} {result:?}");
        }
        place.assert_works(mode);
    }
}

/// Removed while its holder is exclusive: nobody else reads or writes before it is done.
#[test]
fn a_lock_directory_removed_from_an_exclusive_writer_lets_nobody_in() {
    let place = Place::registered();
    let once = place.dir.path().join("once");
    fs::write(&once, "").unwrap();
    let visit = Visit::default()
        .env("COORD_TEST_STOP_AT", "database-write")
        .env("COORD_TEST_STOP_ONCE", once.to_str().unwrap());
    let mut writer = visit.start(place.dir.path());
    writer.open(&place.database, NETWORK).unwrap();
    let mut db = place.open(NETWORK).unwrap();
    writer.begin("INSERT INTO t VALUES(3, 3)");
    writer.until_stopped();
    fs::remove_dir_all(place.lock()).unwrap();
    assert_eq!(db.sql("SELECT * FROM t").unwrap_err().primary(), 5);
    assert_eq!(db.sql("BEGIN IMMEDIATE").unwrap_err().primary(), 5);
    writer.go_on();
    writer.answer().unwrap();
    db.sql("INSERT INTO t VALUES(4, 4)").unwrap();
    assert_eq!(db.sql("SELECT group_concat(a) FROM t").unwrap()[0][0], "1,2,3,4");
}
