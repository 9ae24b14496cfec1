//! Lingering: locks that are kept on disk when the transaction that took them has ended, so that the next one of this process
//! needs nothing of the filesystem.
//!
//! On disk a lingering lock is a lock like any other: it needs its heartbeats, and it is worth something only while the lease
//! is valid. It is given up when somebody else is seen to want it and its time slice is over, when nobody of ours has used it
//! for a while, and at every doubt. Given up only between transactions: nothing here waits for anybody.

use std::time::Duration;

use super::database::{Database, Inner, Mode};
use super::failure::Failure;
use super::known::Known;
use super::level::Level;
use super::process;
use super::seat::{Base, Seat};
use crate::protocol::lease::Standing;
use crate::protocol::switches::{self, Guard};
use crate::protocol::write_lock::POLL;
use crate::protocol::{Denied, Node};
use crate::storage::Instant;

/// Once somebody else wants it, a lock goes after this time, counted from when it was taken: long enough for many small
/// transactions, so that handing it over costs little of the whole.
const SLICE: Duration = Duration::from_millis(10);
/// How long a lock is kept unused at most, unless the user says otherwise, and at least: nobody is served faster than he
/// looks.
const IDLE_MAX: Duration = Duration::from_secs(1);
const IDLE_MIN: Duration = POLL;
/// Times the cost of taking a lock, for which it is kept unused.
const WORTH: u32 = 20;
/// A holder that lingers looks at least this often whether somebody else wants the lock.
pub(super) const WATCH: Duration = Duration::from_millis(50);

/// What is kept, and why.
#[derive(Debug, Default)]
pub(super) struct Linger {
    /// Which holding of L this is: a connection's journal handle belongs to one.
    pub hold: u64,
    /// EXCLUSIVE was confirmed in this holding of L.
    pub exclusive: bool,
    /// When the present locks were taken, and what that cost.
    taken: Instant,
    cost: Duration,
    /// Nobody of ours has a lock; what is left on disk goes at this moment.
    idle_until: Option<Instant>,
    /// Somebody else was seen to want what we have.
    wanted: bool,
    /// Something went wrong under these locks: they end with the transaction.
    spoilt: bool,
    /// Locks granted, in all, and at the last look around.
    grants: u64,
    seen_grants: u64,
    /// A lock was kept beyond its transaction since they were taken.
    kept: bool,
    /// When the service thread looks next.
    next_look: Option<Instant>,
}

impl Linger {
    pub fn spoil(&mut self) {
        self.spoilt = true;
    }

    /// The node's SHARED was taken just now, having been asked for at `asked`.
    pub fn taken(&mut self, asked: Instant, now: Instant) {
        self.cost = now.since(asked);
        (self.taken, self.idle_until) = (now, None);
        (self.wanted, self.spoilt, self.kept) = (false, false, false);
    }

    /// L was taken on disk.
    pub fn write_lock_taken(&mut self) {
        self.hold += 1;
        self.exclusive = false;
    }

    /// How long an unused lock is kept for a connection with this wish.
    fn span(&self, wish: Option<Duration>) -> Duration {
        wish.unwrap_or_else(|| (self.cost * WORTH).clamp(IDLE_MIN, IDLE_MAX))
    }

    /// Whether it is somebody else's turn.
    fn must_go(&self, now: Instant) -> bool {
        self.wanted && now.since(self.taken) >= SLICE && !switches::off(Guard::LingerRequest)
    }

    pub fn is_idle(&self) -> bool {
        self.idle_until.is_some()
    }
}

impl Database {
    /// What another connection of ours holds SHARED for, or what lingers, may be joined. False if it was given up instead, as
    /// it is somebody else's turn.
    pub(super) fn may_join(&self, inner: &mut Inner) -> Result<bool, Failure> {
        // Those inside finish; but with ever new ones a writer elsewhere would wait for ever.
        let within = if inner.linger.kept { WATCH } else { POLL };
        let active = Self::active(inner);
        if active == Level::None && switches::off(Guard::LingerLease) {
            return Ok(true);
        }
        let node = inner.node.as_mut().ok_or_else(Failure::no_node)?;
        let holder = match node.writer_waits(within) {
            Ok(None) => return Ok(true),
            Ok(Some(holder)) => holder,
            // Nobody of ours held anything, so nothing was lost.
            Err(Denied::Deposed(_)) if active == Level::None => {
                self.forget(inner);
                return Ok(false);
            }
            Err(denied) => return Err(denied.into()),
        };
        if active > Level::None {
            return Err(Denied::Busy(Box::new(holder)).into());
        }
        inner.linger.wanted = true;
        let goes = inner.linger.must_go(self.storage.now());
        if goes {
            self.give_up(inner);
        }
        Ok(!goes)
    }

