//! Moving a live file aside, and putting it back where that was done late.
//!
//! Some network clients rename over a file that a process of their host has open in two steps of their own: NFS clients first
//! move it to a name that they remove when it is closed, SMB clients remove it. A node that a fence of its own had frozen just
//! before would so take away what others have committed since. So nothing live is ever renamed over. It is moved aside, to
//! a name in G that is used once, and the copy is linked under its name, which replaces nothing. Delivered late, the one leaves the
//! live file under a name that every listing of G shows, and the other finds nothing to link.

use std::io;
use std::path::{Path, PathBuf};

use super::error::Denied;
use super::names::{Copy, Kind, Name};
use super::node::Node;
use super::registry::Census;
use super::takeover::Scope;
use crate::storage::{Access, Storage, has_no_links};
use crate::switches::{self, Guard};

/// Who made the copies of a replacement.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Maker {
    Ourselves,
    /// A dead breaker: whom he has fenced off will be fenced off once more.
    Another,
}

/// A copy that has just taken the live name, and has its own still.
struct Placed<'a> {
    path: &'a Path,
    maker: Maker,
}

/// Gives a file a live name that is free: by a link, which replaces nothing, or where links are refused for good by renaming it. Then says
/// how they were refused.
pub(crate) fn put(storage: &dyn Storage, file: &Path, live: &Path) -> io::Result<Option<io::Error>> {
    let Err(error) = storage.link(file, live) else { return Ok(None) };
    let id = |path: &Path| storage.attributes(path).ok().map(|found| found.id);
    if id(file).is_some() && id(file) == id(live) {
        // Carried out all the same, or by somebody before us.
        return Ok(None);
    }
    match has_no_links(&error) && id(live).is_none() {
        true => storage.rename(file, live).map(|()| Some(error)),
        false => Err(error),
    }
}

impl Node {
    /// Puts a copy in the place of what is live under `live`. Its own name stays where links are possible: it is removed when
    /// nothing is aside any more. L is held and `exclusive.*` is up.
    pub(super) fn replace(&mut self, copy: &Path, live: &Path, which: Copy) -> Result<(), Denied> {
        if !self.moves_aside() {
            return self.rename_over(copy, live);
        }
        let aside = self.next(Kind::Aside(which));
        let moved = match self.storage.rename(live, &self.in_registry(&aside)) {
            // There was none, or a late rename has taken it aside already.
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            moved => moved,
        };
        switches::stop_point("fence-aside");
        // If it was not moved, its name is taken still.
        let put = self.put(copy, live);
        put.map_err(|error| Denied::io("replace", live)(moved.err().unwrap_or(error)))
    }

    /// Not on a local filesystem, where nothing is delivered late and names change in one step; nor on SMB, where a name that was
    /// removed stays listed while anybody has the file open, so that what lies aside could not be told from what is gone.
    pub(super) fn moves_aside(&self) -> bool {
        !(self.settings.local || self.settings.renames_by_handle || switches::off(Guard::Aside))
    }

    fn rename_over(&mut self, copy: &Path, live: &Path) -> Result<(), Denied> {
        match self.storage.rename(copy, live) {
            Ok(()) => Ok(()),
            Err(error) => {
                let gone = self.lock_view().is_ok_and(|view| {
                    let here = |name: &Name| self.in_lock(name) == copy;
                    !view.copies.iter().any(|(name, _)| here(name))
                });
                if gone { Ok(()) } else { Err(Denied::io("replace", live)(error)) }
            }
        }
    }

    fn put(&self, file: &Path, live: &Path) -> io::Result<()> {
        put(&*self.storage, file, live).map(drop)
    }

    /// What lies aside is removed, unless it is what should be live: then it was moved there late, by a node that had been
    /// fenced off long before, and is put back. Returns whether anything lay there. L is held and confirmed, `census` is fresh, and
    /// of the deposed nodes' complete copies none is left: so a file is missing only if it is aside. In the middle of a commit
    /// of our own our journal stays where it is, as we have it open.
    pub(super) fn settle_asides(&mut self, census: &Census, scope: Scope) -> Result<bool, Denied> {
        let mut settled = self.settle_one(census, Copy::Database, None)?;
        if scope == Scope::All {
            settled |= self.settle_one(census, Copy::Journal, None)?;
        }
        Ok(settled)
    }

