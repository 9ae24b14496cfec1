//! The `coord` command: a trial of the whole thing (`coord demo`), a look at who holds what (`coord inspect`), the
//! qualification of a filesystem (`coord check`), the way back to plain SQLite (`coord detach`), and a comparison with SQLite's own
//! locks (`coord bench`).
//!
//! This file only sends each subcommand to its module. Exit status everywhere: 0 all is well, 1 something is not (a
//! verdict of BROKEN, a stale lock), 2 the command could not do what it was asked.

mod args;
mod bench;
mod check;
mod demo;
mod detach;
mod help;
mod inspect;
mod interrupts;
mod out;
mod register;

use std::process::ExitCode;

/// Exit status for wrong usage and for everything that kept the command from doing its work.
const COULD_NOT_RUN: u8 = 2;

fn main() -> ExitCode {
    let status = match args::parse(std::env::args_os().skip(1)) {
        Ok(args::Command::Help(topic)) => out::print(help::text(topic)),
        Ok(args::Command::Version) => out::print(&format!("coord {}\n", env!("CARGO_PKG_VERSION"))),
        Ok(args::Command::Inspect(options)) => inspect::run(&options),
        Ok(args::Command::Check(options)) => check::run(&options),
        Ok(args::Command::Detach(options)) => detach::run(&options),
        Ok(args::Command::Demo(options)) => demo::run(&options),
        Ok(args::Command::Bench(options)) => bench::run(&options),
        Ok(args::Command::BenchWorker(options)) => bench::worker::run(&options),
        Ok(args::Command::DemoWorker(options)) => demo::worker::run(&options),
        Err(sentence) => Err(sentence),
    };
    ExitCode::from(status.unwrap_or_else(|sentence| {
        out::complain(&format!("coord: {sentence}"));
        COULD_NOT_RUN
    }))
}
