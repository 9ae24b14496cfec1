//! A disk that may lose power: what is on stable storage, what is not there yet, and every state in which it may be found.
//!
//! What is legal, and where it comes from:
//! - a sync of a file makes all of its content and its length safe, a sync of the directory all names;
//! - of what was not synced each sector (512 or 4096 bytes) is found by itself in any of the versions it has had since the
//!   sync, and the length in any it has had; a sector inside the length that was never written holds zeros or, as SQLite
//!   assumes (<https://sqlite.org/atomiccommit.html>, 2.0), anything;
//! - a truncation is carried out by itself too, but nothing that was written after it is found without it: no filesystem
//!   gives the freed blocks away first;
//! - each name is found as it was after any of its changes since the directory's sync, and leads to the file it led to then,
//!   whose content and length are found as above.

use crate::common::Rng;
use crate::record::NAME;
use std::collections::BTreeMap;

/// The names in the lock directory and the registry with their contents; a name that ends in `/` is a directory.
pub type Names = BTreeMap<String, Vec<u8>>;

/// The database and its journal.
const FILES: [&str; 2] = [NAME, "db.sqlite-journal"];

/// What is found after a cut.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Image {
    pub files: BTreeMap<String, Vec<u8>>,
    pub names: Names,
}

#[derive(Clone, Debug)]
enum Change {
    Write(usize, Vec<u8>),
    Truncate(usize),
}

#[derive(Clone, Debug, Default)]
struct Inode {
    safe: Vec<u8>,
    pending: Vec<Change>,
}

#[derive(Clone, Debug, Default)]
struct Entry {
    safe: Option<usize>,
    pending: Vec<Option<usize>>,
}

impl Entry {
    fn now(&self) -> Option<usize> {
        self.pending.last().copied().unwrap_or(self.safe)
    }
}

/// A sync that reports success and does nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lie {
    Journal,
    Names,
}

#[derive(Clone, Debug, Default)]
pub struct Disk {
    inodes: Vec<Inode>,
    entries: BTreeMap<String, Entry>,
    /// As they are, and as they were before the last change that was seen.
    names: [Names; 2],
    lie: Option<Lie>,
}

/// What becomes of what was not synced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Luck {
    /// All or nothing of the database's content, of the journal's, and of the names.
    Whole { database: bool, journal: bool, names: bool },
    /// Each sector, length, truncation and name by itself. `garbage`: what was never written holds anything.
    Torn { sector: usize, garbage: bool },
}

impl Luck {
    /// What a program's crash leaves: everything.
    pub const CRASH: Luck = Luck::Whole { database: true, journal: true, names: true };

    /// The extremes.
    pub fn wholes() -> impl Iterator<Item = Luck> {
        (0..8).map(|bits| Luck::Whole { database: bits & 1 != 0, journal: bits & 2 != 0, names: bits & 4 != 0 })
    }

    /// The `n`th of the torn kinds in turn.
    pub fn torn(n: usize) -> Luck {
        Luck::Torn { sector: if n.is_multiple_of(2) { 512 } else { 4096 }, garbage: n % 4 >= 2 }
    }
}

impl Disk {
    pub fn new(lie: Option<Lie>) -> Disk {
        Disk { lie, ..Disk::default() }
    }

    /// What was found, all of it on stable storage.
    pub fn of(image: &Image) -> Disk {
        let mut disk = Disk { names: [image.names.clone(), image.names.clone()], ..Disk::default() };
        for (name, content) in &image.files {
            disk.inodes.push(Inode { safe: content.clone(), pending: Vec::new() });
            disk.entries.insert(name.clone(), Entry { safe: Some(disk.inodes.len() - 1), pending: Vec::new() });
        }
        disk
    }

    /// One call of a trace: see `driver/tracing.rs` for its fields.
    pub fn step(&mut self, call: &[String]) {
        let field = |at: usize| call[at].parse::<usize>().expect("a number");
        let name = call[1].as_str();
        match call[0].as_str() {
            "names" => {
                let old = std::mem::replace(&mut self.names[0], names_of(&call[2..]));
                self.names[1] = old;
            }
            "syncdir" => {
                // What coord has made itself, past SQLite's VFS.
                call[2..].iter().filter(|name| FILES.contains(&name.as_str())).for_each(|name| self.make(name));
                self.sync_names();
            }
            // The last field is the call's result; a file without a name is temporary.
            _ if name.is_empty() || call[call.len() - 1] != "0" => {}
            // Made by this call, or just before it by coord itself.
            "open" => self.make(name),
            "write" => self.change(name, Change::Write(field(2), unhex(&call[4]))),
            "truncate" => self.change(name, Change::Truncate(field(2))),
            "sync" if self.lie != Some(Lie::Journal) || !name.ends_with("-journal") => {
                if let Some(inode) = self.now(name) {
                    let inode = &mut self.inodes[inode];
                    std::mem::take(&mut inode.pending).iter().for_each(|change| carry_out(&mut inode.safe, change));
                }
            }
            "delete" => {
                self.entries.entry(name.to_owned()).or_default().pending.push(None);
                if call[2] == "1" {
                    self.sync_names();
                }
            }
            _ => {}
        }
    }

    fn make(&mut self, name: &str) {
        if self.now(name).is_none() {
            self.inodes.push(Inode::default());
            let made = Some(self.inodes.len() - 1);
            self.entries.entry(name.to_owned()).or_default().pending.push(made);
        }
    }

    fn now(&self, name: &str) -> Option<usize> {
        self.entries.get(name)?.now()
    }

