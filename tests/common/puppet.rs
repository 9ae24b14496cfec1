//! Processes that do what they are told, step by step, so that a test can lay down one exact schedule.
//!
//! A puppet is the test binary itself, run again with `COORD_PUPPET` set; every test file that wants some has
//!
//! ```ignore
//! #[test]
//! fn puppet_entry() { common::puppet::entry(); }
//! ```
//!
//! It obeys one [`Request`] a line. A test may ask for an answer later than it asks the question, so that the puppet can be
//! caught standing at a stop point in between ([`Puppet::stops_at`]).

use super::SOON;
use super::bank::{Rows, Sql, SqlError};
use super::opener::Opener;
use serde::{Deserialize, Serialize};
use std::collections::HashMap;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};

#[derive(Debug, Serialize, Deserialize)]
enum Request {
    Open {
        name: String,
        opener: Opener,
        database: PathBuf,
    },
    Sql {
        name: String,
        text: String,
    },
    /// In a thread of its own, for good: the connection is closed at the end of it.
    Beside {
        name: String,
        text: String,
    },
    Close {
        name: String,
    },
    /// Whatever is opened through coord from here on is traced.
    Trace,
    /// What was traced since the last time.
    Trail,
    /// From here on a forked child obeys, holding copies of all connections,
    Fork,
    /// until the other of the two is wanted.
    Switch,
}

type Answer = Result<Rows, SqlError>;

/// The puppet's whole life; returns at once in a process that is none.
pub fn entry() {
    if std::env::var_os("COORD_PUPPET").is_none() {
        return;
    }
    // A parent that fails must not leave puppets behind.
    unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL) };
    let mut open: HashMap<String, rusqlite::Connection> = HashMap::new();
    let mut other: Option<(i32, i32)> = None;
    while let Some(line) = read_line() {
        let request = serde_json::from_str(&line).expect("a request");
        let answer = match request {
            Request::Fork => {
                other = Some(fork());
                Ok(Rows::new())
            }
            Request::Switch => {
                let (mine, theirs) = other.expect("forked before");
                unsafe { libc::write(theirs, c"x".as_ptr().cast(), 1) };
                let mut byte = 0u8;
                if unsafe { libc::read(mine, (&raw mut byte).cast(), 1) } != 1 {
                    break;
                }
                Ok(Rows::new())
            }
            Request::Beside { name, text } => {
                let mut connection = open.remove(&name).expect("an open connection");
                std::thread::spawn(move || print(connection.sql(&text)));
                continue;
            }
            request => obey(&mut open, request),
        };
        print(answer);
    }
    drop(open);
    std::process::exit(0);
}

fn print(answer: Answer) {
    let mut out = std::io::stdout().lock();
    // The harness has begun a line of its own.
    let text = serde_json::to_string(&answer.map_err(|error| (error.code, error.message))).expect("an answer");
    let _ = write!(out, "\n@@ {text}\n").and_then(|()| out.flush());
}

fn obey(open: &mut HashMap<String, rusqlite::Connection>, request: Request) -> Answer {
    match request {
        Request::Open { name, opener, database } => {
            let error = |e: rusqlite::Error| SqlError { code: -1, message: e.to_string() };
            open.insert(name, opener.open(&database).map_err(error)?);
            Ok(Rows::new())
        }
        Request::Sql { name, text } => open.get_mut(&name).expect("an open connection").sql(&text),
        Request::Close { name } => {
            drop(open.remove(&name));
            Ok(Rows::new())
        }
        Request::Trace => {
            super::trace::install();
            Ok(Rows::new())
        }
        Request::Trail => Ok(super::trace::take()),
        Request::Fork | Request::Switch | Request::Beside { .. } => unreachable!("answered by the caller"),
    }
}

/// A line, without reading ahead: a forked child goes on with the same input.
fn read_line() -> Option<String> {
    let mut line = Vec::new();
    let mut letter = 0u8;
    while unsafe { libc::read(0, (&raw mut letter).cast(), 1) } == 1 {
        if letter == b'\n' {
            return String::from_utf8(line).ok();
        }
        line.push(letter);
    }
    None
}

