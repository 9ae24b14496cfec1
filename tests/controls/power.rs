//! The order in which data reaches stable storage, whatever `PRAGMA synchronous` says: at every moment of a commit, and for
//! whatever a power failure then leaves of what was not synced, the database must come back as it was before or after; once
//! COMMIT was reported, as after.

use super::common::bank::{self, Sql};
use super::common::opener::Opener;
use super::common::stage::{Stage, number};
use super::common::trace::{Disk, Luck};
use super::{Wrong, control};

const DATABASE: &str = "bank.sqlite";
const JOURNAL: &str = "bank.sqlite-journal";

/// One commit with `PRAGMA synchronous=OFF`, and a power failure at every moment of it.
fn power_failures(without: &str) -> Wrong {
    let mut stage = Stage::long_lease(without);
    let folder = stage.database.parent().expect("a folder").to_owned();
    let mut writer = stage.traced("writer");
    writer.ok("PRAGMA synchronous=OFF");
    stage.pays(&mut writer);
    writer.trail();
    // What the first transfer left unsynced would only blur what the second does.
    let mut disk = Disk::read(&folder, &[DATABASE, JOURNAL]);
    let transfer = stage.next();
    let number = number(&writer.ok(&transfer.begin()));
    writer.ok("COMMIT");
    let trail = writer.trail();
    assert!(trail.iter().filter(|event| event[1] == "write" && event[0] == DATABASE).count() > 2, "{trail:?}");
    drop(writer);
    let after = tempfile::tempdir().expect("a folder");
    let mut wrong = Wrong::new();
    for at in 0..=trail.len() {
        if at > 0 {
            disk.step(&trail[at - 1]);
        }
        for luck in Luck::EACH.map(|one| Luck::EACH.map(|other| (one, other))).into_iter().flatten() {
            for (name, luck) in [(DATABASE, luck.0), (JOURNAL, luck.1)] {
                std::fs::write(after.path().join(name), disk.file(name, luck)).expect("a file is written");
            }
            let due = if at == trail.len() { number..=number } else { number - 1..=number };
            if let Err(what) = recovered(after.path(), due) {
                let event = trail.get(at).map_or("the report", |event| event[1].as_str());
                wrong.push(format!("before {event} ({at} of {}), luck {luck:?}: {what}", trail.len()));
            }
        }
    }
    wrong
}

/// Plain SQLite's idea of what is left.
fn recovered(folder: &std::path::Path, due: std::ops::RangeInclusive<u64>) -> Result<(), String> {
    let mut db = Opener::plain().open(&folder.join(DATABASE)).map_err(|error| error.to_string())?;
    let view = bank::view(&mut db).map_err(|error| error.to_string())?;
    if !due.contains(&view.counter) {
        return Err(format!("{} commits are there instead of {due:?}", view.counter));
    }
    let intact = db.sql("PRAGMA integrity_check").map_err(|error| error.to_string())?;
    if intact[0][0] != "ok" {
        return Err(intact[0][0].clone());
    }
    view.wrong(0).map_or(Ok(()), Err)
}

#[test]
fn the_journal_is_safe_before_the_database_is_written() {
    control(&["journal-rule"], "", power_failures);
}

#[test]
fn the_database_is_safe_before_its_journal_goes() {
    control(&["database-sync"], "", power_failures);
}

/// A pragma without a schema's name is not shown to an attached database, so a journal in memory only is refused where the
/// first page is to be written: its owner may die half-way.
#[test]
fn nothing_is_written_without_a_journal() {
    control(&["journal-rule"], "integrity_check", |without| {
        let mut stage = Stage::long_lease(without);
        let mut writer = stage.hasty("writer");
        writer.close("db");
        let memory = Opener { query: "mode=memory".into(), ..stage.opener.clone() };
        writer.open("db", std::path::Path::new("/main"), &memory).expect("opens");
        let uri = stage.opener.uri(&stage.database);
        writer.ok(&format!("ATTACH '{uri}' AS bank; PRAGMA journal_mode=MEMORY"));
        let transfer = stage.next();
        writer.ok(&transfer.begin());
        if without.is_empty() {
            let error = writer.sql("COMMIT").expect_err("it has no journal");
            assert!(!error.is_busy(), "{error}");
        } else {
            writer.stops_in(&["database-write"; 3], "COMMIT");
            for _ in 0..2 {
                writer.thaw();
                writer.wait_stopped();
            }
        }
        writer.kill();
        stage.wrong()
    });
}
