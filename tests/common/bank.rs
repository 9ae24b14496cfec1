//! The bank: money moves between accounts of one database, and whatever happens to the processes, it must add up.
//!
//! Every transfer is one transaction that also raises a counter and appends one history row under the new number. A
//! commit is *reported* once COMMIT has returned OK, in a file that outlives a kill of the process. Afterwards
//! [`check`] demands that the sum is what it was, the balances are what the history makes them, the numbers have no
//! gap, every reported transfer stands under its number, and none is there that certainly did not commit.
//!
//! All of it is SQL text over [`Sql`], so any client can be an account holder: rusqlite, Python, an old SQLite.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;
use std::path::Path;

pub type Rows = Vec<Vec<String>>;

/// SQLite's extended result code and message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SqlError {
    pub code: i32,
    pub message: String,
}

impl SqlError {
    pub fn primary(&self) -> i32 {
        self.code & 0xff
    }
    /// "database is locked": somebody else has it, try again.
    pub fn is_busy(&self) -> bool {
        self.primary() == 5
    }
}

impl std::fmt::Display for SqlError {
    fn fmt(&self, f: &mut std::fmt::Formatter) -> std::fmt::Result {
        write!(f, "error {} {}", self.code, self.message)
    }
}

/// Anything that runs SQL text of one or more statements and gives the rows of all of them as text, NULL as `NULL`.
pub trait Sql {
    fn sql(&mut self, sql: &str) -> Result<Rows, SqlError>;
}

impl Sql for rusqlite::Connection {
    fn sql(&mut self, sql: &str) -> Result<Rows, SqlError> {
        run_all(self, sql).map_err(|error| match error {
            rusqlite::Error::SqliteFailure(e, message) => {
                SqlError { code: e.extended_code, message: message.unwrap_or_default() }
            }
            rusqlite::Error::SqlInputError { error, msg, .. } => SqlError { code: error.extended_code, message: msg },
            other => SqlError { code: -1, message: other.to_string() },
        })
    }
}

fn run_all(connection: &rusqlite::Connection, sql: &str) -> rusqlite::Result<Rows> {
    use rusqlite::{fallible_iterator::FallibleIterator, types::ValueRef};
    let mut all = Rows::new();
    let mut batch = rusqlite::Batch::new(connection, sql);
    while let Some(mut statement) = batch.next()? {
        let columns = statement.column_count();
        let mut rows = statement.raw_query();
        while let Some(row) = rows.next()? {
            let text = |i| {
                Ok(match row.get_ref(i)? {
                    ValueRef::Null => "NULL".to_owned(),
                    ValueRef::Integer(n) => n.to_string(),
                    ValueRef::Real(x) => x.to_string(),
                    ValueRef::Text(b) | ValueRef::Blob(b) => String::from_utf8_lossy(b).into_owned(),
                })
            };
            all.push((0..columns).map(text).collect::<rusqlite::Result<_>>()?);
        }
    }
    Ok(all)
}

pub const ACCOUNTS: u64 = 16;
pub const FIRST_BALANCE: i64 = 1000;
pub const SUM: i64 = ACCOUNTS as i64 * FIRST_BALANCE;

/// Makes the tables. Rows carry some padding, so that a transfer changes several pages and a torn one would show.
pub fn create(db: &mut impl Sql) -> Result<(), SqlError> {
    db.sql(&format!(
        "BEGIN IMMEDIATE;
         CREATE TABLE account(id INTEGER PRIMARY KEY, balance INTEGER NOT NULL, padding TEXT NOT NULL);
         CREATE TABLE history(n INTEGER PRIMARY KEY, worker INTEGER NOT NULL, seq INTEGER NOT NULL,
                              src INTEGER NOT NULL, dst INTEGER NOT NULL, amount INTEGER NOT NULL,
                              UNIQUE(worker, seq));
         CREATE TABLE counter(n INTEGER NOT NULL);
         INSERT INTO counter VALUES(0);
         WITH RECURSIVE ids(i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM ids WHERE i + 1 < {ACCOUNTS})
             INSERT INTO account SELECT i, {FIRST_BALANCE}, hex(zeroblob(800)) FROM ids;
         COMMIT;"
    ))
    .map(|_| ())
}

