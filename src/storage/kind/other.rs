//! macOS and other Unix: `statfs` tells the type's name itself.

use std::ffi::CStr;
use std::fs::File;
use std::mem::MaybeUninit;
use std::os::fd::AsRawFd;
use std::path::Path;

use super::Kind;
use super::types::class_of;

pub(super) fn classify(path: &Path) -> Kind {
    match File::open(path) {
        Ok(file) => kind_of(&file),
        Err(_) => Kind::unknown(),
    }
}

pub(super) fn is_local(file: &File, _path: &Path) -> bool {
    kind_of(file).is_local()
}

fn kind_of(file: &File) -> Kind {
    let mut found = MaybeUninit::<libc::statfs>::zeroed();
    // SAFETY: the descriptor is open and `found` has room for one struct statfs.
    if unsafe { libc::fstatfs(file.as_raw_fd(), found.as_mut_ptr()) } != 0 {
        return Kind::unknown();
    }
    // SAFETY: all zeroes is a valid statfs, and the call has succeeded.
    let found = unsafe { found.assume_init() };
    // SAFETY: the kernel ends the name with a NUL within the array, and zeroes follow in any case.
    let name = unsafe { CStr::from_ptr(found.f_fstypename.as_ptr()) }.to_string_lossy().into_owned();
    let name = match name.as_str() {
        "msdos" | "msdosfs" => "vfat".into(),
        "webdav" => "davfs".into(),
        _ => name,
    };
    let class = class_of(&name, "");
    Kind { name, class }
}
