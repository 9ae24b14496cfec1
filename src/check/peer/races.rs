//! Both hosts go for the same names at once. One starts at the first name and the other at the last, so that they meet.

use std::io::{self, ErrorKind};
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::pace::{Pace, Through};
use super::session::Session;
use crate::check::bench::{Halt, Seen, failed, fails, holds, note, nothing_shown};
use crate::check::report::Finding;
use crate::check::solo::{Got, got};

const ADVICE: &str =
    "keep the database elsewhere: two hosts that can both make the same name have no lock between them";

/// Names in one batch.
const BATCH: u32 = 32;

/// What one end has won.
#[derive(Serialize, Deserialize)]
struct Won {
    /// A bit for each name, a number for each batch.
    batches: Vec<u32>,
    /// Names in the directory after each batch.
    left: Vec<u64>,
}

pub(super) fn mkdir(session: &mut Session, rounds: u32) -> Result<Finding, Halt> {
    let owner = session.bench().place.owner;
    let storage = session.bench().storage;
    session.step(
        "mkdir: one wins",
        ADVICE,
        |session| {
            race(session, "dir", rounds, false, ErrorKind::AlreadyExists, &|path, _| storage.make_dir(path, owner))
        },
        |a, b| judge(a, b, false),
    )
}

pub(super) fn create(session: &mut Session, rounds: u32) -> Result<Finding, Halt> {
    let owner = session.bench().place.owner;
    let storage = session.bench().storage;
    session.step(
        "exclusive create: one wins",
        ADVICE,
        |session| {
            race(session, "file", rounds, false, ErrorKind::AlreadyExists, &|path, _| {
                storage.create_new(path, b"", owner)
            })
        },
        |a, b| judge(a, b, false),
    )
}

/// A heartbeat against the rename that deposes its node. `by_handle`: the protocol knows that this server may let both succeed,
/// and waits for a whole lease before it believes the second.
pub(super) fn rename(session: &mut Session, rounds: u32, by_handle: bool) -> Result<Finding, Halt> {
    let storage = session.bench().storage;
    session.step(
        "rename: one wins",
        ADVICE,
        |session| {
            race(session, "beat", rounds, true, ErrorKind::NotFound, &|path, to| {
                let name = path.file_name().unwrap_or_default().to_string_lossy().replacen("beat", to, 1);
                storage.rename(path, &path.with_file_name(name))
            })
        },
        |a, b| judge(a, b, by_handle),
    )
}

fn race(
    session: &mut Session,
    word: &str,
    rounds: u32,
    make_first: bool,
    loses_with: ErrorKind,
    attempt: &dyn Fn(&Path, &str) -> io::Result<()>,
) -> Result<Won, Halt> {
    let bench = session.bench();
    let dir = session.work(&format!("race-{word}"))?;
    let to = if session.is_a() { "a" } else { "b" };
    let mut won = Won { batches: Vec::new(), left: Vec::new() };
    let wanted = rounds.div_ceil(BATCH);
    let (mut batch, mut met) = (0, 0);
    while met < wanted && batch < Pace::most(wanted) {
        bench.go_on()?;
        let paths: Vec<_> = (0..BATCH).map(|n| dir.join(session.name(word, batch * BATCH + n))).collect();
        if make_first && session.is_a() {
            for path in &paths {
                bench.storage.create_new(path, b"", bench.place.owner).map_err(failed("create a file"))?;
            }
        }
        session.meet()?;
        session.pace.before(bench)?;
        let mut bits = 0;
        for step in 0..BATCH {
            let n = if session.is_a() { step } else { BATCH - 1 - step };
            match got(attempt(&paths[n as usize], to), loses_with) {
                Got::Won => bits |= 1 << n,
                Got::Lost => {}
                Got::Odd(error) => return fails(format!("who loses is told {error:?} and not {loses_with:?}")),
            }
            session.pace.between(bench, BATCH)?;
        }
        session.meet()?;
        let own = dir.join(session.own_name("look"));
        bench.storage.create_new(&own, b"", bench.place.owner).map_err(failed("create a file"))?;
        let left = bench.storage.list(&dir).map_err(failed("list a directory"))?;
        bench.storage.unlink(&own).map_err(failed("remove a file"))?;
        let left = left.iter().filter(|name| !name.as_encoded_bytes().starts_with(b"look.")).count();
        won.batches.push(bits);
        won.left.push(left as u64);
        let theirs = session.say(&format!("{bits:x}"))?;
        session.pace.learn(match (bits != 0, theirs != "0") {
            (true, false) => Through::ThisEnd,
            (false, true) => Through::OtherEnd,
            _ => Through::Neither,
        });
        met += u32::from(bits != 0 && theirs != "0");
        batch += 1;
    }
    Ok(won)
}

