//! What the stepped system calls do, as far as failing one has to know it.

use super::stepper::Call;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sort {
    /// Makes, moves or removes a name.
    Name,
    /// Changes data or makes them durable.
    Data,
    /// Only looks, opens or locks.
    Look,
    /// Gives a descriptor up: this happens whatever is answered.
    Close,
    /// Memory, threads, time: nothing that a filesystem could fail.
    Other,
}

/// Name and sort of a system call.
pub fn describe(call: &Call) -> (&'static str, Sort) {
    let creates = |flags: u64| {
        if flags & (libc::O_CREAT | libc::O_TRUNC) as u64 != 0 {
            ("open(create)", Sort::Name)
        } else {
            ("open", Sort::Look)
        }
    };
    #[cfg(target_arch = "x86_64")]
    match call.number {
        libc::SYS_open => return creates(call.args[1]),
        libc::SYS_rename => return ("rename", Sort::Name),
        libc::SYS_mkdir => return ("mkdir", Sort::Name),
        libc::SYS_rmdir => return ("rmdir", Sort::Name),
        libc::SYS_unlink => return ("unlink", Sort::Name),
        libc::SYS_stat | libc::SYS_lstat => return ("stat", Sort::Look),
        libc::SYS_access => return ("access", Sort::Look),
        libc::SYS_readlink => return ("readlink", Sort::Look),
        libc::SYS_chmod | libc::SYS_chown => return ("chmod", Sort::Data),
        _ => {}
    }
    match call.number {
        libc::SYS_openat => creates(call.args[2]),
        libc::SYS_renameat | libc::SYS_renameat2 => ("rename", Sort::Name),
        libc::SYS_mkdirat => ("mkdir", Sort::Name),
        libc::SYS_unlinkat if call.args[2] & libc::AT_REMOVEDIR as u64 != 0 => ("rmdir", Sort::Name),
        libc::SYS_unlinkat => ("unlink", Sort::Name),
        libc::SYS_write | libc::SYS_pwrite64 => ("write", Sort::Data),
        libc::SYS_ftruncate => ("ftruncate", Sort::Data),
        libc::SYS_fsync => ("fsync", Sort::Data),
        libc::SYS_fdatasync => ("fdatasync", Sort::Data),
        libc::SYS_copy_file_range => ("copy_file_range", Sort::Data),
        libc::SYS_fchmod | libc::SYS_fchmodat => ("fchmod", Sort::Data),
        libc::SYS_fchown | libc::SYS_fchownat => ("fchown", Sort::Data),
        libc::SYS_ioctl => ("ioctl", Sort::Look),
        libc::SYS_read | libc::SYS_pread64 => ("read", Sort::Look),
        libc::SYS_lseek => ("lseek", Sort::Look),
        libc::SYS_fstat | libc::SYS_newfstatat | libc::SYS_statx => ("stat", Sort::Look),
        libc::SYS_fstatfs | libc::SYS_statfs => ("statfs", Sort::Look),
        libc::SYS_getdents64 => ("getdents64", Sort::Look),
        libc::SYS_fcntl => ("fcntl", Sort::Look),
        libc::SYS_flock => ("flock", Sort::Look),
        libc::SYS_fadvise64 => ("fadvise64", Sort::Look),
        libc::SYS_faccessat | libc::SYS_faccessat2 => ("access", Sort::Look),
        libc::SYS_readlinkat => ("readlink", Sort::Look),
        libc::SYS_close => ("close", Sort::Close),
        _ => ("other", Sort::Other),
    }
}

/// The path that a rename leads to: its address in the caller.
pub fn rename_target(call: &Call) -> Option<u64> {
    #[cfg(target_arch = "x86_64")]
    if call.number == libc::SYS_rename {
        return Some(call.args[1]);
    }
    matches!(call.number, libc::SYS_renameat | libc::SYS_renameat2).then_some(call.args[3])
}
