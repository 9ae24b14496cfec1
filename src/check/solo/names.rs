//! Names: one of several wins, the listing is right, and every name that the protocol makes can be made.

use std::collections::BTreeSet;
use std::ffi::{OsStr, OsString};
use std::io::{self, ErrorKind};
use std::path::Path;
use std::sync::Barrier;
use std::sync::mpsc::channel;
use std::thread::Builder;

use crate::check::bench::{Bench, Halt, Seen, Trouble, failed, fails, holds, note};
use crate::check::place;
use crate::check::report::Finding;

const ADVICE_RACE: &str =
    "keep the database elsewhere: where two programs can both make the same name there is no lock";
const ADVICE_LIST: &str =
    "keep the database elsewhere, or mount without directory caches (NFS: actimeo=0,lookupcache=none; 9p: cache=none)";
const ADVICE_NAMES: &str =
    "keep the database on a filesystem that takes names of 120 bytes and gives them back as they were made";

/// Threads that race for one name.
const RACERS: usize = 4;
/// Names they race for.
const PRIZES: u64 = 32;
/// Names in the long listing, and how much each is filled up: more than one reading of any client.
const MANY: u64 = 240;
const FILLER: usize = 95;
/// Changes that a listing is asked about, one by one.
const CHANGES: u64 = 32;
/// Names that stay while others come and go.
const SETTLED: u64 = 8;
/// The longest name that the protocol makes, and what a database's name may add up to, in bytes.
const LONGEST_MADE: usize = 120;
const LONGEST_DATABASE: usize = 255;

pub(super) fn check(bench: &Bench) -> Result<Vec<Finding>, Trouble> {
    Ok(vec![
        bench.step("mkdir: one wins", ADVICE_RACE, |bench| {
            race(bench, "dir", ErrorKind::AlreadyExists, &|path, _| bench.storage.make_dir(path, bench.place.owner))
        })?,
        bench.step("exclusive create: one wins", ADVICE_RACE, |bench| {
            race(bench, "file", ErrorKind::AlreadyExists, &|path, _| {
                bench.storage.create_new(path, b"", bench.place.owner)
            })
        })?,
        bench.step("rename: one wins", ADVICE_RACE, rename_race)?,
        bench.step("rename replaces", ADVICE_RACE, replaces)?,
        bench.step("listing: complete", ADVICE_LIST, complete)?,
        bench.step("listing: fresh after an own change", ADVICE_LIST, fresh)?,
        bench.step("listing: while names come and go", ADVICE_LIST, in_motion)?,
        bench.step("rmdir keeps what is full", ADVICE_RACE, full_stays)?,
        bench.step("names", ADVICE_NAMES, names)?,
    ])
}

/// What one racer got.
pub(in crate::check) enum Got {
    Won,
    Lost,
    Odd(String),
}

pub(in crate::check) fn got(result: io::Result<()>, loses_with: ErrorKind) -> Got {
    match result {
        Ok(()) => Got::Won,
        Err(error) if error.kind() == loses_with => Got::Lost,
        Err(error) => Got::Odd(error.to_string()),
    }
}

/// Several threads go for the same new names, half of them from the other end so that they meet for certain.
fn race(
    bench: &Bench,
    word: &str,
    loses_with: ErrorKind,
    attempt: &(dyn Fn(&Path, usize) -> io::Result<()> + Sync),
) -> Result<Seen, Halt> {
    let dir = bench.place.work(&format!("race-{word}"))?;
    let paths: Vec<_> = (0..PRIZES).map(|n| dir.join(place::name(bench.place.node.key, word, n))).collect();
    run_race(&paths, loses_with, attempt)
}

