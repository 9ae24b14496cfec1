//! The bundled SQLite over the real shim, lock manager and protocol in a simulated world, seed by seed.

use coord::switches::Guard;

use crate::sim::run::{Plan, Workload, run};
use crate::sim::weather::Broken;
use crate::{bad_disk, control, hold, number};

fn of(plan: Plan) -> Plan {
    Plan { workload: Workload::Sqlite, ..plan }
}

#[test]
fn no_seed_breaks_a_promise_to_sqlite() {
    hold(number("SEED", 1), number("SEEDS", 500), |seed| of(Plan::of(seed)));
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

/// Trusted mode: native locks, beside programs that know nothing of the shim, killed and in power cuts.
#[test]
fn no_seed_breaks_a_promise_in_trusted_mode() {
    hold(number("SEED", 1), number("SEEDS", 500), |seed| Plan { workload: Workload::Trusted, ..Plan::of(seed) });
}

/// Trusted mode that ends: programs put the database into network-exclusive mode while others use it.
#[test]
fn no_seed_breaks_a_promise_while_the_mode_changes() {
    hold(number("SEED", 1), number("SEEDS", 500), |seed| Plan { workload: Workload::Change, ..Plan::of(seed) });
}

/// The same by another way: programs on the file server use it in trusted mode when other hosts come.
#[test]
fn no_seed_breaks_a_promise_while_a_database_is_shared() {
    hold(number("SEED", 1), number("SHARED", 150), |seed| Plan { workload: Workload::Share, ..Plan::of(seed) });
}

/// Where a directory is listed by two requests.
#[test]
fn no_listing_in_two_parts_breaks_a_promise_to_sqlite() {
    hold(1, number("PARTS", 100), |seed| of(Plan { parts: true, ..Plan::of(seed) }));
    for workload in [Workload::Trusted, Workload::Change, Workload::Share] {
        hold(1, number("PARTS", 100) / 2, |seed| Plan { parts: true, workload, ..Plan::of(seed) });
    }
}

/// How many seeds it may take to catch what is broken.
const ENOUGH: u64 = 2000;

/// It takes a journal whose sync failed, without SQLite's own syncs before it, and a record that is zeros where the checksum looks.
#[test]
fn with_the_torn_tail_of_a_journal() {
    let plan = |seed| Plan { without: Some(Guard::TornTail), ..bad_disk(seed) };
    crate::caught("SQLite with_the_torn_tail_of_a_journal", ENOUGH, |seed| of(plan(seed)));
}

/// Of a full disk: rare, and each begins where seeds before have not shown it.
macro_rules! full_disk_controls {
    ($($name:ident => $guard:expr, after $seed:expr;)+) => {
        $(#[test]
        fn $name() {
            let what = concat!("SQLite ", stringify!($name));
            crate::caught(what, ENOUGH, |seed| of(Plan { without: Some($guard), ..Plan::of($seed + seed) }));
        })+
    };
}

full_disk_controls! {
    with_a_journal_read_back_unsynced => Guard::ReadBack, after 10_685;
    without_taking_a_failed_write_for_a_failed_sync => Guard::LostRecord, after 1610;
}

/// Where syncs fail again and again, nothing breaks with the guards in their places.
#[test]
fn no_bad_disk_breaks_a_promise_to_sqlite() {
    hold(1, number("BAD_DISKS", 60), |seed| of(bad_disk(seed)));
    hold(1, number("BAD_DISKS", 100), |seed| Plan { workload: Workload::Trusted, ..bad_disk(seed) });
}

macro_rules! controls {
    ($($name:ident => $what:ident, $value:expr;)+) => {
        $(#[test]
        fn $name() {
            let what = concat!("SQLite ", stringify!($name));
            crate::caught(what, ENOUGH, |seed| of(Plan { $what: Some($value), ..control(seed) }));
        })+
    };
}

macro_rules! controls_with_native_locks {
    ($workload:ident: $($name:ident => $what:ident, $value:expr;)+) => {
        $(#[test]
        fn $name() {
            let what = concat!("SQLite ", stringify!($name));
            let native = |plan| Plan { workload: Workload::$workload, ..plan };
            crate::caught(what, 2 * ENOUGH, |seed| native(Plan { $what: Some($value), ..control(seed) }));
        })+
    };
}

/// Of the moment in which a database is shared. It is one moment in a world: each begins where seeds before have not shown it.
macro_rules! sharing_controls {
    ($($name:ident => $guard:expr, after $seed:expr, stormy $stormy:expr;)+) => {
        $(#[test]
        fn $name() {
            let what = concat!("SQLite ", stringify!($name));
            let shared = |seed| Plan { workload: Workload::Share, stormy: $stormy, ..Plan::of($seed + seed) };
            crate::caught(what, 2 * ENOUGH, |seed| Plan { without: Some($guard), ..shared(seed) });
        })+
    };
}

sharing_controls! {
    while_shared_without_earlier_readers => Guard::EarlierReaders, after 40, stormy true;
    while_shared_with_names_of_other_hosts_removed => Guard::ForeignLock, after 1_285, stormy false;
    while_shared_without_a_look_under_the_lock => Guard::NotRegistered, after 875, stormy false;
    while_shared_without_the_lock => Guard::RegistryLocked, after 3_990, stormy false;
    while_shared_with_a_journal_of_others_removed => Guard::UsurpedJournal, after 40_630, stormy false;
}

/// It takes two programs that end trusted mode at the same moment.
#[test]
fn while_the_mode_is_changed_by_two_who_fail() {
    // No seed before 6,530 has shown it.
    let plan = |seed| Plan { workload: Workload::Change, without: Some(Guard::FasterChange), ..Plan::of(6_520 + seed) };
    crate::caught("SQLite while_the_mode_is_changed_by_two_who_fail", ENOUGH, plan);
}

controls_with_native_locks! {
    Change:
    while_the_mode_changes_without_a_look_for_the_registry => without, Guard::RegistrySeen;
    while_the_mode_changes_beside_others => without, Guard::ChangeAlone;
}

controls_with_native_locks! {
    Trusted:
    in_trusted_mode_without_a_synced_end => without, Guard::JournalEnd;
    in_trusted_mode_with_locks_that_keep_nobody_out => broken, Broken::OpenLocks;
    in_trusted_mode_with_a_recoverer_taken_for_a_writer => broken, Broken::ReservedBesideRecoverer;
    in_trusted_mode_with_a_lying_sync => broken, Broken::LyingSync;
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
}
