//! Mode and owner of what is made here: those of the database, whatever the umask, which a program may change at any time.

use std::fs::File;
use std::io;
use std::os::unix::fs::MetadataExt;

use rustix::fs::{Gid, Mode, Uid};
use rustix::io::Errno;

use super::super::Owner;

/// The mode of a file beside the database.
pub(super) fn file_mode(owner: Owner) -> u32 {
    owner.mode & 0o777
}

/// The mode of a directory beside the database: searchable for who may read.
pub(super) fn dir_mode(owner: Owner) -> u32 {
    let mode = owner.mode & 0o777;
    mode | (mode & 0o444) >> 2
}

/// As the system calls want it.
pub(super) fn raw(mode: u32) -> Mode {
    Mode::from_raw_mode(mode as rustix::fs::RawMode)
}

/// Whether what was made with `mode` has come out with fewer rights.
pub(super) fn lacks(made: &std::fs::Metadata, mode: u32) -> bool {
    made.mode() & mode != mode
}

/// Sets the mode of what was just made, where the umask has taken some of it.
pub(super) fn set_mode(made: &File, mode: u32) -> io::Result<()> {
    match made.metadata() {
        Ok(found) if lacks(&found, mode) => forgive(rustix::fs::fchmod(made, raw(mode))),
        _ => Ok(()),
    }
}

/// To whom what is made must be given: root gives it to the database's owner and group, others to its group, through which
/// those who share the database get at each other's locks. `None`: it is theirs already.
pub(super) fn heir(owner: Owner) -> Option<(Option<Uid>, Gid)> {
    let other_group = owner.gid != rustix::process::getegid().as_raw();
    let gid = Gid::from_raw(owner.gid);
    match rustix::process::geteuid().is_root() {
        true => (owner.uid != 0 || other_group).then(|| (Some(Uid::from_raw(owner.uid)), gid)),
        false => (other_group && owner.mode & 0o070 != 0).then_some((None, gid)),
    }
}

/// Gives what was just made to whom it belongs.
pub(super) fn set_owner(made: &File, owner: Owner) -> io::Result<()> {
    match heir(owner) {
        Some((uid, gid)) => forgive(rustix::fs::fchown(made, uid, Some(gid))),
        None => Ok(()),
    }
}

/// A server that knows no owners or modes, or does not take root for root, is no reason to fail: the name is there.
pub(super) fn forgive(result: rustix::io::Result<()>) -> io::Result<()> {
    match result {
        Err(Errno::PERM | Errno::OPNOTSUPP | Errno::NOSYS | Errno::INVAL) => Ok(()),
        other => Ok(other?),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn directories_are_searchable_where_they_are_readable() {
        let of = |mode| dir_mode(Owner { mode, uid: 0, gid: 0 });
        assert_eq!([of(0o644), of(0o600), of(0o660), of(0o100_664)], [0o755, 0o700, 0o770, 0o775]);
        assert_eq!(file_mode(Owner { mode: 0o4755, uid: 0, gid: 0 }), 0o755);
    }
}
