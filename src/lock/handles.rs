//! The handles that a level rests on: our own descriptors of database and journal, shared by all connections, and the
//! asking connection's handles, opened through the host's VFS.

use std::io;
use std::path::Path;

use super::database::{Database, Inner};
use super::failure::lost;
use super::known::Known;
use super::level::Level;
use super::seat::{Base, LockError, Seat};
use super::standing::current;
use crate::protocol::node::Files;
use crate::protocol::{Denied, Node, Paths};
use crate::storage::{Access, DataFile, FileId, Storage};
use crate::switches::{self, Guard};

/// How often the database may be replaced while it is being opened.
const REPLACEMENTS: u32 = 3;

/// Our own descriptors, network-exclusive mode only: with native locks, closing one would drop the whole process's locks.
#[derive(Default)]
pub(super) struct OwnHandles {
    pub database: Option<Box<dyn DataFile>>,
    journal: Option<Box<dyn DataFile>>,
}

impl OwnHandles {
    /// Opens what is not open yet, by name. The journal is opened anew for each lock; that there is none says nothing yet, see
    /// [`Files::look_for_journal`]. `listed`: both are opened by what a listing says, so that an old file is never held on to.
    pub fn open(&mut self, storage: &dyn Storage, paths: &Paths, node: &mut Node, listed: bool) -> Result<(), Denied> {
        let lease = node.lease_span();
        let mut open = |path: &Path| open_live(storage, path, node, listed);
        if self.database.is_none() {
            let database = open(&paths.database).map_err(Denied::opening(&paths.database, lease, listed))?;
            let missing = || Denied::io("open", &paths.database)(io::ErrorKind::NotFound.into());
            self.database = Some(database.ok_or_else(missing)?);
        }
        self.journal = open(&paths.journal).map_err(Denied::opening(&paths.journal, lease, listed))?;
        Ok(())
    }

    /// Which file our descriptor is on.
    pub fn database_id(&self) -> Option<FileId> {
        self.database.as_ref().and_then(|file| file.id().ok())
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
        let open = self.database_id();
        let named = storage.attributes(&paths.database).ok().map(|found| found.id);
        open.is_none() || open != named
    }
}

