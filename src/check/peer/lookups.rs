//! What one host learns of the other's names, in the ways in which the protocol learns it: heartbeats in listings, a file that
//! was not there a moment ago, the lock directory that is made and removed again under one name.

use std::io::ErrorKind;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::session::Session;
use crate::check::bench::{Halt, failed, fails, holds};
use crate::check::report::Finding;
use crate::storage::Access;

const ADVICE_LIST: &str =
    "mount without directory caches (NFS: actimeo=0,lookupcache=none; 9p: cache=none), or keep the database elsewhere";
const ADVICE_LOCK: &str =
    "keep the database elsewhere: the lock directory cannot be made anew after another host has removed it";

/// A client may take a directory for existing for a while after another one has removed it.
const LOCK_PATIENCE: Duration = Duration::from_secs(10);
const LOCK_POLL: Duration = Duration::from_millis(20);

#[derive(Default, Serialize, Deserialize)]
struct Looked {
    rounds: u32,
    wrong: u32,
    /// What of it was wrong: a file not found, found with other content, or still found when it was gone.
    how: [u32; 3],
    /// Where a plain look by name would have been wrong.
    by_name_wrong: u32,
    longest_ms: u64,
}

fn both(a: &Looked, b: &Looked, of: fn(&Looked) -> u32) -> u32 {
    of(a) + of(b)
}

/// After a beat was renamed, a listing afresh shows it under its new name and not under its old one.
pub(super) fn heartbeats(session: &mut Session, rounds: u32) -> Result<Finding, Halt> {
    session.step(
        "heartbeats in listings",
        ADVICE_LIST,
        |session| {
            let bench = session.bench();
            let dir = session.work("beats")?;
            let path = |session: &Session, n: u32| dir.join(session.name("beat", n));
            if session.is_a() {
                let made = bench.storage.create_new(&path(session, 0), b"", bench.place.owner);
                made.map_err(failed("create a file"))?;
            }
            let mut looked = Looked::default();
            for round in 0..rounds {
                bench.go_on()?;
                // Each has made a name here before, so it has a listing that it could think is still good.
                let own = dir.join(session.own_name("new"));
                bench.storage.create_new(&own, b"", bench.place.owner).map_err(failed("create a file"))?;
                bench.storage.list(&dir).map_err(failed("list a directory"))?;
                bench.storage.unlink(&own).map_err(failed("remove a file"))?;
                session.meet()?;
                if session.leads(round) {
                    let renamed = bench.storage.rename(&path(session, round), &path(session, round + 1));
                    renamed.map_err(failed("rename a file that the other host has renamed before"))?;
                    session.meet()?;
                    session.meet()?;
                    continue;
                }
                session.meet()?;
                let own = dir.join(session.own_name("new"));
                bench.storage.create_new(&own, b"", bench.place.owner).map_err(failed("create a file"))?;
                let names = bench.storage.list(&dir).map_err(failed("list a directory"))?;
                bench.storage.unlink(&own).map_err(failed("remove a file"))?;
                let shows = |n: u32| names.iter().any(|name| **name == *session.name("beat", n));
                looked.rounds += 1;
                looked.wrong += u32::from(!shows(round + 1) || shows(round));
                session.meet()?;
            }
            Ok(looked)
        },
        |a, b| {
            let (rounds, wrong) = (both(a, b, |seen| seen.rounds), both(a, b, |seen| seen.wrong));
            match wrong {
                0 => holds(format!("{rounds} of {rounds} were seen under their new name only")),
                _ => fails(format!(
                    "{wrong} of {rounds} were not seen, or under their old name too, in a listing afresh"
                )),
            }
        },
    )
}

