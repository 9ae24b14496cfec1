//! What befalls a step: stops, deaths, losses of power, a server that does not answer, and lost, late and repeated requests.
//!
//! Each of these is drawn from the seed, the task and the number of its step, and from nothing else. So one can be left out of a
//! run and the others stay where they were, as far as the tasks still come that way: that is what shrinking a schedule rests on.

use std::io;
use std::path::{Path, PathBuf};

use coord::lock::Level;

use super::orders;
use super::server::{Change, Inode};
use super::weather::{Profile, Rng};
use super::world::{MS, State};

/// A step's fate.
pub(super) enum Fate {
    Done,
    ErrorButDone,
    ErrorAndLate,
    ErrorAndLost,
    DoneTwice,
}

/// One thing that befell a run.
#[derive(Clone, Debug)]
pub struct Event {
    pub task: usize,
    pub step: u64,
    /// World time.
    pub at: u64,
    pub what: &'static str,
}

impl State {
    /// Something may befall the coming step, before it is made.
    pub(super) fn befall(&mut self, task: usize, change: Option<&Change>) {
        self.tasks[task].steps += 1;
        let process = self.tasks[task].process;
        if !self.processes[process].begun {
            return;
        }
        self.watch_takeover(task, change);
        let cuts = matches!(change, Some(Change::Truncate(..)));
        let has_cut = std::mem::replace(&mut self.processes[process].has_cut, cuts);
        let mut rng = Rng::of(self.seed, task, self.tasks[task].steps);
        let mut faults = self.faults;
        if self.is_delicate(process, change) || (has_cut && faults.aimed > 0) {
            (faults.freeze, faults.crash) = (faults.freeze + faults.aimed, faults.crash + faults.aimed / 2);
        }
        if self.is_exclusive(task) {
            faults.freeze += faults.exposed;
        }
        if faults.aimed > 0 && matches!(change, Some(Change::Rename(_, to)) if to.to_string_lossy().contains("/.nfs")) {
            // The client is between the two steps of one rename.
            faults.freeze += 4000;
        }
        if self.trusted {
            // That end is SQLite's own, and nobody syncs it before the next transaction's journal: docs/proof.md, power cuts.
            self.unsynced_end = self.unsynced_end.filter(|inode| self.server.is_unsynced(*inode));
            faults.power = if self.unsynced_end.is_some() { 0 } else { faults.power };
        } else if self.now < self.unsynced_end_until {
            faults.power += faults.aimed / 4;
        }
        if self.serves {
            // The server stays: what it would forget is another workload's.
            faults.outage = 0;
            faults.power = if self.tasks[task].host == 0 { 0 } else { faults.power };
        }
        if self.parts(change) && rng.chance(faults.parted) && self.wake_somebody(task) {
            faults.crash = 10_000;
        }
        if rng.chance(faults.crash) {
            if self.happens(task, "process killed") {
                if has_cut {
                    self.unsynced_end_until = self.now + 300 * MS;
                }
                self.crash(task, change, &mut rng);
                self.unsynced_end = self.unsynced_end.or_else(|| self.server.ended_unsynced(&orders::journal()));
            }
        } else if rng.chance(faults.freeze) {
            self.freeze(task, &mut rng);
        } else if rng.chance(faults.power) {
            if self.happens(task, "machine lost its power") {
                self.lose_power(self.tasks[task].host, &mut rng);
            }
        } else if rng.chance(faults.outage) && self.profile != Profile::Local {
            self.stop_server(task, &mut rng);
        } else if rng.chance(faults.jump) && self.happens(task, "clock jumped") {
            self.jump(self.tasks[task].host, &mut rng);
        } else if rng.chance(faults.full) && self.happens(task, "disk full for a while") {
            self.full_until = self.now + (100 + rng.below(4000)) * MS;
        }
    }

