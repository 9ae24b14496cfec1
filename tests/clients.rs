//! Every client does the main job: it loads the extension just built, shares a database through it, keeps others out
//! while it writes and is kept out while they do. In both modes. That a database went through the VFS is proved by the
//! lock count rising, not by the absence of errors.

mod common;

use common::bank::{self, Outcome, Reported, Reports, Transfer};
use common::host::{Host, Sqlite, path};
use common::opener::Opener;
use common::worker::{Role, Spec, Worker};
use common::{SOON, have, run};
use std::process::Command;

const MODES: [&str; 2] = ["coord_mode=trusted", "coord_mode=network-exclusive"];

#[test]
fn worker_entry() {
    common::worker::entry();
}

/// The whole job in one client, beside another process that uses the newest SQLite.
fn main_job(mut start: impl FnMut() -> Host) {
    for mode in MODES {
        let dir = common::dir();
        let uri = Opener::coord(mode).uri(&dir.path().join("bank.sqlite"));
        let mut client = start();
        let mut other = Host::start(Sqlite::Newest);
        for host in [&mut client, &mut other] {
            host.load(&common::extension()).ok();
            host.open("db", &uri).ok();
        }
        let taken = |host: &mut Host| host.exec("db", "SELECT coord_locks_taken()").value().parse::<u64>().unwrap();
        let before = taken(&mut client);
        bank::create(&mut client.connection("db")).unwrap();
        assert!(taken(&mut client) > before, "{} {mode}: the database did not go through coord", client.label);

        let mut reports = Reports::append_to(&dir.path().join("reports"));
        for seq in 1..=3 {
            for (worker, host) in [&mut client, &mut other].into_iter().enumerate() {
                let transfer = Transfer::random(worker as u32, seq, &mut common::Rng::seeded(seq));
                let outcome = bank::transfer(&mut host.connection("db"), &transfer);
                assert!(matches!(outcome, Outcome::Committed(_)), "{} {mode}: {outcome:?}", host.label);
                reports.report(&transfer, &outcome);
            }
        }

        // Each keeps the other out while it writes, and is told "database is locked", nothing else.
        client.exec("db", "BEGIN IMMEDIATE").ok();
        let error = other.exec("db", "BEGIN IMMEDIATE").error().clone();
        assert_eq!((error.code, error.message.as_str()), (5, "database is locked"), "{mode}");
        client.exec("db", "ROLLBACK").ok();
        other.exec("db", "BEGIN IMMEDIATE").ok();
        let error = client.exec("db", "BEGIN IMMEDIATE").error().clone();
        assert_eq!((error.code, error.message.as_str()), (5, "database is locked"), "{} {mode}", client.label);
        other.exec("db", "ROLLBACK").ok();

        assert_eq!(client.exec("db", "PRAGMA journal_mode=WAL").value(), "delete", "{} {mode}", client.label);
        assert_eq!(client.exec("db", "SELECT coord_version()").value(), env!("CARGO_PKG_VERSION"));
        assert!(!client.exec("db", "PRAGMA coord_status").rows().is_empty(), "{} {mode}", client.label);

        bank::assert_right(&mut client.connection("db"), &Reported::read([dir.path().join("reports")]));
        client.close("db").ok();
        other.close("db").ok();
    }
}

#[test]
fn sqlite_3_26_does_the_main_job() {
    main_job(|| Host::start(Sqlite::Floor));
}

#[test]
fn sqlite_3_38_does_the_main_job() {
    main_job(|| Host::start(Sqlite::Middle));
}

#[test]
fn sqlite_3_54_does_the_main_job() {
    main_job(|| Host::start(Sqlite::Newest));
}

#[test]
fn python_does_the_main_job() {
    if have("/usr/bin/python3") {
        main_job(|| Host::python(&[]));
    }
}

