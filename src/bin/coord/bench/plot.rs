//! The plot: for each workload the distribution of its latencies, and for those with several processes of a kind how evenly they
//! were served. Plain SVG text; nothing is drawn that is not in the report.

use super::{Measured, Report, fairness, text};
use std::fmt::Write;

pub const WIDTH: f64 = 400.0;
pub const HEIGHT: f64 = 250.0;
const COLUMNS: usize = 3;
const HEAD: f64 = 66.0;
/// Of the area between the axes, within a panel.
pub const LEFT: f64 = 58.0;
pub const RIGHT: f64 = 388.0;
pub const TOP: f64 = 34.0;
pub const BOTTOM: f64 = 212.0;
/// Shares that are marked on the axis, and how.
const SHARES: [(f64, &str); 6] =
    [(0.5, "50 %"), (0.9, "90 %"), (0.99, "99 %"), (0.999, "99.9 %"), (0.9999, "99.99 %"), (0.99999, "99.999 %")];
const MOST_NINES: f64 = 5.3;

/// Colours that are told apart by the colour-blind too (Okabe and Ito 2008), on white.
pub fn colour(configuration: &str) -> &'static str {
    match configuration {
        "coord" => "#0072b2",
        "coord-asap" => "#56b4e9",
        "coord-trusted" => "#009e73",
        "unix" => "#222222",
        "unix-dotfile" => "#d55e00",
        "unix-excl" => "#cc79a7",
        _ => "#e69f00",
    }
}

/// The whole plot.
pub fn draw(report: &Report) -> String {
    let mut panels: Vec<String> = report.workloads.iter().flat_map(latencies).collect();
    panels.extend(report.workloads.iter().flat_map(fairness::panels));
    let columns = COLUMNS.min(panels.len().max(2));
    let (width, height) = (WIDTH * columns as f64, HEAD + HEIGHT * panels.len().div_ceil(columns) as f64 + 6.0);
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width} {height}\" width=\"{width}\" height=\"{height}\" \
         font-family=\"sans-serif\" font-size=\"11\" fill=\"#222\">\n<rect width=\"{width}\" height=\"{height}\" fill=\"#fff\"/>\n"
    );
    head(&mut svg, report);
    for (at, panel) in panels.iter().enumerate() {
        let (x, y) = ((at % columns) as f64 * WIDTH, HEAD + (at / columns) as f64 * HEIGHT);
        let _ = writeln!(svg, "<g transform=\"translate({x} {y})\">\n{panel}</g>");
    }
    svg.push_str("</svg>\n");
    svg
}

/// A line of text. `anchor` is start, middle or end.
pub fn label(svg: &mut String, (x, y): (f64, f64), anchor: &str, words: &str) {
    let words = words.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;");
    let _ = writeln!(svg, "<text x=\"{x:.1}\" y=\"{y:.1}\" text-anchor=\"{anchor}\">{words}</text>");
}

pub fn title(svg: &mut String, name: &str, about: &str) {
    let (name, about) = (name.replace('&', "&amp;"), about.replace('&', "&amp;"));
    let _ = writeln!(svg, "<text x=\"12\" y=\"20\"><tspan font-weight=\"bold\">{name}</tspan> {about}</text>");
}

pub fn rule(svg: &mut String, (x1, y1): (f64, f64), (x2, y2): (f64, f64), colour: &str) {
    let _ = writeln!(svg, "<path d=\"M{x1:.1} {y1:.1}L{x2:.1} {y2:.1}\" stroke=\"{colour}\" fill=\"none\"/>");
}

fn head(svg: &mut String, report: &Report) {
    let machine = &report.machine;
    let where_from = format!(
        "{} ({}), Linux {}, {} CPUs, load {}, coord {}, {} rounds of {} ms",
        machine.filesystem,
        machine.date,
        machine.kernel,
        machine.cpus,
        machine.load,
        machine.coord,
        report.rounds,
        report.milliseconds
    );
    label(svg, (12.0, 20.0), "start", &where_from);
    let about = "How long a turn took (up), for which share of all turns (right). Lower is faster.";
    label(svg, (12.0, 36.0), "start", about);
    let mut x = 12.0;
    let results = report.workloads.first().map_or(&[][..], |measured| &measured.results);
    for name in results.iter().map(|result| result.configuration.as_str()) {
        let _ = writeln!(svg, "<rect x=\"{x}\" y=\"47\" width=\"18\" height=\"6\" fill=\"{}\"/>", colour(name));
        label(svg, (x + 24.0, 54.0), "start", name);
        x += 46.0 + 6.5 * name.len() as f64;
    }
}

