//! What the integration tests share: the extension just built, directories, commands with a deadline, loud skips.
//!
//! `host` drives programs with other SQLite versions, `bank` is the workload whose sums must hold, `worker` runs it in
//! processes that can be killed and frozen, `scenario` is what crews of them go through, `opener` how any of them opens.

#![allow(dead_code)] // Each test binary uses its own part.

pub mod bank;
#[cfg(target_os = "linux")]
pub mod faults;
pub mod forked;
pub mod host;
pub mod hostile;
pub mod opener;
pub mod puppet;
pub mod scenario;
mod skip;
pub mod stage;
pub mod trace;
pub mod visitor;
pub mod worker;

pub use skip::{skip, target};
use std::io::Read;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

/// How long anything may take that should be done at once. Generous: the machine may be busy.
pub const SOON: Duration = Duration::from_secs(60);

/// The `libcoord.so` that this `cargo test` built, the newest where several lie about.
///
/// A test binary is `target/<profile>/deps/<name>`; cargo puts the library beside it, or one folder up, or both.
/// `COORD_TEST_EXTENSION` names another one: an installed package's, say.
pub fn extension() -> PathBuf {
    if let Some(path) = std::env::var_os("COORD_TEST_EXTENSION") {
        return path.into();
    }
    let deps = deps();
    let candidates = [deps.join("libcoord.so"), deps.with_file_name("libcoord.so")];
    let age = |path: &PathBuf| path.metadata().and_then(|m| m.modified()).ok().map(|time| (time, path.clone()));
    match candidates.iter().filter_map(age).max() {
        Some((_, path)) => path,
        None => panic!(
            "no libcoord.so in {} or above it: the library must be built as a cdylib; run the tests with plain `cargo test`",
            deps.display()
        ),
    }
}

fn deps() -> PathBuf {
    let exe = std::env::current_exe().expect("a test binary knows its path");
    exe.parent().expect("a test binary lies in a folder").to_owned()
}

/// A new directory, gone at the end of the test. `COORD_TEST_DIR` puts it on another filesystem.
pub fn dir() -> tempfile::TempDir {
    let mut builder = tempfile::Builder::new();
    builder.prefix("coord-test-");
    match std::env::var_os("COORD_TEST_DIR") {
        Some(parent) => builder.tempdir_in(parent),
        None => builder.tempdir(),
    }
    .expect("a temporary directory")
}

/// True if the program exists; else the test is skipped, loudly.
pub fn have(program: &str) -> bool {
    let there = Path::new(program).exists();
    if !there {
        skip(&format!("{program} is not installed"));
    }
    there
}

pub struct Ran {
    pub status: ExitStatus,
    pub out: String,
    pub err: String,
}

impl Ran {
    /// The output of a command that must succeed.
    pub fn ok(self) -> String {
        assert!(self.status.success(), "{}\nstdout: {}\nstderr: {}", self.status, self.out, self.err);
        self.out
    }
}

/// Runs a command to its end, stdin empty. Past the deadline its whole process group is killed and the test fails.
pub fn run(command: &mut Command, deadline: Duration) -> Ran {
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).process_group(0);
    let mut child = command.spawn().unwrap_or_else(|e| panic!("{command:?}: {e}"));
    let mut out = collect(child.stdout.take().expect("piped"));
    let mut err = collect(child.stderr.take().expect("piped"));
    let end = Instant::now() + deadline;
    let status = loop {
        if let Some(status) = child.try_wait().expect("a child can be waited for") {
            break status;
        }
        if Instant::now() > end {
            unsafe { libc::kill(-(child.id() as i32), libc::SIGKILL) };
            let _ = child.wait();
            panic!("{command:?} took more than {deadline:?}\nstdout: {}\nstderr: {}", out(), err());
        }
        std::thread::sleep(Duration::from_millis(3));
    };
    Ran { status, out: out(), err: err() }
}

fn collect(mut pipe: impl Read + Send + 'static) -> impl FnMut() -> String {
    let mut thread = Some(std::thread::spawn(move || {
        let mut bytes = Vec::new();
        let _ = pipe.read_to_end(&mut bytes);
        String::from_utf8_lossy(&bytes).into_owned()
    }));
    move || thread.take().map_or(String::new(), |t| t.join().unwrap_or_default())
}

/// Waits until `done` says so, looking every few milliseconds; fails the test with `what` after [`SOON`].
pub fn until(what: &str, mut done: impl FnMut() -> bool) {
    let end = Instant::now() + SOON;
    while !done() {
        assert!(Instant::now() < end, "waited {SOON:?} in vain for: {what}");
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// SplitMix64: a few random choices that a printed seed repeats.
pub struct Rng(u64);

impl Rng {
    /// Seeded by `COORD_TEST_SEED`, else by the clock; printed, and shown by the harness when the test fails.
    pub fn printed() -> Rng {
        let clock = || std::time::UNIX_EPOCH.elapsed().map_or(1, |t| t.as_nanos() as u64);
        let seed = std::env::var("COORD_TEST_SEED").ok().and_then(|s| s.parse().ok()).unwrap_or_else(clock);
        println!("COORD_TEST_SEED={seed}");
        Rng(seed)
    }
    pub fn seeded(seed: u64) -> Rng {
        Rng(seed)
    }
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }
    /// A number below `n`.
    pub fn below(&mut self, n: u64) -> u64 {
        self.next() % n
    }
}
