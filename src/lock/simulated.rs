//! Several processes in one program, for a simulator: each has a state of its own over a storage of its own, and the simulator
//! says which of them is running. **Only with the feature `simulation`**, which this package's own tests and examples ask for;
//! without it there is one process, on the disk.

use std::ops::Deref;
use std::sync::{Arc, OnceLock};

use super::process::{self, Process};
use crate::storage::{Instant, Storage};

static WHO: OnceLock<fn() -> Option<Played>> = OnceLock::new();

/// Asks `who` from now on whose turn it is on the calling thread; `None` is this very program. The first one stays.
pub fn ask(who: fn() -> Option<Played>) {
    let _ = WHO.set(who);
}

/// A process that is played one step at a time: nobody blocks on a mutex in it, and it has no service thread but calls of
/// [`Played::tick`].
#[derive(Clone)]
pub struct Played(Arc<Process>);

impl Played {
    pub fn new(storage: Arc<dyn Storage>) -> Played {
        Played(Arc::new(Process::stepped(storage)))
    }

    /// What its service thread would do now, for all databases that it uses: keeps up heartbeats, watches silent nodes. Returns
    /// when it is due again, `None` while nothing is held or watched.
    pub fn tick(&self) -> Option<Instant> {
        self.0.databases().into_iter().filter_map(|database| database.tick()).min()
    }
}

/// The state of the process whose turn it is.
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
    let played = WHO.get().and_then(|who| who());
    played.map_or_else(|| Current::Own(process::own()), |played| Current::Played(played.0))
}