/// One host has looked for a file in vain, the other makes it: opened as the directory lists it, it is there; and after it was
/// removed it is not.
pub(super) fn missing(session: &mut Session, rounds: u32) -> Result<Finding, Halt> {
    session.step(
        "a file that was not there, and is gone again",
        ADVICE_LIST,
        |session| {
            let bench = session.bench();
            let dir = session.work("missing")?;
            let mut looked = Looked::default();
            for round in 0..rounds.div_ceil(2) {
                bench.go_on()?;
                let path = dir.join(session.name("journal", round));
                let text = format!("round {round}");
                if session.leads(round) {
                    session.meet()?;
                    let made = bench.storage.create_new(&path, text.as_bytes(), bench.place.owner);
                    made.map_err(failed("create a file that the other host has looked for"))?;
                    session.meet()?;
                    session.meet()?;
                    bench.storage.unlink(&path).map_err(failed("remove a file"))?;
                    session.meet()?;
                    session.meet()?;
                    continue;
                }
                let before = bench.storage.open(&path, Access::Read).is_ok();
                session.meet()?;
                session.meet()?;
                looked.rounds += 1;
                looked.by_name_wrong += u32::from(bench.storage.open(&path, Access::Read).is_err());
                let scratch = dir.join(session.own_name("scratch"));
                let read = bench.storage.open_listed(&path, Access::Read, &scratch).and_then(|file| {
                    let mut bytes = vec![0; 64];
                    let got = file.read_at(&mut bytes, 0)?;
                    bytes.truncate(got);
                    Ok(bytes)
                });
                let (missing, other) = (read.is_err(), read.is_ok_and(|bytes| bytes != text.as_bytes()));
                session.meet()?;
                session.meet()?;
                looked.by_name_wrong += u32::from(bench.storage.open(&path, Access::Read).is_ok());
                let scratch = dir.join(session.own_name("scratch"));
                let again = bench.storage.open_listed(&path, Access::Read, &scratch);
                let stays = !again.is_err_and(|error| error.kind() == ErrorKind::NotFound);
                looked.wrong += u32::from(before || missing || other || stays);
                for (count, wrong) in looked.how.iter_mut().zip([missing, other, stays]) {
                    *count += u32::from(wrong);
                }
                session.meet()?;
            }
            Ok(looked)
        },
        |a, b| {
            let (rounds, wrong) = (both(a, b, |seen| seen.rounds), both(a, b, |seen| seen.wrong));
            let by_name = both(a, b, |seen| seen.by_name_wrong);
            let plain = format!("looked for by name alone {by_name} of {} answers were out of date", 2 * rounds);
            match wrong {
                0 => holds(format!("{rounds} of {rounds} were right by the listing; {plain}")),
                _ => {
                    let [missing, other, stays] = [0, 1, 2].map(|n| a.how[n] + b.how[n]);
                    fails(format!(
                        "{wrong} of {rounds} were wrong although the directory was listed afresh ({missing} not found, {other} \
                         with other content, {stays} found after they were removed); {plain}"
                    ))
                }
            }
        },
    )
}

/// The one name that is used again: the lock directory. Who is told that it exists may be told so for a moment too long, but
/// not for ever; who makes it has it alone.
pub(super) fn lock_directory(session: &mut Session, rounds: u32) -> Result<Finding, Halt> {
    session.step(
        "the lock directory, made and removed in turn",
        ADVICE_LOCK,
        |session| {
            let bench = session.bench();
            let lock = session.work("lock")?.join(session.name("lock", 0));
            let mut looked = Looked::default();
            for round in 0..rounds.div_ceil(2) {
                bench.go_on()?;
                if session.leads(round) {
                    take(session, &lock, &mut looked)?;
                    session.meet()?;
                    session.meet()?;
                    bench.storage.remove_dir(&lock).map_err(failed("remove an empty directory"))?;
                    session.meet()?;
                    continue;
                }
                session.meet()?;
                match bench.storage.make_dir(&lock, bench.place.owner) {
                    Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
                    Err(error) => {
                        return fails(format!("making a directory that the other host has made answers {error}"));
                    }
                    Ok(()) => looked.wrong += 1,
                }
                session.meet()?;
                session.meet()?;
            }
            Ok(looked)
        },
        |a, b| {
            let (rounds, wrong) = (both(a, b, |seen| seen.rounds), both(a, b, |seen| seen.wrong));
            let longest = a.longest_ms.max(b.longest_ms);
            match wrong {
                0 => holds(format!("{rounds} turns; it was made anew within {longest} ms")),
                _ => fails(format!("a directory that the other host held was made a second time, {wrong} times")),
            }
        },
    )
}

fn take(session: &Session, lock: &std::path::Path, looked: &mut Looked) -> Result<(), Halt> {
    let bench = session.bench();
    let begun = bench.storage.now();
    loop {
        let waited = bench.storage.now().since(begun);
        match bench.storage.make_dir(lock, bench.place.owner) {
            Ok(()) => {
                looked.rounds += 1;
                looked.longest_ms = looked.longest_ms.max(u64::try_from(waited.as_millis()).unwrap_or(u64::MAX));
                return Ok(());
            }
            Err(error) if error.kind() == ErrorKind::AlreadyExists && waited < LOCK_PATIENCE => {}
            Err(error) if error.kind() == ErrorKind::AlreadyExists => {
                return fails(format!(
                    "a directory that the other host has removed still exists for this one after {} s",
                    waited.as_secs()
                ));
            }
            Err(error) => return Err(failed("make the lock directory")(error)),
        }
        bench.go_on()?;
        bench.storage.sleep(LOCK_POLL);
    }
}
