//! One copy of SQLite and the VFS `coord` in it: registered once, never unregistered.
//!
//! The methods never look at the `sqlite3_vfs` they are called with (programs copy our method pointers into a structure of
//! their own): each host has its own instances of them, which find it by its slot.

use std::ffi::{CStr, c_char, c_int, c_void};
use std::sync::OnceLock;

use super::methods;
use crate::host::Api;
use crate::host::api::HOSTS_MAX;
use crate::host::ffi::*;
use crate::switches::{self, Guard};

/// Our name among the VFSes of a host.
pub const NAME: &CStr = c"coord";
/// What `pAppData` of a VFS of ours points to, so that any coord recognises any other.
static MAGIC: &CStr = c"sqlite-coord VFS, protocol sqlite-session-safe.lock.v1";

/// See the module's head.
pub struct HostCopy {
    pub api: &'static Api,
    /// The platform's default VFS, and the same without native locks if there is one.
    native: *mut sqlite3_vfs,
    lockless: *mut sqlite3_vfs,
    vfs: Box<sqlite3_vfs>,
}

// SAFETY: VFS objects are registered for ever and SQLite calls them from all threads.
unsafe impl Send for HostCopy {}
// SAFETY: as above.
unsafe impl Sync for HostCopy {}

static COPIES: [OnceLock<HostCopy>; HOSTS_MAX] = [const { OnceLock::new() }; HOSTS_MAX];

impl HostCopy {
    /// The VFS below, with or without native locks.
    pub fn base(&self, native_locks: bool) -> *mut sqlite3_vfs {
        if native_locks { self.native } else { self.lockless }
    }

    /// The platform VFS's name.
    pub fn base_name(&self) -> &'static str {
        // SAFETY: a registered VFS has a name that stays.
        unsafe { CStr::from_ptr((*self.native).zName) }.to_str().unwrap_or("unknown")
    }

    /// Why network-exclusive mode, which opens files anew, cannot stand on this host's default VFS; none if it can, as on the platform's own.
    /// One put on top of those may keep with a handle what it was told once, as an encrypting one does with its key.
    pub fn loses_state(&self) -> Option<String> {
        let name = self.base_name();
        let own = ["unix", "win32"]
            .iter()
            .any(|own| name.strip_prefix(own).is_some_and(|rest| rest.is_empty() || rest.starts_with('-')));
        (!own && !switches::off(Guard::OwnBase)).then(|| {
            format!(
                "the VFS below coord in this program is {name}, which is not the platform's own: what it keeps with an open file (a \
                 key, say) would be lost where coord opens the file anew. Load coord before that VFS becomes the default, or use \
                 coord_mode=trusted"
            )
        })
    }

    /// Whether this host's native locks are what it says: `unix-dotfile` makes our own lock directory, the others none.
    pub fn has_native_locks(&self) -> bool {
        !matches!(self.base_name(), "unix-dotfile" | "unix-none" | "win32-none")
    }

    fn registered(&self) -> *mut sqlite3_vfs {
        std::ptr::from_ref(&*self.vfs).cast_mut()
    }
}

/// The copy in a slot, if coord is registered there.
pub fn in_slot(slot: usize) -> Option<&'static HostCopy> {
    COPIES.get(slot)?.get()
}

/// Whether a VFS is coord's, this or another.
///
/// # Safety
/// `vfs` is null or a registered VFS.
unsafe fn is_coord(vfs: *const sqlite3_vfs) -> bool {
    // SAFETY: the caller's promise.
    let Some(vfs) = (unsafe { vfs.as_ref() }) else { return false };
    if vfs.pAppData.is_null() || vfs.zName.is_null() {
        return false;
    }
    // SAFETY: a VFS has a name; one named as ours is of our making, and then its data is the magic text.
    unsafe { CStr::from_ptr(vfs.zName) == NAME && CStr::from_ptr(vfs.pAppData.cast::<c_char>()) == MAGIC }
}

