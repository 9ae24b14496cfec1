//! A process of its own that opens a database, under another user, with another environment or under limits, and does what
//! it is told, one statement after the other.
//!
//! It is the test binary itself, run again, so every test file that wants visitors has
//!
//! ```ignore
//! #[test]
//! fn visitor_entry() { common::visitor::entry(); }
//! ```

use super::bank::{Rows, Sql, SqlError};
use super::opener::Opener;
use super::{SOON, until};
use std::io::{BufRead, BufReader, Write};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};

const IN: &str = "COORD_VISITOR";
/// Before a line of the visitor's: the harness prints on the same stream.
const MARK: &str = "@@ ";

/// Who visits, and how.
#[derive(Clone, Debug, Default)]
pub struct Visit {
    /// User, its group, and a further group.
    pub user: Option<(u32, u32, u32)>,
    pub env: Vec<(String, String)>,
    /// No file may grow beyond this.
    pub file_size: Option<u64>,
}

impl Visit {
    pub fn of(user: u32, group: u32, further: u32) -> Visit {
        Visit { user: Some((user, group, further)), ..Visit::default() }
    }

    pub fn env(mut self, name: &str, value: &str) -> Visit {
        self.env.push((name.into(), value.into()));
        self
    }

    /// Starts the process. Another user gets a copy of the extension in `shared`, as the build may lie where only we can read.
    pub fn start(&self, shared: &Path) -> Visitor {
        let mut command = Command::new("/proc/self/exe");
        command.args(["--exact", "visitor_entry", "--nocapture", "--test-threads=1"]).env(IN, "1");
        command.envs(self.env.iter().cloned());
        command.env_remove("XDG_RUNTIME_DIR").current_dir("/");
        if self.user.is_some() {
            command.env("COORD_TEST_EXTENSION", readable_extension(shared));
        }
        let (user, limit) = (self.user, self.file_size);
        // SAFETY: only system calls between fork and exec.
        unsafe {
            command.pre_exec(move || {
                let check = |code: i32| if code == 0 { Ok(()) } else { Err(std::io::Error::last_os_error()) };
                if let Some(bytes) = limit {
                    libc::signal(libc::SIGXFSZ, libc::SIG_IGN);
                    let limit = libc::rlimit { rlim_cur: bytes, rlim_max: bytes };
                    check(libc::setrlimit(libc::RLIMIT_FSIZE, &limit))?;
                }
                if let Some((user, group, further)) = user {
                    check(libc::setgroups(1, &further))?;
                    check(libc::setresgid(group, group, group))?;
                    check(libc::setresuid(user, user, user))?;
                }
                Ok(())
            });
        }
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::inherit());
        let mut child = command.spawn().unwrap_or_else(|e| panic!("{command:?}: {e}"));
        let stdout = BufReader::new(child.stdout.take().expect("piped"));
        let (send, lines) = channel();
        std::thread::spawn(move || {
            for line in stdout.lines().map_while(Result::ok) {
                // The harness may have begun the line.
                if let Some((_, answer)) = line.split_once(MARK) {
                    let _ = send.send(answer.to_string());
                }
            }
        });
        Visitor { stdin: child.stdin.take().expect("piped"), child, lines }
    }
}

fn readable_extension(shared: &Path) -> PathBuf {
    use std::os::unix::fs::PermissionsExt;
    let copy = shared.join("libcoord.so");
    if !copy.exists() {
        std::fs::copy(super::extension(), &copy).expect("the extension can be copied");
        std::fs::set_permissions(&copy, std::fs::Permissions::from_mode(0o755)).expect("our own file");
    }
    copy
}

pub struct Visitor {
    child: Child,
    stdin: ChildStdin,
    lines: Receiver<String>,
}

impl Visitor {
    /// A plain one, same user.
    pub fn new(dir: &Path) -> Visitor {
        Visit::default().start(dir)
    }

    fn ask(&mut self, what: &str, text: &str) -> Result<Rows, SqlError> {
        self.send(what, text);
        self.answer()
    }

