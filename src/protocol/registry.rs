//! Listings of the registry G and of the lock directory L, sorted by what the names say.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;

use super::names::{Copy, Kind, Name, NodeId};
use crate::storage::Instant;

/// What a listing of G shows.
#[derive(Debug, Default)]
pub struct Census {
    /// Just before the listing was asked for, and when its answer was there.
    pub asked: Instant,
    pub answered: Instant,
    /// Highest beat of each node: `(n, lease_ms)`. A lower one is litter, never evidence. In an order of its own, as silent nodes
    /// are deposed in it and a simulated schedule must come out the same again.
    beats: BTreeMap<NodeId, (u64, u64)>,
    tombstones: Vec<Name>,
    pub readers: Vec<Name>,
    pub exclusives: Vec<Name>,
    /// Who waits for SHARED.
    pub wishes: Vec<Name>,
    /// `new.*` and superseded beats.
    pub litter: Vec<Name>,
    pub epochs: BTreeSet<Name>,
    pub asides: Vec<Name>,
    pub strangers: Vec<OsString>,
}

impl Census {
    pub fn sort(names: Vec<OsString>, asked: Instant, answered: Instant) -> Census {
        let mut census = Census { asked, answered, ..Census::default() };
        for text in names {
            let Some(name) = Name::parse(&text) else {
                if text != "takeovers.jsonl" {
                    census.strangers.push(text);
                }
                continue;
            };
            match name.kind {
                Kind::Beat { lease_ms } => census.add_beat(name, lease_ms),
                Kind::Deposed { .. } => census.tombstones.push(name),
                Kind::Reader => census.readers.push(name),
                Kind::Exclusive => census.exclusives.push(name),
                Kind::Wish => census.wishes.push(name),
                Kind::New => census.litter.push(name),
                Kind::Epoch => drop(census.epochs.insert(name)),
                Kind::Aside(_) => census.asides.push(name),
                Kind::Write | Kind::Fence(_) => census.strangers.push(text),
            }
        }
        census
    }

    fn add_beat(&mut self, name: Name, lease_ms: u64) {
        let Name { node, n, .. } = name;
        let superseded = match self.beats.get(&node) {
            Some(&(seen, seen_lease)) if seen < n => Some((seen, seen_lease)),
            Some(_) => Some((n, lease_ms)),
            None => None,
        };
        if let Some((n, lease_ms)) = superseded {
            self.litter.push(Name { node: node.clone(), n, kind: Kind::Beat { lease_ms } });
        }
        let newest = self.beats.entry(node).or_insert((n, lease_ms));
        if newest.0 < n {
            *newest = (n, lease_ms);
        }
    }

    /// Everybody's names but for heartbeats, tombstones and litter.
    pub fn presence(&self) -> impl Iterator<Item = &Name> {
        self.readers.iter().chain(&self.exclusives).chain(&self.wishes)
    }

    pub fn has_presence(&self, node: &NodeId) -> bool {
        self.presence().any(|name| name.node == *node)
    }

    /// The node's heartbeat: `(n, lease_ms)`.
    pub fn beat(&self, node: &NodeId) -> Option<(u64, u64)> {
        self.beats.get(node).copied()
    }

    /// The node's tombstone, if it counts: one that is older than a beat of the same node is void.
    pub fn tombstone(&self, node: &NodeId) -> Option<&Name> {
        let beat = self.beats.get(node).map(|&(n, _)| n);
        let counts = |stone: &&Name| stone.node == *node && beat.is_none_or(|beat| beat <= stone.n);
        self.tombstones.iter().filter(counts).max_by_key(|stone| stone.n)
    }

    /// All tombstones, void ones too.
    pub fn tombstones(&self) -> &[Name] {
        &self.tombstones
    }

    pub fn beats(&self) -> impl Iterator<Item = (&NodeId, u64, u64)> {
        self.beats.iter().map(|(node, &(n, lease_ms))| (node, n, lease_ms))
    }
}

/// What a listing of L shows.
#[derive(Debug, Default)]
pub struct LockView {
    pub writes: Vec<Name>,
    pub copies: Vec<(Name, Copy)>,
    /// `new.*`: made by a holder of L to make a listing fresh, and left, or made late.
    pub litter: Vec<Name>,
    /// Files of somebody else (`.nfs…`, `.DS_Store`). They never count.
    pub strangers: Vec<OsString>,
}

impl LockView {
    pub fn sort(names: Vec<OsString>) -> LockView {
        let mut view = LockView::default();
        for text in names {
            match Name::parse(&text) {
                Some(name) => match name.kind {
                    Kind::Write => view.writes.push(name),
                    Kind::Fence(copy) => view.copies.push((name, copy)),
                    Kind::New => view.litter.push(name),
                    _ => view.strangers.push(text),
                },
                None => view.strangers.push(text),
            }
        }
        view
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn census(names: &[String]) -> Census {
        Census::sort(names.iter().map(OsString::from).collect(), Instant(1), Instant(2))
    }

    #[test]
    fn the_highest_beat_counts_in_whatever_order_it_is_listed() {
        let node = NodeId::new("a", "", 1, 2);
        for order in [[3, 7, 5], [7, 3, 5], [5, 3, 7]] {
            let names: Vec<String> = order.iter().map(|n| format!("beat.{node}.{n}.{n}000")).collect();
            let census = census(&names);
            assert_eq!(census.beat(&node), Some((7, 7000)), "{order:?}");
            assert_eq!(census.litter.len(), 2);
        }
    }

    #[test]
    fn a_tombstone_older_than_a_beat_is_void() {
        let node = NodeId::new("a", "", 1, 2);
        let stone = format!("deposed.{node}.4.00000000000000aa.1");
        assert!(census(std::slice::from_ref(&stone)).tombstone(&node).is_some());
        assert!(census(&[stone.clone(), format!("beat.{node}.4.1000")]).tombstone(&node).is_some());
        assert!(census(&[stone, format!("beat.{node}.5.1000")]).tombstone(&node).is_none());
    }
}
