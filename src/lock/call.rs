//! A connection's lock and unlock calls from beginning to end: the attempts that [`super::network`] and [`super::trusted`]
//! make, and how long a call waits between them.

use std::time::Duration;

use super::database::{Database, Inner, Mode};
use super::failure::Failure;
use super::level::Level;
use super::messages::{self, Weight};
use super::process;
use super::report::heartbeat_of;
use super::seat::{Base, LockError, Seat};
use crate::protocol::{Denied, Holder, write_lock::POLL};
use crate::storage::Instant;
use crate::switches::{self, Guard};

/// How long somebody who waits lets a holder who may only keep the lock see it: ten times as long as such a holder takes at
/// most to look, as on a busy machine threads come to their turn late, and programs without a busy timeout must not be refused
/// because of a lock that nobody uses.
const WISH: Duration = Duration::from_millis(500);

/// Between two looks at names on a local disk.
const QUICK: Duration = Duration::from_millis(1);

/// What one lock call has waited for so far.
#[derive(Default)]
struct Waiting {
    /// Since when somebody has been in the way.
    since: Option<Instant>,
    polls: u32,
    /// A silent holder's lease is waited out until then.
    deadline: Option<Instant>,
    /// It has been counted among those who wait.
    lined_up: bool,
    /// The program's own busy handler has allowed to wait until then.
    allowed: Instant,
}

impl Waiting {
    /// Whether the program's busy handler lets the call wait on. It is asked once the protocol's own patience is over, so that
    /// the place in the line is kept rather than given up for a nap.
    fn is_allowed(&mut self, now: Instant, level: Level, base: &mut dyn Base) -> bool {
        if level != Level::Shared {
            return false;
        }
        if now >= self.allowed {
            let Some(span) = base.patience() else { return false };
            self.allowed = now.after(span);
        }
        true
    }
}

impl Database {
    /// Takes `level`, waiting as far as the protocol asks a lock call to wait.
    pub fn lock(&self, seat: &mut Seat, level: Level, base: &mut dyn Base) -> Result<(), LockError> {
        if level <= seat.level {
            return Ok(());
        }
        let mut waiting = Waiting::default();
        let denied = loop {
            let (denied, gives_way) = {
                // First of all: in a forked child a thread of its parent may hold the mutex for ever.
                process::check(seat.fork).map_err(LockError::Failed)?;
                let mut inner = self.inner();
                // And again: the end of the program may have been first.
                process::check(seat.fork).map_err(LockError::Failed)?;
                let attempt = self.attempt(&mut inner, seat, level, base);
                self.flush(&mut inner);
                match attempt {
                    Ok(()) => {
                        process::count_lock();
                        if let Some(since) = waiting.since.filter(|_| level == Level::Shared) {
                            seat.asked = since;
                        }
                        if inner.mode == Mode::NetworkExclusive {
                            let writes = seat.writes || inner.arbiter.reserved();
                            self.stop_waiting(&mut inner, waiting.lined_up, writes);
                            self.granted(&mut inner);
                        } else {
                            let due = self.storage.now().after(inner.registry_interval());
                            self.attend(&mut inner, due);
                        }
                        return Ok(());
                    }
                    Err(denied) => {
                        let network = inner.mode == Mode::NetworkExclusive;
                        (denied, network && self.gives_way(&inner, seat, level))
                    }
                }
            };
            let holder = match &denied {
                Failure::Turn => None,
                Failure::Protocol(Denied::Busy(holder)) => Some(&**holder),
                _ => break denied,
            };
            if gives_way && !holder.is_some_and(|holder| self.is_watched_as_silent(holder, waiting.polls)) {
                break denied;
            }
            if base.is_interrupted() {
                break Failure::Lock(LockError::Interrupted);
            }
            let Some(span) = self.patience(seat, holder, level, &mut waiting, base) else { break denied };
            if self.mode() == Mode::NetworkExclusive && level != Level::Reserved {
                self.line_up(seat, level > Level::Reserved, !std::mem::replace(&mut waiting.lined_up, true));
                if holder.is_some() && level == Level::Shared {
                    self.wish();
                }
            }
            self.storage.sleep(span);
        };
        self.stop_wishing(seat, &waiting, base);
        Err(self.refused(seat, denied))
    }

    /// What a call that waits no longer is told.
    pub(super) fn refused(&self, seat: &mut Seat, denied: Failure) -> LockError {
        let who = match denied {
            Failure::Lock(error) => {
                seat.busy = self.busy_natively(seat.id, &error);
                return error;
            }
            Failure::Turn => format!("others wait for it already. {}", self.longer()),
            Failure::Protocol(Denied::Busy(holder)) => match holder.node {
                Some(_) => format!("{holder}. {}", self.longer()),
                None => holder.to_string(),
            },
            Failure::Protocol(denied) => return self.failed(denied),
        };
        let text = format!("coord: {} is in use: {who}", self.paths.database.display());
        seat.busy = Some(text.clone());
        messages::say(Weight::Notice, text);
        LockError::Busy
    }

    /// Says on disk that this process waits.
    fn wish(&self) {
        let mut inner = self.inner();
        let Some(node) = &mut inner.node else { return };
        node.wish();
        let due = node.heartbeat_due();
        self.attend(&mut inner, due);
    }

