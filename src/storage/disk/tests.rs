//! The disk as the floors above see it: through [`Storage`] alone.

use std::fs;
use std::io::ErrorKind;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::*;
use crate::storage::skip::skip;

fn me(mode: u32) -> Owner {
    Owner { mode, uid: rustix::process::geteuid().as_raw(), gid: rustix::process::getegid().as_raw() }
}

fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

fn place() -> (tempfile::TempDir, impl Fn(&str) -> PathBuf) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().to_owned();
    (dir, move |name: &str| path.join(name))
}

fn mode_of(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o7777
}

/// Exactly one of several that make the same name does make it; this is what the write lock stands on.
#[test]
fn one_of_many_makes_a_directory_or_a_file() {
    let (_dir, at) = place();
    let (dirs, files, losers) = (AtomicUsize::new(0), AtomicUsize::new(0), AtomicUsize::new(0));
    let barrier = std::sync::Barrier::new(8);
    let count = |result: io::Result<()>, winners: &AtomicUsize| match result {
        Ok(()) => winners.fetch_add(1, Ordering::Relaxed),
        Err(error) => {
            assert_eq!(error.kind(), ErrorKind::AlreadyExists);
            losers.fetch_add(1, Ordering::Relaxed)
        }
    };
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                barrier.wait();
                count(Disk::new().make_dir(&at("dir"), me(0o644)), &dirs);
                count(Disk::new().create_new(&at("file"), b"", me(0o644)), &files);
            });
        }
    });
    assert_eq!((dirs.into_inner(), files.into_inner(), losers.into_inner()), (1, 1, 14));
}

#[test]
fn modes_are_the_databases_whatever_the_umask() {
    let (_dir, at) = place();
    let disk = Disk::new();
    for (number, (mode, dir_mode)) in [(0o600, 0o700), (0o644, 0o755), (0o666, 0o777)].into_iter().enumerate() {
        let name = |kind: &str| at(&format!("{kind}{number}"));
        disk.make_dir(&name("dir"), me(mode)).unwrap();
        disk.create_new(&name("file"), b"x", me(mode)).unwrap();
        disk.append_line(&name("lines"), "line", me(mode)).unwrap();
        drop(disk.create_data(&name("data"), me(mode)).unwrap());
        assert_eq!(mode_of(&name("dir")), dir_mode);
        for kind in ["file", "lines", "data"] {
            assert_eq!(mode_of(&name(kind)), mode, "{kind}");
        }
    }
}

#[test]
fn root_gives_what_it_makes_to_the_databases_owner() {
    if !is_root() {
        skip("only root can give files away");
        return;
    }
    let (_dir, at) = place();
    let (disk, owner) = (Disk::new(), Owner { mode: 0o640, uid: 1234, gid: 2345 });
    disk.make_dir(&at("dir"), owner).unwrap();
    disk.create_new(&at("file"), b"x", owner).unwrap();
    disk.append_line(&at("lines"), "line", owner).unwrap();
    drop(disk.create_data(&at("data"), owner).unwrap());
    for name in ["dir", "file", "lines", "data"] {
        let found = disk.attributes(&at(name)).unwrap();
        assert_eq!((found.uid, found.gid), (1234, 2345), "{name}");
    }
    assert_eq!(mode_of(&at("dir")), 0o750);
}

#[test]
fn small_files_are_written_once_and_read_up_to_a_limit() {
    let (_dir, at) = place();
    let disk = Disk::new();
    disk.create_new(&at("beat"), b"0123456789", me(0o644)).unwrap();
    assert_eq!(disk.create_new(&at("beat"), b"other", me(0o644)).unwrap_err().kind(), ErrorKind::AlreadyExists);
    assert_eq!(disk.read_small(&at("beat"), 4096).unwrap(), b"0123456789");
    assert_eq!(disk.read_small(&at("beat"), 4).unwrap(), b"0123");
    assert_eq!(disk.read_small(&at("none"), 4).unwrap_err().kind(), ErrorKind::NotFound);
    assert!(disk.read_small(&at(""), 4).is_err(), "a directory");
    std::os::unix::fs::symlink(at("beat"), at("link")).unwrap();
    assert!(disk.read_small(&at("link"), 4).is_err());
    assert!(disk.append_line(&at("link"), "line", me(0o644)).is_err());
    assert!(disk.create_new(&at("link"), b"", me(0o644)).is_err());
}

