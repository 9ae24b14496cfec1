//! The tables of file methods that SQLite calls, and the way from its files to ours. Version 1: no shared memory, so no WAL,
//! and no mapping.

use std::ffi::{c_int, c_void};

use super::connections;
use super::database_file::DatabaseFile;
use super::journal_file::JournalFile;
use super::trusted_journal::TrustedJournal;
use crate::guard::guard;
use crate::host::ffi::*;

/// What SQLite's block of `szOsFile` bytes holds for our files: the head that every file has, and a pointer.
#[repr(C)]
struct Shim {
    head: sqlite3_file,
    inner: *mut c_void,
}

/// Bytes that a VFS's files must have for ours to fit.
pub const SHIM_BYTES: usize = size_of::<Shim>();

/// Puts a database into SQLite's block.
///
/// # Safety
/// `file` points to at least [`SHIM_BYTES`] bytes.
pub unsafe fn place_database(file: *mut sqlite3_file, database: Box<DatabaseFile>) {
    let name = database.name();
    let writing = database.writing.clone();
    let inner = Box::into_raw(database);
    // SAFETY: SQLite's name of the database, which it keeps while that is open.
    unsafe { connections::add(name, inner, writing) };
    // SAFETY: the caller's promise.
    unsafe { place(file, &DATABASE, inner.cast()) };
}

/// Puts a journal into SQLite's block.
///
/// # Safety
/// As [`place_database`].
pub unsafe fn place_journal(file: *mut sqlite3_file, journal: JournalFile) {
    // SAFETY: the caller's promise.
    unsafe { place(file, &JOURNAL, Box::into_raw(Box::new(journal)).cast()) };
}

/// Puts a journal of trusted mode into SQLite's block.
///
/// # Safety
/// As [`place_database`].
pub unsafe fn place_trusted_journal(file: *mut sqlite3_file, journal: TrustedJournal) {
    // SAFETY: the caller's promise.
    unsafe { place(file, &TRUSTED_JOURNAL, Box::into_raw(Box::new(journal)).cast()) };
}

unsafe fn place(file: *mut sqlite3_file, methods: &'static sqlite3_io_methods, inner: *mut c_void) {
    let shim = file.cast::<Shim>();
    // SAFETY: the caller's promise.
    unsafe {
        (*shim).inner = inner;
        (*shim).head.pMethods = methods;
    }
}

/// What a block of ours holds.
///
/// # Safety
/// `file` was filled by [`place`] with a `T`, and SQLite calls a file's methods from one thread at a time.
unsafe fn inner<'a, T>(file: *mut sqlite3_file) -> &'a mut T {
    // SAFETY: the caller's promise.
    unsafe { &mut *(*file.cast::<Shim>()).inner.cast::<T>() }
}

/// One method: finds our file, catches panics.
macro_rules! methods {
    ($($name:ident ( $file:ident : $kind:ty $(, $argument:ident : $type:ty)* ) else $fallback:expr => $body:expr;)+) => {
        $(unsafe extern "C" fn $name(file: *mut sqlite3_file $(, $argument: $type)*) -> c_int {
            // SAFETY: SQLite calls the methods of a table with the files that we gave that table.
            guard($fallback, || unsafe {
                let $file: &mut $kind = inner(file);
                $body
            })
        })+
    };
}

/// What SQLite wants written.
///
/// # Safety
/// `data` leads to `amount` bytes.
unsafe fn bytes<'a>(data: *const c_void, amount: c_int) -> &'a [u8] {
    // SAFETY: the caller's promise.
    unsafe { std::slice::from_raw_parts(data.cast(), usize::try_from(amount).unwrap_or(0)) }
}

