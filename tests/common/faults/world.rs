//! The database of the fault tests: a table over many pages that one transaction changes as a whole, so that its
//! generation can be told, and everything in between is seen.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use super::super::bank::{Sql, SqlError};
use super::super::opener::Opener;
use super::stepper::{Child, Mouth};

/// Rows of the table, about one page each.
const ROWS: u32 = 10;
/// A lease that no test lives through: who gets in earlier has seen that the holder is dead.
const LONG: &str = "coord_lease_ms=30000";
/// Where the filesystem is taken for a shared one (`COORD_TEST_SHARED`) even the provably dead are waited for, a part of this.
const SHORT: &str = "coord_lease_ms=1000";
/// How long a recovery may take; a fraction of [`LONG`], and more than a busy machine needs.
const QUICK: Duration = Duration::from_secs(8);

fn is_shared() -> bool {
    std::env::var_os("COORD_TEST_SHARED").is_some()
}

/// A directory with one database, and how it is opened.
pub struct World {
    dir: tempfile::TempDir,
    query: String,
}

impl World {
    /// An empty directory.
    pub fn empty(parameters: &str) -> World {
        let lease = if is_shared() { SHORT } else { LONG };
        World { dir: fast_dir(), query: format!("{parameters}&{lease}") }
    }

    /// With the database made, by a process that has closed it.
    pub fn founded(parameters: &str) -> World {
        let world = World::empty(parameters);
        let founded = Child::fork(|_| {
            let mut db = world.open().expect("opens");
            found(&mut db).expect("founds");
        });
        founded.end().expect("the database is made");
        world
    }

    /// The same files in another directory.
    pub fn copy(&self) -> World {
        let copy = World { dir: fast_dir(), query: self.query.clone() };
        copy_files(self.dir.path(), copy.dir.path());
        copy
    }

    pub fn database(&self) -> PathBuf {
        self.dir.path().join("db.sqlite")
    }

    pub fn beside(&self, suffix: &str) -> PathBuf {
        self.dir.path().join(format!("db.sqlite{suffix}"))
    }

    /// In a child: a connection. The extension was loaded by [`load`].
    pub fn open(&self) -> Result<rusqlite::Connection, SqlError> {
        self.open_with("")
    }

    /// The same with more parameters, which stand in for the world's own of those names.
    pub fn open_with(&self, more: &str) -> Result<rusqlite::Connection, SqlError> {
        self.use_own_runtime();
        let name = |parameter: &str| parameter.split('=').next().unwrap_or_default().to_owned();
        let instead: Vec<String> = more.split('&').map(name).collect();
        let kept = self.query.split('&').filter(|parameter| !instead.contains(&name(parameter)));
        let query = ["vfs=coord"].into_iter().chain(kept).collect::<Vec<_>>().join("&");
        let opener = Opener { query: format!("{query}{more}"), ..Opener::plain() };
        let db = rusqlite::Connection::open(opener.uri(&self.database())).map_err(|error| SqlError {
            code: error.sqlite_error().map_or(-1, |error| error.extended_code),
            message: error.to_string(),
        })?;
        let patience = if is_shared() { QUICK / 2 } else { Duration::ZERO };
        db.busy_timeout(patience).expect("a busy timeout");
        Ok(db)
    }

    /// Where this process's liveness file goes: the dead of other worlds need not be looked at.
    fn use_own_runtime(&self) {
        let runtime = self.dir.path().join("run");
        if std::env::var_os("COORD_RUNTIME_DIR").is_none_or(|before| before != runtime) {
            // SAFETY: nothing of coord runs in this process yet, so it has no second thread.
            unsafe { std::env::set_var("COORD_RUNTIME_DIR", runtime) };
        }
    }

    /// What coord has beside the database: each name by its first word, with what else a recovery can meet.
    pub fn traces(&self) -> BTreeSet<String> {
        let mut traces = BTreeSet::new();
        for (suffix, letter) in [(".lock", 'L'), (".readers", 'G')] {
            let Ok(entries) = std::fs::read_dir(self.beside(suffix)) else { continue };
            let names: Vec<String> =
                entries.flatten().map(|entry| entry.file_name().to_string_lossy().into()).collect();
            if names.is_empty() && letter == 'L' {
                traces.insert("L empty".to_owned());
            }
            for name in names.iter().filter(|name| *name != "takeovers.jsonl") {
                let parts: Vec<&str> = name.split('.').collect();
                let which = if parts[0] == "fence" { parts.last().unwrap_or(&"") } else { "" };
                traces.insert(format!("{letter} {} {which}", parts[0]).trim_end().to_owned());
            }
        }
        let journal = std::fs::read(self.beside("-journal")).unwrap_or_default();
        if journal.first().is_some_and(|first| *first != 0) {
            traces.insert("hot journal".to_owned());
        }
        traces
    }

    /// What may not be there once a writer has gone through: anything of a lock. Once a second one has, every trace of a
    /// dead node is gone too. (A registration that died before its heartbeat, `new.*`, stands in nobody's way.)
    pub fn litter(&self, second: bool) -> Option<String> {
        let harmless = |trace: &str| match trace {
            "G epoch" | "G new" => true,
            "G beat" | "G deposed" => !second,
            _ => false,
        };
        let litter: Vec<String> = self.traces().into_iter().filter(|trace| !harmless(trace)).collect();
        (!litter.is_empty()).then(|| format!("left behind: {litter:?}"))
    }
}