    /// The highest level that a connection of ours holds under the present node.
    fn active(inner: &Inner) -> Level {
        inner.node.as_ref().map_or(Level::None, |node| inner.arbiter.highest_under(node.lease()))
    }

    /// A journal that was opened under an earlier holding of L is nobody's business any more.
    pub(super) fn drop_old_journal(&self, inner: &Inner, seat: &Seat, base: &mut dyn Base) {
        let held = inner.node.as_ref().is_some_and(Node::holds_write_lock);
        if base.has_journal() && !(held && seat.hold == inner.linger.hold) {
            base.close_journal();
        }
    }

    /// RESERVED on top of a lingering L, with the lease checked: the connection's journal, opened by name, counts only once
    /// that was confirmed.
    pub(super) fn resume_write_lock(
        &self,
        inner: &mut Inner,
        seat: &mut Seat,
        base: &mut dyn Base,
    ) -> Result<(), Failure> {
        if base.has_journal() && seat.hold == inner.linger.hold {
            return Ok(());
        }
        base.close_journal();
        base.open_journal().map_err(Denied::io("open", &self.paths.journal))?;
        let confirmed = inner.node.as_mut().ok_or_else(Failure::no_node)?.heartbeat();
        if confirmed.is_err() {
            base.close_journal();
        }
        confirmed?;
        (seat.hold, seat.fresh_journal) = (inner.linger.hold, true);
        Ok(())
    }

    /// Gives L back, whether it lingers or was just taken.
    pub(super) fn release_lingering_write_lock(&self, inner: &mut Inner) {
        inner.linger.exclusive = false;
        if let Some(node) = inner.node.as_mut().filter(|node| node.holds_write_lock()) {
            node.release_write_lock();
        }
    }

    /// Before SHARED: what lingers is given up if it is somebody else's turn, or if it cannot be relied on.
    pub(super) fn resume(&self, inner: &mut Inner) -> Result<(), Failure> {
        if Self::active(inner) > Level::None || !inner.node.as_ref().is_some_and(Node::is_reader) {
            return Ok(());
        }
        let now = self.storage.now();
        let over = inner.linger.idle_until.is_none_or(|until| until <= now);
        if over || inner.linger.spoilt || inner.linger.must_go(now) {
            self.give_up(inner);
            return Ok(());
        }
        if switches::off(Guard::LingerLease) {
            return Ok(());
        }
        let node = inner.node.as_mut().ok_or_else(Failure::no_node)?;
        match node.check_lease() {
            // Nobody of ours held anything, so nothing was lost.
            Err(Denied::Deposed(_)) => {
                self.forget(inner);
                Ok(())
            }
            checked => Ok(checked?),
        }
    }

    /// A lock was granted to a connection.
    pub(super) fn granted(&self, inner: &mut Inner) {
        inner.linger.idle_until = None;
        inner.linger.grants += 1;
        if let Some(due) = inner.node.as_ref().map(Node::heartbeat_due) {
            self.attend(inner, due);
        }
    }

    /// The service thread must look by `due`.
    fn attend(&self, inner: &mut Inner, due: Instant) {
        if inner.linger.next_look.is_none_or(|next| next > due) {
            inner.linger.next_look = Some(due);
            if !self.stepped {
                process::wake_service(self, due);
            }
        }
    }

    /// Whether L and EXCLUSIVE may stay on disk when the seat lets go of them in memory.
    pub(super) fn keeps_write_lock(&self, inner: &mut Inner, seat: &Seat) -> bool {
        inner.linger.wanted |= self.is_wanted_here(inner);
        let kept = inner.linger.exclusive && self.keeps(inner, seat);
        if kept {
            inner.linger.kept = true;
            self.attend(inner, self.storage.now().after(POLL));
        }
        kept
    }

    fn keeps(&self, inner: &Inner, seat: &Seat) -> bool {
        let now = self.storage.now();
        let valid = inner.node.as_ref().is_some_and(|node| node.lease().standing(now) == Standing::Valid);
        let wished = !inner.linger.span(seat.linger()).is_zero();
        valid && wished && !inner.linger.spoilt && !inner.journal_is_hot && !inner.linger.must_go(now)
    }

