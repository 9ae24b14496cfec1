//! What is done to the workers, and when: one is killed in the middle of a commit, one frozen for two leases.
//!
//! Neither is left to chance. The victim is asked to hold: in its next transaction it lets SQLite write half of the
//! database, says so, and waits before COMMIT. Only then does the signal go out.

use super::event;
use super::fleet::{Fleet, State};
use crate::args::Role;
use std::io::Read;
use std::path::PathBuf;
use std::time::{Duration, Instant};

/// How long a victim may take until it holds, and the thawed one until it answers, beyond some leases.
const PATIENCE: Duration = Duration::from_secs(30);

#[derive(Clone, Copy, Debug)]
enum Step {
    AwaitKill,
    HoldForKill { victim: usize, since: Instant },
    AwaitFreeze,
    HoldForFreeze { victim: usize, since: Instant },
    Frozen { victim: usize, seq: u64, since: Instant },
    Thawed { victim: usize, seq: u64, since: Instant },
    Over,
}

pub struct Script {
    step: Step,
    start: Instant,
    kill_at: Duration,
    freeze_at: Duration,
    frozen_for: Duration,
    patience: Duration,
    journal: PathBuf,
    /// What was done, with the time since the start.
    pub deeds: Vec<(Duration, String)>,
    pub killed: Option<String>,
    pub thawed: Option<String>,
}

impl Script {
    pub fn new(start: Instant, run: Duration, lease: Duration, journal: PathBuf) -> Script {
        Script {
            step: Step::AwaitKill,
            start,
            kill_at: run / 3,
            freeze_at: run / 2,
            frozen_for: lease * 2,
            patience: PATIENCE + lease * 4,
            journal,
            deeds: Vec::new(),
            killed: None,
            thawed: None,
        }
    }

    pub fn is_over(&self) -> bool {
        matches!(self.step, Step::Over)
    }

    /// Goes on as far as is possible now.
    pub fn tick(&mut self, fleet: &mut Fleet) {
        match self.try_tick(fleet) {
            Ok(()) => {}
            Err(sentence) => {
                self.note(sentence.clone());
                fleet.failures.push(sentence);
                self.step = Step::Over;
            }
        }
    }

    fn try_tick(&mut self, fleet: &mut Fleet) -> Result<(), String> {
        let elapsed = self.start.elapsed();
        match self.step {
            Step::AwaitKill if elapsed >= self.kill_at => {
                let victim = self.pick(fleet, 1)?;
                self.step = Step::HoldForKill { victim, since: Instant::now() };
            }
            Step::HoldForKill { victim, since } => match fleet.workers[victim].held {
                Some(seq) => self.kill(fleet, victim, seq)?,
                None => self.still_waiting(fleet, victim, since, "come to a commit")?,
            },
            Step::AwaitFreeze if elapsed >= self.freeze_at => {
                let victim = self.pick(fleet, 0)?;
                self.step = Step::HoldForFreeze { victim, since: Instant::now() };
            }
            Step::HoldForFreeze { victim, since } => match fleet.workers[victim].held {
                Some(seq) => self.freeze(fleet, victim, seq)?,
                None => self.still_waiting(fleet, victim, since, "come to a commit")?,
            },
            Step::Frozen { victim, seq, since } if since.elapsed() >= self.frozen_for => {
                self.thaw(fleet, victim, seq)?
            }
            Step::Thawed { victim, seq, since } => match fleet.workers[victim].last_outcome.clone() {
                Some((last, error)) if last >= seq => self.came_back(fleet, victim, seq, error),
                _ => self.still_waiting(fleet, victim, since, "come back")?,
            },
            Step::AwaitKill | Step::AwaitFreeze | Step::Frozen { .. } | Step::Over => {}
        }
        Ok(())
    }

    /// Asks a running writer to hold, the one at `preferred` if it can be.
    fn pick(&mut self, fleet: &mut Fleet, preferred: usize) -> Result<usize, String> {
        let fit = |index: &usize| {
            let worker = &fleet.workers[*index];
            worker.role == Role::Writer && worker.state == State::Running
        };
        let all = std::iter::once(preferred).chain(0..fleet.workers.len());
        let victim = { all }.find(fit).ok_or("no writer is left that could be killed or frozen")?;
        fleet.workers[victim].tell(event::HOLD);
        Ok(victim)
    }

