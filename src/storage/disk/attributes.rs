//! What `stat` says of a file, and giving one file the rights of another.

use std::fs::File;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::{Duration, UNIX_EPOCH};

use rustix::fs::{Gid, Uid};
use rustix::io::Errno;

use super::super::{Access, Attributes, Incarnation};
use super::{id_of, open, refuse, rights};

pub(super) fn of_path(path: &Path) -> io::Result<Attributes> {
    let found = std::fs::symlink_metadata(path)?;
    Ok(Attributes {
        id: id_of(&found),
        is_dir: found.is_dir(),
        is_symlink: found.is_symlink(),
        size: found.len(),
        links: found.nlink(),
        mode: found.mode() & 0o7777,
        uid: found.uid(),
        gid: found.gid(),
    })
}

/// By the inode and its time of birth, or of its last change where a filesystem does not know that.
pub(super) fn incarnation(path: &Path) -> io::Result<Incarnation> {
    let found = std::fs::symlink_metadata(path)?;
    let changed = || UNIX_EPOCH + Duration::new(found.ctime().unsigned_abs(), found.ctime_nsec().unsigned_abs() as u32);
    let born = found.created().unwrap_or_else(|_| changed());
    let nanoseconds = born.duration_since(UNIX_EPOCH).map_or(0, |span| span.as_nanos());
    Ok(Incarnation { text: format!("{} {nanoseconds}", found.ino()), born: Some(born) })
}

/// Owner first (a change of owner may take mode bits), then mode, then ACL and attributes, then the mode once more if these
/// have changed it. What cannot be kept of owner, mode and ACL is an error: who takes the copy for the original must not get
/// other rights than its owner gave.
pub(super) fn copy(from: &Path, to: &Path) -> io::Result<()> {
    let source = open::regular(from, Access::Read)?;
    let target = open::regular(to, Access::Read)?;
    let wanted = source.metadata()?;
    copy_owner(&target, &wanted).map_err(|error| {
        let what = format!("cannot be given to user {}, group {}: {error}", wanted.uid(), wanted.gid());
        refuse(error.kind(), to, &what)
    })?;
    copy_mode(&target, &wanted)?;
    copy_extended(&source, &target).map_err(|error| {
        let what = format!("cannot be given the extended attributes of {}: {error}", from.display());
        refuse(error.kind(), to, &what)
    })?;
    copy_mode(&target, &wanted)?;
    let got = target.metadata()?;
    if (got.uid(), got.gid()) != (wanted.uid(), wanted.gid()) {
        let what = format!(
            "belongs to user {}, group {} although it was given to user {}, group {}",
            got.uid(),
            got.gid(),
            wanted.uid(),
            wanted.gid()
        );
        return Err(refuse(io::ErrorKind::PermissionDenied, to, &what));
    }
    Ok(())
}

fn copy_owner(target: &File, wanted: &std::fs::Metadata) -> io::Result<()> {
    let got = target.metadata()?;
    let uid = (got.uid() != wanted.uid()).then(|| Uid::from_raw(wanted.uid()));
    let gid = (got.gid() != wanted.gid()).then(|| Gid::from_raw(wanted.gid()));
    if uid.is_none() && gid.is_none() {
        return Ok(());
    }
    Ok(rustix::fs::fchown(target, uid, gid)?)
}

fn copy_mode(target: &File, wanted: &std::fs::Metadata) -> io::Result<()> {
    let mode = wanted.mode() & 0o7777;
    if target.metadata()?.mode() & 0o7777 == mode {
        return Ok(());
    }
    Ok(rustix::fs::fchmod(target, rights::raw(mode))?)
}

/// Attributes that are ACLs: failing to keep one is an error, and one that the target has of its own is taken away.
#[cfg(target_os = "linux")]
fn is_acl(name: &str) -> bool {
    name.starts_with("system.posix_acl_") || name == "system.nfs4_acl"
}

