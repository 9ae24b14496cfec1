//! Taking and giving locks in network-exclusive mode: each level of a connection on top of what the node holds on disk.

use std::io;
use std::sync::Arc;

use super::database::{Database, Inner};
use super::failure::Failure;
use super::handles::{Handles, OwnHandles, unconfirmed};
use super::level::Level;
use super::messages::{self, Weight};
use super::seat::{Base, LockError, Seat};
use super::standing::current;
use crate::protocol::{Denied, Node};
use crate::switches::{self, Guard};

impl Database {
    /// NONE → SHARED.
    pub(super) fn lock_shared(&self, inner: &mut Inner, seat: &mut Seat, base: &mut dyn Base) -> Result<(), Failure> {
        if !inner.arbiter.admits(seat.id, Level::Shared) || inner.is_recovered_by_another(seat.id) {
            return Err(Failure::Lock(LockError::Busy));
        }
        if let Some(handle) = inner.unpark(seat.id) {
            base.unpark(handle);
        }
        let idle = Self::active(inner) == Level::None;
        let mut shared = self.be_shared(inner, seat, base);
        if let (Err(Failure::Protocol(Denied::Deposed(_))), true) = (&shared, idle) {
            // Deposed while nobody of ours had a lock: nothing was lost.
            shared = self.be_shared(inner, seat, base);
        }
        if shared.is_err() && self.holds_names() {
            base.close();
            self.let_names_go(inner);
        }
        shared?;
        let node = inner.node.as_mut().ok_or_else(Failure::no_node)?;
        seat.lease = Some(node.lease().clone());
        seat.level = Level::Shared;
        seat.read = seat.generation;
        seat.known = inner.known;
        inner.arbiter.set(seat.id, Level::Shared, seat.lease.clone(), seat.copy);
        Ok(())
    }

    /// The node's SHARED, kept or taken, with the connection's handle under it.
    fn be_shared(&self, inner: &mut Inner, seat: &mut Seat, base: &mut dyn Base) -> Result<(), Failure> {
        let now = self.storage.now();
        self.resume(inner, now)?;
        self.be_registered(inner, base)?;
        let mut reading = inner.node.as_ref().is_some_and(Node::is_reader);
        if reading {
            reading = self.may_join(inner, now)?;
        }
        self.drop_old_journal(inner, seat, base);
        if !reading {
            self.be_registered(inner, base)?;
            if !self.is_our_turn(inner, seat) {
                return Err(Failure::Turn);
            }
            let asked = self.storage.now();
            seat.asked = asked;
            if self.holds_names() {
                base.close();
            }
            self.enter_reader(inner, seat, base)?;
            if let Err(denied) = self.look_at_files(inner) {
                if let Some(node) = &mut inner.node {
                    node.leave_reader();
                }
                return Err(denied);
            }
            inner.linger.taken(asked, self.storage.now());
        }
        let settled = self.settle_handle(inner, seat, base, reading);
        if settled.is_err() && !reading {
            self.give_up(inner);
        }
        settled?;
        if let Some(node) = &mut inner.node {
            node.withdraw_wish();
        }
        Ok(())
    }

    /// The connection's own handle under the node's SHARED. One that was opened by name after the node was last confirmed
    /// counts only once a heartbeat has succeeded since: what the name stood for may be somebody else's by then.
    fn settle_handle(
        &self,
        inner: &mut Inner,
        seat: &mut Seat,
        base: &mut dyn Base,
        joining: bool,
    ) -> Result<(), Failure> {
        // Also where the database was missing when the connection was opened, and somebody else has made it since.
        let replaced = seat.generation != inner.generation || !base.is_open();
        if replaced {
            seat.confirmed = false;
            if self.holds_names() {
                base.close();
            }
            if !self.open_base(base, inner.own.database_id())? {
                // Somebody replaced it just now; the next attempt begins with what is there then.
                return Err(Failure::Lock(LockError::Busy));
            }
            seat.generation = inner.generation;
        }
        let joins = joining && !replaced && !seat.confirmed && !switches::off(Guard::JoinedFile);
        if joins && inner.own.has_moved(&*self.storage, &self.paths) && inner.was_taken_over() != Some(true) {
            // Replaced by hand, and opened since: not the file that our lock was taken with, and that is known. What a takeover has
            // put there is the same, as nobody writes while we read.
            inner.linger.spoil();
            if Self::active(inner) == Level::None {
                self.give_up(inner);
            }
            return Err(Failure::Lock(LockError::Busy));
        }
        if replaced || (joining && !seat.confirmed) {
            inner.node.as_mut().ok_or_else(Failure::no_node)?.heartbeat()?;
        }
        seat.confirmed = true;
        Ok(())
    }

