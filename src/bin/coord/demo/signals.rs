//! What the demo does to processes: kill, stop, continue; and what is done to it: Ctrl-C.

use rustix::process::{self, Pid, Signal};
use std::io;
use std::sync::atomic::{AtomicBool, Ordering};

static INTERRUPTED: AtomicBool = AtomicBool::new(false);

/// A worker must not outlive the demo, not even one that is stopped: the kernel kills it when its parent ends.
pub fn end_with_parent() {
    #[cfg(any(target_os = "linux", target_os = "android", target_os = "freebsd"))]
    let _ = process::set_parent_process_death_signal(Some(Signal::KILL));
}

pub fn freeze(pid: u32) -> io::Result<()> {
    send(pid, Signal::STOP)
}

pub fn thaw(pid: u32) -> io::Result<()> {
    send(pid, Signal::CONT)
}

fn send(pid: u32, signal: Signal) -> io::Result<()> {
    let pid = i32::try_from(pid).ok().and_then(Pid::from_raw).ok_or(io::ErrorKind::InvalidInput)?;
    Ok(process::kill_process(pid, signal)?)
}

extern "C" fn remember(_signal: libc::c_int) {
    INTERRUPTED.store(true, Ordering::SeqCst);
}

/// From here on SIGINT, SIGTERM and SIGHUP are remembered instead of ending the process, which has children to end
/// and a directory to remove.
pub fn catch_interrupts() {
    for signal in [libc::SIGINT, libc::SIGTERM, libc::SIGHUP] {
        // SAFETY: the handler is an extern "C" function of the right signature that only stores to an atomic.
        unsafe { libc::signal(signal, remember as extern "C" fn(libc::c_int) as libc::sighandler_t) };
    }
}

pub fn interrupted() -> bool {
    INTERRUPTED.load(Ordering::SeqCst)
}