/// Attributes that the kernel or the administrator gives each file by itself.
#[cfg(target_os = "linux")]
fn is_not_ours(name: &str) -> bool {
    name.starts_with("security.") || name.starts_with("trusted.") || name.starts_with("btrfs.")
}

#[cfg(target_os = "linux")]
fn copy_extended(source: &File, target: &File) -> io::Result<()> {
    let names = extended_names(source)?;
    for name in extended_names(target)?.iter().filter(|name| is_acl(name) && !names.contains(name)) {
        tolerate(name, rustix::fs::fremovexattr(target, name.as_str()))?;
    }
    for name in &names {
        let Some(value) = extended_value(source, name)? else {
            continue;
        };
        if extended_value(target, name).ok().flatten().as_ref() == Some(&value) {
            continue;
        }
        tolerate(name, rustix::fs::fsetxattr(target, name.as_str(), &value, rustix::fs::XattrFlags::empty()))?;
    }
    Ok(())
}

/// No such thing on this filesystem is fine; a refusal is fine for what is not ours to give.
#[cfg(target_os = "linux")]
fn tolerate(name: &str, result: rustix::io::Result<()>) -> io::Result<()> {
    match result {
        Err(Errno::OPNOTSUPP | Errno::NODATA | Errno::NOSYS) => Ok(()),
        Err(_) if is_not_ours(name) => Ok(()),
        other => Ok(other?),
    }
}

#[cfg(target_os = "linux")]
fn extended_names(file: &File) -> io::Result<Vec<String>> {
    let mut size = 4096;
    loop {
        let mut buffer = vec![0u8; size];
        match rustix::fs::flistxattr(file, &mut buffer[..]) {
            Ok(length) => {
                let names = buffer[..length].split(|byte| *byte == 0).filter(|name| !name.is_empty());
                return Ok(names.map(|name| String::from_utf8_lossy(name).into_owned()).collect());
            }
            Err(Errno::RANGE) if size < 1 << 20 => size *= 4,
            Err(Errno::INTR) => {}
            Err(Errno::OPNOTSUPP | Errno::NOSYS) => return Ok(Vec::new()),
            Err(error) => return Err(error.into()),
        }
    }
}

/// The attribute's value; none if there is none by that name (any more), or it is not ours to read.
#[cfg(target_os = "linux")]
fn extended_value(file: &File, name: &str) -> io::Result<Option<Vec<u8>>> {
    let mut size = 1024;
    loop {
        let mut buffer = vec![0u8; size];
        match rustix::fs::fgetxattr(file, name, &mut buffer[..]) {
            Ok(length) => {
                buffer.truncate(length);
                return Ok(Some(buffer));
            }
            Err(Errno::RANGE) if size < 1 << 20 => size *= 4,
            Err(Errno::INTR) => {}
            Err(Errno::NODATA | Errno::OPNOTSUPP | Errno::NOSYS) => return Ok(None),
            Err(_) if is_not_ours(name) => return Ok(None),
            Err(error) => return Err(error.into()),
        }
    }
}

#[cfg(target_vendor = "apple")]
fn copy_extended(source: &File, target: &File) -> io::Result<()> {
    use std::os::fd::AsRawFd;
    let what = libc::COPYFILE_ACL | libc::COPYFILE_XATTR;
    // SAFETY: both descriptors are open for the length of the call; no state is passed.
    let result = unsafe { libc::fcopyfile(source.as_raw_fd(), target.as_raw_fd(), std::ptr::null_mut(), what) };
    match io::Error::last_os_error() {
        _ if result >= 0 => Ok(()),
        error if error.raw_os_error() == Some(Errno::NOTSUP.raw_os_error()) => Ok(()),
        error => Err(error),
    }
}

#[cfg(not(any(target_os = "linux", target_vendor = "apple")))]
fn copy_extended(_source: &File, _target: &File) -> io::Result<()> {
    let _ = Errno::NOTSUP;
    Ok(())
}