/// One movement of money; `(worker, seq)` is used only once.
#[derive(Clone, Copy, Debug)]
pub struct Transfer {
    pub worker: u32,
    pub seq: u64,
    pub src: u64,
    pub dst: u64,
    pub amount: i64,
}

impl Transfer {
    pub fn random(worker: u32, seq: u64, rng: &mut super::Rng) -> Transfer {
        let src = rng.below(ACCOUNTS);
        let dst = (src + 1 + rng.below(ACCOUNTS - 1)) % ACCOUNTS;
        Transfer { worker, seq, src, dst, amount: 1 + rng.below(50) as i64 }
    }

    /// Everything before COMMIT; its one row is the transfer's number.
    pub fn begin(&self) -> String {
        let Transfer { worker, seq, src, dst, amount } = self;
        format!(
            "BEGIN IMMEDIATE;
             UPDATE counter SET n = n + 1;
             UPDATE account SET balance = balance - {amount} WHERE id = {src};
             UPDATE account SET balance = balance + {amount} WHERE id = {dst};
             INSERT INTO history SELECT n, {worker}, {seq}, {src}, {dst}, {amount} FROM counter;
             SELECT n FROM counter;"
        )
    }
}

#[derive(Debug)]
pub enum Outcome {
    /// COMMIT returned OK; the number.
    Committed(u64),
    /// COMMIT was not reached, or was refused as busy and rolled back: the transfer must not be there.
    Not(SqlError),
    /// COMMIT failed in another way: it may or may not be there, but not by half.
    Unknown(SqlError),
}

/// Does one transfer and leaves no transaction open, if SQLite lets go of it.
pub fn transfer(db: &mut impl Sql, transfer: &Transfer) -> Outcome {
    let number = match db.sql(&transfer.begin()) {
        Ok(rows) => rows[0][0].parse().expect("the counter is a number"),
        Err(error) => {
            let _ = db.sql("ROLLBACK");
            return Outcome::Not(error);
        }
    };
    match db.sql("COMMIT") {
        Ok(_) => Outcome::Committed(number),
        Err(error) => match db.sql("ROLLBACK") {
            Ok(_) if error.is_busy() => Outcome::Not(error),
            _ => Outcome::Unknown(error),
        },
    }
}

/// The append-only file in which a process reports what became of its transfers. A line is one `write`, so that a kill
/// cannot tear it; it is not synced, because the processes die here, not the machine.
pub struct Reports(std::fs::File);

impl Reports {
    pub fn append_to(path: &Path) -> Reports {
        let file = std::fs::OpenOptions::new().create(true).append(true).open(path);
        Reports(file.unwrap_or_else(|e| panic!("{}: {e}", path.display())))
    }

    pub fn report(&mut self, transfer: &Transfer, outcome: &Outcome) {
        let Transfer { worker, seq, .. } = transfer;
        let line = match outcome {
            Outcome::Committed(number) => format!("committed {worker} {seq} {number}\n"),
            Outcome::Not(_) => format!("not {worker} {seq} 0\n"),
            Outcome::Unknown(_) => return,
        };
        self.0.write_all(line.as_bytes()).expect("a report can be written");
    }
}

/// What was reported, by `(worker, seq)`.
#[derive(Default, Debug)]
pub struct Reported {
    pub committed: BTreeMap<(u32, u64), u64>,
    pub not: BTreeSet<(u32, u64)>,
}

