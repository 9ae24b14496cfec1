//! What a worker tells the demo, one JSON object a line on its stdout, and what it is told, one word a line on its stdin.

use serde::{Deserialize, Serialize};

/// Finish the transaction at hand and end.
pub const STOP: &str = "stop";
/// In the next transaction write half of the database, say so, and wait before COMMIT.
pub const HOLD: &str = "hold";
/// Go on with that COMMIT.
pub const GO: &str = "go";

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum Event {
    /// The next thing this worker does is COMMIT; `held`: it waits for `go` before.
    InCommit { seq: u64, held: bool },
    /// COMMIT has returned OK. `wait_us`: what BEGIN IMMEDIATE took.
    Committed { seq: u64, wait_us: u64, commit_us: u64 },
    /// SQLITE_BUSY after the busy timeout.
    Busy { wait_us: u64 },
    /// Any other error. `code` is SQLite's extended one.
    Failed { seq: u64, stage: Stage, code: i32, message: String },
    /// A read transaction has ended; what was wrong in it was told before.
    Read { rows: u64, wait_us: u64 },
    /// Something that must never be seen, as a sentence.
    Violation { sentence: String },
    /// What `coord_locks_taken()` says; none if this SQLite has no such function.
    Path { locks_taken: Option<i64> },
    /// The worker ends because it was told to.
    Done,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Stage {
    Open,
    Begin,
    Work,
    Commit,
}

impl Event {
    pub fn to_line(&self) -> String {
        serde_json::to_string(self).expect("an event has no key that is not a string") + "\n"
    }

    pub fn from_line(line: &str) -> Result<Event, String> {
        serde_json::from_str(line).map_err(|error| format!("{error} in {line:?}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_survive_the_pipe() {
        let message = "disk I/O error\n\"deposed\"".to_string();
        for event in [
            Event::Committed { seq: 7, wait_us: 12, commit_us: 3 },
            Event::Failed { seq: 8, stage: Stage::Commit, code: 778, message },
            Event::Path { locks_taken: None },
            Event::Done,
        ] {
            let line = event.to_line();
            assert_eq!(line.matches('\n').count(), 1);
            assert_eq!(Event::from_line(line.trim_end()), Ok(event));
        }
        assert!(Event::from_line("thread 'main' panicked").is_err());
    }
}
