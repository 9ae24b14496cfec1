//! Do the platform's byte-range locks work here? Asked with locks that belong to an open file (`F_OFD_SETLK`), so that one
//! process can be both sides; the kernel keeps them in the same lists as those of processes, which SQLite takes.

use std::io;
use std::path::Path;

#[cfg(target_os = "linux")]
pub(super) fn exclude_each_other(path: &Path) -> io::Result<bool> {
    use super::super::Access;
    use super::open;
    let (one, other) = (open::regular(path, Access::ReadWrite)?, open::regular(path, Access::ReadWrite)?);
    if !linux::try_exclusive(&one)? {
        return Err(io::Error::new(io::ErrorKind::ResourceBusy, "somebody else has locked it"));
    }
    let shut_out = !linux::try_exclusive(&other)?;
    drop(one);
    Ok(shut_out && linux::try_exclusive(&other)?)
}

#[cfg(target_os = "linux")]
mod linux {
    use std::fs::File;
    use std::io;
    use std::os::fd::AsRawFd;

    /// Locks the first byte for writing: `false` if somebody else has it.
    pub(super) fn try_exclusive(file: &File) -> io::Result<bool> {
        // SAFETY: all zeroes is a valid flock: from the start, no process.
        let mut range: libc::flock = unsafe { std::mem::zeroed() };
        range.l_type = libc::F_WRLCK as libc::c_short;
        range.l_whence = libc::SEEK_SET as libc::c_short;
        range.l_len = 1;
        // SAFETY: the descriptor is open and `range` lives for the length of the call.
        if unsafe { libc::fcntl(file.as_raw_fd(), libc::F_OFD_SETLK, &raw const range) } == 0 {
            return Ok(true);
        }
        match io::Error::last_os_error() {
            error if matches!(error.raw_os_error(), Some(libc::EAGAIN | libc::EACCES)) => Ok(false),
            error if error.raw_os_error() == Some(libc::EINVAL) => Err(io::Error::from(io::ErrorKind::Unsupported)),
            error => Err(error),
        }
    }
}

#[cfg(not(target_os = "linux"))]
pub(super) fn exclude_each_other(_path: &Path) -> io::Result<bool> {
    Err(io::Error::from(io::ErrorKind::Unsupported))
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    #[test]
    fn on_a_disk_one_of_two_gets_the_lock_and_the_other_gets_it_afterwards() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("file");
        std::fs::write(&path, b"x").unwrap();
        assert!(exclude_each_other(&path).unwrap());
    }
}
