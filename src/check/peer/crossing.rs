//! Who sees whom (Dekker 1965): each puts a name down and then lists. Whoever looks second must see the first.
//!
//! The hosts run freely: in a batch each makes [`NAMES`] names, and lists after each. For every pair of a name of A and one of
//! B, A's listing after its name shows B's, or B's listing after its name shows A's. So a batch tries every pair, and no two
//! clocks are compared.

use serde::{Deserialize, Serialize};

use super::pace::{Pace, Through};
use super::session::Session;
use crate::check::bench::{Halt, Seen, failed, fails, holds, nothing_shown};
use crate::check::report::Finding;

const ADVICE: &str = "mount without directory caches (NFS: actimeo=0,lookupcache=none; 9p: cache=none), or keep the database elsewhere: a \
                      reader and a writer could both think that they are alone";

/// Names of each end in one batch.
const NAMES: u32 = 32;

/// The word of an end that began when the other was through.
const LATE: &str = "late";

/// For each batch, and each own name, the other's names in the listing after it, a bit each.
#[derive(Serialize, Deserialize)]
struct Listings(Vec<Vec<u32>>);

pub(super) fn who_sees_whom(session: &mut Session, rounds: u32) -> Result<Finding, Halt> {
    session.step("own name, then listing: one sees the other", ADVICE, |session| run(session, rounds), judge)
}

fn run(session: &mut Session, rounds: u32) -> Result<Listings, Halt> {
    let bench = session.bench();
    let (own, other) = if session.is_a() { ("a", "b") } else { ("b", "a") };
    let mut batches = Vec::new();
    let wanted = rounds.div_ceil(NAMES).max(2);
    let (mut batch, mut met) = (0, 0);
    while met < wanted && batch < Pace::most(wanted) {
        let dir = session.work(&format!("crossing-{batch}"))?;
        let own_names: Vec<_> = (0..NAMES).map(|n| session.name(own, n)).collect();
        let other_names: Vec<_> = (0..NAMES).map(|n| session.name(other, n)).collect();
        let (mut listings, mut before) = (Vec::new(), 0);
        session.pace.before(bench)?;
        for (n, name) in own_names.iter().enumerate() {
            bench.go_on()?;
            bench.storage.create_new(&dir.join(name), b"", bench.place.owner).map_err(failed("create a file"))?;
            let listed = bench.storage.list(&dir).map_err(failed("list a directory"))?;
            let shows = |name: &String| listed.iter().any(|other| **other == **name);
            if let Some(own) = own_names[..=n].iter().find(|own| !shows(own)) {
                return fails(format!("its own name {own} is missing from the listing after it was made"));
            }
            let seen =
                other_names.iter().enumerate().filter(|(_, name)| shows(name)).fold(0, |bits, (n, _)| bits | 1 << n);
            if before & !seen != 0 {
                return fails("a name of the other host was in one listing and is missing from the next");
            }
            before = seen;
            listings.push(seen);
            session.pace.between(bench, NAMES)?;
        }
        let late = came_late(&listings);
        batches.push(listings);
        let theirs = session.say(if late { LATE } else { "met" })? == LATE;
        session.pace.learn(match (late, theirs) {
            (false, true) => Through::ThisEnd,
            (true, false) => Through::OtherEnd,
            _ => Through::Neither,
        });
        met += u32::from(!late && !theirs);
        batch += 1;
    }
    Ok(Listings(batches))
}

/// Whether the other end was through before this one began.
fn came_late(listings: &[u32]) -> bool {
    listings.first() == Some(&u32::MAX)
}

fn judge(a: &Listings, b: &Listings) -> Result<Seen, Halt> {
    let (mut missed, mut met) = (0, 0);
    for (a, b) in a.0.iter().zip(&b.0) {
        for (i, from_a) in a.iter().enumerate() {
            missed += b.iter().enumerate().filter(|(j, from_b)| from_a >> j & 1 == 0 && *from_b >> i & 1 == 0).count();
        }
        met += u32::from(!came_late(a) && !came_late(b));
    }
    let batches = a.0.len();
    let pairs = batches as u64 * u64::from(NAMES) * u64::from(NAMES);
    if missed > 0 {
        return fails(format!("in {missed} of {pairs} pairs of names neither host saw the other's"));
    }
    match met {
        0 => nothing_shown(format!(
            "in {batches} batches of {NAMES} names the hosts never met, as one was always through before the other began: \
             whether one sees the other is not shown"
        )),
        _ => holds(format!("{pairs} pairs of names, the hosts met in {met} of {batches} batches")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::report::Outcome;

    #[test]
    fn of_each_pair_one_must_have_seen_the_other() {
        let all = || Listings(vec![vec![u32::MAX; NAMES as usize]]);
        let none = || Listings(vec![vec![0; NAMES as usize]]);
        // A was done before B began; and then B saw nothing of it.
        let never_met = judge(&none(), &all()).ok();
        assert_eq!(never_met.as_ref().map(|seen| (seen.outcome, seen.shown)), Some((Outcome::Note, false)));
        assert!(never_met.is_some_and(|seen| seen.says.contains("never met")));
        assert!(judge(&none(), &none()).is_err());
        // Both took turns: each listing shows what the other had made before it.
        let turns = |lag: u32| Listings(vec![(0..NAMES).map(|n| (((1_u64) << (n + lag)) - 1) as u32).collect()]);
        let met = judge(&turns(0), &turns(1)).ok();
        assert_eq!(met.map(|seen| (seen.outcome, seen.shown)), Some((Outcome::Holds, true)));
        assert!(judge(&turns(0), &turns(0)).is_err(), "name n of A and name n of B do not see each other");
    }
}