fn run_race(
    paths: &[std::path::PathBuf],
    loses_with: ErrorKind,
    attempt: &(dyn Fn(&Path, usize) -> io::Result<()> + Sync),
) -> Result<Seen, Halt> {
    let start = Barrier::new(RACERS);
    let run = |racer: usize| {
        start.wait();
        let mut order: Vec<usize> = (0..paths.len()).collect();
        if racer % 2 == 1 {
            order.reverse();
        }
        let mut mine: Vec<(usize, Got)> =
            order.into_iter().map(|n| (n, got(attempt(&paths[n], racer), loses_with))).collect();
        mine.sort_by_key(|(n, _)| *n);
        mine
    };
    let run = &run;
    let all: io::Result<Vec<Vec<(usize, Got)>>> = std::thread::scope(|scope| {
        // Whoever cannot have all of them lets none begin: they would wait for the others for ever.
        let (mut gates, mut racers) = (Vec::new(), Vec::new());
        for racer in 0..RACERS {
            let (gate, opened) = channel::<()>();
            let begun =
                Builder::new().spawn_scoped(scope, move || opened.recv().map(|()| run(racer)).unwrap_or_default())?;
            gates.push(gate);
            racers.push(begun);
        }
        for gate in &gates {
            let _ = gate.send(());
        }
        Ok(racers.into_iter().map(|racer| racer.join().unwrap_or_default()).collect())
    });
    let all = all.map_err(failed("start a thread"))?;
    if all.iter().any(|mine| mine.len() != paths.len()) {
        return fails("a racer did not come to its end");
    }
    let mut winners = vec![0; paths.len()];
    for (n, got) in all.iter().flatten() {
        match got {
            Got::Won => winners[*n] += 1,
            Got::Lost => {}
            Got::Odd(error) => return fails(format!("who loses is told {error:?} and not {loses_with:?}")),
        }
    }
    match winners.iter().find(|count| **count != 1) {
        None => holds(format!("{} of {} races had one winner among {RACERS}", paths.len(), paths.len())),
        Some(count) => fails(format!("a name for which {RACERS} raced was won by {count} of them")),
    }
}

/// A heartbeat and the rename that deposes it go for one name: whoever comes second must be told that it is gone.
fn rename_race(bench: &Bench) -> Result<Seen, Halt> {
    let dir = bench.place.work("race-rename")?;
    let mut paths = Vec::new();
    for n in 0..PRIZES {
        let path = dir.join(place::name(bench.place.node.key, "from", n));
        bench.storage.create_new(&path, b"", bench.place.owner).map_err(failed("create a file"))?;
        paths.push(path);
    }
    let seen = run_race(&paths, ErrorKind::NotFound, &|path, racer| {
        let name = path.file_name().unwrap_or_default().to_string_lossy().replacen("from", &format!("to{racer}"), 1);
        bench.storage.rename(path, &dir.join(name))
    })?;
    let left = bench.storage.list(&dir).map_err(failed("list a directory"))?;
    match left.iter().filter(|name| name.as_encoded_bytes().starts_with(b"to")).count() as u64 {
        PRIZES if left.len() as u64 == PRIZES => Ok(seen),
        count => {
            fails(format!("of {PRIZES} renamed files the directory shows {count}, and {} names in all", left.len()))
        }
    }
}

fn replaces(bench: &Bench) -> Result<Seen, Halt> {
    let dir = bench.place.work("replace-name")?;
    let (storage, owner) = (bench.storage, bench.place.owner);
    let (from, to) = (dir.join(bench.place.name("from")), dir.join(bench.place.name("to")));
    storage.create_new(&from, b"new", owner).map_err(failed("create a file"))?;
    storage.create_new(&to, b"old", owner).map_err(failed("create a file"))?;
    storage.rename(&from, &to).map_err(failed("rename a file over another"))?;
    let read = storage.read_small(&to, 16).map_err(failed("read a file that was renamed"))?;
    let names = storage.list(&dir).map_err(failed("list a directory"))?;
    if read != b"new" {
        return fails("after a rename over a file its old content is still there");
    }
    if names.iter().map(OsString::as_os_str).ne([to.file_name().unwrap_or_default()]) {
        return fails(format!("after a rename over a file the directory shows {} names and not 1", names.len()));
    }
    holds("a rename over a file leaves one name, with the new content")
}

fn complete(bench: &Bench) -> Result<Seen, Halt> {
    let dir = bench.place.work("list-many")?;
    let storage = bench.storage;
    let filler = "n".repeat(FILLER);
    let mut expected = BTreeSet::new();
    for n in 0..MANY {
        if n % 32 == 0 {
            bench.go_on()?;
        }
        let name = place::name(bench.place.node.key, &filler, n);
        storage.create_new(&dir.join(&name), b"", bench.place.owner).map_err(failed("create a file"))?;
        expected.insert(OsString::from(name));
    }
    compare(&storage.list(&dir).map_err(failed("list a directory"))?, &expected)?;
    for n in (0..MANY).step_by(2) {
        let name = place::name(bench.place.node.key, &filler, n);
        storage.unlink(&dir.join(&name)).map_err(failed("remove a file"))?;
        expected.remove(OsStr::new(&name));
    }
    compare(&storage.list(&dir).map_err(failed("list a directory"))?, &expected)?;
    holds(format!("all of {MANY} names are listed once, and half of them after the others were removed"))
}

