//! A program on one of the hosts.

use std::io;
use std::sync::Arc;

use super::Client;
use crate::lock::{Base, Level, LockError};
use crate::protocol::Paths;
use crate::storage::{Access, DataFile, Storage};

/// What stands for SQLite on a client: handles of its own, on the same cache.
pub(in crate::lock) struct Program {
    pub client: Arc<Client>,
    pub(super) paths: Arc<Paths>,
    pub database: Option<Box<dyn DataFile>>,
    pub journal: Option<Box<dyn DataFile>>,
    /// What somebody else does just before the database is opened next.
    pub before_opening: Option<Box<dyn FnOnce() + Send>>,
}

impl Program {
    /// Another connection on the same host.
    pub(in crate::lock) fn another(&self) -> Program {
        let (client, paths) = (self.client.clone(), self.paths.clone());
        let mut program = Program { client, paths, database: None, journal: None, before_opening: None };
        program.reopen(false, false).unwrap();
        program
    }

    /// This client remembers no page.
    pub(in crate::lock) fn forget(&self) {
        self.client.pages.lock().unwrap().clear();
    }

    pub(in crate::lock) fn first_byte(&self) -> u8 {
        let mut byte = [0];
        self.database.as_ref().unwrap().read_at(&mut byte, 0).unwrap();
        byte[0]
    }
}

impl Base for Program {
    fn reopen(&mut self, _: bool, _: bool) -> io::Result<()> {
        if let Some(act) = self.before_opening.take() {
            act();
        }
        self.database = Some(self.client.open(&self.paths.database, Access::ReadWrite)?);
        Ok(())
    }
    fn close(&mut self) {
        self.database = None;
    }
    fn is_open(&self) -> bool {
        self.database.is_some()
    }
    fn open_journal(&mut self, make: bool) -> io::Result<()> {
        if make {
            std::fs::OpenOptions::new().append(true).create(true).open(&self.paths.journal)?;
        }
        self.journal = Some(self.client.open(&self.paths.journal, Access::ReadWrite)?);
        Ok(())
    }
    fn close_journal(&mut self) {
        self.journal = None;
    }
    fn has_journal(&self) -> bool {
        self.journal.is_some()
    }
    fn is_writable(&self) -> bool {
        true
    }
    fn may_create(&self) -> bool {
        false
    }
    fn sync(&mut self) -> io::Result<()> {
        Ok(())
    }
    fn native_lock(&mut self, _: Level) -> Result<(), LockError> {
        Ok(())
    }
    fn native_unlock(&mut self, _: Level) {}
    fn is_interrupted(&self) -> bool {
        false
    }
    fn client(&self) -> String {
        "test".to_string()
    }
}
