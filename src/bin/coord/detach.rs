//! `coord detach PATH`: gives a database back to plain SQLite. What a process that died has left is carried through first, under
//! the lock, as a takeover that broke off may have left the database itself in the directories that are to go; then the
//! directories go, if nobody is in them.

use crate::progress::Progress;
use crate::{args, demo, inspect, interrupts, out, register, remarks};
use coord::lock::report;
use coord::protocol::Paths;
use rusqlite::{Connection, ErrorCode, OpenFlags};
use rustix::fs::Access;
use rustix::io::Errno;
use std::fs;
use std::io::ErrorKind;
use std::path::Path;

mod survey;
#[cfg(test)]
mod tests;
mod watch;

use survey::Survey;
use watch::{Living, Waiting, Watch};

/// Exit status when somebody may still use the database.
const REFUSED: u8 = 1;

/// What came of it.
#[derive(Default)]
struct Outcome {
    /// What was removed, or would be.
    removed: Vec<String>,
    /// Why not.
    refused: Vec<String>,
    /// What else people should know.
    notes: Vec<String>,
    /// It was a plain SQLite database before.
    nothing_to_do: bool,
}

/// What ends it early.
enum Halt {
    Refused(Vec<String>),
    Cannot(String),
    Interrupted,
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
            outcome.nothing_to_do = true;
            outcome.notes = beside_a_plain_one(&paths);
            Ok(())
        }
        (Ok(true), true) => look(&paths, &mut outcome),
        (Ok(true), false) => detach(&paths, &mut outcome),
    };
    match result {
        Ok(()) => {}
        Err(Halt::Refused(why)) => outcome.refused = why,
        Err(Halt::Cannot(why)) => return Err(cannot(&why)),
        Err(Halt::Interrupted) => {
            let stays = format!("{shown} stays in network-exclusive mode, and no lock on it is left behind");
            return Ok(interrupts::ended(options.json, &stays));
        }
    }
    let said =
        out::print(&if options.json { as_json(options, &path, &outcome) } else { as_text(options, &path, &outcome) });
    said.map_err(|error| match inspect::is_attached(&path) {
        true => format!("{error}; {shown} is in network-exclusive mode still"),
        false => format!("{error}; {shown} is not in network-exclusive mode now"),
    })?;
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

/// What a program in trusted mode holds, or has left when it was killed.
fn beside_a_plain_one(paths: &Paths) -> Vec<String> {
    let mut notes = Vec::new();
    if paths.lock.symlink_metadata().is_ok() {
        notes.push(format!(
            "{} is there: a program holds it, or was killed and left it. Who next writes through coord clears up after the dead; \
             once every program is closed it can be removed, too",
            paths.lock.display()
        ));
    }
    if remarks::journal_is_hot(paths).unwrap_or(false) {
        notes.push(format!(
            "{} is hot: somebody writes just now, or was killed. Whoever opens the database next, also plain SQLite, rolls it back; \
             it must not be removed",
            paths.journal.display()
        ));
    }
    notes
}

/// Changes nothing: what would be done if nobody came or went meanwhile.
fn look(paths: &Paths, outcome: &mut Outcome) -> Result<(), Halt> {
    let survey = survey(paths)?;
    survey.nobody_is_alive()?;
    nothing_hinders(paths)?;
    survey.nobody_else_is_there()?;
    outcome.notes.extend(survey.leavings().into_iter().map(String::from));
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
    // A name of ours that is left behind would keep everybody out for a lease.
    interrupts::catch(true);
    let (mut watch, progress) = (Watch::new(), Progress::new());
    // Before anything is locked: as long as that is asked for, nobody else gets in.
    let silent = watch.until_silent(paths, &progress);
    progress.end();
    silent?;
    nothing_hinders(paths)?;
    let connection = lock(paths, watch)?;
    let removed = clear(paths, outcome);
    let told = |error| told(&error, None);
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

/// Opens and locks it, which rolls a hot journal back and finishes every takeover. While it is held nobody else can be in the middle of
/// anything. Whatever ends it earlier, the connection is closed, and with it all its names go.
fn lock(paths: &Paths, watch: Watch) -> Result<Connection, Halt> {
    register::register().map_err(Halt::Cannot)?;
    // The wait for a silent holder is ours, so that it can be ended.
    let uri = format!(
        "file:{}?vfs=coord&coord_mode=network-exclusive&coord_recovery_wait=0",
        demo::database::percent_encode(paths.database.as_os_str().as_encoded_bytes())
    );
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_URI | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let mut connection = Connection::open_with_flags(&uri, flags).map_err(|error| told(&error, None))?;
    let living = Living::default();
    let mut waiting = Waiting::new(paths, watch, &living);
    connection.busy_handler(Some(move |_| waiting.goes_on())).map_err(|error| told(&error, None))?;
    let locked = connection.execute_batch("BEGIN EXCLUSIVE");
    if interrupts::interrupted() {
        return Err(Halt::Interrupted);
    }
    let seen = watch::seen(&living);
    match locked {
        Ok(()) => Ok(connection),
        Err(_) if !seen.is_empty() => Err(Halt::Refused(seen)),
        Err(error) => Err(match told(&error, Some(&connection)) {
            Halt::Refused(why) => Halt::Refused(why.into_iter().chain(survey(paths)?.holders()).collect()),
            halt => halt,
        }),
    }
}

/// Stops where this user could not open and lock it, as far as the files' names, rights and first bytes tell.
fn nothing_hinders(paths: &Paths) -> Result<(), Halt> {
    let file = Access::READ_OK | Access::WRITE_OK;
    let wanted = [(&paths.database, file), (&paths.registry, file | Access::EXEC_OK)];
    let denied = || {
        wanted.into_iter().find_map(|(path, rights)| match rustix::fs::access(path, rights) {
            Ok(()) | Err(Errno::NOENT) => None,
            Err(error) => Some(format!("this user must be able to read and write {}: {error}", path.display())),
        })
    };
    match remarks::obstacle(&paths.database).or_else(denied) {
        Some(why) => Err(Halt::Cannot(format!("it cannot be opened and locked through coord: {why}"))),
        None => Ok(()),
    }
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

/// What SQLite and coord say of a failure. One that comes of somebody else's lock is a refusal, and the connection that was refused knows
/// whose.
fn told(error: &rusqlite::Error, connection: Option<&Connection>) -> Halt {
    let of_connection = |connection: &Connection| {
        let text = connection.query_row("PRAGMA coord_error", [], |row| row.get::<_, String>(0)).ok();
        text.filter(|text| !text.is_empty())
    };
    let sentence = connection.and_then(of_connection).or_else(report::last_error).unwrap_or_else(|| error.to_string());
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
        "nothing_to_do": outcome.nothing_to_do,
        "notes": outcome.notes,
    });
    format!("{object:#}\n")
}

fn as_text(options: &args::Detach, path: &Path, outcome: &Outcome) -> String {
    let verb = if options.dry_run { "would remove" } else { "removed" };
    let ending = match (outcome.refused.is_empty(), options.dry_run) {
        _ if outcome.nothing_to_do => "nothing to do: it is a plain SQLite database, not in network-exclusive mode",
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
