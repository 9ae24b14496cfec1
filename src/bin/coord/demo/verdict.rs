//! The verdict: from what was seen, whether everything held. Pure; nothing here touches a file.

use std::collections::BTreeSet;

/// One commit of one worker. A worker uses each `seq` once.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, serde::Serialize)]
pub struct CommitId {
    pub worker: u32,
    pub seq: u64,
}

/// An account whose balance is not what its history makes it.
#[derive(Clone, Debug)]
pub struct Account {
    pub id: i64,
    pub balance: i64,
    pub due: i64,
}

/// The way one worker's database went.
#[derive(Clone, Debug)]
pub struct Path {
    pub worker: String,
    /// What `coord_locks_taken()` said last; none if it said nothing or this SQLite has no such function.
    pub locks_taken: Option<i64>,
}

#[derive(Clone, Debug, Default)]
pub struct Evidence {
    /// Whether the run was to go through coord.
    pub through_coord: bool,
    pub expected_balance: i64,
    pub balance: i64,
    pub wrong_accounts: Vec<Account>,
    pub counter: u64,
    pub history_rows: u64,
    pub history: BTreeSet<CommitId>,
    /// COMMIT returned OK.
    pub reported: BTreeSet<CommitId>,
    /// Killed in COMMIT, or COMMIT returned an error: either outcome is right.
    pub unknown: BTreeSet<CommitId>,
    pub integrity: Vec<String>,
    /// Balance and rows of history as a SQLite without coord reads them, or why it could not.
    pub plain: Option<Result<(i64, u64), String>>,
    pub reads: u64,
    /// What a reader or a writer saw that must never be seen.
    pub violations: Vec<String>,
    /// Locks of nobody, after everybody has gone.
    pub leftovers: Vec<String>,
    /// Workers that hung or ended by themselves, deeds that could not be done, a database that could not be read.
    pub failures: Vec<String>,
    pub paths: Vec<Path>,
    /// How the frozen worker came back.
    pub thawed: Option<String>,
    pub killed: Option<String>,
}

#[derive(Clone, Debug, serde::Serialize)]
pub struct Check {
    pub name: &'static str,
    pub held: bool,
    pub detail: String,
}

#[derive(Clone, Debug)]
pub struct Verdict {
    pub checks: Vec<Check>,
}

impl Verdict {
    pub fn held(&self) -> bool {
        !self.checks.is_empty() && self.checks.iter().all(|check| check.held)
    }

    pub fn word(&self) -> &'static str {
        if self.held() { "HELD" } else { "BROKEN" }
    }
}

/// How many commits or sentences a detail names before it only counts.
const NAMED: usize = 5;

pub fn judge(evidence: &Evidence) -> Verdict {
    let mut checks = vec![
        balance(evidence),
        accounts(evidence),
        reported_is_there(evidence),
        nothing_else_is_there(evidence),
        counter(evidence),
        integrity(evidence),
        plain(evidence),
        none_of("readers and writers", "impossible", &evidence.violations, || {
            format!("{} reads, every sum and count right", evidence.reads)
        }),
        killed_and_frozen(evidence),
        none_of("processes", "failed", &evidence.failures, || "all ended as they were told".into()),
        none_of("leftover locks", "left", &evidence.leftovers, || "none".into()),
    ];
    if evidence.through_coord {
        checks.push(through_coord(evidence));
    }
    if evidence.reads == 0 || evidence.reported.is_empty() {
        let detail = format!("{} commits, {} reads: nothing was tried", evidence.reported.len(), evidence.reads);
        checks.push(Check { name: "work done", held: false, detail });
    }
    Verdict { checks }
}

fn balance(evidence: &Evidence) -> Check {
    let (expected, actual) = (evidence.expected_balance, evidence.balance);
    Check { name: "balance", held: expected == actual, detail: format!("expected {expected}, found {actual}") }
}

fn accounts(evidence: &Evidence) -> Check {
    let wrong: Vec<String> = evidence
        .wrong_accounts
        .iter()
        .map(|account| format!("account {} has {} and should have {}", account.id, account.balance, account.due))
        .collect();
    none_of("accounts", "wrong", &wrong, || "each is what its history makes it".into())
}

