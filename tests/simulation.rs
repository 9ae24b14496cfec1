//! The real lock manager and protocol in a simulated world, seed by seed.

#[path = "sim/mod.rs"]
mod sim;

use sim::run::{Plan, run};

fn seeds(from: u64, count: u64) {
    let (mut steps, mut commits, mut reads, mut injected) = (0, 0, 0, 0);
    let mut kinds = std::collections::BTreeSet::new();
    for seed in from..from + count {
        let stormy = seed.is_multiple_of(8);
        let plan = Plan { seed, profile: None, without: None, linger_ms: None, stormy, trace: false };
        let outcome = run(plan);
        steps += outcome.steps;
        commits += outcome.commits;
        reads += outcome.reads;
        injected += outcome.injected;
        kinds.extend(outcome.kinds);
        if !outcome.violations.is_empty() {
            let trace = run(Plan { trace: true, ..plan }).trace;
            let end = trace[trace.len().saturating_sub(30)..].join("\n");
            panic!(
                "{end}\nseed {seed}, {}: {:#?}\nto see it whole: cargo run --release --example simulate -- --seed {seed}",
                outcome.profile.word(),
                outcome.violations
            );
        }
    }
    println!("{count} seeds, {steps} steps, {commits} commits, {reads} reads, {injected} faults: {kinds:?}");
}

#[test]
fn no_seed_breaks_a_promise() {
    let from = std::env::var("SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or(1);
    let count = std::env::var("SEEDS").ok().and_then(|count| count.parse().ok()).unwrap_or(2000);
    seeds(from, count);
}

/// How many seeds it may take to catch the absence of a guard.
const ENOUGH: u64 = 3000;

fn caught(guard: coord::protocol::switches::Guard) {
    for seed in 1..=ENOUGH {
        let stormy = seed.is_multiple_of(2);
        let outcome = run(Plan { seed, profile: None, without: Some(guard), linger_ms: None, stormy, trace: false });
        if let Some(violation) = outcome.violations.first() {
            println!("without {guard:?}: seed {seed}: {violation}");
            return;
        }
    }
    panic!("{ENOUGH} seeds did not notice that {guard:?} was taken out");
}

macro_rules! controls {
    ($($name:ident => $guard:ident;)+) => {
        $(#[test]
        fn $name() {
            caught(coord::protocol::switches::Guard::$guard);
        })+
    };
}

controls! {
    without_the_lease_check => LeaseCheck;
    without_the_commit_check => CommitCheck;
    without_the_fence => Fence;
    without_the_listing_of_the_lock => LockListing;
    without_the_cache_drop => CacheDrop;
    without_the_readers_registry => ReaderRegistry;
    without_the_epoch => Epoch;
    without_the_lease_check_of_lingering_locks => LingerLease;
    without_forgetting_with_the_lock => LingerForget;
}
