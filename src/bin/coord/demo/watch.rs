//! Who holds the lock, sampled in a thread of its own so that a slow server never holds up the screen.

use super::fleet::Message;
use crate::inspect;
use coord::lock::report::{self, LockRow};
use std::path::{Path, PathBuf};
use std::sync::mpsc::Sender;
use std::time::{Duration, Instant};

const EVERY: Duration = Duration::from_millis(250);

#[derive(Clone, Debug, Default)]
pub struct Locks {
    pub holder: Option<Holder>,
    pub takeovers: u64,
    /// Why the look failed.
    pub error: Option<String>,
}

#[derive(Clone, Debug)]
pub struct Holder {
    pub kind: String,
    pub node: String,
    pub pid: Option<u32>,
    pub verdict: String,
    /// How long the same node has been seen to hold it, one look after another.
    pub seen_for: Duration,
}

/// Samples until the receiver is gone.
pub fn start(database: PathBuf, sender: Sender<Message>) {
    std::thread::spawn(move || {
        let mut since: Option<(String, Instant)> = None;
        loop {
            let locks = sample(&database, &mut since);
            if sender.send(Message::Locks(locks)).is_err() {
                return;
            }
            std::thread::sleep(EVERY);
        }
    });
}

fn sample(database: &Path, since: &mut Option<(String, Instant)>) -> Locks {
    let takeovers = takeovers(database);
    match report::inspect(database) {
        Ok(rows) => Locks { holder: holder(&rows, since), takeovers, error: None },
        Err(error) => Locks { holder: None, takeovers, error: Some(error.to_string()) },
    }
}

fn holder(rows: &[LockRow], since: &mut Option<(String, Instant)>) -> Option<Holder> {
    let row = ["write", "exclusive"].iter().find_map(|kind| rows.iter().find(|row| row.kind == *kind));
    let Some(row) = row else {
        *since = None;
        return None;
    };
    let begun = match since {
        Some((node, begun)) if *node == row.node => *begun,
        _ => Instant::now(),
    };
    *since = Some((row.node.clone(), begun));
    Some(Holder {
        kind: row.kind.clone(),
        node: row.node.clone(),
        pid: row.pid,
        verdict: row.verdict.clone(),
        seen_for: begun.elapsed(),
    })
}

/// One line a takeover, in a file that coord appends to for people.
pub fn takeovers(database: &Path) -> u64 {
    let lines = std::fs::read(inspect::registry(database).join("takeovers.jsonl")).unwrap_or_default();
    lines.iter().filter(|&&byte| byte == b'\n').count() as u64
}

/// Locks on disk of nobody who lives, after everybody has gone. A process that was killed may leave its names behind
/// until the next one clears up, so its are not counted.
pub fn leftovers(database: &Path, killed_pids: &[u32]) -> Vec<String> {
    let mut left = Vec::new();
    let lock = inspect::beside(database, ".lock");
    if lock.exists() {
        let names = names(&lock).join(", ");
        left.push(format!("{} ({names})", lock.display()));
    }
    for name in names(&inspect::registry(database)) {
        let presence = ["reader.", "exclusive."].iter().any(|kind| name.starts_with(kind));
        if presence && !pid_in(&name).is_some_and(|pid| killed_pids.contains(&pid)) {
            left.push(name);
        }
    }
    left
}

fn names(dir: &Path) -> Vec<String> {
    let Ok(entries) = std::fs::read_dir(dir) else {
        return Vec::new();
    };
    let mut names: Vec<String> =
        entries.filter_map(|entry| Some(entry.ok()?.file_name().to_string_lossy().into_owned())).collect();
    names.sort();
    names
}

/// The process id in `reader.<host>-<pid>-<64 bits in hex>.<n>`.
fn pid_in(name: &str) -> Option<u32> {
    name.split('.').nth(1)?.rsplit('-').nth(1)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_pid_is_found_in_a_name_with_dashes_in_its_host() {
        assert_eq!(pid_in("reader.my-host-4711-00ff00ff00ff00ff.3"), Some(4_711));
        assert_eq!(pid_in("reader.x"), None);
        assert_eq!(pid_in("takeovers"), None);
    }

    #[test]
    fn locks_of_the_living_are_leftovers_and_those_of_the_killed_are_not() {
        let dir = tempfile::tempdir().unwrap();
        let database = dir.path().join("demo.sqlite");
        let registry = inspect::registry(&database);
        assert_eq!(leftovers(&database, &[]), [] as [String; 0]);
        std::fs::create_dir(&registry).unwrap();
        for name in ["reader.h-7-0a.1", "exclusive.h-8-0a.2", "beat.h-8-0a.3.json", "takeovers.jsonl"] {
            std::fs::write(registry.join(name), "one\ntwo\n").unwrap();
        }
        assert_eq!(leftovers(&database, &[7]), ["exclusive.h-8-0a.2"]);
        assert_eq!(takeovers(&database), 2);
        let lock = inspect::beside(&database, ".lock");
        std::fs::create_dir(&lock).unwrap();
        assert_eq!(leftovers(&database, &[7, 8]).len(), 1);
    }

    #[test]
    fn the_holder_is_seen_for_as_long_as_it_is_the_same() {
        let row = |node: &str| LockRow { kind: "write".into(), node: node.into(), ..LockRow::default() };
        let mut since = None;
        assert!(holder(&[], &mut since).is_none());
        let first = holder(&[row("a")], &mut since).unwrap();
        let begun = since.clone().unwrap().1;
        holder(&[row("a")], &mut since).unwrap();
        assert_eq!(since.clone().unwrap(), ("a".to_string(), begun));
        holder(&[row("b")], &mut since).unwrap();
        assert_eq!(since.unwrap().0, "b");
        assert_eq!(first.node, "a");
    }
}
