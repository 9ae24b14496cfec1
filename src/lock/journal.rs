//! The connection's journal under the write lock. Whoever has the lock makes one that is missing, and nobody else: it would be in
//! the way of one who has moved the journal aside and is about to link its copy in its place.

use std::io;

use super::database::{Database, Inner};
use super::seat::Base;
use crate::protocol::Denied;
use crate::switches::{self, Guard};

impl Database {
    /// Opens the journal before the write lock is asked for, so that the lock confirms what was opened. False if there is none.
    pub(super) fn open_journal(&self, inner: &mut Inner, base: &mut dyn Base) -> Result<bool, Denied> {
        if !inner.own.has_journal() && base.is_writable() {
            return Ok(false);
        }
        self.make_names_safe(inner, base)?;
        match base.open_journal(switches::off(Guard::JournalUnderLock)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound && base.is_writable() => Ok(false),
            opened => opened.map(|()| true).map_err(Denied::io("open", &self.paths.journal)),
        }
    }

    /// Makes and opens the journal. L is held; a heartbeat must confirm what was opened.
    pub(super) fn make_journal(&self, inner: &mut Inner, base: &mut dyn Base) -> Result<(), Denied> {
        let path = &self.paths.journal;
        // Ours has the database's group whatever this user's is, so that others who share it can roll it back.
        match self.storage.create_data(path, self.owner()?) {
            Ok(_) => inner.names_are_safe = false,
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            Err(error) => return Err(Denied::io("make", path)(error)),
        }
        self.make_names_safe(inner, base)?;
        base.open_journal(true).map_err(Denied::io("open", path))
    }

    /// A sync of the file does not promise that its name stays. Also where both were there: who made them may have been killed
    /// before he came to this.
    fn make_names_safe(&self, inner: &mut Inner, base: &dyn Base) -> Result<(), Denied> {
        if !inner.names_are_safe && base.is_writable() {
            self.storage.sync_dir(&self.paths.parent).map_err(Denied::io("sync", &self.paths.parent))?;
            inner.names_are_safe = true;
        }
        Ok(())
    }
}
