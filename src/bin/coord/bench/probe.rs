//! Processes that do one thing for the benchmark instead of turns: hold a lock until they are killed, wait for it, or open many
//! databases and look at themselves.

use super::{clock, workload};
use crate::out;
use rusqlite::Connection;
use serde::{Deserialize, Serialize};
use std::io::{BufRead, Write};
use std::path::Path;
use std::process::Command;
use std::time::Duration;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Probe {
    /// Begins to write, and stays there until it is killed.
    Hold,
    /// Waits for the write lock and says when it came, by the clock of [`clock::monotonic_ns`].
    Wait,
    /// Opens [`DATABASES`] databases, whose numbers stand for `{}` in the URI, and says what they cost.
    Crowd,
}

impl Probe {
    pub const ALL: [(&'static str, Probe); 3] = [("hold", Probe::Hold), ("wait", Probe::Wait), ("crowd", Probe::Crowd)];

    pub fn command(self, uri: &str) -> Result<Command, String> {
        let program = std::env::current_exe().map_err(|error| format!("cannot find this program: {error}"))?;
        let word = Probe::ALL.iter().find(|(_, probe)| *probe == self).map_or("", |(word, _)| word);
        let mut command = Command::new(program);
        command.args(["bench-worker", "--probe", word, "--uri", uri]);
        Ok(command)
    }
}

/// Databases that a crowd opens, beside a first one that is not counted.
pub const DATABASES: usize = 200;
/// Longer than locks are kept beyond their transactions.
const SETTLE: Duration = Duration::from_millis(2_500);
/// For how long wake-ups are counted.
const IDLE: Duration = Duration::from_secs(4);

/// What a process with [`DATABASES`] open databases and nothing held says of itself.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Crowd {
    /// Growth of the heap for each database, in KiB; `None` where the C library does not tell.
    pub heap_kib: Option<f64>,
    /// Growth of the resident memory for each database, in KiB.
    pub resident_kib: f64,
    /// Threads beside the main one.
    pub threads: usize,
    /// Context switches of those threads together, a second.
    pub wakeups_per_second: f64,
}

pub fn run(probe: Probe, uri: &str) -> Result<u8, String> {
    match probe {
        Probe::Hold => hold(uri),
        Probe::Wait => wait(uri),
        Probe::Crowd => out::print(&format!("{}\n", serde_json::json!(crowd(uri)?))),
    }
}

fn open(uri: &str) -> Result<Connection, String> {
    workload::connect(uri, "full").map_err(|error| format!("{uri}: {error}"))
}

fn say(word: &str) -> Result<(), String> {
    let mut stdout = std::io::stdout();
    writeln!(stdout, "{word}").and_then(|()| stdout.flush()).map_err(|error| format!("cannot write to stdout: {error}"))
}

/// Until the benchmark says something or is gone.
fn heard() {
    let _ = std::io::stdin().lock().read_line(&mut String::new());
}

fn hold(uri: &str) -> Result<u8, String> {
    let connection = open(uri)?;
    let begun = connection.execute_batch("BEGIN IMMEDIATE; UPDATE t SET v = v + 1 WHERE id = 1");
    begun.map_err(|error| format!("{uri}: {error}"))?;
    say("holds")?;
    heard();
    Ok(0)
}

fn wait(uri: &str) -> Result<u8, String> {
    let connection = open(uri)?;
    say("waits")?;
    let begun = connection.execute_batch("BEGIN IMMEDIATE");
    let now = clock::monotonic_ns();
    begun.and_then(|()| connection.execute_batch("COMMIT")).map_err(|error| format!("{uri}: {error}"))?;
    say(&now.to_string())?;
    Ok(0)
}

/// What stands for a database's number in the URI of a crowd: in it nothing is escaped.
pub const NUMBER: &str = "~number~";

fn crowd(uri: &str) -> Result<Crowd, String> {
    let (before, after) = uri.rsplit_once(NUMBER).ok_or("the URI has no place for a number")?;
    let visit = |number: usize| -> Result<Connection, String> {
        let uri = format!("{before}{number}{after}");
        let connection = open(&uri)?;
        let read = connection.query_row("SELECT v FROM t WHERE id = 1", [], |_| Ok(()));
        read.map_err(|error| format!("{uri}: {error}"))?;
        Ok(connection)
    };
    // What a process needs once is there with the first.
    let first = visit(0)?;
    let (heap, resident) = (heap_bytes(), resident_bytes()?);
    let mut open = Vec::with_capacity(DATABASES);
    for number in 1..=DATABASES {
        open.push(visit(number)?);
    }
    let each = |before: u64, after: u64| after.saturating_sub(before) as f64 / DATABASES as f64 / 1024.0;
    let resident_kib = each(resident, resident_bytes()?);
    let heap_kib = heap.zip(heap_bytes()).map(|(before, after)| each(before, after));
    std::thread::sleep(SETTLE);
    let (threads, switches) = others()?;
    std::thread::sleep(IDLE);
    let wakeups = others()?.1.saturating_sub(switches);
    drop((first, open));
    Ok(Crowd { heap_kib, resident_kib, threads, wakeups_per_second: wakeups as f64 / IDLE.as_secs_f64() })
}

/// What is allocated, by the C library's own account.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
fn heap_bytes() -> Option<u64> {
    // SAFETY: no arguments; it only reads the allocator's counters.
    let info = unsafe { libc::mallinfo2() };
    Some((info.uordblks + info.hblkhd) as u64)
}

#[cfg(not(all(target_os = "linux", target_env = "gnu")))]
fn heap_bytes() -> Option<u64> {
    None
}

fn read(path: &Path) -> Result<String, String> {
    std::fs::read_to_string(path).map_err(|error| format!("cannot read {}: {error}", path.display()))
}

fn resident_bytes() -> Result<u64, String> {
    let text = read(Path::new("/proc/self/status"))?;
    Ok(field(&text, "VmRSS:").ok_or("no VmRSS in /proc/self/status")? * 1024)
}

/// The first number behind `key`.
fn field(text: &str, key: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix(key))?;
    line.split_whitespace().next()?.parse().ok()
}

/// How many threads there are beside this one, and how often all of them together were switched to another so far.
fn others() -> Result<(usize, u64), String> {
    let told = |error: std::io::Error| format!("cannot list this process's threads: {error}");
    let me = std::process::id().to_string();
    let (mut threads, mut switches) = (0, 0);
    for entry in std::fs::read_dir("/proc/self/task").map_err(told)? {
        let entry = entry.map_err(told)?;
        if entry.file_name().to_string_lossy() == me {
            continue;
        }
        let text = read(&entry.path().join("status"))?;
        threads += 1;
        switches += field(&text, "voluntary_ctxt_switches:").unwrap_or(0);
        switches += field(&text, "nonvoluntary_ctxt_switches:").unwrap_or(0);
    }
    Ok((threads, switches))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_found_behind_their_keys() {
        let text = "Name:\tx\nVmRSS:\t   5120 kB\nvoluntary_ctxt_switches:\t7\nnonvoluntary_ctxt_switches:\t2\n";
        assert_eq!(field(text, "VmRSS:"), Some(5_120));
        assert_eq!(field(text, "voluntary_ctxt_switches:"), Some(7));
        assert_eq!(field(text, "nonvoluntary_ctxt_switches:"), Some(2));
        assert_eq!(field(text, "VmSwap:"), None);
    }
}
