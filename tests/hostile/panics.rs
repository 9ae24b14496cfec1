//! A panic inside coord ends at its border: the host's program gets an error, lives, and works on.

use crate::common;
use crate::common::bank::Sql;
use crate::common::hostile::{NETWORK, Place, TRUSTED};
use crate::common::visitor::Visit;
use std::fs;

/// A panic at `point` while `sql` runs. The same program goes on with the same connection and with a new one; another
/// program gets in too.
fn survives(parameters: &str, point: &str, sql: &str) {
    let place = Place::new();
    let once = place.dir.path().join("once");
    let visit = Visit::default().env("COORD_TEST_PANIC_AT", point).env("COORD_TEST_PANIC_ONCE", once.to_str().unwrap());
    let mut visitor = visit.start(place.dir.path());
    visitor.open(&place.database, parameters).unwrap();
    visitor.sql("SELECT * FROM t").unwrap();
    fs::write(&once, "").unwrap();
    let error = visitor.sql(sql).expect_err(point);
    assert!(!once.exists(), "{point} was not reached by {sql}");
    assert!(matches!(error.primary(), 10 | 14), "{point}: {error}");
    assert!(visitor.is_alive());
    let last = visitor.sql("SELECT coord_last_error()").unwrap()[0][0].clone();
    let lost = last.contains("lost its locks") && point == "exclusive-announced";
    assert!(lost || (last.contains("internal error") && last.contains(point)), "{point}: {last}");
    let _ = visitor.sql("ROLLBACK");
    let next = "BEGIN IMMEDIATE; INSERT INTO t VALUES(4, 'next'); COMMIT";
    common::until(&format!("the same connection after {point} in {parameters}"), || visitor.sql(next).is_ok());
    visitor.open(&place.database, parameters).unwrap();
    common::until(&format!("the next connection after {point}"), || visitor.sql(next).is_ok());
    let mut other = place.open(parameters).unwrap();
    common::until(&format!("another program after {point}"), || other.sql(next).is_ok());
    assert_eq!(other.sql("PRAGMA integrity_check").unwrap()[0][0], "ok", "{point}");
    let lost = other.sql("SELECT count(*) FROM t WHERE a = 3").unwrap()[0][0].clone();
    assert!(lost == "0" || point == "finalised", "{point}: half or all of a failed transaction is there");
    assert_eq!(other.sql("SELECT count(*) FROM t WHERE a = 4").unwrap()[0][0], "3", "{point}");
}

/// A short lease, and every lock taken on disk.
const ANEW: &str = "coord_mode=network-exclusive&coord_lease_ms=1000&coord_unlock_asap=1";
const WRITE: &str = "BEGIN IMMEDIATE; INSERT INTO t VALUES(3, 'lost'); COMMIT";

#[test]
fn in_a_lock_call() {
    for parameters in [TRUSTED, NETWORK] {
        survives(parameters, "shared", "SELECT * FROM t");
        survives(parameters, "reserved", WRITE);
        survives(parameters, "exclusive", WRITE);
    }
}

#[test]
fn in_a_read_or_a_write() {
    for parameters in [TRUSTED, NETWORK] {
        survives(parameters, "database-read", "SELECT * FROM t");
        survives(parameters, "database-write", WRITE);
    }
    survives(NETWORK, "finalise", WRITE);
    survives(NETWORK, "finalised", WRITE);
}

/// With the node in the hands of the call that panics: it gives itself up, the next one clears up after it.
#[test]
fn in_the_middle_of_the_protocol() {
    survives(ANEW, "reader-announced", "SELECT * FROM t");
    survives(ANEW, "entered-lock", WRITE);
    survives(ANEW, "exclusive-announced", WRITE);
}