    /// This call no longer waits: what it left to say so goes.
    fn stop_wishing(&self, seat: &Seat, waiting: &Waiting, base: &mut dyn Base) {
        let mut inner = self.inner();
        if inner.mode != Mode::NetworkExclusive {
            return;
        }
        self.abandon_recovery(&mut inner, seat, base);
        if let Some(node) = &mut inner.node {
            node.withdraw_wish();
        }
        let reserved = inner.arbiter.reserved();
        self.stop_waiting(&mut inner, waiting.lined_up, reserved);
    }

    /// How long to wait before the next look, or `None` to be busy.
    fn patience(
        &self,
        seat: &mut Seat,
        holder: Option<&Holder>,
        level: Level,
        waiting: &mut Waiting,
        base: &mut dyn Base,
    ) -> Option<Duration> {
        let now = self.storage.now();
        let since = *waiting.since.get_or_insert(now);
        match holder {
            Some(holder) => {
                if let Some(span) = self.waits_for(seat, holder, level, waiting, now) {
                    return Some(span);
                }
            }
            // In the line nothing is asked of the disk.
            None if now.since(since) < WISH || waiting.deadline.is_some_and(|end| now < end) => {
                return Some(self.inner().turn.nap());
            }
            None => {}
        }
        let quick = if holder.is_some() { self.pause() } else { self.inner().turn.nap() };
        waiting.is_allowed(now, level, base).then_some(quick)
    }

    /// Between two looks at names. Two that have backed out for each other must not meet again.
    fn pause(&self) -> Duration {
        // Names on this host's own disk cost nothing to look at.
        let (pause, spread) = if self.kind.is_local() { (QUICK, 1_000) } else { (POLL / 2, 10_000) };
        pause + Duration::from_micros(self.storage.random() % spread)
    }

    /// Whether this holder is worth waiting for beyond the program's own patience. One who only keeps the lock is given the time
    /// to see that it is wanted, once for each name; an active one two polling intervals; a silent one's lease is waited out,
    /// once for each episode, as short-lived programs would never get past a dead holder otherwise.
    fn waits_for(
        &self,
        seat: &mut Seat,
        holder: &Holder,
        level: Level,
        waiting: &mut Waiting,
        now: Instant,
    ) -> Option<Duration> {
        let passed = now.since(waiting.since.unwrap_or(now));
        if let Some(end) = waiting.deadline {
            if now < end {
                return Some((holder.lease / 12).min(Duration::from_millis(250)));
            }
            remember(seat, holder.episode());
            return None;
        }
        let silent = self.is_watched_as_silent(holder, waiting.polls);
        if silent && seat.wishes.recovery_wait && !seat.waited_for.contains(&holder.episode()) {
            waiting.deadline = Some(now.after(holder.lease + holder.lease / 2 + Duration::from_secs(1)));
            return Some(self.pause());
        }
        let first_sight = !seat.waited_for.contains(&holder.name) || switches::off(Guard::WaitOnce);
        waiting.polls += 1;
        let looks = passed < POLL * 2 && (first_sight || level == Level::Shared);
        // Beside another's SHARED nobody keeps L: who has it is in the middle of a transaction.
        let wishes = passed < WISH && first_sight && level != Level::Reserved;
        if looks || wishes {
            return Some(self.pause());
        }
        remember(seat, holder.name.clone());
        None
    }

    /// Whether this holder is probably dead or stands still. From here on the service thread watches whether its heartbeat moves.
    fn is_watched_as_silent(&self, holder: &Holder, polls: u32) -> bool {
        self.inner().watch_until = self.storage.now().after(holder.lease * 2);
        let known = || match holder.silent > holder.lease / 12 || polls > 0 {
            true => Duration::ZERO,
            false => self.storage.known_for(&heartbeat_of(&self.paths.registry, holder.node.as_ref()), &holder.sign),
        };
        holder.silent > holder.lease / 2 || (!holder.sign.is_empty() && known() >= holder.lease / 3)
    }

    fn attempt(&self, inner: &mut Inner, seat: &mut Seat, level: Level, base: &mut dyn Base) -> Result<(), Failure> {
        if inner.mode == Mode::Trusted {
            return self.lock_trusted(inner, seat, level, base);
        }
        match level {
            Level::Shared => self.lock_shared(inner, seat, base),
            Level::Reserved => self.lock_reserved(inner, seat, base),
            _ => self.lock_exclusive(inner, seat, base),
        }
    }

    /// Gives locks back down to `level`. Never fails, and always ends at `level` in memory.
    pub fn unlock(&self, seat: &mut Seat, level: Level, base: &mut dyn Base) {
        if level >= seat.level || process::is_stranger(seat.fork) {
            seat.level = seat.level.min(level);
            return;
        }
        let mut inner = self.inner();
        if seat.lease.is_none() {
            self.unlock_trusted(&mut inner, seat, level, base);
        } else {
            self.unlock_network(&mut inner, seat, level, base);
        }
        self.flush(&mut inner);
    }
}

/// A full wait was made for this.
fn remember(seat: &mut Seat, what: String) {
    if !seat.waited_for.contains(&what) {
        if seat.waited_for.len() > 64 {
            seat.waited_for.clear();
        }
        seat.waited_for.push(what);
    }
}