/// The sqlite3 command of the distribution, by the lines that the README gives.
#[test]
fn the_sqlite3_command_does_the_main_job() {
    if !have("/usr/bin/sqlite3") {
        return;
    }
    for mode in MODES {
        let dir = common::dir();
        let uri = Opener::coord(mode).uri(&dir.path().join("shell.sqlite"));
        let shell = |sql: &str| {
            let mut command = Command::new("/usr/bin/sqlite3");
            command.args(["-batch", "-bail", "-init", "/dev/null", ":memory:"]);
            command.args(["-cmd", &format!(".load {}", path(&common::extension()))]);
            command.args(["-cmd", &format!(".open {uri}"), sql]);
            run(&mut command, SOON)
        };
        shell("CREATE TABLE t(a); INSERT INTO t VALUES(1), (2)").ok();
        assert_eq!(shell("SELECT sum(a), coord_locks_taken() > 0 FROM t").ok(), "3|1\n", "{mode}");
        assert_eq!(shell("PRAGMA journal_mode=WAL").ok(), "delete\n", "{mode}");

        let mut other = Host::start(Sqlite::Newest);
        other.load(&common::extension()).ok();
        other.open("db", &uri).ok();
        other.exec("db", "BEGIN IMMEDIATE; INSERT INTO t VALUES(3)").ok();
        let refused = shell("INSERT INTO t VALUES(4)");
        assert!(!refused.status.success() && refused.err.contains("database is locked"), "{mode}: {}", refused.err);
        other.exec("db", "COMMIT").ok();
        shell("INSERT INTO t VALUES(4)").ok();
        assert_eq!(other.exec("db", "SELECT group_concat(a) FROM t").value(), "1,2,3,4", "{mode}");
    }
}

/// rusqlite's own copy of SQLite, in several processes at once.
#[test]
fn rusqlite_does_the_main_job() {
    for mode in MODES {
        let dir = common::dir();
        let database = dir.path().join("bank.sqlite");
        let opener = Opener::coord(mode);
        let mut db = opener.open(&database).unwrap();
        bank::create(&mut db).unwrap();
        let spec = |id, role| Spec { busy_ms: 20_000, ..Spec::new(id, role, &opener, &database) };
        let reader = Worker::start_all([spec(100, Role::Reader)]);
        let writers = Worker::start_all((0..3).map(|id| spec(id, Role::Writer)));
        writers.iter().for_each(|worker| worker.wait_for_commits(5));
        let ended: Vec<_> = writers.into_iter().chain(reader).map(Worker::finish).collect();
        for end in &ended {
            assert_eq!(end.right().not_busy(), 0, "{mode}: {end:?}");
        }
        bank::assert_right(&mut db, &Reported::read(ended.iter().map(|end| end.spec.reports())));
    }
}

/// SQLite before 3.39 leaves links in the middle of a path alone: two names in one process, one file, one journal.
#[test]
fn two_names_of_a_file_are_one_database() {
    for mode in MODES {
        for sqlite in [Sqlite::Floor, Sqlite::Middle] {
            let dir = common::dir();
            std::fs::create_dir(dir.path().join("home")).unwrap();
            std::os::unix::fs::symlink("home", dir.path().join("link")).unwrap();
            let mut host = Host::start(sqlite);
            host.load(&common::extension()).ok();
            for name in ["home", "link"] {
                host.open(name, &Opener::coord(mode).uri(&dir.path().join(name).join("names.sqlite"))).ok();
            }
            host.exec("home", "CREATE TABLE t(a); INSERT INTO t VALUES(1)").ok();
            for journal in ["DELETE", "TRUNCATE", "PERSIST"] {
                for name in ["link", "home"] {
                    host.exec(name, &format!("PRAGMA journal_mode={journal}; INSERT INTO t VALUES(2)")).ok();
                    host.exec(name, "BEGIN; INSERT INTO t VALUES(3); ROLLBACK").ok();
                }
            }
            host.exec("link", "BEGIN IMMEDIATE").ok();
            assert_eq!(host.exec("home", "BEGIN IMMEDIATE").error().code, 5, "{mode}");
            host.exec("link", "ROLLBACK").ok();
            for name in ["link", "home"] {
                let found = host.exec(name, "SELECT count(*), sum(a) FROM t").rows().concat();
                assert_eq!(found, ["7", "13"], "{mode} {name} in {}", host.label);
            }
        }
    }
}

