//! Takeovers of takeovers: a writer stands still in the middle of its commit, whoever breaks its lock dies or stands still at
//! a point of the takeover, a third finishes. Then both come back, in either order, and nothing is lost.

mod common;

use common::stage::{Stage, number};

#[test]
fn puppet_entry() {
    common::puppet::entry();
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Fate {
    Killed,
    Frozen,
    /// Frozen with its clock, and back before the one whose lock it broke.
    FrozenWhole,
}

fn third_finishes(point: &str, fate: Fate, shared: bool) {
    let stage = Stage::short_lease("");
    let mut stage = if shared { stage.shared() } else { stage };
    let (mut zombie, mut breaker) = (stage.patient("zombie"), stage.patient("breaker"));
    stage.pays(&mut breaker);
    let transfer = stage.next();
    let number = number(&zombie.ok(&transfer.begin()));
    zombie.stops_in(&["database-write"; 3], "COMMIT");
    for _ in 0..2 {
        zombie.thaw();
        zombie.wait_stopped();
    }
    breaker.stops_in(&[point], "BEGIN IMMEDIATE");
    let mut third = stage.patient("third");
    let mut breaker = match fate {
        Fate::Killed => {
            breaker.kill();
            None
        }
        Fate::Frozen => Some(breaker),
        Fate::FrozenWhole => {
            breaker.clock_stops();
            Some(breaker)
        }
    };
    for _ in 0..2 {
        stage.pays(&mut third);
    }
    let comes_back = |breaker: &mut common::puppet::Puppet| {
        breaker.thaw();
        if let Err(error) = breaker.answer() {
            assert!(!error.is_busy(), "{point} {fate:?}: {error}");
        }
        breaker.clock_goes();
        let _ = breaker.sql("ROLLBACK");
    };
    if let (Fate::FrozenWhole, Some(breaker)) = (fate, &mut breaker) {
        comes_back(breaker);
        stage.pays(&mut third);
    }
    zombie.thaw();
    let answer = zombie.answer();
    assert!(answer.is_err(), "{point} {fate:?}: the one that was broken off reported a commit");
    stage.note_commit(&transfer, number, &answer);
    stage.pays(&mut third);
    if let (Fate::Frozen, Some(breaker)) = (fate, &mut breaker) {
        comes_back(breaker);
    }
    let _ = zombie.sql("ROLLBACK");
    for puppet in [Some(&mut zombie), breaker.as_mut(), Some(&mut third)].into_iter().flatten() {
        stage.pays(puppet);
    }
    drop((zombie, breaker, third));
    let wrong = stage.wrong();
    assert!(wrong.is_empty(), "{point} {fate:?}: {wrong:#?}");
    assert_eq!(stage.names_in(".lock"), [""; 0], "{point} {fate:?}: left in the lock directory");
}

fn at_every_point(fate: Fate, shared: bool) {
    let points = [
        "takeover-listed",
        "fence-copied",
        "fence-named",
        "fence-ready",
        "fence-between",
        "fence-replaced",
        "takeover-clearing",
    ];
    // Two at a time: they mostly wait for leases.
    for pair in points.chunks(2) {
        std::thread::scope(|scope| {
            let threads: Vec<_> =
                pair.iter().map(|point| scope.spawn(|| third_finishes(point, fate, shared))).collect();
            threads.into_iter().for_each(|thread| thread.join().expect("it holds"));
        });
    }
}

#[test]
fn of_a_breaker_that_died() {
    at_every_point(Fate::Killed, false);
}

#[test]
fn of_a_breaker_that_stands_still() {
    at_every_point(Fate::Frozen, false);
}

#[test]
fn of_a_breaker_that_was_frozen_whole() {
    at_every_point(Fate::FrozenWhole, false);
}

/// Where other hosts may have requests on their way, live files are moved aside in place of being renamed over, and who comes back
/// in the middle of that takes what is live away for a moment: the holder of L puts it back, without an error for its program.
#[test]
fn on_a_shared_filesystem() {
    for fate in [Fate::Killed, Fate::Frozen, Fate::FrozenWhole] {
        at_every_point(fate, true);
    }
}

/// The live database was moved aside late, and before anybody looked a program without coord found none and made an empty one.
/// What the next one is told, and what lies aside then.
fn made_in_its_place(without: &'static str) -> (Stage, String, Vec<String>) {
    let mut stage = Stage::short_lease(without).shared();
    let mut puppet = stage.patient("before");
    stage.pays(&mut puppet);
    drop(puppet);
    let registry = std::path::PathBuf::from(format!("{}.readers", stage.database.display()));
    std::fs::rename(&stage.database, registry.join("aside.elsewhere-00000000-1-0000000000000001.5.database")).unwrap();
    std::fs::write(&stage.database, "").unwrap();
    let mut puppet = stage.patient("after");
    puppet.sql("SELECT count(*) FROM accounts").expect_err("the bank is not there");
    let told = puppet.ok("PRAGMA coord_error");
    drop(puppet);
    let mut aside = stage.names_in(".readers");
    aside.retain(|name| name.starts_with("aside."));
    let told = told.first().map(|row| row[0].clone()).unwrap_or_default();
    (stage, told, aside)
}

#[test]
fn what_lies_aside_of_an_empty_database_stays() {
    let (mut stage, told, aside) = made_in_its_place("");
    assert!(told.contains("is empty, and") && told.contains(&aside[0]), "{told}");
    // As the message says.
    std::fs::remove_file(&stage.database).unwrap();
    let mut puppet = stage.patient("later");
    stage.pays(&mut puppet);
    drop(puppet);
    stage.assert_right();
}

/// The negative control: the whole bank is gone.
#[test]
fn without_the_guard_it_is_gone() {
    let (_, told, aside) = made_in_its_place("stray-database");
    assert!(aside.is_empty(), "{told} {aside:?}");
}

/// `coord inspect --json`: its status, and what it says of the holder of the write lock.
fn inspected(stage: &Stage) -> (Option<i32>, String) {
    let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_coord"));
    let output = command.args(["inspect", "--json"]).arg(&stage.database).output().expect("it runs");
    let json: serde_json::Value = serde_json::from_slice(&output.stdout).expect("JSON");
    let rows = json["locks"].as_array().expect("rows").iter();
    let writer = rows.filter(|row| row["kind"] == "write").map(|row| row["verdict"].to_string()).collect();
    (output.status.code(), writer)
}

/// A process that stands still is no living holder, though it is there.
#[test]
fn inspect_tells_a_frozen_holder_from_a_living_one() {
    let mut stage = Stage::short_lease("");
    let mut holder = stage.patient("holder");
    holder.ok(&stage.next().begin());
    let (status, says) = inspected(&stage);
    assert!(status == Some(0) && says.contains("alive"), "{says}");
    holder.freeze();
    inspected(&stage);
    common::until("it to be silent", || inspected(&stage).1.contains("silent"));
    let (status, says) = inspected(&stage);
    assert!(status == Some(1) && says.contains("stands still"), "{says}");
}

#[test]
fn inspect_tells_a_dead_writer_in_trusted_mode() {
    let mut stage = Stage::new("", "");
    let mut holder = stage.patient("holder");
    holder.ok(&stage.next().begin());
    let (status, says) = inspected(&stage);
    assert!(status == Some(0) && says.contains("alive"), "{says}");
    holder.kill();
    let (status, says) = inspected(&stage);
    assert!(status == Some(1) && says.contains("dead"), "{says}");
}

/// Where SQLite's own locks decide, who has them without coord is told as well.
#[test]
fn inspect_tells_who_has_sqlites_own_locks() {
    let mut stage = Stage::new("", "");
    let mut reader = stage.hasty("reader");
    reader.ok("BEGIN; SELECT count(*) FROM account");
    let plain = rusqlite::Connection::open(&stage.database).unwrap();
    plain.execute_batch("BEGIN IMMEDIATE").unwrap();
    let output =
        std::process::Command::new(env!("CARGO_BIN_EXE_coord")).arg("inspect").arg(&stage.database).output().unwrap();
    let (status, says) = (output.status.code(), String::from_utf8_lossy(&output.stdout).into_owned());
    let tells =
        |kind: &str, pid: u32| says.lines().any(|line| line.contains(kind) && line.contains(&format!("pid {pid} ")));
    assert!(tells("native-reserved", std::process::id()) && tells("native-shared", reader.pid()), "{says}");
    assert_eq!(status, Some(0), "{says}");
    let mut writer = stage.hasty("writer");
    assert!(writer.sql(&stage.next().begin()).is_err());
    let sentence = writer.ok("PRAGMA coord_error");
    assert!(format!("{sentence:?}").contains("`coord inspect"), "{sentence:?}");
}
