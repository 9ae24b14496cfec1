//! The file server: names resolved one operation at a time, inodes that live as long as anybody holds them, and a disk on which
//! only what was synced is certain to be after a loss of power.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

use super::weather::Rng;

pub type Inode = usize;

/// What a disk writes whole or not at all, in the small world of 128-byte pages.
const SECTOR: usize = 32;

/// A file or directory.
#[derive(Clone, Debug, Default)]
pub struct Node {
    pub is_dir: bool,
    pub data: Vec<u8>,
    pub names: u32,
    /// Open handles, where they matter: a name removed under one stays until it is closed.
    pub handles: u32,
    doomed: bool,
    /// What is on the disk for certain.
    durable: Vec<u8>,
    /// What may be, in order, and which process wrote it.
    unsynced: Vec<(usize, Change)>,
    /// A sync has failed: what was written before it is never sent to the disk again, though everybody reads it.
    forgot: bool,
}

/// An operation that changes something, as it travels from a client to the server.
#[derive(Clone, Debug)]
pub enum Change {
    MakeDir(PathBuf),
    RemoveDir(PathBuf),
    Create(PathBuf, Vec<u8>),
    Rename(PathBuf, PathBuf),
    /// A rename of what was opened under a name before, wherever its name has gone since.
    RenameOpened(Inode, PathBuf),
    /// A second name for a file.
    Link(PathBuf, PathBuf),
    Unlink(PathBuf),
    Append(PathBuf, Vec<u8>),
    Write(Inode, u64, Vec<u8>),
    Truncate(Inode, u64),
}

impl Change {
    /// By name, as opposed to through an open handle.
    pub fn is_by_name(&self) -> bool {
        self.file().is_none()
    }

    /// As it is counted.
    pub fn kind(&self) -> &'static str {
        match self {
            Change::MakeDir(_) => "step: mkdir",
            Change::RemoveDir(_) => "step: rmdir",
            Change::Create(..) => "step: create",
            Change::Rename(..) | Change::RenameOpened(..) => "step: rename",
            Change::Link(..) => "step: link",
            Change::Unlink(_) => "step: unlink",
            Change::Append(..) => "step: append",
            Change::Write(..) => "step: write",
            Change::Truncate(..) => "step: truncate",
        }
    }

    /// The file whose data it changes.
    pub fn file(&self) -> Option<Inode> {
        match self {
            Change::Write(inode, ..) | Change::Truncate(inode, _) => Some(*inode),
            _ => None,
        }
    }

    /// The directory whose listing it changes.
    pub fn directory(&self) -> Option<&Path> {
        match self {
            Change::MakeDir(path) | Change::RemoveDir(path) | Change::Create(path, _) | Change::Unlink(path) => {
                path.parent()
            }
            Change::Rename(from, _) => from.parent(),
            Change::Link(_, name) => name.parent(),
            _ => None,
        }
    }

    /// Whether it makes something longer than this server has it.
    pub fn needs_space(&self, server: &Server) -> bool {
        match self {
            Change::Write(inode, offset, data) => offset + data.len() as u64 > server.nodes[*inode].data.len() as u64,
            Change::Create(_, data) => !data.is_empty(),
            Change::MakeDir(_) => true,
            _ => false,
        }
    }

    fn carry_out(&self, file: &mut Vec<u8>) {
        match self {
            Change::Write(_, offset, data) => {
                let end = *offset as usize + data.len();
                if file.len() < end {
                    file.resize(end, 0);
                }
                file[*offset as usize..end].copy_from_slice(data);
            }
            Change::Truncate(_, size) => file.resize(*size as usize, 0),
            _ => {}
        }
    }
}

#[derive(Default)]
pub struct Server {
    pub nodes: Vec<Node>,
    pub names: BTreeMap<PathBuf, Inode>,
    /// An answered name operation is not on the disk yet (a local filesystem).
    pub forgets_names: bool,
    /// Of all that was not synced either everything is lost in a power cut or nothing.
    pub tears_nothing: bool,
    /// A name removed while the file is open stays until it is closed (SMB).
    pub removes_at_close: bool,
    durable_names: BTreeMap<PathBuf, Inode>,
    name_log: Vec<Vec<(PathBuf, Option<Inode>)>>,
}

fn error(kind: io::ErrorKind) -> io::Error {
    io::Error::new(kind, "simulated")
}

impl Server {
    pub fn with_directory(path: &Path) -> Server {
        let mut server = Server::default();
        server.nodes.push(Node { is_dir: true, names: 1, ..Node::default() });
        server.names.insert(path.to_path_buf(), 0);
        server.durable_names = server.names.clone();
        server
    }

