//! The power goes at every point of a workload: every write and sync of real transactions is recorded below coord, every
//! disk that may then be found is made as files (`disk.rs` says what is legal), and opened in the same way as before.
//!
//! What is promised, and with it what a row of the table may show:
//! - a program's crash, after which everything is there that was written, harms nothing, whatever `synchronous` says;
//! - coord in network-exclusive mode loses no reported commit, whatever `synchronous` says, and from FULL on nothing is torn;
//!   below, only where a journal is torn whose sums SQLite believes (it sums up every 200th byte);
//! - SQLite with EXTRA, or with FULL and a journal that stays, neither loses nor tears anything;
//! - SQLite with DELETE and FULL may lose the last commit, as its journal's removal is not synced, and where auto-vacuum then
//!   cuts the file, that journal does not bring back what was cut: the control, which must show;
//! - what SQLite says of NORMAL and OFF (<https://sqlite.org/pragma.html#pragma_synchronous>) stands;
//! - trusted mode leaves data to SQLite and promises what SQLite does, except that with DELETE the end of a transaction is
//!   synced unless `synchronous` is OFF: then no reported commit is lost.
//!
//! Without more, the rows of FULL are cut at every call, the others at every fourth and where a step ends. `POWER_LOTS=50`
//! cuts all of them at every call and makes so many random disks at each instead of one; `POWER_ROW=Network` takes only rows
//! with this in their name, as in `Row { way: Network, journal: "DELETE", synchronous: "FULL" }`.

#[path = "../common/mod.rs"]
mod common;
mod disk;
mod record;
mod reopen;
mod tally;

use common::host::Sqlite;
use disk::{Lie, Luck};
use record::{Row, Way, record};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use tally::{Tally, cut_everywhere};

/// Random disks at each cut, beside the eight extremes.
fn lots() -> usize {
    std::env::var("POWER_LOTS").map_or(1, |lots| lots.parse().expect("POWER_LOTS is a number"))
}

fn rows() -> Vec<Row> {
    let wanted = std::env::var("POWER_ROW").unwrap_or_default();
    ["DELETE", "TRUNCATE", "PERSIST"]
        .into_iter()
        .flat_map(|journal| ["OFF", "NORMAL", "FULL", "EXTRA"].map(|synchronous| (journal, synchronous)))
        .flat_map(|(journal, synchronous)| Way::ALL.map(|way| Row { way, journal, synchronous }))
        .filter(|row| format!("{row:?}").contains(&wanted))
        .collect()
}

#[test]
fn a_power_cut_anywhere_leaves_what_was_promised() {
    let (rows, next) = (rows(), AtomicUsize::new(0));
    let tallies: Vec<Mutex<Tally>> = rows.iter().map(|_| Mutex::default()).collect();
    std::thread::scope(|scope| {
        // More than there are cores: who takes a dead program's locks over also waits.
        for _ in 0..4 {
            scope.spawn(|| {
                while let Some(nth) = Some(next.fetch_add(1, Ordering::Relaxed)).filter(|nth| *nth < rows.len()) {
                    let recorded = record(rows[nth], Sqlite::Newest, "");
                    let stride = if lots() > 1 || rows[nth].synchronous == "FULL" { 1 } else { 4 };
                    *tallies[nth].lock().unwrap() = cut_everywhere(rows[nth].way, &recorded, None, lots(), stride);
                }
            });
        }
    });
    let tallies: Vec<Tally> = tallies.into_iter().map(|tally| tally.into_inner().unwrap()).collect();
    println!(
        "{:<8} {:<11} {:<14} {:>6} {:>6} {:>5} {:>5}",
        "journal", "synchronous", "", "cuts", "disks", "lost", "torn"
    );
    for (row, tally) in rows.iter().zip(&tallies) {
        let Tally { cuts, disks, lost, torn, .. } = tally;
        println!(
            "{:<8} {:<11} {:<14} {cuts:>6} {disks:>6} {:>5} {:>5}",
            row.journal,
            row.synchronous,
            row.way.name(),
            lost.len(),
            torn.len()
        );
    }
    for (row, tally) in rows.iter().zip(&tallies) {
        let stock = rows.iter().zip(&tallies).find(|(other, _)| **other == Row { way: Way::Stock, ..*row });
        check(*row, tally, stock.map(|(_, tally)| tally));
    }
}

/// Whether the row kept what was promised: the head of this file says what.
fn check(row: Row, tally: &Tally, stock: Option<&Tally>) {
    let none =
        |what: &str, found: &[String]| assert!(found.is_empty(), "{row:?}: {what} {}: {}", found.len(), found[0]);
    none("after a program's crash", &tally.after_crash);
    none("nobody gets in", &tally.held);
    let loses = row.synchronous == "FULL" && row.journal == "DELETE" && row.way == Way::Stock;
    let full = matches!(row.synchronous, "FULL" | "EXTRA") && !loses;
    let synced_end = row.way == Way::Trusted && row.journal == "DELETE" && row.synchronous != "OFF";
    if full || synced_end || row.way == Way::Network {
        none("lost", &tally.lost);
    }
    if full {
        none("torn", &tally.torn);
    }
    if row.way == Way::Network {
        none("torn with whole files", &tally.torn_whole);
    }
    if loses {
        assert!(!tally.lost.is_empty(), "{row:?} loses nothing: the cuts show nothing");
    }
    if let (Way::Trusted, Some(stock)) = (row.way, stock) {
        assert!(tally.lost.is_empty() || !stock.lost.is_empty(), "{row:?} loses what SQLite alone does not");
        assert!(tally.torn.is_empty() || !stock.torn.is_empty(), "{row:?} tears what SQLite alone does not");
    }
}

