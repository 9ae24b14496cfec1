//! Who and what is in a database's directories, and which names in them nobody needs any more.

use super::Halt;
use crate::{inspect, out};
use coord::lock::report::LockRow;
use coord::protocol::names::Kind;
use coord::protocol::{Name, Paths};
use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};
use std::time::Duration;

pub(super) struct Survey {
    /// What nobody needs: names of the dead, tombstones, epochs, the log of takeovers.
    pub names: Vec<PathBuf>,
    rows: Vec<LockRow>,
    /// Where each node's heartbeat is.
    beats: BTreeMap<String, PathBuf>,
}

impl Survey {
    /// `rows`: those of others.
    pub fn new(paths: &Paths, rows: Vec<LockRow>) -> io::Result<Survey> {
        let dead: BTreeSet<&str> = rows.iter().filter(|row| is(row, "dead")).map(|row| row.node.as_str()).collect();
        let (mut names, mut beats) = (Vec::new(), BTreeMap::new());
        for dir in [&paths.lock, &paths.registry] {
            for text in list(dir)? {
                let path = dir.join(&text);
                if path == paths.takeovers() {
                    names.push(path);
                    continue;
                }
                // A stranger's name is told as a row.
                let Some(name) = Name::parse(&text) else { continue };
                let node = name.node.to_string();
                if matches!(name.kind, Kind::Beat { .. }) {
                    beats.insert(node.clone(), path.clone());
                }
                let unneeded = match name.kind {
                    Kind::Beat { .. } | Kind::New => dead.contains(node.as_str()),
                    Kind::Deposed { .. } | Kind::Epoch => true,
                    _ => false,
                };
                names.extend(unneeded.then_some(path));
            }
        }
        Ok(Survey { names, rows, beats })
    }

    /// Where the heartbeat of each other node is, whose name changes with every beat.
    pub fn heartbeats(&self) -> BTreeMap<String, PathBuf> {
        let of = |row: &LockRow| self.beats.get(&row.node).map(|path| (row.node.clone(), path.clone()));
        self.rows.iter().filter_map(of).collect()
    }

    /// Sentences on those who have it open: whatever they hold. From a process of this host that stands still the lock could be taken, but
    /// it would go on some time. `moves`: whether a node's heartbeat was seen to. With them, who speaks another protocol.
    pub fn of_the_living(&self, moves: impl Fn(&str) -> bool) -> Vec<String> {
        self.sentences(
            |row| is_alive(row) || speaks_otherwise(row) || moves(&row.node),
            |row| {
                if speaks_otherwise(row) {
                    return self.sentence(row);
                }
                let proof = if is_alive(row) { row.verdict.as_str() } else { "alive: its heartbeat moves" };
                format!(
                    "{} has it open ({}): close that program and run this again",
                    inspect::who(row),
                    self.about(row, proof)
                )
            },
        )
    }

    /// Refuses where a process is known to be there.
    pub fn nobody_is_alive(&self) -> Result<(), Halt> {
        refuse(self.of_the_living(|_| false))
    }

    /// Somebody with a lease that has not run out since he was first known here, and of whom nothing else is known. `passed`: for how
    /// long everybody was watched just now.
    pub fn undecided(&self, passed: Duration) -> Option<String> {
        let may_move = |row: &&LockRow| {
            is(row, "unknown") && row.lease_ms.is_some_and(|lease| passed < Duration::from_millis(lease))
        };
        self.rows.iter().find(may_move).map(inspect::who)
    }

    /// Who holds anything.
    pub fn in_the_way(&self) -> Option<String> {
        self.rows.iter().find(|row| is_held(row)).map(inspect::who)
    }

