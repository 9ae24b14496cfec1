//! One copy of SQLite and the connections that were opened in it.

use crate::api::{self, Api};
use std::collections::BTreeMap;
use std::ffi::{CStr, CString, c_char, c_int, c_void};
use std::ptr::{null, null_mut};

/// One row; `None` is NULL.
pub type Row = Vec<Option<String>>;

#[derive(Default)]
pub struct Answer {
    pub rows: Vec<Row>,
    pub text: String,
}

impl Answer {
    pub fn text(text: impl Into<String>) -> Answer {
        Answer {
            rows: Vec::new(),
            text: text.into(),
        }
    }
}

/// SQLite's extended code and message, with the rows that came before; code -1 for a request that makes no sense.
pub struct Error {
    pub rows: Vec<Row>,
    pub code: c_int,
    pub message: String,
}

impl Error {
    pub fn usage(message: &str) -> Error {
        Error {
            rows: Vec::new(),
            code: -1,
            message: message.to_owned(),
        }
    }
    fn code(code: c_int) -> Error {
        Error {
            rows: Vec::new(),
            code,
            message: String::new(),
        }
    }
}

pub struct Sqlite {
    api: &'static Api,
    connections: BTreeMap<String, *mut api::sqlite3>,
}

impl Sqlite {
    /// Opens a shared object of `copy.rs`; ends the program with a sentence when it cannot.
    pub fn load(path: &str) -> Sqlite {
        let c_path = c(path);
        let handle = unsafe { libc::dlopen(c_path.as_ptr(), libc::RTLD_NOW | libc::RTLD_LOCAL) };
        assert!(!handle.is_null(), "{path}: {}", unsafe { text(libc::dlerror()) });
        let symbol = unsafe { libc::dlsym(handle, c"coord_test_sqlite".as_ptr()) };
        assert!(!symbol.is_null(), "{path} exports no coord_test_sqlite");
        let table: extern "C" fn() -> *const Api = unsafe { std::mem::transmute(symbol) };
        Sqlite {
            api: unsafe { &*table() },
            connections: BTreeMap::new(),
        }
    }

