//! To one connection coord looks like the platform's own VFS: the same rows, the same result codes and messages, the same
//! file, byte for byte. Scripts of SQL and of SQLite's other interfaces run through `unix` and through coord in both modes;
//! where the answers differ by design, [`differs`] says so, with the reason, and anything else fails.

#[path = "../common/mod.rs"]
mod common;
mod interfaces;
mod opening;
mod scripts;

use common::bank::Sql;
use common::opener::Opener;
use rusqlite::Connection;
use std::path::{Path, PathBuf};

/// How the database is opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    Unix,
    Trusted,
    Network,
}

impl Way {
    const COORD: [Way; 2] = [Way::Trusted, Way::Network];

    fn opener(self, more: &str) -> Opener {
        let query = match self {
            Way::Unix => "vfs=unix",
            Way::Trusted => "vfs=coord&coord_mode=trusted",
            Way::Network => "vfs=coord&coord_mode=network-exclusive",
        };
        let extension = (self != Way::Unix).then(common::extension);
        Opener { extension, entry: None, query: format!("{query}{more}") }
    }
}

/// One run of something: a folder, and everything that was answered.
pub struct Run {
    pub way: Way,
    pub folder: tempfile::TempDir,
    pub answers: Vec<String>,
}

impl Run {
    fn new(way: Way) -> Run {
        Run { way, folder: common::dir(), answers: Vec::new() }
    }

    pub fn file(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub fn uri(&self, name: &str, more: &str) -> String {
        self.way.opener(more).uri(&self.file(name))
    }

    /// Opens a database of the folder; `more`: further URI parameters.
    pub fn open(&self, name: &str, more: &str) -> rusqlite::Result<Connection> {
        self.way.opener(more).open(&self.file(name))
    }

    /// Notes an answer. The folder's name and the way are taken out of it.
    pub fn note(&mut self, what: &str, answer: impl std::fmt::Display) {
        let folder = self.folder.path().to_str().expect("a UTF-8 path").to_owned();
        self.answers.push(format!("{what} => {answer}").replace(&folder, "FOLDER"));
    }

    /// Runs SQL, in which `{other}` is the URI of a second database; notes rows or code and message.
    pub fn sql(&mut self, db: &mut Connection, sql: &str) {
        let answer = match db.sql(&sql.replace("{other}", &self.uri("other.sqlite", ""))) {
            Ok(rows) => rows.iter().map(|row| row.join("|")).collect::<Vec<_>>().join(" / "),
            Err(error) => error.to_string(),
        };
        self.note(sql, answer);
    }

    /// Notes a file's bytes, by length and sum; different files are kept apart well enough by that.
    pub fn bytes(&mut self, name: &str) {
        let bytes = std::fs::read(self.file(name)).unwrap_or_default();
        let sum = bytes
            .iter()
            .fold(0xcbf2_9ce4_8422_2325u64, |sum, byte| (sum ^ u64::from(*byte)).wrapping_mul(0x100_0000_01b3));
        self.note(&format!("the file {name}"), format!("{} bytes, {sum:016x}", bytes.len()));
    }
}

/// Runs `work` on all ways and compares the answers.
fn assert_equal(name: &str, work: impl Fn(&mut Run)) {
    let run = |way| {
        let mut run = Run::new(way);
        work(&mut run);
        run.answers
    };
    let plain = run(Way::Unix);
    println!("{name}: {plain:#?}");
    assert!(plain.len() > 1, "{name}: nothing to compare");
    let mut wrong = Vec::new();
    for way in Way::COORD {
        let ours = run(way);
        assert_eq!(ours.len(), plain.len(), "{name} {way:?}: {ours:#?}\n{plain:#?}");
        for (plain, ours) in plain.iter().zip(&ours) {
            match differs(name, way, plain) {
                Some(_) if plain == ours => {
                    wrong.push(format!("{way:?}: {ours}\n     is listed as different, and is not"))
                }
                Some((expected, _reason)) if expected == "*" || ours.ends_with(expected) => {}
                Some((expected, reason)) => {
                    wrong.push(format!("{way:?}: {ours}\n    expected {expected}, because {reason}"));
                }
                None if plain == ours => {}
                None => wrong.push(format!("{way:?}: {ours}\n     unix: {plain}")),
            }
        }
    }
    assert!(wrong.is_empty(), "{name}: {} answers differ:\n{}", wrong.len(), wrong.join("\n"));
}

const NO_WAL: &str = "a WAL needs memory shared by all clients; SQLite's own answer on such a VFS is the old mode";
const NO_MAP: &str = "mapped pages would be read past the lease check";
const NO_JOURNAL: &str = "what no journal can undo cannot be rolled back by another host";

/// Where coord's answer is another by design: the end of its answer, and why.
fn differs(script: &str, way: Way, plain: &str) -> Option<(&'static str, &'static str)> {
    let step = plain.split(" => ").next().unwrap_or_default();
    let network = way == Way::Network;
    Some(match (script, step) {
        ("journal modes", "PRAGMA journal_mode=WAL") => ("=> delete", NO_WAL),
        ("journal modes", "PRAGMA locking_mode=EXCLUSIVE; PRAGMA journal_mode=WAL") => (
            "error 1 coord: a WAL needs memory shared by all clients, which no network gives; the database keeps its rollback \
             journal",
            NO_WAL,
        ),
        ("journal modes", "INSERT INTO t VALUES('memory')" | "INSERT INTO t VALUES('off')") if network => {
            ("error 778 disk I/O error", NO_JOURNAL)
        }
        ("journal modes", "SELECT group_concat(a) FROM t") if network => {
            ("=> start,delete,truncate,persist,delete again", NO_JOURNAL)
        }
        ("journal modes", "the file db.sqlite") => ("*", "other rows, and no transaction that went through a WAL"),
        ("pragmas", "PRAGMA mmap_size=1000000") => ("=> 0", NO_MAP),
        ("attached databases", "INSERT INTO t VALUES(5); INSERT INTO two.u VALUES(5); COMMIT") if network => (
            "error 1 SQL logic error",
            "the moment in which a commit over several files counts is outside of the protocol",
        ),
        ("attached databases", "SELECT * FROM t; SELECT * FROM two.u") if network => {
            ("=> 1 / 2", "the transaction over both files was refused")
        }
        ("attached databases", "the file db.sqlite" | "the file other.sqlite") if network => {
            ("*", "the transaction over both files was refused")
        }
        ("names of the VFS", _) => ("=> coord/unix", "it says what it stands on"),
        _ => return None,
    })
}

/// The comparison sees what it is there for: with other data, other messages, or one byte in the file.
#[test]
fn a_difference_is_seen() {
    let caught = |work: fn(&mut Run)| std::panic::catch_unwind(|| assert_equal("control", work)).is_err();
    assert!(caught(|run| {
        let way = run.way;
        run.note("way", format!("{way:?}"));
        run.note("more", "");
    }));
    assert!(caught(|run| {
        std::fs::write(run.file("db"), if run.way == Way::Network { "a" } else { "b" }).expect("a file");
        run.bytes("db");
        run.note("more", "");
    }));
    assert!(!caught(|run| {
        run.note("nothing", "");
        run.note("more", "");
    }));
}

fn exists(path: &Path) -> bool {
    path.symlink_metadata().is_ok()
}