/// Returns in the child; in the parent only when the child says Switch. Each gets where it waits and where it wakes the
/// other.
fn fork() -> (i32, i32) {
    let (mut to_child, mut to_parent) = ([0; 2], [0; 2]);
    unsafe {
        libc::pipe(to_child.as_mut_ptr());
        libc::pipe(to_parent.as_mut_ptr());
        if libc::fork() == 0 {
            libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL);
            libc::close(to_child[1]);
            libc::close(to_parent[0]);
            return (to_child[0], to_parent[1]);
        }
        libc::close(to_child[0]);
        libc::close(to_parent[1]);
        let mut byte = 0u8;
        if libc::read(to_parent[0], (&raw mut byte).cast(), 1) != 1 {
            libc::_exit(3);
        }
    }
    (to_parent[0], to_child[1])
}

/// A puppet as the test sees it.
pub struct Puppet {
    name: &'static str,
    child: Child,
    stdin: ChildStdin,
    answers: Receiver<String>,
    schedule: PathBuf,
    clock: PathBuf,
}

impl Puppet {
    /// Starts one; its own files lie in `folder`. `without`: the guards that are taken out in it, as
    /// `COORD_TEST_WITHOUT` wants them. `env`: more of its environment.
    pub fn start(name: &'static str, folder: &Path, without: &str, env: &[(&str, &str)]) -> Puppet {
        let (schedule, clock) = (folder.join(format!("{name}.stops")), folder.join(format!("{name}.clock")));
        let stderr = std::fs::File::create(folder.join(format!("{name}.stderr"))).expect("stderr file");
        let mut command = Command::new(std::env::current_exe().expect("a test binary knows its path"));
        command.args(["--exact", "puppet_entry", "--nocapture", "--test-threads=1"]);
        command.env("COORD_PUPPET", "1").env("COORD_TEST_WITHOUT", without).envs(env.iter().copied());
        command.env("COORD_TEST_STOPS", &schedule).env("COORD_TEST_CLOCK_STOPS", &clock);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(stderr);
        let mut child = command.spawn().expect("the test binary runs again");
        let stdin = child.stdin.take().expect("piped");
        let stdout = BufReader::new(child.stdout.take().expect("piped"));
        let (send, answers) = channel();
        std::thread::spawn(move || {
            let lines = stdout.lines().map_while(Result::ok);
            for line in lines.filter_map(|line| line.strip_prefix("@@ ").map(str::to_owned)) {
                let _ = send.send(line);
            }
        });
        Puppet { name, child, stdin, answers, schedule, clock }
    }

    /// Starts one with a connection `db` to the database.
    pub fn at(name: &'static str, database: &Path, opener: &Opener, without: &str) -> Puppet {
        let mut puppet = Puppet::start(name, database.parent().expect("a folder"), without, &[]);
        puppet.open("db", database, opener).expect("the database opens");
        puppet
    }

    fn say(&mut self, request: &Request) {
        let line = serde_json::to_string(request).expect("a request");
        let _ = writeln!(self.stdin, "{line}").and_then(|()| self.stdin.flush());
    }

    /// The answer to the oldest request without one.
    pub fn answer(&mut self) -> Answer {
        match self.answers.recv_timeout(SOON) {
            Ok(line) => {
                let answer: Result<Rows, (i32, String)> = serde_json::from_str(&line).expect("an answer");
                answer.map_err(|(code, message)| SqlError { code, message })
            }
            Err(error) => panic!("no answer from {}: {error}", self.name),
        }
    }

