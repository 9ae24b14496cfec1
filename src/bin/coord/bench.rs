//! `coord bench`: the same workloads through coord and through SQLite's own VFSes, alternated within one run, each
//! configuration on an identical database of its own in the same directory.

mod count;
mod fleet;
mod histogram;
mod machine;
mod summary;
mod text;
pub mod worker;
mod workload;

use crate::{args, out, register};
use machine::Machine;
use std::path::{Path, PathBuf};
use summary::Result as Figures;
pub use workload::Turn;
use workload::Workload;

/// Names of the workloads, for the command line.
pub fn names() -> Vec<&'static str> {
    workload::ALL.iter().map(|workload| workload.name).collect()
}

/// One way to open a database.
#[derive(Clone, Debug)]
struct Configuration {
    name: String,
    parameters: String,
}

/// The ways that go through coord. Everything else that `--against` names is a VFS of SQLite's.
pub const COORD: [(&str, &str); 3] = [
    ("coord", "vfs=coord&coord_mode=network-exclusive"),
    ("coord-asap", "vfs=coord&coord_mode=network-exclusive&coord_unlock_asap=1"),
    ("coord-trusted", "vfs=coord&coord_mode=trusted"),
];
/// What `--against` may name.
pub const PEERS: [&str; 4] = ["unix", "unix-dotfile", "unix-excl", "unix-none"];

impl Configuration {
    fn database(&self, dir: &Path) -> PathBuf {
        dir.join(format!("{}.sqlite", self.name))
    }

    fn uri(&self, dir: &Path) -> String {
        let path = self.database(dir).display().to_string();
        let escaped: String = path
            .chars()
            .flat_map(|c| match c {
                '%' | '?' | '#' => format!("%{:02x}", c as u32).chars().collect::<Vec<_>>(),
                other => vec![other],
            })
            .collect();
        format!("file:{escaped}?{}", self.parameters)
    }
}

/// All of one run.
#[derive(serde::Serialize)]
pub struct Report {
    machine: Machine,
    rounds: u32,
    milliseconds: u32,
    workloads: Vec<Measured>,
}

#[derive(serde::Serialize)]
struct Measured {
    name: &'static str,
    about: &'static str,
    results: Vec<Figures>,
}

pub fn run(options: &args::Bench) -> Result<u8, String> {
    register::register()?;
    let dir = Directory::new(options.dir.as_deref())?;
    let configurations = configurations(options, &dir.path)?;
    for configuration in &configurations {
        workload::prepare(&configuration.uri(&dir.path))
            .map_err(|error| format!("cannot make a database for {}: {error}", configuration.name))?;
    }
    let mut report = Report {
        machine: Machine::here(&dir.path),
        rounds: options.rounds,
        milliseconds: options.millis,
        workloads: Vec::new(),
    };
    let wanted = |workload: &&Workload| {
        options.workloads.is_empty() || options.workloads.iter().any(|name| name == workload.name)
    };
    for workload in workload::ALL.iter().filter(wanted) {
        let measured = measure(options, &dir.path, &configurations, workload)?;
        if !options.json && !options.markdown {
            out::print(&text::workload(&measured))?;
        }
        report.workloads.push(measured);
    }
    if options.json {
        out::print(&format!("{}\n", serde_json::json!(report)))?;
    } else if options.markdown {
        out::print(&text::document(&report))?;
    } else {
        out::print(&text::machine(&report))?;
    }
    Ok(0)
}

/// The first is what the others are compared with.
fn configurations(options: &args::Bench, dir: &Path) -> Result<Vec<Configuration>, String> {
    let mut found = Vec::new();
    for peer in &options.against {
        found.push(Configuration { name: peer.clone(), parameters: format!("vfs={peer}") });
    }
    let local = coord::lock::storage().kind(dir).is_local();
    for (name, parameters) in COORD {
        if local || name != "coord-trusted" {
            found.push(Configuration { name: name.to_string(), parameters: parameters.to_string() });
        }
    }
    Ok(found)
}

fn measure(
    options: &args::Bench,
    dir: &Path,
    configurations: &[Configuration],
    workload: &Workload,
) -> Result<Measured, String> {
    let mut runs: Vec<Vec<fleet::Run>> = configurations.iter().map(|_| Vec::new()).collect();
    for round in 0..options.rounds as usize {
        // Each round begins with another configuration, and every second one goes backwards.
        let mut order: Vec<usize> = (0..configurations.len()).collect();
        order.rotate_left(round % configurations.len());
        if round % 2 == 1 {
            order.reverse();
        }
        for at in order {
            let configuration = &configurations[at];
            let run = fleet::run(&configuration.uri(dir), workload, options.millis)
                .map_err(|error| format!("{} through {}: {error}", workload.name, configuration.name))?;
            runs[at].push(run);
        }
    }
    let mut results = Vec::new();
    for (configuration, runs) in configurations.iter().zip(&runs) {
        let counted = match workload.crew {
            [(turn, 1)] => Some(count::count(&configuration.uri(dir), *turn, workload.synchronous)),
            _ => None,
        };
        let (calls, calls_missing) = match counted {
            None => (None, None),
            Some(Ok(calls)) => (Some(calls), None),
            Some(Err(why)) => (None, Some(why)),
        };
        let parts = summary::figures(runs);
        results.push(Figures { configuration: configuration.name.clone(), parts, calls, calls_missing });
    }
    summary::compare(&mut results);
    Ok(Measured { name: workload.name, about: workload.about, results })
}

/// A new directory of our own, removed at the end.
struct Directory {
    path: PathBuf,
}

impl Directory {
    fn new(parent: Option<&Path>) -> Result<Directory, String> {
        let parent = parent.map_or_else(std::env::temp_dir, Path::to_path_buf);
        let random = getrandom::u64().map_err(|error| format!("no random number for a new name: {error}"))?;
        let path = parent.join(format!("coord-bench-{random:016x}"));
        std::fs::create_dir_all(&path).map_err(|error| format!("cannot make {}: {error}", path.display()))?;
        let path = path.canonicalize().map_err(|error| format!("cannot find {}: {error}", path.display()))?;
        Ok(Directory { path })
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.path);
    }
}
