//! Killed before each system call of a commit, of a takeover and of a first opening, and recovered by another process: what
//! is found is what was before or what was to come, never between, and what was reported is there. And with each system
//! call failed in turn: an error or success, nothing lost, no lock left behind.

#![cfg(target_os = "linux")]

mod common;

use common::faults::loops::{Failure, Met, Steps, fail_each, kill_at_each, open_and_turn, open_and_turn_with};
use common::faults::stepper::{self, Child, Mouth};
use common::faults::world::{self, World};
use common::faults::zombie::Zombie;
use common::faults::{alone, calls};

const NETWORK: &str = "coord_mode=network-exclusive";
const TRUSTED: &str = "coord_mode=trusted";
/// Pages are written to the database long before COMMIT.
const SPILL: &str = "PRAGMA cache_size=2";

fn killed_commit(steps: Steps, mode: &str, prelude: &str) -> Met {
    world::load();
    let template = World::founded(mode);
    let victim = |world: &World, mouth: &mut Mouth| open_and_turn(world, prelude, mouth);
    kill_at_each(steps, 0, || template.copy(), victim, |_| (), |_, ()| ())
}

/// Everything that a dead writer of network-exclusive mode can leave.
const TRACES: [&str; 7] = ["hot journal", "L write", "L empty", "G exclusive", "G reader", "G new", "G beat"];

#[test]
fn a_commit_killed_at_any_call_is_whole() {
    alone("a_commit_killed_at_any_call_is_whole", "", || {
        killed_commit(Steps::changes(), NETWORK, "").right(&TRACES);
    });
}

#[test]
fn a_commit_that_spills_killed_at_any_call_is_whole() {
    alone("a_commit_that_spills_killed_at_any_call_is_whole", "", || {
        killed_commit(Steps::changes(), NETWORK, SPILL).right(&TRACES);
    });
}

#[test]
fn a_trusted_commit_killed_at_any_call_is_whole() {
    alone("a_trusted_commit_killed_at_any_call_is_whole", "", || {
        let met = killed_commit(Steps::changes(), TRUSTED, SPILL).but_for_an_unmarked_lock();
        met.right(&["hot journal", "L write", "L empty"]);
    });
}

/// Before: no table. The registry is made on the way, under the platform's own locks.
#[test]
fn a_first_opening_killed_at_any_call_is_whole() {
    alone("a_first_opening_killed_at_any_call_is_whole", "", || {
        world::load();
        let victim = |world: &World, mouth: &mut Mouth| {
            stepper::begin();
            if world.open().is_ok_and(|mut db| world::found(&mut db).is_ok()) {
                mouth.say("turned");
            }
            stepper::end();
        };
        let met = kill_at_each(Steps::changes(), -1, || World::empty(NETWORK), victim, |_| (), |_, ()| ());
        met.but_for_an_unmarked_lock().right(&TRACES);
    });
}

/// A world whose holder died with half of its pages written.
fn half_written() -> World {
    let world = World::founded(NETWORK);
    let writes = |stop_at: usize| {
        let mut child = Child::stepped(|mouth| open_and_turn(&world, SPILL, mouth));
        let mut count = 0;
        child.run_to(|child, call| {
            let name = calls::describe(call).0;
            count += usize::from(name == "write" && child.descriptor(call.args[0]).ends_with("/db.sqlite"));
            count == stop_at
        });
        (count, child)
    };
    // The first goes through, so what follows is a second generation.
    let (all, child) = writes(usize::MAX);
    assert_eq!(child.kill(), ["turned"]);
    let (_, child) = writes(all / 2);
    assert!(child.kill().is_empty());
    assert!(world.traces().contains("hot journal"), "{:?}", world.traces());
    world
}

fn killed_takeover(steps: Steps) -> Met {
    world::load();
    let template = half_written();
    let victim = |world: &World, mouth: &mut Mouth| open_and_turn(world, "", mouth);
    kill_at_each(steps, 1, || template.copy(), victim, |_| (), |_, ()| ())
}

