//! Machines, processes and threads of the simulated world.

use std::collections::BTreeMap;
use std::io;
use std::path::PathBuf;

use super::server::{Change, Inode};

/// What a crashed task's thread unwinds with.
pub struct Crashed;

/// A machine: its clock and what its kernel remembers of the server.
#[derive(Default)]
pub struct Host {
    /// Added to the world's time; falls behind while the machine stands still.
    pub clock_offset: i64,
    /// Parts in 10,000 by which its clock is fast.
    pub drift: i64,
    pub frozen_until: u64,
    /// What it believes to be in its files: pages stay until they are dropped.
    pub pages: BTreeMap<Inode, Vec<u8>>,
    /// Written and not sent yet, in order.
    pub dirty: Vec<Change>,
    /// Names that it has looked up.
    pub dentries: BTreeMap<PathBuf, Option<Inode>>,
    /// Listings that it has seen and not changed since.
    pub listings: BTreeMap<PathBuf, Vec<String>>,
}

/// A thread of the simulation.
pub struct Task {
    pub host: usize,
    pub process: usize,
    /// World time before which it has nothing to do.
    pub wakes: u64,
    pub done: bool,
    /// A rename of it that is under way: a listing may run while the server carries it out.
    pub(super) moving: Option<Change>,
    /// What came of that rename, if it was carried out during a listing.
    pub(super) moved: Option<io::Result<()>>,
}

impl Task {
    pub fn new(host: usize, process: usize, wakes: u64) -> Task {
        Task { host, process, wakes, done: false, moving: None, moved: None }
    }
}

/// A process: its tasks die together.
#[derive(Default)]
pub struct Process {
    pub crashed: bool,
    pub frozen_until: u64,
    /// World time of the last thing that befell it.
    pub disturbed: u64,
}
