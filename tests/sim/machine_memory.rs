//! What a machine keeps beside the shared files: the host-local directory in which its programs remember since when they know of
//! something, and whose an empty lock directory is. It outlives them, and a loss of power.
//!
//! One world is played on one thread, so it is the thread's.

use std::cell::RefCell;
use std::collections::HashMap;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::time::Duration;

use coord::storage::LocalGuard;

#[derive(Default)]
struct Memory {
    seen: HashMap<(usize, String), (String, u64)>,
    guards: HashMap<(usize, PathBuf), File>,
}

thread_local! {
    static MEMORY: RefCell<Option<Memory>> = const { RefCell::new(None) };
}

/// A new world, whose machines remember something or do not.
pub fn begin(remembers: bool) {
    MEMORY.set(remembers.then(Memory::default));
}

/// How long this machine has known `what` to be so.
pub fn known_for(host: usize, what: &str, state: &str, now: u64) -> Duration {
    MEMORY.with_borrow_mut(|memory| {
        let Some(memory) = memory else { return Duration::ZERO };
        let (last, since) = memory.seen.entry((host, what.to_string())).or_insert_with(|| (state.to_string(), now));
        if last != state {
            (*last, *since) = (state.to_string(), now);
        }
        Duration::from_nanos(now - *since)
    })
}

/// The guard of that name on this machine, unless another holds it.
pub fn guard(host: usize, path: &Path) -> Option<LocalGuard> {
    MEMORY.with_borrow_mut(|memory| {
        let Some(memory) = memory else { return Some(LocalGuard::default()) };
        let key = (host, path.to_path_buf());
        let file = memory.guards.entry(key).or_insert_with(|| tempfile::tempfile().expect("a temporary file"));
        // Another opening of the same file: locks are of an opening.
        use std::os::fd::AsRawFd;
        let again = format!("/proc/self/fd/{}", file.as_raw_fd());
        let again = File::options().read(true).write(true).open(again).expect("the same file");
        again.try_lock().is_ok().then(|| LocalGuard::holding(again))
    })
}
