//! Who and what is in a database's directories, and which names in them nobody needs any more.

use super::Halt;
use coord::lock::report::LockRow;
use coord::protocol::names::Kind;
use coord::protocol::{Name, Paths};
use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};

pub(super) struct Survey {
    /// What nobody needs: names of the dead, tombstones, epochs, the log of takeovers.
    pub names: Vec<PathBuf>,
    rows: Vec<LockRow>,
    /// Where each node's heartbeat is.
    beats: BTreeMap<String, PathBuf>,
}

fn is(row: &LockRow, state: &str) -> bool {
    row.verdict.split(|c: char| !c.is_alphanumeric()).next() == Some(state)
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

    /// Refuses where a process of this host is known to be there: whatever it holds, it has the database open. From one that stands
    /// still the lock could be taken, but it would go on some time.
    pub fn nobody_is_alive(&self) -> Result<(), Halt> {
        refuse(self.rows.iter().filter(|row| is_alive(row)).map(|row| self.sentence(row)))
    }

    /// Whether whoever next takes the lock has to clear something up.
    pub fn has_leavings(&self) -> bool {
        self.rows.iter().any(is_leaving)
    }

    /// Refuses where anybody may have the database open, holds anything, or has left what must be carried through.
    pub fn nobody_is_there(&self) -> Result<(), Halt> {
        refuse(self.rows.iter().filter(|row| stays(row)).map(|row| self.sentence(row)))
    }

    /// The same, but for those after whom whoever next takes the lock clears up.
    pub fn nobody_else_is_there(&self) -> Result<(), Halt> {
        let leaving: BTreeSet<&str> =
            self.rows.iter().filter(|row| is_leaving(row)).map(|row| row.node.as_str()).collect();
        let others = self.rows.iter().filter(|row| stays(row) && !leaving.contains(row.node.as_str()));
        refuse(others.map(|row| self.sentence(row)))
    }

    fn sentence(&self, row: &LockRow) -> String {
        let who = match (row.host.as_str(), row.pid) {
            ("", None) => row.node.clone(),
            (host, None) => host.to_string(),
            (host, Some(pid)) if row.command.is_empty() => format!("{host} pid {pid}"),
            (host, Some(pid)) => format!("{host} pid {pid} ({})", row.command),
        };
        match row.kind.as_str() {
            "unknown" => format!("there is something that is not of coord: {}", row.verdict),
            "aside" | "fence" => format!(
                "{who} has left a takeover half done ({}): the database itself may lie there, so remove nothing by hand. Open it once \
                 for writing through coord, and run this again",
                row.kind
            ),
            _ if is_alive(row) => {
                format!("{who} has it open ({}, {}): close that program and run this again", row.kind, row.verdict)
            }
            "beat" => {
                let beat = self.beats.get(&row.node).map(|path| path.display().to_string()).unwrap_or_default();
                format!(
                    "{who} may have it open ({}): close that program, or wait, and run this again. If somebody has looked on {}, and \
                     no such process runs there any more, remove this one file: {beat}",
                    row.verdict, row.host
                )
            }
            kind => format!(
                "{who} holds {kind} ({}): close that program, or wait until its lease has run out, and run this again",
                row.verdict
            ),
        }
    }
}

fn is_alive(row: &LockRow) -> bool {
    is(row, "alive") || is(row, "silent") && row.verdict.contains("its process on this host stands still")
}

/// What a takeover ends, or must be carried through.
fn is_leaving(row: &LockRow) -> bool {
    matches!(row.kind.as_str(), "write" | "exclusive" | "reader" | "aside" | "fence")
}

fn stays(row: &LockRow) -> bool {
    match row.kind.as_str() {
        "deposed" | "epoch" => false,
        "beat" | "new" => !is(row, "dead"),
        _ => true,
    }
}

fn refuse(sentences: impl Iterator<Item = String>) -> Result<(), Halt> {
    let sentences: Vec<_> = sentences.collect();
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
