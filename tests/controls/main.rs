//! Negative controls. For every guard of the protocol one exact schedule that holds with the guard and breaks without it
//! (`COORD_TEST_WITHOUT` in the processes of the schedule): a test that cannot fail shows nothing. Where two guards back each
//! other up, the schedule says so and takes both out.
//!
//! Dropping the client's cache has no effect on a local filesystem; its control is a unit test over a storage that caches
//! (`lock::coherence_tests`).

#[path = "../common/mod.rs"]
mod common;

mod caches;
mod clock;
mod fences;
mod locks;
mod power;
mod sharing;
mod takeovers;
mod trusted;

#[test]
fn puppet_entry() {
    common::puppet::entry();
}

/// What a schedule showed to be wrong; empty is good.
type Wrong = Vec<String>;

/// The schedule must hold with all guards, and without any of those that are said to be backed up by another; without
/// `guards` together it must break, in the way that `words` tell.
fn control(guards: &[&str], words: &str, schedule: impl Fn(&str) -> Wrong) {
    let whole = schedule("");
    assert!(whole.is_empty(), "with all guards: {whole:#?}");
    if guards.len() > 1 {
        for guard in guards {
            let wrong = schedule(guard);
            assert!(wrong.is_empty(), "without {guard} alone: {wrong:#?}");
        }
    }
    let wrong = schedule(&guards.join(","));
    println!("without {}: {wrong:#?}", guards.join(" and "));
    assert!(wrong.iter().any(|line| line.contains(words)), "without {guards:?} nothing broke: {wrong:#?}");
}
