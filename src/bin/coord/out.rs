//! Writing to stdout and stderr without ever panicking: a reader that went away (`| head`) is not an error of ours.

use std::io::{self, Write};

/// Writes to stdout. `Ok(0)`, the exit status of success, also when the reader has closed it.
pub fn print(text: &str) -> Result<u8, String> {
    let mut stdout = io::stdout().lock();
    match stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(format!("cannot write to stdout: {error}")),
        _ => Ok(0),
    }
}

/// Writes one line to stderr, as far as that is possible.
pub fn complain(line: &str) {
    let _ = writeln!(io::stderr(), "{line}");
}

/// Writes a line to the terminal behind stderr in the place of the last one, cut where the terminal ends.
pub fn overwrite(line: &str) {
    let _ = write!(io::stderr(), "\r\x1b[K\x1b[?7l{line}\x1b[?7h");
}

/// Text from files that others wrote, made safe for a terminal: no control characters.
pub fn harmless(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { '?' } else { c }).collect()
}

/// A duration for people, from milliseconds.
pub fn duration(ms: u64) -> String {
    match ms {
        0..1_000 => format!("{ms} ms"),
        1_000..120_000 => format!("{}.{} s", ms / 1_000, ms % 1_000 / 100),
        120_000..7_200_000 => format!("{} min", ms / 60_000),
        _ => format!("{} h", ms / 3_600_000),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_read_well_at_every_scale() {
        assert_eq!(duration(0), "0 ms");
        assert_eq!(duration(999), "999 ms");
        assert_eq!(duration(1_250), "1.2 s");
        assert_eq!(duration(180_000), "3 min");
        assert_eq!(duration(7_200_000), "2 h");
    }

    #[test]
    fn escape_sequences_of_others_do_not_reach_the_terminal() {
        assert_eq!(harmless("a\x1b[2Jb\n"), "a?[2Jb?");
    }
}
