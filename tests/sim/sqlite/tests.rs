//! The bundled SQLite over the real shim, lock manager and protocol in a simulated world, seed by seed.

use std::collections::BTreeSet;

use coord::protocol::switches::Guard;

use crate::sim::run::Plan;
use crate::sim::sqlite::run::run;

fn plan(seed: u64) -> Plan {
    Plan { seed, profile: None, without: None, stormy: seed.is_multiple_of(8), trace: false }
}

#[test]
fn no_seed_breaks_a_promise_to_sqlite() {
    let number = |name: &str, default| std::env::var(name).ok().and_then(|n| n.parse().ok()).unwrap_or(default);
    let (from, count): (u64, u64) = (number("SEED", 1), number("SEEDS", 500));
    let (mut steps, mut commits, mut reads, mut injected) = (0, 0, 0, 0);
    let mut kinds = BTreeSet::new();
    for seed in from..from + count {
        let outcome = run(plan(seed));
        steps += outcome.steps;
        commits += outcome.commits;
        reads += outcome.reads;
        injected += outcome.injected;
        kinds.extend(outcome.kinds);
        if !outcome.violations.is_empty() {
            let trace = run(Plan { trace: true, ..plan(seed) }).trace;
            let end = trace[trace.len().saturating_sub(30)..].join("\n");
            panic!(
                "{end}\nseed {seed}, {}: {:#?}\nto see it whole: cargo run --release --example simulate -- --sqlite --seed {seed}",
                outcome.profile.word(),
                outcome.violations
            );
        }
    }
    println!("{count} seeds, {steps} steps, {commits} commits, {reads} reads, {injected} faults: {kinds:?}");
}

/// A seed that fails must fail again, step by step.
#[test]
fn a_seed_plays_the_same_way_every_time() {
    for seed in 1..=20 {
        let [first, again] = [(); 2].map(|()| run(Plan { trace: true, ..plan(seed) }));
        // All but the bytes: the number that SQLite puts into a journal's header is from one source for the whole program.
        let step = |line: &str| line.split('[').next().map(str::to_string);
        let differs = first.trace.iter().zip(&again.trace).position(|(one, other)| step(one) != step(other));
        assert_eq!(differs, None, "seed {seed}: {:?}", differs.map(|at| (&first.trace[at], &again.trace[at])));
        assert_eq!((first.steps, first.trace.len()), (again.steps, again.trace.len()), "seed {seed}");
    }
}

/// How many seeds it may take to catch the absence of a guard.
const ENOUGH: u64 = 1500;

fn caught(guard: Guard) {
    for seed in 1..=ENOUGH {
        let outcome = run(Plan { without: Some(guard), stormy: seed.is_multiple_of(2), ..plan(seed) });
        if let Some(violation) = outcome.violations.first() {
            println!("SQLite without {guard:?}: seed {seed}: {violation}");
            return;
        }
    }
    panic!("{ENOUGH} seeds did not notice that {guard:?} was taken out");
}

macro_rules! controls {
    ($($name:ident => $guard:ident;)+) => {
        $(#[test]
        fn $name() {
            caught(Guard::$guard);
        })+
    };
}

controls! {
    without_lease_check => LeaseCheck;
    without_commit_check => CommitCheck;
    without_fence => Fence;
    without_lock_listing => LockListing;
    without_cache_drop => CacheDrop;
    without_readers_registry => ReaderRegistry;
    without_journal_rule => JournalRule;
    without_database_sync => DatabaseSync;
    without_epoch => Epoch;
    without_hot_journal => HotJournal;
}