    pub fn look_up(&self, path: &Path) -> io::Result<Inode> {
        self.names.get(path).copied().ok_or_else(|| error(io::ErrorKind::NotFound))
    }

    fn new_name(&mut self, path: &Path, mut node: Node) -> io::Result<()> {
        if self.names.contains_key(path) {
            return Err(error(io::ErrorKind::AlreadyExists));
        }
        let parent = path.parent().map(|parent| self.look_up(parent)).transpose()?;
        if parent.is_none_or(|parent| !self.nodes[parent].is_dir) {
            return Err(error(io::ErrorKind::NotFound));
        }
        let inode = self.nodes.len();
        if self.forgets_names {
            node.unsynced.push((0, Change::Write(inode, 0, node.data.clone())));
        } else {
            node.durable = node.data.clone();
        }
        self.nodes.push(Node { names: 1, ..node });
        self.rename_all(vec![(path.to_path_buf(), Some(inode))]);
        Ok(())
    }

    /// Sets and clears names, all at once.
    fn rename_all(&mut self, what: Vec<(PathBuf, Option<Inode>)>) {
        set_names(&mut self.names, &what);
        if self.forgets_names {
            self.name_log.push(what);
        }
    }

    pub fn list(&self, dir: &Path) -> io::Result<Vec<String>> {
        let found = self.look_up(dir)?;
        if !self.nodes[found].is_dir {
            return Err(error(io::ErrorKind::NotADirectory));
        }
        let inside = self.inside(dir).filter_map(|path| Some(path.file_name()?.to_string_lossy().into_owned()));
        Ok(inside.collect())
    }

    fn inside<'a>(&'a self, dir: &'a Path) -> impl Iterator<Item = &'a PathBuf> {
        let under = self.names.range(dir.to_path_buf()..).map(|(path, _)| path).skip(1);
        under.take_while(move |path| path.starts_with(dir)).filter(move |path| path.parent() == Some(dir))
    }

    pub fn apply(&mut self, change: &Change, by: usize) -> io::Result<()> {
        match change {
            Change::MakeDir(path) => self.new_name(path, Node { is_dir: true, ..Node::default() }),
            Change::RemoveDir(path) => {
                self.look_up(path)?;
                if self.inside(path).next().is_some() {
                    return Err(error(io::ErrorKind::DirectoryNotEmpty));
                }
                self.rename_all(vec![(path.clone(), None)]);
                Ok(())
            }
            Change::Create(path, data) => self.new_name(path, Node { data: data.clone(), ..Node::default() }),
            Change::Rename(from, to) => {
                let moved = self.look_up(from)?;
                to.parent().map(|parent| self.look_up(parent)).transpose()?;
                if self.inside(to).next().is_some() {
                    return Err(error(io::ErrorKind::DirectoryNotEmpty));
                }
                if let Some(replaced) = self.names.get(to) {
                    self.nodes[*replaced].names -= 1;
                }
                let mut names = vec![(from.clone(), None), (to.clone(), Some(moved))];
                for path in self.inside(from) {
                    let name = path.file_name().unwrap_or_default();
                    names.extend([(path.clone(), None), (to.join(name), Some(self.names[path]))]);
                }
                self.rename_all(names);
                Ok(())
            }
            Change::RenameOpened(inode, to) => {
                let named = self.names.iter().find(|(_, at)| *at == inode).map(|(path, _)| path.clone());
                let from = named.ok_or_else(|| error(io::ErrorKind::NotFound))?;
                self.apply(&Change::Rename(from, to.clone()), by)
            }
            Change::Link(file, name) => {
                let inode = self.look_up(file)?;
                if self.names.contains_key(name) {
                    return Err(error(io::ErrorKind::AlreadyExists));
                }
                name.parent().map(|parent| self.look_up(parent)).transpose()?;
                self.nodes[inode].names += 1;
                self.rename_all(vec![(name.clone(), Some(inode))]);
                Ok(())
            }
            Change::Unlink(path) => {
                let gone = self.look_up(path)?;
                let node = &mut self.nodes[gone];
                if node.is_dir {
                    return Err(error(io::ErrorKind::IsADirectory));
                }
                if self.removes_at_close && node.handles > 0 {
                    node.doomed = true;
                    return Ok(());
                }
                node.names -= 1;
                self.rename_all(vec![(path.clone(), None)]);
                Ok(())
            }
            Change::Append(path, data) => {
                if self.look_up(path).is_err() {
                    self.new_name(path, Node::default())?;
                }
                let inode = self.look_up(path)?;
                self.nodes[inode].data.extend_from_slice(data);
                Ok(())
            }
            Change::Write(inode, ..) | Change::Truncate(inode, _) => {
                let node = &mut self.nodes[*inode];
                change.carry_out(&mut node.data);
                node.unsynced.push((by, change.clone()));
                Ok(())
            }
        }
    }

