//! System calls of a turn, counted: the process is traced (ptrace), and marks where its turns begin and end by a harmless
//! call. Calls of the thread that takes the turns and of all its other threads are counted apart.

use super::fleet;
use super::workload::Turn;
use std::collections::BTreeMap;
use std::os::unix::process::CommandExt;
use std::process::Stdio;

/// Turns in one count.
pub const TURNS: u32 = 50;
/// First arguments of a `prctl` that does not exist.
const BEGIN: u64 = 0x0063_6f72_6462;
const END: u64 = 0x0063_6f72_6465;
const PTRACE_GET_SYSCALL_INFO: libc::c_uint = 0x420e;

/// Calls of one turn, on average.
#[derive(Clone, Debug, Default, serde::Serialize)]
pub struct Calls {
    /// Of the thread that takes the turns.
    pub own: f64,
    /// Of the other threads.
    pub others: f64,
    pub syncs: f64,
    pub directory_syncs: f64,
    /// By number, for whoever wants to know.
    pub by_number: BTreeMap<u64, f64>,
}

/// In the traced process.
pub fn begin() {
    mark(BEGIN);
}

pub fn end() {
    mark(END);
}

fn mark(which: u64) {
    // SAFETY: no such option exists; the call fails and changes nothing.
    unsafe { libc::syscall(libc::SYS_prctl, which, 0, 0, 0, 0) };
}

/// `struct ptrace_syscall_info` at the beginning of a call.
#[repr(C)]
#[derive(Default)]
struct Info {
    op: u8,
    pad: [u8; 3],
    arch: u32,
    instruction_pointer: u64,
    stack_pointer: u64,
    number: u64,
    arguments: [u64; 6],
}

const ENTRY: u8 = 1;

/// Counts the calls of one turn.
///
/// # Errors
/// Why nothing can be counted here.
pub fn count(uri: &str, turn: Turn, synchronous: &str) -> Result<Calls, String> {
    let rest = ["--count".to_string(), TURNS.to_string()];
    let mut command = fleet::command(uri, turn, synchronous, 0, &rest)?;
    command.stdin(Stdio::null()).stdout(Stdio::null());
    // SAFETY: one plain call between fork and exec.
    unsafe {
        command.pre_exec(|| match libc::ptrace(libc::PTRACE_TRACEME, 0, 0, 0) {
            0 => Ok(()),
            _ => Err(std::io::Error::last_os_error()),
        });
    }
    let child = command.spawn().map_err(|error| format!("system calls cannot be counted here: {error}"))?;
    let pid = child.id() as i32;
    let mut counter = Counter { pid, marked: None, calls: Calls::default() };
    if let Err(sentence) = counter.follow() {
        if counter.pid != 0 {
            // SAFETY: our own child, not yet waited for to its end.
            unsafe { libc::kill(pid, libc::SIGKILL) };
        }
        return Err(sentence);
    }
    let turns = f64::from(TURNS);
    let calls = counter.calls;
    Ok(Calls {
        own: calls.own / turns,
        others: calls.others / turns,
        syncs: calls.syncs / turns,
        directory_syncs: calls.directory_syncs / turns,
        by_number: calls.by_number.into_iter().map(|(number, count)| (number, count / turns)).collect(),
    })
}

struct Counter {
    /// 0 once it is gone.
    pid: i32,
    /// The thread that takes the turns, while it does.
    marked: Option<i32>,
    calls: Calls,
}

impl Counter {
    /// From the program's first instruction to its end.
    fn follow(&mut self) -> Result<(), String> {
        let mut first = true;
        loop {
            let mut status = 0;
            // SAFETY: our own traced children.
            let thread = unsafe { libc::waitpid(-1, &mut status, libc::__WALL) };
            if thread < 0 {
                return Err(format!("system calls cannot be counted here: {}", std::io::Error::last_os_error()));
            }
            if !libc::WIFSTOPPED(status) {
                if thread != self.pid {
                    continue;
                }
                self.pid = 0;
                return match libc::WIFEXITED(status) && libc::WEXITSTATUS(status) == 0 {
                    true => Ok(()),
                    false => Err(format!("the counted process ended with wait status {status:#x}")),
                };
            }
            let stop = libc::WSTOPSIG(status);
            let mut signal = 0;
            if std::mem::take(&mut first) {
                let options = libc::PTRACE_O_TRACESYSGOOD | libc::PTRACE_O_EXITKILL | libc::PTRACE_O_TRACECLONE;
                // SAFETY: our own child, stopped.
                unsafe { libc::ptrace(libc::PTRACE_SETOPTIONS, thread, 0, options) };
            } else if stop == libc::SIGTRAP | 0x80 {
                self.see(thread);
            } else if stop != libc::SIGTRAP && stop != libc::SIGSTOP {
                signal = stop;
            }
            // SAFETY: our own child's thread, stopped.
            unsafe { libc::ptrace(libc::PTRACE_SYSCALL, thread, 0, signal) };
        }
    }

    fn see(&mut self, thread: i32) {
        let mut info = Info::default();
        // SAFETY: the thread is stopped at a call, and `info` is as large as it says.
        let got = unsafe { libc::ptrace(PTRACE_GET_SYSCALL_INFO, thread, size_of::<Info>(), &raw mut info) };
        if got <= 0 || info.op != ENTRY {
            return;
        }
        if info.number == libc::SYS_prctl as u64 && [BEGIN, END].contains(&info.arguments[0]) {
            self.marked = (info.arguments[0] == BEGIN).then_some(thread);
            return;
        }
        let Some(marked) = self.marked else { return };
        if thread != marked {
            self.calls.others += 1.0;
            return;
        }
        self.calls.own += 1.0;
        *self.calls.by_number.entry(info.number).or_default() += 1.0;
        let number = info.number as i64;
        if number == libc::SYS_fsync || number == libc::SYS_fdatasync {
            self.calls.syncs += 1.0;
            let path = format!("/proc/{}/fd/{}", self.pid, info.arguments[0]);
            if std::fs::metadata(path).is_ok_and(|found| found.is_dir()) {
                self.calls.directory_syncs += 1.0;
            }
        }
    }
}
