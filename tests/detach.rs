//! `coord detach` as a user runs it: what the dead have left is carried through before the directories go, and whoever may be
//! there keeps them.

mod common;

use common::puppet::Puppet;
use common::stage::Stage;
use common::{Ran, SOON, run};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

#[test]
fn puppet_entry() {
    common::puppet::entry();
}

const NETWORK: &str = "coord_mode=network-exclusive&coord_lease_ms=60000";

fn detach(database: &Path, options: &[&str]) -> Ran {
    run(&mut command(database, options), 2 * SOON)
}

fn command(database: &Path, options: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_coord"));
    command.arg("detach").args(options).arg(database);
    command
}

/// Where other hosts may have requests on their way, and nobody can be proved dead.
fn detach_shared(database: &Path, options: &[&str]) -> Ran {
    run(command(database, options).env("COORD_TEST_SHARED", "1"), 2 * SOON)
}

fn beside(database: &Path, suffix: &str) -> PathBuf {
    let mut path = database.as_os_str().to_os_string();
    path.push(suffix);
    path.into()
}

/// Every name beside the database with what is in it.
fn everything(dir: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        match path.is_dir() {
            true => found.extend(everything(&path).into_iter().chain([(path, Vec::new())])),
            false => found.push((path.clone(), fs::read(path).unwrap())),
        }
    }
    found.sort();
    found
}

fn is_plain(database: &Path) {
    for suffix in [".lock", ".readers"] {
        assert!(beside(database, suffix).symlink_metadata().is_err(), "{suffix} is left");
    }
    let journal = fs::read(beside(database, "-journal")).unwrap_or_default();
    assert!(journal.iter().take(8).all(|byte| *byte == 0), "a hot journal is left");
    // By SQLite's own VFS, which knows nothing of coord.
    let uri = format!("file:{}?vfs=unix&mode=ro", database.display());
    let flags = rusqlite::OpenFlags::SQLITE_OPEN_READ_ONLY | rusqlite::OpenFlags::SQLITE_OPEN_URI;
    let plain = rusqlite::Connection::open_with_flags(uri, flags).unwrap();
    let ok: String = plain.query_row("PRAGMA integrity_check", [], |row| row.get(0)).unwrap();
    assert_eq!(ok, "ok");
}

/// A writer that dies in the middle of its commit, and whoever takes over dies between moving the database aside and linking the
/// copy: at that moment there is no database but in the directories that are to go.
fn broken_off(stage: &mut Stage) {
    let (mut writer, mut breaker) = (stage.patient("writer"), stage.patient("breaker"));
    stage.pays(&mut writer);
    stage.pays(&mut breaker);
    let transfer = stage.next();
    writer.ok(&transfer.begin());
    writer.stops_in(&["database-write"; 2], "COMMIT");
    writer.thaw();
    writer.wait_stopped();
    writer.kill();
    breaker.stops_in(&["fence-aside"; 2], "BEGIN IMMEDIATE");
    breaker.thaw();
    breaker.wait_stopped();
    breaker.kill();
    assert!(!stage.database.exists(), "the schedule does not end where the database is aside");
    let holds = |suffix: &str, word: &str| stage.names_in(suffix).iter().any(|name| name.starts_with(word));
    assert!(holds(".readers", "aside.") && holds(".lock", "fence."));
}

#[test]
fn a_takeover_that_broke_off_is_finished_and_nothing_is_lost() {
    if !cfg!(debug_assertions) {
        return common::skip("a release build stops nowhere");
    }
    let mut stage = Stage::short_lease("").shared();
    broken_off(&mut stage);
    let dir = stage.database.parent().unwrap().to_path_buf();
    let before = everything(&dir);
    let ran = detach_shared(&stage.database, &["--dry-run"]);
    assert_eq!(ran.status.code(), Some(1), "{}{}", ran.out, ran.err);
    assert!(ran.out.contains("may be alive: ") && !ran.out.contains("died"), "nobody is known to be dead: {}", ran.out);
    // A host that remembers since when it knows their heartbeats has seen their leases run out after a while.
    let mut said = String::new();
    common::until("their leases to run out", || {
        let ran = detach(&stage.database, &["--dry-run"]);
        said = ran.out;
        ran.status.success()
    });
    for words in ["gives no sign of life", "carried through", "nothing was changed"] {
        assert!(said.contains(words), "{words}: {said}");
    }
    assert_eq!(everything(&dir), before, "a dry run changes nothing");

    let said = detach_shared(&stage.database, &[]).ok();
    assert!(said.contains("plain SQLite database again"), "{said}");
    is_plain(&stage.database);
    stage.assert_right();
}