/// The holder died in the middle of its commit; who takes over, rolls back and commits dies too, at each call in turn.
#[test]
fn a_takeover_killed_at_any_call_is_whole() {
    alone("a_takeover_killed_at_any_call_is_whole", "", || {
        killed_takeover(Steps::changes()).right(&["G deposed", "G exclusive", "hot journal", "L write"]);
    });
}

/// The holder stands still in the middle of its commit for longer than its lease. Who deposed it dies right after that, so
/// no run has to wait; each has the frozen one's descriptors, and what it writes late comes after each kill.
fn killed_fence(steps: Steps) -> Met {
    world::load();
    let world = World::founded(NETWORK);
    let mut frozen = Child::stepped(|mouth| open_and_turn_with(&world, "&coord_lease_ms=1000", SPILL, mouth));
    let mut count = 0;
    frozen.run_to(|child, call| {
        let name = calls::describe(call).0;
        count += usize::from(name == "write" && child.descriptor(call.args[0]).ends_with("/db.sqlite"));
        count == 3
    });
    frozen.freeze();
    let mut deposer = Child::stepped(|_| {
        stepper::begin();
        let mut db = world.open().expect("opens");
        while world::turn(&mut db).is_err() {
            std::thread::sleep(std::time::Duration::from_millis(20));
        }
    });
    let deposing = |child: &Child, call: &stepper::Call| {
        calls::rename_target(call).is_some_and(|path| child.text(path).contains("/deposed."))
    };
    deposer.run_to(deposing).expect("somebody is deposed");
    deposer.run_to(|_, _| true);
    deposer.kill();
    for trace in ["G deposed", "G exclusive", "L write", "hot journal"] {
        assert!(world.traces().contains(trace), "{trace}: {:?}", world.traces());
    }
    let victim = |world: &World, mouth: &mut Mouth| open_and_turn(world, "", mouth);
    let zombie = |world: &World| Zombie::of(&world.database(), &world.beside("-journal"));
    let met = kill_at_each(steps, 0, || world.copy(), victim, zombie, |_, zombie| zombie.strike());
    drop(frozen);
    met
}

#[test]
fn a_fence_killed_at_any_call_is_whole_whatever_the_frozen_one_writes() {
    alone("a_fence_killed_at_any_call_is_whole_whatever_the_frozen_one_writes", "", || {
        let met = killed_fence(Steps::changes());
        met.right(&["L fence journal", "L fence database", "L fence ready", "G epoch", "G deposed", "hot journal"]);
    });
}

// --- each call failed in turn ---

fn failed_commit(steps: Steps, mode: &str, prelude: &str, failures: &[Failure]) -> Met {
    world::load();
    let template = World::founded(mode);
    let each = failures.iter().map(|failure| fail_each(steps, *failure, 0, || template.copy(), prelude));
    each.fold(Met::default(), Met::and)
}

/// What can go wrong with a call. Only over a network is one carried out whose answer is lost.
const FAILURES: [Failure; 6] = [
    Failure::Refused(libc::EIO),
    Failure::Refused(libc::ENOSPC),
    Failure::Refused(libc::EACCES),
    Failure::Refused(libc::EINTR),
    Failure::Lied(libc::EIO),
    Failure::Lied(libc::EINTR),
];

#[test]
fn a_commit_with_any_call_failed_is_an_error_or_done() {
    alone("a_commit_with_any_call_failed_is_an_error_or_done", "", || {
        failed_commit(Steps::every(), NETWORK, "", &FAILURES).right_though_failed();
    });
}

#[test]
fn a_commit_that_spills_with_any_call_failed_is_an_error_or_done() {
    alone("a_commit_that_spills_with_any_call_failed_is_an_error_or_done", "", || {
        failed_commit(Steps::every().sampled(3), NETWORK, SPILL, &FAILURES[..2]).right_though_failed();
    });
}

#[test]
fn a_trusted_commit_with_any_call_failed_is_an_error_or_done() {
    alone("a_trusted_commit_with_any_call_failed_is_an_error_or_done", "", || {
        failed_commit(Steps::every(), TRUSTED, "", &FAILURES[..4]).right_though_failed();
    });
}