    /// The last lock of ours in memory has gone: what is on disk stays for a while, or goes too.
    pub(super) fn last_unlocked(&self, inner: &mut Inner, seat: &Seat) {
        inner.linger.wanted |= self.is_wanted_here(inner);
        if !self.keeps(inner, seat) {
            self.give_up(inner);
            return;
        }
        let now = self.storage.now();
        let until = now.after(inner.linger.span(seat.linger()));
        inner.linger.idle_until = Some(until);
        inner.linger.kept = true;
        self.attend(inner, until.min(now.after(POLL)));
    }

    /// Gives up on disk what no connection of ours holds in memory. Whether that was anything.
    pub(super) fn give_up(&self, inner: &mut Inner) -> bool {
        let highest = Self::active(inner);
        let Some(node) = inner.node.as_mut().filter(|node| node.is_reader() || node.holds_write_lock()) else {
            return false;
        };
        let mut given = false;
        if highest < Level::Reserved && node.holds_write_lock() {
            // What was written was synced when the connection let go.
            node.release_write_lock();
            inner.linger.exclusive = false;
            given = true;
        }
        if highest == Level::None {
            if let Some(node) = &mut inner.node {
                node.leave_reader();
            }
            let wanted = inner.linger.wanted;
            self.forget(inner);
            self.turn_over(inner, wanted);
            given = true;
        }
        given
    }

    /// Nothing of ours is on disk any more, or nothing that counts.
    pub(super) fn forget(&self, inner: &mut Inner) {
        inner.own.forget_journal();
        inner.baseline = None;
        if !switches::off(Guard::LingerForget) {
            inner.known = Known::default();
        }
        inner.linger.exclusive = false;
        inner.linger.idle_until = None;
        (inner.linger.wanted, inner.linger.spoilt) = (false, false);
    }

    /// The service thread's part: looks whether somebody else wants what we have, and gives it up. When it wants to look
    /// again; `None` while there is nothing to look for.
    pub(super) fn look_after(&self, inner: &mut Inner) -> Option<Instant> {
        let now = self.storage.now();
        if !inner.node.as_ref().is_some_and(Node::is_reader) {
            return None;
        }
        if inner.linger.idle_until.is_some_and(|until| until <= now) || (inner.linger.is_idle() && inner.linger.spoilt)
        {
            self.give_up(inner);
            return None;
        }
        let active = Self::active(inner);
        let moved = inner.linger.grants != inner.linger.seen_grants;
        inner.linger.seen_grants = inner.linger.grants;
        if !inner.linger.kept || (active > Level::None && !moved) {
            // One long transaction: nothing can be given up before it ends.
            return None;
        }
        inner.linger.wanted |= self.is_wanted_here(inner);
        let node = inner.node.as_mut()?;
        let asked = self.storage.now();
        match node.wanted_by_others() {
            Ok(wanted) => inner.linger.wanted |= wanted,
            Err(Denied::Deposed(_)) if active == Level::None => {
                self.forget(inner);
                return None;
            }
            // It says nothing; the lease is looked after elsewhere.
            Err(_) => {}
        }
        if active == Level::None && inner.own.has_moved(&*self.storage, &self.paths) {
            // Replaced by hand, by a restored backup perhaps: the next transaction begins with what is there now.
            self.give_up(inner);
            return None;
        }
        let now = self.storage.now();
        if inner.linger.must_go(now) && self.give_up(inner) && active == Level::None {
            return None;
        }
        // Less often where a listing costs more.
        let mut next = now.after((now.since(asked) * 10).clamp(POLL, WATCH));
        if inner.linger.wanted {
            next = next.min(inner.linger.taken.after(SLICE)).max(now.after(Duration::from_millis(1)));
        }
        Some(inner.linger.idle_until.map_or(next, |until| until.min(next)))
    }

    /// When the service thread looks next: earlier than that somebody must wake it.
    pub(super) fn looks_next(&self, inner: &mut Inner, due: Option<Instant>) -> Option<Instant> {
        inner.linger.next_look = due;
        due
    }

    /// Gives up what lingers of this database, at once. Whether there was anything.
    pub fn release(&self) -> bool {
        let mut inner = self.inner();
        inner.mode == Mode::NetworkExclusive && self.give_up(&mut inner)
    }
}

/// Gives up what lingers of all databases of this process; how many had something.
pub fn release_all() -> usize {
    process::databases().into_iter().filter(|database| database.release()).count()
}
