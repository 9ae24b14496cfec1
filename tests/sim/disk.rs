//! A disk that is full, or fails to sync: what then becomes of what was written.

use std::io;

use super::server::{Change, Inode};
use super::weather::{Profile, Rng};
use super::world::State;

impl State {
    /// Whether a full disk refuses it. A directory may find room where data does not.
    pub(super) fn has_no_space(&self, task: usize, change: &Change) -> bool {
        let lucky = matches!(change, Change::MakeDir(_)) && self.tasks[task].steps.is_multiple_of(2);
        self.now < self.full_until && change.needs_space(&self.server) && !lucky
    }

    /// A sync that fails: what was written is dropped, by the client or by the server's kernel, and the next sync succeeds.
    pub(super) fn sync_fails(&mut self, task: usize, inode: Inode) -> bool {
        let host = self.tasks[task].host;
        let mut rng = Rng::of(self.seed ^ 0x7379_6e63, task, self.tasks[task].steps);
        if !self.processes[self.tasks[task].process].begun || !rng.chance(self.faults.unsynced) {
            return false;
        }
        let mine = |(_, change): &(usize, Change)| change.file() == Some(inode);
        let is_dirty = self.hosts[host].dirty.iter().any(mine);
        let is_local = self.profile_of(host) == Profile::Local && self.server.is_unsynced(inode);
        if !(is_dirty || is_local) || !self.happens(task, "sync failed") {
            return false;
        }
        self.disturb(task);
        if is_local {
            self.server.fail_sync(inode);
            return true;
        }
        // Some of it has been sent.
        let (unsent, rest) = std::mem::take(&mut self.hosts[host].dirty).into_iter().partition(mine);
        self.hosts[host].dirty = rest;
        self.hosts[host].pages.remove(&inode);
        let unsent: Vec<(usize, Change)> = unsent;
        for (process, change) in unsent {
            if rng.below(2) == 0 {
                let _ = self.deliver(process, &change);
            }
        }
        true
    }

    /// Whether the task's host has dropped what somebody there has written to the database since then.
    pub fn has_dropped(&self, task: usize, since: u64) -> bool {
        let dropped = &self.hosts[self.tasks[task].host].dropped;
        let database = self.server.look_up(&super::storage::database());
        database.is_ok_and(|inode| dropped.get(&inode).is_some_and(|at| *at >= since))
    }

    /// Linux' NFS client tells a full disk to the next write, if it knows of it by then, and no sync speaks of it any more
    /// (`nfs_file_write`, since 5.19). In half of the worlds clients tell it to the next sync.
    pub fn told_of_what_was_dropped(&mut self, task: usize, inode: Inode) -> io::Result<()> {
        let host = self.tasks[task].host;
        let tells_writes = Rng::new(self.seed ^ 0x776c_6c75_6621).below(2) == 0;
        if !tells_writes || !self.hosts[host].failed.remove(&inode) {
            return Ok(());
        }
        self.count("a write told that an earlier one was dropped");
        self.note(task, || format!("write {inode} -> an earlier one was dropped, the disk being full"));
        self.disturb(task);
        Err(io::ErrorKind::StorageFull.into())
    }

    /// Sends what a host has written to a file.
    pub fn flush(&mut self, host: usize, inode: Inode) {
        let (mine, rest): (Vec<_>, Vec<_>) = std::mem::take(&mut self.hosts[host].dirty)
            .into_iter()
            .partition(|(_, change)| change.file() == Some(inode));
        self.hosts[host].dirty = rest;
        for (process, change) in &mine {
            if self.now < self.full_until && change.needs_space(&self.server) {
                // The client drops what it cannot send, and its pages with it.
                self.count("written data dropped, the disk being full");
                self.hosts[host].failed.insert(inode);
                self.hosts[host].dropped.insert(inode, self.now);
                self.hosts[host].pages.remove(&inode);
            } else {
                let _ = self.deliver(*process, change);
            }
        }
    }
}
