//! What the library shows to the program that loads it: its entry points and nothing of SQLite, neither a second copy of it
//! nor a wish for one. A second copy would have locks and a VFS list of its own.

mod common;

use common::{SOON, extension, have, run};
use std::process::Command;

const NM: &str = "/usr/bin/nm";

const ENTRY_POINTS: [&str; 4] =
    ["sqlite3_coord_auto_init", "sqlite3_coord_default_init", "sqlite3_coord_init", "sqlite3_sqlitecoord_init"];

/// The symbols that contain `sqlite3`, with their types as nm gives them.
fn symbols(options: &[&str]) -> Vec<(char, String)> {
    let listed = run(Command::new(NM).args(options).arg(extension()), SOON).ok();
    let symbol = |line: &str| {
        let mut fields = line.split_whitespace().rev();
        let name = fields.next()?.split('@').next()?.to_owned();
        Some((fields.next()?.chars().next()?, name))
    };
    listed.lines().filter_map(symbol).filter(|(_, name)| name.contains("sqlite3")).collect()
}

#[test]
fn it_exports_its_entry_points_and_nothing_else_of_that_name() {
    if !have(NM) {
        return;
    }
    let mut exported: Vec<String> = symbols(&["-D", "--defined-only"]).into_iter().map(|(_, name)| name).collect();
    exported.sort();
    assert_eq!(exported, ENTRY_POINTS);
}

#[test]
fn it_neither_holds_a_sqlite_nor_asks_the_loader_for_one() {
    if !have(NM) {
        return;
    }
    let foreign = |(kind, name): &(char, String)| {
        let c_name = name.starts_with("sqlite3") && !name.contains("..") && !name.contains("::");
        c_name && matches!(kind, 'T' | 't' | 'W' | 'w' | 'U' | 'i') && !ENTRY_POINTS.contains(&name.as_str())
    };
    for options in [&["-D", "-u"][..], &[][..]] {
        let found: Vec<_> = symbols(options).into_iter().filter(foreign).collect();
        assert!(found.is_empty(), "nm {options:?} shows {found:?}");
    }
}

/// The negative control: the `coord` command does carry a SQLite, and nm shows it.
#[test]
fn a_bundled_sqlite_would_be_seen() {
    if !have(NM) {
        return;
    }
    let listed = run(Command::new(NM).arg(env!("CARGO_BIN_EXE_coord")), SOON).ok();
    assert!(
        listed.lines().any(|line| line.to_ascii_lowercase().ends_with(" t sqlite3_open_v2")),
        "a stripped command?"
    );
}
