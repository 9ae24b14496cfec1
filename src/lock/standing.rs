//! Whether a lock is still the one that was taken: its node may have been deposed since, and another have come in its place.

use std::sync::Arc;

use super::database::{Database, Inner};
use super::failure::{Failure, lost};
use super::process;
use super::seat::{LockError, Seat};
use crate::protocol::Node;

impl Database {
    /// Nothing may be built on a lock whose node was deposed meanwhile: SQLite's cache may be old.
    pub(super) fn still_current(&self, inner: &mut Inner, seat: &Seat) -> Result<(), Failure> {
        let node = inner.node.as_mut().ok_or_else(Failure::no_node)?;
        let current = seat.lease.as_ref().is_some_and(|lease| Arc::ptr_eq(lease, node.lease()));
        if !current {
            return Err(Failure::Lock(LockError::Failed(lost(&self.paths))));
        }
        node.check_lease()?;
        Ok(())
    }

    /// A heartbeat now, under the node that the seat's lock was taken with: after a commit, or a handle's opening.
    pub fn confirm(&self, seat: &Seat) -> Result<(), String> {
        process::check(seat.fork)?;
        let mut inner = self.inner();
        let Some(node) = current(&mut inner, seat) else { return Err(lost(&self.paths)) };
        node.heartbeat().map_err(|denied| denied.to_string())
    }

    /// As [`Database::confirm`], and the lease is valid when it returns: where it has run out by our clock.
    pub fn renew(&self, seat: &Seat) -> Result<(), String> {
        process::check(seat.fork)?;
        let mut inner = self.inner();
        let Some(node) = current(&mut inner, seat) else { return Err(lost(&self.paths)) };
        node.renew().map_err(|denied| denied.to_string())
    }
}

/// The node that the seat's lock was taken under, if it is still ours.
pub(super) fn current<'a>(inner: &'a mut Inner, seat: &Seat) -> Option<&'a mut Node> {
    let lease = seat.lease.as_ref()?;
    inner.node.as_mut().filter(|node| Arc::ptr_eq(node.lease(), lease))
}
