//! Clearing up after deposed nodes, by whoever holds L: finish or throw away their copies, fence what they could still write
//! to, then remove their names, the tombstone last.

use std::io;

use super::aside::Maker;
use super::depose::Verdict;
use super::error::{Denied, Holder};
use super::names::{Copy, Kind, Name, NodeId};
use super::node::{Files, Node};
use super::registry::{Census, LockView};
use crate::storage::Access;
use crate::switches::{self, Guard};

/// What a fence may replace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    All,
    /// In the middle of a commit of our own: our journal is never replaced under us.
    DatabaseOnly,
}

impl Scope {
    /// Whether anything lies aside that is looked after in it.
    pub(super) fn has_aside(self, census: &Census) -> bool {
        let counts = |kind| match kind {
            Kind::Aside(Copy::Journal) => self == Scope::All,
            Kind::Aside(_) => true,
            _ => false,
        };
        census.asides.iter().any(|name| counts(name.kind))
    }
}

/// A takeover that could not be fenced counts as safe after this many leases: no client keeps a request alive for longer.
const UNFENCED_LEASES: u32 = 10;

/// Everything that one deposed node left.
struct Remains {
    stone: Name,
    provably_dead: bool,
    in_lock: Vec<Name>,
    copies: Vec<(Name, Copy)>,
    in_registry: Vec<Name>,
}

impl Remains {
    fn node(&self) -> &NodeId {
        &self.stone.node
    }

    fn had(&self, kind: Kind) -> bool {
        self.in_lock.iter().chain(&self.in_registry).any(|name| name.kind == kind)
    }

    fn had_presence(&self) -> bool {
        !self.in_lock.is_empty() || self.had(Kind::Reader) || self.had(Kind::Exclusive)
    }
}

impl Node {
    /// Clears up after every deposed node that `census` and `view` show. True if anything was done: look again then. L is
    /// held, by us, and was confirmed.
    pub(super) fn clear_up(
        &mut self,
        census: &Census,
        view: &LockView,
        files: &mut dyn Files,
        scope: Scope,
    ) -> Result<bool, Denied> {
        let remains = self.remains(census, view);
        if remains.is_empty() && census.asides.is_empty() {
            return Ok(false);
        }
        switches::stop_point("takeover-listed");
        let copies: Vec<&(Name, Copy)> = remains.iter().flat_map(|one| &one.copies).collect();
        self.finish_copies(&copies, view, census, files)?;
        let known = self.epoch.clone();
        let settled = self.settle_asides(census, scope)?;
        let fenced = self.fence_off(&remains, census, files, scope)?;
        self.settle_end(&remains)?;
        // A ghost may stand for a program in trusted mode, which has written without `exclusive.*`.
        let doubtful = |one: &Remains| one.had(Kind::Exclusive) || !one.copies.is_empty() || one.stone.n == 0;
        let may_have_replaced = settled || remains.iter().any(doubtful);
        if may_have_replaced && self.epoch == known && !switches::off(Guard::DoubtfulEpoch) {
            // It may have died between its last rename and saying so. We open everything anew as well: nothing is known.
            self.new_epoch(census)?;
            self.epoch.clear();
        }
        for one in remains.iter().filter(|one| one.had_presence()) {
            self.record(one, fenced);
        }
        switches::stop_point("takeover-clearing");
        for one in &remains {
            self.remove(one)?;
        }
        Ok(true)
    }

    fn remains(&mut self, census: &Census, view: &LockView) -> Vec<Remains> {
        let mut all = Vec::new();
        for stone in census.tombstones() {
            let node = &stone.node;
            if *node == *self.id() || census.tombstone(node) != Some(stone) {
                continue;
            }
            let provably_dead = match self.verdict_of(stone) {
                Verdict::Deposed { provably_dead } => provably_dead,
                // Nothing of its node rests on it.
                _ if !census.has_presence(node) && self.is_long_idle(stone) => false,
                _ => continue,
            };
            let of =
                |names: &[Name]| -> Vec<Name> { names.iter().filter(|name| name.node == *node).cloned().collect() };
            let mut in_registry = of(&census.readers);
            in_registry.extend(of(&census.exclusives));
            in_registry.extend(of(&census.wishes));
            in_registry.extend(of(&census.litter));
            let copies = view.copies.iter().filter(|(name, _)| name.node == *node).cloned().collect();
            all.push(Remains { provably_dead, in_lock: of(&view.writes), copies, in_registry, stone: stone.clone() });
        }
        all
    }

