//! What belongs to the process: its lock managers, its end, and its children.
//!
//! A forked child is not the node that its parent was. What it inherits it may not use, renew or release, and it must not
//! touch a lock that another thread of the parent may have held at the fork: so the managers hang on one pointer that the
//! child drops, and every seat remembers the fork generation that it was taken in.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicPtr, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use super::database::{Database, Mode};
use super::service::Service;
use super::settings::{ModeWish, Wishes};
use crate::protocol::Paths;
use crate::storage::disk::Disk;
use crate::storage::kind::Class;
use crate::storage::{Instant, Storage, liveness};

pub(super) struct Process {
    generation: u32,
    storage: Arc<dyn Storage>,
    databases: Mutex<Vec<Weak<Database>>>,
    service: Service,
    /// Numbers of its names in trusted mode: no name is ever made twice.
    names: AtomicU64,
    /// Its managers are driven step by step by a simulator.
    stepped: bool,
}

impl Process {
    fn new(generation: u32) -> Process {
        let (storage, databases) = (Arc::new(Disk::new()), Mutex::default());
        Process {
            generation,
            storage,
            databases,
            service: Service::default(),
            names: AtomicU64::new(0),
            stepped: false,
        }
    }

    #[cfg(feature = "simulation")]
    pub fn stepped(storage: Arc<dyn Storage>) -> Process {
        Process { storage, stepped: true, ..Process::new(fork_generation()) }
    }

    /// The next of the numbers that it gives its names in trusted mode.
    pub fn next_number(&self) -> u64 {
        self.names.fetch_add(1, Ordering::Relaxed) + 1
    }

    /// The managers in use.
    pub fn databases(&self) -> Vec<Arc<Database>> {
        let databases = self.databases.lock().unwrap_or_else(PoisonError::into_inner);
        databases.iter().filter_map(Weak::upgrade).collect()
    }
}

static PROCESS: AtomicPtr<Process> = AtomicPtr::new(std::ptr::null_mut());
/// The program is ending: nothing may be locked or written any more.
static CLOSED: AtomicBool = AtomicBool::new(false);
/// Calls that write to a database at this moment, and above them the fork that they are of: a child has none of its parent's threads.
static WRITING: AtomicU64 = AtomicU64::new(0);
static LOCKS_TAKEN: AtomicU64 = AtomicU64::new(0);

pub fn fork_generation() -> u32 {
    liveness::fork_generation()
}

#[cfg(feature = "simulation")]
use super::simulated::current as process;
#[cfg(not(feature = "simulation"))]
use own as process;

/// This process's state, made at first use and anew in a forked child.
pub(super) fn own() -> &'static Process {
    let generation = fork_generation();
    loop {
        let present = PROCESS.load(Ordering::Acquire);
        // SAFETY: what the pointer leads to is never freed: a child cannot know whether its parent's threads held its locks.
        if let Some(process) = unsafe { present.as_ref() }
            && process.generation == generation
        {
            return process;
        }
        let fresh = Box::into_raw(Box::new(Process::new(generation)));
        match PROCESS.compare_exchange(present, fresh, Ordering::AcqRel, Ordering::Acquire) {
            Ok(_) => {
                release_at_exit(generation);
                // SAFETY: just made, and never freed.
                return unsafe { &*fresh };
            }
            // SAFETY: nobody else has seen it.
            Err(_) => drop(unsafe { Box::from_raw(fresh) }),
        }
    }
}

/// Whether a seat was taken by the parent of this process.
pub(super) fn is_stranger(fork: u32) -> bool {
    fork != fork_generation()
}

/// Whether a seat may be used at all.
pub fn check(fork: u32) -> Result<(), String> {
    if is_stranger(fork) {
        return Err(
            "coord: this connection was opened before a fork; its locks belong to the parent process. Close it \
                    without using it and open the database anew"
                .to_string(),
        );
    }
    if CLOSED.load(Ordering::SeqCst) {
        return Err("coord: this program is ending and has given its locks back".to_string());
    }
    Ok(())
}

/// A number that no name of this process in trusted mode has had.
pub(super) fn next_number() -> u64 {
    process().next_number()
}

pub(super) fn count_lock() {
    LOCKS_TAKEN.fetch_add(1, Ordering::Relaxed);
}

/// Grants of SHARED or more since coord was loaded.
pub fn locks_taken() -> u64 {
    LOCKS_TAKEN.load(Ordering::Relaxed)
}

/// A call that writes: the end of the program waits for it.
pub struct Writing(());

impl Writing {
    pub fn begin(fork: u32) -> Result<Writing, String> {
        count_writing(|calls| calls + 1);
        let writing = Writing(());
        check(fork)?;
        Ok(writing)
    }
}

impl Drop for Writing {
    fn drop(&mut self) {
        count_writing(|calls| calls.saturating_sub(1));
    }
}

fn count_writing(change: impl Fn(u32) -> u32) {
    let change = |counted| Some(counted_now(change(writing_now(counted))));
    let _ = WRITING.fetch_update(Ordering::SeqCst, Ordering::SeqCst, change);
}

