//! Making names, and the small files behind them.

use std::fs::File;
use std::io::{self, ErrorKind, Read, Write};
use std::os::fd::IntoRawFd;
use std::path::Path;

use rustix::fs::OFlags;
use rustix::io::Errno;

use super::super::Owner;
use super::{listing, open, refuse, rights};

/// Exactly one of several callers makes it. An error after the directory was made leaves it there.
pub(super) fn make_dir(dir: &Path, owner: Owner) -> io::Result<()> {
    let mode = rights::dir_mode(owner);
    rustix::fs::mkdir(dir, rights::raw(mode))?;
    // It is made: that it cannot be looked at is no reason to fail.
    if std::fs::symlink_metadata(dir).is_ok_and(|made| rights::lacks(&made, mode)) {
        rights::set_mode(&File::from(listing::open_dir(dir)?), mode)?;
    }
    if let Some((uid, gid)) = rights::heir(owner) {
        let no_follow = rustix::fs::AtFlags::SYMLINK_NOFOLLOW;
        rights::forgive(rustix::fs::chownat(rustix::fs::CWD, dir, uid, Some(gid), no_follow))?;
    }
    Ok(())
}

/// An empty file (presence) is nobody's to read and is removed by right of its directory: its owner is left as it comes.
pub(super) fn create_new(path: &Path, contents: &[u8], owner: Owner) -> io::Result<()> {
    let mut file = create(path, OFlags::WRONLY, owner)?;
    if !contents.is_empty() {
        rights::set_owner(&file, owner)?;
        file.write_all(contents)?;
    }
    close(file)
}

/// An empty data file, to be filled through the handle that is returned.
pub(super) fn create_data(path: &Path, owner: Owner) -> io::Result<File> {
    let file = create(path, OFlags::RDWR, owner)?;
    rights::set_owner(&file, owner)?;
    Ok(file)
}

fn create(path: &Path, access: OFlags, owner: Owner) -> io::Result<File> {
    let mode = rights::file_mode(owner);
    let flags = access | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let file = File::from(rustix::fs::open(path, flags, rights::raw(mode))?);
    rights::set_mode(&file, mode)?;
    Ok(file)
}

/// Closes and tells what closing says: a network client may report only there that it could not write.
fn close(file: File) -> io::Result<()> {
    // SAFETY: the descriptor is ours alone and is given up here, whatever the call answers.
    match unsafe { libc::close(file.into_raw_fd()) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// At most `limit` bytes of what is in the file.
pub(super) fn read_small(path: &Path, limit: usize) -> io::Result<Vec<u8>> {
    let file = open::regular(path, super::Access::Read)?;
    let mut contents = Vec::new();
    file.take(limit as u64).read_to_end(&mut contents)?;
    Ok(contents)
}

/// One write for the line and its end, so that lines of several writers stay whole where the filesystem can append.
pub(super) fn append_line(path: &Path, line: &str, owner: Owner) -> io::Result<()> {
    let mode = rights::file_mode(owner);
    let flags =
        OFlags::WRONLY | OFlags::APPEND | OFlags::CREATE | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let opened = rustix::io::retry_on_intr(|| rustix::fs::open(path, flags, rights::raw(mode)))?;
    let file = File::from(opened);
    let found = file.metadata()?;
    if !found.is_file() {
        return Err(refuse(ErrorKind::InvalidInput, path, "not a regular file"));
    }
    if found.len() == 0 {
        rights::set_mode(&file, mode)?;
        rights::set_owner(&file, owner)?;
    }
    let mut text = line.trim_end_matches('\n').to_owned();
    text.push('\n');
    match rustix::io::write(&file, text.as_bytes())? {
        written if written == text.len() => close(file),
        _ => Err(refuse(ErrorKind::WriteZero, path, "the line was written in part only")),
    }
}

/// A filesystem that has no such thing for directories keeps names without being asked.
pub(super) fn sync_dir(dir: &Path) -> io::Result<()> {
    let opened = listing::open_dir(dir)?;
    match rustix::io::retry_on_intr(|| rustix::fs::fsync(&opened)) {
        Err(Errno::INVAL | Errno::OPNOTSUPP | Errno::NOSYS | Errno::BADF) => Ok(()),
        other => Ok(other?),
    }
}