    /// Dead breakers' copies: a complete pair is rolled forward, every other is thrown away, the database's first, so that
    /// it is never renamed over the live one later.
    fn finish_copies(
        &mut self,
        copies: &[&(Name, Copy)],
        view: &LockView,
        census: &Census,
        files: &mut dyn Files,
    ) -> Result<(), Denied> {
        if switches::off(Guard::DeadCopies) {
            return Ok(());
        }
        let of = |kind: Copy| copies.iter().filter(move |(_, copy)| *copy == kind).map(|(name, _)| name);
        for ready in of(Copy::Ready) {
            // What belongs to no node that ever was is a name made late, and nothing that anybody had completed.
            let stray = census.tombstone(&ready.node).is_some_and(|stone| stone.n == 0);
            let stray = stray && !switches::off(Guard::StrayCopies);
            if stray || switches::off(Guard::RollForward) {
                self.remove_foreign(&self.in_lock(ready))?;
            } else {
                self.roll_forward(ready, view, census, files)?;
            }
        }
        for copy in of(Copy::Database) {
            if !self.remove_foreign(&self.in_lock(copy))? && !switches::off(Guard::LookAgain) {
                self.look_for_ready(copy, census, files)?;
            }
        }
        for copy in of(Copy::Journal) {
            // With none of the database's names listed that may have been given its final one in the middle of the listing.
            let database = |kind| Name { kind: Kind::Fence(kind), ..copy.clone() };
            let listed = |name: Name| copies.iter().any(|(listed, _)| *listed == name);
            let alone = !listed(database(Copy::Database)) && !listed(database(Copy::Ready));
            if alone && !switches::off(Guard::JournalAlone) {
                self.look_for_ready(copy, census, files)?;
            }
            self.remove_foreign(&self.in_lock(copy))?;
        }
        Ok(())
    }

    /// One of a pair's other names was seen, or was gone: it may have been completed since we looked.
    fn look_for_ready(&mut self, other: &Name, census: &Census, files: &mut dyn Files) -> Result<(), Denied> {
        let ready = Name { kind: Kind::Fence(Copy::Ready), ..other.clone() };
        self.change_lock()?;
        let view = self.lock_view()?;
        match view.copies.iter().any(|(name, _)| *name == ready) {
            true => self.roll_forward(&ready, &view, census, files),
            false => Ok(()),
        }
    }

    /// An own change in L, which makes the next listing of it fresh.
    fn change_lock(&mut self) -> Result<(), Denied> {
        let name = self.next(Kind::New);
        let path = self.in_lock(&name);
        let made = self.storage.create_new(&path, b"", self.settings.owner);
        self.discard(path.clone());
        made.map_err(Denied::io("make a file in", &path))
    }

    /// Does with a complete pair what its maker did not come to.
    fn roll_forward(
        &mut self,
        ready: &Name,
        view: &LockView,
        census: &Census,
        files: &mut dyn Files,
    ) -> Result<(), Denied> {
        let unconfirmed = !self.has_exclusive();
        self.put_up_exclusive()?;
        if let Err(denied) = self.heartbeat() {
            if unconfirmed {
                self.withdraw_exclusive();
            }
            return Err(denied);
        }
        let journal = Name { kind: Kind::Fence(Copy::Journal), ..ready.clone() };
        files.release();
        // If the journal's copy has no name any more, it has taken its place.
        let journal = view.copies.iter().any(|(name, _)| *name == journal).then(|| self.in_lock(&journal));
        let rolled = match &journal {
            Some(copy) => self.replace(copy, &self.paths.journal.clone(), Copy::Journal),
            None => Ok(()),
        };
        let ready_path = self.in_lock(ready);
        let rolled = rolled.and_then(|()| self.replace(&ready_path, &self.paths.database.clone(), Copy::Database));
        let epoch = rolled.and_then(|()| self.new_epoch(census));
        let epoch = epoch.and_then(|()| self.end_replacement(journal, Some(ready_path), Maker::Another));
        let reopened = self.reopen_replaced(files);
        epoch?;
        reopened?;
        self.notices.push(format!(
            "coord: finished the replacement of {} that node {} had begun",
            self.paths.database.display(),
            ready.node
        ));
        Ok(())
    }