#[test]
fn lines_are_added_whole() {
    let (_dir, at) = place();
    let disk = Disk::new();
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| (0..50).for_each(|_| disk.append_line(&at("log"), &"x".repeat(99), me(0o644)).unwrap()));
        }
    });
    disk.append_line(&at("log"), "last\n", me(0o644)).unwrap();
    let text = fs::read_to_string(at("log")).unwrap();
    assert_eq!(text.lines().filter(|line| line.len() == 99).count(), 200);
    assert!(text.ends_with("x\nlast\n"));
}

#[test]
fn names_are_listed_moved_and_removed_with_the_errors_that_are_promised() {
    let (dir, at) = place();
    let disk = Disk::new();
    disk.make_dir(&at("L"), me(0o644)).unwrap();
    disk.create_new(&at("L/a"), b"", me(0o644)).unwrap();
    assert_eq!(disk.remove_dir(&at("L")).unwrap_err().kind(), ErrorKind::DirectoryNotEmpty);
    disk.rename(&at("L/a"), &at("L/b")).unwrap();
    assert_eq!(disk.rename(&at("L/a"), &at("L/c")).unwrap_err().kind(), ErrorKind::NotFound);
    assert_eq!(disk.list(&at("L")).unwrap(), ["b"]);
    disk.unlink(&at("L/b")).unwrap();
    assert_eq!(disk.unlink(&at("L/b")).unwrap_err().kind(), ErrorKind::NotFound);
    assert!(disk.list(&at("L")).unwrap().is_empty());
    disk.remove_dir(&at("L")).unwrap();
    assert_eq!(disk.list(&at("L")).unwrap_err().kind(), ErrorKind::NotFound);
    assert_eq!(disk.create_new(&at("L/a"), b"", me(0o644)).unwrap_err().kind(), ErrorKind::NotFound);
    disk.sync_dir(dir.path()).unwrap();
    assert!(disk.sync_dir(&at("L")).is_err());
}

#[test]
fn attributes_are_of_the_name_itself() {
    let (dir, at) = place();
    let disk = Disk::new();
    fs::write(at("file"), b"123").unwrap();
    fs::hard_link(at("file"), at("second")).unwrap();
    std::os::unix::fs::symlink(at("file"), at("link")).unwrap();
    let file = disk.attributes(&at("file")).unwrap();
    assert_eq!((file.size, file.links, file.is_dir, file.is_symlink), (3, 2, false, false));
    assert_eq!(file.id, disk.open(&at("second"), Access::Read).unwrap().id().unwrap());
    assert!(disk.attributes(&at("link")).unwrap().is_symlink);
    assert!(disk.attributes(dir.path()).unwrap().is_dir);
}

#[test]
fn data_files_are_read_and_written_anywhere() {
    let (_dir, at) = place();
    let disk = Disk::new();
    let file = disk.create_data(&at("db"), me(0o644)).unwrap();
    file.write_at(b"world", 6).unwrap();
    file.write_at(b"hello ", 0).unwrap();
    let mut buffer = [0; 16];
    assert_eq!(file.read_at(&mut buffer, 0).unwrap(), 11);
    assert_eq!(&buffer[..11], b"hello world");
    assert_eq!(file.read_at(&mut buffer, 11).unwrap(), 0);
    file.set_len(5).unwrap();
    assert_eq!(file.size().unwrap(), 5);
    file.sync().unwrap();
    file.drop_cache().unwrap();
    let reader = disk.open(&at("db"), Access::Read).unwrap();
    assert_eq!(reader.read_at(&mut buffer, 1).unwrap(), 4);
    assert!(reader.write_at(b"x", 0).is_err());
    assert_eq!(disk.open(&at("none"), Access::ReadWrite).err().unwrap().kind(), ErrorKind::NotFound);
    assert!(!at("none").exists());
}

#[test]
fn an_open_file_is_told_from_its_replacement() {
    let (_dir, at) = place();
    let disk = Disk::new();
    let old = disk.create_data(&at("db"), me(0o644)).unwrap();
    let new = disk.create_data(&at("copy"), me(0o644)).unwrap();
    disk.rename(&at("copy"), &at("db")).unwrap();
    let listed = disk.open_listed(&at("db"), Access::ReadWrite, &at("scratch")).unwrap();
    assert_eq!(listed.id().unwrap(), new.id().unwrap());
    assert_ne!(listed.id().unwrap(), old.id().unwrap());
    assert_eq!(disk.list(at("").as_path()).unwrap(), ["db"]);
    let missing = disk.open_listed(&at("none"), Access::Read, &at("scratch2")).err().unwrap();
    assert_eq!(missing.kind(), ErrorKind::NotFound);
}

