//! Calls of the platform's VFS that fail: an error, nothing lost, nothing left behind.

use crate::common::host::{Host, Sqlite};
use crate::room::{NETWORK, Room, SHORT, SUM, TRUSTED, dies_at, host, host_of, open_waiting, sum, without};
use std::os::unix::fs::MetadataExt;

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
/// what of the journal was synced before stays, and the next lock rolls back.
#[test]
fn a_failed_sync_is_final() {
    for sqlite in Sqlite::SUPPORTED {
        for (nth, file) in [(1, "db.sqlite-journal"), (2, "db.sqlite-journal"), (3, "db.sqlite")] {
            let room = Room::with_rows();
            let mut host: Host = host_of(sqlite, &[]);
            host.open("db", &room.uri(NETWORK)).ok();
            host.exec("db", SUM).ok();
            let sql = "BEGIN IMMEDIATE; UPDATE t SET v = 2; COMMIT";
            let (calls, failed) = failing(&mut host, ("sync", nth, "1034"), sql);
            assert_eq!(calls[failed][1], file, "{calls:?}");
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

/// Makes the `nth` call of that kind on the database or its journal fail with this code, runs `sql`, which must fail so, and rolls back. The
/// calls and the place of that one among them.
fn failing(host: &mut Host, (op, nth, code): (&str, u32, &str), sql: &str) -> (Vec<Vec<String>>, usize) {
    host.call(&["log"]);
    host.call(&["trap", op, "db.sqlite", &nth.to_string(), code]).ok();
    let answer = host.exec("db", sql);
    let first = code.split(' ').next().unwrap();
    assert_eq!(answer.error().primary(), first.parse::<i32>().unwrap() & 0xff, "{answer:?}");
    host.exec("db", "ROLLBACK");
    let calls = host.call(&["log"]).rows();
    let failed = calls.iter().position(|call| call[0] == op && call.last().unwrap() == first);
    let failed = failed.unwrap_or_else(|| panic!("no {op} failed: {calls:?}"));
    (calls, failed)
}

/// SQLite knows by 16 bytes of the header whether its cache is good, and remembers them from a first transaction that failed: in its
/// sync, or for want of space. Somebody else's first transaction gives the database the same. Meanwhile it has cached that there is nothing.
#[test]
fn what_was_cached_of_an_empty_database_is_not_good_when_there_is_one() {
    const TABLES: &str = "SELECT count(*) FROM sqlite_schema";
    const MAKES: &str = "CREATE TABLE t(a)";
    // The last asks for no stamp before.
    const AT_ONCE: &str = "BEGIN IMMEDIATE; CREATE TABLE t(a); COMMIT";
    let ways = [(MAKES, "sync", "1034"), (MAKES, "write", "13"), (AT_ONCE, "write", "13")];
    for ((first, op, code), query) in ways.into_iter().flat_map(|way| [(way, NETWORK), (way, TRUSTED)]) {
        for (mut one, guarded) in [(host(&[]), true), (without("empty-database"), false)] {
            let mut other = host(&[]);
            let mut rooms = (1..).map(|nth| {
                let room = Room::new();
                one.open("db", &room.uri(query)).ok();
                let (calls, failed) = failing(&mut one, (op, nth, code), first);
                // Of the writes the second: the first one has the stamp.
                let same = |call: &&Vec<String>| call[0] == op && call[1] == "db.sqlite";
                let reached = calls[..=failed].iter().filter(same).count() == if op == "sync" { 1 } else { 2 };
                if !reached {
                    one.close("db").ok();
                }
                reached.then_some(room)
            });
            let room = rooms.find_map(|room| room).expect("one call after the other fails");
            drop(rooms);
            assert_eq!(one.exec("db", TABLES).value(), "0", "{query}: {first}, {op}");
            other.open("db", &room.uri(query)).ok();
            other.exec("db", MAKES).ok();
            let answer = one.exec("db", TABLES);
            if guarded {
                assert_eq!(answer.value(), "1", "{query}: {first}, {op}");
            } else {
                assert_eq!(answer.error().primary(), 26, "{query}: {first}, {op}: {answer:?}");
            }
        }
    }
}

/// Where the sync of a journal's end fails, the next one may know nothing of it: the end is written once more, as other bytes.
#[test]
fn a_journals_end_that_was_not_synced_is_written_again() {
    for query in [NETWORK, TRUSTED] {
        for (mut host, guarded) in [(host(&[]), true), (without("end-again"), false)] {
            let after_the_databases = |nth| {
                let room = Room::with_rows();
                host.open("db", &room.uri(query)).ok();
                let (calls, failed) = failing(&mut host, ("sync", nth, "1034"), "UPDATE t SET v = 2 WHERE id = 1");
                host.close("db").ok();
                let database = |call: &Vec<String>| call[0] == "sync" && call[1] == "db.sqlite";
                calls[..failed].iter().any(database).then(|| calls[failed + 1..].to_vec())
            };
            let rest = (1..).find_map(after_the_databases).expect("one sync after the other fails");
            let journal = rest.iter().filter(|call| call[1] == "db.sqlite-journal");
            let journal: Vec<&str> = journal.map(|call| call[0].as_str()).collect();
            assert_eq!(journal.starts_with(&["write", "sync"]), guarded, "{query}: {rest:?}");
        }
    }
}

/// Where that fails too, everybody sees a transaction that has ended, and the disk may not: the node gives itself up, on a local disk as
/// well, so that the next holder puts copies in the place of both files and says so of what it commits.
#[test]
fn an_end_that_the_disk_will_not_have_is_fenced_off() {
    for (guards, fenced) in [("", true), ("end-lost", false)] {
        let mut failing_host = without(guards);
        let after_the_databases = |nth| {
            let room = Room::with_rows();
            failing_host.open("db", &room.uri(SHORT)).ok();
            failing_host.exec("db", SUM).ok();
            let before = room.database.metadata().unwrap().ino();
            let trap = ("sync", nth, "1034 then sync 1034");
            let (calls, failed) = failing(&mut failing_host, trap, "UPDATE t SET v = 2 WHERE id = 1");
            let database = |call: &Vec<String>| call[0] == "sync" && call[1] == "db.sqlite";
            if !calls[..failed].iter().any(database) {
                failing_host.close("db").ok();
                return None;
            }
            let mut next = host(&[]);
            open_waiting(&mut next, &room.uri(SHORT));
            next.exec("db", "UPDATE t SET v = 3 WHERE id = 2").ok();
            let found = sum(&mut next, "db");
            assert!(["202", "203"].contains(&found.as_str()), "{found}");
            assert_eq!(sum(&mut failing_host, "db"), found);
            failing_host.close("db").ok();
            Some(room.database.metadata().unwrap().ino() != before)
        };
        assert_eq!((1..).find_map(after_the_databases), Some(fenced), "{guards}");
    }
}

/// A full disk is told to a sync of the journal, and what was lost of it cannot be cut off: the cut may still be carried out, late, into
/// the journal of whoever comes next. So the node gives itself up, and the next one has another journal.
#[test]
fn a_cut_that_comes_late_hits_nobodys_journal() {
    for (guards, expected) in [("", "200"), ("late-cut", "torn")] {
        let room = Room::with_rows();
        // Known to coord already: nobody has to wait for earlier readers.
        std::fs::create_dir(room.beside(".readers")).unwrap();
        let env = [("COORD_TEST_SHARED", "1"), ("COORD_TEST_WITHOUT", guards)];
        let mut failing = host(&env);
        failing.open("db", &room.uri(SHORT)).ok();
        failing.exec("db", "UPDATE t SET v = 1").ok();
        let late = std::fs::OpenOptions::new().write(true).open(room.beside("-journal")).unwrap();
        failing.call(&["trap", "sync", "-journal", "1", "13 then truncate 1546"]).ok();
        let answer = failing.exec("db", "BEGIN IMMEDIATE; UPDATE t SET v = 2; COMMIT");
        assert_eq!(answer.error().primary(), 13, "{answer:?}");
        failing.exec("db", "ROLLBACK");
        let mut next = host(&env);
        open_waiting(&mut next, &room.uri(SHORT));
        next.exec("db", "PRAGMA cache_size=2; SELECT sum(v) FROM t").ok();
        dies_at(next, "db", "UPDATE t SET v = 3", ("sync", "-journal", 4));
        assert!(room.is_torn());
        late.set_len(0).unwrap();
        let mut after = host(&env);
        open_waiting(&mut after, &room.uri(SHORT));
        let found = sum(&mut after, "db");
        assert_eq!(
            if ["200", "600"].contains(&found.as_str()) { &found } else { "torn" },
            expected,
            "{guards}: {found}"
        );
    }
}
