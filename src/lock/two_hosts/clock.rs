//! The clock of a host that need not wait for what takes long.

use std::collections::HashMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crate::storage::Instant;

/// Once it is set going, it goes on when its host sleeps, waits for the server, or is told to, and not otherwise.
#[derive(Default)]
pub(in crate::lock) struct Clock {
    /// Nanoseconds; none: the host goes by the machine's clock.
    now: AtomicU64,
    /// The longest time between two heartbeats.
    silent: AtomicU64,
    beaten: AtomicU64,
    known: Mutex<HashMap<String, (String, Instant)>>,
}

impl Clock {
    pub fn begin(&self) {
        self.now.store(1, Ordering::Relaxed);
    }

    pub fn now(&self) -> Option<Instant> {
        Some(Instant(self.now.load(Ordering::Relaxed))).filter(|now| now.0 > 0)
    }

    pub fn goes_on(&self, span: Duration) {
        self.now.fetch_add(span.as_nanos() as u64, Ordering::Relaxed);
    }

    pub fn beat(&self) {
        let now = self.now.load(Ordering::Relaxed);
        let before = self.beaten.swap(now, Ordering::Relaxed);
        self.silent.fetch_max(now - before, Ordering::Relaxed);
    }

    pub fn longest_silence(&self) -> Duration {
        Duration::from_nanos(self.silent.load(Ordering::Relaxed))
    }

    /// For how long this has been asked for, if the clock goes.
    pub fn known_for(&self, what: &str, state: &str) -> Option<Duration> {
        let now = self.now()?;
        let mut known = self.known.lock().unwrap();
        let (last, since) = known.entry(what.to_string()).or_insert_with(|| (state.to_string(), now));
        if last != state {
            (*last, *since) = (state.to_string(), now);
        }
        Some(now.since(*since))
    }
}
