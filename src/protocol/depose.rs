//! Who may be deposed, and deposing: a compare-and-swap on the exact heartbeat that was watched.

use std::io;
use std::time::Duration;

use super::beat::{Beat, MAX_BYTES, PROTOCOL};
use super::error::Denied;
use super::lease;
use super::names::{Kind, Name, NodeId};
use super::node::Node;
use super::registry::Census;
use crate::storage::{Liveness, Process};
use crate::switches::{self, Guard};

/// In leases, see [`Node::is_long_idle`].
const IDLE_LEASES: u32 = 20;

/// What stands between us and a name of another node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// In use, as far as anybody can tell.
    Alive,
    /// It was deposed, but a heartbeat of its own may still be on its way: wait a little.
    Settling,
    /// It has lost everything it had here, and we may clear up after it.
    Deposed { provably_dead: bool },
}

impl Node {
    /// What is known of `other`, deposing it if it may be deposed now. `census` is a fresh listing of G.
    pub(super) fn judge(&mut self, other: &NodeId, census: &Census) -> Result<Verdict, Denied> {
        if let Some(stone) = census.tombstone(other) {
            let stone = stone.clone();
            return Ok(self.verdict_of(&stone));
        }
        self.observer.sample_lock(other, census);
        let beat = census.beat(other);
        if let Some((n, ms)) = beat
            && !self.observer.knows(other)
        {
            // It came after us: whoever comes second looks, but a version that does not know this one may not have.
            self.refuse_other_protocol(&Name::beat(other, n, ms))?;
        }
        let dead = beat.is_some() && self.is_provably_dead(other, beat.map(|(n, ms)| Name::beat(other, n, ms)));
        let missed = beat.is_none() && switches::off(Guard::MissedBeat);
        if !dead && !missed && !self.observer.is_silent(other) {
            return Ok(Verdict::Alive);
        }
        match beat {
            Some((n, lease_ms)) => self.depose(&Name::beat(other, n, lease_ms)),
            // A census that misses the moving beat of a node that had one says nothing.
            None if missed || (self.observer.is_ghost(other) && !switches::off(Guard::Ghosts)) => {
                self.depose_ghost(other)
            }
            None => Ok(Verdict::Alive),
        }
    }

    /// Renames the beat that was watched to its node's tombstone. One of two wins: its node's next heartbeat, or this.
    fn depose(&mut self, beat: &Name) -> Result<Verdict, Denied> {
        let m = self.next(Kind::New).n;
        let stone = Name { node: beat.node.clone(), n: beat.n, kind: Kind::Deposed { by: self.id().key, m } };
        match self.storage.rename(&self.in_registry(beat), &self.in_registry(&stone)) {
            Ok(()) => {}
            Err(error) => {
                // Its heartbeat was first, somebody else deposed it, or our rename was carried out all the same.
                let census = self.fresh_census()?;
                if census.tombstone(&beat.node) != Some(&stone) {
                    self.observer.forget(&beat.node);
                    return match error.kind() {
                        io::ErrorKind::NotFound => Ok(Verdict::Alive),
                        _ => Err(Denied::io("depose a silent node in", &self.paths.registry)(error)),
                    };
                }
            }
        }
        self.census()?;
        Ok(self.verdict_of(&stone))
    }

    /// A name of a node of which no beat was seen in a whole run: a create delivered late. Its tombstone is taken back if a
    /// beat shows after all.
    fn depose_ghost(&mut self, other: &NodeId) -> Result<Verdict, Denied> {
        let m = self.next(Kind::New).n;
        let n = if switches::off(Guard::MissedBeat) { u64::MAX } else { 0 };
        let stone = Name { node: other.clone(), n, kind: Kind::Deposed { by: self.id().key, m } };
        let path = self.in_registry(&stone);
        let made = self.storage.create_new(&path, b"", self.settings.owner);
        made.map_err(Denied::io("depose a node without heartbeat in", &self.paths.registry))?;
        let census = self.census()?;
        if census.beat(other).is_some() && !switches::off(Guard::MissedBeat) {
            self.discard(path);
            self.observer.forget(other);
            return Ok(Verdict::Alive);
        }
        Ok(self.verdict_of(&stone))
    }

    /// Whether a tombstone can be acted on. Where the server may rename by handle, a heartbeat that crossed the deposing
    /// rename would undo it, so the tombstone must have stood for a while.
    pub(super) fn verdict_of(&mut self, stone: &Name) -> Verdict {
        if self.is_provably_dead(&stone.node, Some(stone.clone())) {
            return Verdict::Deposed { provably_dead: true };
        }
        let wait = match (self.settings.local, self.settings.renames_by_handle) {
            (true, _) => Duration::ZERO,
            (false, false) => self.lease_of(stone) / 6,
            (false, true) => self.lease_of(stone),
        };
        if self.observer.tombstone_age(stone, self.storage.now()) >= wait {
            Verdict::Deposed { provably_dead: false }
        } else {
            Verdict::Settling
        }
    }

