//! Who a process is to the other processes of its host, and whether it is provably dead.
//!
//! Each process keeps one file in a host-local directory exclusively locked (`flock`) for its whole life; the kernel drops
//! the lock when the process ends, however it ends. Whoever can share that lock has proof that the owner is gone. A forked
//! child closes its copy of the descriptor at once and is a new identity. **Any doubt is [`Liveness::Unknown`]**: another
//! boot, another pid namespace, a file that is not what its owner would have written, a directory that is not local.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::disk;

mod forks;
mod identity;
mod judge;
mod memory;
mod runtime;

#[cfg(test)]
pub(crate) use forks::child_gets;
pub(crate) use forks::watch_forks;
pub use forks::{ForkMutex, fork_generation};
pub use identity::{retire, this_process};
pub use judge::judge;

/// A process as it describes itself in its beat file. Unknown fields are ignored, missing ones are empty.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Process {
    pub pid: u32,
    pub hostname: String,
    /// Identity of this run of the kernel (`/proc/sys/kernel/random/boot_id`).
    pub boot_id: String,
    /// Identity of the pid namespace (`/proc/self/ns/pid`).
    pub pid_namespace: String,
    /// Host-local file that the process keeps locked for its whole life.
    pub liveness: String,
    pub command: String,
    pub user: String,
}

/// What this host knows about another process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Liveness {
    /// Same host, and its liveness lock could be taken.
    Dead,
    /// Same host, and its liveness lock is held.
    Alive,
    /// Another host, or any doubt.
    Unknown,
}

/// What is to be said of a COORD_RUNTIME_DIR that cannot be used; another directory is used then.
pub fn complaint() -> Option<String> {
    let asked = runtime::asked()?;
    let why = runtime::unusable(&asked)?;
    Some(format!("coord: COORD_RUNTIME_DIR={} is not used: {why}", asked.display()))
}

/// See [`crate::storage::Storage::local_guard`]: the file, locked.
pub fn local_guard(path: &std::path::Path) -> Option<std::fs::File> {
    memory::local_guard(&identity::runtime_dir()?, path)
}

/// See [`crate::storage::Storage::local_queue`]: its file, to be opened once.
pub fn local_queue(path: &std::path::Path) -> Option<std::fs::File> {
    memory::local_queue(&identity::runtime_dir()?, path)
}

/// See [`crate::storage::Storage::known_for`].
pub fn known_for(what: &str, state: &str) -> Duration {
    match identity::runtime_dir() {
        Some(dir) => memory::known_for(&dir, &identity::clock_id(), disk::now().0, what, state),
        None => memory::known_here(what, state),
    }
}
