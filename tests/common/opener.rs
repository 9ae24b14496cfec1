//! Ways to open a database: plain SQLite, one of its own VFSes, or the extension just built.

use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// How to come by a connection.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Opener {
    /// Loaded on a `:memory:` connection first.
    pub extension: Option<PathBuf>,
    pub entry: Option<String>,
    /// The URI's part after `?`.
    pub query: String,
}

impl Opener {
    /// SQLite as it is; the harness itself is tested with it.
    pub fn plain() -> Opener {
        Opener { extension: None, entry: None, query: "vfs=unix".into() }
    }
    /// A VFS of SQLite's own, such as `unix-none`, which locks nothing.
    pub fn builtin(vfs: &str) -> Opener {
        Opener { query: format!("vfs={vfs}"), ..Opener::plain() }
    }
    /// Through the extension just built, with further URI parameters such as `coord_mode=trusted`.
    pub fn coord(parameters: &str) -> Opener {
        let query = ["vfs=coord", parameters].join("&").trim_end_matches('&').to_owned();
        Opener { extension: Some(super::extension()), entry: None, query }
    }

    pub fn uri(&self, path: &Path) -> String {
        let mut name = String::new();
        for &byte in path.as_os_str().as_encoded_bytes() {
            match byte {
                b'/' | b'-' | b'_' | b'.' | b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' => name.push(byte as char),
                _ => name.push_str(&format!("%{byte:02x}")),
            }
        }
        format!("file:{name}?{}", self.query)
    }

    /// Loads what is to be loaded and opens the database in this process.
    pub fn open(&self, path: &Path) -> rusqlite::Result<rusqlite::Connection> {
        if let Some(extension) = &self.extension {
            let loader = rusqlite::Connection::open_in_memory()?;
            // SAFETY: the library was built from this very source.
            unsafe {
                loader.load_extension_enable()?;
                loader.load_extension(extension, self.entry.as_deref())?;
            }
        }
        let connection = rusqlite::Connection::open(self.uri(path))?;
        connection.busy_timeout(Duration::ZERO)?;
        Ok(connection)
    }
}
