//! The names of super-journals in journals that older programs left. SQLite believes the last bytes of a journal: a name
//! there of a file that does not exist says "do not roll this back".

use crate::common::host::{Host, Sqlite};
use crate::room::{NETWORK, ROWS, Room, UNIX, dies_at, host, host_of, open_waiting, sum, uri};
use std::os::unix::fs::FileExt;
use std::path::Path;

/// Plain SQLite writes here while programs with coord are idle: none of them keeps a lock that says that nobody does.
const AT_ONCE: &str = "vfs=coord&coord_mode=network-exclusive&coord_unlock_asap=1";

const MANY: &str = "BEGIN; UPDATE main.t SET v = 2; INSERT INTO two.u VALUES(1); COMMIT";

/// A program on plain SQLite dies in a commit over two files, at this call.
fn die_in_two_files(room: &Room, at: (&str, &str, u32)) {
    let mut host = host(&[]);
    host.open("db", &room.uri(UNIX)).ok();
    let second = room.dir.path().join("second.sqlite");
    host.exec("db", &format!("ATTACH '{}' AS two; CREATE TABLE two.u(a)", uri(&second, UNIX))).ok();
    host.exec("db", "PRAGMA journal_mode=TRUNCATE").ok();
    dies_at(host, "db", MANY, at);
}

/// The super-journal is gone, so the transaction counts; the journal with its name lies there still. With two programs that
/// chose their journal mode before: DELETE takes the journal away.
fn cold_journal(query: &str, sqlite: Sqlite) -> (Room, Host, Host) {
    let room = Room::with_rows();
    let [reader, writer] = [sqlite, Sqlite::Newest].map(|sqlite| truncating(sqlite, &room.uri(query)));
    die_in_two_files(&room, ("truncate", "db.sqlite-journal", 1));
    assert!(room.journal_size() > 10_000);
    (room, reader, writer)
}

fn truncating(sqlite: Sqlite, uri: &str) -> Host {
    let mut host = host_of(sqlite, &[]);
    host.open("db", uri).ok();
    host.exec("db", "PRAGMA journal_mode=TRUNCATE").ok();
    host
}

/// A later, shorter transaction over the old journal, whose program dies with the database written.
fn die_in_one_page(mut writer: Host) {
    writer.exec("db", "SELECT * FROM t").ok();
    dies_at(writer, "db", "UPDATE t SET v = 777 WHERE id = 1", ("truncate", "-journal", 1));
}

fn read(uri: &str) -> Result<String, String> {
    let mut host = host(&[]);
    host.open("db", uri).ok();
    let answer = host.exec("db", crate::room::SUM);
    answer.result.map(|_| answer.rows[0][0].clone()).map_err(|error| error.to_string())
}

/// A journal that is left in place with the name at its end hides the next one, which has to be rolled back. SQLite's own
/// TRUNCATE and PERSIST connections leave it; through coord it goes with the first recovery.
#[test]
fn an_old_super_journal_name_hides_no_hot_journal() {
    for (query, expected) in [(AT_ONCE, "400"), (UNIX, "1175")] {
        for sqlite in [Sqlite::Floor, Sqlite::Newest] {
            let (room, mut reader, writer) = cold_journal(query, sqlite);
            assert_eq!(sum(&mut reader, "db"), "400", "{query}: the transaction over two files counts");
            assert_eq!(room.journal_size() == 0, query == AT_ONCE);
            die_in_one_page(writer);
            assert!(room.is_torn());
            assert_eq!(sum(&mut reader, "db"), expected, "{query}");
        }
    }
}

/// The same where a zeroed header made the old journal look finished, so that nobody recovers it: the name must go before
/// the next transaction is written over it.
#[test]
fn a_super_journal_name_behind_a_zeroed_header_hides_none_either() {
    for (query, expected) in [(AT_ONCE, "400"), (UNIX, "1175")] {
        let (room, mut reader, writer) = cold_journal(query, Sqlite::Newest);
        let journal = std::fs::OpenOptions::new().write(true).open(room.beside("-journal")).unwrap();
        journal.write_all_at(&[0; 28], 0).unwrap();
        die_in_one_page(writer);
        assert_eq!(sum(&mut reader, "db"), expected, "{query}");
    }
}

const FULL: (&str, &str) = ("truncate", "13");
/// `SQLITE_IOERR_READ`.
const UNREAD: (&str, &str) = ("read", "266");

