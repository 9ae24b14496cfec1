//! The command line: every option, its limits, and a sentence that names the valid ones for everything else.

mod bench;

pub use bench::{Bench, BenchWorker};
use lexopt::prelude::*;
use std::ffi::OsString;
use std::ops::RangeInclusive;
use std::path::PathBuf;

#[derive(Debug, PartialEq)]
pub enum Command {
    Help(Topic),
    Version,
    Demo(Demo),
    Inspect(Inspect),
    Check(Check),
    Detach(Detach),
    DemoWorker(Worker),
    Bench(Bench),
    BenchWorker(BenchWorker),
}

impl Command {
    /// Whether `--json` was given: then a failure is told on stdout too, as one object.
    pub fn wants_json(&self) -> bool {
        match self {
            Command::Demo(options) => options.json,
            Command::Inspect(options) => options.json,
            Command::Check(options) => options.json,
            Command::Detach(options) => options.json,
            Command::Bench(options) => options.json,
            Command::Help(_) | Command::Version | Command::DemoWorker(_) | Command::BenchWorker(_) => false,
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Topic {
    All,
    Demo,
    Inspect,
    Bench,
    Check,
    Detach,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Demo {
    pub dir: Option<PathBuf>,
    pub processes: u32,
    pub seconds: u32,
    pub lease_ms: u32,
    pub json: bool,
    pub keep: bool,
    /// Hidden: which VFS the workers use. `unix` runs the same trial without coord, for comparison.
    pub vfs: String,
}

#[derive(Debug, PartialEq)]
pub struct Inspect {
    pub path: PathBuf,
    pub json: bool,
}

#[derive(Debug, PartialEq)]
pub struct Check {
    pub dir: PathBuf,
    pub peer: bool,
    pub rounds: u32,
    pub wait_seconds: u32,
    pub json: bool,
}

#[derive(Debug, PartialEq)]
pub struct Detach {
    pub path: PathBuf,
    pub dry_run: bool,
    pub json: bool,
}

/// A worker process of the demo; only the demo itself starts one.
#[derive(Clone, Debug, PartialEq)]
pub struct Worker {
    pub path: PathBuf,
    pub id: u32,
    pub role: Role,
    pub vfs: String,
    pub lease_ms: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    Writer,
    Reader,
}

impl Role {
    pub fn name(self) -> &'static str {
        match self {
            Role::Writer => "writer",
            Role::Reader => "reader",
        }
    }
}

const PROCESSES: RangeInclusive<u32> = 2..=64;
const SECONDS: RangeInclusive<u32> = 1..=3_600;
/// What the protocol itself clamps a lease to.
const LEASE_MS: RangeInclusive<u32> = 1_000..=3_600_000;

const ROUNDS: RangeInclusive<u32> = 1..=10_000;
const WAIT_SECONDS: RangeInclusive<u32> = 1..=3_600;

const COMMANDS: &str = "demo, inspect, check, detach, bench, help";
const DEMO_OPTIONS: &str = "--dir, --processes, --seconds, --lease-ms, --json, --keep, --help";
const INSPECT_OPTIONS: &str = "PATH, --json, --help";
const DETACH_OPTIONS: &str = "PATH, --dry-run, --json, --help";
const CHECK_OPTIONS: &str = "DIR, --peer, --rounds, --wait, --json, --help";

/// Reads the arguments after the program's name. The error is a sentence for stderr.
pub fn parse(args: impl IntoIterator<Item = OsString>) -> Result<Command, String> {
    let mut parser = lexopt::Parser::from_args(args);
    match parser.next().map_err(sentence)? {
        None => Err(format!("which command? Valid are {COMMANDS}; `coord --help` tells more")),
        Some(Short('h') | Long("help")) => Ok(Command::Help(Topic::All)),
        Some(Short('V') | Long("version")) => Ok(Command::Version),
        Some(Value(name)) => match name.to_string_lossy().as_ref() {
            "help" => help(&mut parser),
            "demo" => demo(&mut parser),
            "inspect" => inspect(&mut parser),
            "bench" => bench::parse(&mut parser),
            "bench-worker" => bench::parse_worker(&mut parser).map(Command::BenchWorker),
            "check" => check(&mut parser),
            "detach" => detach(&mut parser),
            "demo-worker" => worker(&mut parser).map(Command::DemoWorker),
            other => Err(format!("there is no command {other:?}; valid are {COMMANDS}")),
        },
        Some(other) => Err(unknown(&other, "coord", &format!("{COMMANDS}, --help, --version"))),
    }
}

fn help(parser: &mut lexopt::Parser) -> Result<Command, String> {
    match parser.next().map_err(sentence)? {
        None => Ok(Command::Help(Topic::All)),
        Some(Value(name)) if name == "demo" => Ok(Command::Help(Topic::Demo)),
        Some(Value(name)) if name == "inspect" => Ok(Command::Help(Topic::Inspect)),
        Some(Value(name)) if name == "bench" => Ok(Command::Help(Topic::Bench)),
        Some(Value(name)) if name == "check" => Ok(Command::Help(Topic::Check)),
        Some(Value(name)) if name == "detach" => Ok(Command::Help(Topic::Detach)),
        Some(Value(name)) if name == "help" => Ok(Command::Help(Topic::All)),
        Some(other) => Err(unknown(&other, "coord help", COMMANDS)),
    }
}

fn demo(parser: &mut lexopt::Parser) -> Result<Command, String> {
    let mut demo =
        Demo { dir: None, processes: 6, seconds: 15, lease_ms: 1_500, json: false, keep: false, vfs: "coord".into() };
    while let Some(arg) = parser.next().map_err(sentence)? {
        match arg {
            Long("dir") => demo.dir = Some(parser.value().map_err(sentence)?.into()),
            Long("processes") => demo.processes = number(parser, "--processes", PROCESSES)?,
            Long("seconds") => demo.seconds = number(parser, "--seconds", SECONDS)?,
            Long("lease-ms") => demo.lease_ms = number(parser, "--lease-ms", LEASE_MS)?,
            Long("json") => demo.json = true,
            Long("keep") => demo.keep = true,
            Long("vfs") => demo.vfs = text(parser)?,
            Short('h') | Long("help") => return Ok(Command::Help(Topic::Demo)),
            other => return Err(unknown(&other, "coord demo", DEMO_OPTIONS)),
        }
    }
    Ok(Command::Demo(demo))
}

fn inspect(parser: &mut lexopt::Parser) -> Result<Command, String> {
    let (mut path, mut json) = (None, false);
    while let Some(arg) = parser.next().map_err(sentence)? {
        match arg {
            Long("json") => json = true,
            Short('h') | Long("help") => return Ok(Command::Help(Topic::Inspect)),
            Value(value) if path.is_none() => path = Some(PathBuf::from(value)),
            other => return Err(unknown(&other, "coord inspect", INSPECT_OPTIONS)),
        }
    }
    let path = path.ok_or("`coord inspect` needs the PATH of a database")?;
    Ok(Command::Inspect(Inspect { path, json }))
}

fn check(parser: &mut lexopt::Parser) -> Result<Command, String> {
    let mut check = Check { dir: PathBuf::new(), peer: false, rounds: 50, wait_seconds: 120, json: false };
    while let Some(arg) = parser.next().map_err(sentence)? {
        match arg {
            Long("peer") => check.peer = true,
            Long("rounds") => check.rounds = number(parser, "--rounds", ROUNDS)?,
            Long("wait") => check.wait_seconds = number(parser, "--wait", WAIT_SECONDS)?,
            Long("json") => check.json = true,
            Short('h') | Long("help") => return Ok(Command::Help(Topic::Check)),
            Value(value) if check.dir.as_os_str().is_empty() => check.dir = value.into(),
            other => return Err(unknown(&other, "coord check", CHECK_OPTIONS)),
        }
    }
    if check.dir.as_os_str().is_empty() {
        return Err("`coord check` needs the DIR that a database is in, or will be".into());
    }
    Ok(Command::Check(check))
}

fn detach(parser: &mut lexopt::Parser) -> Result<Command, String> {
    let (mut path, mut dry_run, mut json) = (None, false, false);
    while let Some(arg) = parser.next().map_err(sentence)? {
        match arg {
            Long("dry-run") => dry_run = true,
            Long("json") => json = true,
            Short('h') | Long("help") => return Ok(Command::Help(Topic::Detach)),
            Value(value) if path.is_none() => path = Some(PathBuf::from(value)),
            other => return Err(unknown(&other, "coord detach", DETACH_OPTIONS)),
        }
    }
    let path = path.ok_or("`coord detach` needs the PATH of a database")?;
    Ok(Command::Detach(Detach { path, dry_run, json }))
}

fn worker(parser: &mut lexopt::Parser) -> Result<Worker, String> {
    let mut worker =
        Worker { path: PathBuf::new(), id: 0, role: Role::Writer, vfs: "coord".into(), lease_ms: *LEASE_MS.start() };
    while let Some(arg) = parser.next().map_err(sentence)? {
        match arg {
            Long("id") => worker.id = number(parser, "--id", 1..=u32::MAX)?,
            Long("reader") => worker.role = Role::Reader,
            Long("vfs") => worker.vfs = text(parser)?,
            Long("lease-ms") => worker.lease_ms = number(parser, "--lease-ms", LEASE_MS)?,
            Value(value) => worker.path = value.into(),
            other => {
                return Err(unknown(&other, "coord demo-worker", "none for people: `coord demo` starts it"));
            }
        }
    }
    if worker.id == 0 || worker.path.as_os_str().is_empty() {
        return Err("`coord demo-worker` is started by `coord demo` only".into());
    }
    Ok(worker)
}

fn text(parser: &mut lexopt::Parser) -> Result<String, String> {
    parser.value().and_then(|value| value.string()).map_err(sentence)
}

fn number(parser: &mut lexopt::Parser, name: &str, valid: RangeInclusive<u32>) -> Result<u32, String> {
    let value = text(parser)?;
    value
        .parse()
        .ok()
        .filter(|number| valid.contains(number))
        .ok_or_else(|| format!("{name} takes a whole number from {} to {}, not {value:?}", valid.start(), valid.end()))
}

fn unknown(arg: &lexopt::Arg, command: &str, valid: &str) -> String {
    let name = match arg {
        Short(letter) => format!("-{letter}"),
        Long(name) => format!("--{name}"),
        Value(value) => value.to_string_lossy().into_owned(),
    };
    format!("`{command}` does not know {name:?}; valid are {valid}")
}

fn sentence(error: lexopt::Error) -> String {
    error.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse_line(line: &str) -> Result<Command, String> {
        parse(line.split_whitespace().map(OsString::from))
    }

    #[test]
    fn a_plain_demo_has_the_documented_defaults() {
        let Ok(Command::Demo(demo)) = parse_line("demo") else { panic!("not a demo") };
        assert_eq!((demo.processes, demo.seconds, demo.lease_ms, demo.vfs.as_str()), (6, 15, 1_500, "coord"));
        assert!(demo.dir.is_none() && !demo.json && !demo.keep);
    }

    #[test]
    fn a_plain_check_has_the_documented_defaults() {
        let Ok(Command::Check(check)) = parse_line("check /x") else { panic!("not a check") };
        assert_eq!((check.peer, check.rounds, check.wait_seconds, check.json), (false, 50, 120, false));
    }

    #[test]
    fn options_are_read_in_both_spellings() {
        let Ok(Command::Demo(demo)) = parse_line("demo --processes=3 --dir /x --seconds 2 --json") else {
            panic!("not a demo")
        };
        assert_eq!((demo.processes, demo.seconds, demo.json), (3, 2, true));
        assert_eq!(demo.dir, Some(PathBuf::from("/x")));
    }

    #[test]
    fn wrong_usage_names_what_is_valid() {
        for (line, word) in [
            ("", "inspect"),
            ("frob", "demo"),
            ("--frob", "--version"),
            ("demo --frob", "--lease-ms"),
            ("demo extra", "--lease-ms"),
            ("demo --processes 1", "64"),
            ("demo --processes", "processes"),
            ("demo --lease-ms 999", "1000"),
            ("demo --seconds=-3", "3600"),
            ("demo --json=yes", "yes"),
            ("bench --frob", "--against"),
            ("bench --against wal", "unix-dotfile"),
            ("bench --against unix,unix", "twice"),
            ("bench --workloads r1,w9", "w1-full"),
            ("bench --workloads r1,w9", "footprint"),
            ("bench --rounds 0", "1000"),
            ("bench --svg", "svg"),
            ("bench-worker", "coord bench"),
            ("inspect", "PATH"),
            ("inspect a b", "--json"),
            ("help frob", "demo"),
            ("detach", "PATH"),
            ("detach a --force", "--dry-run"),
            ("check", "DIR"),
            ("check a b", "--peer"),
            ("check a --rounds 0", "10000"),
            ("check a --wait x", "3600"),
            ("demo-worker", "coord demo"),
        ] {
            let error = parse_line(line).expect_err(line);
            assert!(error.contains(word), "{line}: {error}");
        }
    }
}
