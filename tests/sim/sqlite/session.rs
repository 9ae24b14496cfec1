//! One program's connection: opened when it is needed, with every statement in the trace and every error looked at.

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use coord::storage::Storage;
use rusqlite::{Connection, ErrorCode, OpenFlags, Row};

use super::base;
use super::ledger::{ACCOUNTS, Ledger, OPENING_BALANCE};
use crate::sim::machines::Crashed;
use crate::sim::roles::is_untroubled;
use crate::sim::storage::SimStorage;
use crate::sim::weather::Rng;
use crate::sim::world::{MS, World};

/// A lease by a clock that may be slow.
const LEASE_AND_MORE: u64 = 2000 * MS;

/// A database, where it lies and how it is made.
#[derive(Clone)]
pub struct Bank {
    pub uri: String,
    /// Without the shim, in trusted mode.
    pub raw: Option<String>,
    pub auto_vacuum: bool,
    /// All its programs say `PRAGMA synchronous = OFF`.
    pub never_syncs: bool,
    /// No program goes past the shim, in trusted mode: where syncs fail, plain SQLite takes what it has cached of an empty database for
    /// good.
    pub no_raw: bool,
    /// Nobody asks for less than keeps what it reports when the power goes.
    pub durable: bool,
    /// It is in trusted mode, and some programs put it into network-exclusive mode.
    pub changes: bool,
    /// Its programs think for as long as a default lease, now and then.
    pub lasts: bool,
}

impl Bank {
    /// Makes its tables, as far as they are missing.
    pub fn schema(&self) -> String {
        let auto_vacuum = if self.auto_vacuum { "FULL" } else { "NONE" };
        format!(
            "PRAGMA page_size = 512; PRAGMA auto_vacuum = {auto_vacuum};
             BEGIN IMMEDIATE;
             CREATE TABLE IF NOT EXISTS accounts(id INTEGER PRIMARY KEY, balance INTEGER NOT NULL, filler BLOB);
             CREATE TABLE IF NOT EXISTS history(seq INTEGER PRIMARY KEY, tag INTEGER NOT NULL UNIQUE,
                                                source INTEGER NOT NULL, target INTEGER NOT NULL, amount INTEGER NOT NULL);
             CREATE TABLE IF NOT EXISTS scratch(id INTEGER PRIMARY KEY, filler BLOB);
             CREATE TABLE IF NOT EXISTS counter(rows INTEGER NOT NULL);
             INSERT INTO counter SELECT 0 WHERE NOT EXISTS (SELECT 1 FROM counter);
             WITH RECURSIVE n(id) AS (SELECT 0 UNION ALL SELECT id + 1 FROM n WHERE id < {ACCOUNTS} - 1)
             INSERT OR IGNORE INTO accounts SELECT id, {OPENING_BALANCE}, zeroblob(300) FROM n;
             COMMIT"
        )
    }
}

/// How a program uses its database.
#[derive(Clone, Copy, Debug)]
pub struct Habits {
    /// It knows nothing of the shim.
    pub raw: bool,
    /// It asks for network-exclusive mode.
    pub exclusive: bool,
    pub journal_mode: &'static str,
    pub synchronous: &'static str,
    /// Pages. A transaction that changes more spills.
    pub cache: u64,
    pub busy_ms: u64,
}

impl Habits {
    pub fn draw(rng: &mut Rng, bank: &Bank) -> Habits {
        let mut one = |of: &[&'static str]| of[rng.below(of.len() as u64) as usize];
        let journal_mode = one(&["DELETE", "TRUNCATE", "PERSIST"]);
        let synchronous = one(&["FULL", "NORMAL", "OFF", "EXTRA"]);
        let cache = [5, 10, 40][rng.below(3) as usize];
        let busy_ms = [0, 60, 400][rng.below(3) as usize];
        let synchronous = if bank.never_syncs { "OFF" } else { synchronous };
        let exclusive = bank.changes && rng.below(3) == 0;
        Habits { raw: false, exclusive, journal_mode, synchronous, cache, busy_ms }
    }

    /// What it says to SQLite. To keep what it reports: FULL or more; and without the shim EXTRA, as SQLite does not sync the removal
    /// of a journal.
    fn synchronous(&self, bank: &Bank) -> &'static str {
        match bank.durable {
            true if self.raw => "EXTRA",
            true if self.synchronous != "EXTRA" => "FULL",
            _ => self.synchronous,
        }
    }
}

/// See the module's head.
pub struct Session {
    pub storage: SimStorage,
    pub who: String,
    bank: Bank,
    ledger: Arc<Mutex<Ledger>>,
    habits: Habits,
    connection: Option<Connection>,
    /// The connection has been set up.
    ready: bool,
    /// World time at which the present transaction, or the last one, began.
    begun: u64,
}

