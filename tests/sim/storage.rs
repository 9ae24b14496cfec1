//! One host's view of the server: the storage trait, with the caches of that host's kernel in between.

use std::ffi::OsString;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use coord::storage::kind::Class;
use coord::storage::{
    Access, Attributes, DataFile, FileId, Incarnation, Instant, Kind, Liveness, LocalGuard, Owner, Process, Storage,
};

use super::file::SimFile;
use super::machine_memory;
use super::server::{Change, Inode};
use super::turns::task;
use super::weather::{Broken, Profile};
use super::world::{MS, State, World};

/// How long a client goes by what it knows of a name.
const NAMES_LAST: u64 = 60_000 * MS;

/// The storage of one task.
#[derive(Clone)]
pub struct SimStorage {
    pub world: Arc<World>,
    pub task: usize,
}

impl SimStorage {
    fn change(&self, change: Change) -> io::Result<()> {
        self.world.change(task(), change)
    }

    /// Where listings take two requests: what the first one has brought, and how the names are split between them. The second comes
    /// at once or after a while.
    fn list_first_part(&self, dir: &Path) -> io::Result<Option<(u64, Vec<String>)>> {
        let drawn = {
            let mut state = self.world.state();
            let parts = state.parts;
            let rng = &mut state.tasks[task()].rng;
            (parts && rng.below(3) == 0).then(|| (rng.next(), rng.below(4) * rng.below(100) * MS))
        };
        let Some((split, pause)) = drawn else { return Ok(None) };
        let first = self.world.look(task(), |state, _| {
            state.count("listing in two parts");
            let mut names = state.list_now(dir)?;
            names.retain(|name| is_in_first(name, split));
            state.note(task(), || format!("list {}, first part -> {names:?}", dir.display()));
            Ok(names)
        })?;
        self.world.sleep(task(), pause);
        Ok(Some((split, first)))
    }

    /// What a program of this host has open under this name, where the client goes by that.
    fn held(&self, path: &Path) -> Option<Inode> {
        let mut state = self.world.state();
        let number = state.tasks[task()].host;
        let host = &state.hosts[number];
        let (known, _) = host.dentries.get(path).copied().filter(|_| state.profile_of(number).holds_names())?;
        let alive = |process: usize| !state.processes[process].crashed;
        let held =
            known.filter(|inode| host.open.iter().any(|((open, by), n)| open == inode && *n > 0 && alive(*by)))?;
        if state.server.look_up(path).ok() != Some(held) {
            state.count("name answered by an old file that is in use");
        }
        Some(held)
    }

    fn inode(&self, path: &Path) -> io::Result<Inode> {
        if let Some(held) = self.held(path) {
            return Ok(self.world.local(task(), |_, _| held));
        }
        let remembered = {
            let mut state = self.world.state();
            let (host, now) = (state.tasks[task()].host, state.now);
            let names = state.memory_of(host).names;
            let often = if names > 0 && state.hosts[host].remembers { 8 } else { names };
            let known = state.hosts[host].dentries.get(path).copied();
            let known = known.filter(|(_, since)| now - since < NAMES_LAST).map(|(inode, _)| inode);
            known.filter(|_| state.tasks[task()].rng.below(8) < often)
        };
        if let Some(known) = remembered {
            return self.world.local(task(), |state, _| {
                state.count("name answered from the client's memory");
                known.ok_or_else(|| io::ErrorKind::NotFound.into())
            });
        }
        self.world.look(task(), |state, host| {
            let found = state.server.look_up(path);
            state.remember(host, path, &found);
            found
        })
    }

    /// An NFS client that renames over a file which somebody on its host has open moves that aside first, in a step of its own,
    /// under a name that it removes when the file is closed. What is under the name by then it does not know.
    fn move_open_file(&self, to: &Path) -> io::Result<()> {
        if !matches!(self.profile(), Profile::Nfs3 | Profile::Nfs4) {
            return Ok(());
        }
        let Ok(known) = self.inode(to) else { return Ok(()) };
        let silly = {
            let mut state = self.world.state();
            let host = state.tasks[task()].host;
            if !state.hosts[host].has_open(known) {
                return Ok(());
            }
            let number = state.steps;
            let silly = to.with_file_name(format!(".nfs{host}x{number}"));
            state.hosts[host].silly.push((known, silly.clone()));
            state.count("an open file moved aside by the client");
            silly
        };
        self.change(Change::Rename(to.to_path_buf(), silly.clone()))?;
        let mut state = self.world.state();
        if state.server.look_up(&silly).is_ok_and(|moved| moved != known) {
            state.count("a client moved aside what others had put there");
        }
        Ok(())
    }

