//! What the demo says at its end, for people or as one JSON object.

use super::fleet::{Fleet, Worker};
use super::screen::{BOLD, GREEN, RED, Screen};
use super::script::Script;
use super::verdict::{CommitId, Evidence, Verdict};
use crate::args::{self, Role};
use crate::out;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

/// How many unreported commits the text names before it only counts.
const NAMED: usize = 10;

/// Everything there is to tell.
pub struct Ending<'a> {
    pub options: &'a args::Demo,
    pub database: &'a Path,
    pub elapsed: Duration,
    pub fleet: &'a Fleet,
    pub script: &'a Script,
    pub takeovers: u64,
    pub evidence: &'a Evidence,
    pub verdict: &'a Verdict,
    /// What became of the files, as a sentence.
    pub files: &'a str,
}

impl Ending<'_> {
    fn commits_per_second(&self) -> f64 {
        self.evidence.reported.len() as f64 / self.elapsed.as_secs_f64()
    }

    /// Commits that were not reported as OK although they are in the database.
    fn unreported(&self) -> Vec<CommitId> {
        self.evidence.history.difference(&self.evidence.reported).copied().collect()
    }

    pub fn as_text(&self, screen: &Screen) -> String {
        let mut text = String::from("\n");
        for (sentence, count) in &self.fleet.errors {
            text += &format!("{count} x {}\n", out::harmless(sentence));
        }
        text += &self.paths();
        let unreported = self.unreported();
        for commit in unreported.iter().take(NAMED) {
            let known = self.evidence.unknown.contains(commit);
            let why = if known { "its outcome was unknown" } else { "nobody tried it" };
            text += &format!("in the database, not reported: worker {} seq {}; {why}\n", commit.worker, commit.seq);
        }
        if unreported.len() > NAMED {
            text += &format!("and {} more of these (--json names all)\n", unreported.len() - NAMED);
        }
        text += &format!(
            "{} commits in {:.1} s, {:.1} a second, {} takeovers\n\n",
            self.evidence.reported.len(),
            self.elapsed.as_secs_f64(),
            self.commits_per_second(),
            self.takeovers
        );
        for check in &self.verdict.checks {
            let word = match check.held {
                true => screen.paint(GREEN, "ok    "),
                false => screen.paint(RED, "BROKEN"),
            };
            text += &format!("{word}  {:<19}  {}\n", check.name, out::harmless(&check.detail));
        }
        let colour = if self.verdict.held() { GREEN } else { RED };
        let verdict = screen.paint(colour, self.verdict.word());
        text + &format!("\n{} {verdict}\n{}\n", screen.paint(BOLD, "verdict:"), out::harmless(self.files))
    }

    /// Which way each worker's database went, workers that say the same in one line.
    fn paths(&self) -> String {
        let mut ways: BTreeMap<&'static str, Vec<String>> = BTreeMap::new();
        for worker in &self.fleet.workers {
            ways.entry(way(worker)).or_default().push(worker.name());
        }
        ways.iter().map(|(way, names)| format!("{way}: {}\n", names.join(", "))).collect()
    }

    pub fn as_json(&self) -> String {
        let workers: Vec<Value> = self.fleet.workers.iter().map(worker_as_json).collect();
        let wait_us = self.fleet.workers.iter().map(|worker| worker.longest_wait_us).max().unwrap_or(0);
        let sum = |of: fn(&Worker) -> u64| self.fleet.workers.iter().map(of).sum::<u64>();
        let errors: Vec<Value> =
            self.fleet.errors.iter().map(|(message, count)| json!({"message": message, "count": count})).collect();
        let deeds: Vec<Value> =
            self.script.deeds.iter().map(|(at, deed)| json!({"at_ms": at.as_millis() as u64, "deed": deed})).collect();
        let object = json!({
            "verdict": self.verdict.word(),
            "checks": self.verdict.checks,
            "database": self.database.to_string_lossy(),
            "files": self.files,
            "vfs": self.options.vfs,
            "lease_ms": self.options.lease_ms,
            "elapsed_ms": self.elapsed.as_millis() as u64,
            "expected_balance": self.evidence.expected_balance,
            "balance": self.evidence.balance,
            "commits": self.evidence.reported.len(),
            "commits_per_second": (self.commits_per_second() * 10.0).round() / 10.0,
            "history_rows": self.evidence.history_rows,
            "unknown_outcome": self.evidence.unknown,
            "unreported": self.unreported(),
            "reads": self.evidence.reads,
            "longest_wait_ms": wait_us as f64 / 1e3,
            "takeovers": self.takeovers,
            "fenced": sum(|worker| worker.fenced),
            "errors": errors,
            "deeds": deeds,
            "workers": workers,
        });
        format!("{object:#}\n")
    }
}

fn way(worker: &Worker) -> &'static str {
    match (worker.path_told, worker.locks_taken) {
        (false, _) => "did not say which way it went",
        (true, Some(1..)) => "through coord",
        (true, _) => "NOT through coord",
    }
}

fn worker_as_json(worker: &Worker) -> Value {
    let mut object = json!({
        "id": worker.id,
        "role": worker.role,
        "pid": worker.pid,
        "end": format!("{:?}", worker.state).to_lowercase(),
        "path": way(worker),
        "locks_taken": worker.locks_taken,
        "longest_wait_ms": worker.longest_wait_us as f64 / 1e3,
        "fenced": worker.fenced,
        "errors": worker.errors,
        "busy": worker.busy,
    });
    match worker.role {
        Role::Writer => {
            object["commits"] = worker.reported.len().into();
            object["longest_commit_ms"] = (worker.longest_commit_us as f64 / 1e3).into();
        }
        Role::Reader => object["reads"] = worker.reads.into(),
    }
    object
}
