//! What coord is to reach, beside what this run has measured. A bar is left out where its workload, its configuration or the
//! filesystem that it speaks of was not part of the run.

use super::Report;
use super::count::Calls;
use super::footprint::Footprint;
use super::machine::Machine;
use super::summary::{Figures, Ratio};
use super::takeover::Takeover;
use super::workload::Turn;
use serde::Serialize;

/// Bars are ratios to this VFS; without it as the first of the run there are none of these.
const FIRST: &str = "unix";

#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Bar {
    pub workload: &'static str,
    pub configuration: &'static str,
    pub figure: &'static str,
    pub value: f64,
    /// `value` must be at least this, or at most.
    pub bar: f64,
    pub at_least: bool,
    pub reached: bool,
}

/// Which figure of a workload is compared.
type Figure = fn(&Measured) -> Option<f64>;

/// One configuration's part in one workload.
struct Measured<'a> {
    part: &'a Figures,
    /// All parts of the same configuration.
    parts: &'a [Figures],
    calls: Option<&'a Calls>,
}

#[derive(Clone, Copy, PartialEq)]
enum On {
    Local,
    Disk,
    Memory,
}

struct Rule(&'static str, &'static str, Turn, On, &'static str, Figure, Limit);

#[derive(Clone, Copy)]
enum Limit {
    Most(f64),
    Least(f64),
}

fn median(ratio: Option<Ratio>) -> Option<f64> {
    ratio.map(|ratio| ratio.median)
}

const P50: (&str, Figure) = ("p50, x unix", |measured| median(measured.part.p50_ratio));
const RATE: (&str, Figure) = ("turns, x unix", |measured| median(measured.part.per_second_ratio));
const WORST: (&str, Figure) = ("longest wait, x unix", |measured| median(measured.part.max_ratio));
const JAIN: (&str, Figure) = ("Jain's index", |measured| Some(measured.part.jain));
const ALONE: (&str, Figure) = ("writer's turns, x alone", |measured| median(measured.part.alone_ratio));
const CALLS: (&str, Figure) = ("system calls", |measured| measured.calls.map(|calls| calls.own + calls.others));
const SYNCS: (&str, Figure) = ("syncs", |measured| measured.calls.map(|calls| calls.syncs));
const DIRECTORY_SYNCS: (&str, Figure) =
    ("syncs of a directory", |measured| measured.calls.map(|calls| calls.directory_syncs));
const WAIT_S: (&str, Figure) =
    ("longest wait, s", |measured| measured.parts.iter().map(|part| part.max_us / 1e6).reduce(f64::max));

const fn rule(at: (&'static str, &'static str, Turn), on: On, what: (&'static str, Figure), limit: Limit) -> Rule {
    Rule(at.0, at.1, at.2, on, what.0, what.1, limit)
}

const RULES: [Rule; 19] = [
    rule(("r1", "coord", Turn::Read), On::Local, CALLS, Limit::Most(0.0)),
    rule(("r1", "coord", Turn::Read), On::Local, P50, Limit::Most(0.18)),
    rule(("rN", "coord", Turn::Read), On::Disk, RATE, Limit::Least(4.0)),
    rule(("w1-full", "coord", Turn::Write), On::Disk, P50, Limit::Most(0.95)),
    rule(("w1-full", "coord", Turn::Write), On::Disk, SYNCS, Limit::Most(4.0)),
    rule(("w1-full", "coord", Turn::Write), On::Disk, DIRECTORY_SYNCS, Limit::Most(0.0)),
    rule(("w1-off", "coord", Turn::Write), On::Memory, P50, Limit::Most(0.6)),
    rule(("wN", "coord", Turn::Write), On::Disk, RATE, Limit::Least(2.0)),
    rule(("wN", "coord", Turn::Write), On::Disk, JAIN, Limit::Least(0.98)),
    rule(("wN", "coord", Turn::Write), On::Disk, WORST, Limit::Most(0.1)),
    rule(("mix", "coord", Turn::Read), On::Disk, WAIT_S, Limit::Most(0.3)),
    rule(("mix", "coord", Turn::Read), On::Disk, RATE, Limit::Least(2.0)),
    rule(("mix", "coord", Turn::Write), On::Disk, ALONE, Limit::Least(0.8)),
    rule(("load", "coord", Turn::Load), On::Disk, P50, Limit::Most(1.02)),
    rule(("scan", "coord", Turn::Scan), On::Disk, P50, Limit::Most(1.02)),
    rule(("mixture", "coord", Turn::Mixture), On::Disk, P50, Limit::Most(1.02)),
    rule(("open", "coord", Turn::Open), On::Disk, P50, Limit::Most(3.0)),
    rule(("r1", "coord-trusted", Turn::Read), On::Disk, P50, Limit::Most(1.03)),
    rule(("w1-full", "coord-trusted", Turn::Write), On::Disk, P50, Limit::Most(1.05)),
];

/// Every bar that `report` says something about.
pub fn judge(report: &Report) -> Vec<Bar> {
    let ours = RULES.iter().filter(|rule| holds(rule.3, &report.machine));
    let mut bars: Vec<Bar> = ours.filter_map(|rule| apply(rule, report)).collect();
    bars.extend(report.takeover.iter().filter_map(of_takeover));
    bars.extend(report.footprint.iter().flat_map(of_footprint));
    bars
}

fn of_takeover(takeover: &Takeover) -> Option<Bar> {
    let waited = takeover.results.iter().find(|waited| waited.configuration == "coord")?;
    Some(bar("takeover", "longest wait after kill -9, ms", waited.max_ms, Limit::Most(20.0)))
}

fn of_footprint(footprint: &Footprint) -> Vec<Bar> {
    let (mut bars, results) = (Vec::new(), &footprint.results);
    let Some(cost) = results.iter().find(|cost| cost.configuration == "coord") else { return bars };
    let more = cost.more_kib.filter(|_| results[0].configuration == FIRST);
    bars.extend(more.map(|more| bar("footprint", "KiB a database beyond unix", more, Limit::Most(64.0))));
    bars.push(bar("footprint", "threads", cost.crowd.threads as f64, Limit::Most(1.0)));
    bars.push(bar("footprint", "wake-ups a second", cost.crowd.wakeups_per_second, Limit::Most(0.0)));
    bars
}

fn holds(on: On, machine: &Machine) -> bool {
    let memory = ["tmpfs", "ramfs"].contains(&machine.filesystem.as_str());
    machine.local && (on == On::Local || memory == (on == On::Memory))
}

fn apply(rule: &Rule, report: &Report) -> Option<Bar> {
    let Rule(workload, configuration, turn, _, figure, value, limit) = rule;
    let measured = report.workloads.iter().find(|measured| measured.name == *workload)?;
    if measured.results.first()?.configuration != FIRST {
        return None;
    }
    let result = measured.results.iter().find(|result| result.configuration == *configuration)?;
    let part = result.parts.iter().find(|part| part.turn == *turn)?;
    let value = value(&Measured { part, parts: &result.parts, calls: result.calls.as_ref() })?;
    Some(Bar { configuration, ..bar(workload, figure, value, *limit) })
}

fn bar(workload: &'static str, figure: &'static str, value: f64, limit: Limit) -> Bar {
    let (bar, at_least) = match limit {
        Limit::Most(bar) => (bar, false),
        Limit::Least(bar) => (bar, true),
    };
    let reached = if at_least { value >= bar } else { value <= bar };
    Bar { workload, configuration: "coord", figure, value, bar, at_least, reached }
}

#[cfg(test)]
mod tests {
    use super::super::fleet::Run;
    use super::super::histogram::Histogram;
    use super::super::{summary, worker};
    use super::*;

    #[test]
    fn a_bar_is_reached_on_its_own_side_and_on_itself() {
        let reached = |value, limit| bar("r1", "p50", value, limit).reached;
        assert!(reached(0.18, Limit::Most(0.18)) && reached(0.1, Limit::Most(0.18)));
        assert!(!reached(0.19, Limit::Most(0.18)));
        assert!(reached(4.0, Limit::Least(4.0)) && !reached(3.99, Limit::Least(4.0)));
        assert!(!reached(f64::NAN, Limit::Most(1.0)) && !reached(f64::NAN, Limit::Least(1.0)));
    }

    #[test]
    fn every_rule_speaks_of_a_workload_and_a_turn_that_exist() {
        for Rule(name, configuration, turn, ..) in &RULES {
            let found = super::super::workload::ALL.iter().find(|workload| workload.name == *name).expect(name);
            assert!(found.crew.iter().any(|(of, _)| of == turn), "{name}");
            assert!(super::super::COORD.iter().any(|(of, _)| of == configuration), "{configuration}");
        }
    }

    fn measured(first: &str) -> Vec<Bar> {
        let result = |name: &str, ns: u64| {
            let mut latencies = Histogram::default();
            (0..100).for_each(|_| latencies.add(ns));
            let report = worker::Report { latencies, nanoseconds: ns * 100, ..worker::Report::default() };
            let parts = summary::figures(&[Run { reports: vec![(Turn::Read, report)] }]);
            summary::Result { configuration: name.into(), parts, calls: None, calls_missing: None }
        };
        let mut results = vec![result(first, 100_000), result("coord", 10_000), result("coord-trusted", 200_000)];
        summary::compare(&mut results);
        let mut report = Report::new(Machine::here(std::path::Path::new("/")), 1, 10);
        (report.machine.local, report.machine.filesystem) = (true, "ext4".into());
        report.workloads.push(super::super::Measured { name: "r1", about: "", results });
        judge(&report)
    }

    #[test]
    fn what_was_measured_is_judged_and_nothing_else() {
        let bars = measured("unix");
        let told: Vec<_> = bars.iter().map(|bar| (bar.configuration, bar.figure, bar.reached)).collect();
        assert_eq!(told, [("coord", "p50, x unix", true), ("coord-trusted", "p50, x unix", false)]);
        assert!((bars[0].value - 0.1).abs() < 0.01 && (bars[1].value - 2.0).abs() < 0.1, "{bars:?}");
        assert!(measured("unix-dotfile").is_empty());
    }

    #[test]
    fn a_bar_for_a_disk_is_none_for_memory_or_a_network() {
        let mut machine = Machine::here(std::path::Path::new("/"));
        let mut held = |local, filesystem: &str| {
            (machine.local, machine.filesystem) = (local, filesystem.to_string());
            [On::Local, On::Disk, On::Memory].map(|on| holds(on, &machine))
        };
        assert_eq!(held(true, "ext4"), [true, true, false]);
        assert_eq!(held(true, "tmpfs"), [true, false, true]);
        assert_eq!(held(false, "nfs4"), [false, false, false]);
    }
}
