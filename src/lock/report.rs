//! What this process can tell about locks, for SQL and the command.

use std::collections::{HashMap, HashSet};
use std::io;
use std::path::Path;

use super::level::Level;
use super::process;
use super::trusted::process_behind;
use crate::protocol::beat::{Beat, MAX_BYTES, PROTOCOL};
use crate::protocol::names::{Kind, Name, NodeId};
use crate::protocol::registry::Census;
use crate::protocol::write_lock::POLL;
use crate::protocol::{Paths, lease};
use crate::storage::{Liveness, Storage};

/// How often a heartbeat may move on while it is looked at.
const BEAT_LOOKS: u32 = 10;

/// What a node's heartbeat is remembered by on this host, see [`Storage::known_for`].
pub(super) fn heartbeat_of(registry: &Path, node: Option<&NodeId>) -> String {
    format!("{} {}", registry.display(), node.map(ToString::to_string).unwrap_or_default())
}

/// One row of `coord_locks(path)`: one name found in the lock directory or the registry.
#[derive(Clone, Debug, Default, serde::Serialize)]
pub struct LockRow {
    /// `write`, `exclusive`, `reader`, `wish`, `beat`, `deposed`, `fence`, `aside`, `epoch`, `new`, `unknown`.
    pub kind: String,
    pub node: String,
    pub host: String,
    pub pid: Option<u32>,
    pub user: String,
    pub command: String,
    /// Milliseconds since the node registered, by its own record and clock.
    pub age_ms: Option<u64>,
    /// Milliseconds for which the node's present heartbeat is known to this host (a lower bound).
    pub beat_age_ms: Option<u64>,
    pub lease_ms: Option<u64>,
    /// `alive`, `dead`, `silent`, `idle`, `deposed`, `unknown`, and why.
    pub verdict: String,
    /// This very process.
    pub mine: bool,
}

/// Grants of SHARED or more by coord in this process since it was loaded.
pub fn locks_taken() -> u64 {
    process::locks_taken()
}

/// The last sentence that coord had to say in this process, an error or a refusal.
pub fn last_error() -> Option<String> {
    super::messages::last()
}

/// Who holds what on a database, read from the files beside it; changes nothing.
///
/// # Errors
/// If there is no such database, or its directory or one of coord's cannot be read.
pub fn inspect(path: &Path) -> io::Result<Vec<LockRow>> {
    let storage = process::storage();
    let paths = Paths::new(&process::canonical(path)?);
    let database = storage.attributes(&paths.database);
    if database.as_ref().is_ok_and(|found| found.is_dir) {
        let text = "it is a directory; the path of the database itself is wanted";
        return Err(io::Error::new(io::ErrorKind::IsADirectory, text));
    }
    let mut rows = Vec::new();
    let registry = list(&*storage, &paths.registry, &mut rows)?;
    let lock = list(&*storage, &paths.lock, &mut rows)?;
    if registry.is_empty() && lock.is_empty() {
        // Otherwise it may be missing because somebody died while he replaced it.
        database?;
    }
    if is_nobodys(&*storage, &paths) {
        rows.push(LockRow {
            kind: "unknown".to_string(),
            verdict: format!(
                "unknown: {} has no name of coord's in it, so writers wait for it, until five minutes after it was first seen so. \
                 Remove it if no unix-dotfile client runs",
                paths.lock.display()
            ),
            ..LockRow::default()
        });
    }
    let asked = storage.now();
    let census = Census::sort(registry.clone(), asked, asked);
    let names = registry.iter().chain(&lock).filter_map(|text| Name::parse(text));
    let holds = |name: &Name| matches!(name.kind, Kind::Write | Kind::Exclusive | Kind::Reader | Kind::Fence(_));
    let holders = names.filter(holds).map(|name| name.node).collect();
    let mut inspector =
        Inspector { storage: &*storage, paths: &paths, census: &census, holders, beats: HashMap::new() };
    for (dir, names) in [(&paths.lock, lock), (&paths.registry, registry)] {
        for text in names.into_iter().filter(|text| text != "takeovers.jsonl") {
            rows.push(match Name::parse(&text) {
                Some(name) => inspector.row(&name),
                None => LockRow {
                    kind: "unknown".to_string(),
                    verdict: format!("unknown: not a name of coord's: {}", dir.join(&text).display()),
                    ..LockRow::default()
                },
            });
        }
    }
    rows.sort_by_key(|row| (rank(&row.kind), row.node.clone()));
    Ok(rows)
}

fn rank(kind: &str) -> usize {
    let order = ["write", "exclusive", "reader", "beat", "deposed", "fence", "new", "epoch"];
    order.iter().position(|known| *known == kind).unwrap_or(order.len())
}

