//! What the demo does to processes: kill, stop, continue.

use rustix::process::{self, Pid, Signal};
use std::io;

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
