//! What the tasks of a run do: connections, service threads, and a judge to whom nothing happens any more.

use std::sync::Arc;
use std::time::Duration;

use coord::lock::Database;
use coord::storage::{Instant, Storage};

use super::pager::{Connection, Stop};
use super::run::LEASE_MS;
use super::storage::{SimStorage, database};
use super::weather::Faults;
use super::world::{MS, State, World};

/// How long a writer may wait where nothing goes wrong and all the others come to their ends, by the world's time.
pub const WAIT_LIMIT: u64 = 5_000 * MS;
/// How long the others try, so that no run lasts for ever.
pub const PATIENCE: u64 = 3_000 * MS;
/// How long anybody needs to get a lock once the weather is calm: names that nobody owns are watched for the default lease of
/// 30 s, on SMB their tombstones for as long again, and perhaps others that were behind them.
pub const CALM_LIMIT: u64 = 160_000 * MS;

#[derive(Clone, Copy)]
pub enum Role {
    Client {
        transactions: u64,
        reads: u64,
    },
    /// Reads without a pause until all writers are done.
    Crowd,
    Service,
    Judge,
    Idle,
}

/// A process's lock manager: made by its first task, gone when its last connection closes.
#[derive(Default)]
pub struct Slot {
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

/// Does what its role says, to the end.
pub fn act(world: &Arc<World>, task: usize, role: Role, managers: &[Slot]) {
    let storage = SimStorage { world: world.clone(), task };
    let process = world.state().tasks[task].process;
    let slot = &managers[process];
    match role {
        Role::Idle => {}
        Role::Service => serve(world, &storage, slot, process),
        Role::Judge => {
            while others_run(world, process) {
                storage.sleep(Duration::from_millis(50));
            }
            world.state().faults = Faults::NONE;
            judge(world, &storage, slot);
        }
        Role::Crowd => {
            begin(world, &storage);
            let mut connection = Connection::open(slot.get(&storage), storage.clone(), format!("task {task}"));
            while world.state().now < 4 * WAIT_LIMIT && others_run(world, process) {
                let _ = connection.read();
            }
            connection.close();
            slot.leave();
        }
        Role::Client { transactions, reads } => {
            begin(world, &storage);
            let mut connection = Connection::open(slot.get(&storage), storage.clone(), format!("task {task}"));
            for number in 0..transactions {
                for _ in 0..reads {
                    let read = connection.read();
                    unprovoked(world, task, &read);
                }
                write(world, &storage, &mut connection, ((task as u64 + 1) << 24) | (number << 12));
                let pause = world.state().tasks[task].rng.below(40);
                storage.sleep(Duration::from_millis(pause));
            }
            connection.close();
            slot.leave();
        }
    }
}

/// Once it is time: something may befall this process from now on.
pub fn begin(world: &World, storage: &SimStorage) {
    let starts = world.state().tasks[storage.task].wakes;
    let now = world.state().now;
    storage.sleep(Duration::from_nanos(starts.saturating_sub(now)));
    let mut state = world.state();
    let process = state.tasks[storage.task].process;
    state.processes[process].begun = true;
}

/// Whether anybody but this process and those who only serve is not done yet, or something is on its way.
pub fn others_run(world: &World, process: usize) -> bool {
    let state = world.state();
    // The last process is the judge's.
    let judge = state.processes.len() - 1;
    let open = state.tasks.iter().any(|task| task.process != process && task.process != judge && !task.done);
    open || (process == judge && state.has_late())
}

/// One transaction, tried until it is through, or one's patience at an end. Where nothing has befallen anybody, it must come to
/// its turn in time.
fn write(world: &World, storage: &SimStorage, connection: &mut Connection, tag: u64) {
    let begun = world.state().now;
    for attempt in 0.. {
        let written = connection.write(tag | attempt);
        unprovoked(world, storage.task, &written);
        let mut state = world.state();
        // A listing that takes longer than anybody's patience may miss who waits, again and again.
        let (waited, calm) = (state.now - begun, state.events.is_empty() && !state.parts);
        if calm {
            state.longest_wait = state.longest_wait.max(waited);
        }
        if !matches!(written, Err(Stop::Busy)) {
            return;
        }
        // Where everybody thinks longer, everybody waits longer.
        if calm && waited > WAIT_LIMIT + 10 * state.thinks.1 * MS - 4000 * MS {
            let text = format!(
                "task {} has waited for {} s to write, and nothing went wrong",
                storage.task,
                waited / MS / 1000
            );
            state.history.violated(text);
            return;
        }
        if (!calm && waited > PATIENCE) || attempt == 4000 {
            return;
        }
        let pause = 5 + state.tasks[storage.task].rng.below(40);
        drop(state);
        storage.sleep(Duration::from_millis(pause));
    }
}

/// S4, from the other side: nobody loses his lock, or fails, who has kept time, while others merely stop or die.
fn unprovoked(world: &World, task: usize, done: &Result<(), Stop>) {
    let mut state = world.state();
    if matches!(done, Err(Stop::Lost)) && is_untroubled(&state, task) {
        state.history.violated(format!("S4: task {task} failed, though nothing befell it"));
    }
}

/// Whether nothing has befallen a task, and others merely stop or die.
pub fn is_untroubled(state: &State, task: usize) -> bool {
    let harmless = ["process killed", "process stopped", "machine frozen, its clock with it"];
    let quiet = state.events.iter().all(|event| harmless.contains(&event.what));
    quiet && state.processes[state.tasks[task].process].disturbed == 0
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
        // A process whose connections have all ended ends with them.
        let state = world.state();
        let connected = |other: &super::world::Task| other.process == process && !other.done;
        if !state.tasks.iter().enumerate().any(|(number, other)| number != storage.task && connected(other)) {
            return;
        }
    }
}

