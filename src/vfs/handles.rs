//! One connection's handles on the platform's VFS: its database, and the journal that is kept open while the connection
//! holds the write lock, across SQLite's own opening and closing.

mod journal;

use std::ffi::{CStr, CString, c_char, c_int, c_void};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;
use std::time::Duration;

use self::journal::{JournalMark, MARK_AT};
use super::base::BaseFile;
use super::host_copy::HostCopy;
use super::kept_journal::KeptJournal;
use super::patience::{self, BusyHandler};
use crate::host::OwnedName;
use crate::host::ffi::*;
use crate::lock::{self, Base, Level, LockError, Parked};
use crate::protocol::Paths;
use crate::switches::{self, Guard};

/// See the module's head.
pub struct Handles {
    pub host: &'static HostCopy,
    /// SQLite's own name of the database: valid until the connection closes it, URI parameters included.
    name: *const c_char,
    path: PathBuf,
    journal_path: PathBuf,
    /// The flags SQLite asked for, and those that it was told.
    asked: c_int,
    pub told: c_int,
    pub database: Option<BaseFile>,
    /// The connection has had it open, in whatever state it is now.
    had_database: bool,
    /// It is in the lock manager's care, or was closed there.
    parked: bool,
    pub journal: Option<BaseFile>,
    /// In trusted mode: an empty journal that was left for the next transaction.
    pub kept: Option<KeptJournal>,
    /// Declared after the handle that uses it, so that it goes later.
    journal_name: OwnedName,
    /// Written and not synced.
    pub database_dirty: bool,
    pub journal_dirty: bool,
    /// What tells the journal that this transaction has begun from every other.
    journal_mark: Option<JournalMark>,
    /// How far this transaction has written its journal, and how far it had when it was last synced.
    pub journal_written: i64,
    journal_safe: i64,
    /// Its end was cut off: SQLite, which would roll its cache back from it, must not take what is left for all there was.
    pub journal_cut: bool,
    /// A sync on behalf of the lock failed: until the transaction ends nothing counts as synced.
    pub sync_failed: bool,
    /// The file behind the handle changed without a trace that SQLite could see: its cache must go.
    pub doubt: bool,
    /// The database had no header when it was asked last, and this connection has committed none since. SQLite's cache then has an
    /// empty first page, and may know the stamp of the first transaction all the same: from one of its own that was rolled back.
    pub was_empty: bool,
    /// What the connection was set to, to be set again on a new handle: operation and value.
    settings: Vec<(c_int, c_int)>,
    /// Where SQLite keeps its connection (`SQLITE_FCNTL_PDB`), for interrupts.
    pub connection: *mut *mut sqlite3,
    /// What SQLite asks whether to wait on.
    pub busy_handler: BusyHandler,
}

impl Handles {
    pub fn new(host: &'static HostCopy, name: *const c_char, paths: &Paths, asked: c_int) -> Handles {
        let journal = CString::new(paths.journal.as_os_str().as_bytes()).unwrap_or_default();
        Handles {
            host,
            name,
            journal_name: OwnedName::new(&journal),
            path: paths.database.clone(),
            journal_path: paths.journal.clone(),
            asked,
            told: asked,
            database: None,
            had_database: false,
            parked: false,
            journal: None,
            kept: None,
            database_dirty: false,
            journal_dirty: false,
            journal_mark: None,
            journal_written: 0,
            journal_safe: 0,
            journal_cut: false,
            sync_failed: false,
            doubt: false,
            was_empty: false,
            settings: Vec::new(),
            connection: std::ptr::null_mut(),
            busy_handler: std::ptr::null(),
        }
    }

    /// The first opening, as SQLite asked for it.
    pub fn open_first(&mut self, native_locks: bool, flags: c_int) -> Result<(), c_int> {
        let (file, told) = self.open_database(native_locks, flags)?;
        self.install(file);
        self.told = (told & !SQLITE_OPEN_CREATE) | (self.asked & SQLITE_OPEN_CREATE);
        Ok(())
    }

    /// With native locks a handle may outlive the connection, and SQLite's own name with it: closing it must wait for another copy of
    /// SQLite. So it has a name of its own; but not on a VFS of a program's, which may know its files by the pointer.
    ///
    /// Without them it is opened anew, by the path that the locks lie beside: SQLite before 3.39 leaves links in the middle of its
    /// own, and those may lead elsewhere by then. With them it is not, and SQLite itself asks whether its name leads elsewhere.
    fn open_database(&self, native_locks: bool, flags: c_int) -> Result<(BaseFile, c_int), c_int> {
        let base = self.host.base(native_locks);
        // SAFETY: the VFS is registered; SQLite's name is a main database's and outlives the connection.
        unsafe {
            if !self.host.base_name().starts_with("unix") {
                return BaseFile::open(base, self.name, flags);
            }
            let path = match native_locks || switches::off(Guard::ResolvedName) {
                true => CStr::from_ptr(self.name).to_owned(),
                false => CString::new(self.path.as_os_str().as_bytes()).unwrap_or_default(),
            };
            BaseFile::open_under(base, OwnedName::of_database(&path, self.name), flags)
        }
    }

