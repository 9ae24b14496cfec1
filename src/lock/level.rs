//! SQLite's lock levels, and the rules between the connections of one process.

use std::collections::HashMap;
use std::sync::Arc;

use crate::protocol::Lease;

/// The lock levels of a database file (`SQLITE_LOCK_*`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Default)]
pub enum Level {
    #[default]
    None,
    Shared,
    Reserved,
    Pending,
    Exclusive,
}

impl Level {
    pub fn from_code(code: i32) -> Level {
        match code {
            0 => Level::None,
            1 => Level::Shared,
            2 => Level::Reserved,
            3 => Level::Pending,
            _ => Level::Exclusive,
        }
    }

    pub fn code(self) -> i32 {
        self as i32
    }

    pub fn name(self) -> &'static str {
        ["none", "shared", "reserved", "pending", "exclusive"][self as usize]
    }
}

#[derive(Debug)]
struct Held {
    level: Level,
    /// Under which node the lock was taken; `None` in trusted mode.
    lease: Option<Arc<Lease>>,
    copy: usize,
}

/// Which connections of this process hold what. It arbitrates in memory, before anything is asked of the disk.
#[derive(Debug, Default)]
pub struct Arbiter {
    held: HashMap<u64, Held>,
}

impl Arbiter {
    fn others(&self, id: u64) -> impl Iterator<Item = &Held> {
        self.held.iter().filter(move |(other, _)| **other != id).map(|(_, held)| held)
    }

    /// Whether `id` may go to `level` as far as the other connections of this process are concerned.
    pub fn admits(&self, id: u64, level: Level) -> bool {
        match level {
            Level::None => true,
            // A PENDING or EXCLUSIVE connection stops new readers.
            Level::Shared => self.others(id).all(|held| held.level < Level::Pending),
            // One writer.
            Level::Reserved | Level::Pending => self.others(id).all(|held| held.level < Level::Reserved),
            // Alone.
            Level::Exclusive => self.others(id).all(|held| held.level == Level::None),
        }
    }

    pub fn set(&mut self, id: u64, level: Level, lease: Option<Arc<Lease>>, copy: usize) {
        if level == Level::None {
            self.held.remove(&id);
        } else {
            self.held.insert(id, Held { level, lease, copy });
        }
    }

    /// Whether a connection of this process holds RESERVED or more.
    pub fn reserved(&self) -> bool {
        self.held.values().any(|held| held.level >= Level::Reserved)
    }

    /// Whether no other connection of this process holds a lock.
    pub fn is_alone(&self, id: u64) -> bool {
        self.others(id).next().is_none()
    }

    pub fn is_idle(&self) -> bool {
        self.held.is_empty()
    }

    /// Whether a connection other than `id` holds a lock under this node.
    pub fn others_under(&self, id: u64, lease: &Arc<Lease>) -> bool {
        self.others(id).any(|held| held.lease.as_ref().is_some_and(|other| Arc::ptr_eq(other, lease)))
    }

    /// The highest level that any connection holds under this node.
    pub fn highest_under(&self, lease: &Arc<Lease>) -> Level {
        let under = |held: &&Held| held.lease.as_ref().is_some_and(|other| Arc::ptr_eq(other, lease));
        self.held.values().filter(under).map(|held| held.level).max().unwrap_or(Level::None)
    }

    /// Whether a connection of another copy of SQLite holds a lock.
    pub fn other_copy(&self, copy: usize) -> bool {
        self.held.values().any(|held| held.copy != copy)
    }

    /// The highest level any connection holds.
    pub fn highest(&self) -> Level {
        self.held.values().map(|held| held.level).max().unwrap_or(Level::None)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn arbiter(levels: &[Level]) -> Arbiter {
        let mut arbiter = Arbiter::default();
        for (id, level) in levels.iter().enumerate() {
            arbiter.set(id as u64, *level, None, 0);
        }
        arbiter
    }

    #[test]
    fn sqlites_rules_between_connections() {
        use Level::*;
        let (me, cases) = (
            9,
            [
                (None, [true, true, true]),
                (Shared, [true, true, false]),
                (Reserved, [true, false, false]),
                (Pending, [false, false, false]),
                (Exclusive, [false, false, false]),
            ],
        );
        for (other, admitted) in cases {
            let arbiter = arbiter(&[other]);
            for (level, expected) in [Shared, Reserved, Exclusive].into_iter().zip(admitted) {
                assert_eq!(arbiter.admits(me, level), expected, "{level:?} beside {other:?}");
            }
            assert!(arbiter.admits(0, Exclusive), "one's own lock never stands in the way");
        }
    }
}
