//! The program's own patience: how long its busy handler would let a lock call wait.
//!
//! SQLite's default handler naps through the VFS that the connection was opened with, a little longer each time, until the
//! busy timeout is used up. Asked from within a lock call, with its nap only noted instead of taken, it tells how much longer
//! the program waits; the time is then spent waiting for the lock instead.

use std::cell::Cell;
use std::ffi::{c_int, c_void};
use std::time::Duration;

thread_local! {
    /// While a handler is asked: the microseconds it wanted to nap.
    static NAP: Cell<Option<u64>> = const { Cell::new(None) };
}

/// What `SQLITE_FCNTL_BUSYHANDLER` gives: a function and its argument, in memory of the pager's, valid until the file is
/// closed.
pub type BusyHandler = *const [*mut c_void; 2];

/// `xSleep` asks here first: true if the nap is only to be noted.
pub fn noted(microseconds: c_int) -> bool {
    let asked = NAP.get();
    if let Some(before) = asked {
        NAP.set(Some(before + u64::try_from(microseconds).unwrap_or(0)));
    }
    asked.is_some()
}

/// A lock call begins: naps are naps again. A handler that was asked may itself use another database, or may never have returned
/// (`longjmp`).
pub fn begin() {
    NAP.set(None);
}

/// Asks the handler; `None`: it has no patience left, or there is none.
///
/// # Safety
/// `handler` is null or what SQLite gave, the file is open, and the calling thread runs its connection.
pub unsafe fn ask(handler: BusyHandler) -> Option<Duration> {
    // SAFETY: the caller's promise.
    let [function, argument] = unsafe { handler.as_ref() }.copied()?;
    if function.is_null() {
        return None;
    }
    // SAFETY: SQLite documents this type for the first of the two (sqlite3_busy_handler).
    let function: unsafe extern "C" fn(*mut c_void) -> c_int = unsafe { std::mem::transmute(function) };
    let before = NAP.replace(Some(0));
    // SAFETY: the caller's promise.
    let goes_on = unsafe { function(argument) };
    let nap = NAP.replace(before).unwrap_or(0);
    // A handler of the program's own has waited by itself, as it sees fit.
    (goes_on != 0).then(|| Duration::from_micros(nap))
}
