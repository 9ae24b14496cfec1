//! Calls of the platform's VFS that fail: an error, nothing lost, nothing left behind.

use crate::common::host::{Host, Sqlite};
use crate::room::{NETWORK, Room, SUM, TRUSTED, host, host_of, sum, without};

/// Changes eighty rows, over more pages than the cache holds.
fn transaction(round: u32) -> String {
    format!("BEGIN IMMEDIATE; UPDATE t SET v = {round} WHERE id <= 80; COMMIT")
}

const CHANGED: &str = "SELECT sum(v) FROM t WHERE id <= 80";

/// The N-th change of a file fails, for N = 1, 2, ...: as if it had not been done, as if the disk were full, and done with
/// an error all the same. COMMIT says OK only if the transaction is there; else all of it or nothing is. The next
/// transaction works.
fn every_call_fails_once(sqlite: Sqlite, query: &str, pragmas: &str, actions: &[&str]) -> u32 {
    let room = Room::with_rows();
    let (mut writer, mut reader) = (host_of(sqlite, &[]), host(&[]));
    writer.open("db", &room.uri(query)).ok();
    writer.exec("db", &format!("PRAGMA cache_size=2; {pragmas}")).ok();
    let (mut round, mut sprung) = (1, 0);
    for action in actions {
        for nth in 1.. {
            assert!(nth < 500, "no transaction takes that many calls");
            let before = writer.exec("db", CHANGED).value();
            round += 1;
            writer.call(&["trap", "change", "", &nth.to_string(), action]).ok();
            let answer = writer.exec("db", &transaction(round));
            let left = writer.call(&["trap", "none", "", "0", ""]).ok().to_owned();
            writer.exec("db", "ROLLBACK");
            reader.open("db", &room.uri(query)).ok();
            let now = reader.exec("db", CHANGED).value();
            let what = format!("{query} {pragmas}: call {nth} with {action}: {:?}", answer.result);
            let new = (round * 80).to_string();
            let right = if answer.result.is_ok() { now == new } else { now == new || now == before };
            assert!(right, "{what}: {now} after {before}, {new} was written");
            assert_eq!(reader.exec("db", "PRAGMA integrity_check").value(), "ok", "{what}");
            reader.exec("db", "UPDATE t SET padding = 'x' WHERE id = 1").ok();
            reader.close("db").ok();
            if left != "0" {
                answer.ok();
                break;
            }
            sprung += 1;
        }
    }
    writer.close("db").ok();
    assert!(!room.beside(".lock").exists(), "a lock was left behind");
    sprung
}

#[test]
fn a_failed_call_loses_nothing() {
    std::thread::scope(|scope| {
        for (sqlite, query, pragmas, actions) in [
            (Sqlite::Newest, NETWORK, "PRAGMA journal_mode=DELETE", &["778", "13", "late 1034"][..]),
            (Sqlite::Floor, NETWORK, "PRAGMA journal_mode=PERSIST; PRAGMA synchronous=OFF", &["late 1034"]),
            (Sqlite::Middle, TRUSTED, "PRAGMA journal_mode=TRUNCATE", &["778"]),
        ] {
            scope.spawn(move || {
                let sprung = every_call_fails_once(sqlite, query, pragmas, actions);
                assert!(sprung > 25, "{query}: only {sprung} calls failed");
            });
        }
    });
}

/// After a failed sync the next may say OK without having written. So nothing ends a transaction after it under that lock:
/// the journal stays as it is, and the next lock rolls back.
#[test]
fn a_failed_sync_is_final() {
    for sqlite in Sqlite::SUPPORTED {
        for (file, nth) in [("-journal", 1), ("-journal", 2), ("db.sqlite", 1)] {
            let room = Room::with_rows();
            let mut host: Host = host_of(sqlite, &[]);
            host.open("db", &room.uri(NETWORK)).ok();
            host.exec("db", SUM).ok();
            host.call(&["log"]);
            let exact = if file == "db.sqlite" { "db.sqlite" } else { "db.sqlite-journal" };
            // A name that has the database's in it is the journal's as well: its first sync after the journal's two.
            let nth = if file == "db.sqlite" { 3 } else { nth };
            host.call(&["trap", "sync", if nth == 3 { "db.sqlite" } else { exact }, &nth.to_string(), "1034"]).ok();
            let answer = host.exec("db", "BEGIN IMMEDIATE; UPDATE t SET v = 2; COMMIT");
            assert_eq!(answer.error().primary(), 10, "{answer:?}");
            host.exec("db", "ROLLBACK");
            let calls = host.call(&["log"]).rows();
            let failed = calls.iter().position(|call| call[0] == "sync" && call.last().unwrap() == "1034");
            let failed = failed.unwrap_or_else(|| panic!("no sync failed: {calls:?}"));
            assert_eq!(calls[failed][1], exact, "{calls:?}");
            // The journal is cut to what was synced before: of the first sync, nothing. That is no end of a transaction that has
            // written to the database.
            let cuts = |call: &&Vec<String>| call[1] == "db.sqlite-journal" && call[0] == "truncate";
            let cut: Vec<&str> = calls[failed..].iter().filter(cuts).map(|call| call[2].as_str()).collect();
            assert_eq!(cut, if nth == 1 { vec!["0"] } else { vec![] }, "{calls:?}");
            assert_eq!(sum(&mut host, "db"), "200");
            host.exec("db", "UPDATE t SET v = 3").ok();
            assert_eq!(sum(&mut host, "db"), "600");
        }
    }
}

/// SQLite knows by 16 bytes of the header whether its cache is good, and remembers them from a first transaction whose sync failed.
/// Somebody else's first transaction gives the database the same. Meanwhile it has cached that there is nothing.
#[test]
fn what_was_cached_of_an_empty_database_is_not_good_when_there_is_one() {
    const TABLES: &str = "SELECT count(*) FROM sqlite_schema";
    for (host, expected) in [(host(&[]), Some("1")), (without("empty-database"), None)] {
        let mut one = host;
        let (mut other, mut tried) = (crate::room::host(&[]), 0);
        let room = loop {
            tried += 1;
            let room = Room::new();
            one.open("db", &room.uri(NETWORK)).ok();
            one.call(&["log"]);
            one.call(&["trap", "sync", "db.sqlite", &tried.to_string(), "1034"]).ok();
            one.exec("db", "CREATE TABLE t(a)").error();
            let calls = one.call(&["log"]).rows();
            let failed = calls.iter().find(|call| call[0] == "sync" && call.last().unwrap() == "1034");
            if failed.is_some_and(|call| call[1] == "db.sqlite") {
                break room;
            }
            one.close("db").ok();
        };
        assert_eq!(one.exec("db", TABLES).value(), "0");
        other.open("db", &room.uri(NETWORK)).ok();
        other.exec("db", "CREATE TABLE t(a)").ok();
        let answer = one.exec("db", TABLES);
        match expected {
            Some(value) => assert_eq!(answer.value(), value),
            None => assert_eq!(answer.error().primary(), 26, "{answer:?}"),
        }
    }
}
