//! The report as a document, docs/performance.md: nothing in it is written by hand.

use super::bars::Bar;
use super::{Report, text};
use std::fmt::Write;
use std::path::Path;

/// `plot` is where the plot of the same run was written to; it is expected beside the document.
pub fn document(report: &Report, plot: Option<&Path>) -> String {
    let mut document = "# Performance\n\nWritten by `coord bench --markdown`, not by hand. `coord` is network-exclusive mode, \
         `coord-asap` the same with `coord_unlock_asap=1`, `coord-trusted` trusted mode; the others are SQLite's own VFSes, and ratios are \
         to the first of them. The last column has the system calls of one turn (in brackets: syncs), or the turns of each process in \
         the last round; behind it a rate beside that of the same process alone.\n\n"
        .to_string();
    if let Some(name) = plot.and_then(Path::file_name) {
        let name = name.to_string_lossy();
        let _ = writeln!(document, "![How long turns took, and how evenly processes were served]({name})\n");
    }
    document.push_str(&bars(&report.bars));
    let tables: String = report.workloads.iter().map(text::workload).collect();
    let takeover = report.takeover.as_ref().map(text::takeover).unwrap_or_default();
    let footprint = report.footprint.as_ref().map(text::footprint).unwrap_or_default();
    let requests = report.requests.as_ref().map(text::requests).unwrap_or_default();
    let _ = writeln!(document, "```text{}{tables}{takeover}{footprint}{requests}```", text::machine(report));
    document
}

/// What the project set itself, and whether this run has it.
fn bars(bars: &[Bar]) -> String {
    if bars.is_empty() {
        return String::new();
    }
    let mut table = "## Bars\n\nWhat coord is to reach, computed from this run. Bars for networks are not among them: this measures one \
         machine.\n\n| workload | configuration | figure | measured | bar | reached |\n|---|---|---|---|---|---|\n"
        .to_string();
    for bar in bars {
        let _ = writeln!(
            table,
            "| {} | {} | {} | {:.2} | {} {} | {} |",
            bar.workload,
            bar.configuration,
            bar.figure,
            bar.value,
            text::side(bar).trim_end(),
            bar.bar,
            if bar.reached { "yes" } else { "**no**" }
        );
    }
    table + "\n## Measurements\n\n"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missed_bar_stands_out() {
        let bar = Bar {
            workload: "r1",
            configuration: "coord",
            figure: "p50, x unix",
            value: 0.214,
            bar: 0.18,
            at_least: false,
            reached: false,
        };
        assert!(bars(&[bar]).contains("| r1 | coord | p50, x unix | 0.21 | at most 0.18 | **no** |"));
        assert!(bars(&[]).is_empty());
    }
}
