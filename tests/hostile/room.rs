//! No room: a full disk while data is written, while locks are made, while a dead node is cleared up after; limits on the
//! size of files.

use crate::common;
use crate::common::bank::Sql;
use crate::common::hostile::{self, AT_ONCE, NETWORK, TRUSTED};
use crate::common::visitor::{Visit, Visitor};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Mounted until it is dropped.
pub struct Mount(PathBuf);

impl Mount {
    /// `None` where this user may not mount.
    pub fn tmpfs(at: &Path, options: &str) -> Option<Mount> {
        Mount::with(at, &["-t", "tmpfs", "-o", options, "none"])
    }

    pub fn bind(file: &Path, at: &Path) -> Option<Mount> {
        Mount::with(at, &["--bind", file.to_str()?])
    }

    pub fn with(at: &Path, arguments: &[&str]) -> Option<Mount> {
        let mounted = Command::new("mount").args(arguments).arg(at).output().ok()?;
        mounted.status.success().then(|| Mount(at.to_owned()))
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}

/// A small disk with the usual database on it; `None`, and the test is skipped loudly, where this user may not mount.
fn small_disk(dir: &tempfile::TempDir, options: &str) -> Option<(Mount, PathBuf)> {
    let at = dir.path().join("disk");
    fs::create_dir(&at).unwrap();
    let Some(mount) = Mount::tmpfs(&at, options) else {
        common::skip("this user may not mount a tmpfs");
        return None;
    };
    let database = at.join("state.sqlite");
    hostile::fill(&database);
    Some((mount, database))
}

fn count(db: &mut impl Sql) -> String {
    db.sql("SELECT count(*) FROM t").unwrap()[0][0].clone()
}

/// What does not fit is an error, nothing is lost, no lock is left; when there is room again all goes on.
#[test]
fn a_commit_on_a_full_disk_fails_whole_and_leaves_no_lock() {
    for mode in [TRUSTED, AT_ONCE] {
        let dir = common::dir();
        let Some((_mount, database)) = small_disk(&dir, "size=200k") else { return };
        let mut db = hostile::open(&database, mode).unwrap();
        // A journal of every page of a growing database: it fails at another place each time.
        let mut failures = 0;
        for rows in [1, 3, 9, 27, 81, 200] {
            let before = count(&mut db);
            let grown = db.sql(&format!(
                "BEGIN IMMEDIATE; UPDATE t SET b = b || 'x';
                 WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {rows})
                     INSERT INTO t SELECT i, hex(zeroblob(900)) FROM n; COMMIT"
            ));
            if let Err(error) = grown {
                assert!(matches!(error.primary(), 13 | 10), "{mode}: {error}");
                let _ = db.sql("ROLLBACK");
                failures += 1;
                assert_eq!(count(&mut db), before, "{mode}: half of a transaction is there");
            }
            assert_eq!(db.sql("PRAGMA integrity_check").unwrap()[0][0], "ok", "{mode}");
            assert!(!database.with_file_name("state.sqlite.lock").exists(), "{mode}: a lock was left");
        }
        assert!(failures > 0, "{mode}: the disk was never full");
        db.sql("DELETE FROM t WHERE a > 2; VACUUM").ok();
        db.sql("INSERT INTO t VALUES(3, 3)").unwrap();
    }
}

