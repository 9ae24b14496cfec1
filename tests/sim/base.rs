//! The handles of one connection, as SQLite would have them through the host's VFS.

use std::io;

use coord::lock::{Base, Level, LockError, Parked};
use coord::protocol::Paths;
use coord::storage::{Access, DataFile, Owner, Storage};
use coord::switches::{self, Guard};

use super::storage::SimStorage;

/// One connection's handles.
pub struct Handles {
    pub storage: SimStorage,
    pub paths: Paths,
    pub database: Option<Box<dyn DataFile>>,
    pub journal: Option<Box<dyn DataFile>>,
    pub dirty: bool,
    pub journal_dirty: bool,
    /// A sync on behalf of the lock failed: until the transaction ends the next one may report success without having written.
    pub sync_failed: bool,
    /// What tells the journal that this transaction has begun from every other.
    pub journal_mark: Option<[u8; 8]>,
    /// The database behind the handle may be another one: what was read from it before counts no more.
    pub doubt: bool,
    /// The journal's name is on the disk.
    pub journal_named: bool,
}

/// Where a journal has its mark.
pub const MARK_AT: u64 = 8;

pub const OWNER: Owner = Owner { mode: 0o644, uid: 0, gid: 0 };

impl Handles {
    /// What was written to the journal is on the disk, and so is its name, as SQLite has it at the first sync of a journal that
    /// it may have made.
    pub fn sync_journal(&mut self) -> io::Result<()> {
        if self.sync_failed {
            return Err(io::Error::other("a sync has failed before"));
        }
        if self.journal_dirty
            && let Some(journal) = &self.journal
        {
            if !self.journal_named {
                self.storage.sync_dir(&self.paths.parent)?;
                self.journal_named = true;
            }
            synced(&**journal)?;
            self.journal_dirty = false;
        }
        Ok(())
    }
}

/// As the platform's VFS has it, a failed sync is an error of input and output whatever the reason.
pub fn synced(file: &dyn DataFile) -> io::Result<()> {
    file.sync().map_err(io::Error::other)
}

impl Base for Handles {
    fn reopen(&mut self, _: bool, create: bool) -> io::Result<()> {
        if create {
            match self.storage.create_new(&self.paths.database, b"", OWNER) {
                // As with SQLite, whoever finds it made by then takes it.
                Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
                _ => {}
            }
        }
        self.database = Some(self.storage.open(&self.paths.database, Access::ReadWrite)?);
        self.doubt = true;
        Ok(())
    }

    fn is_open(&self) -> bool {
        self.database.is_some()
    }

    fn close(&mut self) {
        self.database = None;
    }

    fn open_journal(&mut self, make: bool) -> io::Result<()> {
        if self.journal.is_some() {
            return Ok(());
        }
        let mut opened = self.storage.open(&self.paths.journal, Access::ReadWrite);
        let begun = self.journal_mark.filter(|_| !switches::off(Guard::SameJournal));
        if opened.is_err() && make && begun.is_none() {
            let _ = self.storage.create_new(&self.paths.journal, b"", OWNER);
            opened = self.storage.open(&self.paths.journal, Access::ReadWrite);
        }
        let opened = opened?;
        if let Some(mark) = begun {
            let mut found = [0; 8];
            opened.read_at(&mut found, MARK_AT)?;
            if found != mark {
                return Err(io::Error::other("it is not the journal of this transaction"));
            }
        }
        self.journal = Some(opened);
        self.journal_named = false;
        Ok(())
    }

    fn close_journal(&mut self) {
        // What was written through it is still to be synced, through the handle that takes its place.
        self.journal = None;
    }

    fn has_journal(&self) -> bool {
        self.journal.is_some()
    }

    fn is_writable(&self) -> bool {
        true
    }

    fn may_create(&self) -> bool {
        true
    }

    fn sync(&mut self) -> io::Result<()> {
        let lost = (self.journal_dirty && self.journal.is_none()) || (self.dirty && self.database.is_none());
        if lost && !switches::off(Guard::LostHandle) {
            return Err(io::Error::other("it was closed with data that was not synced"));
        }
        let mut done = self.sync_journal();
        if let (Ok(()), true, Some(database)) = (&done, self.dirty, &self.database) {
            done = synced(&**database);
            self.dirty = done.is_err();
        }
        self.sync_failed |= done.is_err() && !switches::off(Guard::LostHandle);
        done
    }

    fn native_lock(&mut self, _: Level) -> Result<(), LockError> {
        Ok(())
    }

    fn native_unlock(&mut self, _: Level) {}

    fn park(&mut self) -> Option<Parked> {
        let journal = self.journal.take();
        self.database.take().map(|file| Box::new((file, journal)) as Parked)
    }

    fn unpark(&mut self, handle: Parked) {
        if let Ok(files) = handle.downcast::<(Box<dyn DataFile>, Option<Box<dyn DataFile>>)>() {
            let (file, journal) = *files;
            (self.database, self.journal) = (Some(file), journal);
        }
    }

    fn is_interrupted(&self) -> bool {
        false
    }

    fn client(&self) -> String {
        "simulation".to_string()
    }
}