impl Session {
    pub fn new(storage: SimStorage, bank: Bank, ledger: Arc<Mutex<Ledger>>, habits: Habits) -> Session {
        let who = format!("task {}", storage.task);
        Session { storage, who, bank, ledger, habits, connection: None, ready: false, begun: 0 }
    }

    pub fn ledger(&self) -> MutexGuard<'_, Ledger> {
        self.ledger.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn lasts(&self) -> bool {
        self.bank.lasts
    }

    /// Whether it asks for network-exclusive mode.
    pub fn changes_the_mode(&self) -> bool {
        self.habits.exclusive
    }

    pub fn is_trusted(&self) -> bool {
        self.bank.raw.is_some()
    }

    /// Whether its process was killed: nothing that it does means anything any more.
    pub fn is_dead(&self) -> bool {
        let state = self.storage.world.state();
        state.processes[state.tasks[self.storage.task].process].crashed
    }

    /// World time.
    pub fn world(&self) -> &Arc<World> {
        &self.storage.world
    }

    pub fn now(&self) -> u64 {
        self.storage.world.state().now
    }

    pub fn sleep(&self, ms: u64) {
        if !self.is_dead() {
            // Who dies meanwhile unwinds no further than this: the connection must not be closed by a task that unwinds.
            let slept = catch_unwind(AssertUnwindSafe(|| self.storage.sleep(Duration::from_millis(ms))));
            if let Err(payload) = slept
                && !payload.is::<Crashed>()
            {
                resume_unwind(payload);
            }
        }
    }

    /// Other habits from the next statement on.
    pub fn change_journal_mode(&mut self, rng: &mut Rng) {
        self.habits.journal_mode = Habits::draw(rng, &self.bank).journal_mode;
        self.ready = false;
    }

    /// The connection, opened if it is not. To set it up takes locks, and may have to wait for them.
    pub fn open(&mut self) -> rusqlite::Result<&Connection> {
        if self.connection.is_none() {
            let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_CREATE | OpenFlags::SQLITE_OPEN_URI;
            let uri = match (&self.bank.raw, self.habits.exclusive) {
                (Some(raw), _) if self.habits.raw => raw,
                (_, true) => &format!("{}&coord_mode=network-exclusive", self.bank.uri),
                _ => &self.bank.uri,
            };
            let opened = Connection::open_with_flags(uri, flags);
            self.connection = Some(self.noted("open", opened)?);
            self.ready = false;
        }
        if !self.ready {
            self.begun = self.now();
            let set_up = self.set_up(self.connection.as_ref().expect("just opened"));
            if let Err(error) = self.noted("set up", set_up) {
                self.end("ROLLBACK");
                return Err(error);
            }
            self.ready = true;
        }
        Ok(self.connection.as_ref().expect("still open"))
    }

    fn set_up(&self, connection: &Connection) -> rusqlite::Result<()> {
        let Habits { journal_mode, cache, busy_ms, .. } = self.habits;
        let synchronous = self.habits.synchronous(&self.bank);
        connection.busy_timeout(Duration::from_millis(busy_ms))?;
        connection.execute_batch(&format!(
            "PRAGMA temp_store = MEMORY; PRAGMA cache_size = {cache}; PRAGMA synchronous = {synchronous};
             PRAGMA journal_mode = {journal_mode};"
        ))?;
        let sql = "SELECT count(*) FROM sqlite_schema WHERE name = 'counter'";
        let is_made = connection.query_row(sql, [], |row| row.get::<_, bool>(0))?;
        if is_made { Ok(()) } else { connection.execute_batch(&self.bank.schema()) }
    }

    pub fn close(&mut self) {
        self.connection = None;
    }

    pub fn is_in_transaction(&self) -> bool {
        self.connection.as_ref().is_some_and(|connection| !connection.is_autocommit())
    }

    /// Ends a transaction that has nothing to lose.
    pub fn end(&mut self, how: &str) {
        for sql in [how, "ROLLBACK"] {
            if let Some(connection) = self.connection.as_ref().filter(|_| self.is_in_transaction()) {
                let _ = self.noted(sql, connection.execute_batch(sql));
            }
        }
        if self.is_in_transaction() {
            // It would stand in everybody's way.
            self.close();
        }
    }

