//! A VFS below coord that writes down every change of a file and every sync, as they reach the platform's VFS, and what a
//! power failure would have left of the files at any moment between.
//!
//! It is registered under the name of the platform's VFS without locks, `unix-none`, before coord is loaded, and is then
//! what coord stands on in network-exclusive mode.

use rusqlite::ffi::*;
use std::collections::BTreeMap;
use std::ffi::{CStr, c_char, c_int, c_void};
use std::path::Path;
use std::sync::Mutex;

/// What happened, in order: file, operation (`write`, `truncate` or `sync`), offset or size, the data in hex.
pub type Trail = Vec<Vec<String>>;

static TRAIL: Mutex<Trail> = Mutex::new(Vec::new());

#[repr(C)]
struct Traced {
    head: sqlite3_file,
    below: *mut sqlite3_file,
    name: [u8; 24],
}

impl Traced {
    fn note(&self, operation: &str, at: i64, data: &[u8]) {
        let name = String::from_utf8_lossy(&self.name).trim_end_matches('\0').to_owned();
        let hex = data.iter().map(|byte| format!("{byte:02x}")).collect();
        TRAIL.lock().unwrap().push(vec![name, operation.into(), at.to_string(), hex]);
    }
}

/// What has happened since the last call.
pub fn take() -> Trail {
    std::mem::take(&mut TRAIL.lock().unwrap())
}

/// From here on coord, once loaded, stands on the tracing VFS.
pub fn install() {
    unsafe {
        let below = sqlite3_vfs_find(c"unix-none".as_ptr());
        assert!(!below.is_null());
        let mut vfs = *below;
        vfs.szOsFile = size_of::<Traced>() as c_int;
        vfs.pAppData = below.cast();
        vfs.xOpen = Some(x_open);
        let vfs = Box::into_raw(Box::new(vfs));
        assert_eq!(sqlite3_vfs_register(vfs, 0), SQLITE_OK);
        assert_eq!(sqlite3_vfs_find(c"unix-none".as_ptr()), vfs, "found before the platform's own");
    }
}

unsafe extern "C" fn x_open(
    vfs: *mut sqlite3_vfs,
    name: *const c_char,
    file: *mut sqlite3_file,
    flags: c_int,
    out: *mut c_int,
) -> c_int {
    unsafe {
        let below = (*vfs).pAppData.cast::<sqlite3_vfs>();
        let block = vec![0u64; (*below).szOsFile as usize / 8 + 1].into_boxed_slice();
        let real = Box::leak(block).as_mut_ptr().cast::<sqlite3_file>();
        let code = (*below).xOpen.unwrap()(below, name, real, flags, out);
        (*file).pMethods = std::ptr::null();
        if code == SQLITE_OK {
            let traced = file.cast::<Traced>();
            (*traced).below = real;
            (*traced).name = [0; 24];
            if !name.is_null() {
                let path = CStr::from_ptr(name).to_bytes();
                let last = path.rsplit(|byte| *byte == b'/').next().unwrap_or_default();
                (&mut (*traced).name)[..last.len().min(24)].copy_from_slice(&last[..last.len().min(24)]);
            }
            (*file).pMethods = &METHODS;
        }
        code
    }
}

macro_rules! pass {
    ($($name:ident = $method:ident ( $($argument:ident : $type:ty),* );)+) => {
        $(unsafe extern "C" fn $name(file: *mut sqlite3_file $(, $argument: $type)*) -> c_int {
            unsafe {
                let below = (*file.cast::<Traced>()).below;
                (*(*below).pMethods).$method.unwrap()(below $(, $argument)*)
            }
        })+
    };
}

pass! {
    close = xClose();
    read = xRead(to: *mut c_void, amount: c_int, at: i64);
    write_below = xWrite(from: *const c_void, amount: c_int, at: i64);
    truncate_below = xTruncate(size: i64);
    sync_below = xSync(flags: c_int);
    size = xFileSize(out: *mut i64);
    lock = xLock(level: c_int);
    unlock = xUnlock(level: c_int);
    reserved = xCheckReservedLock(out: *mut c_int);
    control = xFileControl(operation: c_int, argument: *mut c_void);
    sector = xSectorSize();
    characteristics = xDeviceCharacteristics();
}

