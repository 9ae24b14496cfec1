//! The fence: database and journal are replaced by copies, so that whatever a frozen or cut-off host delivers late hits an
//! inode that has no name any more.

use std::io;
use std::path::{Path, PathBuf};

use super::aside::Maker;
use super::copying::Pair;
use super::error::Denied;
use super::names::{Copy, Kind, Name};
use super::node::{Files, Node};
use super::registry::Census;
use super::takeover::Scope;
use crate::storage::{Access, DataFile};
use crate::switches::{self, Guard};

/// Rounds of copying while a zombie still writes to the source.
const ROUNDS: usize = 20;

impl Node {
    /// Replaces journal and database as asked (PROTOCOL.md, Fence). L is held and `exclusive.*` is up. `compare`: whoever is
    /// fenced off may have been writing, so the copies are compared with their sources afterwards.
    pub(super) fn fence(
        &mut self,
        journal: bool,
        database: bool,
        compare: bool,
        census: &Census,
        files: &mut dyn Files,
    ) -> Result<(), Denied> {
        switches::stop_point("fence-begins");
        // Whoever died before he had made the database left nothing to be written to.
        let database = database && !self.is_nowhere(&self.paths.database.clone(), Scope::DatabaseOnly)?;
        let n = self.next(Kind::New).n;
        let name = |copy: Copy| Name { node: self.id().clone(), n, kind: Kind::Fence(copy) };
        let (journal_copy, database_copy) = (name(Copy::Journal), name(Copy::Database));
        let ready = self.in_lock(&name(Copy::Ready));
        let (journal_copy, database_copy) = (self.in_lock(&journal_copy), self.in_lock(&database_copy));
        let prepared = self.prepare(journal, database, compare, &journal_copy, &database_copy);
        if let Err(denied) = prepared {
            self.discard(database_copy);
            self.discard(journal_copy);
            return Err(denied);
        }
        switches::stop_point("fence-copied");
        // From here on the pair counts: whoever comes after us rolls it forward. Only a heartbeat says that he has seen it: one
        // who had deposed us and looked before may have thrown the journal's copy away and gone on, and this pair is old.
        if database {
            let named = self.storage.rename(&database_copy, &ready);
            switches::stop_point("fence-named");
            let named = named.map_err(Denied::io("complete the copy", &database_copy));
            let confirm = |node: &mut Node| if switches::off(Guard::ReadyBeat) { Ok(()) } else { node.heartbeat() };
            if let Err(denied) = named.and_then(|()| confirm(self)) {
                self.depose_self();
                return Err(denied);
            }
        }
        switches::stop_point("fence-ready");
        files.release();
        let (live_journal, live_database) = (self.paths.journal.clone(), self.paths.database.clone());
        let replaced = match journal {
            true => self.replace(&journal_copy, &live_journal, Copy::Journal),
            false => Ok(()),
        };
        switches::stop_point("fence-between");
        let replaced = replaced.and_then(|()| match database {
            true => self.replace(&ready, &live_database, Copy::Database),
            false => Ok(()),
        });
        switches::stop_point("fence-replaced");
        let known = replaced.and_then(|()| self.new_epoch(census)).and_then(|()| {
            let ready = database.then_some(ready);
            self.end_replacement(journal.then_some(journal_copy), ready, Maker::Ourselves)
        });
        if known.is_err() {
            // Half done: the next holder finishes it, and must see that it has to.
            self.depose_self();
        }
        let reopened = self.reopen_replaced(files);
        known?;
        // The fence stands. Who cannot open the files now has no lock to go on with, and need not wait for late writes.
        reopened.map_err(|denied| Denied::Refused(format!("coord: the replaced files cannot be opened: {denied}")))
    }

    /// After a replacement. By what a listing says: one of the two files may not have been replaced now, but by somebody else
    /// before, which this client need not have learned; and our new epoch stands for that as well.
    pub(super) fn reopen_replaced(&mut self, files: &mut dyn Files) -> Result<(), Denied> {
        let listed = !self.settings.local && !switches::off(Guard::FreshReplaced);
        let reopened = files.reopen(self, listed);
        if reopened.is_err() {
            // An epoch is known only once what it announces is open.
            self.epoch.clear();
        }
        reopened
    }

    /// Whether there is no such file, which only a fresh listing can say.
    pub(super) fn is_missing(&mut self, path: &Path) -> Result<bool, Denied> {
        let not_found = |error: &io::Error| error.kind() == io::ErrorKind::NotFound;
        let scratch = self.scratch();
        match self.storage.open_listed(path, Access::Read, &scratch) {
            Ok(_) => Ok(false),
            Err(error) if not_found(&error) => Ok(true),
            Err(error) => Err(Denied::io("open", path)(error)),
        }
    }

