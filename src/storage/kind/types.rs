//! The table: a filesystem's type, by name, and what follows from it.

use super::Class;

/// Filesystems that only this host's kernel writes to.
const LOCAL: &[&str] = &[
    "ext2", "ext3", "ext4", "xfs", "btrfs", "f2fs", "tmpfs", "ramfs", "zfs", "bcachefs", "jfs", "reiserfs", "overlay",
    "vfat", "msdos", "exfat", "ntfs", "ntfs3", "fuseblk", "apfs", "hfs", "ufs",
];

/// What is wrong with the known unfit ones. Matched against the type's name with and without `fuse.`.
const UNFIT: &[(&[&str], &str)] = &[
    (
        &["sshfs"],
        "sshfs caches names and contents for seconds and cannot replace a file atomically; mount the directory by NFS \
         instead, or run the program on the host that has the disk",
    ),
    (
        &["s3fs", "rclone", "gcsfuse", "goofys", "mount-s3", "mountpoint-s3", "blobfuse", "blobfuse2"],
        "an object store has no atomic rename or mkdir and keeps whole files in a local cache; keep the database on a disk or \
         NFS and copy it there as a backup",
    ),
    (
        &["davfs", "davfs2"],
        "WebDAV mounts write files back long after they are closed; mount the directory by NFS instead",
    ),
    (
        &["gvfsd-fuse"],
        "the desktop's network folders (gvfs) have no atomic operations to rely on; mount the directory by NFS \
         instead",
    ),
    (
        &["afs", "openafs", "yfs"],
        "AFS writes a file back when it is closed and lets the last writer win; keep the database on NFS or a disk",
    ),
    (
        &["cifs", "smb3", "smb2", "smbfs"],
        "the Linux SMB client opens its files again by their names after the connection or the server was lost, so that late \
         writes of a program whose locks others have taken over can reach the database that they use now; mount the directory by NFS \
         instead",
    ),
    (
        &["vboxsf"],
        "VirtualBox's shared folders give numbers of their own in listings, so that a file that was replaced cannot be told from \
         another; share the directory by NFS or virtiofs instead, or keep the database on the guest's disk",
    ),
    (&["coda"], "Coda goes on while it is cut off and merges afterwards; keep the database on NFS or a disk"),
    (
        &["google-drive-ocamlfuse", "onedriver", "dropboxfs", "dbxfs"],
        "a folder that is synchronised to a cloud is not shared in time: each host works on a copy of its own; keep the \
         database on NFS or a disk",
    ),
];

/// The class of a FUSE filesystem that does not say its type, by what it says is mounted: davfs2 gives the address there, others their
/// own name.
pub(super) fn class_of_source(source: &str) -> Option<Class> {
    let web = source.starts_with("http://") || source.starts_with("https://");
    let class = class_of(&format!("fuse.{}", if web { "davfs" } else { source }), "");
    matches!(class, Class::Unfit(_)).then_some(class)
}

/// The class of a filesystem by its type's name and its superblock options (comma separated, as in mountinfo).
pub(super) fn class_of(name: &str, options: &str) -> Class {
    let bare = name.strip_prefix("fuse.").unwrap_or(name);
    if LOCAL.contains(&name) || name.starts_with("fuseblk.") {
        return Class::Local;
    }
    if let Some((_, reason)) = UNFIT.iter().find(|(names, _)| names.contains(&bare)) {
        return Class::Unfit((*reason).into());
    }
    if name == "9p"
        && let Some(cache) = nine_p_cache(options)
    {
        return Class::Unfit(format!(
            "this 9p mount caches on its own ({cache}), so it does not see what others change; mount it with cache=none"
        ));
    }
    Class::Shared
}

/// The cache option of a 9p mount if it caches anything. Kernels have shown it as a word (`loose`), as `cache=` and a word,
/// and since 6.4 as `cache=` and a hexadecimal set of bits (fs/9p/v9fs.h; 0 is none).
fn nine_p_cache(options: &str) -> Option<&str> {
    options.split(',').find(|option| match option.strip_prefix("cache=") {
        Some("none") => false,
        Some(value) => u64::from_str_radix(value.trim_start_matches("0x"), 16) != Ok(0),
        None => matches!(*option, "loose" | "fscache" | "mmap" | "readahead"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn unfit(name: &str, options: &str) -> bool {
        matches!(class_of(name, options), Class::Unfit(_))
    }

    #[test]
    fn disks_are_local_and_the_network_is_not() {
        for name in ["ext4", "xfs", "tmpfs", "overlay", "fuseblk", "apfs"] {
            assert_eq!(class_of(name, "rw"), Class::Local, "{name}");
        }
        for name in ["nfs", "nfs4", "virtiofs", "ceph", "lustre", "fuse.glusterfs", "vmhgfs"] {
            assert_eq!(class_of(name, "rw"), Class::Shared, "{name}");
        }
    }

    #[test]
    fn what_is_not_known_is_never_local() {
        for name in ["", "fuse", "fuse.", "fuse.something", "ext5", "EXT4", "fuse.ext4", "fuse.tmpfs"] {
            assert_eq!(class_of(name, ""), Class::Shared, "{name}");
        }
    }

    #[test]
    fn caches_without_coherence_are_unfit_and_say_what_to_do() {
        for name in [
            "fuse.sshfs",
            "cifs",
            "smb3",
            "fuse.rclone",
            "fuse.mount-s3",
            "davfs",
            "fuse.davfs",
            "afs",
            "coda",
            "fuse.onedriver",
            "vboxsf",
        ] {
            assert!(unfit(name, ""), "{name}");
        }
        let Class::Unfit(reason) = class_of("fuse.sshfs", "") else { panic!() };
        assert!(reason.contains("NFS"));
    }

    #[test]
    fn what_is_mounted_tells_of_a_type_that_does_not() {
        for source in ["https://cloud.example.org/dav/", "http://host/", "mountpoint-s3", "goofys"] {
            assert!(matches!(class_of_source(source), Some(Class::Unfit(_))), "{source}");
        }
        for source in ["", "/dev/sdb1", "host:/export", "ext4", "httpd", "fuse"] {
            assert_eq!(class_of_source(source), None, "{source}");
        }
    }

    #[test]
    fn nine_p_is_fit_only_without_a_cache() {
        for fit in ["rw,trans=virtio", "rw,cache=none,trans=fd", "rw,cache=0", "", "rw,msize=512000,access=client"] {
            assert_eq!(class_of("9p", fit), Class::Shared, "{fit}");
        }
        for caching in [
            "rw,cache=loose",
            "rw,loose",
            "cache=fscache",
            "rw,mmap,access=client",
            "rw,cache=f",
            "cache=8f",
            "cache=5",
        ] {
            assert!(unfit("9p", caching), "{caching}");
        }
        assert_eq!(class_of("nfs", "loose"), Class::Shared);
    }
}