    fn change(&mut self, name: &str, change: Change) {
        let inode = self.now(name).unwrap_or_else(|| panic!("{name} is changed and does not exist"));
        self.inodes[inode].pending.push(change);
    }

    fn sync_names(&mut self) {
        if self.lie == Some(Lie::Names) {
            return;
        }
        for entry in self.entries.values_mut() {
            entry.safe = entry.now();
            entry.pending.clear();
        }
    }

    /// What is found if the power goes now.
    pub fn cut(&self, luck: Luck, rng: &mut Rng) -> Image {
        let mut image = Image { files: BTreeMap::new(), names: self.cut_names(luck, rng) };
        for (name, entry) in &self.entries {
            let found = match luck {
                Luck::Whole { names, .. } => {
                    if names {
                        entry.now()
                    } else {
                        entry.safe
                    }
                }
                Luck::Torn { .. } => match rng.below(entry.pending.len() as u64 + 1) as usize {
                    0 => entry.safe,
                    nth => entry.pending[nth - 1],
                },
            };
            let Some(inode) = found.map(|found| &self.inodes[found]) else { continue };
            let content = match luck {
                Luck::Whole { database, journal, .. } => {
                    let all = if name.ends_with("-journal") { journal } else { database };
                    let mut content = inode.safe.clone();
                    inode.pending.iter().filter(|_| all).for_each(|change| carry_out(&mut content, change));
                    content
                }
                Luck::Torn { sector, garbage } => inode.torn(sector, garbage, rng),
            };
            image.files.insert(name.clone(), content);
        }
        image
    }

    /// Nobody syncs these. As they are, as they were before, or none; names that are there without the others that go with them
    /// would have to be watched for a lease.
    fn cut_names(&self, luck: Luck, rng: &mut Rng) -> Names {
        let found = match luck {
            Luck::Whole { names: true, .. } => 0,
            Luck::Whole { .. } => 2,
            Luck::Torn { .. } => rng.below(3) as usize,
        };
        self.names.get(found).cloned().unwrap_or_default()
    }
}

impl Inode {
    fn torn(&self, sector: usize, garbage: bool, rng: &mut Rng) -> Vec<u8> {
        // How many truncations were carried out, and what may be found with them.
        let cuts: Vec<usize> =
            self.pending.iter().enumerate().filter(|(_, change)| is_cut(change)).map(|(at, _)| at).collect();
        let done = rng.below(cuts.len() as u64 + 1) as usize;
        let allowed = &self.pending[..cuts.get(done).copied().unwrap_or(self.pending.len())];
        let after_cut = if done == 0 { 0 } else { cuts[done - 1] + 1 };
        let lengths: Vec<usize> = allowed
            .iter()
            .scan(self.safe.len(), |length, change| {
                *length = match change {
                    Change::Write(at, data) => (*length).max(at + data.len()),
                    Change::Truncate(to) => *to,
                };
                Some(*length)
            })
            .collect();
        let nth = after_cut + rng.below((allowed.len() - after_cut) as u64 + 1) as usize;
        let length = if nth == 0 { self.safe.len() } else { lengths[nth - 1] };
        let mut content = Vec::with_capacity(length);
        while content.len() < length {
            let from = content.len();
            let until = length.min(from + sector);
            content.extend(self.sector(allowed, from, until, garbage, rng));
        }
        content
    }

    /// One sector in one of its versions.
    fn sector(&self, allowed: &[Change], from: usize, until: usize, garbage: bool, rng: &mut Rng) -> Vec<u8> {
        let touches = |change: &&Change| match change {
            Change::Write(at, data) => *at < until && at + data.len() > from,
            Change::Truncate(to) => *to < until,
        };
        let history: Vec<&Change> = allowed.iter().filter(touches).collect();
        // What was before a truncation that took the sector away is not found again.
        let wiped = history.iter().rposition(|change| matches!(change, Change::Truncate(to) if *to <= from));
        let first = wiped.map_or(0, |at| at + 1);
        let version = first + rng.below((history.len() - first) as u64 + 1) as usize;
        let old =
            if wiped.is_some() { &[][..] } else { self.safe.get(from..until.min(self.safe.len())).unwrap_or(&[]) };
        let mut bytes = old.to_vec();
        let fill = |rng: &mut Rng| if garbage { rng.next() as u8 } else { 0 };
        bytes.resize_with(until - from, || fill(rng));
        for change in &history[first..version] {
            match change {
                Change::Write(at, data) => {
                    let (start, end) = ((*at).max(from), (at + data.len()).min(until));
                    bytes[start - from..end - from].copy_from_slice(&data[start - at..end - at]);
                }
                Change::Truncate(to) => bytes[to - from..].fill(0),
            }
        }
        bytes
    }
}

fn is_cut(change: &Change) -> bool {
    matches!(change, Change::Truncate(_))
}

fn carry_out(content: &mut Vec<u8>, change: &Change) {
    match change {
        Change::Write(at, data) => {
            content.resize(content.len().max(at + data.len()), 0);
            content[*at..at + data.len()].copy_from_slice(data);
        }
        Change::Truncate(to) => content.resize(*to, 0),
    }
}

fn names_of(fields: &[String]) -> Names {
    let pairs = fields.iter().filter_map(|field| field.split_once('='));
    pairs.map(|(name, hex)| (name.to_owned(), unhex(hex))).collect()
}

fn unhex(hex: &str) -> Vec<u8> {
    let digits = (0..hex.len()).step_by(2);
    digits.map(|at| u8::from_str_radix(&hex[at..at + 2], 16).expect("hex")).collect()
}
