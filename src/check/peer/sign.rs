//! Whether the other end is still there while its next word does not come.

use std::path::Path;
use std::time::Duration;

use crate::check::bench::Bench;
use crate::storage::Instant;

/// How often its beat is looked at, at most.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// What its beat says.
pub(super) enum Life {
    /// Nothing yet: it is to be waited for.
    Open,
    /// It has not been seen to move for too long.
    Gone,
    /// It moves, but has said nothing for too long.
    Mute,
}

pub(super) struct Sign {
    begun: Instant,
    beat: String,
    moved: Instant,
    looked: Option<Instant>,
}

impl Sign {
    pub fn new(now: Instant) -> Sign {
        Sign { begun: now, beat: String::new(), moved: now, looked: None }
    }

    /// `dir` is the other end's.
    pub fn life(&mut self, bench: &Bench, dir: &Path, patience: Duration) -> Life {
        let now = bench.storage.now();
        let every = LOOK_EVERY.min(patience / 4);
        if self.looked.is_none_or(|looked| now.since(looked) >= every) {
            self.looked = Some(now);
            let names = bench.storage.list(dir).unwrap_or_default();
            let beat = names.iter().find(|name| name.as_encoded_bytes().starts_with(b"beat."));
            let beat = beat.map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
            self.see(now, beat);
        }
        self.judge(now, patience)
    }

    fn see(&mut self, now: Instant, beat: String) {
        if beat.is_empty() || beat == self.beat {
            return;
        }
        // The first one may have stood there for long.
        if !self.beat.is_empty() {
            self.moved = now;
        }
        self.beat = beat;
    }

    fn judge(&self, now: Instant, patience: Duration) -> Life {
        let still = now.since(self.moved);
        if still >= patience {
            return Life::Gone;
        }
        // Between the two it may have died a moment ago.
        let moves = still < patience / 2;
        if moves && now.since(self.begun) >= patience { Life::Mute } else { Life::Open }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is thought after so many seconds of one whose beat is a new one until then, every second.
    fn after(seconds: u64, moves_until: u64) -> Life {
        let at = |seconds: u64| Instant(1 + seconds * 1_000_000_000);
        let mut sign = Sign::new(at(0));
        for second in 0..=seconds {
            sign.see(at(second), format!("beat.{}", second.min(moves_until)));
        }
        sign.judge(at(seconds), Duration::from_secs(10))
    }

    #[test]
    fn one_who_stands_still_is_gone_and_one_who_only_moves_is_mute() {
        assert!(matches!(after(9, 0), Life::Open));
        assert!(matches!(after(10, 0), Life::Gone));
        assert!(matches!(after(9, 100), Life::Open));
        assert!(matches!(after(10, 100), Life::Mute));
        // It has moved and stands still now: that is not known yet.
        assert!(matches!(after(10, 4), Life::Open));
        assert!(matches!(after(14, 4), Life::Gone));
    }
}
