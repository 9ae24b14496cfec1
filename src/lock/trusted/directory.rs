//! The lock directory in trusted mode. It keeps `unix-dotfile` clients out, and shows who writes; among the clients that have
//! native locks those decide. So nobody's name is removed unless he is dead for certain or his native lock is ours.

use std::io;
use std::path::Path;
use std::time::Duration;

use super::TrustedLock;
use crate::lock::database::{Database, Inner};
use crate::lock::failure::Failure;
use crate::lock::level::Level;
use crate::lock::process::next_number;
use crate::lock::seat::{Base, LockError};
use crate::protocol::error::{LOCK, in_the_way};
use crate::protocol::names::{Kind, Name};
use crate::protocol::registry::LockView;
use crate::protocol::{Denied, Holder, NodeId, lease};
use crate::storage::{Instant, Liveness, LocalGuard, Process, Storage};
use crate::switches::{self, Guard};

/// An empty lock directory that coord did not make belongs to a `unix-dotfile` client for this long.
const STRANGER: Duration = Duration::from_secs(300);
/// For so long a name is somebody's who may live.
const LEASE: Duration = Duration::from_millis(lease::DEFAULT_MS);

impl Database {
    /// mkdir L and our name in it. What is found here only ever makes us busy.
    pub(super) fn enter_lock(&self, inner: &mut Inner) -> Result<(), Failure> {
        let owner = self.owner()?;
        let mut guard = self.storage.local_guard(&self.paths.lock);
        let process = self.storage.process();
        let lock = &mut inner.trusted;
        let node = lock.node.get_or_insert_with(|| own_node(&*self.storage, &process)).clone();
        for _ in 0..4 {
            lock.doubtful.clear();
            let before = guard.saying();
            if self.storage.attributes(&self.paths.lock).is_err() {
                // Said before it is made: an empty directory that nobody owns up to keeps every writer out for minutes.
                guard.about_to_make();
            }
            let made = self.storage.make_dir(&self.paths.lock, owner);
            switches::stop_point("made-trusted-lock");
            match made {
                Ok(()) => {}
                Err(error) => {
                    guard.say(before);
                    if error.kind() != io::ErrorKind::AlreadyExists {
                        return Err(Denied::io("make the lock directory", &self.paths.lock)(error).into());
                    }
                    self.may_enter(lock, &guard, &process)?;
                }
            }
            if let Ok(found) = self.storage.incarnation(&self.paths.lock) {
                guard.made(&found);
            }
            let name = Name { node: node.clone(), n: next_number(), kind: Kind::Write };
            let path = self.paths.lock.join(name.to_string());
            match self.storage.create_new(&path, b"", owner) {
                Ok(()) => {
                    lock.held = Some(path);
                    lock.seen.clear();
                    switches::stop_point("entered-trusted-lock");
                    return Ok(());
                }
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => {
                    // It may have been made all the same.
                    let _ = self.storage.unlink(&path);
                    let _ = self.storage.remove_dir(&self.paths.lock);
                    return Err(Denied::io("enter the lock directory", &self.paths.lock)(error).into());
                }
            }
        }
        Err(Failure::Lock(LockError::Busy))
    }

    /// With the native lock taken. Whoever took us for dead meanwhile has removed our name, and the directory may be another's by
    /// now; else those beside us are gone, as they would have the native lock. `before`: what to go back to.
    pub(super) fn confirm_lock(&self, inner: &mut Inner, base: &mut dyn Base, before: Level) -> Result<(), Failure> {
        let there = |name: &Path| self.storage.incarnation(name).is_ok() || switches::off(Guard::StillEntered);
        if !inner.trusted.held.as_deref().is_some_and(there) {
            base.native_unlock(before);
            return Err(Failure::Lock(LockError::Busy));
        }
        for name in std::mem::take(&mut inner.trusted.doubtful) {
            let _ = self.storage.unlink(&name);
        }
        Ok(())
    }

    pub(super) fn leave_lock(&self, inner: &mut Inner) {
        inner.trusted.doubtful.clear();
        let Some(path) = inner.trusted.held.take() else { return };
        let mut guard = self.storage.local_guard(&self.paths.lock);
        let removed = self.storage.unlink(&path);
        if removed.as_ref().is_err_and(|error| error.kind() == io::ErrorKind::NotFound)
            && !switches::off(Guard::StillEntered)
        {
            // Somebody has removed it, and has the directory now.
            return;
        }
        if removed.is_err() {
            // Left behind it would keep everybody waiting.
            let _ = self.storage.unlink(&path);
        }
        if self.storage.remove_dir(&self.paths.lock).is_ok() {
            guard.gone();
        }
    }