    /// Keeps in mind who is replacing files: from the making of a copy to the epoch that tells of it.
    fn watch_takeover(&mut self, task: usize, change: Option<&Change>) {
        let Some(Change::Create(path, _)) = change else { return };
        let path = path.to_string_lossy();
        let fences = path.contains("/fence.");
        if fences || path.contains("/epoch.") {
            let process = self.tasks[task].process;
            self.processes[process].fences = fences;
        }
        if fences && self.faults.aimed > 0 && Rng::of(self.seed ^ 0x5555, task, self.tasks[task].steps).below(2) == 0 {
            self.wake_somebody(task);
        }
    }

    /// Whether the journal has been replaced and the database is about to be.
    fn parts(&self, change: Option<&Change>) -> bool {
        let ready = |from: &Path| from.to_string_lossy().ends_with(".ready");
        self.faults.parted > 0 && matches!(change, Some(Change::Rename(from, _)) if ready(from))
    }

    fn is_exclusive(&self, task: usize) -> bool {
        self.held.iter().any(|held| held.task == task && held.level == Level::Exclusive)
    }

    /// Somebody who stands still goes on while he is being fenced off; whether there is one.
    fn wake_somebody(&mut self, task: usize) -> bool {
        let mut rng = Rng::of(self.seed ^ 0xaaaa, task, self.tasks[task].steps);
        let until = self.now + rng.below(12 * MS);
        let sleeper = |state: &State, other: usize| {
            let it = &state.tasks[other];
            let longest = state.hosts[it.host].frozen_until.max(state.processes[it.process].frozen_until);
            longest > until && !it.done && state.held.iter().any(|held| held.task == other)
        };
        let away = |other: &usize| self.tasks[*other].host != self.tasks[task].host && sleeper(self, *other);
        let mut sleepers = (0..self.tasks.len()).filter(away);
        let found = match self.faults.exposed {
            0 => sleepers.next(),
            _ => sleepers.find(|other| self.is_exclusive(*other)),
        };
        let Some(other) = found else { return false };
        let happens = self.happens(task, "one who stood still went on while he was fenced off");
        if happens {
            let (host, process) = (self.tasks[other].host, self.tasks[other].process);
            let machine = &mut self.hosts[host];
            // Its clock stood still for less than it was to.
            machine.clock_offset += machine.frozen_until.saturating_sub(until) as i64;
            machine.frozen_until = machine.frozen_until.min(until);
            let sleeper = &mut self.processes[process];
            sleeper.frozen_until = sleeper.frozen_until.min(until);
        }
        happens
    }

    /// Whether a step is one of those on which the order of others hangs: around locks, takeovers, and changes of live files.
    fn is_delicate(&self, process: usize, change: Option<&Change>) -> bool {
        let words = ["/deposed.", "/epoch.", "/fence.", "/write.", "/exclusive."];
        let delicate = |path: &Path| words.iter().any(|word| path.to_string_lossy().contains(word));
        self.faults.aimed > 0
            && (self.processes[process].fences
                || match change {
                    Some(Change::Create(path, _) | Change::Unlink(path)) => delicate(path),
                    Some(Change::Rename(from, to)) => delicate(from) || delicate(to),
                    Some(Change::Truncate(..)) => true,
                    _ => false,
                })
    }

    /// Whether what was drawn for this step of the task is to happen; counts it if so.
    pub(super) fn happens(&mut self, task: usize, what: &'static str) -> bool {
        let (step, at) = (self.tasks[task].steps, self.now);
        if self.only.as_ref().is_some_and(|only| !only.contains(&(task, step))) {
            return false;
        }
        self.injected += 1;
        self.count(what);
        self.note(task, || format!("-- {what}"));
        self.events.push(Event { task, step, at, what });
        true
    }

    fn freeze(&mut self, task: usize, rng: &mut Rng) {
        let (host, process) = (self.tasks[task].host, self.tasks[task].process);
        let span = (200 + rng.below(6000)) * MS;
        // Whose clock goes on stops writing by himself when he wakes.
        let unknowing = self.faults.parted > 0 && self.is_exclusive(task);
        if rng.below(2) == 0 || unknowing {
            if self.happens(task, "machine frozen, its clock with it") {
                self.hosts[host].frozen_until = self.now + span;
                self.hosts[host].clock_offset -= span as i64;
                self.mislead(host, self.now, span);
            }
        } else if self.happens(task, "process stopped") {
            self.processes[process].frozen_until = self.now + span;
            self.processes[process].disturbed = self.now + span;
        }
    }

