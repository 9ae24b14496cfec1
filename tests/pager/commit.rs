//! The end of a transaction: what was reported is there, whoever came in between.

use crate::common::host::{Host, Sqlite};
use crate::room::{NETWORK, Room, SHORT, UNIX, host, host_of, is_io_error, open_waiting, uri, wait_stopped};

struct Deposed {
    committed: bool,
    message: String,
    rows: String,
}

/// A program stands still at `point` of its commit; another takes its lock over after the lease and commits; then the first
/// goes on. What COMMIT said to it, and which rows there are.
fn frozen_at(point: &str, sqlite: Sqlite, pragmas: &str, guards_out: &str) -> Deposed {
    let room = Room::new();
    let once = room.dir.path().join("once");
    let env = [
        ("COORD_TEST_STOP_AT", point),
        ("COORD_TEST_STOP_ONCE", once.to_str().unwrap()),
        ("COORD_TEST_WITHOUT", guards_out),
    ];
    let mut frozen = host_of(sqlite, &env);
    frozen.open("db", &room.uri(SHORT)).ok();
    frozen.exec("db", &format!("CREATE TABLE t(a); INSERT INTO t VALUES('before'); {pragmas}")).ok();
    std::fs::write(&once, "").unwrap();
    let transaction = ["exec", "db", "BEGIN IMMEDIATE; INSERT INTO t VALUES('frozen'); COMMIT"];
    frozen.send(&transaction);
    wait_stopped(&frozen);
    let mut other = host(&[]);
    open_waiting(&mut other, &room.uri(SHORT));
    other.exec("db", "INSERT INTO t VALUES('other')").ok();
    frozen.signal(libc::SIGCONT);
    let answer = frozen.answer(&transaction);
    assert!(answer.result.is_ok() || is_io_error(&answer), "{answer:?}");
    let message = frozen.exec("db", "SELECT coord_last_error()").value();
    let rows = other.exec("db", "SELECT group_concat(a, ' ') FROM t").value();
    assert_eq!(other.exec("db", "PRAGMA integrity_check").value(), "ok");
    Deposed { committed: answer.result.is_ok(), message, rows }
}

/// The truncate that ends a transaction is its commit. Frozen between the lease check and it, and taken over meanwhile, it
/// hits a dead inode and says OK: the commit must be checked after it. Whatever the journal mode makes of the end.
#[test]
fn a_commit_that_comes_too_late_fails() {
    std::thread::scope(|scope| {
        for (sqlite, pragmas) in [
            (Sqlite::Floor, "PRAGMA journal_mode=DELETE"),
            (Sqlite::Newest, "PRAGMA journal_mode=TRUNCATE"),
            (Sqlite::Middle, "PRAGMA journal_mode=PERSIST"),
            (
                Sqlite::Newest,
                "PRAGMA locking_mode=EXCLUSIVE; INSERT INTO t VALUES('held'); DELETE FROM t WHERE a='held'",
            ),
            (Sqlite::Newest, "PRAGMA synchronous=OFF"),
        ] {
            scope.spawn(move || {
                let end = frozen_at("finalise", sqlite, pragmas, "");
                assert!(!end.committed, "{pragmas}: a commit was reported that is not there: {}", end.rows);
                assert_eq!(end.rows, "before other", "{pragmas}");
            });
        }
        // Either of the two checks behind the truncate is enough; without both the commit is reported and lost.
        for (guards, lost) in [("lease-check", false), ("commit-check", false), ("lease-check,commit-check", true)] {
            scope.spawn(move || {
                let end = frozen_at("finalise", Sqlite::Newest, "", guards);
                assert_eq!((end.committed, end.rows.as_str()), (lost, "before other"), "without {guards}");
            });
        }
    });
}

/// Frozen right after the truncate: the transaction counts, its program could not know, and is told just that.
#[test]
fn a_commit_of_unknown_end_is_called_so() {
    let end = frozen_at("finalised", Sqlite::Newest, "", "lease-check");
    assert!(!end.committed);
    assert_eq!(end.rows, "before frozen other");
    assert!(end.message.contains("not known whether this COMMIT took effect"), "{}", end.message);
}

/// After a confirmed commit nothing may make it an error any more, not even a registry that cannot be reached while the
/// lock is given back. One that cannot be reached before the confirmation does.
#[test]
fn giving_the_lock_back_never_fails_a_commit() {
    for (point, committed) in [("confirmed", true), ("finalise", false)] {
        let room = Room::new();
        let once = room.dir.path().join("once");
        let env = [("COORD_TEST_STOP_AT", point), ("COORD_TEST_STOP_ONCE", once.to_str().unwrap())];
        let mut writer = host(&env);
        writer.open("db", &room.uri(NETWORK)).ok();
        writer.exec("db", "CREATE TABLE t(a)").ok();
        std::fs::write(&once, "").unwrap();
        writer.send(&["exec", "db", "INSERT INTO t VALUES(1)"]);
        wait_stopped(&writer);
        let (registry, away) = (room.beside(".readers"), room.dir.path().join("away"));
        std::fs::rename(&registry, &away).unwrap();
        writer.signal(libc::SIGCONT);
        let answer = writer.answer(&["INSERT"]);
        std::fs::rename(&away, &registry).unwrap();
        assert_eq!(answer.result.is_ok(), committed, "{point}: {answer:?}");
        assert!(committed || is_io_error(&answer), "{answer:?}");
        drop(writer);
        let mut other = host(&[]);
        other.open("db", &room.uri(NETWORK)).ok();
        let count = other.exec("db", "SELECT count(*) FROM t").value();
        assert!(!committed || count == "1", "reported and lost");
        other.exec("db", "INSERT INTO t VALUES(2)").ok();
    }
}

