//! Guards that a test can take out, to see that the test which claims to watch them fails without them.
//!
//! Only in builds with debug assertions: in a release build [`off`] is `false` at compile time and the guards cannot be
//! taken out. Read once from `COORD_TEST_WITHOUT`, a comma-separated list.

use std::sync::OnceLock;

/// A guard of the protocol that a negative control takes out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Guard {
    /// The lease check around reads and writes.
    LeaseCheck,
    /// The heartbeat after a commit's finalisation.
    CommitCheck,
    /// Replacing database and journal when a silent node is deposed.
    Fence,
    /// The listing of the lock directory after entering it.
    LockListing,
    /// Dropping the client's cached pages on SHARED.
    CacheDrop,
    /// The readers' names in the registry.
    ReaderRegistry,
    /// The heartbeat that confirms RESERVED.
    ReservedCheck,
    /// Refusing a database write without a synced journal.
    JournalRule,
    /// Syncing the database before its journal is finalised.
    DatabaseSync,
    /// Taking notice that database and journal were replaced by a fence.
    Epoch,
    /// Seeing that a journal must be rolled back.
    HotJournal,
    /// Finishing a dead node's complete pair of copies.
    RollForward,
    /// Trying again to remove a name that would not go.
    Litter,
}

impl Guard {
    fn word(self) -> &'static str {
        match self {
            Guard::LeaseCheck => "lease-check",
            Guard::CommitCheck => "commit-check",
            Guard::Fence => "fence",
            Guard::LockListing => "lock-listing",
            Guard::CacheDrop => "cache-drop",
            Guard::ReaderRegistry => "reader-registry",
            Guard::ReservedCheck => "reserved-check",
            Guard::JournalRule => "journal-rule",
            Guard::DatabaseSync => "database-sync",
            Guard::Epoch => "epoch",
            Guard::HotJournal => "hot-journal",
            Guard::RollForward => "roll-forward",
            Guard::Litter => "litter",
        }
    }
}

/// Whether this guard has been taken out. Always `false` in a release build.
pub fn off(guard: Guard) -> bool {
    if !cfg!(debug_assertions) {
        return false;
    }
    static OUT: OnceLock<Vec<String>> = OnceLock::new();
    let out = OUT.get_or_init(|| {
        let list = std::env::var("COORD_TEST_WITHOUT").unwrap_or_default();
        list.split(',').map(|word| word.trim().to_string()).filter(|word| !word.is_empty()).collect()
    });
    !out.is_empty() && out.iter().any(|word| word == guard.word())
}

/// Stops this process (SIGSTOP) at a named point of the protocol, once, so that a test can freeze a node exactly there
/// instead of hoping to hit it. Only in builds with debug assertions, only where `COORD_TEST_STOP_AT` names the point; the
/// file named by `COORD_TEST_STOP_ONCE`, if set, must exist and is removed first.
pub fn stop_point(point: &str) {
    if !cfg!(debug_assertions) {
        return;
    }
    static AT: OnceLock<Option<String>> = OnceLock::new();
    let Some(at) = AT.get_or_init(|| std::env::var("COORD_TEST_STOP_AT").ok()) else {
        return;
    };
    if at != point {
        return;
    }
    if let Ok(once) = std::env::var("COORD_TEST_STOP_ONCE")
        && std::fs::remove_file(once).is_err()
    {
        return;
    }
    let me = rustix::process::getpid();
    let _ = rustix::process::kill_process(me, rustix::process::Signal::STOP);
}
