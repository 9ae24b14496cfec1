//! The command line of `coord bench` and of its processes.

use super::{Command, Topic, number, sentence, text, unknown};
use crate::bench::{self, Probe, Turn};
use lexopt::prelude::*;
use std::ops::RangeInclusive;
use std::path::PathBuf;

#[derive(Clone, Debug, PartialEq)]
pub struct Bench {
    pub dir: Option<PathBuf>,
    pub against: Vec<String>,
    /// Empty: all.
    pub workloads: Vec<String>,
    pub rounds: u32,
    pub millis: u32,
    pub json: bool,
    pub markdown: bool,
    /// Where to draw the plot.
    pub svg: Option<PathBuf>,
}

/// A process of the benchmark; only the benchmark itself starts one.
#[derive(Clone, Debug, PartialEq)]
pub struct BenchWorker {
    pub uri: String,
    /// Something else than turns.
    pub probe: Option<Probe>,
    pub turn: Turn,
    pub synchronous: String,
    pub own: u32,
    pub millis: u32,
    /// Instead of measuring: take so many turns while somebody counts their system calls.
    pub count: u32,
}

const ROUNDS: RangeInclusive<u32> = 1..=1_000;
const MILLIS: RangeInclusive<u32> = 10..=600_000;
const OPTIONS: &str = "--dir, --against, --workloads, --rounds, --millis, --json, --markdown, --svg, --help";

pub fn parse(parser: &mut lexopt::Parser) -> Result<Command, String> {
    let mut options = Bench {
        dir: None,
        against: vec!["unix".to_string()],
        workloads: Vec::new(),
        rounds: 5,
        millis: 400,
        json: false,
        markdown: false,
        svg: None,
    };
    while let Some(arg) = parser.next().map_err(sentence)? {
        match arg {
            Long("dir") => options.dir = Some(parser.value().map_err(sentence)?.into()),
            Long("against") => options.against = list(parser, "--against", &bench::PEERS)?,
            Long("workloads") => options.workloads = list(parser, "--workloads", &bench::names())?,
            Long("rounds") => options.rounds = number(parser, "--rounds", ROUNDS)?,
            Long("millis") => options.millis = number(parser, "--millis", MILLIS)?,
            Long("json") => options.json = true,
            Long("markdown") => options.markdown = true,
            Long("svg") => options.svg = Some(parser.value().map_err(sentence)?.into()),
            Short('h') | Long("help") => return Ok(Command::Help(Topic::Bench)),
            other => return Err(unknown(&other, "coord bench", OPTIONS)),
        }
    }
    if options.json && options.markdown {
        return Err("--json and --markdown are two forms of one report: take one of them".to_string());
    }
    Ok(Command::Bench(options))
}

/// Names out of `valid`, separated by commas.
fn list(parser: &mut lexopt::Parser, option: &str, valid: &[&str]) -> Result<Vec<String>, String> {
    let names: Vec<String> = text(parser)?.split(',').map(str::to_string).collect();
    if let Some(wrong) = names.iter().find(|name| !valid.contains(&name.as_str())) {
        return Err(format!("{option} takes names out of {}, not {wrong:?}", valid.join(", ")));
    }
    match names.iter().enumerate().find(|(at, name)| names[..*at].contains(name)) {
        Some((_, twice)) => Err(format!("{option} has {twice:?} twice")),
        None => Ok(names),
    }
}

pub fn parse_worker(parser: &mut lexopt::Parser) -> Result<BenchWorker, String> {
    let mut worker = BenchWorker {
        uri: String::new(),
        probe: None,
        turn: Turn::Read,
        synchronous: "full".to_string(),
        own: 0,
        millis: *MILLIS.start(),
        count: 0,
    };
    while let Some(arg) = parser.next().map_err(sentence)? {
        match arg {
            Long("uri") => worker.uri = text(parser)?,
            Long("probe") => {
                let word = text(parser)?;
                let found = Probe::ALL.iter().find(|(known, _)| *known == word);
                worker.probe = Some(found.ok_or_else(|| format!("there is no probe {word:?}"))?.1);
            }
            Long("turn") => {
                let word = text(parser)?;
                let found = Turn::ALL.iter().find(|(known, _)| *known == word);
                worker.turn = found.ok_or_else(|| format!("there is no turn {word:?}"))?.1;
            }
            Long("synchronous") => worker.synchronous = text(parser)?,
            Long("own") => worker.own = number(parser, "--own", 0..=1_000)?,
            Long("millis") => worker.millis = number(parser, "--millis", MILLIS)?,
            Long("count") => worker.count = number(parser, "--count", 1..=1_000_000)?,
            other => return Err(unknown(&other, "coord bench-worker", "none for people: `coord bench` starts it")),
        }
    }
    if worker.uri.is_empty() {
        return Err("`coord bench-worker` is started by `coord bench` only".into());
    }
    Ok(worker)
}