/// What was to cut it fails: then the next attempt does it, in the same transaction or in another one.
#[test]
fn a_super_journal_name_that_could_not_be_cut_hides_none_either() {
    let rolled_back = |guard: &str, within: bool, (op, code): (&str, &str)| {
        let room = Room::with_rows();
        die_in_two_files(&room, ("truncate", "db.sqlite-journal", 1));
        let journal = std::fs::OpenOptions::new().write(true).open(room.beside("-journal")).unwrap();
        journal.write_all_at(&[0; 28], 0).unwrap();
        let mut writer = host(&[("COORD_TEST_WITHOUT", guard)]);
        writer.open("db", &room.uri(NETWORK)).ok();
        writer.exec("db", &format!("PRAGMA journal_mode=TRUNCATE; {}", if within { "BEGIN" } else { "" })).ok();
        assert_eq!(sum(&mut writer, "db"), "400", "the transaction over two files counts");
        // It has a journal of its own statement, so that a full disk does not end the transaction.
        let change = "INSERT INTO t(id, v) SELECT id + 1000, 5 FROM t WHERE id < 3";
        writer.call(&["trap", op, "-journal", "1", code]).ok();
        writer.exec("db", change).error();
        assert!(room.journal_size() > 10_000, "it was cut all the same");
        let end = if within { "COMMIT" } else { "SELECT 1" };
        dies_at(writer, "db", &format!("{change}; {end}"), ("sync", "db.sqlite", 3));
        let mut reader = host(&[]);
        open_waiting(&mut reader, &room.uri(NETWORK));
        sum(&mut reader, "db")
    };
    for within in [false, true] {
        for failure in [FULL, UNREAD] {
            assert_eq!(rolled_back("", within, failure), "400", "within one transaction: {within}, {failure:?}");
        }
    }
    // Where the lock is given back, whoever takes it begins anew in any case.
    assert_ne!(rolled_back("refused-reserved,cut-again", true, FULL), "400", "the control: the name does hide it");
}

/// SQLite is told that it has no RESERVED, as the journal could not be brought into order, and goes on reading: others may write.
#[test]
fn a_lock_that_was_refused_for_its_journal_keeps_nobody_out() {
    let others_write = |guard: &str| {
        let room = Room::with_rows();
        die_in_two_files(&room, ("truncate", "db.sqlite-journal", 1));
        let journal = std::fs::OpenOptions::new().write(true).open(room.beside("-journal")).unwrap();
        journal.write_all_at(&[0; 28], 0).unwrap();
        let mut writer = host(&[("COORD_TEST_WITHOUT", guard)]);
        writer.open("db", &room.uri(AT_ONCE)).ok();
        writer.exec("db", "BEGIN").ok();
        assert_eq!(sum(&mut writer, "db"), "400");
        writer.call(&["trap", "truncate", "-journal", "1", "13"]).ok();
        writer.exec("db", "INSERT INTO t(id, v) SELECT id + 1000, 5 FROM t WHERE id < 3").error();
        assert_eq!(sum(&mut writer, "db"), "400", "it goes on reading");
        let mut other = host(&[]);
        other.open("db", &room.uri(AT_ONCE)).ok();
        other.exec("db", "BEGIN IMMEDIATE").result.is_ok()
    };
    assert!(others_write(""));
    assert!(!others_write("refused-reserved"), "the control: they are kept out");
}

/// With `locking_mode=EXCLUSIVE` nobody asks for RESERVED any more: the name goes with the header of the next transaction.
#[test]
fn under_a_kept_lock_an_old_super_journal_name_hides_none_either() {
    let rolled_back = |guard: &str| {
        let room = Room::with_rows();
        let mut writer = host(&[("COORD_TEST_WITHOUT", guard)]);
        writer.open("db", &room.uri(AT_ONCE)).ok();
        writer.exec("db", "PRAGMA journal_mode=TRUNCATE").ok();
        die_in_two_files(&room, ("truncate", "db.sqlite-journal", 1));
        writer.exec("db", "PRAGMA locking_mode=EXCLUSIVE").ok();
        assert_eq!(sum(&mut writer, "db"), "400", "the transaction over two files counts");
        dies_at(writer, "db", "UPDATE t SET v = 777 WHERE id = 1", ("sync", "db.sqlite", 3));
        assert!(room.is_torn());
        let mut reader = host(&[]);
        open_waiting(&mut reader, &room.uri(NETWORK));
        sum(&mut reader, "db")
    };
    assert_eq!(rolled_back(""), "400");
    assert_ne!(rolled_back("old-journal"), "400", "the control: the name does hide it");
}

