//! One seed: a few machines with a few programs on them, each with one or two connections of the bundled SQLite, and at the
//! end a judge to whom nothing happens any more.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use coord::lock::simulated::Played;
use coord::storage::{Instant, Storage};
use coord::switches;

use super::client::Client;
use super::ledger::Ledger;
use super::session::Bank;
use super::{base, vfs};
use crate::sim::machine_memory;
use crate::sim::roles::{CALM_LIMIT, PATIENCE, Role, begin, nothing_stays, others_run};
use crate::sim::run::{Cast, LEASE_MS, Outcome, Plan, Workload};
use crate::sim::server::{Change, Server};
use crate::sim::storage::{SimStorage, database};
use crate::sim::turns::{self, Work};
use crate::sim::weather::{Faults, Profile, Rng};
use crate::sim::world::{MS, World};

/// How long anybody needs to get a lock in trusted mode once the weather is calm: an empty lock directory of which nobody says
/// that it is his is taken for a `unix-dotfile` client's for five minutes.
const TRUSTED_LIMIT: u64 = 400_000 * MS;

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
            // A local database without a registry is in trusted mode: that is a workload of its own.
            0 if profile != Profile::Local => Beginning::Unshared,
            1 | 2 if profile != Profile::Local => Beginning::Nothing,
            3 => Beginning::Registry,
            _ => Beginning::Bank,
        }
    }

    /// Whether it has its registry.
    fn is_shared(self) -> bool {
        matches!(self, Beginning::Bank | Beginning::Registry)
    }

    fn draw_trusted(rng: &mut Rng) -> Beginning {
        if rng.below(6) == 0 { Beginning::Nothing } else { Beginning::Unshared }
    }

    fn fill(self, server: &mut Server, bank: &Bank) {
        let registry = PathBuf::from(format!("{}.readers", database().display()));
        let mut make = |change| server.apply(&change, 0).expect("an empty directory");
        if matches!(self, Beginning::Bank | Beginning::Unshared) {
            make(Change::Create(database(), image(bank)));
        }
        if self.is_shared() {
            make(Change::MakeDir(registry));
        }
        for inode in 0..server.nodes.len() {
            server.sync(inode);
        }
        server.sync_names();
    }
}

/// A step of SQLite's is a page, and there are many in a transaction: each is less likely to be hit.
fn thinned(faults: Faults) -> Faults {
    // Takeovers are as rare as elsewhere: what is aimed at them stays as it is.
    let Faults { freeze, crash, lie, repeat, power, outage, jump, full, .. } = faults;
    let [freeze, crash, lie, repeat, power, outage, jump, full] =
        [freeze, crash, lie, repeat, power, outage, jump, full].map(|often: u32| often.div_ceil(4));
    Faults { freeze, crash, lie, repeat, power, outage, jump, full, ..faults }
}

