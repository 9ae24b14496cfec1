//! Who is silent: runs of samples of other nodes' heartbeats, by our own clock.
//!
//! A node may be deposed when the same beat was seen in samples that span its whole lease, counted from the first answer
//! to the last question. Samples are wanted every twelfth of the lease. A late one does not spoil the run, but the run then
//! ends no earlier than half a lease after it, so that a server's outage does not look like a dead node.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::lease;
use super::names::{Name, NodeId};
use super::registry::Census;
use crate::storage::{Instant, Process};

/// Whatever is answered within this time is not late, however short the lease.
const GRACE: Duration = Duration::from_secs(2);

#[derive(Debug)]
struct Run {
    /// The beat that was seen; `None` while none was seen at all.
    beat: Option<u64>,
    lease: Duration,
    first_answer: Instant,
    last_asked: Instant,
    last_answer: Instant,
    not_before: Instant,
    samples: u32,
}

/// What is known of other nodes.
#[derive(Debug, Default)]
pub struct Observer {
    runs: BTreeMap<NodeId, Run>,
    /// When each tombstone was first seen.
    tombstones: BTreeMap<Name, Instant>,
    /// Who the nodes are, as far as their beat files could be read.
    identities: BTreeMap<NodeId, Option<Process>>,
}

impl Observer {
    /// Takes a listing of G into account.
    pub fn sample(&mut self, census: &Census, own: &NodeId) {
        for stone in census.tombstones() {
            self.tombstones.entry(stone.clone()).or_insert(census.answered);
        }
        let standing: BTreeSet<&Name> = census.tombstones().iter().collect();
        self.tombstones.retain(|stone, _| standing.contains(stone));
        let present = census.presence().map(|name| &name.node);
        let beating = census.beats().map(|(node, ..)| node);
        for node in present.chain(beating) {
            if node != own && self.runs.get(node).is_none_or(|run| run.last_asked != census.asked) {
                self.sample_one(node, census);
            }
        }
        let gone: Vec<NodeId> = self.runs.keys().filter(|node| !Self::is_seen(node, census)).cloned().collect();
        for node in gone {
            // A moving beat may be missed once; a run that was not sampled for a lease is over.
            let stale = self.runs.get(&node).is_some_and(|run| census.answered.since(run.last_answer) > run.lease);
            if stale {
                self.runs.remove(&node);
                self.identities.remove(&node);
            }
        }
    }

    fn is_seen(node: &NodeId, census: &Census) -> bool {
        census.beat(node).is_some() || census.presence().any(|name| name.node == *node)
    }

    /// A node whose only trace is in L (a late create) is sampled by its name there.
    pub fn sample_lock(&mut self, node: &NodeId, census: &Census) {
        if self.runs.get(node).is_none_or(|run| run.last_asked != census.asked) {
            self.sample_one(node, census);
        }
    }

    fn sample_one(&mut self, node: &NodeId, census: &Census) {
        let beat = census.beat(node);
        let lease_ms = beat.map_or(lease::DEFAULT_MS, |(_, lease_ms)| lease_ms);
        let fresh = |beat: Option<u64>| Run {
            beat,
            lease: lease::clamp(lease_ms),
            // A clock that jumped back meanwhile must not make a silence of the jump.
            first_answer: census.answered.max(census.asked),
            last_asked: census.asked,
            last_answer: census.answered,
            not_before: census.answered,
            samples: 1,
        };
        let Some(run) = self.runs.get_mut(node) else {
            self.runs.insert(node.clone(), fresh(beat.map(|(n, _)| n)));
            return;
        };
        match (run.beat, beat.map(|(n, _)| n)) {
            // It may just have moved: says nothing. Gone for a whole lease, it is one without a heartbeat, and watched as such.
            (Some(_), None) => {
                if census.asked.since(run.last_answer) > run.lease {
                    *run = fresh(None);
                }
                return;
            }
            (before, now) if before == now => {}
            (_, now) => {
                *run = fresh(now);
                return;
            }
        }
        let tolerated = GRACE.max(run.lease / 6);
        let late = census.asked.since(run.last_answer) > tolerated || census.answered.since(census.asked) > tolerated;
        if late {
            run.not_before = census.answered.after(run.lease / 2);
        }
        run.last_asked = census.asked;
        run.last_answer = census.answered;
        run.samples += 1;
    }

