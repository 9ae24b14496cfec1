//! The host's functions, as captured from the table that it hands to an entry point.
//!
//! A process can hold several copies of SQLite. Each has a table of its own, and an object made by one copy must only ever
//! be given to functions of that copy: so there is one [`Api`] for each table, and it is passed along, never kept in a global.
//!
//! Where the host calls us with nothing that leads to an [`Api`] (an SQL function, whose data is only to be had by the host's own
//! `sqlite3_user_data`; a VFS method, whose `sqlite3_vfs` may be a stranger's), the function itself must know the host: make
//! it generic over [`Api::slot`], one instance for each of [`HOSTS_MAX`], and begin it with [`in_slot`].
//!
//! It is one long file so that the host's table stays private to it, and nothing else calls through that table unchecked.

use std::ffi::{CStr, CString, c_char, c_int, c_void};
use std::mem::{MaybeUninit, offset_of, size_of, transmute};
use std::ptr::{copy_nonoverlapping, null, null_mut};
use std::sync::OnceLock;

use super::ffi::*;
use crate::storage::liveness::ForkMutex;

/// The oldest host that coord serves: the SQLite of RHEL 8.
pub const OLDEST_VERSION: i32 = 3_026_000;

/// `SQLITE_DIRECTONLY`, `SQLITE_INNOCUOUS` and their likes for virtual tables are known from here on.
const TRUST_MARKS_SINCE: i32 = 3_031_000;

/// One host copy's functions. Lives for ever; [`capture`] gives the same one for the same table.
pub struct Api {
    slot: usize,
    /// Where the host's table is; only compared.
    address: usize,
    version: i32,
    /// Our copy of that table, as far as the host's version has it; all beyond is `None`.
    table: sqlite3_api_routines,
}

/// How many copies of SQLite in one process coord can serve.
pub const HOSTS_MAX: usize = 16;

/// The copies seen so far, from the front.
static HOSTS: [OnceLock<Api>; HOSTS_MAX] = [const { OnceLock::new() }; HOSTS_MAX];

/// Held while a host is added, so that each is added once.
static ADDING: ForkMutex<()> = ForkMutex::new((), before_fork, after_fork);

extern "C" fn before_fork() {
    ADDING.hold();
}

extern "C" fn after_fork() {
    ADDING.release();
}

/// The host with that [`Api::slot`]. No lock, no I/O.
pub fn in_slot(slot: usize) -> Option<&'static Api> {
    HOSTS.get(slot)?.get()
}

/// Takes in the table that a host has handed to an entry point.
///
/// # Errors
/// A sentence for the user, if there is no table, the host is older than [`OLDEST_VERSION`], it was built without a function
/// that coord needs, or is one copy too many.
///
/// # Safety
/// `raw` is null or a table of SQLite's, true to what its `libversion_number` says.
pub unsafe fn capture(raw: *const sqlite3_api_routines) -> Result<&'static Api, String> {
    if raw.is_null() {
        return Err("coord: was started without SQLite's table of functions. It must be loaded by SQLite: with \
                    sqlite3_load_extension(), the SQL function load_extension(), or .load in the sqlite3 shell."
            .to_owned());
    }
    // SAFETY: the field has been at this place since before there were loadable extensions; no other part is touched.
    let Some(libversion_number) = (unsafe { (*raw).libversion_number }) else {
        return Err("coord: this program's SQLite does not tell its version, so coord cannot use it.".to_owned());
    };
    // SAFETY: a function of the host without arguments or conditions.
    let version = unsafe { libversion_number() };
    if version < OLDEST_VERSION {
        return Err(format!(
            "coord: this program runs SQLite {}, and coord needs {} or newer. Run it with a newer SQLite library, or use \
             another client for this database.",
            dotted(version),
            dotted(OLDEST_VERSION)
        ));
    }

    let adding = ADDING.lock();
    let known = HOSTS.iter().map_while(OnceLock::get);
    if let Some(api) = known.clone().find(|api| api.address == raw.addr() && api.version == version) {
        return Ok(api);
    }
    let slot = known.count();
    let Some(place) = HOSTS.get(slot) else {
        return Err(format!(
            "coord: there are more than {HOSTS_MAX} copies of SQLite in this process, too many for coord."
        ));
    };
    let mut table = MaybeUninit::<sqlite3_api_routines>::zeroed();
    // SAFETY: a host of this version has a table of at least that many bytes, ours has room for them, they do not overlap.
    unsafe { copy_nonoverlapping(raw.cast::<u8>(), table.as_mut_ptr().cast::<u8>(), known_bytes(version)) };
    // SAFETY: every field is an optional function, for which zero is a value; the rest was copied from such a table.
    let table = unsafe { table.assume_init() };
    if let Some(name) = missing(&table) {
        return Err(format!(
            "coord: this program's SQLite {} was built without sqlite3_{name}(), which coord needs.",
            dotted(version)
        ));
    }
    let api = place.get_or_init(|| Api { slot, address: raw.addr(), version, table });
    drop(adding);
    Ok(api)
}