    pub fn api(&self) -> &'static Api {
        self.api
    }

    pub fn version(&self) -> String {
        unsafe { text((self.api.libversion)()) }
    }

    pub fn initialize(&self) -> Result<Answer, Error> {
        done(unsafe { (self.api.initialize)() })
    }

    pub fn shutdown(&self) -> Result<Answer, Error> {
        done(unsafe { (self.api.shutdown)() })
    }

    /// The default mmap size of every connection; only before initialisation or after a shutdown.
    pub fn config_mmap(&self, bytes: i64) -> Result<Answer, Error> {
        done(unsafe { (self.api.config)(api::CONFIG_MMAP_SIZE, bytes, bytes) })
    }

    /// Loads on the named connection, or on a `:memory:` one that is closed afterwards.
    pub fn load_extension(&self, name: Option<&str>, path: &str, entry: Option<&str>) -> Result<Answer, Error> {
        let db = match name {
            Some(name) => self.connection(name)?,
            None => self.open_handle(":memory:", None)?,
        };
        let (path, entry) = (c(path), entry.filter(|e| !e.is_empty()).map(c));
        let mut message: *mut c_char = null_mut();
        let code = unsafe {
            (self.api.enable_load_extension)(db, 1);
            let entry = entry.as_ref().map_or(null(), |e| e.as_ptr());
            (self.api.load_extension)(db, path.as_ptr(), entry, &mut message)
        };
        let result = match code {
            api::OK => Ok(Answer::default()),
            code => Err(Error {
                rows: Vec::new(),
                code,
                message: unsafe { text(message) },
            }),
        };
        unsafe {
            (self.api.free)(message.cast());
            if name.is_none() {
                (self.api.close)(db);
            }
        }
        result
    }

    pub fn open(&mut self, name: &str, uri: &str, vfs: Option<&str>) -> Result<Answer, Error> {
        if self.connections.contains_key(name) {
            return Err(Error::usage("a connection of that name is open"));
        }
        let db = self.open_handle(uri, vfs)?;
        self.connections.insert(name.to_owned(), db);
        Ok(Answer::default())
    }

    /// A new connection, URI names on, read-write, created if missing.
    fn open_handle(&self, uri: &str, vfs: Option<&str>) -> Result<*mut api::sqlite3, Error> {
        let (uri, vfs) = (c(uri), vfs.filter(|v| !v.is_empty()).map(c));
        let mut db = null_mut();
        unsafe {
            let vfs = vfs.as_ref().map_or(null(), |v| v.as_ptr());
            let code = (self.api.open_v2)(uri.as_ptr(), &mut db, api::OPEN_READWRITE_CREATE_URI, vfs);
            if code == api::OK {
                return Ok(db);
            }
            let error = if db.is_null() {
                Error::code(code)
            } else {
                self.error(db, Vec::new())
            };
            (self.api.close)(db);
            Err(error)
        }
    }

    pub fn close(&mut self, name: &str) -> Result<Answer, Error> {
        let db = self.connection(name)?;
        match unsafe { (self.api.close)(db) } {
            api::OK => {
                self.connections.remove(name);
                Ok(Answer::default())
            }
            code => Err(Error::code(code)),
        }
    }

    pub fn busy(&self, name: &str, ms: c_int) -> Result<Answer, Error> {
        let db = self.connection(name)?;
        done(unsafe { (self.api.busy_timeout)(db, ms) })
    }

    /// The name of the VFS that this very database is open on.
    pub fn vfs_name(&self, name: &str) -> Result<Answer, Error> {
        let db = self.connection(name)?;
        let mut vfs: *mut c_char = null_mut();
        unsafe {
            let out: *mut *mut c_char = &mut vfs;
            let code = (self.api.file_control)(db, c"main".as_ptr(), api::FCNTL_VFSNAME, out.cast::<c_void>());
            let answer = done(code).map(|_| Answer::text(text(vfs)));
            (self.api.free)(vfs.cast());
            answer
        }
    }

    /// Runs every statement of `sql`; stops at the first error, which carries the rows seen until then.
    pub fn exec(&self, name: &str, sql: &str) -> Result<Answer, Error> {
        let db = self.connection(name)?;
        let sql = c(sql);
        let mut rest = sql.as_ptr();
        let mut rows = Vec::new();
        unsafe {
            while *rest != 0 {
                let (mut stmt, mut tail) = (null_mut(), null());
                if (self.api.prepare_v2)(db, rest, -1, &mut stmt, &mut tail) != api::OK {
                    return Err(self.error(db, rows));
                }
                rest = tail;
                if stmt.is_null() {
                    continue;
                }
                let mut code = (self.api.step)(stmt);
                while code == api::ROW {
                    rows.push(self.row(stmt));
                    code = (self.api.step)(stmt);
                }
                let error = (code != api::DONE).then(|| self.error(db, Vec::new()));
                (self.api.finalize)(stmt);
                if let Some(error) = error {
                    return Err(Error { rows, ..error });
                }
            }
        }
        Ok(Answer {
            rows,
            text: String::new(),
        })
    }

    /// The first row of a statement that stays where it is for the rest of the program.
    pub fn hold(&self, name: &str, sql: &str) -> Result<Answer, Error> {
        let db = self.connection(name)?;
        unsafe {
            let mut stmt = null_mut();
            if (self.api.prepare_v2)(db, c(sql).as_ptr(), -1, &mut stmt, null_mut()) != api::OK
                || (self.api.step)(stmt) != api::ROW
            {
                return Err(self.error(db, Vec::new()));
            }
            Ok(Answer { rows: vec![self.row(stmt)], text: String::new() })
        }
    }

    unsafe fn row(&self, stmt: *mut api::sqlite3_stmt) -> Row {
        unsafe {
            let columns = 0..(self.api.column_count)(stmt);
            let value = |i| {
                if (self.api.column_type)(stmt, i) == api::NULL {
                    return None;
                }
                let start = (self.api.column_text)(stmt, i);
                let length = (self.api.column_bytes)(stmt, i) as usize;
                let bytes = if length == 0 {
                    &[]
                } else {
                    std::slice::from_raw_parts(start, length)
                };
                Some(String::from_utf8_lossy(bytes).into_owned())
            };
            columns.map(value).collect()
        }
    }

    unsafe fn error(&self, db: *mut api::sqlite3, rows: Vec<Row>) -> Error {
        let code = unsafe { (self.api.extended_errcode)(db) };
        Error {
            rows,
            code,
            message: unsafe { text((self.api.errmsg)(db)) },
        }
    }

    fn connection(&self, name: &str) -> Result<*mut api::sqlite3, Error> {
        self.connections
            .get(name)
            .copied()
            .ok_or_else(|| Error::usage("no connection of that name is open"))
    }

    /// One row a registered VFS: name, szOsFile, mxPathname, version, and `default` for the first.
    pub fn vfs_list(&self) -> Answer {
        let mut rows = Vec::new();
        let mut vfs = unsafe { (self.api.vfs_find)(null()) };
        while let Some(v) = unsafe { vfs.as_ref() } {
            let rank = if rows.is_empty() { "default" } else { "" };
            let numbers = [v.sz_os_file, v.mx_pathname, v.version].map(|n| n.to_string());
            let [size, path, version] = numbers;
            let row = [unsafe { text(v.name) }, size, path, version, rank.to_owned()];
            rows.push(row.into_iter().map(Some).collect());
            vfs = v.next;
        }
        Answer {
            rows,
            text: String::new(),
        }
    }

    /// Registers the default VFS a second time under another name, as simple shims do.
    pub fn register_copy_of_default(&self, name: &str, default: bool) -> Result<Answer, Error> {
        unsafe {
            let base = *(self.api.vfs_find)(null());
            let copy = api::sqlite3_vfs {
                name: c(name).into_raw(),
                next: null_mut(),
                ..base
            };
            done((self.api.vfs_register)(
                Box::into_raw(Box::new(copy)),
                c_int::from(default),
            ))
        }
    }
}

pub fn done(code: c_int) -> Result<Answer, Error> {
    if code == api::OK {
        Ok(Answer::default())
    } else {
        Err(Error::code(code))
    }
}

pub fn c(text: &str) -> CString {
    CString::new(text).expect("no NUL in a request")
}

/// The text at `start`, empty for a null pointer.
pub unsafe fn text(start: *const c_char) -> String {
    if start.is_null() {
        return String::new();
    }
    unsafe { CStr::from_ptr(start) }.to_string_lossy().into_owned()
}
