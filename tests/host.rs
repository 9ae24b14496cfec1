//! The capture of a host's functions: a real host (rusqlite's bundled SQLite), and tables made up to be old or incomplete.

use std::ffi::{CStr, c_char, c_int};
use std::mem::offset_of;
use std::ptr::null;
use std::sync::atomic::{AtomicPtr, AtomicUsize, Ordering};

use coord::host::ffi::{SQLITE_OK, sqlite3, sqlite3_api_routines};
use coord::host::{Api, capture, in_slot};
use rusqlite::Connection;

/// The table of rusqlite's SQLite, as a loadable extension gets it.
fn real_table() -> *const sqlite3_api_routines {
    static TABLE: AtomicPtr<sqlite3_api_routines> = AtomicPtr::new(std::ptr::null_mut());
    unsafe extern "C" fn entry(
        _: *mut rusqlite::ffi::sqlite3,
        _: *mut *mut c_char,
        table: *const rusqlite::ffi::sqlite3_api_routines,
    ) -> c_int {
        TABLE.store(table.cast_mut().cast(), Ordering::SeqCst);
        SQLITE_OK
    }
    // SAFETY: the entry point is part of this program and lives as long.
    assert_eq!(unsafe { rusqlite::ffi::sqlite3_auto_extension(Some(entry)) }, SQLITE_OK);
    drop(Connection::open_in_memory().unwrap());
    TABLE.load(Ordering::SeqCst)
}

fn real_api() -> &'static Api {
    // SAFETY: a real table.
    unsafe { capture(real_table()) }.unwrap()
}

/// The first `bytes` of the real table, in memory that ends right there, with another version. Leaked, as a real table never gives
/// its address to another one.
struct Fake(&'static mut [usize]);

impl Fake {
    fn new(bytes: usize, version: unsafe extern "C" fn() -> c_int) -> Fake {
        let words = bytes / size_of::<usize>();
        // SAFETY: the real table is at least that long, and made of function pointers.
        let real = unsafe { std::slice::from_raw_parts(real_table().cast::<usize>(), words) };
        let mut fake = Fake(Box::leak(real.into()));
        fake.set(offset_of!(sqlite3_api_routines, libversion_number), version as *const () as usize);
        fake
    }

    fn set(&mut self, offset: usize, address: usize) {
        self.0[offset / size_of::<usize>()] = address;
    }

    fn capture(&self) -> Result<&'static Api, String> {
        // SAFETY: as long as its version says.
        unsafe { capture(self.0.as_ptr().cast()) }
    }
}

unsafe extern "C" fn version_3_25_3() -> c_int {
    3_025_003
}
unsafe extern "C" fn version_3_26_0() -> c_int {
    3_026_000
}
unsafe extern "C" fn version_3_31_1() -> c_int {
    3_031_001
}

#[test]
fn no_table_is_refused() {
    // SAFETY: null is allowed.
    let refusal = unsafe { capture(null()) }.err().unwrap();
    assert!(refusal.contains("load_extension"), "{refusal}");
}

#[test]
fn a_real_host_is_captured_once() {
    let api = real_api();
    assert_eq!(api.version_number(), rusqlite::version_number());
    assert_eq!(api.version_text(), rusqlite::version());
    assert!(api.threadsafe());
    assert!(std::ptr::eq(api, real_api()));
    assert!(std::ptr::eq(api, in_slot(api.slot()).unwrap()));
    let threads: Vec<_> = (0..4).map(|_| std::thread::spawn(|| std::ptr::from_ref(real_api()).addr())).collect();
    for thread in threads {
        assert_eq!(thread.join().unwrap(), std::ptr::from_ref(api).addr());
    }
}

/// An old host is told apart before anything else of its (shorter) table is read: here the table ends right behind the version.
#[test]
fn an_old_host_is_refused() {
    let bytes = offset_of!(sqlite3_api_routines, libversion_number) + size_of::<usize>();
    let refusal = Fake::new(bytes, version_3_25_3).capture().err().unwrap();
    assert!(refusal.contains("3.25.3") && refusal.contains("3.26.0"), "{refusal}");
}

#[test]
fn a_host_without_a_needed_function_is_refused() {
    let mut fake = Fake::new(offset_of!(sqlite3_api_routines, stmt_isexplain), version_3_26_0);
    fake.set(offset_of!(sqlite3_api_routines, vfs_find), 0);
    let refusal = fake.capture().err().unwrap();
    assert!(refusal.contains("sqlite3_vfs_find()"), "{refusal}");
}

