//! One seed: a world with a few hosts and processes, a workload, and at the end a judge to whom nothing happens any more.

use std::sync::Arc;
use std::time::Duration;

use coord::lock::Database;
use coord::protocol::switches::{self, Guard};
use coord::storage::{Instant, Storage};

use super::pager::{Connection, Stop};
use super::storage::{SimStorage, database};
use super::turns::{self, Work};
use super::weather::{Faults, Profile, Rng};
use super::world::{MS, Task, World};

/// What a run came to.
pub struct Outcome {
    pub profile: Profile,
    pub violations: Vec<String>,
    pub steps: u64,
    pub injected: u64,
    pub commits: usize,
    pub reads: u64,
    pub trace: Vec<String>,
    pub kinds: std::collections::BTreeSet<&'static str>,
}

/// How a seed is played.
#[derive(Clone, Copy)]
pub struct Plan {
    pub seed: u64,
    pub profile: Option<Profile>,
    pub without: Option<Guard>,
    /// How long connections keep an unused lock, whatever the seed says.
    pub linger_ms: Option<u64>,
    /// Machines and processes stand still far more often, and die.
    pub stormy: bool,
    pub trace: bool,
}

const LEASE_MS: u64 = 1000;

fn faults(rng: &mut Rng) -> Faults {
    match rng.below(8) {
        0 => Faults::NONE,
        1 => Faults { freeze: 60, ..Faults::NONE },
        2 => Faults { crash: 40, ..Faults::NONE },
        3 => Faults { lie: 60, ..Faults::NONE },
        4 => Faults { repeat: 100, freeze: 30, ..Faults::NONE },
        5 => Faults { freeze: 100, crash: 20, lie: 0, repeat: 0 },
        _ => Faults { freeze: 40, crash: 15, lie: 15, repeat: 40 },
    }
}

/// Plays one seed.
pub fn run(plan: Plan) -> Outcome {
    let mut rng = Rng::new(plan.seed ^ 0x5151);
    for _ in 0..4 {
        rng.next();
    }
    // Two worlds of three have processes that keep their locks: short enough to run out unused, or longer than a lease.
    let linger_ms = [0, 60, 3000][rng.below(3) as usize];
    let linger_ms = plan.linger_ms.unwrap_or(linger_ms);
    let profile = plan.profile.unwrap_or(Profile::ALL[rng.below(3) as usize]);
    let hosts = if profile == Profile::Local { 1 } else { 1 + rng.below(3) as usize };
    let processes = 2 + rng.below(3) as usize;
    // Each process: connections and a service; then the judge and its service.
    let mut tasks = Vec::new();
    let mut roles = Vec::new();
    for process in 0..=processes {
        let judge = process == processes;
        let host = if judge { 0 } else { rng.below(hosts as u64) as usize };
        let connections = if judge { 1 } else { 1 + rng.below(4) as usize / 3 };
        let starts = if judge { 0 } else { rng.below(400) * MS };
        for connection in 0..=connections {
            tasks.push(Task::new(host, process, starts));
            roles.push(match (judge, connection == connections) {
                (_, true) => Role::Service,
                (true, false) => Role::Judge,
                (false, false) => Role::Client { transactions: 1 + rng.below(5), reads: rng.below(3) },
            });
        }
    }
    let storm = [Faults { freeze: 250, ..Faults::NONE }, Faults { freeze: 120, crash: 60, ..Faults::NONE }];
    let weather = if plan.stormy { storm[rng.below(2) as usize] } else { faults(&mut rng) };
    let world = World::new(plan.seed, profile, weather, tasks, hosts, processes + 1);
    if plan.trace {
        world.state().trace = Some(Vec::new());
    }
    let world = Arc::new(world);
    let managers: Arc<Vec<Slot>> = Arc::new((0..=processes).map(|_| Slot::default()).collect());
    let mut tasks: Vec<Work> = Vec::new();
    for (task, role) in roles.into_iter().enumerate() {
        let (world, managers) = (world.clone(), managers.clone());
        tasks.push(Box::new(move || act(&world, task, role, &managers, linger_ms)));
    }
    switches::take_out_here(plan.without);
    turns::play(&world, tasks);
    switches::take_out_here(None);
    let mut state = world.state();
    Outcome {
        profile,
        violations: std::mem::take(&mut state.history.violations),
        steps: state.steps,
        injected: state.injected,
        commits: state.history.reported.len(),
        reads: state.history.reads,
        trace: state.trace.take().unwrap_or_default(),
        kinds: std::mem::take(&mut state.kinds),
    }
}

#[derive(Clone, Copy)]
enum Role {
    Client { transactions: u64, reads: u64 },
    Service,
    Judge,
}

