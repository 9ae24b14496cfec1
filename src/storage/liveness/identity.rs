//! This process's own identity and liveness file, built once a process incarnation.
//!
//! No mutex: one that another thread held while this one forked would never be free again in the child. The identity is a
//! leaked box behind an atomic pointer and carries the fork generation it belongs to.

use std::fs::{self, File, Permissions};
use std::io::Write;
use std::mem::ManuallyDrop;
use std::os::fd::AsRawFd;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::ptr;
use std::sync::atomic::{AtomicPtr, AtomicU64, Ordering};
use std::time::Duration;

use rustix::fs::FlockOperation;

use super::runtime::{self, Runtime};
use super::{Process, forks, memory};
use crate::storage::disk;
use crate::switches::{self, Guard};

/// Longest command that is written down, in bytes.
const COMMAND_BYTES: usize = 64;

struct Identity {
    generation: u32,
    process: Process,
    runtime: Option<Runtime>,
    /// What COORD_RUNTIME_DIR said: a child does not read the environment again (its lock may be held since the fork).
    asked: Option<PathBuf>,
}

static CURRENT: AtomicPtr<Identity> = AtomicPtr::new(ptr::null_mut());

/// Generation and pid for which an identity is being built or has been: one thread does it, others wait.
static BUILDER: AtomicU64 = AtomicU64::new(0);

/// Who this process is. The first call of a process incarnation makes the liveness file; where that is not possible, its
/// path stays empty, and the process can never be proven dead.
pub fn this_process() -> Process {
    current().process.clone()
}

pub(super) fn runtime_dir() -> Option<PathBuf> {
    Some(current().runtime.as_ref()?.dir.clone())
}

/// Gives the liveness file up: for the last moment of a process that has left nothing behind anywhere. Nothing in a child.
pub fn retire() {
    let Some(identity) = latest().filter(|identity| is_mine(identity)) else {
        return;
    };
    CURRENT.store(ptr::null_mut(), Ordering::Release);
    if !identity.process.liveness.is_empty() {
        let _ = fs::remove_file(&identity.process.liveness);
    }
    forks::close_held();
    if let Some(own) = identity.runtime.as_ref().filter(|runtime| runtime.own) {
        // Nobody else remembers anything there.
        for entry in fs::read_dir(&own.dir).into_iter().flatten().flatten() {
            let _ = fs::remove_file(entry.path());
        }
        let _ = fs::remove_dir(&own.dir);
    }
    BUILDER.store(0, Ordering::Release);
}

/// The identity built last, maybe an ancestor's. Never freed, as others may be reading it.
fn latest() -> Option<&'static Identity> {
    // SAFETY: the pointer is null or a leaked box that was complete before it was stored.
    unsafe { CURRENT.load(Ordering::Acquire).as_ref() }
}

fn is_mine(identity: &Identity) -> bool {
    identity.generation == forks::fork_generation() && identity.process.pid == std::process::id()
}

fn current() -> &'static Identity {
    forks::watch_forks();
    loop {
        let known = latest();
        if let Some(identity) = known.filter(|identity| is_mine(identity)) {
            return identity;
        }
        let (generation, pid) = (forks::fork_generation(), std::process::id());
        let claim = u64::from(generation) << 32 | u64::from(pid);
        let before = BUILDER.load(Ordering::Acquire);
        if before == claim || BUILDER.compare_exchange(before, claim, Ordering::AcqRel, Ordering::Acquire).is_err() {
            std::thread::sleep(Duration::from_millis(1)); // another thread is building it
            continue;
        }
        // A child that was made without the fork handlers (a raw clone) shows by its pid alone.
        let untold = known.is_some_and(|identity| identity.generation == generation);
        if untold {
            forks::close_held();
        }
        let claimed = Claim;
        let built = Box::leak(Box::new(build(generation + u32::from(untold), known)));
        std::mem::forget(claimed);
        CURRENT.store(built, Ordering::Release);
        if untold {
            forks::advance();
        }
        return built;
    }
}

/// Whoever builds and panics (the standard library does when a directory cannot be closed) lets the next one try, who would
/// wait for ever otherwise.
struct Claim;

impl Drop for Claim {
    fn drop(&mut self) {
        BUILDER.store(0, Ordering::Release);
    }
}

fn build(generation: u32, ancestor: Option<&Identity>) -> Identity {
    let asked = match ancestor {
        Some(ancestor) => ancestor.asked.clone(),
        None => runtime::asked(),
    };
    let mut process = Process {
        pid: std::process::id(),
        hostname: rustix::system::uname().nodename().to_string_lossy().into_owned(),
        boot_id: boot_id(),
        pid_namespace: pid_namespace(),
        liveness: String::new(),
        command: command(),
        user: ancestor.map_or_else(user, |ancestor| ancestor.process.user.clone()),
    };
    let runtime = runtime::choose(asked.as_deref());
    if let Some(runtime) = &runtime {
        if !runtime.own {
            memory::sweep_sometimes(&runtime.dir);
        }
        process.liveness = make_file(&runtime.dir, &process).unwrap_or_default();
    }
    Identity { generation, process, runtime, asked }
}

