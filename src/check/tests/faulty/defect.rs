//! The defects of a filesystem's client.

/// What is wrong with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Defect {
    None,
    /// Who comes second is told that he has won, too.
    MkdirTwice,
    /// A directory cannot be made once in a while.
    MkdirFails,
    CreateTwice,
    RenameTwice,
    /// A rename over a file puts the new content into the old inode.
    RenameInPlace,
    /// A file that somebody has open can be neither renamed nor renamed over.
    NoReplace,
    /// Such a file cannot be renamed, for another reason than that it may not.
    AsideFails,
    /// A handle is a name: what is written through it goes to the file that has the name by then.
    WriteByName,
    /// Both: this host cannot replace files, and writes by name to those that another one replaces.
    NoReplaceWriteByName,
    /// A link to a name that is taken replaces it.
    LinkReplaces,
    NoLinks,
    /// A listing shows of others' names those that were there at the listing before.
    ListingBehind(&'static str),
    /// A listing is the one before.
    ListingOld,
    /// Names beyond the hundredth are not listed.
    ListingCut,
    ListingTwice,
    /// A listing fails, or misses a name that stays, when another one was removed since the one before.
    ListingFails,
    ListingMisses,
    RmdirFull,
    ShortNames,
    CapitalNames,
    SyncFails,
    NoDrop,
    /// Pages stay in the cache although it was dropped.
    DropNothing,
    /// A file's size by handle is that of the first question, whatever it is by then; the data is right.
    SizeStays,
    DirectStale,
    TruncateIgnored,
    InodeMoves,
    RightsLost,
    LocksShared,
    /// A name leads to the file that it was opened as first.
    OpenStale,
    /// A name that was missing once stays missing.
    MissingStays,
    /// What others have written into a new file is not there yet.
    ContentsLate,
    /// A directory that was known once cannot be made anew.
    DirectoryStays,
    /// Names that two hosts race for take it long to make.
    SlowToMake,
    /// In a race for directories it begins only when the other host has made them.
    AlwaysSecond,
    /// One word of the other end is never listed.
    WordHidden,
    ReadOnly,
    /// There is room for so many operations that make something.
    Room(i64),
}
