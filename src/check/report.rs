//! What a check has found, as people and programs read it. **The JSON's names are an interface**: fields may be added.

use std::path::Path;

use serde::{Deserialize, Serialize};

use super::verdict;
use crate::storage::kind::{Class, Kind};
use crate::storage::{Process, Storage};

/// What a filesystem is good for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Verdict {
    /// Programs of several hosts may share a database in network-exclusive mode.
    #[serde(rename = "network-exclusive safe")]
    NetworkExclusive,
    /// Programs of this host may share a database in trusted mode.
    #[serde(rename = "trusted safe")]
    Trusted,
    #[serde(rename = "refused")]
    Refused,
}

impl Verdict {
    pub fn words(self) -> &'static str {
        match self {
            Verdict::NetworkExclusive => "network-exclusive safe",
            Verdict::Trusted => "trusted safe",
            Verdict::Refused => "refused",
        }
    }
}

/// How one step ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Outcome {
    /// What the protocol needs is there, as far as the step could see.
    Holds,
    /// Not what the protocol needs: the filesystem is refused.
    Fails,
    /// The protocol can do with it, people should know it.
    Note,
}

/// One step of a check.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Finding {
    pub name: String,
    pub outcome: Outcome,
    /// What was seen, in a sentence with figures.
    pub says: String,
    /// What to do, if it fails.
    pub advice: Option<String>,
}

/// How long one operation took, in microseconds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Latency {
    pub operation: String,
    pub samples: u64,
    pub median_us: u64,
    pub worst_us: u64,
}

/// What one host has found out by itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Host {
    pub host: String,
    pub pid: u32,
    pub user: String,
    /// Which run of which kernel this is; equal for all processes and containers of one.
    pub boot: String,
    /// The filesystem's type as this host's kernel names it.
    pub filesystem: String,
    /// `local`, `shared` or `unfit`: what the shim goes by when it opens a database.
    pub class: String,
    /// Why it is of this class.
    pub why: String,
    pub findings: Vec<Finding>,
    pub latency: Vec<Latency>,
}

impl Host {
    pub(super) fn new(process: Process, kind: &Kind, findings: Vec<Finding>, latency: Vec<Latency>) -> Host {
        let class = match kind.class {
            Class::Local => "local",
            Class::Shared => "shared",
            Class::Unfit(_) => "unfit",
        };
        Host {
            host: process.hostname,
            pid: process.pid,
            user: process.user,
            boot: process.boot_id,
            filesystem: kind.name.clone(),
            class: class.to_string(),
            why: kind.reason(),
            findings,
            latency,
        }
    }
}

/// The whole of it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Report {
    /// The directory, absolute and without symbolic links.
    pub path: String,
    pub coord_version: String,
    /// When, for people, by this host's clock.
    pub date: String,
    pub seconds: f64,
    pub verdict: Verdict,
    /// Why this verdict.
    pub reason: String,
    /// What to do, most important first.
    pub advice: Vec<String>,
    /// What this run could not show.
    pub not_shown: Vec<String>,
    /// One or two; of two, the first is the same on both screens.
    pub hosts: Vec<Host>,
    /// What two hosts have found out together; none if there was one.
    pub together: Option<Vec<Finding>>,
    /// What else people should know: leftovers, say.
    pub notes: Vec<String>,
}

impl Report {
    pub(super) fn new(storage: &dyn Storage, dir: &Path, hosts: Vec<Host>, together: Option<Vec<Finding>>) -> Report {
        let concluded = verdict::conclude(&hosts, together.as_deref());
        Report {
            path: dir.canonicalize().as_deref().unwrap_or(dir).to_string_lossy().into_owned(),
            coord_version: env!("CARGO_PKG_VERSION").to_string(),
            date: storage.date(),
            seconds: 0.0,
            verdict: concluded.verdict,
            reason: concluded.reason,
            advice: concluded.advice,
            not_shown: concluded.not_shown,
            hosts,
            together,
            notes: Vec::new(),
        }
    }
}