/// How far right a share stands: equal steps for 90 %, 99 %, 99.9 % …
fn nines(share: f64) -> f64 {
    -(1.0 - share).max(1e-12).log10()
}

/// A panel for each kind of process of the workload.
fn latencies(measured: &Measured) -> Vec<String> {
    let turns: Vec<_> =
        measured.results.first().map_or(&[][..], |first| &first.parts).iter().map(|part| part.turn).collect();
    turns
        .iter()
        .filter_map(|turn| {
            let mut curves = Vec::new();
            for result in &measured.results {
                let part = result.parts.iter().find(|part| part.turn == *turn && !part.curve.is_empty());
                curves.extend(part.map(|part| (result.configuration.as_str(), part.curve.as_slice())));
            }
            let of = if turns.len() > 1 { format!("{}, {}", measured.name, turn.word()) } else { measured.name.into() };
            distribution(&of, measured.about, &curves)
        })
        .collect()
}

type Curve<'a> = (&'a str, &'a [(f64, f64)]);

fn distribution(name: &str, about: &str, curves: &[Curve]) -> Option<String> {
    let points = || curves.iter().flat_map(|(_, points)| points.iter());
    let least = points().map(|(_, us)| us.max(1e-3)).reduce(f64::min)?.log10().floor();
    let most = points().map(|(_, us)| us.max(1e-3)).reduce(f64::max)?.log10().ceil().max(least + 1.0);
    let right = points().map(|(share, _)| nines(*share)).fold(1.0, f64::max).min(MOST_NINES);
    let x = |share: f64| LEFT + (RIGHT - LEFT) * nines(share).min(right) / right;
    let y = |us: f64| BOTTOM - (BOTTOM - TOP) * (us.max(1e-3).log10() - least) / (most - least);
    let mut svg = String::new();
    title(&mut svg, name, about);
    for power in least as i32..=most as i32 {
        let us = 10f64.powi(power);
        rule(&mut svg, (LEFT, y(us)), (RIGHT, y(us)), "#ddd");
        label(&mut svg, (LEFT - 5.0, y(us) + 4.0), "end", &text::power(us));
    }
    for (share, words) in SHARES.iter().filter(|(share, _)| nines(*share) <= right) {
        rule(&mut svg, (x(*share), TOP), (x(*share), BOTTOM), "#ddd");
        label(&mut svg, (x(*share), BOTTOM + 15.0), "middle", words);
    }
    for (configuration, points) in curves {
        let mut path = String::new();
        for (share, us) in points.iter().filter(|(share, _)| nines(*share) <= right) {
            let _ = write!(path, "{}{:.1} {:.1}", if path.is_empty() { "M" } else { "L" }, x(*share), y(*us));
        }
        let width = if *configuration == "coord" { 2.4 } else { 1.5 };
        let colour = colour(configuration);
        let _ = writeln!(svg, "<path d=\"{path}\" stroke=\"{colour}\" stroke-width=\"{width}\" fill=\"none\"/>");
    }
    Some(svg)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_stand_in_equal_steps() {
        assert!(nines(0.0).abs() < 1e-9);
        assert!((nines(0.9) - 1.0).abs() < 1e-9 && (nines(0.999) - 3.0).abs() < 1e-9);
        assert!(nines(1.0).is_finite());
    }

    #[test]
    fn a_distribution_stays_between_its_axes() {
        let points = [(0.0, 1.0), (0.5, 3.0), (0.9999, 2e6), (0.999_999_99, 3e6)];
        let svg = distribution("r1", "reads & more", &[("coord", &points), ("unix", &[])]).unwrap();
        assert!(svg.contains("reads &amp; more") && svg.contains("#0072b2"));
        for path in svg.split(" d=\"M").skip(1).map(|rest| &rest[..rest.find('"').unwrap()]) {
            for pair in path.split('L').filter(|pair| !pair.is_empty()) {
                let (x, y) = pair.split_once(' ').unwrap();
                let (x, y): (f64, f64) = (x.parse().unwrap(), y.parse().unwrap());
                assert!((LEFT..=RIGHT).contains(&x) && (TOP..=BOTTOM).contains(&y), "{pair}");
            }
        }
        assert!(distribution("r1", "", &[("coord", &[])]).is_none());
    }
}
