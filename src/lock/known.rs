//! What is known of the database's file while a lock on it is held, so that SQLite's questions at the beginning of each
//! transaction need not be asked of the filesystem again.
//!
//! Everything is learnt by what a connection of ours read or wrote under the lock, and forgotten with the lock, with the
//! handles, and at every doubt: a write that failed, a transaction that was given up, a change from outside.

use std::sync::Arc;

use super::database::{Database, Inner};
use super::level::Level;
use super::seat::Seat;
use crate::protocol::lease::Standing;
use crate::protocol::switches::{self, Guard};

/// Where the bytes are by which SQLite knows whether its cache is still good, and how many.
pub const STAMP_AT: i64 = 24;
pub const STAMP: usize = 16;

/// See the module's head.
#[derive(Clone, Copy, Debug, Default)]
pub struct Known {
    pub size: Option<i64>,
    /// The bytes at [`STAMP_AT`].
    pub stamp: Option<[u8; STAMP]>,
    /// There is no file by the name of a WAL.
    pub no_wal: bool,
}

impl Known {
    fn wrote(&mut self, data: &[u8], offset: i64) {
        let end = offset + data.len() as i64;
        self.size = self.size.map(|size| size.max(end));
        if offset >= STAMP_AT + STAMP as i64 || end <= STAMP_AT {
            return;
        }
        let from = usize::try_from(STAMP_AT - offset).ok();
        let stamp = from.and_then(|from| data.get(from..from + STAMP));
        self.stamp = stamp.and_then(|stamp| stamp.try_into().ok());
    }
}

impl Database {
    /// What is known under the connection's present lock. Nothing unless the lease is valid at this moment: whoever asks the
    /// filesystem instead checks it around that. Nobody else can change the file while the connection has a lock, so it goes by
    /// its own copy and waits for no mutex.
    pub fn recall(&self, seat: &Seat) -> Known {
        if switches::off(Guard::LingerForget) {
            return self.inner().known;
        }
        let valid = || seat.lease.as_ref().is_some_and(|lease| lease.standing(self.storage.now()) == Standing::Valid);
        if seat.level > Level::None && (switches::off(Guard::LingerLease) || valid()) {
            return seat.known;
        }
        Known::default()
    }

    /// Remembers what a connection has just read under its lock, with the lease checked after that.
    pub fn learn(&self, seat: &mut Seat, learn: impl FnOnce(&mut Known)) {
        let mut inner = self.inner();
        if Self::is_covered(&inner, seat) {
            learn(&mut inner.known);
            seat.known = inner.known;
        }
    }

    /// A connection has written to the database.
    pub fn wrote(&self, seat: &mut Seat, data: &[u8], offset: i64) {
        self.learn(seat, |known| known.wrote(data, offset));
    }

    /// Something went wrong with the file, or with the transaction: what is remembered may be wrong, and the locks are not
    /// kept beyond the transaction.
    pub fn doubt(&self, seat: &mut Seat) {
        let mut inner = self.inner();
        (inner.known, seat.known) = (Known::default(), Known::default());
        inner.linger.spoil();
    }

    /// Whether the seat holds a lock under the present node, on the present files.
    fn is_covered(inner: &Inner, seat: &Seat) -> bool {
        let node = inner.node.as_ref();
        seat.level > Level::None
            && seat.generation == inner.generation
            && seat.lease.as_ref().is_some_and(|lease| node.is_some_and(|node| Arc::ptr_eq(node.lease(), lease)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn known() -> Known {
        Known { size: Some(4096), stamp: Some([7; STAMP]), no_wal: true }
    }

    #[test]
    fn a_write_of_the_whole_stamp_is_remembered_and_one_of_a_part_forgets_it() {
        let page: Vec<u8> = (0..100).collect();
        let mut it = known();
        it.wrote(&page, 0);
        assert_eq!(it.stamp.map(|stamp| stamp.to_vec()), Some(page[24..40].to_vec()));
        for (data, at) in [(&page[..30], 0), (&page[..10], 30), (&page[..2], 38), (&page[..4], 22)] {
            let mut it = known();
            it.wrote(data, at);
            assert_eq!(it.stamp, None, "{} bytes at {at}", data.len());
        }
        for (data, at) in [(&page[..24], 0), (&page[..], 40)] {
            let mut it = known();
            it.wrote(data, at);
            assert_eq!(it.stamp, Some([7; STAMP]));
        }
    }

    #[test]
    fn a_write_beyond_the_end_makes_the_file_longer_and_an_unknown_size_stays_unknown() {
        let mut it = known();
        it.wrote(&[0; 4096], 4096);
        assert_eq!(it.size, Some(8192));
        it.wrote(&[0; 4096], 0);
        assert_eq!(it.size, Some(8192));
        let mut unknown = Known::default();
        unknown.wrote(&[0; 4096], 4096);
        assert_eq!(unknown.size, None);
    }
}