/// A process's lock manager: made by its first task, gone when its last connection closes.
#[derive(Default)]
struct Slot {
    manager: std::sync::Mutex<(Option<Arc<Database>>, usize, bool)>,
}

impl Slot {
    /// Nothing is held while a step is made: another task may want it in the meantime.
    fn get(&self, storage: &SimStorage) -> Arc<Database> {
        let fresh = Arc::new(Database::stepped(Arc::new(storage.clone()), &database(), LEASE_MS));
        let mut slot = self.manager.lock().expect("nobody panics with it");
        slot.1 += 1;
        slot.0.get_or_insert(fresh).clone()
    }

    fn leave(&self) {
        let mut slot = self.manager.lock().expect("nobody panics with it");
        slot.1 -= 1;
        slot.2 = slot.1 == 0;
    }
}

fn act(world: &Arc<World>, task: usize, role: Role, managers: &[Slot], linger_ms: u64) {
    let storage = SimStorage { world: world.clone(), task };
    let process = world.state().tasks[task].process;
    let slot = &managers[process];
    match role {
        Role::Service => serve(world, &storage, slot, process),
        Role::Judge => {
            loop {
                let busy = {
                    let state = world.state();
                    let mine = process;
                    // Also until everything that is late has arrived.
                    state.has_late()
                        || (0..state.tasks.len())
                            .any(|other| state.tasks[other].process != mine && !state.tasks[other].done)
                };
                if !busy {
                    break;
                }
                storage.sleep(Duration::from_millis(50));
            }
            world.state().faults = Faults::NONE;
            judge(world, &storage, slot);
        }
        Role::Client { transactions, reads } => {
            let manager = slot.get(&storage);
            let mut connection = Connection::open(manager, storage.clone(), format!("task {task}"), linger_ms);
            for number in 0..transactions {
                for _ in 0..reads {
                    let _ = connection.read();
                }
                let tag = ((task as u64 + 1) << 16) | number;
                let _ = connection.write(tag);
                let pause = world.state().rng.below(40);
                storage.sleep(Duration::from_millis(pause));
            }
            connection.close();
            slot.leave();
        }
    }
}

/// The service thread of a process.
fn serve(world: &Arc<World>, storage: &SimStorage, slot: &Slot, process: usize) {
    loop {
        let manager = {
            let slot = slot.manager.lock().expect("nobody panics with it");
            if slot.2 {
                return;
            }
            slot.0.clone()
        };
        let now = storage.now();
        let due = manager.and_then(|manager| manager.tick()).unwrap_or(Instant(now.0 + 60 * MS));
        let span = due.0.saturating_sub(now.0).clamp(MS, 60 * MS);
        storage.sleep(Duration::from_nanos(span));
        // A process whose connections have all crashed ends with them.
        let state = world.state();
        let alive = (0..state.tasks.len()).any(|task| state.tasks[task].process == process && !state.tasks[task].done);
        if !alive {
            return;
        }
    }
}

/// With all faults over, a newcomer reads and writes within a bounded time, and finds what history says.
fn judge(world: &Arc<World>, storage: &SimStorage, slot: &Slot) {
    let manager = slot.get(storage);
    let mut connection = Connection::open(manager, storage.clone(), "the judge".to_string(), 0);
    let begun = world.state().now;
    // A name that nobody owns is watched for the default lease, and then perhaps one that was behind it.
    let limit = 100_000 * MS;
    let mut number = 0;
    loop {
        number += 1;
        let tag = (0xffff << 16) | number;
        match connection.write(tag) {
            Ok(()) => break,
            Err(Stop::Busy | Stop::Lost) if world.state().now - begun < limit => {
                storage.sleep(Duration::from_millis(50));
            }
            Err(stop) => {
                let mut state = world.state();
                let names: Vec<String> = state.server.names.keys().map(|path| path.display().to_string()).collect();
                state.history.violated(format!("after {} s nobody can write ({stop:?}): {names:?}", limit / MS / 1000));
                break;
            }
        }
    }
    if connection.read().is_err() {
        world.state().history.violated("the judge cannot read what it wrote".to_string());
    }
    connection.close();
    slot.leave();
    leftovers(world);
}

/// Nothing stays behind for ever.
fn leftovers(world: &Arc<World>) {
    let mut state = world.state();
    let stays: Vec<String> = state.server.names.keys().map(|path| path.display().to_string()).collect();
    // A copy created late by nobody is watched for half a minute by whoever writes, and hinders nobody meanwhile.
    let locks: Vec<&String> = stays
        .iter()
        .filter(|name| name.contains("/write.") || name.contains("/exclusive.") || name.ends_with(".ready"))
        .collect();
    if !locks.is_empty() {
        let text = format!("left behind: {locks:?}");
        state.history.violated(text);
    }
}