    fn enter_reader(&self, inner: &mut Inner, seat: &mut Seat, base: &mut dyn Base) -> Result<(), Failure> {
        self.be_registered(inner, base)?;
        self.open_own(inner, seat, base)?;
        let Some(mut node) = inner.node.take() else { return Err(Failure::no_node()) };
        let entered = node.enter_reader(&mut Handles::new(self, inner, seat, base));
        inner.takeovers += node.take_takeovers();
        inner.node = Some(node);
        Ok(entered?)
    }

    /// Opens our own descriptors before SHARED is confirmed. A missing database is one that is just being replaced, or was
    /// never made: whoever wants it takes L and finishes the one, or makes the other.
    fn open_own(&self, inner: &mut Inner, seat: &mut Seat, base: &mut dyn Base) -> Result<(), Failure> {
        let named = self.storage.attributes(&self.paths.database).is_ok();
        let looks = inner.own.database.is_some() && !switches::off(Guard::PathCheck);
        if looks && named && inner.own.has_moved(&*self.storage, &self.paths) {
            // Replaced while nobody of ours held a lock, by a restored backup perhaps: all handles are of another file. Where it
            // was deleted or moved away they stay: no new database springs up under the name, and writing is an error.
            inner.own = OwnHandles::default();
            inner.generation += 1;
        }
        let (own, node) = (&mut inner.own, inner.node.as_mut().ok_or_else(Failure::no_node)?);
        match own.open(&*self.storage, &self.paths, node, self.holds_names()) {
            Ok(()) => return Ok(()),
            Err(Denied::Io { source, .. }) if source.kind() == io::ErrorKind::NotFound => {}
            Err(denied) => return Err(denied.into()),
        }
        let Some(mut node) = inner.node.take() else { return Err(Failure::no_node()) };
        let mut handles = Handles::new(self, inner, seat, base);
        let made = node.acquire_write_lock(&mut handles).and_then(|()| {
            let missing = handles.database_is_missing();
            let done = if missing { handles.make_database(&mut node) } else { Ok(()) };
            node.release_write_lock();
            done
        });
        inner.takeovers += node.take_takeovers();
        let opened = made.and_then(|()| inner.own.open(&*self.storage, &self.paths, &mut node, self.holds_names()));
        inner.node = Some(node);
        Ok(opened?)
    }

    /// With SHARED confirmed: the client's cached pages go, then the journal is looked at.
    fn look_at_files(&self, inner: &mut Inner) -> Result<(), Failure> {
        let node = inner.node.as_mut().ok_or_else(Failure::no_node)?;
        self.set_journal_hot(inner.own.look(&self.paths)?);
        Ok(node.check_lease()?)
    }

    /// SHARED → RESERVED.
    pub(super) fn lock_reserved(&self, inner: &mut Inner, seat: &mut Seat, base: &mut dyn Base) -> Result<(), Failure> {
        self.still_current(inner, seat)?;
        if !inner.arbiter.admits(seat.id, Level::Reserved) || inner.is_recovered_by_another(seat.id) {
            return Err(Failure::Lock(LockError::Busy));
        }
        let kept = inner.node.as_ref().is_some_and(Node::holds_write_lock);
        if !(kept && self.resume_write_lock(inner, seat, base)?) {
            self.take_write_lock(inner, seat, base, false)?;
        }
        seat.level = Level::Reserved;
        seat.wrote = true;
        inner.arbiter.set(seat.id, Level::Reserved, seat.lease.clone(), seat.copy);
        Ok(())
    }

