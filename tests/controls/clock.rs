//! The checks of the lease: around reads and writes, after a commit, before RESERVED.

use super::common::bank;
use super::common::stage::{Stage, number};
use super::{Wrong, control};

/// A reader frozen past its lease between two reads of one transaction, while another process commits.
fn frozen_reader(without: &str) -> (Stage, Result<i64, String>) {
    let mut stage = Stage::short_lease(without);
    let (mut reader, mut writer) = (stage.hasty("reader"), stage.patient("writer"));
    let read = |rows: &bank::Rows| rows[0][0].parse::<i64>().expect("a balance");
    let first = read(&reader.ok("PRAGMA cache_size=1; BEGIN; SELECT balance FROM account WHERE id = 0"));
    reader.freeze();
    writer.ok("UPDATE account SET balance = balance + CASE id WHEN 0 THEN 500 WHEN 15 THEN -500 ELSE 0 END;");
    reader.thaw();
    let second = reader.sql("SELECT balance FROM account WHERE id = 15");
    stage.pays(&mut writer);
    (stage, second.map(|rows| first + read(&rows)).map_err(|error| error.to_string()))
}

#[test]
fn a_read_is_not_answered_after_the_lease_has_run_out() {
    control(&["lease-check"], "after its lease had run out", |without| match frozen_reader(without) {
        (_, Ok(_)) => vec!["a read was answered after its lease had run out".into()],
        (_, Err(_)) => Wrong::new(),
    });
}

/// Without the lease check the fence still keeps a frozen reader on its old snapshot, and without the fence the lease check
/// tells it; without both it reads a mix.
#[test]
fn a_frozen_reader_never_reads_a_mix() {
    control(&["lease-check", "fence"], "a mix", |without| match frozen_reader(without) {
        (_, Ok(sum)) if sum != 2 * bank::FIRST_BALANCE => vec![format!("a mix of two states: {sum}")],
        _ => Wrong::new(),
    });
}

/// A writer frozen in the middle of its commit, at `point`, until somebody else has taken over and committed. With
/// `clock_stands` its clock was frozen with it and knows nothing.
fn frozen_writer(without: &str, point: &str, clock_stands: bool) -> Wrong {
    let mut stage = Stage::short_lease(without);
    let (mut zombie, mut heir) = (stage.patient("zombie"), stage.patient("heir"));
    stage.pays(&mut zombie);
    let transfer = stage.next();
    let number = number(&zombie.ok(&transfer.begin()));
    zombie.stops_in(&[point], "COMMIT");
    if clock_stands {
        zombie.clock_stops();
    }
    stage.pays(&mut heir);
    zombie.thaw();
    let answer = zombie.answer();
    stage.note_commit(&transfer, number, &answer);
    if answer.is_err() {
        let _ = zombie.sql("ROLLBACK");
    }
    drop((zombie, heir));
    stage.wrong()
}

/// Whose clock went on learns from it; the heartbeat after the commit says it once more.
#[test]
fn a_commit_after_the_lease_has_run_out_is_not_reported() {
    for point in ["database-write", "finalise"] {
        control(&["lease-check", "commit-check"], "LOST", |without| frozen_writer(without, point, false));
    }
    // After this point the commit is in the file, and stays whatever its writer is told.
    let wrong = frozen_writer("", "finalised", false);
    assert!(wrong.is_empty(), "{wrong:#?}");
}

/// Whose clock stood still learns from the heartbeat after the commit alone.
#[test]
fn a_commit_of_a_machine_that_was_frozen_whole_is_not_reported() {
    control(&["commit-check"], "LOST", |without| frozen_writer(without, "finalise", true));
}

/// A machine frozen whole between entering the lock directory and confirming it: it would write its journal over that of
/// its successor, who dies in the middle of a commit and then cannot be rolled back.
#[test]
fn reserved_counts_only_once_it_is_confirmed() {
    control(&["reserved-check", "alone-again", "earlier-writers"], "integrity_check", |without| {
        let mut stage = Stage::short_lease(without);
        let (mut zombie, mut heir) = (stage.hasty("zombie"), stage.patient("heir"));
        let (lost, transfer) = (stage.next(), stage.next());
        zombie.stops_in(&["alone-in-lock"], &lost.begin());
        zombie.clock_stops();
        heir.ok(&transfer.begin());
        heir.stops_in(&["database-write"; 3], "COMMIT");
        for _ in 0..2 {
            heir.thaw();
            heir.wait_stopped();
        }
        zombie.thaw();
        let mut wrong = Wrong::new();
        if zombie.answer().is_ok() {
            wrong.push("two nodes hold the write lock".into());
        }
        let _ = zombie.sql("ROLLBACK");
        heir.kill();
        drop(zombie);
        wrong.extend(stage.wrong());
        wrong
    });
}
