//! `coord detach PATH`: gives a database back to plain SQLite. What a process that died has left is carried through first, under
//! the lock, as a takeover that broke off may have left the database itself in the directories that are to go; then the
//! directories go, if nobody is in them.

use crate::{args, demo, inspect, out, register, remarks};
use coord::lock::report;
use coord::protocol::Paths;
use rusqlite::{Connection, ErrorCode, OpenFlags};
use std::fs;
use std::io::ErrorKind;
use std::path::Path;
use std::time::Duration;

mod survey;
#[cfg(test)]
mod tests;

use survey::Survey;

/// Exit status when somebody may still use the database.
const REFUSED: u8 = 1;
/// More than a lease of the default length, after which a silent process is in nobody's way.
const BUSY_TIMEOUT: Duration = Duration::from_secs(60);

/// What came of it.
#[derive(Default)]
struct Outcome {
    /// What was removed, or would be.
    removed: Vec<String>,
    /// Why not.
    refused: Vec<String>,
    /// What else people should know.
    notes: Vec<String>,
}

/// What ends it early.
enum Halt {
    Refused(Vec<String>),
    Cannot(String),
}

pub fn run(options: &args::Detach) -> Result<u8, String> {
    let shown = out::harmless(&options.path.display().to_string());
    let cannot = |error: &dyn std::fmt::Display| out::harmless(&format!("cannot detach {shown}: {error}"));
    let path = coord::lock::canonical(&options.path).map_err(|error| cannot(&error))?;
    let paths = Paths::new(&path);
    let mut outcome = Outcome::default();
    let result = match (is_attached(&paths), options.dry_run) {
        (Err(error), _) => Err(Halt::Cannot(error)),
        (Ok(false), _) => {
            outcome.notes.push("it is not in network-exclusive mode: there is nothing to do".to_string());
            Ok(())
        }
        (Ok(true), true) => look(&paths, &mut outcome),
        (Ok(true), false) => detach(&paths, &mut outcome),
    };
    match result {
        Ok(()) => {}
        Err(Halt::Refused(why)) => outcome.refused = why,
        Err(Halt::Cannot(why)) => return Err(cannot(&why)),
    }
    out::print(&if options.json { as_json(options, &path, &outcome) } else { as_text(options, &path, &outcome) })?;
    Ok(if outcome.refused.is_empty() { 0 } else { REFUSED })
}

/// The registry's existence is what puts a database in network-exclusive mode.
fn is_attached(paths: &Paths) -> Result<bool, String> {
    match paths.registry.symlink_metadata() {
        Ok(found) if found.is_dir() => Ok(true),
        Ok(_) => Err(format!("{} is not a directory; look what made it and remove it", paths.registry.display())),
        Err(error) if error.kind() == ErrorKind::NotFound => match paths.database.symlink_metadata() {
            Ok(found) if found.is_file() => Ok(false),
            Ok(_) => Err("it is not a file; the path of the database itself is wanted".to_string()),
            Err(error) => Err(error.to_string()),
        },
        Err(error) => Err(format!("{}: {error}", paths.registry.display())),
    }
}

/// Changes nothing: what would be done if nobody came or went meanwhile.
fn look(paths: &Paths, outcome: &mut Outcome) -> Result<(), Halt> {
    let survey = survey(paths)?;
    survey.nobody_is_alive()?;
    if let Some(why) = remarks::obstacle(&paths.database) {
        return Err(Halt::Cannot(format!("it cannot be opened and locked through coord: {why}")));
    }
    if survey.has_leavings() {
        outcome.notes.push(
            "what a process that died has left would be carried through or rolled back first, by opening it through coord".to_string(),
        );
    }
    survey.nobody_else_is_there()?;
    outcome.removed = survey.names.iter().map(|path| path.display().to_string()).collect();
    if journal_is_hot(paths)? {
        outcome
            .notes
            .push(format!("{} would be rolled back first, by opening it through coord", paths.database.display()));
    }
    outcome.removed.push(paths.registry.display().to_string());
    Ok(())
}