/// How much of a host's table may be read, going by the fields that we use.
fn known_bytes(version: i32) -> usize {
    match version {
        3_041_000.. => size_of::<sqlite3_api_routines>(),
        3_032_000.. => offset_of!(sqlite3_api_routines, txn_state),
        3_031_000.. => offset_of!(sqlite3_api_routines, create_filename),
        _ => offset_of!(sqlite3_api_routines, stmt_isexplain),
    }
}

/// `3026000` as people write it.
fn dotted(version: i32) -> String {
    format!("{}.{}.{}", version / 1_000_000, version / 1000 % 1000, version % 1000)
}

/// Declares which functions must be there, and a way to call each without asking again.
macro_rules! needed {
    ($($name:ident)+) => {
        /// The first needed function that the host lacks.
        fn missing(table: &sqlite3_api_routines) -> Option<&'static str> {
            $(if table.$name.is_none() { return Some(stringify!($name)); })+
            None
        }
    };
}

needed! {
    auto_extension cancel_auto_extension context_db_handle create_function_v2 create_module_v2 db_filename declare_vtab
    file_control free libversion log malloc64 result_error result_error_code result_int64 result_null result_text64
    uri_boolean user_data value_bytes value_int64 value_text value_type vfs_find vfs_register vtab_config xthreadsafe
}

/// Calls a function that [`missing`] has looked at.
macro_rules! call {
    ($api:ident . $name:ident ( $($argument:expr),* )) => {
        ($api.table.$name.expect("capture() has checked it"))($($argument),*)
    };
}

/// # About the host
impl Api {
    /// The host's `sqlite3_libversion_number()`, such as `3026000`.
    pub fn version_number(&self) -> i32 {
        self.version
    }

    /// The host's `sqlite3_libversion()`, such as `3.26.0`.
    pub fn version_text(&self) -> &'static str {
        // SAFETY: takes nothing, and gives a constant text of the host library, which stays for as long as it is loaded.
        let text = unsafe { CStr::from_ptr(call!(self.libversion())) };
        text.to_str().unwrap_or("unknown")
    }

    /// Whether the host was compiled to be used by more than one thread at all. In builds with debug assertions
    /// `COORD_TEST_THREADSAFE=0` says that it was not.
    pub fn threadsafe(&self) -> bool {
        if cfg!(debug_assertions) && std::env::var_os("COORD_TEST_THREADSAFE").is_some_and(|value| value == "0") {
            return false;
        }
        // SAFETY: takes nothing and has no conditions.
        unsafe { call!(self.xthreadsafe()) != 0 }
    }

    /// Which of the hosts of this process this is, from 0 below [`HOSTS_MAX`]; see [`in_slot`].
    pub fn slot(&self) -> usize {
        self.slot
    }

    /// Where the host's table is: tells host copies apart.
    pub fn address(&self) -> usize {
        self.address
    }

    /// `flags` without those that this host does not know (an old one would take them for something else).
    fn known_flags(&self, flags: c_int) -> c_int {
        if self.version >= TRUST_MARKS_SINCE { flags } else { flags & !(SQLITE_DIRECTONLY | SQLITE_INNOCUOUS) }
    }
}

