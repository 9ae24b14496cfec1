//! The real lock manager and protocol in a simulated world, seed by seed.

#[path = "sim/mod.rs"]
mod sim;

#[path = "sim/sqlite/tests.rs"]
mod sqlite;

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use coord::switches::Guard;
use sim::run::{Plan, run};
use sim::shrink::{self, command, shrink};
use sim::weather::{Broken, Profile};

/// Plays seeds on all cores until one of them fails, or all are through.
fn first_failure(from: u64, count: u64, plan: impl Fn(u64) -> Plan + Sync) -> (Option<(Plan, Vec<String>)>, Sum) {
    let (next, sum) = (AtomicU64::new(from), Mutex::new(Sum::default()));
    // With the number it was asked for by: the plan's own seed may begin elsewhere.
    let failed: Mutex<Option<(u64, Plan, Vec<String>)>> = Mutex::new(None);
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    // The first that fails, whichever thread is faster.
                    let enough = failed.lock().expect("whole").as_ref().is_some_and(|(first, ..)| *first < seed);
                    if seed >= from + count || enough {
                        return;
                    }
                    let plan = plan(seed);
                    let outcome = run(&plan);
                    sum.lock().expect("whole").add(&outcome);
                    let mut failed = failed.lock().expect("whole");
                    if !outcome.violations.is_empty() && failed.as_ref().is_none_or(|(first, ..)| seed < *first) {
                        *failed = Some((seed, plan, outcome.violations));
                    }
                }
            });
        }
    });
    let failed = failed.into_inner().expect("whole").map(|(_, plan, violations)| (plan, violations));
    (failed, sum.into_inner().expect("whole"))
}

#[derive(Default)]
struct Sum {
    seeds: u64,
    steps: u64,
    commits: usize,
    reads: u64,
    injected: u64,
    longest_wait: u64,
    kinds: BTreeMap<&'static str, u64>,
}

impl Sum {
    fn add(&mut self, outcome: &sim::run::Outcome) {
        self.seeds += 1;
        self.steps += outcome.steps;
        self.commits += outcome.commits;
        self.reads += outcome.reads;
        self.injected += outcome.injected;
        self.longest_wait = self.longest_wait.max(outcome.longest_wait);
        for (kind, count) in &outcome.kinds {
            *self.kinds.entry(kind).or_default() += count;
        }
    }
}

fn number(variable: &str, usual: u64) -> u64 {
    std::env::var(variable).ok().and_then(|text| text.parse().ok()).unwrap_or(usual)
}

#[test]
fn no_seed_breaks_a_promise() {
    hold(number("SEED", 1), number("SEEDS", 20_000), Plan::of);
}

/// Plays seeds, and tells of the first that fails.
fn hold(from: u64, count: u64, plan: impl Fn(u64) -> Plan + Sync) {
    let (failed, sum) = first_failure(from, count, plan);
    let Sum { seeds, steps, commits, reads, injected, longest_wait, kinds } = sum;
    println!("{seeds} seeds, {steps} steps, {commits} commits, {reads} reads, {injected} faults");
    println!("longest wait to write where nothing went wrong: {longest_wait} ms");
    println!("{kinds:#?}");
    if let Some((plan, violations)) = failed {
        let outcome = run(&Plan { trace: true, ..plan.clone() });
        let end = outcome.trace[outcome.trace.len().saturating_sub(30)..].join("\n");
        panic!(
            "{end}\n{}seed {}, {}: {violations:#?}\nto see it whole: {}\nsmaller: {}",
            outcome.befallen(),
            plan.seed,
            outcome.profile.word(),
            command(&plan),
            command(&shrink(&plan))
        );
    }
}

/// A run is nothing but its plan: what a printed command replays is what was seen.
#[test]
fn a_seed_is_played_the_same_way_again() {
    for seed in 1..=40 {
        let play = || run(&Plan { trace: true, ..Plan::of(seed) });
        let (first, second) = (play(), play());
        assert!(first.trace == second.trace && first.steps == second.steps, "seed {seed}");
        // And with a list of all that befell it in place of the chance.
        let only = first.events.iter().map(|event| (event.task, event.step)).collect();
        let third = run(&Plan { only: Some(only), trace: true, ..Plan::of(seed) });
        assert!(first.trace == third.trace, "seed {seed} by its events");
    }
}

/// The fence taken out makes a failing run; what shrinking leaves of it fails too, is smaller, and its command says it all.
#[test]
fn a_shrunk_schedule_fails_in_the_same_way_and_can_be_replayed() {
    let plan = caught("the schedule to shrink", ENOUGH, |seed| Plan { without: Some(Guard::Fence), ..control(seed) });
    let (before, small) = (run(&plan), shrink(&plan));
    let mut read = Plan { without: plan.without, ..Plan::of(plan.seed) };
    let text = command(&small);
    let words: Vec<&str> = text.split_whitespace().skip_while(|word| *word != "--seed").skip(2).collect();
    for pair in words.chunks(2) {
        assert!(shrink::set(&mut read, pair[0], pair[1]).is_ok_and(|known| known), "{text}");
    }
    let after = run(&read);
    println!(
        "{} steps, {} events; then {} steps, {} events",
        before.steps,
        before.events.len(),
        after.steps,
        after.events.len()
    );
    assert!(!after.violations.is_empty(), "{text}");
    assert!(after.steps < before.steps && after.events.len() <= before.events.len(), "{text}");
}

