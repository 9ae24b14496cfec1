//! Missing rights: read-only directories and files, other users' databases, sticky directories, unreadable names.

use crate::common;
use crate::common::bank::Sql;
use crate::common::hostile::{AT_ONCE, NETWORK, Place, SHORT, TRUSTED};
use crate::common::visitor::Visit;
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

const NOBODY: u32 = 65534;

fn visit() -> Visit {
    Visit::of(NOBODY, NOBODY, NOBODY)
}

/// Only root can be somebody else.
fn is_root() -> bool {
    // SAFETY: a plain system call.
    let root = unsafe { libc::geteuid() } == 0;
    if !root {
        common::skip("only root can drop its rights for a moment");
    }
    root
}

fn mode(path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

/// A place whose directory anybody may enter and read.
fn open_place(directory: u32, file: u32) -> Place {
    let place = Place::new();
    mode(place.dir.path(), directory);
    mode(&place.database, file);
    place
}

/// A lock is a name in the directory: without the right to make one nobody shares the database over a network; on a disk of
/// one's own it can be read, as with plain SQLite.
#[test]
fn a_read_only_directory_can_be_read_where_native_locks_do() {
    if !is_root() {
        return;
    }
    let place = open_place(0o755, 0o666);
    let mut visitor = visit().start(place.dir.path());
    let before = place.names();
    visitor.open(&place.database, TRUSTED).unwrap();
    assert_eq!(visitor.sql("SELECT count(*) FROM t").unwrap()[0][0], "2");
    assert_eq!(visitor.sql("INSERT INTO t VALUES(3, 3)").unwrap_err().primary(), 8);
    let text = visitor.complaint();
    assert!(text.contains("state.sqlite.lock") && text.contains("write permission there"), "{text}");
    // To introduce coord to it is to make its registry.
    visitor.open(&place.database, NETWORK).unwrap();
    visitor.sql("SELECT count(*) FROM t").unwrap_err();
    let text = visitor.complaint();
    assert!(text.contains("write permission there"), "{text}");
    place.assert_untouched();
    assert_eq!(place.names(), before);
    fs::create_dir(place.registry()).unwrap();
    mode(&place.registry(), 0o777);
    for parameters in ["", NETWORK, "mode=ro"] {
        let error = visitor.open(&place.database, parameters).unwrap_err();
        assert!(error.message.contains("cannot be written") && error.message.contains("immutable=1"), "{error}");
    }
    visitor.open(&place.database, "immutable=1").unwrap();
    assert_eq!(visitor.sql("SELECT count(*) FROM t").unwrap()[0][0], "2");
    place.assert_untouched();
}

#[test]
fn a_read_only_database_is_read_under_a_lock() {
    if !is_root() {
        return;
    }
    for parameters in [TRUSTED, NETWORK] {
        let place = open_place(0o777, 0o444);
        if parameters == NETWORK {
            fs::create_dir(place.registry()).unwrap();
            mode(&place.registry(), 0o777);
        }
        let mut visitor = visit().start(place.dir.path());
        visitor.open(&place.database, parameters).unwrap();
        assert_eq!(visitor.sql("SELECT count(*) FROM t").unwrap()[0][0], "2");
        assert_eq!(visitor.sql("INSERT INTO t VALUES(3, 3)").unwrap_err().primary(), 8, "{parameters}");
        visitor.end();
        place.assert_untouched();
        assert!(!place.lock().exists());
    }
}

#[test]
fn an_unreadable_database_is_refused() {
    if !is_root() {
        return;
    }
    for parameters in [TRUSTED, NETWORK] {
        let place = open_place(0o777, 0o000);
        let mut visitor = visit().start(place.dir.path());
        let before = place.names();
        let error = visitor.open(&place.database, parameters).unwrap_err();
        assert_eq!(error.primary(), 14, "{error}");
        place.assert_untouched();
        assert_eq!(place.names(), before);
    }
}

/// Two members of a group share what belongs to a third, without a setgid directory: what one makes the other can use.
#[test]
fn a_group_shares_a_database_of_somebody_else() {
    if !is_root() {
        return;
    }
    const GROUP: u32 = 4242;
    for parameters in [TRUSTED, SHORT] {
        let place = open_place(0o770, 0o660);
        for path in [place.dir.path(), &place.database] {
            chown(path, Some(4240), Some(GROUP)).unwrap();
        }
        let mut members = [4243, 4244]
            .map(|user| Visit::of(user, user, GROUP).env("COORD_RECOVERY_WAIT", "1").start(place.dir.path()));
        for member in &mut members {
            member.open(&place.database, parameters).unwrap();
        }
        for round in 0..2 {
            for member in &mut members {
                if let Err(error) = member.sql("INSERT INTO t VALUES(3, 3)") {
                    panic!("{parameters} round {round}: {error}: {}", member.complaint());
                }
            }
        }
        let owner = |path: &Path| fs::metadata(path).map(|found| (found.gid(), found.mode() & 0o070)).unwrap();
        assert_eq!(owner(&place.database), (GROUP, 0o060));
        if parameters == SHORT {
            assert_eq!(owner(&place.registry()), (GROUP, 0o070), "the registry is not the group's");
            assert_eq!(owner(&place.beside("-journal")), (GROUP, 0o060));
        }
        if parameters == TRUSTED {
            // A journal that plain SQLite makes keeps its maker's group: only a setgid directory helps there.
            continue;
        }
        // One dies in the middle: the other gets past it.
        let [mut first, mut second] = members;
        first.sql("BEGIN IMMEDIATE; INSERT INTO t VALUES(9, 9)").unwrap();
        first.kill();
        common::until("the other's turn", || second.sql("INSERT INTO t VALUES(4, 4)").is_ok());
        assert_eq!(second.sql("SELECT count(*) FROM t WHERE a = 9").unwrap()[0][0], "0");
        assert_eq!(second.sql("PRAGMA integrity_check").unwrap()[0][0], "ok");
    }
}

/// Where only its owner can remove a name, nobody else could clear up after a crash.
#[test]
fn a_sticky_directory_is_for_its_owner_only() {
    if !is_root() {
        return;
    }
    let place = open_place(0o1777, 0o666);
    fs::create_dir(place.registry()).unwrap();
    mode(&place.registry(), 0o777);
    let mut visitor = visit().start(place.dir.path());
    let before = place.names();
    let error = visitor.open(&place.database, "").unwrap_err();
    assert!(error.message.contains("sticky directory") && error.message.contains("directory of its own"), "{error}");
    place.assert_untouched();
    assert_eq!(place.names(), before);
    place.assert_works("");
}

/// A registry or lock directory that this user cannot look into, and beat files of mode 000.
#[test]
fn what_cannot_be_read_is_named() {
    if !is_root() {
        return;
    }
    let place = open_place(0o777, 0o666);
    fs::create_dir(place.registry()).unwrap();
    mode(&place.registry(), 0o700);
    let mut visitor = visit().start(place.dir.path());
    visitor.open(&place.database, "").unwrap();
    visitor.sql("SELECT count(*) FROM t").unwrap_err();
    let text = visitor.complaint();
    assert!(text.contains("state.sqlite.readers") && text.contains("permission"), "{text}");
    mode(&place.registry(), 0o777);
    fs::create_dir(place.lock()).unwrap();
    fs::write(place.lock().join("something"), "").unwrap();
    mode(&place.lock(), 0o700);
    visitor.sql("INSERT INTO t VALUES(3, 3)").unwrap_err();
    let text = visitor.complaint();
    assert!(text.contains("state.sqlite.lock") && text.contains("permission"), "{text}");
    place.assert_untouched();
    fs::remove_dir_all(place.lock()).unwrap();
    // A node whose identity is not ours to read, silent for its whole lease.
    let node = "elsewhere-7-00000000000000aa";
    for name in [format!("beat.{node}.1.1000"), format!("exclusive.{node}.2")] {
        fs::write(place.registry().join(&name), "{}").unwrap();
        mode(&place.registry().join(&name), 0o000);
    }
    // The fence cannot keep root's ownership for nobody: it waits, and says for what.
    let asked = visitor.sql("SELECT count(*) FROM t");
    let asked = asked.or_else(|_| visitor.sql("SELECT count(*) FROM t"));
    if let Err(error) = asked {
        assert_eq!(error.primary(), 5, "{error}");
        let text = visitor.complaint();
        assert!(text.contains("state.sqlite is in use") && text.contains("on elsewhere"), "{text}");
    }
    place.assert_untouched();
}

/// A lock directory beside a database that nobody has shared over the network yet, in which this user can change nothing: after
/// ten leases it was left behind, and keeps nobody from reading any longer.
#[test]
fn a_lock_directory_of_somebody_else_is_waited_out() {
    if !is_root() {
        return;
    }
    let place = open_place(0o777, 0o666);
    fs::create_dir(place.lock()).unwrap();
    mode(&place.lock(), 0o755);
    let mut visitor = visit().env("COORD_TEST_SHARED", "1").start(place.dir.path());
    visitor.open(&place.database, SHORT).unwrap();
    let begun = Instant::now();
    let refused = visitor.sql("SELECT count(*) FROM t").unwrap_err();
    let text = visitor.complaint();
    assert!(refused.primary() == 5 && text.contains("locked by a program on the server"), "{refused}: {text}");
    common::until("the lock directory to be passed over", || visitor.sql("SELECT count(*) FROM t").is_ok());
    assert!(begun.elapsed() >= Duration::from_secs(10), "{:?}", begun.elapsed());
    place.assert_untouched();
}

/// A program may change its umask at any time, and die with a lock. Those who share the database with it must get past that.
#[test]
fn an_umask_that_is_changed_later_keeps_nobody_out() {
    if !is_root() {
        return;
    }
    let place = open_place(0o777, 0o666);
    let mut first = Visit::default().start(place.dir.path());
    first.umask("000");
    first.open(&place.database, SHORT).unwrap();
    first.sql("UPDATE t SET b = 2 WHERE a = 1").unwrap();
    first.umask("077");
    first.sql("BEGIN IMMEDIATE").unwrap();
    assert_eq!(fs::metadata(place.lock()).unwrap().mode() & 0o777, 0o777);
    for entry in fs::read_dir(place.lock()).unwrap() {
        assert_eq!(entry.unwrap().metadata().unwrap().mode() & 0o777, 0o666);
    }
    first.kill();
    let mut other = visit().start(place.dir.path());
    other.open(&place.database, SHORT).unwrap();
    common::until("the dead one to be cleared up after", || other.sql("UPDATE t SET b = 3 WHERE a = 1").is_ok());
}

/// Killed right after it has made the lock directory under such an umask, before it could give it the rights that it has to have.
#[test]
fn a_lock_directory_of_nobody_that_cannot_be_looked_into_keeps_nobody_out() {
    if !is_root() {
        return;
    }
    let place = open_place(0o777, 0o666);
    let mut visitor = visit().start(place.dir.path());
    visitor.open(&place.database, AT_ONCE).unwrap();
    visitor.sql("UPDATE t SET b = 2 WHERE a = 1").unwrap();
    fs::create_dir(place.lock()).unwrap();
    mode(&place.lock(), 0o700);
    visitor.sql("UPDATE t SET b = 3 WHERE a = 1").unwrap();
    // One that somebody is in stays.
    fs::create_dir(place.lock()).unwrap();
    fs::write(place.lock().join("write.other-00000000-1-00000000000000aa.1"), "").unwrap();
    mode(&place.lock(), 0o700);
    visitor.sql("UPDATE t SET b = 4 WHERE a = 1").unwrap_err();
    assert_eq!(fs::read_dir(place.lock()).unwrap().count(), 1);
}

/// SQLite takes a missing right for no reason to end a transaction. In the middle of a statement it must be: a COMMIT would keep the
/// half of it.
#[test]
fn a_writer_who_loses_a_right_in_the_middle_of_a_statement_commits_no_half_of_it() {
    if !is_root() {
        return;
    }
    let left = |guard: &str| {
        let place = open_place(0o777, 0o666);
        let mut visitor = visit().env("COORD_TEST_WITHOUT", guard).start(place.dir.path());
        visitor.open(&place.database, AT_ONCE).unwrap();
        let rows = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 2000)
            INSERT INTO u SELECT i, hex(randomblob(50)) FROM n";
        visitor.sql(&format!("CREATE TABLE u(a INTEGER PRIMARY KEY, b); CREATE INDEX v ON u(b); {rows}")).unwrap();
        visitor.sql("PRAGMA cache_size=5; PRAGMA cache_spill=1; BEGIN IMMEDIATE").unwrap();
        // As where a Kerberos ticket has run out.
        mode(&place.registry(), 0o555);
        visitor.sql("DELETE FROM u WHERE a % 2 = 0").unwrap_err();
        mode(&place.registry(), 0o777);
        let _ = visitor.sql("COMMIT");
        let sound = visitor.sql("PRAGMA integrity_check").unwrap()[0][0].clone();
        (visitor.sql("SELECT count(*) FROM u NOT INDEXED").unwrap()[0][0].clone(), sound)
    };
    let whole = ("2000".to_string(), "ok".to_string());
    assert_eq!(left(""), whole);
    assert_ne!(left("spill-refused"), whole, "the control: the half of it is there");
}

