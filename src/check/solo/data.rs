//! Data: what is synced, dropped, truncated and replaced is what is read afterwards.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use super::replace;
use crate::check::bench::{Bench, Halt, Seen, Trouble, failed, fails, holds, note};
use crate::check::report::Finding;
use crate::storage::{Access, DataFile, Kind};

const ADVICE_DATA: &str = "keep the database elsewhere: what was written and synced here is not what is read";
const ADVICE_DROP: &str = "use a Linux host, which can drop what it has cached of a shared file";
pub(super) const ADVICE_REPLACE: &str =
    "keep the database elsewhere: after a takeover, late writes of a frozen host would reach the live file";
const ADVICE_LOCKS: &str =
    "mount with working file locks, or say coord_mode=network-exclusive, which does not need them";

/// One page of a database.
pub(in crate::check) const PAGE: usize = 4096;
/// Pages in the file that is worked on.
pub(in crate::check) const PAGES: u64 = 4;

pub(super) fn check(bench: &Bench, kind: &Kind) -> Result<Vec<Finding>, Trouble> {
    let mut findings = vec![
        bench.step("sync", ADVICE_DATA, synced)?,
        bench.step("cache drop", ADVICE_DROP, dropped)?,
        bench.step("read around the cache", ADVICE_DATA, uncached)?,
        bench.step("truncate and grow", ADVICE_DATA, truncated)?,
        bench.step("file identity", ADVICE_REPLACE, identity)?,
    ];
    findings.append(&mut replace::check(bench, kind)?);
    findings.push(bench.step("owner and rights of a copy", "", rights)?);
    if kind.is_local() {
        findings.push(bench.step("native locks", ADVICE_LOCKS, native_locks)?);
    }
    Ok(findings)
}

/// Pages that say which version they are of, each different.
pub(in crate::check) fn content(version: u64, pages: u64) -> Vec<u8> {
    (0..pages)
        .flat_map(|page| (0..PAGE / 16).flat_map(move |_| [version.to_le_bytes(), page.to_le_bytes()].concat()))
        .collect()
}

/// All of a file through this handle.
pub(in crate::check) fn whole(file: &dyn DataFile) -> std::io::Result<Vec<u8>> {
    let mut bytes = vec![0; (PAGES as usize + 4) * PAGE];
    let got = file.read_at(&mut bytes, 0)?;
    bytes.truncate(got);
    Ok(bytes)
}

/// A new file with a version in it, synced.
pub(in crate::check) fn make(bench: &Bench, path: &Path, version: u64) -> Result<Box<dyn DataFile>, Halt> {
    let file = bench.storage.create_data(path, bench.place.owner).map_err(failed("create a file"))?;
    file.write_at(&content(version, PAGES), 0).map_err(failed("write a file"))?;
    file.sync().map_err(failed("sync a file"))?;
    Ok(file)
}

fn place(bench: &Bench, word: &str) -> Result<(PathBuf, PathBuf), Halt> {
    let dir = bench.place.work(word)?;
    let path = dir.join(bench.place.name(word));
    Ok((dir, path))
}

fn synced(bench: &Bench) -> Result<Seen, Halt> {
    let (dir, path) = place(bench, "sync")?;
    let file = make(bench, &path, 1)?;
    bench.storage.sync_dir(&dir).map_err(failed("sync a directory"))?;
    file.write_at(&content(2, 1), PAGE as u64).map_err(failed("write a file"))?;
    file.sync().map_err(failed("sync a file again"))?;
    holds("a file and its directory can be synced; whether that outlives a power cut no check can tell")
}

/// A second handle stands for another program of this host. What another host has written only `--peer` can show.
fn dropped(bench: &Bench) -> Result<Seen, Halt> {
    let (_, path) = place(bench, "drop")?;
    let writer = make(bench, &path, 1)?;
    let reader = bench.storage.open(&path, Access::Read).map_err(failed("open a file"))?;
    for version in 2..10 {
        whole(&*reader).map_err(failed("read a file"))?;
        writer.write_at(&content(version, PAGES), 0).map_err(failed("write a file"))?;
        writer.sync().map_err(failed("sync a file"))?;
        reader.drop_cache().map_err(failed("drop what this host has cached of a file"))?;
        if whole(&*reader).map_err(failed("read a file"))? != content(version, PAGES) {
            return fails("after the cache was dropped another program of this host reads old pages");
        }
    }
    holds("can be asked for, and another program of this host reads what was synced before it")
}

