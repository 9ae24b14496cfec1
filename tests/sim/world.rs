//! Whose step is next, what time it is, and what goes wrong: all drawn from one seed.
//!
//! Only the task whose turn it is runs. Every call of the storage trait is a step: the
//! task hands the turn on before it is carried out, so anything may happen between a check and what it guards.

use std::collections::BTreeSet;
use std::io;
use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::events::Fate;
use super::history::History;
use super::machines::Crashed;
pub use super::machines::{Host, Process, Task};
use super::server::{Change, Server};
use super::turns;
use super::weather::{Faults, Profile, Rng};

pub const MS: u64 = 1_000_000;
/// No run that goes on as it should comes near this.
const ENDLESS: u64 = 400_000;

pub struct State {
    pub rng: Rng,
    pub now: u64,
    pub server: Server,
    pub hosts: Vec<Host>,
    pub processes: Vec<Process>,
    pub tasks: Vec<Task>,
    turn: usize,
    pub(super) late: Vec<(u64, Change)>,
    pub faults: Faults,
    pub(super) repeats_left: u32,
    pub profile: Profile,
    pub history: History,
    pub steps: u64,
    pub injected: u64,
    pub trace: Option<Vec<String>>,
    pub kinds: BTreeSet<&'static str>,
}

pub struct World {
    state: Mutex<State>,
}

impl World {
    pub fn new(seed: u64, profile: Profile, faults: Faults, tasks: Vec<Task>, hosts: usize, processes: usize) -> World {
        let mut rng = Rng::new(seed);
        for _ in 0..8 {
            rng.next();
        }
        let hosts = (0..hosts)
            .map(|_| Host {
                clock_offset: (rng.below(3_600_000) * MS) as i64,
                drift: rng.below(1600) as i64 - 800,
                ..Host::default()
            })
            .collect();
        let state = State {
            now: 0,
            server: Server::with_directory(Path::new("/shared")),
            hosts,
            processes: (0..processes).map(|_| Process::default()).collect(),
            tasks,
            turn: 0,
            late: Vec::new(),
            faults,
            repeats_left: 1,
            profile,
            history: History::default(),
            steps: 0,
            injected: 0,
            trace: None,
            kinds: BTreeSet::new(),
            rng,
        };
        World { state: Mutex::new(state) }
    }

    pub fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn turn(&self) -> usize {
        self.state().turn
    }

    /// This task has ended; the turn goes on.
    pub(super) fn end(&self, task: usize) {
        let mut state = self.state();
        state.tasks[task].done = true;
        if let Some(next) = state.pick() {
            state.turn = next;
        }
    }

    /// Hands the turn on and waits for the next one. Unwinds if the process has crashed meanwhile.
    pub fn pass<'a>(&'a self, mut state: MutexGuard<'a, State>, task: usize) -> MutexGuard<'a, State> {
        let next = state.pick().unwrap_or(task);
        if next != task {
            state.turn = next;
            drop(state);
            turns::give_way();
            state = self.state();
        }
        state.steps += 1;
        if state.steps == ENDLESS {
            state.history.violated(format!("no end after {ENDLESS} steps"));
            state.processes.iter_mut().for_each(|process| process.crashed = true);
        }
        if state.processes[state.tasks[task].process].crashed {
            drop(state);
            std::panic::resume_unwind(Box::new(Crashed));
        }
        state
    }

