//! Journal modes and file marks that another host could not roll back or read, however a program comes by them.

use crate::common::host::{Host, Sqlite};
use crate::common::opener::Opener;
use crate::common::{self, bank::Sql};
use crate::recovery::torn_by;
use crate::room::{NETWORK, Room, SUM, TRUSTED, UNIX, host, host_of, sum, without};

fn marks(room: &Room) -> [u8; 2] {
    let bytes = std::fs::read(&room.database).expect("the database");
    [bytes[18], bytes[19]]
}

/// Attached to `:memory:`, the database gets the mode of an unqualified pragma without being asked.
fn attached(mut host: Host, room: &Room, query: &str, pragmas: &str) -> Host {
    host.open("db", ":memory:").ok();
    host.exec("db", &format!("ATTACH '{}' AS s; {pragmas}", room.uri(query))).ok();
    host
}

/// No page of the database is written before a journal that could undo it is on stable storage.
#[test]
fn nothing_is_written_without_a_synced_journal() {
    for sqlite in Sqlite::SUPPORTED {
        for mode in ["MEMORY", "OFF"] {
            let room = Room::with_rows();
            let mut host = attached(host_of(sqlite, &[]), &room, NETWORK, &format!("PRAGMA journal_mode={mode}"));
            host.call(&["log"]);
            let answer = host.exec("db", "UPDATE s.t SET v = 2");
            assert_eq!(answer.error().code, 778, "{mode}: {answer:?}");
            let changes = host.call(&["log"]).rows();
            assert!(!changes.iter().any(|row| row[0] == "write" && row[1] == "db.sqlite"), "{changes:?}");
            assert!(host.exec("db", "SELECT coord_last_error()").value().contains("journal_mode must be"));
            host.exec("db", "PRAGMA s.journal_mode=DELETE; UPDATE s.t SET v = 3").ok();
            assert_eq!(host.exec("db", "SELECT sum(v) FROM s.t").value(), "600");
        }
    }
    let room = Room::with_rows();
    let mut host = attached(without("journal-rule"), &room, NETWORK, "PRAGMA journal_mode=OFF");
    host.call(&["log"]);
    host.exec("db", "UPDATE s.t SET v = 2").ok();
    let changes = host.call(&["log"]).rows();
    let (database, journal) = (written(&changes, "db.sqlite"), written(&changes, "db.sqlite-journal"));
    assert!(database > 0 && journal == 0, "the fault: written with no way back ({changes:?})");
}

/// So also under a lock that is kept, by a connection that has rolled a hot journal back.
#[test]
fn a_journal_that_was_rolled_back_is_no_way_back_for_what_comes_next() {
    for (mut host, guarded) in [(host(&[]), true), (without("journal-rule"), false)] {
        let room = torn_by(NETWORK);
        host.open("db", &room.uri(NETWORK)).ok();
        host.exec("db", "PRAGMA locking_mode=EXCLUSIVE").ok();
        assert_eq!(sum(&mut host, "db"), "200");
        host.exec("db", "PRAGMA journal_mode=MEMORY").ok();
        host.call(&["log"]);
        let answer = host.exec("db", "UPDATE t SET v = 2");
        let changes = host.call(&["log"]).rows();
        assert_eq!((answer.result.is_ok(), written(&changes, "db.sqlite") > 0), (!guarded, !guarded), "{answer:?}");
    }
}

/// With `locking_mode=EXCLUSIVE` no lock is ever given back, so nothing ends there what a connection without a journal has passed over:
/// it may not even read beside a hot one.
#[test]
fn under_a_kept_lock_nothing_is_read_beside_a_hot_journal() {
    for sqlite in Sqlite::SUPPORTED {
        let read = |guards: &str| {
            let room = Room::with_rows();
            let host = host_of(sqlite, &[("COORD_TEST_WITHOUT", guards)]);
            let mut host = attached(host, &room, NETWORK, "PRAGMA locking_mode=EXCLUSIVE; PRAGMA journal_mode=OFF");
            crate::recovery::tear(&room, NETWORK);
            let seen = host.exec("db", "SELECT sum(v) FROM s.t");
            let _ = host.exec("db", "PRAGMA s.journal_mode=DELETE; UPDATE s.t SET padding = 'x' WHERE id = 1");
            drop(host);
            let mut other = crate::room::host(&[]);
            crate::room::open_waiting(&mut other, &room.uri(NETWORK));
            (seen.result.is_err() || seen.value() == "200") && sum(&mut other, "db") == "200"
        };
        assert!(read(""), "{sqlite:?}");
        // The oldest roll it back in any case.
        assert!(!read("not-rolled-back") || sqlite == Sqlite::Floor, "the fault: {sqlite:?}");
    }
}

