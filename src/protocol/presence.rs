//! Readers and exclusive: presence is created and unlinked, never renamed, and whoever puts his down and then lists sees
//! everybody who was there before.

use super::depose::Verdict;
use super::error::{Denied, Holder};
use super::names::{Kind, Name};
use super::node::{Files, Node};
use super::registry::Census;
use super::switches::{self, Guard};
use super::takeover::Scope;
use super::write_lock::POLL;

impl Node {
    /// SHARED: puts up `reader.*` and confirms it. On success the handles are on the live files and nobody is exclusive.
    pub fn enter_reader(&mut self, files: &mut dyn Files) -> Result<(), Denied> {
        debug_assert!(self.reader.is_none(), "one reader's name a node");
        self.heartbeat_if_due()?;
        let name = self.next(Kind::Reader);
        let path = self.in_registry(&name);
        if let Err(error) = self.storage.create_new(&path, b"", self.settings.owner) {
            self.discard(path.clone());
            return Err(Denied::io("announce a reader at", &path)(error));
        }
        self.reader = Some(name);
        switches::stop_point("reader-announced");
        let entered = self.confirm_reader(files);
        if entered.is_err() {
            self.leave_reader();
        }
        entered
    }

    fn confirm_reader(&mut self, files: &mut dyn Files) -> Result<(), Denied> {
        for round in 0..8 {
            if round > 0 {
                self.heartbeat()?;
            }
            let census = self.census()?;
            self.confirm(&census)?;
            let foreign: Vec<Name> = census.exclusives.iter().filter(|name| name.node != *self.id()).cloned().collect();
            if self.judge_all(&foreign, &census, "being written")? || !census.asides.is_empty() {
                // All of them are deposed, or a late rename has moved a file aside: that is cleared up under L, then we look again.
                self.clear_up_as_cleaner(files)?;
                continue;
            }
            if !self.same_epoch(&census) {
                self.follow(&census, files)?;
                continue;
            }
            self.check_lease()?;
            return Ok(());
        }
        Err(Denied::Refused(format!(
            "coord: {} is being replaced again and again; look at {}",
            self.paths.database.display(),
            self.paths.takeovers().display()
        )))
    }

    /// While we read: whether a writer elsewhere waits for us. Looked for once in a polling interval, not at each reader.
    pub fn writer_waits(&mut self) -> Result<Option<Holder>, Denied> {
        let now = self.storage.now();
        if now.since(self.looked_for_writers) >= POLL && !switches::off(Guard::Joiners) {
            self.looked_for_writers = now;
            let census = self.census()?;
            // Where a listing is made anyway, it also says whether we are still somebody.
            self.confirm(&census)?;
            let foreign: Vec<Name> = census.exclusives.iter().filter(|name| name.node != *self.id()).cloned().collect();
            self.writer = None;
            for name in foreign {
                // A dead one waits for nobody.
                if !matches!(self.judge(&name.node, &census)?, Verdict::Deposed { .. }) {
                    self.writer = Some(name);
                }
            }
        }
        // It waits for us, so how long it has stood there says nothing of whether it lives: it is never taken for silent by that.
        let waiting = |name| Holder { sign: String::new(), ..self.holder(name, None, "waiting to write") };
        Ok(self.writer.as_ref().map(waiting))
    }

    /// Takes L for no other purpose than to clear up after deposed nodes.
    fn clear_up_as_cleaner(&mut self, files: &mut dyn Files) -> Result<(), Denied> {
        if self.write.is_some() {
            return Err(self.deposed());
        }
        self.acquire_write_lock(files)?;
        self.release_write_lock();
        Ok(())
    }

    /// Back from SHARED to nothing. Also for a deposed node: a reader's name tells nobody anything any more.
    pub fn leave_reader(&mut self) {
        self.writer = None;
        if let Some(name) = self.reader.take() {
            self.discard(self.in_registry(&name));
        }
    }

