//! The grammar of names in the lock directory and the registry. A name that does not follow it is a stranger's: it is left
//! alone and never counts.

use std::ffi::OsStr;
use std::fmt;

use crate::storage::Process;

/// A node: one process incarnation at one database. Written `<host>-<pid>-<16 hex digits>` and made once.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct NodeId {
    /// Host and boot, `[a-z0-9-]`, at most [`HOST_MAX`] characters.
    pub host: String,
    pub pid: u32,
    /// 64 random bits.
    pub key: u64,
}

/// Longest host part: 20 characters of the host's name, a dash and 8 of its boot identity.
pub const HOST_MAX: usize = 29;

impl NodeId {
    /// A node of this host. `boot_id` tells one run of a machine from the next.
    pub fn new(hostname: &str, boot_id: &str, pid: u32, key: u64) -> NodeId {
        let reduce = |text: &str, limit: usize| -> String {
            let reduced = text.chars().map(|c| c.to_ascii_lowercase());
            reduced.map(|c| if c.is_ascii_alphanumeric() { c } else { '-' }).take(limit).collect()
        };
        let name = reduce(hostname, 20);
        let boot = reduce(&boot_id.replace('-', ""), 8);
        let name = if name.is_empty() { "host".to_string() } else { name };
        let host = if boot.is_empty() { name } else { format!("{name}-{boot}") };
        NodeId { host, pid, key }
    }

    /// A process as a node of trusted mode: its key is the one in the name of its liveness file, by which others find that.
    pub fn of(process: &Process) -> NodeId {
        let stem = process.liveness.strip_suffix(".alive").unwrap_or_default();
        let key = stem.rsplit_once('-').and_then(|(_, key)| hex(key)).unwrap_or_default();
        NodeId::new(&process.hostname, &process.boot_id, process.pid, key)
    }

    /// The part of the host that tells one run of the machine from the next: containers of one machine share it.
    pub fn boot(&self) -> &str {
        self.host.rsplit_once('-').map_or("", |(_, boot)| boot)
    }

    /// A node that never was, made by a process of this host: no process has the number 0.
    pub fn nobody(process: &Process, key: u64) -> NodeId {
        NodeId::new(&process.hostname, &process.boot_id, 0, key)
    }

    /// Whether it stands for others instead of a process of its own.
    pub fn is_nobody(&self) -> bool {
        self.pid == 0
    }

    /// Reads what `Display` writes.
    pub fn parse(text: &str) -> Option<NodeId> {
        // Split from the right: the host may hold dashes of its own.
        let (rest, key) = text.rsplit_once('-')?;
        let (host, pid) = rest.rsplit_once('-')?;
        let valid = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
        if host.is_empty() || host.len() > HOST_MAX || !host.chars().all(valid) {
            return None;
        }
        Some(NodeId { host: host.to_string(), pid: decimal(pid)?.try_into().ok()?, key: hex(key)? })
    }
}

impl fmt::Display for NodeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}-{:016x}", self.host, self.pid, self.key)
    }
}

/// Which of a fence's copies a name stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Copy {
    Journal,
    Database,
    /// The database's copy once the pair is complete and must be rolled forward.
    Ready,
}

/// What a name says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Kind {
    /// In L: the holder of the write lock.
    Write,
    /// In L: a copy in the making during a takeover.
    Fence(Copy),
    /// In G: the node's heartbeat, and its lease.
    Beat { lease_ms: u64 },
    /// In G: a beat file in the making.
    New,
    /// In G: this node may be reading.
    Reader,
    /// In G: this node is exclusive, or about to be.
    Exclusive,
    /// In G: this node waits for SHARED. Nobody waits for it; who merely keeps a lock gives it up.
    Wish,
    /// In G: the node has lost everything it had here. `by` is the deposing node's key, `m` its counter.
    Deposed { by: u64, m: u64 },
    /// In G: database and journal were replaced since the epoch before.
    Epoch,
    /// In G: what was live until a copy took its place; removed then.
    Aside(Copy),
}

/// One name of the protocol.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Name {
    pub node: NodeId,
    pub n: u64,
    pub kind: Kind,
}

