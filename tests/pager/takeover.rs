//! A takeover in the middle of a transaction: a reader has died, and a writer who comes to its COMMIT clears up after it. What it
//! opens again then must be what it has written.

use crate::common::host::{Answer, Host};
use crate::room::{ROWS, Room, SHORT, SUM, TRUSTED, dies_at, host, is_io_error, open_waiting, sum, without};
use std::os::unix::fs::FileExt;

const SHARED: (&str, &str) = ("COORD_TEST_SHARED", "1");
const MODES: [&str; 3] = ["DELETE", "TRUNCATE", "PERSIST"];

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
/// must be able to clear up after it. A full disk on a network, and a failed sync anywhere.
#[test]
fn a_transaction_that_is_stuck_under_a_kept_lock_does_not_keep_others_out() {
    for (guards, local) in [("", false), ("kept-cut", false), ("", true), ("kept-cut", true)] {
        let room = Room::new();
        let of = |guards| {
            let env = [("COORD_TEST_WITHOUT", guards), SHARED];
            host(if local { &env[..1] } else { &env })
        };
        let (mut keeper, mut other) = (of(guards), of(""));
        open_waiting(&mut keeper, &room.uri(SHORT));
        keeper.exec("db", ROWS).ok();
        keeper.exec("db", "PRAGMA cache_size=2; PRAGMA locking_mode=EXCLUSIVE; UPDATE t SET v = 1 WHERE id = 1").ok();
        // Some records are written by then.
        let (op, nth, code) = if local { ("sync", "1", "1034") } else { ("write", "8", "13") };
        keeper.call(&["trap", op, "-journal", nth, code]).ok();
        let answer = keeper.exec("db", "UPDATE t SET v = 2");
        assert!(answer.result.is_err(), "{answer:?}");
        assert_eq!(keeper.call(&["trap", "none", "", "0", ""]).ok(), "0", "no {op} failed");
        let again = keeper.exec("db", "UPDATE t SET v = 3");
        assert!(again.result.is_err(), "{again:?}");
        open_waiting(&mut other, &room.uri(SHORT));
        let got_in = other.exec("db", "UPDATE t SET v = 4");
        assert_eq!(got_in.result.is_ok(), guards.is_empty(), "{guards}, local {local}: {got_in:?}");
        if guards.is_empty() {
            assert_eq!(sum(&mut other, "db"), "800");
            keeper.close("db").ok();
            open_waiting(&mut keeper, &room.uri(SHORT));
            assert_eq!(sum(&mut keeper, "db"), "800");
        }
    }
}

/// Of `PRAGMA locking_mode` for all files at once SQLite tells the first alone.
#[test]
fn nor_does_one_in_an_attached_file() {
    for guards in ["", "kept-cut"] {
        let room = Room::new();
        let of = |guards| host(&[("COORD_TEST_WITHOUT", guards), SHARED]);
        let (mut keeper, mut other) = (of(guards), of(""));
        keeper.open("db", ":memory:").ok();
        keeper.exec("db", &format!("ATTACH '{}' AS s", room.uri(SHORT))).ok();
        keeper.exec("db", &ROWS.replace("TABLE t", "TABLE s.t").replace("INTO t", "INTO s.t")).ok();
        keeper
            .exec("db", "PRAGMA s.cache_size=2; PRAGMA locking_mode=EXCLUSIVE; UPDATE s.t SET v = 1 WHERE id = 1")
            .ok();
        keeper.call(&["trap", "write", "-journal", "8", "13"]).ok();
        keeper.exec("db", "UPDATE s.t SET v = 2").error();
        assert_eq!(keeper.call(&["trap", "none", "", "0", ""]).ok(), "0", "no write failed");
        for _ in 0..4 {
            keeper.exec("db", "SELECT sum(v) FROM s.t");
        }
        open_waiting(&mut other, &room.uri(SHORT));
        let got_in = other.exec("db", "UPDATE t SET v = 4");
        assert_eq!(got_in.result.is_ok(), guards.is_empty(), "{guards}: {got_in:?}");
    }
}

