//! One host lists a directory while the other makes and removes names in it: what stays is in every listing, and no listing
//! fails.

use super::session::Session;
use crate::check::bench::{Halt, failed, holds};
use crate::check::report::Finding;
use crate::check::solo::{settle, settled_names, still_there};

const ADVICE: &str =
    "mount without directory caches (NFS: actimeo=0,lookupcache=none; 9p: cache=none), or keep the database elsewhere";

/// Names that come and go in each round, and listings meanwhile.
const CHANGES: u32 = 32;

pub(super) fn check(session: &mut Session, rounds: u32) -> Result<Finding, Halt> {
    session.step(
        "listing while names come and go",
        ADVICE,
        |session| run(session, rounds),
        |a, b| holds(format!("{} listings showed all that stayed and none failed", a + b)),
    )
}

/// How many listings were made here.
fn run(session: &mut Session, rounds: u32) -> Result<u32, Halt> {
    let bench = session.bench();
    let dir = session.work("motion")?;
    let settled = settled_names(session.key());
    if session.is_a() {
        settle(bench, &dir, &settled)?;
    }
    let mut listings = 0;
    for round in 0..rounds.div_ceil(CHANGES).max(2) {
        session.meet()?;
        for _ in 0..CHANGES {
            bench.go_on()?;
            if session.leads(round) {
                let path = dir.join(session.own_name("moving"));
                let made = bench.storage.create_new(&path, b"", bench.place.owner);
                made.map_err(failed("make a file while the other host lists"))?;
                bench.storage.unlink(&path).map_err(failed("remove a file while the other host lists"))?;
            } else {
                let listed = bench.storage.list(&dir);
                let listed =
                    listed.map_err(failed("list a directory in which the other host makes and removes names"))?;
                still_there(&settled, &listed)?;
                listings += 1;
            }
        }
    }
    Ok(listings)
}
