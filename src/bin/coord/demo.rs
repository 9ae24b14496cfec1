//! `coord demo`: real processes share one new database while one of them is killed and one frozen in mid-commit.
//!
//! The demo starts the workers (`fleet`), does things to them (`script`), shows what happens (`screen`), and at the end
//! compares what the workers reported with what the database says (`verdict`). It believes no worker about anything
//! but the commits that it reported.

pub mod database;
mod event;
mod fleet;
mod place;
mod report;
mod screen;
mod script;
mod signals;
mod verdict;
mod watch;
pub mod worker;

use crate::args::{self, Role};
use crate::{interrupts, out, register};
use fleet::{Fleet, Message, State};
use place::Place;
use screen::{Scene, Screen};
use script::Script;
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::{Duration, Instant};
use verdict::{CommitId, Evidence};
use watch::Locks;

const READERS: u32 = 2;
const TICK: Duration = Duration::from_millis(20);
/// How long workers may take to end once they were told to, beyond some leases: more than their busy timeout.
const LAST_PATIENCE: Duration = Duration::from_secs(30);

const BROKEN: u8 = 1;

pub fn run(options: &args::Demo) -> Result<u8, String> {
    // Before anything is made: what is there already would stay.
    interrupts::catch(false);
    let place = Place::new(options.dir.as_deref())?;
    match Demo::start(options, &place).and_then(|mut demo| demo.run()) {
        Ok(status) => Ok(status),
        Err(sentence) => {
            // Nothing was shown, so nothing is worth keeping.
            let _ = place.remove();
            Err(sentence)
        }
    }
}

struct Demo<'a> {
    options: &'a args::Demo,
    place: &'a Place,
    uri: String,
    title: String,
    start: Instant,
    planned: Duration,
    lease: Duration,
    fleet: Fleet,
    script: Script,
    screen: Screen,
    locks: Locks,
    messages: Receiver<Message>,
}