    /// Whether a file that is to be replaced is missing and not aside either. A late rename may have moved it there since that was
    /// looked after: without it the copy would be one of nothing, and the file would be removed in the end, hot as it may be.
    fn is_nowhere(&mut self, path: &Path, scope: Scope) -> Result<bool, Denied> {
        for _ in 0..ROUNDS {
            if !self.is_missing(path)? {
                return Ok(false);
            }
            // Listed after that, so that where it has gone shows.
            let census = self.fresh_census()?;
            if !scope.has_aside(&census) || switches::off(Guard::LateAside) {
                return Ok(true);
            }
            self.settle_asides(&census, scope)?;
        }
        let busy = io::Error::new(io::ErrorKind::ResourceBusy, "it is moved aside again and again");
        Err(Denied::io("copy", path)(busy))
    }

    fn prepare(
        &mut self,
        journal: bool,
        database: bool,
        compare: bool,
        journal_copy: &Path,
        database_copy: &Path,
    ) -> Result<(), Denied> {
        // Both names first, then a heartbeat: whoever deposes us after it finds and removes them.
        let mut pairs = Vec::new();
        for (wanted, source, copy) in [
            (journal, self.paths.journal.clone(), journal_copy),
            (database, self.paths.database.clone(), database_copy),
        ] {
            if wanted {
                let to = self.storage.create_data(copy, self.settings.owner).map_err(Denied::io("copy to", copy))?;
                let from = self.open_source(&source)?;
                pairs.push(Pair { source, copy: copy.to_path_buf(), from, to });
            }
        }
        self.heartbeat()?;
        let at_a_time = if switches::off(Guard::OneMoment) { 1 } else { pairs.len().max(1) };
        for pairs in pairs.chunks(at_a_time) {
            self.copy_until_equal(pairs, compare)?;
        }
        for pair in pairs.iter().filter(|pair| pair.from.is_some()) {
            let kept = self.storage.copy_attributes(&pair.source, &pair.copy);
            kept.map_err(Denied::io("keep the owner and rights of", &pair.source))?;
        }
        self.heartbeat()
    }

    /// What is to be copied. There may be no journal: then an empty one takes its name.
    fn open_source(&mut self, source: &Path) -> Result<Option<Box<dyn DataFile>>, Denied> {
        let missing = |error: &io::Error| error.kind() == io::ErrorKind::NotFound;
        match self.open_named(source) {
            Err(error) if missing(&error) && source == self.paths.journal => {
                match self.is_nowhere(source, Scope::All)? {
                    true => Ok(None),
                    false => self.open_named(source).map(Some).map_err(Denied::io("copy", source)),
                }
            }
            opened => opened.map(Some).map_err(Denied::io("copy", source)),
        }
    }

    /// By name alone this client may still be led to what an earlier fence has replaced, whose commits would be lost, or to no
    /// journal where there is one to be rolled back.
    fn open_named(&mut self, source: &Path) -> io::Result<Box<dyn DataFile>> {
        let scratch = self.scratch();
        match switches::off(Guard::FreshSources) {
            false => self.storage.open_listed(source, Access::Read, &scratch),
            true => self.storage.open(source, Access::Read),
        }
    }

    /// The copies must be of one moment: a zombie that writes the pre-image of a page and then the page, between the copying of
    /// the journal and that of the database, would leave a page that nothing rolls back. So all are copied, then all are
    /// compared, until nothing has changed in a whole round.
    fn copy_until_equal(&mut self, pairs: &[Pair], compare: bool) -> Result<(), Denied> {
        for round in 0..ROUNDS {
            for pair in pairs {
                self.copy_pair(pair, round == 0)?;
            }
            if !compare {
                return Ok(());
            }
            for Pair { source, from, .. } in pairs {
                if let Some(from) = from {
                    from.drop_cache().map_err(Denied::io("read", source))?;
                }
            }
            let mut equal = true;
            for pair in pairs {
                equal = equal && self.is_equal(pair)?;
            }
            if equal {
                return Ok(());
            }
        }
        let busy = io::Error::new(io::ErrorKind::ResourceBusy, "a silent node is still writing to it");
        Err(Denied::io("copy", &self.paths.database)(busy))
    }

    /// Tells every node, in a listing that is fresh anyway, that the files were replaced.
    pub(super) fn new_epoch(&mut self, census: &Census) -> Result<(), Denied> {
        self.storage.sync_dir(&self.paths.parent).map_err(Denied::io("sync", &self.paths.parent))?;
        let epoch = self.next(Kind::Epoch);
        let path: PathBuf = self.in_registry(&epoch);
        let made = self.storage.create_new(&path, b"", self.settings.owner);
        made.map_err(Denied::io("announce the replaced files at", &path))?;
        for old in &census.epochs {
            let _ = self.storage.unlink(&self.in_registry(old));
        }
        self.epoch = [epoch].into();
        Ok(())
    }
}