fn reported_is_there(evidence: &Evidence) -> Check {
    let lost: Vec<CommitId> = evidence.reported.difference(&evidence.history).copied().collect();
    let detail = match lost.len() {
        0 => format!("all {} are in the database", evidence.reported.len()),
        count => format!("{count} of {} LOST: {}", evidence.reported.len(), name_commits(&lost)),
    };
    Check { name: "reported commits", held: lost.is_empty(), detail }
}

fn nothing_else_is_there(evidence: &Evidence) -> Check {
    let extra: BTreeSet<CommitId> = evidence.history.difference(&evidence.reported).copied().collect();
    let forbidden: Vec<CommitId> = extra.difference(&evidence.unknown).copied().collect();
    let (allowed, open) = (extra.len() - forbidden.len(), evidence.unknown.len());
    let detail = match forbidden.len() {
        0 => format!("{open} of unknown outcome (killed or an error in COMMIT), {allowed} of them in the database"),
        count => format!("{count} in the database that failed or were never tried: {}", name_commits(&forbidden)),
    };
    Check { name: "unreported commits", held: forbidden.is_empty(), detail }
}

fn counter(evidence: &Evidence) -> Check {
    let (counter, rows) = (evidence.counter, evidence.history_rows);
    let held = counter == rows && rows == evidence.history.len() as u64;
    Check { name: "commit counter", held, detail: format!("{counter}, and {rows} rows of history") }
}

fn integrity(evidence: &Evidence) -> Check {
    let detail = match evidence.integrity.is_empty() {
        true => "not run".into(),
        false => evidence.integrity.iter().take(NAMED).cloned().collect::<Vec<_>>().join("; "),
    };
    Check { name: "integrity_check", held: evidence.integrity == ["ok"], detail }
}

fn plain(evidence: &Evidence) -> Check {
    let name = "without coord";
    match &evidence.plain {
        Some(Ok(plain)) => {
            let held = *plain == (evidence.balance, evidence.history_rows);
            Check { name, held, detail: format!("an ordinary SQLite reads balance {}, {} rows", plain.0, plain.1) }
        }
        Some(Err(error)) => Check { name, held: false, detail: error.clone() },
        None => Check { name, held: false, detail: "not read".into() },
    }
}

fn killed_and_frozen(evidence: &Evidence) -> Check {
    let told = |what: &Option<String>, deed: &str| what.clone().unwrap_or(format!("nobody was {deed}"));
    Check {
        name: "killed and frozen",
        held: evidence.killed.is_some() && evidence.thawed.is_some(),
        detail: format!("{}; {}", told(&evidence.killed, "killed"), told(&evidence.thawed, "frozen and came back")),
    }
}

/// A worker killed before it could say has said nothing; one that said zero, or has no coord, went another way.
fn through_coord(evidence: &Evidence) -> Check {
    let astray: Vec<String> = evidence
        .paths
        .iter()
        .filter(|path| path.locks_taken.is_none_or(|count| count <= 0))
        .map(|path| format!("{} took no lock of coord", path.worker))
        .collect();
    let locks: i64 = evidence.paths.iter().filter_map(|path| path.locks_taken).sum();
    let mut check = none_of("through coord", "astray", &astray, || {
        format!("all {} processes, {locks} locks taken", evidence.paths.len())
    });
    check.held &= !evidence.paths.is_empty();
    check
}

fn none_of(name: &'static str, noun: &str, found: &[String], otherwise: impl FnOnce() -> String) -> Check {
    let detail = match found.len() {
        0 => otherwise(),
        count => format!("{count} {noun}: {}", first_few(found.iter().cloned(), count)),
    };
    Check { name, held: found.is_empty(), detail }
}

fn name_commits(commits: &[CommitId]) -> String {
    let named = commits.iter().map(|commit| format!("worker {} seq {}", commit.worker, commit.seq));
    first_few(named, commits.len())
}

fn first_few(all: impl Iterator<Item = String>, count: usize) -> String {
    let mut text = all.take(NAMED).collect::<Vec<_>>().join("; ");
    if count > NAMED {
        text += &format!("; and {} more", count - NAMED);
    }
    text
}

#[cfg(test)]
mod tests;
