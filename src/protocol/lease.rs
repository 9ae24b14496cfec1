//! How long we may act on what we hold, by our own clock. Read without a lock from every page read and write.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use crate::storage::Instant;

/// The default lease (PROTOCOL.md, Leases).
pub const DEFAULT_MS: u64 = 30_000;
/// Shortest and longest lease; node and observer clamp alike.
pub const MIN_MS: u64 = 1_000;
pub const MAX_MS: u64 = 3_600_000;

/// Clamps a lease as every node and observer does.
pub fn clamp(lease_ms: u64) -> Duration {
    Duration::from_millis(lease_ms.clamp(MIN_MS, MAX_MS))
}

/// One node's lease. A handle keeps the one that it locked under: a node that was deposed stays deposed.
#[derive(Debug, Default)]
pub struct Lease {
    /// End of the lease, an [`Instant`].
    until: AtomicU64,
    deposed: AtomicBool,
}

/// What the clock says of a lease.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    Valid,
    /// Run out by our clock: a heartbeat must succeed before anything else.
    Lapsed,
    Deposed,
}

impl Lease {
    /// A heartbeat sent at `sent` succeeded: valid for 0.8 of the lease from then on. The missing fifth covers clocks that
    /// drift apart by up to 9 % in each direction. A node's heartbeats are sent one after the other, so the last one counts: not
    /// the latest end, which would outlast its time where the clock has gone back.
    pub fn renew(&self, sent: Instant, lease: Duration) {
        self.until.store(sent.after(lease * 4 / 5).0, Ordering::Release);
    }

    pub fn depose(&self) {
        self.deposed.store(true, Ordering::Release);
    }

    pub fn is_deposed(&self) -> bool {
        self.deposed.load(Ordering::Acquire)
    }

    pub fn standing(&self, now: Instant) -> Standing {
        if self.is_deposed() {
            Standing::Deposed
        } else if now.0 < self.until.load(Ordering::Acquire) {
            Standing::Valid
        } else {
            Standing::Lapsed
        }
    }
}
