//! The demo's worker processes: starting them, hearing them, telling them, ending them. None outlives the fleet.

use super::event::{self, Event, Stage};
use super::signals;
use super::verdict::CommitId;
use crate::args::Role;
use std::collections::VecDeque;
use std::ffi::OsString;
use std::io::{BufRead, BufReader, Read, Write};
use std::path::PathBuf;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::Sender;
use std::time::{Duration, Instant};

/// SQLite's primary codes that the demo tells apart.
const SQLITE_BUSY: i32 = 5;
const SQLITE_IOERR: i32 = 10;
const SQLITE_CORRUPT: i32 = 11;
const SQLITE_NOTADB: i32 = 26;

/// Commits a second are counted over this.
const RATE_WINDOW: Duration = Duration::from_secs(2);
/// Lines of a worker's stderr that are kept for the end.
const LAST_WORDS: usize = 5;

/// What reaches the demo's main loop.
pub enum Message {
    Event(usize, Event),
    /// A line that is no event, from either pipe.
    Said(usize, String),
    /// The worker's stdout has ended.
    Closed(usize),
    Locks(super::watch::Locks),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    Running,
    Frozen,
    Killed,
    Stopping,
    Ended,
    /// It ended without being told to.
    Crashed,
}

pub struct Worker {
    pub id: u32,
    pub role: Role,
    pub pid: u32,
    pub state: State,
    child: Child,
    stdin: Option<ChildStdin>,
    closed: bool,
    last_words: VecDeque<String>,
    pub reported: Vec<u64>,
    pub unknown: Vec<u64>,
    in_commit: Option<u64>,
    /// It waits for `go`, before the COMMIT of this seq.
    pub held: Option<u64>,
    /// The last transaction whose end is known, and the error it ended with.
    pub last_outcome: Option<(u64, Option<String>)>,
    pub reads: u64,
    started: Instant,
    rate: VecDeque<Instant>,
    pub longest_wait_us: u64,
    pub longest_commit_us: u64,
    pub busy: u64,
    pub fenced: u64,
    pub errors: u64,
    pub path_told: bool,
    pub locks_taken: Option<i64>,
}

pub struct Fleet {
    pub workers: Vec<Worker>,
    /// Sentences about what must never be seen.
    pub violations: Vec<String>,
    /// Sentences about workers that hung or ended by themselves.
    pub failures: Vec<String>,
    /// Each different error that workers met, and how often.
    pub errors: Vec<(String, u64)>,
    database: PathBuf,
    vfs: String,
    lease_ms: u32,
    sender: Sender<Message>,
}

impl Worker {
    pub fn name(&self) -> String {
        format!("{} {}", self.role.name(), self.id)
    }

    pub fn tell(&mut self, word: &str) {
        if let Some(stdin) = &mut self.stdin {
            // A worker that is gone is noticed by its stdout.
            let _ = stdin.write_all(format!("{word}\n").as_bytes());
        }
    }

    pub fn commits(&self) -> impl Iterator<Item = CommitId> {
        self.reported.iter().map(|&seq| CommitId { worker: self.id, seq })
    }

    pub fn freeze(&mut self) -> std::io::Result<()> {
        signals::freeze(self.pid)?;
        self.state = State::Frozen;
        Ok(())
    }

    pub fn thaw(&mut self) -> std::io::Result<()> {
        signals::thaw(self.pid)?;
        self.state = State::Running;
        Ok(())
    }

    /// SIGKILL, and waits until it is gone. A stopped process dies of it too.
    pub fn kill(&mut self) -> std::io::Result<()> {
        self.state = State::Killed;
        self.child.kill()?;
        self.child.wait().map(drop)
    }

    /// Commits or reads a second, lately.
    pub fn per_second(&self, now: Instant) -> f64 {
        let recent = self.rate.iter().filter(|&&at| now.duration_since(at) <= RATE_WINDOW).count();
        let window = now.duration_since(self.started).clamp(Duration::from_millis(100), RATE_WINDOW);
        recent as f64 / window.as_secs_f64()
    }
}

impl Fleet {
    pub fn new(database: PathBuf, vfs: &str, lease_ms: u32, sender: Sender<Message>) -> Fleet {
        Fleet {
            workers: Vec::new(),
            violations: Vec::new(),
            failures: Vec::new(),
            errors: Vec::new(),
            database,
            vfs: vfs.into(),
            lease_ms,
            sender,
        }
    }

    /// Starts one more worker and returns its index.
    pub fn start(&mut self, role: Role) -> Result<usize, String> {
        let index = self.workers.len();
        let id = index as u32 + 1;
        let program = std::env::current_exe().map_err(|error| format!("cannot find the coord program: {error}"))?;
        let mut args: Vec<OsString> =
            ["demo-worker", "--id", &id.to_string(), "--vfs", &self.vfs].map(Into::into).into();
        args.extend(["--lease-ms", &self.lease_ms.to_string()].map(Into::into));
        args.extend((role == Role::Reader).then(|| "--reader".into()));
        let mut child = Command::new(program)
            .args(args)
            .arg("--")
            .arg(&self.database)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .map_err(|error| format!("cannot start a worker: {error}"))?;
        self.hear(index, child.stdout.take(), true);
        self.hear(index, child.stderr.take(), false);
        let (pid, stdin) = (child.id(), child.stdin.take());
        self.workers.push(Worker {
            id,
            role,
            pid,
            state: State::Running,
            child,
            stdin,
            closed: false,
            last_words: VecDeque::new(),
            reported: Vec::new(),
            unknown: Vec::new(),
            in_commit: None,
            held: None,
            last_outcome: None,
            reads: 0,
            started: Instant::now(),
            rate: VecDeque::new(),
            longest_wait_us: 0,
            longest_commit_us: 0,
            busy: 0,
            fenced: 0,
            errors: 0,
            path_told: false,
            locks_taken: None,
        });
        Ok(index)
    }