impl<'a> Demo<'a> {
    fn start(options: &'a args::Demo, place: &'a Place) -> Result<Demo<'a>, String> {
        if options.vfs == "coord" {
            register::register()?;
        }
        let shown = out::harmless(&place.database.display().to_string());
        let uri = database::uri(&place.database, &options.vfs, options.lease_ms);
        database::create(&uri, options.lease_ms)
            .map_err(|error| format!("cannot make the database {shown}: {error}"))?;
        let (sender, messages) = channel();
        let mut fleet = Fleet::new(place.database.clone(), &options.vfs, options.lease_ms, sender.clone());
        for _ in 0..options.processes {
            fleet.start(Role::Writer)?;
        }
        for _ in 0..READERS {
            fleet.start(Role::Reader)?;
        }
        watch::start(place.database.clone(), sender);
        let (start, planned) = (Instant::now(), Duration::from_secs(options.seconds.into()));
        let lease = Duration::from_millis(options.lease_ms.into());
        Ok(Demo {
            options,
            place,
            uri,
            title: format!(
                "coord demo: {} writers, {READERS} readers, {shown}, VFS {}",
                options.processes, options.vfs
            ),
            start,
            planned,
            lease,
            script: Script::new(start, planned, lease, place.journal()),
            fleet,
            screen: Screen::new(options.json),
            locks: Locks::default(),
            messages,
        })
    }

    fn run(&mut self) -> Result<u8, String> {
        while !interrupts::interrupted() && (self.start.elapsed() < self.planned || !self.script.is_over()) {
            self.hear();
            self.script.tick(&mut self.fleet);
            self.draw(false);
        }
        let elapsed = self.start.elapsed();
        self.fleet.stop();
        let patience = LAST_PATIENCE + self.lease * 4;
        let stopped = Instant::now();
        while !interrupts::interrupted() && !self.fleet.all_closed() && stopped.elapsed() < patience {
            self.hear();
            self.draw(false);
        }
        if interrupts::interrupted() {
            return self.give_up();
        }
        self.fleet.kill_the_hung(patience);
        while !self.fleet.all_closed() {
            self.hear();
        }
        self.draw(true);
        self.conclude(elapsed)
    }

    /// Takes in everything that has arrived, waiting a tick at most.
    fn hear(&mut self) {
        let mut next = self.messages.recv_timeout(TICK);
        while let Ok(message) = next {
            match message {
                Message::Event(index, event) => self.fleet.apply(index, event),
                Message::Said(index, line) => self.fleet.said(index, line),
                Message::Closed(index) => self.fleet.closed(index),
                Message::Locks(locks) => self.locks = locks,
            }
            next = self.messages.try_recv().map_err(|_| RecvTimeoutError::Timeout);
        }
    }

    fn draw(&mut self, last: bool) {
        let scene = Scene {
            title: &self.title,
            elapsed: self.start.elapsed(),
            planned: self.planned,
            fleet: &self.fleet,
            script: &self.script,
            locks: &self.locks,
        };
        self.screen.update(&scene, last);
    }

    fn give_up(&mut self) -> Result<u8, String> {
        for worker in &mut self.fleet.workers {
            let _ = worker.kill();
        }
        let files = self.dispose(self.options.keep);
        Ok(interrupts::ended(self.options.json, &format!("all workers were ended. {files}")))
    }

    fn conclude(&mut self, elapsed: Duration) -> Result<u8, String> {
        let evidence = self.gather();
        let verdict = verdict::judge(&evidence);
        let takeovers = watch::takeovers(&self.place.database);
        let files = self.dispose(self.options.keep || !verdict.held());
        let ending = report::Ending {
            options: self.options,
            database: &self.place.database,
            elapsed,
            fleet: &self.fleet,
            script: &self.script,
            takeovers,
            evidence: &evidence,
            verdict: &verdict,
            files: &files,
        };
        let text = if self.options.json { ending.as_json() } else { ending.as_text(&self.screen) };
        out::print(&text)?;
        Ok(if verdict.held() { 0 } else { BROKEN })
    }

    /// Looks at the database, through the workers' VFS and without any, and at what was left beside it.
    fn gather(&mut self) -> Evidence {
        let workers = &self.fleet.workers;
        let paths = workers.iter().filter(|worker| worker.path_told || !worker.reported.is_empty() || worker.reads > 0);
        let mut evidence = Evidence {
            through_coord: self.options.vfs == "coord",
            expected_balance: database::TOTAL,
            reported: workers.iter().flat_map(|worker| worker.commits()).collect(),
            unknown: workers
                .iter()
                .flat_map(|worker| worker.unknown.iter().map(|&seq| CommitId { worker: worker.id, seq }))
                .collect(),
            reads: workers.iter().map(|worker| worker.reads).sum(),
            violations: self.fleet.violations.clone(),
            failures: self.fleet.failures.clone(),
            paths: paths
                .map(|worker| verdict::Path { worker: worker.name(), locks_taken: worker.locks_taken })
                .collect(),
            killed: self.script.killed.clone(),
            thawed: self.script.thawed.clone(),
            ..Evidence::default()
        };
        if let Err(error) = database::examine(&self.uri, self.options.lease_ms, &mut evidence) {
            evidence.failures.push(format!("the database cannot be read: {error}"));
        }
        let plain = database::examine_plainly(&self.place.database);
        evidence.plain = Some(plain.map_err(|error| format!("an ordinary SQLite cannot read it: {error}")));
        let killed = workers.iter().filter(|worker| worker.state == State::Killed);
        let killed: Vec<u32> = killed.map(|worker| worker.pid).collect();
        evidence.leftovers = watch::leftovers(&self.place.database, &killed);
        evidence
    }

    /// Removes the files unless they are to stay, and says which.
    fn dispose(&self, keep: bool) -> String {
        if keep {
            return format!("the database was left at {}", self.place.database.display());
        }
        match self.place.remove() {
            Ok(()) => "its files were removed (--keep leaves them)".into(),
            Err(sentence) => format!("its files could not all be removed: {sentence}"),
        }
    }
}
