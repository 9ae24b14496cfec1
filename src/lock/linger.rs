//! Lingering: locks that are kept on disk when the transaction that took them has ended, so that the next one of this process
//! needs nothing of the filesystem.
//!
//! On disk a lingering lock is a lock like any other: it needs its heartbeats, and it is worth something only while the lease
//! is valid. It is given up when somebody else is seen to want it and its time slice is over, when nobody of ours has used it
//! for a while, and at every doubt. Given up only between transactions: nothing here waits for anybody.

mod resume;
mod watch;

use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use super::database::{Database, Inner, Mode};
use super::failure::Failure;
use super::known::Known;
use super::level::Level;
use super::process;
use super::seat::Seat;
use super::turn::WantedHere;
use crate::protocol::lease::Standing;
use crate::protocol::write_lock::POLL;
use crate::protocol::{Denied, Node};
use crate::storage::{FileId, Instant};
use crate::switches::{self, Guard};

/// Once somebody else wants it, a lock goes after this time, counted from when it was taken: long enough for many small
/// transactions, so that handing it over costs little of the whole. Readers need less, as they are served together.
const WRITERS_SLICE: Duration = Duration::from_millis(20);
const READERS_SLICE: Duration = Duration::from_millis(2);
/// A slice is worth this many times what taking the lock cost.
const SLICE_WORTH: u32 = 2;
/// Longest slice: nobody waits for long because the filesystem is slow.
const SLICE_MAX: Duration = Duration::from_millis(200);
/// A writer for whom only readers of its own host wait goes on for so many times what it had to wait for them. They are served
/// together and at once, and he has to wait until each of them has seen that: with slices like theirs he would mostly wait.
const WRITERS_WORTH: u32 = 6;
/// Not longer than this, so that with its own wait nobody waits for a third of a second,
const WRITERS_MAX: Duration = Duration::from_millis(160);
/// and only while he writes all the time.
const NAP: Duration = Duration::from_millis(2);
/// How long a lock is kept unused at most, unless the user says otherwise, and at least: nobody is served faster than he
/// looks.
const IDLE_MAX: Duration = Duration::from_secs(1);
const IDLE_MIN: Duration = POLL;
/// Times the cost of taking a lock, for which it is kept unused.
const WORTH: u32 = 20;
/// A holder that lingers looks at least this often whether somebody else wants the lock.
pub(super) const WATCH: Duration = Duration::from_millis(50);
/// Databases on which one process keeps locks at the same time: each costs heartbeats and looks.
const DATABASES_MAX: u32 = 64;

static DATABASES: AtomicU32 = AtomicU32::new(0);

/// One of the [`DATABASES_MAX`].
#[derive(Debug)]
struct Place;

impl Place {
    fn take() -> Option<Place> {
        let taken =
            DATABASES.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |n| (n < DATABASES_MAX).then_some(n + 1));
        taken.ok().map(|_| Place)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        DATABASES.fetch_sub(1, Ordering::Relaxed);
    }
}

/// What is kept, and why.
#[derive(Debug, Default)]
pub(super) struct Linger {
    /// Which holding of L this is: a connection's journal handle belongs to one.
    pub hold: u64,
    /// EXCLUSIVE was confirmed in this holding of L, and is still on disk.
    pub exclusive: bool,
    /// When the present locks were taken, EXCLUSIVE if it was, and what SHARED cost.
    taken: Instant,
    /// EXCLUSIVE was not among them yet.
    unwritten: bool,
    cost: Duration,
    /// How long EXCLUSIVE was waited for, from the question for SHARED on.
    waited: Duration,
    /// Nobody of ours has a lock; what is left on disk goes at this moment,
    idle_until: Option<Instant>,
    /// and nobody has had since then.
    idle_since: Instant,
    /// Somebody else was seen to want what we have,
    wanted: bool,
    /// or only readers of this host.
    wanted_by_readers: bool,
    /// Something went wrong under these locks: they end with the transaction.
    spoilt: bool,
    /// A lock was kept beyond its transaction since they were taken.
    kept: bool,
    /// When the service thread looks next, and when it looks into the registry.
    next_look: Option<Instant>,
    next_glimpse: Instant,
    /// There is no service thread: nobody would look.
    unattended: bool,
    place: Option<Place>,
    /// The journal that was opened with L, and when its name was last looked at.
    journal: Option<FileId>,
    journal_seen: Instant,
}

