//! What stops a lock call, and the sentence that the connection is told for it.

use std::io;
use std::path::Path;

use super::database::{Database, Mode};
use super::seat::LockError;
use super::settings::ModeWish;
use crate::protocol::{Denied, Paths};

/// What stops an attempt.
pub(super) enum Failure {
    Protocol(Denied),
    Lock(LockError),
    /// Others of this host, or another host, are first.
    Turn,
}

impl Failure {
    pub fn no_node() -> Failure {
        Failure::Lock(LockError::Failed("coord: this process is not registered at the database".to_string()))
    }
}

impl From<LockError> for Failure {
    fn from(error: LockError) -> Failure {
        Failure::Lock(error)
    }
}

impl From<Denied> for Failure {
    fn from(denied: Denied) -> Failure {
        Failure::Protocol(denied)
    }
}

impl Database {
    pub(super) fn failed(&self, denied: Denied) -> LockError {
        match denied {
            Denied::Io { ref source, ref path, .. }
                if *path == self.paths.database && source.kind() == io::ErrorKind::NotFound =>
            {
                LockError::CannotOpen(format!("coord: there is no database {}", path.display()))
            }
            Denied::Io { ref source, ref path, .. } => {
                let gone = |dir: &Path| {
                    let found = self.storage.attributes(dir);
                    found.is_err_and(|error| error.kind() == io::ErrorKind::NotFound)
                };
                match source.kind() {
                    io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => LockError::Full(format!(
                        "coord: {denied}. A lock is a name on that disk: free some space there"
                    )),
                    io::ErrorKind::PermissionDenied if self.is_live_file(path) => LockError::ReadOnly(format!(
                        "coord: {denied}. The reason is the mode or the owner of that file itself: {}",
                        match *path == self.paths.journal {
                            true => "give it those of the database (chmod, chown)",
                            false => "give this user the right to read and write it (chmod, chown)",
                        }
                    )),
                    io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => {
                        LockError::ReadOnly(format!(
                            "coord: {denied}. A lock is a name in that directory: give this user write permission there"
                        ))
                    }
                    io::ErrorKind::NotFound if gone(&self.paths.registry) => LockError::Failed(format!(
                        "coord: {denied}. The registry {} was removed or the database moved while this program had it open: \
                         close the database in all programs that use it, then open it anew",
                        self.paths.registry.display()
                    )),
                    _ => LockError::Failed(format!("coord: {denied}")),
                }
            }
            denied => LockError::Failed(denied.to_string()),
        }
    }

    /// The database or its journal. One that is not there could not be made, for which the directory's rights count.
    fn is_live_file(&self, path: &Path) -> bool {
        [&self.paths.database, &self.paths.journal].into_iter().any(|live| live == path)
            && self.storage.attributes(path).is_ok()
    }

    /// What there is to say of a lock that was busy without the protocol being asked.
    pub(super) fn busy_natively(&self, id: u64, error: &LockError) -> Option<String> {
        let who = match error {
            LockError::Busy if self.inner().arbiter.is_alone(id) => "by a program that uses SQLite's own file locks",
            LockError::Busy => {
                "by another connection of this very program, or by one that uses SQLite's own file locks"
            }
            _ => return None,
        };
        Some(format!("coord: {} is in use {who}. {}", self.paths.database.display(), self.longer()))
    }

    /// What helps against a lock that is somebody's.
    pub(super) fn longer(&self) -> String {
        format!(
            "A longer busy timeout waits for it; `coord inspect {}` shows who that is",
            self.paths.database.display()
        )
    }

    /// What a connection is told whose node was deposed.
    pub fn lost(&self) -> String {
        lost(&self.paths)
    }

    pub(super) fn usurped_text(&self) -> String {
        format!(
            "coord: another host has put {} into network-exclusive mode (its registry {} has appeared), so the native locks of this \
             transaction protect nothing. Roll back; if it was at its COMMIT, look whether that took effect before you run it again",
            self.paths.database.display(),
            self.paths.registry.display()
        )
    }

    /// Checks a wish against the mode that the database is in.
    pub(super) fn contradiction(&self, mode: Mode, wish: ModeWish) -> Option<String> {
        (mode == Mode::NetworkExclusive && wish == ModeWish::Trusted).then(|| {
            format!(
                "coord: {} is in network-exclusive mode (its registry {} exists), so coord_mode=trusted would let this program \
                 read and write beside the others' locks. Leave coord_mode out",
                self.paths.database.display(),
                self.paths.registry.display()
            )
        })
    }
}

pub(super) fn lost(paths: &Paths) -> String {
    format!(
        "coord: this process was silent for longer than its lease and lost its locks on {}; nothing it had not yet committed \
         was written. Roll back and run the transaction again",
        paths.database.display()
    )
}
