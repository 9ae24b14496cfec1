//! Processes that are stepped from one system call to the next (ptrace), and killed, frozen or lied to at any of them.
//!
//! A child is forked, so its process must have a single thread: see [`super::alone`]. It prepares what it needs, calls
//! [`begin`], and from there on its parent sees each system call of that thread before it is carried out, until [`end`].
//! Threads that the child starts are not stepped; a kill or a freeze takes them along.

use std::fs::File;
use std::io::{BufRead, BufReader, Read, Write};
use std::os::fd::{FromRawFd, OwnedFd};
use std::os::unix::fs::FileExt;

use super::regs;

/// Argument of a harmless system call by which the child says that what is to be stepped is over.
const END: u64 = 0x0063_6f72_645f_656e;
/// A child that hangs is ended by this, in seconds.
const CHILD_LIMIT: u32 = 60;

/// In the child: from here on its parent sees each system call of this thread.
pub fn begin() {
    // SAFETY: plain calls; the parent waits for the stop.
    unsafe {
        assert_eq!(libc::ptrace(libc::PTRACE_TRACEME, 0, 0, 0), 0, "{}", std::io::Error::last_os_error());
        libc::raise(libc::SIGSTOP);
    }
}

/// In the child: what is to be stepped is over.
pub fn end() {
    // SAFETY: no such option exists; the call fails and changes nothing.
    unsafe { libc::syscall(libc::SYS_prctl, END, 0, 0, 0, 0) };
}

/// Why nothing can be stepped here, if so.
pub fn unable() -> Option<String> {
    if !regs::KNOWN {
        return Some("system calls are stepped on Linux on x86_64 and aarch64 only".to_owned());
    }
    // SAFETY: the child makes two calls and ends.
    let status = unsafe {
        let pid = libc::fork();
        if pid == 0 {
            libc::_exit(i32::from(libc::ptrace(libc::PTRACE_TRACEME, 0, 0, 0) != 0));
        }
        let mut status = 0;
        libc::waitpid(pid, &mut status, 0);
        status
    };
    (status != 0).then(|| "ptrace is not permitted here".to_owned())
}

/// One system call, before it is carried out.
#[derive(Clone, Copy, Debug)]
pub struct Call {
    pub number: i64,
    pub args: [u64; 6],
}

/// The child's side of the two pipes to its parent.
pub struct Mouth {
    says: File,
    hears: File,
}

impl Mouth {
    /// One line, in one write: a kill cannot tear it.
    pub fn say(&mut self, line: &str) {
        let _ = self.says.write_all(format!("{}\n", line.replace('\n', " ")).as_bytes());
    }
    /// Waits for [`Child::go`], or for the parent's end.
    pub fn wait(&mut self) {
        let _ = self.hears.read(&mut [0]);
    }
}

/// A forked child, as its parent sees it. Killed on drop.
pub struct Child {
    pid: i32,
    says: BufReader<File>,
    tells: File,
    /// Stopped before a call, which is not carried out yet.
    before_call: bool,
    /// How it ended, once it did.
    status: Option<i32>,
}