    fn still_waiting(&self, fleet: &Fleet, victim: usize, since: Instant, what: &str) -> Result<(), String> {
        let worker = &fleet.workers[victim];
        if worker.state == State::Crashed {
            return Err(format!("{} ended before it could {what}", worker.name()));
        }
        if since.elapsed() > self.patience {
            return Err(format!("{} did not {what} within {} s", worker.name(), self.patience.as_secs()));
        }
        Ok(())
    }

    fn kill(&mut self, fleet: &mut Fleet, victim: usize, seq: u64) -> Result<(), String> {
        let state = self.on_disk();
        let worker = &mut fleet.workers[victim];
        let (pid, name) = (worker.pid, worker.name());
        worker.kill().map_err(|error| format!("cannot kill {name} (pid {pid}): {error}"))?;
        let next = fleet.start(Role::Writer)?;
        let deed = format!("killed {name} (pid {pid}) inside commit {seq}, {state}");
        self.note(format!("{deed}; {} takes its place", fleet.workers[next].name()));
        self.killed = Some(deed);
        self.step = Step::AwaitFreeze;
        Ok(())
    }

    fn freeze(&mut self, fleet: &mut Fleet, victim: usize, seq: u64) -> Result<(), String> {
        let state = self.on_disk();
        let worker = &mut fleet.workers[victim];
        let (pid, name) = (worker.pid, worker.name());
        worker.freeze().map_err(|error| format!("cannot freeze {name} (pid {pid}): {error}"))?;
        let ms = self.frozen_for.as_millis();
        self.note(format!("froze {name} (pid {pid}) inside commit {seq}, {state}, for {ms} ms (two leases)"));
        self.step = Step::Frozen { victim, seq, since: Instant::now() };
        Ok(())
    }

    /// The word comes before the signal: the thawed process runs straight into its COMMIT.
    fn thaw(&mut self, fleet: &mut Fleet, victim: usize, seq: u64) -> Result<(), String> {
        let worker = &mut fleet.workers[victim];
        let (pid, name) = (worker.pid, worker.name());
        worker.tell(event::GO);
        worker.thaw().map_err(|error| format!("cannot thaw {name} (pid {pid}): {error}"))?;
        self.note(format!("thawed {name} (pid {pid}), which goes on with COMMIT {seq}"));
        self.step = Step::Thawed { victim, seq, since: Instant::now() };
        Ok(())
    }

    fn came_back(&mut self, fleet: &Fleet, victim: usize, seq: u64, error: Option<String>) {
        let worker = &fleet.workers[victim];
        let how = match (worker.reported.contains(&seq), error) {
            (true, _) => "to a clean commit".into(),
            (false, Some(error)) => format!("to an error: {error}"),
            (false, None) => "to an error".into(),
        };
        let sentence = format!("{} came back {how}", worker.name());
        self.note(sentence.clone());
        self.thawed = Some(sentence);
        self.step = Step::Over;
    }

    fn note(&mut self, deed: String) {
        self.deeds.push((self.start.elapsed(), deed));
    }

    /// Whether the held transaction has a journal that must be rolled back: then pages were written to the database.
    fn on_disk(&self) -> &'static str {
        match is_hot(&self.journal) {
            true => "the database half written",
            false => "nothing written to the database yet",
        }
    }
}

/// A journal is hot when its header was synced: magic and a count of records that is not zero
/// (<https://www.sqlite.org/fileformat2.html#the_rollback_journal>).
fn is_hot(journal: &std::path::Path) -> bool {
    const MAGIC: [u8; 8] = [0xd9, 0xd5, 0x05, 0xf9, 0x20, 0xa1, 0x63, 0xd7];
    let mut head = [0; 12];
    let read = std::fs::File::open(journal).and_then(|mut file| file.read_exact(&mut head));
    read.is_ok() && head[..8] == MAGIC && head[8..] != [0; 4]
}
