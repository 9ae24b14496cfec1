//! Trusted mode: how a transaction ends. The journal's end is synced though SQLite does not ask for it, at the price of as many
//! syncs as SQLite makes; and what that leaves in the directory is in nobody's way.

use crate::common::host::{Host, Sqlite};
use crate::room::{Room, SUM, TRUSTED, UNIX, host, host_of, without};
use std::os::unix::fs::{MetadataExt, PermissionsExt};

type Calls = Vec<Vec<String>>;

const JOURNAL: &str = "db.sqlite-journal";

fn open(mut host: Host, room: &Room, query: &str) -> Host {
    host.open("db", &room.uri(query)).ok();
    host.call(&["log"]);
    host
}

/// The calls of one commit.
fn commit(host: &mut Host, value: u32) -> Calls {
    host.call(&["log"]);
    host.exec("db", &format!("UPDATE t SET v = {value}")).ok();
    host.call(&["log"]).rows()
}

fn count(calls: &Calls, op: &str) -> usize {
    calls.iter().filter(|call| call[0] == op).count()
}

/// Syncs of files and of the directory.
fn syncs(calls: &Calls) -> (usize, usize) {
    (count(calls, "sync"), count(calls, "directory"))
}

/// Whether the last thing that was done to the journal was made safe.
fn is_ended_safely(calls: &Calls) -> bool {
    let end = calls
        .iter()
        .rposition(|call| call[1] == JOURNAL && (call[0] == "delete" || call[0] == "truncate" && call[2] == "0"));
    let end = end.expect("the journal ends");
    match calls[end][0].as_str() {
        // Told to sync the directory.
        "delete" => calls[end][2] == "1",
        _ => calls[end..].iter().any(|call| call[0] == "sync" && call[1] == JOURNAL),
    }
}

/// From its second commit on a connection makes as many syncs as SQLite's own (with EXTRA one fewer), and the journal's end is
/// among them; with OFF there is none.
#[test]
fn the_end_is_synced_and_costs_no_sync_more() {
    for sqlite in Sqlite::SUPPORTED {
        for synchronous in ["OFF", "NORMAL", "FULL", "EXTRA"] {
            let of = |query| {
                let room = Room::with_rows();
                let mut host = open(host_of(sqlite, &[]), &room, query);
                host.exec("db", &format!("PRAGMA synchronous={synchronous}")).ok();
                commit(&mut host, 2);
                commit(&mut host, 3)
            };
            let (stock, ours) = (of(UNIX), of(TRUSTED));
            let total = |calls: &Calls| syncs(calls).0 + syncs(calls).1;
            let extra = usize::from(synchronous == "EXTRA");
            assert_eq!(total(&ours) + extra, total(&stock), "{sqlite:?} {synchronous}: {ours:?}");
            assert_eq!(is_ended_safely(&stock), synchronous == "EXTRA", "{stock:?}");
            assert_eq!(is_ended_safely(&ours), synchronous != "OFF", "{sqlite:?} {synchronous}: {ours:?}");
            assert_eq!(count(&ours, "directory"), 0, "{sqlite:?} {synchronous}: {ours:?}");
        }
    }
    let room = Room::with_rows();
    let mut host = open(without("journal-end"), &room, TRUSTED);
    assert!(!is_ended_safely(&commit(&mut host, 2)), "without the guard it is as SQLite leaves it");
}

/// A journal that somebody else has made may lose its name with the power, and the transaction that is in it could not be
/// rolled back: the directory is synced, as for any new one.
#[test]
fn a_journal_that_somebody_else_has_made_is_not_taken_for_the_kept_one() {
    let room = Room::with_rows();
    let (mut ours, mut raw) = (open(host(&[]), &room, TRUSTED), open(host(&[]), &room, UNIX));
    commit(&mut ours, 2);
    assert_eq!(syncs(&commit(&mut ours, 3)), (4, 0));
    // Plain SQLite removes the one that we have kept.
    raw.exec("db", "PRAGMA synchronous=OFF").ok();
    commit(&mut raw, 4);
    assert!(!room.beside("-journal").exists());
    assert_eq!(syncs(&commit(&mut ours, 5)), (4, 1));
    // It leaves one of its own, whose name it never synced.
    raw.exec("db", "PRAGMA journal_mode=TRUNCATE").ok();
    std::fs::remove_file(room.beside("-journal")).expect("ours is there, and empty");
    commit(&mut raw, 6);
    assert!(room.beside("-journal").exists());
    assert_eq!(syncs(&commit(&mut ours, 7)), (4, 1));
    assert_eq!(raw.exec("db", SUM).rows()[0][0], "1400");
}

/// The empty journal goes with its connection; one that was killed leaves it, which hinders nobody.
#[test]
fn the_kept_journal_goes_with_its_connection() {
    let room = Room::with_rows();
    let mut ours = open(host(&[]), &room, TRUSTED);
    let mut other = open(host(&[]), &room, TRUSTED);
    commit(&mut ours, 2);
    assert_eq!(room.journal_size(), 0);
    assert!(room.beside("-journal").exists());
    // Not while somebody is at work in it.
    other.exec("db", "BEGIN IMMEDIATE; UPDATE t SET v = 3").ok();
    ours.call(&["close", "db"]).ok();
    assert!(room.beside("-journal").exists());
    other.exec("db", "COMMIT").ok();
    other.call(&["close", "db"]).ok();
    assert!(!room.beside("-journal").exists());
    assert!(!room.beside(".lock").exists());
    let mut killed = open(host(&[]), &room, TRUSTED);
    commit(&mut killed, 4);
    drop(killed);
    assert!(room.beside("-journal").exists());
    let mut raw = open(host(&[]), &room, UNIX);
    assert_eq!(raw.exec("db", SUM).rows()[0][0], "800");
    commit(&mut raw, 5);
    assert!(!room.beside("-journal").exists());
}

/// Others who may write to the database must be able to write and remove its journal: where what would be kept is not like the
/// database, or stands in a directory where only its owner removes a name, it is removed at once, and the directory synced.
#[test]
fn a_journal_that_others_could_not_use_is_not_kept() {
    for sticky in [false, true] {
        let room = Room::with_rows();
        let mut ours = open(host(&[]), &room, TRUSTED);
        if sticky {
            let parent = room.dir.path();
            let mode = parent.metadata().expect("it is there").mode();
            std::fs::set_permissions(parent, std::fs::Permissions::from_mode(mode | 0o1000)).expect("it is ours");
        } else {
            ours.exec("db", "BEGIN; UPDATE t SET v = 2").ok();
            std::fs::set_permissions(&room.database, std::fs::Permissions::from_mode(0o666)).expect("it is ours");
            ours.exec("db", "COMMIT").ok();
            assert!(!room.beside("-journal").exists(), "kept with other rights than the database has");
        }
        std::fs::set_permissions(&room.database, std::fs::Permissions::from_mode(0o660)).expect("it is ours");
        let calls = commit(&mut ours, 3);
        assert!(is_ended_safely(&calls), "{calls:?}");
        assert_eq!(room.beside("-journal").exists(), !sticky);
    }
}