/// Plays one seed.
pub fn run(plan: &Plan) -> Outcome {
    vfs::register();
    let Cast { profile, weather, hosts, processes, tasks, roles } = Cast::draw(plan);
    let (count, of) = (tasks.len(), tasks.iter().map(|task| task.process).collect::<Vec<_>>());
    let world = World::new(plan.seed, profile, thinned(weather), tasks, hosts, processes + 1);
    let mut rng = Rng::new(plan.seed ^ 0x5417);
    rng.next();
    let native = plan.workload.has_native_locks();
    let bank = Bank {
        uri: format!("file:{}?vfs=coord&coord_lease_ms={LEASE_MS}", database().display()),
        raw: (plan.workload == Workload::Trusted).then(|| format!("file:{}?vfs=unix-simulated", database().display())),
        auto_vacuum: rng.below(2) == 0,
        // In some worlds nobody but the shim ever asks for a sync.
        never_syncs: rng.below(4) == 0,
        no_raw: weather.unsynced > 0,
        changes: plan.workload == Workload::Change,
        // Some stay for longer than it takes until others may change the database.
        lasts: plan.workload == Workload::Share,
        // Less is no promise in trusted mode, nor, where a torn journal may be believed, in the other: docs/proof.md, power cuts.
        durable: match () {
            () if native || plan.bad_disk || profile == Profile::Local => weather.power > 0 || weather.aimed > 0,
            // A journal is torn where its writer's machine loses its power, and then the server.
            () => weather.power > 0 && weather.outage > 0,
        },
    };
    let beginning = match plan.workload {
        // While it is empty nobody waits for readers on the server: docs/proof.md.
        Workload::Share => Beginning::Unshared,
        _ if native => Beginning::draw_trusted(&mut rng),
        _ => Beginning::draw(&mut rng, profile),
    };
    // Where there is a registry all works without.
    machine_memory::begin(!beginning.is_shared());
    {
        let mut state = world.state();
        beginning.fill(&mut state.server, &bank);
        // What was journaled last by somebody who never syncs may be believed though it is torn: docs/proof.md, power cuts.
        state.server.tears_nothing = !bank.durable;
        state.trace = plan.trace.then(Vec::new);
        state.broken = plan.broken;
        state.only = plan.only.clone();
        state.stays = plan.stays;
        state.parts = plan.parts;
        state.trusted = native;
        state.serves = plan.workload == Workload::Share;
    }
    let world = Arc::new(world);
    let ledger = Arc::new(Mutex::new(Ledger::default()));
    let played: Vec<Played> =
        (0..=processes).map(|_| Played::new(Arc::new(SimStorage { world: world.clone(), task: 0 }))).collect();
    let processes = of.iter().map(|process| played[*process].clone()).collect();
    base::set(Some(base::Stage { world: world.clone(), processes, native }));
    let works = roles.into_iter().enumerate().map(|(task, role)| {
        let actor = Actor {
            storage: SimStorage { world: world.clone(), task },
            played: played[of[task]].clone(),
            process: of[task],
            ledger: ledger.clone(),
            bank: bank.clone(),
            plan: plan.clone(),
        };
        let role = if plan.idle.contains(&task) { Role::Idle } else { role };
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
    Outcome {
        profile,
        violations,
        steps: state.steps,
        injected: state.injected,
        commits: ledger.reported,
        reads: ledger.reads,
        longest_wait: 0,
        trace: state.trace.take().unwrap_or_default().into_iter().map(shortened).collect(),
        kinds: std::mem::take(&mut state.kinds),
        events: std::mem::take(&mut state.events),
        tasks: count,
    }
}

/// A task and what it works with.
struct Actor {
    storage: SimStorage,
    played: Played,
    process: usize,
    ledger: Arc<Mutex<Ledger>>,
    bank: Bank,
    plan: Plan,
}

impl Actor {
    fn act(&self, role: Role) {
        let world = &self.storage.world;
        match role {
            Role::Idle => {}
            Role::Service => self.serve(),
            Role::Client { transactions, reads } => {
                begin(world, &self.storage);
                // Among other things.
                let acts = (2 * transactions + reads + 2).min(self.plan.transactions);
                self.client(role).work(acts);
            }
            Role::Crowd => {
                begin(world, &self.storage);
                let mut client = self.client(role);
                while world.state().now < PATIENCE && others_run(world, self.process) {
                    client.read();
                }
            }
            Role::Judge => {
                while others_run(world, self.process) {
                    self.storage.sleep(Duration::from_millis(50));
                }
                world.state().faults = Faults::NONE;
                let native = self.plan.workload.has_native_locks();
                self.client(role).judge(if native { TRUSTED_LIMIT } else { CALM_LIMIT });
                nothing_stays(world);
            }
        }
    }

    fn client(&self, role: Role) -> Client {
        let mut rng = Rng::of(self.plan.seed, self.storage.task, 0x5417);
        // The judge goes through the shim: what the dead left in the lock directory concerns nobody else.
        let is_judge = matches!(role, Role::Judge);
        let may = self.bank.raw.is_some() && !self.bank.no_raw && !is_judge;
        let raw = may && rng.below(2) == 0;
        // Nor does it change the mode: who does so needs the lock directory, and one that a power cut has emptied is a stranger's.
        let bank = Bank { changes: self.bank.changes && !is_judge, ..self.bank.clone() };
        Client::new(self.storage.clone(), bank, raw, self.ledger.clone(), rng)
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