    /// EXCLUSIVE, with L held: puts up `exclusive.*` (this is PENDING, it stays while we wait) and waits for nobody: busy
    /// as long as a reader that was there before us still is.
    /// `recovering`: to roll back what somebody else has left, so that the journal is not ours.
    pub fn become_exclusive(&mut self, files: &mut dyn Files, recovering: bool) -> Result<(), Denied> {
        debug_assert!(self.write.is_some(), "exclusive without L");
        switches::stop_point("before-exclusive");
        let mut unconfirmed = self.exclusive.is_none();
        self.put_up_exclusive()?;
        switches::stop_point("exclusive-announced");
        if let Err(denied) = self.still_holds_lock() {
            if unconfirmed {
                // As below: nothing rests on it.
                self.withdraw_exclusive();
            }
            return Err(denied);
        }
        for round in 0..8 {
            if round > 0 || !unconfirmed {
                // Makes the listing fresh, and says that we are not deposed.
                self.heartbeat()?;
            }
            let census = self.census()?;
            let confirmed = self.confirm(&census);
            if unconfirmed && self.lease().is_deposed() {
                // Nothing rests on it yet, and a name of a node that nobody knows any more would hold everybody up.
                self.withdraw_exclusive();
            }
            confirmed?;
            unconfirmed = false;
            let present = self.foreign_presence(&census);
            // Who came after our `exclusive.*` has seen it: only those of the first listing count.
            let blockers = self.blockers.get_or_insert_with(|| present.clone());
            let remaining: Vec<Name> = blockers.iter().filter(|name| present.contains(name)).cloned().collect();
            *blockers = remaining.clone();
            if self.judge_all(&remaining, &census, "being read")? {
                let census = self.census()?;
                let view = self.lock_view()?;
                let scope = if recovering { Scope::All } else { Scope::DatabaseOnly };
                self.clear_up(&census, &view, files, scope)?;
                continue;
            }
            if !self.same_epoch(&census) {
                self.follow(&census, files)?;
                continue;
            }
            self.check_lease()?;
            return Ok(());
        }
        Err(self.deposed())
    }

    /// Somebody may have removed the lock directory by hand, and another writer may be in a new one: the journal is not
    /// ours alone any more. Whoever finds that gives itself up before it writes to the database.
    fn still_holds_lock(&mut self) -> Result<(), Denied> {
        let Some(path) = self.write.as_ref().map(|name| self.in_lock(name)) else { return Ok(()) };
        match self.storage.attributes(&path) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
            _ => return Ok(()),
        }
        self.depose_self();
        Err(Denied::Deposed(format!(
            "coord: the lock directory {} was removed while this process held it, so somebody else may be writing too; nothing \
             of this transaction was written to the database. Roll back and run it again, and leave lock directories alone: \
             coord clears them up by itself",
            self.paths.lock.display()
        )))
    }

    pub(super) fn put_up_exclusive(&mut self) -> Result<(), Denied> {
        if self.exclusive.is_some() {
            return Ok(());
        }
        let name = self.next(Kind::Exclusive);
        let path = self.in_registry(&name);
        if let Err(error) = self.storage.create_new(&path, b"", self.settings.owner) {
            self.discard(path.clone());
            return Err(Denied::io("announce a writer at", &path)(error));
        }
        self.exclusive = Some(name);
        self.blockers = None;
        Ok(())
    }

    pub(super) fn withdraw_exclusive(&mut self) {
        self.blockers = None;
        if let Some(name) = self.exclusive.take() {
            self.discard(self.in_registry(&name));
        }
    }

    fn foreign_presence(&self, census: &Census) -> Vec<Name> {
        if switches::off(Guard::ReaderRegistry) {
            return Vec::new();
        }
        let all = census.readers.iter().chain(&census.exclusives);
        all.filter(|name| name.node != *self.id()).cloned().collect()
    }
}