    /// L exists: whether it may be entered, as its holder is gone for certain, whose name is removed, or probably: then his name
    /// stays until the native lock is taken.
    fn may_enter(&self, lock: &mut TrustedLock, guard: &LocalGuard, process: &Process) -> Result<(), Failure> {
        let listed = self.storage.list(&self.paths.lock);
        let view = match listed {
            Ok(names) => LockView::sort(names),
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            Err(error) => return Err(self.wrong_lock(error)),
        };
        // Whoever has a name in here from another host has made the registry before, and is not ours to judge.
        self.not_registered(Guard::ForeignLock)?;
        if view.writes.is_empty() {
            return self.may_enter_empty(guard);
        }
        let (mut busy_by, now) = (None, self.storage.now());
        lock.seen.retain(|(seen, _)| view.writes.iter().any(|name| name.to_string() == *seen));
        for name in &view.writes {
            let path = self.paths.lock.join(name.to_string());
            if lock.held.is_none() && lock.node.as_ref() == Some(&name.node) {
                // We hold nothing now: it is one that could not be removed.
                let _ = self.storage.unlink(&path);
                continue;
            }
            let holder = process_behind(&*self.storage, &self.paths.lock, name, process);
            if self.storage.liveness(&holder) == Liveness::Dead {
                let _ = self.storage.unlink(&path);
                continue;
            }
            if !is_doubtful(lock, name, now, process) {
                // The others are looked at as well: each is waited for from now on, and not one after the other.
                busy_by = busy_by.or(Some(name));
                continue;
            }
            // The second would keep out what the first is there for.
            match switches::off(Guard::NamesUnderLock) || switches::off(Guard::ForeignLock) {
                true => drop(self.storage.unlink(&path)),
                false => lock.doubtful.push(path),
            }
        }
        let Some(name) = busy_by else { return Ok(()) };
        let node = Some(name.node.clone());
        Err(busy(Holder { node, name: name.to_string(), ..Holder::nobody("being written", LEASE) }))
    }

    /// L has no name of ours in it: a `unix-dotfile` client has it, or one of ours died between two steps.
    fn may_enter_empty(&self, guard: &LocalGuard) -> Result<(), Failure> {
        let found = match self.storage.incarnation(&self.paths.lock) {
            Ok(found) => found,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            Err(error) => return Err(Denied::io("look at", &self.paths.lock)(error).into()),
        };
        // Remembered on this host, for programs that do not live as long.
        let what = format!("empty {}", self.paths.lock.display());
        if guard.owns(&found) || self.storage.known_for(&what, &found.text) >= STRANGER {
            return Ok(());
        }
        Err(busy(Holder::nobody(
            "its lock directory (.lock) has no name of coord's in it, so a unix-dotfile client has it or left it behind; \
             coord takes it over five minutes after it was first seen so. Remove that directory if no such client runs",
            STRANGER,
        )))
    }

    fn wrong_lock(&self, error: io::Error) -> Failure {
        match self.storage.attributes(&self.paths.lock) {
            Ok(found) if found.is_symlink || !found.is_dir => {
                Denied::Refused(in_the_way(&self.paths.lock, LOCK, found.is_symlink)).into()
            }
            _ => Denied::io("list", &self.paths.lock)(error).into(),
        }
    }
}

/// Whether this holder is probably gone: one of another run of this machine (but a container may have an identity of its own), or
/// one that stands there for a whole lease.
fn is_doubtful(lock: &mut TrustedLock, name: &Name, now: Instant, process: &Process) -> bool {
    let text = name.to_string();
    let known = lock.seen.iter().find(|(seen, _)| *seen == text).map(|(_, since)| *since);
    if known.is_none() {
        lock.seen.push((text, now));
    }
    name.node.boot() != NodeId::of(process).boot() || known.is_some_and(|since| now.since(since) >= LEASE)
}

/// This process as a node. Containers may be alike in all but the liveness file: without one the key is drawn, as names of ours in the
/// directory are removed when we hold nothing.
fn own_node(storage: &dyn Storage, process: &Process) -> NodeId {
    let node = NodeId::of(process);
    let drawn = process.liveness.is_empty() && !switches::off(Guard::OwnKey);
    if drawn { NodeId { key: storage.random(), ..node } } else { node }
}

/// The process behind a name in `lock`: its liveness file has the node's process id and key in its own name.
pub fn process_behind(storage: &dyn Storage, lock: &Path, name: &Name, own: &Process) -> Process {
    let suffix = |node: &NodeId| format!("-{}-{:016x}.alive", node.pid, node.key);
    let uid = |path: &Path| storage.attributes(path).map(|found| found.uid).ok();
    let mut liveness = String::new();
    if let Some((dir, file)) = own.liveness.rsplit_once('/')
        && let Some(host) = file.strip_suffix(&suffix(&NodeId::of(own)))
    {
        let mut dir = dir.to_string();
        let theirs = uid(&lock.join(name.to_string()));
        if let (Some(mine), Some(theirs)) = (uid(Path::new(&own.liveness)), theirs)
            && let Some(common) = dir.strip_suffix(&format!("coord-{mine}"))
        {
            dir = format!("{common}coord-{theirs}");
        }
        liveness = format!("{dir}/{host}{}", suffix(&name.node));
    }
    Process { pid: name.node.pid, liveness, ..own.clone() }
}

fn busy(holder: Holder) -> Failure {
    Denied::Busy(Box::new(holder)).into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lock::two_hosts::run_without;
    use crate::storage::disk::Disk;

    /// One host name, one run of the kernel, one process id, and no directory for liveness files.
    #[test]
    fn containers_that_are_alike_are_told_apart() {
        let process = Process { pid: 1, hostname: "same".into(), ..Process::default() };
        let [one, other] = [(); 2].map(|()| own_node(&Disk::new(), &process));
        println!("STATE {}", one == other);
        assert_ne!(one, other);
        let filed = Process { liveness: "/tmp/same-1-00000000000000aa.alive".into(), ..process };
        assert_eq!(own_node(&Disk::new(), &filed).key, 0xaa);
    }

    /// The negative control.
    #[test]
    fn without_a_key_of_their_own_they_are_one() {
        let test = "lock::trusted::directory::tests::containers_that_are_alike_are_told_apart";
        assert!(run_without("own-key", test).contains("STATE true"));
    }
}
