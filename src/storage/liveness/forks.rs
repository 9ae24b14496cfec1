//! Noticing that this process is a fork of the one that made the identity, and what no fork may find half done.

use std::cell::UnsafeCell;
use std::sync::atomic::{AtomicBool, AtomicI32, AtomicU32, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

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

/// A mutex of the library's own that a child uses as well. Whoever forks holds it meanwhile: else a child could find it locked for
/// ever, by a thread that it has not got. Nothing else may be waited for while it is locked.
pub struct ForkMutex<T: 'static> {
    value: Mutex<T>,
    /// Of whoever forks.
    held: UnsafeCell<Option<MutexGuard<'static, T>>>,
    watched: AtomicBool,
    /// [`ForkMutex::hold`] and [`ForkMutex::release`] on this very one, as the C library takes no argument along.
    handlers: [extern "C" fn(); 2],
}

// SAFETY: `held` is touched by nobody but who has locked the mutex for a fork, and by his child.
unsafe impl<T: Send> Sync for ForkMutex<T> {}

impl<T> ForkMutex<T> {
    pub const fn new(value: T, hold: extern "C" fn(), release: extern "C" fn()) -> ForkMutex<T> {
        ForkMutex {
            value: Mutex::new(value),
            held: UnsafeCell::new(None),
            watched: AtomicBool::new(false),
            handlers: [hold, release],
        }
    }

    pub fn lock(&self) -> MutexGuard<'_, T> {
        if !self.watched.load(Ordering::Acquire) && !self.watched.swap(true, Ordering::AcqRel) {
            let [hold, release] = self.handlers;
            // SAFETY: as in `watch_forks`; the handlers lock and unlock, and call nothing.
            unsafe { libc::pthread_atfork(Some(hold), Some(release), Some(release)) };
        }
        self.value.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Right before a fork.
    pub fn hold(&'static self) {
        let guard = self.value.lock().unwrap_or_else(PoisonError::into_inner);
        // SAFETY: the mutex is locked, and by this thread.
        unsafe { *self.held.get() = Some(guard) };
    }

    /// Right after a fork, in both processes.
    pub fn release(&'static self) {
        // SAFETY: the thread that forked has locked it, and in the child it is the only one.
        drop(unsafe { (*self.held.get()).take() });
    }
}

/// Forks while another thread is in `hold`, which calls what it is given once it has locked something, and has the child lock it too:
/// whether the child comes to its end. In a process that has this `test` alone, as the child has copies of all descriptors.
#[cfg(test)]
pub(crate) fn child_gets(test: &str, hold: fn(&dyn Fn()), lock: fn()) -> bool {
    const ALONE: &str = "COORD_TEST_FORKS_ALONE";
    if std::env::var_os(ALONE).is_none() {
        let mut again = std::process::Command::new(std::env::current_exe().expect("a test knows its path"));
        return again.args(["--exact", test]).env(ALONE, "1").status().expect("it runs again").success();
    }
    let (told, tell) = std::sync::mpsc::channel();
    let holder = std::thread::spawn(move || {
        hold(&|| {
            told.send(()).expect("it is waited for");
            std::thread::sleep(std::time::Duration::from_millis(500));
        });
    });
    tell.recv().expect("it is locked");
    // SAFETY: the child does nothing but lock, and ends; one that waits for ever is ended by the alarm.
    let child = unsafe { libc::fork() };
    if child == 0 {
        // SAFETY: plain calls.
        unsafe { libc::alarm(10) };
        lock();
        // SAFETY: as above.
        unsafe { libc::_exit(0) };
    }
    let mut status = -1;
    // SAFETY: a child of ours, and a place for its status.
    unsafe { libc::waitpid(child, &raw mut status, 0) };
    holder.join().expect("it ends");
    status == 0
}

/// A second descriptor of the same lock, unknown to the handler: for the test that shows what the handler is for.
#[cfg(test)]
pub(super) fn another_descriptor() -> std::os::fd::OwnedFd {
    // SAFETY: the descriptor is open for as long as the process has its identity.
    let held = unsafe { std::os::fd::BorrowedFd::borrow_raw(HELD.load(Ordering::Acquire)) };
    held.try_clone_to_owned().expect("a descriptor is free")
}
