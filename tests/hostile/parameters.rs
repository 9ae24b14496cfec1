//! What a URI or the environment may ask for.

use crate::common::bank::Sql;
use crate::common::hostile::{self, NETWORK, Place, TRUSTED};
use crate::common::opener::Opener;
use crate::common::visitor::Visit;

const ALL: [&str; 4] = ["coord_mode", "coord_lease_ms", "coord_recovery_wait", "coord_force_fs"];

#[test]
fn an_unknown_parameter_is_an_error_that_lists_the_known_ones() {
    let place = Place::new();
    place.assert_refused("coord_lease=5", &ALL);
    place.assert_refused("coord_=", &ALL);
    place.assert_refused("coord_mode=trusted&coord_Mode=trusted", &ALL);
}

#[test]
fn a_bad_value_is_an_error_that_lists_the_good_ones() {
    let place = Place::new();
    for (bad, good) in [
        ("coord_mode=wal", "auto, trusted or network-exclusive"),
        ("coord_mode=", "auto, trusted or network-exclusive"),
        ("coord_lease_ms=0", "1000 to 3600000"),
        ("coord_lease_ms=99999999999999999999999", "1000 to 3600000"),
        ("coord_lease_ms=-30000", "1000 to 3600000"),
        ("coord_recovery_wait=maybe", "0 or 1"),
        ("coord_force_fs=%00%ff", "0 or 1"),
    ] {
        place.assert_refused(bad, &[bad.split('=').next().unwrap(), good]);
    }
}

/// What comes after too much of others could say `coord_mode`.
#[test]
fn a_uri_that_is_too_long_to_be_read_is_refused() {
    let place = Place::new();
    for much in [format!("a={}", "x".repeat(70_000)), "a=1&".repeat(300)] {
        place.assert_refused(&format!("{much}&coord_mode=network-exclusive"), &["parameters", "state.sqlite"]);
    }
}

#[test]
fn the_environment_is_checked_the_same_and_the_uri_wins() {
    let place = Place::new();
    for (name, value, good) in [
        ("COORD_MODE", "network", "auto, trusted or network-exclusive"),
        ("COORD_LEASE_MS", "30s", "1000 to 3600000"),
        ("COORD_FORCE_FS", "yes", "0 or 1"),
    ] {
        let mut visitor = Visit::default().env(name, value).start(place.dir.path());
        let error = visitor.open(&place.database, "").unwrap_err();
        for word in ["environment", name, value, good] {
            assert!(error.message.contains(word), "{word} is not in: {error}");
        }
        place.assert_untouched();
    }
    let mut visitor = Visit::default().env("COORD_MODE", "network-exclusive").start(place.dir.path());
    visitor.open(&place.database, TRUSTED).unwrap();
    visitor.sql("INSERT INTO t VALUES(3, 3)").unwrap();
    assert!(!place.registry().exists(), "the environment won");
}

/// The registry is the database's own mark: a wish against it is an error when opening, not a mixture.
#[test]
fn trusted_mode_on_a_registered_database_is_refused() {
    let place = Place::registered();
    place.assert_refused(TRUSTED, &["network-exclusive mode", "state.sqlite.readers", "Leave coord_mode out"]);
    place.assert_works("");
    // In the same process, beside a connection that is open.
    let _db = place.open(NETWORK).unwrap();
    let error = place.open(TRUSTED).map(drop).unwrap_err();
    assert!(error.message.contains("Leave coord_mode out"), "{error}");
}

/// One that was opened as trusted follows the registry, unless it was told not to; then it says so.
#[test]
fn a_trusted_connection_notices_the_registry() {
    let place = Place::new();
    let (mut strict, mut auto) = (place.open(TRUSTED).unwrap(), place.open("").unwrap());
    for db in [&mut strict, &mut auto] {
        db.sql("SELECT * FROM t").unwrap();
    }
    std::fs::create_dir(place.registry()).unwrap();
    strict.sql("INSERT INTO t VALUES(3, 3)").unwrap_err();
    assert!(hostile::complaint(&mut strict).contains("Leave coord_mode out"));
    place.assert_untouched();
    auto.sql("INSERT INTO t VALUES(3, 3)").unwrap();
    assert!(hostile::names(&place.registry()).iter().any(|name| name.to_string_lossy().starts_with("beat.")));
}

#[test]
fn nolock_is_refused_and_immutable_is_sqlites_own_business() {
    let place = Place::registered();
    for yes in ["nolock=1", "nolock=on", "nolock=2"] {
        place.assert_refused(yes, &["nolock=1", "Leave it out"]);
    }
    let before = place.names();
    let mut db = place.open("immutable=1").unwrap();
    assert_eq!(db.sql("SELECT count(*) FROM t").unwrap()[0][0], "2");
    db.sql("INSERT INTO t VALUES(3, 3)").unwrap_err();
    drop(db);
    assert_eq!(place.names(), before);
    assert!(hostile::names(&place.registry()).is_empty(), "immutable=1 has nothing to coordinate");
    place.assert_untouched();
}

/// Read-only is a wish: reading is coordinated, writing is SQLite's error, a missing file is not made.
#[test]
fn mode_ro_reads_under_a_lock_and_makes_nothing() {
    for mode in [TRUSTED, NETWORK] {
        let place = Place::new();
        let mut db = place.open(&format!("{mode}&mode=ro")).unwrap();
        if mode == NETWORK {
            // Somebody else has to put it into that mode.
            assert_eq!(db.sql("SELECT count(*) FROM t").unwrap_err().primary(), 8);
            let text = hostile::complaint(&mut db);
            assert!(text.contains("open it once for writing") && text.contains("network-exclusive"), "{text}");
            place.assert_untouched();
            assert!(!place.lock().exists());
            std::fs::create_dir(place.registry()).unwrap();
        }
        db.sql("BEGIN; SELECT count(*) FROM t").unwrap();
        assert_eq!(db.sql("INSERT INTO t VALUES(3, 3)").unwrap_err().primary(), 8);
        db.sql("ROLLBACK").unwrap();
        drop(db);
        place.assert_untouched();
        let missing = place.dir.path().join("missing.sqlite");
        let before = place.names();
        assert_eq!(hostile::open(&missing, &format!("{mode}&mode=ro")).err().map(|e| e.primary()), Some(14));
        assert_eq!(hostile::open(&missing, &format!("{mode}&mode=rw")).err().map(|e| e.primary()), Some(14));
        assert_eq!(place.names(), before);
    }
}

/// Databases without a file go past coord.
#[test]
fn what_has_no_file_needs_no_lock() {
    let dir = crate::common::dir();
    let loaded = Opener::coord("").open(&dir.path().join("x")).unwrap();
    drop(loaded);
    for uri in ["file:?vfs=coord", "file::memory:?vfs=coord", "file:shared?mode=memory&vfs=coord&cache=shared", ""] {
        let mut db = rusqlite::Connection::open(uri).unwrap_or_else(|e| panic!("{uri}: {e}"));
        db.sql(
            "PRAGMA temp_store=FILE; CREATE TABLE t(a); INSERT INTO t VALUES(hex(zeroblob(100000))); CREATE TEMP TABLE u AS SELECT * FROM t",
        )
        .unwrap();
        db.sql("VACUUM").unwrap();
        assert_eq!(db.sql("SELECT count(*) FROM u").unwrap()[0][0], "1", "{uri}");
    }
    let left = hostile::names(dir.path());
    assert!(left.iter().all(|name| name == "x"), "{left:?}");
}
