//! Loud skips: a test that needs what the machine lacks says so.

use std::io::Write;
use std::path::PathBuf;

/// The build's target folder, above the profile.
pub fn target() -> PathBuf {
    let exe = std::env::current_exe().expect("a test binary knows its path");
    exe.ancestors().nth(3).expect("target/<profile>/deps/<name>").to_owned()
}

/// Says, on stderr and in `target/coord-skipped.txt`, that this test shows nothing here. The test then returns.
///
/// The file is only ever appended to; whoever runs the suite empties it before and prints it after.
pub fn skip(reason: &str) {
    let thread = std::thread::current();
    let line = format!("SKIPPED: {}: {reason}\n", thread.name().unwrap_or("?"));
    // Not eprint!, which the test harness captures when the test passes.
    let _ = std::io::stderr().write_all(line.as_bytes());
    let path = target().join("coord-skipped.txt");
    let file = std::fs::OpenOptions::new().create(true).append(true).open(&path);
    file.and_then(|mut f| f.write_all(line.as_bytes())).expect("target/coord-skipped.txt can be written");
}
