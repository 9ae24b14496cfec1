use super::super::{fork_generation, retire, this_process};
use super::*;
use std::io::{BufRead, BufReader, Read, Write};
use std::os::fd::OwnedFd;

/// A forked process, and the pipes to it. Its answers are lines and its end is a byte, as the end of a pipe would not show
/// while children forked by other tests hold copies of it.
struct Child {
    pid: i32,
    says: BufReader<File>,
    end: File,
}

/// Forks; the child runs `act`, says what it returns, and stays until told to end.
fn fork(act: impl FnOnce() -> String + std::panic::UnwindSafe) -> Child {
    // SAFETY: the C library makes its allocator usable in the child of a program with threads; the child touches nothing
    // else that another thread may have held, and leaves by _exit.
    fork_by(|| unsafe { libc::fork() }, act)
}

fn fork_by(split: impl FnOnce() -> i32, act: impl FnOnce() -> String + std::panic::UnwindSafe) -> Child {
    let (says, mut mouth) = pipe();
    let (mut ear, end) = pipe();
    match split() {
        0 => {
            let said = std::panic::catch_unwind(act).unwrap_or_default();
            let _ = mouth.write_all(format!("{said}\n").as_bytes());
            let _ = ear.read(&mut [0]);
            // SAFETY: ends the child at once, without the test harness's exit handlers.
            unsafe { libc::_exit(0) }
        }
        pid => {
            assert!(pid > 0);
            Child { pid, says: BufReader::new(says), end }
        }
    }
}

fn pipe() -> (File, File) {
    let mut ends = [0; 2];
    // SAFETY: room for two descriptors, which become ours.
    unsafe {
        use std::os::fd::FromRawFd;
        assert_eq!(libc::pipe2(ends.as_mut_ptr(), libc::O_CLOEXEC), 0);
        (File::from(OwnedFd::from_raw_fd(ends[0])), File::from(OwnedFd::from_raw_fd(ends[1])))
    }
}

impl Child {
    fn hears<T: serde::de::DeserializeOwned>(&mut self) -> T {
        let mut line = String::new();
        self.says.read_line(&mut line).unwrap();
        serde_json::from_str(&line).unwrap()
    }

    fn ends(mut self) {
        self.end.write_all(b".").unwrap();
        self.reap();
    }

    fn kill(self) {
        // SAFETY: the child has not been waited for, so the pid is still its own.
        unsafe { libc::kill(self.pid, libc::SIGKILL) };
        self.reap();
    }

    fn reap(self) {
        // SAFETY: waits for a child of ours; no status is asked for.
        unsafe { libc::waitpid(self.pid, std::ptr::null_mut(), 0) };
    }
}

fn described() -> String {
    serde_json::to_string(&this_process()).unwrap()
}

#[test]
fn a_live_child_is_alive_and_a_killed_one_dead() {
    let mut child = fork(described);
    let process: Process = child.hears();
    assert_eq!(process.pid, child.pid as u32);
    assert_eq!(judge(&process), Liveness::Alive);
    child.kill();
    assert_eq!(judge(&process), Liveness::Dead);
    // Testing disturbs neither later testers nor those that hold the file tested right now.
    let tester = open(Path::new(&process.liveness)).unwrap();
    try_shared(&tester).unwrap();
    assert_eq!(judge(&process), Liveness::Dead);
    std::fs::remove_file(&process.liveness).unwrap();
    assert_eq!(judge(&process), Liveness::Unknown, "no file, no proof");
}

#[test]
fn a_child_that_ends_well_leaves_no_file() {
    let mut child = fork(|| {
        let text = described();
        retire();
        text
    });
    let process: Process = child.hears();
    assert!(!Path::new(&process.liveness).exists());
    assert_eq!(judge(&process), Liveness::Unknown);
    child.ends();
}

