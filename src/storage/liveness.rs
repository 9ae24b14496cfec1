//! Who a process is to the other processes of its host, and whether it is provably dead.

use serde::{Deserialize, Serialize};

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
