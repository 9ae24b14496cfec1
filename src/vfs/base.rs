//! A file that is opened through the platform's VFS, in a block of our own heap, and its methods under their plain names.

use std::ffi::{c_char, c_int, c_void};

use crate::host::OwnedName;
use crate::host::ffi::*;

/// An open file of the platform's VFS. Closed on drop.
pub struct BaseFile {
    /// `szOsFile` bytes, aligned for any C structure.
    block: Box<[u64]>,
    /// What it was opened under, if that is not the caller's: many a VFS keeps the pointer.
    name: Option<OwnedName>,
}

// SAFETY: SQLite itself hands its files from thread to thread; whoever owns a `BaseFile` calls it from one at a time.
unsafe impl Send for BaseFile {}

/// Calls a method that every open file has.
macro_rules! method {
    ($self:ident . $name:ident ( $($argument:expr),* )) => {{
        let file = $self.file();
        // SAFETY: an open file has methods, and this one is part of version 1; the arguments are the caller's promise.
        unsafe {
            match (*(*file).pMethods).$name {
                Some(method) => method(file, $($argument),*),
                None => SQLITE_IOERR,
            }
        }
    }};
}

impl BaseFile {
    /// Opens a file. Gives it and the flags that it was opened with.
    ///
    /// # Safety
    /// `vfs` is a registered VFS; `name` is null or a name in SQLite's layout that outlives the file.
    pub unsafe fn open(vfs: *mut sqlite3_vfs, name: *const c_char, flags: c_int) -> Result<(BaseFile, c_int), c_int> {
        // SAFETY: the caller's promise.
        let (size, open) = unsafe { ((*vfs).szOsFile, (*vfs).xOpen) };
        let words = usize::try_from(size).unwrap_or(0).div_ceil(8).max(1);
        let mut block = vec![0u64; words].into_boxed_slice();
        let file = block.as_mut_ptr().cast::<sqlite3_file>();
        let mut out = flags;
        let Some(open) = open else { return Err(SQLITE_CANTOPEN) };
        // SAFETY: the block is as large as the VFS asks; the name is the caller's promise.
        let code = unsafe { open(vfs, name, file, flags, &mut out) };
        // SAFETY: the block is ours, and large enough for the head of a file.
        let has_methods = unsafe { !(*file).pMethods.is_null() };
        if code == SQLITE_OK && has_methods {
            return Ok((BaseFile { block, name: None }, out));
        }
        if has_methods {
            drop(BaseFile { block, name: None });
        }
        Err(if code == SQLITE_OK { SQLITE_CANTOPEN } else { code })
    }

    /// Opens a file under a name that stays for as long as the file is open.
    ///
    /// # Safety
    /// `vfs` is a registered VFS.
    pub unsafe fn open_under(vfs: *mut sqlite3_vfs, name: OwnedName, flags: c_int) -> Result<(BaseFile, c_int), c_int> {
        // SAFETY: the caller's promise; the name goes with the file.
        let (mut file, out) = unsafe { BaseFile::open(vfs, name.as_ptr(), flags) }?;
        file.name = Some(name);
        Ok((file, out))
    }

    fn file(&self) -> *mut sqlite3_file {
        self.block.as_ptr().cast_mut().cast()
    }

    /// # Safety
    /// `buffer` has room for `amount` bytes.
    pub unsafe fn read(&self, buffer: *mut c_void, amount: c_int, offset: i64) -> c_int {
        method!(self.xRead(buffer, amount, offset))
    }

    /// Reads whole or not at all: `SQLITE_IOERR_SHORT_READ` where the file is too short, the rest zeroed.
    pub fn read_into(&self, buffer: &mut [u8], offset: i64) -> c_int {
        let amount = c_int::try_from(buffer.len()).unwrap_or(c_int::MAX);
        // SAFETY: the buffer is that long.
        unsafe { self.read(buffer.as_mut_ptr().cast(), amount, offset) }
    }

    pub fn write(&self, data: &[u8], offset: i64) -> c_int {
        let amount = c_int::try_from(data.len()).unwrap_or(c_int::MAX);
        method!(self.xWrite(data.as_ptr().cast(), amount, offset))
    }

    pub fn truncate(&self, size: i64) -> c_int {
        method!(self.xTruncate(size))
    }

    pub fn sync(&self, flags: c_int) -> c_int {
        method!(self.xSync(flags))
    }

    pub fn size(&self) -> Result<i64, c_int> {
        let mut size = 0;
        match method!(self.xFileSize(&mut size)) {
            SQLITE_OK => Ok(size),
            code => Err(code),
        }
    }

    pub fn lock(&self, level: c_int) -> c_int {
        method!(self.xLock(level))
    }

    pub fn unlock(&self, level: c_int) -> c_int {
        method!(self.xUnlock(level))
    }

    pub fn check_reserved(&self, out: &mut c_int) -> c_int {
        method!(self.xCheckReservedLock(out))
    }

    /// # Safety
    /// `argument` is what the operation asks for.
    pub unsafe fn control(&self, operation: c_int, argument: *mut c_void) -> c_int {
        method!(self.xFileControl(operation, argument))
    }

    pub fn sector_size(&self) -> c_int {
        method!(self.xSectorSize())
    }

    pub fn characteristics(&self) -> c_int {
        method!(self.xDeviceCharacteristics())
    }
}

impl Drop for BaseFile {
    fn drop(&mut self) {
        let _ = method!(self.xClose());
        // Not before: closing may look at the file under its name.
        self.name = None;
    }
}
