//! One seed: a few machines with a few programs on them, each with one or two connections of the bundled SQLite, and at the
//! end a judge to whom nothing happens any more.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use coord::lock::simulated::Played;
use coord::protocol::switches;
use coord::storage::{Instant, Storage};

use super::base;
use super::client::Client;
use super::ledger::Ledger;
use super::session::Bank;
use crate::sim::run::{Outcome, Plan, faults, storms};
use crate::sim::server::{Change, Server};
use crate::sim::storage::SimStorage;
use crate::sim::turns::{self, Work};
use crate::sim::weather::{Faults, Profile, Rng};
use crate::sim::world::{MS, Task, World};

const LEASE_MS: u64 = 1000;
/// How long a newcomer may take for his first commit, with nothing going wrong any more.
const PATIENCE: u64 = 100_000 * MS;
const DIRECTORY: &str = "/simulated";

fn database() -> PathBuf {
    Path::new(DIRECTORY).join("bank")
}

/// A new bank as SQLite writes it.
fn image(bank: &Bank) -> Vec<u8> {
    static IMAGES: [OnceLock<Vec<u8>>; 2] = [const { OnceLock::new() }; 2];
    let made = IMAGES[usize::from(bank.auto_vacuum)].get_or_init(|| {
        let connection = rusqlite::Connection::open_in_memory().expect("a connection");
        connection.execute_batch(&bank.schema()).expect("the tables");
        let mut size = 0;
        // SAFETY: the connection is open, and the copy is of the size that is told.
        unsafe {
            let copy = rusqlite::ffi::sqlite3_serialize(connection.handle(), c"main".as_ptr(), &mut size, 0);
            assert!(!copy.is_null());
            let bytes = std::slice::from_raw_parts(copy, size as usize).to_vec();
            rusqlite::ffi::sqlite3_free(copy.cast());
            bytes
        }
    });
    made.clone()
}

/// What is there when the first program comes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Beginning {
    /// The bank, known to be shared.
    Bank,
    /// A registry, and no database yet.
    Registry,
    Nothing,
    /// The bank, which was not shared yet.
    Unshared,
}

impl Beginning {
    fn draw(rng: &mut Rng, profile: Profile) -> Beginning {
        match rng.below(16) {
            // A local database without a registry would be in trusted mode, and there are no native locks here.
            0 if profile != Profile::Local => Beginning::Unshared,
            1 | 2 if profile != Profile::Local => Beginning::Nothing,
            3 => Beginning::Registry,
            _ => Beginning::Bank,
        }
    }

    fn server(self, bank: &Bank) -> Server {
        let mut server = Server::with_directory(Path::new(DIRECTORY));
        let registry = PathBuf::from(format!("{}.readers", database().display()));
        let mut make = |change| server.apply(&change).expect("an empty directory");
        if matches!(self, Beginning::Bank | Beginning::Unshared) {
            make(Change::Create(database(), image(bank)));
        }
        if matches!(self, Beginning::Bank | Beginning::Registry) {
            make(Change::MakeDir(registry));
        }
        server
    }
}

#[derive(Clone, Copy)]
enum Role {
    Client { acts: u64 },
    Service,
    Judge,
}

/// A step of SQLite's is a page, and there are many in a transaction: each is less likely to be hit.
fn thinned(faults: Faults) -> Faults {
    let Faults { freeze, crash, lie, repeat } = faults;
    Faults { freeze: freeze.div_ceil(4), crash: crash.div_ceil(4), lie: lie.div_ceil(4), repeat: repeat.div_ceil(4) }
}