/// A name that is not a directory is told as a row.
fn list(storage: &dyn Storage, dir: &Path, rows: &mut Vec<LockRow>) -> io::Result<Vec<std::ffi::OsString>> {
    match storage.list(dir) {
        Err(_) if storage.attributes(dir).is_ok_and(|found| !found.is_dir) => {
            rows.push(LockRow {
                kind: "unknown".to_string(),
                verdict: format!(
                    "unknown: {} is in the way of a directory of coord's; look what made it and remove it",
                    dir.display()
                ),
                ..LockRow::default()
            });
            Ok(Vec::new())
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        Err(error) => Err(io::Error::new(error.kind(), format!("cannot list {}: {error}", dir.display()))),
        listed => listed,
    }
}

/// Whether there is a lock directory that nobody of coord's owns up to, where that keeps writers out: beside a registry it does not.
fn is_nobodys(storage: &dyn Storage, paths: &Paths) -> bool {
    let is_empty = || {
        let names = storage.list(&paths.lock);
        names.is_ok_and(|names| !names.iter().filter_map(|text| Name::parse(text)).any(|name| name.kind == Kind::Write))
    };
    let is_shared = storage.attributes(&paths.registry).is_ok();
    if is_shared || !is_empty() {
        return false;
    }
    // Somebody may be between two steps.
    storage.sleep(POLL * 2);
    let Ok(found) = storage.incarnation(&paths.lock) else { return false };
    is_empty() && !storage.local_guard(&paths.lock).owns(&found)
}

struct Inspector<'a> {
    storage: &'a dyn Storage,
    paths: &'a Paths,
    census: &'a Census,
    /// Who has a name beside its heartbeat: the others give no sign of life meanwhile.
    holders: HashSet<NodeId>,
    beats: HashMap<NodeId, Option<Beat>>,
}

impl Inspector<'_> {
    fn row(&mut self, name: &Name) -> LockRow {
        let node = &name.node;
        let beat = self.beat(node);
        let process = beat.as_ref().map(|beat| beat.process.clone()).unwrap_or_default();
        let own = self.storage.process();
        let heartbeat = self.census.beat(node);
        let known_ms = heartbeat.map(|(n, lease_ms)| {
            let beat = Name { node: node.clone(), n, kind: Kind::Beat { lease_ms } };
            self.storage.known_for(&heartbeat_of(&self.paths.registry, Some(node)), &beat.to_string()).as_millis()
                as u64
        });
        let lease_ms = heartbeat.map(|(_, lease_ms)| lease::clamp(lease_ms).as_millis() as u64);
        LockRow {
            kind: kind_word(name.kind).to_string(),
            node: node.to_string(),
            host: if process.hostname.is_empty() { node.host.clone() } else { process.hostname.clone() },
            pid: Some(node.pid).filter(|_| !node.is_nobody()),
            age_ms: beat.as_ref().and_then(|beat| age_ms(&beat.created_at)),
            beat_age_ms: known_ms,
            lease_ms,
            verdict: self.verdict(name, beat.as_ref(), known_ms, lease_ms),
            mine: !own.liveness.is_empty() && process.liveness == own.liveness && process.pid == own.pid,
            user: process.user,
            command: process.command,
        }
    }

    fn verdict(&self, name: &Name, beat: Option<&Beat>, known_ms: Option<u64>, lease_ms: Option<u64>) -> String {
        let node = &name.node;
        if matches!(name.kind, Kind::Epoch) {
            return "the files were replaced by this node in a takeover".to_string();
        }
        if let Some(stone) = self.census.tombstone(node) {
            return match stone.kind {
                Kind::Deposed { by, .. } => {
                    format!("deposed: by the node with key {by:016x}; the next writer clears up")
                }
                _ => "deposed".to_string(),
            };
        }
        if node.is_nobody() {
            return "unknown: it stands for programs on the server that began before the database was shared; the next writer waits \
                    for them"
                .to_string();
        }
        let alive = match self.liveness(name, beat) {
            Liveness::Dead => return "dead: its process on this host has ended".to_string(),
            Liveness::Alive => true,
            Liveness::Unknown => false,
        };
        // One that is gone for certain hinders nobody, whatever it spoke.
        if let Some(beat) = beat.filter(|beat| !beat.protocol.is_empty() && beat.protocol != PROTOCOL) {
            return format!("unknown: it speaks the protocol {}, this is {PROTOCOL}", beat.protocol);
        }
        let holds = self.holders.contains(node);
        match (known_ms, lease_ms) {
            (Some(known), Some(lease)) if known > lease && holds => {
                let why = if alive { "its process on this host stands still; " } else { "" };
                format!(
                    "silent: no heartbeat for at least {known} ms of a lease of {lease} ms; {why}the next writer takes over"
                )
            }
            _ if alive => "alive: its process runs on this host".to_string(),
            (Some(known), Some(lease)) if known > lease => {
                "idle: it holds nothing, and gives no sign of life meanwhile".to_string()
            }
            (Some(_), _) => "unknown: its heartbeat is there; look again to see whether it moves".to_string(),
            _ if matches!(name.kind, Kind::Write) && self.census.beats().next().is_none() => {
                "unknown: a writer in trusted mode, or one without heartbeat".to_string()
            }
            _ => "unknown: it has no heartbeat".to_string(),
        }
    }

    /// By what the node says of itself. A writer in trusted mode has only its name.
    fn liveness(&self, name: &Name, beat: Option<&Beat>) -> Liveness {
        let own = self.storage.process();
        match beat {
            Some(beat) => self.storage.liveness(&beat.process),
            None if matches!(name.kind, Kind::Write) && name.node.boot() == NodeId::of(&own).boot() => {
                self.storage.liveness(&process_behind(self.storage, &self.paths.lock, name, &own))
            }
            None => Liveness::Unknown,
        }
    }

    fn beat(&mut self, node: &NodeId) -> Option<Beat> {
        let name = match (self.census.beat(node), self.census.tombstone(node)) {
            (Some((n, lease_ms)), _) => Name { node: node.clone(), n, kind: Kind::Beat { lease_ms } },
            (None, Some(stone)) => stone.clone(),
            (None, None) => return None,
        };
        if !self.beats.contains_key(node) {
            let beat = self.read_beat(name);
            self.beats.insert(node.clone(), beat);
        }
        self.beats.get(node).cloned().flatten()
    }

    /// What is in it. A heartbeat may have given it its next name since it was listed.
    fn read_beat(&self, mut name: Name) -> Option<Beat> {
        for _ in 0..BEAT_LOOKS {
            match self.storage.read_small(&self.paths.registry.join(name.to_string()), MAX_BYTES) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                read => return Beat::decode(&read.ok()?),
            }
            let listed = self.storage.list(&self.paths.registry).ok()?;
            let beats = listed.iter().filter_map(|text| Name::parse(text));
            name =
                beats.filter(|found| matches!(found.kind, Kind::Beat { .. })).find(|found| found.node == name.node)?;
        }
        None
    }
}

