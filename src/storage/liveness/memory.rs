//! What this host remembers between short-lived processes, and tidying up after them. Hints only: nothing here can fail.

use std::fs::{self, File, Permissions};
use std::io::ErrorKind;
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::Path;
use std::time::{Duration, SystemTime};

use super::judge;

/// Names looked at, and files removed, in one sweep.
const LOOKED_AT: usize = 512;
const REMOVED: usize = 32;

const DAY: Duration = Duration::from_secs(24 * 3600);
const HOUR: Duration = Duration::from_secs(3600);

/// A dead process's file that a sweep has seen: no longer writable for its owner, and dated when it was first seen so.
const SEEN_DEAD: u32 = 0o444;

/// How long `key` has been known here; zero at the first call.
pub(super) fn known_for(dir: &Path, key: &str) -> Duration {
    let path = dir.join(format!("seen-{:016x}", fnv1a(key.as_bytes())));
    match File::options().write(true).create_new(true).mode(0o644).open(&path) {
        Err(error) if error.kind() == ErrorKind::AlreadyExists => age(&path),
        Err(_) => Duration::ZERO,
        Ok(_) => {
            sweep(dir);
            Duration::ZERO
        }
    }
}

/// The file that stands for `path` among this user's processes, made if need be and locked.
pub(super) fn local_guard(dir: &Path, path: &Path) -> Option<File> {
    let file = stand_in("guard", dir, path)?;
    // Bounded: a process that was stopped with it must not stop the others, and the native locks decide all the same.
    for _ in 0..50 {
        if file.try_lock().is_ok() {
            return Some(file);
        }
        std::thread::sleep(Duration::from_millis(1));
    }
    None
}

/// The file in whose bytes this user's processes wait for `path`, made if need be.
pub(super) fn local_queue(dir: &Path, path: &Path) -> Option<File> {
    stand_in("queue", dir, path)
}

fn stand_in(word: &str, dir: &Path, path: &Path) -> Option<File> {
    use std::os::unix::ffi::OsStrExt;
    let name = format!("{word}-{:016x}", fnv1a(path.as_os_str().as_bytes()));
    let mut options = File::options();
    options.read(true).write(true).create(true).truncate(false).mode(0o600).custom_flags(libc::O_NOFOLLOW);
    options.open(dir.join(name)).ok()
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

/// Removes what nobody can need any more, a bounded number at a time.
pub(super) fn sweep(dir: &Path) {
    let Ok(names) = fs::read_dir(dir) else { return };
    let mut removed = 0;
    for entry in names.take(LOOKED_AT).flatten() {
        let (path, name) = (entry.path(), entry.file_name());
        let name = name.to_string_lossy();
        let stale =
            if name.starts_with("seen-") { age(&path) > DAY } else { name.ends_with(".alive") && is_spent(&path) };
        if stale && fs::remove_file(&path).is_ok() {
            removed += 1;
        }
        if removed == REMOVED {
            return;
        }
    }
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
        assert_eq!(known_for(dir.path(), "beat"), Duration::ZERO);
        backdate(&dir.path().join(format!("seen-{:016x}", fnv1a(b"beat"))), Duration::from_secs(100));
        let known = known_for(dir.path(), "beat");
        assert!(known >= Duration::from_secs(100) && known < Duration::from_secs(160), "{known:?}");
        assert_eq!(known_for(dir.path(), "other"), Duration::ZERO);
        assert_eq!(known_for(Path::new("/no/such/place"), "beat"), Duration::ZERO);
    }

    #[test]
    fn a_date_that_lies_ahead_counts_as_now() {
        let dir = tempfile::tempdir().unwrap();
        known_for(dir.path(), "beat");
        let path = dir.path().join(format!("seen-{:016x}", fnv1a(b"beat")));
        File::open(&path).unwrap().set_modified(SystemTime::now() + DAY).unwrap();
        assert_eq!(known_for(dir.path(), "beat"), Duration::ZERO);
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