    /// Replaces what the deposed could still write to. Returns whether everything that had to be was.
    fn fence_off(
        &mut self,
        remains: &[Remains],
        census: &Census,
        files: &mut dyn Files,
        scope: Scope,
    ) -> Result<bool, Denied> {
        // Whoever is provably dead on a filesystem that no other kernel reaches has nothing on its way any more.
        let harmless = |one: &&Remains| !(one.provably_dead && self.settings.local);
        let zombies: Vec<&Remains> = remains.iter().filter(harmless).collect();
        // A holder that never had a heartbeat was one of trusted mode, which has no other name for being exclusive; and the reader
        // whom who shared the database has put up stands for those as well.
        let stands_in = |one: &Remains| one.had(Kind::Reader) && switches::waits_for_earlier();
        let trusted = |one: &Remains| one.stone.n == 0 && (!one.in_lock.is_empty() || stands_in(one));
        let wrote = zombies.iter().any(|one| one.had(Kind::Exclusive) || trusted(one));
        let database = wrote || zombies.iter().any(|one| one.had(Kind::Reader));
        // Together with the database, so that a reader who stands still and goes on with the old one does not find its journal
        // finalised by whoever rolls the new one back.
        let journal = scope == Scope::All && (database || zombies.iter().any(|one| !one.in_lock.is_empty()));
        if switches::off(Guard::Fence) || !(database || journal) {
            return Ok(true);
        }
        let was_exclusive = self.has_exclusive();
        self.put_up_exclusive()?;
        if !was_exclusive && let Err(denied) = self.heartbeat() {
            // Nothing rests on it yet: of a node that nobody knows any more it would hold everybody up.
            self.withdraw_exclusive();
            return Err(denied);
        }
        let fenced = self.fence(journal, database, wrote, census, files);
        if !was_exclusive && !self.lease().is_deposed() {
            self.withdraw_exclusive();
        }
        match fenced {
            Ok(()) => Ok(true),
            Err(Denied::Io { source, path, doing }) if !self.lease().is_deposed() => {
                // It may have failed because we are nobody any more: then the lock directory has gone with us, and whoever has it
                // now needs no advice from us.
                self.heartbeat()?;
                // Each by itself: who comes to it later, or had nothing that needs a fence, does not make all wait anew.
                let writers: Vec<&&Remains> = zombies.iter().filter(|one| one.had_presence()).collect();
                let known = |one: &&&Remains| {
                    let what = format!("unfenced {} {}", self.paths.registry.display(), one.stone.node);
                    self.storage.known_for(&what, &one.stone.to_string())
                };
                let key = writers.iter().map(|one| one.stone.to_string()).collect::<Vec<_>>().join(" ");
                let wait = self.lease_span() * UNFENCED_LEASES;
                let waited = writers.iter().map(known).min().unwrap_or_default();
                let reason = format!("cannot {doing} {}: {source}", path.display());
                if waited >= wait {
                    self.notices.push(format!(
                        "coord: took {} over without replacing it ({reason}), after waiting {} s for late writes",
                        self.paths.database.display(),
                        waited.as_secs()
                    ));
                    return Ok(false);
                }
                self.notices.push(format!(
                    "coord: {} cannot be replaced ({reason}); it can be used again in {} s, when no late write of the silent \
                     node is possible any more. Freeing disk space or giving write permission in the directory ends the wait",
                    self.paths.database.display(),
                    (wait - waited).as_secs() + 1
                ));
                let lease = self.lease_span();
                let node = zombies.first().map(|one| one.node().clone());
                Err(Denied::Busy(Box::new(Holder {
                    node,
                    silent: lease,
                    name: key,
                    ..Holder::nobody("left unfenced", lease)
                })))
            }
            Err(denied) => Err(denied),
        }
    }