fn uncached(bench: &Bench) -> Result<Seen, Halt> {
    let (_, path) = place(bench, "direct")?;
    let file = make(bench, &path, 1)?;
    for version in 2..6 {
        file.write_at(&content(version, PAGES), 0).map_err(failed("write a file"))?;
        file.sync().map_err(failed("sync a file"))?;
        match bench.storage.read_uncached(&path, 100) {
            Ok(read) if read == content(version, 1)[..100] => {}
            Ok(_) => return fails("a read around the cache gives something else than what was synced before it"),
            Err(error) if error.kind() == ErrorKind::Unsupported => {
                return note("not possible here; coord then reads a database's header under a lock");
            }
            Err(error) => return Err(failed("read around the cache")(error)),
        }
    }
    holds("gives what was synced before it")
}

fn truncated(bench: &Bench) -> Result<Seen, Halt> {
    let (_, path) = place(bench, "truncate")?;
    let file = make(bench, &path, 1)?;
    let other = bench.storage.open(&path, Access::Read).map_err(failed("open a file"))?;
    for pages in [PAGES + 2, 0, 1] {
        let length = pages * PAGE as u64;
        match pages > PAGES {
            true => file.write_at(&content(2, pages), 0),
            false => file.set_len(length),
        }
        .map_err(failed("change a file's size"))?;
        file.sync().map_err(failed("sync a file"))?;
        other.drop_cache().map_err(failed("drop what this host has cached of a file"))?;
        let named = bench.storage.attributes(&path).map_err(failed("look at a file"))?.size;
        let open = other.size().map_err(failed("look at an open file"))?;
        let read = whole(&*other).map_err(failed("read a file"))?.len() as u64;
        if [named, open, read] != [length; 3] {
            return fails(format!(
                "a file of {length} bytes has {named} by name, {open} by handle, and {read} are read"
            ));
        }
    }
    holds("the size is right by name, by handle and by reading")
}

fn identity(bench: &Bench) -> Result<Seen, Halt> {
    let (dir, path) = place(bench, "identity")?;
    let moved = dir.join(bench.place.name("moved"));
    let file = make(bench, &path, 1)?;
    let first = file.id().map_err(failed("look at an open file"))?;
    bench.storage.rename(&path, &moved).map_err(failed("rename a file"))?;
    file.drop_cache().map_err(failed("drop what this host has cached of a file"))?;
    let scratch = dir.join(bench.place.name("scratch"));
    let listed = bench.storage.open_listed(&moved, Access::Read, &scratch);
    let listed = listed.map_err(failed("open a file as its directory lists it"))?;
    let ids = [file.id(), listed.id(), bench.storage.attributes(&moved).map(|found| found.id)];
    for id in ids {
        if id.map_err(failed("look at a file"))? != first {
            return fails("one file has several inode numbers, by its name, by its handle, or over time");
        }
    }
    let missing = bench.storage.open_listed(&path, Access::Read, &dir.join(bench.place.name("scratch")));
    match missing.map(drop) {
        Err(error) if error.kind() == ErrorKind::NotFound => {}
        Err(error) => return fails(format!("opening a name that is gone answers {error}")),
        Ok(()) => return fails("a name that was renamed away can still be opened"),
    }
    holds("an inode number stands for one file, whatever its name")
}

fn rights(bench: &Bench) -> Result<Seen, Halt> {
    let (dir, path) = place(bench, "rights")?;
    let copy = dir.join(bench.place.name("copy"));
    drop(make(bench, &path, 1)?);
    drop(make(bench, &copy, 1)?);
    match bench.storage.copy_attributes(&path, &copy) {
        Ok(()) => holds("can be kept"),
        Err(error) => note(format!(
            "cannot be kept ({error}): after a takeover from a silent host a database stays closed for ten leases, and a host that stood still \
             for longer than that can write into it when it goes on"
        )),
    }
}

fn native_locks(bench: &Bench) -> Result<Seen, Halt> {
    let (_, path) = place(bench, "locks")?;
    drop(make(bench, &path, 1)?);
    match bench.storage.native_locks(&path) {
        Ok(true) => holds("of two that lock one byte one waits for the other"),
        Ok(false) => fails("two that lock the same byte both get it, so that trusted mode has no locks to trust"),
        Err(error) if error.kind() == ErrorKind::Unsupported => note("could not be asked on this system"),
        Err(error) => Err(failed("lock a byte of a file")(error)),
    }
}
