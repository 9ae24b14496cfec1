//! Guards that a test can take out, to see that the test which claims to watch them fails without them.
//!
//! Only in builds with debug assertions: in a release build [`off`] is `false` at compile time and the guards cannot be
//! taken out. Read once from `COORD_TEST_WITHOUT`, a comma-separated list.

mod guards;

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};

pub use guards::Guard;

thread_local! {
    static HERE: std::cell::Cell<Option<Guard>> = const { std::cell::Cell::new(None) };
}

/// Takes a guard out for what this thread does, or puts it back: for a simulator that runs many worlds at once. Without effect
/// in a release build.
pub fn take_out_here(guard: Option<Guard>) {
    HERE.set(guard);
}

/// Whether this guard has been taken out. Always `false` in a release build.
pub fn off(guard: Guard) -> bool {
    if !cfg!(debug_assertions) {
        return false;
    }
    if HERE.get() == Some(guard) {
        return true;
    }
    static OUT: OnceLock<Vec<String>> = OnceLock::new();
    let out = OUT.get_or_init(|| {
        let list = std::env::var("COORD_TEST_WITHOUT").unwrap_or_default();
        list.split(',').map(|word| word.trim().to_string()).filter(|word| !word.is_empty()).collect()
    });
    !out.is_empty() && out.iter().any(|word| word == guard.word())
}

/// Whether [`Guard::EarlierWriters`] is in. It stands behind others, or leads past what they keep out, which their controls must show.
pub fn waits_for_earlier() -> bool {
    let before =
        [Guard::ForeignLock, Guard::NotRegistered, Guard::SameJournal, Guard::UsurpedJournal, Guard::FreshReplaced];
    !off(Guard::EarlierWriters) && !before.into_iter().any(off)
}

/// The clock's answer, or the one before for as long as the file named by `COORD_TEST_CLOCK_STOPS` exists: so that a test can
/// freeze a process together with its clock, as a virtual machine is. Only in builds with debug assertions.
pub fn clock(now: u64) -> u64 {
    if !cfg!(debug_assertions) {
        return now;
    }
    static STOPS: OnceLock<Option<std::path::PathBuf>> = OnceLock::new();
    static LAST: AtomicU64 = AtomicU64::new(0);
    match STOPS.get_or_init(|| std::env::var_os("COORD_TEST_CLOCK_STOPS").map(Into::into)) {
        Some(file) if file.exists() => LAST.load(Ordering::Acquire),
        Some(_) => LAST.fetch_max(now, Ordering::AcqRel).max(now),
        None => now,
    }
}

/// Stops this process (SIGSTOP) at a named point of the protocol, once, so that a test can freeze a node exactly there
/// instead of hoping to hit it. Only in builds with debug assertions, only where `COORD_TEST_STOP_AT` names the point; the
/// file named by `COORD_TEST_STOP_ONCE`, if set, must exist and is removed first. Or where the first line of the file named
/// by `COORD_TEST_STOPS` names the point; that line is taken away first, so that the file is a schedule. With `pass ` before
/// the point it is only passed; with `hold ` this thread alone stands still, while a file `….<point>.held` beside the schedule
/// exists, and the process's heartbeats go on as far as they do not need what the thread has locked.
/// `COORD_TEST_PANIC_AT` and `COORD_TEST_PANIC_ONCE` make it panic there in the same way.
pub fn stop_point(point: &str) {
    if !cfg!(debug_assertions) {
        return;
    }
    stop_as_scheduled(point);
    static STOP_AT: OnceLock<Option<String>> = OnceLock::new();
    if is_at(point, &STOP_AT, "COORD_TEST_STOP_AT", "COORD_TEST_STOP_ONCE") {
        stop();
    }
    static PANIC_AT: OnceLock<Option<String>> = OnceLock::new();
    if is_at(point, &PANIC_AT, "COORD_TEST_PANIC_AT", "COORD_TEST_PANIC_ONCE") {
        panic!("as the test asked, at {point}");
    }
}

fn stop_as_scheduled(point: &str) {
    static SCHEDULE: OnceLock<Option<std::path::PathBuf>> = OnceLock::new();
    let Some(file) = SCHEDULE.get_or_init(|| std::env::var_os("COORD_TEST_STOPS").map(Into::into)) else {
        return;
    };
    let Ok(text) = std::fs::read_to_string(file) else { return };
    let Some((line, rest)) = text.split_once('\n') else { return };
    let (what, named) = line.split_once(' ').unwrap_or(("stop", line));
    if named != point {
        return;
    }
    let _ = std::fs::write(file, rest);
    match what {
        "pass" => {}
        "hold" => hold(&file.with_added_extension(point).with_added_extension("held")),
        _ => stop(),
    }
}

fn hold(sign: &std::path::Path) {
    if std::fs::write(sign, "").is_ok() {
        while sign.exists() {
            std::thread::sleep(std::time::Duration::from_millis(100));
        }
    }
}

fn stop() {
    // Raised on this very thread: sent to the process it could reach another one first, and this one would run on.
    // SAFETY: a plain call.
    unsafe { libc::raise(libc::SIGSTOP) };
}

fn is_at(point: &str, at: &OnceLock<Option<String>>, variable: &str, once: &str) -> bool {
    let at = at.get_or_init(|| std::env::var(variable).ok());
    at.as_deref() == Some(point) && std::env::var(once).map_or(true, |file| std::fs::remove_file(file).is_ok())
}