    fn profile(&self) -> Profile {
        let state = self.world.state();
        state.profile_of(state.tasks[task()].host)
    }

    fn file(&self, inode: Inode) -> Box<dyn DataFile> {
        Box::new(SimFile::new(self.world.clone(), inode))
    }
}

impl Storage for SimStorage {
    fn now(&self) -> Instant {
        Instant(self.world.now(task()))
    }

    fn sleep(&self, span: Duration) {
        self.world.sleep(task(), span.as_nanos() as u64);
    }

    fn date(&self) -> String {
        "2026-01-01T00:00:00Z".to_string()
    }

    fn random(&self) -> u64 {
        self.world.state().tasks[task()].rng.next()
    }

    fn make_dir(&self, dir: &Path, _: Owner) -> io::Result<()> {
        self.change(Change::MakeDir(dir.to_path_buf()))
    }

    fn remove_dir(&self, dir: &Path) -> io::Result<()> {
        self.change(Change::RemoveDir(dir.to_path_buf()))
    }

    fn create_new(&self, path: &Path, contents: &[u8], _: Owner) -> io::Result<()> {
        self.change(Change::Create(path.to_path_buf(), contents.to_vec()))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.move_open_file(to)?;
        self.change(Change::Rename(from.to_path_buf(), to.to_path_buf()))
    }

    fn link(&self, file: &Path, name: &Path) -> io::Result<()> {
        self.change(Change::Link(file.to_path_buf(), name.to_path_buf()))
    }

