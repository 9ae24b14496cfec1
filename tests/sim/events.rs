//! What befalls a step: stops, deaths, lost, late and repeated requests, drawn from the seed.

use std::io;
use std::path::{Path, PathBuf};

use super::server::{Change, Inode};
use super::weather::Profile;
use super::world::{MS, State};

/// A step's fate.
pub(super) enum Fate {
    Done,
    ErrorButDone,
    ErrorAndLate,
    DoneTwice,
}

impl State {
    /// Crashes and freezes, before a step.
    pub(super) fn befall(&mut self, task: usize, change: Option<&Change>) {
        let (host, process) = (self.tasks[task].host, self.tasks[task].process);
        if self.rng.chance(self.faults.crash) {
            self.crash(task, change);
        } else if self.rng.chance(self.faults.freeze) {
            let span = (200 + self.rng.below(6000)) * MS;
            self.injected += 1;
            if self.rng.below(2) == 0 {
                self.kinds.insert("machine frozen, its clock with it");
                self.note(task, || format!("-- machine frozen for {} ms", span / MS));
                self.hosts[host].frozen_until = self.now + span;
                self.hosts[host].clock_offset -= span as i64;
                let now = self.now;
                for it in 0..self.processes.len() {
                    if self.tasks.iter().any(|task| task.process == it && task.host == host) {
                        self.processes[it].disturbed = now + span;
                    }
                }
            } else {
                self.kinds.insert("process stopped");
                self.note(task, || format!("-- process stopped for {} ms", span / MS));
                self.processes[process].frozen_until = self.now + span;
                self.processes[process].disturbed = self.now + span;
            }
        }
    }

    fn crash(&mut self, task: usize, change: Option<&Change>) {
        let process = self.tasks[task].process;
        self.kinds.insert("process killed");
        self.injected += 1;
        self.note(task, || "-- process killed".to_string());
        self.processes[process].crashed = true;
        for task in self.tasks.iter_mut().filter(|task| task.process == process) {
            // A rename that is not carried out now hides no name now.
            task.moving = None;
        }
        // A local system call ends before its process does.
        if let Some(change) = change
            && self.profile != Profile::Local
            && self.rng.below(2) == 0
        {
            // Its last request may be carried out long after it is gone.
            self.kinds.insert("request of a dead process delivered late");
            self.later(change.clone());
        }
    }

    pub(super) fn later(&mut self, change: Change) {
        let span = if self.rng.below(2) == 0 { self.rng.below(50 * MS) } else { self.rng.below(20_000 * MS) };
        self.late.push((self.now + span, change));
    }

    pub(super) fn fate(&mut self, task: usize, change: &Change) -> Fate {
        // On a local filesystem a system call does what it says.
        if self.profile == Profile::Local {
            return Fate::Done;
        }
        if self.rng.chance(self.faults.lie) {
            self.injected += 1;
            self.kinds.insert("error although done, or done late");
            let process = self.tasks[task].process;
            self.processes[process].disturbed = self.now;
            return if self.rng.below(2) == 0 { Fate::ErrorButDone } else { Fate::ErrorAndLate };
        }
        // A data write of a client that went on is not repeated: assumed of the server.
        if self.repeats_left > 0 && change.is_by_name() && self.rng.chance(self.faults.repeat) {
            self.repeats_left -= 1;
            self.injected += 1;
            self.kinds.insert("request carried out twice");
            return Fate::DoneTwice;
        }
        Fate::Done
    }

    pub(super) fn deliver(&mut self, change: &Change) -> io::Result<()> {
        self.server.apply(change)
    }

    /// Renames that the server carries out in the very moment of a listing of `dir`, by tasks that run: the listing misses both
    /// names of each.
    pub fn renamed_meanwhile(&mut self, dir: &Path) -> Vec<PathBuf> {
        let mut missed = Vec::new();
        for task in 0..self.tasks.len() {
            let Some(change) = self.tasks[task].moving.clone() else { continue };
            let Change::Rename(from, to) = change.clone() else { continue };
            if from.parent() != Some(dir) || !self.is_ready(task) || self.rng.below(2) == 0 {
                continue;
            }
            let result = self.server.apply(&change);
            self.kinds.insert("name renamed while it was listed");
            self.note(task, || format!("{change:?}, during a listing -> {result:?}"));
            self.tasks[task].moving = None;
            self.tasks[task].moved = Some(result);
            missed.extend([from, to]);
        }
        missed
    }

    /// Sends what a host has written to a file.
    pub fn flush(&mut self, host: usize, inode: Inode) {
        let (mine, rest) = std::mem::take(&mut self.hosts[host].dirty)
            .into_iter()
            .partition(|change| matches!(change, Change::Write(of, ..) if *of == inode));
        self.hosts[host].dirty = rest;
        let mine: Vec<Change> = mine;
        for change in &mine {
            let _ = self.server.apply(change);
        }
    }
}