    /// A change on its way to the server.
    pub fn change(&self, task: usize, change: Change) -> io::Result<()> {
        let mut state = self.state();
        if std::thread::panicking() {
            // What unwinds here is a process that is dead already.
            return Err(io::ErrorKind::Interrupted.into());
        }
        if matches!(change, Change::Rename(..)) {
            state.tasks[task].moving = Some(change.clone());
        }
        state.befall(task, Some(&change));
        let mut state = self.pass(state, task);
        state.tasks[task].moving = None;
        let cost = 50_000 + state.rng.below(MS);
        state.advance(cost);
        let moved = state.tasks[task].moved.take();
        let fate = if moved.is_some() { Fate::Done } else { state.fate(task, &change) };
        let host = state.tasks[task].host;
        state.note(task, || format!("{change:?}"));
        let result = match fate {
            Fate::Done => moved.unwrap_or_else(|| state.deliver(&change)),
            Fate::ErrorButDone => {
                let _ = state.deliver(&change);
                Err(io::Error::new(io::ErrorKind::TimedOut, "simulated: reply lost"))
            }
            Fate::ErrorAndLate => {
                state.later(change.clone());
                Err(io::Error::new(io::ErrorKind::TimedOut, "simulated: request late"))
            }
            Fate::DoneTwice => {
                let result = state.deliver(&change);
                state.later(change.clone());
                result
            }
        };
        state.note(task, || format!("  -> {result:?}"));
        // The client learns from its own change; what others did it does not see.
        let seen = &mut state.hosts[host];
        if let Some(dir) = change.directory() {
            seen.listings.remove(dir);
        }
        if let Change::Rename(from, to) = &change {
            seen.dentries.remove(from);
            seen.dentries.remove(to);
        }
        if let Change::Create(path, _) | Change::Unlink(path) | Change::MakeDir(path) | Change::RemoveDir(path) =
            &change
        {
            seen.dentries.remove(path);
        }
        result
    }

    /// A step that only looks.
    pub fn look<R>(&self, task: usize, what: impl FnOnce(&mut State, usize) -> R) -> R {
        let mut state = self.state();
        state.befall(task, None);
        let mut state = self.pass(state, task);
        let cost = 20_000 + state.rng.below(MS / 2);
        state.advance(cost);
        let host = state.tasks[task].host;
        what(&mut state, host)
    }

    /// Lets time pass for a task, by its host's clock.
    pub fn sleep(&self, task: usize, span: u64) {
        let mut state = self.state();
        state.tasks[task].wakes = state.now + span.max(1000);
        drop(self.pass(state, task));
    }

    pub fn now(&self, task: usize) -> u64 {
        let state = self.state();
        let host = state.tasks[task].host;
        state.clock(host)
    }
}

impl State {
    pub fn note(&mut self, task: usize, text: impl FnOnce() -> String) {
        if let Some(trace) = &mut self.trace {
            trace.push(format!("{:9.3} ms  task {task}  {}", self.now as f64 / MS as f64, text()));
        }
    }

    /// A host's own clock.
    pub fn clock(&self, host: usize) -> u64 {
        let host = &self.hosts[host];
        let drift = self.now as i64 / 10_000 * host.drift;
        (10_000_000 * MS) + (self.now as i64 + drift + host.clock_offset) as u64
    }

    pub(super) fn advance(&mut self, span: u64) {
        self.now += span;
        let due: Vec<Change> = {
            let now = self.now;
            let (due, rest) = std::mem::take(&mut self.late).into_iter().partition(|(at, _)| *at <= now);
            self.late = rest;
            let due: Vec<(u64, Change)> = due;
            due.into_iter().map(|(_, change)| change).collect()
        };
        for change in due {
            self.note(usize::MAX, || format!("late: {change:?}"));
            let _ = self.server.apply(&change);
        }
    }

    pub fn has_late(&self) -> bool {
        !self.late.is_empty()
    }

    pub(super) fn is_ready(&self, task: usize) -> bool {
        let it = &self.tasks[task];
        !it.done && self.ready_at(task) <= self.now
    }

    fn ready_at(&self, task: usize) -> u64 {
        let it = &self.tasks[task];
        if self.processes[it.process].crashed {
            return 0;
        }
        it.wakes.max(self.hosts[it.host].frozen_until).max(self.processes[it.process].frozen_until)
    }

    /// The next task, letting time pass if nobody is ready.
    fn pick(&mut self) -> Option<usize> {
        loop {
            let ready: Vec<usize> = (0..self.tasks.len()).filter(|task| self.is_ready(*task)).collect();
            if !ready.is_empty() {
                if ready.contains(&self.turn) && self.rng.below(3) > 0 {
                    return Some(self.turn);
                }
                let chosen = self.rng.below(ready.len() as u64) as usize;
                return Some(ready[chosen]);
            }
            let open = (0..self.tasks.len()).filter(|task| !self.tasks[*task].done);
            let next = open.map(|task| self.ready_at(task)).min()?;
            let span = next.saturating_sub(self.now).max(1);
            self.advance(span);
        }
    }
}
