//! What clients of the bank attempted, were told and saw, and whether it can be true.
//!
//! Each committed transaction is one row of an append-only table, and the accounts' balances are the sum of those rows. So the
//! content of the database is determined by its history, every snapshot is a beginning of the final history, and a commit that
//! anybody was told of, or has seen, is in every later one.

use std::collections::{BTreeMap, HashMap, HashSet};

pub const ACCOUNTS: i64 = 24;
pub const OPENING_BALANCE: i64 = 1000;

/// How a transaction ended, for whoever ran it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// Its COMMIT was not begun, and perhaps never will be.
    Open,
    /// COMMIT said OK.
    Reported,
    /// It ended before COMMIT was begun, or COMMIT was busy and it was rolled back: it must never be seen.
    Failed,
    /// COMMIT was begun, and has not ended, failed, or its process died in it: all of it or nothing.
    Unknown,
}

/// One row of the history.
#[derive(Clone, Copy, Debug)]
pub struct Entry {
    pub seq: i64,
    pub tag: i64,
    pub from: i64,
    pub to: i64,
    pub amount: i64,
}

/// What one read transaction saw.
#[derive(Debug)]
pub struct Snapshot {
    pub entries: Vec<Entry>,
    pub balances: Vec<(i64, i64)>,
    /// The history's length, as each transaction writes it into another table.
    pub count: i64,
}

#[derive(Default)]
pub struct Ledger {
    fates: HashMap<i64, Fate>,
    /// Commits that every later snapshot must show: reported, or seen.
    settled: Vec<i64>,
    is_settled: HashSet<i64>,
    /// Whose row is at which place of the history.
    places: BTreeMap<i64, i64>,
    pub violations: Vec<String>,
    pub reads: u64,
    pub reported: usize,
}

impl Ledger {
    pub fn violated(&mut self, what: String) {
        if self.violations.len() < 8 {
            self.violations.push(what);
        }
    }

    pub fn set(&mut self, tag: i64, fate: Fate) {
        self.fates.insert(tag, fate);
        if fate == Fate::Failed && self.is_settled.contains(&tag) {
            self.violated(format!("commit {tag:x} had been seen before it failed"));
        }
        if fate == Fate::Reported {
            self.reported += 1;
            self.settle(tag);
        }
    }

    fn settle(&mut self, tag: i64) {
        if self.is_settled.insert(tag) {
            self.settled.push(tag);
        }
    }

    /// How many commits whoever asks for a lock now must see.
    pub fn known(&self) -> usize {
        self.settled.len()
    }

    /// Somebody saw this in one read transaction. `known`: of which commits he must see all, if any.
    pub fn saw(&mut self, who: &str, snapshot: &Snapshot, known: Option<usize>) {
        self.reads += 1;
        if let Err(text) = self.judge(snapshot, known) {
            self.violated(format!("{who} saw {text}"));
        }
        for entry in &snapshot.entries {
            self.places.insert(entry.seq, entry.tag);
            self.settle(entry.tag);
        }
    }

    fn judge(&self, snapshot: &Snapshot, known: Option<usize>) -> Result<(), String> {
        let mut balances: BTreeMap<i64, i64> = (0..ACCOUNTS).map(|account| (account, OPENING_BALANCE)).collect();
        let mut seen = HashSet::new();
        for (position, entry) in snapshot.entries.iter().enumerate() {
            let tag = entry.tag;
            if entry.seq != position as i64 + 1 {
                return Err(format!("row {} of the history at place {}", entry.seq, position + 1));
            }
            if !seen.insert(tag) {
                return Err(format!("commit {tag:x} twice"));
            }
            match self.fates.get(&tag) {
                None => return Err(format!("commit {tag:x}, which nobody made")),
                Some(Fate::Failed) => return Err(format!("commit {tag:x}, which had failed")),
                Some(Fate::Open) => return Err(format!("commit {tag:x}, which was not begun")),
                Some(Fate::Reported | Fate::Unknown) => {}
            }
            if let Some(before) = self.places.get(&entry.seq).filter(|before| **before != tag) {
                return Err(format!("commit {tag:x} in the place of commit {before:x}, which was seen before"));
            }
            *balances.entry(entry.from).or_default() -= entry.amount;
            *balances.entry(entry.to).or_default() += entry.amount;
        }
        if snapshot.count != snapshot.entries.len() as i64 {
            return Err(format!("{} rows, and a count of {}", snapshot.entries.len(), snapshot.count));
        }
        if !snapshot.balances.iter().copied().eq(balances) {
            return Err(format!("balances that the history does not give: {:?}", snapshot.balances));
        }
        let missing: Vec<String> = self.settled[..known.unwrap_or(0)]
            .iter()
            .filter(|tag| !seen.contains(tag))
            .map(|tag| format!("{tag:x}"))
            .collect();
        if !missing.is_empty() {
            let last = snapshot.entries.last().map(|entry| entry.tag);
            return Err(format!("nothing of the commits {missing:?}, its last was {last:x?}"));
        }
        Ok(())
    }
}