fn judge(a: &Won, b: &Won, both_may: bool) -> Result<Seen, Halt> {
    let all = u32::MAX >> (32 - BATCH);
    let names = a.batches.len() * BATCH as usize;
    let pairs = || a.batches.iter().zip(&b.batches);
    let both: u32 = pairs().map(|(a, b)| (a & b).count_ones()).sum();
    let neither: u32 = pairs().map(|(a, b)| (!(a | b) & all).count_ones()).sum();
    let met = pairs().filter(|(a, b)| **a != 0 && **b != 0).count();
    let expected = |batch: usize| (batch as u64 + 1) * u64::from(BATCH);
    let odd = a.left.iter().chain(&b.left).enumerate().find(|(n, left)| **left != expected(n % a.left.len()));
    if neither > 0 {
        return fails(format!("{neither} of {names} names were won by neither host"));
    }
    if both > 0 && !both_may {
        return fails(format!("{both} of {names} names were won by both hosts"));
    }
    if let Some((n, left)) = odd {
        let expected = expected(n % a.left.len());
        return fails(format!("afterwards a host lists {left} names where there are {expected}"));
    }
    let text = format!("{names} names, the hosts met in {met} of {} batches", a.batches.len());
    if both > 0 {
        return note(format!(
            "{both} of {text}; both were told that they had won {both} of them, as this server renames by handle: coord waits a \
             lease longer after it has deposed a node"
        ));
    }
    match met {
        0 => nothing_shown(format!(
            "in {} batches of {BATCH} names the hosts never met, as one was always through before the other began: which of two \
             wins is not shown",
            a.batches.len()
        )),
        _ => holds(format!("one winner for each of {text}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::report::Outcome;

    fn won(bits: u32, left: u64) -> Won {
        Won { batches: vec![bits | bits << 16], left: vec![left * 2] }
    }

    fn outcome(a: Won, b: Won, both_may: bool) -> Option<Outcome> {
        judge(&a, &b, both_may).ok().map(|seen| seen.outcome)
    }

    #[test]
    fn each_name_has_one_winner() {
        assert_eq!(outcome(won(0x00ff, 16), won(0xff00, 16), false), Some(Outcome::Holds));
        assert_eq!(outcome(won(0x01ff, 16), won(0xff00, 16), false), None);
        assert_eq!(outcome(won(0x00fe, 16), won(0xff00, 16), false), None);
        assert_eq!(outcome(won(0x00ff, 16), won(0xff00, 15), false), None);
    }

    #[test]
    fn hosts_that_never_met_have_shown_nothing() {
        let never_met = judge(&won(0xffff, 16), &won(0, 16), false).ok();
        assert_eq!(never_met.as_ref().map(|seen| (seen.outcome, seen.shown)), Some((Outcome::Note, false)));
        assert!(never_met.is_some_and(|seen| seen.says.contains("never met")));
        let met = judge(&won(0x00ff, 16), &won(0xff00, 16), false).ok();
        assert_eq!(met.map(|seen| seen.shown), Some(true));
    }

    #[test]
    fn two_winners_of_a_rename_are_told_where_the_protocol_can_do_with_them() {
        assert_eq!(outcome(won(0x01ff, 16), won(0xff00, 16), true), Some(Outcome::Note));
    }
}
