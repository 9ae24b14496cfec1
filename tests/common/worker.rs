//! Worker processes of the bank, which tests start, kill, freeze and ask for what became of them.
//!
//! A worker is the test binary itself, run again with `COORD_WORKER` set, so every test file that wants workers has
//!
//! ```ignore
//! #[test]
//! fn worker_entry() { common::worker::entry(); }
//! ```
//!
//! Parent and worker speak in lines: the worker says `@@ ready` when its database is open and waits for `go`; between
//! two transactions it obeys `stop`, `freeze` and `die`; at its end it says `@@ done` and its [`Summary`].

use super::bank::{self, Outcome, Reports, SqlError, Transfer};
use super::opener::Opener;
use super::{Rng, SOON};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicI32, Ordering};
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Role {
    Writer,
    Reader,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Spec {
    /// Never used twice on one database.
    pub id: u32,
    pub role: Role,
    pub opener: Opener,
    pub database: PathBuf,
    /// Where its reports go, and `<id>.stderr`.
    pub folder: PathBuf,
    pub busy_ms: u64,
    /// The longest rest between two transactions. Without one the plain busy handler, which sleeps for up to 100 ms at
    /// a time, almost never wakes in the gap, and the others starve.
    pub rest_us: u64,
    /// SQL to run right after every open.
    pub prelude: String,
    pub seed: u64,
}

impl Spec {
    pub fn new(id: u32, role: Role, opener: &Opener, database: &Path) -> Spec {
        let folder = database.parent().expect("a database lies in a folder").join("workers");
        let (opener, database) = (opener.clone(), database.to_owned());
        Spec {
            id,
            role,
            opener,
            database,
            folder,
            busy_ms: 2000,
            rest_us: 4000,
            prelude: String::new(),
            seed: u64::from(id),
        }
    }
    pub fn reports(&self) -> PathBuf {
        self.folder.join(format!("{}.reports", self.id))
    }
}

/// What a worker did, by its own account.
#[derive(Debug, Default, Serialize, Deserialize)]
pub struct Summary {
    pub committed: u64,
    /// Views that a reader got.
    pub views: u64,
    /// By extended result code: how often, and the first message.
    pub errors: BTreeMap<i32, (u64, String)>,
    /// What must never be: a wrong sum, a number that went back.
    pub wrong: Vec<String>,
}

impl Summary {
    fn error(&mut self, error: &SqlError) {
        self.errors.entry(error.code).or_insert((0, error.message.clone())).0 += 1;
    }
    /// Errors other than "database is locked".
    pub fn not_busy(&self) -> u64 {
        self.errors.iter().filter(|(code, _)| *code & 0xff != 5).map(|(_, (count, _))| count).sum()
    }
}

/// Signal that the next commit hook raises, if any.
static AT_COMMIT: AtomicI32 = AtomicI32::new(0);

/// The worker's whole life; returns at once in a process that is none.
pub fn entry() {
    let Ok(spec) = std::env::var("COORD_WORKER") else {
        return;
    };
    let spec: Spec = serde_json::from_str(&spec).expect("COORD_WORKER");
    // A parent that fails must not leave workers behind.
    unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL) };
    let mut summary = Summary::default();
    match open(&spec) {
        Ok(db) => {
            say("ready");
            if obey(true) {
                work(&spec, db, &mut summary);
            }
        }
        Err(error) => {
            summary.wrong.push(format!("cannot open: {error}"));
            say("ready");
        }
    }
    say(&format!("done {}", serde_json::to_string(&summary).expect("a summary")));
    std::process::exit(0);
}

fn open(spec: &Spec) -> rusqlite::Result<rusqlite::Connection> {
    let mut db = spec.opener.open(&spec.database)?;
    db.busy_timeout(Duration::from_millis(spec.busy_ms))?;
    db.execute_batch(&spec.prelude)?;
    db.commit_hook(Some(|| {
        match AT_COMMIT.swap(0, Ordering::SeqCst) {
            0 => {}
            signal => drop(unsafe { libc::raise(signal) }),
        }
        false
    }))?;
    Ok(db)
}

