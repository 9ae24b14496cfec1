//! Whose step is next, what time it is, and what goes wrong: all drawn from one seed.
//!
//! Only the task whose turn it is runs. Every call of the storage trait is a step: the
//! task hands the turn on before it is carried out, so anything may happen between a check and what it guards.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::io;
use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};

use coord::protocol::NodeId;

use super::checks::Held;
use super::events::{Event, Fate};
use super::history::History;
use super::machines::Crashed;
pub use super::machines::{Host, Process, Task};
use super::orders::Orders;
use super::server::{Change, Inode, Server};
use super::turns;
use super::weather::{Broken, Faults, Memory, Profile, Rng};

pub const MS: u64 = 1_000_000;
/// No run that goes on as it should comes near this.
const ENDLESS: u64 = 400_000;

pub struct State {
    pub seed: u64,
    pub now: u64,
    pub server: Server,
    pub hosts: Vec<Host>,
    pub processes: Vec<Process>,
    pub tasks: Vec<Task>,
    turn: usize,
    /// Requests on their way: when they arrive, and whose they are.
    pub(super) late: Vec<(u64, usize, Change)>,
    pub faults: Faults,
    /// Only these steps of these tasks are befallen by what was drawn for them: `(task, step)`.
    pub only: Option<BTreeSet<(usize, u64)>>,
    /// How rarely the turn goes on without need: one draw in as many.
    pub stays: u64,
    /// A listing takes two requests.
    pub parts: bool,
    pub events: Vec<Event>,
    pub(super) repeats_left: u32,
    /// Until then the server answers nobody.
    pub(super) down_until: u64,
    /// Until then nothing gets longer.
    pub(super) full_until: u64,
    /// A clock has gone forward by a jump: silence means nothing to whoever has it.
    pub jumped: bool,
    pub profile: Profile,
    pub memory: Memory,
    pub broken: Option<Broken>,
    /// How rarely a writer thinks between reading and asking for RESERVED, and for how many milliseconds at most.
    pub thinks: (u64, u64),
    /// How long connections keep an unused lock.
    pub linger_ms: u64,
    /// Somebody has died between the end of his journal and its sync: until then losses of power are aimed at that.
    pub unsynced_end_until: u64,
    /// The same, in trusted mode: the journal, until somebody syncs it.
    pub unsynced_end: Option<Inode>,
    /// The programs leave their data to SQLite and its native locks.
    pub trusted: bool,
    /// The first machine is the server, and the files are on its own disk.
    pub serves: bool,
    pub history: History,
    pub(super) held: Vec<Held>,
    /// When each node's last heartbeat reached the server.
    pub(super) beats: HashMap<NodeId, u64>,
    pub(super) orders: Orders,
    pub longest_wait: u64,
    pub steps: u64,
    pub injected: u64,
    pub trace: Option<Vec<String>>,
    pub kinds: BTreeMap<&'static str, u64>,
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
                drift: rng.below(1801) as i64 - 900,
                remembers: rng.below(3) == 0,
                ..Host::default()
            })
            .collect();
        let mut server = Server::with_directory(Path::new("/simulated"));
        server.forgets_names = profile == Profile::Local;
        server.removes_at_close = profile == Profile::Smb;
        let mut tasks = tasks;
        for (number, task) in tasks.iter_mut().enumerate() {
            task.rng = Rng::of(seed, number, u64::MAX);
        }
        let state = State {
            seed,
            now: 0,
            server,
            hosts,
            processes: (0..processes).map(|_| Process::default()).collect(),
            tasks,
            turn: 0,
            late: Vec::new(),
            faults,
            only: None,
            stays: 3,
            parts: false,
            events: Vec::new(),
            repeats_left: 2,
            down_until: 0,
            full_until: 0,
            jumped: false,
            profile,
            memory: profile.memory(rng.below(2) == 0),
            broken: None,
            thinks: (8, 400),
            linger_ms: 0,
            unsynced_end_until: 0,
            unsynced_end: None,
            trusted: false,
            serves: false,
            history: History::default(),
            held: Vec::new(),
            beats: HashMap::new(),
            orders: Orders::default(),
            longest_wait: 0,
            steps: 0,
            injected: 0,
            trace: None,
            kinds: BTreeMap::new(),
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
        if std::thread::panicking() {
            // What unwinds here is a process that is dead already. The others would be taken for unwinding too if they went on now.
            return state;
        }
        let next = state.pick().unwrap_or(task);
        if next != task {
            state.turn = next;
            drop(state);
            turns::give_way();
            state = self.state();
        }
        state.steps += 1;
        state.judge_levels();
        // While one waits for the rest of a listing, others ask again and again.
        let endless = if state.parts { 2 * ENDLESS } else { ENDLESS };
        if state.steps == endless {
            state.history.violated(format!("no end after {endless} steps"));
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
            return Err(io::ErrorKind::Interrupted.into());
        }
        if matches!(change, Change::Rename(..)) {
            state.tasks[task].moving = Some(change.clone());
        }
        state.befall(task, Some(&change));
        let state = self.pass(state, task);
        let mut state = self.reach(state, task)?;
        state.tasks[task].moving = None;
        let cost = 50_000 + state.tasks[task].rng.below(MS);
        state.advance(cost);
        state.judge_request(task, &change);
        if state.has_no_space(task, &change) {
            state.disturb(task);
            state.note(task, || format!("{change:?} -> the disk is full"));
            return Err(io::ErrorKind::StorageFull.into());
        }
        let moved = state.tasks[task].moved.take();
        let fate = if moved.is_some() { Fate::Done } else { state.fate(task, &change) };
        let (host, process) = (state.tasks[task].host, state.tasks[task].process);
        state.count(change.kind());
        state.note(task, || format!("{change:?}"));
        let result = match fate {
            Fate::Done => moved.unwrap_or_else(|| state.carry_out(task, &change)),
            Fate::ErrorButDone => {
                let _ = state.deliver(process, &change);
                Err(io::Error::new(io::ErrorKind::TimedOut, "simulated: reply lost"))
            }
            Fate::ErrorAndLate | Fate::ErrorAndLost => {
                Err(io::Error::new(io::ErrorKind::TimedOut, "simulated: no reply"))
            }
            Fate::DoneTwice => state.carry_out(task, &change),
        };
        state.note(task, || format!("  -> {result:?}"));
        state.hosts[host].learn(&change);
        result
    }

    /// Waits until the server answers. A client that gives up after a while gets an error (SMB).
    fn reach<'a>(&'a self, mut state: MutexGuard<'a, State>, task: usize) -> io::Result<MutexGuard<'a, State>> {
        while !state.answers() {
            if state.profile == Profile::Smb && state.tasks[task].rng.below(2) == 0 {
                state.count("client gave up waiting for the server");
                let process = state.tasks[task].process;
                state.processes[process].disturbed = state.now;
                (state.tasks[task].moving, state.tasks[task].moved) = (None, None);
                state.advance(100 * MS);
                return Err(io::Error::new(io::ErrorKind::HostUnreachable, "simulated: no answer"));
            }
            state.tasks[task].wakes = state.down_until;
            state = self.pass(state, task);
        }
        Ok(state)
    }

    /// A step that only looks at what the server has.
    pub fn look<R>(&self, task: usize, what: impl FnOnce(&mut State, usize) -> io::Result<R>) -> io::Result<R> {
        if std::thread::panicking() {
            return Err(io::ErrorKind::Interrupted.into());
        }
        let mut state = self.state();
        state.befall(task, None);
        let state = self.pass(state, task);
        let mut state = self.reach(state, task)?;
        let cost = 20_000 + state.tasks[task].rng.below(MS / 2);
        state.advance(cost);
        let host = state.tasks[task].host;
        what(&mut state, host)
    }

    /// A step that the client makes alone.
    pub fn local<R>(&self, task: usize, what: impl FnOnce(&mut State, usize) -> R) -> R {
        let mut state = self.state();
        state.befall(task, None);
        let mut state = self.pass(state, task);
        let cost = 5_000 + state.tasks[task].rng.below(MS / 20);
        state.advance(cost);
        let host = state.tasks[task].host;
        what(&mut state, host)
    }

    /// Lets time pass for a task, by its host's clock.
    pub fn sleep(&self, task: usize, span: u64) {
        let mut state = self.state();
        // Whoever waits for a mutex whose holder waits for the server asks again and again.
        let least = if state.answers() { 1000 } else { 10 * MS };
        state.tasks[task].wakes = state.now + span.max(least);
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

    /// One more of this kind of step or event.
    pub fn count(&mut self, kind: &'static str) {
        *self.kinds.entry(kind).or_default() += 1;
    }

    /// What a machine has its files on.
    pub fn profile_of(&self, host: usize) -> Profile {
        if self.serves && host == 0 { Profile::Local } else { self.profile }
    }

    /// What a machine remembers of the server.
    pub fn memory_of(&self, host: usize) -> Memory {
        if self.serves && host == 0 { Memory::default() } else { self.memory }
    }

    /// A host's own clock.
    pub fn clock(&self, host: usize) -> u64 {
        let host = &self.hosts[host];
        let drift = self.now as i64 / 10_000 * host.drift;
        // Where it starts it is three hours ahead of anything that is taken away from it.
        (10_000_000 * MS).saturating_add_signed(self.now as i64 + drift + host.clock_offset)
    }

    pub(super) fn advance(&mut self, span: u64) {
        self.now += span;
        self.deliver_late();
    }

    /// A change by somebody who waits for its answer.
    fn carry_out(&mut self, task: usize, change: &Change) -> io::Result<()> {
        let process = self.tasks[task].process;
        let opened = match change {
            Change::Rename(from, _) if self.profile == Profile::Smb => self.server.look_up(from).ok(),
            _ => None,
        };
        let mut result = self.deliver(process, change);
        if let (Ok(()), Some(inode), Change::Rename(from, _)) = (&result, opened, change) {
            self.cross(task, from, inode);
        }
        if self.broken == Some(Broken::BeatByHandle)
            && let Change::Rename(from, to) = change
            && [from, to].iter().all(|path| path.to_string_lossy().contains("/beat."))
        {
            result = Ok(());
        }
        result
    }

    pub fn answers(&self) -> bool {
        self.now >= self.down_until
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
                let rng = &mut self.tasks[self.turn].rng;
                if ready.contains(&self.turn) && rng.below(self.stays) > 0 {
                    return Some(self.turn);
                }
                let chosen = rng.below(ready.len() as u64) as usize;
                return Some(ready[chosen]);
            }
            let open = (0..self.tasks.len()).filter(|task| !self.tasks[*task].done);
            let next = open.map(|task| self.ready_at(task)).min()?;
            let span = next.saturating_sub(self.now).max(1);
            self.advance(span);
        }
    }
}