/// Whether it clones depends on the filesystem; what it leaves when it does not, or when it does, does not.
#[test]
fn a_clone_is_complete_or_the_file_is_still_empty() {
    let (_dir, at) = place();
    let disk = Disk::new();
    let source = disk.create_data(&at("source"), me(0o644)).unwrap();
    source.write_at(&[7; 10_000], 0).unwrap();
    let copy = disk.create_data(&at("copy"), me(0o644)).unwrap();
    let expected = if copy.clone_from(source.as_ref()) { 10_000 } else { 0 };
    assert_eq!(copy.size().unwrap(), expected);
}

#[test]
fn a_copy_gets_mode_and_owner() {
    let (_dir, at) = place();
    fs::write(at("from"), b"").unwrap();
    fs::write(at("to"), b"").unwrap();
    fs::set_permissions(at("from"), fs::Permissions::from_mode(0o2640)).unwrap();
    if is_root() {
        std::os::unix::fs::chown(at("from"), Some(1234), Some(2345)).unwrap();
        fs::set_permissions(at("from"), fs::Permissions::from_mode(0o2640)).unwrap();
    } else {
        skip("only root can give files away: the mode alone is looked at");
    }
    Disk::new().copy_attributes(&at("from"), &at("to")).unwrap();
    let (from, to) = (fs::metadata(at("from")).unwrap(), fs::metadata(at("to")).unwrap());
    assert_eq!((from.mode(), from.uid(), from.gid()), (to.mode(), to.uid(), to.gid()));
    assert_eq!(mode_of(&at("to")), 0o2640);
}

/// Extended attributes come along; an ACL of the copy's own (from a default ACL) goes.
#[cfg(target_os = "linux")]
#[test]
fn a_copy_gets_extended_attributes_and_the_acl_and_keeps_none_of_its_own() {
    use rustix::fs::XattrFlags;
    const ACL: &str = "system.posix_acl_access";
    /// user::rw-, user:1234:rw-, group::r--, mask::rw-, other::--- as the kernel stores it (linux/posix_acl_xattr.h).
    fn acl() -> Vec<u8> {
        let entries: [(u16, u16, u32); 5] =
            [(1, 6, u32::MAX), (2, 6, 1234), (4, 4, u32::MAX), (16, 6, u32::MAX), (32, 0, u32::MAX)];
        let mut bytes = 2u32.to_le_bytes().to_vec();
        for (tag, rights, id) in entries {
            bytes.extend(tag.to_le_bytes());
            bytes.extend(rights.to_le_bytes());
            bytes.extend(id.to_le_bytes());
        }
        bytes
    }
    fn get(path: &Path, name: &str) -> Option<Vec<u8>> {
        let mut buffer = vec![0; 4096];
        let length = rustix::fs::getxattr(path, name, &mut buffer[..]).ok()?;
        buffer.truncate(length);
        Some(buffer)
    }
    let (_dir, at) = place();
    for name in ["from", "to", "plain"] {
        fs::write(at(name), b"").unwrap();
    }
    let long = vec![b'v'; 3000];
    let set = |name: &str, value: &[u8]| rustix::fs::setxattr(at("from"), name, value, XattrFlags::empty());
    if set("user.note", &long).is_err() || set(ACL, &acl()).is_err() {
        skip("this filesystem keeps no extended attributes or ACLs");
        return;
    }
    let disk = Disk::new();
    disk.copy_attributes(&at("from"), &at("to")).unwrap();
    assert_eq!(get(&at("to"), "user.note"), Some(long));
    assert_eq!(get(&at("to"), ACL), Some(acl()));
    assert_eq!(mode_of(&at("to")), mode_of(&at("from")));
    disk.copy_attributes(&at("plain"), &at("to")).unwrap();
    assert_eq!(get(&at("to"), ACL), None);
    assert_eq!(mode_of(&at("to")), mode_of(&at("plain")));
}

/// A descriptor that a child program inherits would hold files open, and locks, for strangers.
#[test]
fn no_descriptor_survives_exec() {
    use std::os::fd::BorrowedFd;
    let (_dir, at) = place();
    let disk = Disk::new();
    let made = disk.create_data(&at("db"), me(0o644)).unwrap();
    let opened = disk.open(&at("db"), Access::Read).unwrap();
    for file in [&made, &opened] {
        // SAFETY: the file is open until the end of this test.
        let fd = unsafe { BorrowedFd::borrow_raw(file.raw_fd().unwrap()) };
        assert!(rustix::io::fcntl_getfd(fd).unwrap().contains(rustix::io::FdFlags::CLOEXEC));
    }
}
