//! The service threads, one for each filesystem, so that one that hangs does not let the leases on the others lapse. They
//! keep up heartbeats, watch silent nodes, and sweep what would not go. They never call into SQLite and never touch a handle
//! that SQLite uses; but where names are held (9p) they close the handles of idle connections, through the platform's VFS. With
//! nothing held they sleep without waking.

use std::collections::HashMap;
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::Duration;

use super::database::{Database, Inner, Mode};
use super::level::Level;
use crate::protocol::{Denied, Node};
use crate::storage::Instant;
use crate::switches::{self, Guard};

/// The threads of one process.
#[derive(Default)]
pub(super) struct Service {
    threads: Mutex<HashMap<u64, Arc<Bell>>>,
}

/// Wakes one thread.
#[derive(Default)]
struct Bell {
    /// When the thread will look again by itself; `None` while it has no reason to.
    next: Mutex<Option<Instant>>,
    rung: Condvar,
}

impl Service {
    /// The databases of `device` must be looked at by `due`. Cheap when the thread would be awake by then anyway. False if there
    /// is no thread.
    pub fn attend(&self, device: u64, due: Instant) -> bool {
        let mut threads = self.threads.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(bell) = threads.get(&device) {
            let mut next = bell.next.lock().unwrap_or_else(PoisonError::into_inner);
            if next.is_none_or(|next| next > due) {
                *next = Some(due);
                bell.rung.notify_one();
            }
            return true;
        }
        let bell = Arc::new(Bell::default());
        *bell.next.lock().unwrap_or_else(PoisonError::into_inner) = Some(due);
        threads.insert(device, bell.clone());
        drop(threads);
        let runs = spawn(move || run(device, &bell));
        if !runs {
            // Perhaps there is room for it later.
            self.threads.lock().unwrap_or_else(PoisonError::into_inner).remove(&device);
        }
        runs
    }
}

/// A thread on which none of the host's signal handlers run. Without it leases are still kept up by the calls themselves, as far
/// as there are any.
fn spawn(work: impl FnOnce() + Send + 'static) -> bool {
    // SAFETY: plain libc calls on sets of our own; the calling thread gets its own mask back.
    let before = unsafe {
        let mut all: libc::sigset_t = std::mem::zeroed();
        let mut before: libc::sigset_t = std::mem::zeroed();
        libc::sigfillset(&mut all);
        libc::pthread_sigmask(libc::SIG_SETMASK, &all, &mut before);
        before
    };
    let spawned = std::thread::Builder::new().name("coord".to_string()).stack_size(256 * 1024).spawn(work);
    // SAFETY: as above.
    unsafe { libc::pthread_sigmask(libc::SIG_SETMASK, &before, std::ptr::null_mut()) };
    spawned.is_ok()
}

fn run(device: u64, bell: &Bell) {
    let storage = super::process::storage();
    loop {
        {
            let mut next = bell.next.lock().unwrap_or_else(PoisonError::into_inner);
            loop {
                let now = storage.now();
                next = match *next {
                    None => bell.rung.wait(next).unwrap_or_else(PoisonError::into_inner),
                    Some(due) if due > now => {
                        // The host's clock stands still while it sleeps, ours does not: look now and then.
                        let span = due.since(now).min(Duration::from_secs(5));
                        bell.rung.wait_timeout(next, span).unwrap_or_else(PoisonError::into_inner).0
                    }
                    Some(_) => break,
                };
            }
            *next = None;
        }
        let due = super::process::databases()
            .into_iter()
            .filter(|database| database.device() == device)
            .filter_map(|database| crate::guard::guard(None, || database.tick()))
            .min();
        let mut next = bell.next.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(due) = due {
            *next = Some(next.map_or(due, |rung| rung.min(due)));
        }
    }
}

impl Database {
    /// Identity of the filesystem, to share a service thread.
    pub(super) fn device(&self) -> u64 {
        self.device
    }

    /// What has to be done now and then. Returns when it is due again, `None` while nothing is held or watched.
    pub fn tick(&self) -> Option<Instant> {
        let glimpsed = self.glimpse();
        let now = self.storage.now();
        // One database that is in a long call must not keep the others from being looked after.
        let Some(mut inner) = self.try_inner() else { return Some(now.after(Duration::from_millis(50))) };
        // Should this end in a panic, whoever comes next rings again.
        self.looks_next(&mut inner, None);
        if inner.mode == Mode::Trusted {
            let due = self.look_for_registry(&inner);
            if due.is_some() {
                inner.look_for_intruders(&self.storage, &self.paths);
            }
            self.looks_next(&mut inner, due);
            return due;
        }
        let due = self.look_after_node(&mut inner, now, glimpsed);
        self.flush(&mut inner);
        self.looks_next(&mut inner, due);
        due
    }

    fn look_after_node(&self, inner: &mut Inner, now: Instant, glimpsed: Option<(Instant, bool)>) -> Option<Instant> {
        let watching = inner.watch_until > now;
        let next_look = self.look_after(inner, glimpsed);
        let node = inner.node.as_mut()?;
        let pause = node.lease_span() / 12;
        if node.lease().is_deposed() {
            return None;
        }
        if !node.has_presence() && !watching {
            return None;
        }
        let before = node.heartbeat_due();
        let beaten = node.heartbeat_if_due();
        let sent = node.heartbeat_due() != before && !switches::off(Guard::BeatLooks);
        // Only now: whoever was deposed without knowing it touches nothing any more.
        node.sweep();
        if watching || sent {
            // Keeps the runs of silent nodes going between the attempts of whoever waits for them; and a name of ours that was made once
            // more, late, keeps everybody out until we see it, who may be reading for hours.
            let _ = node.observe();
        }
        let due = match (&beaten, watching) {
            (Ok(()), false) => node.heartbeat_due(),
            (Err(Denied::Deposed(_)), _) => return None,
            _ => node.heartbeat_due().min(now.after(pause)).max(now.after(Duration::from_millis(50))),
        };
        // A timer of its own: the transactions of a busy writer send the heartbeats themselves.
        if inner.intruders_due <= now {
            inner.intruders_due = now.after(pause * 2);
            inner.look_for_intruders(&self.storage, &self.paths);
        }
        Some(next_look.map_or(due, |look| look.min(due)))
    }

    /// Whether something of ours still stands on disk.
    pub(super) fn is_held(&self) -> bool {
        self.try_inner()
            .is_none_or(|inner| inner.node.as_ref().is_some_and(Node::has_presence) || inner.trusted.is_held())
    }

    /// The program ends: everything goes back. False if somebody is in the middle of a lock call; try again.
    pub(super) fn release_everything(&self, quiet: bool) -> bool {
        let Some(mut inner) = self.try_inner() else { return false };
        let writing = inner.mode == Mode::NetworkExclusive && inner.arbiter.highest() >= Level::Reserved;
        if !quiet || (writing && !self.kind.is_local() && !switches::off(Guard::ExitWriting)) {
            // Pages are still on their way: as after any death, whoever comes next has proof of it or waits the lease out,
            // and fences.
            return true;
        }
        if let Some(mut node) = inner.node.take() {
            node.unregister();
        }
        self.release_trusted(&mut inner);
        true
    }
}
