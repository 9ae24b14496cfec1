//! How long a waiter waits for the write lock of a process of the same host that was killed (kill -9) in a transaction.

use super::fleet::Process;
use super::probe::Probe;
use super::{Configuration, clock, summary};
use serde::Serialize;
use std::path::Path;
use std::time::Duration;

pub const NAME: &str = "takeover";
/// SQLite's own VFSes whose waiters do not come into question: a killed holder keeps its lock for ever, shares it with nobody, or
/// has none.
const LEFT_OUT: [&str; 3] = ["unix-dotfile", "unix-excl", "unix-none"];
const KILLS_A_ROUND: u32 = 4;
const MOST_KILLS: u32 = 40;

#[derive(Debug, Serialize)]
pub struct Takeover {
    pub kills: u32,
    pub results: Vec<Waited>,
}

/// From the kill to the waiter's lock, in milliseconds.
#[derive(Debug, Serialize)]
pub struct Waited {
    pub configuration: String,
    pub median_ms: f64,
    pub max_ms: f64,
    #[serde(skip)]
    all: Vec<f64>,
}

pub fn measure(dir: &Path, configurations: &[Configuration], rounds: u32) -> Result<Takeover, String> {
    let kills = (rounds * KILLS_A_ROUND).min(MOST_KILLS);
    let asked = configurations.iter().filter(|configuration| !LEFT_OUT.contains(&configuration.name.as_str()));
    let mut results: Vec<Waited> = asked
        .map(|configuration| Waited {
            configuration: configuration.name.clone(),
            median_ms: 0.0,
            max_ms: 0.0,
            all: Vec::new(),
        })
        .collect();
    for kill in 0..kills {
        for result in &mut results {
            let Some(of) = configurations.iter().find(|of| of.name == result.configuration) else { continue };
            let waited = once(&of.uri(dir), kill).map_err(|error| format!("takeover through {}: {error}", of.name))?;
            result.all.push(waited);
        }
    }
    for result in &mut results {
        result.median_ms = summary::median(result.all.iter().copied());
        result.max_ms = result.all.iter().copied().fold(0.0, f64::max);
    }
    Ok(Takeover { kills, results })
}

fn once(uri: &str, kill: u32) -> Result<f64, String> {
    let mut holder = Process::start(Probe::Hold.command(uri)?)?;
    holder.until("holds")?;
    let mut waiter = Process::start(Probe::Wait.command(uri)?)?;
    waiter.until("waits")?;
    // Long enough to be waiting in earnest, and at another moment of a polling waiter's pauses each time.
    std::thread::sleep(Duration::from_millis(150 + u64::from(kill) * 37 % 100));
    let killed = clock::monotonic_ns();
    drop(holder);
    let said = waiter.line()?;
    let got: u64 = said.parse().map_err(|_| format!("the waiter said {said:?}"))?;
    waiter.end()?;
    Ok(got.saturating_sub(killed) as f64 / 1e6)
}
