//! The bundled SQLite over the real shim, lock manager and protocol in a simulated world, seed by seed.

#[path = "sim/mod.rs"]
#[allow(dead_code, reason = "the abstract workload is another test's")]
mod sim;

use sim::run::Plan;
use sim::sqlite::run::run;

#[test]
fn no_seed_breaks_a_promise() {
    let number = |name: &str, default| std::env::var(name).ok().and_then(|n| n.parse().ok()).unwrap_or(default);
    let (from, count): (u64, u64) = (number("SEED", 1), number("SEEDS", 500));
    let begun = std::time::Instant::now();
    let (mut steps, mut commits, mut reads, mut injected) = (0, 0, 0, 0);
    for seed in from..from + count {
        let outcome = run(Plan { seed, profile: None, without: None, stormy: seed.is_multiple_of(8), trace: false });
        steps += outcome.steps;
        commits += outcome.commits;
        reads += outcome.reads;
        injected += outcome.injected;
        if !outcome.violations.is_empty() {
            panic!("seed {seed}, {}: {:#?}", outcome.profile.word(), outcome.violations);
        }
    }
    println!(
        "{count} seeds, {steps} steps, {commits} commits, {reads} reads, {injected} faults, {:?}",
        begun.elapsed()
    );
}
