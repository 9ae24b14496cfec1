//! One exact schedule each: processes that stop at a named point of the protocol for longer than their lease, or die there,
//! while others go on. What was reported stays, nobody reads a mix, and who comes back late gets an error.

mod common;

use common::stage::{Stage, number};

#[test]
fn puppet_entry() {
    common::puppet::entry();
}

/// A breaker that stands still between finishing its copies and giving them their final name, is deposed, and gives the
/// name while its successor has already looked for copies: its old copy must never be renamed over the database later.
#[test]
fn a_copy_that_gets_its_name_too_late_never_replaces_the_database() {
    let mut stage = Stage::short_lease("");
    let (mut zombie, mut breaker, mut heir) =
        (stage.patient("zombie"), stage.patient("breaker"), stage.patient("heir"));
    stage.pays(&mut zombie);
    let lost = stage.next();
    zombie.ok(&lost.begin());
    zombie.stops_in(&["database-write"], "COMMIT");
    breaker.stops_in(&["fence-copied", "fence-named"], "BEGIN IMMEDIATE");
    heir.stops_in(&["takeover-listed"], "BEGIN IMMEDIATE");
    breaker.thaw();
    breaker.wait_stopped();
    heir.thaw();
    heir.answer().expect("it takes over");
    heir.ok("COMMIT");
    for _ in 0..3 {
        stage.pays(&mut heir);
    }
    breaker.thaw();
    // Deposed while it held nothing of its own, it starts over.
    breaker.answer().expect("it waits for its turn");
    breaker.ok("ROLLBACK");
    zombie.thaw();
    zombie.answer().expect_err("it was deposed");
    for _ in 0..3 {
        stage.pays(&mut heir);
    }
    drop((zombie, breaker, heir));
    stage.assert_right();
}

/// A connection that holds nothing sends no heartbeats, and a takeover deposes whoever was silent: that must cost it
/// nothing but a new registration.
#[test]
fn a_takeover_does_not_disturb_an_idle_connection() {
    let mut stage = Stage::short_lease("");
    let (mut idle, mut zombie, mut heir) = (stage.hasty("idle"), stage.patient("zombie"), stage.patient("heir"));
    stage.pays(&mut idle);
    zombie.stops_in(&["exclusive-announced"], &(stage.next().begin() + "COMMIT"));
    stage.pays(&mut heir);
    let beats = stage.names_in(".readers").iter().filter(|name| name.starts_with("beat.")).count();
    println!("{beats} heartbeats are left");
    let view = common::bank::view(&mut idle).expect("it may read");
    assert_eq!(view.wrong(2), None);
    stage.pays(&mut idle);
    zombie.thaw();
    zombie.answer().expect_err("it was deposed");
    drop((idle, zombie, heir));
    stage.assert_right();
}

/// A machine that was frozen whole, its clock with it, between two steps: it makes a name after it was deposed and that
/// was cleared up, learns at once that it is nobody any more, and must take that name away: a name of a node that nobody
/// knows holds everybody up for a whole default lease.
#[test]
fn who_comes_back_deposed_leaves_no_name_behind() {
    for point in ["made-lock", "entered-lock", "alone-in-lock", "before-exclusive", "exclusive-announced"] {
        let mut stage = Stage::short_lease("");
        let (mut zombie, mut heir) = (stage.patient("zombie"), stage.patient("heir"));
        let transfer = stage.next();
        zombie.stops_in(&[point], &(transfer.begin() + "COMMIT"));
        zombie.clock_stops();
        stage.pays(&mut heir);
        // It comes back in the middle of somebody else's transaction.
        heir.ok("BEGIN IMMEDIATE");
        zombie.thaw();
        let error = zombie.answer().expect_err(point);
        assert!(!error.is_busy(), "{point}: {error}");
        heir.ok("COMMIT");
        zombie.clock_goes();
        // Somebody who has not watched it before.
        let mut third = stage.patient("third");
        let begun = std::time::Instant::now();
        stage.pays(&mut third);
        let waited = begun.elapsed();
        assert!(
            waited.as_secs() < 10,
            "{point}: it took {waited:?}; {:?} {:?}",
            stage.names_in(".lock"),
            stage.names_in(".readers")
        );
        let _ = zombie.sql("ROLLBACK");
        stage.pays(&mut zombie);
        drop((zombie, heir, third));
        stage.assert_right();
    }
}

