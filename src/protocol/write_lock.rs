//! The write lock L: taking it and giving it back.

use std::io;
use std::time::Duration;

use super::depose::Verdict;
use super::error::{self, Denied, Holder};
use super::names::{Kind, Name};
use super::node::{Files, Node};
use super::registry::{Census, LockView};
use super::takeover::Scope;
use crate::switches::{self, Guard};

/// How often a lock that somebody else holds is looked at.
pub const POLL: Duration = Duration::from_millis(20);
/// Longest time from asking for L to standing in it, whatever the lease.
const ENTRY_LIMIT: Duration = Duration::from_secs(30);

impl Node {
    /// Takes L (RESERVED). On success the caller's handles are on the live database and journal, and everything that
    /// deposed nodes left has been cleared up.
    pub fn acquire_write_lock(&mut self, files: &mut dyn Files) -> Result<(), Denied> {
        debug_assert!(self.write.is_none(), "L is taken once");
        self.heartbeat_if_due()?;
        let view = self.enter()?;
        switches::stop_point("alone-in-lock");
        let mut confirmed = false;
        let settled = self.settle_in(view, files, &mut confirmed);
        if settled.is_err() && confirmed {
            self.release_write_lock();
        } else if settled.is_err() {
            self.step_out();
        }
        settled
    }

    /// Leaves L before our name in it was confirmed: nothing rests on it, so it goes even if we were deposed. A name of a node
    /// that nobody knows any more would hold everybody up.
    fn step_out(&mut self) {
        if let Some(name) = self.write.take() {
            self.discard(self.in_lock(&name));
        }
        self.remove_lock();
    }

    /// Steps 1 to 3: stand in L, alone among the living.
    fn enter(&mut self) -> Result<LockView, Denied> {
        for _ in 0..8 {
            let asked = self.storage.now();
            match self.storage.make_dir(&self.paths.lock, self.settings.owner) {
                Ok(()) => {}
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => self.look_inside()?,
                // Made, and removed by somebody's late rmdir before its rights were set.
                Err(error) if error.kind() == io::ErrorKind::NotFound && self.registry_is_there() => continue,
                // It may have been made all the same: an empty L may be entered, the listing decides.
                Err(error) => match self.lock_view() {
                    Ok(view) if view.writes.is_empty() => {}
                    _ => return Err(Denied::io("make the lock directory", &self.paths.lock)(error)),
                },
            }
            switches::stop_point("made-lock");
            let name = self.next(Kind::Write);
            let path = self.in_lock(&name);
            match self.storage.create_new(&path, b"", self.settings.owner) {
                Ok(()) => {}
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                Err(error) => {
                    self.discard(path.clone());
                    // It may be made still, in somebody else's L by then.
                    self.await_late_write(path);
                    self.remove_lock();
                    return Err(Denied::io("enter the lock directory", &self.paths.lock)(error));
                }
            }
            self.write = Some(name);
            switches::stop_point("entered-lock");
            let alone = self.alone_in_lock();
            let limit = (self.lease_span() / 2).min(ENTRY_LIMIT);
            let late = self.storage.now().since(asked) > limit;
            if late || alone.is_err() {
                self.step_out();
            }
            return if late { Err(self.anonymous("this process was slow to enter the lock directory")) } else { alone };
        }
        Err(self.anonymous("others enter and leave the lock directory"))
    }

    fn registry_is_there(&self) -> bool {
        self.storage.attributes(&self.paths.registry).is_ok()
    }

    fn anonymous(&self, doing: &'static str) -> Denied {
        Denied::Busy(Box::new(Holder::nobody(doing, self.lease_span())))
    }

    /// L exists. Returns if it may be entered: all its holders are deposed, or it has none.
    fn look_inside(&mut self) -> Result<(), Denied> {
        for round in 0.. {
            let view = match self.lock_view() {
                Ok(view) => view,
                // Given back meanwhile.
                Err(Denied::Io { source, .. }) if source.kind() == io::ErrorKind::NotFound => return Ok(()),
                // Its maker's umask, until he gives it the rights that it has to have; where he was killed before that, nobody is in it.
                Err(Denied::Io { source, .. })
                    if source.kind() == io::ErrorKind::PermissionDenied
                        && (round == 0 || self.storage.remove_dir(&self.paths.lock).is_ok()) =>
                {
                    self.storage.sleep(POLL * 2);
                    continue;
                }
                Err(denied) => return Err(self.not_a_lock(denied)),
            };
            if self.others(&view).is_empty() {
                // Somebody is between two steps, or died there: entered after it was seen so twice, two intervals apart.
                if round >= 1 {
                    return Ok(());
                }
                self.storage.sleep(POLL * 2);
                continue;
            }
            return self.judge_holders(&view);
        }
        unreachable!("the loop ends by returning");
    }

    fn not_a_lock(&self, denied: Denied) -> Denied {
        match self.storage.attributes(&self.paths.lock) {
            Ok(found) if found.is_symlink || !found.is_dir => {
                Denied::Refused(error::in_the_way(&self.paths.lock, error::LOCK, found.is_symlink))
            }
            _ => denied,
        }
    }

    /// The holders other than us. Our own names that we do not hold come from a create that failed and landed: away with them.
    fn others(&mut self, view: &LockView) -> Vec<Name> {
        let copies = view.copies.iter().map(|(name, _)| name);
        let ours = |name: &&Name| name.node == *self.id() && Some(*name) != self.write.as_ref();
        let stray = view.writes.iter().chain(copies).filter(ours);
        for path in stray.map(|name| self.in_lock(name)).collect::<Vec<_>>() {
            self.discard(path);
        }
        view.writes.iter().filter(|name| name.node != *self.id()).cloned().collect()
    }

