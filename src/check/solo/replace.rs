//! A copy takes a live file's place as in a fence (src/protocol/aside.rs): renamed over it on a local filesystem and where renames go
//! by handle; elsewhere the live file is moved aside, into another directory, and the copy, which lies in a third one, is linked
//! under its name, or renamed where there are no links.

use std::io::{self, ErrorKind};
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::data::{ADVICE_REPLACE, PAGES, content, make, whole};
use crate::check::bench::{Bench, Halt, Seen, Trouble, failed, fails, holds, note};
use crate::check::report::Finding;
use crate::protocol;
use crate::storage::{Access, Kind, has_no_links};

const ADVICE_LINK: &str = "keep the database elsewhere: where a link replaces a name that is taken, a takeover could take away what others have committed";

pub(super) fn check(bench: &Bench, kind: &Kind) -> Result<Vec<Finding>, Trouble> {
    let mut findings = vec![bench.step("replace an open file", ADVICE_REPLACE, replaced)?];
    if moves_aside(kind) {
        findings.push(bench.step("link: a taken name stays", ADVICE_LINK, taken_stays)?);
    }
    Ok(findings)
}

fn moves_aside(kind: &Kind) -> bool {
    !(kind.is_local() || kind.renames_by_handle())
}

/// In which way a copy has taken a live file's place.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(in crate::check) enum Way {
    Over,
    Linked,
    /// Why there are no links.
    Renamed(String),
}

impl Way {
    pub fn words(&self) -> String {
        match self {
            Way::Over => "the copy was renamed over it".to_string(),
            Way::Linked => "it was moved aside and the copy linked under its name".to_string(),
            Way::Renamed(why) => {
                format!("it was moved aside and the copy renamed to its name, as there are no links here ({why})")
            }
        }
    }
}

/// What a replacement is about, each in a directory of its own.
pub(in crate::check) struct Files {
    pub live: PathBuf,
    pub copy: PathBuf,
    /// A name that is free.
    pub aside: PathBuf,
}

/// Replaces the live file and ends that as a fence does: only the live name is left. Or why that is refused for good.
pub(in crate::check) fn replace(bench: &Bench, files: &Files) -> Result<Result<Way, String>, Halt> {
    let storage = bench.storage;
    let Files { live, copy, aside } = files;
    let parent = live.parent().unwrap_or(live);
    let sync = || storage.sync_dir(parent).map_err(failed("sync a directory"));
    if !moves_aside(&storage.kind(&bench.place.root)) {
        return match storage.rename(copy, live) {
            Ok(()) => sync().map(|()| Ok(Way::Over)),
            Err(error) => refused("rename a copy over a file", error),
        };
    }
    let moved = storage.rename(live, aside);
    // If it was not moved, its name is taken still.
    let way = match (protocol::put(storage, copy, live), moved) {
        (Ok(None), _) => Way::Linked,
        (Ok(Some(why)), _) => Way::Renamed(why.to_string()),
        (Err(_), Err(error)) => return refused("move a file aside", error),
        (Err(error), Ok(())) => return Err(failed("put a copy under the name of a file that was moved aside")(error)),
    };
    sync()?;
    storage.unlink(aside).map_err(failed("remove a file that was moved aside"))?;
    if way == Way::Linked {
        storage.unlink(copy).map_err(failed("remove the first of a file's two names"))?;
    }
    Ok(Ok(way))
}

/// A refusal that is final is the filesystem's nature; any other error is a failure.
fn refused(what: &str, error: io::Error) -> Result<Result<Way, String>, Halt> {
    use ErrorKind::{CrossesDevices, ExecutableFileBusy, PermissionDenied, ResourceBusy, Unsupported};
    match error.kind() {
        PermissionDenied | CrossesDevices | ResourceBusy | ExecutableFileBusy | Unsupported => {
            Ok(Err(format!("cannot {what}: {error}")))
        }
        _ => Err(failed(what)(error)),
    }
}

/// What people should know where a replacement is refused.
pub(in crate::check) fn stays_closed(whose: &str, why: &str) -> Result<Seen, Halt> {
    note(format!(
        "a file that {whose} open cannot be replaced ({why}): after a takeover from a silent host a database stays closed for \
         ten leases, and a host that stood still for longer than that can write into it when it goes on"
    ))
}

/// The fence: a copy takes the place of a file that somebody has open.
fn replaced(bench: &Bench) -> Result<Seen, Halt> {
    let place = bench.place;
    let dir = place.work("replace")?;
    let files = Files {
        live: dir.join(place.name("replace")),
        copy: place.work("replace-copies")?.join(place.name("copy")),
        aside: place.work("replace-aside")?.join(place.name("aside")),
    };
    drop(make(bench, &files.live, 1)?);
    let old = bench.storage.open(&files.live, Access::ReadWrite).map_err(failed("open a file"))?;
    drop(make(bench, &files.copy, 2)?);
    let way = match replace(bench, &files)? {
        Ok(way) => way.words(),
        Err(why) => return stays_closed("is", &why),
    };
    // Both may fail: then they have done no harm either.
    let late = old.write_at(&content(3, PAGES), 0).and_then(|()| old.sync());
    let scratch = dir.join(place.name("scratch"));
    let new = bench.storage.open_listed(&files.live, Access::Read, &scratch);
    let new = new.map_err(failed("open the file that has replaced another"))?;
    new.drop_cache().map_err(failed("drop what this host has cached of a file"))?;
    if whole(&*new).map_err(failed("read a file"))? != content(2, PAGES) {
        return fails(format!(
            "a write through a handle that was opened before a file was replaced has reached the new file ({way})"
        ));
    }
    if old.id().ok() == new.id().ok() {
        return fails("a file that was replaced and the one in its place have the same inode number");
    }
    holds(match late {
        Ok(()) => format!("a late write through an old handle goes to the file that was replaced; {way}"),
        Err(error) => format!("a late write through an old handle is refused ({error}); {way}"),
    })
}

/// What makes a live name that was taken meanwhile safe from a link that arrives late.
fn taken_stays(bench: &Bench) -> Result<Seen, Halt> {
    let place = bench.place;
    let (storage, owner) = (bench.storage, place.owner);
    let taken = place.work("link")?.join(place.name("taken"));
    let copy = place.work("link-copies")?.join(place.name("copy"));
    storage.create_new(&taken, b"taken", owner).map_err(failed("create a file"))?;
    storage.create_new(&copy, b"copy", owner).map_err(failed("create a file"))?;
    let linked = storage.link(&copy, &taken);
    let read = storage.read_small(&taken, 16).map_err(failed("read a file whose name a link was to take"))?;
    if read != b"taken" {
        return fails("a link to a name that was taken has replaced what had that name");
    }
    match linked {
        Ok(()) => fails("a link to a name that was taken is told to have succeeded"),
        Err(error) if has_no_links(&error) => holds(format!("it does, and there are no links here ({error})")),
        Err(_) => holds("it is refused and changes nothing"),
    }
}