/// The same with a breaker that is about to fence, with the clock going on: it says that it is exclusive and learns then that it
/// is nobody any more.
#[test]
fn a_breaker_who_comes_back_deposed_leaves_no_name_behind() {
    let mut stage = Stage::short_lease("");
    let (mut zombie, mut breaker, mut heir) =
        (stage.patient("zombie"), stage.patient("breaker"), stage.patient("heir"));
    zombie.ok(&stage.next().begin());
    zombie.stops_in(&["database-write"], "COMMIT");
    breaker.stops_in(&["takeover-listed"], "BEGIN IMMEDIATE");
    stage.pays(&mut heir);
    // It comes back in the middle of somebody else's transaction, whose lock directory it takes for its own.
    let transfer = stage.next();
    let number = number(&heir.ok(&transfer.begin()));
    breaker.thaw();
    let beat = format!("-{}-", breaker.pid());
    let anew = |name: &String| name.starts_with("beat.") && name.contains(&beat);
    common::until("the breaker to begin anew", || stage.names_in(".readers").iter().any(anew));
    let begun = std::time::Instant::now();
    let answer = heir.sql("COMMIT");
    let waited = begun.elapsed();
    assert!(answer.is_ok() && waited.as_secs() < 10, "{answer:?} after {waited:?}: {:?}", stage.names_in(".readers"));
    stage.note_commit(&transfer, number, &answer);
    breaker.answer().expect("it waits for its turn");
    drop((zombie, breaker, heir));
    stage.assert_right();
}

/// A writer in the middle of its transaction fences a silent reader off, and cannot open its journal again afterwards. What it has
/// written there was synced before it was closed (`tests/pager/takeover.rs` has the control), so that it can give the lock back.
#[test]
fn who_cannot_open_its_journal_again_loses_nothing() {
    let mut stage = Stage::short_lease("").shared();
    let (mut silent, mut writer) = (stage.patient("silent"), stage.patient("writer"));
    silent.ok("BEGIN; SELECT n FROM counter");
    silent.freeze();
    let transfer = stage.next();
    let number = number(&writer.ok(&transfer.begin()));
    writer.stops_in(&["fence-replaced"], "COMMIT");
    let journal = stage.database.with_extension("sqlite-journal");
    let elsewhere = stage.database.with_extension("elsewhere");
    std::fs::rename(&journal, &elsewhere).expect("the journal is there");
    std::fs::create_dir(&journal).expect("something that cannot be opened");
    writer.thaw();
    let answer = writer.answer();
    assert!(answer.is_err(), "it has no journal");
    stage.note_commit(&transfer, number, &answer);
    let _ = writer.sql("ROLLBACK");
    std::fs::remove_dir(&journal).expect("it is removed");
    std::fs::rename(&elsewhere, &journal).expect("the journal is put back");
    let mut heir = stage.patient("heir");
    stage.pays(&mut heir);
    silent.thaw();
    drop((silent, writer, heir));
    let wrong = stage.wrong();
    assert!(wrong.is_empty(), "{wrong:#?}");
}

/// The same with a reader's name: it had nothing to lose, so it registers anew and goes on.
#[test]
fn who_was_deposed_on_its_way_in_comes_in_again() {
    let mut stage = Stage::short_lease("");
    let (mut zombie, mut heir) = (stage.patient("zombie"), stage.patient("heir"));
    let transfer = stage.next();
    zombie.stops_in(&["reader-announced"], &(transfer.begin() + "COMMIT"));
    zombie.clock_stops();
    stage.pays(&mut heir);
    zombie.thaw();
    let number = number(&zombie.answer().expect("it starts anew"));
    stage.note_commit(&transfer, number, &Ok(Vec::new()));
    assert_eq!(number, 2);
    drop((zombie, heir));
    stage.assert_right();
}

/// Trusted mode: who dies between making the lock directory and putting its name into it leaves an empty one, which must
/// not be taken for that of a `unix-dotfile` client, as that would keep every writer out for minutes.
#[test]
fn an_empty_lock_directory_of_ours_is_entered_at_once() {
    let mut stage = Stage::new("coord_mode=trusted", "");
    let (mut victim, mut other) = (stage.hasty("victim"), stage.hasty("other"));
    victim.stops_in(&["made-trusted-lock"], "BEGIN IMMEDIATE");
    victim.kill();
    assert_eq!(stage.names_in(".lock"), [""; 0]);
    stage.pays(&mut other);
    drop(other);
    stage.assert_right();
}

/// Who waits inside the lock call can be told to stop, and is told that it was stopped: "locked" would send it, through its
/// busy handler, straight back into the wait.
#[test]
fn a_wait_can_be_interrupted() {
    let stage = Stage::long_lease("");
    let mut holder = stage.hasty("holder");
    holder.ok("BEGIN IMMEDIATE");
    let db = stage.opener.open(&stage.database).expect("the database opens");
    db.busy_timeout(std::time::Duration::from_secs(5)).expect("a timeout");
    let (handle, ended) = (db.get_interrupt_handle(), std::sync::atomic::AtomicBool::new(false));
    let error = std::thread::scope(|scope| {
        // Again and again, as a statement that only begins forgets what was said before.
        scope.spawn(|| {
            while !ended.load(std::sync::atomic::Ordering::Acquire) {
                handle.interrupt();
                std::thread::sleep(std::time::Duration::from_millis(1));
            }
        });
        let error = db.execute_batch("BEGIN IMMEDIATE").expect_err("it is locked");
        ended.store(true, std::sync::atomic::Ordering::Release);
        error
    });
    assert_eq!(error.sqlite_error_code(), Some(rusqlite::ErrorCode::OperationInterrupted), "{error}");
    holder.ok("COMMIT");
    db.execute_batch("BEGIN IMMEDIATE; COMMIT").expect("nothing was left behind");
}
