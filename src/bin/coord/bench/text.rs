//! The report for people.

use super::bars::Bar;
use super::footprint::Footprint;
use super::requests::{Requests, Spent, total};
use super::summary::{Figures, Ratio, Result};
use super::takeover::Takeover;
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

/// A power of ten of microseconds, as short as it can be.
pub fn power(us: f64) -> String {
    match us {
        us if us < 0.9 => format!("{:.0} ns", us * 1e3),
        us if us < 900.0 => format!("{us:.0} us"),
        us if us < 9e5 => format!("{:.0} ms", us / 1e3),
        us => format!("{:.0} s", us / 1e6),
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
        "  {:<14} {:<7} {:>9} {:>18} {:>9} {:>9} {:>7} {:>10} {:>20} {:>5}  calls (syncs)",
        "", "", "p50", "x first (spread)", "p99", "max", "x first", "turns/s", "x first (spread)", "Jain"
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
    let alone = part.alone_ratio.map_or(String::new(), |alone| format!(", {} x alone", ratio(Some(alone))));
    format!(
        "  {:<14} {:<7} {:>9} {:>18} {:>9} {:>9} {:>7} {:>10.0} {:>20} {:>5.2}  {calls}{alone}",
        result.configuration,
        part.turn.word(),
        time(part.p50_us),
        ratio(part.p50_ratio),
        time(part.p99_us),
        time(part.max_us),
        part.max_ratio.map_or("1".to_string(), |ratio| format!("{:.2}", ratio.median)),
        part.per_second,
        ratio(part.per_second_ratio),
        part.jain,
    )
}

pub fn takeover(takeover: &Takeover) -> String {
    let kills = takeover.kills;
    let mut text = format!("\ntakeover: from kill -9 of a writer to a waiter's write lock, same host, {kills} kills\n");
    let _ = writeln!(text, "  {:<14} {:>10} {:>10}", "", "median", "max");
    for waited in &takeover.results {
        let (median, max) = (time(waited.median_ms * 1e3), time(waited.max_ms * 1e3));
        let _ = writeln!(text, "  {:<14} {median:>10} {max:>10}", waited.configuration);
    }
    text
}

pub fn footprint(footprint: &Footprint) -> String {
    let databases = footprint.databases;
    let mut text =
        format!("\nfootprint: a process with {databases} open databases and nothing held; KiB for each database\n");
    let columns = ["heap", "resident", "beyond first", "threads", "wake-ups/s"];
    let _ = writeln!(text, "  {:<14} {}", "", columns.map(|column| format!("{column:>13}")).concat());
    for cost in &footprint.results {
        let kib = |kib: Option<f64>| kib.map_or("-".to_string(), |kib| format!("{kib:.1}"));
        let cells = [
            kib(cost.crowd.heap_kib),
            kib(Some(cost.crowd.resident_kib)),
            kib(cost.more_kib),
            cost.crowd.threads.to_string(),
            format!("{:.2}", cost.crowd.wakeups_per_second),
        ];
        let _ = writeln!(text, "  {:<14} {}", cost.configuration, cells.map(|cell| format!("{cell:>13}")).concat());
    }
    text
}

pub fn requests(requests: &Requests) -> String {
    let mut text = "\nrequests: of one transaction to a FUSE filesystem (bindfs); locks are its kernel's own there and cost none\n".to_string();
    if let Some(why) = &requests.missing {
        let _ = writeln!(text, "  {why}");
    }
    let first = requests.results.first();
    let columns = |spent: &Spent, base: Option<&Spent>| {
        let ratio = base.map_or(1.0, |base| total(spent) / total(base).max(1e-9));
        format!("{:>8.2} {ratio:>8.2}", total(spent))
    };
    if first.is_some() {
        let _ =
            writeln!(text, "  {:<14} {:>8} {:>8} {:>8} {:>8}  of the write", "", "read", "x first", "write", "x first");
    }
    for needed in &requests.results {
        let mut parts: Vec<(&String, &f64)> = needed.write.iter().collect();
        parts.sort_by(|(_, a), (_, b)| b.total_cmp(a));
        let parts: Vec<String> = parts.iter().take(8).map(|(name, count)| format!("{name} {count:.2}")).collect();
        let (read, write) =
            (columns(&needed.read, first.map(|f| &f.read)), columns(&needed.write, first.map(|f| &f.write)));
        let _ = writeln!(text, "  {:<14} {read} {write}  {}", needed.configuration, parts.join(", "));
    }
    text
}

/// Empty where this run has measured nothing that there is a bar for.
pub fn bars(bars: &[Bar]) -> String {
    if bars.is_empty() {
        return String::new();
    }
    let mut text = "\nbars\n".to_string();
    for bar in bars {
        let _ = writeln!(
            text,
            "  {:<10} {:<14} {:<31} {:>8.2} {} {:<5}  {}",
            bar.workload,
            bar.configuration,
            bar.figure,
            bar.value,
            side(bar),
            bar.bar,
            if bar.reached { "reached" } else { "not reached" }
        );
    }
    text
}

pub fn side(bar: &Bar) -> &'static str {
    if bar.at_least { "at least" } else { "at most " }
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
