//! What is measured: each workload's processes, and what one turn of each is.

use rusqlite::{Connection, OpenFlags};
use std::time::Duration;

/// Rows of the table that reads and single updates pick from.
pub const ROWS: u64 = 1_000;
const LOAD_ROWS: u64 = 5_000;
/// As long as a client that really wants to get through.
const BUSY_TIMEOUT: Duration = Duration::from_secs(20);

/// What one process does again and again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Turn {
    /// A read transaction by primary key.
    Read,
    /// A commit of one row.
    Write,
    /// Open, read a row, close.
    Open,
    /// A new table filled in one transaction, and dropped.
    Load,
    /// A read of every row of a table.
    Scan,
    /// A mixture like SQLite's own speedtest1: inserts, an index, ranges, updates, deletes.
    Mixture,
}

impl Turn {
    pub const ALL: [(&'static str, Turn); 6] = [
        ("read", Turn::Read),
        ("write", Turn::Write),
        ("open", Turn::Open),
        ("load", Turn::Load),
        ("scan", Turn::Scan),
        ("mixture", Turn::Mixture),
    ];

    pub fn word(self) -> &'static str {
        Turn::ALL.iter().find(|(_, turn)| *turn == self).map_or("", |(word, _)| word)
    }
}

/// One workload: who does what at the same time.
#[derive(Clone, Copy, Debug)]
pub struct Workload {
    pub name: &'static str,
    pub about: &'static str,
    /// `PRAGMA synchronous`.
    pub synchronous: &'static str,
    pub crew: &'static [(Turn, u32)],
    /// Measured beside it, in the same rounds: how fast a part of the crew is with nobody else there.
    pub alone: Option<&'static [(Turn, u32)]>,
}

/// Every workload, in the order in which they run.
pub const ALL: [Workload; 12] = [
    one("r1", "a read transaction by primary key, one process", "full", &[(Turn::Read, 1)]),
    one("w1-off", "a commit of one row, synchronous=OFF", "off", &[(Turn::Write, 1)]),
    one("w1-normal", "a commit of one row, synchronous=NORMAL", "normal", &[(Turn::Write, 1)]),
    one("w1-full", "a commit of one row, synchronous=FULL", "full", &[(Turn::Write, 1)]),
    one("w1-extra", "a commit of one row, synchronous=EXTRA", "extra", &[(Turn::Write, 1)]),
    one("rN", "8 processes read", "full", &[(Turn::Read, 8)]),
    one("wN", "8 processes commit back to back, synchronous=FULL", "full", &[(Turn::Write, 8)]),
    Workload {
        alone: Some(&[(Turn::Write, 1)]),
        ..one("mix", "8 processes read, one commits", "full", &[(Turn::Read, 8), (Turn::Write, 1)])
    },
    one("open", "open, read a row, close", "full", &[(Turn::Open, 1)]),
    one("load", "a new table of 5000 rows in one transaction", "full", &[(Turn::Load, 1)]),
    one("scan", "every row of a table", "full", &[(Turn::Scan, 1)]),
    one("mixture", "inserts, an index, ranges, deletes, as in speedtest1", "full", &[(Turn::Mixture, 1)]),
];

const fn one(
    name: &'static str,
    about: &'static str,
    synchronous: &'static str,
    crew: &'static [(Turn, u32)],
) -> Workload {
    Workload { name, about, synchronous, crew, alone: None }
}

pub fn connect(uri: &str, synchronous: &str) -> rusqlite::Result<Connection> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_CREATE | OpenFlags::SQLITE_OPEN_URI;
    let connection = Connection::open_with_flags(uri, flags | OpenFlags::SQLITE_OPEN_NO_MUTEX)?;
    connection.busy_timeout(BUSY_TIMEOUT)?;
    connection.execute_batch(&format!("PRAGMA synchronous={synchronous}"))?;
    Ok(connection)
}

