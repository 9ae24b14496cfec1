//! Noticing who changes the database without a lock: nobody can be stopped, but everybody can be told.

use std::sync::Arc;

use super::database::{Inner, Mode};
use super::known::Known;
use super::level::Level;
use super::messages::{self, Weight};
use crate::protocol::Paths;
use crate::storage::{FileId, Storage};

/// What a file looked like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Look {
    id: FileId,
    size: u64,
    /// SQLite's file change counter, bytes 24 to 27 of the header.
    change_counter: [u8; 4],
}

impl Inner {
    /// With SHARED held and nobody of ours exclusive: compares the file with what it was at the first look.
    ///
    /// In trusted mode by `stat` alone: opening and closing the file would drop the process's native locks.
    pub fn look_for_intruders(&mut self, storage: &Arc<dyn Storage>, paths: &Paths) {
        let held = match self.mode {
            Mode::Trusted => self.arbiter.highest() == Level::Shared,
            Mode::NetworkExclusive => {
                let quiet = self.arbiter.highest() < Level::Pending;
                self.node.as_ref().is_some_and(|node| node.is_reader() && (quiet || !node.has_exclusive()))
            }
        };
        let Some(now) = held.then(|| self.look(&**storage, paths)).flatten() else {
            self.baseline = None;
            return;
        };
        match self.baseline {
            Some(before) if before != now => {
                self.intrusions += 1;
                self.known = Known::default();
                self.linger.spoil();
                self.baseline = Some(now);
                messages::say(
                    Weight::Warning,
                    format!(
                        "coord: {} was changed while this process held a lock on it ({} bytes before, {} now{}). A program that \
                         does not use coord writes to it: find it and make it open the database with vfs=coord",
                        paths.database.display(),
                        before.size,
                        now.size,
                        if before.id == now.id { "" } else { "; the file was replaced" }
                    ),
                );
            }
            _ => self.baseline = Some(now),
        }
    }

    fn look(&self, storage: &dyn Storage, paths: &Paths) -> Option<Look> {
        let named = storage.attributes(&paths.database).ok()?;
        let mut change_counter = [0; 4];
        if self.mode == Mode::NetworkExclusive {
            self.own.database.as_ref()?.read_at(&mut change_counter, 24).ok()?;
        }
        Some(Look { id: named.id, size: named.size, change_counter })
    }
}
