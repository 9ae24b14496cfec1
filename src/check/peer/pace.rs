//! So that two hosts meet of which one is faster, or begins earlier: who was through with a batch before the other had begun
//! waits before the next one. As no wait is as even as two fast hosts are quick, both also take longer over a batch as long as they
//! do not meet.

use std::time::Duration;

use crate::check::bench::{Bench, Trouble};

/// Where the hosts do not meet, so many times the batches are tried that were asked for.
const MORE: u32 = 6;
/// And at least so many: the waits have grown long by then.
const LEAST: u32 = 12;
/// The first wait, and the longest one.
const FIRST: Duration = Duration::from_millis(1);
const LONGEST: Duration = Duration::from_millis(500);
/// A pause is made in such pieces, so that the check goes on and can be stopped.
const PIECE: Duration = Duration::from_millis(50);

/// Who was through with a batch before the other had begun with it.
#[derive(Clone, Copy, Debug)]
pub(super) enum Through {
    Neither,
    ThisEnd,
    OtherEnd,
}

#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Pace {
    /// Before a batch.
    wait: Duration,
    /// In the course of a batch.
    spread: Duration,
}

impl Pace {
    /// How many batches are tried at most where so many are wanted in which the hosts meet.
    pub fn most(wanted: u32) -> u32 {
        (MORE * wanted).max(LEAST)
    }

    pub fn learn(&mut self, through: Through) {
        let longer = |span: Duration| (span * 2).clamp(FIRST, LONGEST);
        // What is less than the first wait is none.
        let shorter = |span: Duration| if span < FIRST * 2 { Duration::ZERO } else { span / 2 };
        match through {
            Through::Neither => self.spread = shorter(self.spread),
            Through::ThisEnd => (self.wait, self.spread) = (longer(self.wait), longer(self.spread)),
            Through::OtherEnd => (self.wait, self.spread) = (shorter(self.wait), longer(self.spread)),
        }
    }

    /// To be called before a batch.
    pub fn before(&self, bench: &Bench) -> Result<(), Trouble> {
        pause(bench, self.wait)
    }

    /// To be called after each of a batch's names.
    pub fn between(&self, bench: &Bench, names: u32) -> Result<(), Trouble> {
        pause(bench, self.spread / names)
    }
}

fn pause(bench: &Bench, span: Duration) -> Result<(), Trouble> {
    let mut left = span;
    while !left.is_zero() {
        let piece = left.min(PIECE);
        bench.storage.sleep(piece);
        bench.go_on()?;
        left -= piece;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn after(batches: &[Through]) -> [u128; 2] {
        let mut pace = Pace::default();
        batches.iter().for_each(|through| pace.learn(*through));
        [pace.wait.as_millis(), pace.spread.as_millis()]
    }

    #[test]
    fn who_is_first_waits_twice_as_long_each_time_and_half_as_long_when_he_was_last() {
        use Through::{Neither, OtherEnd, ThisEnd};
        assert_eq!(after(&[]), [0, 0]);
        assert_eq!(after(&[ThisEnd]), [1, 1]);
        assert_eq!(after(&[ThisEnd; 5]), [16, 16]);
        assert_eq!(after(&[ThisEnd; 30]), [500, 500]);
        assert_eq!(after(&[ThisEnd, ThisEnd, ThisEnd, OtherEnd]), [2, 8]);
        assert_eq!(after(&[ThisEnd, OtherEnd]), [0, 2]);
        assert_eq!(after(&[ThisEnd, ThisEnd, Neither]), [2, 1]);
        assert_eq!(after(&[ThisEnd, ThisEnd, Neither, Neither]), [2, 0]);
    }

    #[test]
    fn few_rounds_are_tried_often_enough_for_the_waits_to_grow() {
        assert_eq!([1, 2, 10].map(Pace::most), [12, 12, 60]);
    }
}
