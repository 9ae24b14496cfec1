//! A node's sign of life: the heartbeat, what a failed one means, and the lease that it renews.

use std::io;
use std::path::PathBuf;

use super::error::Denied;
use super::lease::Standing;
use super::names::{Kind, Name};
use super::node::Node;
use super::registry::Census;
use crate::storage::Instant;
use crate::switches::{self, Guard};

impl Node {
    pub(super) fn beat_kind(&self) -> Kind {
        Kind::Beat { lease_ms: self.settings.lease_ms }
    }

    pub(super) fn beat_path(&self, n: u64) -> PathBuf {
        self.in_registry(&Name { node: self.id.clone(), n, kind: self.beat_kind() })
    }

    pub(super) fn beat_succeeded(&mut self, n: u64, sent: Instant) {
        self.beat = n;
        self.beat_sent = sent;
        self.tried.clear();
        self.lease.renew(sent, self.lease_span());
    }

    /// Renames our beat file to its next name: a compare-and-swap against whoever would depose us.
    pub fn heartbeat(&mut self) -> Result<(), Denied> {
        if self.lease.is_deposed() {
            return Err(self.deposed());
        }
        let next = self.next(self.beat_kind()).n;
        let sent = self.storage.now();
        match self.storage.rename(&self.beat_path(self.beat), &self.beat_path(next)) {
            Ok(()) => {
                self.beat_succeeded(next, sent);
                Ok(())
            }
            Err(error) => {
                self.tried.push((next, sent));
                self.settle(error)
            }
        }
    }

    /// A heartbeat failed: looks which of its names is there. Only a name that was tried renews the lease, from before it
    /// was sent; the old name says that we are not deposed and no more.
    fn settle(&mut self, error: io::Error) -> Result<(), Denied> {
        for _ in 0..3 {
            let census = self.fresh_census()?;
            if census.tombstone(&self.id).is_some() {
                break;
            }
            let Some((n, _)) = census.beat(&self.id) else { continue };
            if n == self.beat {
                return Err(Denied::io("renew the heartbeat in", &self.paths.registry)(error));
            }
            if let Some(&(_, sent)) = self.tried.iter().find(|(tried, _)| *tried == n) {
                self.beat_succeeded(n, sent);
                return match self.lease.standing(self.storage.now()) {
                    Standing::Valid => Ok(()),
                    _ => Err(Denied::io("renew the heartbeat in time in", &self.paths.registry)(error)),
                };
            }
        }
        self.lease.depose();
        Err(self.deposed())
    }

    /// A heartbeat if the last one is older than a sixth of the lease.
    pub fn heartbeat_if_due(&mut self) -> Result<(), Denied> {
        let age = self.storage.now().since(self.beat_sent);
        if age >= self.lease_span() / 6 || self.lease.standing(self.storage.now()) != Standing::Valid {
            return self.heartbeat();
        }
        Ok(())
    }

    /// When the next heartbeat is due.
    pub fn heartbeat_due(&self) -> Instant {
        self.beat_sent.after(self.lease_span() / 6)
    }

    /// Whether a census shows us in good standing; where our beat is missing (it may just have moved) a heartbeat decides.
    pub(super) fn confirm(&mut self, census: &Census) -> Result<(), Denied> {
        if census.tombstone(&self.id).is_some() {
            self.lease.depose();
            return Err(self.deposed());
        }
        match census.beat(&self.id) {
            Some((n, _)) if n == self.beat => self.check_lease(),
            _ => self.heartbeat(),
        }
    }

    /// The lease by our own clock; where it has run out, a heartbeat decides.
    pub fn check_lease(&mut self) -> Result<(), Denied> {
        match self.lease.standing(self.storage.now()) {
            Standing::Valid => Ok(()),
            Standing::Lapsed => self.renew(),
            Standing::Deposed => Err(self.deposed()),
        }
    }

    /// A heartbeat whose lease has not run out again by the time it is answered: one that took that long says only that we
    /// were not deposed when it was carried out.
    pub fn renew(&mut self) -> Result<(), Denied> {
        for _ in 0..4 {
            self.heartbeat()?;
            if self.lease.standing(self.storage.now()) == Standing::Valid || switches::off(Guard::RenewLoop) {
                return Ok(());
            }
        }
        let slow =
            io::Error::new(io::ErrorKind::TimedOut, "the filesystem answers more slowly than the lease runs out");
        Err(Denied::io("renew the heartbeat in", &self.paths.registry)(slow))
    }

    pub(super) fn deposed(&self) -> Denied {
        Denied::Deposed(format!(
            "coord: this process was silent for longer than its lease of {} ms and lost its locks on {}; nothing it had not \
             yet committed was written. Roll back and run the transaction again",
            self.settings.lease_ms,
            self.paths.database.display()
        ))
    }

    /// Gives ourselves up: the next holder of L clears up and fences, as after any silent node. For when an operation
    /// failed that may still be carried out late.
    pub fn depose_self(&mut self) {
        if self.lease.is_deposed() {
            return;
        }
        self.lease.depose();
        let m = self.next(Kind::New).n;
        let stone = Name { node: self.id.clone(), n: self.beat, kind: Kind::Deposed { by: self.id.key, m } };
        // If this fails too, the lease runs out and somebody else says so.
        let _ = self.storage.rename(&self.beat_path(self.beat), &self.in_registry(&stone));
    }
}