    fn send(&mut self, what: &str, text: &str) {
        let line = serde_json::json!([what, text]).to_string() + "\n";
        self.stdin.write_all(line.as_bytes()).expect("the visitor lives");
    }

    /// Lets it begin a statement, without waiting for its end.
    pub fn begin(&mut self, sql: &str) {
        self.send("sql", sql);
    }

    /// The answer to what was begun.
    pub fn answer(&mut self) -> Result<Rows, SqlError> {
        let answer = self.lines.recv_timeout(SOON);
        let answer = answer.unwrap_or_else(|e| panic!("the visitor does not answer: {e}"));
        let answer: (Rows, i32, String) = serde_json::from_str(&answer).expect("an answer");
        match answer {
            (rows, 0, _) => Ok(rows),
            (_, code, message) => Err(SqlError { code, message }),
        }
    }

    /// Opens `path` through coord with these URI parameters, in place of what was open before.
    pub fn open(&mut self, path: &Path, parameters: &str) -> Result<(), SqlError> {
        self.ask("open", &Opener::coord(parameters).uri(path)).map(drop)
    }

    /// Changes its umask, an octal number.
    pub fn umask(&mut self, mode: &str) {
        self.ask("umask", mode).expect("it is a number");
    }

    /// What coord has to say of this connection's last error.
    pub fn complaint(&mut self) -> String {
        super::hostile::complaint(self)
    }

    /// Waits until a stop point has frozen it.
    pub fn until_stopped(&self) {
        let stat = format!("/proc/{}/stat", self.child.id());
        until("the visitor at its stop point", || {
            let stat = std::fs::read_to_string(&stat).unwrap_or_default();
            stat.rsplit_once(") ").is_some_and(|(_, rest)| rest.starts_with('T'))
        });
    }

    pub fn go_on(&self) {
        // SAFETY: a child of ours.
        unsafe { libc::kill(self.child.id() as i32, libc::SIGCONT) };
    }

    pub fn is_alive(&mut self) -> bool {
        self.child.try_wait().is_ok_and(|status| status.is_none())
    }

    /// Ends it as a program ends.
    pub fn end(mut self) {
        let _ = self.ask("end", "");
        let child = &mut self.child;
        until("the visitor's end", || child.try_wait().is_ok_and(|status| status.is_some()));
    }

    pub fn kill(mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Sql for Visitor {
    fn sql(&mut self, sql: &str) -> Result<Rows, SqlError> {
        self.ask("sql", sql)
    }
}

impl Drop for Visitor {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The visitor's side.
pub fn entry() {
    if std::env::var_os(IN).is_none() {
        return;
    }
    let loader = rusqlite::Connection::open_in_memory().expect("memory");
    // SAFETY: the library was built from this very source.
    unsafe {
        loader.load_extension_enable().expect("a setting");
        loader.load_extension(super::extension(), None::<&str>).expect("the extension loads");
    }
    let mut connection: Option<rusqlite::Connection> = None;
    for line in std::io::stdin().lock().lines().map_while(Result::ok) {
        let (what, text): (String, String) = serde_json::from_str(&line).expect("a request");
        let result = match (what.as_str(), &mut connection) {
            ("open", _) => {
                drop(connection.take());
                let opened = rusqlite::Connection::open(&text).map_err(super::hostile::sql_error);
                opened.map(|opened| {
                    opened.busy_timeout(std::time::Duration::ZERO).expect("a setting");
                    connection = Some(opened);
                    Rows::new()
                })
            }
            ("sql", Some(connection)) => connection.sql(&text),
            ("umask", _) => {
                // SAFETY: a plain system call, of the thread that does everything here.
                unsafe { libc::umask(u32::from_str_radix(&text, 8).expect("a mode")) };
                Ok(Rows::new())
            }
            ("end", _) => Ok(Rows::new()),
            _ => panic!("{line}"),
        };
        let answer = match result {
            Ok(rows) => serde_json::json!([rows, 0, ""]),
            Err(error) => serde_json::json!([Rows::new(), error.code, error.message]),
        };
        println!("\n{MARK}{answer}");
        if what == "end" {
            drop(connection.take());
            break;
        }
    }
}
