//! `coord inspect PATH`: who holds what on a database, for people or as JSON. It reads and changes nothing.

use crate::{args, out, remarks};
use coord::lock::report::{self, LockRow};
use coord::protocol::Paths;
use std::fmt::Write;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

mod native;

/// Exit status when something is stale or not understood.
const NEEDS_ATTENTION: u8 = 1;
const TAKEOVER: &str = "a takeover is in progress or broke off: the database itself may lie in an aside or fence file, so remove none of \
                        them. Whoever next opens it for writing through coord finishes that";

pub fn run(options: &args::Inspect) -> Result<u8, String> {
    let shown = out::harmless(&options.path.display().to_string());
    // The database itself may be missing, where a takeover was cut off.
    let path = coord::lock::canonical(&options.path).map_err(|error| format!("cannot inspect {shown}: {error}"))?;
    let mut rows = report::inspect(&path).map_err(|error| format!("cannot inspect {shown}: {error}"))?;
    if !is_attached(&path) {
        rows.extend(native::rows(&path));
    }
    let remarks = remarks(&path, &rows);
    let text = match options.json {
        true => as_json(&path, &rows, &remarks),
        false => as_table(&path, &rows, &remarks),
    };
    out::print(&text)?;
    Ok(if remarks.is_empty() && !rows.iter().any(needs_attention) { 0 } else { NEEDS_ATTENTION })
}

/// What its files tell that no lock does, with what to do.
fn remarks(path: &Path, rows: &[LockRow]) -> Vec<String> {
    let mut found: Vec<String> = remarks::obstacle(path).into_iter().collect();
    let paths = Paths::new(path);
    if rows.iter().any(|row| matches!(row.kind.as_str(), "aside" | "fence")) {
        if path.symlink_metadata().is_err_and(|error| error.kind() == ErrorKind::NotFound) {
            found.push(format!("{} is not there: a takeover has moved it aside", path.display()));
        }
        found.push(TAKEOVER.to_string());
    }
    let written = rows.iter().any(|row| row.kind == "write" || native::writes(row));
    let shown = paths.journal.display();
    match remarks::journal_is_hot(&paths) {
        // Of whoever writes just now.
        Ok(true) if written => {}
        Ok(true) => found.push(format!(
            "{shown} is hot: a transaction was broken off, or one is under way without coord. Whoever opens the database next rolls \
             it back; it must not be removed"
        )),
        Ok(false) => {}
        Err(error) if error.kind() == ErrorKind::InvalidInput => found.push(format!("{shown} is not a regular file")),
        Err(error) => found.push(format!("{shown} cannot be read: {error}")),
    }
    found
}

/// The registry's existence is what puts a database in network-exclusive mode.
pub fn registry(database: &Path) -> PathBuf {
    beside(database, ".readers")
}

pub fn is_attached(database: &Path) -> bool {
    registry(database).symlink_metadata().is_ok_and(|found| found.is_dir())
}

/// The file or directory whose name is the database's with something appended.
pub fn beside(database: &Path, suffix: &str) -> PathBuf {
    let mut name = database.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}

fn needs_attention(row: &LockRow) -> bool {
    let state = row.verdict.split(|c: char| !c.is_alphanumeric()).next().unwrap_or_default();
    matches!(state, "dead" | "silent" | "deposed") || row.kind == "unknown"
}

fn as_json(path: &Path, rows: &[LockRow], remarks: &[String]) -> String {
    let object = serde_json::json!({
        "path": path.to_string_lossy(),
        "network_exclusive": is_attached(path),
        "needs_attention": !remarks.is_empty() || rows.iter().any(needs_attention),
        "remarks": remarks,
        "locks": rows,
    });
    format!("{object:#}\n")
}