    /// How long the node is known to have given no sign of life.
    pub fn silent(&self, node: &NodeId) -> Duration {
        self.runs.get(node).map_or(Duration::ZERO, |run| run.last_asked.since(run.first_answer))
    }

    /// Whether a whole lease of silence was seen. For a node of which no beat was ever seen twelve samples are asked for, so
    /// that a beat which moves whenever we look is not missed in all of them.
    pub fn is_silent(&self, node: &NodeId) -> bool {
        let Some(run) = self.runs.get(node) else { return false };
        let enough = run.beat.is_some() || run.samples >= 12;
        enough && run.last_asked.since(run.first_answer) >= run.lease && run.last_asked >= run.not_before
    }

    /// Whether no heartbeat of the node was seen in its whole run.
    pub fn is_ghost(&self, node: &NodeId) -> bool {
        self.runs.get(node).is_some_and(|run| run.beat.is_none())
    }

    /// Forgets a run: the node turned out to live.
    pub fn forget(&mut self, node: &NodeId) {
        self.runs.remove(node);
    }

    /// When the next sample is wanted of a node that has been watched without a sign of life.
    pub fn next_sample(&self) -> Option<Instant> {
        self.runs.values().map(|run| run.last_answer.after(run.lease / 12)).min()
    }

    /// How long this tombstone has been seen.
    pub fn tombstone_age(&self, stone: &Name, now: Instant) -> Duration {
        self.tombstones.get(stone).map_or(Duration::ZERO, |seen| now.since(*seen))
    }

    /// Whether the node's identity was asked for before.
    pub fn knows(&self, node: &NodeId) -> bool {
        self.identities.contains_key(node)
    }

    /// The node's process, read once by `read`.
    pub fn identity(&mut self, node: &NodeId, read: impl FnOnce() -> Option<Process>) -> Option<Process> {
        if let Some(Some(known)) = self.identities.get(node) {
            return Some(known.clone());
        }
        let process = read();
        self.identities.insert(node.clone(), process.clone());
        process
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: u64 = 1_000_000_000;

    fn node() -> NodeId {
        NodeId::new("other", "", 1, 2)
    }

    fn see(observer: &mut Observer, second: f64, beat: Option<u64>) {
        let at = Instant((second * SECOND as f64) as u64);
        let mut names = vec![format!("reader.{}.1", node())];
        names.extend(beat.map(|n| format!("beat.{}.{n}.12000", node())));
        let census = Census::sort(names.into_iter().map(Into::into).collect(), at, at);
        observer.sample(&census, &NodeId::new("me", "", 3, 4));
    }

    #[test]
    fn a_whole_lease_of_the_same_beat_is_silence() {
        let mut observer = Observer::default();
        for second in 0..12 {
            see(&mut observer, second as f64, Some(5));
            assert!(!observer.is_silent(&node()), "after {second} s of 12");
        }
        see(&mut observer, 12.0, Some(5));
        assert!(observer.is_silent(&node()));
    }

    #[test]
    fn a_beat_that_moves_starts_again() {
        let mut observer = Observer::default();
        for second in 0..=11 {
            see(&mut observer, second as f64, Some(5));
        }
        for second in 12..24 {
            see(&mut observer, second as f64, Some(6));
            assert!(!observer.is_silent(&node()));
        }
    }

    #[test]
    fn a_listing_that_misses_the_beat_is_no_evidence_of_death() {
        let mut observer = Observer::default();
        see(&mut observer, 0.0, Some(5));
        for second in 1..=30 {
            see(&mut observer, second as f64, None);
        }
        assert!(!observer.is_silent(&node()), "no sample showed the beat again");
    }

    #[test]
    fn an_outage_of_the_server_is_not_a_dead_node() {
        let mut observer = Observer::default();
        see(&mut observer, 0.0, Some(5));
        see(&mut observer, 20.0, Some(5));
        assert!(!observer.is_silent(&node()), "one late sample ended the run at once");
        for second in 21..26 {
            see(&mut observer, second as f64, Some(5));
            assert!(!observer.is_silent(&node()), "at {second} s");
        }
        see(&mut observer, 26.0, Some(5));
        assert!(observer.is_silent(&node()));
    }
}
