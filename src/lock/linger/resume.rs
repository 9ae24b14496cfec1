//! What was kept is used again: with its lease looked at, and the connection's handles on the files that it is about.

use super::WATCH;
use crate::lock::database::{Database, Inner};
use crate::lock::failure::Failure;
use crate::lock::handles::{Handles, unconfirmed};
use crate::lock::level::Level;
use crate::lock::messages::{self, Weight};
use crate::lock::seat::{Base, Seat};
use crate::protocol::lease::Standing;
use crate::protocol::{Denied, Node};
use crate::storage::Instant;
use crate::switches::{self, Guard};

impl Database {
    /// A journal that was opened under an earlier holding of L is nobody's business any more.
    pub(in crate::lock) fn drop_old_journal(&self, inner: &Inner, seat: &Seat, base: &mut dyn Base) {
        let held = inner.node.as_ref().is_some_and(Node::holds_write_lock);
        if base.has_journal() && !(held && seat.hold == inner.linger.hold) {
            base.close_journal();
        }
    }

    /// RESERVED on top of a lingering L, with the lease checked. False if it cannot be relied on and was given up: it must be
    /// taken anew.
    pub(in crate::lock) fn resume_write_lock(
        &self,
        inner: &mut Inner,
        seat: &mut Seat,
        base: &mut dyn Base,
    ) -> Result<bool, Failure> {
        if !self.journal_stands(inner) {
            base.close_journal();
            inner.own.forget_journal();
            self.release_lingering_write_lock(inner);
            return Ok(false);
        }
        // Another connection of ours went through a replacement of the files while this one read on from the old one. Nobody
        // can have written since: our `reader.*` stands.
        let behind =
            (seat.generation != inner.generation && !switches::off(Guard::LingerGeneration)) || !base.is_open();
        if !behind && base.has_journal() && seat.hold == inner.linger.hold {
            return Ok(true);
        }
        base.close_journal();
        let opened = self.open_for_writing(inner, seat, base, behind);
        if opened.is_err() {
            base.close_journal();
            if behind {
                unconfirmed(seat, base);
            }
        }
        opened?;
        (seat.hold, seat.fresh_journal) = (inner.linger.hold, true);
        Ok(true)
    }

    /// What was opened by name, confirmed.
    fn open_for_writing(
        &self,
        inner: &mut Inner,
        seat: &mut Seat,
        base: &mut dyn Base,
        behind: bool,
    ) -> Result<(), Failure> {
        if behind {
            Handles::new(self, inner, seat, base).follow_own()?;
        }
        base.open_journal(true).map_err(Denied::io("open", &self.paths.journal))?;
        Ok(inner.node.as_mut().ok_or_else(Failure::no_node)?.heartbeat()?)
    }

    /// Whether the journal still has its name. SQLite would make it anew for each transaction; ours is kept open, and what is
    /// written into one that somebody has removed by hand is no help to anybody. Looked at now and then.
    fn journal_stands(&self, inner: &mut Inner) -> bool {
        let now = self.storage.now();
        if now.since(inner.linger.journal_seen) < WATCH {
            return true;
        }
        inner.linger.journal_seen = now;
        let named = self.storage.attributes(&self.paths.journal).ok().map(|found| found.id);
        if named != inner.linger.journal {
            messages::say(
                Weight::Warning,
                format!(
                    "coord: {} was removed or replaced while this process kept the lock on its database: a program that does not \
                     use coord did that. Leave it alone, it is what brings the database back after a crash",
                    self.paths.journal.display()
                ),
            );
        }
        named == inner.linger.journal
    }

    /// Gives L back, whether it lingers or was just taken.
    pub(in crate::lock) fn release_lingering_write_lock(&self, inner: &mut Inner) {
        inner.linger.exclusive = false;
        if let Some(node) = inner.node.as_mut().filter(|node| node.holds_write_lock()) {
            node.release_write_lock();
        }
    }

    /// Before SHARED: what lingers is given up if it is somebody else's turn, or if it cannot be relied on.
    pub(in crate::lock) fn resume(&self, inner: &mut Inner, now: Instant) -> Result<(), Failure> {
        if Self::active(inner) > Level::None || !inner.node.as_ref().is_some_and(Node::is_reader) {
            return Ok(());
        }
        let over = inner.linger.idle_until.is_none_or(|until| until <= now);
        if over || inner.linger.spoilt || inner.linger.must_go(now) {
            self.give_up(inner);
            return Ok(());
        }
        if switches::off(Guard::LingerLease) {
            return Ok(());
        }
        let node = inner.node.as_mut().ok_or_else(Failure::no_node)?;
        if node.lease().standing(now) == Standing::Valid {
            return Ok(());
        }
        match node.check_lease() {
            // Nobody of ours held anything, so nothing was lost.
            Err(Denied::Deposed(_)) => {
                self.forget(inner);
                Ok(())
            }
            checked => Ok(checked?),
        }
    }
}
