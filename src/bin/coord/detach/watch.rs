//! Whether those live of whom nothing but names is known: a heartbeat that moves is of somebody who does.

use super::survey::Survey;
use super::{Halt, survey};
use crate::progress::Progress;
use crate::{interrupts, out};
use coord::protocol::Paths;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Between two looks at the names, which other hosts' requests are behind.
const LOOK_EVERY: Duration = Duration::from_millis(500);
/// Between two looks whether this was interrupted, or at the lock.
const NAP: Duration = Duration::from_millis(20);
/// More than a lease of the default length, after which a silent process is in nobody's way.
const PATIENCE: Duration = Duration::from_secs(60);

/// Everybody's heartbeat at the first look, and when that was.
pub(super) struct Watch {
    first: Option<BTreeMap<String, PathBuf>>,
    begun: Instant,
}

impl Watch {
    pub fn new() -> Watch {
        Watch { first: None, begun: Instant::now() }
    }

    /// Sentences on those who live: proved by this host, or by a heartbeat that is another than at the first look.
    pub fn living(&mut self, survey: &Survey) -> Vec<String> {
        let beats = survey.heartbeats();
        let first = self.first.get_or_insert_with(|| beats.clone());
        survey.of_the_living(|node| beats.contains_key(node) && beats.get(node) != first.get(node))
    }

    /// Watches until nobody is left whose lease may still be renewed: at most for the longest lease, and not at all where everybody is
    /// known. `Ok` if nobody lives as far as that shows.
    ///
    /// # Errors
    /// A refusal with who lives, or the interrupt.
    pub fn until_silent(&mut self, paths: &Paths, progress: &Progress) -> Result<(), Halt> {
        loop {
            let survey = survey(paths)?;
            let living = self.living(&survey);
            if !living.is_empty() {
                return Err(Halt::Refused(living));
            }
            let passed = self.begun.elapsed();
            let Some(who) = survey.undecided(passed) else { return Ok(()) };
            progress.tell(&format!("waiting for a sign of life of {who} ({})", shown(passed)));
            let look = Instant::now();
            while look.elapsed() < LOOK_EVERY {
                if interrupts::interrupted() {
                    return Err(Halt::Interrupted);
                }
                std::thread::sleep(NAP);
            }
        }
    }
}

/// What waits for the lock in place of SQLite's busy timeout: it ends at an interrupt, and as soon as somebody is seen to live, whom
/// it would keep out in vain.
pub(super) struct Waiting {
    paths: Paths,
    watch: Watch,
    progress: Progress,
    begun: Instant,
    looked: Option<Instant>,
    living: Living,
}

/// Sentences on those who were seen to live meanwhile.
pub(super) type Living = Arc<Mutex<Vec<String>>>;

/// What was seen so far.
pub(super) fn seen(living: &Living) -> Vec<String> {
    living.lock().unwrap_or_else(PoisonError::into_inner).clone()
}

impl Waiting {
    pub fn new(paths: &Paths, watch: Watch, living: &Living) -> Waiting {
        let (progress, begun) = (Progress::new(), Instant::now());
        Waiting { paths: paths.clone(), watch, progress, begun, looked: None, living: living.clone() }
    }

    /// A busy handler: whether to look at the lock again, after a nap.
    pub fn goes_on(&mut self) -> bool {
        if self.looked.is_none_or(|look| look.elapsed() >= LOOK_EVERY) {
            self.looked = Some(Instant::now());
            self.look();
        }
        let ends = interrupts::interrupted() || !seen(&self.living).is_empty() || self.begun.elapsed() >= PATIENCE;
        if ends {
            self.progress.end();
        } else {
            std::thread::sleep(NAP);
        }
        !ends
    }

    fn look(&mut self) {
        // What cannot be looked at now is waited for.
        let Ok(survey) = survey(&self.paths) else { return };
        *self.living.lock().unwrap_or_else(PoisonError::into_inner) = self.watch.living(&survey);
        let who = survey.in_the_way().unwrap_or_else(|| "somebody".to_string());
        self.progress.tell(&format!("waiting for the lock, which {who} has ({})", shown(self.begun.elapsed())));
    }
}

fn shown(passed: Duration) -> String {
    out::duration(u64::try_from(passed.as_millis()).unwrap_or(u64::MAX))
}