    /// Takes L with the connection's journal open under it. `recovers`: to roll back what is in it.
    fn take_write_lock(
        &self,
        inner: &mut Inner,
        seat: &mut Seat,
        base: &mut dyn Base,
        recovers: bool,
    ) -> Result<(), Failure> {
        let (read, before) =
            (if switches::off(Guard::SinceShared) { seat.generation } else { seat.read }, seat.generation);
        self.drop_old_journal(inner, seat, base);
        let named = self.open_journal(inner, base)?;
        let Some(mut node) = inner.node.take() else { return Err(Failure::no_node()) };
        let mut acquired = node.acquire_write_lock(&mut Handles::new(self, inner, seat, base));
        if acquired.is_ok() && !named {
            acquired = self.make_journal(inner, base).and_then(|()| node.heartbeat());
            if acquired.is_err() {
                node.release_write_lock();
            }
        }
        if acquired.is_ok() && (seat.generation != inner.generation || !base.is_open()) {
            // Another connection of ours went through a replacement of the files, and this one has not seen it yet; or it did at an
            // attempt that came to nothing.
            acquired = Handles::new(self, inner, seat, base).follow_own().and_then(|()| node.heartbeat());
            if acquired.is_err() {
                node.release_write_lock();
            }
        }
        if acquired.is_ok() && !recovers && seat.generation != read {
            acquired = self.not_hot_since(inner, &mut node);
        }
        inner.takeovers += node.take_takeovers();
        inner.node = Some(node);
        if acquired.is_err() {
            base.close_journal();
            if seat.generation != before {
                unconfirmed(seat, base);
            }
        }
        acquired?;
        let journal = self.storage.attributes(&self.paths.journal).ok().map(|found| found.id);
        inner.linger.write_lock_taken(journal, self.storage.now());
        seat.read = seat.generation;
        (seat.hold, seat.fresh_journal) = (inner.linger.hold, true);
        Ok(())
    }

    /// RESERVED or PENDING → EXCLUSIVE, and SHARED → EXCLUSIVE to roll a hot journal back.
    pub(super) fn lock_exclusive(
        &self,
        inner: &mut Inner,
        seat: &mut Seat,
        base: &mut dyn Base,
    ) -> Result<(), Failure> {
        self.still_current(inner, seat)?;
        let recovering = seat.level == Level::Shared;
        if recovering {
            if !inner.arbiter.admits(seat.id, Level::Exclusive) {
                return Err(Failure::Lock(LockError::Busy));
            }
            if !base.is_writable() {
                let text = format!(
                    "coord: {} was left in the middle of a transaction and must be rolled back first, which this read-only \
                     connection cannot do. Open it once for writing",
                    self.paths.database.display()
                );
                return Err(Failure::Lock(LockError::ReadOnly(text)));
            }
            let held = inner.node.as_ref().is_some_and(Node::holds_write_lock);
            if !(inner.recovering == Some(seat.id) && held && base.has_journal() && seat.hold == inner.linger.hold) {
                self.release_lingering_write_lock(inner);
                base.close_journal();
                inner.recovering = None;
                self.take_write_lock(inner, seat, base, true)?;
                inner.recovering = Some(seat.id);
            }
        } else if seat.level < Level::Pending {
            seat.level = Level::Pending;
            inner.arbiter.set(seat.id, Level::Pending, seat.lease.clone(), seat.copy);
        }
        let result = self.become_exclusive(inner, seat, base);
        match result {
            Ok(()) => {
                inner.recovering = None;
                seat.level = Level::Exclusive;
                inner.arbiter.set(seat.id, Level::Exclusive, seat.lease.clone(), seat.copy);
                inner.baseline = None;
                Ok(())
            }
            // Of several that want to roll back the one who has L waits for the others to go, and they do: see `gives_way`.
            Err(Failure::Protocol(Denied::Busy(holder))) => Err(Denied::Busy(holder).into()),
            Err(failure) => {
                self.abandon_recovery(inner, seat, base);
                Err(failure)
            }
        }
    }