impl Name {
    pub fn parse(text: &OsStr) -> Option<Name> {
        let text = text.to_str()?;
        if text.len() > 200 {
            return None;
        }
        let mut parts = text.split('.');
        let word = parts.next()?;
        let node = NodeId::parse(parts.next()?)?;
        let n = decimal(parts.next()?)?;
        let kind = match word {
            "write" => Kind::Write,
            "new" => Kind::New,
            "reader" => Kind::Reader,
            "exclusive" => Kind::Exclusive,
            "wish" => Kind::Wish,
            "epoch" => Kind::Epoch,
            "beat" => Kind::Beat { lease_ms: decimal(parts.next()?)? },
            "deposed" => Kind::Deposed { by: hex(parts.next()?)?, m: decimal(parts.next()?)? },
            "fence" => Kind::Fence(match parts.next()? {
                "journal" => Copy::Journal,
                "database" => Copy::Database,
                "ready" => Copy::Ready,
                _ => return None,
            }),
            "aside" => Kind::Aside(match parts.next()? {
                "journal" => Copy::Journal,
                "database" => Copy::Database,
                _ => return None,
            }),
            _ => return None,
        };
        match parts.next() {
            None => Some(Name { node, n, kind }),
            Some(_) => None,
        }
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Name { node, n, kind } = self;
        match kind {
            Kind::Write => write!(f, "write.{node}.{n}"),
            Kind::New => write!(f, "new.{node}.{n}"),
            Kind::Reader => write!(f, "reader.{node}.{n}"),
            Kind::Exclusive => write!(f, "exclusive.{node}.{n}"),
            Kind::Wish => write!(f, "wish.{node}.{n}"),
            Kind::Epoch => write!(f, "epoch.{node}.{n}"),
            Kind::Beat { lease_ms } => write!(f, "beat.{node}.{n}.{lease_ms}"),
            Kind::Deposed { by, m } => write!(f, "deposed.{node}.{n}.{by:016x}.{m}"),
            Kind::Aside(Copy::Journal) => write!(f, "aside.{node}.{n}.journal"),
            Kind::Aside(_) => write!(f, "aside.{node}.{n}.database"),
            Kind::Fence(Copy::Journal) => write!(f, "fence.{node}.{n}.journal"),
            Kind::Fence(Copy::Database) => write!(f, "fence.{node}.{n}.database"),
            Kind::Fence(Copy::Ready) => write!(f, "fence.{node}.{n}.ready"),
        }
    }
}

/// A number exactly as this protocol writes it: digits, no sign, no leading zero.
fn decimal(text: &str) -> Option<u64> {
    let plain = text.bytes().all(|b| b.is_ascii_digit()) && (text == "0" || !text.starts_with('0'));
    if plain { text.parse().ok() } else { None }
}

fn hex(text: &str) -> Option<u64> {
    let plain = text.len() == 16 && text.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b));
    if plain { u64::from_str_radix(text, 16).ok() } else { None }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::ffi::OsStrExt;

    fn node() -> NodeId {
        NodeId::new("Node-1.Example.ORG", "7a7f5451-5e60", 4711, 0x00ab_cdef_0123_4567)
    }

    #[test]
    fn every_kind_survives_a_round_trip() {
        let kinds = [
            Kind::Write,
            Kind::New,
            Kind::Reader,
            Kind::Exclusive,
            Kind::Wish,
            Kind::Epoch,
            Kind::Beat { lease_ms: 30_000 },
            Kind::Deposed { by: 7, m: 12 },
            Kind::Fence(Copy::Journal),
            Kind::Fence(Copy::Database),
            Kind::Fence(Copy::Ready),
            Kind::Aside(Copy::Journal),
            Kind::Aside(Copy::Database),
        ];
        for kind in kinds {
            let name = Name { node: node(), n: 42, kind };
            let text = name.to_string();
            assert!(text.len() <= 120, "{text} is too long for an eCryptfs directory");
            assert_eq!(Name::parse(OsStr::new(&text)), Some(name), "{text}");
        }
    }

    #[test]
    fn hosts_are_reduced() {
        assert_eq!(node().host, "node-1-example-org-7a7f5451");
        assert_eq!(NodeId::new("", "", 1, 2).host, "host");
        assert_eq!(NodeId::new("ü x", "", 1, 2).host, "--x");
    }

    #[test]
    fn strangers_are_not_taken_for_ours() {
        let node = node();
        let bad = [
            format!("write.{node}.01"),
            format!("write.{node}.+1"),
            format!("write.{node}.1.2"),
            format!("write.{node}."),
            format!("write.{node}"),
            format!("Write.{node}.1"),
            format!("beat.{node}.1"),
            format!("beat.{node}.1.2.json"),
            format!("fence.{node}.1.other"),
            format!("aside.{node}.1.ready"),
            "write.host-1-xyz.1".to_string(),
            "write.HOST-1-00abcdef01234567.1".to_string(),
            "write.-1-00abcdef01234567.1".to_string(),
            format!("write.{}-1-00abcdef01234567.1", "h".repeat(30)),
            ".nfs000000000123".to_string(),
            ".DS_Store".to_string(),
            String::new(),
            format!("reader.{node}.99999999999999999999999"),
        ];
        for text in bad {
            assert_eq!(Name::parse(OsStr::new(&text)), None, "{text}");
        }
        assert_eq!(Name::parse(OsStr::from_bytes(b"write.\xff\xfe.1")), None);
    }
}