/// A handle that waits for the other copy's locks is closed after SQLite has forgotten its connection, and its name.
#[test]
fn a_handle_that_is_closed_late_still_has_its_name() {
    let dir = common::dir();
    let uri = Opener::coord("coord_mode=trusted").uri(&dir.path().join("late.sqlite"));
    // What is freed is overwritten, which glibc does not do to what it keeps for the thread.
    let tunables = ("GLIBC_TUNABLES", "glibc.malloc.perturb=165:glibc.malloc.tcache_count=0");
    let mut host = Host::with(&[("a", Sqlite::Newest), ("b", Sqlite::Floor)], &[tunables]);
    host.call(&["a:trace"]).ok();
    for copy in ["a", "b"] {
        host.call(&[&format!("{copy}:load"), path(&common::extension())]).ok();
        host.call(&[&format!("{copy}:open"), "db", &uri]).ok();
    }
    host.call(&["a:exec", "db", "CREATE TABLE t(a)"]).ok();
    host.call(&["b:exec", "db", "BEGIN; SELECT * FROM t"]).ok();
    host.call(&["a:exec", "db", "SELECT * FROM t"]).ok();
    let closed = |host: &mut Host| {
        let log = host.call(&["log"]).rows();
        assert!(!log.iter().any(|row| row[0] == "freed"), "closed under a name that is gone");
        log.iter().filter(|row| row[..2] == ["close", "late.sqlite"]).count()
    };
    closed(&mut host);
    host.call(&["a:close", "db"]).ok();
    assert_eq!(closed(&mut host), 0, "it waits for the other copy");
    host.call(&["b:exec", "db", "COMMIT"]).ok();
    assert_eq!(closed(&mut host), 1);
}

/// Two copies of SQLite in one process are two clients: each keeps the other out, and neither lets a third process in.
/// With plain SQLite the second copy's close drops the first one's POSIX locks.
#[test]
fn two_copies_in_one_process_share_a_database() {
    for mode in MODES {
        let dir = common::dir();
        let uri = Opener::coord(mode).uri(&dir.path().join("bank.sqlite"));
        let mut host = Host::two(Sqlite::Floor, Sqlite::Newest);
        let extension = common::extension();
        for copy in ["a", "b"] {
            host.call(&[&format!("{copy}:load"), path(&extension)]).ok();
            host.call(&[&format!("{copy}:open"), "db", &uri]).ok();
        }
        // Each copy's connection is answered by its own SQLite, although both share one library.
        for (copy, sqlite) in [("a", Sqlite::Floor), ("b", Sqlite::Newest)] {
            let info = host.call(&[&format!("{copy}:exec"), "db", "SELECT coord_info()"]).value();
            assert!(info.contains(sqlite.version()), "{copy}: {info}");
        }
        bank::create(&mut host.connection("a:db")).unwrap();
        let mut reports = Reports::append_to(&dir.path().join("reports"));
        for seq in 1..=5 {
            for (worker, copy) in ["a:db", "b:db"].into_iter().enumerate() {
                let transfer = Transfer::random(worker as u32, seq, &mut common::Rng::seeded(seq));
                let outcome = bank::transfer(&mut host.connection(copy), &transfer);
                assert!(matches!(outcome, Outcome::Committed(_)), "{mode} {copy}: {outcome:?}");
                reports.report(&transfer, &outcome);
            }
        }
        let mut third = Host::start(Sqlite::Middle);
        third.load(&extension).ok();
        third.open("db", &uri).ok();
        host.call(&["a:exec", "db", "BEGIN IMMEDIATE"]).ok();
        assert_eq!(host.call(&["b:exec", "db", "BEGIN IMMEDIATE"]).error().code, 5, "{mode}");
        host.call(&["b:open", "second", &uri]).ok();
        bank::view(&mut host.connection("b:second")).unwrap();
        host.call(&["b:close", "second"]).ok();
        host.call(&["b:close", "db"]).ok();
        assert_eq!(third.exec("db", "BEGIN IMMEDIATE").error().code, 5, "{mode}: copy b's close let a third one in");
        host.call(&["a:exec", "db", "COMMIT"]).ok();
        third.exec("db", "BEGIN IMMEDIATE; COMMIT").ok();
        bank::assert_right(&mut third.connection("db"), &Reported::read([dir.path().join("reports")]));
    }
}

