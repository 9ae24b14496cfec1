//! Sequences of calls on the VFS, legal and not: three connections of one program, two of them on the same database, each call
//! chosen by the bytes. Whatever the order, nothing panics, crashes or blocks; locks exclude each other; and when all is closed
//! nothing is held, and a newcomer can lock everything.
//!
//! Kept of SQLite's contract: a file is closed once and not used after that, a journal is closed before its database, lengths are
//! not negative and buffers as long as they say.

use super::input::Input;
use super::world::{Connection, PANICKED, locks_of, vfs};
use rusqlite::ffi::*;
use std::ffi::{c_char, c_int, c_void};
use std::path::{Path, PathBuf};
use std::ptr::null_mut;
use std::sync::atomic::Ordering;

const CALLS_MAX: usize = 120;
/// What `act` does, for `FUZZ_TRACE=1`, which tells each call and the locks that are held after it.
const NAMES: [&str; 24] = [
    "lock",
    "lock",
    "lock",
    "lock",
    "unlock",
    "unlock",
    "unlock",
    "read",
    "write",
    "truncate",
    "sync",
    "size",
    "control",
    "control",
    "open journal",
    "journal",
    "journal",
    "delete",
    "exists",
    "transaction",
    "transaction",
    "recovery",
    "close",
    "close",
];
const MAGIC: [u8; 8] = [0xd9, 0xd5, 0x05, 0xf9, 0x20, 0xa1, 0x63, 0xd7];

pub fn run(data: &[u8]) {
    vfs();
    let mut input = Input(data);
    let fast = Path::new("/dev/shm");
    let dir = if fast.is_dir() { tempfile::tempdir_in(fast) } else { tempfile::tempdir() }.expect("a directory");
    let paths: [PathBuf; 3] = ["a.db", "a.db", "b.db"].map(|name| dir.path().join(name));
    let network = input.below(2) == 1;
    let mut connections: [Option<Connection>; 3] = [None, None, None];
    for _ in 0..CALLS_MAX {
        let Some(what) = input.byte() else { break };
        let at = usize::from(what) % 3;
        match &mut connections[at] {
            None => connections[at] = open(&mut input, &paths[at], network),
            Some(connection) => {
                if act(usize::from(what) / 3, connection, &mut input) {
                    connections[at].take().expect("just seen").close();
                }
            }
        }
        let levels = connections.each_mut().map(|one| one.as_mut().map_or(0, |one| one.database.level()));
        tell(&format!("connection {at}, {}: {levels:?}", NAMES[usize::from(what) / 3 % 24]));
        assert!(levels.iter().all(|level| (0..=4).contains(level)), "{levels:?}");
        assert!(levels[0].min(levels[1]) < 2, "two writers: {levels:?}");
        assert!(levels[0].max(levels[1]) < 4 || levels[0].min(levels[1]) == 0, "a reader beside EXCLUSIVE: {levels:?}");
    }
    connections.into_iter().flatten().for_each(Connection::close);
    for path in &paths[1..] {
        assert_eq!(locks_of(path), Vec::<String>::new(), "left behind (network: {network})");
        newcomer(path, network);
        assert_eq!(locks_of(path), Vec::<String>::new(), "left behind by the newcomer (network: {network})");
    }
    assert!(!PANICKED.load(Ordering::SeqCst), "something has panicked");
}

pub fn parameters(network: bool) -> &'static [(&'static str, &'static str)] {
    if network { &[("coord_mode", "network-exclusive")] } else { &[] }
}

fn open(input: &mut Input, path: &Path, network: bool) -> Option<Connection> {
    let flags = input.pick(&[
        SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE,
        SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE,
        SQLITE_OPEN_READWRITE,
        SQLITE_OPEN_READONLY,
        SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE | SQLITE_OPEN_EXCLUSIVE,
    ]);
    let odd: &[&[(&str, &str)]] =
        &[&[("nolock", "1")], &[("coord_mode", "trusted")], &[("coord_mode", "x")], &[("coord_lease_ms", "1000")], &[]];
    let which = input.below(16);
    let parameters = odd.get(which).copied().unwrap_or(parameters(network));
    Connection::open(path, parameters, flags).ok()
}

fn tell(text: &str) {
    static ASKED: std::sync::OnceLock<bool> = std::sync::OnceLock::new();
    if *ASKED.get_or_init(|| std::env::var_os("FUZZ_TRACE").is_some()) {
        eprintln!("{text}");
    }
}

