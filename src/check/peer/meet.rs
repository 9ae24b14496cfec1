//! Finding the other host: each lists the directory that is checked. Who has the larger key asks to be let in (`guest.*` in the
//! other's directory) and the other lets one in (`with.*`). Only who is seen to move is asked, so nobody waits for the dead.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::time::Duration;

use super::Together;
use super::session::Session;
use crate::check::bench::{Bench, Trouble};
use crate::check::leftovers;
use crate::check::place::{PEER, work_dir};
use crate::protocol::NodeId;

const POLL: Duration = Duration::from_millis(100);
/// How long somebody who was asked may stand still before he is given up.
const STANDS_STILL: Duration = Duration::from_secs(30);

pub(super) fn meet<'a, 'b>(bench: &'b Bench<'a>, how: &Together) -> Result<Session<'a, 'b>, Trouble> {
    let mut search = Search { bench, seen: BTreeMap::new(), lively: BTreeSet::new(), refused: BTreeSet::new() };
    let begun = bench.storage.now();
    loop {
        let waited = bench.storage.now().since(begun);
        bench.tell(&format!("waiting for the other host ({} s)", waited.as_secs()));
        search.look()?;
        if let Some(host) = search.host() {
            if let Some(session) = search.ask(&host, how)? {
                return Ok(session);
            }
        } else if let Some(guest) = search.guest()? {
            return search.let_in(guest, how);
        }
        if waited >= how.patience {
            return Err(Trouble::Cannot(format!(
                "no other check showed itself in {} within {} s. If one was running on another host, that host's names do not get \
                 here: is it the same directory of the same server? If it is, do not share a database on it",
                bench.place.root.display(),
                how.patience.as_secs()
            )));
        }
        bench.go_on()?;
        bench.storage.sleep(POLL);
    }
}

struct Search<'a, 'b> {
    bench: &'b Bench<'a>,
    /// The last beat seen of each other check.
    seen: BTreeMap<NodeId, String>,
    /// Those whose beat was seen to change.
    lively: BTreeSet<NodeId>,
    refused: BTreeSet<NodeId>,
}

impl<'a, 'b> Search<'a, 'b> {
    fn me(&self) -> &NodeId {
        &self.bench.place.node
    }

    fn dir_of(&self, node: &NodeId) -> PathBuf {
        self.bench.place.root.join(format!("{PEER}{node}"))
    }

    /// Lists the directory that is checked, after an own change in it, and who is there.
    fn look(&mut self) -> Result<(), Trouble> {
        let place = self.bench.place;
        let own = place.root.join(format!("{PEER}{}.{}", place.node, place.name("look")));
        let cannot =
            |error: std::io::Error| Trouble::Cannot(format!("cannot look into {}: {error}", place.root.display()));
        self.bench.storage.create_new(&own, b"", place.owner).map_err(cannot)?;
        let names = self.bench.storage.list(&place.root);
        self.bench.storage.unlink(&own).map_err(cannot)?;
        let mut there = BTreeSet::new();
        for name in names.map_err(cannot)? {
            if let Some(node) = leftovers::owner_of(&name).filter(|node| node != self.me())
                && name.as_encoded_bytes().starts_with(PEER.as_bytes())
            {
                there.insert(node);
            }
        }
        self.lively.retain(|node| there.contains(node));
        for node in there {
            let beat = self.beat_of(&node);
            if beat.is_empty() {
                continue;
            }
            let before = self.seen.insert(node.clone(), beat.clone());
            if before.is_some_and(|before| before != beat) {
                self.lively.insert(node);
            }
        }
        Ok(())
    }

    fn beat_of(&self, node: &NodeId) -> String {
        let names = self.bench.storage.list(&self.dir_of(node)).unwrap_or_default();
        let beat = names.iter().find(|name| name.as_encoded_bytes().starts_with(b"beat."));
        beat.map(|name| name.to_string_lossy().into_owned()).unwrap_or_default()
    }

