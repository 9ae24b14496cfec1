//! `coord check DIR`: the qualification of a filesystem, for people or as JSON. The work is the library's.

use crate::progress::Progress;
use crate::{args, interrupts, out};
use coord::check::{self, Finding, Outcome, Report, Together, Trouble, Verdict, Watch};
use std::fmt::Write;
use std::time::Duration;

const REFUSED: u8 = 1;
const TRUSTED_SAFE: u8 = 3;

pub fn run(options: &args::Check) -> Result<u8, String> {
    interrupts::catch(true);
    let progress = Progress::new();
    let tell = |text: &str| progress.tell(text);
    let watch = Watch { tell: &tell, stop: &interrupts::interrupted };
    let storage = coord::lock::storage();
    let checked = match options.peer {
        false => check::one_host(&*storage, &options.dir, &watch),
        true => {
            let patience = Duration::from_secs(options.wait_seconds.into());
            check::with_peer(&*storage, &options.dir, &Together { rounds: options.rounds, patience }, &watch)
        }
    };
    progress.end();
    let report = match checked {
        Ok(report) => report,
        Err(Trouble::Interrupted(left)) => {
            let left = left.unwrap_or_else(|| "what the check had made is removed".to_string());
            return Ok(interrupts::ended(options.json, &out::harmless(&left)));
        }
        Err(Trouble::Cannot(sentence)) => return Err(out::harmless(&sentence)),
    };
    let text = match options.json {
        true => format!("{:#}\n", serde_json::to_value(&report).map_err(|error| error.to_string())?),
        false => as_text(&report),
    };
    out::print(&text)?;
    Ok(match report.verdict {
        Verdict::NetworkExclusive => 0,
        Verdict::Refused => REFUSED,
        Verdict::Trusted => TRUSTED_SAFE,
    })
}

fn as_text(report: &Report) -> String {
    let mut text = String::new();
    for host in &report.hosts {
        let _ = writeln!(text, "{} on {}, seen from {} (pid {})", report.path, host.filesystem, host.host, host.pid);
        let _ = writeln!(text, "  {}", host.why);
        host.findings.iter().for_each(|finding| line(&mut text, finding));
        text.push('\n');
    }
    for finding in report.together.iter().flatten() {
        line(&mut text, finding);
    }
    if report.together.is_some() {
        text.push('\n');
    }
    for host in &report.hosts {
        let _ = writeln!(text, "How long an operation takes on {}: median, worst of {}", host.host, samples(host));
        for latency in &host.latency {
            let _ = writeln!(
                text,
                "  {:<28}  {:>9}  {:>9}",
                latency.operation,
                microseconds(latency.median_us),
                microseconds(latency.worst_us)
            );
        }
        text.push('\n');
    }
    for note in &report.notes {
        let _ = writeln!(text, "Note: {note}");
    }
    let _ = writeln!(text, "VERDICT: {}\n  because  {}", report.verdict.words(), report.reason);
    for advice in &report.advice {
        let _ = writeln!(text, "  do       {advice}");
    }
    for unknown in &report.not_shown {
        let _ = writeln!(text, "  unknown  {unknown}");
    }
    text.lines().map(|line| out::harmless(line) + "\n").collect()
}

fn line(text: &mut String, finding: &Finding) {
    let outcome = match finding.outcome {
        Outcome::Holds => "ok",
        Outcome::Note => "note",
        Outcome::Fails => "FAILS",
    };
    let _ = writeln!(text, "  {outcome:<5}  {}: {}", finding.name, finding.says);
}

fn samples(host: &check::Host) -> u64 {
    host.latency.iter().map(|latency| latency.samples).max().unwrap_or(0)
}

fn microseconds(us: u64) -> String {
    match us {
        0..1_000 => format!("{us} us"),
        1_000..1_000_000 => format!("{}.{} ms", us / 1_000, us % 1_000 / 100),
        _ => format!("{}.{} s", us / 1_000_000, us % 1_000_000 / 100_000),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_read_well_at_every_scale() {
        assert_eq!(microseconds(7), "7 us");
        assert_eq!(microseconds(1_250), "1.2 ms");
        assert_eq!(microseconds(2_340_000), "2.3 s");
    }
}
