//! The on-disk protocol and nothing else: names, heartbeats, the write lock, readers and exclusive, deposing, takeover and
//! fencing. It knows [`crate::storage`] and nothing above it: no SQLite, no threads, no global state. `PROTOCOL.md` is the
//! same thing in prose; the step numbers in the comments are its.
//!
//! One [`Node`] is this process's side of one database. All its calls are made under one lock of the caller's, so that
//! heartbeats and listings of a node never overlap.

mod aside;
pub mod beat;
mod copying;
pub mod depose;
pub mod error;
pub mod fence;
mod heartbeat;
pub mod lease;
pub mod names;
pub mod node;
pub mod observer;
pub mod paths;
pub mod presence;
pub mod registry;
pub mod takeover;
pub mod write_lock;

pub(crate) use aside::put;
pub use error::{Denied, Holder};
pub use lease::Lease;
pub use names::{Name, NodeId};
pub use node::{Node, Settings};
pub use paths::Paths;