/// One call, or a few as SQLite makes them. True: close it.
fn act(what: usize, it: &mut Connection, input: &mut Input) -> bool {
    let mut buffer = [0x5a; 1024];
    match what % 24 {
        0..=3 => {
            let level = input.pick(&[1, 1, 2, 4, 3, 0, 5]);
            let code = it.database.lock(level);
            tell(&format!("  xLock({level}) = {code}"));
        }
        4..=6 => {
            let level = input.pick(&[0, 1, 0, 2, 3, 4]);
            let code = it.database.unlock(level);
            tell(&format!("  xUnlock({level}) = {code}"));
        }
        7 => drop(it.database.read(&mut buffer[..input.below(256)], place(input))),
        8 => drop(it.database.write(&buffer[..4 * input.below(256)], place(input))),
        9 => drop(it.database.truncate(place(input))),
        10 => drop(it.database.sync(input.pick(&[SQLITE_SYNC_NORMAL, SQLITE_SYNC_FULL]))),
        11 => drop((it.database.size(), it.database.reserved())),
        12 | 13 => control(it, input),
        14 => drop(it.open_journal(input.pick(&[SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE, SQLITE_OPEN_READONLY]))),
        15 | 16 => journal(it, input),
        17 => drop(it.delete(input.below(8) == 7, input.below(2) == 1)),
        18 => drop(it.exists(input.below(8) == 7, input.pick(&[SQLITE_ACCESS_EXISTS, SQLITE_ACCESS_READWRITE]))),
        19 | 20 => drop(transaction(it, input.below(16))),
        21 => recovery(it, input.below(8)),
        _ => return true,
    }
    false
}

/// An offset or a length: mostly near the beginning, now and then far away.
fn place(input: &mut Input) -> i64 {
    match input.below(8) {
        0 => i64::from(input.byte().unwrap_or(0)) << 12,
        1 => 1 << 30,
        2 => 24,
        _ => i64::from(input.byte().unwrap_or(0)) * 8,
    }
}

fn journal(it: &mut Connection, input: &mut Input) {
    let Some(journal) = &mut it.journal else { return };
    let mut header = [0; 512];
    header[..8].copy_from_slice(&MAGIC);
    match input.below(8) {
        0 => drop(journal.write(&header, 0)),
        1 => drop(journal.write(&header[8..36], 0)),
        2 => drop(journal.write(&header[..input.below(256)], place(input))),
        3 => drop(journal.read(&mut header[..input.below(256)], place(input))),
        4 => drop(journal.truncate(input.pick(&[0, 0, 512, 5]))),
        5 => drop((journal.sync(SQLITE_SYNC_NORMAL), journal.size())),
        6 => drop((journal.lock(1), journal.unlock(0), journal.reserved())),
        _ => it.close_journal(),
    }
}

/// The first steps of a write transaction, as the pager makes them. How many were made.
pub fn transaction(it: &mut Connection, steps: usize) -> usize {
    let mut header = [0; 512];
    header[..8].copy_from_slice(&MAGIC);
    for step in 0..steps {
        let journal = it.journal.as_mut();
        let code = match step {
            0 => it.database.lock(1),
            1 => it.database.lock(2),
            2 => it.open_journal(SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE),
            3 => journal.map_or(1, |journal| journal.write(&header, 0)),
            4 => journal.map_or(1, |journal| journal.write(&[7; 520], 512)),
            5 => journal.map_or(1, |journal| journal.sync(SQLITE_SYNC_NORMAL)),
            6 => it.database.lock(4),
            7 => it.database.write(&[9; 512], 512),
            // SAFETY: these two take no argument.
            8 => unsafe { it.database.control(SQLITE_FCNTL_SYNC, null_mut()) },
            9 => it.database.sync(SQLITE_SYNC_NORMAL),
            10 => {
                it.close_journal();
                it.delete(false, false)
            }
            // SAFETY: as above.
            11 => unsafe { it.database.control(SQLITE_FCNTL_COMMIT_PHASETWO, null_mut()) },
            12 => it.database.unlock(1),
            _ => it.database.unlock(0),
        };
        if code != SQLITE_OK && step != 8 && step != 11 {
            return step;
        }
    }
    steps
}