fn counted_now(calls: u32) -> u64 {
    u64::from(fork_generation()) << 32 | u64::from(calls)
}

/// How many of this process's own calls write.
fn writing_now(counted: u64) -> u32 {
    if counted >> 32 == u64::from(fork_generation()) { counted as u32 } else { 0 }
}

/// Milliseconds for which a manager that is forsaken is waited for; after that a connection gets it, and an error as soon as it reads.
const LETS_GO: u32 = 1000;

/// Why a database is not to be used.
pub type Refusal = String;

/// Finds or makes the manager of a database. Waits for nobody, but for a moment where somebody still has one that must not be used again.
///
/// # Errors
/// A sentence that says what to do.
pub fn attach(path: &Path, wishes: &Wishes) -> Result<Arc<Database>, Refusal> {
    let process = process();
    let storage = &process.storage;
    let id = storage.attributes(path).ok().map(|found| found.id);
    // Nothing is asked of a filesystem while the list is locked: one that hangs must not stop the heartbeats on the others.
    let is_same = |database: &Arc<Database>| database.paths().database == path || (id.is_some() && database.id() == id);
    // Known by its identity alone: only if that is still true, as an inode is used again when its file is gone.
    let is_still = |database: &Arc<Database>| {
        let known = &database.paths().database;
        known == path || storage.attributes(known).ok().map(|found| found.id) == id
    };
    let agreed = |database: Arc<Database>| match database.contradiction(database.mode(), wishes.mode) {
        Some(text) => Err(text),
        None => Ok(database),
    };
    for _ in 0..LETS_GO {
        let Some(known) = databases().into_iter().filter(is_same).find(is_still) else { break };
        if !known.is_forsaken() {
            return agreed(known);
        }
        drop(known);
        std::thread::sleep(Duration::from_millis(1));
    }
    let paths = Arc::new(Paths::new(path));
    let kind = storage.kind(path);
    if let Some(listed) = (!kind.is_local()).then(|| storage.spelled_otherwise(path).ok().flatten()).flatten() {
        return Err(format!(
            "coord: the directory of {} lists it as {listed:?}, and this filesystem takes the two names for one. Open it by the name \
             that is listed, in all programs",
            path.display()
        ));
    }
    let mode = first_mode(&**storage, &paths, &kind, wishes)?;
    let mut fresh = Database::new(storage.clone(), paths, kind, mode, wishes.lease_ms);
    fresh.stepped = process.stepped;
    let fresh = Arc::new(fresh);
    let mut databases = process.databases.lock().unwrap_or_else(PoisonError::into_inner);
    databases.retain(|database| database.strong_count() > 0);
    // Another thread may have been faster.
    let same_path = |database: &Arc<Database>| database.paths().database == path;
    if let Some(known) = databases.iter().filter_map(Weak::upgrade).find(same_path) {
        drop(databases);
        return agreed(known);
    }
    databases.push(Arc::downgrade(&fresh));
    Ok(fresh)
}

/// A manager for a database that is refused: nobody shares it and nothing is ever locked through it.
pub fn detached(path: &Path) -> Arc<Database> {
    let storage = process().storage.clone();
    let kind = crate::storage::Kind { name: String::new(), class: Class::Local };
    Arc::new(Database::new(storage, Arc::new(Paths::new(path)), kind, Mode::Trusted, 0))
}

/// The mode a database starts in, by its own mark, its filesystem and the wish.
fn first_mode(
    storage: &dyn Storage,
    paths: &Paths,
    kind: &crate::storage::Kind,
    wishes: &Wishes,
) -> Result<Mode, Refusal> {
    if matches!(kind.class, Class::Unfit(_)) && !wishes.force_fs {
        return Err(format!(
            "coord: {} is on {} (coord_force_fs=1 uses it all the same, at your own risk)",
            paths.database.display(),
            kind.reason()
        ));
    }
    let registered = match storage.attributes(&paths.registry) {
        Ok(_) => true,
        Err(error) if error.kind() == io::ErrorKind::NotFound => false,
        Err(error) => return Err(format!("coord: cannot look at {}: {error}", paths.registry.display())),
    };
    match (registered, kind.is_local(), wishes.mode) {
        (true, _, ModeWish::Trusted) => Err(format!(
            "coord: {} is in network-exclusive mode (its registry {} exists), so coord_mode=trusted would let this program read \
             and write beside the others' locks. Leave coord_mode out",
            paths.database.display(),
            paths.registry.display()
        )),
        (true, ..) => Ok(Mode::NetworkExclusive),
        (false, true, _) => Ok(Mode::Trusted),
        (false, false, ModeWish::Trusted) if !wishes.force_fs => Err(format!(
            "coord: coord_mode=trusted relies on native file locks, but {} is on a filesystem that is not for it: {}. Leave \
             coord_mode out, or say coord_mode=network-exclusive",
            paths.database.display(),
            kind.reason()
        )),
        (false, false, ModeWish::Trusted) => Ok(Mode::Trusted),
        (false, false, _) => Ok(Mode::NetworkExclusive),
    }
}

/// This process's storage, for whoever looks at a database without opening it.
pub fn storage() -> Arc<dyn Storage> {
    process().storage.clone()
}