    /// The processes of a host have a clock that cannot be trusted for that span from then on; and if it is behind already, for so
    /// much longer.
    fn mislead(&mut self, host: usize, from: u64, span: u64) {
        for process in self.of_host(host) {
            let process = &mut self.processes[process];
            process.disturbed = process.disturbed.max(from + span);
            process.misled = process.misled.max(from) + span;
        }
    }

    fn of_host(&self, host: usize) -> Vec<usize> {
        let mut found: Vec<usize> =
            self.tasks.iter().filter(|task| task.host == host).map(|task| task.process).collect();
        found.dedup();
        found
    }

    fn jump(&mut self, host: usize, rng: &mut Rng) {
        let span = (100 + rng.below(3000)) * MS;
        if rng.below(2) == 0 {
            self.hosts[host].clock_offset += span as i64;
            self.jumped = true;
            self.mislead(host, self.now, 0);
        } else {
            self.hosts[host].clock_offset -= span as i64;
            // Until its clock is where it was it takes itself for younger than it is.
            self.mislead(host, self.now + 1000 * MS, span);
        }
    }

    fn crash(&mut self, task: usize, change: Option<&Change>, rng: &mut Rng) {
        let process = self.tasks[task].process;
        self.kill(process);
        // A local system call ends before its process does.
        if let Some(change) = change
            && self.profile_of(self.tasks[task].host).delivers_late()
            && rng.below(2) == 0
        {
            self.count("request of a dead process delivered late");
            self.later(process, change.clone(), rng);
        }
    }

    fn kill(&mut self, process: usize) {
        self.processes[process].crashed = true;
        for task in self.tasks.iter_mut().filter(|task| task.process == process) {
            // A rename that is not carried out now hides no name now.
            task.moving = None;
        }
    }

    /// A machine goes off and comes back: its processes are dead, its memory is empty, its clock begins anew. On a local
    /// filesystem it is the server too.
    fn lose_power(&mut self, host: usize, rng: &mut Rng) {
        for process in self.of_host(host) {
            if self.processes[process].begun {
                self.kill(process);
            }
        }
        self.hosts[host].forget();
        self.hosts[host].boots += 1;
        self.hosts[host].clock_offset = (rng.below(3_600_000) * MS) as i64 - self.now as i64;
        self.hosts[host].frozen_until = self.now + (500 + rng.below(4000)) * MS;
        if self.profile == Profile::Local {
            self.server.lose_power(rng);
        }
    }

    /// The server does not answer for a while, and may come back without what was not synced.
    fn stop_server(&mut self, task: usize, rng: &mut Rng) {
        let span = (200 + rng.below(8000)) * MS;
        let restarts = matches!(self.profile, Profile::Nfs3 | Profile::Nfs4) && rng.below(2) == 0;
        let what = if restarts { "server lost its power and came back" } else { "server did not answer for a while" };
        if !self.happens(task, what) {
            return;
        }
        self.down_until = self.now + span;
        if restarts {
            // Who still has what was lost sends it again.
            for (process, change) in self.server.lose_power(rng).into_iter().rev() {
                let host = self.host_of(process);
                if !self.processes[process].crashed || self.hosts[host].boots == 0 {
                    self.count("unsynced write sent again after the server's restart");
                    self.hosts[host].dirty.insert(0, (process, change));
                }
            }
        }
    }

    fn host_of(&self, process: usize) -> usize {
        self.tasks.iter().find(|task| task.process == process).map_or(0, |task| task.host)
    }

    pub(super) fn later(&mut self, process: usize, change: Change, rng: &mut Rng) {
        let span = if rng.below(2) == 0 { rng.below(50 * MS) } else { rng.below(20_000 * MS) };
        self.late.push((self.now + span, process, change));
    }

