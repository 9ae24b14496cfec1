//! Several processes in one program, for a simulator: each has a state of its own over a storage of its own, and a thread says
//! which of them it plays. **Only with the feature `simulation`**, which this package's own tests and examples ask for; without
//! it there is one process, on the disk.

use std::cell::RefCell;
use std::ops::Deref;
use std::sync::Arc;

use super::process::{self, Process};
use crate::storage::{Instant, Storage};

thread_local! {
    static PLAYED: RefCell<Option<Arc<Process>>> = const { RefCell::new(None) };
}

/// A process that threads of this program play, one step at a time: nobody blocks on a mutex in it, and it has no service
/// thread but calls of [`Played::tick`].
#[derive(Clone)]
pub struct Played(Arc<Process>);

impl Played {
    pub fn new(storage: Arc<dyn Storage>) -> Played {
        Played(Arc::new(Process::stepped(storage)))
    }

    /// This thread plays it from now on. Whatever it opened before goes on belonging to whom it belonged to.
    pub fn enter(&self) {
        PLAYED.set(Some(self.0.clone()));
    }

    /// What its service thread would do now, for all databases that it uses: keeps up heartbeats, watches silent nodes. Returns
    /// when it is due again, `None` while nothing is held or watched.
    pub fn tick(&self) -> Option<Instant> {
        self.0.databases().into_iter().filter_map(|database| database.tick()).min()
    }
}

/// The state of the process that this thread belongs to.
pub(super) enum Current {
    Own(&'static Process),
    Played(Arc<Process>),
}

impl Deref for Current {
    type Target = Process;

    fn deref(&self) -> &Process {
        match self {
            Current::Own(process) => process,
            Current::Played(process) => process,
        }
    }
}

pub(super) fn current() -> Current {
    // Also asked for while a thread ends, when its own variables may be gone.
    let played = PLAYED.try_with(|played| played.borrow().clone()).ok().flatten();
    played.map_or_else(|| Current::Own(process::own()), Current::Played)
}
