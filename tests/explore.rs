//! Random schedules: several processes write and read, each stops at some of the protocol's points, stands there for a moment
//! or past its lease, with its clock or without, comes back or dies. Nothing that was reported may be missing, nobody may
//! see a mix. Not repeatable to the instant, but the choices are those of a printed seed.
//!
//! A few rounds belong to the suite; `COORD_TEST_ROUNDS` asks for more, and `COORD_EXPLORE_WITHOUT` takes guards out, to see
//! whether the explorer finds what that breaks.

mod common;

use common::Rng;
use common::bank::{Reported, Rows, Transfer, View};
use common::puppet::Puppet;
use common::stage::Stage;
use std::time::{Duration, Instant};

const POINTS: [&str; 16] = [
    "made-lock",
    "entered-lock",
    "alone-in-lock",
    "before-exclusive",
    "exclusive-announced",
    "reader-announced",
    "database-read",
    "database-write",
    "finalise",
    "finalised",
    "takeover-listed",
    "fence-copied",
    "fence-named",
    "fence-ready",
    "fence-between",
    "takeover-clearing",
];

#[test]
fn puppet_entry() {
    common::puppet::entry();
}

enum Asked {
    Nothing,
    Transfer(Transfer),
    View,
}

struct Actor {
    puppet: Puppet,
    asked: Asked,
    /// The last number that it saw.
    seen: u64,
    /// Since when its clock stands still.
    clock: Option<Instant>,
}

struct Round {
    stage: Stage,
    actors: Vec<Actor>,
    rng: Rng,
    wrong: Vec<String>,
    history: Vec<String>,
    answers: u64,
}

const NAMES: [&str; 4] = ["anna", "bert", "cleo", "dora"];

impl Round {
    fn new(seed: u64) -> Round {
        let stage = Stage::short_lease(&std::env::var("COORD_EXPLORE_WITHOUT").unwrap_or_default());
        let actor = |name| Actor { puppet: stage.patient(name), asked: Asked::Nothing, seen: 0, clock: None };
        let actors = NAMES.into_iter().map(actor).collect();
        Round { stage, actors, rng: Rng::seeded(seed), wrong: Vec::new(), history: Vec::new(), answers: 0 }
    }

    fn say(&mut self, at: usize, what: String) {
        self.history.push(format!("{}: {what}", NAMES[at]));
    }

    /// Gives one that does nothing something to do, with some points to stop at.
    fn start(&mut self, at: usize) {
        let stops: Vec<&str> = (0..self.rng.below(4)).map(|_| POINTS[self.rng.below(16) as usize]).collect();
        self.actors[at].puppet.stops_at(&stops);
        if self.rng.below(4) == 0 {
            self.say(at, format!("reads, stops at {stops:?}"));
            let sql = "BEGIN; SELECT sum(balance) FROM account; SELECT n FROM counter; SELECT count(*) FROM history;
                       SELECT ifnull(max(n), 0) FROM history; COMMIT";
            self.actors[at].puppet.begin(sql);
            self.actors[at].asked = Asked::View;
        } else {
            let transfer = self.stage.next();
            self.say(at, format!("pays {}, stops at {stops:?}", transfer.seq));
            self.actors[at].puppet.begin(&(transfer.begin() + "COMMIT"));
            self.actors[at].asked = Asked::Transfer(transfer);
        }
    }

    fn answered(&mut self, at: usize, answer: Result<Rows, common::bank::SqlError>) {
        self.answers += 1;
        let asked = std::mem::replace(&mut self.actors[at].asked, Asked::Nothing);
        self.say(at, format!("{answer:?}"));
        match (asked, answer) {
            (Asked::Transfer(transfer), Ok(rows)) => {
                let number = common::stage::number(&rows);
                let before = std::mem::replace(&mut self.actors[at].seen, number);
                if number <= before {
                    self.wrong.push(format!("{}: number {number} after {before}", NAMES[at]));
                }
                self.stage.note_commit(&transfer, number, &Ok(Rows::new()));
            }
            (Asked::View, Ok(rows)) => {
                let figure = |i: usize| rows[i][0].parse::<i64>().unwrap_or(i64::MIN);
                let (sum, counter, rows, last) = (figure(0), figure(1) as u64, figure(2) as u64, figure(3) as u64);
                let before = std::mem::replace(&mut self.actors[at].seen, counter);
                self.wrong.extend(View { sum, counter, rows, last }.wrong(before));
            }
            _ => drop(self.actors[at].puppet.sql("ROLLBACK")),
        }
    }