fn work(spec: &Spec, mut db: rusqlite::Connection, summary: &mut Summary) {
    let (mut rng, mut reports) = (Rng::seeded(spec.seed), Reports::append_to(&spec.reports()));
    let (mut seq, mut last) = (0, 0);
    while obey(false) {
        std::thread::sleep(Duration::from_micros(rng.below(spec.rest_us + 1)));
        let failed = if spec.role == Role::Reader {
            match bank::view(&mut db) {
                Ok(view) => {
                    summary.views += 1;
                    summary.wrong.extend(view.wrong(last));
                    last = view.counter;
                    None
                }
                Err(error) => Some(error),
            }
        } else {
            seq += 1;
            let transfer = Transfer::random(spec.id, seq, &mut rng);
            let outcome = bank::transfer(&mut db, &transfer);
            reports.report(&transfer, &outcome);
            match outcome {
                Outcome::Committed(number) => {
                    summary.committed += 1;
                    if number <= last {
                        summary.wrong.push(format!("number {number} was given after {last}"));
                    }
                    last = number;
                    None
                }
                Outcome::Not(error) | Outcome::Unknown(error) => Some(error),
            }
        };
        if let Some(error) = failed {
            summary.error(&error);
            // Whatever it was, an application would open anew and go on.
            if !error.is_busy() {
                match open(spec) {
                    Ok(new) => db = new,
                    Err(error) => eprintln!("cannot open again: {error}"),
                }
            }
        }
    }
    if let Err((_, error)) = db.close() {
        summary.wrong.push(format!("cannot close: {error}"));
    }
}

fn say(line: &str) {
    // The harness has begun a line of its own.
    let mut out = std::io::stdout().lock();
    let _ = write!(out, "\n@@ {line}\n").and_then(|()| out.flush());
}

/// Does what the parent has asked for since the last time; false when it is time to stop.
fn obey(wait: bool) -> bool {
    let mut poll = libc::pollfd { fd: 0, events: libc::POLLIN, revents: 0 };
    let mut wait = if wait { -1 } else { 0 };
    while unsafe { libc::poll(&mut poll, 1, wait) } > 0 {
        wait = 0;
        // Not std's stdin, which would read ahead of the poll.
        let mut letter = [0u8];
        let read = unsafe { libc::read(0, letter.as_mut_ptr().cast(), 1) };
        match (read, letter[0]) {
            (1, b'f') => AT_COMMIT.store(libc::SIGSTOP, Ordering::SeqCst),
            (1, b'd') => AT_COMMIT.store(libc::SIGKILL, Ordering::SeqCst),
            (1, b'g') => return true,
            _ => return false,
        }
    }
    true
}

/// A worker as its parent sees it.
pub struct Worker {
    pub spec: Spec,
    child: Child,
    stdin: ChildStdin,
    said: Receiver<String>,
}

/// What is left of a worker; no summary if it was killed.
#[derive(Debug)]
pub struct End {
    pub spec: Spec,
    pub status: ExitStatus,
    pub summary: Option<Summary>,
    pub stderr: String,
}

impl Worker {
    /// Starts it and waits until its database is open. It then waits for [`Worker::go`].
    pub fn start(spec: Spec) -> Worker {
        std::fs::create_dir_all(&spec.folder).expect("the workers' folder");
        let stderr = std::fs::File::create(spec.folder.join(format!("{}.stderr", spec.id))).expect("stderr file");
        let mut command = Command::new(std::env::current_exe().expect("a test binary knows its path"));
        command.args(["--exact", "worker_entry", "--nocapture", "--test-threads=1"]);
        command.env("COORD_WORKER", serde_json::to_string(&spec).expect("a spec"));
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(stderr);
        let mut child = command.spawn().expect("the test binary runs again");
        let stdin = child.stdin.take().expect("piped");
        let stdout = BufReader::new(child.stdout.take().expect("piped"));
        let (send, said) = channel();
        std::thread::spawn(move || {
            let lines = stdout.lines().map_while(Result::ok);
            for line in lines.filter_map(|line| line.strip_prefix("@@ ").map(str::to_owned)) {
                let _ = send.send(line);
            }
        });
        let worker = Worker { spec, child, stdin, said };
        match worker.said.recv_timeout(SOON) {
            Ok(line) if line == "ready" => worker,
            other => panic!("worker {} did not get ready: {other:?}\n{}", worker.spec.id, worker.stderr()),
        }
    }

