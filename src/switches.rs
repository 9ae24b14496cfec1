//! Guards that a test can take out, to see that the test which claims to watch them fails without them.
//!
//! Only in builds with debug assertions: in a release build [`off`] is `false` at compile time and the guards cannot be
//! taken out. Read once from `COORD_TEST_WITHOUT`, a comma-separated list.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};

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
    /// Moving live files aside, in place of renaming over them.
    Aside,
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
    /// Telling SQLite that the file it has open is not the one at the path.
    HasMoved,
    /// Waiting only once for an active holder.
    WaitOnce,
    /// Seeing that a journal must be rolled back.
    HotJournal,
    /// Finishing a dead node's complete pair of copies.
    RollForward,
    /// Trying again to remove a name that would not go.
    Litter,
    /// Opening all handles anew when a node registers again.
    HandlesAnew,
    /// Being alone in the lock directory still when its listing and the registry's have been compared.
    AloneAgain,
    /// Opening both files by a listing when one of them was replaced.
    FreshReplaced,
    /// Cutting a journal that may end in the name of a super-journal.
    SuperTail,
    /// Syncing the journal of who died at the end of a transaction, before anybody sees that.
    SettledEnd,
    /// Looking at the lease, and now and then at the registry, before a lock that was kept from an earlier transaction is used.
    LingerLease,
    /// Giving up a lock that was kept when somebody else wants it.
    LingerRequest,
    /// Following a replacement of the files that another connection of the process has gone through, when a kept lock is used.
    LingerGeneration,
    /// Forgetting what was known of the file when the lock is given up.
    LingerForget,
    /// Looking whether the connection's handle is on the file that the directory lists.
    HandleCheck,
    /// Closing the handles of idle connections before a fence renames over their file.
    Parking,
    /// Reading around this host's cache without a lock.
    UncachedHeader,
    /// A new number in every presence's name.
    FreshNames,
    /// Taking a heartbeat that one listing misses for a moving one.
    MissedBeat,
    /// Throwing away the copies that dead nodes left.
    DeadCopies,
    /// Clearing a deposed node's tombstone after its other names.
    TombstoneLast,
    /// Removing the holder's name before `exclusive.*`.
    ReleaseOrder,
    /// Comparing both copies of a fence in one round.
    OneMoment,
    /// Opening a fence's sources by a fresh listing.
    FreshSources,
    /// The heartbeat after a copy was named complete.
    ReadyBeat,
    /// An epoch where a dead node may have replaced files without saying so.
    DoubtfulEpoch,
    /// Deposing a node of which no heartbeat was ever seen.
    Ghosts,
    /// Watching, and never rolling forward, the copies of nodes that never were.
    StrayCopies,
    /// Renewing once more where the lease had run out by the time of the answer.
    RenewLoop,
    /// Joining readers' heed for a writer that waits.
    Joiners,
    /// Looking again for a dead node's copy that was gone: it may have got its final name.
    LookAgain,
    /// Noticing by a look at the path that the files were replaced.
    PathCheck,
    /// In trusted mode: syncing the end of a transaction whose data was synced.
    JournalEnd,
    /// Telling the process that no journal is hot only as a holder of EXCLUSIVE who still is somebody.
    HotCleared,
    /// Comparing the file of a connection that joins a kept SHARED with the one that the lock was taken with.
    JoinedFile,
    /// Going at once where somebody else rolls the hot journal back.
    GivesWay,
    /// Taking what was written through a handle that is gone for not synced.
    LostHandle,
    /// Cutting off what a journal was given since its last sync, where the next one fails.
    TornTail,
    /// Having SQLite forget what it remembers of an empty database.
    EmptyDatabase,
    /// Writing a journal's end once more where its sync fails.
    EndAgain,
    /// Taking RESERVED to remove a kept journal only where that is empty.
    HotKept,
    /// Giving the node up where the end of its journal could not be made certain.
    EndLost,
    /// Keeping no handle on files whose lock was given up, where a client looks no name up again that is in use.
    HeldNames,
    /// Opening a writer's journal again with its database, also where an earlier attempt had closed it.
    JournalWanted,
    /// Making a journal only under the lock.
    JournalUnderLock,
    /// Opening a database once more that somebody else made between the opening and the look.
    OpenAgain,
    /// Removing no database that lies aside where the one that has its name is empty.
    StrayDatabase,
    /// Telling a backup that a page cannot be read now by a code that it does not take for a page to be left out.
    BusyRead,
    /// Opening under SHARED only what a takeover has put there: that is the same, what somebody has put there by hand is not.
    ReadOfAnother,
    /// Closing what was opened under SHARED and could not be confirmed.
    Unconfirmed,
    /// In trusted mode: looking for the registry under native SHARED.
    RegistrySeen,
    /// Making the registry of a database in trusted mode under native EXCLUSIVE.
    ChangeAlone,
    /// In trusted mode: removing no name from the lock directory once there is a registry.
    ForeignLock,
    /// Syncing a transaction's own journal before it is read back.
    ReadBack,
    /// Not to make a database anew for a connection that has had one.
    MadeOnce,
    /// In trusted mode: looking for the registry with the lock directory held.
    NotRegistered,
    /// The name that stands for readers in trusted mode on the server whom nobody else can see.
    EarlierReaders,
    /// Holding the lock directory while the registry is made beside a database.
    RegistryLocked,
    /// Of programs that write on the server while the database is shared: a fresh listing of the lock directory before the registry is
    /// made without it; and behind that, to wait for them before RESERVED and not to overwrite a journal that one has left hot.
    EarlierWriters,
    /// Taking a write of the journal that failed on a network for a sync that did.
    LostRecord,
    /// Giving the node up where the lost end of its journal could not be cut off for certain.
    LateCut,
    /// Going on, after a takeover, with no other journal than the one that this transaction has written.
    SameJournal,
    /// Following the registry that another made while this process was on its way to make it.
    FasterChange,
    /// No rollback from a journal whose handle a takeover closed and could not open again.
    JournalGone,
    /// Journals aside that nobody has to roll back being no obstacle.
    ColdAsides,
    /// Removing a hot journal under RESERVED only while the database beside it is still empty.
    EmptyStill,
    /// Trying again to remove a lock directory that was not empty.
    LockLeft,
    /// Asking the server for a file's length when its cached pages are dropped.
    FreshSize,
    /// Opening a file anew of which pages are left in the cache when they have been dropped.
    MappedPages,
    /// Refusing to commit two files at once also where SQLite makes no super-journal.
    OneFile,
    /// Cutting, not only marking, a journal that is ended for another transaction than ours.
    ForeignCut,
    /// In trusted mode, removing the name of who is not dead for certain only with the native lock taken.
    NamesUnderLock,
    /// In trusted mode, looking whether our name is in the lock directory still when the native lock is taken.
    StillEntered,
    /// In trusted mode, taking an empty lock directory for ours only if it is the very one that we made.
    OwnDirectory,
    /// Looking aside for what is missing, before a fence copies it and after it has been replaced.
    LateAside,
    /// At the end of a fence, removing no hot journal whose place a cold one has taken.
    HotAside,
    /// With `locking_mode=EXCLUSIVE`, giving the node up where the transaction can neither go on nor be rolled back.
    KeptCut,
    /// In trusted mode, no journal opened or removed by name once there is a registry.
    UsurpedJournal,
}

