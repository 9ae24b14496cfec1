//! Connections without SQLite: databases opened through the VFS `coord` by calling its methods directly.

use rusqlite::ffi::*;
use std::ffi::{CString, c_char, c_int, c_void};
use std::path::{Path, PathBuf};
use std::sync::Once;
use std::sync::atomic::{AtomicBool, Ordering};

/// Our VFS, registered once in the SQLite of this program.
pub fn vfs() -> *mut sqlite3_vfs {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let hook = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |panic| {
            PANICKED.store(true, Ordering::SeqCst);
            hook(panic);
        }));
        // SAFETY: the entry point has the signature of one; the two sides only name its pointers differently.
        unsafe {
            let entry = std::mem::transmute::<*const (), rusqlite::auto_extension::RawAutoExtension>(
                coord::entry::sqlite3_coord_auto_init as *const (),
            );
            rusqlite::auto_extension::register_auto_extension(entry).expect("an auto extension");
        }
        drop(rusqlite::Connection::open_in_memory().expect("memory"));
    });
    // SAFETY: a constant name.
    let vfs = unsafe { sqlite3_vfs_find(c"coord".as_ptr()) };
    assert!(!vfs.is_null());
    vfs
}

/// Whether anything has panicked, also where the panic was caught.
pub static PANICKED: AtomicBool = AtomicBool::new(false);

/// An open file of the VFS.
pub struct File(Box<[u64]>);

/// Calls a method of an open file.
macro_rules! call {
    ($file:expr, $method:ident $(, $argument:expr)*) => {
        // SAFETY: open, and the arguments are of the kind that the method takes.
        unsafe { (*(*$file.head()).pMethods).$method.expect("all of version 1 are there")($file.head() $(, $argument)*) }
    };
}

impl File {
    fn open(name: *const c_char, flags: c_int) -> Result<File, c_int> {
        let vfs = vfs();
        // SAFETY: a registered VFS; the block is as large as it asks.
        unsafe {
            let mut file = File(vec![0; (*vfs).szOsFile as usize / 8 + 1].into_boxed_slice());
            let mut out = 0;
            let code = (*vfs).xOpen.expect("xOpen")(vfs, name, file.head(), flags, &mut out);
            let open = !(*file.head()).pMethods.is_null();
            if code == SQLITE_OK {
                assert!(open, "opened without methods");
                return Ok(file);
            }
            if open {
                file.close();
            }
            Err(code)
        }
    }

    pub fn head(&mut self) -> *mut sqlite3_file {
        self.0.as_mut_ptr().cast()
    }

    pub fn lock(&mut self, level: c_int) -> c_int {
        call!(self, xLock, level)
    }
    pub fn unlock(&mut self, level: c_int) -> c_int {
        call!(self, xUnlock, level)
    }
    pub fn read(&mut self, to: &mut [u8], at: i64) -> c_int {
        call!(self, xRead, to.as_mut_ptr().cast(), to.len() as c_int, at)
    }
    pub fn write(&mut self, from: &[u8], at: i64) -> c_int {
        call!(self, xWrite, from.as_ptr().cast(), from.len() as c_int, at)
    }
    pub fn truncate(&mut self, to: i64) -> c_int {
        call!(self, xTruncate, to)
    }
    pub fn sync(&mut self, flags: c_int) -> c_int {
        call!(self, xSync, flags)
    }
    pub fn size(&mut self) -> (c_int, i64) {
        let mut size = 0;
        (call!(self, xFileSize, &mut size), size)
    }
    pub fn reserved(&mut self) -> c_int {
        let mut out = 0;
        call!(self, xCheckReservedLock, &mut out);
        out
    }
    /// # Safety
    /// `argument` is what the operation takes.
    pub unsafe fn control(&mut self, operation: c_int, argument: *mut c_void) -> c_int {
        call!(self, xFileControl, operation, argument)
    }
    pub fn level(&mut self) -> c_int {
        let mut level: c_int = -1;
        // SAFETY: takes the address of an int.
        unsafe { self.control(SQLITE_FCNTL_LOCKSTATE, (&raw mut level).cast()) };
        level
    }
    pub fn close(mut self) {
        call!(self, xClose);
    }
}

