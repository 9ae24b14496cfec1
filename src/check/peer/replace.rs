//! The fence, between two hosts: one has a file open and is about to write, the other renames a copy over it. The late write
//! must not reach the new file, and both must find the new file by its name.

use std::io::ErrorKind;

use serde::{Deserialize, Serialize};

use super::session::Session;
use crate::check::bench::{Halt, Seen, failed, fails, holds, note};
use crate::check::report::Finding;
use crate::check::solo::{PAGE, PAGES, content, make, whole};
use crate::storage::Access;

const ADVICE: &str =
    "keep the database elsewhere: after a takeover, late writes of a frozen host would reach the live file";

#[derive(Default, Serialize, Deserialize)]
struct Late {
    rounds: u32,
    /// New files that this end found changed, and names that led it to the old file.
    reached: u32,
    misled: u32,
    /// Late writes of this end that the server refused.
    refused: u32,
    /// Why an open file cannot be replaced.
    cannot: Option<String>,
}

pub(super) fn check(session: &mut Session, rounds: u32) -> Result<Finding, Halt> {
    session.step("late writes to a replaced file", ADVICE, |session| run(session, rounds), judge)
}

fn run(session: &mut Session, rounds: u32) -> Result<Late, Halt> {
    let dir = session.work("replace")?;
    let mut late = Late::default();
    for round in 0..rounds.div_ceil(4).max(4) {
        session.bench().go_on()?;
        let live = dir.join(session.name("live", round));
        match session.leads(round) {
            true => fence(session, &live, &mut late)?,
            false => be_fenced(session, &live, &mut late)?,
        }
        let scratch = dir.join(session.own_name("scratch"));
        let new = session.bench().storage.open_listed(&live, Access::Read, &scratch);
        let new = new.map_err(failed("open the file that has replaced another"))?;
        new.drop_cache().map_err(failed("drop what this host has cached of a file"))?;
        let seen = whole(&*new).map_err(failed("read the file that has replaced another"))?;
        late.rounds += 1;
        // The other must have closed nothing and opened nothing before both have looked.
        let replaced =
            session.say(if late.cannot.is_some() { "not" } else { "done" })? == "done" && late.cannot.is_none();
        if replaced && seen != content(2, PAGES) {
            // Late writes go to the first pages, so the last one tells which file this is.
            match seen[seen.len().saturating_sub(PAGE)..].first_chunk::<8>() {
                Some(version) if *version == 1_u64.to_le_bytes() => late.misled += 1,
                _ => late.reached += 1,
            }
        }
    }
    Ok(late)
}

/// Replaces the file that the other end has open and has begun to write to.
fn fence(session: &mut Session, live: &std::path::Path, late: &mut Late) -> Result<(), Halt> {
    let storage = session.bench().storage;
    drop(make(session.bench(), live, 1)?);
    session.meet()?;
    session.meet()?;
    let copy = live.with_file_name(session.own_name("copy"));
    drop(make(session.bench(), &copy, 2)?);
    match storage.rename(&copy, live) {
        Ok(()) => storage.sync_dir(live.parent().unwrap_or(live)).map_err(failed("sync a directory"))?,
        Err(error) if matches!(error.kind(), ErrorKind::StorageFull | ErrorKind::NotFound) => {
            return Err(failed("replace a file")(error));
        }
        Err(error) => late.cannot = Some(error.to_string()),
    }
    session.meet()?;
    session.meet()
}

/// Has the file open, writes before it is replaced without syncing, and once more afterwards.
fn be_fenced(session: &mut Session, live: &std::path::Path, late: &mut Late) -> Result<(), Halt> {
    session.meet()?;
    let old = session.bench().storage.open(live, Access::ReadWrite).map_err(failed("open the other host's file"))?;
    whole(&*old).map_err(failed("read the other host's file"))?;
    old.write_at(&content(3, 1), 0).map_err(failed("write to the other host's file"))?;
    session.meet()?;
    session.meet()?;
    let written = old.write_at(&content(3, 1), PAGE as u64).and_then(|()| old.sync());
    late.refused += u32::from(written.is_err());
    // Closed last: some clients write back only then.
    drop(old);
    session.meet()
}

fn judge(a: &Late, b: &Late) -> Result<Seen, Halt> {
    let rounds = a.rounds.max(b.rounds);
    if a.reached + b.reached > 0 {
        return fails(format!("late writes reached the new file in {} of {rounds} rounds", a.reached.max(b.reached)));
    }
    if a.misled + b.misled > 0 {
        return fails(format!(
            "a host was led to the old file by its name in {} of {rounds} rounds, although it had listed the directory afresh",
            a.misled + b.misled
        ));
    }
    if let Some(error) = a.cannot.as_ref().or(b.cannot.as_ref()) {
        return note(format!(
            "a file that the other host has open cannot be replaced ({error}): after a takeover from a silent host a database \
             stays closed for ten leases"
        ));
    }
    let refused = a.refused + b.refused;
    holds(format!(
        "in {rounds} rounds no late write reached the new file; {refused} were refused, {} went to the old one unseen",
        rounds - refused
    ))
}
