//! Judging another process of this host by its liveness file.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use rustix::fs::{FlockOperation, Mode, OFlags};
use rustix::io::Errno;

use super::{Liveness, Process, identity};
use crate::storage::kind;

/// More than the longest description that a process writes.
const CONTENTS_LIMIT: u64 = 8 * 1024;

/// Whether `process` is provably dead.
pub fn judge(process: &Process) -> Liveness {
    judge_as(&identity::this_process(), process)
}

/// As `me` sees it. Testers take the lock shared, so they do not see each other.
fn judge_as(me: &Process, process: &Process) -> Liveness {
    let same_host = process.boot_id == me.boot_id && process.pid_namespace == me.pid_namespace;
    let provable = ![&process.boot_id, &process.pid_namespace, &process.liveness].into_iter().any(String::is_empty);
    if !same_host || !provable {
        return Liveness::Unknown;
    }
    if process.pid == me.pid && process.liveness == me.liveness {
        return Liveness::Alive;
    }
    let Some(file) = liveness_file_of(process) else {
        return Liveness::Unknown;
    };
    match try_shared(&file) {
        Ok(()) => Liveness::Dead,
        Err(Errno::AGAIN) => Liveness::Alive,
        Err(_) => Liveness::Unknown,
    }
}

/// Takes the lock shared, which only the owner's exclusive one forbids. Given up when the file is closed.
pub(super) fn try_shared(file: &File) -> rustix::io::Result<()> {
    rustix::io::retry_on_intr(|| rustix::fs::flock(file, FlockOperation::NonBlockingLockShared))
}

/// The open file, if it is what that process would have written: a beat file may say anything, and some other program's
/// free lock proves nothing.
fn liveness_file_of(process: &Process) -> Option<File> {
    let path = Path::new(&process.liveness);
    if !path.is_absolute() || path.extension().is_none_or(|extension| extension != "alive") {
        return None;
    }
    let file = open(path)?;
    let written = read(&file)?;
    let is_its_own = written.pid == process.pid
        && written.liveness == process.liveness
        && written.boot_id == process.boot_id
        && written.pid_namespace == process.pid_namespace;
    (is_its_own && kind::is_local(&file, path)).then_some(file)
}

/// Opens a regular file without following a link or waiting for anything.
pub(super) fn open(path: &Path) -> Option<File> {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let file = File::from(rustix::io::retry_on_intr(|| rustix::fs::open(path, flags, Mode::empty())).ok()?);
    file.metadata().is_ok_and(|found| found.is_file()).then_some(file)
}

/// What the owner has written into it.
pub(super) fn read(file: &File) -> Option<Process> {
    let mut contents = Vec::new();
    file.take(CONTENTS_LIMIT).read_to_end(&mut contents).ok()?;
    serde_json::from_slice(&contents).ok()
}

#[cfg(test)]
#[path = "judge_tests.rs"]
mod tests;