    /// The same for who has held L for a while, between two transactions of its own.
    pub fn settle_late_moves(&mut self) -> Result<(), Denied> {
        self.heartbeat()?;
        let census = self.fresh_census()?;
        if self.settle_asides(&census, Scope::DatabaseOnly)? {
            // Another client may remember that there was none.
            self.new_epoch(&census)?;
        }
        Ok(())
    }

    /// The end of a replacement: what was live before goes, then the copies' own names. The last of them says that all this must
    /// be carried through, and goes only when nothing else can be taken for the live file.
    pub(super) fn end_replacement(
        &mut self,
        journal: Option<PathBuf>,
        ready: Option<PathBuf>,
        maker: Maker,
    ) -> Result<(), Denied> {
        if !self.moves_aside() {
            if maker == Maker::Another && !switches::off(Guard::TwoNames) {
                // Where that one linked it, its copy and the live file are one: a rename between two names of a file does nothing.
                for copy in [journal, ready].iter().flatten() {
                    self.remove_name(copy)?;
                }
            }
            return Ok(());
        }
        let census = self.fresh_census()?;
        for (which, path) in [(Copy::Journal, journal), (Copy::Database, ready)] {
            let Some(path) = path else { continue };
            self.settle_one(&census, which, Some(&Placed { path: &path, maker }))?;
            self.remove_name(&path)?;
        }
        Ok(())
    }

    fn settle_one(&mut self, census: &Census, which: Copy, placed: Option<&Placed>) -> Result<bool, Denied> {
        let live = match which {
            Copy::Journal => self.paths.journal.clone(),
            _ => self.paths.database.clone(),
        };
        let mut found = Vec::new();
        for name in census.asides.iter().filter(|name| name.kind == Kind::Aside(which)) {
            self.heartbeat_if_due()?;
            // Under a name of ours first: what somebody still moves to the old one, late, must not be removed with it.
            let (path, ours) = (self.in_registry(name), self.next(Kind::Aside(which)));
            match self.storage.rename(&path, &self.in_registry(&ours)) {
                Ok(()) => found.push(self.in_registry(&ours)),
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(Denied::io("look after", &path)(error)),
            }
        }
        if found.is_empty() {
            return Ok(false);
        }
        let missing = self.is_missing(&live)?;
        if missing {
            let back = match placed {
                Some(copy) => Some(copy.path.to_path_buf()),
                None => self.what_was_live(&found, which, &live)?,
            };
            if let Some(back) = back {
                self.put(&back, &live).map_err(Denied::io("put back", &live))?;
                self.notices.push(format!("coord: put {} back, which a late rename had moved aside", live.display()));
            }
        }
        match (which, placed) {
            // What came back from aside is what it has to be.
            (_, None) if missing => {}
            (Copy::Journal, _) => self.prefer_hot(census, &mut found, &live, placed)?,
            (_, None) if !switches::off(Guard::StrayDatabase) => self.nothing_to_lose(&found, &live)?,
            _ => {}
        }
        let parent = self.paths.parent.clone();
        self.storage.sync_dir(&parent).map_err(Denied::io("sync", &parent))?;
        for path in found {
            self.remove_name(&path)?;
        }
        Ok(true)
    }

    /// A journal that is not hot may have the name while one that is lies aside: that one must be rolled back. Of one that we have just
    /// replaced ourselves the copy is as hot as it was, so there must be another. A fresh listing has just shown what has the name.
    fn prefer_hot(
        &mut self,
        census: &Census,
        found: &mut Vec<PathBuf>,
        live: &Path,
        placed: Option<&Placed>,
    ) -> Result<(), Denied> {
        let suspect = placed.is_none() || found.len() > 1 && !switches::off(Guard::HotAside);
        if !suspect || self.is_hot(live)? {
            return Ok(());
        }
        let Some(hot) = self.only_one(self.hot_ones(found)?, live)? else { return Ok(()) };
        if placed.is_some_and(|copy| copy.maker == Maker::Ourselves) {
            // Our copy is of one that somebody made when the hot one was aside already. Whoever comes next puts that back, and still has
            // to fence off who may write to it.
            return Err(Denied::Refused(format!("coord: {} was replaced by a copy of another", live.display())));
        }
        // Whoever came between has made a new one, and nothing can have been written under it.
        let ours = self.next(Kind::Aside(Copy::Journal));
        let ours = self.in_registry(&ours);
        self.storage.rename(live, &ours).map_err(Denied::io("replace", live))?;
        self.put(&hot, live).map_err(Denied::io("put back", live))?;
        found.push(ours);
        if placed.is_some() {
            // The replacement has been announced, and somebody may have opened the other one since.
            self.new_epoch(census)?;
        }
        Ok(())
    }