/// # VFS and files
impl Api {
    /// Whether a database's URI says yes to `key`, as this host itself reads it: versions differ.
    ///
    /// # Safety
    /// `name` is a main database's name as the host has handed it to `xOpen`.
    pub unsafe fn uri_says(&self, name: *const c_char, key: &CStr) -> bool {
        // SAFETY: the caller's promise.
        unsafe { call!(self.uri_boolean(name, key.as_ptr(), 0)) != 0 }
    }

    /// The VFS of that name, or the default VFS; null if there is none.
    pub fn vfs_find(&self, name: Option<&CStr>) -> *mut sqlite3_vfs {
        // SAFETY: null or a C text that outlives the call.
        unsafe { call!(self.vfs_find(name.map_or(null(), CStr::as_ptr))) }
    }

    /// Makes a VFS known to the host. **With `make_default` false, a VFS that is the default stops being it.**
    ///
    /// # Safety
    /// `vfs` is a whole `sqlite3_vfs` that never moves and lives for as long as the host does.
    pub unsafe fn vfs_register(&self, vfs: *mut sqlite3_vfs, make_default: bool) -> c_int {
        // SAFETY: the caller's promise.
        unsafe { call!(self.vfs_register(vfs, c_int::from(make_default))) }
    }

    /// `sqlite3_file_control()` on one database of a connection: `name` as in ATTACH, `None` for the main one.
    ///
    /// # Safety
    /// `db` is an open connection of this host; `argument` is what `operation` asks for.
    pub unsafe fn file_control(
        &self,
        db: *mut sqlite3,
        name: Option<&CStr>,
        operation: c_int,
        argument: *mut c_void,
    ) -> c_int {
        // SAFETY: the caller's promise; the name outlives the call.
        unsafe { call!(self.file_control(db, name.map_or(null(), CStr::as_ptr), operation, argument)) }
    }

    /// The full path of one database of a connection (`c"main"` or as in ATTACH); `None` for one without a file.
    ///
    /// # Safety
    /// `db` is an open connection of this host, and the answer is not used after that database is closed or detached.
    pub unsafe fn db_filename<'a>(&self, db: *mut sqlite3, name: &CStr) -> Option<&'a CStr> {
        // SAFETY: the caller's promise; the name outlives the call.
        let path = unsafe { call!(self.db_filename(db, name.as_ptr())) };
        // SAFETY: a C text that stays until the database is closed; its owner promises not to use it longer.
        (!path.is_null()).then(|| unsafe { CStr::from_ptr(path) }).filter(|path| !path.is_empty())
    }

    /// The database's name, from any of the names that the host gives to `xOpen` (since 3.31; `None` before).
    ///
    /// # Safety
    /// `name` came from this host as the name of a database, journal or WAL, and is still alive.
    pub unsafe fn filename_database(&self, name: *const c_char) -> Option<*const c_char> {
        // SAFETY: the caller's promise.
        self.table.filename_database.map(|function| unsafe { function(name) })
    }

    /// As [`Api::filename_database`], the journal's name.
    ///
    /// # Safety
    /// As [`Api::filename_database`].
    pub unsafe fn filename_journal(&self, name: *const c_char) -> Option<*const c_char> {
        // SAFETY: the caller's promise.
        self.table.filename_journal.map(|function| unsafe { function(name) })
    }

    /// As [`Api::filename_database`], the WAL's name.
    ///
    /// # Safety
    /// As [`Api::filename_database`].
    pub unsafe fn filename_wal(&self, name: *const c_char) -> Option<*const c_char> {
        // SAFETY: the caller's promise.
        self.table.filename_wal.map(|function| unsafe { function(name) })
    }