/// Fills a new database.
pub fn prepare(uri: &str) -> rusqlite::Result<()> {
    let connection = connect(uri, "normal")?;
    connection.execute_batch(&format!(
        "CREATE TABLE t(id INTEGER PRIMARY KEY, v INTEGER, filler TEXT);
         WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {ROWS})
         INSERT INTO t SELECT i, 0, hex(zeroblob(50)) FROM n;"
    ))
}

/// A new database of two pages.
pub fn prepare_small(uri: &str) -> rusqlite::Result<()> {
    connect(uri, "normal")?
        .execute_batch("CREATE TABLE t(id INTEGER PRIMARY KEY, v INTEGER); INSERT INTO t VALUES(1, 0)")
}

/// One process's connection and its next turn.
pub struct Player {
    uri: String,
    turn: Turn,
    synchronous: String,
    connection: Connection,
    /// xorshift, so that the next row costs nothing.
    random: u64,
    own: u32,
}

impl Player {
    pub fn new(uri: &str, turn: Turn, synchronous: &str, own: u32) -> rusqlite::Result<Player> {
        let connection = connect(uri, synchronous)?;
        let random = 0x9e37_79b9_7f4a_7c15 ^ (u64::from(own) + 1);
        Ok(Player { uri: uri.to_string(), turn, synchronous: synchronous.to_string(), connection, random, own })
    }

    fn row(&mut self) -> i64 {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        (self.random % ROWS) as i64 + 1
    }

    pub fn play(&mut self) -> rusqlite::Result<()> {
        let id = self.row();
        match self.turn {
            Turn::Read => read(&self.connection, id),
            Turn::Write => {
                let mut update = self.connection.prepare_cached("UPDATE t SET v = v + 1 WHERE id = ?1")?;
                update.execute([id]).map(drop)
            }
            Turn::Open => read(&connect(&self.uri, &self.synchronous)?, id),
            Turn::Load => {
                let table = format!("load{}", self.own);
                self.connection.execute_batch(&format!(
                    "BEGIN; CREATE TABLE {table}(id INTEGER PRIMARY KEY, v INTEGER, filler TEXT);
                     WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {LOAD_ROWS})
                     INSERT INTO {table} SELECT i, i, hex(zeroblob(50)) FROM n; COMMIT; DROP TABLE {table};"
                ))
            }
            Turn::Scan => {
                let mut scan = self.connection.prepare_cached("SELECT sum(v), sum(length(filler)) FROM t")?;
                scan.query_row([], |_| Ok(()))
            }
            Turn::Mixture => self.mixture(),
        }
    }

    fn mixture(&mut self) -> rusqlite::Result<()> {
        let table = format!("mix{}", self.own);
        self.connection.execute_batch(&format!("CREATE TABLE {table}(a INTEGER, b INTEGER, c TEXT)"))?;
        self.connection.execute_batch("BEGIN")?;
        for number in 0..500 {
            let b = self.row();
            let mut insert = self.connection.prepare_cached(&format!("INSERT INTO {table} VALUES(?1, ?2, ?3)"))?;
            insert.execute((number, b, format!("text {b}")))?;
        }
        self.connection.execute_batch(&format!("COMMIT; CREATE INDEX {table}b ON {table}(b)"))?;
        for _ in 0..100 {
            let from = self.row();
            let count = format!("SELECT count(*), avg(a) FROM {table} WHERE b BETWEEN ?1 AND ?1 + 50");
            self.connection.prepare_cached(&count)?.query_row([from], |_| Ok(()))?;
        }
        self.connection.execute_batch(&format!(
            "UPDATE {table} SET c = c || '!' WHERE b % 3 = 0; DELETE FROM {table} WHERE b % 5 = 0; DROP TABLE {table}"
        ))
    }
}

fn read(connection: &Connection, id: i64) -> rusqlite::Result<()> {
    let mut select = connection.prepare_cached("SELECT v FROM t WHERE id = ?1")?;
    select.query_row([id], |_| Ok(()))
}