    /// Busy unless every holder in L other than us has been deposed.
    fn judge_holders(&mut self, view: &LockView) -> Result<(), Denied> {
        let others = self.others(view);
        if others.is_empty() {
            return Ok(());
        }
        // Who is deposed is written in G, which a heartbeat makes fresh.
        self.heartbeat()?;
        let census = self.census()?;
        self.judge_all(&others, &census, "being written").map(drop)
    }

    /// Judges whoever stands in the way, all of them, so that several silent ones are watched at the same time. Busy unless all
    /// are deposed; otherwise whether there were any.
    pub(super) fn judge_all(&mut self, names: &[Name], census: &Census, doing: &'static str) -> Result<bool, Denied> {
        let mut first = None;
        for name in names {
            match self.judge(&name.node, census)? {
                Verdict::Deposed { .. } => {}
                verdict => first = first.or_else(|| Some(self.busy(name, census, verdict, doing))),
            }
        }
        first.map_or(Ok(!names.is_empty()), Err)
    }

    fn busy(&self, name: &Name, census: &Census, verdict: Verdict, doing: &'static str) -> Denied {
        let mut holder = self.holder(name, census.beat(&name.node), doing);
        if verdict == Verdict::Settling {
            holder.silent = holder.lease;
        }
        Denied::Busy(Box::new(holder))
    }

    /// Step 3: whoever looks second sees the first.
    fn alone_in_lock(&mut self) -> Result<LockView, Denied> {
        if switches::off(Guard::LockListing) {
            return Ok(LockView::default());
        }
        let view = self.lock_view()?;
        self.judge_holders(&view)?;
        Ok(view)
    }

    /// Step 4: opens what RESERVED will use, confirms at the server that we are still somebody, learns what was replaced,
    /// and clears up after the deposed.
    fn settle_in(&mut self, mut view: LockView, files: &mut dyn Files, confirmed: &mut bool) -> Result<(), Denied> {
        for round in 0..8 {
            if !switches::off(Guard::ReservedCheck) {
                self.heartbeat()?;
            }
            let census = self.census()?;
            if !switches::off(Guard::ReservedCheck) {
                self.confirm(&census)?;
            }
            *confirmed = true;
            // A breaker that was in L with us may have begun to replace files after the listing, and have been deposed since.
            let of_deposed = |name: &Name| census.tombstone(&name.node).is_some();
            if round > 0 || (view.writes.iter().any(of_deposed) && !switches::off(Guard::FreshView)) {
                view = self.lock_view()?;
            }
            self.depose_idle(&census)?;
            for name in &view.litter {
                // Only a holder of L makes these, and that is us.
                self.discard(self.in_lock(name));
            }
            self.watch_stray_copies(&census, &view)?;
            if self.clear_up(&census, &view, files, Scope::All)? {
                continue;
            }
            // A clock that went back makes a tombstone young again. Whoever still stands beside us has not been fenced off from
            // the journal, which is not replaced any more once we rely on it.
            let others = self.others(&view);
            if let Some(name) = others.first().filter(|_| !switches::off(Guard::AloneAgain)) {
                return Err(self.busy(name, &census, Verdict::Settling, "being written"));
            }
            if self.wait_for_earlier(&census)? {
                continue;
            }
            if !self.same_epoch(&census) {
                // A handle counts only once it is confirmed after its opening.
                self.follow(&census, files)?;
                continue;
            }
            return Ok(());
        }
        Err(self.anonymous("others keep taking it over"))
    }

    /// Whoever shares a database puts up a reader's name for programs that are still at work on the server without one. Any of them may
    /// yet leave a hot journal, which ours would overwrite: so they are waited for before that, and the caller has to clear up then.
    fn wait_for_earlier(&mut self, census: &Census) -> Result<bool, Denied> {
        if !switches::waits_for_earlier() {
            return Ok(false);
        }
        // Not one whose heartbeat was missed in this listing, nor one that had one and was deposed, after whom others clear up. A ghost's
        // own tombstone has to stand for a while as any other.
        let never_was = |name: &&Name| {
            let had_none = |stone: &Name| stone.n == 0 && !switches::off(Guard::GhostSettles);
            self.observer.is_ghost(&name.node) && census.tombstone(&name.node).is_none_or(had_none)
        };
        let earlier: Vec<Name> = census.readers.iter().filter(never_was).cloned().collect();
        self.judge_all(&earlier, census, "used")
    }

    /// Whether this listing shows the replacements that our handles know of, and no more.
    pub(super) fn same_epoch(&self, census: &Census) -> bool {
        census.epochs == self.epoch || switches::off(Guard::Epoch)
    }

    /// The files were replaced: opens them anew. Only when that has worked do we know of the replacement.
    pub(super) fn follow(&mut self, census: &Census, files: &mut dyn Files) -> Result<(), Denied> {
        files.reopen(self, true)?;
        self.epoch = census.epochs.clone();
        Ok(())
    }

    /// Gives L back: our holder's name, our `exclusive.*`, the directory.
    pub fn release_write_lock(&mut self) {
        if self.lease().is_deposed() {
            // Whoever deposed us may need to see what we had.
            self.write = None;
            self.exclusive = None;
            self.blockers = None;
            return;
        }
        if switches::off(Guard::ReleaseOrder) {
            self.withdraw_exclusive();
        }
        switches::stop_point("releasing");
        if let Some(name) = self.write.take() {
            self.discard(self.in_lock(&name));
        }
        self.withdraw_exclusive();
        // Not empty: somebody else has entered, or a stranger's file is in it.
        self.remove_lock();
    }
}
