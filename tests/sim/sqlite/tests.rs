//! The bundled SQLite over the real shim, lock manager and protocol in a simulated world, seed by seed.

use coord::protocol::switches::Guard;

use crate::sim::run::{Plan, Workload, run};
use crate::sim::weather::Broken;
use crate::{control, hold, number};

fn of(plan: Plan) -> Plan {
    Plan { workload: Workload::Sqlite, ..plan }
}

#[test]
fn no_seed_breaks_a_promise_to_sqlite() {
    hold(number("SEED", 1), number("SEEDS", 1000), |seed| of(Plan::of(seed)));
}

/// A seed that fails must fail again, step by step.
#[test]
fn a_seed_is_played_the_same_way_again() {
    // All but the bytes: the number that SQLite puts into a journal's header is from one source for the whole program.
    let step = |line: &str| line.split('[').next().map(str::to_string);
    for seed in 1..=20 {
        let play = || run(&Plan { trace: true, ..of(Plan::of(seed)) });
        let (first, second) = (play(), play());
        let differs = first.trace.iter().zip(&second.trace).position(|(one, other)| step(one) != step(other));
        assert_eq!(differs, None, "seed {seed}: {:?}", differs.map(|at| (&first.trace[at], &second.trace[at])));
        assert_eq!((first.steps, first.trace.len()), (second.steps, second.trace.len()), "seed {seed}");
    }
}

/// How many seeds it may take to catch what is broken.
const ENOUGH: u64 = 2000;

macro_rules! controls {
    ($($name:ident => $what:ident, $value:expr;)+) => {
        $(#[test]
        fn $name() {
            let what = concat!("SQLite ", stringify!($name));
            crate::caught(what, ENOUGH, |seed| of(Plan { $what: Some($value), ..control(seed) }));
        })+
    };
}

controls! {
    without_the_lease_check => without, Guard::LeaseCheck;
    without_the_commit_check => without, Guard::CommitCheck;
    without_the_fence => without, Guard::Fence;
    without_the_listing_of_the_lock => without, Guard::LockListing;
    without_the_cache_drop => without, Guard::CacheDrop;
    without_the_readers_registry => without, Guard::ReaderRegistry;
    without_noticing_replaced_files => without, Guard::Epoch;
    without_seeing_a_hot_journal => without, Guard::HotJournal;
    without_the_journal_before_the_database => without, Guard::JournalRule;
    without_the_database_before_its_journal_goes => without, Guard::DatabaseSync;
    with_a_lying_sync => broken, Broken::LyingSync;
    with_heartbeats_through_a_handle => broken, Broken::BeatByHandle;
    with_presence_that_is_renamed => broken, Broken::MovingPresence;
    without_the_heartbeat_that_confirms_reserved => without, Guard::ReservedCheck;
    without_rolling_a_complete_pair_forward => without, Guard::RollForward;
    without_new_names => without, Guard::FreshNames;
    with_copies_of_two_moments => without, Guard::OneMoment;
    with_the_tombstone_cleared_first => without, Guard::TombstoneLast;
    with_exclusive_released_first => without, Guard::ReleaseOrder;
    without_the_watch_on_stray_copies => without, Guard::StrayCopies;
    with_dead_copies_left => without, Guard::DeadCopies;
    with_remembered_sources_of_a_fence => without, Guard::FreshSources;
    without_the_heartbeat_after_ready => without, Guard::ReadyBeat;
    without_the_epoch_made_in_doubt => without, Guard::DoubtfulEpoch;
    without_ghosts => without, Guard::Ghosts;
    without_trying_again_to_remove => without, Guard::Litter;
    without_handle_check => without, Guard::HandleCheck;
    with_a_missed_beat_taken_for_death => without, Guard::MissedBeat;
}
