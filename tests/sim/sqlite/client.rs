//! A program that keeps a bank in a database: transfers, audits, and what else a database has to bear.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use coord::storage::Storage;
use rusqlite::{Connection, ErrorCode, OpenFlags};

use super::base;
use super::ledger::{ACCOUNTS, Entry, Fate, Ledger, OPENING_BALANCE, Snapshot};
use crate::sim::storage::SimStorage;
use crate::sim::weather::Rng;
use crate::sim::world::MS;

/// A sixth of the lease, by a clock that may be slow, and a little for the asking.
const HEARTBEAT: u64 = 250 * MS;
/// A lease by a clock that may be slow.
const LEASE_AND_MORE: u64 = 2000 * MS;
/// How often a COMMIT that is busy is tried.
const COMMITS: u32 = 12;

/// How a client stands to its database.
#[derive(Clone, Copy, Debug)]
pub struct Habits {
    pub journal_mode: &'static str,
    pub synchronous: &'static str,
    /// Pages. A transaction that changes more spills.
    pub cache: u64,
    pub busy_ms: u64,
    /// A connection for each transaction.
    pub short_lived: bool,
}

impl Habits {
    pub fn draw(rng: &mut Rng) -> Habits {
        let mut one = |of: &[&'static str]| of[rng.below(of.len() as u64) as usize];
        let journal_mode = one(&["DELETE", "TRUNCATE", "PERSIST"]);
        let synchronous = one(&["FULL", "NORMAL", "OFF", "EXTRA"]);
        let cache = [5, 10, 40][rng.below(3) as usize];
        let busy_ms = [0, 60, 400][rng.below(3) as usize];
        Habits { journal_mode, synchronous, cache, busy_ms, short_lived: rng.below(4) == 0 }
    }
}

/// The tables of a new bank.
pub fn schema(auto_vacuum: bool) -> String {
    let auto_vacuum = if auto_vacuum { "FULL" } else { "NONE" };
    format!(
        "PRAGMA page_size = 512; PRAGMA auto_vacuum = {auto_vacuum};
         CREATE TABLE accounts(id INTEGER PRIMARY KEY, balance INTEGER NOT NULL, filler BLOB);
         CREATE TABLE history(seq INTEGER PRIMARY KEY, tag INTEGER NOT NULL UNIQUE, source INTEGER NOT NULL,
                              target INTEGER NOT NULL, amount INTEGER NOT NULL);
         CREATE TABLE scratch(id INTEGER PRIMARY KEY, filler BLOB);
         CREATE TABLE counter(rows INTEGER NOT NULL);
         INSERT INTO counter VALUES(0);
         WITH RECURSIVE n(id) AS (SELECT 0 UNION ALL SELECT id + 1 FROM n WHERE id < {ACCOUNTS} - 1)
         INSERT INTO accounts SELECT id, {OPENING_BALANCE}, zeroblob(300) FROM n;"
    )
}

/// One program's connection, and how it uses it.
pub struct Client {
    storage: SimStorage,
    uri: String,
    ledger: Arc<Mutex<Ledger>>,
    rng: Rng,
    habits: Habits,
    who: String,
    connection: Option<Connection>,
    /// The connection has its journal mode.
    settled: bool,
    number: i64,
}

impl Client {
    pub fn new(storage: SimStorage, uri: String, ledger: Arc<Mutex<Ledger>>, mut rng: Rng, who: String) -> Client {
        let habits = Habits::draw(&mut rng);
        Client { storage, uri, ledger, rng, habits, who, connection: None, settled: false, number: 0 }
    }

    fn ledger(&self) -> MutexGuard<'_, Ledger> {
        self.ledger.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether its process was killed: nothing that it does means anything any more.
    pub fn is_dead(&self) -> bool {
        let state = self.storage.world.state();
        state.processes[state.tasks[self.storage.task].process].crashed
    }

    pub fn sleep(&self, ms: u64) {
        if !self.is_dead() {
            // Unwinds if it dies meanwhile: no SQLite is below.
            self.storage.sleep(Duration::from_millis(ms));
        }
    }

