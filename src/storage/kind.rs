//! Which filesystem a path is on, and what coord thinks of it.
//!
//! Two witnesses are asked on Linux: `statfs` (a number for the type, cheap, always there) and `/proc/self/mountinfo` (the
//! type's name and the mount's options, which tell one FUSE or 9p mount from another). **Local is said only where both
//! agree**: a wrong "shared" costs time, a wrong "local" costs data.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

#[cfg(target_os = "linux")]
mod linux;
#[cfg(target_os = "linux")]
pub(crate) mod mountinfo;
mod types;

#[cfg(target_os = "linux")]
use linux as platform;
#[cfg(not(target_os = "linux"))]
#[path = "kind/other.rs"]
mod platform;

/// A filesystem, classified.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Kind {
    /// The type's name as the kernel says it (`ext4`, `nfs4`, `fuse.sshfs`), for messages.
    pub name: String,
    pub class: Class,
}

/// What follows from a filesystem's type.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Class {
    /// On this host's own disk or memory: native locks reach every client, no other kernel caches it.
    Local,
    /// Shared with other hosts (or not known): only the directory protocol can be trusted.
    Shared,
    /// Known not to give what the protocol needs; the sentence says what is wrong and what to do.
    Unfit(String),
}

impl Kind {
    pub fn is_local(&self) -> bool {
        self.class == Class::Local
    }

    /// The class in a sentence: what coord thinks of this filesystem, and why. Said at open, by `coord check` and in refusals.
    pub fn reason(&self) -> String {
        match &self.class {
            Class::Local => {
                format!("{} is written to by this host's kernel alone, so native locks reach every program", self.name)
            }
            Class::Shared => format!(
                "{} is not known to be a disk of this host alone, so other hosts may cache it and native locks need not reach them",
                self.name
            ),
            Class::Unfit(why) => format!("{}: {why}", self.name),
        }
    }

    /// Whether the server may carry out a rename by handle, so that two that cross can both succeed (SMB).
    pub fn renames_by_handle(&self) -> bool {
        matches!(self.name.as_str(), "cifs" | "smb3" | "smb2")
    }

    /// Whether this host's kernel looks a name up no more while anybody here has open what it once stood for, so that opening it
    /// gives a file that another host has replaced (9p, where a name in use is not asked for again).
    pub fn holds_names(&self) -> bool {
        self.name == "9p"
    }

    /// A filesystem about which nothing could be learned.
    fn unknown() -> Kind {
        Kind { name: "unknown".into(), class: Class::Shared }
    }
}

/// The kind of filesystem that `path` is on, or its nearest ancestor that exists.
///
/// In builds with debug assertions `COORD_TEST_SHARED` has every filesystem taken for one that other hosts use, so that what is
/// done only there (fences for the provably dead, dropped caches) can be tested without a network; `COORD_TEST_SHARED=unfit`
/// for one that is to be refused; `COORD_TEST_SHARED=9p` for one whose client holds names.
pub fn classify(path: &Path) -> Kind {
    if let Some(wanted) = pretended() {
        let (name, class) = match wanted.to_str() {
            Some("unfit") => ("unfit for a test", Class::Unfit("it was asked for; ask for another one".to_string())),
            Some("9p") => ("9p", Class::Shared),
            _ => ("shared for a test", Class::Shared),
        };
        return Kind { name: name.to_string(), class };
    }
    match existing(path) {
        Some(found) => platform::classify(&found),
        None => Kind::unknown(),
    }
}

/// Whether an open file, reached through `path`, is on a filesystem of this host alone. One system call for most.
pub(crate) fn is_local(file: &File, path: &Path) -> bool {
    pretended().is_none() && platform::is_local(file, path)
}

fn pretended() -> Option<std::ffi::OsString> {
    if cfg!(debug_assertions) { std::env::var_os("COORD_TEST_SHARED") } else { None }
}

/// `path` without symbolic links, cut back to what exists.
fn existing(path: &Path) -> Option<PathBuf> {
    path.ancestors().find_map(|part| match part.canonicalize() {
        Ok(found) => Some(Some(found)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => None,
        Err(error) if error.kind() == io::ErrorKind::NotADirectory => None,
        Err(_) => Some(None),
    })?
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_that_does_not_exist_is_classified_by_its_nearest_ancestor() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(classify(dir.path()), classify(&dir.path().join("none/such/file")));
    }

    #[test]
    fn an_open_file_and_its_path_are_judged_alike() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("file");
        let file = File::create(&path).unwrap();
        assert_eq!(classify(&path).is_local(), is_local(&file, &path));
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn proc_is_not_taken_for_a_local_disk() {
        let kind = classify(Path::new("/proc/self/status"));
        assert_eq!(kind.name, "proc");
        assert_eq!(kind.class, Class::Shared);
    }
}
