//! Workloads as SQLite writes them: every step with the calls it made on the platform's VFS below coord, and the contents
//! that the database has after it.

use crate::common;
use crate::common::host::{Host, Sqlite};
use crate::common::opener::Opener;
use rusqlite::Connection;
use rusqlite::types::ValueRef;
use std::path::Path;

pub const NAME: &str = "db.sqlite";

/// How the database is used, while it is recorded and when it is opened again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    Stock,
    Trusted,
    Network,
}

impl Way {
    pub const ALL: [Way; 3] = [Way::Stock, Way::Trusted, Way::Network];

    pub fn name(self) -> &'static str {
        match self {
            Way::Stock => "SQLite's unix",
            Way::Trusted => "coord, trusted",
            Way::Network => "coord, network",
        }
    }

    pub fn opener(self) -> Opener {
        match self {
            Way::Stock => Opener::plain(),
            Way::Trusted => Opener::coord(""),
            // The shortest lease, for who has to wait for it.
            Way::Network => Opener::coord("coord_mode=network-exclusive&coord_lease_ms=1000"),
        }
    }
}

/// One way with one `journal_mode` and one `synchronous`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Row {
    pub way: Way,
    pub journal: &'static str,
    pub synchronous: &'static str,
}

/// A database that does not exist yet gets its tables, and then all that moves pages in its own way: a small change, a page
/// more, a transaction larger than the cache, one that is rolled back after it has spilled, savepoints, another schema, the
/// truncation of auto-vacuum, VACUUM, and small changes again. Each step is one transaction, and each is deterministic.
const STEPS: [&str; 13] = [
    "BEGIN; CREATE TABLE t(id INTEGER PRIMARY KEY, v INTEGER, padding TEXT);
     WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 24)
     INSERT INTO t SELECT i, 1, hex(zeroblob(40)) FROM n; COMMIT",
    "UPDATE t SET v = 2 WHERE id = 7",
    "INSERT INTO t SELECT id + 100, 3, printf('%0800d', id) FROM t WHERE id < 4",
    "UPDATE t SET v = v + 10, padding = replace(padding, '0', 'x')",
    "BEGIN; UPDATE t SET v = 77; DELETE FROM t WHERE id % 2; ROLLBACK",
    "SAVEPOINT a; UPDATE t SET v = 5 WHERE id < 12; SAVEPOINT b; DELETE FROM t WHERE id > 12; ROLLBACK TO b;
     UPDATE t SET v = 6 WHERE id = 24; RELEASE a",
    "BEGIN; CREATE INDEX by_v ON t(v, padding); ALTER TABLE t ADD COLUMN more TEXT DEFAULT 'y'; COMMIT",
    "UPDATE t SET more = id WHERE id % 9 = 0",
    "DELETE FROM t WHERE id % 3 = 0",
    "VACUUM",
    "BEGIN; DROP INDEX by_v; CREATE TABLE u(x); INSERT INTO u SELECT id FROM t; COMMIT",
    "UPDATE t SET v = 8 WHERE id = 1",
    "UPDATE t SET v = 9 WHERE id = 2",
];
/// Small pages and a cache of four of them, so that most steps spill.
const FIRST: &str = "PRAGMA page_size=1024; PRAGMA auto_vacuum=FULL; PRAGMA cache_size=4;";

/// What was recorded.
pub struct Recorded {
    pub steps: Vec<Step>,
    /// The contents before each step and after the last.
    pub contents: Vec<String>,
}

impl Recorded {
    /// Only this many steps of it.
    pub fn first(mut self, steps: usize) -> Recorded {
        self.steps.truncate(steps);
        self
    }
}

pub struct Step {
    pub sql: &'static str,
    pub calls: Vec<Vec<String>>,
}

/// A program that traces what it does to the database in this folder, and has it open as `db`.
fn traced(row: Row, sqlite: Sqlite, without: &str, folder: &Path) -> Host {
    let mut host = Host::with(&[("a", sqlite)], &[("COORD_TEST_WITHOUT", without)]);
    host.call(&["trace", "data"]).ok();
    if row.way != Way::Stock {
        host.load(&common::extension()).ok();
    }
    host.open("db", &row.way.opener().uri(&folder.join(NAME))).ok();
    host
}

/// The calls of a program that finds this disk and reads.
pub fn record_recovery(row: Row, folder: &Path) -> Step {
    let mut host = traced(row, Sqlite::Newest, "", folder);
    let sql = "SELECT count(*) FROM sqlite_schema";
    host.exec("db", &format!("PRAGMA synchronous={}", row.synchronous)).ok();
    host.exec("db", sql).ok();
    Step { sql, calls: host.call(&["log"]).rows() }
}

/// Runs the workload in a program of its own, which is gone when this returns: for others it is dead.
pub fn record(row: Row, sqlite: Sqlite, without: &str) -> Recorded {
    let dir = common::dir();
    let mut host = traced(row, sqlite, without, dir.path());
    host.exec("db", FIRST).ok();
    let modes = format!("PRAGMA synchronous={}; PRAGMA journal_mode={}", row.synchronous, row.journal);
    host.exec("db", &modes).ok();
    let mut steps = Vec::new();
    for sql in STEPS {
        host.exec("db", sql).ok();
        steps.push(Step { sql, calls: host.call(&["log"]).rows() });
    }
    Recorded { steps, contents: contents_after_each() }
}

/// The same steps on a database in memory.
fn contents_after_each() -> Vec<String> {
    let db = Connection::open_in_memory().expect("memory");
    let mut contents = vec![contents(&db).expect("empty")];
    for sql in STEPS {
        db.execute_batch(sql).expect(sql);
        contents.push(self::contents(&db).expect("readable"));
    }
    contents
}

/// Everything that a program could read.
pub fn contents(db: &Connection) -> rusqlite::Result<String> {
    let mut all = String::new();
    let mut tables = Vec::new();
    let mut schema = db.prepare("SELECT type, name, sql FROM sqlite_schema ORDER BY name")?;
    let mut rows = schema.query([])?;
    while let Some(row) = rows.next()? {
        let (kind, name): (String, String) = (row.get(0)?, row.get(1)?);
        all += &format!("{kind} {name}: {}\n", row.get::<_, String>(2)?);
        tables.extend((kind == "table").then_some(name));
    }
    for table in tables {
        let mut rows = db.prepare(&format!("SELECT rowid, * FROM {table} ORDER BY rowid"))?;
        let columns = rows.column_count();
        let mut rows = rows.query([])?;
        while let Some(row) = rows.next()? {
            for column in 0..columns {
                match row.get_ref(column)? {
                    ValueRef::Integer(number) => all += &number.to_string(),
                    ValueRef::Text(text) => all += &String::from_utf8_lossy(text),
                    other => all += &format!("{other:?}"),
                }
                all.push('|');
            }
            all.push('\n');
        }
    }
    Ok(all)
}
