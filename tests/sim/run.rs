//! One seed: a world with a few hosts and processes, and what each of them is to do in it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use coord::switches::{self, Guard};

use super::events::Event;
use super::history::Fate;
use super::roles::{Role, Slot, act};
use super::turns::{self, Work};
use super::weather::{Broken, Faults, Profile, Rng};
use super::world::{MS, Task, World};

pub const LEASE_MS: u64 = 1000;

/// What a run came to.
#[derive(Default)]
pub struct Outcome {
    pub profile: Profile,
    pub violations: Vec<String>,
    pub steps: u64,
    pub injected: u64,
    pub commits: usize,
    pub reads: u64,
    /// The longest that a writer waited where nothing went wrong, in simulated milliseconds.
    pub longest_wait: u64,
    pub trace: Vec<String>,
    pub kinds: BTreeMap<&'static str, u64>,
    pub events: Vec<Event>,
    pub tasks: usize,
}

impl Outcome {
    /// What befell whom, for people: the steps are those of `--events`.
    pub fn befallen(&self) -> String {
        let lines = self.events.iter().map(|event| {
            format!("  {}:{} at {:.3} ms: {}\n", event.task, event.step, event.at as f64 / MS as f64, event.what)
        });
        format!("{} tasks; what befell them:\n{}", self.tasks, lines.collect::<String>())
    }
}

/// Who makes the transactions.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Workload {
    /// The stand-in for SQLite's pager.
    #[default]
    Pager,
    /// The bundled SQLite, over the shim.
    Sqlite,
    /// The same in trusted mode: on one machine's disk, with native locks, beside programs that know nothing of the shim.
    Trusted,
    /// Trusted mode that ends: on one machine's disk some programs put the database into network-exclusive mode while others use it.
    Change,
    /// The same by another way: on the file server some programs use it in trusted mode when clients of the server come.
    Share,
}

impl Workload {
    /// Whether the platform has locks, and the database begins in trusted mode.
    pub fn has_native_locks(self) -> bool {
        matches!(self, Workload::Trusted | Workload::Change | Workload::Share)
    }
}

/// How a seed is played.
#[derive(Clone, Debug)]
pub struct Plan {
    pub seed: u64,
    pub workload: Workload,
    pub profile: Option<Profile>,
    pub without: Option<Guard>,
    pub broken: Option<Broken>,
    /// Machines and processes stand still far more often, and die.
    pub stormy: bool,
    /// Hosts that take over from one another again and again: for controls that are about little else.
    pub siege: bool,
    /// Every process has three connections, which keep locks and think long; others die in the middle of a transaction.
    pub household: bool,
    /// Every fifth sync fails, and with an even seed the power goes now and then (not in trusted mode).
    pub bad_disk: bool,
    /// A directory's listing takes two requests, with time between them.
    pub parts: bool,
    pub trace: bool,
    /// Of what is drawn, only what befalls these steps of these tasks happens.
    pub only: Option<BTreeSet<(usize, u64)>>,
    /// These tasks do nothing.
    pub idle: BTreeSet<usize>,
    /// No connection makes more transactions than this.
    pub transactions: u64,
    /// Where several could go on, the one whose turn it is does so in all but one of as many draws.
    pub stays: u64,
}

impl Plan {
    /// A seed as `cargo test` and `simulate` play it.
    pub fn of(seed: u64) -> Plan {
        Plan {
            seed,
            workload: Workload::Pager,
            profile: None,
            without: None,
            broken: None,
            stormy: seed.is_multiple_of(8),
            siege: false,
            household: false,
            bad_disk: false,
            parts: false,
            trace: false,
            only: None,
            idle: BTreeSet::new(),
            transactions: u64::MAX,
            stays: 3,
        }
    }
}

/// The members of a world.
pub struct Cast {
    pub profile: Profile,
    pub weather: Faults,
    pub hosts: usize,
    pub processes: usize,
    pub tasks: Vec<Task>,
    pub roles: Vec<Role>,
}

