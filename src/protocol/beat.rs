//! The beat file's contents: who a node is. Written once, for people and for the proof that a process of this host is dead;
//! nothing that safety rests on is read from it.

use std::path::Path;

use serde::{Deserialize, Serialize};

use super::names::NodeId;
use crate::storage::{Process, Storage};

/// The protocol's name and version, as it stands in every beat file.
pub const PROTOCOL: &str = "sqlite-session-safe.lock.v1";
/// Longest beat file that is read.
pub const MAX_BYTES: usize = 4096;

/// A beat file. Unknown fields are ignored; what is missing is empty.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Beat {
    pub protocol: String,
    pub owner_id: String,
    /// File name of the database.
    pub target: String,
    /// RFC 3339, by the node's own clock; for people.
    pub created_at: String,
    pub lease_ms: u64,
    pub process: Process,
    pub client: String,
}

impl Beat {
    pub fn new(storage: &dyn Storage, node: &NodeId, database: &Path, lease_ms: u64, client: &str) -> Beat {
        Beat {
            protocol: PROTOCOL.to_string(),
            owner_id: node.to_string(),
            target: database.file_name().unwrap_or_default().to_string_lossy().into_owned(),
            created_at: storage.date(),
            lease_ms,
            process: storage.process(),
            client: client.to_string(),
        }
    }

    /// The file's bytes, at most [`MAX_BYTES`]: free text is shortened until it fits.
    pub fn encode(&self) -> Vec<u8> {
        let mut beat = self.clone();
        loop {
            let bytes = serde_json::to_vec(&beat).unwrap_or_default();
            if bytes.len() <= MAX_BYTES {
                return bytes;
            }
            match beat.longest() {
                Some(text) => text.clear(),
                None => return bytes,
            }
        }
    }

    /// What may go first: free text; of that the longest. Then what says who the node is. `None`: all of it is empty.
    fn longest(&mut self) -> Option<&mut String> {
        let Beat { protocol, owner_id, target, created_at, process, client, .. } = self;
        let Process { hostname, boot_id, pid_namespace, liveness, command, user, .. } = process;
        let free = [command, user, target, liveness].into_iter().max_by_key(|text| text.len());
        let rest = [protocol, owner_id, created_at, client, hostname, boot_id, pid_namespace];
        let rest = rest.into_iter().max_by_key(|text| text.len());
        free.filter(|text| !text.is_empty()).or(rest.filter(|text| !text.is_empty()))
    }

    /// What a beat file says; one that cannot be parsed is a node of unknown identity.
    pub fn decode(bytes: &[u8]) -> Option<Beat> {
        serde_json::from_slice(bytes).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unknown_fields_are_ignored_and_missing_ones_empty() {
        let beat = Beat::decode(br#"{"protocol":"x","process":{"pid":7,"colour":"blue"},"future":[1]}"#).unwrap();
        assert_eq!((beat.protocol.as_str(), beat.process.pid, beat.lease_ms), ("x", 7, 0));
    }

    #[test]
    fn garbage_is_a_node_of_unknown_identity() {
        for garbage in [&b""[..], b"{", b"\xff\xfe", b"[1,2]", b"null", b"{\"process\":7}", &[0; 5000]] {
            assert!(Beat::decode(garbage).is_none());
        }
    }

    #[test]
    fn a_beat_file_is_never_longer_than_observers_read() {
        let mut beat = Beat { target: "t".repeat(9000), ..Beat::default() };
        beat.process.command = "\u{1}".repeat(3000);
        let bytes = beat.encode();
        assert!(bytes.len() <= MAX_BYTES && Beat::decode(&bytes).is_some());
    }

    #[test]
    fn shortening_comes_to_an_end_whatever_is_long() {
        let mut beat = Beat { client: "c".repeat(5000), created_at: "d".repeat(5000), ..Beat::default() };
        beat.process = Process { hostname: "h".repeat(5000), pid: 7, ..Process::default() };
        let bytes = beat.encode();
        assert!(bytes.len() <= MAX_BYTES && Beat::decode(&bytes).is_some_and(|beat| beat.process.pid == 7));
    }
}