    fn unlink(&self, path: &Path) -> io::Result<()> {
        self.change(Change::Unlink(path.to_path_buf()))
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<OsString>> {
        let first = self.list_first_part(dir)?;
        self.world.look(task(), |state, host| {
            let names = state.memory_of(host).listings;
            if let Some(known) = state.hosts[host].listings.get(dir).cloned()
                && first.is_none()
                && state.tasks[task()].rng.below(8) < names
            {
                state.count("listing answered from the client's memory");
                state.note(task(), || format!("list {}, from memory -> {known:?}", dir.display()));
                return Ok(known.into_iter().map(OsString::from).collect());
            }
            state.count("step: list");
            let mut names = state.list_now(dir)?;
            if let Some((split, first)) = first {
                names.retain(|name| !is_in_first(name, split));
                names.extend(first);
            }
            if state.broken == Some(Broken::MovingPresence) {
                names.retain(|name| !is_presence(name) || state.tasks[task()].rng.below(4) > 0);
            }
            state.hosts[host].listings.insert(dir.to_path_buf(), names.clone());
            state.note(task(), || format!("list {} -> {names:?}", dir.display()));
            Ok(names.into_iter().map(OsString::from).collect())
        })
    }

    fn read_small(&self, path: &Path, limit: usize) -> io::Result<Vec<u8>> {
        self.world.look(task(), |state, _| {
            let inode = state.server.look_up(path)?;
            let data = &state.server.nodes[inode].data;
            Ok(data[..data.len().min(limit)].to_vec())
        })
    }

    fn read_uncached(&self, path: &Path, limit: usize) -> io::Result<Vec<u8>> {
        self.read_small(path, limit)
    }

    fn append_line(&self, path: &Path, line: &str, _: Owner) -> io::Result<()> {
        self.change(Change::Append(path.to_path_buf(), format!("{line}\n").into_bytes()))
    }

    fn incarnation(&self, dir: &Path) -> io::Result<Incarnation> {
        let inode = self.world.state().server.look_up(dir)?;
        Ok(Incarnation { text: inode.to_string(), born: None })
    }

    fn attributes(&self, path: &Path) -> io::Result<Attributes> {
        let inode = self.inode(path)?;
        self.world.look(task(), |state, host| {
            state.count("step: stat");
            let node = &state.server.nodes[inode];
            let (is_dir, links, mut size) = (node.is_dir, u64::from(node.names), node.data.len() as u64);
            if let Some(known) = state.hosts[host].sizes.get(&inode).copied()
                && state.tasks[task()].rng.below(8) < state.memory_of(host).names
            {
                size = known;
            }
            state.hosts[host].sizes.insert(inode, size);
            let id = FileId { device: 1, inode: inode as u64 };
            Ok(Attributes { id, is_dir, is_symlink: false, size, links, mode: 0o644, uid: 0, gid: 0 })
        })
    }

    fn sync_dir(&self, _: &Path) -> io::Result<()> {
        self.world.look(task(), |state, _| {
            state.server.sync_names();
            state.count("step: sync of a directory");
            Ok(())
        })
    }

    fn open(&self, path: &Path, _: Access) -> io::Result<Box<dyn DataFile>> {
        Ok(self.file(self.inode(path)?))
    }

    fn open_listed(&self, path: &Path, _: Access, scratch: &Path) -> io::Result<Box<dyn DataFile>> {
        self.change(Change::Create(scratch.to_path_buf(), Vec::new()))?;
        self.change(Change::Unlink(scratch.to_path_buf()))?;
        let listed = self.world.look(task(), |state, _| state.server.look_up(path))?;
        if let Some(held) = self.held(path).filter(|held| *held != listed) {
            let text = format!("{} is inode {listed}, opening it gave inode {held}", path.display());
            return Err(io::Error::new(io::ErrorKind::StaleNetworkFileHandle, text));
        }
        let host = self.world.state().tasks[task()].host;
        self.world.state().remember(host, path, &Ok(listed));
        Ok(self.file(listed))
    }

    fn create_data(&self, path: &Path, owner: Owner) -> io::Result<Box<dyn DataFile>> {
        self.create_new(path, b"", owner)?;
        self.open(path, Access::ReadWrite)
    }

    fn copy_attributes(&self, _: &Path, _: &Path) -> io::Result<()> {
        Ok(())
    }

    fn kind(&self, _: &Path) -> Kind {
        let profile = self.profile();
        let class = if profile == Profile::Local { Class::Local } else { Class::Shared };
        Kind { name: profile.kind().to_string(), class }
    }

    fn process(&self) -> Process {
        let state = self.world.state();
        let (host, process) = (state.tasks[task()].host, state.tasks[task()].process);
        Process {
            pid: process as u32 + 1,
            hostname: format!("host{host}"),
            boot_id: format!("{host:04}{:04}", state.hosts[host].boots),
            pid_namespace: "1".to_string(),
            liveness: format!("/run/{process}"),
            command: "sim".to_string(),
            user: "sim".to_string(),
        }
    }

    fn liveness(&self, other: &Process) -> Liveness {
        let judged = self.world.local(task(), |state, host| -> io::Result<Liveness> {
            let boot = format!("{host:04}{:04}", state.hosts[host].boots);
            let process = other.pid as usize - 1;
            Ok(match () {
                () if other.hostname != format!("host{host}") || other.boot_id != boot => Liveness::Unknown,
                () if state.processes[process].crashed => Liveness::Dead,
                () => Liveness::Alive,
            })
        });
        judged.unwrap_or(Liveness::Unknown)
    }

    fn known_for(&self, what: &str, state: &str) -> Duration {
        let world = self.world.state();
        machine_memory::known_for(world.tasks[task()].host, what, state, world.now)
    }

    fn local_guard(&self, path: &Path) -> LocalGuard {
        let host = self.world.state().tasks[task()].host;
        for _ in 0..50 {
            if let Some(guard) = machine_memory::guard(host, path) {
                return guard;
            }
            self.sleep(Duration::from_millis(1));
        }
        LocalGuard::default()
    }
}

impl State {
    /// Somebody on the host has closed the file: what the client moved aside for it goes with its last user.
    pub fn closed(&mut self, host: usize, process: usize, inode: Inode) {
        let open = self.hosts[host].open.entry((inode, process)).or_default();
        *open = open.saturating_sub(1);
        if !self.hosts[host].has_open(inode) {
            let (gone, kept) =
                std::mem::take(&mut self.hosts[host].silly).into_iter().partition(|(of, _)| *of == inode);
            self.hosts[host].silly = kept;
            for (_, path) in gone {
                let _ = self.server.apply(&Change::Unlink(path), 0);
            }
        }
    }

    fn remember(&mut self, host: usize, path: &Path, found: &io::Result<Inode>) {
        let entry = (found.as_ref().ok().copied(), self.now);
        self.hosts[host].dentries.insert(path.to_path_buf(), entry);
    }
}

/// A directory's entries lie in no order that means anything.
fn is_in_first(name: &str, split: u64) -> bool {
    name.bytes().fold(split, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3)) >> 63 == 0
}

fn is_presence(name: &str) -> bool {
    name.starts_with("reader.") || name.starts_with("exclusive.")
}

/// Where the simulated database lies.
pub fn database() -> PathBuf {
    PathBuf::from("/simulated/d")
}
