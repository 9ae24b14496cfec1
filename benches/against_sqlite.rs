//! `cargo bench`: a short run of `coord bench`, which prints ratios to SQLite's own VFS and judges no time. Its options are passed on:
//! `cargo bench -- --workloads r1,wN --rounds 5`.

use std::process::{Command, ExitCode};

const MODEST: [&str; 4] = ["--rounds", "2", "--millis", "200"];

fn main() -> ExitCode {
    let mut given: Vec<String> = std::env::args().skip(1).collect();
    let before = given.len();
    given.retain(|arg| arg != "--bench");
    if given.len() == before {
        // `cargo test --all-targets` asks whether this target runs at all; it need not measure for that.
        return ExitCode::SUCCESS;
    }
    // Of an option that is given twice the last counts.
    match Command::new(env!("CARGO_BIN_EXE_coord")).arg("bench").args(MODEST).args(given).status() {
        Ok(status) if status.success() => ExitCode::SUCCESS,
        Ok(_) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("cannot start coord: {error}");
            ExitCode::FAILURE
        }
    }
}
