//! Why a step of the protocol was not made.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::names::NodeId;

/// Who stands in the way.
#[derive(Clone, Debug)]
pub struct Holder {
    /// `None`: a directory without a holder's name in it.
    pub node: Option<NodeId>,
    /// How long we know that it gives no sign of life.
    pub silent: Duration,
    /// Its lease; a node silent for as long may be deposed.
    pub lease: Duration,
    /// The name that was seen.
    pub name: String,
    /// Its heartbeat's name: unchanged for as long as it gives no sign of life. Empty if unknown.
    pub sign: String,
    /// What it does there, for people.
    pub doing: &'static str,
}

impl Holder {
    /// Nobody in particular.
    pub fn nobody(doing: &'static str, lease: Duration) -> Holder {
        Holder { node: None, silent: Duration::ZERO, lease, name: String::new(), sign: String::new(), doing }
    }

    /// Tells one stay of one holder from the next.
    pub fn episode(&self) -> String {
        match &self.node {
            Some(node) => format!("{node}"),
            None => self.doing.to_string(),
        }
    }
}

/// What is in the way of an opening by a listing.
const HELD: &str = "replaced by another host, while this host's client still gives the old file (on 9p until every program here \
                    that has it open has ended its statement)";

/// A step that was not made.
#[derive(Debug)]
pub enum Denied {
    /// Somebody else is using it: try again later.
    Busy(Box<Holder>),
    /// We were deposed: everything we had here is somebody else's now.
    Deposed(String),
    /// The filesystem failed us.
    Io { doing: &'static str, path: PathBuf, source: io::Error },
    /// It must not be done at all; the sentence says what to do.
    Refused(String),
}

impl Denied {
    pub fn io(doing: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Denied {
        let path = path.to_path_buf();
        move |source| Denied::Io { doing, path, source }
    }

    /// Busy, as this host has old files open.
    pub fn held(lease: Duration) -> Denied {
        Denied::Busy(Box::new(Holder::nobody(HELD, lease)))
    }

    /// Opening a live file as a listing shows it ([`crate::storage::Storage::open_listed`]). `held`: on a client that gives the
    /// old file for as long as anybody has it open; then that is in the way, no more.
    pub fn opening(path: &Path, lease: Duration, held: bool) -> impl FnOnce(io::Error) -> Denied {
        let (doing, path) = ("open", path.to_path_buf());
        move |source| match source.kind() {
            io::ErrorKind::StaleNetworkFileHandle if held => Denied::held(lease),
            _ => Denied::Io { doing, path, source },
        }
    }
}

impl fmt::Display for Holder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.node {
            None => write!(f, "{}", self.doing),
            Some(node) => {
                if node.is_nobody() {
                    write!(
                        f,
                        "{} perhaps, by programs on the server that began before {} shared it",
                        self.doing, node.host
                    )?;
                } else {
                    write!(f, "{} by process {} on {}", self.doing, node.pid, node.host)?;
                }
                if self.silent > self.lease / 6 {
                    write!(
                        f,
                        ", silent for {:.1} s of its {:.0} s lease",
                        self.silent.as_secs_f32(),
                        self.lease.as_secs_f32()
                    )?;
                }
                Ok(())
            }
        }
    }
}

impl fmt::Display for Denied {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Denied::Busy(holder) => write!(f, "database is in use: {holder}"),
            Denied::Deposed(why) => write!(f, "{why}"),
            Denied::Io { doing, path, source } => write!(f, "cannot {doing} {}: {source}", path.display()),
            Denied::Refused(why) => write!(f, "{why}"),
        }
    }
}

impl std::error::Error for Denied {}

/// What stands where a directory of ours, `place`, must be.
pub fn in_the_way(path: &Path, place: &str, is_symlink: bool) -> String {
    let found = if is_symlink { "is a symbolic link" } else { "is no directory" };
    format!(
        "coord: {} is in the way: it must be coord's {place}, but {found}. Look what made it and remove it",
        path.display()
    )
}

/// The places, for [`in_the_way`].
pub const LOCK: &str = "lock directory";
pub const REGISTRY: &str = "registry";
