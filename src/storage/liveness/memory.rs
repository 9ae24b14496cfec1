//! What this host remembers between short-lived processes, and tidying up after them. Hints only: nothing here can fail.

use std::collections::BTreeMap;
use std::fs::{self, File, Permissions};
use std::io::ErrorKind;
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime};

use super::{ForkMutex, disk, judge};

/// Names looked at, and files removed, in one sweep.
const LOOKED_AT: usize = 8192;
const REMOVED: usize = 32;
/// Keys that a program remembers by itself.
const KEYS: usize = 512;

const DAY: Duration = Duration::from_secs(24 * 3600);
const HOUR: Duration = Duration::from_secs(3600);
/// Between two sweeps of a program that remembers much: each may look at thousands of names.
const SWEEP_EVERY: Duration = Duration::from_secs(60);

/// A dead process's file that a sweep has seen: no longer writable for its owner, and dated when it was first seen so.
const SEEN_DEAD: u32 = 0o444;

/// How long `what` has been known here as `state`, by a clock that nobody sets, which `clock` names; zero at the first call.
pub(super) fn known_for(dir: &Path, clock: &str, now: u64, what: &str, state: &str) -> Duration {
    let path = seen(dir, what);
    // Of one length, so that one can be written over the other.
    let text = format!("{clock} {:016x} {now:020}\n", fnv1a(state.as_bytes()));
    match File::options().write(true).create_new(true).mode(0o644).open(&path) {
        Err(error) if error.kind() == ErrorKind::AlreadyExists => {
            // Of another state, of an earlier run, or of who died between making and filling it. Not whatever else has that name.
            let begins = || {
                let flags = libc::O_NOFOLLOW | libc::O_NONBLOCK;
                File::options().write(true).custom_flags(flags).open(&path).ok()?.write_at(text.as_bytes(), 0).ok()
            };
            match read_known(&path, &text, now) {
                Some(since) => Duration::from_nanos(now - since),
                None if begins().is_some() => Duration::ZERO,
                None => known_here(what, state),
            }
        }
        Ok(file) if file.write_at(text.as_bytes(), 0).is_ok() => {
            sweep_sometimes(dir);
            Duration::ZERO
        }
        _ => known_here(what, state),
    }
}

/// Each user's own: of those who share the directory none can write over what another remembers.
fn seen(dir: &Path, what: &str) -> PathBuf {
    dir.join(format!("seen-{:016x}-{}", fnv1a(what.as_bytes()), rustix::process::geteuid().as_raw()))
}

/// Since when, if that was by this clock, and the same as `text` says but for the time.
fn read_known(path: &Path, text: &str, now: u64) -> Option<u64> {
    let mut found = vec![0; text.len()];
    judge::open(path)?.read_exact_at(&mut found, 0).ok()?;
    let (same, since) = std::str::from_utf8(&found).ok()?.trim_end().rsplit_once(' ')?;
    let (wanted, _) = text.rsplit_once(' ')?;
    (same == wanted).then(|| since.parse().ok())?.filter(|since| *since <= now)
}

/// The same as far as this program knows by itself, where there is no place on the host: else it would wait for ever for what is
/// only given up after some time.
pub(super) fn known_here(what: &str, state: &str) -> Duration {
    struct Known {
        state: u64,
        since: Instant,
        /// What is waited for is asked for all the time, others once.
        asked: Instant,
    }
    static SINCE: ForkMutex<BTreeMap<u64, Known>> = ForkMutex::new(BTreeMap::new(), before_fork, after_fork);
    extern "C" fn before_fork() {
        SINCE.hold();
    }
    extern "C" fn after_fork() {
        SINCE.release();
    }
    let mut known = SINCE.lock();
    if known.len() >= KEYS
        && let Some(oldest) = known.iter().min_by_key(|(_, known)| known.asked).map(|(key, _)| *key)
    {
        known.remove(&oldest);
    }
    let (now, state) = (Instant::now(), fnv1a(state.as_bytes()));
    let one = known.entry(fnv1a(what.as_bytes())).or_insert(Known { state, since: now, asked: now });
    one.asked = now;
    if one.state != state {
        (one.state, one.since) = (state, now);
    }
    one.since.elapsed()
}