/// Late renames can leave several journals aside, and none under the name. Those that need no rolling back are nobody's loss, and of
/// one that does it is clear that it was live.
#[test]
fn of_several_journals_aside_the_hot_one_counts() {
    for (guards, hot) in [("", false), ("cold-asides", false), ("", true), ("cold-asides", true)] {
        let room = Room::new();
        let mut made = host(&[SHARED]);
        open_waiting(&mut made, &room.uri(SHORT));
        made.exec("db", &format!("PRAGMA journal_mode=TRUNCATE; {ROWS}")).ok();
        let journal = room.beside("-journal");
        let first = room.beside(".readers").join("aside.host9-00000009-9-00000000000000ff.1.journal");
        if hot {
            dies_at(made, "db", "UPDATE t SET v = 5", ("truncate", "-journal", 1));
        } else {
            made.close("db").ok();
        }
        std::fs::rename(&journal, &first).expect("the journal is kept");
        assert_eq!(std::fs::read(&first).is_ok_and(|bytes| bytes.first() == Some(&0xd9)), hot);
        std::fs::write(first.with_file_name("aside.host9-00000009-9-00000000000000ff.2.journal"), "")
            .expect("a second");
        let mut next = host(&[SHARED, ("COORD_TEST_WITHOUT", guards)]);
        open_waiting(&mut next, &room.uri(SHORT));
        let sum = next.exec("db", SUM);
        match guards {
            "" => assert_eq!(sum.value(), "200", "hot {hot}"),
            _ => assert!(sum.result.is_err(), "the fault: {sum:?}"),
        }
        let left = std::fs::read_dir(room.beside(".readers")).expect("the registry").flatten();
        let left = left.filter(|entry| entry.file_name().to_string_lossy().starts_with("aside.")).count();
        assert_eq!(left, if guards.is_empty() { 0 } else { 2 });
    }
}

/// In trusted mode others may have taken the database over from who stood still: the registry is there then. Nobody has told him yet.
#[test]
fn a_trusted_transaction_ends_where_a_registry_has_appeared() {
    for (guards, mode) in ["", "usurped-journal"].into_iter().flat_map(|guards| MODES.map(|mode| (guards, mode))) {
        for begun in [false, true] {
            let room = Room::with_rows();
            let mut writer = without(guards);
            writer.open("db", &room.uri(TRUSTED)).ok();
            writer.exec("db", &format!("PRAGMA journal_mode={mode}; BEGIN EXCLUSIVE")).ok();
            let update = "UPDATE t SET v = 2";
            if begun {
                writer.exec("db", update).ok();
            }
            std::fs::create_dir(room.beside(".readers")).expect("a registry");
            writer.call(&["log"]);
            let answer = writer.exec("db", if begun { "COMMIT" } else { update });
            assert_eq!(answer.result.is_err(), guards.is_empty(), "{guards} {mode}, begun {begun}: {answer:?}");
            let calls = writer.call(&["log"]).rows();
            let touched = calls.iter().any(|call| call[0] == "write" && call[1] == "db.sqlite-journal");
            assert!(begun || touched != guards.is_empty(), "{guards} {mode}: {calls:?}");
        }
    }
}

/// A program ends in order, in the middle of its writing. On a network its pages may come when the next one has long written: so its
/// lock stays, and the next one fences.
#[test]
fn a_program_that_ends_while_it_writes_leaves_its_lock() {
    for (guards, expected) in [("", "600"), ("exit-writing", "torn")] {
        let room = Room::with_rows();
        // Known to coord already: nobody has to wait for earlier readers.
        std::fs::create_dir(room.beside(".readers")).unwrap();
        let env = [SHARED, ("COORD_TEST_WITHOUT", guards)];
        let mut ends = host(&env);
        open_waiting(&mut ends, &room.uri(SHORT));
        ends.exec("db", "PRAGMA cache_size=2; BEGIN IMMEDIATE; UPDATE t SET v = 2").ok();
        assert!(room.is_torn());
        let on_the_way = std::fs::read(&room.database).unwrap();
        let late = std::fs::OpenOptions::new().write(true).open(&room.database).unwrap();
        ends.send(&["return"]);
        assert!(ends.wait().success());
        assert_eq!(room.beside(".lock").exists(), guards.is_empty(), "{guards}");
        let mut next = host(&env);
        open_waiting(&mut next, &room.uri(SHORT));
        next.exec("db", "UPDATE t SET v = 3").ok();
        late.write_all_at(&on_the_way, 0).unwrap();
        let mut after = host(&env);
        open_waiting(&mut after, &room.uri(SHORT));
        let found = after.exec("db", SUM).result.map_or("torn".to_owned(), |_| sum(&mut after, "db"));
        assert_eq!(if found == "600" { "600" } else { "torn" }, expected, "{guards}: {found}");
    }
}