    /// The open file of the database that a journal or WAL belongs to (since 3.32; `None` before).
    ///
    /// # Safety
    /// `name` was given by this host's pager to `xOpen` and that pager is still open. A name made by anybody else, such as
    /// [`Api::create_filename`] or [`OwnedName`](super::OwnedName), has no such file before it.
    pub unsafe fn database_file_object(&self, name: *const c_char) -> Option<*mut sqlite3_file> {
        // SAFETY: the caller's promise.
        self.table.database_file_object.map(|function| unsafe { function(name) })
    }

    /// A name with journal and WAL in the host's own layout, without parameters (since 3.32; `None` before or when out of
    /// memory). To be given back to [`Api::free_filename`].
    pub fn create_filename(&self, database: &CStr, journal: &CStr, wal: &CStr) -> Option<*const c_char> {
        let function = self.table.create_filename?;
        // SAFETY: three C texts that outlive the call, and no parameters.
        let name = unsafe { function(database.as_ptr(), journal.as_ptr(), wal.as_ptr(), 0, null_mut()) };
        (!name.is_null()).then_some(name)
    }

    /// Frees a name from [`Api::create_filename`].
    ///
    /// # Safety
    /// `name` came from that function of the same host and is not used again.
    pub unsafe fn free_filename(&self, name: *const c_char) {
        if let Some(function) = self.table.free_filename {
            // SAFETY: the caller's promise.
            unsafe { function(name) }
        }
    }
}

/// # Messages and memory
impl Api {
    /// Says something to the host's log (`SQLITE_CONFIG_LOG`), if the program has set one up. It runs the program's own code:
    /// only to be called from a thread that SQLite has called us on.
    pub fn log(&self, code: c_int, message: &str) {
        let message = c_text(message);
        // SAFETY: the format asks for one C text, which is given and outlives the call.
        unsafe { call!(self.log(code, c"%s".as_ptr(), message.as_ptr())) }
    }

    /// A copy of `text` that the host will free (an error message, a pragma's answer); null when out of memory.
    pub fn alloc_text(&self, text: &str) -> *mut c_char {
        // SAFETY: any size may be asked for.
        let copy = unsafe { call!(self.malloc64(text.len() as u64 + 1)) }.cast::<c_char>();
        if !copy.is_null() {
            // SAFETY: there is room for the text and its end, in memory that nobody else knows of yet.
            unsafe {
                copy_nonoverlapping(text.as_ptr().cast::<c_char>(), copy, text.len());
                copy.add(text.len()).write(0);
            }
        }
        copy
    }

    /// Frees memory that the host has allocated; nothing for null.
    ///
    /// # Safety
    /// `memory` is null or came from this host's allocator, and is not used again.
    pub unsafe fn free(&self, memory: *mut c_void) {
        // SAFETY: the caller's promise.
        unsafe { call!(self.free(memory)) }
    }
}

/// # Connections
impl Api {
    /// Has `entry` called for each connection that is opened from now on. Asked twice for the same one, it is called once.
    ///
    /// # Safety
    /// `entry` stays loaded for as long as the host does.
    pub unsafe fn auto_extension(&self, entry: EntryPoint) -> c_int {
        // SAFETY: the host calls it back with the arguments of an entry point, whatever the declared type says.
        unsafe { call!(self.auto_extension(Some(transmute::<EntryPoint, Unused>(entry)))) }
    }

    /// Takes back [`Api::auto_extension`]; true if there was something to take back.
    pub fn cancel_auto_extension(&self, entry: EntryPoint) -> bool {
        // SAFETY: the function is only compared.
        unsafe { call!(self.cancel_auto_extension(Some(transmute::<EntryPoint, Unused>(entry)))) != 0 }
    }