fn as_table(path: &Path, rows: &[LockRow], remarks: &[String]) -> String {
    let mut text = format!("{}\n", out::harmless(&path.display().to_string()));
    text += match is_attached(path) {
        true => "network-exclusive mode: every client asks the directories beside it\n",
        false => "not in network-exclusive mode (there is no registry beside it): SQLite's own locks decide\n",
    };
    for remark in remarks {
        let _ = writeln!(text, "{}", out::harmless(remark));
    }
    if rows.is_empty() {
        return text + "nobody holds anything\n";
    }
    text.push('\n');
    let header = ["WHAT", "WHO", "OPEN FOR", "LAST BEAT", "LEASE", "STATE AND WHY"].map(String::from);
    let table: Vec<[String; 6]> = std::iter::once(header).chain(rows.iter().map(cells)).collect();
    let width = |column: usize| table.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
    let widths: Vec<usize> = (0..6).map(width).collect();
    for row in &table {
        let mut line = String::new();
        for (cell, &width) in row.iter().zip(&widths) {
            let _ = write!(line, "{cell:<width$}  ");
        }
        text += line.trim_end();
        text.push('\n');
    }
    if rows.iter().any(needs_attention) {
        text += "\nSomething here is stale or not understood. The next client that needs the lock clears up after \
                 a dead or\nsilent one by itself; names that coord does not know are left alone.\n";
    }
    text
}

fn cells(row: &LockRow) -> [String; 6] {
    let time = |ms: Option<u64>| ms.map_or("?".into(), out::duration);
    let mut state = row.verdict.clone();
    if row.mine {
        state += " (this process)";
    }
    // For as long as this host has known it.
    let beat = row.beat_age_ms.map_or("?".into(), |ms| format!("≥ {}", out::duration(ms)));
    [row.kind.clone(), who(row), time(row.age_ms), beat, time(row.lease_ms), state].map(|cell| out::harmless(&cell))
}

/// `user@host pid 12 (command)`, as far as it is known, else the node's name.
pub fn who(row: &LockRow) -> String {
    if row.host.is_empty() && row.pid.is_none() {
        return if row.node.is_empty() { "?".into() } else { row.node.clone() };
    }
    let mut text = match row.user.as_str() {
        "" => row.host.clone(),
        user => format!("{user}@{}", row.host),
    };
    if let Some(pid) = row.pid {
        let _ = write!(text, " pid {pid}");
    }
    if !row.command.is_empty() {
        let _ = write!(text, " ({})", row.command);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(kind: &str, verdict: &str) -> LockRow {
        LockRow {
            kind: kind.into(),
            verdict: verdict.into(),
            host: "left".into(),
            pid: Some(12),
            user: "ann".into(),
            command: "py\x1b[2J".into(),
            age_ms: Some(61_000),
            ..LockRow::default()
        }
    }

    #[test]
    fn an_empty_database_says_so_plainly() {
        let text = as_table(Path::new("/nowhere/a.sqlite"), &[], &[]);
        assert!(text.contains("nobody holds anything") && text.contains("not in network-exclusive"), "{text}");
    }

    #[test]
    fn the_table_is_aligned_and_harmless() {
        let rows = [row("write", "alive: its heartbeat moved"), row("exclusive", "unknown: first look")];
        let text = as_table(Path::new("/nowhere/a.sqlite"), &rows, &[]);
        let columns: Vec<_> = text.lines().filter_map(|line| line.find("ann@left pid 12 (py?[2J)")).collect();
        assert_eq!(columns, [11, 11], "{text}");
        assert!(!text.contains('\x1b'));
        assert!(!text.contains("stale"), "{text}");
    }

    #[test]
    fn where_the_database_may_lie_is_said() {
        for kind in ["aside", "fence"] {
            let said = remarks(Path::new("/nowhere/a.sqlite"), &[row(kind, "dead: it has ended")]);
            assert!(said[0].contains("a.sqlite is not there"), "{said:?}");
            assert!(said[1].contains("may lie in an aside or fence file, so remove none"), "{said:?}");
        }
        let said = remarks(Path::new("/nowhere/a.sqlite"), &[row("write", "dead: it has ended")]);
        assert_eq!(said, [""; 0]);
    }

    #[test]
    fn only_stale_or_unknown_things_need_attention() {
        assert!(!needs_attention(&row("write", "alive")));
        assert!(!needs_attention(&row("reader", "unknown: on another host")));
        assert!(needs_attention(&row("write", "dead: its liveness lock is free")));
        assert!(needs_attention(&row("reader", "silent, for 4 s")));
        assert!(needs_attention(&row("deposed", "deposed")));
        assert!(needs_attention(&row("unknown", "")));
    }
}
