//! Which filesystem a path is on, and what coord thinks of it.

/// A filesystem, classified.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Kind {
    /// The type's name as the kernel says it (`ext4`, `nfs4`, `fuse.sshfs`), for messages.
    pub name: String,
    pub class: Class,
}

/// What follows from a filesystem's type.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Class {
    /// On this host's own disk or memory: native locks reach every client, no other kernel caches it.
    Local,
    /// Shared with other hosts (or not known): only the directory protocol can be trusted.
    Shared,
    /// Known not to give what the protocol needs; the sentence says what is wrong and what to do.
    Unfit(String),
}

impl Kind {
    pub fn is_local(&self) -> bool {
        self.class == Class::Local
    }
}