    /// What is next for it.
    pub fn act(&mut self) {
        match self.rng.below(20) {
            0 => drop(self.run("VACUUM")),
            1 => {
                self.habits.journal_mode = Habits::draw(&mut self.rng).journal_mode;
                self.settled = false;
                let _ = self.open();
            }
            2 => {
                let _ = self.ask("PRAGMA integrity_check").map(|said| self.must_be_ok(said));
            }
            3..=8 => drop(self.audit()),
            _ => drop(self.transfer()),
        }
        if self.habits.short_lived {
            self.close();
        }
    }

    pub fn close(&mut self) {
        self.connection = None;
    }

    fn must_be_ok(&self, said: String) {
        // A page that could not be read is no damage.
        if said != "ok" && !said.contains("unable to get the page. error code=") && !self.is_dead() {
            self.ledger().violated(format!("{}: integrity_check says {said}", self.who));
        }
    }

    /// The connection, opened if it is not. Its settings take locks, and may have to wait for them.
    fn open(&mut self) -> rusqlite::Result<&Connection> {
        let Habits { journal_mode, synchronous, cache, busy_ms, .. } = self.habits;
        if self.connection.is_none() {
            let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_URI;
            self.connection = Some(self.noted("open", Connection::open_with_flags(&self.uri, flags))?);
            self.settled = false;
        }
        let connection = self.connection.as_ref().expect("just opened");
        if !self.settled {
            connection.busy_timeout(Duration::from_millis(busy_ms))?;
            let sql = format!(
                "PRAGMA temp_store = MEMORY; PRAGMA cache_size = {cache}; PRAGMA synchronous = {synchronous};
                 PRAGMA journal_mode = {journal_mode};"
            );
            self.noted("settings", connection.execute_batch(&sql))?;
            self.settled = true;
        }
        Ok(self.connection.as_ref().expect("still open"))
    }

    /// Writes what came of a statement into the trace, and looks whether it may come of any.
    fn noted<R>(&self, what: &str, result: rusqlite::Result<R>) -> rusqlite::Result<R> {
        let mut state = self.storage.world.state();
        let dead = state.processes[state.tasks[self.storage.task].process].crashed;
        state.note(self.storage.task, || match &result {
            Ok(_) => format!("SQL {what}: ok"),
            Err(error) => format!("SQL {what}: {error}"),
        });
        drop(state);
        if let Err(error) = &result
            && !dead
            && !is_expected(error)
        {
            self.ledger().violated(format!("{}: {what}: {error}", self.who));
        }
        result
    }

    /// Statements without an answer.
    fn run(&mut self, sql: &str) -> rusqlite::Result<()> {
        let result = self.open()?.execute_batch(sql);
        self.noted(sql, result)
    }

    /// A statement with one answer.
    fn ask(&mut self, sql: &str) -> rusqlite::Result<String> {
        let result = self.open()?.query_row(sql, [], |row| row.get(0));
        self.noted(sql, result)
    }

    /// What must be seen by a lock that is asked for now, and since when that is so.
    fn known(&self) -> (usize, u64) {
        let known = self.ledger().known();
        (known, self.storage.world.state().now)
    }

    /// Reads everything, inside of a transaction, and has it judged.
    fn look(&mut self, (known, since): (usize, u64)) -> rusqlite::Result<()> {
        let pause = self.rng.below(3) == 0;
        let entries = self.rows("SELECT seq, tag, source, target, amount FROM history ORDER BY seq", |row| {
            let (seq, tag) = (row.get(0)?, row.get(1)?);
            Ok(Entry { seq, tag, from: row.get(2)?, to: row.get(3)?, amount: row.get(4)? })
        })?;
        if pause {
            let span = self.rng.below(60);
            self.sleep(span);
        }
        let balances =
            self.rows("SELECT id, balance FROM accounts ORDER BY id", |row| Ok((row.get(0)?, row.get(1)?)))?;
        let count = self.rows("SELECT rows FROM counter", |row| row.get::<_, i64>(0))?.into_iter().sum();
        if self.is_dead() {
            return Ok(());
        }
        // Who stood still may have the snapshot that he had, until his next heartbeat; never a mix.
        let undisturbed = {
            let state = self.storage.world.state();
            state.processes[state.tasks[self.storage.task].process].disturbed + HEARTBEAT < since
        };
        let snapshot = Snapshot { entries, balances, count };
        self.ledger().saw(&self.who, &snapshot, undisturbed.then_some(known));
        Ok(())
    }