    fn install(&mut self, file: BaseFile) {
        // The base must not map the file: pages would be read past our checks.
        let mut none: i64 = 0;
        // SAFETY: this operation takes the address of a 64-bit number, the others of an int.
        unsafe {
            file.control(SQLITE_FCNTL_MMAP_SIZE, (&raw mut none).cast());
            for (operation, value) in &self.settings {
                let mut value = *value;
                file.control(*operation, (&raw mut value).cast());
            }
        }
        self.database = Some(file);
        self.had_database = true;
        self.parked = false;
    }

    /// Remembers a setting for handles to come.
    pub fn remember(&mut self, operation: c_int, value: c_int) {
        self.settings.retain(|(known, _)| *known != operation);
        self.settings.push((operation, value));
    }

    pub fn is_read_only(&self) -> bool {
        self.told & SQLITE_OPEN_READONLY != 0
    }

    /// Forwards an operation to the database's handle.
    ///
    /// # Safety
    /// `argument` is what the operation asks for.
    pub unsafe fn control(&self, operation: c_int, argument: *mut c_void) -> c_int {
        match &self.database {
            // SAFETY: the caller's promise.
            Some(file) => unsafe { file.control(operation, argument) },
            None => SQLITE_NOTFOUND,
        }
    }

    pub fn sync_database(&mut self) -> Result<(), c_int> {
        if self.database_dirty
            && let Some(database) = &self.database
        {
            match database.sync(SQLITE_SYNC_NORMAL) {
                SQLITE_OK => self.database_dirty = false,
                code => return Err(code),
            }
        }
        Ok(())
    }

    /// The journal's file as it is, for [`KeptJournal`].
    pub fn open_kept_journal(&self) -> Option<BaseFile> {
        let (file, told) = self.open_journal_with(SQLITE_OPEN_READWRITE).ok()?;
        // The platform's VFS may open for reading what it cannot open for writing.
        (told & SQLITE_OPEN_READONLY == 0).then_some(file)
    }

    fn open_journal_with(&self, flags: c_int) -> Result<(BaseFile, c_int), c_int> {
        let base = self.host.base(false);
        // SAFETY: the name is ours and outlives the handle: both belong to this struct, and the handle is declared after
        // it and dropped by `close_journal` at the latest.
        unsafe { BaseFile::open(base, self.journal_name.as_ptr(), flags | SQLITE_OPEN_MAIN_JOURNAL) }
    }
}

/// What a failed opening means: the platform's VFS says only that it could not.
fn why(path: &std::path::Path, code: c_int) -> io::Error {
    match lock::storage().attributes(path) {
        Err(error) => error,
        Ok(_) => io::Error::other(format!("SQLite's VFS cannot open it (code {code})")),
    }
}

fn failed(code: c_int) -> io::Error {
    io::Error::other(format!("SQLite's VFS reports code {code}"))
}

impl Base for Handles {
    fn reopen(&mut self, native_locks: bool, create: bool) -> io::Result<()> {
        if !native_locks && let Some(why) = self.host.loses_state() {
            // Network-exclusive mode has begun since the connection was opened.
            return Err(io::Error::other(why));
        }
        let mut flags = self.asked & !(SQLITE_OPEN_CREATE | SQLITE_OPEN_EXCLUSIVE);
        if create {
            flags |= SQLITE_OPEN_CREATE;
        }
        let (file, told) = self.open_database(native_locks, flags).map_err(|code| why(&self.path, code))?;
        // SQLite was told that it can write, also where there was no database yet.
        if told & SQLITE_OPEN_READONLY != 0 && !self.is_read_only() {
            return Err(io::Error::new(io::ErrorKind::PermissionDenied, "it can only be read now"));
        }
        let first = self.database.is_none() && !self.parked && !self.doubt;
        self.install(file);
        // What was written through the old handle is still to be synced; a sync works on the inode.
        self.database_dirty |= create;
        self.doubt = !first;
        Ok(())
    }

    fn is_open(&self) -> bool {
        self.database.is_some()
    }

