//! From the runs of one workload to figures: medians over rounds, ratios to the first peer within a round, spread, fairness.

use super::count::Calls;
use super::fleet::Run;
use super::histogram::Histogram;
use super::workload::Turn;
use serde::Serialize;

/// A ratio to the first peer: the median of the rounds' ratios, and the least and greatest of them.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Ratio {
    pub median: f64,
    pub least: f64,
    pub greatest: f64,
}

/// What one kind of process did in all rounds of a workload in one configuration.
#[derive(Debug, Serialize)]
pub struct Figures {
    pub turn: Turn,
    pub processes: u32,
    /// Microseconds; the medians of the rounds' quantiles, and the greatest of all.
    pub p50_us: f64,
    pub p99_us: f64,
    pub max_us: f64,
    /// All processes together; the median of the rounds.
    pub per_second: f64,
    pub cpu_us_per_turn: f64,
    /// The last round's, process by process.
    pub counts: Vec<u64>,
    /// Jain's index over the processes; the median of the rounds.
    pub jain: f64,
    pub failed: u64,
    pub error: Option<String>,
    pub p50_ratio: Option<Ratio>,
    pub per_second_ratio: Option<Ratio>,
    pub max_ratio: Option<Ratio>,
    /// To the same process's rate with nobody else there, where that was measured.
    pub alone_ratio: Option<Ratio>,
    /// Of all rounds together: shares of the turns, and the microseconds that these did not exceed.
    pub curve: Vec<(f64, f64)>,
    #[serde(skip)]
    rounds: Vec<Round>,
}

#[derive(Clone, Debug)]
struct Round {
    p50: f64,
    p99: f64,
    max: f64,
    per_second: f64,
    jain: f64,
    cpu: f64,
}

/// A configuration's figures for one workload.
#[derive(Debug, Serialize)]
pub struct Result {
    pub configuration: String,
    pub parts: Vec<Figures>,
    /// System calls of a turn, or why they were not counted.
    pub calls: Option<Calls>,
    pub calls_missing: Option<String>,
}

/// Jain, Chiu, Hawe 1984: 1 if all have the same, 1/n if one has all.
pub fn jain(counts: &[u64]) -> f64 {
    let sum: f64 = counts.iter().map(|count| *count as f64).sum();
    let squares: f64 = counts.iter().map(|count| (*count as f64).powi(2)).sum();
    if squares == 0.0 { 0.0 } else { sum * sum / (counts.len() as f64 * squares) }
}

pub fn median(values: impl IntoIterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.into_iter().collect();
    values.sort_by(f64::total_cmp);
    match values.len() {
        0 => 0.0,
        n if n % 2 == 1 => values[n / 2],
        n => (values[n / 2 - 1] + values[n / 2]) / 2.0,
    }
}

/// Sums up all rounds of one configuration.
pub fn figures(runs: &[Run]) -> Vec<Figures> {
    let mut turns: Vec<Turn> = Vec::new();
    for (turn, _) in runs.iter().flat_map(|run| &run.reports) {
        if !turns.contains(turn) {
            turns.push(*turn);
        }
    }
    turns.into_iter().map(|turn| of_turn(turn, runs)).collect()
}

fn of_turn(turn: Turn, runs: &[Run]) -> Figures {
    let (mut rounds, mut counts) = (Vec::new(), Vec::new());
    let (mut failed, mut error, mut all) = (0, None, Histogram::default());
    for run in runs {
        let reports: Vec<_> = run.reports.iter().filter(|(of, _)| *of == turn).map(|(_, report)| report).collect();
        let mut merged = Histogram::default();
        for report in &reports {
            merged.merge(&report.latencies);
            failed += report.failed;
            error = error.or_else(|| report.error.clone());
        }
        all.merge(&merged);
        counts = reports.iter().map(|report| report.latencies.count).collect();
        let rate =
            |report: &&super::worker::Report| report.latencies.count as f64 * 1e9 / (report.nanoseconds.max(1) as f64);
        let turns = merged.count.max(1) as f64;
        rounds.push(Round {
            p50: merged.quantile(0.5) as f64 / 1e3,
            p99: merged.quantile(0.99) as f64 / 1e3,
            max: merged.max_ns as f64 / 1e3,
            per_second: reports.iter().map(rate).sum(),
            jain: jain(&counts),
            cpu: reports.iter().map(|report| report.cpu_ns as f64).sum::<f64>() / turns / 1e3,
        });
    }
    Figures {
        turn,
        processes: counts.len() as u32,
        p50_us: median(rounds.iter().map(|round| round.p50)),
        p99_us: median(rounds.iter().map(|round| round.p99)),
        max_us: rounds.iter().map(|round| round.max).fold(0.0, f64::max),
        per_second: median(rounds.iter().map(|round| round.per_second)),
        cpu_us_per_turn: median(rounds.iter().map(|round| round.cpu)),
        counts,
        jain: median(rounds.iter().map(|round| round.jain)),
        failed,
        error,
        p50_ratio: None,
        per_second_ratio: None,
        max_ratio: None,
        alone_ratio: None,
        curve: all.curve().into_iter().map(|(share, ns)| (share, ns as f64 / 1e3)).collect(),
        rounds,
    }
}

fn ratio(rounds: &[Round], base: &[Round], of: fn(&Round) -> f64) -> Ratio {
    let ratios: Vec<f64> = rounds.iter().zip(base).map(|(round, base)| of(round) / of(base).max(1e-9)).collect();
    Ratio {
        median: median(ratios.iter().copied()),
        least: ratios.iter().copied().fold(f64::INFINITY, f64::min),
        greatest: ratios.iter().copied().fold(0.0, f64::max),
    }
}

/// Puts in the ratios to what the same kind of process does `alone`, round by round.
pub fn compare_alone(parts: &mut [Figures], alone: &[Figures]) {
    for part in parts {
        let base = alone.iter().find(|base| base.turn == part.turn);
        part.alone_ratio = base.map(|base| ratio(&part.rounds, &base.rounds, |round| round.per_second));
    }
}

/// Puts in the ratios to the first of `results`, round by round.
pub fn compare(results: &mut [Result]) {
    let Some((first, others)) = results.split_first_mut() else { return };
    for other in others {
        for part in &mut other.parts {
            let Some(base) = first.parts.iter().find(|base| base.turn == part.turn) else { continue };
            let ratio = |of: fn(&Round) -> f64| Some(ratio(&part.rounds, &base.rounds, of));
            (part.p50_ratio, part.per_second_ratio) = (ratio(|round| round.p50), ratio(|round| round.per_second));
            part.max_ratio = ratio(|round| round.max);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn jains_index_at_its_ends() {
        assert!((jain(&[5, 5, 5, 5]) - 1.0).abs() < 1e-12);
        assert!((jain(&[8, 0, 0, 0]) - 0.25).abs() < 1e-12);
        assert!(jain(&[0, 0]).abs() < 1e-12);
    }

    #[test]
    fn medians_of_odd_and_even_numbers_of_rounds() {
        assert!((median([3.0, 1.0, 2.0]) - 2.0).abs() < 1e-12);
        assert!((median([4.0, 1.0, 2.0, 3.0]) - 2.5).abs() < 1e-12);
    }
}