    /// Whether `sqlite3_interrupt()` is in effect; always false on hosts before 3.41, which cannot tell.
    ///
    /// # Safety
    /// `db` is an open connection of this host.
    pub unsafe fn is_interrupted(&self, db: *mut sqlite3) -> bool {
        // SAFETY: the caller's promise.
        self.table.is_interrupted.is_some_and(|function| unsafe { function(db) } != 0)
    }

    /// Defines an SQL function on one connection. Of `flags`, those that this host does not know are left out. If the host
    /// refuses, it has already called `destroy`.
    ///
    /// # Safety
    /// `db` is an open connection of this host; `function` and `destroy` can deal with `user_data`, which lives until
    /// `destroy` is called with it.
    #[allow(clippy::too_many_arguments)] // Those of sqlite3_create_function_v2().
    pub unsafe fn create_function(
        &self,
        db: *mut sqlite3,
        name: &CStr,
        arguments: c_int,
        flags: c_int,
        user_data: *mut c_void,
        function: ScalarFunction,
        destroy: Option<unsafe extern "C" fn(*mut c_void)>,
    ) -> c_int {
        let flags = self.known_flags(SQLITE_UTF8 | flags);
        // SAFETY: the caller's promise; the name outlives the call.
        unsafe {
            call!(self.create_function_v2(
                db,
                name.as_ptr(),
                arguments,
                flags,
                user_data,
                Some(function),
                None,
                None,
                destroy
            ))
        }
    }

    /// Defines a kind of virtual table on one connection. If the host refuses, it has already called `destroy`.
    ///
    /// # Safety
    /// `db` is an open connection of this host; the module's functions can deal with `user_data`, which lives until `destroy` is
    /// called with it.
    pub unsafe fn create_module(
        &self,
        db: *mut sqlite3,
        name: &CStr,
        module: &'static sqlite3_module,
        user_data: *mut c_void,
        destroy: Option<unsafe extern "C" fn(*mut c_void)>,
    ) -> c_int {
        // SAFETY: the caller's promise; the module lives for ever.
        unsafe { call!(self.create_module_v2(db, name.as_ptr(), module, user_data, destroy)) }
    }

    /// Tells the host the columns of a virtual table, as a CREATE TABLE.
    ///
    /// # Safety
    /// Called from `xConnect` or `xCreate`, with the connection given there.
    pub unsafe fn declare_vtab(&self, db: *mut sqlite3, sql: &CStr) -> c_int {
        // SAFETY: the caller's promise.
        unsafe { call!(self.declare_vtab(db, sql.as_ptr())) }
    }

    /// Forbids the use of a virtual table from views and triggers of a database; hosts before 3.31 cannot, which is no error.
    ///
    /// # Safety
    /// Called from `xConnect` or `xCreate`, with the connection given there.
    pub unsafe fn vtab_direct_only(&self, db: *mut sqlite3) -> c_int {
        if self.version < TRUST_MARKS_SINCE {
            return SQLITE_OK;
        }
        // SAFETY: the caller's promise; this operation takes no argument.
        unsafe { call!(self.vtab_config(db, SQLITE_VTAB_DIRECTONLY)) }
    }
}

/// # Arguments and results of SQL functions
///
/// Each takes a context or value that the host has handed to the running function, and no other.
impl Api {
    /// Answers with a number.
    ///
    /// # Safety
    /// `context` is that of the running function.
    pub unsafe fn result_int64(&self, context: *mut sqlite3_context, value: i64) {
        // SAFETY: the caller's promise.
        unsafe { call!(self.result_int64(context, value)) }
    }

    /// Answers with a text, which the host copies. Too long a one becomes the host's own error.
    ///
    /// # Safety
    /// `context` is that of the running function.
    pub unsafe fn result_text(&self, context: *mut sqlite3_context, text: &str) {
        let (start, length) = (text.as_ptr().cast::<c_char>(), text.len() as u64);
        // SAFETY: the caller's promise; the text is as long as said, UTF-8, and copied before the call returns.
        unsafe { call!(self.result_text64(context, start, length, SQLITE_TRANSIENT, SQLITE_UTF8 as u8)) }
    }

