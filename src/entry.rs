//! The C entry points, by the names that SQLite derives from the library's file name and a few more. Every panic stops here.
//!
//! No exported function is called from inside: the dynamic linker could lead such a call to a second copy of the library.

use std::ffi::{CStr, c_char, c_int, c_void};
use std::sync::atomic::{AtomicBool, Ordering};

use crate::host::ffi::*;
use crate::host::{self, Api};
use crate::storage::liveness;
use crate::vfs::{self, Registered};
use crate::{lock, sql};

/// What an entry point is to do beyond registering.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Wanted {
    Plain,
    Default,
    /// Called by SQLite for each new connection.
    Auto,
}

impl Wanted {
    /// The entry point that does it.
    fn exported(self) -> &'static CStr {
        match self {
            Wanted::Plain => c"sqlite3_coord_init",
            Wanted::Default => c"sqlite3_coord_default_init",
            Wanted::Auto => c"sqlite3_coord_auto_init",
        }
    }
}

/// Registers the VFS `coord` and the SQL functions, on this and on every later connection. With `COORD_DEFAULT=1` in the
/// environment the VFS becomes the default too.
///
/// # Safety
/// Called by SQLite as an extension's entry point.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sqlite3_coord_init(
    db: *mut sqlite3,
    message: *mut *mut c_char,
    table: *const sqlite3_api_routines,
) -> c_int {
    // SAFETY: the caller's promise.
    unsafe { enter(db, message, table, Wanted::Plain) }
}

/// As `sqlite3_coord_init`, for a library named `sqlite_coord.so`.
///
/// # Safety
/// As [`sqlite3_coord_init`].
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sqlite3_sqlitecoord_init(
    db: *mut sqlite3,
    message: *mut *mut c_char,
    table: *const sqlite3_api_routines,
) -> c_int {
    // SAFETY: the caller's promise.
    unsafe { enter(db, message, table, Wanted::Plain) }
}

/// As `sqlite3_coord_init`, and `coord` becomes the default VFS: for programs that cannot say `vfs=coord`.
///
/// # Safety
/// As [`sqlite3_coord_init`].
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sqlite3_coord_default_init(
    db: *mut sqlite3,
    message: *mut *mut c_char,
    table: *const sqlite3_api_routines,
) -> c_int {
    // SAFETY: the caller's promise.
    unsafe { enter(db, message, table, Wanted::Default) }
}

/// The entry point for `sqlite3_auto_extension()`, which wants `SQLITE_OK`. Fails the opening of a database that coord
/// refuses, which is the only way in which a sentence reaches `sqlite3_errmsg()`.
///
/// # Safety
/// As [`sqlite3_coord_init`].
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sqlite3_coord_auto_init(
    db: *mut sqlite3,
    message: *mut *mut c_char,
    table: *const sqlite3_api_routines,
) -> c_int {
    // SAFETY: the caller's promise.
    unsafe { enter(db, message, table, Wanted::Auto) }
}

unsafe fn enter(
    db: *mut sqlite3,
    message: *mut *mut c_char,
    table: *const sqlite3_api_routines,
    wanted: Wanted,
) -> c_int {
    crate::guard::on_panic(|sentence| lock::say(lock::Weight::Warning, sentence));
    // SAFETY: the caller's promise.
    let done = crate::guard::caught(|| unsafe { start(db, message, table, wanted) });
    match done.and_then(|result| result) {
        Ok(code) => code,
        Err(sentence) => {
            // SAFETY: the caller's promise.
            unsafe { say(message, table, &sentence) };
            SQLITE_ERROR
        }
    }
}

/// Puts a sentence where SQLite expects an entry point's message. Also for a host that is too old for everything else.
unsafe fn say(message: *mut *mut c_char, table: *const sqlite3_api_routines, sentence: &str) {
    if message.is_null() || table.is_null() {
        return;
    }
    // SAFETY: `malloc` and `mprintf` have had their places in the table since there were loadable extensions.
    let Some(malloc) = (unsafe { (*table).malloc }) else { return };
    let bytes: Vec<u8> = sentence.bytes().filter(|byte| *byte != 0).collect();
    // SAFETY: room for the text and its end is asked for and filled.
    unsafe {
        let copy = malloc(c_int::try_from(bytes.len() + 1).unwrap_or(0)).cast::<u8>();
        if !copy.is_null() {
            copy.copy_from_nonoverlapping(bytes.as_ptr(), bytes.len());
            copy.add(bytes.len()).write(0);
            *message = copy.cast();
        }
    }
}