fn detach(paths: &Paths, outcome: &mut Outcome) -> Result<(), Halt> {
    survey(paths)?.nobody_is_alive()?;
    register::register().map_err(Halt::Cannot)?;
    let uri = format!(
        "file:{}?vfs=coord&coord_mode=network-exclusive",
        demo::database::percent_encode(paths.database.as_os_str().as_encoded_bytes())
    );
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_URI | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(&uri, flags).map_err(told)?;
    connection.busy_timeout(BUSY_TIMEOUT).map_err(told)?;
    // Rolls a hot journal back and finishes every takeover. While it is held nobody else can be in the middle of anything.
    connection.execute_batch("BEGIN EXCLUSIVE").map_err(told)?;
    let removed = clear(paths, outcome);
    connection.execute_batch("COMMIT").map_err(told)?;
    connection.close().map_err(|(_, error)| told(error))?;
    removed?;
    survey(paths)?.nobody_is_there()?;
    // Coord has removed it with the lock. One that is there now is another's lock, `unix-dotfile`'s or of somebody who has just come.
    if paths.lock.symlink_metadata().is_ok() {
        return Err(Halt::Refused(vec![format!(
            "{} is there again: somebody has just come. Close that program and run this again",
            paths.lock.display()
        )]));
    }
    // Who has come since then has a name in it, so that it cannot be removed.
    match fs::remove_dir(&paths.registry) {
        Ok(()) => outcome.removed.push(paths.registry.display().to_string()),
        Err(error) if error.kind() == ErrorKind::NotFound => {}
        Err(error) => {
            return Err(Halt::Refused(vec![format!(
                "{} cannot be removed ({error}): somebody has just come. Close that program and run this again; `coord inspect` \
                 shows who it is",
                paths.registry.display()
            )]));
        }
    }
    Ok(())
}

/// Removes what is left of the dead. The database is locked. Its journal stays: one that does not begin with anything is none to any
/// SQLite; and if this process stood still here until it was taken over from, the journal of that name would be a live one.
fn clear(paths: &Paths, outcome: &mut Outcome) -> Result<(), Halt> {
    let survey = survey(paths)?;
    survey.nobody_is_there()?;
    if journal_is_hot(paths)? {
        return Err(Halt::Refused(vec![format!(
            "{} is a journal that must be rolled back: open the database once for writing through coord, and run this again",
            paths.journal.display()
        )]));
    }
    for path in &survey.names {
        match fs::remove_file(path) {
            Ok(()) => outcome.removed.push(path.display().to_string()),
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            Err(error) => return Err(Halt::Cannot(format!("cannot remove {}: {error}", path.display()))),
        }
    }
    Ok(())
}

fn survey(paths: &Paths) -> Result<Survey, Halt> {
    let rows = report::inspect(&paths.database).map_err(|error| Halt::Cannot(error.to_string()))?;
    // By its node's name: a host without a place for liveness files has no other proof of who is who.
    let status = report::status(&paths.database).unwrap_or_default();
    let others = rows.into_iter().filter(|row| status["node"] != *row.node).collect();
    Survey::new(paths, others).map_err(|error| Halt::Cannot(error.to_string()))
}

fn journal_is_hot(paths: &Paths) -> Result<bool, Halt> {
    let shown = paths.journal.display();
    remarks::journal_is_hot(paths).map_err(|error| match error.kind() {
        ErrorKind::InvalidInput => {
            Halt::Refused(vec![format!("{shown} is not a regular file; look what made it and remove it")])
        }
        _ => Halt::Cannot(format!("cannot read {shown}: {error}")),
    })
}

/// What SQLite and coord say of a failure. One that comes of somebody else's lock is a refusal.
fn told(error: rusqlite::Error) -> Halt {
    let sentence = report::last_error().unwrap_or_else(|| error.to_string());
    match error.sqlite_error_code() {
        Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => Halt::Refused(vec![format!(
            "somebody has a lock on it: {sentence}. Close that program, or wait until it is done, and run this again"
        )]),
        _ => Halt::Cannot(format!("it cannot be opened and locked through coord: {sentence}")),
    }
}

fn as_json(options: &args::Detach, path: &Path, outcome: &Outcome) -> String {
    let object = serde_json::json!({
        "path": path.to_string_lossy(),
        "dry_run": options.dry_run,
        "network_exclusive": inspect::is_attached(path),
        "removed": outcome.removed,
        "refused": outcome.refused,
        "notes": outcome.notes,
    });
    format!("{object:#}\n")
}

fn as_text(options: &args::Detach, path: &Path, outcome: &Outcome) -> String {
    let verb = if options.dry_run { "would remove" } else { "removed" };
    let ending = match (outcome.refused.is_empty(), options.dry_run) {
        (false, _) => "REFUSED: it stays in network-exclusive mode",
        (true, true) => "nothing was changed",
        (true, false) => "done: it is a plain SQLite database again",
    };
    let lines = std::iter::once(path.display().to_string())
        .chain(outcome.notes.iter().map(|note| format!("  {note}")))
        .chain(outcome.removed.iter().map(|name| format!("  {verb} {name}")))
        .chain(outcome.refused.iter().map(|why| format!("  {why}")))
        .chain([ending.to_string()]);
    lines.map(|line| out::harmless(&line) + "\n").collect()
}
