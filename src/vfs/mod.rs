//! The shim between SQLite and its platform's VFS.

use std::ffi::CStr;

use crate::host::Api;

// SEAM: the two functions that src/sql calls. Bodies to be replaced when the shim exists.

/// Makes the VFS `coord` of this host its default.
///
/// # Errors
/// A sentence, if that is not possible.
pub fn make_default(api: &'static Api) -> Result<(), String> {
    let _ = api;
    Err("coord: the VFS is not registered in this SQLite, so it cannot become the default.".to_owned())
}

/// The name of the VFS that coord forwards to in this host.
pub fn base_name(api: &'static Api) -> Option<String> {
    let vfs = api.vfs_find(None);
    // SAFETY: a VFS that is registered is whole, and has a name that is a C text.
    (!vfs.is_null()).then(|| unsafe { CStr::from_ptr((*vfs).zName) }.to_string_lossy().into_owned())
}