/// How many seeds it may take to catch what is broken.
const ENOUGH: u64 = 4000;

/// Half of a control's seeds have the many stops and deaths.
fn control(seed: u64) -> Plan {
    Plan { stormy: seed.is_multiple_of(2), ..Plan::of(seed) }
}

/// The first of these seeds that goes wrong, which it does only as it has to.
fn caught(what: &str, enough: u64, plan: impl Fn(u64) -> Plan + Sync) -> Plan {
    match first_failure(1, number("ENOUGH", enough), plan) {
        (Some((plan, violations)), _) => {
            println!("{what}: seed {}: {}\n  {}", plan.seed, violations[0], command(&plan));
            let whole = Plan { without: None, broken: None, ..plan.clone() };
            let wrong = run(&whole).violations;
            assert!(
                wrong.is_empty(),
                "{what}: with nothing taken out it goes wrong too: {wrong:?}\n  {}",
                command(&whole)
            );
            plan
        }
        (None, sum) => panic!("{} seeds did not notice {what}", sum.seeds),
    }
}

/// One host after the other takes over.
fn siege(seed: u64) -> Plan {
    Plan { siege: true, ..Plan::of(seed) }
}

macro_rules! controls {
    ($($name:ident => $what:ident, $value:expr, $enough:expr;)+) => {
        $(#[test]
        fn $name() {
            caught(stringify!($name), $enough, |seed| Plan { $what: Some($value), ..control(seed) });
        })+
    };
}

controls! {
    without_the_lease_check => without, Guard::LeaseCheck, ENOUGH;
    without_the_commit_check => without, Guard::CommitCheck, ENOUGH;
    without_the_fence => without, Guard::Fence, ENOUGH;
    without_the_listing_of_the_lock => without, Guard::LockListing, ENOUGH;
    without_the_cache_drop => without, Guard::CacheDrop, ENOUGH;
    without_the_readers_registry => without, Guard::ReaderRegistry, ENOUGH;
    without_noticing_replaced_files => without, Guard::Epoch, ENOUGH;
    without_seeing_a_hot_journal => without, Guard::HotJournal, ENOUGH;
    without_new_names => without, Guard::FreshNames, ENOUGH;
    with_a_missed_beat_taken_for_death => without, Guard::MissedBeat, ENOUGH;
    with_dead_copies_left => without, Guard::DeadCopies, ENOUGH;
    with_remembered_sources_of_a_fence => without, Guard::FreshSources, 3 * ENOUGH;
    without_ghosts => without, Guard::Ghosts, ENOUGH;
    without_the_watch_on_stray_copies => without, Guard::StrayCopies, 3 * ENOUGH;
    with_exclusive_given_back_first => without, Guard::ReleaseOrder, ENOUGH;
    with_the_tombstone_first => without, Guard::TombstoneLast, ENOUGH;
    without_renewing_again => without, Guard::RenewLoop, 3 * ENOUGH;
    without_the_joiners_rule => without, Guard::Joiners, ENOUGH;
    without_the_lease_check_of_lingering_locks => without, Guard::LingerLease, ENOUGH;
    without_forgetting_with_the_lock => without, Guard::LingerForget, ENOUGH;
    with_heartbeats_through_a_handle => broken, Broken::BeatByHandle, ENOUGH;
    with_presence_that_is_renamed => broken, Broken::MovingPresence, ENOUGH;
    with_the_lease_checked_before_reads => broken, Broken::CheckBeforeRead, ENOUGH;
    with_a_recoverer_taken_for_a_writer => broken, Broken::ReservedBesideRecoverer, ENOUGH;
    with_the_journal_unlinked_at_the_end => broken, Broken::JournalUnlinked, ENOUGH;
    with_the_journal_not_synced => broken, Broken::JournalUnsynced, ENOUGH;
    with_the_database_not_synced => broken, Broken::DatabaseUnsynced, ENOUGH;
    with_a_lying_sync => broken, Broken::LyingSync, ENOUGH;
}

/// It takes one who writes in the few milliseconds between the copying of one file and that of the other.
#[test]
fn with_copies_of_two_moments() {
    caught("with_copies_of_two_moments", 3 * ENOUGH, |seed| Plan { without: Some(Guard::OneMoment), ..siege(seed) });
}

/// A process with two connections: one stays at SHARED with what it has open while another follows a fence, does not get
/// EXCLUSIVE beside it, and leaves a kept lock to it.
#[test]
fn without_following_ones_own_process() {
    let guard = Some(Guard::LingerGeneration);
    caught("without_following_ones_own_process", ENOUGH, |seed| Plan { without: guard, ..household(seed) });
}