impl Linger {
    pub fn spoil(&mut self) {
        self.spoilt = true;
    }

    /// The node's SHARED was taken just now, having been asked for at `asked`.
    pub fn taken(&mut self, asked: Instant, now: Instant) {
        self.cost = now.since(asked);
        (self.taken, self.idle_until) = (now, None);
        (self.wanted, self.wanted_by_readers) = (false, false);
        (self.spoilt, self.kept, self.unwritten) = (false, false, true);
    }

    /// EXCLUSIVE was confirmed, for a transaction that began at `asked`. Its slice begins, but not again each time that it was
    /// given up for others and taken back: they would wait for ever.
    pub fn exclusive_taken(&mut self, asked: Instant, now: Instant) {
        self.exclusive = true;
        if std::mem::take(&mut self.unwritten) {
            (self.waited, self.taken) = (now.since(asked), now);
        }
    }

    /// L was taken on disk, with this journal.
    pub fn write_lock_taken(&mut self, journal: Option<FileId>, now: Instant) {
        self.hold += 1;
        self.exclusive = false;
        (self.journal, self.journal_seen) = (journal, now);
    }

    /// How long an unused lock is kept for a connection with this wish.
    fn span(&self, wish: Option<Duration>) -> Duration {
        wish.unwrap_or_else(|| (self.cost * WORTH).clamp(IDLE_MIN, IDLE_MAX))
    }

    fn slice(&self) -> Duration {
        let least = if self.exclusive { WRITERS_SLICE } else { READERS_SLICE };
        (self.cost * SLICE_WORTH).clamp(least, SLICE_MAX)
    }

    /// How long it is ours although others want it; `None` if nobody does.
    fn slice_now(&self, now: Instant) -> Option<Duration> {
        let writes = self.exclusive && (self.idle_until.is_none() || now.since(self.idle_since) < NAP);
        match (self.wanted, self.wanted_by_readers) {
            (false, false) => None,
            (false, true) if writes => {
                let slice = self.slice();
                Some((self.waited * WRITERS_WORTH).clamp(slice, slice.max(WRITERS_MAX)))
            }
            _ => Some(self.slice()),
        }
    }

    /// Whether it is somebody else's turn.
    fn must_go(&self, now: Instant) -> bool {
        let over = self.slice_now(now).is_some_and(|slice| now.since(self.taken) >= slice);
        over && !switches::off(Guard::LingerRequest)
    }

    fn wanted_here(&mut self, wanted: WantedHere) {
        self.wanted |= wanted == WantedHere::ByWriters;
        self.wanted_by_readers |= wanted == WantedHere::ByReaders;
    }

    pub fn is_idle(&self) -> bool {
        self.idle_until.is_some()
    }
}