impl Child {
    /// Forks; the child runs `act` and ends without any of the harness's exit handlers.
    pub fn fork(act: impl FnOnce(&mut Mouth)) -> Child {
        let (says, mouth) = pipe();
        let (ear, tells) = pipe();
        // SAFETY: this process has one thread, so the child may do anything.
        match unsafe { libc::fork() } {
            0 => {
                drop((says, tells));
                // SAFETY: plain calls. A parent that fails must leave nobody behind, nor wait for ever.
                unsafe {
                    libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL);
                    libc::alarm(CHILD_LIMIT);
                }
                let mut mouth = Mouth { says: mouth, hears: ear };
                let ended = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| act(&mut mouth)));
                // SAFETY: ends the child here and now.
                unsafe { libc::_exit(if ended.is_ok() { 0 } else { 101 }) }
            }
            pid => {
                assert!(pid > 0, "fork: {}", std::io::Error::last_os_error());
                Child { pid, says: BufReader::new(says), tells, before_call: false, status: None }
            }
        }
    }

    /// The same, and waits until the child has called [`begin`]; fails with what it said if it did not get there.
    pub fn stepped(act: impl FnOnce(&mut Mouth)) -> Child {
        let mut child = Child::fork(act);
        match child.wait_for_change() {
            Some(libc::SIGSTOP) => {}
            other => panic!("the child did not get ready: {other:?} {:?}", child.end()),
        }
        let options = libc::PTRACE_O_TRACESYSGOOD | libc::PTRACE_O_EXITKILL;
        // SAFETY: our own child, stopped.
        let set = unsafe { libc::ptrace(libc::PTRACE_SETOPTIONS, child.pid, 0, options) };
        assert_eq!(set, 0, "PTRACE_SETOPTIONS: {}", std::io::Error::last_os_error());
        child
    }

    /// The signal that stopped it, or `None` if it is gone.
    fn wait_for_change(&mut self) -> Option<i32> {
        loop {
            let mut status = 0;
            // SAFETY: our own child.
            let got = unsafe { libc::waitpid(self.pid, &mut status, libc::__WALL) };
            if got == self.pid {
                if libc::WIFSTOPPED(status) {
                    return Some(libc::WSTOPSIG(status));
                }
                self.status = Some(status);
                return None;
            }
            let error = std::io::Error::last_os_error();
            assert_eq!(error.raw_os_error(), Some(libc::EINTR), "waitpid: {error}");
        }
    }

    /// Lets it go on to the next begin or end of a system call; false if it is gone.
    fn step(&mut self) -> bool {
        let mut signal = 0;
        loop {
            // SAFETY: our own child, stopped.
            unsafe { libc::ptrace(libc::PTRACE_SYSCALL, self.pid, 0, signal) };
            match self.wait_for_change() {
                None => return false,
                Some(stop) if stop == libc::SIGTRAP | 0x80 => return true,
                Some(other) => signal = other,
            }
        }
    }

    /// Carries the present call out and stops before the next; `None` when the child says [`end`], or is gone.
    pub fn next_call(&mut self) -> Option<Call> {
        if self.before_call {
            self.before_call = false;
            if !self.step() {
                return None;
            }
        }
        if !self.step() {
            return None;
        }
        self.before_call = true;
        let call = regs::call(self.pid);
        (call.number != libc::SYS_prctl || call.args[0] != END).then_some(call)
    }

    /// Carries calls out until `wanted` holds of the next one.
    pub fn run_to(&mut self, mut wanted: impl FnMut(&Child, &Call) -> bool) -> Option<Call> {
        loop {
            let call = self.next_call()?;
            if wanted(self, &call) {
                return Some(call);
            }
        }
    }

    /// The present call is not carried out and returns this error.
    pub fn refuse(&mut self, errno: i32) {
        regs::skip(self.pid);
        self.lie(errno);
    }

    /// The present call is carried out, and all the same returns this error.
    pub fn lie(&mut self, errno: i32) {
        assert!(std::mem::take(&mut self.before_call), "a call is under way");
        if self.step() {
            regs::answer(self.pid, -i64::from(errno));
        }
    }

    /// From here on it runs by itself.
    pub fn release(&mut self) {
        // SAFETY: our own child, stopped.
        unsafe { libc::ptrace(libc::PTRACE_DETACH, self.pid, 0, 0) };
    }

    /// What a descriptor of the child leads to.
    pub fn descriptor(&self, fd: u64) -> String {
        let link = std::fs::read_link(format!("/proc/{}/fd/{fd}", self.pid));
        link.map(|path| path.to_string_lossy().into_owned()).unwrap_or_default()
    }

    /// A text in the child's memory.
    pub fn text(&self, address: u64) -> String {
        let mut bytes = vec![0; 512];
        let read = File::open(format!("/proc/{}/mem", self.pid)).and_then(|memory| memory.read_at(&mut bytes, address));
        bytes.truncate(read.unwrap_or(0));
        let text = bytes.split(|byte| *byte == 0).next().unwrap_or_default();
        String::from_utf8_lossy(text).into_owned()
    }

    /// SIGKILL, all its threads; returns when it is gone, with what it had said and not yet been asked for.
    pub fn kill(mut self) -> Vec<String> {
        // SAFETY: our own child.
        unsafe { libc::kill(self.pid, libc::SIGKILL) };
        while self.status.is_none() && self.wait_for_change().is_some() {}
        self.rest()
    }

    /// Stops all of it, wherever each thread is; returns when all stand still.
    pub fn freeze(&self) {
        // SAFETY: our own child.
        unsafe { libc::kill(self.pid, libc::SIGSTOP) };
        super::super::until("a child to stand still", || {
            let tasks = std::fs::read_dir(format!("/proc/{}/task", self.pid)).expect("the child's threads");
            tasks.flatten().all(|task| {
                let stat = std::fs::read_to_string(task.path().join("stat")).unwrap_or_default();
                stat.rsplit(") ").next().is_some_and(|state| state.starts_with(['T', 't']))
            })
        });
    }

    /// The next line it says; empty at its end.
    pub fn hear(&mut self) -> String {
        let mut line = String::new();
        let _ = self.says.read_line(&mut line);
        line.trim_end().to_owned()
    }

    /// Lets it out of [`Mouth::wait`].
    pub fn go(&mut self) {
        let _ = self.tells.write_all(b"g");
    }

    /// Waits for its end; the lines it said, or what was wrong with it.
    pub fn end(mut self) -> Result<Vec<String>, String> {
        while self.status.is_none() && self.wait_for_change().is_some() {}
        let said = self.rest();
        match self.status {
            Some(0) => Ok(said),
            status => Err(format!("the child ended with wait status {status:?}: {said:?}")),
        }
    }

    fn rest(&mut self) -> Vec<String> {
        (&mut self.says).lines().map_while(Result::ok).collect()
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        if self.status.is_none() {
            // SAFETY: our own child, not yet waited for.
            unsafe { libc::kill(self.pid, libc::SIGKILL) };
            while self.status.is_none() && self.wait_for_change().is_some() {}
        }
    }
}

fn pipe() -> (File, File) {
    let mut ends = [0; 2];
    // SAFETY: room for two descriptors, which become ours.
    unsafe {
        assert_eq!(libc::pipe2(ends.as_mut_ptr(), libc::O_CLOEXEC), 0);
        (File::from(OwnedFd::from_raw_fd(ends[0])), File::from(OwnedFd::from_raw_fd(ends[1])))
    }
}