impl Guard {
    /// As `COORD_TEST_WITHOUT` names it.
    pub fn word(self) -> &'static str {
        match self {
            Guard::LeaseCheck => "lease-check",
            Guard::CommitCheck => "commit-check",
            Guard::Fence => "fence",
            Guard::LockListing => "lock-listing",
            Guard::Aside => "aside",
            Guard::CacheDrop => "cache-drop",
            Guard::ReaderRegistry => "reader-registry",
            Guard::ReservedCheck => "reserved-check",
            Guard::JournalRule => "journal-rule",
            Guard::DatabaseSync => "database-sync",
            Guard::Epoch => "epoch",
            Guard::HasMoved => "has-moved",
            Guard::WaitOnce => "wait-once",
            Guard::HotJournal => "hot-journal",
            Guard::RollForward => "roll-forward",
            Guard::Litter => "litter",
            Guard::HandlesAnew => "handles-anew",
            Guard::AloneAgain => "alone-again",
            Guard::FreshReplaced => "fresh-replaced",
            Guard::SuperTail => "super-tail",
            Guard::SettledEnd => "settled-end",
            Guard::LingerLease => "linger-lease",
            Guard::LingerRequest => "linger-request",
            Guard::LingerGeneration => "linger-generation",
            Guard::LingerForget => "linger-forget",
            Guard::HandleCheck => "handle-check",
            Guard::Parking => "parking",
            Guard::UncachedHeader => "uncached-header",
            Guard::FreshNames => "fresh-names",
            Guard::MissedBeat => "missed-beat",
            Guard::DeadCopies => "dead-copies",
            Guard::TombstoneLast => "tombstone-last",
            Guard::ReleaseOrder => "release-order",
            Guard::OneMoment => "one-moment",
            Guard::FreshSources => "fresh-sources",
            Guard::ReadyBeat => "ready-beat",
            Guard::DoubtfulEpoch => "doubtful-epoch",
            Guard::Ghosts => "ghosts",
            Guard::StrayCopies => "stray-copies",
            Guard::RenewLoop => "renew-loop",
            Guard::Joiners => "joiners",
            Guard::LookAgain => "look-again",
            Guard::PathCheck => "path-check",
            Guard::JournalEnd => "journal-end",
            Guard::HotCleared => "hot-cleared",
            Guard::JoinedFile => "joined-file",
            Guard::GivesWay => "gives-way",
            Guard::LostHandle => "lost-handle",
            Guard::TornTail => "torn-tail",
            Guard::EmptyDatabase => "empty-database",
            Guard::EndAgain => "end-again",
            Guard::HotKept => "hot-kept",
            Guard::EndLost => "end-lost",
            Guard::HeldNames => "held-names",
            Guard::JournalWanted => "journal-wanted",
            Guard::JournalUnderLock => "journal-under-lock",
            Guard::OpenAgain => "open-again",
            Guard::StrayDatabase => "stray-database",
            Guard::BusyRead => "busy-read",
            Guard::ReadOfAnother => "read-of-another",
            Guard::Unconfirmed => "unconfirmed",
            Guard::RegistrySeen => "registry-seen",
            Guard::ChangeAlone => "change-alone",
            Guard::ForeignLock => "foreign-lock",
            Guard::ReadBack => "read-back",
            Guard::NotRegistered => "not-registered",
            Guard::MadeOnce => "made-once",
            Guard::EarlierReaders => "earlier-readers",
            Guard::RegistryLocked => "registry-locked",
            Guard::EarlierWriters => "earlier-writers",
            Guard::LostRecord => "lost-record",
            Guard::LateCut => "late-cut",
            Guard::SameJournal => "same-journal",
            Guard::FasterChange => "faster-change",
            Guard::JournalGone => "journal-gone",
            Guard::ColdAsides => "cold-asides",
            Guard::EmptyStill => "empty-still",
            Guard::LockLeft => "lock-left",
            Guard::FreshSize => "fresh-size",
            Guard::MappedPages => "mapped-pages",
            Guard::OneFile => "one-file",
            Guard::ForeignCut => "foreign-cut",
            Guard::NamesUnderLock => "names-under-lock",
            Guard::StillEntered => "still-entered",
            Guard::OwnDirectory => "own-directory",
            Guard::LateAside => "late-aside",
            Guard::HotAside => "hot-aside",
            Guard::KeptCut => "kept-cut",
            Guard::UsurpedJournal => "usurped-journal",
        }
    }
}

