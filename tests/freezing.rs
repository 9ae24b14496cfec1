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
    let error = breaker.answer().expect_err("it was deposed");
    assert!(!error.is_busy(), "{error}");
    zombie.thaw();
    zombie.answer().expect_err("it was deposed");
    let _ = number;
    for _ in 0..3 {
        stage.pays(&mut heir);
    }
    drop((zombie, breaker, heir));
    stage.assert_right();
}
