//! How long each operation of the protocol takes here. Names are used once, as the protocol does.

use crate::check::bench::{Bench, Halt, Seen, Trouble, failed, holds};
use crate::check::report::{Finding, Outcome};
use crate::storage::Access;

use super::data::{PAGE, content, make};

const SAMPLES: u64 = 20;

const ADVICE: &str = "keep the database elsewhere, or find out why this filesystem fails now and then: each of these operations must work every time";

/// A finding only if an operation failed: mostly one that worked in the steps before, so that it fails now and then.
pub(super) fn measure(bench: &Bench) -> Result<Option<Finding>, Trouble> {
    let finding = bench.step("latency", ADVICE, measured)?;
    Ok((finding.outcome == Outcome::Fails).then_some(finding))
}

fn measured(bench: &Bench) -> Result<Seen, Halt> {
    let dir = bench.place.work("latency")?;
    let (storage, owner) = (bench.storage, bench.place.owner);
    let path = dir.join(bench.place.name("data"));
    let file = make(bench, &path, 1)?;
    for version in 0..SAMPLES {
        bench.go_on()?;
        let [folder, first, second, scratch] =
            ["dir", "file", "moved", "scratch"].map(|word| dir.join(bench.place.name(word)));
        bench.time("mkdir", || storage.make_dir(&folder, owner)).map_err(failed("make a directory"))?;
        bench.time("rmdir", || storage.remove_dir(&folder)).map_err(failed("remove a directory"))?;
        bench.time("create", || storage.create_new(&first, b"", owner)).map_err(failed("create a file"))?;
        bench.time("list", || storage.list(&dir)).map_err(failed("list a directory"))?;
        bench.time("rename", || storage.rename(&first, &second)).map_err(failed("rename a file"))?;
        bench.time("unlink", || storage.unlink(&second)).map_err(failed("remove a file"))?;
        let opened = bench.time("open", || storage.open(&path, Access::ReadWrite)).map_err(failed("open a file"))?;
        let listed = bench.time("open as listed", || storage.open_listed(&path, Access::Read, &scratch));
        listed.map_err(failed("open a file as its directory lists it"))?;
        file.write_at(&content(version, 1), 0).map_err(failed("write a file"))?;
        bench.time("sync a page", || file.sync()).map_err(failed("sync a file"))?;
        bench
            .time("drop the cache, read a page", || {
                opened.drop_cache()?;
                opened.read_at(&mut [0; PAGE], 0)
            })
            .map_err(failed("read a file"))?;
    }
    holds("measured")
}