/// What has a live name, to be read. `listed`: by what a listing says, which needs `node`'s next name.
fn open_live(
    storage: &dyn Storage,
    path: &Path,
    node: &mut Node,
    listed: bool,
) -> io::Result<Option<Box<dyn DataFile>>> {
    let opened = if listed { None } else { Some(storage.open(path, Access::Read)) };
    // What the client goes by is gone from the server: where anybody here has it open, NFS 4.1's opens it once more without asking,
    // and goes on doing so until it learns that the directory has changed.
    let is_stale =
        |error: &io::Error| error.kind() == io::ErrorKind::StaleNetworkFileHandle && !switches::off(Guard::StaleName);
    match opened {
        Some(opened) if !opened.as_ref().is_err_and(is_stale) => found(opened),
        _ => found(storage.open_listed(path, Access::Read, &node.scratch())),
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

impl Database {
    /// Opens the connection's handle anew, and says whether it is on `own`, which a listing has confirmed. The platform's VFS
    /// opens by name alone and does not tell which file that was; but a client that has learned of a replacement never goes
    /// back behind it, so if the name leads to `own` still, that is what was opened in between.
    pub(super) fn open_base(&self, base: &mut dyn Base, own: Option<FileId>) -> Result<bool, Denied> {
        let path = &self.paths.database;
        base.reopen(false, false).map_err(Denied::io("open", path))?;
        let named = self.storage.attributes(path).map_err(Denied::io("look at", path))?.id;
        Ok(own == Some(named) || switches::off(Guard::HandleCheck))
    }

    /// Opens the connection's handles anew under its present lock: that worked, and a heartbeat since then says that the lock is
    /// still ours.
    ///
    /// # Errors
    /// [`LockError::Busy`] while others of this host keep it from being opened.
    pub fn reopen(&self, seat: &mut Seat, base: &mut dyn Base) -> Result<(), LockError> {
        let reopened = self.reopen_under(&mut self.inner(), seat, base);
        reopened.map_err(|denied| self.refused(seat, denied.into()))
    }

    fn reopen_under(&self, inner: &mut Inner, seat: &mut Seat, base: &mut dyn Base) -> Result<(), Denied> {
        let lost = || Denied::Deposed(lost(&self.paths));
        let mut node = inner.node.take().ok_or_else(lost)?;
        let reopened = node.sees_replacement().and_then(|replaced| {
            let mut handles = Handles::new(self, inner, seat, base);
            handles.follow(&mut node, replaced || switches::off(Guard::ReadOfAnother))
        });
        inner.node = Some(node);
        let confirmed = reopened.and_then(|()| current(inner, seat).ok_or_else(lost)?.heartbeat());
        if confirmed.is_err() {
            unconfirmed(seat, base);
        }
        confirmed
    }
}

/// What was opened by name counts only once that was confirmed: the next read begins anew.
pub(super) fn unconfirmed(seat: &mut Seat, base: &mut dyn Base) {
    if !switches::off(Guard::Unconfirmed) {
        seat.confirmed = false;
        base.close();
    }
}

/// All handles that one lock call uses.
pub(super) struct Handles<'a> {
    database: &'a Database,
    inner: &'a mut Inner,
    seat: &'a mut Seat,
    base: &'a mut dyn Base,
    /// The connection has its journal open, or must have it, as it is about to write.
    journal_wanted: bool,
}

impl<'a> Handles<'a> {
    pub fn new(
        database: &'a Database,
        inner: &'a mut Inner,
        seat: &'a mut Seat,
        base: &'a mut dyn Base,
    ) -> Handles<'a> {
        // One that an attempt before this closed, and failed to open anew, is wanted still.
        let writes = seat.level >= Level::Reserved && !switches::off(Guard::JournalWanted);
        let journal_wanted = writes || base.has_journal();
        Handles { database, inner, seat, base, journal_wanted }
    }

    /// The connection's own handles, on what the names stand for now.
    /// `false`: not on the file that our own descriptor is on.
    fn reopen_base(&mut self) -> Result<bool, Denied> {
        let paths = &self.database.paths;
        // As in `release`.
        let _ = self.base.sync();
        self.base.close_journal();
        let on_own = self.database.open_base(self.base, self.inner.own.database_id());
        if !matches!(on_own, Ok(true)) {
            unconfirmed(self.seat, self.base);
            return on_own;
        }
        if self.journal_wanted {
            self.base.open_journal(true).map_err(Denied::io("open", &paths.journal))?;
        }
        self.seat.generation = self.inner.generation;
        self.seat.known = Known::default();
        Ok(true)
    }

    /// [`Handles::reopen_base`] where our own descriptor is known to be the right one.
    pub fn follow_own(&mut self) -> Result<(), Denied> {
        if self.reopen_base()? { Ok(()) } else { Err(self.replaced()) }
    }

    /// The same; our own descriptor is opened first if that failed in an earlier attempt, or if a takeover has replaced the files.
    pub fn follow(&mut self, node: &mut Node, replaced: bool) -> Result<(), Denied> {
        let old = || replaced && self.inner.own.has_moved(&*self.database.storage, &self.database.paths);
        if self.inner.own.database.is_none() || old() {
            // While we have the old files open ourselves we would get them again.
            self.inner.parked.clear();
            self.open_own(node, true)?;
        }
        self.follow_own()
    }

    fn replaced(&self) -> Denied {
        let error = io::Error::new(io::ErrorKind::StaleNetworkFileHandle, "it is being replaced again and again");
        Denied::io("open", &self.database.paths.database)(error)
    }

    /// Our own descriptors, anew.
    fn open_own(&mut self, node: &mut Node, listed: bool) -> Result<(), Denied> {
        let (storage, paths, lease) = (&*self.database.storage, &self.database.paths, node.lease_span());
        let held = self.database.holds_names();
        let mut open = |path: &Path| open_live(storage, path, node, listed);
        let database = open(&paths.database).map_err(Denied::opening(&paths.database, lease, held))?;
        let journal = open(&paths.journal).map_err(Denied::opening(&paths.journal, lease, held))?;
        self.database.set_id(database.as_ref().and_then(|file| file.id().ok()));
        self.inner.own = OwnHandles { database, journal };
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
        node.become_exclusive(self, false)?;
        node.nothing_aside()?;
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
        self.inner.known = Known::default();
        self.inner.own = OwnHandles::default();
        // While we have the old files open ourselves we would get them again. What is not on the server cannot be left behind.
        if self.database.holds_names() {
            // Without handles in the end nothing of it is kept beyond this transaction.
            self.inner.linger.spoil();
            if self.base.sync().is_ok() {
                self.release();
            }
        }
        for round in 0..REPLACEMENTS {
            self.open_own(node, listed || round > 0)?;
            if self.inner.own.database.is_none() {
                // It is missing altogether: whoever takes L finishes what was begun, or makes a new one.
                return Ok(());
            }
            switches::stop_point("own-reopened");
            if self.reopen_base()? {
                return Ok(());
            }
        }
        Err(self.replaced())
    }

    /// A client may remember for a minute that there was none, so only a fresh listing says so; and one that was looked for before the
    /// name was up may have been made, and left hot, by somebody who has gone since.
    fn look_for_journal(&mut self, node: &mut Node) -> Result<bool, Denied> {
        if !self.inner.own.has_journal() && !switches::off(Guard::LateJournal) {
            let (path, held) = (&self.database.paths.journal, self.database.holds_names());
            let opened = open_live(&*self.database.storage, path, node, true);
            self.inner.own.journal = opened.map_err(Denied::opening(path, node.lease_span(), held))?;
        }
        Ok(!self.inner.own.has_journal())
    }

    fn release(&mut self) {
        // Through another handle nobody would learn that it failed. Whoever has it to write is told then.
        let _ = self.base.sync();
        self.inner.own = OwnHandles::default();
        self.inner.parked.clear();
        self.base.close_journal();
        self.base.close();
    }
}
