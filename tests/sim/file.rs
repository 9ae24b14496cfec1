//! An open file, with its host's page cache in between.

use std::io;
use std::sync::Arc;

use coord::storage::{DataFile, FileId};

use super::server::{Change, Inode};
use super::turns::task;
use super::weather::Broken;
use super::world::{State, World};

/// An open file: an inode, whatever becomes of its name.
pub struct SimFile {
    world: Arc<World>,
    host: usize,
    process: usize,
    inode: Inode,
}

impl SimFile {
    pub fn new(world: Arc<World>, inode: Inode) -> SimFile {
        let (host, process) = {
            let mut state = world.state();
            state.server.opened(inode);
            let (host, process) = (state.tasks[task()].host, state.tasks[task()].process);
            *state.hosts[host].open.entry((inode, process)).or_default() += 1;
            (host, process)
        };
        SimFile { world, host, process, inode }
    }

    /// Whether this host keeps pages of its own at all.
    fn is_cached(&self) -> bool {
        let state = self.world.state();
        state.memory_of(state.tasks[task()].host).pages > 0
    }

    /// What this host takes for the file's content, asking the server unless it remembers.
    fn with_pages<R>(&self, mut what: impl FnMut(&mut Vec<u8>) -> R) -> io::Result<R> {
        let remembered = {
            let mut state = self.world.state();
            let host = state.tasks[task()].host;
            let often = state.memory_of(host).pages;
            let known = state.hosts[host].pages.contains_key(&self.inode);
            known && (is_dirty(&state, host, self.inode) || state.tasks[task()].rng.below(8) < often)
        };
        if remembered {
            let found =
                self.world.local(task(), |state, host| Some(what(state.hosts[host].pages.get_mut(&self.inode)?)));
            // Or dropped by another task of this host in between: then the server is asked.
            if let Some(found) = found {
                return Ok(found);
            }
        }
        self.world.look(task(), |state, host| {
            if !is_dirty(state, host, self.inode) || !state.hosts[host].pages.contains_key(&self.inode) {
                let data = with_dirty_pages(state, host, self.inode);
                state.hosts[host].pages.insert(self.inode, data);
            }
            Ok(what(state.hosts[host].pages.entry(self.inode).or_default()))
        })
    }
}

impl Drop for SimFile {
    fn drop(&mut self) {
        let mut state = self.world.state();
        state.server.closed(self.inode);
        state.closed(self.host, self.process, self.inode);
    }
}

/// What the server has, under what the host has still to send.
fn with_dirty_pages(state: &State, host: usize, inode: Inode) -> Vec<u8> {
    let mut data = state.server.nodes[inode].data.clone();
    for (_, change) in &state.hosts[host].dirty {
        if let Change::Write(of, offset, bytes) = change
            && *of == inode
        {
            put(&mut data, *offset as usize, bytes);
        }
    }
    data
}

fn put(data: &mut Vec<u8>, offset: usize, bytes: &[u8]) {
    let end = offset + bytes.len();
    if data.len() < end {
        data.resize(end, 0);
    }
    data[offset..end].copy_from_slice(bytes);
}

fn is_dirty(state: &State, host: usize, inode: Inode) -> bool {
    state.hosts[host].dirty.iter().any(|(_, change)| change.file() == Some(inode))
}

impl DataFile for SimFile {
    fn id(&self) -> io::Result<FileId> {
        Ok(FileId { device: 1, inode: self.inode as u64 })
    }

    fn size(&self) -> io::Result<u64> {
        self.with_pages(|data| data.len() as u64)
    }

    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        self.world.state().count("step: read");
        self.with_pages(|data| {
            let from = (offset as usize).min(data.len());
            let got = buf.len().min(data.len() - from);
            buf[..got].copy_from_slice(&data[from..from + got]);
            got
        })
    }

    fn write_at(&self, buf: &[u8], offset: u64) -> io::Result<()> {
        let change = Change::Write(self.inode, offset, buf.to_vec());
        if !self.is_cached() {
            return self.world.change(task(), change);
        }
        // Who writes a part of a page that he has not read asks for it first.
        self.with_pages(|_| ())?;
        self.world.local(task(), |state, host| {
            state.told_of_what_was_dropped(task(), self.inode)?;
            // Dropped by another task of this host meanwhile.
            let server = with_dirty_pages(state, host, self.inode);
            put(state.hosts[host].pages.entry(self.inode).or_insert(server), offset as usize, buf);
            state.count("step: write");
            state.note(task(), || format!("write {} at {offset} {buf:?}", self.inode));
            let process = state.tasks[task()].process;
            state.hosts[host].dirty.push((process, change));
            if state.tasks[task()].rng.below(4) == 0 && state.answers() {
                // The kernel sends pages whenever it likes.
                state.flush(host, self.inode);
            }
            Ok(())
        })
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        if self.is_cached() {
            self.world.look(task(), |state, host| {
                state.flush(host, self.inode);
                if let Some(pages) = state.hosts[host].pages.get_mut(&self.inode) {
                    pages.resize(len as usize, 0);
                }
                Ok(())
            })?;
        }
        self.world.change(task(), Change::Truncate(self.inode, len))
    }

    fn sync(&self) -> io::Result<()> {
        if self.world.state().broken == Some(Broken::LyingSync) {
            self.world.local(task(), |_, _| ());
            return Ok(());
        }
        self.world.look(task(), |state, host| {
            if state.sync_fails(task(), self.inode) {
                return Err(io::Error::other("simulated: input/output error"));
            }
            state.flush(host, self.inode);
            if state.hosts[host].failed.remove(&self.inode) {
                state.disturb(task());
                return Err(io::ErrorKind::StorageFull.into());
            }
            state.server.sync(self.inode);
            state.count("step: sync");
            state.note(task(), || format!("sync {}", self.inode));
            Ok(())
        })
    }

    fn drop_cache(&self) -> io::Result<()> {
        self.world.local(task(), |state, host| {
            if !is_dirty(state, host, self.inode) {
                state.hosts[host].pages.remove(&self.inode);
            }
        });
        Ok(())
    }

    fn clone_from(&self, _: &dyn DataFile) -> bool {
        false
    }
}