methods! {
    database_read(it: DatabaseFile, to: *mut c_void, amount: c_int, at: i64) else SQLITE_IOERR_READ => it.read(to, amount, at);
    database_write(it: DatabaseFile, from: *const c_void, amount: c_int, at: i64) else SQLITE_IOERR_WRITE
        => it.write(bytes(from, amount), at);
    database_truncate(it: DatabaseFile, size: i64) else SQLITE_IOERR_TRUNCATE => it.truncate(size);
    database_sync(it: DatabaseFile, flags: c_int) else SQLITE_IOERR_FSYNC => it.sync(flags);
    database_size(it: DatabaseFile, out: *mut i64) else SQLITE_IOERR_FSTAT => it.size(&mut *out);
    database_lock(it: DatabaseFile, level: c_int) else SQLITE_IOERR_LOCK => it.lock(level);
    database_unlock(it: DatabaseFile, level: c_int) else SQLITE_OK => it.unlock(level);
    database_check_reserved(it: DatabaseFile, out: *mut c_int) else SQLITE_IOERR_CHECKRESERVEDLOCK
        => it.check_reserved(&mut *out);
    database_control(it: DatabaseFile, operation: c_int, argument: *mut c_void) else SQLITE_IOERR
        => it.control(operation, argument);
    database_sector_size(it: DatabaseFile) else 4096 => it.sector_size();
    database_characteristics(it: DatabaseFile) else 0 => it.characteristics();

    journal_read(it: JournalFile, to: *mut c_void, amount: c_int, at: i64) else SQLITE_IOERR_READ => it.read(to, amount, at);
    journal_write(it: JournalFile, from: *const c_void, amount: c_int, at: i64) else SQLITE_IOERR_WRITE
        => it.write(bytes(from, amount), at);
    journal_truncate(it: JournalFile, size: i64) else SQLITE_IOERR_TRUNCATE => it.truncate(size);
    journal_sync(it: JournalFile, _flags: c_int) else SQLITE_IOERR_FSYNC => it.sync();
    journal_size(it: JournalFile, out: *mut i64) else SQLITE_IOERR_FSTAT => it.size(&mut *out);
    journal_sector_size(it: JournalFile) else 4096 => it.sector_size();
    journal_characteristics(it: JournalFile) else 0 => it.characteristics();

    trusted_read(it: TrustedJournal, to: *mut c_void, amount: c_int, at: i64) else SQLITE_IOERR_READ => it.read(to, amount, at);
    trusted_write(it: TrustedJournal, from: *const c_void, amount: c_int, at: i64) else SQLITE_IOERR_WRITE
        => it.write(bytes(from, amount), at);
    trusted_truncate(it: TrustedJournal, size: i64) else SQLITE_IOERR_TRUNCATE => it.truncate(size);
    trusted_sync(it: TrustedJournal, flags: c_int) else SQLITE_IOERR_FSYNC => it.sync(flags);
    trusted_size(it: TrustedJournal, out: *mut i64) else SQLITE_IOERR_FSTAT => it.size(&mut *out);
    trusted_control(it: TrustedJournal, operation: c_int, argument: *mut c_void) else SQLITE_IOERR
        => it.control(operation, argument);
    trusted_sector_size(it: TrustedJournal) else 4096 => it.sector_size();
    trusted_characteristics(it: TrustedJournal) else 0 => it.characteristics();
}

unsafe extern "C" fn database_close(file: *mut sqlite3_file) -> c_int {
    guard(SQLITE_IOERR_CLOSE, || {
        // SAFETY: filled by `place_database`; SQLite closes a file once.
        let database = unsafe { Box::from_raw((*file.cast::<Shim>()).inner.cast::<DatabaseFile>()) };
        connections::remove(database.name());
        database.close()
    })
}

/// Of either kind of journal. The handle that network-exclusive mode keeps is the database's and stays.
unsafe extern "C" fn journal_close<T>(file: *mut sqlite3_file) -> c_int {
    // SAFETY: filled by `place_journal` or its like with a `T`; SQLite closes a file once.
    guard((), || drop(unsafe { Box::from_raw((*file.cast::<Shim>()).inner.cast::<T>()) }));
    SQLITE_OK
}

unsafe extern "C" fn no_lock(_: *mut sqlite3_file, _: c_int) -> c_int {
    SQLITE_OK
}

unsafe extern "C" fn no_reserved(_: *mut sqlite3_file, out: *mut c_int) -> c_int {
    // SAFETY: SQLite's place for the answer.
    unsafe { *out = 0 };
    SQLITE_OK
}

unsafe extern "C" fn no_control(_: *mut sqlite3_file, _: c_int, _: *mut c_void) -> c_int {
    SQLITE_NOTFOUND
}

static DATABASE: sqlite3_io_methods = sqlite3_io_methods {
    iVersion: 1,
    xClose: Some(database_close),
    xRead: Some(database_read),
    xWrite: Some(database_write),
    xTruncate: Some(database_truncate),
    xSync: Some(database_sync),
    xFileSize: Some(database_size),
    xLock: Some(database_lock),
    xUnlock: Some(database_unlock),
    xCheckReservedLock: Some(database_check_reserved),
    xFileControl: Some(database_control),
    xSectorSize: Some(database_sector_size),
    xDeviceCharacteristics: Some(database_characteristics),
    xShmMap: None,
    xShmLock: None,
    xShmBarrier: None,
    xShmUnmap: None,
    xFetch: None,
    xUnfetch: None,
};

static JOURNAL: sqlite3_io_methods = sqlite3_io_methods {
    xClose: Some(journal_close::<JournalFile>),
    xRead: Some(journal_read),
    xWrite: Some(journal_write),
    xTruncate: Some(journal_truncate),
    xSync: Some(journal_sync),
    xFileSize: Some(journal_size),
    xLock: Some(no_lock),
    xUnlock: Some(no_lock),
    xCheckReservedLock: Some(no_reserved),
    xFileControl: Some(no_control),
    xSectorSize: Some(journal_sector_size),
    xDeviceCharacteristics: Some(journal_characteristics),
    ..DATABASE
};

static TRUSTED_JOURNAL: sqlite3_io_methods = sqlite3_io_methods {
    xClose: Some(journal_close::<TrustedJournal>),
    xRead: Some(trusted_read),
    xWrite: Some(trusted_write),
    xTruncate: Some(trusted_truncate),
    xSync: Some(trusted_sync),
    xFileSize: Some(trusted_size),
    xFileControl: Some(trusted_control),
    xSectorSize: Some(trusted_sector_size),
    xDeviceCharacteristics: Some(trusted_characteristics),
    ..JOURNAL
};