/// The commit of several files is the unlink of a file that coord may never see, and what the children say after it is
/// ignored. It is refused before anything counts, whichever database is coord's, and all files are rolled back.
#[test]
fn a_commit_over_several_files_is_refused_cleanly() {
    for sqlite in Sqlite::SUPPORTED {
        for (main, attached, refused) in
            [(UNIX, NETWORK, true), (NETWORK, UNIX, true), (NETWORK, NETWORK, true), (UNIX, UNIX, false)]
        {
            let room = Room::with_rows();
            let second = room.dir.path().join("second.sqlite");
            let mut host = host_of(sqlite, &[]);
            host.open("db", &room.uri(main)).ok();
            host.exec("db", &format!("ATTACH '{}' AS two; CREATE TABLE two.u(a)", uri(&second, attached))).ok();
            let answer = host.exec("db", "BEGIN; UPDATE t SET v = 3; INSERT INTO two.u VALUES(1); COMMIT");
            assert_eq!(answer.result.is_err(), refused, "{main} {attached}: {answer:?}");
            let expected = if refused { ["200", "0"] } else { ["600", "1"] };
            if refused {
                assert_eq!(answer.error().primary(), 1, "{answer:?}");
                let told = host.exec("db", "SELECT coord_last_error()").value();
                assert!(told.contains("two transactions"), "{told}");
                host.exec("db", "ROLLBACK");
            }
            let both = "SELECT sum(v) FROM t; SELECT count(*) FROM two.u";
            assert_eq!(host.exec("db", both).rows().concat(), expected, "{main} {attached}");
            // Each by itself goes on working, and nobody else finds more than that.
            host.exec("db", "UPDATE t SET v = 1; INSERT INTO two.u VALUES(2)").ok();
            host.close("db").ok();
            assert_eq!(fresh(&mut host, &room.uri(main), "SELECT sum(v) FROM t"), "200");
            assert_eq!(fresh(&mut host, &uri(&second, attached), "SELECT max(a) FROM u"), "2");
            let litter = std::fs::read_dir(room.dir.path()).unwrap().flatten();
            let supers = litter.filter(|entry| entry.file_name().to_string_lossy().contains("-mj")).count();
            assert_eq!(supers, 0, "{main} {attached}: a super-journal was left");
        }
    }
}

/// The same where SQLite makes no super-journal, as all files but one do without syncs.
#[test]
fn a_commit_over_several_files_without_a_super_journal_is_refused() {
    for (guards, without_syncs) in [("", &["s"][..]), ("", &["s", "main"]), ("", &[]), ("one-file", &["s"])] {
        let room = Room::with_rows();
        let second = room.dir.path().join("second.sqlite");
        let mut host = host(&[("COORD_TEST_WITHOUT", guards)]);
        host.open("db", &room.uri(NETWORK)).ok();
        host.exec("db", &format!("ATTACH '{}' AS s; CREATE TABLE s.u(a)", uri(&second, NETWORK))).ok();
        for schema in without_syncs {
            host.exec("db", &format!("PRAGMA {schema}.synchronous=OFF")).ok();
        }
        let answer = host.exec("db", "BEGIN; UPDATE t SET v = 3; INSERT INTO s.u VALUES(1); COMMIT");
        assert_eq!(answer.result.is_err(), guards.is_empty(), "{guards} {without_syncs:?}: {answer:?}");
        if guards.is_empty() {
            assert_eq!(host.exec("db", "SELECT sum(v) FROM t; SELECT count(*) FROM s.u").rows().concat(), ["200", "0"]);
            // A part of it undone, and done again.
            let both = "UPDATE t SET v = 3; INSERT INTO s.u VALUES(1)";
            let again = host.exec("db", &format!("SAVEPOINT a; {both}; ROLLBACK TO a; {both}; RELEASE a"));
            assert!(again.result.is_err(), "{without_syncs:?}: {again:?}");
            host.exec("db", "ROLLBACK");
            assert_eq!(host.exec("db", "SELECT sum(v) FROM t; SELECT count(*) FROM s.u").rows().concat(), ["200", "0"]);
            // Each by itself, also when a part of it was undone.
            host.exec("db", "BEGIN; UPDATE t SET v = 9; ROLLBACK; UPDATE t SET v = 2; INSERT INTO s.u VALUES(2)").ok();
            host.exec("db", "BEGIN; SAVEPOINT a; INSERT INTO s.u VALUES(3); ROLLBACK TO a; COMMIT; UPDATE t SET v = 1")
                .ok();
            assert_eq!(host.exec("db", "SELECT sum(v) FROM t; SELECT count(*) FROM s.u").rows().concat(), ["200", "1"]);
        }
    }
}

