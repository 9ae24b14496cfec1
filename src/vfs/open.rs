//! `xOpen`: what is ours, what goes straight to the platform's VFS, and what is refused.

use std::ffi::{CStr, OsStr, c_char, c_int};
use std::io::ErrorKind;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use super::base::BaseFile;
use super::connections::{self, Part};
use super::database_file::DatabaseFile;
use super::host_copy::{HostCopy, flush_log};
use super::io_methods::{self, SHIM_BYTES};
use super::journal_file::JournalFile;
use super::refusals;
use super::trusted_journal::TrustedJournal;
use crate::host::ffi::*;
use crate::host::{self};
use crate::lock::{self, Base, Level, Mode, Wishes};
use crate::switches::{self, Guard};

/// Opens what is ours. `None`: the platform's VFS opens it, in SQLite's own block.
///
/// # Safety
/// The arguments of `xOpen`.
pub unsafe fn open(
    copy: &'static HostCopy,
    name: *const c_char,
    file: *mut sqlite3_file,
    flags: c_int,
    out_flags: *mut c_int,
) -> Option<c_int> {
    if name.is_null() {
        return None;
    }
    // SAFETY: the caller's promise, throughout.
    unsafe {
        if flags & SQLITE_OPEN_MAIN_DB != 0 {
            return open_database(copy, name, file, flags, out_flags);
        }
        if flags & SQLITE_OPEN_SUPER_JOURNAL != 0 && flags & SQLITE_OPEN_CREATE != 0 {
            return refuse_super_journal(CStr::from_ptr(name));
        }
        match connections::owner(name)? {
            (owner, Part::Journal) if flags & SQLITE_OPEN_MAIN_JOURNAL != 0 => {
                open_journal(copy, owner, name, file, flags, out_flags)
            }
            (owner, Part::Wal) => Some((*owner).refuse_wal()),
            _ => None,
        }
    }
}

/// A super-journal is made for a commit over several files, under the name of the main one. Where that is written in
/// network-exclusive mode the commit is refused in any case, and the file would stay.
fn refuse_super_journal(name: &CStr) -> Option<c_int> {
    const INFIX: &[u8] = b"-mj";
    let name = name.to_bytes();
    let main = &name[..name.windows(INFIX.len()).rposition(|window| window == INFIX)?];
    if !connections::is_written(main) || switches::off(Guard::SuperTail) {
        return None;
    }
    lock::say(lock::Weight::Warning, refusals::several_files(Path::new(OsStr::from_bytes(main))));
    Some(SQLITE_ERROR)
}

unsafe fn open_journal(
    copy: &'static HostCopy,
    pointer: *mut DatabaseFile,
    name: *const c_char,
    file: *mut sqlite3_file,
    flags: c_int,
    out_flags: *mut c_int,
) -> Option<c_int> {
    // SAFETY: the connection that the calling thread runs.
    let owner = unsafe { &mut *pointer };
    if let Err(text) = lock::check(owner.seat.fork()) {
        return Some(owner.fail(SQLITE_CANTOPEN, text));
    }
    let for_writing = flags & SQLITE_OPEN_READWRITE != 0;
    // With `nolock` SQLite asks for no lock that would be refused, and would write its journal over somebody else's.
    let refusal = match &owner.refusal {
        None if for_writing && owner.seat.level() < Level::Reserved => Some(refusals::nolock(&owner.paths().database)),
        refusal => refusal.clone(),
    };
    if let Some(text) = refusal.filter(|_| !switches::off(Guard::Refused)) {
        return Some(owner.fail(SQLITE_CANTOPEN, text));
    }
    if owner.database.mode() == Mode::Trusted {
        let kept = flags & SQLITE_OPEN_CREATE != 0 && owner.journal_is_kept();
        if kept {
            // Where it might have to be made the platform's VFS would sync the directory with it.
            // SAFETY: SQLite's own arguments.
            let opened = unsafe { open_trusted(copy, pointer, name, file, flags & !SQLITE_OPEN_CREATE) };
            if opened.is_ok() {
                // SAFETY: SQLite's place for the flags.
                unsafe { tell(out_flags, flags) };
                return Some(SQLITE_OK);
            }
            // Gone after all; or no longer its own.
            // SAFETY: as above.
            let code = unsafe { (*pointer).still_trusted(SQLITE_CANTOPEN) };
            if code != SQLITE_OK {
                return Some(code);
            }
        }
        if flags & SQLITE_OPEN_READWRITE == 0 {
            return None;
        }
        // SAFETY: SQLite's own arguments.
        return Some(match unsafe { open_trusted(copy, pointer, name, file, flags) } {
            Ok(told) => {
                // SAFETY: as above.
                unsafe { tell(out_flags, told) };
                SQLITE_OK
            }
            Err(code) => code,
        });
    }
    // SAFETY: as above.
    Some(match unsafe { JournalFile::open(pointer, flags) } {
        Ok(journal) => {
            // SAFETY: SQLite's block and place for the flags.
            unsafe {
                io_methods::place_journal(file, journal);
                tell(out_flags, flags);
            }
            SQLITE_OK
        }
        Err(code) => code,
    })
}