/// The name is a path of the host that wrote it. Where the directory is mounted elsewhere, it leads nowhere, and SQLite
/// throws the hot journal away. Through coord nobody gets to see the half-written database, and at the right path all is
/// rolled back.
#[test]
fn a_hot_journal_under_another_path_is_not_thrown_away() {
    let room = Room::with_rows();
    die_in_two_files(&room, ("delete", "-mj", 1));
    assert!(room.is_torn());
    let (home, other) = (room.dir.path().join("home"), room.dir.path().join("other"));
    let all = |from: &Path, to: &Path| {
        std::fs::create_dir_all(to).unwrap();
        for entry in std::fs::read_dir(from).unwrap().flatten().filter(|entry| entry.path().is_file()) {
            std::fs::copy(entry.path(), to.join(entry.file_name())).unwrap();
        }
    };
    all(room.dir.path(), &home);
    all(room.dir.path(), &other);
    // The directory that the name says is not there.
    let elsewhere = |folder: &Path, query: &str| {
        let away = room.dir.path().with_extension("away");
        std::fs::rename(room.dir.path(), &away).unwrap();
        let inside = away.join(folder.file_name().unwrap()).join("db.sqlite");
        let answer = read(&uri(&inside, query));
        std::fs::rename(&away, room.dir.path()).unwrap();
        answer
    };
    assert_eq!(elsewhere(&home, UNIX), Ok("400".into()), "the fault: half of a transaction is taken for all of it");
    match elsewhere(&other, NETWORK) {
        Ok(sum) => assert_eq!(sum, "200", "half of a transaction is visible"),
        Err(error) => assert!(error.contains("error 14") || error.contains("error 10"), "{error}"),
    }
    let mut host: Host = host(&[]);
    host.open("db", &room.uri(NETWORK)).ok();
    assert_eq!(sum(&mut host, "db"), "200", "at the path it was written under it is rolled back");
}

/// A commit over two files is refused when SQLite has written the super-journal's name already. The journal is then cut, not only
/// its header zeroed, or the name would hide the journal of the next, shorter transaction under the same lock.
#[test]
fn the_name_of_a_refused_commit_hides_no_hot_journal() {
    let rolled_back = |env: &[(&str, &str)]| {
        let room = Room::with_rows();
        let mut writer = host(env);
        writer.open("db", &room.uri(NETWORK)).ok();
        // The lock is kept for as long as a busy machine takes.
        writer.exec("db", "PRAGMA coord_linger=60000").ok();
        let second = room.dir.path().join("second.sqlite");
        writer.exec("db", &format!("ATTACH '{}' AS two; CREATE TABLE two.u(a)", uri(&second, NETWORK))).ok();
        writer.exec("db", MANY).error();
        writer.exec("db", "ROLLBACK");
        dies_at(writer, "db", "UPDATE t SET v = 777 WHERE id = 1", ("sync", "db.sqlite", 3));
        assert!(room.is_torn());
        let mut reader = host(&[]);
        open_waiting(&mut reader, &room.uri(NETWORK));
        sum(&mut reader, "db")
    };
    assert_eq!(rolled_back(&[]), "200");
    assert_ne!(rolled_back(&[("COORD_TEST_WITHOUT", "super-tail")]), "200", "the control: the name does hide it");
}

/// A program dies in the commit over two files that would have been refused, its pages written. On another host the super-journal is not
/// there, though its directory may be: the journal must not name it.
#[test]
fn the_name_of_a_commit_that_would_be_refused_keeps_nobody_from_rolling_back() {
    let rolled_back = |guard: &str| {
        let room = Room::with_rows();
        let main = room.dir.path().join("main.sqlite");
        let mut writer = host(&[("COORD_TEST_WITHOUT", guard)]);
        writer.open("db", &uri(&main, UNIX)).ok();
        writer.exec("db", &format!("CREATE TABLE u(a); ATTACH '{}' AS two", room.uri(NETWORK))).ok();
        let both = "BEGIN; INSERT INTO u VALUES(1); UPDATE two.t SET v = 2; COMMIT";
        dies_at(writer, "db", both, ("write", "db.sqlite", 85));
        assert!(room.is_torn());
        for entry in std::fs::read_dir(room.dir.path()).unwrap().flatten() {
            if entry.file_name().to_string_lossy().contains("-mj") {
                std::fs::remove_file(entry.path()).unwrap();
            }
        }
        let mut reader = host(&[]);
        open_waiting(&mut reader, &room.uri(NETWORK));
        sum(&mut reader, "db")
    };
    assert_eq!(rolled_back(""), "200");
    assert_ne!(rolled_back("super-tail"), "200", "the control: half of a transaction is taken for all of it");
}