/// The file that stands for `path` among this user's processes, made if need be and locked.
pub(super) fn local_guard(dir: &Path, path: &Path) -> Option<File> {
    let path = path_of("guard", dir, path);
    lock_guard(&path, stand_in(&path)?)
}

fn lock_guard(path: &Path, mut file: File) -> Option<File> {
    // Bounded: a process that was stopped with it must not stop the others, and the native locks decide all the same.
    for _ in 0..50 {
        if file.try_lock().is_err() {
            std::thread::sleep(Duration::from_millis(1));
        } else if leads_to(path, &file) {
            return Some(file);
        } else {
            // Swept between opening and locking: the others lock a new one.
            file = stand_in(path)?;
        }
    }
    None
}

/// Whether this is the file of that name still.
fn leads_to(path: &Path, file: &File) -> bool {
    let same = |found: fs::Metadata, open: fs::Metadata| (found.dev(), found.ino()) == (open.dev(), open.ino());
    fs::symlink_metadata(path).is_ok_and(|found| file.metadata().is_ok_and(|open| same(found, open)))
}

/// The file in whose bytes this user's processes wait for `path`, made if need be.
pub(super) fn local_queue(dir: &Path, path: &Path) -> Option<File> {
    stand_in(&path_of("queue", dir, path))
}

fn path_of(word: &str, dir: &Path, path: &Path) -> PathBuf {
    use std::os::unix::ffi::OsStrExt;
    dir.join(format!("{word}-{:016x}", fnv1a(path.as_os_str().as_bytes())))
}

fn stand_in(path: &Path) -> Option<File> {
    let mut options = File::options();
    options.read(true).write(true).create(true).truncate(false).mode(0o600).custom_flags(libc::O_NOFOLLOW);
    options.open(path).ok()
}

/// Time since the file was written, by this host's clock; zero if that lies ahead.
fn age(path: &Path) -> Duration {
    let written = fs::symlink_metadata(path).and_then(|found| found.modified());
    written.map_or(Duration::ZERO, |date| SystemTime::now().duration_since(date).unwrap_or(Duration::ZERO))
}

/// Fowler, Noll, Vo: the same on every host, version and run.
fn fnv1a(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3))
}

/// Sweeps unless this program has done so within the last minute.
pub(super) fn sweep_sometimes(dir: &Path) {
    // Nanoseconds of the clock that nobody sets; zero: never. No mutex, which a fork might leave locked.
    static LAST: AtomicU64 = AtomicU64::new(0);
    let (now, last) = (disk::now().0.max(1), LAST.load(Ordering::Relaxed));
    let due = last == 0 || Duration::from_nanos(now.saturating_sub(last)) >= SWEEP_EVERY;
    if due && LAST.compare_exchange(last, now, Ordering::Relaxed, Ordering::Relaxed).is_ok() {
        sweep(dir);
    }
}

/// Removes what nobody can need any more, a bounded number at a time.
fn sweep(dir: &Path) {
    let Ok(names) = fs::read_dir(dir) else { return };
    let mut removed = 0;
    for entry in names.take(LOOKED_AT).flatten() {
        let (path, name) = (entry.path(), entry.file_name());
        let name = name.to_string_lossy();
        let gone = match () {
            () if name.starts_with("guard-") => remove_guard(&path),
            () if name.starts_with("queue-") => remove_queue(&path),
            () if name.starts_with("seen-") => age(&path) > DAY && fs::remove_file(&path).is_ok(),
            () => name.ends_with(".alive") && is_spent(&path) && fs::remove_file(&path).is_ok(),
        };
        removed += usize::from(gone);
        if removed == REMOVED {
            return;
        }
    }
}

/// Removes a guard that nobody has used for long, under its own lock: who has opened it meanwhile finds out ([`leads_to`]).
/// One that says "ours" is the only proof that an empty lock directory is coord's, which saves its database's next writer
/// five minutes; for longer than a month nobody is likely to come for that.
fn remove_guard(path: &Path) -> bool {
    if age(path) <= DAY {
        return false;
    }
    let mut options = File::options();
    let Ok(file) = options.read(true).custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK).open(path) else {
        return false;
    };
    if file.try_lock().is_err() {
        return false;
    }
    let mut byte = [0];
    let ours = file.read_at(&mut byte, 0).is_ok_and(|got| got == 1) && byte[0] == b'1';
    // Again: it may have been used just now.
    age(path) > if ours { DAY * 30 } else { DAY } && leads_to(path, &file) && fs::remove_file(path).is_ok()
}

