//! Programs with other copies of SQLite, scripted step by step: `tests/hosts/driver` and `tests/hosts/driver.py`.

use super::bank::{Rows, Sql, SqlError};
use super::{SOON, run, target};
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::OnceLock;
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::Duration;

/// A bundled SQLite under `tests/hosts`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sqlite {
    /// 3.25.2, below what the extension supports.
    BelowFloor,
    /// 3.26.0, the oldest supported.
    Floor,
    /// 3.38.2.
    Middle,
    /// 3.54.1.
    Newest,
}

impl Sqlite {
    pub const SUPPORTED: [Sqlite; 3] = [Sqlite::Floor, Sqlite::Middle, Sqlite::Newest];

    pub fn version(self) -> &'static str {
        match self {
            Sqlite::BelowFloor => "3.25.2",
            Sqlite::Floor => "3.26.0",
            Sqlite::Middle => "3.38.2",
            Sqlite::Newest => "3.54.1",
        }
    }

    /// The shared object that holds it, built on first use.
    fn library(self) -> PathBuf {
        static BUILT: [OnceLock<PathBuf>; 4] = [const { OnceLock::new() }; 4];
        let package = match self {
            Sqlite::BelowFloor => "v3_25",
            Sqlite::Floor => "v3_26",
            Sqlite::Middle => "v3_38",
            Sqlite::Newest => "v3_54",
        };
        BUILT[self as usize].get_or_init(|| build(package).join(format!("libsqlite_{package}.so"))).clone()
    }
}

fn driver() -> PathBuf {
    static BUILT: OnceLock<PathBuf> = OnceLock::new();
    BUILT.get_or_init(|| build("driver").join("driver")).clone()
}

/// The driver, and the library with this SQLite, for who starts them himself.
pub fn programs(sqlite: Sqlite) -> (PathBuf, PathBuf) {
    (driver(), sqlite.library())
}

fn hosts() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/hosts")
}

/// Builds one package of `tests/hosts` in `target/hosts`; returns the folder of the result. One test process at a time.
fn build(package: &str) -> PathBuf {
    let folder = target().join("hosts");
    std::fs::create_dir_all(&folder).expect("target/hosts");
    let lock = std::fs::File::create(folder.join("build.lock")).expect("target/hosts/build.lock");
    lock.lock().expect("a file lock in target/hosts");
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or("cargo".into()));
    cargo.args(["build", "--quiet", "--locked", "--manifest-path"]);
    cargo.arg(hosts().join(package).join("Cargo.toml")).arg("--target-dir").arg(&folder);
    // What cargo set for the outer build is not meant for this one.
    for name in ["CARGO_BUILD_TARGET", "CARGO_BUILD_RUSTFLAGS", "CARGO_ENCODED_RUSTFLAGS", "RUSTFLAGS"] {
        cargo.env_remove(name);
    }
    run(&mut cargo, Duration::from_secs(600)).ok();
    folder.join("debug")
}

/// What a host said to one request.
#[derive(Debug)]
pub struct Answer {
    pub request: String,
    pub rows: Rows,
    /// The text after `ok`, or code and message of the error.
    pub result: Result<String, SqlError>,
}

impl Answer {
    /// Rows of a request that must have worked.
    pub fn rows(self) -> Rows {
        self.ok();
        self.rows
    }
    /// The first column of the first row.
    pub fn value(self) -> String {
        let request = self.request.clone();
        let rows = self.rows();
        rows.into_iter().flatten().next().unwrap_or_else(|| panic!("{request}: no row"))
    }
    /// The text of a request that must have worked.
    pub fn ok(&self) -> &str {
        match &self.result {
            Ok(text) => text,
            Err(error) => panic!("{}: {error}", self.request),
        }
    }
    /// The error of a request that must have failed.
    pub fn error(&self) -> &SqlError {
        match &self.result {
            Ok(text) => panic!("{}: should have failed, said ok {text} {:?}", self.request, self.rows),
            Err(error) => error,
        }
    }
}

pub struct Host {
    child: Child,
    stdin: ChildStdin,
    lines: Receiver<String>,
    pub label: String,
}

impl Host {
    /// A process with one copy of SQLite.
    pub fn start(sqlite: Sqlite) -> Host {
        Host::with(&[("a", sqlite)], &[])
    }

    /// A process with two: requests to the second begin with `b:`.
    pub fn two(a: Sqlite, b: Sqlite) -> Host {
        Host::with(&[("a", a), ("b", b)], &[])
    }

    /// A process with these copies, each under its prefix, and these variables in its environment.
    pub fn with(copies: &[(&str, Sqlite)], env: &[(&str, &str)]) -> Host {
        let mut command = Command::new(driver());
        for (name, sqlite) in copies {
            command.arg(format!("{name}={}", sqlite.library().display()));
        }
        command.envs(env.iter().copied());
        let versions: Vec<&str> = copies.iter().map(|(_, sqlite)| sqlite.version()).collect();
        let mut host = Host::spawn(command, versions.join("+"));
        for (name, sqlite) in copies {
            assert_eq!(host.call(&[&format!("{name}:version")]).ok(), sqlite.version());
        }
        host
    }

    /// The distribution's Python, whose sqlite3 module loads extensions. Ask [`super::have`] first.
    pub fn python(env: &[(&str, &str)]) -> Host {
        let mut command = Command::new("/usr/bin/python3");
        command.arg("-E").arg(hosts().join("driver.py")).envs(env.iter().copied());
        Host::spawn(command, "python3".into())
    }

