//! Requests of a transaction to a FUSE filesystem: what a lookup, a lock or a sync costs where each of them is a message to
//! somebody. The filesystem is bindfs over a directory of ours, whose debugging output has a line for each request.

use super::summary::median;
use super::workload::{self, Turn};
use super::{Configuration, fleet};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// As `--workloads` names it.
pub const NAME: &str = "requests";
/// Turns of the short and of the long count: they begin and end alike, so the difference is that of the turns alone.
const TURNS: (u32, u32) = (50, 250);
/// Counts of each kind, of which the median is taken: a heartbeat falls into one or another.
const COUNTS: usize = 3;
/// What each request's line has in libfuse's debugging output.
const MARK: &str = "opcode: ";
const MOUNTED_WITHIN: Duration = Duration::from_secs(10);
const TRANSACTIONS: [(Turn, &str); 2] = [(Turn::Read, "FULL"), (Turn::Write, "FULL")];

/// Requests of one transaction, on average, by name.
pub type Spent = BTreeMap<String, f64>;

/// What one configuration needs.
#[derive(Debug, serde::Serialize)]
pub struct Needed {
    pub configuration: String,
    pub read: Spent,
    pub write: Spent,
}

/// Of all configurations, or why nothing could be counted.
#[derive(Debug, serde::Serialize)]
pub struct Requests {
    pub results: Vec<Needed>,
    pub missing: Option<String>,
}

/// All requests of one transaction.
pub fn total(spent: &Spent) -> f64 {
    spent.values().fold(0.0, |sum, count| sum + count)
}

/// Counts the requests of a read and of a small write in each configuration.
pub fn measure(dir: &Path, configurations: &[Configuration]) -> Result<Requests, String> {
    let mounted = match Mounted::new(dir) {
        Ok(mounted) => mounted,
        Err(why) => return Ok(Requests { results: Vec::new(), missing: Some(why) }),
    };
    let mut results = Vec::new();
    for configuration in configurations.iter().filter(|configuration| !configuration.name.contains("trusted")) {
        let uri = configuration.uri(&mounted.path);
        let why = |error: String| format!("requests through {}: {error}", configuration.name);
        workload::prepare(&uri).map_err(|error| why(error.to_string()))?;
        let [read, write] = TRANSACTIONS.map(|(turn, synchronous)| mounted.count(&uri, turn, synchronous).map_err(why));
        results.push(Needed { configuration: configuration.name.clone(), read: read?, write: write? });
    }
    Ok(Requests { results, missing: None })
}

/// bindfs over a directory, and its debugging output. Unmounted on drop.
struct Mounted {
    child: Child,
    path: PathBuf,
    log: PathBuf,
}

impl Mounted {
    fn new(dir: &Path) -> Result<Mounted, String> {
        let (source, path, log) = (dir.join("behind-fuse"), dir.join("fuse"), dir.join("fuse.log"));
        let failed = |error: std::io::Error| format!("not counted: {error}");
        std::fs::create_dir(&source).and_then(|()| std::fs::create_dir(&path)).map_err(failed)?;
        let output = std::fs::File::create(&log).map_err(failed)?;
        let before = device(&path);
        let mut command = Command::new("bindfs");
        command.arg("-d").args([&source, &path]).stdin(Stdio::null()).stderr(output).stdout(Stdio::null());
        let child = command.spawn().map_err(|error| {
            format!("not counted: bindfs cannot be started ({error}); Debian has it in the package bindfs")
        })?;
        let mut mounted = Mounted { child, path, log };
        let begun = Instant::now();
        while device(&mounted.path) == before {
            let ended = mounted.child.try_wait().map_err(failed)?;
            if ended.is_some() || begun.elapsed() > MOUNTED_WITHIN {
                let said = std::fs::read_to_string(&mounted.log).unwrap_or_default();
                return Err(format!("not counted: bindfs does not mount here: {}", said.trim()));
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        Ok(mounted)
    }

    /// Requests of one turn.
    fn count(&self, uri: &str, turn: Turn, synchronous: &str) -> Result<Spent, String> {
        let mut counts: Vec<Spent> = Vec::new();
        for _ in 0..COUNTS {
            let short = self.of_run(uri, turn, synchronous, TURNS.0)?;
            let mut spent = self.of_run(uri, turn, synchronous, TURNS.1)?;
            for (name, count) in &mut spent {
                *count = (*count - short.get(name).unwrap_or(&0.0)) / f64::from(TURNS.1 - TURNS.0);
            }
            counts.push(spent);
        }
        let names: Vec<String> = counts.iter().flat_map(|spent| spent.keys().cloned()).collect();
        let of = |name: &str| median(counts.iter().map(|spent| *spent.get(name).unwrap_or(&0.0)));
        // Fewer in the long count than in the short one are none.
        Ok(names.into_iter().map(|name| (name.clone(), of(&name).max(0.0))).filter(|(_, count)| *count > 0.0).collect())
    }

    /// All requests of a process with so many turns, from its start to its end.
    fn of_run(&self, uri: &str, turn: Turn, synchronous: &str, turns: u32) -> Result<Spent, String> {
        let unread = |error: std::io::Error| format!("cannot read what bindfs says: {error}");
        let before = std::fs::metadata(&self.log).map_err(unread)?.len() as usize;
        let rest = ["--count".to_string(), turns.to_string()];
        let mut command = fleet::command(uri, turn, synchronous, 0, &rest)?;
        let ended = command.stdin(Stdio::null()).stdout(Stdio::null()).status();
        match ended {
            Ok(status) if status.success() => {}
            Ok(status) => return Err(format!("a process ended with {status}")),
            Err(error) => return Err(format!("cannot start a process: {error}")),
        }
        let said = std::fs::read(&self.log).map_err(unread)?;
        Ok(requests_in(&String::from_utf8_lossy(&said[before.min(said.len())..])))
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        for (program, arguments) in [("fusermount3", "-u"), ("fusermount", "-u"), ("umount", "-l")] {
            let ended = Command::new(program).arg(arguments).arg(&self.path).stderr(Stdio::null()).status();
            if ended.is_ok_and(|status| status.success()) {
                break;
            }
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn device(path: &Path) -> Option<u64> {
    use std::os::unix::fs::MetadataExt;
    std::fs::metadata(path).ok().map(|found| found.dev())
}

/// The requests of libfuse's debugging output, by name.
fn requests_in(said: &str) -> Spent {
    let mut spent = Spent::new();
    for line in said.lines() {
        if let Some((_, rest)) = line.split_once(MARK) {
            let name = rest.split_whitespace().next().unwrap_or_default().to_string();
            *spent.entry(name).or_default() += 1.0;
        }
    }
    spent
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_are_counted_by_name() {
        let said = "unique: 2, opcode: LOOKUP (1), nodeid: 1, insize: 47, pid: 12\nLOOKUP /x\n   unique: 2, error: -2\n\
                    unique: 4, opcode: LOOKUP (1), nodeid: 1, insize: 47, pid: 12\nunique: 6, opcode: WRITE (16), nodeid: 2\n";
        assert_eq!(requests_in(said), Spent::from([("LOOKUP".to_string(), 2.0), ("WRITE".to_string(), 1.0)]));
    }
}