    /// The answer to the oldest request without one, if it is there already.
    pub fn answer_so_far(&mut self) -> Option<Answer> {
        let line = self.answers.try_recv().ok()?;
        let answer: Result<Rows, (i32, String)> = serde_json::from_str(&line).expect("an answer");
        Some(answer.map_err(|(code, message)| SqlError { code, message }))
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Whether it stands still at this moment.
    pub fn is_stopped(&self) -> bool {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.child.id())).unwrap_or_default();
        stat.rsplit(") ").next().and_then(|rest| rest.chars().next()) == Some('T')
    }

    fn ask(&mut self, request: &Request) -> Answer {
        self.say(request);
        self.answer()
    }

    pub fn open(&mut self, name: &str, database: &Path, opener: &Opener) -> Answer {
        self.ask(&Request::Open { name: name.into(), opener: opener.clone(), database: database.to_owned() })
    }
    pub fn close(&mut self, name: &str) {
        self.ask(&Request::Close { name: name.into() }).expect("closed");
    }
    /// SQL on the connection `db`.
    pub fn sql(&mut self, text: &str) -> Answer {
        self.sql_on("db", text)
    }
    pub fn sql_on(&mut self, name: &str, text: &str) -> Answer {
        self.ask(&Request::Sql { name: name.into(), text: text.into() })
    }
    /// SQL on this connection's last way, in a thread of its own that stands still at the point until [`Puppet::lets_go`]. Its
    /// answer is asked for later.
    pub fn holds_in(&mut self, point: &str, name: &str, text: &str) {
        self.stops_at(&[&format!("hold {point}")]);
        self.say(&Request::Beside { name: name.into(), text: text.into() });
        super::until(&format!("{} to hold at {point}", self.name), || self.is_held(point));
    }
    /// Whether a thread of it stands still at the point.
    pub fn is_held(&self, point: &str) -> bool {
        self.sign(point).exists()
    }
    pub fn lets_go(&self, point: &str) {
        std::fs::remove_file(self.sign(point)).expect("it was held");
    }
    fn sign(&self, point: &str) -> PathBuf {
        self.schedule.with_added_extension(point).with_added_extension("held")
    }
    /// SQL whose answer is asked for later.
    pub fn begin(&mut self, text: &str) {
        self.say(&Request::Sql { name: "db".into(), text: text.into() });
    }
    /// SQL that must work.
    pub fn ok(&mut self, text: &str) -> Rows {
        self.sql(text).unwrap_or_else(|error| panic!("{}: {text}: {error}", self.name))
    }

    /// Before anything is opened: see [`super::trace`].
    pub fn trace(&mut self) {
        self.ask(&Request::Trace).expect("traced");
    }
    pub fn trail(&mut self) -> super::trace::Trail {
        self.ask(&Request::Trail).expect("a trail")
    }

    /// From here on its child obeys; [`Puppet::switch`] goes to and fro.
    pub fn fork(&mut self) {
        self.ask(&Request::Fork).expect("forked");
    }
    pub fn switch(&mut self) {
        // The one who wakes answers.
        self.ask(&Request::Switch).expect("switched");
    }

    /// The points at which it stops from now on, in this order.
    pub fn stops_at(&self, points: &[&str]) {
        let text: String = points.iter().map(|point| format!("{point}\n")).collect();
        std::fs::write(&self.schedule, text).expect("the schedule is written");
    }
    /// Waits until it stands still.
    pub fn wait_stopped(&mut self) {
        let stat = format!("/proc/{}/stat", self.child.id());
        let (name, answers) = (self.name, &self.answers);
        super::until(&format!("{name} to stand still"), || {
            let stat = std::fs::read_to_string(&stat).unwrap_or_default();
            let state = stat.rsplit(") ").next().and_then(|rest| rest.chars().next());
            assert!(!matches!(state, None | Some('Z' | 'X')), "{name} died");
            if let Ok(answer) = answers.try_recv() {
                panic!("{name} answered instead of standing still: {answer}");
            }
            state == Some('T')
        });
    }
    /// SQL in the middle of which it stops at these points; returns when it stands at the first.
    pub fn stops_in(&mut self, points: &[&str], text: &str) {
        self.stops_at(points);
        self.begin(text);
        self.wait_stopped();
    }
    pub fn freeze(&mut self) {
        self.signal(libc::SIGSTOP);
        self.wait_stopped();
    }
    pub fn thaw(&self) {
        self.signal(libc::SIGCONT);
    }
    /// Its clock stands still until [`Puppet::clock_goes`], as that of a virtual machine that was frozen whole.
    pub fn clock_stops(&self) {
        std::fs::write(&self.clock, "").expect("the clock's file is written");
    }
    pub fn clock_goes(&self) {
        let _ = std::fs::remove_file(&self.clock);
    }
    fn signal(&self, signal: i32) {
        unsafe { libc::kill(self.child.id() as i32, signal) };
    }
    /// SIGKILL, and waits until it is dead.
    pub fn kill(mut self) {
        self.signal(libc::SIGKILL);
        let status = self.child.wait().expect("a child can be waited for");
        assert_eq!(status.signal(), Some(libc::SIGKILL), "{} was dead before", self.name);
    }
}

impl Drop for Puppet {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
