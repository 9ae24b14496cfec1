//! The turn: processes of one host that wait for SHARED are served in the order in which they came, and who has had his time
//! slice goes to the end. It decides who asks the disk next, never who may have the lock: a waiter that stands still delays
//! the others by moments only.

use std::time::Duration;

use super::database::{Database, Inner};
use super::seat::Seat;
use crate::protocol::Node;
use crate::storage::Instant;
use crate::storage::queue::LocalQueue;

/// Who is not first asks the disk all the same so often.
const PATIENCE: Duration = Duration::from_millis(50);
/// A transaction looks whether others wait unless somebody has within this time.
const GLANCE: Duration = Duration::from_millis(1);
/// After giving something up that another host wants: it must have the time to see that it can be had.
const HOLD_BACK: Duration = Duration::from_millis(25);

/// This process's place.
#[derive(Debug, Default)]
pub(super) struct Turn {
    /// Opened at the first SHARED; the outer `None` before that, the inner one where there is no queue.
    queue: Option<Option<LocalQueue>>,
    /// Lock calls that wait.
    waiting: u32,
    /// The disk was asked last.
    tried: Instant,
    /// Others were looked for last.
    glanced: Instant,
    /// Another host's turn until then.
    held_back: Instant,
}

impl Turn {
    fn queue(&mut self) -> Option<&mut LocalQueue> {
        self.queue.as_mut().and_then(Option::as_mut)
    }

    fn leave(&mut self) {
        if let Some(queue) = self.queue() {
            queue.leave();
        }
    }
}

impl Database {
    /// Whether SHARED may be asked of the disk now. Draws a ticket if others wait.
    pub(super) fn is_our_turn(&self, inner: &mut Inner, seat: &Seat) -> bool {
        let ours = self.may_ask(inner, seat);
        if let Some(node) = inner.node.as_mut().filter(|_| !ours) {
            // Whoever is first says on disk that he waits; more names would only stand in a writer's way.
            node.withdraw_wish();
        }
        ours
    }

    fn may_ask(&self, inner: &mut Inner, seat: &Seat) -> bool {
        let now = self.storage.now();
        let turn = &mut inner.turn;
        if now < turn.held_back {
            return false;
        }
        if turn.queue.is_none() {
            turn.queue = Some(self.storage.local_queue(&self.paths.lock));
        }
        let Some(queue) = turn.queue.as_mut().and_then(Option::as_mut) else { return true };
        if !queue.has_ticket() {
            if !queue.others_wait() {
                return true;
            }
            queue.join(seat.writes);
            turn.tried = now;
        }
        let ours = queue.is_first() || now.since(turn.tried) >= PATIENCE;
        if ours {
            turn.tried = now;
        }
        ours
    }

    /// A lock call for SHARED was busy and is going to wait.
    pub(super) fn line_up(&self, seat: &Seat, first: bool) {
        let mut inner = self.inner();
        inner.turn.waiting += u32::from(first);
        if let Some(queue) = inner.turn.queue() {
            queue.join(seat.writes);
        }
    }

    /// A lock call ends; it may have waited.
    pub(super) fn stop_waiting(&self, inner: &mut Inner, waited: bool) {
        inner.turn.waiting -= u32::from(waited);
        if inner.turn.waiting == 0 && !inner.node.as_ref().is_some_and(Node::is_reader) {
            inner.turn.leave();
        }
    }

    /// SHARED was taken on disk. Who only reads makes room for the next at once, who writes when he gives the lock up.
    pub(super) fn turn_taken(&self, inner: &mut Inner, seat: &Seat) {
        if !seat.writes {
            inner.turn.leave();
        }
    }

    /// Everything was given up on disk, because others wanted it or not.
    pub(super) fn turn_over(&self, inner: &mut Inner, wanted: bool) {
        let others_here = wanted && inner.turn.queue().is_some_and(|queue| queue.others_wait());
        inner.turn.leave();
        if wanted && !others_here {
            inner.turn.held_back = self.storage.now().after(HOLD_BACK);
        }
    }

    /// Whether another process of this host waits for what we have, as far as that can be told without asking too often.
    pub(super) fn is_wanted_here(&self, inner: &mut Inner) -> bool {
        let now = self.storage.now();
        if now.since(inner.turn.glanced) < GLANCE {
            return false;
        }
        inner.turn.glanced = now;
        let exclusive = inner.linger.exclusive;
        inner.turn.queue().is_some_and(|queue| if exclusive { queue.others_wait() } else { queue.writers_wait() })
    }
}