    /// Turns a worker's pipe into messages, in a thread that ends with the pipe.
    fn hear(&self, index: usize, pipe: Option<impl Read + Send + 'static>, events: bool) {
        let (Some(pipe), sender) = (pipe, self.sender.clone()) else {
            return;
        };
        std::thread::spawn(move || {
            for line in BufReader::new(pipe).lines().map_while(Result::ok) {
                let message = match Event::from_line(&line) {
                    Ok(event) if events => Message::Event(index, event),
                    _ => Message::Said(index, line),
                };
                if sender.send(message).is_err() {
                    return;
                }
            }
            if events {
                let _ = sender.send(Message::Closed(index));
            }
        });
    }

    pub fn apply(&mut self, index: usize, event: Event) {
        let worker = &mut self.workers[index];
        match event {
            Event::InCommit { seq, held } => {
                worker.in_commit = Some(seq);
                worker.held = held.then_some(seq);
            }
            Event::Committed { seq, wait_us, commit_us } => {
                worker.reported.push(seq);
                worker.longest_wait_us = worker.longest_wait_us.max(wait_us);
                worker.longest_commit_us = worker.longest_commit_us.max(commit_us);
                worker.ended(seq, None);
                worker.counted();
            }
            Event::Read { wait_us, .. } => {
                worker.reads += 1;
                worker.longest_wait_us = worker.longest_wait_us.max(wait_us);
                worker.counted();
            }
            Event::Busy { wait_us } => {
                worker.busy += 1;
                worker.longest_wait_us = worker.longest_wait_us.max(wait_us);
            }
            Event::Failed { seq, stage, code, message } => self.failed(index, seq, stage, code, message),
            Event::Violation { sentence } => self.violations.push(format!("{}: {sentence}", worker.name())),
            Event::Path { locks_taken } => {
                worker.path_told = true;
                worker.locks_taken = locks_taken;
            }
            Event::Done => worker.state = State::Ended,
        }
    }

    fn failed(&mut self, index: usize, seq: u64, stage: Stage, code: i32, message: String) {
        let worker = &mut self.workers[index];
        let primary = code & 0xff;
        // BUSY leaves the transaction open and the worker has rolled it back; after any other error nobody knows.
        if stage == Stage::Commit && primary != SQLITE_BUSY && worker.role == Role::Writer {
            worker.unknown.push(seq);
        }
        match primary {
            SQLITE_IOERR => worker.fenced += 1,
            SQLITE_CORRUPT | SQLITE_NOTADB => self.violations.push(format!("{}: {message}", worker.name())),
            _ => worker.errors += 1,
        }
        worker.ended(seq, Some(message.clone()));
        let sentence = format!("{message} (code {code}, in {stage:?})").to_lowercase();
        match self.errors.iter_mut().find(|(known, _)| *known == sentence) {
            Some((_, count)) => *count += 1,
            None => self.errors.push((sentence, 1)),
        }
    }

    pub fn said(&mut self, index: usize, line: String) {
        let words = &mut self.workers[index].last_words;
        words.push_back(line);
        if words.len() > LAST_WORDS {
            words.pop_front();
        }
    }

    /// A worker's stdout has ended, so everything it said has been heard.
    pub fn closed(&mut self, index: usize) {
        let worker = &mut self.workers[index];
        worker.closed = true;
        worker.stdin = None;
        worker.unknown.extend(worker.in_commit.take());
        let status = worker.child.wait();
        if matches!(worker.state, State::Ended | State::Killed) {
            return;
        }
        worker.state = State::Crashed;
        let status = status.map_or_else(|error| error.to_string(), |status| status.to_string());
        let words: Vec<String> = worker.last_words.iter().cloned().collect();
        self.failures.push(format!("{} ended by itself ({status}) {}", worker.name(), words.join(" / ")));
    }

    pub fn stop(&mut self) {
        for worker in &mut self.workers {
            if worker.state == State::Running {
                worker.state = State::Stopping;
                worker.tell(event::STOP);
            }
        }
    }

    pub fn all_closed(&self) -> bool {
        self.workers.iter().all(|worker| worker.closed)
    }

    /// Kills who has not ended although it was told to: a failure each.
    pub fn kill_the_hung(&mut self, patience: Duration) {
        for worker in self.workers.iter_mut().filter(|worker| !worker.closed) {
            self.failures.push(format!(
                "{} (pid {}) hung: it did not end within {} s and was killed",
                worker.name(),
                worker.pid,
                patience.as_secs()
            ));
            let _ = worker.kill();
        }
    }
}

impl Worker {
    fn ended(&mut self, seq: u64, error: Option<String>) {
        self.in_commit = None;
        self.held = None;
        self.last_outcome = Some((seq, error));
    }

    fn counted(&mut self) {
        let now = Instant::now();
        self.rate.push_back(now);
        while self.rate.front().is_some_and(|&at| now.duration_since(at) > RATE_WINDOW) {
            self.rate.pop_front();
        }
    }
}

impl Drop for Fleet {
    fn drop(&mut self) {
        for worker in self.workers.iter_mut().filter(|worker| !worker.closed) {
            let _ = worker.kill();
        }
    }
}