/// Opens a journal in trusted mode, to be written; gives the flags that it was opened with. It must be this connection's own: looked
/// for once it is open, as whoever has put another one under its name since then has made the registry before.
unsafe fn open_trusted(
    copy: &'static HostCopy,
    pointer: *mut DatabaseFile,
    name: *const c_char,
    file: *mut sqlite3_file,
    flags: c_int,
) -> Result<c_int, c_int> {
    // SAFETY: a registered VFS, and SQLite's own name, which outlives the journal.
    let (journal, told) = unsafe { BaseFile::open(copy.base(true), name, flags) }?;
    // SAFETY: the connection that the calling thread runs.
    match unsafe { (*pointer).still_trusted(SQLITE_CANTOPEN) } {
        SQLITE_OK => {
            // SAFETY: SQLite's block, and as above.
            unsafe { io_methods::place_trusted_journal(file, TrustedJournal::new(pointer, journal)) };
            Ok(told)
        }
        code => Err(code),
    }
}

unsafe fn open_database(
    copy: &'static HostCopy,
    name: *const c_char,
    file: *mut sqlite3_file,
    flags: c_int,
    out_flags: *mut c_int,
) -> Option<c_int> {
    // SAFETY: a main database's name, in SQLite's layout.
    let (path, parameters) = unsafe { (CStr::from_ptr(name), host::uri_parameters(name)) };
    let path = Path::new(OsStr::from_bytes(path.to_bytes()));
    // Before 3.39 SQLite leaves symbolic links in the middle of a path. Locks lie in the directory itself, which is synced too, and
    // is one also before it has the file.
    let resolved = lock::in_real_directory(path);
    let path = resolved.as_deref().unwrap_or(path);
    // SAFETY: SQLite's own name.
    let is_set = |key: &CStr| unsafe { copy.api.uri_says(name, key) };
    if is_set(c"immutable") {
        // Nobody writes it, SQLite asks for no lock: there is nothing to coordinate.
        return None;
    }
    let environment = |key: &str| std::env::var_os(key).map(|value| value.to_string_lossy().into_owned());
    let wishes = match parameters {
        Some(parameters) => Wishes::read(&parameters, environment)
            .map_err(|wrong| format!("coord: {} is not opened: {wrong}", path.display())),
        None => Err(refusals::too_much(path)),
    };
    let refusal = match &wishes {
        Err(text) => Some(text.clone()),
        Ok(_) if is_set(c"nolock") => Some(refusals::nolock(path)),
        Ok(_) => refusals::before_opening(path),
    };
    let attached = match (refusal, wishes) {
        (None, Ok(wishes)) => {
            let attached = lock::attach(path, &wishes).map(|database| (database, wishes));
            attached.and_then(|attached| match copy.loses_state() {
                Some(why) if attached.0.mode() == Mode::NetworkExclusive => {
                    Err(format!("coord: {}: {why}", path.display()))
                }
                _ => Ok(attached),
            })
        }
        (Some(text), _) | (None, Err(text)) => Err(text),
    };
    let (database, wishes, refusal) = match attached {
        Ok((database, mut wishes)) => {
            // There the service thread closes what SQLite has opened, which only a SQLite with mutexes bears.
            wishes.unlock_asap |= database.holds_names() && !copy.api.threadsafe();
            (database, wishes, None)
        }
        // Opened all the same, so that the sentence can reach the user; nothing can be done with it.
        Err(text) => (lock::detached(path), Wishes::default(), Some(text)),
    };
    let mut opened = Box::new(DatabaseFile::new(copy, name, flags, database, wishes));
    opened.refusal = refusal;
    let code = first_handle(&mut opened, flags);
    if code != SQLITE_OK {
        let text = opened.refusal.clone().unwrap_or_else(|| cannot_open(&opened.paths().database, code));
        opened.say(text);
        opened.close();
        return Some(code);
    }
    opened.opened();
    if opened.refusal.is_none() {
        opened.refusal = refusals::after_opening(copy, &opened);
        if opened.database.mode() == Mode::NetworkExclusive && opened.database.holds_names() {
            // It has shown what the file is, and stands in the way of others from now on.
            opened.handles.close();
        }
    }
    if let Some(text) = opened.refusal.clone() {
        opened.say(text);
    }
    // SAFETY: SQLite's block is of the size that our VFS says, which is the base's: see the check.
    unsafe {
        let fits = usize::try_from((*copy.base(true)).szOsFile).is_ok_and(|size| size >= SHIM_BYTES);
        if !fits {
            opened.close();
            return Some(SQLITE_CANTOPEN);
        }
        tell(out_flags, opened.handles.told);
        io_methods::place_database(file, opened);
    }
    flush_log(copy.api);
    Some(SQLITE_OK)
}