/// The platform's VFS opens a journal for reading that it cannot open for writing: it lives for long, with the mode of the day on which it
/// was made. That is said, and nothing is written.
#[test]
fn a_journal_that_can_only_be_read_is_named() {
    if !is_root() {
        return;
    }
    for (guards, named) in [("", true), ("read-only-journal", false)] {
        let place = open_place(0o777, 0o666);
        fs::create_dir(place.registry()).unwrap();
        mode(&place.registry(), 0o777);
        fs::write(place.beside("-journal"), "").unwrap();
        mode(&place.beside("-journal"), 0o644);
        let mut visitor = visit().env("COORD_TEST_WITHOUT", guards).start(place.dir.path());
        visitor.open(&place.database, NETWORK).unwrap();
        assert_eq!(visitor.sql("SELECT count(*) FROM t").unwrap()[0][0], "2");
        visitor.sql("INSERT INTO t VALUES(3, 3)").unwrap_err();
        let text = visitor.sql("PRAGMA coord_error").unwrap()[0][0].clone();
        let said = text.contains("state.sqlite-journal") && text.contains("may read it but not write");
        assert_eq!(said, named, "{guards}: {text}");
        place.assert_untouched();
    }
}

/// The command as nobody runs it: a copy of it, as the build may lie where only we can read.
fn command(place: &Place, args: &[&str]) -> common::Ran {
    let copy = place.dir.path().join("coord");
    if !copy.exists() {
        fs::copy(env!("CARGO_BIN_EXE_coord"), &copy).unwrap();
        mode(&copy, 0o755);
    }
    let mut command = Command::new(copy);
    command.args(args).arg(&place.database).env_remove("XDG_RUNTIME_DIR").current_dir("/").uid(NOBODY).gid(NOBODY);
    common::run(&mut command, common::SOON)
}

