//! Noticing that this process is a fork of the one that made the identity.

use std::sync::atomic::{AtomicBool, AtomicI32, AtomicU32, Ordering};

static GENERATION: AtomicU32 = AtomicU32::new(0);
static WATCHED: AtomicBool = AtomicBool::new(false);

/// Descriptor of the liveness file that holds the lock, or -1. Known here so that a child can close its copy.
static HELD: AtomicI32 = AtomicI32::new(-1);

/// How many forks lie between this process and the one that loaded the library. Whatever was remembered under another number
/// belongs to an ancestor and must be neither used nor given up. One load, no system call.
pub fn fork_generation() -> u32 {
    GENERATION.load(Ordering::Acquire)
}

/// Sees to it that children are told. Cheap after the first call; no lock that a fork could leave held.
pub(crate) fn watch_forks() {
    if WATCHED.swap(true, Ordering::AcqRel) {
        return;
    }
    // SAFETY: the handler calls nothing but close(2) on a descriptor of ours, which is allowed between fork and exec; the C
    // library forgets the handler should this library be unloaded.
    unsafe { libc::pthread_atfork(None, None, Some(in_child)) };
}

/// Runs in a child, right after fork: only async-signal-safe calls.
extern "C" fn in_child() {
    close_held();
    advance();
}

/// From here on everything remembered belongs to an ancestor.
pub(super) fn advance() {
    GENERATION.fetch_add(1, Ordering::AcqRel);
}

/// Keeps `fd` as the one that holds the lock. False if another is kept already; the caller still owns it then.
pub(super) fn hold(fd: i32) -> bool {
    HELD.compare_exchange(-1, fd, Ordering::AcqRel, Ordering::Acquire).is_ok()
}

/// Closes the descriptor that holds the lock, if any. In the owner this gives the lock up; in a child it does not.
pub(super) fn close_held() {
    let fd = HELD.swap(-1, Ordering::AcqRel);
    if fd >= 0 {
        // SAFETY: `hold` took the descriptor over and nobody else closes it.
        unsafe { libc::close(fd) };
    }
}

/// A second descriptor of the same lock, unknown to the handler: for the test that shows what the handler is for.
#[cfg(test)]
pub(super) fn another_descriptor() -> std::os::fd::OwnedFd {
    // SAFETY: the descriptor is open for as long as the process has its identity.
    let held = unsafe { std::os::fd::BorrowedFd::borrow_raw(HELD.load(Ordering::Acquire)) };
    held.try_clone_to_owned().expect("a descriptor is free")
}
