//! How a transaction ends in trusted mode, where SQLite itself orders the data.
//!
//! SQLite removes the journal and, unless `synchronous` is EXTRA, does not sync the directory after it: when the power goes
//! the journal may be there again, and rolls a reported commit back. Here the journal of a transaction whose data was synced
//! is cut to nothing instead, and that is synced; every SQLite takes an empty journal for none. It keeps its name for the
//! connection's next transaction, which therefore needs no sync of the directory for a new one: a commit takes four syncs,
//! as many as SQLite's own with FULL, and keeps EXTRA's promise. With `synchronous=OFF` nothing is synced, and the journal is
//! removed as SQLite does it.
//!
//! It is kept only where all who may write to the database can open and remove it as they could one of their own; and no longer
//! than the connection is open.

use std::ffi::c_int;

use super::base::BaseFile;
use super::database_file::DatabaseFile;
use super::transaction::end_again;
use crate::host::ffi::*;
use crate::lock::{self, Level, Mode};
use crate::storage::FileId;
use crate::switches::{self, Guard};

const STICKY: u32 = 0o1000;

/// An empty journal whose name is on stable storage. The open handle keeps its inode from being given to another file.
pub struct KeptJournal {
    file: BaseFile,
    id: FileId,
}

impl DatabaseFile {
    /// Whether the journal that SQLite is about to open, and to make if need be, is the one that was kept. One that somebody
    /// else has put in its place may lose its name when the power goes.
    pub(super) fn journal_is_kept(&mut self) -> bool {
        let Some(id) = self.handles.kept.as_ref().map(|kept| kept.id) else { return false };
        let found = lock::storage().attributes(&self.paths().journal);
        let kept = found.is_ok_and(|found| found.id == id);
        if !kept {
            self.handles.kept = None;
        }
        kept
    }

    /// Whether the journal's name leads to this connection's own still. Other hosts that have waited for it for long enough take the
    /// lock away and replace the journal; before that they make the registry. Looked for now, as somebody who stood still meanwhile
    /// has not been told yet.
    pub(super) fn still_trusted(&mut self, code: c_int) -> c_int {
        // What keeps trusted writers out while others make the registry has this look behind it.
        let alone = [Guard::UsurpedJournal, Guard::NotRegistered, Guard::RegistryLocked];
        if alone.into_iter().any(switches::off) {
            return SQLITE_OK;
        }
        self.database.look_now();
        self.check_lease(code)
    }

    /// `xDelete` of the journal in trusted mode. `None`: the platform's VFS removes it, and syncs the directory if it says so.
    pub(super) fn end_trusted(&mut self, sync_dir: &mut c_int) -> Option<c_int> {
        let cuts = self.transaction.synced && !switches::off(Guard::JournalEnd);
        let kept = cuts && (self.journal_is_kept() || self.keep_journal());
        // Once it is open: what is cut below is what had the name now.
        let code = self.still_trusted(SQLITE_IOERR_DELETE);
        if code != SQLITE_OK {
            self.handles.kept = None;
            return Some(code);
        }
        if !kept {
            *sync_dir |= c_int::from(cuts);
            return None;
        }
        let cut = self.handles.kept.take().filter(|kept| kept.file.truncate(0) == SQLITE_OK);
        let Some(kept) = cut else {
            *sync_dir = 1;
            return None;
        };
        let synced = kept.file.sync(SQLITE_SYNC_NORMAL);
        if synced != SQLITE_OK {
            end_again(&kept.file);
        }
        // After a failed sync the next may report success without having written.
        self.handles.kept = Some(kept).filter(|_| synced == SQLITE_OK);
        Some(synced)
    }

    /// Keeps the journal of this transaction, if that is nobody's harm. SQLite has synced its name: whoever opens a journal that he
    /// may have made syncs the directory with it.
    fn keep_journal(&mut self) -> bool {
        let storage = lock::storage();
        let paths = self.paths();
        let (Ok(database), Ok(journal), Ok(parent)) = (
            storage.attributes(&paths.database),
            storage.attributes(&paths.journal),
            storage.attributes(&paths.parent),
        ) else {
            return false;
        };
        // Others may have rights on the database: they must have the same on what stays here, and be able to remove it.
        let alike =
            (journal.uid, journal.gid, journal.mode & 0o777) == (database.uid, database.gid, database.mode & 0o777);
        if !alike || journal.links != 1 || journal.is_symlink || parent.mode & STICKY != 0 {
            return false;
        }
        self.handles.kept = self.handles.open_kept_journal().map(|file| KeptJournal { file, id: journal.id });
        self.journal_is_kept()
    }

    /// The connection ends: what it has kept goes, unless somebody is at work. Under the locks of a writer, as one that is being
    /// written must not lose its name. But RESERVED says that a journal is not hot: it is taken only where that is so already under
    /// SHARED, beside which nobody can write to the database.
    pub(super) fn remove_kept_journal(&mut self) {
        if self.handles.kept.is_none() || self.database.mode() != Mode::Trusted || !self.journal_is_kept() {
            return;
        }
        let mut reserved = 0;
        let idle = self.handles.database.as_ref().is_some_and(|file| file.check_reserved(&mut reserved) == SQLITE_OK);
        if !idle || reserved != 0 {
            return;
        }
        let database = self.database.clone();
        let (storage, journal) = (lock::storage(), &database.paths().journal);
        let is_empty = || storage.attributes(journal).is_ok_and(|found| found.size == 0);
        let locked = database.lock(&mut self.seat, Level::Shared, &mut self.handles).is_ok()
            && (is_empty() || switches::off(Guard::HotKept))
            && database.lock(&mut self.seat, Level::Reserved, &mut self.handles).is_ok();
        // Our locks are on the file that we have open. Beside another, of a restored backup say, somebody may be writing that journal.
        let mut moved: c_int = 0;
        // SAFETY: this operation takes the address of an int.
        let asked = unsafe { self.handles.control(SQLITE_FCNTL_HAS_MOVED, (&raw mut moved).cast()) };
        let ours = (asked == SQLITE_OK && moved == 0) || switches::off(Guard::KeptOfAnother);
        if locked && ours && database.mode() == Mode::Trusted && self.journal_is_kept() && is_empty() {
            let _ = storage.unlink(journal);
        }
        database.unlock(&mut self.seat, Level::None, &mut self.handles);
        self.handles.kept = None;
    }
}