    fn lease_of(&mut self, stone: &Name) -> Duration {
        let bytes = self.storage.read_small(&self.in_registry(stone), MAX_BYTES).unwrap_or_default();
        lease::clamp(Beat::decode(&bytes).map_or(lease::DEFAULT_MS, |beat| beat.lease_ms.max(lease::MIN_MS)))
    }

    /// Same host, and its process is gone for certain. `file` holds its identity (its beat or its tombstone).
    fn is_provably_dead(&mut self, other: &NodeId, file: Option<Name>) -> bool {
        match self.identity(other, file) {
            // Another node of this very process is never dead.
            Some(process) if process.pid == self.id().pid && process == self.storage.process() => false,
            Some(process) => self.storage.liveness(&process) == Liveness::Dead,
            None => false,
        }
    }

    /// Dead nodes without presence hinder nobody; whoever holds L deposes those that are known dead, once in its life. A program that
    /// lives for a moment watches nobody for a lease, so what this host has known for long without a change counts as well.
    pub(super) fn depose_idle(&mut self, census: &Census) -> Result<(), Denied> {
        if std::mem::replace(&mut self.looked_for_idle, true) {
            return Ok(());
        }
        let mut idle: Vec<Name> = census.beats().map(|(node, n, ms)| Name::beat(node, n, ms)).collect();
        idle.retain(|beat| beat.node != *self.id());
        for beat in idle {
            self.heartbeat_if_due()?;
            let stays = matches!(self.judge(&beat.node, census)?, Verdict::Alive);
            if stays && !census.has_presence(&beat.node) && self.is_long_idle(&beat) && !self.is_provably_alive(&beat) {
                self.depose(&beat)?;
            }
        }
        Ok(())
    }

    /// Whether this host has known a heartbeat, or a tombstone, unchanged for so long that its node's own lease has run out many times:
    /// whatever that node does next it has to send a heartbeat first.
    pub(super) fn is_long_idle(&mut self, name: &Name) -> bool {
        let known =
            self.storage.known_for(&format!("idle {} {}", self.paths.registry.display(), name.node), &name.to_string());
        let is_long = |lease: Duration| known >= lease * IDLE_LEASES;
        if !is_long(self.lease_span()) || switches::off(Guard::IdleLease) {
            return is_long(self.lease_span());
        }
        let theirs = match name.kind {
            Kind::Beat { lease_ms } => lease::clamp(lease_ms),
            _ => self.lease_of(name),
        };
        is_long(theirs)
    }

    /// Same host, and its process runs.
    fn is_provably_alive(&mut self, beat: &Name) -> bool {
        let process = self.identity(&beat.node, Some(beat.clone()));
        process.is_some_and(|process| self.storage.liveness(&process) == Liveness::Alive)
    }

    /// Two versions of the protocol must not meet on one database: whoever comes second looks at everybody's beat file,
    /// once, and keeps out. A node that is gone for certain hinders nobody.
    pub(super) fn refuse_other_protocols(&mut self) -> Result<(), Denied> {
        let census = self.census()?;
        let beats: Vec<Name> = census.beats().map(|(node, n, ms)| Name::beat(node, n, ms)).collect();
        for beat in beats {
            if beat.node != *self.id() {
                self.heartbeat_if_due()?;
                self.refuse_other_protocol(&beat)?;
            }
        }
        Ok(())
    }

    fn refuse_other_protocol(&mut self, beat: &Name) -> Result<(), Denied> {
        let path = self.in_registry(beat);
        let found = self.storage.read_small(&path, MAX_BYTES).ok().and_then(|bytes| Beat::decode(&bytes));
        let process = found.as_ref().filter(|found| found.owner_id == beat.node.to_string());
        self.observer.identity(&beat.node, || process.map(|found| found.process.clone()));
        let Some(found) = found else { return Ok(()) };
        let other = !found.protocol.is_empty() && found.protocol != PROTOCOL;
        if !other || self.storage.liveness(&found.process) == Liveness::Dead {
            return Ok(());
        }
        // It comes out of a file that anybody may have written.
        let spoken: String = found.protocol.chars().filter(|letter| !letter.is_control()).take(80).collect();
        Err(Denied::Refused(format!(
            "coord: {} is in use by process {} on {}, which speaks the protocol {spoken}, and this is {PROTOCOL}: the two do not \
             keep each other out. Use the same version of coord everywhere; if that process runs no more, remove {}",
            self.paths.database.display(),
            beat.node.pid,
            beat.node.host,
            path.display()
        )))
    }

    fn identity(&mut self, other: &NodeId, file: Option<Name>) -> Option<Process> {
        let path = file.map(|name| self.in_registry(&name));
        let storage = self.storage.clone();
        self.observer.identity(other, || {
            let bytes = storage.read_small(&path?, MAX_BYTES).ok()?;
            let beat = Beat::decode(&bytes)?;
            // The name is the authority: a file that speaks of somebody else proves nothing.
            (beat.owner_id == other.to_string()).then_some(beat.process)
        })
    }
}

impl Name {
    pub(super) fn beat(node: &NodeId, n: u64, lease_ms: u64) -> Name {
        Name { node: node.clone(), n, kind: Kind::Beat { lease_ms } }
    }
}
