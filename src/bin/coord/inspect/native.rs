//! Who holds SQLite's own locks on a database: where there is no registry, these decide, also among programs without coord, and a
//! reader leaves no other sign. Only for a process that has no connection of its own: closing a file gives up the locks that
//! its process has on it.

use coord::lock::report::LockRow;
use std::collections::BTreeMap;
use std::fs::{self, File};
use std::os::fd::AsRawFd;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::Path;

/// The bytes that SQLite locks (`PENDING_BYTE` and what follows it, <https://www.sqlite.org/lockingv3.html>).
const PENDING: u64 = 0x4000_0000;
const RESERVED: u64 = PENDING + 1;
const SHARED: u64 = PENDING + 2;
const SHARED_BYTES: u64 = 510;

const READS: &str = "native-shared";

/// What one lock on some of those bytes means, in the order in which SQLite takes them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Held {
    Shared,
    Reserved,
    Pending,
    Exclusive,
}

impl Held {
    /// The row's kind.
    fn kind(self) -> &'static str {
        match self {
            Held::Shared => READS,
            Held::Reserved => "native-reserved",
            Held::Pending => "native-pending",
            Held::Exclusive => "native-exclusive",
        }
    }

    /// `None` for one that is none of SQLite's, or only on its way to SHARED.
    fn of(first: u64, last: u64, writes: bool) -> Option<Held> {
        let covers = |byte| (first..=last).contains(&byte);
        match writes {
            true if covers(SHARED) => Some(Held::Exclusive),
            true if covers(PENDING) => Some(Held::Pending),
            true if covers(RESERVED) => Some(Held::Reserved),
            false if first < SHARED + SHARED_BYTES && last >= SHARED => Some(Held::Shared),
            _ => None,
        }
    }
}

/// Whether the row is of one that writes, or is about to.
pub fn writes(row: &LockRow) -> bool {
    row.kind.starts_with("native-") && row.kind != READS
}

/// One row a process, of those that this host knows. What cannot be found out is left out.
pub fn rows(database: &Path) -> Vec<LockRow> {
    let Ok(found) = fs::metadata(database) else { return Vec::new() };
    if !found.is_file() {
        return Vec::new();
    }
    let listed = fs::read_to_string("/proc/locks").unwrap_or_default();
    let mut holders = listed_in(&listed, found.dev(), found.ino());
    if holders.is_empty() {
        holders = asked_of(database);
    }
    holders.into_iter().map(|(pid, held)| row(pid, held)).collect()
}

/// From the kernel's list, `1: POSIX  ADVISORY  WRITE 1234 08:01:5678 1073741825 1073741825`, in which one that waits has `->` for its
/// first word (proc_locks(5)).
fn listed_in(locks: &str, device: u64, inode: u64) -> BTreeMap<Option<u32>, Held> {
    let file = format!("{:02x}:{:02x}:{inode}", rustix::fs::major(device), rustix::fs::minor(device));
    let mut holders = BTreeMap::new();
    for line in locks.lines() {
        let words: Vec<&str> = line.split_whitespace().skip(1).collect();
        let &[class, _, access, pid, place, first, last] = words.as_slice() else { continue };
        if place != file || !matches!(class, "POSIX" | "OFDLCK") {
            continue;
        }
        let last = if last == "EOF" { Some(u64::MAX) } else { last.parse().ok() };
        let (Ok(first), Some(last)) = (first.parse(), last) else { continue };
        if let Some(held) = Held::of(first, last, access == "WRITE") {
            keep(&mut holders, pid.parse().ok(), held);
        }
    }
    holders
}

