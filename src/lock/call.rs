//! A connection's lock and unlock calls from beginning to end: the attempts that [`super::network`] and [`super::trusted`]
//! make, and how long a call waits between them.

use std::time::Duration;

use super::database::{Database, Inner, Mode};
use super::failure::Failure;
use super::level::Level;
use super::messages::{self, Weight};
use super::process;
use super::seat::{Base, LockError, Seat};
use crate::protocol::switches::{self, Guard};
use crate::protocol::{Denied, Holder, write_lock::POLL};
use crate::storage::Instant;

/// How long somebody who waits lets a holder who may only keep the lock see it: three times as long as such a holder takes at
/// most to look.
const WISH: Duration = Duration::from_millis(150);

/// Between two looks at names on a local disk, and at the order of waiters.
const QUICK: Duration = Duration::from_millis(1);

/// What one lock call has waited for so far.
#[derive(Default)]
struct Waiting {
    /// Since when somebody has been in the way.
    since: Option<Instant>,
    polls: u32,
    /// A silent holder's lease is waited out until then.
    deadline: Option<Instant>,
    /// It has been counted among those who wait for their turn.
    lined_up: bool,
    /// The program's own busy handler has allowed to wait until then.
    allowed: Instant,
}

impl Waiting {
    /// Once the protocol's own patience is over: as long as the program's busy handler has any, the place in the line is kept
    /// rather than given up for a nap.
    fn as_allowed(&mut self, now: Instant, level: Level, base: &mut dyn Base) -> Option<Duration> {
        if level != Level::Shared {
            return None;
        }
        if now >= self.allowed {
            self.allowed = now.after(base.patience()?);
        }
        Some(QUICK)
    }
}

impl Database {
    /// Takes `level`, waiting as far as the protocol asks a lock call to wait.
    pub fn lock(&self, seat: &mut Seat, level: Level, base: &mut dyn Base) -> Result<(), LockError> {
        if level <= seat.level {
            return Ok(());
        }
        let mut waiting = Waiting::default();
        loop {
            let denied = {
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
                        self.stop_waiting(&mut inner, waiting.lined_up);
                        if inner.mode == Mode::NetworkExclusive {
                            self.granted(&mut inner);
                        } else if !self.stepped {
                            process::wake_service(self, self.storage.now().after(inner.registry_interval()));
                        }
                        return Ok(());
                    }
                    Err(denied) => denied,
                }
            };
            let holder = match denied {
                Failure::Turn => None,
                Failure::Lock(error) => {
                    self.stop_wishing(&waiting);
                    seat.busy = self.busy_natively(seat.id, &error);
                    return Err(error);
                }
                Failure::Protocol(Denied::Busy(holder)) => Some(holder),
                Failure::Protocol(denied) => {
                    self.stop_wishing(&waiting);
                    return Err(self.failed(denied));
                }
            };
            if base.is_interrupted() {
                self.stop_wishing(&waiting);
                return Err(LockError::Interrupted);
            }
            let span = match &holder {
                Some(holder) => self.patience(seat, holder, level, &mut waiting),
                None => self.patience_in_turn(&mut waiting),
            };
            if level == Level::Shared {
                self.line_up(seat, !std::mem::replace(&mut waiting.lined_up, true));
            }
            match span.or_else(|| waiting.as_allowed(self.storage.now(), level, base)) {
                Some(span) => self.storage.sleep(span),
                None => {
                    self.stop_wishing(&waiting);
                    let who = holder.map_or("others wait for it".to_string(), |holder| holder.to_string());
                    let text = format!("coord: {} is in use: {who}", self.paths.database.display());
                    seat.busy = Some(text.clone());
                    messages::say(Weight::Notice, text);
                    return Err(LockError::Busy);
                }
            }
        }
    }

    /// This call no longer waits: what it left on disk to say so goes.
    fn stop_wishing(&self, waiting: &Waiting) {
        let mut inner = self.inner();
        if let Some(node) = &mut inner.node {
            node.withdraw_wish();
        }
        self.stop_waiting(&mut inner, waiting.lined_up);
    }

    /// How long to wait before the next look, or `None` to be busy. A holder who only keeps the lock is given the time to see
    /// that it is wanted, once for each name; an active one two polling intervals; a silent one's lease is waited out, once for each episode, as short-lived programs would never get
    /// past a dead holder otherwise.
    fn patience(&self, seat: &mut Seat, holder: &Holder, level: Level, waiting: &mut Waiting) -> Option<Duration> {
        let now = self.storage.now();
        let since = *waiting.since.get_or_insert(now);
        self.inner().watch_until = now.after(holder.lease * 2);
        // Two that have backed out for each other must not meet again.
        let spread = if self.kind.is_local() { 1_000 } else { 10_000 };
        let jitter = Duration::from_micros(self.storage.random() % spread);
        if let Some(end) = waiting.deadline {
            if now < end {
                return Some((holder.lease / 12).min(Duration::from_millis(250)));
            }
            seat.waited_for.push(holder.episode());
            return None;
        }
        let known = || match holder.silent > holder.lease / 12 || waiting.polls > 0 {
            true => Duration::ZERO,
            false => self.storage.known_for(&format!("{} {}", self.paths.registry.display(), holder.sign)),
        };
        let silent = holder.silent > holder.lease / 2 || (!holder.sign.is_empty() && known() >= holder.lease / 3);
        if silent && seat.wishes.recovery_wait && !seat.waited_for.contains(&holder.episode()) {
            waiting.deadline = Some(now.after(holder.lease + holder.lease / 2 + Duration::from_secs(1)));
            return Some(POLL + jitter);
        }
        let first_sight = !seat.waited_for.contains(&holder.name) || switches::off(Guard::WaitOnce);
        waiting.polls += 1;
        let looks = now.since(since) < POLL * 2 && (first_sight || level == Level::Shared);
        if looks || (first_sight && now.since(since) < WISH) {
            // Names on this host's own disk cost nothing to look at.
            return Some(if self.kind.is_local() { QUICK } else { POLL / 2 } + jitter);
        }
        if seat.waited_for.len() > 64 {
            seat.waited_for.clear();
        }
        seat.waited_for.push(holder.name.clone());
        None
    }

    /// As [`Database::patience`], while it is not our turn to ask the disk.
    fn patience_in_turn(&self, waiting: &mut Waiting) -> Option<Duration> {
        let now = self.storage.now();
        let since = *waiting.since.get_or_insert(now);
        (now.since(since) < WISH).then_some(QUICK)
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