/// Plays one seed.
pub fn run(plan: Plan) -> Outcome {
    base::register();
    let mut rng = Rng::new(plan.seed ^ 0x5417);
    for _ in 0..4 {
        rng.next();
    }
    let profile = plan.profile.unwrap_or(Profile::ALL[rng.below(Profile::ALL.len() as u64) as usize]);
    let hosts = if profile == Profile::Local { 1 } else { 1 + rng.below(3) as usize };
    let processes = 2 + rng.below(3) as usize;
    let (mut tasks, mut roles) = (Vec::new(), Vec::new());
    for process in 0..=processes {
        let judge = process == processes;
        let host = if judge { 0 } else { rng.below(hosts as u64) as usize };
        let connections = if judge { 1 } else { 1 + rng.below(4) as usize / 3 };
        // Some come later, and find what the others have left.
        let latest = if rng.below(3) == 0 { 5000 } else { 400 };
        let starts = if judge { 0 } else { rng.below(latest) * MS };
        for connection in 0..=connections {
            tasks.push(Task::new(host, process, starts));
            roles.push(match (judge, connection == connections) {
                (_, true) => Role::Service,
                (true, false) => Role::Judge,
                (false, false) => Role::Client { acts: 4 + rng.below(12) },
            });
        }
    }
    let weather = thinned(if plan.stormy { storms(&mut rng) } else { faults(&mut rng) });
    let world = World::new(plan.seed, profile, weather, tasks, hosts, processes + 1);
    let bank = Bank {
        uri: format!("file:{}?vfs=coord&coord_lease_ms={LEASE_MS}", database().display()),
        auto_vacuum: rng.below(2) == 0,
        // In some worlds nobody but the shim ever asks for a sync.
        never_syncs: rng.below(4) == 0,
    };
    {
        let mut state = world.state();
        state.server = Beginning::draw(&mut rng, profile).server(&bank);
        state.trace = plan.trace.then(Vec::new);
    }
    let world = Arc::new(world);
    let ledger = Arc::new(Mutex::new(Ledger::default()));
    let played: Vec<Played> =
        (0..=processes).map(|_| Played::new(Arc::new(SimStorage { world: world.clone(), task: 0 }))).collect();
    let of: Vec<usize> = world.state().tasks.iter().map(|task| task.process).collect();
    let processes = of.iter().map(|process| played[*process].clone()).collect();
    base::set(Some(base::Stage { world: world.clone(), processes }));
    let works = roles.into_iter().enumerate().map(|(task, role)| {
        let actor = Actor {
            storage: SimStorage { world: world.clone(), task },
            played: played[of[task]].clone(),
            process: of[task],
            ledger: ledger.clone(),
            bank: bank.clone(),
            seed: plan.seed,
        };
        Box::new(move || actor.act(role)) as Work
    });
    switches::take_out_here(plan.without);
    turns::play(&world, works.collect());
    switches::take_out_here(None);
    base::set(None);
    let mut state = world.state();
    let mut ledger = ledger.lock().unwrap_or_else(PoisonError::into_inner);
    let mut violations = std::mem::take(&mut ledger.violations);
    violations.append(&mut state.history.violations);
    violations.extend(crate::sim::run::leftovers(&state));
    Outcome {
        profile,
        violations,
        steps: state.steps,
        injected: state.injected,
        commits: ledger.reported,
        reads: ledger.reads,
        trace: state.trace.take().unwrap_or_default().into_iter().map(shortened).collect(),
        kinds: std::mem::take(&mut state.kinds),
    }
}

/// A task and what it works with.
struct Actor {
    storage: SimStorage,
    played: Played,
    process: usize,
    ledger: Arc<Mutex<Ledger>>,
    bank: Bank,
    seed: u64,
}

impl Actor {
    fn act(&self, role: Role) {
        match role {
            Role::Service => self.serve(),
            Role::Client { acts } => self.client().work(acts),
            Role::Judge => {
                self.wait_for_the_others();
                self.storage.world.state().faults = Faults::NONE;
                self.client().judge(PATIENCE);
            }
        }
    }

    fn client(&self) -> Client {
        let task = self.storage.task;
        let rng = Rng::new(self.seed ^ ((task as u64 + 1) << 40));
        Client::new(self.storage.clone(), self.bank.clone(), self.ledger.clone(), rng)
    }

    /// Until all have ended, and everything that is late has arrived.
    fn wait_for_the_others(&self) {
        loop {
            let busy = {
                let state = self.storage.world.state();
                state.has_late() || state.tasks.iter().any(|other| other.process != self.process && !other.done)
            };
            if !busy {
                return;
            }
            self.storage.sleep(Duration::from_millis(50));
        }
    }

    /// The service thread of a process.
    fn serve(&self) {
        loop {
            let now = self.storage.now();
            let due = self.played.tick().unwrap_or(Instant(now.0 + 60 * MS));
            let span = due.0.saturating_sub(now.0).clamp(MS, 60 * MS);
            self.storage.sleep(Duration::from_nanos(span));
            let state = self.storage.world.state();
            let works = |task: usize| state.tasks[task].process == self.process && !state.tasks[task].done;
            if !(0..state.tasks.len()).any(|task| task != self.storage.task && works(task)) {
                return;
            }
        }
    }
}

/// A line of the trace without the bytes of whole pages.
fn shortened(line: String) -> String {
    let Some((before, rest)) = line.split_once('[') else { return line };
    match rest.split_once(']') {
        Some((bytes, after)) if bytes.len() > 200 => {
            format!("{before}[{}, … {} bytes]{}", &bytes[..40], bytes.split(',').count(), shortened(after.to_string()))
        }
        _ => line,
    }
}
