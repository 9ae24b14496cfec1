//! `coord bench`: the same workloads through coord and through SQLite's own VFSes, alternated within one run, each
//! configuration on an identical database of its own in the same directory.

mod bars;
mod clock;
mod count;
mod document;
mod fairness;
mod fleet;
mod footprint;
mod histogram;
mod machine;
mod plot;
mod probe;
mod requests;
mod summary;
mod takeover;
mod text;
pub mod worker;
mod workload;

use crate::{args, interrupts, out, register};
use machine::Machine;
pub use probe::Probe;
use std::path::{Path, PathBuf};
use summary::Result as Figures;
pub use workload::Turn;
use workload::Workload;

/// Names of the workloads, for the command line.
pub fn names() -> Vec<&'static str> {
    workload::ALL
        .iter()
        .map(|workload| workload.name)
        .chain([takeover::NAME, footprint::NAME, requests::NAME])
        .collect()
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
        let escaped = crate::demo::database::percent_encode(self.database(dir).as_os_str().as_encoded_bytes());
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
    takeover: Option<takeover::Takeover>,
    footprint: Option<footprint::Footprint>,
    requests: Option<requests::Requests>,
    bars: Vec<bars::Bar>,
}

#[derive(serde::Serialize)]
struct Measured {
    name: &'static str,
    about: &'static str,
    results: Vec<Figures>,
}

impl Report {
    /// With nothing measured yet.
    fn new(machine: Machine, rounds: u32, milliseconds: u32) -> Report {
        Report {
            machine,
            rounds,
            milliseconds,
            workloads: Vec::new(),
            takeover: None,
            footprint: None,
            requests: None,
            bars: Vec::new(),
        }
    }
}

pub fn run(options: &args::Bench) -> Result<u8, String> {
    register::register()?;
    if let Some(path) = &options.svg {
        // Not only at the end of a long run.
        can_write(path).map_err(|error| cannot_write(path, &error))?;
    }
    interrupts::catch(true);
    let dir = Directory::new(options.dir.as_deref())?;
    // Children die of the same Ctrl-C, and whatever that broke is not what there is to say.
    let ran = run_in(options, &dir);
    drop(dir);
    if ran.is_err() && interrupts::interrupted() {
        return Ok(interrupts::ended(options.json, LEFT));
    }
    ran
}

const LEFT: &str = "nothing was left behind";

/// Whether a file could be written there, which is left as it is.
fn can_write(path: &Path) -> std::io::Result<()> {
    let there = path.exists();
    std::fs::File::options().append(true).create(true).open(path)?;
    if there { Ok(()) } else { std::fs::remove_file(path) }
}

fn cannot_write(path: &Path, error: &std::io::Error) -> String {
    format!("cannot write {}: {error}", path.display())
}

fn run_in(options: &args::Bench, dir: &Directory) -> Result<u8, String> {
    let configurations = configurations(options, &dir.path)?;
    for configuration in &configurations {
        workload::prepare(&configuration.uri(&dir.path))
            .map_err(|error| format!("cannot make a database for {}: {error}", configuration.name))?;
    }
    let mut report = Report::new(Machine::here(&dir.path), options.rounds, options.millis);
    let wanted = |name: &str| {
        let all = options.workloads.is_empty() || options.workloads.iter().any(|wanted| wanted == name);
        all && !interrupts::interrupted()
    };
    let tell = |text: String| if options.json || options.markdown { Ok(0) } else { out::print(&text) };
    for workload in workload::ALL.iter().filter(|workload| wanted(workload.name)) {
        let measured = measure(options, &dir.path, &configurations, workload)?;
        tell(text::workload(&measured))?;
        report.workloads.push(measured);
    }
    if wanted(takeover::NAME) {
        let measured = takeover::measure(&dir.path, &configurations, options.rounds)?;
        tell(text::takeover(&measured))?;
        report.takeover = Some(measured);
    }
    if wanted(footprint::NAME) {
        let measured = footprint::measure(&dir.path, &configurations)?;
        tell(text::footprint(&measured))?;
        report.footprint = Some(measured);
    }
    if wanted(requests::NAME) {
        let measured = requests::measure(&dir.path, &configurations)?;
        tell(text::requests(&measured))?;
        report.requests = Some(measured);
    }
    if interrupts::interrupted() {
        return Err(LEFT.to_string());
    }
    report.bars = bars::judge(&report);
    if let Some(path) = &options.svg {
        std::fs::write(path, plot::draw(&report)).map_err(|error| cannot_write(path, &error))?;
    }
    if options.json {
        out::print(&format!("{}\n", serde_json::json!(report)))?;
    } else if options.markdown {
        out::print(&document::document(&report, options.svg.as_deref()))?;
    } else {
        out::print(&format!("{}{}", text::bars(&report.bars), text::machine(&report)))?;
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
    let mut alone: Vec<Vec<fleet::Run>> = configurations.iter().map(|_| Vec::new()).collect();
    for round in 0..options.rounds as usize {
        // Each round begins with another configuration, and every second one goes backwards.
        let mut order: Vec<usize> = (0..configurations.len()).collect();
        order.rotate_left(round % configurations.len());
        if round % 2 == 1 {
            order.reverse();
        }
        for at in order {
            let configuration = &configurations[at];
            if interrupts::interrupted() {
                return Err(LEFT.to_string());
            }
            let run = |workload: &Workload| {
                fleet::run(&configuration.uri(dir), workload, options.millis)
                    .map_err(|error| format!("{} through {}: {error}", workload.name, configuration.name))
            };
            runs[at].push(run(workload)?);
            if let Some(crew) = workload.alone {
                alone[at].push(run(&Workload { crew, ..*workload })?);
            }
        }
    }
    let mut results = Vec::new();
    for ((configuration, runs), alone) in configurations.iter().zip(&runs).zip(&alone) {
        let counted = match workload.crew {
            [(turn, 1)] => Some(count::count(&configuration.uri(dir), *turn, workload.synchronous)),
            _ => None,
        };
        let (calls, calls_missing) = match counted {
            None => (None, None),
            Some(Ok(calls)) => (Some(calls), None),
            Some(Err(why)) => (None, Some(why)),
        };
        let mut parts = summary::figures(runs);
        summary::compare_alone(&mut parts, &summary::figures(alone));
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
        std::fs::create_dir(&path).map_err(|error| format!("cannot make {}: {error}", path.display()))?;
        let path = path.canonicalize().map_err(|error| format!("cannot find {}: {error}", path.display()))?;
        Ok(Directory { path })
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.path);
    }
}
