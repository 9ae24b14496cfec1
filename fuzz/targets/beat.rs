//! Beat files: others write them, and nothing in one may do more than make its node unknown.

use coord::protocol::beat::{Beat, MAX_BYTES};

pub fn run(data: &[u8]) {
    let Some(beat) = Beat::decode(data) else { return };
    let bytes = beat.encode();
    assert!(bytes.len() <= MAX_BYTES, "{} bytes", bytes.len());
    let again = Beat::decode(&bytes).expect("what we write can be read");
    assert_eq!(again.encode(), bytes, "read and written, it stays the same");
    assert_eq!((again.lease_ms, again.process.pid), (beat.lease_ms, beat.process.pid));
    if serde_json::to_vec(&beat).expect("JSON").len() <= MAX_BYTES {
        assert_eq!(
            (&again.owner_id, &again.process),
            (&beat.owner_id, &beat.process),
            "nothing is shortened without need"
        );
    }
}