    /// Starts several, and lets them go only when all are ready.
    pub fn start_all(specs: impl IntoIterator<Item = Spec>) -> Vec<Worker> {
        let mut workers: Vec<Worker> = specs.into_iter().map(Worker::start).collect();
        workers.iter_mut().for_each(Worker::go);
        workers
    }

    pub fn go(&mut self) {
        self.say(b'g');
    }
    /// Ends it after the transaction under way.
    pub fn stop(&mut self) {
        self.say(b's');
    }
    /// Stops it inside one of its next commits, holding the write lock; returns when it stands there.
    pub fn freeze_in_commit(&mut self) {
        self.say(b'f');
        self.wait_frozen();
    }
    /// Kills it (SIGKILL) inside one of its next commits, holding the write lock; returns when it is dead.
    pub fn die_in_commit(mut self) -> End {
        self.say(b'd');
        self.end()
    }
    /// A worker that is dead says so in its End.
    fn say(&mut self, letter: u8) {
        let _ = self.stdin.write_all(&[letter]).and_then(|()| self.stdin.flush());
    }

    pub fn pid(&self) -> i32 {
        self.child.id() as i32
    }
    pub fn signal(&self, signal: i32) {
        unsafe { libc::kill(self.pid(), signal) };
    }
    /// SIGSTOP, here and now.
    pub fn freeze(&self) {
        self.signal(libc::SIGSTOP);
        self.wait_frozen();
    }
    pub fn thaw(&self) {
        self.signal(libc::SIGCONT);
    }
    fn wait_frozen(&self) {
        let stat = format!("/proc/{}/stat", self.pid());
        super::until("a worker to stand still", || {
            let stat = std::fs::read_to_string(&stat).unwrap_or_default();
            let state = stat.rsplit(") ").next().and_then(|rest| rest.chars().next());
            assert!(!matches!(state, None | Some('Z' | 'X')), "worker {} died: {}", self.spec.id, self.stderr());
            state == Some('T')
        });
    }

    /// How many commits it has reported so far.
    pub fn reported(&self) -> usize {
        let text = std::fs::read_to_string(self.spec.reports()).unwrap_or_default();
        text.lines().filter(|line| line.starts_with("committed")).count()
    }
    /// Waits until it has reported `more` commits beyond those of now.
    pub fn wait_for_commits(&self, more: usize) {
        let goal = self.reported() + more;
        super::until(&format!("worker {} to commit", self.spec.id), || self.reported() >= goal);
    }

    /// SIGKILL, here and now.
    pub fn kill(self) -> End {
        self.signal(libc::SIGKILL);
        self.end()
    }
    /// Asks it to stop and waits for its end.
    pub fn finish(mut self) -> End {
        self.stop();
        self.end()
    }
    /// Waits for its end, however it comes.
    pub fn end(mut self) -> End {
        let mut status = None;
        super::until(&format!("the end of worker {}", self.spec.id), || {
            status = self.child.try_wait().expect("a child can be waited for");
            status.is_some()
        });
        let done = self.said.iter().find_map(|line| line.strip_prefix("done ").map(str::to_owned));
        let summary = done.map(|json| serde_json::from_str(&json).expect("a summary"));
        End { status: status.expect("just seen"), summary, stderr: self.stderr(), spec: self.spec.clone() }
    }

    fn stderr(&self) -> String {
        std::fs::read_to_string(self.spec.folder.join(format!("{}.stderr", self.spec.id))).unwrap_or_default()
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl End {
    pub fn killed(&self) -> bool {
        self.status.signal() == Some(libc::SIGKILL)
    }
    /// The summary of a worker that came to its end by itself and saw nothing wrong.
    pub fn right(&self) -> &Summary {
        let id = self.spec.id;
        let summary = self.summary.as_ref().unwrap_or_else(|| panic!("worker {id}: {} {}", self.status, self.stderr));
        assert!(self.status.success() && summary.wrong.is_empty(), "worker {id}: {summary:#?}\n{}", self.stderr);
        summary
    }
}