unsafe fn start(
    db: *mut sqlite3,
    message: *mut *mut c_char,
    table: *const sqlite3_api_routines,
    wanted: Wanted,
) -> Result<c_int, String> {
    if let Some(first) = first_copy(wanted) {
        // The same library from a second path: the first one serves this host too, so that there is one lock manager.
        // SAFETY: an entry point by its name, with the arguments of one.
        return Ok(unsafe { first(db, message, table) });
    }
    let by_default = wanted == Wanted::Default || (wanted == Wanted::Plain && default_by_environment()?);
    // SAFETY: the caller's promise.
    let api = unsafe { host::capture(table) }?;
    let registered = vfs::register(api)?;
    if let Registered::Elsewhere = registered {
        return Err("coord: another copy of coord serves this program already; load only one of them".to_string());
    }
    stay_loaded();
    static LOOKED: AtomicBool = AtomicBool::new(false);
    if let Some(sentence) = (!LOOKED.swap(true, Ordering::Relaxed)).then(liveness::complaint).flatten() {
        lock::say(lock::Weight::Warning, sentence);
    }
    // By its exported name, so that a program which has asked for it already is not given it twice.
    // SAFETY: the function stays, as the library is never unloaded.
    unsafe { api.auto_extension(sqlite3_coord_auto_init) };
    if !db.is_null() {
        // SAFETY: the connection that SQLite calls us for.
        unsafe { sql::register(api, db) }?;
    }
    if by_default {
        vfs::make_default(api)?;
    }
    // SAFETY: as above.
    let complaint = unsafe { look_at(api, db, wanted) };
    vfs::flush_log(api);
    match complaint {
        Some(sentence) => Err(sentence),
        None if wanted == Wanted::Auto => Ok(SQLITE_OK),
        None => Ok(SQLITE_OK_LOAD_PERMANENTLY),
    }
}

/// `COORD_DEFAULT`: a mistyped one would lead past coord without a word.
fn default_by_environment() -> Result<bool, String> {
    match std::env::var_os("COORD_DEFAULT") {
        None => Ok(false),
        Some(value) if value.is_empty() || value == "0" => Ok(false),
        Some(value) if value == "1" => Ok(true),
        Some(value) => Err(format!("coord: the environment variable COORD_DEFAULT is {value:?}; it takes 0 or 1")),
    }
}

/// What is to be said of the connection itself: that coord refuses its database, or that it is not on coord.
unsafe fn look_at(api: &'static Api, db: *mut sqlite3, wanted: Wanted) -> Option<String> {
    if db.is_null() {
        return None;
    }
    if wanted != Wanted::Auto {
        // SAFETY: the connection that SQLite calls us for.
        if let Some(path) = unsafe { api.db_filename(db, c"main") } {
            let mut name: *mut c_char = std::ptr::null_mut();
            // SAFETY: this operation gives a text that is ours to free.
            let vfs = unsafe {
                api.file_control(db, None, SQLITE_FCNTL_VFSNAME, (&raw mut name).cast::<c_void>());
                let text =
                    if name.is_null() { String::new() } else { CStr::from_ptr(name).to_string_lossy().into_owned() };
                api.free(name.cast());
                text
            };
            if !vfs.starts_with("coord") {
                lock::say(
                    lock::Weight::Warning,
                    format!(
                        "coord: {} was opened before coord was loaded, so it goes past coord (VFS {vfs}); open it anew with \
                         vfs=coord",
                        path.to_string_lossy()
                    ),
                );
            }
        }
        return None;
    }
    let mut text: *mut c_char = std::ptr::null_mut();
    // SAFETY: an operation of ours; other VFSes do not know it and leave the place alone.
    let code = unsafe { api.file_control(db, None, vfs::FCNTL_REFUSAL, (&raw mut text).cast::<c_void>()) };
    if code != SQLITE_OK || text.is_null() {
        return None;
    }
    // SAFETY: our own C text, in memory of the host's.
    unsafe {
        let sentence = CStr::from_ptr(text).to_string_lossy().into_owned();
        api.free(text.cast());
        Some(sentence)
    }
}

/// The host keeps pointers to our code for ever, whatever becomes of the connection that loaded us.
fn stay_loaded() {
    static DONE: std::sync::Once = std::sync::Once::new();
    DONE.call_once(|| {
        // SAFETY: fills a structure of ours; the name in it belongs to the loader.
        unsafe {
            let mut info: libc::Dl_info = std::mem::zeroed();
            if libc::dladdr(stay_loaded as *const c_void, &mut info) != 0 && !info.dli_fname.is_null() {
                libc::dlopen(info.dli_fname, libc::RTLD_LAZY | libc::RTLD_NOLOAD | libc::RTLD_NODELETE);
            }
        }
    });
}

/// The entry point for the same purpose of another copy of this library that was loaded before, if there is one. SQLite loads
/// extensions with global symbols, so the first is found by its exported name.
fn first_copy(wanted: Wanted) -> Option<EntryPoint> {
    let base_of = |address: *const c_void| {
        // SAFETY: fills a structure of ours.
        unsafe {
            let mut info: libc::Dl_info = std::mem::zeroed();
            (libc::dladdr(address, &mut info) != 0).then_some(info.dli_fbase.addr())
        }
    };
    // SAFETY: a constant name.
    let found = unsafe { libc::dlsym(libc::RTLD_DEFAULT, wanted.exported().as_ptr()) };
    if found.is_null() || base_of(found) == base_of(first_copy as *const c_void) {
        return None;
    }
    // SAFETY: a function of that name is an entry point of coord's.
    Some(unsafe { std::mem::transmute::<*mut c_void, EntryPoint>(found) })
}
