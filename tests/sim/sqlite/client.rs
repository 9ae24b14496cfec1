//! A program that keeps a bank in a database: transfers, audits, and what else a database has to bear.

use std::sync::{Arc, Mutex};

use super::ledger::{ACCOUNTS, Entry, Fate, Ledger, Snapshot};
use super::session::{Bank, Habits, Session, is_busy};
use crate::sim::roles::leftovers;
use crate::sim::storage::SimStorage;
use crate::sim::weather::Rng;
use crate::sim::world::MS;

/// A sixth of the lease, by a clock that may be slow, and a little for the asking.
const HEARTBEAT: u64 = 250 * MS;
/// By a clock that may be slow, and a little for the looking.
const LONGEST_LINGER_MS: u64 = 1500;
/// Milliseconds: more than the default lease, for which the first change of what was just shared waits.
const LONG: u64 = 50_000;
/// How often a COMMIT that is busy is tried.
const COMMITS: u32 = 12;

/// See the module's head.
pub struct Client {
    session: Session,
    rng: Rng,
    /// A connection for each transaction.
    short_lived: bool,
    /// Transactions so far.
    number: i64,
    /// What had to be seen when a lock was asked for that is kept over several transactions.
    kept: Option<(usize, u64)>,
}

impl Client {
    /// `raw`: a program that knows nothing of the shim.
    pub fn new(storage: SimStorage, bank: Bank, raw: bool, ledger: Arc<Mutex<Ledger>>, mut rng: Rng) -> Client {
        let habits = Habits { raw, ..Habits::draw(&mut rng, &bank) };
        let short_lived = rng.below(4) == 0;
        Client { session: Session::new(storage, bank, ledger, habits), rng, short_lived, number: 0, kept: None }
    }

    /// Does this many things.
    pub fn work(&mut self, acts: u64) {
        if self.session.changes_the_mode() {
            // When others are at work.
            let pause = self.rng.below(600);
            self.session.sleep(pause);
        }
        for _ in 0..acts {
            if self.session.is_dead() {
                break;
            }
            self.act();
            let pause = if self.session.lasts() && self.rng.below(4) == 0 { LONG } else { 40 };
            let pause = self.rng.below(pause);
            self.session.sleep(pause);
        }
        self.session.close();
    }

    fn act(&mut self) {
        match self.rng.below(20) {
            0 => drop(self.session.run("VACUUM")),
            1 => self.session.change_journal_mode(&mut self.rng),
            2 => drop(self.check()),
            3 => self.keep_the_lock(),
            4..=8 => drop(self.audit()),
            _ => drop(self.transfer()),
        }
        if self.short_lived {
            self.session.close();
        }
    }

    fn check(&mut self) -> rusqlite::Result<()> {
        let said = self.session.ask("PRAGMA integrity_check")?;
        if said != "ok" && !self.is_unread(&said) && !self.session.is_dead() {
            let text = format!("{}: integrity_check says {said}", self.session.who);
            self.session.ledger().violated(text);
        }
        Ok(())
    }

    /// Whether what `integrity_check` says is that it could not read a page, which is no damage. Of a page of auto-vacuum's it uses the
    /// same words for both: then the shim must have refused the read.
    fn is_unread(&mut self, said: &str) -> bool {
        said.contains("unable to get the page. error code=")
            || said.contains("failed to get page ")
            || said.contains("Failed to read ptrmap key=")
                && self
                    .session
                    .ask("PRAGMA coord_error")
                    .is_ok_and(|why| why.contains("longer than its lease") || why.contains("renew the heartbeat"))
    }

    /// Several transactions under one lock. SQLite reads from its cache then and asks nobody: who stands still meanwhile has the
    /// snapshot of the lock's beginning, and finds out when he writes.
    fn keep_the_lock(&mut self) {
        self.kept = Some(self.known());
        if self.session.run("PRAGMA locking_mode = EXCLUSIVE").is_ok() {
            let _ = self.transfer().and_then(|_| self.audit()).and_then(|()| self.transfer());
            // It goes with the next transaction.
            if self.session.run("PRAGMA locking_mode = NORMAL").and_then(|()| self.audit()).is_err() {
                self.session.close();
            }
        }
        self.kept = None;
    }

    /// What must be seen by a lock that is asked for now, and since when that is so.
    fn known(&self) -> (usize, u64) {
        self.kept.unwrap_or_else(|| (self.session.ledger().known(), self.session.now()))
    }

    /// Reads everything, inside of a transaction, and has it judged.
    fn look(&mut self, (known, since): (usize, u64)) -> rusqlite::Result<()> {
        let longest = if self.session.lasts() && self.rng.below(4) == 0 { LONG } else { 60 };
        let pause = if self.rng.below(3) == 0 { self.rng.below(longest) } else { 0 };
        let sql = "SELECT seq, tag, source, target, amount FROM history ORDER BY seq";
        let entries = self.session.rows(sql, |row| {
            let (seq, tag) = (row.get(0)?, row.get(1)?);
            Ok(Entry { seq, tag, from: row.get(2)?, to: row.get(3)?, amount: row.get(4)? })
        })?;
        if pause > 0 {
            self.session.sleep(pause);
        }
        let sql = "SELECT id, balance FROM accounts ORDER BY id";
        let balances = self.session.rows(sql, |row| Ok((row.get(0)?, row.get(1)?)))?;
        let count = self.session.rows("SELECT rows FROM counter", |row| row.get::<_, i64>(0))?.into_iter().sum();
        if self.session.is_dead() {
            return Ok(());
        }
        // Who stood still may have the snapshot that he had, until his next heartbeat; never a mix. In trusted mode nothing is
        // taken from him meanwhile.
        let undisturbed = self.session.is_trusted() || {
            let storage = &self.session.storage;
            let state = storage.world.state();
            state.processes[state.tasks[storage.task].process].disturbed + HEARTBEAT < since
        };
        let snapshot = Snapshot { entries, balances, count };
        self.session.ledger().saw(&self.session.who, &snapshot, undisturbed.then_some(known));
        Ok(())
    }