/// Removes a queue in which nobody stands and nobody has stood for long. Who has opened it all the same waits beside the others, which
/// costs him his turn and nothing else: the queue is a courtesy.
fn remove_queue(path: &Path) -> bool {
    age(path) > DAY * 30 && judge::open(path).is_some() && fs::remove_file(path).is_ok()
}

/// Whether this liveness file proves nothing to anybody any more. A process may have lived for weeks and died just now, and
/// its file is the only proof of that: so the day counts from when its lock was first found free.
fn is_spent(path: &Path) -> bool {
    if age(path) <= HOUR {
        return false;
    }
    let Some(file) = judge::open(path) else { return false };
    if judge::try_shared(&file).is_err() {
        return false;
    }
    if file.metadata().is_ok_and(|found| found.permissions().mode() & 0o777 == SEEN_DEAD) {
        return age(path) > DAY;
    }
    let _ = file.set_modified(SystemTime::now());
    let _ = file.set_permissions(Permissions::from_mode(SEEN_DEAD));
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    fn backdate(path: &Path, span: Duration) {
        File::open(path).unwrap().set_modified(SystemTime::now() - span).unwrap();
    }

    #[test]
    fn a_key_is_known_from_its_first_call_on() {
        let dir = tempfile::tempdir().unwrap();
        let known = |boot: &str, now: u64| known_for(dir.path(), boot, now, "node", "beat").as_nanos();
        assert_eq!(known("one", 50), 0);
        // The date of its file says nothing: clocks are set.
        backdate(&seen(dir.path(), "node"), Duration::from_secs(100));
        assert_eq!(known("one", 80), 30);
        assert_eq!(known_for(dir.path(), "one", 80, "other", "beat"), Duration::ZERO);
        assert_eq!([known("two", 10), known("two", 15)], [0, 5], "another run of the machine");
        // This program's own memory is left.
        let nowhere = || known_for(Path::new("/no/such/place"), "one", 1, "a node of this test", "beat");
        let first = nowhere();
        std::thread::sleep(Duration::from_millis(20));
        assert!(nowhere() >= first + Duration::from_millis(20));
    }

    #[test]
    fn what_cannot_be_read_begins_anew() {
        let dir = tempfile::tempdir().unwrap();
        let path = seen(dir.path(), "node");
        for text in ["", "one", "one x\n", "one 900\n"] {
            fs::write(&path, text).unwrap();
            assert_eq!(known_for(dir.path(), "one", 50, "node", "beat"), Duration::ZERO, "{text:?}");
            assert_eq!(known_for(dir.path(), "one", 60, "node", "beat").as_nanos(), 10, "{text:?}");
        }
    }

    /// A program that waits often would else make a file for every heartbeat of every other.
    #[test]
    fn one_state_of_each_is_remembered() {
        let dir = tempfile::tempdir().unwrap();
        let known = |now: u64, state: &str| known_for(dir.path(), "one", now, "node", state).as_nanos();
        assert_eq!([known(10, "beat 1"), known(15, "beat 1"), known(20, "beat 2"), known(26, "beat 2")], [0, 5, 0, 6]);
        assert_eq!(known(30, "beat 1"), 0);
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    }

    /// The directory may be shared with others, who put something else under the name.
    #[test]
    fn nothing_but_a_file_is_waited_for_or_read() {
        use rustix::fs::{CWD, FileType, Mode, mknodat};
        let dir = tempfile::tempdir().unwrap();
        let path = |node: &str| seen(dir.path(), node);
        mknodat(CWD, path("pipe"), FileType::Fifo, Mode::from_raw_mode(0o666), 0).unwrap();
        std::os::unix::fs::symlink("/dev/zero", path("endless")).unwrap();
        for node in ["pipe", "endless"] {
            let known = || known_for(dir.path(), "one", 1, node, "beat");
            let first = known();
            std::thread::sleep(Duration::from_millis(20));
            assert!(known() >= first + Duration::from_millis(20), "{node}: by this program's own memory");
        }
    }

    #[test]
    fn a_sweep_takes_queues_that_nobody_has_used_for_long() {
        let dir = tempfile::tempdir().unwrap();
        let [old, new] = ["queue-1", "queue-2"].map(|name| dir.path().join(name));
        for path in [&old, &new] {
            fs::write(path, b"").unwrap();
        }
        backdate(&old, DAY * 31);
        sweep(dir.path());
        assert_eq!([old.exists(), new.exists()], [false, true]);
    }

    #[test]
    fn a_sweep_spares_the_living_the_newly_dead_and_strangers() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        for name in ["live.alive", "dead.alive", "new.alive", "seen-1", "seen-2", "README"] {
            fs::write(at(name), b"{}").unwrap();
        }
        let live = File::open(at("live.alive")).unwrap();
        rustix::fs::flock(&live, rustix::fs::FlockOperation::LockExclusive).unwrap();
        for name in ["live.alive", "dead.alive", "seen-1", "README"] {
            backdate(&at(name), DAY * 30);
        }
        sweep(dir.path());
        assert!(!at("seen-1").exists() && at("seen-2").exists() && at("README").exists());
        assert!(at("dead.alive").exists(), "its owner may have died a moment ago");
        backdate(&at("dead.alive"), DAY * 2);
        sweep(dir.path());
        assert!(!at("dead.alive").exists());
        assert!(at("live.alive").exists() && at("new.alive").exists());
    }

    #[test]
    fn a_sweep_spares_guards_that_are_held_or_say_something() {
        let dir = tempfile::tempdir().unwrap();
        let guard = |path: &str| local_guard(dir.path(), Path::new(path)).unwrap();
        let file = |path: &str| dir.path().join(format!("guard-{:016x}", fnv1a(path.as_bytes())));
        for (path, byte) in [("/idle", "0"), ("/never said", ""), ("/ours", "1"), ("/held", "0"), ("/new", "0")] {
            guard(path).write_all_at(byte.as_bytes(), 0).unwrap();
            backdate(&file(path), DAY * 2);
        }
        let held = guard("/held");
        backdate(&file("/new"), HOUR);
        sweep(dir.path());
        let left = |path: &str| file(path).exists();
        assert_eq!(["/idle", "/never said", "/ours", "/held", "/new"].map(left), [false, false, true, true, true]);
        drop(held);
        backdate(&file("/ours"), DAY * 31);
        sweep(dir.path());
        assert_eq!(["/ours", "/held", "/new"].map(left), [false, false, true]);
    }

    /// One opens the guard, then it is swept, then he locks what has no name any more: the next one's would be another file,
    /// and both would be inside.
    #[test]
    fn a_guard_that_was_swept_meanwhile_is_opened_anew() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("guard-1");
        let opened = stand_in(&path).unwrap();
        backdate(&path, DAY * 2);
        sweep(dir.path());
        assert!(!path.exists());
        let locked = lock_guard(&path, opened).unwrap();
        assert!(leads_to(&path, &locked));
        assert!(lock_guard(&path, stand_in(&path).unwrap()).is_none(), "two hold it");
    }

    /// Whoever lists many heartbeats would else sweep for each of them.
    #[test]
    fn a_program_that_remembers_much_sweeps_seldom() {
        let dir = tempfile::tempdir().unwrap();
        let old = dir.path().join("seen-1");
        known_for(dir.path(), "one", 1, "first", "beat");
        fs::write(&old, b"").unwrap();
        backdate(&old, DAY * 2);
        for number in 0..64 {
            known_for(dir.path(), "one", 1, &format!("node {number}"), "beat");
        }
        assert!(old.exists(), "swept a second time within a minute");
        sweep(dir.path());
        assert!(!old.exists());
    }

    #[test]
    fn a_sweep_is_bounded() {
        let dir = tempfile::tempdir().unwrap();
        for number in 0..40 {
            let path = dir.path().join(format!("seen-{number}"));
            fs::write(&path, b"").unwrap();
            backdate(&path, DAY * 2);
        }
        sweep(dir.path());
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 40 - REMOVED);
    }
}