/// What a host of that version does not have is `None`, although the real library behind the fake would have it.
#[test]
fn later_functions_belong_to_later_hosts() {
    let oldest = Fake::new(offset_of!(sqlite3_api_routines, stmt_isexplain), version_3_26_0);
    let middle = Fake::new(offset_of!(sqlite3_api_routines, create_filename), version_3_31_1);
    let api = oldest.capture().unwrap();
    assert!(std::ptr::eq(api, oldest.capture().unwrap()));
    assert!(!std::ptr::eq(api, real_api()));
    assert!(api.create_filename(c"/a", c"/a-journal", c"/a-wal").is_none());
    assert!(middle.capture().unwrap().create_filename(c"/a", c"/a-journal", c"/a-wal").is_none());

    let name = real_api().create_filename(c"/a", c"/a-journal", c"/a-wal").unwrap();
    // SAFETY: a name in the host's layout, alive until it is freed at the end.
    unsafe {
        assert!(api.filename_journal(name).is_none());
        for api in [middle.capture().unwrap(), real_api()] {
            let journal = api.filename_journal(name).unwrap();
            assert_eq!(CStr::from_ptr(journal), c"/a-journal");
            assert_eq!(CStr::from_ptr(api.filename_wal(name).unwrap()), c"/a-wal");
            assert_eq!(api.filename_database(journal), Some(name));
        }
        real_api().free_filename(name);
    }
}

/// SQLite finds its way in a name of ours: from the path to a journal and a WAL, both empty, and back.
#[test]
fn own_names_work_in_the_host() {
    let (api, name) = (real_api(), coord::host::OwnedName::new(c"/a/b.db"));
    // SAFETY: a name in the host's layout.
    unsafe {
        let journal = api.filename_journal(name.as_ptr()).unwrap();
        assert_eq!(CStr::from_ptr(journal), c"");
        assert_eq!(CStr::from_ptr(api.filename_wal(name.as_ptr()).unwrap()), c"");
        assert_eq!(api.filename_database(name.as_ptr()), Some(name.as_ptr()));
    }
}

static CALLED: AtomicUsize = AtomicUsize::new(0);

#[test]
fn texts_and_connections() {
    let api = real_api();
    let text = api.alloc_text("ein Satz: ü");
    // SAFETY: a C text from the host's allocator, not used after it is freed.
    unsafe {
        assert_eq!(CStr::from_ptr(text).to_str(), Ok("ein Satz: ü"));
        api.free(text.cast());
        api.free(std::ptr::null_mut());
    }
    api.log(27, "100 %s and a \0 in the middle"); // No log is set up; must not read a second argument either.

    let base = api.vfs_find(None);
    assert!(!base.is_null() && api.vfs_find(Some(c"no such vfs")).is_null());

    unsafe extern "C" fn entry(_: *mut sqlite3, _: *mut *mut c_char, _: *const sqlite3_api_routines) -> c_int {
        CALLED.fetch_add(1, Ordering::SeqCst);
        SQLITE_OK
    }
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().canonicalize().unwrap().join("a.db");
    // SAFETY: the entry point is part of this program; the connection is open while it is asked.
    unsafe {
        assert_eq!(api.auto_extension(entry), SQLITE_OK);
        let connection = Connection::open(&path).unwrap();
        assert!(CALLED.load(Ordering::SeqCst) >= 1);
        assert!(api.cancel_auto_extension(entry) && !api.cancel_auto_extension(entry));

        let db: *mut sqlite3 = connection.handle().cast();
        assert_eq!(api.db_filename(db, c"main").unwrap().to_str().unwrap(), path.to_str().unwrap());
        assert!(api.db_filename(db, c"temp").is_none() && api.db_filename(db, c"nothing").is_none());
        let mut vfs = std::ptr::null_mut::<coord::host::ffi::sqlite3_vfs>();
        let argument = (&raw mut vfs).cast();
        assert_eq!(api.file_control(db, None, coord::host::ffi::SQLITE_FCNTL_VFS_POINTER, argument), SQLITE_OK);
        assert_eq!(vfs, base);
        assert!(!api.is_interrupted(db));
    }
}