/// Makes and locks the liveness file; its path, or nothing if that is not possible.
fn make_file(dir: &Path, process: &Process) -> Option<String> {
    let host: String =
        process.hostname.chars().filter(|letter| letter.is_ascii_alphanumeric() || *letter == '-').collect();
    let path = dir.join(format!("{host}-{}-{:016x}.alive", process.pid, disk::random()));
    let text = path.to_str()?.to_owned();
    let file = File::options().write(true).create_new(true).mode(0o644).open(&path).ok()?;
    let contents = serde_json::to_vec(&Process { liveness: text.clone(), ..process.clone() }).ok();
    // Held by number before it is locked, so that the child of a fork in between gives its copy up too.
    if forks::hold(file.as_raw_fd()) {
        let file = ManuallyDrop::new(file);
        if contents.is_some_and(|contents| fill(&file, &contents).is_some()) {
            return Some(text);
        }
        forks::close_held();
    }
    let _ = fs::remove_file(&path);
    None
}

/// Lock first: a file with contents is a locked one.
fn fill(mut file: &File, contents: &[u8]) -> Option<()> {
    rustix::io::retry_on_intr(|| rustix::fs::flock(file, FlockOperation::NonBlockingLockExclusive)).ok()?;
    file.write_all(contents).ok()?;
    let found = file.metadata().ok()?;
    if found.mode() & 0o444 != 0o444 {
        file.set_permissions(Permissions::from_mode(0o644)).ok()?;
    }
    (found.nlink() == 1).then_some(())
}

#[cfg(target_os = "linux")]
fn boot_id() -> String {
    fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default().trim().to_owned()
}

#[cfg(target_vendor = "apple")]
fn boot_id() -> String {
    let mut buffer = [0u8; 64];
    let mut length = buffer.len();
    // SAFETY: the name ends with a NUL, and `length` says how much room there is in `buffer`.
    let result = unsafe {
        libc::sysctlbyname(
            c"kern.bootsessionuuid".as_ptr(),
            buffer.as_mut_ptr().cast(),
            &mut length,
            ptr::null_mut(),
            0,
        )
    };
    let text = if result == 0 { &buffer[..length.min(buffer.len())] } else { &[] };
    String::from_utf8_lossy(text).trim_end_matches('\0').to_owned()
}

#[cfg(not(any(target_os = "linux", target_vendor = "apple")))]
fn boot_id() -> String {
    String::new()
}

/// Whose clock it is that goes on while nobody sets it: of this run of the machine, and on Linux of this process's time namespace,
/// in which it may have another offset (time_namespaces(7)).
pub(super) fn clock_id() -> String {
    format!("{} {:016x}", this_process().boot_id, time_namespace())
}

#[cfg(target_os = "linux")]
fn time_namespace() -> u64 {
    let found = fs::metadata("/proc/self/ns/time").ok().filter(|_| !switches::off(Guard::OwnClock));
    found.map_or(0, |found| found.ino())
}

#[cfg(not(target_os = "linux"))]
fn time_namespace() -> u64 {
    0
}

#[cfg(target_os = "linux")]
fn pid_namespace() -> String {
    fs::read_link("/proc/self/ns/pid").map(|name| name.to_string_lossy().into_owned()).unwrap_or_default()
}

#[cfg(not(target_os = "linux"))]
fn pid_namespace() -> String {
    "host".into()
}

fn command() -> String {
    let line = fs::read("/proc/self/cmdline").unwrap_or_default();
    let first = line.split(|byte| *byte == 0).next().unwrap_or_default();
    let base = first.rsplit(|byte| *byte == b'/').next().unwrap_or_default();
    let name = match base {
        [] => fs::read("/proc/self/comm").unwrap_or_default(),
        base => base.to_vec(),
    };
    shortened(&name)
}

/// Readable, on one line, at most [`COMMAND_BYTES`].
fn shortened(name: &[u8]) -> String {
    let mut text = String::from_utf8_lossy(name).trim().replace(char::is_control, "?");
    text.truncate(text.floor_char_boundary(COMMAND_BYTES));
    text
}

fn user() -> String {
    ["USER", "LOGNAME"]
        .iter()
        .find_map(|name| std::env::var(name).ok().filter(|value| !value.is_empty()))
        .map_or_else(|| rustix::process::getuid().as_raw().to_string(), |name| shortened(name.as_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_are_cut_at_whole_letters_and_hold_no_control_characters() {
        assert_eq!(shortened("ä".repeat(40).as_bytes()), "ä".repeat(32));
        assert_eq!(shortened(("a".to_owned() + &"ä".repeat(40)).as_bytes()).len(), 63);
        assert_eq!(shortened(b"a\nb\x1b\xff"), "a?b?\u{fffd}");
        assert_eq!(shortened(b"python3\n"), "python3");
    }

    #[test]
    fn this_process_says_who_it_is() {
        let me = this_process();
        assert_eq!(me, this_process());
        assert_eq!(me.pid, std::process::id());
        for text in [&me.hostname, &me.boot_id, &me.pid_namespace, &me.liveness, &me.command, &me.user] {
            assert!(!text.is_empty(), "{me:?}");
        }
        let written: Process = serde_json::from_slice(&fs::read(&me.liveness).unwrap()).unwrap();
        assert_eq!(written, me);
    }
}
