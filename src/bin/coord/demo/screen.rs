//! The demo's one screen: redrawn in place on a terminal, a plain line a second elsewhere, nothing with `--json`.

use super::fleet::{Fleet, State, Worker};
use super::script::Script;
use super::watch::Locks;
use crate::out;
use std::io::IsTerminal;
use std::time::{Duration, Instant};

/// More workers than this are summed up in a line.
const ROWS: usize = 14;
const DEEDS: usize = 6;
const REDRAW_EVERY: Duration = Duration::from_millis(200);
const LINE_EVERY: Duration = Duration::from_secs(1);

pub const BOLD: &str = "1";
pub const DIM: &str = "2";
pub const RED: &str = "1;31";
pub const GREEN: &str = "1;32";
pub const YELLOW: &str = "33";

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Silent,
    Lines,
    Live,
}

pub struct Screen {
    kind: Kind,
    colour: bool,
    drawn_lines: usize,
    last: Option<Instant>,
    deeds_told: usize,
}

/// What one picture shows.
pub struct Scene<'a> {
    pub title: &'a str,
    pub elapsed: Duration,
    pub planned: Duration,
    pub fleet: &'a Fleet,
    pub script: &'a Script,
    pub locks: &'a Locks,
}

impl Screen {
    pub fn new(json: bool) -> Screen {
        let dumb = std::env::var_os("TERM").is_none_or(|term| term.is_empty() || term == "dumb");
        let terminal = std::io::stdout().is_terminal() && !dumb;
        let kind = match (json, terminal) {
            (true, _) => Kind::Silent,
            (_, true) => Kind::Live,
            (_, false) => Kind::Lines,
        };
        let plain = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        Screen { kind, colour: terminal && !plain, drawn_lines: 0, last: None, deeds_told: 0 }
    }

    /// Draws if it is time to; `last`: draws in any case.
    pub fn update(&mut self, scene: &Scene, last: bool) {
        let every = if self.kind == Kind::Live { REDRAW_EVERY } else { LINE_EVERY };
        let due = last || self.last.is_none_or(|at| at.elapsed() >= every);
        match self.kind {
            Kind::Silent => {}
            Kind::Live if due => self.redraw(scene),
            Kind::Lines => self.tell_deeds(scene, due),
            Kind::Live => return,
        }
        if due {
            self.last = Some(Instant::now());
        }
    }

    pub fn paint(&self, style: &str, text: &str) -> String {
        match self.colour {
            true => format!("\x1b[{style}m{text}\x1b[0m"),
            false => text.into(),
        }
    }

    fn tell_deeds(&mut self, scene: &Scene, due: bool) {
        let mut text = String::new();
        if self.last.is_none() {
            text += &format!("{}\n", scene.title);
        }
        for (at, deed) in &scene.script.deeds[self.deeds_told..] {
            text += &format!("{:>6.1} s  ** {}\n", at.as_secs_f64(), out::harmless(deed));
        }
        self.deeds_told = scene.script.deeds.len();
        if due {
            let [totals, rest] = totals(scene);
            text += &format!("{:>6.1} s  {totals} | {} | {rest}\n", scene.elapsed.as_secs_f64(), holder(scene));
        }
        let _ = out::print(&text);
    }

    fn redraw(&mut self, scene: &Scene) {
        let lines = self.picture(scene);
        let mut text = match self.drawn_lines {
            0 => String::new(),
            count => format!("\x1b[{count}A\r\x1b[J"),
        };
        // Without the terminal's own line breaks a long line is cut, and the cursor finds its way back.
        text += "\x1b[?7l";
        for line in &lines {
            text += &format!("{line}\n");
        }
        text += "\x1b[?7h";
        self.drawn_lines = lines.len();
        let _ = out::print(&text);
    }

