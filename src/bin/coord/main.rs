//! The `coord` command: a trial of the whole thing (`coord demo`), a look at who holds what (`coord inspect`), the
//! qualification of a filesystem (`coord check`), the way back to plain SQLite (`coord detach`), and a comparison with SQLite's own
//! locks (`coord bench`).
//!
//! This file only sends each subcommand to its module. Exit status everywhere: 0 all is well, 1 something is not (a
//! verdict of BROKEN, a stale lock), 2 the command could not do what it was asked, 130 it was interrupted.

mod args;
mod bench;
mod check;
mod demo;
mod detach;
mod help;
mod inspect;
mod interrupts;
mod out;
mod progress;
mod register;
mod remarks;

use std::process::ExitCode;

/// Exit status for wrong usage and for everything that kept the command from doing its work.
const COULD_NOT_RUN: u8 = 2;

fn main() -> ExitCode {
    let command = args::parse(std::env::args_os().skip(1));
    let json = command.as_ref().is_ok_and(args::Command::wants_json);
    ExitCode::from(command.and_then(run).unwrap_or_else(|sentence| {
        if json {
            // Where stdout cannot be written to, the sentence on stderr says so; there is no third place.
            let _ = out::print(&format!("{}\n", serde_json::json!({ "error": sentence })));
        }
        out::complain(&format!("coord: {sentence}"));
        COULD_NOT_RUN
    }))
}

fn run(command: args::Command) -> Result<u8, String> {
    match command {
        args::Command::Help(topic) => out::print(help::text(topic)),
        args::Command::Version => out::print(&format!("coord {}\n", env!("CARGO_PKG_VERSION"))),
        args::Command::Inspect(options) => inspect::run(&options),
        args::Command::Check(options) => check::run(&options),
        args::Command::Detach(options) => detach::run(&options),
        args::Command::Demo(options) => demo::run(&options),
        args::Command::Bench(options) => bench::run(&options),
        args::Command::BenchWorker(options) => bench::worker::run(&options),
        args::Command::DemoWorker(options) => demo::worker::run(&options),
    }
}