impl Cast {
    pub fn draw(plan: &Plan) -> Cast {
        let mut rng = Rng::new(plan.seed ^ 0x5151);
        for _ in 0..4 {
            rng.next();
        }
        let drawn = Profile::ALL[rng.below(Profile::ALL.len() as u64) as usize];
        let profile = plan.profile.unwrap_or(drawn);
        let weather = if plan.stormy { Faults::draw_storm(&mut rng) } else { Faults::draw(&mut rng) };
        // Now and then readers come and go without end beside one writer, or one process after the other dies.
        let kind = rng.below(32);
        let (crowded, deadly) = (kind == 0, (1..5).contains(&kind));
        let plain = !plan.siege && !plan.household;
        let (crowded, deadly) = (crowded && plain && !plan.bad_disk, deadly && plain);
        let weather = match () {
            () if plan.siege => {
                let parted = if plan.seed.is_multiple_of(4) { 5000 } else { 0 };
                Faults { freeze: 30, aimed: 500, exposed: 400, parted, ..Faults::NONE }
            }
            () if plan.household => Faults { freeze: 15, crash: 20, aimed: 300, ..Faults::NONE },
            () if plan.bad_disk => {
                // In trusted mode SQLite itself takes the sync after a failed one for good, and loses what it reported; with PERSIST and
                // TRUNCATE it also ends the journal by itself, and does not do so again where the sync of that fails.
                let goes = plan.seed.is_multiple_of(2) && !plan.workload.has_native_locks();
                let power = if goes { 15 } else { 0 };
                Faults { unsynced: 2000, power, ..Faults::NONE }
            }
            () if crowded => Faults::NONE,
            () if deadly => Faults { crash: 100, power: 15, ..weather },
            () => match weather.with_disk(plan.seed) {
                // As with a bad disk.
                failing if failing.unsynced > 0 && plan.workload.has_native_locks() => {
                    Faults { power: 0, outage: 0, ..failing }
                }
                weather => weather,
            },
        };
        let profile = if !plain && profile == Profile::Local { Profile::Nfs4 } else { profile };
        let hosts = match profile {
            Profile::Local => 1,
            _ if !plain => 3,
            _ if plan.workload == Workload::Share => 2 + rng.below(2) as usize,
            _ => 1 + rng.below(3) as usize,
        };
        let processes = if deadly { 5 + rng.below(4) as usize } else { 2 + rng.below(3) as usize };
        // A kept lock stays only where few want it.
        let processes = if plan.household { 2 } else { processes };
        let mut cast = Cast { profile, weather, hosts, processes, tasks: Vec::new(), roles: Vec::new() };
        for process in 0..processes {
            let drawn = rng.below(hosts as u64) as usize;
            let host = if plain { drawn } else { process % hosts };
            // Some come later: back, where the machine or an earlier process died.
            let late = deadly || (rng.below(5) == 0 && !crowded);
            let starts = if late { rng.below(12_000) } else { rng.below(400) } * MS;
            let crowd = crowded && process == 0;
            let drawn = 1 + rng.below(4) / 3;
            let connections = if crowd || plan.household { 3 } else { drawn };
            for _ in 0..connections {
                let (transactions, reads) = (1 + rng.below(if crowded { 2 } else { 5 }), rng.below(3));
                cast.add(
                    host,
                    process,
                    starts,
                    match crowd {
                        true => Role::Crowd,
                        false => Role::Client { transactions: transactions.min(plan.transactions), reads },
                    },
                );
            }
            cast.add(host, process, starts, Role::Service);
        }
        cast.add(0, processes, 0, Role::Judge);
        cast.add(0, processes, 0, Role::Service);
        cast
    }

    fn add(&mut self, host: usize, process: usize, starts: u64, role: Role) {
        self.tasks.push(Task::new(host, process, starts));
        self.roles.push(role);
    }
}

/// Plays one seed.
pub fn run(plan: &Plan) -> Outcome {
    match plan.workload {
        Workload::Pager => run_pager(plan),
        Workload::Sqlite => super::sqlite::run::run(plan),
        Workload::Trusted | Workload::Change => {
            super::sqlite::run::run(&Plan { profile: Some(Profile::Local), ..plan.clone() })
        }
        Workload::Share => {
            let profile = if plan.seed.is_multiple_of(2) { Profile::Nfs3 } else { Profile::Nfs4 };
            super::sqlite::run::run(&Plan { profile: Some(profile), ..plan.clone() })
        }
    }
}

fn run_pager(plan: &Plan) -> Outcome {
    let Cast { profile, weather, hosts, processes, tasks, roles } = Cast::draw(plan);
    let count = tasks.len();
    let world = World::new(plan.seed, profile, weather, tasks, hosts, processes + 1);
    {
        let mut state = world.state();
        state.trace = plan.trace.then(Vec::new);
        state.broken = plan.broken;
        state.only = plan.only.clone();
        state.stays = plan.stays;
        state.parts = plan.parts;
        // Two worlds of three have processes that keep their locks: short enough to run out unused, or longer than a lease.
        let linger_ms = [0, 60, 3000][Rng::new(plan.seed ^ 0x1155).below(3) as usize];
        let whole = matches!(plan.without, None | Some(Guard::TombstoneLast | Guard::ReleaseOrder));
        state.orders.judged = whole && plan.broken.is_none();
        state.linger_ms = if plan.household { 3000 } else { linger_ms };
        if plan.household {
            state.thinks = (2, 4000);
        }
    }
    let world = Arc::new(world);
    let managers: Arc<Vec<Slot>> = Arc::new((0..=processes).map(|_| Slot::default()).collect());
    let mut tasks: Vec<Work> = Vec::new();
    for (task, role) in roles.into_iter().enumerate() {
        let (world, managers) = (world.clone(), managers.clone());
        let role = if plan.idle.contains(&task) { Role::Idle } else { role };
        tasks.push(Box::new(move || act(&world, task, role, &managers)));
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
        commits: state.history.fates.values().filter(|fate| **fate == Fate::Reported).count(),
        reads: state.history.reads,
        longest_wait: state.longest_wait / MS,
        trace: state.trace.take().unwrap_or_default(),
        kinds: std::mem::take(&mut state.kinds),
        events: std::mem::take(&mut state.events),
        tasks: count,
    }
}