/// Why it could not be opened, which the platform's VFS does not say. It is not opened for that: closing it would drop the native locks that other
/// connections of this process have on it.
fn cannot_open(path: &Path, code: c_int) -> String {
    use rustix::fs::{Access, access};
    let why = match path.metadata() {
        Err(error) => error.to_string(),
        Ok(found) if found.is_dir() => "it is a directory".to_string(),
        Ok(_) => match access(path, Access::READ_OK) {
            Err(error) => std::io::Error::from(error).to_string(),
            Ok(()) => format!("SQLite's VFS reports code {code}"),
        },
    };
    format!("coord: {} cannot be opened: {why}", path.display())
}

/// The handle a connection starts with. In network-exclusive mode it never makes a database that has a registry: one that is
/// missing is just being replaced, or is made under the lock.
fn first_handle(opened: &mut DatabaseFile, flags: c_int) -> c_int {
    let network = opened.database.mode() == Mode::NetworkExclusive;
    if opened.refusal.is_some() {
        // Only for the header that SQLite reads at once. Nothing is made.
        let reading =
            (flags & !(SQLITE_OPEN_CREATE | SQLITE_OPEN_READWRITE | SQLITE_OPEN_EXCLUSIVE)) | SQLITE_OPEN_READONLY;
        // A FIFO or a device is not even opened: that may wait for ever.
        if opened.paths().database.metadata().is_ok_and(|found| found.is_file()) {
            // With native locks: closing a descriptor that `unix` does not know of would drop those of the whole process.
            let _ = opened.handles.open_first(true, reading);
        }
        opened.handles.told = flags;
        return SQLITE_OK;
    }
    let storage = lock::storage();
    let registered = match storage.attributes(&opened.paths().registry) {
        // What could not be looked at may be there, with the database just being replaced.
        Err(error) => error.kind() != ErrorKind::NotFound && !switches::off(Guard::RegistryUnsure),
        Ok(_) => true,
    };
    let registered = network && registered;
    let first = if registered { flags & !(SQLITE_OPEN_CREATE | SQLITE_OPEN_EXCLUSIVE) } else { flags };
    let mut open = || opened.handles.open_first(!network, first).err();
    let Some(mut code) = open() else { return SQLITE_OK };
    if registered {
        switches::stop_point("database-missing");
        if storage.attributes(&opened.database.paths().database).is_err() {
            return SQLITE_OK;
        }
        if !switches::off(Guard::OpenAgain) {
            // Perhaps it was made in between.
            code = open().unwrap_or(SQLITE_OK);
        }
    }
    code
}

unsafe fn tell(out_flags: *mut c_int, flags: c_int) {
    if !out_flags.is_null() {
        // SAFETY: SQLite's place for the answer.
        unsafe { *out_flags = flags };
    }
}