    /// Whom to ask: the one with the smallest key, if that is smaller than ours.
    fn host(&self) -> Option<NodeId> {
        let others = self.lively.iter().filter(|node| !self.refused.contains(node));
        others.min_by_key(|node| node.key).filter(|node| node.key < self.me().key).cloned()
    }

    /// Somebody who asks to be let in and is there.
    fn guest(&self) -> Result<Option<NodeId>, Trouble> {
        let place = self.bench.place;
        let names = self.list_afresh(&place.dir, place.node.key)?;
        let asks = |node: &&NodeId| names.contains(&guest_name(place.node.key, node.key));
        Ok(self.lively.iter().find(asks).cloned())
    }

    fn list_afresh(&self, dir: &std::path::Path, key: u64) -> Result<Vec<String>, Trouble> {
        let place = self.bench.place;
        let cannot = |error: std::io::Error| Trouble::Cannot(format!("cannot look into {}: {error}", dir.display()));
        let own = dir.join(format!("look.{key:016x}.{:016x}.{}", place.node.key, place.name("n")));
        self.bench.storage.create_new(&own, b"", place.owner).map_err(cannot)?;
        let names = self.bench.storage.list(dir);
        self.bench.storage.unlink(&own).map_err(cannot)?;
        Ok(names.map_err(cannot)?.iter().map(|name| name.to_string_lossy().into_owned()).collect())
    }

    /// Asks to be let in and waits for the answer. `None`: another one was, or he stands still.
    fn ask(&mut self, host: &NodeId, how: &Together) -> Result<Option<Session<'a, 'b>>, Trouble> {
        let (bench, place) = (self.bench, self.bench.place);
        let dir = self.dir_of(host);
        let asking = dir.join(guest_name(host.key, self.me().key));
        self.refused.insert(host.clone());
        if let Err(error) = bench.storage.create_new(&asking, b"", place.owner) {
            if error.kind() == std::io::ErrorKind::NotFound {
                return Ok(None);
            }
            return Err(Trouble::Cannot(format!(
                "{} is there, but nothing can be made in its directory {}: {error}; run both ends as the same user",
                host.host,
                dir.display()
            )));
        }
        let mut moved = bench.storage.now();
        loop {
            if let Err(stop) = bench.go_on() {
                let _ = bench.storage.unlink(&asking);
                return Err(stop);
            }
            let Ok(names) = self.list_afresh(&dir, host.key) else { return Ok(None) };
            if names.contains(&with_name(host.key, self.me().key)) {
                return Ok(Some(Session::new(bench, false, host.clone(), dir.clone(), dir, how.patience)));
            }
            let taken = names.iter().any(|name| name.starts_with("with."));
            let beat = names.into_iter().find(|name| name.starts_with("beat.")).unwrap_or_default();
            if self.seen.insert(host.clone(), beat.clone()).is_none_or(|before| before != beat) {
                moved = bench.storage.now();
            }
            if taken || bench.storage.now().since(moved) > STANDS_STILL {
                let _ = bench.storage.unlink(&asking);
                return Ok(None);
            }
            bench.storage.sleep(POLL);
        }
    }

    fn let_in(&self, guest: NodeId, how: &Together) -> Result<Session<'a, 'b>, Trouble> {
        let (bench, place) = (self.bench, self.bench.place);
        let key = place.node.key;
        let cannot = |error: std::io::Error| Trouble::Cannot(format!("cannot begin with {}: {error}", guest.host));
        bench.storage.make_dir(&work_dir(&place.dir, key, "talk"), place.owner).map_err(cannot)?;
        let with = place.dir.join(with_name(key, guest.key));
        bench.storage.create_new(&with, b"", place.owner).map_err(cannot)?;
        let other_dir = self.dir_of(&guest);
        Ok(Session::new(bench, true, guest, place.dir.clone(), other_dir, how.patience))
    }
}

fn guest_name(host: u64, guest: u64) -> String {
    format!("guest.{host:016x}.{guest:016x}")
}

fn with_name(host: u64, guest: u64) -> String {
    format!("with.{host:016x}.{guest:016x}")
}