/// What this user could not do is said by who looks, and a dry run ends as the run itself does.
#[test]
fn missing_rights_are_foreseen() {
    if !is_root() {
        return;
    }
    for (directory, database, registry, inspected, detached) in [
        (0o755, 0o666, 0o777, "cannot be written", "cannot be written"),
        (0o1777, 0o666, 0o777, "sticky directory", "sticky directory"),
        (0o777, 0o600, 0o777, "state.sqlite cannot be read", "state.sqlite cannot be read"),
        (0o777, 0o644, 0o777, "", "able to read and write"),
        (0o777, 0o666, 0o755, "", "able to read and write"),
    ] {
        let place = open_place(directory, database);
        fs::create_dir(place.registry()).unwrap();
        mode(&place.registry(), registry);
        let case = format!("{directory:o} {database:o} {registry:o}");
        let ran = command(&place, &["inspect"]);
        assert!(ran.out.contains(inspected), "{case}: {}{}", ran.out, ran.err);
        assert_eq!(ran.status.code(), Some(i32::from(!inspected.is_empty())), "{case}: {}", ran.out);
        let before = place.names();
        for args in [&["detach", "--dry-run"][..], &["detach"]] {
            let ran = command(&place, args);
            assert_eq!(ran.status.code(), Some(2), "{case}: {}{}", ran.out, ran.err);
            assert!(ran.err.contains(detached), "{case}: {}", ran.err);
        }
        assert_eq!(place.names(), before, "{case}");
        place.assert_untouched();
    }
}

/// The journal's own mode is in the way, and not the directory's: another advice helps.
#[test]
fn a_journal_that_cannot_be_opened_is_told_by_its_own_mode() {
    if !is_root() {
        return;
    }
    let place = open_place(0o777, 0o666);
    fs::create_dir(place.registry()).unwrap();
    mode(&place.registry(), 0o777);
    fs::write(place.beside("-journal"), "").unwrap();
    mode(&place.beside("-journal"), 0o600);
    let mut visitor = visit().start(place.dir.path());
    visitor.open(&place.database, NETWORK).unwrap();
    visitor.sql("INSERT INTO t VALUES(3, 3)").unwrap_err();
    let text = visitor.complaint();
    assert!(text.contains("state.sqlite-journal") && text.contains("those of the database (chmod"), "{text}");
    assert!(!text.contains("name in that directory"), "{text}");
    place.assert_untouched();
}