    fn rows<R>(
        &mut self,
        sql: &str,
        read: impl FnMut(&rusqlite::Row<'_>) -> rusqlite::Result<R>,
    ) -> rusqlite::Result<Vec<R>> {
        let result = self
            .open()?
            .prepare(sql)
            .and_then(|mut statement| statement.query_map([], read).and_then(|rows| rows.collect()));
        if result.is_ok() {
            self.must_be_somebody()?;
        }
        self.noted(sql, result)
    }

    /// Whoever is given a page has a heartbeat at the server, unless his clock stood still and he could not know.
    fn must_be_somebody(&mut self) -> rusqlite::Result<()> {
        let beats: Option<Vec<String>> = {
            let state = self.storage.world.state();
            let frozen_until = state.hosts[state.tasks[self.storage.task].host].frozen_until;
            let could_know = frozen_until == 0 || frozen_until + LEASE_AND_MORE < state.now;
            (could_know && base::has_just_read(state.now)).then(|| {
                let names = state.server.names.keys().filter_map(|path| path.file_name()?.to_str());
                names.filter_map(|name| name.strip_prefix("beat.")).map(str::to_string).collect()
            })
        };
        let (Some(beats), false) = (beats, self.is_dead()) else { return Ok(()) };
        let sql = "PRAGMA coord_status";
        let status: String = self.open()?.query_row(sql, [], |row| row.get(0))?;
        let status: serde_json::Value = serde_json::from_str(&status).unwrap_or_default();
        let node = status["node"].as_str().unwrap_or("nobody");
        if !beats.iter().any(|beat| beat.starts_with(node)) {
            self.ledger().violated(format!("{} was given data as {node}, which had been deposed", self.who));
        }
        Ok(())
    }

    /// A read transaction.
    pub fn audit(&mut self) -> rusqlite::Result<()> {
        self.open()?;
        let known = self.known();
        self.run("BEGIN")?;
        let looked = self.look(known);
        self.end("COMMIT");
        looked
    }

    /// Ends a transaction that has nothing to lose.
    fn end(&mut self, how: &str) {
        let open = self.connection.as_ref().is_some_and(|connection| !connection.is_autocommit());
        if open && self.run(how).is_err() && how != "ROLLBACK" {
            self.end("ROLLBACK");
        }
        if self.connection.as_ref().is_some_and(|connection| !connection.is_autocommit()) {
            // It would stand in everybody's way.
            self.close();
        }
    }

    /// A write transaction: true if it was reported committed.
    pub fn transfer(&mut self) -> rusqlite::Result<bool> {
        self.open()?;
        self.number += 1;
        let tag = ((self.storage.task as i64 + 1) << 16) | self.number;
        self.ledger().set(tag, Fate::Open);
        let prepared = self.prepare(tag);
        if !matches!(prepared, Ok(true)) {
            // Before anything else: from here on nobody may see it.
            self.ledger().set(tag, Fate::Failed);
            self.end("ROLLBACK");
            return prepared;
        }
        self.ledger().set(tag, Fate::Unknown);
        for _ in 0..COMMITS {
            match self.run("COMMIT") {
                Ok(()) if !self.is_dead() => {
                    self.ledger().set(tag, Fate::Reported);
                    return Ok(true);
                }
                Err(error) if is_busy(&error) => self.sleep(20),
                _ => {
                    self.ledger().unknown += 1;
                    self.end("ROLLBACK");
                    return Ok(false);
                }
            }
        }
        self.ledger().set(tag, Fate::Failed);
        self.end("ROLLBACK");
        Ok(false)
    }

    /// A write transaction up to its COMMIT: false if it was rolled back of its own will.
    fn prepare(&mut self, tag: i64) -> rusqlite::Result<bool> {
        let known = self.known();
        let begin = ["BEGIN", "BEGIN", "BEGIN IMMEDIATE", "BEGIN EXCLUSIVE"][self.rng.below(4) as usize];
        self.run(begin)?;
        if self.rng.below(2) == 0 {
            self.look(known)?;
        }
        let (from, to) = (self.rng.below(ACCOUNTS as u64), self.rng.below(ACCOUNTS as u64));
        let amount = 1 + self.rng.below(50);
        let large = self.rng.below(4) == 0;
        if large && self.rng.below(2) == 0 {
            self.fill(tag)?;
        }
        self.run(&format!(
            "INSERT INTO history(tag, source, target, amount) VALUES({tag}, {from}, {to}, {amount});
             UPDATE counter SET rows = rows + 1;
             UPDATE accounts SET balance = balance - {amount} WHERE id = {from};"
        ))?;
        if large {
            self.fill(tag)?;
        }
        if self.rng.below(5) == 0 {
            self.run("SAVEPOINT s; UPDATE accounts SET balance = 0, filler = NULL; DELETE FROM history; ROLLBACK TO s; RELEASE s")?;
        }
        self.run(&format!("UPDATE accounts SET balance = balance + {amount} WHERE id = {to}"))?;
        if self.rng.below(8) == 0 {
            self.end("ROLLBACK");
            return Ok(false);
        }
        Ok(true)
    }

    /// Changes more pages than the cache holds, and the size of the file.
    fn fill(&mut self, tag: i64) -> rusqlite::Result<()> {
        let bytes = 100 + self.rng.below(400);
        let grow = if self.rng.below(2) == 0 {
            "INSERT INTO scratch(filler) SELECT filler FROM accounts WHERE id < 12"
        } else {
            "DELETE FROM scratch"
        };
        self.run(&format!(
            "UPDATE accounts SET filler = CAST(printf('%.*c', {bytes}, char(65 + {tag} % 26)) AS BLOB); {grow}"
        ))
    }

    /// As the last one: nothing goes wrong any more, so it must work before long.
    pub fn judge(&mut self, limit: u64) {
        let begun = self.storage.world.state().now;
        let mut last = String::new();
        loop {
            match self.transfer() {
                Ok(true) => break,
                Ok(false) => {}
                Err(error) => last = error.to_string(),
            }
            if self.storage.world.state().now - begun > limit {
                let names = self.names();
                let text = format!("after {} s nobody can write ({last}): {names:?}", limit / MS / 1000);
                self.ledger().violated(text);
                break;
            }
            self.sleep(50);
        }
        if let Err(error) = self.audit() {
            self.ledger().violated(format!("the judge cannot read: {error}"));
        }
        match self.ask("PRAGMA integrity_check") {
            Ok(said) => self.must_be_ok(said),
            Err(error) => self.ledger().violated(format!("the judge cannot check: {error}")),
        }
        self.close();
    }

    fn names(&self) -> Vec<String> {
        self.storage.world.state().server.names.keys().map(|path| path.display().to_string()).collect()
    }
}

fn is_busy(error: &rusqlite::Error) -> bool {
    error.sqlite_error_code() == Some(ErrorCode::DatabaseBusy)
}

/// Whether a statement may fail like this in a world of this kind. Not like a database that is damaged, that lacks a table, or
/// in which a commit's number is given twice.
fn is_expected(error: &rusqlite::Error) -> bool {
    use ErrorCode::*;
    let code = error.sqlite_error_code();
    code.is_some_and(|code| matches!(code, DatabaseBusy | SystemIoFailure | CannotOpen | ReadOnly | OperationAborted))
}