    fn thaw(&mut self, at: usize) {
        if self.rng.below(3) == 0 {
            self.actors[at].puppet.clock_stops();
            self.actors[at].clock = Some(Instant::now());
            self.say(at, "goes on, its clock does not".into());
        } else {
            self.say(at, "goes on".into());
        }
        self.actors[at].puppet.thaw();
    }

    fn step(&mut self, at: usize) {
        if self.actors[at].clock.is_some_and(|since| since.elapsed() > Duration::from_millis(300)) {
            self.actors[at].puppet.clock_goes();
            self.actors[at].clock = None;
        }
        if matches!(self.actors[at].asked, Asked::Nothing) {
            return self.start(at);
        }
        if let Some(answer) = self.actors[at].puppet.answer_so_far() {
            return self.answered(at, answer);
        }
        if self.actors[at].puppet.is_stopped() {
            match self.rng.below(12) {
                0 => self.replace(at),
                1..=5 => self.thaw(at),
                _ => {}
            }
        }
    }

    /// Dies where it stands; somebody else takes its place.
    fn replace(&mut self, at: usize) {
        self.say(at, "dies".into());
        // Its successor has the same files; it stands still itself and does not write them back.
        self.actors[at].puppet.stops_at(&[]);
        self.actors[at].puppet.clock_goes();
        let fresh = self.stage.patient(NAMES[at]);
        let old = std::mem::replace(
            &mut self.actors[at],
            Actor { puppet: fresh, asked: Asked::Nothing, seen: 0, clock: None },
        );
        old.puppet.kill();
    }

    fn end(&mut self) {
        for actor in &self.actors {
            actor.puppet.stops_at(&[]);
            actor.puppet.clock_goes();
        }
        let begun = Instant::now();
        while self.actors.iter().any(|actor| !matches!(actor.asked, Asked::Nothing)) {
            for at in 0..self.actors.len() {
                self.actors[at].puppet.thaw();
                if let Some(answer) = self.actors[at].puppet.answer_so_far() {
                    self.answered(at, answer);
                }
            }
            if begun.elapsed() > Duration::from_secs(20) {
                let stuck = NAMES.iter().zip(&self.actors).filter(|(_, actor)| !matches!(actor.asked, Asked::Nothing));
                let stuck: Vec<String> = stuck.map(|(name, actor)| format!("{name} {}", actor.puppet.pid())).collect();
                let (lock, readers) = (self.stage.names_in(".lock"), self.stage.names_in(".readers"));
                self.wrong.push(format!(
                    "no answer from {stuck:?}; in the lock directory {lock:?}; in the registry {readers:?}"
                ));
                return;
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        for (actor, name) in self.actors.iter_mut().zip(NAMES) {
            // It may have been reading its schedule when that was emptied, and have written the rest back.
            actor.puppet.stops_at(&[]);
            // Whatever it went through, it works again.
            let transfer = self.stage.next();
            let outcome = common::bank::transfer(&mut actor.puppet, &transfer);
            self.stage.note(&transfer, &outcome);
            if !matches!(outcome, common::bank::Outcome::Committed(_)) {
                self.wrong.push(format!("{} at the end: {outcome:?}", name));
            }
        }
        self.actors.clear();
        self.wrong.extend(self.stage.wrong());
        let left = self.stage.names_in(".lock");
        if !left.is_empty() {
            self.wrong.push(format!("left in the lock directory: {left:?}"));
        }
    }
}

fn round(seed: u64, span: Duration) -> usize {
    let mut round = Round::new(seed);
    let begun = Instant::now();
    while begun.elapsed() < span {
        let at = round.rng.below(NAMES.len() as u64) as usize;
        round.step(at);
        std::thread::sleep(Duration::from_millis(round.rng.below(40)));
    }
    round.end();
    assert!(round.wrong.is_empty(), "seed {seed}:\n{}\n{}", round.history.join("\n"), round.wrong.join("\n"));
    let Reported { committed, .. } = &round.stage.reported;
    committed.len()
}

#[test]
fn random_schedules_lose_nothing() {
    let rounds = std::env::var("COORD_TEST_ROUNDS").ok().and_then(|text| text.parse().ok()).unwrap_or(2);
    let mut rng = Rng::printed();
    let seeds: Vec<u64> = (0..rounds).map(|_| rng.next()).collect();
    for pair in seeds.chunks(2) {
        std::thread::scope(|scope| {
            let threads: Vec<_> =
                pair.iter().map(|seed| scope.spawn(|| round(*seed, Duration::from_secs(6)))).collect();
            let committed: Vec<usize> = threads.into_iter().map(|thread| thread.join().expect("a round")).collect();
            println!("{committed:?} commits");
            assert!(committed.iter().all(|count| *count >= NAMES.len()));
        });
    }
}
