//! The fence, between two hosts: one has a file open and is about to write, the other puts a copy in its place as the protocol does
//! on its kind of filesystem. The late write must not reach the new file, and both must find the new file by its name.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::session::Session;
use crate::check::bench::{Halt, Seen, failed, fails, holds};
use crate::check::report::Finding;
use crate::check::solo::{Files, PAGE, PAGES, Way, content, make, replace, stays_closed, whole};
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
    /// In which way this end has replaced files.
    way: Option<Way>,
    /// Why an open file cannot be replaced.
    cannot: Option<String>,
}

pub(super) fn check(session: &mut Session, rounds: u32) -> Result<Finding, Halt> {
    session.step("late writes to a replaced file", ADVICE, |session| run(session, rounds), judge)
}

fn run(session: &mut Session, rounds: u32) -> Result<Late, Halt> {
    let dir = session.work("replace")?;
    let beside = [session.work("replace-copies")?, session.work("replace-aside")?];
    let mut late = Late::default();
    for round in 0..rounds.div_ceil(4).max(4) {
        session.bench().go_on()?;
        let live = dir.join(session.name("live", round));
        let done = match session.leads(round) {
            true => fence(session, &live, &beside, &mut late)?,
            false => be_fenced(session, &live, &mut late)?,
        };
        let scratch = dir.join(session.own_name("scratch"));
        let new = session.bench().storage.open_listed(&live, Access::Read, &scratch);
        let new = new.map_err(failed("open the file that has replaced another"))?;
        new.drop_cache().map_err(failed("drop what this host has cached of a file"))?;
        let seen = whole(&*new).map_err(failed("read the file that has replaced another"))?;
        late.rounds += 1;
        // The other must have closed nothing and opened nothing before both have looked.
        let replaced = session.say(if done { "done" } else { "not" })? == "done" && done;
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

/// Replaces the file that the other end has open and has begun to write to. False if that is refused for good.
fn fence(session: &mut Session, live: &Path, beside: &[PathBuf; 2], late: &mut Late) -> Result<bool, Halt> {
    let bench = session.bench();
    drop(make(bench, live, 1)?);
    session.meet()?;
    session.meet()?;
    let [copies, asides] = beside;
    let copy = copies.join(session.own_name("copy"));
    let files = Files { live: live.to_path_buf(), copy, aside: asides.join(session.own_name("aside")) };
    drop(make(bench, &files.copy, 2)?);
    let done = match replace(bench, &files)? {
        Ok(way) => {
            late.way = Some(way);
            true
        }
        Err(why) => {
            late.cannot = Some(why);
            false
        }
    };
    session.meet()?;
    session.meet()?;
    Ok(done)
}

/// Has the file open, writes before it is replaced without syncing, and once more afterwards.
fn be_fenced(session: &mut Session, live: &Path, late: &mut Late) -> Result<bool, Halt> {
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
    session.meet()?;
    Ok(true)
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
        return stays_closed("the other host has", error);
    }
    let refused = a.refused + b.refused;
    let mut ways: Vec<_> = [&a.way, &b.way].into_iter().flatten().map(Way::words).collect();
    ways.dedup();
    holds(format!(
        "in {rounds} rounds no late write reached the new file; {refused} were refused, {} went to the old one unseen; {}",
        rounds - refused,
        ways.join(", by the other host ")
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Where one host may not replace files, what the other one's did is judged all the same.
    #[test]
    fn a_refusal_hides_no_late_write() {
        let refused = || Late { rounds: 4, cannot: Some("no".to_string()), ..Late::default() };
        assert!(judge(&refused(), &Late { rounds: 4, ..Late::default() }).is_ok());
        for late in [Late { reached: 1, ..refused() }, Late { misled: 1, ..refused() }] {
            assert!(judge(&late, &refused()).is_err());
            assert!(judge(&refused(), &late).is_err());
        }
    }
}