/// The process under test is itself a child, so that it can be killed: it makes an identity, forks, and tells of both. Its
/// child outlives it.
fn parent_and_child(keep_the_lock: bool) -> (Process, Process, u32, Child) {
    let mut parent = fork(move || {
        let own = this_process();
        let kept = keep_the_lock.then(super::super::forks::another_descriptor);
        let mut child = fork(move || {
            // In a child that has no identity of its own yet this must not touch the parent's.
            retire();
            let later = this_process();
            std::mem::forget(kept);
            serde_json::to_string(&(later, fork_generation())).unwrap()
        });
        let (later, generation): (Process, u32) = child.hears();
        assert_eq!(judge(&later), Liveness::Alive);
        std::mem::forget(child);
        serde_json::to_string(&(own, later, generation)).unwrap()
    });
    let (own, later, generation) = parent.hears();
    (own, later, generation, parent)
}

fn clear_up(own: &Process, later: &Process) {
    // SAFETY: the child lives until it is told to end, which nobody does: the pid is still its own.
    unsafe { libc::kill(later.pid as i32, libc::SIGKILL) };
    for path in [&own.liveness, &later.liveness] {
        let _ = std::fs::remove_file(path);
    }
}

#[test]
fn a_forked_child_is_somebody_else_and_does_not_keep_its_parent_alive() {
    let before = fork_generation();
    let (own, later, generation, parent) = parent_and_child(false);
    assert!(own.pid != later.pid && own.liveness != later.liveness);
    assert_eq!(generation, before + 2);
    assert_eq!(judge(&own), Liveness::Alive, "the child's retire left it alone");
    parent.kill();
    assert_eq!(judge(&own), Liveness::Dead);
    assert_eq!(judge(&later), Liveness::Alive);
    clear_up(&own, &later);
}

/// The control: with the guard taken out (a copy of the descriptor that the fork handler does not know of) the child does
/// keep its parent alive.
#[test]
fn a_copy_of_the_descriptor_would_keep_the_parent_alive() {
    let (own, later, _, parent) = parent_and_child(true);
    parent.kill();
    assert_eq!(judge(&own), Liveness::Alive);
    clear_up(&own, &later);
}

#[test]
fn this_process_is_alive_to_itself() {
    assert_eq!(judge(&this_process()), Liveness::Alive);
}

/// A dead process of this host as its file and beat would show it, with the file in a directory of the test.
fn dead_one(dir: &Path) -> Process {
    let path = dir.join("host-1-0.alive");
    let process = Process { pid: 1, liveness: path.to_str().unwrap().into(), ..this_process() };
    std::fs::write(path, serde_json::to_vec(&process).unwrap()).unwrap();
    process
}

#[test]
fn any_doubt_is_unknown() {
    let dir = tempfile::tempdir().unwrap();
    let dead = dead_one(dir.path());
    assert_eq!(judge(&dead), Liveness::Dead, "the control: without a doubt it is dead");
    let doubts = [
        Process { boot_id: "another".into(), ..dead.clone() },
        Process { boot_id: String::new(), ..dead.clone() },
        Process { pid_namespace: "pid:[1]".into(), ..dead.clone() },
        Process { liveness: String::new(), ..dead.clone() },
        Process { liveness: "host-1-0.alive".into(), ..dead.clone() },
        Process { liveness: dir.path().join("none.alive").to_str().unwrap().into(), ..dead.clone() },
        Process { liveness: dir.path().to_str().unwrap().into(), ..dead.clone() },
        Process { pid: 2, ..dead.clone() },
        Process::default(),
    ];
    for doubtful in doubts {
        assert_eq!(judge(&doubtful), Liveness::Unknown, "{doubtful:?}");
    }
    let me = Process { boot_id: String::new(), ..this_process() };
    assert_eq!(judge_as(&me, &Process { boot_id: String::new(), ..dead }), Liveness::Unknown);
}

