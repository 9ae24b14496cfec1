//! Data handed over from one host to the other: the writer syncs and says so, the reader has old pages in its cache, drops
//! them as the protocol does on SHARED, and reads. Read without the drop, too, to tell what it is worth here.

use std::io;

use serde::{Deserialize, Serialize};

use super::session::Session;
use crate::check::bench::{Halt, Seen, failed, fails, holds};
use crate::check::report::Finding;
use crate::check::solo::{PAGES, content, make, whole};
use crate::storage::{Access, DataFile};

const ADVICE: &str = "keep the database elsewhere, or mount without a data cache (9p: cache=none): after a \
                      hand-over this host reads old pages";

#[derive(Default, Serialize, Deserialize)]
struct Read {
    rounds: u32,
    stale: u32,
    /// Sizes by handle, after the drop, that were too small and too large.
    too_small: u32,
    too_large: u32,
    /// Reads without the drop, and how many of them were stale.
    undropped: u32,
    undropped_stale: u32,
}

pub(super) fn check(session: &mut Session, rounds: u32) -> Result<Finding, Halt> {
    session.step("data after a hand-over", ADVICE, |session| run(session, rounds), judge)
}

/// What the database is in this round: it grows and shrinks.
fn version(round: u32) -> Vec<u8> {
    content(u64::from(round) + 10, PAGES + u64::from(round % 3))
}

fn run(session: &mut Session, rounds: u32) -> Result<Read, Halt> {
    let bench = session.bench();
    let dir = session.work("handover")?;
    let path = dir.join(session.name("data", 0));
    if session.is_a() {
        drop(make(bench, &path, 1)?);
    }
    session.meet()?;
    // As in a process that uses a database: coord's own handle to drop the cache through, SQLite's to read and write.
    let own = bench.storage.open(&path, Access::Read).map_err(failed("open the other host's file"))?;
    let base = bench.storage.open(&path, Access::ReadWrite).map_err(failed("open the other host's file"))?;
    whole(&*base).map_err(failed("read the other host's file"))?;
    session.meet()?;
    let mut read = Read::default();
    for round in 0..rounds.max(6) {
        bench.go_on()?;
        let wanted = version(round);
        if session.leads(round) {
            own.drop_cache().map_err(failed("drop what this host has cached of a file"))?;
            base.write_at(&wanted, 0).map_err(failed("write a file"))?;
            base.set_len(wanted.len() as u64).map_err(failed("change a file's size"))?;
            base.sync().map_err(failed("sync a file"))?;
            // Now this end, too, has pages in its cache that will be old in the next round.
            whole(&*base).map_err(failed("read a file"))?;
            session.meet()?;
            session.meet()?;
            continue;
        }
        session.meet()?;
        if round % 4 < 2 {
            read.undropped += 1;
            read.undropped_stale += u32::from(whole(&*base).map_err(failed("read a file"))? != wanted);
        }
        own.drop_cache().map_err(failed("drop what this host has cached of a file"))?;
        let (size, seen) = read_as_sqlite(&*base).map_err(failed("read a file"))?;
        read.rounds += 1;
        read.too_small += u32::from(size < wanted.len() as u64);
        read.too_large += u32::from(size > wanted.len() as u64);
        read.stale += u32::from(seen != wanted);
        session.meet()?;
    }
    Ok(read)
}

/// The change counter, the size, the pages: the order in which SQLite asks.
fn read_as_sqlite(base: &dyn DataFile) -> io::Result<(u64, Vec<u8>)> {
    base.read_at(&mut [0; 16], 24)?;
    let size = base.size()?;
    Ok((size, whole(base)?))
}

fn judge(a: &Read, b: &Read) -> Result<Seen, Halt> {
    let sum = |of: fn(&Read) -> u32| of(a) + of(b);
    let (rounds, stale) = (sum(|read| read.rounds), sum(|read| read.stale));
    let (small, large) = (sum(|read| read.too_small), sum(|read| read.too_large));
    let undropped = format!(
        "without the drop {} of {} reads were stale",
        sum(|read| read.undropped_stale),
        sum(|read| read.undropped)
    );
    if stale + small + large > 0 {
        return fails(format!(
            "after the cache was dropped {stale} of {rounds} reads gave old data, and the file's size was {small} times too small \
             and {large} times too large; {undropped}"
        ));
    }
    holds(format!("after the cache was dropped {rounds} of {rounds} reads were right; {undropped}"))
}