/// The first steps of rolling a hot journal back.
fn recovery(it: &mut Connection, steps: usize) {
    let mut byte = [0];
    for step in 0..steps {
        let ok = match step {
            0 => it.database.lock(1) == SQLITE_OK,
            1 => it.exists(false, SQLITE_ACCESS_EXISTS) == 1 && it.database.reserved() == 0,
            2 => it.open_journal(SQLITE_OPEN_READONLY) == SQLITE_OK,
            3 => it.journal.as_mut().is_some_and(|journal| journal.read(&mut byte, 0) == SQLITE_OK),
            4 => it.database.lock(4) == SQLITE_OK,
            5 => it.open_journal(SQLITE_OPEN_READWRITE) == SQLITE_OK && it.database.write(&[1; 512], 512) == SQLITE_OK,
            6 => it.journal.as_mut().is_some_and(|journal| journal.truncate(0) == SQLITE_OK),
            _ => it.database.unlock(0) == SQLITE_OK,
        };
        if !ok {
            return;
        }
    }
}

fn control(it: &mut Connection, input: &mut Input) {
    let (mut small, mut large, mut text): (c_int, i64, *mut c_char) = (0, 0, null_mut());
    small = small.wrapping_add(input.pick(&[0, 1, -1, 4096]));
    large += place(input);
    let mut name = *b"a-super-journal\0";
    let mut pragma: [*mut c_char; 4] = [null_mut(); 4];
    const PRAGMAS: [(&std::ffi::CStr, Option<&std::ffi::CStr>); 8] = [
        (c"coord_status", None),
        (c"coord_error", None),
        (c"coord_nonsense", Some(c"1")),
        (c"journal_mode", Some(c"wal")),
        (c"locking_mode", Some(c"exclusive")),
        (c"locking_mode", Some(c"normal")),
        (c"mmap_size", Some(c"100000")),
        (c"user_version", None),
    ];
    let (pragma_name, value) = input.pick(&PRAGMAS);
    pragma[1] = pragma_name.as_ptr().cast_mut();
    pragma[2] = value.map_or(null_mut(), |value| value.as_ptr().cast_mut());
    static NOBODY: std::sync::atomic::AtomicPtr<sqlite3> = std::sync::atomic::AtomicPtr::new(null_mut());
    let number = (&raw mut small).cast::<c_void>();
    let (operation, argument) = match input.below(18) {
        0 => (SQLITE_FCNTL_LOCKSTATE, number),
        1 => (SQLITE_FCNTL_SIZE_HINT, (&raw mut large).cast()),
        2 => (SQLITE_FCNTL_CHUNK_SIZE, number),
        3 => (SQLITE_FCNTL_PERSIST_WAL, number),
        4 => (SQLITE_FCNTL_POWERSAFE_OVERWRITE, number),
        5 => (SQLITE_FCNTL_VFSNAME, (&raw mut text).cast()),
        6 | 7 => (SQLITE_FCNTL_PRAGMA, pragma.as_mut_ptr().cast()),
        8 => (SQLITE_FCNTL_SYNC, null_mut()),
        9 => (SQLITE_FCNTL_SYNC, name.as_mut_ptr().cast()),
        10 => (SQLITE_FCNTL_COMMIT_PHASETWO, null_mut()),
        11 => (SQLITE_FCNTL_HAS_MOVED, number),
        12 => (SQLITE_FCNTL_MMAP_SIZE, (&raw mut large).cast()),
        13 => (SQLITE_FCNTL_BEGIN_ATOMIC_WRITE, null_mut()),
        14 => (SQLITE_FCNTL_LAST_ERRNO, number),
        15 => (SQLITE_FCNTL_PDB, NOBODY.as_ptr().cast()),
        16 => (coord::vfs::FCNTL_REFUSAL, (&raw mut text).cast()),
        _ => (9999, number),
    };
    // SAFETY: each with what it takes; texts that come back are SQLite's memory.
    unsafe {
        it.database.control(operation, argument);
        sqlite3_free(text.cast());
        sqlite3_free(pragma[0].cast());
    }
}

/// Somebody who comes when all is closed gets every lock.
fn newcomer(path: &Path, network: bool) {
    let flags = SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE;
    let mut it = Connection::open(path, parameters(network), flags).expect("a newcomer opens it");
    for level in [1, 2, 4] {
        assert_eq!(it.database.lock(level), SQLITE_OK, "level {level} (network: {network})");
        assert_eq!(it.database.level(), level);
    }
    assert_eq!(it.database.unlock(0), SQLITE_OK);
    assert_eq!(it.database.level(), 0);
    it.close();
}