    /// A read transaction.
    fn audit(&mut self) -> rusqlite::Result<()> {
        self.session.open()?;
        let known = self.known();
        self.session.run("BEGIN")?;
        let looked = self.look(known);
        self.session.end("COMMIT");
        looked
    }

    /// A read transaction, whatever comes of it.
    pub fn read(&mut self) {
        let _ = self.audit();
        self.session.sleep(1);
    }

    /// A write transaction: true if it was reported committed.
    fn transfer(&mut self) -> rusqlite::Result<bool> {
        self.session.open()?;
        self.number += 1;
        let tag = ((self.session.storage.task as i64 + 1) << 16) | self.number;
        self.session.ledger().set(tag, Fate::Open);
        let prepared = self.prepare(tag);
        if !matches!(prepared, Ok(true)) {
            // Before anything else: from here on nobody may see it.
            self.session.ledger().set(tag, Fate::Failed);
            self.session.end("ROLLBACK");
            return prepared;
        }
        self.session.ledger().set(tag, Fate::Unknown);
        for _ in 0..COMMITS {
            match self.session.run("COMMIT") {
                Ok(()) if !self.session.is_dead() => {
                    self.session.ledger().set(tag, Fate::Reported);
                    return Ok(true);
                }
                Err(error) if is_busy(&error) && self.session.is_in_transaction() => self.session.sleep(20),
                _ => {
                    self.session.end("ROLLBACK");
                    return Ok(false);
                }
            }
        }
        self.session.ledger().set(tag, Fate::Failed);
        self.session.end("ROLLBACK");
        Ok(false)
    }

    /// A write transaction up to its COMMIT: false if it was rolled back of its own will.
    fn prepare(&mut self, tag: i64) -> rusqlite::Result<bool> {
        let known = self.known();
        let begin = ["BEGIN", "BEGIN", "BEGIN IMMEDIATE", "BEGIN EXCLUSIVE"][self.rng.below(4) as usize];
        self.session.run(begin)?;
        if self.rng.below(2) == 0 {
            self.look(known)?;
        }
        let (from, to) = (self.rng.below(ACCOUNTS as u64), self.rng.below(ACCOUNTS as u64));
        let amount = 1 + self.rng.below(50);
        let large = self.rng.below(4) == 0;
        if large && self.rng.below(2) == 0 {
            self.fill(tag)?;
        }
        self.session.run(&format!(
            "INSERT INTO history(tag, source, target, amount) VALUES({tag}, {from}, {to}, {amount});
             UPDATE counter SET rows = rows + 1;
             UPDATE accounts SET balance = balance - {amount} WHERE id = {from};"
        ))?;
        if large {
            self.fill(tag)?;
        }
        if self.rng.below(5) == 0 {
            self.session.run(
                "SAVEPOINT s; UPDATE accounts SET balance = 0, filler = NULL; DELETE FROM history; ROLLBACK TO s; RELEASE s",
            )?;
        }
        self.session.run(&format!("UPDATE accounts SET balance = balance + {amount} WHERE id = {to}"))?;
        if self.rng.below(8) == 0 {
            self.session.end("ROLLBACK");
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
        let sql = format!(
            "UPDATE accounts SET filler = CAST(printf('%.*c', {bytes}, char(65 + {tag} % 26)) AS BLOB); {grow}"
        );
        if self.rng.below(3) > 0 {
            return self.session.run(&sql);
        }
        // A statement that is reading the while.
        self.session.with(&sql, |connection| {
            let mut all = connection.prepare("SELECT filler FROM accounts")?;
            let mut rows = all.query([])?;
            rows.next()?;
            connection.execute_batch(&sql)?;
            while rows.next()?.is_some() {}
            Ok(())
        })
    }

    /// As the last one: nothing goes wrong any more, so it must work before `limit` of the world's time is over.
    pub fn judge(&mut self, limit: u64) {
        let begun = self.session.now();
        let mut last = String::new();
        loop {
            match self.transfer() {
                Ok(true) => break,
                Ok(false) => {}
                Err(error) => last = error.to_string(),
            }
            if self.session.is_dead() {
                // The world has come to no end.
                return;
            }
            if self.session.now() - begun > limit {
                let text = format!("after {} s nobody can write ({last}): {:?}", limit / MS / 1000, self.names());
                self.session.ledger().violated(text);
                break;
            }
            self.session.sleep(50);
        }
        if let Err(error) = self.audit().and_then(|()| self.check()) {
            self.session.ledger().violated(format!("the judge cannot read: {error}"));
        }
        // What nobody owns any more hinders nobody, but whoever writes must clear it away in the end.
        // What the judge itself keeps from its last transaction is gone after the longest linger.
        let begun = self.session.now();
        loop {
            self.session.sleep(LONGEST_LINGER_MS);
            if leftovers(self.session.world()).is_empty() || self.session.now() - begun > limit {
                break;
            }
            let _ = self.transfer();
        }
        self.session.close();
    }

    fn names(&self) -> Vec<String> {
        self.session.storage.world.state().server.names.keys().map(|path| path.display().to_string()).collect()
    }
}