impl Reported {
    pub fn read(files: impl IntoIterator<Item = impl AsRef<Path>>) -> Reported {
        let mut all = Reported::default();
        for file in files {
            let text = std::fs::read_to_string(file.as_ref()).unwrap_or_default();
            for line in text.split_inclusive('\n').filter_map(|line| line.strip_suffix('\n')) {
                let fields: Vec<&str> = line.split(' ').collect();
                let key = (fields[1].parse().expect("worker"), fields[2].parse().expect("seq"));
                if fields[0] == "committed" {
                    all.committed.insert(key, fields[3].parse().expect("number"));
                } else {
                    all.not.insert(key);
                }
            }
        }
        all
    }
}

/// What a reader sees in one transaction of several statements.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct View {
    pub sum: i64,
    pub counter: u64,
    pub rows: u64,
    pub last: u64,
}

impl View {
    /// What is wrong with it, given the counter that this reader saw before.
    pub fn wrong(&self, before: u64) -> Option<String> {
        let right = self.sum == SUM && self.counter == self.rows && self.rows == self.last && self.counter >= before;
        (!right).then(|| format!("{self:?} after counter {before}; the sum must be {SUM}"))
    }
}

/// Reads the bank in one transaction, each figure by a statement of its own.
pub fn view(db: &mut impl Sql) -> Result<View, SqlError> {
    let sql = "BEGIN; SELECT sum(balance) FROM account; SELECT n FROM counter; SELECT count(*) FROM history;
               SELECT ifnull(max(n), 0) FROM history; COMMIT;";
    let rows = db.sql(sql).inspect_err(|_| drop(db.sql("ROLLBACK")))?;
    let number = |i: usize| rows[i][0].parse::<i64>().unwrap_or(i64::MIN);
    Ok(View { sum: number(0), counter: number(1) as u64, rows: number(2) as u64, last: number(3) as u64 })
}

/// Everything that is wrong with the bank; empty is good. The database must be quiet.
pub fn check(db: &mut impl Sql, reported: &Reported) -> Vec<String> {
    match try_check(db, reported) {
        Ok(wrong) => wrong,
        Err(error) => vec![format!("the check itself failed: {error}")],
    }
}

fn try_check(db: &mut impl Sql, reported: &Reported) -> Result<Vec<String>, SqlError> {
    let mut wrong = Vec::new();
    for row in db.sql("PRAGMA integrity_check")? {
        if row[0] != "ok" {
            wrong.push(format!("integrity_check: {}", row[0]));
        }
    }
    wrong.extend(view(db)?.wrong(reported.committed.len() as u64));
    let replayed = db.sql(&format!(
        "SELECT id, balance, {FIRST_BALANCE} + ifnull((SELECT sum(amount) FROM history WHERE dst = id), 0)
                                            - ifnull((SELECT sum(amount) FROM history WHERE src = id), 0) AS due
         FROM account WHERE balance <> due"
    ))?;
    wrong.extend(replayed.iter().map(|r| format!("account {} has {}, by its history {}", r[0], r[1], r[2])));
    let mut there = BTreeMap::new();
    for row in db.sql("SELECT worker, seq, n FROM history ORDER BY n")? {
        let [worker, seq, n] = [&row[0], &row[1], &row[2]].map(|field| field.parse::<u64>().unwrap_or(u64::MAX));
        there.insert((worker as u32, seq), n);
    }
    for (key, number) in &reported.committed {
        match there.get(key) {
            Some(n) if n == number => {}
            Some(n) => wrong.push(format!("transfer {key:?} was reported as number {number} and is number {n}")),
            None => wrong.push(format!("LOST: transfer {key:?}, reported as committed under number {number}")),
        }
    }
    let phantoms = reported.not.iter().filter(|key| there.contains_key(key));
    wrong.extend(phantoms.map(|key| format!("transfer {key:?} is there although it did not commit")));
    Ok(wrong)
}

/// Fails the test unless the bank is right.
pub fn assert_right(db: &mut impl Sql, reported: &Reported) {
    let wrong = check(db, reported);
    assert!(wrong.is_empty(), "{} things are wrong with the bank:\n{}", wrong.len(), wrong.join("\n"));
}
