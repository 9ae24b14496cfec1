//! What a check that was killed has left behind. It is recognised by its name and removed once its process is provably dead,
//! or, if that was on another host, once this host has seen it stand still for a while.

use std::ffi::OsStr;
use std::path::Path;
use std::time::Duration;

use super::place::{PEER, SOLO, owner_name, remove};
use crate::protocol::NodeId;
use crate::storage::{Liveness, Process, Storage};

/// A check renames its beat twice a second, less often only if an operation takes longer.
const STANDS_STILL: Duration = Duration::from_secs(300);

/// Longest description of a process that is read.
const OWNER_BYTES: usize = 8 * 1024;

/// The check that a directory's name belongs to.
pub(super) fn owner_of(name: &OsStr) -> Option<NodeId> {
    let name = name.to_str()?;
    let node = name.strip_prefix(SOLO).or_else(|| name.strip_prefix(PEER))?;
    NodeId::parse(node)
}

/// Removes what the dead have left in `root`. Says what was removed and what was left alone.
pub(super) fn sweep(storage: &dyn Storage, root: &Path) -> Vec<String> {
    let names = storage.list(root).unwrap_or_default();
    names
        .iter()
        .filter_map(|name| Some((name, owner_of(name)?)))
        .filter_map(|(name, node)| {
            let dir = root.join(name);
            if !storage.attributes(&dir).is_ok_and(|found| found.is_dir) {
                return None;
            }
            let shown = dir.display();
            if !is_dead(storage, &dir, &node) {
                return None;
            }
            Some(match remove(storage, &dir, node.key) {
                Ok(()) => {
                    format!("removed {shown}, left by a check on {} (pid {}) that was killed", node.host, node.pid)
                }
                Err(why) => format!("{shown} was left by a check that was killed and could not be removed: {why}"),
            })
        })
        .collect()
}

fn is_dead(storage: &dyn Storage, dir: &Path, node: &NodeId) -> bool {
    let text = storage.read_small(&dir.join(owner_name(node.key)), OWNER_BYTES).unwrap_or_default();
    match serde_json::from_slice::<Process>(&text).map(|process| storage.liveness(&process)) {
        Ok(Liveness::Dead) => true,
        Ok(Liveness::Alive) => false,
        // Another host's or another boot's, or killed before it had said who it is.
        _ => {
            let mut beats: Vec<_> = storage.list(dir).unwrap_or_default();
            beats.retain(|name| name.as_encoded_bytes().starts_with(b"beat."));
            let beat = beats.first().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
            storage.known_for(&dir.display().to_string(), &beat) >= STANDS_STILL
        }
    }
}