thread_local! {
    static HERE: std::cell::Cell<Option<Guard>> = const { std::cell::Cell::new(None) };
}

/// Takes a guard out for what this thread does, or puts it back: for a simulator that runs many worlds at once. Without effect
/// in a release build.
pub fn take_out_here(guard: Option<Guard>) {
    HERE.set(guard);
}

/// Whether this guard has been taken out. Always `false` in a release build.
pub fn off(guard: Guard) -> bool {
    if !cfg!(debug_assertions) {
        return false;
    }
    if HERE.get() == Some(guard) {
        return true;
    }
    static OUT: OnceLock<Vec<String>> = OnceLock::new();
    let out = OUT.get_or_init(|| {
        let list = std::env::var("COORD_TEST_WITHOUT").unwrap_or_default();
        list.split(',').map(|word| word.trim().to_string()).filter(|word| !word.is_empty()).collect()
    });
    !out.is_empty() && out.iter().any(|word| word == guard.word())
}

/// Whether [`Guard::EarlierWriters`] is in. It stands behind others, or leads past what they keep out, which their controls must show.
pub fn waits_for_earlier() -> bool {
    let before =
        [Guard::ForeignLock, Guard::NotRegistered, Guard::SameJournal, Guard::UsurpedJournal, Guard::FreshReplaced];
    !off(Guard::EarlierWriters) && !before.into_iter().any(off)
}

