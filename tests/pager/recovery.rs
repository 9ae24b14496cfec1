//! Hot journals and takeovers: what a dead or frozen writer left is rolled back by whoever comes next, and by nobody taken
//! for a whole transaction.

use crate::common::host::{Host, Sqlite};
use crate::room::{
    NETWORK, Room, SHORT, SUM, TRUSTED, UNIX, dies_at, host, host_of, is_io_error, open_waiting, sum, wait_stopped,
    without,
};

const HALF: &str = "UPDATE t SET v = 5 WHERE id < 150";

/// A writer that dies when the database is written and its journal is about to go.
pub fn torn_by(query: &str) -> Room {
    let room = Room::with_rows();
    tear(&room, query);
    room
}

pub fn tear(room: &Room, query: &str) {
    let mut host = host(&[]);
    host.open("db", &room.uri(query)).ok();
    host.exec("db", "PRAGMA journal_mode=TRUNCATE").ok();
    dies_at(host, "db", HALF, ("truncate", "-journal", 1));
    assert!(room.is_torn(), "{query}: the writer died too early to show anything");
}

/// A connection with journal_mode=OFF takes a hot journal for its own affair and reads the half-written database. The mode
/// can be set past the pragma's own hook, through an unqualified pragma; then nothing may be read.
#[test]
fn a_connection_without_a_journal_does_not_read_over_a_hot_one() {
    for sqlite in Sqlite::SUPPORTED {
        let room = Room::with_rows();
        let mut host = host_of(sqlite, &[]);
        host.open("db", ":memory:").ok();
        host.exec("db", &format!("ATTACH '{}' AS s; PRAGMA journal_mode=OFF", room.uri(NETWORK))).ok();
        tear(&room, NETWORK);
        let answer = host.exec("db", "SELECT sum(v) FROM s.t");
        if sqlite == Sqlite::Floor && answer.result.is_ok() {
            // Old versions roll back in this mode too.
            assert_eq!(answer.rows.concat(), ["200"]);
            continue;
        }
        assert!(is_io_error(&answer), "{answer:?}");
        let told = host.exec("db", "SELECT coord_last_error()").value();
        assert!(told.contains("journal_mode"), "{told}");
        host.open("second", &room.uri(NETWORK)).ok();
        assert_eq!(sum(&mut host, "second"), "200");
        // The cure that the sentence names.
        host.exec("db", "PRAGMA s.journal_mode=DELETE").ok();
        assert_eq!(host.exec("db", "SELECT sum(v) FROM s.t").value(), "200");
    }
    let room = Room::with_rows();
    let mut host = host(&[]);
    host.open("db", &room.uri(UNIX)).ok();
    host.exec("db", "PRAGMA journal_mode=OFF").ok();
    tear(&room, UNIX);
    assert_ne!(sum(&mut host, "db"), "200", "the fault: plain SQLite reads it");
}

/// A trusted writer dies, its native locks go with it, its name in the lock directory stays. A reader that took that name
/// for a writer at work would take the journal for none of its business.
#[test]
fn a_trusted_reader_rolls_back_what_a_dead_writer_left() {
    for sqlite in Sqlite::SUPPORTED {
        let room = torn_by(TRUSTED);
        let left = std::fs::read_dir(room.beside(".lock")).expect("the lock directory stays").count();
        assert_eq!(left, 1, "the writer's name stays");
        let mut host = host_of(sqlite, &[]);
        host.open("db", &room.uri(TRUSTED)).ok();
        assert_eq!(sum(&mut host, "db"), "200");
        assert!(!room.beside(".lock").exists(), "and goes with the recovery");
        assert!(!room.is_torn());
    }
}

/// A connection in trusted mode leaves an empty journal that the next writer uses and, when it dies, leaves hot. Closing, the first
/// one removes what it kept, under RESERVED: which tells everybody that a journal is not hot.
#[test]
fn a_connection_that_closes_hides_no_hot_journal() {
    for (guards, hidden) in [("", false), ("hot-kept", true)] {
        let room = Room::with_rows();
        let mut keeper = if guards.is_empty() { host(&[]) } else { without(guards) };
        keeper.open("db", &room.uri(TRUSTED)).ok();
        keeper.exec("db", "UPDATE t SET v = 2; UPDATE t SET v = 1").ok();
        assert_eq!(room.beside("-journal").metadata().map(|found| found.len()).ok(), Some(0), "it is kept");
        tear(&room, TRUSTED);
        keeper.call(&["trap", "unlock", "db.sqlite", "1", "stop"]).ok();
        keeper.send(&["close", "db"]);
        wait_stopped(&keeper);
        let mut reader = host(&[]);
        reader.open("db", &room.uri(TRUSTED)).ok();
        let answer = reader.exec("db", SUM);
        assert_eq!(answer.result.is_ok(), hidden, "{guards}: {answer:?}");
        if hidden {
            assert_ne!(answer.value(), "200", "the fault: half a transaction is read");
        }
        keeper.signal(libc::SIGCONT);
        keeper.answer(&["close", "db"]).ok();
        assert_eq!(sum(&mut reader, "db"), "200", "{guards}");
    }
}