/// After fork the child is not the node: it cannot use the parent's connection, is kept out by the parent's lock like
/// anybody, and its end takes nothing away.
#[test]
fn a_forked_child_neither_uses_nor_drops_the_locks() {
    for mode in MODES {
        let dir = common::dir();
        let uri = Opener::coord(mode).uri(&dir.path().join("fork.sqlite"));
        let mut parent = Host::start(Sqlite::Newest);
        parent.load(&common::extension()).ok();
        parent.open("db", &uri).ok();
        parent.exec("db", "CREATE TABLE t(a); BEGIN IMMEDIATE; INSERT INTO t VALUES(1)").ok();
        let rows = parent.call(&["fork", "db", "COMMIT", &uri, "BEGIN IMMEDIATE"]).rows();
        assert_ne!(rows[0][1], "0", "{mode}: the child committed its parent's transaction: {rows:?}");
        assert_eq!(rows[1][..2], ["fresh", "5"], "{mode}: {rows:?}");
        assert_eq!(rows[2][..2], ["status", "0"], "{mode}: {rows:?}");
        let mut other = Host::start(Sqlite::Floor);
        other.load(&common::extension()).ok();
        other.open("db", &uri).ok();
        assert_eq!(other.exec("db", "BEGIN IMMEDIATE").error().code, 5, "{mode}: the child's end let another in");
        parent.exec("db", "COMMIT").ok();
        assert_eq!(other.exec("db", "SELECT a FROM t").value(), "1", "{mode}");
        // With no transaction open a child may come to its own connection, and to nothing else.
        let rows = parent.call(&["fork", "db", "INSERT INTO t VALUES(2)", &uri, "INSERT INTO t VALUES(3)"]).rows();
        assert_ne!(rows[0][1], "0", "{mode}: the child wrote through its parent's connection: {rows:?}");
        assert_eq!(rows[1][..2], ["fresh", "0"], "{mode}: {rows:?}");
        parent.exec("db", "INSERT INTO t VALUES(4)").ok();
        assert_eq!(other.exec("db", "SELECT group_concat(a) FROM t").value(), "1,3,4", "{mode}");
    }
}

/// A program that ends with its connections open leaves no lock: the next one writes at once.
#[test]
fn a_normal_end_leaves_no_lock() {
    for mode in MODES {
        let dir = common::dir();
        let uri = Opener::coord(mode).uri(&dir.path().join("end.sqlite"));
        let mut first = Host::start(Sqlite::Newest);
        first.load(&common::extension()).ok();
        first.open("db", &uri).ok();
        first.exec("db", "CREATE TABLE t(a); BEGIN IMMEDIATE").ok();
        assert!(first.end().success(), "{mode}");
        let mut next = Host::start(Sqlite::Floor);
        next.load(&common::extension()).ok();
        next.open("db", &uri).ok();
        next.exec("db", "BEGIN IMMEDIATE; INSERT INTO t VALUES(1); COMMIT").ok();
        assert_eq!(next.exec("db", "PRAGMA integrity_check").value(), "ok", "{mode}");
    }
}