    /// Answers with NULL.
    ///
    /// # Safety
    /// `context` is that of the running function.
    pub unsafe fn result_null(&self, context: *mut sqlite3_context) {
        // SAFETY: the caller's promise.
        unsafe { call!(self.result_null(context)) }
    }

    /// Fails the statement with a sentence, and the code `SQLITE_ERROR`.
    ///
    /// # Safety
    /// `context` is that of the running function.
    pub unsafe fn result_error(&self, context: *mut sqlite3_context, message: &str) {
        let message = c_text(message);
        // SAFETY: the caller's promise; a C text, copied before the call returns.
        unsafe { call!(self.result_error(context, message.as_ptr(), -1)) }
    }

    /// Fails the statement with another code; after [`Api::result_error`], keeps its sentence.
    ///
    /// # Safety
    /// `context` is that of the running function.
    pub unsafe fn result_error_code(&self, context: *mut sqlite3_context, code: c_int) {
        // SAFETY: the caller's promise.
        unsafe { call!(self.result_error_code(context, code)) }
    }

    /// An argument as text, converted if it is another type; `None` for NULL (or when out of memory).
    ///
    /// # Safety
    /// `value` is an argument of the running function.
    pub unsafe fn value_text(&self, value: *mut sqlite3_value) -> Option<Vec<u8>> {
        // SAFETY: the caller's promise.
        let text = unsafe { call!(self.value_text(value)) };
        if text.is_null() {
            return None;
        }
        // SAFETY: as above. Asked after the text, it is the length of that text.
        let length = unsafe { call!(self.value_bytes(value)) };
        // SAFETY: the text stays as it is until the next conversion of this value, and is copied at once.
        Some(unsafe { std::slice::from_raw_parts(text, usize::try_from(length).unwrap_or(0)) }.to_vec())
    }

    /// An argument as a number, by SQLite's rules of conversion.
    ///
    /// # Safety
    /// `value` is an argument of the running function.
    pub unsafe fn value_int64(&self, value: *mut sqlite3_value) -> i64 {
        // SAFETY: the caller's promise.
        unsafe { call!(self.value_int64(value)) }
    }

    /// What type an argument has: one of `SQLITE_INTEGER`, `_FLOAT`, `_TEXT`, `_BLOB`, `_NULL`.
    ///
    /// # Safety
    /// `value` is an argument of the running function.
    pub unsafe fn value_type(&self, value: *mut sqlite3_value) -> c_int {
        // SAFETY: the caller's promise.
        unsafe { call!(self.value_type(value)) }
    }

    /// What was given as `user_data` when the running function was defined.
    ///
    /// # Safety
    /// `context` is that of the running function.
    pub unsafe fn user_data(&self, context: *mut sqlite3_context) -> *mut c_void {
        // SAFETY: the caller's promise.
        unsafe { call!(self.user_data(context)) }
    }

    /// The connection that the running function is called on.
    ///
    /// # Safety
    /// `context` is that of the running function.
    pub unsafe fn context_db_handle(&self, context: *mut sqlite3_context) -> *mut sqlite3 {
        // SAFETY: the caller's promise.
        unsafe { call!(self.context_db_handle(context)) }
    }
}

/// `text` for C, up to its first NUL if it has one.
fn c_text(text: &str) -> CString {
    CString::new(text.split('\0').next().unwrap_or_default()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A thread has it locked at the fork, and the child has no such thread.
    #[test]
    fn no_child_waits_for_a_thread_of_its_parents() {
        let test = "host::api::tests::no_child_waits_for_a_thread_of_its_parents";
        let hold = |locked: &dyn Fn()| {
            let _adding = ADDING.lock();
            locked();
        };
        assert!(crate::storage::liveness::child_gets(test, hold, || drop(ADDING.lock())));
    }
}