    /// Who died at the end of a transaction may have cut its journal and not synced that. What others see from now on must not
    /// be undone by a power cut: where the journal was not replaced by a synced copy, it is synced now.
    fn settle_end(&self, remains: &[Remains]) -> Result<(), Denied> {
        let was_ending = |one: &Remains| one.provably_dead && one.had(Kind::Exclusive);
        if !self.settings.local || !remains.iter().any(was_ending) || switches::off(Guard::SettledEnd) {
            return Ok(());
        }
        match self.storage.open(&self.paths.journal, Access::Read).and_then(|journal| journal.sync()) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                Err(Denied::io("sync what a dead process left in", &self.paths.journal)(error))
            }
            _ => Ok(()),
        }
    }

    /// One line for people, and one for the log.
    fn record(&mut self, one: &Remains, fenced: bool) {
        self.takeovers += 1;
        let had: Vec<String> = one.in_lock.iter().chain(&one.in_registry).map(Name::to_string).collect();
        let why = match one.stone.kind {
            _ if one.provably_dead => "its process is dead",
            Kind::Deposed { by, .. } if by == one.node().key => {
                "it had given itself up, as it could not know what of its work was done"
            }
            _ => "it was silent for its whole lease",
        };
        let line = serde_json::json!({
            "at": self.storage.date(), "by": self.id().to_string(), "from": one.node().to_string(),
            "why": why, "had": had, "fenced": fenced && !(one.provably_dead && self.settings.local),
        });
        let _ = self.storage.append_line(&self.paths.takeovers(), &line.to_string(), self.settings.owner);
        self.notices.push(format!(
            "coord: took over {} from process {} on {}: {why}",
            self.paths.database.display(),
            one.node().pid,
            one.node().host
        ));
    }

    /// The names, in L first, then in G, the tombstone last.
    fn remove(&mut self, one: &Remains) -> Result<(), Denied> {
        self.heartbeat_if_due()?;
        let mut paths: Vec<_> = one.in_lock.iter().map(|name| self.in_lock(name)).collect();
        paths.extend(one.in_registry.iter().map(|name| self.in_registry(name)));
        paths.push(self.in_registry(&one.stone));
        if switches::off(Guard::TombstoneLast) {
            paths.rotate_right(1);
        }
        for path in paths {
            self.remove_foreign(&path)?;
            switches::stop_point("takeover-removing");
        }
        Ok(())
    }

    /// Whether it was there.
    fn remove_foreign(&self, path: &std::path::Path) -> Result<bool, Denied> {
        match self.storage.unlink(path) {
            Ok(()) => Ok(true),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
            // A directory with a name of ours is nobody's work of this protocol, and must not stand in the way for ever.
            Err(error) => match self.storage.remove_dir(path) {
                Ok(()) => Ok(true),
                Err(_) => Err(Denied::io("clear up after a silent node at", path)(error)),
            },
        }
    }

    /// A copy that was made late, after its node had ended, hinders nobody but keeps L from ever being removed: whoever writes
    /// watches its node until it may be deposed.
    pub(super) fn watch_stray_copies(&mut self, census: &Census, view: &LockView) -> Result<(), Denied> {
        if switches::off(Guard::StrayCopies) {
            return Ok(());
        }
        let nodes: Vec<NodeId> = view.copies.iter().map(|(name, _)| name.node.clone()).collect();
        for node in nodes {
            if node != *self.id() && census.tombstone(&node).is_none() {
                self.judge(&node, census)?;
            }
        }
        Ok(())
    }
}