unsafe extern "C" fn write(file: *mut sqlite3_file, from: *const c_void, amount: c_int, at: i64) -> c_int {
    unsafe {
        (*file.cast::<Traced>()).note("write", at, std::slice::from_raw_parts(from.cast(), amount as usize));
        write_below(file, from, amount, at)
    }
}

unsafe extern "C" fn truncate(file: *mut sqlite3_file, to: i64) -> c_int {
    unsafe {
        (*file.cast::<Traced>()).note("truncate", to, &[]);
        truncate_below(file, to)
    }
}

unsafe extern "C" fn sync(file: *mut sqlite3_file, flags: c_int) -> c_int {
    unsafe {
        let code = sync_below(file, flags);
        (*file.cast::<Traced>()).note("sync", 0, &[]);
        code
    }
}

static METHODS: sqlite3_io_methods = sqlite3_io_methods {
    iVersion: 1,
    xClose: Some(close),
    xRead: Some(read),
    xWrite: Some(write),
    xTruncate: Some(truncate),
    xSync: Some(sync),
    xFileSize: Some(size),
    xLock: Some(lock),
    xUnlock: Some(unlock),
    xCheckReservedLock: Some(reserved),
    xFileControl: Some(control),
    xSectorSize: Some(sector),
    xDeviceCharacteristics: Some(characteristics),
    xShmMap: None,
    xShmLock: None,
    xShmBarrier: None,
    xShmUnmap: None,
    xFetch: None,
    xUnfetch: None,
};

/// The files of a database as a power failure may find them: what is on the disk for certain, and what was not synced yet.
#[derive(Clone, Default)]
pub struct Disk {
    safe: BTreeMap<String, Vec<u8>>,
    pending: BTreeMap<String, Trail>,
}

/// Which of the changes that were not synced have reached the disk all the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Luck {
    None,
    All,
    Even,
    Odd,
}

impl Luck {
    pub const EACH: [Luck; 4] = [Luck::None, Luck::All, Luck::Even, Luck::Odd];

    fn keeps(self, position: usize) -> bool {
        match self {
            Luck::None => false,
            Luck::All => true,
            Luck::Even => position.is_multiple_of(2),
            Luck::Odd => !position.is_multiple_of(2),
        }
    }
}

impl Disk {
    /// All of it on stable storage.
    pub fn read(folder: &Path, names: &[&str]) -> Disk {
        let read = |name: &&str| (name.to_string(), std::fs::read(folder.join(name)).unwrap_or_default());
        Disk { safe: names.iter().map(read).collect(), pending: BTreeMap::new() }
    }

    /// One step of a trail.
    pub fn step(&mut self, event: &[String]) {
        let pending = self.pending.entry(event[0].clone()).or_default();
        if event[1] != "sync" {
            return pending.push(event.to_vec());
        }
        let file = self.safe.entry(event[0].clone()).or_default();
        pending.drain(..).for_each(|event| carry_out(file, &event));
    }

    /// A file as it is found.
    pub fn file(&self, name: &str, luck: Luck) -> Vec<u8> {
        let mut file = self.safe.get(name).cloned().unwrap_or_default();
        let pending = self.pending.get(name).into_iter().flatten().enumerate();
        pending.filter(|(position, _)| luck.keeps(*position)).for_each(|(_, event)| carry_out(&mut file, event));
        file
    }
}

fn carry_out(file: &mut Vec<u8>, event: &[String]) {
    let at: usize = event[2].parse().expect("an offset");
    if event[1] == "truncate" {
        return file.resize(at, 0);
    }
    let hex = &event[3];
    let data = (0..hex.len()).step_by(2).map(|i| u8::from_str_radix(&hex[i..i + 2], 16).expect("hex"));
    let data: Vec<u8> = data.collect();
    file.resize(file.len().max(at + data.len()), 0);
    file[at..at + data.len()].copy_from_slice(&data);
}