/// The process whose call fails is taking over from a dead one.
#[test]
fn a_takeover_with_any_call_failed_is_an_error_or_done() {
    alone("a_takeover_with_any_call_failed_is_an_error_or_done", "", || {
        world::load();
        let template = half_written();
        let fail = |failure| fail_each(Steps::every().sampled(2), failure, 1, || template.copy(), "");
        fail(Failure::Refused(libc::EIO)).and(fail(Failure::Lied(libc::EIO))).right_though_failed();
    });
}

/// The database lies aside, as in the middle of a takeover: an opening that may make one must not, whatever it cannot learn.
fn failed_beside_an_aside() -> Met {
    world::load();
    let template = World::founded(NETWORK);
    std::fs::create_dir_all(template.beside(".readers")).expect("a registry");
    let aside = template.beside(".readers").join("aside.breaker-00000000-7-0000000000000001.9.database");
    std::fs::rename(template.database(), aside).expect("it is there");
    fail_each(Steps::every(), Failure::Refused(libc::EIO), 0, || template.copy(), "")
}

#[test]
fn an_opening_beside_an_aside_with_any_call_failed_makes_nothing() {
    alone("an_opening_beside_an_aside_with_any_call_failed_makes_nothing", "", || {
        failed_beside_an_aside().right_though_failed();
    });
}

// --- the same with a guard taken out: the loops must notice ---

#[test]
fn without_the_look_for_a_hot_journal_a_killed_commit_is_torn() {
    alone("without_the_look_for_a_hot_journal_a_killed_commit_is_torn", "hot-journal", || {
        killed_commit(Steps::changes().sampled(3), NETWORK, SPILL).caught("neither before nor after");
    });
}

#[test]
fn without_the_look_for_a_hot_journal_a_killed_takeover_is_torn() {
    alone("without_the_look_for_a_hot_journal_a_killed_takeover_is_torn", "hot-journal", || {
        killed_takeover(Steps::changes().sampled(9)).caught("neither before nor after");
    });
}

#[test]
fn without_the_fence_the_frozen_one_writes_into_the_live_database() {
    alone("without_the_fence_the_frozen_one_writes_into_the_live_database", "fence", || {
        killed_fence(Steps::changes().sampled(9)).caught("");
    });
}

/// A pair of copies whose journal is in place already is the only right one: the frozen one may have gone on with the
/// live database and a journal that nobody sees any more.
#[test]
fn without_rolling_a_complete_pair_forward_the_fence_is_torn() {
    alone("without_rolling_a_complete_pair_forward_the_fence_is_torn", "roll-forward", || {
        killed_fence(Steps::renames()).caught("");
    });
}

#[test]
fn without_a_second_try_a_failed_unlink_leaves_a_lock_behind() {
    alone("without_a_second_try_a_failed_unlink_leaves_a_lock_behind", "litter", || {
        failed_commit(Steps::every(), NETWORK, "", &[Failure::Refused(libc::EACCES)]).caught("left behind");
    });
}

#[test]
fn an_opening_that_takes_what_it_cannot_learn_for_missing_makes_an_empty_database() {
    let test = "an_opening_that_takes_what_it_cannot_learn_for_missing_makes_an_empty_database";
    alone(test, "registry-unsure", || failed_beside_an_aside().caught("cannot go on"));
}

/// A journal in memory dies with its process, which is why it is refused.
#[test]
fn without_the_journal_rule_a_killed_commit_is_torn() {
    alone("without_the_journal_rule_a_killed_commit_is_torn", "journal-rule", || {
        let prelude = "PRAGMA journal_mode=MEMORY; PRAGMA cache_size=2";
        killed_commit(Steps::changes().sampled(2), NETWORK, prelude).caught("neither before nor after");
    });
}

/// Who reports before COMMIT has returned is caught as having lost it.
#[test]
fn a_report_before_the_commit_is_caught() {
    alone("a_report_before_the_commit_is_caught", "", || {
        world::load();
        let template = World::founded(NETWORK);
        let victim = |world: &World, mouth: &mut Mouth| {
            stepper::begin();
            mouth.say("turned");
            let _ = world.open().and_then(|mut db| world::turn(&mut db));
            stepper::end();
        };
        let steps = Steps::changes().sampled(5);
        kill_at_each(steps, 0, || template.copy(), victim, |_| (), |_, ()| ()).caught("LOST");
    });
}
