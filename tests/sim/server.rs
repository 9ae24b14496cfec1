//! The file server: names resolved one operation at a time, inodes that live as long as anybody holds them.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

pub type Inode = usize;

/// A file or directory.
#[derive(Clone, Debug, Default)]
pub struct Node {
    pub is_dir: bool,
    pub data: Vec<u8>,
    pub names: u32,
}

/// An operation that changes something, as it travels from a client to the server.
#[derive(Clone, Debug)]
pub enum Change {
    MakeDir(PathBuf),
    RemoveDir(PathBuf),
    Create(PathBuf, Vec<u8>),
    Rename(PathBuf, PathBuf),
    Unlink(PathBuf),
    Append(PathBuf, Vec<u8>),
    Write(Inode, u64, Vec<u8>),
    Truncate(Inode, u64),
}

impl Change {
    /// By name, as opposed to through an open handle.
    pub fn is_by_name(&self) -> bool {
        !matches!(self, Change::Write(..) | Change::Truncate(..))
    }

    /// The directory whose listing it changes.
    pub fn directory(&self) -> Option<&Path> {
        match self {
            Change::MakeDir(path) | Change::RemoveDir(path) | Change::Create(path, _) | Change::Unlink(path) => {
                path.parent()
            }
            Change::Rename(from, _) => from.parent(),
            _ => None,
        }
    }
}

#[derive(Default)]
pub struct Server {
    pub nodes: Vec<Node>,
    pub names: BTreeMap<PathBuf, Inode>,
}

fn error(kind: io::ErrorKind) -> io::Error {
    io::Error::new(kind, "simulated")
}

impl Server {
    pub fn with_directory(path: &Path) -> Server {
        let mut server = Server::default();
        server.nodes.push(Node { is_dir: true, names: 1, ..Node::default() });
        server.names.insert(path.to_path_buf(), 0);
        server
    }

    pub fn look_up(&self, path: &Path) -> io::Result<Inode> {
        self.names.get(path).copied().ok_or_else(|| error(io::ErrorKind::NotFound))
    }

    fn new_name(&mut self, path: &Path, node: Node) -> io::Result<()> {
        if self.names.contains_key(path) {
            return Err(error(io::ErrorKind::AlreadyExists));
        }
        let parent = path.parent().map(|parent| self.look_up(parent)).transpose()?;
        if parent.is_none_or(|parent| !self.nodes[parent].is_dir) {
            return Err(error(io::ErrorKind::NotFound));
        }
        self.nodes.push(Node { names: 1, ..node });
        self.names.insert(path.to_path_buf(), self.nodes.len() - 1);
        Ok(())
    }

    pub fn list(&self, dir: &Path) -> io::Result<Vec<String>> {
        let found = self.look_up(dir)?;
        if !self.nodes[found].is_dir {
            return Err(error(io::ErrorKind::NotADirectory));
        }
        let inside = self.names.keys().filter(|path| path.parent() == Some(dir));
        Ok(inside.filter_map(|path| Some(path.file_name()?.to_string_lossy().into_owned())).collect())
    }

    pub fn apply(&mut self, change: &Change) -> io::Result<()> {
        match change {
            Change::MakeDir(path) => self.new_name(path, Node { is_dir: true, ..Node::default() }),
            Change::RemoveDir(path) => {
                self.look_up(path)?;
                if !self.list(path)?.is_empty() {
                    return Err(error(io::ErrorKind::DirectoryNotEmpty));
                }
                self.names.remove(path);
                Ok(())
            }
            Change::Create(path, data) => self.new_name(path, Node { data: data.clone(), ..Node::default() }),
            Change::Rename(from, to) => {
                let moved = self.look_up(from)?;
                to.parent().map(|parent| self.look_up(parent)).transpose()?;
                self.names.remove(from);
                if let Some(replaced) = self.names.insert(to.clone(), moved) {
                    self.nodes[replaced].names -= 1;
                }
                Ok(())
            }
            Change::Unlink(path) => {
                let gone = self.look_up(path)?;
                self.nodes[gone].names -= 1;
                self.names.remove(path);
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
            Change::Write(inode, offset, data) => {
                let file = &mut self.nodes[*inode].data;
                let end = *offset as usize + data.len();
                if file.len() < end {
                    file.resize(end, 0);
                }
                file[*offset as usize..end].copy_from_slice(data);
                Ok(())
            }
            Change::Truncate(inode, size) => {
                self.nodes[*inode].data.resize(*size as usize, 0);
                Ok(())
            }
        }
    }
}
