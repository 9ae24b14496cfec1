//! The order in which a deposed node's names in the registry go, as PROTOCOL.md gives it (9): the tombstone last. By itself it
//! loses nothing; it is what spares those who come next the default lease where somebody dies in between. Names in L are not
//! judged: one that came when its holder had listed L already is only found by the next.

use std::collections::{HashMap, HashSet};
use std::ffi::OsStr;
use std::path::{Path, PathBuf};

use coord::protocol::NodeId;
use coord::protocol::names::{Kind, Name};

use super::server::Change;
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

/// The node, if it is the name of its tombstone.
fn deposed(path: &Path) -> Option<NodeId> {
    parsed(path).filter(|name| matches!(name.kind, Kind::Deposed { .. })).map(|name| name.node)
}

impl State {
    /// As a change reaches the server.
    pub(super) fn judge_order(&mut self, change: &Change) {
        if !self.orders.judged {
            return;
        }
        match change {
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

    fn presence_of(&self, node: &NodeId) -> Vec<PathBuf> {
        let is_presence = |name: &Name| name.node == *node && matches!(name.kind, Kind::Reader | Kind::Exclusive);
        let names = self.server.names.keys();
        names.filter(|path| parsed(path).is_some_and(|name| is_presence(&name))).cloned().collect()
    }
}
