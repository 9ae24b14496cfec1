//! The plot's second half: how many turns each process of a workload had, beside an even share.

use super::Measured;
use super::plot::{BOTTOM, LEFT, RIGHT, TOP, colour, label, rule, title};
use super::summary::{Figures, jain};
use std::fmt::Write;

/// A panel for each kind of process that the workload has several of.
pub fn panels(measured: &Measured) -> Vec<String> {
    let several = measured.results.first().map_or(&[][..], |first| &first.parts);
    let turns = several.iter().filter(|part| part.processes > 1).map(|part| part.turn);
    let panel = |turn| {
        let mut groups: Vec<(&str, &Figures)> = Vec::new();
        for result in &measured.results {
            let part = result.parts.iter().find(|part| part.turn == turn);
            groups.extend(part.map(|part| (result.configuration.as_str(), part)));
        }
        draw(measured.name, &groups)
    };
    turns.map(panel).collect()
}

/// Each process's turns as a multiple of an even share, the most favoured first.
fn shares(counts: &[u64]) -> Vec<f64> {
    let even = counts.iter().sum::<u64>() as f64 / counts.len().max(1) as f64;
    let mut shares: Vec<f64> = counts.iter().map(|count| *count as f64 / even.max(1e-9)).collect();
    shares.sort_by(|a, b| b.total_cmp(a));
    shares
}

fn draw(name: &str, groups: &[(&str, &Figures)]) -> String {
    let mut svg = String::new();
    title(&mut svg, name, "turns of each process, last round (1: even share)");
    let greatest = groups.iter().flat_map(|(_, part)| shares(&part.counts)).fold(2.0, f64::max).ceil();
    let y = |share: f64| BOTTOM - (BOTTOM - TOP) * share / greatest;
    let step = (greatest / 4.0).ceil();
    let mut mark = 0.0;
    while mark <= greatest {
        rule(&mut svg, (LEFT, y(mark)), (RIGHT, y(mark)), "#ddd");
        label(&mut svg, (LEFT - 5.0, y(mark) + 4.0), "end", &format!("{mark:.0}"));
        mark += step;
    }
    let wide = (RIGHT - LEFT) / groups.len().max(1) as f64;
    for (at, (configuration, part)) in groups.iter().enumerate() {
        let left = LEFT + wide * at as f64;
        let bar = (wide - 12.0) / part.counts.len().max(1) as f64;
        for (number, share) in shares(&part.counts).into_iter().enumerate() {
            let (x, top) = (left + 6.0 + bar * number as f64, y(share));
            let _ = writeln!(
                svg,
                "<rect x=\"{x:.1}\" y=\"{top:.1}\" width=\"{:.1}\" height=\"{:.1}\" fill=\"{}\"/>",
                (bar - 1.0).max(0.5),
                BOTTOM - top,
                colour(configuration)
            );
        }
        label(&mut svg, (left + wide / 2.0, BOTTOM + 15.0), "middle", configuration);
        label(&mut svg, (left + wide / 2.0, BOTTOM + 29.0), "middle", &format!("Jain {:.2}", jain(&part.counts)));
    }
    rule(&mut svg, (LEFT, y(1.0)), (RIGHT, y(1.0)), "#888");
    svg
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_are_multiples_of_an_even_one() {
        assert_eq!(shares(&[1, 3]), [1.5, 0.5]);
        assert_eq!(shares(&[0, 0]), [0.0, 0.0]);
        assert!(shares(&[]).is_empty());
    }
}
