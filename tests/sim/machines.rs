//! Machines, processes and threads of the simulated world.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::PathBuf;

use super::server::{Change, Inode};
use super::weather::Rng;

/// What a crashed task's stack unwinds with.
pub struct Crashed;

/// A machine: its clock and what its kernel remembers of the server.
#[derive(Default)]
pub struct Host {
    /// Added to the world's time; falls behind while the machine stands still.
    pub clock_offset: i64,
    /// Parts in 10,000 by which its clock is fast.
    pub drift: i64,
    pub frozen_until: u64,
    /// How often it has been started.
    pub boots: u64,
    /// What it believes to be in its files: pages stay until they are dropped.
    pub pages: BTreeMap<Inode, Vec<u8>>,
    /// Written and not sent yet, in order, by which process.
    pub dirty: Vec<(usize, Change)>,
    /// Files of which it could not send what was written: the next sync says so, once.
    pub failed: BTreeSet<Inode>,
    /// World time at which it last dropped what was written to a file.
    pub dropped: BTreeMap<Inode, u64>,
    /// Names that it has looked up, and when.
    pub dentries: BTreeMap<PathBuf, (Option<Inode>, u64)>,
    /// It answers look-ups from its memory for as long as it may.
    pub remembers: bool,
    /// Sizes of files as it was told them.
    pub sizes: BTreeMap<Inode, u64>,
    /// Files that its processes have open, and how often.
    pub open: BTreeMap<(Inode, usize), u32>,
    /// Where it has moved such a file when it was renamed over; removed when the file is closed.
    pub silly: Vec<(Inode, PathBuf)>,
    /// Listings that it has seen and not changed since.
    pub listings: BTreeMap<PathBuf, Vec<String>>,
}

impl Host {
    /// Everything that a kernel has in its memory is gone.
    pub fn forget(&mut self) {
        self.pages.clear();
        self.dirty.clear();
        self.dentries.clear();
        self.listings.clear();
        self.sizes.clear();
        self.silly.clear();
        self.failed.clear();
    }

    /// Whether any of its processes has the file open.
    pub fn has_open(&self, inode: Inode) -> bool {
        self.open.iter().any(|((open, _), times)| *open == inode && *times > 0)
    }

    /// Learns from its own change; what others did it does not see.
    pub fn learn(&mut self, change: &Change) {
        if let Some(dir) = change.directory() {
            self.listings.remove(dir);
        }
        match change {
            Change::Rename(from, to) => {
                self.dentries.remove(from);
                self.dentries.remove(to);
            }
            Change::Link(_, path) => drop(self.dentries.remove(path)),
            Change::Create(path, _) | Change::Unlink(path) | Change::MakeDir(path) | Change::RemoveDir(path) => {
                self.dentries.remove(path);
            }
            _ => {}
        }
    }
}

/// A thread of the simulation.
pub struct Task {
    pub host: usize,
    pub process: usize,
    /// World time before which it has nothing to do.
    pub wakes: u64,
    pub done: bool,
    /// Steps that it has made.
    pub steps: u64,
    /// What is drawn for it.
    pub rng: Rng,
    /// A rename of it that is under way: a listing may run while the server carries it out.
    pub(super) moving: Option<Change>,
    /// What came of that rename, if it was carried out during a listing.
    pub(super) moved: Option<io::Result<()>>,
}

impl Task {
    pub fn new(host: usize, process: usize, wakes: u64) -> Task {
        Task { host, process, wakes, done: false, steps: 0, rng: Rng::new(1), moving: None, moved: None }
    }
}

/// A process: its tasks die together.
#[derive(Default)]
pub struct Process {
    /// It runs: before that nothing can befall it.
    pub begun: bool,
    pub crashed: bool,
    pub frozen_until: u64,
    /// World time of the last thing that befell it.
    pub disturbed: u64,
    /// It is replacing database and journal.
    pub fences: bool,
    /// Its last step cut a file, which is not synced yet.
    pub has_cut: bool,
    /// Its clock has stood still or jumped.
    pub misled: u64,
}
