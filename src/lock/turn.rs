//! The turn: processes of one host that wait for SHARED are served in the order in which they came, and who has had his time
//! slice goes to the end. It decides who asks the disk next, never who may have the lock: a waiter that stands still delays
//! the others by moments only.
//!
//! A ticket is kept while a call waits, and by who is going to write until he gives the lock up on disk.

use std::time::Duration;

use super::database::{Database, Inner};
use super::seat::Seat;
use crate::storage::Instant;
use crate::storage::queue::LocalQueue;

/// Who is not first asks the disk all the same so often.
const PATIENCE: Duration = Duration::from_millis(50);
/// A transaction looks whether others wait unless somebody has within this time.
const GLANCE: Duration = Duration::from_millis(1);
/// Between two looks at the order of waiters, at first and at most.
const NAP_MIN: Duration = Duration::from_millis(1);
const NAP_MAX: Duration = Duration::from_millis(4);
/// After giving something up that another host wants: it must have the time to see that it can be had.
const HOLD_BACK: Duration = Duration::from_millis(25);

/// Who of this host wants what we have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum WantedHere {
    /// Nobody, or it was not looked.
    Unseen,
    /// Readers, while we are exclusive.
    ByReaders,
    ByWriters,
}

/// This process's place.
#[derive(Debug, Default)]
pub(super) struct Turn {
    /// Opened at the first SHARED; the outer `None` before that, the inner one where there is no queue.
    queue: Option<Option<LocalQueue>>,
    /// Lock calls that wait.
    waiting: u32,
    /// While somebody of ours waits: when the disk was asked last, or the waiting began.
    asked: Option<Instant>,
    /// Others were looked for last.
    glanced: Instant,
    /// Another host's turn until then.
    held_back: Instant,
    /// How long who waits in the line may sleep before he looks again.
    nap: Duration,
}

impl Turn {
    fn queue(&mut self) -> Option<&mut LocalQueue> {
        self.queue.as_mut().and_then(Option::as_mut)
    }

    fn leave(&mut self) {
        self.asked = None;
        if let Some(queue) = self.queue() {
            queue.leave();
        }
    }

    /// Whether the disk may be asked now. Draws a ticket if others wait.
    fn comes(&mut self, now: Instant, writes: bool) -> bool {
        if now < self.held_back {
            return false;
        }
        let Some(queue) = self.queue.as_mut().and_then(Option::as_mut) else { return true };
        if !queue.has_ticket() {
            if !queue.others_wait() {
                return true;
            }
            queue.join(writes);
        }
        let asked = *self.asked.get_or_insert(now);
        let comes = queue.is_first() || now.since(asked) >= PATIENCE;
        if comes {
            self.asked = Some(now);
        } else {
            // Readers who wake for nothing, all of them at once, take the processors from the one who works.
            self.nap = if writes { NAP_MIN } else { now.since(asked) / 8 };
        }
        comes
    }

    pub fn nap(&self) -> Duration {
        self.nap.clamp(NAP_MIN, NAP_MAX)
    }
}

impl Database {
    /// Whether SHARED may be asked of the disk now.
    pub(super) fn is_our_turn(&self, inner: &mut Inner, seat: &Seat) -> bool {
        if inner.turn.queue.is_none() {
            inner.turn.queue = Some(self.storage.local_queue(&self.paths.lock));
        }
        let ours = inner.turn.comes(self.storage.now(), seat.writes);
        if let Some(node) = inner.node.as_mut().filter(|_| !ours) {
            // Whoever is first says on disk that he waits.
            node.withdraw_wish();
        }
        ours
    }

    /// A lock call was busy and is going to wait. For SHARED that is waiting in a line; who waits for EXCLUSIVE has a lock
    /// already, waits in no line, and lets readers of this host see that he is there.
    pub(super) fn line_up(&self, seat: &Seat, exclusive: bool, first: bool) {
        let mut inner = self.inner();
        inner.turn.waiting += u32::from(first);
        if let Some(queue) = inner.turn.queue() {
            queue.join(seat.writes || exclusive);
        }
    }

    /// A lock call ends that may have waited. Who was given SHARED and is going to write keeps his ticket.
    pub(super) fn stop_waiting(&self, inner: &mut Inner, waited: bool, keeps_turn: bool) {
        inner.turn.waiting -= u32::from(waited);
        if inner.turn.waiting == 0 && !keeps_turn {
            inner.turn.leave();
        }
    }

    /// A transaction ended that wrote nothing, or everything was given up on disk: the next one's turn.
    pub(super) fn turn_done(&self, inner: &mut Inner) {
        if inner.turn.waiting == 0 {
            inner.turn.leave();
        }
    }

    /// Everything was given up on disk because somebody wanted it.
    pub(super) fn turn_over(&self, inner: &mut Inner) {
        let others_here = inner.turn.queue().is_some_and(|queue| queue.others_wait());
        inner.turn.leave();
        if !others_here {
            inner.turn.held_back = self.storage.now().after(HOLD_BACK);
        }
    }

    /// Which other processes of this host wait for what we have, as far as that can be told without asking too often.
    pub(super) fn is_wanted_here(&self, inner: &mut Inner, now: Instant) -> WantedHere {
        if now.since(inner.turn.glanced) < GLANCE {
            return WantedHere::Unseen;
        }
        inner.turn.glanced = now;
        let exclusive = inner.linger.exclusive;
        match inner.turn.queue() {
            Some(queue) if queue.writers_wait() => WantedHere::ByWriters,
            Some(queue) if exclusive && queue.others_wait() => WantedHere::ByReaders,
            _ => WantedHere::Unseen,
        }
    }
}
