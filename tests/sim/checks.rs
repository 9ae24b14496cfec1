//! What must hold at every step (the promises S1 to S4 of PROTOCOL.md, chapter 2), judged from outside by one who sees the
//! server and everybody's clock. What transactions see (S2, S5) is judged in [`super::history`].

use std::ffi::OsStr;
use std::path::Path;
use std::sync::Arc;

use coord::lock::Level;
use coord::protocol::Lease;
use coord::protocol::lease::Standing;
use coord::protocol::names::{Kind, Name};

use super::server::Change;
use super::world::{MS, State};

/// What a task believes to hold.
pub struct Held {
    pub task: usize,
    pub level: Level,
    pub lease: Arc<Lease>,
    /// World time at which it got its first level.
    pub since: u64,
}

fn name(path: &Path) -> Option<Name> {
    Name::parse(path.file_name().unwrap_or(OsStr::new("")))
}

impl State {
    /// A task has got a level, or gives it back (`None`).
    pub fn holds(&mut self, task: usize, level: Level, lease: Option<&Arc<Lease>>) {
        let before = self.held.iter().position(|held| held.task == task).map(|at| self.held.swap_remove(at));
        let (Some(lease), true) = (lease, level > Level::None) else { return };
        let since = before.map_or(self.now, |held| held.since);
        self.held.push(Held { task, level, lease: lease.clone(), since });
        self.judge_levels();
    }

    /// S1: at most one is in the write section, and beside one who is exclusive nobody reads. Only those count who believe it by
    /// a clock that has neither stood still nor jumped; the others are caught by what they do (S3, S5).
    pub(super) fn judge_levels(&mut self) {
        if self.held.len() < 2 || self.jumped {
            return;
        }
        let valid: Vec<&Held> = self.held.iter().filter(|held| self.is_believer(held)).collect();
        let Some(writer) = valid.iter().max_by_key(|held| held.level).filter(|held| held.level >= Level::Reserved)
        else {
            return;
        };
        let beside = valid.iter().find(|held| {
            held.task != writer.task && (writer.level == Level::Exclusive || held.level >= Level::Reserved)
        });
        if let Some(beside) = beside {
            let text = format!(
                "S1: task {} holds {:?} beside task {}, which holds {:?}",
                beside.task, beside.level, writer.task, writer.level
            );
            self.history.violated(text);
        }
    }

    fn is_believer(&self, held: &Held) -> bool {
        let task = &self.tasks[held.task];
        let process = &self.processes[task.process];
        let misled = process.misled != 0 && process.misled + 1000 * MS >= held.since;
        let now = coord::storage::Instant(self.clock(task.host));
        !process.crashed && !misled && held.lease.standing(now) == Standing::Valid
    }

    /// S3 and S4, as a change reaches the server.
    pub(super) fn judge_delivery(&mut self, process: usize, change: &Change) {
        match change {
            Change::Write(inode, ..) | Change::Truncate(inode, _) => {
                let live = ["d", "d-journal"].iter().any(|file| {
                    let path = Path::new("/simulated").join(file);
                    self.server.names.get(&path) == Some(inode)
                });
                // In trusted mode the native locks decide, and others who use them have no name in L.
                if live && self.is_shared() && !self.stands_in_lock(process) {
                    let text = format!(
                        "S3: process {process}, which has no name in L any more, changed a live file: {change:?}"
                    );
                    self.history.violated(text);
                }
            }
            Change::Rename(from, to) => {
                self.judge_rename(from, to);
                match name(to).map(|name| name.kind) {
                    Some(Kind::Deposed { .. }) => self.count("protocol: node deposed"),
                    Some(Kind::Fence(_)) => self.count("protocol: copies completed"),
                    _ => {}
                }
            }
            Change::Create(path, _) if matches!(name(path).map(|name| name.kind), Some(Kind::Epoch)) => {
                self.count("protocol: files replaced");
            }
            Change::Create(path, _) if matches!(name(path).map(|name| name.kind), Some(Kind::Deposed { .. })) => {
                self.count("protocol: ghost deposed");
            }
            _ => {}
        }
    }

    /// The database is in network-exclusive mode.
    pub fn is_shared(&self) -> bool {
        self.server.names.contains_key(Path::new("/simulated/d.readers"))
    }

    fn stands_in_lock(&self, process: usize) -> bool {
        let lock = Path::new("/simulated/d.lock");
        let inside = self.server.names.range(lock.to_path_buf()..).take_while(|(path, _)| path.starts_with(lock));
        let mut names = inside.filter_map(|(path, _)| name(path));
        names.any(|name| name.kind == Kind::Write && name.node.pid as usize == process + 1)
    }

    /// S4: whoever is deposed has not renamed his heartbeat for a lease, by a clock that runs 9 % fast at most, or is dead.
    fn judge_rename(&mut self, from: &Path, to: &Path) {
        if !self.server.names.contains_key(from) {
            return;
        }
        let Some(moved) = name(to) else { return };
        match moved.kind {
            Kind::Beat { .. } => {
                self.beats.insert(moved.node, self.now);
            }
            Kind::Deposed { by, .. } if by != moved.node.key && !self.jumped => {
                let Some(Name { kind: Kind::Beat { lease_ms }, .. }) = name(from) else { return };
                let process = moved.node.pid as usize - 1;
                let silent = self.now - self.beats.get(&moved.node).copied().unwrap_or(0);
                if !self.processes[process].crashed && silent < lease_ms * MS * 100 / 110 {
                    let text = format!("S4: {} was deposed {} ms after its heartbeat", moved.node, silent / MS);
                    self.history.violated(text);
                }
            }
            _ => {}
        }
    }
}
