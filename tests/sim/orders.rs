//! The order in which a deposed node's names in the registry go, as PROTOCOL.md gives it (9): the tombstone last. By itself it
//! loses nothing; it is what spares those who come next the default lease where somebody dies in between. Names in L are not
//! judged: one that came when its holder had listed L already is only found by the next.
//!
//! And the order in which a living holder gives its lock back beside a journal of its own that must be rolled back: its name in L
//! before `exclusive.*`. No reader of ours concludes anything from either; it is promised to other implementations.

use std::collections::{HashMap, HashSet};
use std::ffi::OsStr;
use std::path::{Path, PathBuf};

use coord::protocol::NodeId;
use coord::protocol::names::{Kind, Name};

use super::server::Change;
use super::storage::database;
use super::world::State;

/// What was seen of the names so far.
#[derive(Default)]
pub struct Orders {
    /// Not beside another fault, which is to show by its own harm.
    pub judged: bool,
    /// A deposed node's names in the registry, as they were when its tombstone was made.
    remains: HashMap<NodeId, Vec<PathBuf>>,
    /// Names that were made late. Whoever clears up may have listed before: they are watched like those of a node that never was.
    late: HashSet<PathBuf>,
    /// The name in L of who has made the journal hot last.
    author: Option<PathBuf>,
    /// Names in L whose holder has asked for their removal.
    given_back: HashSet<PathBuf>,
}

impl Orders {
    /// A change is delivered long after it was asked for.
    pub fn comes_late(&mut self, change: &Change) {
        if let Change::Create(path, _) = change {
            self.late.insert(path.clone());
        }
    }
}

fn parsed(path: &Path) -> Option<Name> {
    Name::parse(path.file_name().unwrap_or(OsStr::new("")))
}

pub(super) fn journal() -> PathBuf {
    database().with_file_name("d-journal")
}

fn is_of(process: usize, name: &Name) -> bool {
    name.node.pid as usize == process + 1
}

/// The node, if it is the name of its tombstone.
fn deposed(path: &Path) -> Option<NodeId> {
    parsed(path).filter(|name| matches!(name.kind, Kind::Deposed { .. })).map(|name| name.node)
}

impl State {
    /// As a change reaches the server.
    pub(super) fn judge_order(&mut self, process: usize, change: &Change) {
        if !self.orders.judged {
            return;
        }
        match change {
            Change::Write(inode, 0, data)
                if data.first().is_some_and(|first| *first != 0)
                    && self.server.names.get(&journal()) == Some(inode) =>
            {
                let author = self.holders().find(|(_, name)| is_of(process, name)).map(|(path, _)| path.clone());
                self.orders.author = author;
            }
            Change::Rename(_, to) | Change::Create(to, _) => {
                if let Some(node) = deposed(to) {
                    let presence = self.presence_of(&node);
                    self.orders.remains.entry(node).or_insert(presence);
                }
            }
            Change::Unlink(path) if self.server.names.contains_key(path) => {
                let Some(node) = deposed(path) else { return };
                let remains = self.orders.remains.remove(&node).unwrap_or_default();
                let stands =
                    |left: &&PathBuf| self.server.names.contains_key(*left) && !self.orders.late.contains(*left);
                if let Some(left) = remains.iter().find(stands) {
                    let text = format!("order: the tombstone of {node} went before {}", left.display());
                    self.history.violated(text);
                }
            }
            _ => {}
        }
    }

    /// As a process asks for a change.
    pub(super) fn judge_request(&mut self, task: usize, change: &Change) {
        let Change::Unlink(path) = change else { return };
        let Some(name) = parsed(path).filter(|_| self.orders.judged) else { return };
        if name.kind == Kind::Write {
            self.orders.given_back.insert(path.clone());
        }
        // Not an old one, whose removal is tried again.
        let own = is_of(self.tasks[task].process, &name) && self.only_exclusive(&name.node, path);
        if name.kind != Kind::Exclusive || !own || !self.journal_is_hot() || self.is_deposed(&name.node) {
            return;
        }
        let Some(left) =
            self.orders.author.clone().filter(|left| parsed(left).is_some_and(|author| author.node == name.node))
        else {
            return;
        };
        self.count("exclusive.* given back beside a hot journal of its own");
        if self.server.names.contains_key(&left) && !self.orders.given_back.contains(&left) {
            let text =
                format!("order: exclusive.* of {} went before {}, beside a hot journal", name.node, left.display());
            self.history.violated(text);
        }
    }

    /// The names in L of who holds it, or did.
    fn holders(&self) -> impl Iterator<Item = (&PathBuf, Name)> {
        let names = self.server.names.keys().filter_map(|path| Some((path, parsed(path)?)));
        names.filter(|(_, name)| name.kind == Kind::Write)
    }

    fn only_exclusive(&self, node: &NodeId, path: &Path) -> bool {
        let exclusive = |name: &Name| name.kind == Kind::Exclusive && name.node == *node;
        let mut all = self.server.names.keys().filter(|path| parsed(path).is_some_and(|name| exclusive(&name)));
        all.next().map(PathBuf::as_path) == Some(path) && all.next().is_none()
    }

    fn journal_is_hot(&self) -> bool {
        let journal = self.server.look_up(&journal()).ok();
        journal.is_some_and(|inode| self.server.nodes[inode].data.first().is_some_and(|first| *first != 0))
    }

    fn is_deposed(&self, node: &NodeId) -> bool {
        self.server.names.keys().any(|path| deposed(path).as_ref() == Some(node))
    }

    fn presence_of(&self, node: &NodeId) -> Vec<PathBuf> {
        let is_presence = |name: &Name| name.node == *node && matches!(name.kind, Kind::Reader | Kind::Exclusive);
        let names = self.server.names.keys();
        names.filter(|path| parsed(path).is_some_and(|name| is_presence(&name))).cloned().collect()
    }
}