    fn spawn(mut command: Command, label: String) -> Host {
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().unwrap_or_else(|e| panic!("{command:?}: {e}"));
        let stdout = BufReader::new(child.stdout.take().expect("piped"));
        let stdin = child.stdin.take().expect("piped");
        let (send, lines) = channel();
        std::thread::spawn(move || {
            for line in stdout.split(b'\n').map_while(Result::ok) {
                let _ = send.send(String::from_utf8_lossy(&line).into_owned());
            }
        });
        Host { child, stdin, lines, label }
    }

    /// Sends one request and waits for its answer; no answer fails the test with what was sent.
    pub fn call(&mut self, fields: &[&str]) -> Answer {
        self.send(fields);
        self.answer(fields)
    }

    /// Sends a request without waiting, so that two hosts may work at once; [`Host::answer`] takes the answer.
    pub fn send(&mut self, fields: &[&str]) {
        let line = fields.iter().map(|field| escape(field)).collect::<Vec<_>>().join("\t") + "\n";
        let sent = self.stdin.write_all(line.as_bytes()).and_then(|()| self.stdin.flush());
        sent.unwrap_or_else(|e| panic!("{} is gone ({e}) at: {fields:?}", self.label));
    }

    /// The answer to a request sent before.
    pub fn answer(&mut self, fields: &[&str]) -> Answer {
        let request = format!("{}: {}", self.label, fields.join(" "));
        let mut rows = Rows::new();
        let mut result = None;
        loop {
            let line = match self.lines.recv_timeout(SOON) {
                Ok(line) => line,
                Err(RecvTimeoutError::Timeout) => panic!("no answer for {SOON:?} to {request}"),
                Err(RecvTimeoutError::Disconnected) => {
                    panic!("the host ended ({}) at {request}", self.wait())
                }
            };
            let fields: Vec<String> = line.split('\t').map(unescape).collect();
            match (fields[0].as_str(), &fields[1..]) {
                ("=", values) => rows.push(values.to_vec()),
                ("ok", [text]) => result = Some(Ok(text.clone())),
                ("error", [code, message]) => {
                    let code = code.parse().expect("a number");
                    result = Some(Err(SqlError { code, message: message.clone() }));
                }
                (".", []) => {
                    return Answer { request, rows, result: result.expect("ok or error before the dot") };
                }
                _ => panic!("{request}: unexpected line {line:?}"),
            }
        }
    }

    pub fn load(&mut self, extension: &Path) -> Answer {
        self.call(&["load", path(extension)])
    }
    pub fn open(&mut self, name: &str, uri: &str) -> Answer {
        self.call(&["open", name, uri])
    }
    pub fn exec(&mut self, name: &str, sql: &str) -> Answer {
        self.call(&["exec", name, sql])
    }
    pub fn close(&mut self, name: &str) -> Answer {
        self.call(&["close", name])
    }

    /// The registered VFSes: name, szOsFile, mxPathname, version, `default` or nothing.
    pub fn vfs(&mut self) -> Rows {
        self.call(&["vfs"]).rows()
    }
    /// The name of the default VFS, and how many are called `coord`.
    pub fn vfs_default_and_coords(&mut self) -> (String, usize) {
        let rows = self.vfs();
        (rows[0][0].clone(), rows.iter().filter(|row| row[0] == "coord").count())
    }

    pub fn pid(&self) -> i32 {
        self.child.id() as i32
    }
    pub fn signal(&self, signal: i32) {
        assert_eq!(unsafe { libc::kill(self.pid(), signal) }, 0, "{} is gone", self.label);
    }
    /// Kills it at once and waits until it is gone.
    pub fn kill(mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
    /// Ends it as a program ends that leaves its connections open: destructors and atexit handlers run.
    pub fn end(mut self) -> std::process::ExitStatus {
        self.call(&["return"]).ok();
        self.wait()
    }
    /// Waits until it is gone by itself.
    pub fn wait(&mut self) -> std::process::ExitStatus {
        let mut status = None;
        super::until("the host's end", || {
            status = self.child.try_wait().expect("a child can be waited for");
            status.is_some()
        });
        status.expect("just seen")
    }

    /// One of its connections, for the bank.
    pub fn connection<'a>(&'a mut self, name: &'a str) -> On<'a> {
        On(self, name)
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A connection in a host; a name with `b:` before it is one of the second copy.
pub struct On<'a>(&'a mut Host, &'a str);

impl Sql for On<'_> {
    fn sql(&mut self, sql: &str) -> Result<Rows, SqlError> {
        let (command, name) = match self.1.split_once(':') {
            Some((copy, name)) => (format!("{copy}:exec"), name),
            None => ("exec".to_owned(), self.1),
        };
        let answer = self.0.call(&[&command, name, sql]);
        answer.result.map(|_| answer.rows)
    }
}

/// A path as a request has it.
pub fn path(path: &Path) -> &str {
    path.to_str().expect("test paths are UTF-8")
}

fn escape(text: &str) -> String {
    text.replace('\\', "\\\\").replace('\t', "\\t").replace('\n', "\\n")
}

fn unescape(field: &str) -> String {
    let mut text = String::with_capacity(field.len());
    let mut chars = field.chars();
    while let Some(c) = chars.next() {
        match (c, chars.clone().next()) {
            ('\\', Some(next)) => {
                chars.next();
                match next {
                    't' => text.push('\t'),
                    'n' => text.push('\n'),
                    '0' => text.push_str("NULL"),
                    other => text.push(other),
                }
            }
            _ => text.push(c),
        }
    }
    text
}
