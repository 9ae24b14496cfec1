//! Where the protocol's names lie for one database.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use super::names::Name;

/// The paths that belong to one database.
#[derive(Clone, Debug)]
pub struct Paths {
    pub database: PathBuf,
    /// `<database>-journal`.
    pub journal: PathBuf,
    /// `<database>.lock`, the write lock L: the directory that SQLite's `unix-dotfile` VFS makes.
    pub lock: PathBuf,
    /// `<database>.readers`, the registry G: its existence puts the database in network-exclusive mode.
    pub registry: PathBuf,
    pub parent: PathBuf,
}

impl Paths {
    /// `database` is absolute, with symbolic links resolved.
    pub fn new(database: &Path) -> Paths {
        let with = |suffix: &str| {
            let mut path: OsString = database.as_os_str().to_os_string();
            path.push(suffix);
            PathBuf::from(path)
        };
        Paths {
            database: database.to_path_buf(),
            journal: with("-journal"),
            lock: with(".lock"),
            registry: with(".readers"),
            parent: database.parent().map_or_else(|| PathBuf::from("/"), Path::to_path_buf),
        }
    }

    /// A name in the database's own directory, for what is made there and goes at once.
    pub fn scratch(&self, name: &Name) -> PathBuf {
        let base = self.database.file_name().unwrap_or_default().to_string_lossy();
        let short: String = base.chars().take(40).collect();
        self.parent.join(format!(".{short}.{name}"))
    }

    /// People's log of takeovers.
    pub fn takeovers(&self) -> PathBuf {
        self.registry.join("takeovers.jsonl")
    }
}
