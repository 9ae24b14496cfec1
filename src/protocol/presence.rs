//! Readers and exclusive: presence is created and unlinked, never renamed, and whoever puts his down and then lists sees
//! everybody who was there before.

use std::collections::BTreeSet;
use std::time::Duration;

use super::depose::Verdict;
use super::error::{Denied, Holder};
use super::names::{Kind, Name, NodeId};
use super::node::{Files, Node};
use super::paths::Paths;
use super::registry::Census;
use super::takeover::Scope;
use crate::storage::{Instant, Storage};
use crate::switches::{self, Guard};

/// See [`Node::glimpse`].
pub struct Glimpse {
    node: NodeId,
    exclusive: bool,
    /// The replacements that it knows of, where more of them are of interest.
    epoch: Option<BTreeSet<Name>>,
}

impl Glimpse {
    /// Whether the registry shows anything that the node has to look at itself: somebody who waits for what it has, or that
    /// it may have been deposed. A listing that need not be fresh.
    pub fn finds(&self, storage: &dyn Storage, paths: &Paths) -> bool {
        let Ok(names) = storage.list(&paths.registry) else { return true };
        let census = Census::sort(names, Instant::default(), Instant::default());
        let foreign = |name: &Name| name.node != self.node;
        census.exclusives.iter().any(foreign)
            || (self.exclusive && census.wishes.iter().any(foreign))
            || self.epoch.as_ref().is_some_and(|known| *known != census.epochs)
            || census.tombstone(&self.node).is_some()
            || census.beat(&self.node).is_none()
    }
}

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

    /// Says on disk that we wait for SHARED, for holders elsewhere who merely keep their lock. Nothing rests on it, so nothing is
    /// made of an error; a name that could not be made is unlinked like one of ours.
    pub fn wish(&mut self) {
        if self.wish.is_some() || self.lease().is_deposed() {
            return;
        }
        let name = self.next(Kind::Wish);
        let path = self.in_registry(&name);
        match self.storage.create_new(&path, b"", self.settings.owner) {
            Ok(()) => self.wish = Some(name),
            Err(_) => self.discard(path),
        }
    }

    /// We wait no longer.
    pub fn withdraw_wish(&mut self) {
        if let Some(name) = self.wish.take() {
            self.discard(self.in_registry(&name));
        }
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
            if self.changed_meanwhile(files)? {
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

    /// A listing takes several requests, so it may have missed what went in its second part for what had come in its first: an exclusive
    /// node's name for the epoch of its takeover, or a file that lies aside for its next name. What had come stands since before this one.
    /// A journal that is missing may be one that somebody is replacing just now: that shows in one of the two listings after it.
    fn changed_meanwhile(&mut self, files: &mut dyn Files) -> Result<bool, Denied> {
        let missing = files.look_for_journal(self)?;
        if switches::off(Guard::ListedTwice) {
            return Ok(false);
        }
        let listings = if missing && self.moves_aside() && !switches::off(Guard::MissingTwice) { 2 } else { 1 };
        for _ in 0..listings {
            self.heartbeat()?;
            let again = self.census()?;
            self.confirm(&again)?;
            if !again.asides.is_empty() || !self.same_epoch(&again) {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Whether somebody has looked `within` this time for writers who wait for us, and found none.
    pub fn has_looked(&self, within: Duration, now: Instant) -> bool {
        self.writer.is_none() && !self.in_the_way && now.since(self.looked_for_writers) < within
    }

    /// Whether the last look showed somebody who waits for SHARED, with us exclusive.
    pub fn is_wished_for(&self) -> bool {
        self.reader_waits
    }

    /// Whether the last look showed that the files were replaced, and our old ones keep others of this host from the new ones.
    pub fn is_in_the_way(&self) -> bool {
        self.in_the_way
    }

    fn nobody_waits(&mut self) {
        (self.writer, self.reader_waits, self.in_the_way) = (None, false, false);
    }

    /// While we read: whether a writer elsewhere waits for us. Looked for unless somebody has looked `within` this time, not
    /// at each reader.
    pub fn writer_waits(&mut self, within: Duration) -> Result<Option<Holder>, Denied> {
        if self.storage.now().since(self.looked_for_writers) >= within && !switches::off(Guard::Joiners) {
            self.wanted_by_others()?;
        }
        // It waits for us, so how long it has stood there says nothing of whether it lives: it is never taken for silent by that.
        let waiting = |name| Holder { sign: String::new(), ..self.holder(name, None, "waiting to write") };
        Ok(self.writer.as_ref().map(waiting))
    }

    /// While we hold something: looks whether others wait for it. The listing may be old; nothing but waiting, and giving up,
    /// follows from it.
    pub fn wanted_by_others(&mut self) -> Result<bool, Denied> {
        self.looked_for_writers = self.storage.now();
        let census = self.census()?;
        // Where a listing is made anyway, it also says whether we are still somebody.
        self.confirm(&census)?;
        self.nobody_waits();
        // Beside SHARED alone nobody waits for SHARED because of us.
        let wishes = if self.exclusive.is_some() { &census.wishes[..] } else { &[] };
        for name in census.exclusives.iter().chain(wishes) {
            // A dead one waits for nobody.
            if name.node == *self.id() || matches!(self.judge(&name.node, &census)?, Verdict::Deposed { .. }) {
                continue;
            }
            match name.kind {
                Kind::Exclusive => self.writer = Some(name.clone()),
                _ => self.reader_waits = true,
            }
        }
        // Those of whom nothing shows here.
        self.in_the_way = self.settings.holds_names && !self.same_epoch(&census);
        Ok(self.writer.is_some() || self.reader_waits || self.in_the_way)
    }

    /// Whether the files were replaced by a takeover since our handles were opened: not by hand, so that they are the same still.
    pub fn sees_replacement(&mut self) -> Result<bool, Denied> {
        let census = self.fresh_census()?;
        Ok(!self.same_epoch(&census))
    }

    /// What somebody needs to know of us who looks into the registry without us.
    pub fn glimpse(&self) -> Glimpse {
        let epoch = self.settings.holds_names.then(|| self.epoch.clone());
        Glimpse { node: self.id().clone(), exclusive: self.exclusive.is_some(), epoch }
    }

    /// A listing that was asked for at `asked` and made without us showed nobody who waits.
    pub fn seen_by_nobody(&mut self, asked: Instant) {
        if asked < self.looked_for_writers {
            return;
        }
        self.looked_for_writers = asked;
        self.nobody_waits();
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
        self.nobody_waits();
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
            let scope = if recovering { Scope::All } else { Scope::DatabaseOnly };
            // A late rename may have moved what was opened, or would have been, since it was looked after: also after a fence of ours.
            let astray = !switches::off(Guard::LateAside) && scope.has_aside(&census);
            if self.judge_all(&remaining, &census, "being read")? || astray {
                let census = self.census()?;
                let view = self.lock_view()?;
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
        Err(Denied::Busy(Box::new(Holder::nobody("replaced again and again by others", self.lease_span()))))
    }

    /// Somebody may have removed the lock directory by hand, and another writer may be in a new one: the journal is not
    /// ours alone any more. Whoever finds that gives itself up before it writes to the database.
    pub fn still_holds_lock(&mut self) -> Result<(), Denied> {
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

    /// Back from EXCLUSIVE or PENDING to what L alone is: readers may come.
    pub fn withdraw_exclusive(&mut self) {
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