/// What is left there of a journal that was rolled back is taken for a part of no later one.
#[test]
fn under_a_kept_lock_a_rollback_undoes_nothing_of_earlier() {
    let undone = |guards: &str| {
        let room = Room::with_rows();
        let pragmas = "PRAGMA locking_mode=EXCLUSIVE; PRAGMA journal_mode=MEMORY";
        let mut host = attached(without(guards), &room, NETWORK, pragmas);
        crate::recovery::tear(&room, NETWORK);
        assert_eq!(host.exec("db", "SELECT sum(v) FROM s.t").value(), "200");
        host.exec("db", "UPDATE s.t SET v = 2").ok();
        host.exec("db", "BEGIN; UPDATE s.t SET v = 3 WHERE id = 1; ROLLBACK").ok();
        host.exec("db", "SELECT sum(v) FROM s.t").value()
    };
    assert_eq!(undone(""), "400");
    assert_ne!(undone("old-journal"), "400", "the fault: a commit is undone");
}

fn written(changes: &[Vec<String>], file: &str) -> usize {
    changes.iter().filter(|row| row[0] == "write" && row[1] == file).count()
}

/// With locking_mode=EXCLUSIVE SQLite does WAL without shared memory, and marks the file so that no client of coord could
/// open it any more.
#[test]
fn the_file_never_says_wal() {
    let exclusive =
        "PRAGMA locking_mode=EXCLUSIVE; PRAGMA journal_mode=WAL; SELECT count(*) FROM t; UPDATE t SET v = 2";
    for sqlite in Sqlite::SUPPORTED {
        for query in [NETWORK, TRUSTED, UNIX] {
            let room = Room::with_rows();
            let mut host = host_of(sqlite, &[]);
            host.open("db", &room.uri(query)).ok();
            let main = host.exec("db", exclusive);
            assert_eq!(main.result.is_ok(), query == UNIX, "{query}: {main:?}");
            host.close("db").ok();
            // The same past the pragma's hook: nothing asks the attached file.
            let mut host = attached(host_of(sqlite, &[]), &room, query, "");
            host.exec("db", exclusive.replace(" t", " s.t").as_str());
            host.exec("db", "UPDATE s.t SET v = 3");
            host.exec("db", "PRAGMA locking_mode=NORMAL; PRAGMA s.journal_mode=DELETE; UPDATE s.t SET v = 4");
            if query == UNIX {
                continue;
            }
            assert_eq!(marks(&room), [1, 1], "{query}");
            assert!(!room.beside("-wal").exists());
            drop(host);
            let mut other = self::host(&[]);
            other.open("db", &room.uri(query)).ok();
            other.exec("db", "PRAGMA integrity_check; UPDATE t SET v = 5").ok();
            assert_eq!(sum(&mut other, "db"), "1000", "{query}");
        }
        let room = Room::with_rows();
        let mut host = host_of(sqlite, &[]);
        host.open("db", &room.uri(UNIX)).ok();
        host.exec("db", exclusive).ok();
        assert_eq!(marks(&room), [2, 2], "the fault: plain SQLite marks it");
    }
}

/// Programs that ask for WAL at their start and take what they get: they get the old mode, as on any VFS without shared
/// memory.
#[test]
fn asking_for_wal_gives_the_old_mode() {
    let room = Room::with_rows();
    let mut host = host(&[]);
    for query in [NETWORK, TRUSTED] {
        let room = if query == TRUSTED { &Room::with_rows() } else { &room };
        host.open("db", &room.uri(query)).ok();
        assert_eq!(host.exec("db", "PRAGMA journal_mode=WAL").value(), "delete");
        host.exec("db", "UPDATE t SET v = 2").ok();
        host.close("db").ok();
    }
}

