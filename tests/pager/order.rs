//! What reaches stable storage before what, and how many syncs that takes.

use crate::common::host::{Host, Sqlite};
use crate::room::{NETWORK, Room, UNIX, host, host_of, without};

type Calls = Vec<Vec<String>>;

/// The calls of one transaction.
fn trace(mut host: Host, query: &str, pragmas: &str) -> Calls {
    let room = Room::with_rows();
    host.open("db", &room.uri(query)).ok();
    host.exec("db", pragmas).ok();
    host.exec("db", "UPDATE t SET v = 2").ok();
    host.call(&["log"]);
    host.exec("db", "UPDATE t SET v = 3").ok();
    host.call(&["log"]).rows()
}

const DATABASE: &str = "db.sqlite";
const JOURNAL: &str = "db.sqlite-journal";

fn position(calls: &Calls, op: &str, file: &str) -> Option<usize> {
    calls.iter().position(|call| call[0] == op && call[1] == file)
}

fn last(calls: &Calls, op: &str, file: &str) -> Option<usize> {
    calls.iter().rposition(|call| call[0] == op && call[1] == file)
}

/// What is wrong with the order of a transaction's calls; empty is good.
fn wrong(calls: &Calls) -> Vec<&'static str> {
    let mut wrong = Vec::new();
    let first_page = position(calls, "write", DATABASE).expect("the database is written");
    let last_page = last(calls, "write", DATABASE).expect("just found");
    // The end: truncated to nothing, or the header overwritten with zeros after the last page.
    let end = calls.iter().rposition(|call| {
        call[1] == JOURNAL
            && (call[0] == "truncate" && call[2] == "0" || call[0] == "write" && call[2..4] == ["0", "28"])
    });
    let Some(end) = end else { return vec!["no end of the journal was seen"] };
    let within = |op: &str, file: &str, from: usize, to: usize| {
        calls[from.min(to)..to].iter().any(|call| call[0] == op && call[1] == file)
    };
    let journal = last(&calls[..first_page].to_vec(), "write", JOURNAL).expect("the journal is written");
    if !within("sync", JOURNAL, journal, first_page) {
        wrong.push("the database is written before the journal is synced");
    }
    if !within("sync", DATABASE, last_page, end) {
        wrong.push("the journal ends before the database is synced");
    }
    if !within("sync", JOURNAL, end, calls.len()) {
        wrong.push("the journal's end is not synced");
    }
    wrong
}

/// Journal before database, database before the journal's end, and the end too, whatever `PRAGMA synchronous` and the
/// journal's mode say.
#[test]
fn data_is_synced_in_order_even_with_synchronous_off() {
    for sqlite in [Sqlite::Floor, Sqlite::Newest] {
        for synchronous in ["OFF", "NORMAL", "FULL", "EXTRA"] {
            for mode in ["DELETE", "TRUNCATE", "PERSIST"] {
                let pragmas = format!("PRAGMA synchronous={synchronous}; PRAGMA journal_mode={mode}");
                let calls = trace(host_of(sqlite, &[]), NETWORK, &pragmas);
                assert_eq!(wrong(&calls), [""; 0], "{sqlite:?} {pragmas}\n{calls:?}");
            }
        }
    }
    let off = "PRAGMA synchronous=OFF; PRAGMA journal_mode=TRUNCATE";
    assert_eq!(wrong(&trace(host(&[]), UNIX, off)).len(), 3, "the fault: plain SQLite syncs nothing");
    for (guard, fault) in [
        ("journal-rule", "the database is written before the journal is synced"),
        ("database-sync", "the journal ends before the database is synced"),
    ] {
        assert_eq!(wrong(&trace(without(guard), NETWORK, off)), [fault], "without {guard}");
    }
}

/// A commit at FULL costs four syncs, at NORMAL three, and none of the directory: at FULL less than SQLite's own and with EXTRA's
/// guarantee. The journal keeps its name, and is never opened as if it had to be made; nor is it synced where SQLite reads behind
/// what it has written, as it does in each commit.
#[test]
fn a_commit_takes_four_syncs_and_none_of_a_directory() {
    for sqlite in Sqlite::SUPPORTED {
        for (synchronous, most) in [("FULL", 4), ("NORMAL", 3)] {
            for (query, mode) in [(NETWORK, "DELETE"), (NETWORK, "TRUNCATE"), (NETWORK, "PERSIST"), (UNIX, "DELETE")] {
                let pragmas = format!("PRAGMA synchronous={synchronous}; PRAGMA journal_mode={mode}");
                let calls = trace(host_of(sqlite, &[]), query, &pragmas);
                let syncs = calls.iter().filter(|call| call[0] == "sync").count();
                let directories = calls.iter().filter(|call| call[0] == "directory").count();
                let made = calls.iter().any(|call| call[0] == "open" && call[1] == JOURNAL && call[2] == "create");
                if query == UNIX {
                    assert!(directories > 0 && made, "the trace does not see the directory's syncs: {calls:?}");
                } else {
                    assert!(syncs <= most, "{sqlite:?} {pragmas}: {syncs} syncs\n{calls:?}");
                    assert!(directories == 0 && !made, "{sqlite:?} {pragmas}\n{calls:?}");
                }
            }
        }
    }
}

/// No name that is used again is ever unlinked: an unlink that is carried out late would take the next owner's journal.
#[test]
fn the_journal_is_never_unlinked_in_network_mode() {
    let calls = trace(host(&[]), NETWORK, "PRAGMA journal_mode=DELETE");
    assert_eq!(position(&calls, "delete", JOURNAL), None, "{calls:?}");
    let plain = trace(host(&[]), UNIX, "PRAGMA journal_mode=DELETE");
    assert!(position(&plain, "delete", JOURNAL).is_some(), "{plain:?}");
}