impl Database {
    /// What another connection of ours holds SHARED for, or what lingers, may be joined. False if it was given up instead, as
    /// it is somebody else's turn.
    pub(super) fn may_join(&self, inner: &mut Inner, now: Instant) -> Result<bool, Failure> {
        // Those inside finish; but with ever new ones a writer elsewhere would wait for ever.
        let within = if inner.linger.kept { WATCH } else { POLL };
        let active = Self::active(inner);
        if active == Level::None && switches::off(Guard::LingerLease) {
            return Ok(true);
        }
        let node = inner.node.as_mut().ok_or_else(Failure::no_node)?;
        if node.has_looked(within, now) {
            return Ok(true);
        }
        let waits = node.writer_waits(within);
        inner.linger.wanted |= node.is_wished_for() || node.is_in_the_way();
        let holder = match waits {
            // Those inside finish, and with ever new ones others of this host would wait for ever.
            Ok(None) if active > Level::None && node.is_in_the_way() => {
                return Err(Denied::held(node.lease_span()).into());
            }
            Ok(None) if active > Level::None || !inner.linger.must_go(now) => return Ok(true),
            Ok(None) => {
                self.give_up(inner);
                return Ok(false);
            }
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
    pub(super) fn active(inner: &Inner) -> Level {
        inner.node.as_ref().map_or(Level::None, |node| inner.arbiter.highest_under(node.lease()))
    }

    /// A lock was granted to a connection.
    pub(super) fn granted(&self, inner: &mut Inner) {
        inner.linger.idle_until = None;
        if let Some(due) = inner.node.as_ref().map(Node::heartbeat_due) {
            self.attend(inner, due);
        }
    }

    /// The service thread must look by `due`.
    pub(super) fn attend(&self, inner: &mut Inner, due: Instant) {
        if inner.linger.next_look.is_none_or(|next| next > due) {
            inner.linger.next_look = Some(due);
            inner.linger.unattended = !self.stepped && !process::wake_service(self, due);
        }
    }

    /// Looks whether processes of this host want what we have.
    pub(super) fn look_here(&self, inner: &mut Inner, now: Instant) {
        let wanted = self.is_wanted_here(inner, now);
        inner.linger.wanted_here(wanted);
    }

    /// Whether L and EXCLUSIVE may stay on disk when the seat lets go of them in memory.
    pub(super) fn keeps_write_lock(&self, inner: &mut Inner, seat: &Seat) -> bool {
        let now = self.storage.now();
        self.look_here(inner, now);
        let kept = inner.linger.exclusive && self.keeps(inner, seat, now);
        if kept {
            self.keep(inner, now.after(POLL));
        }
        kept
    }

    fn keeps(&self, inner: &mut Inner, seat: &Seat, now: Instant) -> bool {
        let valid = inner.node.as_ref().is_some_and(|node| node.lease().standing(now) == Standing::Valid);
        let wished = !inner.linger.span(seat.linger()).is_zero();
        let clean = !inner.linger.spoilt && !self.journal_is_hot() && !inner.linger.unattended;
        if !(valid && wished && clean) || inner.linger.must_go(now) {
            return false;
        }
        if inner.linger.place.is_none() {
            inner.linger.place = Place::take();
        }
        inner.linger.place.is_some()
    }

    fn keep(&self, inner: &mut Inner, look: Instant) {
        inner.linger.kept = true;
        self.attend(inner, look);
    }

    /// The last lock of ours in memory has gone: what is on disk stays for a while, or goes too.
    pub(super) fn last_unlocked(&self, inner: &mut Inner, seat: &Seat) {
        let now = self.storage.now();
        self.look_here(inner, now);
        if !self.keeps(inner, seat, now) {
            self.give_up(inner);
            return;
        }
        let until = now.after(inner.linger.span(seat.linger()));
        (inner.linger.idle_until, inner.linger.idle_since) = (Some(until), now);
        self.keep(inner, until.min(now.after(POLL)));
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
            let wanted = inner.linger.wanted || inner.linger.wanted_by_readers;
            self.forget(inner);
            if wanted {
                self.turn_over(inner);
            } else {
                self.turn_done(inner);
            }
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
        (inner.linger.idle_until, inner.linger.place) = (None, None);
        (inner.linger.wanted, inner.linger.wanted_by_readers, inner.linger.spoilt) = (false, false, false);
        self.let_names_go(inner);
    }

    /// When the service thread looks next: earlier than that somebody must wake it.
    pub(super) fn looks_next(&self, inner: &mut Inner, due: Option<Instant>) {
        inner.linger.next_look = due;
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