/// A backup copies the source's header, and with it the mark of a WAL database.
#[test]
fn a_backup_from_a_wal_database_can_be_opened() {
    let source = Room::with_rows();
    let mut wal = rusqlite::Connection::open(&source.database).unwrap();
    wal.sql("PRAGMA journal_mode=WAL; UPDATE t SET v = 2").unwrap();
    for query in [NETWORK, TRUSTED, UNIX] {
        let room = Room::new();
        let opener = Opener { extension: Some(common::extension()), entry: None, query: query.into() };
        let mut target = opener.open(&room.database).unwrap();
        let backup = rusqlite::backup::Backup::new(&wal, &mut target).unwrap();
        backup.run_to_completion(5, std::time::Duration::ZERO, None).unwrap();
        drop(backup);
        if query == UNIX {
            assert_eq!(marks(&room), [2, 2], "the fault: the mark is copied");
            continue;
        }
        assert_eq!(marks(&room), [1, 1], "{query}");
        // The connection that has just made it, and another.
        assert_eq!(target.sql(SUM).unwrap()[0][0], "400", "{query}");
        target.sql("UPDATE t SET v = 3").unwrap();
        let mut other = host(&[]);
        other.open("db", &room.uri(query)).ok();
        assert_eq!(sum(&mut other, "db"), "600");
        assert_eq!(other.exec("db", "PRAGMA integrity_check").value(), "ok");
        assert_eq!(marks(&room), [1, 1], "{query}");
    }
}

/// The refusal of a WAL database reaches the program's own error message, which no result code could carry.
#[test]
fn a_wal_database_is_refused_with_a_sentence() {
    for sqlite in Sqlite::SUPPORTED {
        for query in [NETWORK, TRUSTED] {
            let room = Room::with_rows();
            let plain = rusqlite::Connection::open(&room.database).unwrap();
            plain.query_row("PRAGMA journal_mode=WAL", [], |_| Ok(())).unwrap();
            drop(plain);
            let before = std::fs::read(&room.database).unwrap();
            let mut host = host_of(sqlite, &[]);
            let answer = host.open("db", &room.uri(query));
            let message = &answer.error().message;
            assert!(message.contains("WAL mode") && message.contains("journal_mode=DELETE"), "{query}: {answer:?}");
            assert_eq!(std::fs::read(&room.database).unwrap(), before, "and it is left as it was");
            host.open("plain", &room.uri(UNIX)).ok();
            host.exec("plain", "PRAGMA journal_mode=DELETE").ok();
            host.close("plain").ok();
            host.open("db", &room.uri(query)).ok();
            assert_eq!(sum(&mut host, "db"), "200", "what the sentence says to do helps");
        }
    }
}

/// A program without coord makes a WAL of a database that a reader knows to have none, and goes back. SQLite goes by the header,
/// which changes first, so nothing old is read meanwhile whatever coord remembers of the WAL.
#[test]
fn a_wal_that_comes_later_is_noticed() {
    let room = Room::with_rows();
    let mut reader = host(&[]);
    reader.open("db", &room.uri(TRUSTED)).ok();
    for _ in 0..2 {
        assert_eq!(sum(&mut reader, "db"), "200");
    }
    let plain = rusqlite::Connection::open(&room.database).unwrap();
    plain.query_row("PRAGMA journal_mode=WAL", [], |_| Ok(())).unwrap();
    plain.execute_batch("UPDATE t SET v = 2").unwrap();
    assert_eq!(reader.exec("db", SUM).error().code, 14);
    let said = reader.exec("db", "SELECT coord_last_error()").value();
    assert!(said.contains("-wal lies beside") && said.contains("journal_mode=DELETE"), "{said}");
    plain.query_row("PRAGMA journal_mode=DELETE", [], |_| Ok(())).unwrap();
    assert_eq!(sum(&mut reader, "db"), "400");
}

/// Mapped pages would be read past the lease, whoever asked for them.
#[test]
fn no_page_is_mapped_in_network_mode() {
    for (query, mapped) in [(NETWORK, false), (UNIX, true)] {
        let room = Room::with_rows();
        // Not on the tracing VFS, which does not know how to map.
        let mut host = Host::start(Sqlite::Newest);
        host.call(&["config-mmap", "67108864"]).ok();
        host.load(&common::extension()).ok();
        host.open("db", &room.uri(query)).ok();
        host.exec("db", "PRAGMA mmap_size=67108864; INSERT INTO t SELECT id + 1000, 1, zeroblob(9000) FROM t").ok();
        host.exec("db", &format!("BEGIN; {SUM}")).ok();
        let database = room.database.to_str().unwrap();
        assert_eq!(host.call(&["maps", database]).ok() != "0", mapped, "{query}");
    }
}