    fn close(&mut self) {
        self.database = None;
        self.doubt = true;
    }

    fn open_journal(&mut self, make: bool) -> io::Result<()> {
        if self.journal.is_some() {
            return Ok(());
        }
        // Without CREATE first: the platform's VFS syncs the directory at every commit of a journal that it may have made.
        let mut opened = self.open_journal_with(SQLITE_OPEN_READWRITE);
        let begun = self.journal_mark.filter(|_| !switches::off(Guard::SameJournal));
        if opened.is_err() && make && begun.is_none() {
            opened = self.open_journal_with(SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE);
        }
        let (opened, told) = opened.map_err(|code| why(&self.journal_path, code))?;
        // The platform's VFS opens for reading what it cannot open for writing.
        if told & SQLITE_OPEN_READONLY != 0 && !switches::off(Guard::ReadOnlyJournal) {
            return Err(io::Error::new(io::ErrorKind::PermissionDenied, "this user may read it but not write to it"));
        }
        // What undoes the changes of a transaction that has begun is the one that it has written. That may have lost its name: a
        // takeover's step, of this very process perhaps, was carried out once more, late, and somebody made one anew.
        let mut found = JournalMark::default();
        if begun.is_some_and(|mark| opened.read_into(&mut found, MARK_AT as i64) != SQLITE_OK || found != mark) {
            return Err(io::Error::other("it is not the journal of this transaction, which has lost its name"));
        }
        self.journal = Some(opened);
        Ok(())
    }

    fn close_journal(&mut self) {
        self.journal = None;
    }

    fn has_journal(&self) -> bool {
        self.journal.is_some()
    }

    fn is_writable(&self) -> bool {
        !self.is_read_only()
    }

    fn may_create(&self) -> bool {
        // The one that it had was moved or removed: an empty one in its place would be taken for it.
        self.asked & SQLITE_OPEN_CREATE != 0 && (!self.had_database || switches::off(Guard::MadeOnce))
    }

    fn sync(&mut self) -> io::Result<()> {
        // Where no other handle has taken its place nobody can say whether the data is on the server, or still on its way.
        let journal_lost = self.journal_dirty && self.journal.is_none();
        let database_lost = self.database_dirty && self.database.is_none();
        if (journal_lost || database_lost || self.sync_failed) && !switches::off(Guard::LostHandle) {
            return Err(io::Error::other("it was closed with data that was not synced"));
        }
        let synced = self.sync_journal().and_then(|()| self.sync_database());
        if synced.is_err() && !switches::off(Guard::LostHandle) {
            // It is final, as in a transaction: the next one may report success. Nothing is written under such a journal, so that its end
            // can stay.
            self.sync_failed = true;
            let _ = self.cut_journal(false);
        }
        synced.map_err(failed)
    }

    fn native_lock(&mut self, level: Level) -> Result<(), LockError> {
        match self.database.as_ref().map_or(SQLITE_IOERR_LOCK, |file| file.lock(level.code())) {
            SQLITE_OK => Ok(()),
            SQLITE_BUSY => Err(LockError::Busy),
            code => Err(LockError::Native(code)),
        }
    }

    fn native_unlock(&mut self, level: Level) {
        if let Some(file) = &self.database {
            file.unlock(level.code());
        }
    }

    fn park(&mut self) -> Option<Parked> {
        let journal = self.journal.take();
        let file = self.database.take()?;
        self.parked = true;
        Some(Box::new((file, journal)))
    }

    fn unpark(&mut self, handle: Parked) {
        if let Ok(files) = handle.downcast::<(BaseFile, Option<BaseFile>)>() {
            let (file, journal) = *files;
            self.database = Some(file);
            self.parked = false;
            self.journal = journal;
        }
    }

    fn is_interrupted(&self) -> bool {
        // SAFETY: SQLite gave the place for as long as the file is open, and we are inside a call of its connection.
        let connection = unsafe { self.connection.as_ref() }.copied().filter(|connection| !connection.is_null());
        // SAFETY: it is this host's connection, and open.
        connection.is_some_and(|connection| unsafe { self.host.api.is_interrupted(connection) })
    }

    fn patience(&mut self) -> Option<Duration> {
        // SAFETY: SQLite gave it for as long as the file is open, and we are inside a call of its connection.
        unsafe { patience::ask(self.busy_handler) }
    }

    fn client(&self) -> String {
        format!("coord/{} sqlite/{}", env!("CARGO_PKG_VERSION"), self.host.api.version_text())
    }
}

// SAFETY: the name and the connection's place are only used inside calls on the connection, which SQLite serialises.
unsafe impl Send for Handles {}
