//! Sentences for people: kept for `coord_last_error()`, and queued for the host's log, which only a thread that SQLite has
//! called may write to.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::storage::liveness::ForkMutex;

/// What a sentence is, in SQLite's terms.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Weight {
    /// `SQLITE_NOTICE`: worth knowing.
    Notice,
    /// `SQLITE_WARNING`: something was refused or went wrong.
    Warning,
}

/// More than this many sentences that nobody fetched are dropped, the oldest first.
const QUEUE_MAX: usize = 100;

struct Messages {
    queue: VecDeque<(Weight, String)>,
    last: Option<String>,
}

static MESSAGES: ForkMutex<Messages> =
    ForkMutex::new(Messages { queue: VecDeque::new(), last: None }, before_fork, after_fork);

extern "C" fn before_fork() {
    MESSAGES.hold();
}

extern "C" fn after_fork() {
    MESSAGES.release();
}

/// Something is queued: who has nothing to log need not wait for the mutex to learn that.
static WAITING: AtomicBool = AtomicBool::new(false);

fn with<R>(work: impl FnOnce(&mut Messages) -> R) -> R {
    work(&mut MESSAGES.lock())
}

/// Queues a sentence; a warning becomes `coord_last_error()`.
pub fn say(weight: Weight, text: impl Into<String>) {
    let text = text.into();
    with(|messages| {
        if weight == Weight::Warning {
            messages.last = Some(text.clone());
        }
        if messages.queue.back().is_some_and(|(_, last)| *last == text) {
            return;
        }
        if messages.queue.len() == QUEUE_MAX {
            messages.queue.pop_front();
        }
        messages.queue.push_back((weight, text));
        WAITING.store(true, Ordering::Release);
    });
}

/// What is to be logged. Called on a thread that SQLite has called.
pub fn take() -> Vec<(Weight, String)> {
    if !WAITING.load(Ordering::Acquire) {
        return Vec::new();
    }
    with(|messages| {
        WAITING.store(false, Ordering::Release);
        messages.queue.drain(..).collect()
    })
}

/// The last warning.
pub fn last() -> Option<String> {
    with(|messages| messages.last.clone())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A thread has it locked at the fork, and the child has no such thread.
    #[test]
    fn no_child_waits_for_a_thread_of_its_parents() {
        let test = "lock::messages::tests::no_child_waits_for_a_thread_of_its_parents";
        let hold = |locked: &dyn Fn()| with(|_| locked());
        assert!(crate::storage::liveness::child_gets(test, hold, || with(|_| ())));
    }
}
