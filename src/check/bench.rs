//! What every step of a check needs: the place, somebody to tell, somebody who may say stop, and how a step ends.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::fmt;
use std::io::{self, ErrorKind};
use std::time::Duration;

use super::place::Place;
use super::report::{Finding, Latency, Outcome};
use crate::storage::{Instant, Storage};

/// Who looks on.
pub struct Watch<'a> {
    /// Told what is being done, a few words at a time.
    pub tell: &'a dyn Fn(&str),
    /// Whether the check shall end now. Asked between operations.
    pub stop: &'a (dyn Fn() -> bool + Sync),
}

impl Watch<'_> {
    /// Nobody looks on and nobody stops it.
    pub const NOBODY: Watch<'static> = Watch { tell: &|_| {}, stop: &|| false };
}

/// Why a check could not be carried out. Says nothing about the filesystem.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Trouble {
    /// It was told to stop. What it had made is removed, except for what this sentence names.
    Interrupted(Option<String>),
    /// A sentence for people: what failed, where, and what to do.
    Cannot(String),
}

impl Trouble {
    /// With what could not be removed after it.
    pub(super) fn leaving(self, left: Option<String>) -> Trouble {
        let Some(left) = left else { return self };
        match self {
            Trouble::Interrupted(_) => Trouble::Interrupted(Some(left)),
            Trouble::Cannot(sentence) => Trouble::Cannot(format!("{sentence}; {left}")),
        }
    }
}

impl fmt::Display for Trouble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Trouble::Interrupted(None) => f.write_str("the check was interrupted"),
            Trouble::Interrupted(Some(left)) => write!(f, "the check was interrupted; {left}"),
            Trouble::Cannot(sentence) => f.write_str(sentence),
        }
    }
}

/// What ends a step early.
pub(super) enum Halt {
    Trouble(Trouble),
    /// The filesystem does not do what it must; the sentence says what was seen.
    Failed(String),
}

impl From<Trouble> for Halt {
    fn from(trouble: Trouble) -> Halt {
        Halt::Trouble(trouble)
    }
}

/// What a step has seen: nothing wrong, or something that people should know.
pub(super) struct Seen {
    pub outcome: Outcome,
    pub says: String,
    /// False: what the step is there to try did not take place.
    pub shown: bool,
}

pub(super) fn holds(says: impl Into<String>) -> Result<Seen, Halt> {
    Ok(Seen { outcome: Outcome::Holds, says: says.into(), shown: true })
}

pub(super) fn note(says: impl Into<String>) -> Result<Seen, Halt> {
    Ok(Seen { outcome: Outcome::Note, says: says.into(), shown: true })
}

/// What the step is there to try did not take place: it is neither right nor wrong, and there is no verdict without it.
pub(super) fn nothing_shown(says: impl Into<String>) -> Result<Seen, Halt> {
    Ok(Seen { outcome: Outcome::Note, says: says.into(), shown: false })
}

pub(super) fn fails<T>(says: impl Into<String>) -> Result<T, Halt> {
    Err(Halt::Failed(says.into()))
}

/// An operation that failed: lack of room or rights is trouble, everything else is the filesystem's own answer.
pub(super) fn failed(what: &str) -> impl FnOnce(io::Error) -> Halt {
    move |error| match error.kind() {
        ErrorKind::StorageFull | ErrorKind::QuotaExceeded => Halt::Trouble(Trouble::Cannot(format!(
            "cannot {what}: {error}; the check needs about 1 MB, free some space and run it again"
        ))),
        ErrorKind::ReadOnlyFilesystem => Halt::Trouble(Trouble::Cannot(format!("cannot {what}: {error}"))),
        _ => Halt::Failed(format!("cannot {what}: {error}")),
    }
}

/// How often a check shows that it goes on, at most.
const BEAT_EVERY: Duration = Duration::from_millis(500);

pub(super) struct Bench<'a> {
    pub storage: &'a dyn Storage,
    pub place: &'a Place<'a>,
    watch: &'a Watch<'a>,
    times: RefCell<BTreeMap<&'static str, Vec<u64>>>,
    beaten: Cell<Instant>,
}

impl<'a> Bench<'a> {
    pub fn new(storage: &'a dyn Storage, place: &'a Place<'a>, watch: &'a Watch<'a>) -> Bench<'a> {
        Bench { storage, place, watch, times: RefCell::default(), beaten: Cell::new(storage.now()) }
    }

    pub fn tell(&self, text: &str) {
        (self.watch.tell)(text);
    }

    /// To be called now and then: shows that the check goes on, and ends it if somebody said stop.
    pub fn go_on(&self) -> Result<(), Trouble> {
        if (self.watch.stop)() {
            return Err(Trouble::Interrupted(None));
        }
        let now = self.storage.now();
        if now.since(self.beaten.get()) >= BEAT_EVERY {
            self.beaten.set(now);
            self.place.beat();
        }
        Ok(())
    }

    /// One step: its finding, whatever it ends with. `advice` is what to do if it fails.
    pub fn step(
        &self,
        name: &str,
        advice: &str,
        body: impl FnOnce(&Self) -> Result<Seen, Halt>,
    ) -> Result<Finding, Trouble> {
        self.go_on()?;
        self.tell(name);
        let (outcome, says) = match body(self) {
            Ok(seen) => (seen.outcome, seen.says),
            Err(Halt::Failed(says)) => (Outcome::Fails, says),
            Err(Halt::Trouble(trouble)) => return Err(trouble),
        };
        let advice = (outcome == Outcome::Fails).then(|| advice.to_string());
        Ok(Finding { name: name.to_string(), outcome, says, advice })
    }

    /// Carries an operation out and remembers how long it took.
    pub fn time<T>(&self, operation: &'static str, body: impl FnOnce() -> T) -> T {
        let before = self.storage.now();
        let answer = body();
        let took = self.storage.now().since(before).as_micros();
        self.times.borrow_mut().entry(operation).or_default().push(u64::try_from(took).unwrap_or(u64::MAX));
        answer
    }

    /// What [`Bench::time`] has gathered.
    pub fn latencies(&self) -> Vec<Latency> {
        let summary = |(operation, times): (&&'static str, &Vec<u64>)| {
            let mut times = times.clone();
            times.sort_unstable();
            Latency {
                operation: (*operation).to_string(),
                samples: times.len() as u64,
                median_us: times[times.len() / 2],
                worst_us: times[times.len() - 1],
            }
        };
        self.times.borrow().iter().map(summary).collect()
    }
}