/// One connection's database, and its journal while it is open.
pub struct Connection {
    name: *const c_char,
    pub database: File,
    pub journal: Option<File>,
}

impl Connection {
    pub fn open(path: &Path, parameters: &[(&str, &str)], flags: c_int) -> Result<Connection, c_int> {
        let text = |suffix: &str| CString::new(format!("{}{suffix}", path.display())).expect("no zero in it");
        let parameters: Vec<CString> = parameters
            .iter()
            .flat_map(|(key, value)| [*key, *value])
            .map(|text| CString::new(text).expect("a text"))
            .collect();
        let mut pointers: Vec<*const c_char> = parameters.iter().map(|text| text.as_ptr()).collect();
        // SAFETY: texts that live until the call is over; SQLite copies them.
        let name = unsafe {
            let count = pointers.len() as c_int / 2;
            sqlite3_create_filename(
                text("").as_ptr(),
                text("-journal").as_ptr(),
                text("-wal").as_ptr(),
                count,
                pointers.as_mut_ptr(),
            )
        };
        assert!(!name.is_null());
        match File::open(name, flags | SQLITE_OPEN_MAIN_DB) {
            Ok(database) => Ok(Connection { name, database, journal: None }),
            Err(code) => {
                // SAFETY: made above, and nothing is open under it.
                unsafe { sqlite3_free_filename(name) };
                Err(code)
            }
        }
    }

    fn journal_name(&self) -> *const c_char {
        // SAFETY: the name of a main database.
        unsafe { sqlite3_filename_journal(self.name) }
    }

    pub fn open_journal(&mut self, flags: c_int) -> c_int {
        self.close_journal();
        match File::open(self.journal_name(), flags | SQLITE_OPEN_MAIN_JOURNAL) {
            Ok(file) => {
                self.journal = Some(file);
                SQLITE_OK
            }
            Err(code) => code,
        }
    }

    pub fn close_journal(&mut self) {
        if let Some(journal) = self.journal.take() {
            journal.close();
        }
    }

    /// `xDelete` or `xAccess` of the journal or the WAL.
    pub fn delete(&self, wal: bool, sync: bool) -> c_int {
        let vfs = vfs();
        // SAFETY: a name that SQLite would give.
        unsafe { (*vfs).xDelete.expect("xDelete")(vfs, self.other_name(wal), c_int::from(sync)) }
    }

    pub fn exists(&self, wal: bool, how: c_int) -> c_int {
        let (vfs, mut out) = (vfs(), 0);
        // SAFETY: as above.
        unsafe { (*vfs).xAccess.expect("xAccess")(vfs, self.other_name(wal), how, &mut out) };
        out
    }

    fn other_name(&self, wal: bool) -> *const c_char {
        // SAFETY: the name of a main database.
        if wal { unsafe { sqlite3_filename_wal(self.name) } } else { self.journal_name() }
    }

    /// In SQLite's order: the journal first, as the pager does.
    pub fn close(mut self) {
        self.close_journal();
        let Connection { name, database, .. } = self;
        database.close();
        // SAFETY: closed.
        unsafe { sqlite3_free_filename(name) };
    }
}

/// What stands in others' way in the lock directory and the registry of a database.
pub fn locks_of(database: &Path) -> Vec<String> {
    let mut found = Vec::new();
    for suffix in [".lock", ".readers"] {
        let mut directory = database.as_os_str().to_owned();
        directory.push(suffix);
        let directory = PathBuf::from(directory);
        if suffix == ".lock" && directory.exists() {
            found.push("the lock directory".to_owned());
        }
        let names = std::fs::read_dir(directory).into_iter().flatten().flatten();
        let names = names.map(|entry| entry.file_name().to_string_lossy().into_owned());
        found.extend(
            names.filter(|name| !["beat.", "epoch.", "takeovers"].iter().any(|harmless| name.starts_with(harmless))),
        );
    }
    found
}
