//! One host's view of the server: the storage trait, with the caches of that host's kernel in between.

use std::ffi::OsString;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use coord::storage::kind::Class;
use coord::storage::{
    Access, Attributes, DataFile, FileId, Instant, Kind, Liveness, LocalGuard, Owner, Process, Storage,
};

use super::server::{Change, Inode};
use super::turns::task;
use super::weather::Profile;
use super::world::{State, World};

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

    fn inode(&self, path: &Path) -> io::Result<Inode> {
        self.world.look(task(), |state, host| {
            // A name that was looked up before may be answered from memory, on clients that do so.
            if state.profile != Profile::Local
                && let Some(known) = state.hosts[host].dentries.get(path).copied()
                && state.rng.below(2) == 0
            {
                state.kinds.insert("name answered from the client's memory");
                return known.ok_or_else(|| io::ErrorKind::NotFound.into());
            }
            let found = state.server.look_up(path);
            state.hosts[host].dentries.insert(path.to_path_buf(), found.as_ref().ok().copied());
            found
        })
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
        self.world.state().rng.next()
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
        self.change(Change::Rename(from.to_path_buf(), to.to_path_buf()))
    }

    fn unlink(&self, path: &Path) -> io::Result<()> {
        self.change(Change::Unlink(path.to_path_buf()))
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<OsString>> {
        self.world.look(task(), |state, host| {
            if state.profile != Profile::Local
                && let Some(known) = state.hosts[host].listings.get(dir).cloned()
                && state.rng.below(2) == 0
            {
                state.kinds.insert("listing answered from the client's memory");
                return Ok(known.into_iter().map(OsString::from).collect());
            }
            let missed = state.renamed_meanwhile(dir);
            let mut names = state.server.list(dir)?;
            names.retain(|name| !missed.contains(&dir.join(name)));
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

    fn attributes(&self, path: &Path) -> io::Result<Attributes> {
        let inode = self.inode(path)?;
        self.world.look(task(), |state, _| {
            let node = &state.server.nodes[inode];
            Ok(Attributes {
                id: FileId { device: 1, inode: inode as u64 },
                is_dir: node.is_dir,
                is_symlink: false,
                size: node.data.len() as u64,
                links: u64::from(node.names),
                mode: 0o644,
                uid: 0,
                gid: 0,
            })
        })
    }

    fn sync_dir(&self, _: &Path) -> io::Result<()> {
        self.world.look(task(), |_, _| Ok(()))
    }

    fn open(&self, path: &Path, _: Access) -> io::Result<Box<dyn DataFile>> {
        Ok(Box::new(SimFile { world: self.world.clone(), inode: self.inode(path)? }))
    }

    fn open_listed(&self, path: &Path, _: Access, scratch: &Path) -> io::Result<Box<dyn DataFile>> {
        self.change(Change::Create(scratch.to_path_buf(), Vec::new()))?;
        self.change(Change::Unlink(scratch.to_path_buf()))?;
        let inode = self.world.look(task(), |state, host| {
            let found = state.server.look_up(path);
            state.hosts[host].dentries.insert(path.to_path_buf(), found.as_ref().ok().copied());
            found
        })?;
        Ok(Box::new(SimFile { world: self.world.clone(), inode }))
    }

    fn create_data(&self, path: &Path, owner: Owner) -> io::Result<Box<dyn DataFile>> {
        self.create_new(path, b"", owner)?;
        self.open(path, Access::ReadWrite)
    }

    fn copy_attributes(&self, _: &Path, _: &Path) -> io::Result<()> {
        Ok(())
    }

    fn kind(&self, _: &Path) -> Kind {
        let profile = self.world.state().profile;
        let class = if profile == Profile::Local { Class::Local } else { Class::Shared };
        Kind { name: profile.kind().to_string(), class }
    }

    fn process(&self) -> Process {
        let state = self.world.state();
        let (host, process) = (state.tasks[task()].host, state.tasks[task()].process);
        Process {
            pid: process as u32 + 1,
            hostname: format!("host{host}"),
            boot_id: format!("{host:08}"),
            pid_namespace: "1".to_string(),
            liveness: format!("/run/{process}"),
            command: "sim".to_string(),
            user: "sim".to_string(),
        }
    }

    fn liveness(&self, other: &Process) -> Liveness {
        self.world.look(task(), |state, host| {
            if other.hostname != format!("host{host}") {
                return Liveness::Unknown;
            }
            let process = other.pid as usize - 1;
            if state.processes[process].crashed { Liveness::Dead } else { Liveness::Alive }
        })
    }

    fn known_for(&self, _: &str) -> Duration {
        Duration::ZERO
    }

    fn local_guard(&self, _: &Path) -> LocalGuard {
        LocalGuard::default()
    }
}

/// An open file: an inode, whatever becomes of its name.
pub struct SimFile {
    world: Arc<World>,
    inode: Inode,
}

fn pages(state: &mut State, host: usize, inode: Inode) -> &mut Vec<u8> {
    let data = state.server.nodes[inode].data.clone();
    if state.profile == Profile::Local {
        // One kernel: everybody sees the same pages.
        state.hosts[host].pages.insert(inode, data);
    } else {
        state.hosts[host].pages.entry(inode).or_insert(data);
    }
    state.hosts[host].pages.get_mut(&inode).expect("just put there")
}

impl DataFile for SimFile {
    fn id(&self) -> io::Result<FileId> {
        Ok(FileId { device: 1, inode: self.inode as u64 })
    }

    fn size(&self) -> io::Result<u64> {
        self.world.look(task(), |state, host| Ok(pages(state, host, self.inode).len() as u64))
    }

    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        self.world.look(task(), |state, host| {
            let data = pages(state, host, self.inode);
            let from = (offset as usize).min(data.len());
            let got = buf.len().min(data.len() - from);
            buf[..got].copy_from_slice(&data[from..from + got]);
            Ok(got)
        })
    }

    fn write_at(&self, buf: &[u8], offset: u64) -> io::Result<()> {
        let change = Change::Write(self.inode, offset, buf.to_vec());
        let local = self.world.state().profile == Profile::Local;
        if local {
            return self.world.change(task(), change);
        }
        self.world.look(task(), |state, host| {
            let data = pages(state, host, self.inode);
            let end = offset as usize + buf.len();
            if data.len() < end {
                data.resize(end, 0);
            }
            data[offset as usize..end].copy_from_slice(buf);
            state.note(task(), || format!("write {} at {offset} {buf:?}", self.inode));
            state.hosts[host].dirty.push(change);
            if state.rng.below(4) == 0 {
                // The kernel sends pages whenever it likes.
                state.flush(host, self.inode);
            }
            Ok(())
        })
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.world.look(task(), |state, host| {
            state.flush(host, self.inode);
            pages(state, host, self.inode).resize(len as usize, 0);
        });
        self.world.change(task(), Change::Truncate(self.inode, len))
    }

    fn sync(&self) -> io::Result<()> {
        self.world.look(task(), |state, host| {
            state.flush(host, self.inode);
            Ok(())
        })
    }

    fn drop_cache(&self) -> io::Result<()> {
        self.world.look(task(), |state, host| {
            let dirty = state.hosts[host]
                .dirty
                .iter()
                .any(|change| matches!(change, Change::Write(of, ..) if *of == self.inode));
            if !dirty {
                state.hosts[host].pages.remove(&self.inode);
            }
            Ok(())
        })
    }

    fn clone_from(&self, _: &dyn DataFile) -> bool {
        false
    }
}

/// Where the simulated database lies.
pub fn database() -> PathBuf {
    PathBuf::from("/shared/d")
}