/// The order of data is what keeps the promise, and the cuts see it when the order is broken.
#[test]
fn a_missing_sync_shows() {
    for (way, synchronous, without, lie) in [
        (Way::Network, "OFF", "journal-rule", None),
        (Way::Network, "OFF", "database-sync", None),
        (Way::Network, "FULL", "", Some(Lie::Journal)),
        (Way::Network, "FULL", "", Some(Lie::Names)),
        (Way::Trusted, "FULL", "journal-end", None),
        (Way::Trusted, "NORMAL", "journal-end", None),
        (Way::Trusted, "FULL", "", Some(Lie::Journal)),
        (Way::Trusted, "FULL", "", Some(Lie::Names)),
    ] {
        let row = Row { way, journal: "DELETE", synchronous };
        let recorded = record(row, Sqlite::Newest, without).first(4);
        let tally = cut_everywhere(way, &recorded, lie, 2, 1);
        let wrong = tally.lost.len() + tally.torn.len();
        println!(
            "{} synchronous={synchronous} without {without:?}, lie {lie:?}: {wrong} of {} cuts are wrong",
            way.name(),
            tally.cuts
        );
        assert!(wrong > 0, "{row:?} without {without:?}, lie {lie:?}: none of {} cuts shows it", tally.cuts);
    }
}

/// The power goes once more while what it left is rolled back.
#[test]
fn a_second_cut_while_the_first_is_mended_harms_nothing() {
    for (way, synchronous) in
        [(Way::Stock, "FULL"), (Way::Trusted, "FULL"), (Way::Network, "FULL"), (Way::Network, "OFF")]
    {
        let row = Row { way, journal: "TRUNCATE", synchronous };
        let recorded = record(Row { synchronous: "FULL", ..row }, Sqlite::Newest, "");
        let mut cuts = 0;
        for (image, due) in tally::cuts_in_the_middle(&recorded, 5) {
            let tally = tally::cut_recovery(row, &recorded, &image, due);
            cuts += tally.cuts;
            for found in [&tally.lost, &tally.torn, &tally.held] {
                assert!(found.is_empty(), "{row:?}: {} of {} cuts: {}", found.len(), tally.cuts, found[0]);
            }
        }
        println!("{} synchronous={synchronous}: {cuts} cuts during recovery", way.name());
        assert!(cuts >= 20, "{way:?}: only {cuts} cuts during recovery");
    }
}

/// After the power the machine runs with another identity: in network-exclusive mode the dead node's lease is waited for, then
/// its files are replaced by a fence; in trusted mode its lock counts for nothing.
#[test]
fn the_names_of_the_run_before_are_taken_over() {
    for way in [Way::Trusted, Way::Network] {
        let recorded = record(Row { way, journal: "DELETE", synchronous: "FULL" }, Sqlite::Newest, "");
        let cuts = tally::cuts_in_the_middle(&recorded, 12);
        assert!(cuts.len() >= 8, "{way:?}: only {} cuts in the middle of a transaction", cuts.len());
        std::thread::scope(|scope| {
            for (image, due) in &cuts {
                let recorded = &recorded;
                scope.spawn(move || {
                    let folder = common::dir();
                    let folder = folder.path().join("disk");
                    reopen::put_down(&tally::of_another_run(image), &folder);
                    let found = reopen::open_patiently(way, &folder);
                    let verdict = reopen::judge(&found, recorded, due.clone());
                    assert_eq!(verdict, reopen::Verdict::Right, "{way:?}: {found:.300?}");
                    if way == Way::Network {
                        let said = std::fs::read_to_string(folder.join("db.sqlite.readers/takeovers.jsonl"));
                        assert!(said.is_ok_and(|said| said.contains("fenced")), "nothing was taken over");
                    }
                });
            }
        });
        println!("{way:?}: {} disks opened by another run of the machine", cuts.len());
    }
}

#[test]
fn what_is_synced_stays_and_what_is_not_may_go() {
    let rows = |rows: &[&str]| -> Vec<Vec<String>> {
        rows.iter().map(|row| row.split(' ').map(|field| field.replace('_', "")).collect()).collect()
    };
    let (name, mut rng) = (record::NAME, common::Rng::seeded(3));
    let mut disk = disk::Disk::new(None);
    let calls = [format!("open {name} create 0"), format!("write {name} 0 2 abcd 0"), format!("sync {name} 2 0")];
    let calls: Vec<&str> = calls.iter().map(String::as_str).collect();
    rows(&calls).iter().for_each(|call| disk.step(call));
    let mut found = std::collections::BTreeSet::new();
    for lot in 0..64 {
        found.insert(disk.cut(Luck::torn(lot), &mut rng).files.get(name).cloned());
    }
    // Its content is safe; its name is not.
    assert_eq!(found.into_iter().collect::<Vec<_>>(), [None, Some(vec![0xab, 0xcd])]);
    let calls = ["syncdir _".to_owned(), format!("write {name} 511 2 eeff 0"), format!("truncate {name} 512 0")];
    let calls: Vec<&str> = calls.iter().map(String::as_str).collect();
    rows(&calls).iter().for_each(|call| disk.step(call));
    let mut lengths = std::collections::BTreeSet::new();
    for lot in 0..64 {
        let image = disk.cut(Luck::Torn { sector: 512, garbage: lot % 2 == 1 }, &mut rng);
        let content = &image.files[name];
        assert_eq!(content[..2], [0xab, 0xcd]);
        if lot % 2 == 0 {
            lengths.insert((content.len(), content.get(511).copied().unwrap_or(0)));
        }
    }
    // Not written; cut without the write before it in the same sector; written; cut after it.
    let all = [(2, 0), (512, 0), (512, 0xee), (513, 0), (513, 0xee)];
    assert!(lengths.iter().all(|found| all.contains(found)) && lengths.len() >= 4, "{lengths:?}");
}
