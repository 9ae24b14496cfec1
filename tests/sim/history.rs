//! What was attempted, reported and seen, and whether it can be true.

use std::collections::{HashMap, HashSet};

use coord::lock::{STAMP, STAMP_AT};

pub const PAGES: usize = 4;
/// Room for more commits than a run makes.
pub const PAGE: usize = 128;
const TAGS: usize = PAGE / 8 - 1;
/// The word of a page that has the number of the last commit: where SQLite has its change counter.
const COUNTER: usize = 3;

/// Where the tag of this place in a page is.
fn slot(at: usize) -> usize {
    if at == COUNTER { 0 } else { at }
}

/// The simulated database: every page carries the number of the last commit, and the commits' tags in turn.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Content {
    pub pages: [[u8; PAGE]; PAGES],
}

impl Content {
    pub fn of(pages: [[u8; PAGE]; PAGES]) -> Content {
        Content { pages }
    }

    fn word(&self, page: usize, at: usize) -> u64 {
        u64::from_le_bytes(self.pages[page][at * 8..at * 8 + 8].try_into().expect("eight bytes"))
    }

    /// The commit number, if all pages are of the same commit.
    pub fn counter(&self) -> Result<u64, String> {
        let counters: Vec<u64> = (0..PAGES).map(|page| self.word(page, COUNTER)).collect();
        match counters.iter().all(|counter| *counter == counters[0]) {
            true => Ok(counters[0]),
            false => Err(format!("pages of different commits: {counters:?}")),
        }
    }

    /// The tags of the commits, in their order, as far as there is room for them.
    pub fn tags(&self) -> Vec<u64> {
        let count = (self.word(0, COUNTER) as usize).min(PAGES * TAGS);
        (0..count).map(|commit| self.word(commit % PAGES, slot(1 + commit / PAGES))).collect()
    }

    /// The bytes by which a connection knows whether what it remembers is still good.
    pub fn stamp(&self) -> [u8; STAMP] {
        self.pages[0][STAMP_AT as usize..STAMP_AT as usize + STAMP].try_into().expect("as many")
    }

    /// The content after one more commit.
    pub fn next(&self, tag: u64) -> Content {
        let mut next = self.clone();
        let commit = self.word(0, COUNTER) as usize;
        for page in &mut next.pages {
            page[COUNTER * 8..COUNTER * 8 + 8].copy_from_slice(&(commit as u64 + 1).to_le_bytes());
        }
        if commit < PAGES * TAGS {
            let at = slot(1 + commit / PAGES) * 8;
            next.pages[commit % PAGES][at..at + 8].copy_from_slice(&tag.to_le_bytes());
        }
        next
    }
}

/// How a transaction ended, for whoever ran it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    Running,
    Reported,
    /// It failed before its end was begun: it must never be seen.
    Failed,
    /// It failed, or died, at its end: all of it or nothing.
    Unknown,
}

#[derive(Default)]
pub struct History {
    pub fates: HashMap<u64, Fate>,
    /// What everybody must see from then on: what was reported, or was seen by somebody.
    pub reported: Vec<u64>,
    pub violations: Vec<String>,
    pub reads: u64,
}

impl History {
    pub fn violated(&mut self, what: String) {
        if self.violations.len() < 8 {
            self.violations.push(what);
        }
    }

    pub fn report(&mut self, tag: u64) {
        self.fates.insert(tag, Fate::Reported);
        if !self.reported.contains(&tag) {
            self.reported.push(tag);
        }
    }

    /// Somebody saw this under a lock. `known`: how many commits had been reported when the lock was asked for, if it must
    /// see them all.
    pub fn saw(&mut self, who: &str, content: &Content, known: Option<usize>) {
        self.reads += 1;
        if let Err(mix) = content.counter() {
            self.violated(format!("{who} saw {mix}"));
            return;
        }
        let tags = content.tags();
        let seen: HashSet<u64> = tags.iter().copied().collect();
        if seen.len() != tags.len() {
            self.violated(format!("{who} saw a commit twice: {tags:x?}"));
        }
        for tag in &tags {
            match self.fates.get(tag) {
                Some(Fate::Failed) => self.violated(format!("{who} saw commit {tag:x}, which had failed")),
                None => self.violated(format!("{who} saw commit {tag:x}, which nobody made")),
                _ => {}
            }
        }
        if known.is_some() {
            // What was seen once must be there from then on, reported or not.
            self.reported.extend(tags.iter().filter(|tag| !self.reported.contains(tag)).collect::<Vec<_>>());
        }
        if let Some(known) = known {
            let missing: Vec<u64> = self.reported[..known].iter().copied().filter(|tag| !seen.contains(tag)).collect();
            if !missing.is_empty() {
                self.violated(format!("{who} did not see reported commits {missing:x?}; it saw {tags:x?}"));
            }
        }
    }
}