/// Every combination of the last writer's mode and the next client's: plain SQLite recovers what coord left, too.
#[test]
fn whoever_comes_next_rolls_back() {
    for (writer, reader) in [(NETWORK, NETWORK), (NETWORK, UNIX), (UNIX, NETWORK), (UNIX, TRUSTED), (TRUSTED, UNIX)] {
        let room = torn_by(writer);
        let mut host = host(&[]);
        host.open("db", &room.uri(reader)).ok();
        assert_eq!(sum(&mut host, "db"), "200", "{writer} then {reader}");
        host.exec("db", "UPDATE t SET v = 2").ok();
        assert_eq!(sum(&mut host, "db"), "400");
    }
}

/// A writer stands still while it waits for a reader; another takes over and replaces the database under that reader,
/// which then writes. Its transaction must not end in the replaced file.
fn reader_turns_writer(mut reader: Host) -> (bool, String) {
    let room = Room::with_rows();
    reader.open("db", &room.uri(NETWORK)).ok();
    reader.exec("db", &format!("BEGIN; {SUM}")).ok();
    let mut frozen = host(&[]);
    frozen.open("db", &room.uri(SHORT)).ok();
    frozen.exec("db", "BEGIN IMMEDIATE; UPDATE t SET v = 9 WHERE id = 1").ok();
    // PENDING stays: from here on it could be writing.
    assert!(frozen.exec("db", "COMMIT").error().is_busy());
    frozen.signal(libc::SIGSTOP);
    let before = inode(&room);
    let mut breaker = host(&[]);
    open_waiting(&mut breaker, &room.uri(NETWORK));
    breaker.exec("db", "BEGIN IMMEDIATE; ROLLBACK").ok();
    assert_ne!(inode(&room), before, "the takeover did not replace the database, so this shows nothing");
    let committed = reader.exec("db", "UPDATE t SET v = 2 WHERE id = 7; COMMIT").result.is_ok();
    (committed, breaker.exec("db", "SELECT v FROM t WHERE id = 7").value())
}

fn inode(room: &Room) -> u64 {
    std::os::unix::fs::MetadataExt::ino(&room.database.metadata().expect("the database is there"))
}

#[test]
fn a_reader_whose_file_was_replaced_writes_to_the_new_one() {
    std::thread::scope(|scope| {
        for sqlite in Sqlite::SUPPORTED {
            scope.spawn(move || {
                assert_eq!(reader_turns_writer(host_of(sqlite, &[])), (true, "2".into()), "{sqlite:?}");
            });
        }
        scope.spawn(|| {
            let blind = reader_turns_writer(without("epoch,has-moved"));
            assert_eq!(blind, (true, "1".into()), "without the notice of the replacement the commit is lost");
        });
    });
}

/// SQLite removes a hot journal beside an empty database, without rolling back; one that somebody has begun to fill since is not empty, and
/// must be rolled back. Nor is the journal cold where its beginning cannot be read, once.
#[test]
fn a_journal_whose_beginning_cannot_be_read_is_not_removed() {
    for (guards, stays) in [("", false), ("hot-unread", true)] {
        let mut torn = 0;
        for nth in 1.. {
            let room = Room::with_rows();
            std::fs::create_dir(room.beside(".readers")).unwrap();
            let page = std::fs::read(&room.database).unwrap()[..1024].to_vec();
            // The header of a first transaction's journal: no records, and the database had no pages before.
            let mut journal = vec![0; 512];
            journal[..8].copy_from_slice(&[0xd9, 0xd5, 0x05, 0xf9, 0x20, 0xa1, 0x63, 0xd7]);
            journal[20..24].copy_from_slice(&512u32.to_be_bytes());
            journal[24..28].copy_from_slice(&1024u32.to_be_bytes());
            std::fs::write(&room.database, "").unwrap();
            let once = room.dir.path().join("once");
            let stop = [("COORD_TEST_STOP_AT", "made-lock"), ("COORD_TEST_STOP_ONCE", once.to_str().unwrap())];
            let mut reader = host(&[stop[0], stop[1], ("COORD_TEST_WITHOUT", guards)]);
            open_waiting(&mut reader, &room.uri(SHORT));
            std::fs::write(room.beside("-journal"), &journal).unwrap();
            reader.call(&["trap", "read", "-journal", &nth.to_string(), "266"]).ok();
            std::fs::write(&once, "").unwrap();
            reader.send(&["exec", "db", "SELECT count(*) FROM sqlite_schema"]);
            wait_stopped(&reader);
            std::fs::write(&room.database, &page).unwrap();
            reader.signal(libc::SIGCONT);
            let _ = reader.answer(&["exec"]);
            let left = reader.call(&["trap", "none", "", "0", ""]).ok().to_owned();
            reader.exec("db", "SELECT count(*) FROM sqlite_schema");
            torn += usize::from(room.database.metadata().unwrap().len() > 0);
            if left != "0" {
                break;
            }
        }
        assert_eq!(torn > 0, stays, "{guards}: {torn} times a part of a transaction stays");
    }
}
