//! A takeover in the middle of a transaction: a reader has died, and a writer who comes to its COMMIT clears up after it. What it
//! opens again then must be what it has written.

use crate::common::host::{Answer, Host};
use crate::room::{ROWS, Room, SHORT, host, is_io_error, open_waiting, sum};

const SHARED: (&str, &str) = ("COORD_TEST_SHARED", "1");

/// A writer who has journaled a page, with RESERVED, beside a reader who was killed. On a filesystem that is taken for a shared one.
fn beside_a_dead_reader(guards: &str, prepare: impl FnOnce(&mut Host)) -> (Room, Host) {
    let room = Room::new();
    let (mut writer, mut reader) = (host(&[SHARED, ("COORD_TEST_WITHOUT", guards)]), host(&[SHARED]));
    open_waiting(&mut writer, &room.uri(SHORT));
    writer.exec("db", ROWS).ok();
    open_waiting(&mut reader, &room.uri(SHORT));
    reader.exec("db", "BEGIN; SELECT count(*) FROM t").ok();
    prepare(&mut writer);
    writer.exec("db", "BEGIN IMMEDIATE; UPDATE t SET v = 2 WHERE id <= 10").ok();
    reader.kill();
    (room, writer)
}

/// COMMIT, and how often it wrote to the database.
fn commit(writer: &mut Host) -> (Answer, usize) {
    writer.call(&["log"]);
    let answer = writer.exec("db", "COMMIT");
    let calls = writer.call(&["log"]).rows();
    let writes = calls.iter().filter(|call| call[0] == "write" && call[1] == "db.sqlite").count();
    (answer, writes)
}

/// Somebody's rename of the journal was carried out once more, late, and the next one made a new journal, or none has yet.
#[test]
fn a_transaction_goes_on_with_no_other_journal() {
    for (guards, made) in [("", false), ("", true), ("same-journal", false), ("same-journal", true)] {
        let (room, mut writer) = beside_a_dead_reader(guards, |_| {});
        let journal = room.beside("-journal");
        std::fs::rename(&journal, room.beside("-moved")).expect("the journal is there");
        if made {
            std::fs::File::create(&journal).expect("a new one");
        }
        let (answer, writes) = commit(&mut writer);
        if guards.is_empty() {
            assert!(is_io_error(&answer) && writes == 0, "{made}: {answer:?}, {writes}");
        } else {
            assert!(writes > 0, "the fault: {made}: nothing was written ({answer:?})");
        }
    }
}

/// A takeover closed the journal, and it cannot be opened any more. Taken for empty it would undo nothing, and what SQLite has
/// cached of the transaction would count as rolled back, for a statement that goes on reading.
#[test]
fn nothing_counts_as_rolled_back_without_a_journal() {
    const CHANGED: &str = "SELECT sum(v) FROM t WHERE id <= 10";
    for guards in ["", "journal-gone"] {
        let (room, mut writer) = beside_a_dead_reader(guards, |writer| {
            writer.exec("db", "PRAGMA journal_mode=TRUNCATE").ok();
            writer.call(&["hold", "db", "SELECT v FROM t"]).ok();
        });
        std::fs::rename(room.beside("-journal"), room.beside("-moved")).expect("the journal is there");
        let (answer, writes) = commit(&mut writer);
        assert!(is_io_error(&answer) && writes == 0, "{answer:?}, {writes}");
        let read = writer.exec("db", CHANGED).result.map(|_| writer.exec("db", CHANGED).value());
        match guards {
            "" => assert!(read.as_ref().is_err() || read.as_ref().is_ok_and(|read| read == "10"), "{read:?}"),
            _ => assert_eq!(read.expect("the fault"), "20", "the fault: what was rolled back is read"),
        }
    }
}

/// The journal is closed for the takeover. A sync of it that fails before that is final, as every other: the next one may say OK.
#[test]
fn a_sync_that_fails_before_a_takeover_is_final() {
    for guards in ["", "lost-handle"] {
        let (_room, mut writer) = beside_a_dead_reader(guards, |_| {});
        writer.call(&["trap", "sync", "-journal", "1", "1034"]).ok();
        let (answer, writes) = commit(&mut writer);
        assert_eq!(writer.call(&["trap", "none", "", "0", ""]).ok(), "0", "no sync failed");
        if guards.is_empty() {
            assert!(is_io_error(&answer) && writes == 0, "{answer:?}, {writes}");
        } else {
            assert!(answer.result.is_ok() && writes > 0, "the fault: {answer:?}, {writes}");
        }
    }
}

/// With `locking_mode=EXCLUSIVE` SQLite keeps the lock across a transaction that can neither go on nor be rolled back: then others
/// must be able to clear up after it.
#[test]
fn a_full_disk_under_a_lock_that_is_kept_does_not_keep_others_out() {
    for guards in ["", "kept-cut"] {
        let room = Room::new();
        let (mut keeper, mut other) = (host(&[SHARED, ("COORD_TEST_WITHOUT", guards)]), host(&[SHARED]));
        open_waiting(&mut keeper, &room.uri(SHORT));
        keeper.exec("db", ROWS).ok();
        keeper.exec("db", "PRAGMA cache_size=2; PRAGMA locking_mode=EXCLUSIVE; UPDATE t SET v = 1 WHERE id = 1").ok();
        // Some records are written by then.
        keeper.call(&["trap", "write", "-journal", "8", "13"]).ok();
        let answer = keeper.exec("db", "UPDATE t SET v = 2");
        assert!(answer.result.is_err(), "{answer:?}");
        assert_eq!(keeper.call(&["trap", "none", "", "0", ""]).ok(), "0", "the disk was not full");
        let again = keeper.exec("db", "UPDATE t SET v = 3");
        assert!(again.result.is_err(), "{again:?}");
        open_waiting(&mut other, &room.uri(SHORT));
        let got_in = other.exec("db", "UPDATE t SET v = 4");
        assert_eq!(got_in.result.is_ok(), guards.is_empty(), "{guards}: {got_in:?}");
        if guards.is_empty() {
            assert_eq!(sum(&mut other, "db"), "800");
            keeper.close("db").ok();
            open_waiting(&mut keeper, &room.uri(SHORT));
            assert_eq!(sum(&mut keeper, "db"), "800");
        }
    }
}

/// Late renames can leave several journals aside, and none under the name. Those that need no rolling back are nobody's loss.
#[test]
fn journals_aside_that_nobody_needs_keep_nobody_out() {
    for guards in ["", "cold-asides"] {
        let room = Room::new();
        let mut host = host(&[SHARED, ("COORD_TEST_WITHOUT", guards)]);
        open_waiting(&mut host, &room.uri(SHORT));
        host.exec("db", ROWS).ok();
        host.close("db").ok();
        std::fs::remove_file(room.beside("-journal")).expect("the journal is kept");
        for n in [1, 2] {
            let aside = format!("aside.host9-00000009-9-00000000000000ff.{n}.journal");
            std::fs::write(room.beside(".readers").join(aside), "").expect("a journal aside");
        }
        open_waiting(&mut host, &room.uri(SHORT));
        let answer = host.exec("db", "UPDATE t SET v = 2");
        assert_eq!(answer.result.is_ok(), guards.is_empty(), "{guards}: {answer:?}");
        let left = std::fs::read_dir(room.beside(".readers")).expect("the registry");
        let left = left.flatten().filter(|entry| entry.file_name().to_string_lossy().starts_with("aside.")).count();
        assert_eq!(left, if guards.is_empty() { 0 } else { 2 });
    }
}
