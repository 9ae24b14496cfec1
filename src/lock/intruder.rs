//! Noticing who changes the database without a lock: nobody can be stopped, but everybody can be told.

use std::sync::Arc;

use super::database::{Inner, Mode};
use super::known::Known;
use super::level::Level;
use super::messages::{self, Weight};
use crate::protocol::{Node, Paths};
use crate::storage::{FileId, Storage};
use crate::switches::{self, Guard};

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
                self.arbiter.highest() < Level::Pending && self.node.as_ref().is_some_and(Node::is_reader)
            }
        };
        let Some(now) = held.then(|| self.look(&**storage, paths)).flatten() else {
            self.baseline = None;
            return;
        };
        // A busy writer has no baseline, but remembers what it wrote.
        let before = self.baseline.unwrap_or_else(|| self.expected(now));
        // What cannot be found out accuses nobody.
        if before.id != now.id && self.was_taken_over().unwrap_or(true) {
            self.baseline = None;
            return;
        }
        match before != now {
            true => {
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
            false => self.baseline = Some(now),
        }
    }

    /// Whether a takeover has replaced the file, which is no intruder's work; none if that cannot be found out.
    pub(super) fn was_taken_over(&mut self) -> Option<bool> {
        let node = self.node.as_mut().filter(|_| !switches::off(Guard::TakenOver));
        node.map_or(Some(false), |node| node.sees_replacement().ok())
    }

    /// What was seen just now, but as far as it is known by what our connections read and wrote.
    fn expected(&self, seen: Look) -> Look {
        let size = self.known.size.and_then(|size| u64::try_from(size).ok());
        let counter = self.known.stamp.map(|stamp| [stamp[0], stamp[1], stamp[2], stamp[3]]);
        Look { size: size.unwrap_or(seen.size), change_counter: counter.unwrap_or(seen.change_counter), ..seen }
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
