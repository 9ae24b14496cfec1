//! Trusted mode: the native locks decide among those that have them, and the lock directory keeps `unix-dotfile` clients out, so
//! it must not be taken from under anybody who writes.

use super::common::bank;
use super::common::forked::{Child, End, undone_beside_a_child};
use super::common::stage::Stage;
use super::{Wrong, control};
use rusqlite::{Connection, OpenFlags};
use std::path::PathBuf;

fn stage(without: &str) -> Stage {
    Stage::new("coord_mode=trusted", without)
}

fn lock(stage: &Stage) -> PathBuf {
    let mut path = stage.database.clone().into_os_string();
    path.push(".lock");
    path.into()
}

/// A program that knows nothing of coord, in a transaction that writes.
fn writer(stage: &Stage, vfs: &str) -> Connection {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE;
    let db = Connection::open_with_flags_and_vfs(&stage.database, flags, vfs).expect("it opens");
    db.execute_batch("BEGIN IMMEDIATE").expect("nobody else is there");
    db
}

/// The holder is not known to be dead, and has the native lock.
#[test]
fn a_name_is_taken_away_only_with_the_native_lock() {
    control(&["names-under-lock"], "taken away", |without| {
        let stage = stage(without);
        let living = writer(&stage, "unix");
        // As one with another boot identity, which a container may have.
        let name = "write.host9-00000009-9-00000000000000ff.1";
        std::fs::create_dir(lock(&stage)).expect("nobody is there");
        std::fs::write(lock(&stage).join(name), "").expect("it is made");
        let mut other = stage.hasty("other");
        other.sql("BEGIN IMMEDIATE").expect_err("the native lock is held");
        let mut wrong = Wrong::new();
        if stage.names_in(".lock") != [name] {
            wrong.push("the living holder's name was taken away".into());
        }
        living.execute_batch("ROLLBACK").expect("it ends");
        drop(living);
        other.ok("BEGIN IMMEDIATE; COMMIT");
        assert!(!lock(&stage).exists(), "what he has left is cleared up");
        drop(other);
        wrong.extend(stage.wrong());
        wrong
    });
}

/// Somebody has removed the directory of who stood still before he had the native lock, and another has made his own.
#[test]
fn who_is_not_in_the_lock_directory_any_more_does_not_write() {
    control(&["still-entered"], "", |without| {
        let stage = stage(without);
        let mut late = stage.hasty("late");
        late.stops_in(&["entered-trusted-lock"], "BEGIN IMMEDIATE");
        std::fs::remove_dir_all(lock(&stage)).expect("it is there");
        let other = writer(&stage, "unix-dotfile");
        late.thaw();
        let mut wrong = Wrong::new();
        if late.answer().is_ok() {
            wrong.push("two write at once".into());
            let _ = late.sql("ROLLBACK");
        }
        if !lock(&stage).exists() {
            wrong.push("the other's lock directory is gone".into());
        }
        other.execute_batch("COMMIT").expect("it ends");
        drop((late, other));
        wrong.extend(stage.wrong());
        wrong
    });
}

/// Who died in the lock directory has left a note that it is his; it was removed by hand since, and another one made.
#[test]
fn an_empty_lock_directory_is_ours_only_if_we_have_made_it() {
    control(&["own-directory"], "two write at once", |without| {
        let mut stage = stage(without);
        let mut dead = stage.hasty("dead");
        stage.pays(&mut dead);
        dead.ok("BEGIN IMMEDIATE");
        dead.kill();
        std::fs::remove_dir_all(lock(&stage)).expect("it is there");
        let stranger = writer(&stage, "unix-dotfile");
        let mut next = stage.hasty("next");
        let transfer = stage.next();
        let outcome = bank::transfer(&mut next, &transfer);
        let mut wrong = Wrong::new();
        if matches!(outcome, bank::Outcome::Committed(_)) {
            wrong.push("two write at once".into());
        }
        stranger.execute_batch("ROLLBACK").expect("it ends");
        drop((next, stranger));
        wrong
    });
}

/// A child that rolls back cuts the journal that its parent goes on to write; one that changes something writes over what its parent
/// has written.
#[test]
fn a_forked_child_makes_no_use_of_its_parents_journal() {
    for (journal, child) in [("TRUNCATE", Child::Closes), ("PERSIST", Child::Closes), ("DELETE", Child::Writes)] {
        control(&["forked-journal"], "what was undone is there", |without| {
            undone_beside_a_child(&stage(without), journal, child, End::Rollback)
        });
    }
}

/// Two have died here in containers of which nothing can be known (their pid namespaces are others), one beside the other: each name
/// is waited for by itself, and both are waited out together.
#[test]
fn several_names_of_the_dead_keep_nobody_out_for_ever() {
    let mut stage = stage("");
    let mut next = stage.hasty("next");
    stage.pays(&mut next);
    next.ok("BEGIN IMMEDIATE");
    let own = stage.names_in(".lock").remove(0);
    next.ok("COMMIT");
    // Of this boot, and with no liveness file anywhere.
    let (host, _) = own.rsplit_once('-').and_then(|(node, _)| node.rsplit_once('-')).expect("a node's name");
    std::fs::create_dir(lock(&stage)).expect("nobody is there");
    for pid in [4_000_001, 4_000_002] {
        std::fs::write(lock(&stage).join(format!("{host}-{pid}-00000000000000ff.1")), "").expect("it is made");
    }
    next.sql("BEGIN IMMEDIATE").expect_err("they may live");
    let begun = std::time::Instant::now();
    while next.sql("BEGIN IMMEDIATE; COMMIT").is_err() {
        assert!(begun.elapsed().as_secs() < 50, "kept out for ever by {:?}", stage.names_in(".lock"));
        std::thread::sleep(std::time::Duration::from_millis(200));
    }
    assert!(begun.elapsed().as_secs() >= 29, "{:?}", begun.elapsed());
    assert!(!lock(&stage).exists(), "what they have left is cleared up");
    drop(next);
    stage.assert_right();
}