fn kind_word(kind: Kind) -> &'static str {
    match kind {
        Kind::Write => "write",
        Kind::Fence(_) => "fence",
        Kind::Beat { .. } => "beat",
        Kind::New => "new",
        Kind::Reader => "reader",
        Kind::Exclusive => "exclusive",
        Kind::Wish => "wish",
        Kind::Deposed { .. } => "deposed",
        Kind::Epoch => "epoch",
        Kind::Aside(_) => "aside",
    }
}

fn age_ms(created_at: &str) -> Option<u64> {
    let created: jiff::Timestamp = created_at.parse().ok()?;
    u64::try_from(jiff::Timestamp::now().as_millisecond() - created.as_millisecond()).ok()
}

/// The JSON of `coord_info()` apart from what is the host's (SQLite version, base VFS): versions, protocol, node, modes.
pub fn info() -> serde_json::Value {
    let databases: Vec<serde_json::Value> = process::databases().iter().map(|database| database.status()).collect();
    serde_json::json!({
        "protocol": PROTOCOL,
        "process": process::storage().process(),
        "databases": databases,
    })
}

/// What `PRAGMA coord_status` says of one database, as JSON.
pub fn status(path: &Path) -> Option<serde_json::Value> {
    Some(process::manager_of(path)?.status())
}

impl super::Database {
    pub fn status(&self) -> serde_json::Value {
        let inner = self.inner();
        let node = inner.node.as_ref();
        serde_json::json!({
            "path": self.paths.database.to_string_lossy(),
            "mode": inner.mode.name(),
            "filesystem": self.kind.name,
            "node": node.map(|node| node.id().to_string()),
            "leaseMs": inner.lease_ms,
            "connections": inner.seats,
            "level": inner.arbiter.highest().name(),
            "holdsWriteLock": node.is_some_and(|node| node.holds_write_lock()) || inner.trusted.is_held(),
            "lingers": inner.linger.is_idle() || (inner.linger.exclusive && inner.arbiter.highest() < Level::Reserved),
            "takeovers": inner.takeovers,
            "intrusions": inner.intrusions,
        })
    }
}
