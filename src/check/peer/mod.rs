//! Two hosts check a filesystem together.
//!
//! Each makes a directory of its own, finds the other's in a listing ([`meet`]), and they go on in the directory of the one
//! with the smaller key: A. There they talk in names that are used once, in lockstep ([`session`]). A step is run by both, each
//! tells the other what it has seen, and both judge from the same two accounts, so they come to one verdict.

use std::path::Path;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::bench::{Bench, Halt, Trouble, Watch};
use super::place::{self, Place};
use super::report::{Finding, Host, Outcome, Report, Verdict};
use super::{solo, verdict};
use crate::storage::Storage;

mod crossing;
mod handover;
mod lookups;
mod meet;
mod motion;
mod pace;
mod races;
mod replace;
mod session;
mod sign;

use session::Session;

/// How two hosts check together.
#[derive(Clone, Copy, Debug)]
pub struct Together {
    /// How often each race and each hand-over is tried; the higher of the two ends' counts.
    pub rounds: u32,
    /// How long to wait for the other host, and then for each of its answers.
    pub patience: Duration,
}

/// What each says first.
#[derive(Serialize, Deserialize)]
struct Hello {
    coord_version: String,
    rounds: u32,
    renames_by_handle: bool,
    host: Host,
}

/// What came of it.
struct Checked {
    hosts: Vec<Host>,
    together: Option<Vec<Finding>>,
    note: Option<String>,
}

/// Checks by itself, then waits for another host that does the same in this directory, and checks with it.
///
/// # Errors
/// [`Trouble`] if the check could not be carried out, or nobody else came. What it made is removed in any case, or named.
pub fn with_peer(storage: &dyn Storage, dir: &Path, how: &Together, watch: &Watch) -> Result<Report, Trouble> {
    let started = storage.now();
    let mut place = Place::make(storage, dir, place::PEER)?;
    let checked = check(storage, &place, how, watch);
    let left = place.clear();
    let Checked { hosts, together, note } = checked.map_err(|trouble| trouble.leaving(left.clone()))?;
    let mut report = Report::new(storage, dir, hosts, together);
    report.notes.append(&mut note.into_iter().chain(left).chain(place.notes()).collect());
    report.seconds = storage.now().since(started).as_secs_f64();
    Ok(report)
}

fn check(storage: &dyn Storage, place: &Place, how: &Together, watch: &Watch) -> Result<Checked, Trouble> {
    let mine = solo::check(storage, place, watch)?;
    let bench = Bench::new(storage, place, watch);
    let checked = meet::meet(&bench, how).map_err(Halt::from).and_then(|mut session| {
        let by_handle = storage.kind(&place.root).renames_by_handle();
        let checked = converse(&mut session, mine.clone(), how, by_handle);
        session.close(checked)
    });
    let alone = |together, note| Ok(Checked { hosts: vec![mine.clone()], together, note });
    match checked {
        Ok((hosts, findings)) => Ok(Checked { hosts, together: Some(findings), note: None }),
        Err(Halt::Failed(says)) => alone(Some(vec![talk(says)]), None),
        // What one host refuses by itself no other one can save.
        Err(Halt::Trouble(Trouble::Cannot(says))) if is_refused(&mine) => alone(None, Some(says)),
        Err(Halt::Trouble(trouble)) => Err(trouble),
    }
}

fn is_refused(host: &Host) -> bool {
    verdict::conclude(std::slice::from_ref(host), None).verdict == Verdict::Refused
}

/// That the ends could not even talk through the filesystem is an answer, too.
fn talk(says: String) -> Finding {
    let advice =
        "mount it so that a host reads what another has written into a new file, or use another filesystem".to_string();
    Finding { name: "two hosts, talk".to_string(), outcome: Outcome::Fails, says, advice: Some(advice) }
}

fn converse(
    session: &mut Session,
    mine: Host,
    how: &Together,
    renames_by_handle: bool,
) -> Result<(Vec<Host>, Vec<Finding>), Halt> {
    let hello = Hello {
        coord_version: env!("CARGO_PKG_VERSION").to_string(),
        rounds: how.rounds,
        renames_by_handle,
        host: mine,
    };
    let other: Hello = session.exchange(&hello)?;
    if other.coord_version != hello.coord_version {
        let says = format!(
            "{} runs coord {} and this is {}: use one version on both",
            other.host.host, other.coord_version, hello.coord_version
        );
        return Err(Trouble::Cannot(says).into());
    }
    let rounds = hello.rounds.max(other.rounds);
    let by_handle = hello.renames_by_handle || other.renames_by_handle;
    session.introduce(&hello.host.host, &other.host.host);
    let mut findings = steps(session, rounds, by_handle)?;
    let hosts = if session.is_a() { vec![hello.host, other.host] } else { vec![other.host, hello.host] };
    let disagreement = agree(session, &hosts, &findings)?;
    findings.extend(disagreement);
    // What was refused stays refused, whatever was not tried.
    if verdict::conclude(&hosts, Some(&findings)).verdict != Verdict::Refused
        && let Some(trouble) = session.untried()
    {
        return Err(trouble.into());
    }
    Ok((hosts, findings))
}

fn steps(session: &mut Session, rounds: u32, by_handle: bool) -> Result<Vec<Finding>, Halt> {
    Ok(vec![
        races::mkdir(session, rounds)?,
        races::create(session, rounds)?,
        races::rename(session, rounds, by_handle)?,
        crossing::who_sees_whom(session, rounds)?,
        motion::check(session, rounds)?,
        lookups::heartbeats(session, rounds)?,
        handover::check(session, rounds)?,
        replace::check(session, rounds)?,
        lookups::missing(session, rounds)?,
        lookups::lock_directory(session, rounds)?,
    ])
}

/// Both have the same accounts; that they conclude the same is looked at all the same.
fn agree(session: &mut Session, hosts: &[Host], findings: &[Finding]) -> Result<Option<Finding>, Halt> {
    let mine = (verdict::conclude(hosts, Some(findings)).verdict, findings.to_vec());
    let theirs: (Verdict, Vec<Finding>) = session.exchange(&mine)?;
    Ok((mine != theirs).then(|| Finding {
        name: "two hosts, one verdict".to_string(),
        outcome: Outcome::Fails,
        says: format!("the two ends do not agree: {} here, {} there", mine.0.words(), theirs.0.words()),
        advice: Some("a defect of coord, or of how this filesystem carries their messages: report it".to_string()),
    }))
}
