//! The handles that a level rests on: our own descriptors of database and journal, shared by all connections, and the
//! asking connection's handles, opened through the host's VFS.

use std::io;
use std::path::Path;

use super::database::{Database, Inner};
use super::seat::{Base, Seat};
use crate::protocol::node::Files;
use crate::protocol::switches::{self, Guard};
use crate::protocol::{Denied, Node, Paths};
use crate::storage::{Access, DataFile, Storage};

/// Our own descriptors, network-exclusive mode only: with native locks, closing one would drop the whole process's locks.
#[derive(Default)]
pub(super) struct OwnHandles {
    pub database: Option<Box<dyn DataFile>>,
    journal: Option<Box<dyn DataFile>>,
}

impl OwnHandles {
    /// Opens what is not open yet, by name. The journal is opened anew for each lock. A client may remember for a minute that
    /// there was no journal, so it is none only where a fresh listing (made with `scratch`) says so.
    pub fn open(&mut self, storage: &dyn Storage, paths: &Paths, scratch: &Path) -> io::Result<()> {
        if self.database.is_none() {
            self.database = Some(storage.open(&paths.database, Access::Read)?);
        }
        self.journal = match storage.open(&paths.journal, Access::Read) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                found(storage.open_listed(&paths.journal, Access::Read, scratch))?
            }
            opened => Some(opened?),
        };
        Ok(())
    }

    pub fn has_journal(&self) -> bool {
        self.journal.is_some()
    }

    pub fn forget_journal(&mut self) {
        self.journal = None;
    }

    /// Drops what this host has cached of both files, then says whether the journal begins with something that SQLite takes
    /// for one to be rolled back.
    pub fn look(&self, paths: &Paths) -> Result<bool, Denied> {
        if !switches::off(Guard::CacheDrop) {
            if let Some(database) = &self.database {
                database.drop_cache().map_err(Denied::io("drop cached pages of", &paths.database))?;
            }
            if let Some(journal) = &self.journal {
                journal.drop_cache().map_err(Denied::io("drop cached pages of", &paths.journal))?;
            }
        }
        let Some(journal) = &self.journal else { return Ok(false) };
        let mut first = [0];
        let got = journal.read_at(&mut first, 0).map_err(Denied::io("read", &paths.journal))?;
        Ok(got == 1 && first[0] != 0 && !switches::off(Guard::HotJournal))
    }

    pub fn has_moved(&self, storage: &dyn Storage, paths: &Paths) -> bool {
        let open = self.database.as_ref().and_then(|file| file.id().ok());
        let named = storage.attributes(&paths.database).ok().map(|found| found.id);
        open.is_none() || open != named
    }
}

/// A missing file is none.
fn found(opened: io::Result<Box<dyn DataFile>>) -> io::Result<Option<Box<dyn DataFile>>> {
    match opened {
        Ok(file) => Ok(Some(file)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// All handles that one lock call uses.
pub(super) struct Handles<'a> {
    database: &'a Database,
    inner: &'a mut Inner,
    seat: &'a mut Seat,
    base: &'a mut dyn Base,
    /// The connection had its journal open when it was released.
    journal_wanted: bool,
}

impl<'a> Handles<'a> {
    pub fn new(
        database: &'a Database,
        inner: &'a mut Inner,
        seat: &'a mut Seat,
        base: &'a mut dyn Base,
    ) -> Handles<'a> {
        let journal_wanted = base.has_journal();
        Handles { database, inner, seat, base, journal_wanted }
    }

    /// The connection's own handles, on what the names stand for now.
    pub fn reopen_base(&mut self) -> Result<(), Denied> {
        let paths = &self.database.paths;
        self.base.close_journal();
        self.base.reopen(false, false).map_err(Denied::io("open", &paths.database))?;
        if self.journal_wanted {
            self.base.open_journal().map_err(Denied::io("open", &paths.journal))?;
        }
        self.seat.generation = self.inner.generation;
        Ok(())
    }

    pub fn database_is_missing(&self) -> bool {
        let found = self.database.storage.attributes(&self.database.paths.database);
        found.is_err_and(|error| error.kind() == io::ErrorKind::NotFound)
    }

    /// Makes a new database under L, with `exclusive.*` up.
    pub fn make_database(&mut self, node: &mut Node) -> Result<(), Denied> {
        let paths = self.database.paths.clone();
        if !self.base.may_create() {
            let missing = io::Error::new(io::ErrorKind::NotFound, "no such file");
            return Err(Denied::io("open", &paths.database)(missing));
        }
        node.become_exclusive(self)?;
        self.base.reopen(false, true).map_err(Denied::io("make", &paths.database))?;
        self.seat.generation = self.inner.generation;
        self.database.storage.sync_dir(&paths.parent).map_err(Denied::io("sync", &paths.parent))
    }
}

impl Files for Handles<'_> {
    fn reopen(&mut self, node: &mut Node, listed: bool) -> Result<(), Denied> {
        // First of all nobody may go on with what he has, whatever becomes of the opening.
        self.inner.generation += 1;
        self.inner.baseline = None;
        self.inner.own = OwnHandles::default();
        let (storage, paths) = (&*self.database.storage, self.database.paths.clone());
        let mut open = |path: &Path| match listed {
            true => storage.open_listed(path, Access::Read, &node.scratch()),
            false => storage.open(path, Access::Read),
        };
        let database = found(open(&paths.database)).map_err(Denied::io("open", &paths.database))?;
        let journal = found(open(&paths.journal)).map_err(Denied::io("open", &paths.journal))?;
        self.inner.own = OwnHandles { database, journal };
        if self.inner.own.database.is_none() {
            // It is missing altogether: whoever takes L finishes what was begun, or makes a new one.
            return Ok(());
        }
        self.reopen_base()
    }

    fn release(&mut self) {
        self.inner.own = OwnHandles::default();
        self.base.close_journal();
        self.base.close();
    }
}
