//! Who sees whom (Dekker 1965): each puts a name down and then lists. Whoever looks second must see the first.
//!
//! The hosts run freely: in a batch each makes [`NAMES`] names, and lists after each. For every pair of a name of A and one of
//! B, A's listing after its name shows B's, or B's listing after its name shows A's. So a batch tries every pair, and no two
//! clocks are compared.

use serde::{Deserialize, Serialize};

use super::session::Session;
use crate::check::bench::{Halt, Seen, failed, fails, holds, note};
use crate::check::report::Finding;

const ADVICE: &str = "mount without directory caches (NFS: lookupcache=none; 9p: cache=none), or keep the database elsewhere: a \
                      reader and a writer could both think that they are alone";

/// Names of each end in one batch.
const NAMES: u32 = 32;

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
    for batch in 0..rounds.div_ceil(NAMES).max(2) {
        let dir = session.work(&format!("crossing-{batch}"))?;
        let own_names: Vec<_> = (0..NAMES).map(|n| session.name(own, n)).collect();
        let other_names: Vec<_> = (0..NAMES).map(|n| session.name(other, n)).collect();
        let (mut listings, mut before) = (Vec::new(), 0);
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
        }
        batches.push(listings);
        session.meet()?;
    }
    Ok(Listings(batches))
}

fn judge(a: &Listings, b: &Listings) -> Result<Seen, Halt> {
    let (mut missed, mut met) = (0, 0);
    for (a, b) in a.0.iter().zip(&b.0) {
        for (i, from_a) in a.iter().enumerate() {
            missed += b.iter().enumerate().filter(|(j, from_b)| from_a >> j & 1 == 0 && *from_b >> i & 1 == 0).count();
        }
        // Neither had finished before the other began.
        met += u32::from(a.first() != Some(&u32::MAX) && b.first() != Some(&u32::MAX));
    }
    let batches = a.0.len();
    let pairs = batches as u64 * u64::from(NAMES) * u64::from(NAMES);
    if missed > 0 {
        return fails(format!("in {missed} of {pairs} pairs of names neither host saw the other's"));
    }
    match met {
        0 => note(format!("{pairs} pairs of names, but the hosts never met: try again with more --rounds")),
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
        assert_eq!(judge(&none(), &all()).ok().map(|seen| seen.outcome), Some(Outcome::Note));
        assert!(judge(&none(), &none()).is_err());
        // Both took turns: each listing shows what the other had made before it.
        let turns = |lag: u32| Listings(vec![(0..NAMES).map(|n| (((1_u64) << (n + lag)) - 1) as u32).collect()]);
        assert_eq!(judge(&turns(0), &turns(1)).ok().map(|seen| seen.outcome), Some(Outcome::Holds));
        assert!(judge(&turns(0), &turns(0)).is_err(), "name n of A and name n of B do not see each other");
    }
}
