//! A bank and the puppets at it, for tests that lay down one exact schedule.

use super::bank::{self, Outcome, Reported, Rows, Sql, SqlError, Transfer};
use super::opener::Opener;
use super::puppet::Puppet;
use super::scenario::new_bank;
use std::path::PathBuf;

/// A bank in a directory of its own, and what was reported of it.
pub struct Stage {
    pub database: PathBuf,
    pub opener: Opener,
    pub reported: Reported,
    without: String,
    env: Vec<(&'static str, &'static str)>,
    seq: u64,
    _dir: tempfile::TempDir,
}

impl Stage {
    /// `without`: the guards that are taken out in every puppet.
    pub fn new(parameters: &str, without: &str) -> Stage {
        let dir = super::dir();
        let database = dir.path().join("bank.sqlite");
        let opener = Opener::coord(parameters);
        drop(new_bank(&opener, &database));
        Stage {
            database,
            opener,
            reported: Reported::default(),
            without: without.into(),
            env: Vec::new(),
            seq: 0,
            _dir: dir,
        }
    }

    /// The shortest lease: who is frozen is deposed after a second.
    pub fn short_lease(without: &str) -> Stage {
        Stage::new("coord_mode=network-exclusive&coord_lease_ms=1000", without)
    }

    /// A lease that nobody outlives here.
    pub fn long_lease(without: &str) -> Stage {
        Stage::new("coord_mode=network-exclusive&coord_lease_ms=60000", without)
    }

    /// Its puppets take the filesystem for one that other hosts use: even the dead are fenced off, and live files are moved aside.
    pub fn shared(mut self) -> Stage {
        self.env.push(("COORD_TEST_SHARED", "1"));
        self
    }

    /// Waits for locks.
    pub fn patient(&self, name: &'static str) -> Puppet {
        let mut puppet = self.hasty(name);
        puppet.ok("PRAGMA busy_timeout=30000");
        puppet
    }

    /// Is told "locked" at once.
    pub fn hasty(&self, name: &'static str) -> Puppet {
        let mut puppet = self.nobody_yet(name);
        puppet.open("db", &self.database, &self.opener).expect("the database opens");
        puppet
    }

    /// Has nothing open.
    fn nobody_yet(&self, name: &'static str) -> Puppet {
        Puppet::start(name, self.database.parent().expect("a folder"), &self.without, &self.env)
    }

    /// On top of the tracing VFS.
    pub fn traced(&self, name: &'static str) -> Puppet {
        let mut puppet = self.nobody_yet(name);
        puppet.trace();
        puppet.open("db", &self.database, &self.opener).expect("the database opens");
        puppet
    }

    pub fn next(&mut self) -> Transfer {
        self.seq += 1;
        Transfer {
            worker: 1,
            seq: self.seq,
            src: self.seq % bank::ACCOUNTS,
            dst: (self.seq + 9) % bank::ACCOUNTS,
            amount: 7,
        }
    }

    /// A transfer from beginning to end. What it came to counts for the check.
    pub fn transfer(&mut self, puppet: &mut Puppet) -> Outcome {
        let transfer = self.next();
        let outcome = bank::transfer(puppet, &transfer);
        self.note(&transfer, &outcome);
        outcome
    }

    /// A transfer that must be committed.
    pub fn pays(&mut self, puppet: &mut Puppet) {
        let outcome = self.transfer(puppet);
        assert!(matches!(outcome, Outcome::Committed(_)), "{outcome:?}");
    }

    pub fn note(&mut self, transfer: &Transfer, outcome: &Outcome) {
        let key = (transfer.worker, transfer.seq);
        match outcome {
            Outcome::Committed(number) => drop(self.reported.committed.insert(key, *number)),
            Outcome::Not(_) => drop(self.reported.not.insert(key)),
            Outcome::Unknown(_) => {}
        }
    }

    /// The answer to a COMMIT that was begun for this transfer.
    pub fn note_commit(&mut self, transfer: &Transfer, number: u64, answer: &Result<Rows, SqlError>) {
        let outcome = match answer {
            Ok(_) => Outcome::Committed(number),
            Err(error) => Outcome::Unknown(error.clone()),
        };
        self.note(transfer, &outcome);
    }

    /// What is wrong with the bank; nobody may be at it any more.
    pub fn wrong(&self) -> Vec<String> {
        if !self.env.is_empty() {
            // Who takes the filesystem for another one goes another way through what is left.
            let dir = self.database.parent().expect("a folder");
            let mut checker = Puppet::start("checker", dir, "", &self.env);
            checker.open("db", &self.database, &self.opener).expect("the database opens");
            checker.ok("PRAGMA busy_timeout=30000");
            return bank::check(&mut checker, &self.reported);
        }
        let mut db = self.opener.open(&self.database).expect("the database opens");
        db.busy_timeout(super::SOON).expect("a timeout");
        bank::check(&mut db, &self.reported)
    }

    pub fn assert_right(&self) {
        let wrong = self.wrong();
        assert!(wrong.is_empty(), "{} things are wrong with the bank:\n{}", wrong.len(), wrong.join("\n"));
    }

    /// The names in `<database>.<suffix>`.
    pub fn names_in(&self, suffix: &str) -> Vec<String> {
        let mut dir = self.database.clone().into_os_string();
        dir.push(suffix);
        let entries = std::fs::read_dir(dir).into_iter().flatten().flatten();
        entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect()
    }
}

impl Sql for Puppet {
    fn sql(&mut self, sql: &str) -> Result<Rows, SqlError> {
        Puppet::sql(self, sql)
    }
}

/// The number that a transfer's statements gave it.
pub fn number(rows: &Rows) -> u64 {
    rows[0][0].parse().expect("the counter is a number")
}