/// A hot journal beside an empty database, of a first transaction over several files whose super-journal is gone. SQLite removes
/// it under RESERVED; only marked as ended it would go on to name its super-journal behind the journals of the next transactions.
#[test]
fn the_name_in_a_journal_beside_an_empty_database_hides_no_hot_journal() {
    let rolled_back = |env: &[(&str, &str)]| {
        let room = Room::new();
        std::fs::write(&room.database, "").unwrap();
        std::fs::write(room.beside("-journal"), ended_by_a_name(&room.dir.path().join("other-mj0123AB9CD"))).unwrap();
        std::fs::create_dir(room.beside(".readers")).unwrap();
        let mut writer = host(env);
        writer.open("db", &room.uri(NETWORK)).ok();
        writer.exec("db", "PRAGMA page_size=1024; PRAGMA coord_linger=60000").ok();
        writer.exec("db", &format!("BEGIN IMMEDIATE; {ROWS} COMMIT")).ok();
        assert_eq!(sum(&mut writer, "db"), "200");
        dies_at(writer, "db", "UPDATE t SET v = 777 WHERE id = 1", ("sync", "db.sqlite", 3));
        let mut reader = host(&[]);
        open_waiting(&mut reader, &room.uri(NETWORK));
        sum(&mut reader, "db")
    };
    assert_eq!(rolled_back(&[]), "200");
    assert_ne!(rolled_back(&[("COORD_TEST_WITHOUT", "foreign-cut")]), "200", "the control: the name does hide it");
}

/// A journal's header, room for records, and the name of a super-journal (SQLite's `writeSuperJournal`).
fn ended_by_a_name(name: &Path) -> Vec<u8> {
    const MAGIC: [u8; 8] = [0xd9, 0xd5, 0x05, 0xf9, 0x20, 0xa1, 0x63, 0xd7];
    const LENGTH: usize = 200_000;
    let mut journal = MAGIC.to_vec();
    for figure in [0_u32, 0x0123_4567, 0, 512, 1024] {
        journal.extend(figure.to_be_bytes());
    }
    journal.resize(LENGTH, 0);
    let name = name.to_str().expect("a plain path").as_bytes();
    let checksum = name.iter().fold(0_u32, |sum, byte| sum.wrapping_add(u32::from(*byte)));
    journal.extend((0x4000_0000_u32 / 1024 + 1).to_be_bytes());
    journal.extend(name);
    journal.extend((name.len() as u32).to_be_bytes());
    journal.extend(checksum.to_be_bytes());
    journal.extend(MAGIC);
    journal
}

/// A hot journal that names a super-journal in a directory that is not there is not for us to judge. That stays so where the look at its
/// end fails, once: SQLite's own look a moment later would take it for cold.
#[test]
fn a_journals_end_that_cannot_be_read_says_nothing() {
    for (guards, torn) in [("", false), ("super-unread", true)] {
        let room = Room::with_rows();
        let mut writer = host(&[]);
        open_waiting(&mut writer, &room.uri(NETWORK));
        writer.exec("db", "PRAGMA cache_size=2; SELECT count(*) FROM t").ok();
        dies_at(writer, "db", "UPDATE t SET v = 2", ("write", "db.sqlite", 60));
        assert!(room.is_torn());
        let name = b"/no/such/directory/db.sqlite-mj12345678";
        let sum = name.iter().fold(0u32, |sum, byte| sum.wrapping_add(u32::from(*byte)));
        let mut tail = name.to_vec();
        tail.extend((name.len() as u32).to_be_bytes());
        tail.extend(sum.to_be_bytes());
        tail.extend([0xd9, 0xd5, 0x05, 0xf9, 0x20, 0xa1, 0x63, 0xd7]);
        let journal = [std::fs::read(room.beside("-journal")).unwrap(), 513u32.to_be_bytes().to_vec(), tail].concat();
        let database = std::fs::read(&room.database).unwrap();
        let mut accepted = 0;
        for nth in 1.. {
            std::fs::write(room.beside("-journal"), &journal).unwrap();
            std::fs::write(&room.database, &database).unwrap();
            let mut host = host(&[("COORD_TEST_WITHOUT", guards)]);
            open_waiting(&mut host, &room.uri(NETWORK));
            host.call(&["trap", "read", "-journal", &nth.to_string(), "266"]).ok();
            let mut answer = host.exec("db", crate::room::SUM);
            let left = host.call(&["trap", "none", "", "0", ""]).ok().to_owned();
            if answer.result.is_err() {
                answer = host.exec("db", crate::room::SUM);
            }
            accepted += usize::from(answer.result.is_ok());
            if left != "0" {
                break;
            }
        }
        assert_eq!(accepted > 0, torn, "{guards}: read {accepted} times");
    }
}
