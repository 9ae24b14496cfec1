//! Linux: `statfs` magic numbers (include/uapi/linux/magic.h and the filesystems' own headers) and mountinfo.

use std::fs::File;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use super::mountinfo::{self, Mount};
use super::types::{class_of, class_of_source};
use super::{Class, Kind};

const FUSE: u32 = 0x6573_5546;
const NFS: u32 = 0x6969;
const CIFS: u32 = 0xff53_4d42;
const SMB2: u32 = 0xfe53_4d42;

const NAMES: &[(u32, &str)] = &[
    (0xef53, "ext4"),
    (0x5846_5342, "xfs"),
    (0x9123_683e, "btrfs"),
    (0xf2f5_2010, "f2fs"),
    (0x0102_1994, "tmpfs"),
    (0x8584_58f6, "ramfs"),
    (0x2fc1_2fc1, "zfs"),
    (0xca45_1a4e, "bcachefs"),
    (0x3153_464a, "jfs"),
    (0x5265_4973, "reiserfs"),
    (0x794c_7630, "overlay"),
    (0x4d44, "vfat"),
    (0x2011_bab0, "exfat"),
    (0x7366_746e, "ntfs3"),
    (0x5346_544e, "ntfs"),
    (NFS, "nfs"),
    (CIFS, "cifs"),
    (SMB2, "smb3"),
    (0x517b, "smbfs"),
    (0x0102_1997, "9p"),
    (0x00c3_6400, "ceph"),
    (0x0bd0_0bd0, "lustre"),
    (0x4750_4653, "gpfs"),
    (0x1983_0326, "beegfs"),
    (0x7461_636f, "ocfs2"),
    (0x0116_1970, "gfs2"),
    (0x2003_0528, "orangefs"),
    (0x786f_4256, "vboxsf"),
    (0xbacb_acbc, "vmhgfs"),
    (0x7c7c_6673, "prl_fs"),
    (0x5346_414f, "afs"),
    (0x6b41_4653, "afs"),
    (0x7375_7245, "coda"),
    (FUSE, "fuse"),
];

/// The name that a magic number stands for; for a family that shares one number, that of its usual member.
fn name_of(magic: u32) -> Option<&'static str> {
    NAMES.iter().find(|(number, _)| *number == magic).map(|(_, name)| *name)
}

/// `path` exists and has no symbolic links.
pub(super) fn classify(path: &Path) -> Kind {
    let magic = rustix::fs::statfs(path).ok().map(|found| found.f_type as u32);
    let device = std::fs::symlink_metadata(path).ok().map(|found| found.dev());
    let text = std::fs::read("/proc/self/mountinfo").unwrap_or_default();
    let mounts = mountinfo::parse(&text);
    decide(magic, mountinfo::mount_of(&mounts, path.as_os_str().as_bytes(), device), device)
}

/// Brings the two witnesses together. Whoever lives in a directory of a mount (chroot(2)) is not shown that mount.
fn decide(magic: Option<u32>, mount: Option<&Mount>, device: Option<u64>) -> Kind {
    let by_magic = magic.and_then(name_of);
    let Some(mount) = mount else {
        let name = by_magic.unwrap_or("unknown");
        return match class_of(name, "") {
            // It may be a 9p mount, which shows its server's number.
            Class::Local if !device.is_some_and(is_a_disk) => Kind { name: name.into(), class: Class::Shared },
            class => Kind { name: name.into(), class },
        };
    };
    let of_source = mount.fstype.starts_with("fuse").then(|| class_of_source(&mount.source)).flatten();
    let class = of_source.unwrap_or_else(|| class_of(&mount.fstype, &mount.options));
    if mount.fstype == "9p" {
        // It answers statfs with the type that its server has below (fs/9p/vfs_super.c), so that a disk's means nothing.
        return Kind { name: mount.fstype.clone(), class };
    }
    if class != Class::Local {
        // An unfit or shared name is believed, unless the path is in truth elsewhere (a mount that mountinfo did not show).
        return match by_magic {
            Some(name) if class_of(name, "") == Class::Local => Kind { name: name.into(), class: Class::Shared },
            _ => Kind { name: mount.fstype.clone(), class },
        };
    }
    let fuse_disk = mount.fstype.starts_with("fuseblk") && magic == Some(FUSE);
    match by_magic {
        _ if fuse_disk => Kind { name: mount.fstype.clone(), class },
        Some(name) if class_of(name, "") == Class::Local => Kind { name: mount.fstype.clone(), class },
        Some(name) => Kind { name: name.into(), class: class_of(name, "") },
        None => Kind { name: mount.fstype.clone(), class: Class::Shared },
    }
}