    /// What whoever next takes the lock has to clear up, in words.
    pub fn leavings(&self) -> Vec<&'static str> {
        let any = |dead: bool| self.rows.iter().any(|row| is_leaving(row) && is(row, "dead") == dead);
        let mut found = Vec::new();
        if any(true) {
            found.push(
                "what a process that died has left would be carried through or rolled back first, by opening it through coord",
            );
        }
        if any(false) {
            found.push(
                "what a process that gives no sign of life has left would be taken over and carried through or rolled back first, by \
                 opening it through coord",
            );
        }
        found
    }

    /// Refuses where anybody may have the database open, holds anything, or has left what must be carried through.
    pub fn nobody_is_there(&self) -> Result<(), Halt> {
        refuse(self.sentences(stays, |row| self.sentence(row)))
    }

    /// The same, but for those after whom whoever next takes the lock clears up.
    pub fn nobody_else_is_there(&self) -> Result<(), Halt> {
        let leaving: BTreeSet<&str> =
            self.rows.iter().filter(|row| is_leaving(row)).map(|row| row.node.as_str()).collect();
        refuse(self.sentences(|row| stays(row) && !leaving.contains(row.node.as_str()), |row| match may_be_alive(row) {
            true => format!(
                "may be alive: {} ({}). Close that program. Without --dry-run this first watches for its lease whether it shows life",
                inspect::who(row),
                self.about(row, &row.verdict)
            ),
            false => self.sentence(row),
        }))
    }

    /// Sentences on the holders, for who was kept waiting by them.
    pub fn holders(&self) -> Vec<String> {
        self.sentences(is_held, |row| self.sentence(row))
    }

    /// One for each node, as all it holds is told at once; but what is left of a takeover is told by itself.
    fn sentences(&self, of: impl Fn(&LockRow) -> bool, say: impl Fn(&LockRow) -> String) -> Vec<String> {
        let mut told = BTreeSet::new();
        let mut found = Vec::new();
        for row in self.rows.iter().filter(|row| of(row)) {
            let of_takeover = is_takeover(row) && !may_be_alive(row);
            if row.node.is_empty() || told.insert((row.node.as_str(), of_takeover)) {
                found.push(say(row));
            }
        }
        found
    }

    /// What a node holds, since when it is there, and why it is thought to be alive or not.
    fn about(&self, row: &LockRow, verdict: &str) -> String {
        let held = self.rows.iter().filter(|other| other.node == row.node && is_held(other));
        let held: BTreeSet<&str> = held.map(|row| row.kind.as_str()).collect();
        let held = match held.is_empty() {
            true => "nothing at this moment".to_string(),
            false => held.into_iter().collect::<Vec<_>>().join(" and "),
        };
        let age =
            row.age_ms.map(|ms| format!("there for {} by its own clock; ", out::duration(ms))).unwrap_or_default();
        format!("holds {held}; {age}{verdict}")
    }

    fn sentence(&self, row: &LockRow) -> String {
        let who = inspect::who(row);
        let beat = || self.beats.get(&row.node).map(|path| path.display().to_string()).unwrap_or_default();
        match row.kind.as_str() {
            "unknown" => format!("there is something that is not of coord: {}", row.verdict),
            "aside" | "fence" => format!(
                "{who} has left a takeover half done ({}): the database itself may lie there, so remove nothing by hand. Open it once \
                 for writing through coord, and run this again",
                row.kind
            ),
            _ if speaks_otherwise(row) => format!(
                "{who} is another version of coord ({}): use the same one everywhere. If somebody has looked, and that process runs no \
                 more, remove this one file: {}",
                row.verdict,
                beat()
            ),
            _ if is_alive(row) => {
                format!("{who} has it open ({}): close that program and run this again", self.about(row, &row.verdict))
            }
            "beat" => format!(
                "{who} may have it open ({}): close that program, or wait, and run this again. If somebody has looked on {}, and \
                 no such process runs there any more, remove this one file: {}",
                self.about(row, &row.verdict),
                row.host,
                beat()
            ),
            kind => format!(
                "{who} holds {kind} ({}): close that program, or wait until its lease has run out, and run this again",
                row.verdict
            ),
        }
    }
}

fn is(row: &LockRow, state: &str) -> bool {
    row.verdict.split(|c: char| !c.is_alphanumeric()).next() == Some(state)
}

fn is_alive(row: &LockRow) -> bool {
    is(row, "alive") || is(row, "silent") && row.verdict.contains("its process on this host stands still")
}

fn speaks_otherwise(row: &LockRow) -> bool {
    is(row, "unknown") && row.verdict.contains("it speaks the protocol")
}

fn is_takeover(row: &LockRow) -> bool {
    matches!(row.kind.as_str(), "aside" | "fence")
}

/// A lock, or the wish for one.
fn is_held(row: &LockRow) -> bool {
    matches!(row.kind.as_str(), "write" | "exclusive" | "reader" | "wish" | "fence")
}

/// Holds something, and nothing is known of its life. Of what a takeover has left nobody need be alive any more who has no heartbeat.
fn may_be_alive(row: &LockRow) -> bool {
    is(row, "unknown") && if is_takeover(row) { row.lease_ms.is_some() } else { is_held(row) }
}

/// What a takeover ends, or must be carried through.
fn is_leaving(row: &LockRow) -> bool {
    (is_takeover(row) || matches!(row.kind.as_str(), "write" | "exclusive" | "reader")) && !may_be_alive(row)
}

fn stays(row: &LockRow) -> bool {
    match row.kind.as_str() {
        "deposed" | "epoch" => false,
        "beat" | "new" => !is(row, "dead"),
        _ => true,
    }
}

fn refuse(sentences: Vec<String>) -> Result<(), Halt> {
    if sentences.is_empty() { Ok(()) } else { Err(Halt::Refused(sentences)) }
}

fn list(dir: &Path) -> io::Result<Vec<OsString>> {
    let entries = match std::fs::read_dir(dir) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries.map_err(|error| io::Error::new(error.kind(), format!("{}: {error}", dir.display())))?,
    };
    let mut names = entries.map(|entry| Ok(entry?.file_name())).collect::<io::Result<Vec<_>>>()?;
    names.sort();
    Ok(names)
}