/// From the file: of each kind the first one that the kernel names, for filesystems whose files have other numbers in its list.
fn asked_of(database: &Path) -> BTreeMap<Option<u32>, Held> {
    let mut holders = BTreeMap::new();
    // A FIFO that has taken its place is not waited for.
    let opened = File::options().read(true).custom_flags(libc::O_NONBLOCK).open(database);
    let Ok(file) = opened else { return holders };
    for (start, length) in [(PENDING, 1), (RESERVED, 1), (SHARED, SHARED_BYTES)] {
        // SAFETY: all zeroes is a valid flock: from the start, no process.
        let mut lock: libc::flock = unsafe { std::mem::zeroed() };
        lock.l_type = libc::F_WRLCK as libc::c_short;
        (lock.l_start, lock.l_len) = (start as libc::off_t, length as libc::off_t);
        // SAFETY: the descriptor is open and `lock` lives for the length of the call.
        let asked = unsafe { libc::fcntl(file.as_raw_fd(), libc::F_GETLK, &raw mut lock) };
        if asked != 0 || lock.l_type == libc::F_UNLCK as libc::c_short {
            continue;
        }
        let first = u64::try_from(lock.l_start).unwrap_or(0);
        let last = if lock.l_len == 0 { u64::MAX } else { first + (lock.l_len as u64 - 1) };
        if let Some(held) = Held::of(first, last, lock.l_type == libc::F_WRLCK as libc::c_short) {
            keep(&mut holders, u32::try_from(lock.l_pid).ok(), held);
        }
    }
    holders
}

/// The highest that a process has. One that this one cannot see has the number 0, a lock of an open file -1.
fn keep(holders: &mut BTreeMap<Option<u32>, Held>, pid: Option<u32>, held: Held) {
    let known = holders.entry(pid.filter(|pid| *pid > 0)).or_insert(held);
    *known = held.max(*known);
}

fn row(pid: Option<u32>, held: Held) -> LockRow {
    let of =
        |what: &str| pid.and_then(|pid| fs::read_to_string(format!("/proc/{pid}/{what}")).ok()).unwrap_or_default();
    LockRow {
        kind: held.kind().to_string(),
        host: rustix::system::uname().nodename().to_string_lossy().into_owned(),
        pid,
        command: of("comm").trim().to_string(),
        verdict: match pid {
            Some(_) => "alive: the kernel gives its locks up when it ends".to_string(),
            None => "alive: a process that is not seen from here".to_string(),
        },
        ..LockRow::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernels_list_is_understood() {
        let list = "1: POSIX  ADVISORY  READ 77 fd:01:12 1073741826 1073742335\n\
                    2: POSIX  ADVISORY  WRITE 77 fd:01:12 1073741825 1073741825\n\
                    2: -> POSIX  ADVISORY  WRITE 80 fd:01:12 1073741825 1073741825\n\
                    3: POSIX  ADVISORY  READ 78 fd:01:12 1073741826 1073742335\n\
                    4: POSIX  ADVISORY  WRITE 79 fd:01:13 1073741826 1073742335\n\
                    5: FLOCK  ADVISORY  WRITE 81 fd:01:12 0 EOF\n\
                    6: POSIX  ADVISORY  READ 82 fd:01:12 128 128\n\
                    7: OFDLCK ADVISORY  READ -1 fd:01:12 1073741826 1073742335\n\
                    8: POSIX\n\
                    nonsense\n";
        let device = rustix::fs::makedev(0xfd, 1);
        let expected = BTreeMap::from([(None, Held::Shared), (Some(77), Held::Reserved), (Some(78), Held::Shared)]);
        assert_eq!(listed_in(list, device, 12), expected);
        assert_eq!(listed_in(list, device, 13), BTreeMap::from([(Some(79), Held::Exclusive)]));
    }

    #[test]
    fn each_lock_of_sqlites_has_its_name() {
        assert_eq!(Held::of(PENDING, PENDING, true), Some(Held::Pending));
        assert_eq!(Held::of(PENDING, PENDING, false), None);
        assert_eq!(Held::of(SHARED, SHARED + 509, true), Some(Held::Exclusive));
        assert_eq!(Held::of(0, u64::MAX, true), Some(Held::Exclusive));
        // Of one byte, as systems without ranges do it.
        assert_eq!(Held::of(SHARED + 100, SHARED + 100, false), Some(Held::Shared));
    }
}
