//! Runs the simulated world for as long as asked.
//!
//!     cargo run --release --example simulate -- --seeds 100000 --minutes 60 [--from N] [--profile local|nfs|smb]
//!     cargo run --release --example simulate -- --seed 4711 [--profile nfs]        (one seed, with its trace)
//!
//! It uses all cores, prints a line every ten seconds and a summary, and ends with status 1 if a promise was broken; then it
//! says how to replay the seed. Status 2: it was called wrongly.

#[path = "../tests/sim/mod.rs"]
mod sim;

use std::collections::BTreeSet;
use std::process::ExitCode;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use sim::run::{Plan, run};
use sim::weather::Profile;

struct Wishes {
    from: u64,
    seeds: u64,
    minutes: u64,
    profile: Option<Profile>,
    one: bool,
}

fn wishes() -> Result<Wishes, String> {
    let mut wishes = Wishes { from: 1, seeds: 10_000, minutes: 24 * 60, profile: None, one: false };
    let mut arguments = std::env::args().skip(1);
    while let Some(name) = arguments.next() {
        let value = arguments.next().ok_or(format!("{name} takes a value"))?;
        let number = value.parse::<u64>();
        match (name.as_str(), number) {
            ("--seeds", Ok(number)) => wishes.seeds = number,
            ("--minutes", Ok(number)) => wishes.minutes = number,
            ("--from", Ok(number)) => wishes.from = number,
            ("--seed", Ok(number)) => (wishes.from, wishes.seeds, wishes.one) = (number, 1, true),
            ("--profile", _) => wishes.profile = Some(profile(&value)?),
            _ => {
                return Err(format!(
                    "{name} {value}: there are --seeds, --minutes, --from, --seed (numbers) and --profile"
                ));
            }
        }
    }
    Ok(wishes)
}

fn profile(name: &str) -> Result<Profile, String> {
    match name {
        "local" => Ok(Profile::Local),
        "nfs" => Ok(Profile::Nfs),
        "smb" => Ok(Profile::Smb),
        _ => Err(format!("{name}: there are the profiles local, nfs and smb")),
    }
}

/// What all threads have come to.
#[derive(Default)]
struct Sum {
    seeds: AtomicU64,
    steps: AtomicU64,
    commits: AtomicU64,
    reads: AtomicU64,
    faults: AtomicU64,
    kinds: Mutex<BTreeSet<&'static str>>,
    broken: Mutex<Vec<(u64, Profile, Vec<String>)>>,
}

impl Sum {
    fn line(&self) -> String {
        let of = |count: &AtomicU64| count.load(Ordering::Relaxed);
        format!(
            "{} seeds, {} steps, {} commits, {} reads, {} faults, {} kinds of faults, {} broken",
            of(&self.seeds),
            of(&self.steps),
            of(&self.commits),
            of(&self.reads),
            of(&self.faults),
            self.kinds.lock().expect("whole").len(),
            self.broken.lock().expect("whole").len()
        )
    }

    fn play(&self, seed: u64, wishes: &Wishes) {
        let outcome = run(plan(seed, wishes, wishes.one));
        let add = |count: &AtomicU64, more: u64| count.fetch_add(more, Ordering::Relaxed);
        add(&self.seeds, 1);
        add(&self.steps, outcome.steps);
        add(&self.commits, outcome.commits as u64);
        add(&self.reads, outcome.reads);
        add(&self.faults, outcome.injected);
        self.kinds.lock().expect("whole").extend(outcome.kinds);
        for line in &outcome.trace {
            println!("{line}");
        }
        if let Some(first) = outcome.violations.first() {
            println!("broken: seed {seed}: {first}");
            self.broken.lock().expect("whole").push((seed, outcome.profile, outcome.violations));
        }
    }
}

fn plan(seed: u64, wishes: &Wishes, trace: bool) -> Plan {
    Plan { seed, profile: wishes.profile, without: None, linger_ms: None, stormy: seed.is_multiple_of(8), trace }
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
                    sum.play(seed, &wishes);
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
    println!("what went wrong in them: {:?}", sum.kinds.lock().expect("whole"));
    let broken = sum.broken.lock().expect("whole");
    for (seed, profile, violations) in broken.iter() {
        let asked = wishes.profile.map_or(String::new(), |profile| format!(" --profile {}", profile.word()));
        println!("seed {seed}, {}: {violations:#?}", profile.word());
        println!("  to see it: cargo run --release --example simulate -- --seed {seed}{asked}");
    }
    if broken.is_empty() { ExitCode::SUCCESS } else { ExitCode::from(1) }
}