#[test]
fn who_has_it_open_keeps_it() {
    let mut stage = Stage::new(NETWORK, "");
    let mut holder = stage.patient("holder");
    stage.pays(&mut holder);
    holder.ok("BEGIN IMMEDIATE");
    let refused = |holder: &Puppet, options: &[&str]| {
        let ran = detach(&stage.database, options);
        assert_eq!(ran.status.code(), Some(1), "{}{}", ran.out, ran.err);
        assert!(
            ran.out.contains(&format!("pid {}", holder.pid())) && ran.out.contains("close that program"),
            "{}",
            ran.out
        );
        assert!(ran.out.contains("REFUSED"), "{}", ran.out);
        assert!(beside(&stage.database, ".readers").is_dir());
    };
    refused(&holder, &["--dry-run"]);
    refused(&holder, &[]);
    // Also one that holds nothing at this moment, and one that stands still.
    holder.ok("COMMIT");
    refused(&holder, &[]);
    holder.freeze();
    refused(&holder, &[]);
    holder.thaw();
    stage.pays(&mut holder);
    drop(holder);
    assert!(detach(&stage.database, &[]).ok().contains("plain SQLite database again"));
    is_plain(&stage.database);
    stage.assert_right();
}

#[test]
fn who_cannot_be_known_to_be_dead_is_waited_for_or_looked_after_by_people() {
    let stage = Stage::new(NETWORK, "");
    let registry = beside(&stage.database, ".readers");
    let beat = registry.join("beat.elsewhere-0a0b0c0d-4711-00000000000000aa.2.1000");
    fs::write(&beat, "").unwrap();
    let ran = detach(&stage.database, &[]);
    assert_eq!(ran.status.code(), Some(1), "{}{}", ran.out, ran.err);
    for word in ["elsewhere", "4711", "run this again", &beat.display().to_string()] {
        assert!(ran.out.contains(word), "{word}: {}", ran.out);
    }
    fs::remove_file(&beat).unwrap();
    let stranger = registry.join("thesis.txt");
    fs::write(&stranger, "precious").unwrap();
    let ran = detach(&stage.database, &["--json"]);
    let json: serde_json::Value = serde_json::from_str(&ran.out).unwrap();
    assert_eq!((ran.status.code(), &json["network_exclusive"]), (Some(1), &true.into()), "{json:#}");
    assert!(json["refused"][0].as_str().unwrap().contains("thesis.txt"), "{json:#}");
    assert_eq!(fs::read(&stranger).unwrap(), b"precious");
    fs::remove_file(stranger).unwrap();
    let json: serde_json::Value = serde_json::from_str(&detach(&stage.database, &["--json"]).ok()).unwrap();
    assert_eq!((&json["network_exclusive"], &json["refused"]), (&false.into(), &serde_json::json!([])), "{json:#}");
    assert_eq!(json["nothing_to_do"], false, "{json:#}");
    is_plain(&stage.database);
}

/// What was done is said where it can be said.
#[test]
fn a_full_disk_behind_stdout_does_not_hide_what_was_done() {
    let stage = Stage::new(NETWORK, "");
    let full = || fs::File::options().write(true).open("/dev/full").unwrap();
    for (options, said) in
        [(&["--dry-run"][..], "is in network-exclusive mode still"), (&[], "is not in network-exclusive mode now")]
    {
        let output = command(&stage.database, options).stdout(full()).output().unwrap();
        let err = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.code() == Some(2) && err.contains("stdout") && err.contains(said), "{err}");
    }
    is_plain(&stage.database);
}

#[test]
fn what_is_not_attached_needs_nothing_and_what_is_not_there_is_told() {
    let dir = common::dir();
    let database = dir.path().join("plain a?b#c.sqlite");
    fs::write(&database, "").unwrap();
    for options in [&[][..], &["--dry-run"]] {
        let said = detach(&database, options).ok();
        assert!(said.contains("nothing to do: it is a plain SQLite database") && !said.contains("done"), "{said}");
    }
    let json: serde_json::Value = serde_json::from_str(&detach(&database, &["--json"]).ok()).unwrap();
    assert_eq!((&json["nothing_to_do"], &json["removed"]), (&true.into(), &serde_json::json!([])), "{json:#}");
    let ran = detach(&dir.path().join("none.sqlite"), &[]);
    assert_eq!((ran.status.code(), ran.out.as_str()), (Some(2), ""), "{}", ran.err);
    assert!(ran.err.contains("none.sqlite"), "{}", ran.err);
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
}

/// What a killed program in trusted mode has left is no reason to refuse, and is told.
#[test]
fn what_trusted_mode_has_left_is_told() {
    let mut stage = Stage::new("coord_mode=trusted", "");
    let mut writer = stage.patient("writer");
    writer.ok(&stage.next().begin());
    writer.kill();
    let said = detach(&stage.database, &[]).ok();
    assert!(said.contains("nothing to do") && said.contains("bank.sqlite.lock is there"), "{said}");
}