    /// Writes what came of a statement into the trace, and looks whether it may come of any.
    fn noted<R>(&self, what: &str, result: rusqlite::Result<R>) -> rusqlite::Result<R> {
        let dead = self.is_dead();
        self.storage.world.state().note(self.storage.task, || match &result {
            Ok(_) => format!("SQL {what}: ok"),
            Err(error) => format!("SQL {what}: {}", sentence(error)),
        });
        if let (Err(error), false) = (&result, dead) {
            let state = self.storage.world.state();
            // On the server whoever is in trusted mode when others come is told so by an I/O error.
            let unprovoked = !is_busy(error) && !state.serves && is_untroubled(&state, self.storage.task);
            // Its own pages were written, dropped by the client and read again, all in this transaction, which must fail.
            let malformed = error.sqlite_error_code() == Some(ErrorCode::DatabaseCorrupt);
            let dropped = malformed && state.has_dropped(self.storage.task, self.begun);
            drop(state);
            if unprovoked || !(is_expected(error) || dropped) {
                self.ledger().violated(format!("{}: {what}: {}", self.who, sentence(error)));
            }
        }
        result
    }

    /// What `work` does with the connection.
    pub fn with<R>(
        &mut self,
        what: &str,
        work: impl FnOnce(&Connection) -> rusqlite::Result<R>,
    ) -> rusqlite::Result<R> {
        self.open()?;
        if !self.is_in_transaction() {
            self.begun = self.now();
        }
        let result = work(self.open()?);
        self.noted(what, result)
    }

    /// Statements without an answer.
    pub fn run(&mut self, sql: &str) -> rusqlite::Result<()> {
        self.with(sql, |connection| connection.execute_batch(sql))
    }

    /// A statement with one answer.
    pub fn ask(&mut self, sql: &str) -> rusqlite::Result<String> {
        self.with(sql, |connection| connection.query_row(sql, [], |row| row.get(0)))
    }

    pub fn rows<R>(
        &mut self,
        sql: &str,
        read: impl FnMut(&Row<'_>) -> rusqlite::Result<R>,
    ) -> rusqlite::Result<Vec<R>> {
        // One that was refused to the statement before is none; this one may be answered from SQLite's cache.
        base::forget_reads();
        let rows = self.with(sql, |connection| connection.prepare(sql)?.query_map([], read)?.collect())?;
        self.must_be_somebody()?;
        Ok(rows)
    }

    /// Whoever is given a page has a heartbeat at the server, unless his clock stood still and he could not know, or another's
    /// has jumped, who took him for silent.
    fn must_be_somebody(&mut self) -> rusqlite::Result<()> {
        if self.is_trusted() {
            return Ok(());
        }
        let beats: Option<Vec<String>> = {
            let state = self.storage.world.state();
            let misled = state.processes[state.tasks[self.storage.task].process].misled;
            let could_know = !state.jumped && (misled == 0 || misled + LEASE_AND_MORE < state.now);
            (could_know && base::has_just_read(state.now)).then(|| {
                let names = state.server.names.keys().filter_map(|path| path.file_name()?.to_str());
                names.filter_map(|name| name.strip_prefix("beat.")).map(str::to_string).collect()
            })
        };
        let (Some(beats), false) = (beats, self.is_dead()) else { return Ok(()) };
        let status = self.ask("PRAGMA coord_status")?;
        if !base::has_just_read(self.now()) {
            // Others of its process went on before it was answered: that may be another node.
            return Ok(());
        }
        let status: serde_json::Value = serde_json::from_str(&status).unwrap_or_default();
        if status["mode"] == "trusted" {
            // It was given its pages under a native lock.
            return Ok(());
        }
        let node = status["node"].as_str().unwrap_or("nobody");
        if !beats.iter().any(|beat| beat.starts_with(node)) {
            self.ledger().violated(format!("{} was given data as {node}, which had been deposed", self.who));
        }
        Ok(())
    }
}

fn sentence(error: &rusqlite::Error) -> String {
    let code = error.sqlite_error().map(|error| format!(" ({})", error.extended_code));
    format!("{error}{}", code.unwrap_or_default())
}

pub fn is_busy(error: &rusqlite::Error) -> bool {
    error.sqlite_error_code() == Some(ErrorCode::DatabaseBusy)
}

/// Whether a statement may fail like this in a world of this kind. Not like a database that is damaged, that lacks a table, or
/// in which a commit's number is given twice.
fn is_expected(error: &rusqlite::Error) -> bool {
    use ErrorCode::*;
    let code = error.sqlite_error_code();
    let expected =
        |code| matches!(code, DatabaseBusy | DiskFull | SystemIoFailure | CannotOpen | ReadOnly | OperationAborted);
    // The server did not answer while the database was opened; SQLite has a code of its own for that.
    code.is_some_and(expected) || error.to_string().contains("coord: cannot look at")
}