#[test]
fn a_file_that_its_owner_did_not_write_is_no_proof() {
    let dir = tempfile::tempdir().unwrap();
    let dead = dead_one(dir.path());
    let path = Path::new(&dead.liveness).to_owned();
    let good = std::fs::read(&path).unwrap();
    let moved = dir.path().join("moved");
    let long = [good.as_slice(), &vec![b' '; CONTENTS_LIMIT as usize], b"x"].concat();
    for contents in [&b""[..], b"{}", b"nonsense", &good[..good.len() - 1]] {
        std::fs::write(&path, contents).unwrap();
        assert_eq!(judge(&dead), Liveness::Unknown);
    }
    std::fs::write(&path, &long).unwrap();
    assert_eq!(judge(&dead), Liveness::Dead, "only the first part is read");
    // A link, a FIFO, a directory in its place.
    std::fs::write(&moved, &good).unwrap();
    std::fs::remove_file(&path).unwrap();
    std::os::unix::fs::symlink(&moved, &path).unwrap();
    assert_eq!(judge(&dead), Liveness::Unknown);
    std::fs::remove_file(&path).unwrap();
    rustix::fs::mknodat(rustix::fs::CWD, &path, rustix::fs::FileType::Fifo, Mode::from_raw_mode(0o644), 0).unwrap();
    assert_eq!(judge(&dead), Liveness::Unknown);
    std::fs::remove_file(&path).unwrap();
    std::fs::create_dir(&path).unwrap();
    assert_eq!(judge(&dead), Liveness::Unknown);
}

/// A child made by a raw clone gets no word from the C library; its first look at itself shows it. (Cloned from a fork, which
/// has one thread: nothing looks after the allocator's locks here.)
#[cfg(target_os = "linux")]
#[test]
fn a_child_that_the_fork_handlers_missed_is_noticed_by_its_pid() {
    let before = fork_generation();
    let mut parent = fork(|| {
        let own = this_process();
        // SAFETY: a clone without flags is a fork without the handlers.
        let raw_clone = || unsafe { libc::syscall(libc::SYS_clone, libc::SIGCHLD, 0, 0, 0, 0) as i32 };
        let mut child = fork_by(raw_clone, || serde_json::to_string(&(this_process(), fork_generation())).unwrap());
        let (later, generation): (Process, u32) = child.hears();
        let was_alive = judge(&later) == Liveness::Alive;
        child.kill();
        let is_dead = judge(&later) == Liveness::Dead;
        for path in [&own.liveness, &later.liveness] {
            let _ = std::fs::remove_file(path);
        }
        serde_json::to_string(&(own, later, generation, was_alive, is_dead)).unwrap()
    });
    let (own, later, generation, was_alive, is_dead): (Process, Process, u32, bool, bool) = parent.hears();
    parent.ends();
    assert!(own.pid != later.pid && own.liveness != later.liveness);
    assert_eq!(generation, before + 2);
    assert!(was_alive && is_dead);
}

/// A container may have a clock with another offset, and share this host's directory.
#[cfg(target_os = "linux")]
#[test]
fn what_was_remembered_by_another_clock_begins_anew() {
    const ASKED: &str = "COORD_TEST_ASKS_HOW_LONG";
    const TEST: &str = "storage::liveness::judge::tests::what_was_remembered_by_another_clock_begins_anew";
    if std::env::var_os(ASKED).is_some() {
        println!("KNOWN {}", super::super::known_for("a name", "its state").as_secs());
        return;
    }
    let elsewhere = ["-T", "--boottime", "1000000", "--fork"];
    let unshared = std::process::Command::new("unshare").args(elsewhere).arg("true").output();
    if !unshared.is_ok_and(|ran| ran.status.success()) {
        return crate::storage::skip::skip("no time namespaces here: clocks with other offsets are not tried");
    }
    for (guard, begins) in [("", true), ("own-clock", false)] {
        let dir = tempfile::tempdir().unwrap();
        let known = |program: &str, before: &[&str]| {
            let mut again = std::process::Command::new(program);
            again.args(before).args(["--exact", TEST, "--nocapture"]).env(ASKED, "1");
            again.env("COORD_RUNTIME_DIR", dir.path()).env("COORD_TEST_WITHOUT", guard);
            let said = String::from_utf8(again.output().unwrap().stdout).unwrap();
            let (_, known) = said.split_once("KNOWN ").unwrap_or_else(|| panic!("{said}"));
            known.split_whitespace().next().unwrap().parse::<u64>().unwrap()
        };
        let exe = std::env::current_exe().unwrap();
        let exe = exe.to_str().unwrap();
        assert_eq!(known(exe, &[]), 0);
        assert!(known(exe, &[]) < 1000);
        let there: Vec<&str> = elsewhere.into_iter().chain([exe]).collect();
        assert_eq!(known("unshare", &there) < 1000, begins, "{guard}");
    }
}
