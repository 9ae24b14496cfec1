//! Ctrl-C and its like, for commands that have something to clear up first.

use crate::out;
use std::sync::atomic::{AtomicBool, Ordering};

/// What shells give a command that SIGINT ended.
const STATUS: u8 = 130;

static INTERRUPTED: AtomicBool = AtomicBool::new(false);
static SECOND_ENDS: AtomicBool = AtomicBool::new(false);

extern "C" fn remember(signal: libc::c_int) {
    if INTERRUPTED.swap(true, Ordering::SeqCst) && SECOND_ENDS.load(Ordering::SeqCst) {
        // SAFETY: both may be called from a signal's handler.
        unsafe {
            libc::signal(signal, libc::SIG_DFL);
            libc::raise(signal);
        }
    }
}

/// From here on SIGINT, SIGTERM and SIGHUP are remembered instead of ending the process. With `second_ends` a second one
/// ends it all the same: clearing up on a server that does not answer may take for ever.
pub fn catch(second_ends: bool) {
    SECOND_ENDS.store(second_ends, Ordering::SeqCst);
    for signal in [libc::SIGINT, libc::SIGTERM, libc::SIGHUP] {
        // SAFETY: the handler is an extern "C" function of the right signature that only does what a handler may.
        unsafe { libc::signal(signal, remember as extern "C" fn(libc::c_int) as libc::sighandler_t) };
    }
}

pub fn interrupted() -> bool {
    INTERRUPTED.load(Ordering::SeqCst)
}

/// Says that it ended early, and what became of its work; returns the exit status. With `json` on stdout too, as an error is told.
pub fn ended(json: bool, work: &str) -> u8 {
    let sentence = format!("interrupted; {work}");
    if json {
        // As for any error: where stdout cannot be written to, stderr says so.
        let _ = out::print(&format!("{}\n", serde_json::json!({ "error": sentence })));
    }
    out::complain(&format!("coord: {sentence}"));
    STATUS
}
