//! The report for people.

use super::summary::{Figures, Ratio, Result};
use super::{Measured, Report};
use std::fmt::Write;

/// Microseconds in a width that keeps columns straight.
fn time(us: f64) -> String {
    match us {
        us if us < 10.0 => format!("{us:.2} us"),
        us if us < 1_000.0 => format!("{us:.0} us"),
        us if us < 10_000.0 => format!("{:.2} ms", us / 1e3),
        us if us < 1_000_000.0 => format!("{:.0} ms", us / 1e3),
        us => format!("{:.2} s", us / 1e6),
    }
}

fn ratio(ratio: Option<Ratio>) -> String {
    ratio.map_or("1".to_string(), |ratio| format!("{:.2} ({:.2}-{:.2})", ratio.median, ratio.least, ratio.greatest))
}

/// One workload's table.
pub fn workload(measured: &Measured) -> String {
    let mut text = format!("\n{}: {}\n", measured.name, measured.about);
    let _ = writeln!(
        text,
        "  {:<14} {:<7} {:>9} {:>18} {:>9} {:>9} {:>10} {:>20} {:>5}  calls (syncs)",
        "", "", "p50", "x first (spread)", "p99", "max", "turns/s", "x first (spread)", "Jain"
    );
    for result in &measured.results {
        for part in &result.parts {
            let _ = writeln!(text, "{}", line(result, part));
            if part.failed > 0 {
                let _ = writeln!(text, "    {} turns failed: {}", part.failed, part.error.as_deref().unwrap_or(""));
            }
        }
    }
    text
}

fn line(result: &Result, part: &Figures) -> String {
    let calls = match (&result.calls, &result.calls_missing) {
        (Some(calls), _) => {
            let dirs = if calls.directory_syncs > 0.0 {
                format!(", {:.1} of a directory", calls.directory_syncs)
            } else {
                String::new()
            };
            let others =
                if calls.others > 0.0 { format!(" + {:.2} of other threads", calls.others) } else { String::new() };
            format!("{:.1} ({:.1}{dirs}){others}", calls.own, calls.syncs)
        }
        (None, Some(why)) => why.clone(),
        (None, None) => format!("{:?}", part.counts),
    };
    format!(
        "  {:<14} {:<7} {:>9} {:>18} {:>9} {:>9} {:>10.0} {:>20} {:>5.2}  {calls}",
        result.configuration,
        part.turn.word(),
        time(part.p50_us),
        ratio(part.p50_ratio),
        time(part.p99_us),
        time(part.max_us),
        part.per_second,
        ratio(part.per_second_ratio),
        part.jain,
    )
}

/// Where it was measured, and how.
pub fn machine(report: &Report) -> String {
    let machine = &report.machine;
    format!(
        "\n{} on {} ({}), Linux {}, {} CPUs ({}), load {}, SQLite {}, coord {}, {}\n{} rounds of {} ms each; medians of the \
         rounds, ratios within a round\n",
        machine.filesystem,
        machine.directory,
        machine.date,
        machine.kernel,
        machine.cpus,
        machine.processor,
        machine.load,
        machine.sqlite,
        machine.coord,
        if cfg!(debug_assertions) { "debug build: figures are worthless" } else { "release build" },
        report.rounds,
        report.milliseconds
    )
}

/// The whole report as a document: nothing in it is written by hand.
pub fn document(report: &Report) -> String {
    let tables: String = report.workloads.iter().map(workload).collect();
    format!(
        "# Performance\n\nWritten by `coord bench --markdown`, not by hand. `coord` is network-exclusive mode, `coord-asap` the same with \
         `coord_unlock_asap=1`, `coord-trusted` trusted mode; the others are SQLite's own VFSes, and ratios are to the first of them. \
         The last column has the system calls of one turn (in brackets: syncs), or the turns of each process in the last round.\n\n\
         ```text{}{tables}```\n",
        machine(report)
    )
}
