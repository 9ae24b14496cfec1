//! The service thread's part of lingering: looking for somebody who wants what is kept, and giving it up.

use std::time::Duration;

use super::WATCH;
use crate::lock::database::{Database, Inner, Mode};
use crate::lock::level::Level;
use crate::protocol::write_lock::POLL;
use crate::protocol::{Denied, Node};
use crate::storage::Instant;

impl Database {
    /// What is there that could be given up, if anybody wanted it, while our transactions go on.
    fn could_yield(inner: &Inner) -> bool {
        let Some(node) = inner.node.as_ref().filter(|node| node.is_reader()) else { return false };
        match Self::active(inner) {
            Level::None => true,
            Level::Shared => node.holds_write_lock(),
            Level::Reserved => inner.linger.exclusive,
            _ => false,
        }
    }

    /// Looks into the registry for somebody who wants what we have, without keeping our own connections from their locks
    /// meanwhile. `None`: there is nothing to look for, or it was not asked for yet.
    pub(in crate::lock) fn glimpse(&self) -> Option<(Instant, bool)> {
        let glimpse = {
            let inner = self.try_inner()?;
            let kept = inner.mode == Mode::NetworkExclusive && inner.linger.kept && Self::could_yield(&inner);
            // Another database's time may have come, or a heartbeat's.
            let due = inner.linger.next_glimpse <= self.storage.now();
            inner.node.as_ref().filter(|_| kept && due)?.glimpse()
        };
        let asked = self.storage.now();
        Some((asked, glimpse.finds(&*self.storage, &self.paths)))
    }

    /// The service thread's part: gives up what somebody else wants. When it wants to look again; `None` while there is nothing
    /// to look for.
    pub(in crate::lock) fn look_after(&self, inner: &mut Inner, glimpsed: Option<(Instant, bool)>) -> Option<Instant> {
        let now = self.storage.now();
        if !inner.node.as_ref().is_some_and(Node::is_reader) {
            return None;
        }
        if inner.linger.idle_until.is_some_and(|until| until <= now) || (inner.linger.is_idle() && inner.linger.spoilt)
        {
            self.give_up(inner);
            return None;
        }
        if !inner.linger.kept || !Self::could_yield(inner) {
            // Whoever lets go of a lock says that there is something to look for again.
            return None;
        }
        let mut next = now.after(POLL);
        if let Some((asked, found)) = glimpsed {
            // Less often where a listing costs more.
            next = now.after((now.since(asked) * 10).clamp(POLL, WATCH));
            inner.linger.next_glimpse = next;
            self.heed(inner, asked, found)?;
        }
        self.look_here(inner, now);
        let now = self.storage.now();
        if inner.linger.must_go(now) {
            self.yield_to_others(inner);
            if !Self::could_yield(inner) {
                return None;
            }
        } else if let Some(slice) = inner.linger.slice_now(now) {
            next = next.min(inner.linger.taken.after(slice)).max(now.after(Duration::from_millis(1)));
        }
        Some(inner.linger.idle_until.map_or(next, |until| until.min(next)))
    }

    /// What the look into the registry means. `None`: nothing is kept any more.
    fn heed(&self, inner: &mut Inner, asked: Instant, found: bool) -> Option<()> {
        let idle = Self::active(inner) == Level::None;
        let node = inner.node.as_mut()?;
        if !found {
            node.seen_by_nobody(asked);
        } else {
            match node.wanted_by_others() {
                Ok(wanted) => inner.linger.wanted |= wanted,
                Err(Denied::Deposed(_)) if idle => {
                    self.forget(inner);
                    self.turn_done(inner);
                    return None;
                }
                // The registry cannot be looked at: nobody may be kept from seeing us by that. The lease is looked after elsewhere.
                Err(_) => inner.linger.spoil(),
            }
        }
        if idle && inner.own.has_moved(&*self.storage, &self.paths) {
            // Replaced by hand, by a restored backup perhaps: the next transaction begins with what is there now.
            self.give_up(inner);
            return None;
        }
        Some(())
    }

    /// Somebody wants what we have, and our time is over: gives up what the transactions that are running do not need.
    fn yield_to_others(&self, inner: &mut Inner) {
        if Self::active(inner) == Level::Reserved {
            // It has not written to the database, and may have to wait for readers when it does, like anybody else.
            if let Some(node) = &mut inner.node {
                node.withdraw_exclusive();
            }
            inner.linger.exclusive = false;
        } else {
            self.give_up(inner);
        }
    }
}
