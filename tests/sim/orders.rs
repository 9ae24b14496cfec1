//! The order in which a deposed node's names go, as PROTOCOL.md gives it (9): the tombstone last. By itself it loses nothing; it
//! is what spares those who come next the default lease where somebody dies in between.

use std::collections::HashMap;
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
    /// A deposed node's names, as they were when its tombstone was made.
    remains: HashMap<NodeId, Vec<PathBuf>>,
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
                if let Some(left) = remains.iter().find(|left| self.server.names.contains_key(*left)) {
                    let text = format!("order: the tombstone of {node} went before {}", left.display());
                    self.history.violated(text);
                }
            }
            _ => {}
        }
    }

    fn presence_of(&self, node: &NodeId) -> Vec<PathBuf> {
        let is_presence =
            |name: &Name| name.node == *node && matches!(name.kind, Kind::Reader | Kind::Exclusive | Kind::Write);
        let names = self.server.names.keys();
        names.filter(|path| parsed(path).is_some_and(|name| is_presence(&name))).cloned().collect()
    }
}