/// The managers in use.
pub fn databases() -> Vec<Arc<Database>> {
    process().databases()
}

/// The manager of this path, if this process uses it.
pub fn manager_of(path: &Path) -> Option<Arc<Database>> {
    databases().into_iter().find(|database| database.paths().database == path)
}

/// The service thread must look at this database by `due`. False if there is none.
pub(super) fn wake_service(database: &Database, due: Instant) -> bool {
    process().service.attend(database.device(), due)
}

/// Resolves a path as the shim does: absolute, with symbolic links followed as far as the file exists.
pub fn canonical(path: &Path) -> io::Result<PathBuf> {
    match path.canonicalize() {
        Ok(found) => Ok(found),
        Err(error) if error.kind() == io::ErrorKind::NotFound => in_real_directory(path),
        Err(error) => Err(error),
    }
}

/// The path with the symbolic links of its directory followed; the file itself need not be there.
pub fn in_real_directory(path: &Path) -> io::Result<PathBuf> {
    let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let name = path.file_name().ok_or_else(|| io::Error::from(io::ErrorKind::InvalidInput))?;
    Ok(parent.canonicalize()?.join(name))
}

/// Gives everything back when the program ends normally.
fn release_at_exit(generation: u32) {
    static ASKED: AtomicBool = AtomicBool::new(false);
    extern "C" fn at_exit() {
        crate::guard::guard((), release_all);
    }
    if generation == fork_generation() && !ASKED.swap(true, Ordering::AcqRel) {
        // SAFETY: the library is never unloaded (SQLITE_OK_LOAD_PERMANENTLY), so the function stays.
        unsafe { libc::atexit(at_exit) };
    }
}

/// First nobody may begin anything, then what is in flight ends, then the locks go.
fn release_all() {
    let present = PROCESS.load(Ordering::Acquire);
    // SAFETY: never freed.
    let Some(process) = (unsafe { present.as_ref() }) else { return };
    if process.generation != fork_generation() {
        return;
    }
    // Whoever is counted as writing sees this, or is seen below: of two variables, which only one order of all says.
    CLOSED.store(true, Ordering::SeqCst);
    let patient = |done: &dyn Fn() -> bool| {
        for _ in 0..200 {
            if done() {
                return true;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        false
    };
    let quiet = patient(&|| writing_now(WRITING.load(Ordering::SeqCst)) == 0);
    let Ok(databases) = process.databases.try_lock() else { return };
    let mut released = quiet;
    for database in databases.iter().filter_map(Weak::upgrade) {
        released &= patient(&|| database.release_everything(quiet)) && !database.is_held();
    }
    if released {
        // What is left standing is given back by the end of the process, of which the liveness file is the proof.
        liveness::retire();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::storage::Kind;

    fn mode_on(name: &str, class: Class, wishes: Wishes) -> Result<Mode, Refusal> {
        let dir = tempfile::tempdir().unwrap();
        let paths = Paths::new(&dir.path().join("state.sqlite"));
        first_mode(&Disk::new(), &paths, &Kind { name: name.into(), class }, &wishes)
    }

    /// A thread writes at the fork, which the child has not got: at its end it would wait for it in vain.
    #[test]
    fn no_child_counts_what_its_parent_writes() {
        let hold = |writing: &dyn Fn()| {
            liveness::watch_forks();
            let _writing = Writing::begin(fork_generation()).unwrap();
            assert_eq!(writing_now(WRITING.load(Ordering::Acquire)), 1, "the parent counts it");
            writing();
        };
        let looks = || {
            while writing_now(WRITING.load(Ordering::Acquire)) > 0 {
                std::thread::yield_now();
            }
        };
        let test = "lock::process::tests::no_child_counts_what_its_parent_writes";
        assert!(liveness::child_gets(test, hold, looks));
    }

    /// The sentence names the file, the filesystem, the reason and the way past it.
    #[test]
    fn an_unfit_filesystem_is_refused_unless_forced() {
        let unfit = || Class::Unfit("it caches; use NFS".to_string());
        let text = mode_on("fuse.sshfs", unfit(), Wishes::default()).unwrap_err();
        for word in ["state.sqlite", "fuse.sshfs", "it caches; use NFS", "coord_force_fs=1"] {
            assert!(text.contains(word), "{word} is not in: {text}");
        }
        let forced = Wishes { force_fs: true, ..Wishes::default() };
        assert_eq!(mode_on("fuse.sshfs", unfit(), forced), Ok(Mode::NetworkExclusive));
    }

    #[test]
    fn trusted_mode_is_refused_where_native_locks_do_not_reach_everybody() {
        let trusted = Wishes { mode: ModeWish::Trusted, ..Wishes::default() };
        let text = mode_on("nfs4", Class::Shared, trusted.clone()).unwrap_err();
        assert!(text.contains("nfs4") && text.contains("network-exclusive"), "{text}");
        assert_eq!(mode_on("ext4", Class::Local, trusted), Ok(Mode::Trusted));
        assert_eq!(mode_on("nfs4", Class::Shared, Wishes::default()), Ok(Mode::NetworkExclusive));
    }
}
