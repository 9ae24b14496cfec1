//! A node that cannot say what becomes of what it wrote gives itself up, so that the next holder puts copies in the files' place.

use super::database::{Database, Inner};
use super::failure::lost;
use super::seat::Seat;
use super::standing::current;
use crate::protocol::{Denied, Node};
use crate::switches::{self, Guard};

impl Database {
    /// An operation failed that may still be carried out late: it matters where another kernel could see it.
    pub(super) fn distrust(&self, node: &mut Node) {
        if !self.kind.is_local() {
            node.depose_self();
        }
    }

    /// As a connection's write, truncate or sync failed for another reason than a full disk.
    pub fn write_failed(&self, seat: &Seat) {
        let mut inner = self.inner();
        if let Some(node) = current(&mut inner, seat) {
            self.distrust(node);
        }
    }

    /// Whatever the filesystem: its lock must not stay.
    pub fn depose(&self, seat: &Seat) {
        if let Some(node) = current(&mut self.inner(), seat) {
            node.depose_self();
        }
    }

    /// The disk has not the end of a journal that everybody sees, and will not have it: that matters on a local one as well.
    pub fn end_is_lost(&self, seat: &Seat) {
        if !switches::off(Guard::EndLost) {
            self.depose(seat);
        }
    }

    /// With L taken and the files opened anew since SHARED: nobody of the protocol can have written meanwhile, but a program on the
    /// server could, in trusted mode, that had the database for itself when it was shared. What it has left must be rolled back first,
    /// and what was read here since SHARED is not what anybody has committed.
    pub(super) fn not_hot_since(&self, inner: &Inner, node: &mut Node) -> Result<(), Denied> {
        // Where it was hot under SHARED already SQLite knows of it: it removes one beside an empty database under RESERVED.
        if self.journal_is_hot() || !switches::waits_for_earlier() {
            return Ok(());
        }
        let looked = inner.own.look(&self.paths);
        if !matches!(looked, Ok(false)) {
            node.release_write_lock();
        }
        if looked? {
            node.leave_reader();
            node.depose_self();
            return Err(Denied::Deposed(lost(&self.paths)));
        }
        Ok(())
    }
}
