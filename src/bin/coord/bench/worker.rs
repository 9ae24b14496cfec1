//! A process of the benchmark: it gets ready, waits for the word, takes turns for a while and says how long each took.

use super::histogram::Histogram;
use super::workload::{Player, ROWS, Turn};
use super::{clock, count, probe};
use crate::{args, out, register};
use serde::{Deserialize, Serialize};
use std::io::{BufRead, Write};
use std::time::{Duration, Instant};

/// Turns before the first that counts.
const WARM_UP: u32 = 10;

/// What a process says at its end, as one line of JSON.
#[derive(Debug, Default, Serialize, Deserialize)]
pub struct Report {
    pub latencies: Histogram,
    /// From the first turn's begin to the last one's end.
    pub nanoseconds: u64,
    /// Turns that failed, as when the database was locked for the whole busy timeout.
    pub failed: u64,
    pub error: Option<String>,
    /// CPU time of all its threads, in nanoseconds.
    pub cpu_ns: u64,
}

pub fn run(options: &args::BenchWorker) -> Result<u8, String> {
    register::register()?;
    if let Some(probe) = options.probe {
        return probe::run(probe, &options.uri);
    }
    let told = |error: rusqlite::Error| format!("{}: {error}", options.uri);
    let mut player = Player::new(&options.uri, options.turn, &options.synchronous, options.own).map_err(told)?;
    // Where calls are counted, SQLite's cache has every page before: fetching one is not what a lock costs.
    let warm_up = if options.count > 0 && options.turn == Turn::Read { ROWS as u32 } else { WARM_UP };
    for _ in 0..warm_up {
        player.play().map_err(told)?;
    }
    if options.count > 0 {
        count::begin();
        for _ in 0..options.count {
            player.play().map_err(told)?;
        }
        count::end();
        return Ok(0);
    }
    let mut stdout = std::io::stdout();
    let say = |error: std::io::Error| format!("cannot write to stdout: {error}");
    writeln!(stdout, "ready").and_then(|()| stdout.flush()).map_err(say)?;
    let mut line = String::new();
    if std::io::stdin().lock().read_line(&mut line).unwrap_or(0) == 0 {
        return Ok(0);
    }
    let report = measure(&mut player, Duration::from_millis(options.millis.into()));
    drop(player);
    out::print(&format!("{}\n", serde_json::json!(report)))
}

fn measure(player: &mut Player, span: Duration) -> Report {
    let mut report = Report::default();
    let cpu_before = clock::process_cpu_ns();
    let start = Instant::now();
    let mut before = start;
    loop {
        let played = player.play();
        let now = Instant::now();
        match played {
            Ok(()) => report.latencies.add(now.duration_since(before).as_nanos() as u64),
            Err(error) => {
                report.failed += 1;
                report.error = Some(error.to_string());
            }
        }
        before = now;
        if now.duration_since(start) >= span {
            break;
        }
    }
    report.nanoseconds = before.duration_since(start).as_nanos() as u64;
    report.cpu_ns = clock::process_cpu_ns() - cpu_before;
    report
}