/// What registering came to.
pub enum Registered {
    /// It is there now, or was before.
    Here(&'static HostCopy),
    /// Another coord (a second copy of the library) serves this host already.
    Elsewhere,
}

/// Registers the VFS in a host, once. Never takes the default away from whoever has it.
///
/// # Errors
/// A sentence, if the host has no VFS to stand on or does not take ours.
pub fn register(api: &'static Api) -> Result<Registered, String> {
    let slot = api.slot();
    if let Some(copy) = in_slot(slot) {
        if api.vfs_find(Some(NAME)) != copy.registered() {
            // SAFETY: ours, and it lives for ever.
            unsafe { api.vfs_register(copy.registered(), false) };
        }
        return Ok(Registered::Here(copy));
    }
    switches::stop_point("registering");
    let present = api.vfs_find(Some(NAME));
    // SAFETY: found among the registered.
    if unsafe { is_coord(present) } {
        // Ours, if another thread has registered it since we looked: its slot is filled before.
        let ours = in_slot(slot).filter(|copy| copy.registered() == present);
        return Ok(ours.map_or(Registered::Elsewhere, Registered::Here));
    }
    let native = api.vfs_find(None);
    if native.is_null() {
        return Err("coord: this program's SQLite has no VFS that coord could stand on.".to_string());
    }
    // SAFETY: a registered VFS has a name.
    let lockless = match unsafe { CStr::from_ptr((*native).zName) }.to_bytes() {
        b"unix" => api.vfs_find(Some(c"unix-none")),
        b"win32" => api.vfs_find(Some(c"win32-none")),
        _ => native,
    };
    let lockless = if lockless.is_null() { native } else { lockless };
    // SAFETY: a registered VFS is whole.
    let model = unsafe { *native };
    let mut vfs = Box::new(methods::table(slot, &model));
    vfs.zName = NAME.as_ptr();
    vfs.pAppData = MAGIC.as_ptr().cast::<c_void>().cast_mut();
    let copy = COPIES[slot].get_or_init(|| HostCopy { api, native, lockless, vfs });
    // SAFETY: the structure lives for ever in a static.
    match unsafe { api.vfs_register(copy.registered(), false) } {
        SQLITE_OK => Ok(Registered::Here(copy)),
        code => Err(format!("coord: SQLite did not take the VFS (code {code}).")),
    }
}

/// Makes `coord` the default VFS of a host.
///
/// # Errors
/// A sentence.
pub fn make_default(api: &'static Api) -> Result<(), String> {
    let vfs = api.vfs_find(Some(NAME));
    if vfs.is_null() {
        return Err("coord: the VFS is not registered in this SQLite, so it cannot become the default.".to_string());
    }
    // SAFETY: registered, so it lives for ever.
    match unsafe { api.vfs_register(vfs, true) } {
        SQLITE_OK => Ok(()),
        code => Err(format!("coord: SQLite did not make the VFS its default (code {code}).")),
    }
}

/// The name of the VFS that coord forwards to in this host, or would if it were registered.
pub fn base_name(api: &'static Api) -> Option<String> {
    if let Some(copy) = in_slot(api.slot()) {
        return Some(copy.base_name().to_string());
    }
    let vfs = api.vfs_find(None);
    // SAFETY: a registered VFS has a name that stays.
    (!vfs.is_null()).then(|| unsafe { CStr::from_ptr((*vfs).zName) }.to_string_lossy().into_owned())
}

/// Hands the queued sentences to the host's log. Only from a thread that this host has called.
pub fn flush_log(api: &'static Api) {
    for (weight, text) in crate::lock::take_messages() {
        let code: c_int = match weight {
            crate::lock::Weight::Notice => SQLITE_NOTICE,
            crate::lock::Weight::Warning => SQLITE_WARNING,
        };
        crate::guard::guard((), || api.log(code, &text));
    }
}
