//! Handles that outlive SQLite's own: nothing is read or written after it was freed.

use crate::common::host::{Sqlite, path};
use crate::common::{self, have, run};
use crate::room::{NETWORK, Room};
use std::process::Command;
use std::time::Duration;

const VALGRIND: &str = "/usr/bin/valgrind";

/// The lines, as a driver's input, under valgrind: its exit status is 9 if it reports anything.
fn checked(folder: &std::path::Path, lines: &[Vec<String>]) -> common::Ran {
    let text: String = lines.iter().map(|line| line.join("\t") + "\n").collect();
    let input = folder.join("input");
    std::fs::write(&input, text).unwrap();
    let (driver, library) = common::host::programs(Sqlite::Newest);
    let mut shell = Command::new("/bin/sh");
    let command = format!(
        "exec {VALGRIND} -q --error-exitcode=9 --leak-check=no {} a={} < {}",
        path(&driver),
        path(&library),
        path(&input)
    );
    run(shell.args(["-c", &command]).env("COORD_LEASE_MS", "60000"), Duration::from_secs(100))
}

fn line(fields: &[&str]) -> Vec<String> {
    fields.iter().map(|field| (*field).to_owned()).collect()
}

/// SQLite frees the names that it opened its files under when a connection closes; the journal is kept open by us, and
/// released after that. In the middle of a transaction, with a spill, a rollback and a takeover of the handle by a second
/// connection.
#[test]
fn nothing_is_used_after_it_was_freed() {
    if !have(VALGRIND) {
        return;
    }
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let room = Room::with_rows();
            let uri = room.uri(NETWORK);
            let extension = common::extension();
            let lines = [
                line(&["load", path(&extension)]),
                line(&["open", "one", &uri]),
                line(&["exec", "one", "PRAGMA cache_size=5; UPDATE t SET v = 2; SELECT sum(v) FROM t"]),
                line(&["open", "two", &uri]),
                line(&["exec", "two", "BEGIN IMMEDIATE; UPDATE t SET v = 3"]),
                line(&["close", "two"]),
                line(&["exec", "one", "PRAGMA journal_mode=PERSIST; UPDATE t SET v = 4"]),
                line(&["exec", "one", "BEGIN EXCLUSIVE; UPDATE t SET v = 5"]),
                line(&["close", "one"]),
                line(&["open", "three", &uri]),
                line(&["exec", "three", "SELECT sum(v) FROM t; VACUUM"]),
                line(&["exec", "three", "BEGIN; SELECT sum(v) FROM t"]),
                line(&["return"]),
            ];
            let ran = checked(room.dir.path(), &lines);
            assert!(ran.status.success() && ran.err.is_empty(), "{}\n{}\n{}", ran.status, ran.out, ran.err);
            assert!(ran.out.contains("=\t800") && !ran.out.contains("error"), "{}", ran.out);
        });
        scope.spawn(|| {
            let dir = common::dir();
            let ran = checked(dir.path(), &[line(&["use-after-free"]), line(&["quit"])]);
            assert_eq!(ran.status.code(), Some(9), "valgrind saw nothing: {}", ran.err);
        });
    });
}