    pub(super) fn fate(&mut self, task: usize, change: &Change) -> Fate {
        // On a local filesystem a system call does what it says.
        if !self.profile_of(self.tasks[task].host).delivers_late() || !self.processes[self.tasks[task].process].begun {
            return Fate::Done;
        }
        let mut rng = Rng::of(!self.seed, task, self.tasks[task].steps);
        let process = self.tasks[task].process;
        if rng.chance(self.faults.lie) && self.happens(task, "error although done, done late, or not done") {
            self.processes[process].disturbed = self.now;
            match rng.below(5) {
                0 | 1 => return Fate::ErrorButDone,
                2 => return Fate::ErrorAndLost,
                _ => self.later(process, change.clone(), &mut rng),
            }
            return Fate::ErrorAndLate;
        }
        // A data write of a client that went on is not repeated: assumed of the server.
        let may_repeat = self.repeats_left > 0 && change.is_by_name();
        if may_repeat && rng.chance(self.faults.repeat) && self.happens(task, "request carried out twice") {
            self.repeats_left -= 1;
            self.later(process, change.clone(), &mut rng);
            return Fate::DoneTwice;
        }
        Fate::Done
    }

    /// What a process does now may fail.
    pub(super) fn disturb(&mut self, task: usize) {
        let process = self.tasks[task].process;
        self.processes[process].disturbed = self.processes[process].disturbed.max(self.now);
    }

    /// A change reaches the server.
    pub(super) fn deliver(&mut self, process: usize, change: &Change) -> io::Result<()> {
        self.judge_delivery(process, change);
        self.judge_order(process, change);
        self.server.apply(change, process)
    }

    /// Whatever is due by now reaches the server.
    pub(super) fn deliver_late(&mut self) {
        let mut due = Vec::new();
        let now = self.now;
        self.late.retain(|(at, process, change)| {
            if *at <= now {
                due.push((*process, change.clone()));
            }
            *at > now
        });
        for (process, change) in due {
            self.note(usize::MAX, || format!("late, of process {process}: {change:?}"));
            self.orders.comes_late(&change);
            let _ = self.deliver(process, &change);
        }
    }

    /// What one request for the names in `dir` brings.
    pub fn list_now(&mut self, dir: &Path) -> io::Result<Vec<String>> {
        let missed = self.renamed_meanwhile(dir);
        let mut names = self.server.list(dir)?;
        names.retain(|name| !missed.contains(&dir.join(name)));
        Ok(names)
    }

    /// Renames that the server carries out in the very moment of a listing of `dir`, by tasks that run: the listing misses both
    /// names of each.
    fn renamed_meanwhile(&mut self, dir: &Path) -> Vec<PathBuf> {
        let mut missed = Vec::new();
        for task in 0..self.tasks.len() {
            let Some(change) = self.tasks[task].moving.clone() else { continue };
            let Change::Rename(from, to) = change.clone() else { continue };
            if from.parent() != Some(dir) || !self.is_ready(task) || self.tasks[task].rng.below(2) == 0 {
                continue;
            }
            self.count("name renamed while it was listed");
            self.carry_out_now(task, &change);
            missed.extend([from, to]);
        }
        missed
    }

    /// On a server that renames by handle, somebody who has opened the same name renames what it has become.
    pub(super) fn cross(&mut self, task: usize, from: &Path, renamed: Inode) {
        for other in (0..self.tasks.len()).filter(|other| *other != task) {
            let Some(Change::Rename(same, to)) = self.tasks[other].moving.clone() else { continue };
            if same == from && self.is_ready(other) && self.tasks[other].rng.below(2) == 0 {
                self.count("two renames by handle crossed");
                self.carry_out_now(other, &Change::RenameOpened(renamed, to));
            }
        }
    }

    fn carry_out_now(&mut self, task: usize, change: &Change) {
        let process = self.tasks[task].process;
        let result = self.deliver(process, change);
        self.note(task, || format!("{change:?}, meanwhile -> {result:?}"));
        self.tasks[task].moving = None;
        self.tasks[task].moved = Some(result);
    }
}