/// A client that looks no name up again while anybody has its file open: with handles kept beyond their lock, nobody on that machine
/// gets at what another one has put in the file's place.
#[test]
fn with_handles_kept_without_a_lock() {
    let plan = |seed| Plan { without: Some(Guard::HeldNames), profile: Some(Profile::NineP), ..control(seed) };
    caught("with_handles_kept_without_a_lock", ENOUGH, plan);
}

/// Several connections of a process, each of which may stay at SHARED across the others' work.
fn household(seed: u64) -> Plan {
    Plan { household: true, ..Plan::of(seed) }
}

/// It takes two failed syncs of a journal's end, and a loss of power when somebody else has begun a transaction.
#[test]
fn with_the_end_of_a_journal_in_doubt() {
    // No seed before 13,207 has shown it.
    let plan = |seed| Plan { without: Some(Guard::EndLost), profile: Some(Profile::Local), ..bad_disk(13_200 + seed) };
    caught("with_the_end_of_a_journal_in_doubt", ENOUGH, plan);
}

/// Where syncs fail again and again.
#[test]
fn no_bad_disk_breaks_a_promise() {
    hold(1, number("BAD_DISKS", 500), bad_disk);
}

fn bad_disk(seed: u64) -> Plan {
    Plan { bad_disk: true, ..Plan::of(seed) }
}

/// It takes a loss of power after the end of a journal whose sync failed, when somebody else has begun a transaction.
#[test]
fn with_the_end_of_a_journal_written_once() {
    let plan = |seed| Plan { without: Some(Guard::EndAgain), profile: Some(Profile::Local), ..bad_disk(seed) };
    caught("with_the_end_of_a_journal_written_once", ENOUGH, plan);
}

#[test]
fn no_household_breaks_a_promise() {
    hold(1, number("HOUSEHOLDS", 1000), household);
}

/// A directory is listed by two requests, with time between them. That a reader lists the registry twice for this reason no seed has
/// shown: it takes a takeover that ends between the two, and one who thaws before the reader has read. Placed schedules show it
/// (`src/lock/listing_tests.rs`).
#[test]
fn no_listing_in_two_parts_breaks_a_promise() {
    hold(1, number("PARTS", 1000), |seed| Plan { parts: true, siege: seed.is_multiple_of(4), ..Plan::of(seed) });
}

/// It takes one who dies between the two renames of a fence, and one who writes before the next comes.
#[test]
fn without_rolling_a_complete_pair_forward() {
    let plan = |seed| Plan { without: Some(Guard::RollForward), ..siege(4 * seed) };
    caught("without_rolling_a_complete_pair_forward", ENOUGH, plan);
}

/// It takes one who dies between the end of his journal and its sync, and a loss of power before anybody else syncs it.
#[test]
fn without_syncing_what_the_dead_have_ended() {
    // No seed from 15,900 to 20,130 has shown it.
    let plan = |seed| Plan {
        without: Some(Guard::SettledEnd),
        profile: Some(Profile::Local),
        stormy: true,
        ..Plan::of(20_100 + seed)
    };
    caught("without_syncing_what_the_dead_have_ended", ENOUGH, plan);
}

/// Where hosts take over from one another again and again, nothing breaks with all guards in their places.
#[test]
fn no_siege_breaks_a_promise() {
    let (failed, sum) = first_failure(1, number("SIEGES", 1000), siege);
    println!("{} seeds, {} steps, {} faults: {:#?}", sum.seeds, sum.steps, sum.injected, sum.kinds);
    if let Some((plan, violations)) = failed {
        panic!("{violations:#?}\nto see it: {}\nsmaller: {}", command(&plan), command(&shrink(&plan)));
    }
}

/// Orders and habits that carry no safety here, or of which no schedule is known that the simulator makes: docs/proof.md says
/// why of each. Should this fail one day, that reason is wrong, and the guard gets a control.
#[test]
fn what_is_not_noticed_is_known() {
    for guard in [Guard::DoubtfulEpoch, Guard::ReadyBeat] {
        let plan =
            |seed: u64| Plan { without: Some(guard), siege: seed.is_multiple_of(2), stormy: true, ..Plan::of(seed) };
        let (failed, sum) = first_failure(1, number("UNNOTICED", 500), plan);
        println!("without {guard:?}: {} seeds, {} steps, nothing noticed", sum.seeds, sum.steps);
        assert!(failed.is_none(), "{guard:?}: {failed:?}");
    }
}

/// An NFS client renames over an open file in two steps; who stands still between them must take nothing away from others.
#[test]
fn without_moving_live_files_aside() {
    let plan = |seed| Plan { without: Some(Guard::Aside), profile: Some(Profile::Nfs3), ..Plan::of(seed) };
    caught("without_moving_live_files_aside", 3 * ENOUGH, plan);
}