/// What is undone is not committed, though SQLite then syncs the files, or would; nothing of it is left to be rolled back.
#[test]
fn a_rollback_over_several_files_ends_whatever_is_synced() {
    for synchronous in ["OFF", "NORMAL", "FULL"] {
        let room = Room::with_rows();
        let second = room.dir.path().join("second.sqlite");
        let mut host = host(&[]);
        host.open("db", &room.uri(NETWORK)).ok();
        host.exec("db", &format!("ATTACH '{}' AS s; CREATE TABLE s.u(a)", uri(&second, NETWORK))).ok();
        for schema in ["main", "s"] {
            let pragmas = format!("PRAGMA {schema}.synchronous={synchronous}; PRAGMA {schema}.cache_size=1");
            host.exec("db", &pragmas).ok();
        }
        let blobs = "INSERT INTO s.u SELECT zeroblob(3000) FROM t";
        host.exec("db", &format!("BEGIN; UPDATE t SET v = 3; {blobs}; ROLLBACK")).ok();
        for journal in [room.beside("-journal"), room.dir.path().join("second.sqlite-journal")] {
            let first = std::fs::read(&journal).unwrap().first().copied().unwrap_or(0);
            assert_eq!(first, 0, "{synchronous}: {} is hot still", journal.display());
        }
        assert_eq!(host.exec("db", "SELECT coord_last_error()").value(), "NULL", "{synchronous}");
        host.exec("db", "UPDATE t SET v = 2; INSERT INTO s.u VALUES(2)").ok();
        assert_eq!(host.exec("db", "SELECT sum(v) FROM t; SELECT count(*) FROM s.u").rows().concat(), ["400", "1"]);
    }
}

/// With a shared cache a file is of several connections, and it is the transaction that counts: one over two files is refused though
/// another connection was the last to open the second, and one that writes a single file is not, whatever others do meanwhile.
#[test]
fn with_a_shared_cache_it_is_the_transaction_that_counts() {
    let shared = format!("{NETWORK}&cache=shared");
    for sqlite in [Sqlite::Floor, Sqlite::Newest] {
        let room = Room::with_rows();
        let second = room.dir.path().join("second.sqlite");
        let mut host = host_of(sqlite, &[]);
        host.open("one", &room.uri(&shared)).ok();
        host.exec("one", &format!("ATTACH '{}' AS s; CREATE TABLE s.u(a)", uri(&second, &shared))).ok();
        host.exec("one", "PRAGMA s.synchronous=OFF").ok();
        host.open("two", &uri(&second, &shared)).ok();
        host.exec("two", "SELECT * FROM u").ok();
        let answer = host.exec("one", "BEGIN; UPDATE t SET v = 3; INSERT INTO s.u VALUES(1); COMMIT");
        assert_eq!(answer.error().primary(), 1, "{answer:?}");
        host.exec("one", "ROLLBACK");
        let both = "SELECT sum(v) FROM t; SELECT count(*) FROM s.u";
        assert_eq!(host.exec("one", both).rows().concat(), ["200", "0"]);

        host.exec("two", &format!("ATTACH '{}' AS f; SELECT count(*) FROM f.t", room.uri(&shared))).ok();
        host.exec("two", "BEGIN; INSERT INTO u VALUES(2)").ok();
        host.exec("one", "UPDATE t SET v = 2").ok();
        host.exec("two", "COMMIT").ok();
        assert_eq!(host.exec("one", both).rows().concat(), ["400", "1"]);
    }
}

/// SQLite takes the lock of every attached file then, and counts it as written; the sentence says what to do.
#[test]
fn begin_immediate_counts_a_file_that_is_not_written() {
    for sqlite in [Sqlite::Floor, Sqlite::Newest] {
        let room = Room::with_rows();
        let second = room.dir.path().join("second.sqlite");
        let mut host = host_of(sqlite, &[]);
        host.open("db", &room.uri(NETWORK)).ok();
        host.exec("db", &format!("ATTACH '{}' AS s; CREATE TABLE s.u(a)", uri(&second, NETWORK))).ok();
        let answer = host.exec("db", "BEGIN IMMEDIATE; UPDATE t SET v = 3; COMMIT");
        assert_eq!(answer.error().primary(), 1, "{answer:?}");
        let told = host.exec("db", "SELECT coord_last_error()").value();
        assert!(told.contains("begin with BEGIN if only one is written"), "{told}");
        host.exec("db", "ROLLBACK");
        host.exec("db", "BEGIN; UPDATE t SET v = 3; COMMIT").ok();
        assert_eq!(host.exec("db", "SELECT sum(v) FROM t").value(), "600");
    }
}

fn fresh(host: &mut Host, uri: &str, sql: &str) -> String {
    host.open("fresh", uri).ok();
    let value = host.exec("fresh", sql).value();
    host.close("fresh").ok();
    value
}