    /// Data and size of a file are on the disk.
    pub fn sync(&mut self, inode: Inode) {
        let node = &mut self.nodes[inode];
        if node.forgot {
            node.unsynced.drain(..).for_each(|(_, change)| change.carry_out(&mut node.durable));
        } else if !node.unsynced.is_empty() {
            node.durable.clone_from(&node.data);
            node.unsynced.clear();
        }
    }

    /// The journal by this name, if everybody sees its end and the disk has not got that.
    pub fn ended_unsynced(&self, journal: &Path) -> Option<Inode> {
        let inode = *self.names.get(journal)?;
        let Node { data, durable, .. } = &self.nodes[inode];
        let is_hot = |bytes: &[u8]| bytes.first().is_some_and(|first| *first != 0);
        (is_hot(durable) && !is_hot(data)).then_some(inode)
    }

    pub fn is_unsynced(&self, inode: Inode) -> bool {
        !self.nodes[inode].unsynced.is_empty()
    }

    /// Data of a file could not be written to the disk, and counts as written from now on.
    pub fn fail_sync(&mut self, inode: Inode) {
        let node = &mut self.nodes[inode];
        node.forgot = true;
        node.unsynced.clear();
    }

    /// The names are on the disk. (A journalling filesystem writes all of them when it writes one.)
    pub fn sync_names(&mut self) {
        for what in std::mem::take(&mut self.name_log) {
            set_names(&mut self.durable_names, &what);
        }
    }

    pub fn opened(&mut self, inode: Inode) {
        self.nodes[inode].handles += 1;
    }

    pub fn closed(&mut self, inode: Inode) {
        let node = &mut self.nodes[inode];
        node.handles -= 1;
        if node.doomed && node.handles == 0 {
            node.doomed = false;
            let named = self.names.iter().find(|(_, at)| **at == inode).map(|(path, _)| path.clone());
            if let Some(path) = named {
                self.nodes[inode].names -= 1;
                self.rename_all(vec![(path, None)]);
            }
        }
    }

    /// The machine with the disk loses its power. Of what was not synced some is there, some is not, and some in parts. Returns
    /// the writes that are gone, for those who will send them again.
    pub fn lose_power(&mut self, rng: &mut Rng) -> Vec<(usize, Change)> {
        if self.forgets_names {
            let kept = rng.below(self.name_log.len() as u64 + 1) as usize;
            let mut names = self.durable_names.clone();
            for what in self.name_log.drain(..).take(kept) {
                set_names(&mut names, &what);
            }
            // A name without its directory is none.
            let alone: Vec<PathBuf> = names
                .keys()
                .filter(|path| path.parent().is_some_and(|dir| dir != Path::new("/") && !names.contains_key(dir)))
                .cloned()
                .collect();
            for path in alone {
                names.remove(&path);
            }
            self.durable_names = names.clone();
            self.names = names;
            self.nodes.iter_mut().for_each(|node| node.names = 0);
            for inode in self.names.values() {
                self.nodes[*inode].names += 1;
            }
        }
        let mut lost = Vec::new();
        // Which part of all files it is differs from time to time: nothing, everything, or a mixture.
        let mood = rng.below(3);
        let mood = if self.tears_nothing { mood.min(1) } else { mood };
        for node in &mut self.nodes {
            let unsynced = std::mem::take(&mut node.unsynced);
            if unsynced.is_empty() {
                continue;
            }
            let mut data = node.durable.clone();
            for (by, change) in unsynced {
                match (&change, mood) {
                    // Answered means done, where a server does it.
                    (Change::Truncate(..), _) if !self.forgets_names => change.carry_out(&mut data),
                    (_, 0) => lost.push((by, change)),
                    (_, 1) => change.carry_out(&mut data),
                    (Change::Write(inode, offset, bytes), _) => {
                        for (number, sector) in bytes.chunks(SECTOR).enumerate() {
                            let at = offset + (number * SECTOR) as u64;
                            if rng.below(2) == 0 {
                                Change::Write(*inode, at, sector.to_vec()).carry_out(&mut data);
                            }
                        }
                        lost.push((by, change));
                    }
                    _ if rng.below(2) == 0 => change.carry_out(&mut data),
                    _ => {}
                }
            }
            node.durable.clone_from(&data);
            node.data = data;
        }
        lost
    }
}

fn set_names(names: &mut BTreeMap<PathBuf, Inode>, what: &[(PathBuf, Option<Inode>)]) {
    for (path, inode) in what {
        match inode {
            Some(inode) => names.insert(path.clone(), *inode),
            None => names.remove(path),
        };
    }
}
