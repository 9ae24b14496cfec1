//! Processes killed, frozen and failed at each of their system calls: `stepper` stops them there, `world` is the database
//! they share and what must be true of it afterwards, `loops` goes through all calls, `zombie` is what a frozen process
//! delivers late.

pub mod calls;
pub mod loops;
mod regs;
pub mod stepper;
pub mod world;
pub mod zombie;

use std::process::Command;
use std::time::Duration;

/// The whole of a test may take this long.
const LIMIT: Duration = Duration::from_secs(300);

/// Runs `body` in a process of its own with nothing but this thread in it, so that it may fork: the test binary again, with
/// this test alone. `without` takes guards out of the code under test. Skipped, loudly, where nothing can be stepped.
pub fn alone(test: &str, without: &str, body: impl FnOnce()) {
    if std::env::var("COORD_TEST_ALONE").is_ok_and(|name| name == test) {
        return body();
    }
    if let Some(why) = stepper::unable() {
        return super::skip(&why);
    }
    if !without.is_empty() && !cfg!(debug_assertions) {
        return super::skip("guards can be taken out in builds with debug assertions only");
    }
    let mut command = Command::new(std::env::current_exe().expect("a test binary knows its path"));
    command.args(["--exact", test, "--nocapture", "--test-threads=1"]);
    command.env("COORD_TEST_ALONE", test).env("COORD_TEST_WITHOUT", without);
    let ran = super::run(&mut command, LIMIT);
    print!("{}", ran.out);
    eprint!("{}", ran.err);
    assert!(ran.status.success(), "{test}: {}", ran.status);
}