    /// Whether the connection, at SHARED, wants to roll back a hot journal and somebody else is at it. It must go at once and give
    /// its SHARED back: whoever has L waits for that.
    pub(super) fn gives_way(&self, inner: &Inner, seat: &Seat, level: Level) -> bool {
        level > Level::Reserved
            && seat.level == Level::Shared
            && inner.recovering != Some(seat.id)
            && !switches::off(Guard::GivesWay)
    }

    /// The connection no longer waits for EXCLUSIVE to roll back.
    pub(super) fn abandon_recovery(&self, inner: &mut Inner, seat: &Seat, base: &mut dyn Base) {
        if inner.recovering == Some(seat.id) {
            inner.recovering = None;
            base.close_journal();
            self.release_lingering_write_lock(inner);
        }
    }

    fn become_exclusive(&self, inner: &mut Inner, seat: &mut Seat, base: &mut dyn Base) -> Result<(), Failure> {
        if inner.linger.exclusive {
            inner.node.as_mut().ok_or_else(Failure::no_node)?.still_holds_lock()?;
            return match inner.arbiter.admits(seat.id, Level::Exclusive) {
                true => Ok(()),
                false => Err(Failure::Lock(LockError::Busy)),
            };
        }
        let recovering = seat.level == Level::Shared;
        let Some(mut node) = inner.node.take() else { return Err(Failure::no_node()) };
        let exclusive = node.become_exclusive(&mut Handles::new(self, inner, seat, base), recovering);
        inner.takeovers += node.take_takeovers();
        inner.node = Some(node);
        exclusive?;
        if recovering {
            self.set_journal_hot(inner.own.look(&self.paths)?);
        }
        // What is left by a dead writer is rolled back under it, once: that is not kept. Nor is what another connection of ours
        // stands in the way of: it may still have the files that were there before a fence.
        let alone = inner.arbiter.admits(seat.id, Level::Exclusive);
        if !recovering && (alone || switches::off(Guard::LingerGeneration)) {
            inner.linger.exclusive_taken(seat.asked, self.storage.now());
        }
        if alone { Ok(()) } else { Err(Failure::Lock(LockError::Busy)) }
    }

    pub(super) fn unlock_network(&self, inner: &mut Inner, seat: &mut Seat, level: Level, base: &mut dyn Base) {
        if seat.level >= Level::Reserved {
            // Our half of coherence: what we wrote is on the server before anybody else may look.
            let synced = base.sync();
            let kept = synced.is_ok() && current(inner, seat).is_some() && self.keeps_write_lock(inner, seat);
            if !kept {
                base.close_journal();
                inner.linger.exclusive = false;
            }
            if let Some(node) = current(inner, seat).filter(|_| !kept) {
                if let Err(error) = synced {
                    messages::say(
                        Weight::Warning,
                        format!("coord: cannot sync {}: {error}", self.paths.database.display()),
                    );
                    self.distrust(node);
                }
                node.release_write_lock();
            }
        }
        // Its own call has seen to that, unless it was broken off.
        self.abandon_recovery(inner, seat, base);
        seat.level = level;
        inner.arbiter.set(seat.id, level, seat.lease.clone(), seat.copy);
        if level == Level::None {
            seat.waited_for.clear();
            seat.writes = std::mem::take(&mut seat.wrote);
            if !seat.writes && !inner.arbiter.reserved() {
                self.turn_done(inner);
            }
            inner.park(seat.id, base);
            let Some(lease) = seat.lease.take() else { return };
            let last = !inner.arbiter.others_under(seat.id, &lease);
            if last && inner.node.as_ref().is_some_and(|node| Arc::ptr_eq(node.lease(), &lease)) {
                self.last_unlocked(inner, seat);
            }
            self.let_names_go(inner);
        }
    }
}