    /// An empty database has the name, and what lies aside is not empty. A program without coord may have found none and made it;
    /// or it is what a takeover has left of a first transaction that was rolled back. Nobody can tell, so that nothing is changed.
    fn nothing_to_lose(&mut self, found: &[PathBuf], live: &Path) -> Result<(), Denied> {
        let scratch = self.scratch();
        let here = self.storage.open_listed(live, Access::Read, &scratch).map_err(Denied::io("open", live))?;
        if here.size().map_err(Denied::io("look at", live))? > 0 {
            return Ok(());
        }
        for path in found {
            let aside = self.storage.open(path, Access::Read).map_err(Denied::io("open", path))?;
            if aside.size().map_err(Denied::io("look at", path))? > 0 {
                return Err(Denied::Refused(format!(
                    "coord: {} is empty, and {} is not, which a takeover had moved aside. What is in them was not changed. If a program that \
                     does not use coord has made the empty one, remove that: the other one is put back then. Else remove the other one",
                    live.display(),
                    path.display()
                )));
            }
        }
        Ok(())
    }

    fn remove_name(&self, path: &Path) -> Result<(), Denied> {
        match self.storage.unlink(path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(Denied::io("remove", path)(error)),
            _ => Ok(()),
        }
    }

    /// Which of those aside is to have its name again. Mostly all are one file, as whoever holds L settles this before anything else;
    /// but where a breaker left the journal that he had replaced, a late rename may have added his copy. Nobody has committed
    /// between the two, so that the hot one is what must be rolled back. `None`: there is none, and nobody needs the others.
    fn what_was_live(&self, found: &[PathBuf], which: Copy, live: &Path) -> Result<Option<PathBuf>, Denied> {
        let several = self.are_several(found)?;
        let by_heat = several && which == Copy::Journal && !switches::off(Guard::ColdAsides);
        self.only_one(if by_heat { self.hot_ones(found)? } else { found.to_vec() }, live)
    }

    /// Of several names of one file the first. Of several files nobody can tell.
    fn only_one(&self, found: Vec<PathBuf>, live: &Path) -> Result<Option<PathBuf>, Denied> {
        if self.are_several(&found)? {
            return Err(Denied::Refused(format!(
                "coord: {} was moved aside, and more than one file may be it: {found:?}. Nothing was changed; restore one of them",
                live.display()
            )));
        }
        Ok(found.into_iter().next())
    }

    /// Whether these are not all names of one file.
    fn are_several(&self, found: &[PathBuf]) -> Result<bool, Denied> {
        let mut ids = Vec::new();
        for path in found {
            ids.push(self.storage.attributes(path).map_err(Denied::io("look at", path))?.id);
        }
        ids.dedup();
        Ok(ids.len() > 1)
    }

    fn hot_ones(&self, found: &[PathBuf]) -> Result<Vec<PathBuf>, Denied> {
        let mut hot = Vec::new();
        for path in found {
            if self.is_hot(path)? {
                hot.push(path.clone());
            }
        }
        Ok(hot)
    }

    /// Whether it begins as a journal does that must be rolled back.
    fn is_hot(&self, path: &Path) -> Result<bool, Denied> {
        let file = self.storage.open(path, Access::Read).map_err(Denied::io("open", path))?;
        file.drop_cache().map_err(Denied::io("drop cached pages of", path))?;
        let mut first = [0];
        let got = file.read_at(&mut first, 0).map_err(Denied::io("read", path))?;
        Ok(got == 1 && first[0] != 0)
    }

    /// Busy if anything lies aside: then a database that seems to be missing is not, and must not be made.
    pub fn nothing_aside(&mut self) -> Result<(), Denied> {
        let census = self.fresh_census()?;
        match census.asides.first() {
            Some(name) => Err(Denied::Busy(Box::new(self.holder(&name.clone(), None, "moved aside")))),
            None => Ok(()),
        }
    }
}