fn compare(listed: &[OsString], expected: &BTreeSet<OsString>) -> Result<(), Halt> {
    let once: BTreeSet<&OsString> = listed.iter().collect();
    if once.len() != listed.len() {
        return fails(format!("a listing shows {} names twice", listed.len() - once.len()));
    }
    let missing = expected.iter().filter(|name| !once.contains(name)).count();
    let extra = once.iter().filter(|name| !expected.contains(**name)).count();
    if (missing, extra) != (0, 0) {
        let text = format!("a listing of {} names misses {missing} and shows {extra} that are gone", expected.len());
        return fails(text);
    }
    Ok(())
}

/// Another program of this host makes a name and removes it; each time an own change, then a listing.
fn fresh(bench: &Bench) -> Result<Seen, Halt> {
    let dir = bench.place.work("list-fresh")?;
    let (storage, owner) = (bench.storage, bench.place.owner);
    for _ in 0..CHANGES {
        bench.go_on()?;
        let name = bench.place.name("theirs");
        let theirs = dir.join(&name);
        std::thread::scope(|scope| scope.spawn(|| storage.create_new(&theirs, b"", owner)).join())
            .unwrap_or_else(|_| Err(ErrorKind::Other.into()))
            .map_err(failed("create a file"))?;
        if !list_afresh(bench, &dir)?.iter().any(|listed| *listed == *name) {
            return fails("a name that another program of this host had made is not in a listing made afterwards");
        }
        storage.unlink(&theirs).map_err(failed("remove a file"))?;
        if list_afresh(bench, &dir)?.iter().any(|listed| *listed == *name) {
            return fails("a name that was removed is in a listing made afterwards");
        }
    }
    holds(format!("{} of {} changes were in the listing made after them", 2 * CHANGES, 2 * CHANGES))
}

/// Other names are made and removed all the time while it is listed: those that stay are in every listing.
fn in_motion(bench: &Bench) -> Result<Seen, Halt> {
    let dir = bench.place.work("list-motion")?;
    let settled = settled_names(bench.place.node.key);
    settle(bench, &dir, &settled)?;
    let (storage, owner) = (bench.storage, bench.place.owner);
    let moving: Vec<_> = (0..CHANGES).map(|_| dir.join(bench.place.name("moving"))).collect();
    std::thread::scope(|scope| {
        let churn = scope.spawn(|| {
            moving.iter().try_for_each(|path| {
                storage.create_new(path, b"", owner)?;
                storage.unlink(path)
            })
        });
        let mut listings = 0;
        loop {
            bench.go_on()?;
            let last = churn.is_finished();
            still_there(&settled, &storage.list(&dir).map_err(failed("list a directory in which names come and go"))?)?;
            listings += 1;
            if last {
                break;
            }
        }
        let churned = churn.join().unwrap_or_else(|_| Err(ErrorKind::Other.into()));
        churned.map_err(failed("make and remove files while their directory is listed"))?;
        holds(format!("{listings} listings showed all that stayed while {CHANGES} names were made and removed"))
    })
}

/// Names that stay.
pub(in crate::check) fn settled_names(key: u64) -> Vec<OsString> {
    (0..SETTLED).map(|n| OsString::from(place::name(key, "settled", n))).collect()
}

pub(in crate::check) fn settle(bench: &Bench, dir: &Path, names: &[OsString]) -> Result<(), Halt> {
    names.iter().try_for_each(|name| {
        bench.storage.create_new(&dir.join(name), b"", bench.place.owner).map_err(failed("create a file"))
    })
}

pub(in crate::check) fn still_there(settled: &[OsString], listed: &[OsString]) -> Result<(), Halt> {
    match settled.iter().filter(|name| !listed.contains(name)).count() {
        0 => Ok(()),
        missing => {
            fails(format!("{missing} of {} names that nobody touches are missing from a listing", settled.len()))
        }
    }
}

/// As the protocol lists: after an own change in that very directory.
fn list_afresh(bench: &Bench, dir: &Path) -> Result<Vec<OsString>, Halt> {
    let own = dir.join(bench.place.name("new"));
    bench.storage.create_new(&own, b"", bench.place.owner).map_err(failed("create a file"))?;
    let listed = bench.storage.list(dir).map_err(failed("list a directory"));
    bench.storage.unlink(&own).map_err(failed("remove a file"))?;
    listed
}