/// With all faults over, a newcomer reads and writes within a bounded time, and finds what history says.
fn judge(world: &Arc<World>, storage: &SimStorage, slot: &Slot) {
    let manager = slot.get(storage);
    // It looks at the disk each time, and clears up what it finds there.
    world.state().linger_ms = 0;
    let mut connection = Connection::open(manager, storage.clone(), "the judge".to_string());
    let begun = world.state().now;
    for number in 1.. {
        match connection.write((0xffff << 24) | number) {
            Ok(()) => break,
            Err(_) if world.state().now - begun < CALM_LIMIT => storage.sleep(Duration::from_millis(50)),
            Err(stop) => {
                let mut state = world.state();
                let names: Vec<String> = state.server.names.keys().map(|path| path.display().to_string()).collect();
                let text = format!("after {} s nobody can write ({stop:?}): {names:?}", CALM_LIMIT / MS / 1000);
                state.history.violated(text);
                break;
            }
        }
    }
    if connection.read().is_err() {
        world.state().history.violated("the judge cannot read what it wrote".to_string());
    }
    // What nobody owns any more hinders nobody, but whoever writes must clear it away in the end.
    let begun = world.state().now;
    while !leftovers(world).is_empty() && world.state().now - begun < CALM_LIMIT {
        storage.sleep(Duration::from_secs(1));
        connection.touch();
    }
    connection.close();
    slot.leave();
    nothing_stays(world);
}

pub fn nothing_stays(world: &Arc<World>) {
    let stays = leftovers(world);
    if !stays.is_empty() {
        world.state().history.violated(format!("left behind: {stays:?}"));
    }
}

/// Locks, and what keeps the lock's directory from being removed. A registry that was being made when its maker was killed is none.
pub fn leftovers(world: &Arc<World>) -> Vec<String> {
    let state = world.state();
    let begun = |name: &str| name.contains("/.d.new.");
    let is_lock =
        |name: &String| ["/d.lock", "/exclusive.", "/reader."].iter().any(|word| name.contains(word)) && !begun(name);
    state.server.names.keys().map(|path| path.display().to_string()).filter(is_lock).collect()
}