/// No room for the name of a lock: the error is "full" and the sentence says what is in want of room.
#[test]
fn a_disk_without_room_for_a_lock_says_so() {
    for mode in [TRUSTED, AT_ONCE] {
        let dir = common::dir();
        let Some((_mount, database)) = small_disk(&dir, "size=1m,nr_inodes=32") else { return };
        let folder = database.parent().unwrap();
        let mut db = hostile::open(&database, mode).unwrap();
        assert_eq!(count(&mut db), "2");
        let bytes = fs::read(&database).unwrap();
        let mut fillers = Vec::new();
        while let filler = folder.join(format!("filler-{}", fillers.len()))
            && fs::write(&filler, "").is_ok()
        {
            fillers.push(filler);
        }
        let mut fresh = Visitor::new(dir.path());
        fresh.open(&database, mode).unwrap();
        let sql = "INSERT INTO t VALUES(3, 3)";
        for error in [db.sql(sql).unwrap_err(), fresh.sql(sql).unwrap_err()] {
            assert_eq!(error.primary(), 13, "{mode}: {error}");
        }
        for text in [hostile::complaint(&mut db), fresh.complaint()] {
            assert!(text.contains("state.sqlite.") && text.contains("free some space"), "{mode}: {text}");
        }
        if mode == AT_ONCE {
            assert_eq!(fresh.sql("SELECT count(*) FROM t").unwrap_err().primary(), 13);
        }
        assert!(fs::read(&database).unwrap() == bytes);
        assert!(!folder.join("state.sqlite.lock").exists(), "{mode}: a lock was left");
        // One free name after the other: wherever it fails in between, nothing is left behind that stays in the way.
        for filler in fillers.iter().take(6) {
            fs::remove_file(filler).unwrap();
            if let Err(error) = db.sql(sql) {
                assert!(matches!(error.primary(), 13 | 10 | 14), "{mode}: {error}");
            }
            let _ = fresh.sql(sql);
            assert!(!folder.join("state.sqlite.lock").exists(), "{mode}: a lock was left");
        }
        db.sql(sql).unwrap();
        fresh.sql(sql).unwrap();
        assert_eq!(db.sql("PRAGMA integrity_check").unwrap()[0][0], "ok");
    }
}

/// A node died in the middle of a commit and the disk is full: the error says so, nothing is half there, and with room
/// again the database is rolled back and goes on.
#[test]
fn a_crash_on_a_full_disk_is_cleared_up_once_there_is_room() {
    let dir = common::dir();
    let Some((_mount, database)) = small_disk(&dir, "size=1m,nr_inodes=40") else { return };
    let folder = database.parent().unwrap();
    let stop = Visit::default().env("COORD_TEST_STOP_AT", "finalise");
    let mut writer = stop.start(dir.path());
    writer.open(&database, &format!("{NETWORK}&coord_lease_ms=1000")).unwrap();
    writer.begin("UPDATE t SET b = 'half'");
    writer.until_stopped();
    writer.kill();
    let mut fillers = Vec::new();
    while let filler = folder.join(format!("filler-{}", fillers.len()))
        && fs::write(&filler, "").is_ok()
    {
        fillers.push(filler);
    }
    let mut db = hostile::open(&database, NETWORK).unwrap();
    let error = db.sql("SELECT count(*) FROM t").unwrap_err();
    assert_eq!(error.primary(), 13, "{error}");
    assert!(hostile::complaint(&mut db).contains("free some space"));
    for filler in fillers {
        fs::remove_file(filler).unwrap();
    }
    common::until("the roll-back", || db.sql("SELECT count(*) FROM t").is_ok());
    assert_eq!(db.sql("SELECT b FROM t WHERE a = 2").unwrap()[0][0], "two");
    db.sql("INSERT INTO t VALUES(3, 3)").unwrap();
    assert_eq!(db.sql("PRAGMA integrity_check").unwrap()[0][0], "ok");
}

/// `ulimit -f`: no file may grow beyond some bytes, the journal and the database included.
#[test]
fn a_limit_on_file_sizes_is_an_error_and_no_more() {
    for mode in [TRUSTED, NETWORK] {
        for limit in [0, 600, 20_000] {
            let place = hostile::Place::new();
            let visit = Visit { file_size: Some(limit), ..Visit::default() };
            let mut visitor = visit.start(place.dir.path());
            visitor.open(&place.database, mode).unwrap();
            let sql = "BEGIN IMMEDIATE; UPDATE t SET b = b || 'x'; INSERT INTO t VALUES(3, zeroblob(90000)); COMMIT";
            let error = visitor.sql(sql).unwrap_err();
            assert!(matches!(error.primary(), 10 | 13 | 14), "{mode} {limit}: {error}");
            let _ = visitor.sql("ROLLBACK");
            assert!(!place.lock().exists(), "{mode} {limit}: a lock was left");
            visitor.end();
            place.assert_works(mode);
        }
    }
}