/// In memory where that can be had: processes die here, not the machine, and hundreds of them sync.
fn fast_dir() -> tempfile::TempDir {
    let mut builder = tempfile::Builder::new();
    match std::env::var_os("COORD_TEST_DIR") {
        None => builder.prefix("coord-test-").tempdir_in("/dev/shm").unwrap_or_else(|_| super::super::dir()),
        Some(_) => super::super::dir(),
    }
}

fn copy_files(from: &Path, to: &Path) {
    for entry in std::fs::read_dir(from).expect("a directory").flatten().filter(|entry| entry.file_name() != "run") {
        let target = to.join(entry.file_name());
        if entry.path().is_dir() {
            std::fs::create_dir(&target).expect("a directory is made");
            copy_files(&entry.path(), &target);
        } else {
            std::fs::copy(entry.path(), &target).expect("a file is copied");
        }
    }
}

/// Loads the extension into this process, for the children to come.
pub fn load() {
    let loader = rusqlite::Connection::open_in_memory().expect("a connection");
    // SAFETY: the library was built from this very source.
    unsafe {
        loader.load_extension_enable().expect("extensions are permitted");
        loader.load_extension(super::super::extension(), None::<&str>).expect("the extension loads");
    }
}

/// Makes the tables, generation 0.
pub fn found(db: &mut impl Sql) -> Result<(), SqlError> {
    db.sql(&format!(
        "PRAGMA page_size=1024;
         BEGIN IMMEDIATE;
         CREATE TABLE t(id INTEGER PRIMARY KEY, g INTEGER NOT NULL, pad TEXT NOT NULL);
         CREATE TABLE log(n INTEGER PRIMARY KEY);
         WITH RECURSIVE ids(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM ids WHERE i < {ROWS})
             INSERT INTO t SELECT i, 0, {} FROM ids;
         COMMIT;",
        pad("i", "0")
    ))
    .map(|_| ())
}

/// What stands in row `id` in generation `g`.
fn pad(id: &str, g: &str) -> String {
    format!("replace(hex(zeroblob(300)), '0', char(65 + ({id} + {g}) % 26))")
}

/// One transaction that makes the next generation. An error leaves no transaction open.
pub fn turn(db: &mut impl Sql) -> Result<(), SqlError> {
    let turned = db.sql(&format!(
        "BEGIN IMMEDIATE;
         UPDATE t SET g = g + 1, pad = {};
         INSERT INTO log SELECT max(g) FROM t;
         COMMIT;",
        pad("id", "g + 1")
    ));
    turned.map(drop).inspect_err(|_| drop(db.sql("ROLLBACK")))
}

/// The generation, -1 before there is one; the inner error is a content that no generation has.
pub fn generation(db: &mut impl Sql) -> Result<Result<i64, String>, SqlError> {
    let tables = db.sql("SELECT count(*) FROM sqlite_master")?;
    if tables[0][0] == "0" {
        return Ok(Ok(-1));
    }
    let rows = db.sql(&format!(
        "SELECT count(*) = {ROWS} AND sum(pad = {}) = {ROWS}, min(g), max(g), (SELECT ifnull(max(n), 0) FROM log),
                (SELECT count(*) FROM log) FROM t",
        pad("id", "g")
    ))?;
    let [intact, lowest, highest, last, count] = &rows[0][..] else { unreachable!("five columns") };
    let same = [lowest, last, count].iter().all(|value| *value == highest);
    match intact == "1" && same {
        true => Ok(Ok(highest.parse().unwrap_or(i64::MIN))),
        false => Ok(Err(format!("neither before nor after: {:?}", rows[0]))),
    }
}

/// A process that comes after a dead one: reads, writes and checks. What it found wrong; the generation it found.
pub fn recover(world: &World, reader_first: bool) -> (Option<i64>, Vec<String>) {
    let start = Instant::now();
    let child = Child::fork(|mouth| {
        if let Err(error) = try_recover(world, reader_first, mouth) {
            mouth.say(&format!("wrong {error}"));
        }
    });
    let said = child.end().unwrap_or_else(|error| vec![format!("wrong {error}")]);
    let mut wrong: Vec<String> =
        said.iter().filter_map(|line| line.strip_prefix("wrong ")).map(str::to_owned).collect();
    let found = said.iter().find_map(|line| line.strip_prefix("found ")).and_then(|text| text.parse().ok());
    if wrong.is_empty() && found.is_none() {
        wrong.push(format!("no generation was told: {said:?}"));
    }
    if start.elapsed() > QUICK {
        wrong.push(format!("the next process got in after {:?} only", start.elapsed()));
    }
    wrong.extend(world.litter(false));
    (found, wrong)
}

fn try_recover(world: &World, reader_first: bool, mouth: &mut Mouth) -> Result<(), SqlError> {
    let mut db = world.open()?;
    let found = if reader_first {
        generation(&mut db)?
    } else {
        db.sql("BEGIN IMMEDIATE")?;
        let found = generation(&mut db);
        db.sql("COMMIT")?;
        found?
    };
    match &found {
        Ok(found) => mouth.say(&format!("found {found}")),
        Err(text) => mouth.say(&format!("wrong {text}")),
    }
    let integrity = db.sql("PRAGMA integrity_check")?;
    if integrity[0][0] != "ok" {
        mouth.say(&format!("wrong integrity_check: {}", integrity[0][0]));
    }
    match found {
        Ok(-1) => super::world::found(&mut db)?,
        Ok(_) => turn(&mut db)?,
        Err(_) => return Ok(()),
    }
    let after = generation(&mut db)?;
    if after != found.clone().map(|found| found + 1) {
        mouth.say(&format!("wrong {after:?} after a transaction on {found:?}"));
    }
    db.close().map_err(|(_, error)| SqlError { code: -1, message: error.to_string() })
}