fn full_stays(bench: &Bench) -> Result<Seen, Halt> {
    let dir = bench.place.work("full")?;
    let file = dir.join(bench.place.name("holder"));
    bench.storage.create_new(&file, b"", bench.place.owner).map_err(failed("create a file"))?;
    match bench.storage.remove_dir(&dir) {
        Ok(()) => return fails("a directory with a file in it could be removed"),
        Err(error) if matches!(error.kind(), ErrorKind::DirectoryNotEmpty | ErrorKind::AlreadyExists) => {}
        Err(error) => return fails(format!("removing a directory with a file in it answers {error}")),
    }
    bench.storage.attributes(&file).map_err(failed("look at a file in a directory that was not to be removed"))?;
    bench.storage.unlink(&file).map_err(failed("remove a file"))?;
    bench.storage.remove_dir(&dir).map_err(failed("remove an empty directory"))?;
    holds("a directory that is not empty cannot be removed, an empty one can")
}

/// Which names can be made; only the protocol's own must be.
fn names(bench: &Bench) -> Result<Seen, Halt> {
    let dir = bench.place.work("names")?;
    let key = bench.place.node.key;
    let of_length = |length: usize| {
        let stem = place::name(key, "l", length as u64);
        OsString::from(format!("{stem}.{}", "x".repeat(length - stem.len() - 1)))
    };
    if let Err(why) = keeps(bench, &dir, &of_length(LONGEST_MADE))? {
        return fails(format!("a name of {LONGEST_MADE} bytes, as the protocol makes them, {why}"));
    }
    let mut odd = Vec::new();
    if let Err(why) = keeps(bench, &dir, &of_length(LONGEST_DATABASE))? {
        odd.push(format!("names of {LONGEST_DATABASE} bytes: one {why}"));
    }
    for (what, tail) in [
        ("bytes that are not UTF-8", &b"\xff\xfe"[..]),
        ("accented letters", "\u{e9}".as_bytes()),
        ("letters with a separate accent", "e\u{301}".as_bytes()),
        ("blanks and punctuation", b" a?b*c:"),
    ] {
        let mut bytes = place::name(key, "n", tail.len() as u64).into_bytes();
        bytes.extend_from_slice(tail);
        let name: OsString = std::os::unix::ffi::OsStringExt::from_vec(bytes);
        if let Err(why) = keeps(bench, &dir, &name)? {
            odd.push(format!("{what}: such a name {why}"));
        }
    }
    if !tells_case_apart(bench, &dir)? {
        odd.push("capital and small letters are one".to_string());
    }
    if odd.is_empty() {
        return holds(format!("up to {LONGEST_DATABASE} bytes, any bytes, capital and small letters are two"));
    }
    note(format!("those of the protocol can be made; of a database's: {}", odd.join("; ")))
}

/// Whether a file of this name can be made, is listed under exactly this name, and found by it.
fn keeps(bench: &Bench, dir: &Path, name: &OsStr) -> Result<Result<(), String>, Halt> {
    let path = dir.join(name);
    if let Err(error) = bench.storage.create_new(&path, b"", bench.place.owner) {
        return match failed("create a file")(error) {
            Halt::Failed(_) => Ok(Err("cannot be made".to_string())),
            trouble => Err(trouble),
        };
    }
    let listed = bench.storage.list(dir).map_err(failed("list a directory"))?;
    let found = bench.storage.attributes(&path).is_ok();
    let removed = bench.storage.unlink(&path).is_ok();
    Ok(match (listed.iter().any(|other| other == name), found && removed) {
        (true, true) => Ok(()),
        (false, _) => Err("is listed in another spelling".to_string()),
        (true, false) => Err("is not found again".to_string()),
    })
}

fn tells_case_apart(bench: &Bench, dir: &Path) -> Result<bool, Halt> {
    let small = bench.place.name("case");
    let capital = small.replacen("case", "CASE", 1);
    let create = |name: &str| bench.storage.create_new(&dir.join(name), b"", bench.place.owner);
    create(&small).map_err(failed("create a file"))?;
    match create(&capital) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == ErrorKind::AlreadyExists => Ok(false),
        Err(error) => Err(failed("create a file")(error)),
    }
}