    fn picture(&self, scene: &Scene) -> Vec<String> {
        let time = format!("{:.1} of {} s", scene.elapsed.as_secs_f64(), scene.planned.as_secs());
        let mut lines = vec![format!("{}   {time}", self.paint(BOLD, scene.title)), String::new()];
        let [totals, rest] = totals(scene);
        lines.push(holder(scene));
        lines.push(self.paint(BOLD, &totals));
        lines.push(rest);
        lines.push(String::new());
        let header = "             pid      state     commits     /s  longest wait  longest commit  fenced  errors";
        lines.push(self.paint(DIM, header));
        let now = Instant::now();
        lines.extend(scene.fleet.workers.iter().take(ROWS).map(|worker| self.row(worker, now)));
        if let Some(more) = scene.fleet.workers.len().checked_sub(ROWS + 1) {
            lines.push(format!("and {} more", more + 1));
        }
        lines.push(String::new());
        let deeds = &scene.script.deeds;
        for (at, deed) in &deeds[deeds.len().saturating_sub(DEEDS)..] {
            lines.push(format!("{:>6.1} s  {}", at.as_secs_f64(), self.paint(YELLOW, &out::harmless(deed))));
        }
        lines
    }

    fn row(&self, worker: &Worker, now: Instant) -> String {
        let done = match worker.reported.len() as u64 {
            0 => format!("{} r", worker.reads),
            commits => commits.to_string(),
        };
        let text = format!(
            "{:<11}  {:<7}  {:<8}  {:>7}  {:>5.0}  {:>12}  {:>14}  {:>6}  {:>6}",
            worker.name(),
            worker.pid,
            state(worker.state),
            done,
            worker.per_second(now),
            out::duration(worker.longest_wait_us / 1_000),
            out::duration(worker.longest_commit_us / 1_000),
            worker.fenced,
            worker.errors + worker.busy,
        );
        match worker.state {
            State::Killed | State::Crashed => self.paint(RED, &text),
            State::Frozen => self.paint(YELLOW, &text),
            _ => text,
        }
    }
}

fn state(state: State) -> &'static str {
    match state {
        State::Running => "running",
        State::Frozen => "FROZEN",
        State::Killed => "KILLED",
        State::Stopping => "stopping",
        State::Ended => "ended",
        State::Crashed => "CRASHED",
    }
}

/// Commits and rate; waits, takeovers and errors.
fn totals(scene: &Scene) -> [String; 2] {
    let (workers, now) = (&scene.fleet.workers, Instant::now());
    let writers = || workers.iter().filter(|worker| worker.role == crate::args::Role::Writer);
    let commits: usize = writers().map(|worker| worker.reported.len()).sum();
    let rate: f64 = writers().map(|worker| worker.per_second(now)).sum();
    let reads: u64 = workers.iter().map(|worker| worker.reads).sum();
    let wait_us = workers.iter().map(|worker| worker.longest_wait_us).max().unwrap_or(0);
    let sum = |of: fn(&Worker) -> u64| workers.iter().map(of).sum::<u64>();
    let wrong = match scene.fleet.violations.len() {
        0 => String::new(),
        count => format!("  WRONG SIGHTS {count}"),
    };
    [
        format!("{commits} commits, {rate:.0} a second, {reads} reads"),
        format!(
            "longest wait {}  takeovers {}  fenced {}  errors {}  busy {}{wrong}",
            out::duration(wait_us / 1_000),
            scene.locks.takeovers,
            sum(|worker| worker.fenced),
            sum(|worker| worker.errors),
            sum(|worker| worker.busy),
        ),
    ]
}

fn holder(scene: &Scene) -> String {
    if let Some(error) = &scene.locks.error {
        return format!("lock: cannot be read: {}", out::harmless(error));
    }
    let Some(holder) = &scene.locks.holder else {
        return "lock: nobody at the last look".into();
    };
    let worker = scene.fleet.workers.iter().find(|worker| Some(worker.pid) == holder.pid);
    let who = worker.map_or_else(|| holder.node.clone(), Worker::name);
    let pid = holder.pid.map_or("?".into(), |pid| pid.to_string());
    let seen = out::duration(holder.seen_for.as_millis() as u64);
    out::harmless(&format!("lock: {who} (pid {pid}), {}, {}, seen for {seen}", holder.kind, holder.verdict))
}
