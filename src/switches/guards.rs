//! The guards that can be taken out, each with its word.

/// Declares [`Guard`] from one list.
macro_rules! guards {
    ($($(#[$doc:meta])+ $guard:ident = $word:literal,)+) => {
        /// A guard of the protocol that a negative control takes out.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum Guard {
            $($(#[$doc])+ $guard,)+
        }

        impl Guard {
            /// As `COORD_TEST_WITHOUT` names it.
            pub fn word(self) -> &'static str {
                match self {
                    $(Guard::$guard => $word,)+
                }
            }
        }
    };
}

guards! {
    /// The lease check around reads and writes.
    LeaseCheck = "lease-check",
    /// The heartbeat after a commit's finalisation.
    CommitCheck = "commit-check",
    /// Replacing database and journal when a silent node is deposed.
    Fence = "fence",
    /// The listing of the lock directory after entering it.
    LockListing = "lock-listing",
    /// Moving live files aside, in place of renaming over them.
    Aside = "aside",
    /// Dropping the client's cached pages on SHARED.
    CacheDrop = "cache-drop",
    /// The readers' names in the registry.
    ReaderRegistry = "reader-registry",
    /// The heartbeat that confirms RESERVED.
    ReservedCheck = "reserved-check",
    /// Refusing a database write without a synced journal.
    JournalRule = "journal-rule",
    /// Syncing the database before its journal is finalised.
    DatabaseSync = "database-sync",
    /// Taking notice that database and journal were replaced by a fence.
    Epoch = "epoch",
    /// Telling SQLite that the file it has open is not the one at the path.
    HasMoved = "has-moved",
    /// Waiting only once for an active holder.
    WaitOnce = "wait-once",
    /// Seeing that a journal must be rolled back.
    HotJournal = "hot-journal",
    /// Finishing a dead node's complete pair of copies.
    RollForward = "roll-forward",
    /// Trying again to remove a name that would not go.
    Litter = "litter",
    /// Opening all handles anew when a node registers again.
    HandlesAnew = "handles-anew",
    /// Being alone in the lock directory still when its listing and the registry's have been compared.
    AloneAgain = "alone-again",
    /// Opening both files by a listing when one of them was replaced.
    FreshReplaced = "fresh-replaced",
    /// Letting no name of a super-journal count in a journal of ours, and refusing to make one.
    SuperTail = "super-tail",
    /// Giving RESERVED back where SQLite is told that it has not got it.
    RefusedReserved = "refused-reserved",
    /// Under a lock that SQLite keeps: cutting a journal that was rolled back before the next one is begun over it.
    OldJournal = "old-journal",
    /// Under a lock that SQLite keeps: reading nothing beside a hot journal that was not opened to be rolled back.
    NotRolledBack = "not-rolled-back",
    /// Telling a writer that EXCLUSIVE was refused by an error that ends its transaction, also where that was for want of rights.
    SpillRefused = "spill-refused",
    /// Cutting it by the next attempt where that had failed.
    CutAgain = "cut-again",
    /// Syncing the journal of who died at the end of a transaction, before anybody sees that.
    SettledEnd = "settled-end",
    /// Looking at the lease, and now and then at the registry, before a lock that was kept from an earlier transaction is used.
    LingerLease = "linger-lease",
    /// Giving up a lock that was kept when somebody else wants it.
    LingerRequest = "linger-request",
    /// Following a replacement of the files that another connection of the process has gone through, when a kept lock is used.
    LingerGeneration = "linger-generation",
    /// Forgetting what was known of the file when the lock is given up.
    LingerForget = "linger-forget",
    /// Looking whether the connection's handle is on the file that the directory lists.
    HandleCheck = "handle-check",
    /// Closing the handles of idle connections before a fence renames over their file.
    Parking = "parking",
    /// Reading around this host's cache without a lock.
    UncachedHeader = "uncached-header",
    /// A new number in every presence's name.
    FreshNames = "fresh-names",
    /// Taking a heartbeat that one listing misses for a moving one.
    MissedBeat = "missed-beat",
    /// Throwing away the copies that dead nodes left.
    DeadCopies = "dead-copies",
    /// Clearing a deposed node's tombstone after its other names.
    TombstoneLast = "tombstone-last",
    /// Removing the holder's name before `exclusive.*`.
    ReleaseOrder = "release-order",
    /// Comparing both copies of a fence in one round.
    OneMoment = "one-moment",
    /// Opening a fence's sources by a fresh listing.
    FreshSources = "fresh-sources",
    /// The heartbeat after a copy was named complete.
    ReadyBeat = "ready-beat",
    /// An epoch where a dead node may have replaced files without saying so.
    DoubtfulEpoch = "doubtful-epoch",
    /// Deposing a node of which no heartbeat was ever seen.
    Ghosts = "ghosts",
    /// Watching, and never rolling forward, the copies of nodes that never were.
    StrayCopies = "stray-copies",
    /// Renewing once more where the lease had run out by the time of the answer.
    RenewLoop = "renew-loop",
    /// Joining readers' heed for a writer that waits.
    Joiners = "joiners",
    /// Looking again for a dead node's copy that was gone: it may have got its final name.
    LookAgain = "look-again",
    /// Noticing by a look at the path that the files were replaced.
    PathCheck = "path-check",
    /// In trusted mode: syncing the end of a transaction whose data was synced.
    JournalEnd = "journal-end",
    /// Telling the process that no journal is hot only as a holder of EXCLUSIVE who still is somebody.
    HotCleared = "hot-cleared",
    /// Comparing the file of a connection that joins a kept SHARED with the one that the lock was taken with.
    JoinedFile = "joined-file",
    /// Going at once where somebody else rolls the hot journal back.
    GivesWay = "gives-way",
    /// Taking what was written through a handle that is gone for not synced.
    LostHandle = "lost-handle",
    /// Cutting off what a journal was given since its last sync, where the next one fails.
    TornTail = "torn-tail",
    /// Having SQLite forget what it remembers of an empty database.
    EmptyDatabase = "empty-database",
    /// Writing a journal's end once more where its sync fails.
    EndAgain = "end-again",
    /// Taking RESERVED to remove a kept journal only where that is empty.
    HotKept = "hot-kept",
    /// Giving the node up where the end of its journal could not be made certain.
    EndLost = "end-lost",
    /// Keeping no handle on files whose lock was given up, where a client looks no name up again that is in use.
    HeldNames = "held-names",
    /// Opening a writer's journal again with its database, also where an earlier attempt had closed it.
    JournalWanted = "journal-wanted",
    /// Making a journal only under the lock.
    JournalUnderLock = "journal-under-lock",
    /// Opening a database once more that somebody else made between the opening and the look.
    OpenAgain = "open-again",
    /// Removing no database that lies aside where the one that has its name is empty.
    StrayDatabase = "stray-database",
    /// Telling a backup that a page cannot be read now by a code that it does not take for a page to be left out.
    BusyRead = "busy-read",
    /// Opening under SHARED only what a takeover has put there: that is the same, what somebody has put there by hand is not.
    ReadOfAnother = "read-of-another",
    /// Closing what was opened under SHARED and could not be confirmed.
    Unconfirmed = "unconfirmed",
    /// In trusted mode: looking for the registry under native SHARED.
    RegistrySeen = "registry-seen",
    /// Making the registry of a database in trusted mode under native EXCLUSIVE.
    ChangeAlone = "change-alone",
    /// In trusted mode: removing no name from the lock directory once there is a registry.
    ForeignLock = "foreign-lock",
    /// Syncing a transaction's own journal before it is read back.
    ReadBack = "read-back",
    /// Not to make a database anew for a connection that has had one.
    MadeOnce = "made-once",
    /// In trusted mode: looking for the registry with the lock directory held.
    NotRegistered = "not-registered",
    /// The name that stands for readers in trusted mode on the server whom nobody else can see.
    EarlierReaders = "earlier-readers",
    /// Giving the registry its name with the name in it that stands for readers in trusted mode.
    WholeRegistry = "whole-registry",
    /// Moving a registry that could not be given its name out of the way, before the name in it is removed.
    LateRegistry = "late-registry",
    /// Keeping the lock directory where a registry could neither be given its name nor be moved away.
    LockKept = "lock-kept",
    /// Holding the lock directory while the registry is made beside a database.
    RegistryLocked = "registry-locked",
    /// Of programs that write on the server while the database is shared: a fresh listing of the lock directory before the registry is
    /// made without it; and behind that, to wait for them before RESERVED and not to overwrite a journal that one has left hot.
    EarlierWriters = "earlier-writers",
    /// Taking a write of the journal that failed on a network for a sync that did.
    LostRecord = "lost-record",
    /// Giving the node up where the lost end of its journal could not be cut off for certain.
    LateCut = "late-cut",
    /// Going on, after a takeover, with no other journal than the one that this transaction has written.
    SameJournal = "same-journal",
    /// Following the registry that another made while this process was on its way to make it.
    FasterChange = "faster-change",
    /// No rollback from a journal whose handle a takeover closed and could not open again.
    JournalGone = "journal-gone",
    /// Journals aside that nobody has to roll back being no obstacle.
    ColdAsides = "cold-asides",
    /// Removing a hot journal under RESERVED only while the database beside it is still empty.
    EmptyStill = "empty-still",
    /// Trying again to remove a lock directory that was not empty.
    LockLeft = "lock-left",
    /// Removing a dead maker's copy that was renamed to a name which the same file had already.
    TwoNames = "two-names",
    /// Looking for a while for a name in the lock directory that could not be made.
    LateWrite = "late-write",
    /// Asking the server for a file's length when its cached pages are dropped.
    FreshSize = "fresh-size",
    /// Opening a file anew of which pages are left in the cache when they have been dropped.
    MappedPages = "mapped-pages",
    /// Refusing to commit two files at once also where SQLite makes no super-journal.
    OneFile = "one-file",
    /// Cutting, not only marking, a journal that is ended for another transaction than ours.
    ForeignCut = "foreign-cut",
    /// In trusted mode, removing the name of who is not dead for certain only with the native lock taken.
    NamesUnderLock = "names-under-lock",
    /// In trusted mode, looking whether our name is in the lock directory still when the native lock is taken.
    StillEntered = "still-entered",
    /// In trusted mode, taking an empty lock directory for ours only if it is the very one that we made.
    OwnDirectory = "own-directory",
    /// Looking aside for what is missing, before a fence copies it and after it has been replaced.
    LateAside = "late-aside",
    /// At the end of a fence, removing no hot journal whose place a cold one has taken.
    HotAside = "hot-aside",
    /// With `locking_mode=EXCLUSIVE`, giving the node up where the transaction can neither go on nor be rolled back.
    KeptCut = "kept-cut",
    /// In trusted mode, no journal opened or removed by name once there is a registry.
    UsurpedJournal = "usurped-journal",
    /// Going by a node's own lease before it is taken for gone as it has been idle for long.
    IdleLease = "idle-lease",
    /// In trusted mode, no use of a journal in a forked child.
    ForkedJournal = "forked-journal",
    /// Taking no takeover for the work of a program without coord, nor its files for others than were read.
    TakenOver = "taken-over",
    /// Heartbeats while a database is copied.
    CopyBeats = "copy-beats",
    /// Listing the lock directory anew where one who stood in it was deposed since.
    FreshView = "fresh-view",
    /// Waiting for programs that began before the database was shared until their name's tombstone has stood, too.
    GhostSettles = "ghost-settles",
    /// No journal made, and nothing read, by a connection that was refused.
    Refused = "refused",
    /// Network-exclusive mode only on a VFS of the platform's own.
    OwnBase = "own-base",
    /// Looking once more, with the reader's name up, for a journal that was not there before.
    LateJournal = "late-journal",
    /// Leaving the lock of a program that ends while it writes, where its pages may come late.
    ExitWriting = "exit-writing",
    /// Listing the registry once more before SHARED is granted.
    ListedTwice = "listed-twice",
    /// Listing it twice more where there was no journal.
    MissingTwice = "missing-twice",
    /// Listing it after the heartbeats of who only reads.
    BeatLooks = "beat-looks",
    /// Listing the lock directory again where a journal's copy of a fence stands alone.
    JournalAlone = "journal-alone",
    /// Opening a database by the path that its locks go by, not through a link in the middle of it.
    ResolvedName = "resolved-name",
    /// Writing no page whose record no header of the journal counts.
    Uncounted = "uncounted",
    /// Taking a journal whose end cannot be read for one that may name a super-journal.
    SuperUnread = "super-unread",
    /// In trusted mode: removing no kept journal once the database was replaced.
    KeptOfAnother = "kept-of-another",
    /// In trusted mode: letting nobody of this process begin to read while a writer of it waits to be exclusive.
    PendingNoted = "pending-noted",
    /// Writing to no journal that could only be opened for reading.
    ReadOnlyJournal = "read-only-journal",
    /// In trusted mode: a key of its own for a process without a liveness file.
    OwnKey = "own-key",
    /// Opening nothing to be made where it cannot be learned whether there is a registry.
    RegistryUnsure = "registry-unsure",
    /// Looking for a hot journal where the files were opened anew since SHARED, also in an attempt that had failed.
    SinceShared = "since-shared",
    /// Taking a journal whose beginning cannot be read for a hot one, before it is removed beside an empty database.
    HotUnread = "hot-unread",
    /// Opening by a listing what by its name is a file that the server has no more.
    StaleName = "stale-name",
    /// Going by what was remembered in this time namespace alone.
    OwnClock = "own-clock",
    /// On a local disk: making no registry where one was when the database was opened.
    RegistryGone = "registry-gone",
}