/// The clock's answer, or the one before for as long as the file named by `COORD_TEST_CLOCK_STOPS` exists: so that a test can
/// freeze a process together with its clock, as a virtual machine is. Only in builds with debug assertions.
pub fn clock(now: u64) -> u64 {
    if !cfg!(debug_assertions) {
        return now;
    }
    static STOPS: OnceLock<Option<std::path::PathBuf>> = OnceLock::new();
    static LAST: AtomicU64 = AtomicU64::new(0);
    match STOPS.get_or_init(|| std::env::var_os("COORD_TEST_CLOCK_STOPS").map(Into::into)) {
        Some(file) if file.exists() => LAST.load(Ordering::Acquire),
        Some(_) => LAST.fetch_max(now, Ordering::AcqRel).max(now),
        None => now,
    }
}

/// Stops this process (SIGSTOP) at a named point of the protocol, once, so that a test can freeze a node exactly there
/// instead of hoping to hit it. Only in builds with debug assertions, only where `COORD_TEST_STOP_AT` names the point; the
/// file named by `COORD_TEST_STOP_ONCE`, if set, must exist and is removed first. Or where the first line of the file named
/// by `COORD_TEST_STOPS` names the point; that line is taken away first, so that the file is a schedule. With `pass ` before
/// the point it is only passed; with `hold ` this thread alone stands still, while a file `….<point>.held` beside the schedule
/// exists, and the process's heartbeats go on as far as they do not need what the thread has locked.
/// `COORD_TEST_PANIC_AT` and `COORD_TEST_PANIC_ONCE` make it panic there in the same way.
pub fn stop_point(point: &str) {
    if !cfg!(debug_assertions) {
        return;
    }
    stop_as_scheduled(point);
    static STOP_AT: OnceLock<Option<String>> = OnceLock::new();
    if is_at(point, &STOP_AT, "COORD_TEST_STOP_AT", "COORD_TEST_STOP_ONCE") {
        stop();
    }
    static PANIC_AT: OnceLock<Option<String>> = OnceLock::new();
    if is_at(point, &PANIC_AT, "COORD_TEST_PANIC_AT", "COORD_TEST_PANIC_ONCE") {
        panic!("as the test asked, at {point}");
    }
}

fn stop_as_scheduled(point: &str) {
    static SCHEDULE: OnceLock<Option<std::path::PathBuf>> = OnceLock::new();
    let Some(file) = SCHEDULE.get_or_init(|| std::env::var_os("COORD_TEST_STOPS").map(Into::into)) else {
        return;
    };
    let Ok(text) = std::fs::read_to_string(file) else { return };
    let Some((line, rest)) = text.split_once('\n') else { return };
    let (what, named) = line.split_once(' ').unwrap_or(("stop", line));
    if named != point {
        return;
    }
    let _ = std::fs::write(file, rest);
    match what {
        "pass" => {}
        "hold" => hold(&file.with_added_extension(point).with_added_extension("held")),
        _ => stop(),
    }
}

fn hold(sign: &std::path::Path) {
    if std::fs::write(sign, "").is_ok() {
        while sign.exists() {
            std::thread::sleep(std::time::Duration::from_millis(100));
        }
    }
}

fn stop() {
    // Raised on this very thread: sent to the process it could reach another one first, and this one would run on.
    // SAFETY: a plain call.
    unsafe { libc::raise(libc::SIGSTOP) };
}

fn is_at(point: &str, at: &OnceLock<Option<String>>, variable: &str, once: &str) -> bool {
    let at = at.get_or_init(|| std::env::var(variable).ok());
    at.as_deref() == Some(point) && std::env::var(once).map_or(true, |file| std::fs::remove_file(file).is_ok())
}
