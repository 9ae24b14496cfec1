//! Runs the simulated world for as long as asked.
//!
//!     cargo run --release --example simulate -- --seeds 100000 --minutes 60 [--from N] [--profile nfs3]
//!     cargo run --release --example simulate -- --seed 4711 [--profile nfs3]        (one seed, with its trace)
//!
//! With `--sqlite` (or `--workload sqlite`) it is the bundled SQLite over the shim that works in that world, with `--workload
//! trusted` the same in trusted mode, else a stand-in for its pager. Profiles: local, nfs3, nfs4, smb, 9p, or all (each seed
//! draws one). It uses all cores, prints a line every ten seconds and a summary, and ends with status 1 if a promise was broken.
//! Then it looks for a smaller schedule that breaks the same promise, and says how to play both again; `--idle`, `--events`,
//! `--transactions`, `--stays`, `--stormy`, `--parts` and `--broken` are what such a command may need. Status 2: it was called
//! wrongly.

#[path = "../tests/sim/mod.rs"]
mod sim;

use std::collections::BTreeMap;
use std::process::ExitCode;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use sim::run::{Plan, Workload, run};
use sim::shrink;

struct Wishes {
    from: u64,
    seeds: u64,
    minutes: u64,
    one: bool,
    plan: Plan,
    stormy: Option<bool>,
}

fn wishes() -> Result<Wishes, String> {
    let mut wishes = Wishes { from: 1, seeds: 10_000, minutes: 24 * 60, one: false, plan: Plan::of(0), stormy: None };
    let mut arguments = std::env::args().skip(1);
    while let Some(name) = arguments.next() {
        if name == "--sqlite" {
            wishes.plan.workload = Workload::Sqlite;
            continue;
        }
        let value = arguments.next().ok_or(format!("{name} takes a value"))?;
        let number = || value.parse::<u64>().map_err(|_| format!("{name} {value}: it takes a number"));
        match name.as_str() {
            "--seeds" => wishes.seeds = number()?,
            "--minutes" => wishes.minutes = number()?,
            "--from" => wishes.from = number()?,
            "--seed" => (wishes.from, wishes.seeds, wishes.one) = (number()?, 1, true),
            other if shrink::set(&mut wishes.plan, other, &value)? => {
                wishes.stormy = (other == "--stormy").then_some(wishes.plan.stormy).or(wishes.stormy);
            }
            _ => {
                let known = "--seeds, --minutes, --from, --seed, --profile, --workload and --sqlite";
                return Err(format!("{name}: there are {known}"));
            }
        }
    }
    Ok(wishes)
}

/// What all threads have come to.
#[derive(Default)]
struct Sum {
    seeds: AtomicU64,
    steps: AtomicU64,
    commits: AtomicU64,
    reads: AtomicU64,
    faults: AtomicU64,
    longest_wait: AtomicU64,
    kinds: Mutex<BTreeMap<&'static str, u64>>,
    broken: Mutex<Vec<(Plan, Vec<String>)>>,
}

impl Sum {
    fn line(&self) -> String {
        let of = |count: &AtomicU64| count.load(Ordering::Relaxed);
        format!(
            "{} seeds, {} steps, {} commits, {} reads, {} faults, {} kinds of steps and faults, {} broken",
            of(&self.seeds),
            of(&self.steps),
            of(&self.commits),
            of(&self.reads),
            of(&self.faults),
            self.kinds.lock().expect("whole").len(),
            self.broken.lock().expect("whole").len()
        )
    }

    fn play(&self, plan: Plan) {
        let outcome = run(&plan);
        let add = |count: &AtomicU64, more: u64| count.fetch_add(more, Ordering::Relaxed);
        add(&self.seeds, 1);
        add(&self.steps, outcome.steps);
        add(&self.commits, outcome.commits as u64);
        add(&self.reads, outcome.reads);
        add(&self.faults, outcome.injected);
        self.longest_wait.fetch_max(outcome.longest_wait, Ordering::Relaxed);
        let mut kinds = self.kinds.lock().expect("whole");
        for (kind, count) in &outcome.kinds {
            *kinds.entry(kind).or_default() += count;
        }
        drop(kinds);
        for line in &outcome.trace {
            println!("{line}");
        }
        if plan.trace {
            print!("{}", outcome.befallen());
        }
        if let Some(first) = outcome.violations.first() {
            println!("broken: seed {}, {}: {first}", plan.seed, outcome.profile.word());
            self.broken.lock().expect("whole").push((plan, outcome.violations));
        }
    }
}

fn plan(seed: u64, wishes: &Wishes) -> Plan {
    let stormy = wishes.stormy.unwrap_or(Plan::of(seed).stormy);
    Plan { seed, stormy, trace: wishes.one, ..wishes.plan.clone() }
}

fn main() -> ExitCode {
    let wishes = match wishes() {
        Ok(wishes) => wishes,
        Err(text) => {
            eprintln!("simulate: {text}");
            return ExitCode::from(2);
        }
    };
    let begun = Instant::now();
    let end = begun + Duration::from_secs(wishes.minutes * 60);
    let (sum, next) = (Sum::default(), AtomicU64::new(wishes.from));
    let last = wishes.from + wishes.seeds;
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                while Instant::now() < end {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= last {
                        break;
                    }
                    sum.play(plan(seed, &wishes));
                }
            });
        }
        let mut told = begun;
        while sum.seeds.load(Ordering::Relaxed) < wishes.seeds && Instant::now() < end {
            std::thread::sleep(Duration::from_millis(100));
            if told.elapsed() >= Duration::from_secs(10) {
                told = Instant::now();
                println!("{:5} s  {}", begun.elapsed().as_secs(), sum.line());
            }
        }
    });
    println!("{} s: {}", begun.elapsed().as_secs(), sum.line());
    println!("longest wait to write where nothing went wrong: {} ms", sum.longest_wait.load(Ordering::Relaxed));
    for (kind, count) in sum.kinds.lock().expect("whole").iter() {
        println!("  {count:12} {kind}");
    }
    let broken = sum.broken.lock().expect("whole");
    for (number, (plan, violations)) in broken.iter().enumerate() {
        println!("seed {}: {violations:#?}", plan.seed);
        println!("  to see it: {}", shrink::command(plan));
        if number < 3 {
            println!("  smaller:   {}", shrink::command(&shrink::shrink(&Plan { trace: false, ..plan.clone() })));
        }
    }
    if broken.is_empty() { ExitCode::SUCCESS } else { ExitCode::from(1) }
}