/// Devices found not to be local, plus one (0 = free slot), so that opening a file there does not ask the server again. A
/// device number that is used again for a disk costs time only. Local ones are never remembered.
static NOT_LOCAL: [AtomicU64; 8] = [const { AtomicU64::new(0) }; 8];
static NEXT_SLOT: AtomicUsize = AtomicUsize::new(0);

pub(super) fn is_local(file: &File, path: &Path) -> bool {
    let device = file.metadata().ok().map(|found| found.dev().wrapping_add(1));
    if device.is_some_and(|device| NOT_LOCAL.iter().any(|slot| slot.load(Ordering::Relaxed) == device)) {
        return false;
    }
    let local = match magic_of(file) {
        Some(FUSE) => super::classify(path).is_local(),
        Some(magic) if name_of(magic).is_some_and(|name| class_of(name, "") == Class::Local) => {
            // 9p shows its server's number. A disk needs no second look.
            device.is_some_and(|device| is_a_disk(device.wrapping_sub(1))) || super::classify(path).is_local()
        }
        Some(_) => false,
        None => false,
    };
    if let (false, Some(device)) = (local, device) {
        NOT_LOCAL[NEXT_SLOT.fetch_add(1, Ordering::Relaxed) % NOT_LOCAL.len()].store(device, Ordering::Relaxed);
    }
    local
}

/// Whether that is a device of its own, as a disk is: what comes from a server has none.
fn is_a_disk(device: u64) -> bool {
    rustix::fs::major(device) != 0
}

fn magic_of(file: &File) -> Option<u32> {
    rustix::fs::fstatfs(file).ok().map(|found| found.f_type as u32)
}

#[cfg(test)]
mod tests {
    use super::*;

    const EXT: u32 = 0xef53;

    fn mount(fstype: &str, options: &str) -> Mount {
        Mount { device: 1, point: b"/".to_vec(), fstype: fstype.into(), source: "none".into(), options: options.into() }
    }

    /// On a device that is no disk, so that the two witnesses decide.
    fn decide(magic: Option<u32>, mount: Option<&Mount>) -> Kind {
        super::decide(magic, mount, Some(rustix::fs::makedev(0, 40)))
    }

    #[test]
    fn local_needs_both_witnesses() {
        assert_eq!(decide(Some(EXT), Some(&mount("ext3", "rw"))), Kind { name: "ext3".into(), class: Class::Local });
        assert_eq!(super::decide(Some(EXT), None, Some(rustix::fs::makedev(8, 1))).class, Class::Local);
        assert_eq!(decide(Some(EXT), None).class, Class::Shared);
        assert_eq!(super::decide(Some(EXT), None, None).class, Class::Shared);
        assert_eq!(decide(None, Some(&mount("ext4", "rw"))).class, Class::Shared);
        assert_eq!(decide(Some(NFS), Some(&mount("ext4", "rw"))), Kind { name: "nfs".into(), class: Class::Shared });
        assert_eq!(decide(Some(EXT), Some(&mount("nfs4", "rw"))).class, Class::Shared);
        assert_eq!(decide(Some(FUSE), Some(&mount("tmpfs", "rw"))).class, Class::Shared);
        assert_eq!(decide(None, None), Kind::unknown());
    }

    #[test]
    fn fuse_and_9p_are_told_apart_by_the_mount() {
        assert!(decide(Some(FUSE), Some(&mount("fuseblk", "rw"))).is_local());
        assert!(!decide(Some(EXT), Some(&mount("fuse.sshfs", "rw"))).is_local());
        assert!(matches!(decide(Some(FUSE), Some(&mount("fuse.sshfs", "rw"))).class, Class::Unfit(_)));
        assert!(matches!(decide(Some(0x0102_1997), Some(&mount("9p", "rw,cache=loose"))).class, Class::Unfit(_)));
        assert_eq!(decide(Some(0x0102_1997), Some(&mount("9p", "rw"))).class, Class::Shared);
        assert_eq!(decide(Some(FUSE), None).class, Class::Shared);
        let of = |fstype: &str, source: &str| Mount { source: source.into(), ..mount(fstype, "rw") };
        assert!(matches!(decide(Some(FUSE), Some(&of("fuse", "https://cloud.example.org/"))).class, Class::Unfit(_)));
        assert!(matches!(decide(Some(FUSE), Some(&of("fuse", "mountpoint-s3"))).class, Class::Unfit(_)));
        assert_eq!(decide(Some(NFS), Some(&of("nfs4", "https://no/fuse"))).class, Class::Shared);
        // A 9p mount of a directory on ext4, as Linux 6.1 shows it.
        assert!(matches!(decide(Some(EXT), Some(&mount("9p", "rw,dirsync,loose"))).class, Class::Unfit(_)));
        assert_eq!(decide(Some(EXT), Some(&mount("9p", "rw,sync"))), Kind { name: "9p".into(), class: Class::Shared });
    }
}
