//! A VFS in the place of `unix` and of `unix-none`, under their names, so that whatever is registered later stands on it:
//! it tells every change that goes through it, and fails, stops or kills at the call that it was told.

use crate::api::{self, Api, sqlite3_file, sqlite3_vfs};
use crate::sqlite::{Answer, Error, done, text};
use std::ffi::{c_char, c_int, c_void};
use std::path::{Path, PathBuf};
use std::ptr::{null, null_mut};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

/// `sqlite3_io_methods`, version 2: no mapping.
#[repr(C)]
struct Methods {
    version: c_int,
    close: unsafe extern "C" fn(*mut File) -> c_int,
    read: unsafe extern "C" fn(*mut File, *mut c_void, c_int, i64) -> c_int,
    write: unsafe extern "C" fn(*mut File, *const c_void, c_int, i64) -> c_int,
    truncate: unsafe extern "C" fn(*mut File, i64) -> c_int,
    sync: unsafe extern "C" fn(*mut File, c_int) -> c_int,
    size: unsafe extern "C" fn(*mut File, *mut i64) -> c_int,
    lock: unsafe extern "C" fn(*mut File, c_int) -> c_int,
    unlock: unsafe extern "C" fn(*mut File, c_int) -> c_int,
    check: unsafe extern "C" fn(*mut File, *mut c_int) -> c_int,
    control: unsafe extern "C" fn(*mut File, c_int, *mut c_void) -> c_int,
    sector: unsafe extern "C" fn(*mut File) -> c_int,
    characteristics: unsafe extern "C" fn(*mut File) -> c_int,
    shm_map: unsafe extern "C" fn(*mut File, c_int, c_int, c_int, *mut *mut c_void) -> c_int,
    shm_lock: unsafe extern "C" fn(*mut File, c_int, c_int, c_int) -> c_int,
    shm_barrier: unsafe extern "C" fn(*mut File),
    shm_unmap: unsafe extern "C" fn(*mut File, c_int) -> c_int,
}

/// The head of any open file; ours goes on with the real file, in memory of its own, and its name.
#[repr(C)]
struct File {
    methods: *const Methods,
    real: *mut File,
    name: *mut String,
    /// The name that a database was opened under, which whoever opened it keeps for as long as it is open; else null.
    given: *const c_char,
}

/// `SQLITE_OPEN_MAIN_DB`.
const MAIN_DB: c_int = 0x100;

struct Trap {
    op: String,
    file: String,
    left: u32,
    action: String,
}

struct State {
    /// Write the data into the log as well, and what lies in the directories beside the database.
    data: bool,
    log: Vec<Vec<String>>,
    trap: Option<Trap>,
    /// Where the database lies, and the names beside it as they were last.
    folder: Option<PathBuf>,
    names: Vec<String>,
}

static STATE: Mutex<State> =
    Mutex::new(State { data: false, log: Vec::new(), trap: None, folder: None, names: Vec::new() });
/// The real `unix` and `unix-none`, and the real `openDirectory`.
static REAL: [AtomicUsize; 3] = [const { AtomicUsize::new(0) }; 3];

/// Puts the tracing VFS in place, once. `data`: the log has what was written.
pub fn start(api: &'static Api, data: bool) -> Result<Answer, Error> {
    STATE.lock().unwrap().data = data;
    if REAL[0].load(Relaxed) != 0 {
        return Ok(Answer::default());
    }
    for (at, name, open, delete) in [
        (0, c"unix", open::<0> as _, delete::<0> as _),
        (1, c"unix-none", open::<1> as _, delete::<1> as _),
    ] {
        unsafe {
            let real = (api.vfs_find)(name.as_ptr());
            REAL[at].store(real as usize, Relaxed);
            let traced = sqlite3_vfs { next: null_mut(), open: Some(open), delete: Some(delete), ..*real };
            done((api.vfs_register)(Box::into_raw(Box::new(traced)), c_int::from(at == 0)))?;
        }
    }
    unsafe {
        // Directories are synced behind the VFS's methods; the system call that opens one can be replaced.
        let real = *(REAL[0].load(Relaxed) as *const sqlite3_vfs);
        type Set = unsafe extern "C" fn(*const sqlite3_vfs, *const c_char, Option<unsafe extern "C" fn()>) -> c_int;
        type Get = unsafe extern "C" fn(*const sqlite3_vfs, *const c_char) -> usize;
        let set: Set = std::mem::transmute(real.system_call[0]);
        let get: Get = std::mem::transmute(real.system_call[1]);
        REAL[2].store(get(&real, c"openDirectory".as_ptr()), Relaxed);
        let ours: unsafe extern "C" fn() = std::mem::transmute(open_directory as *const c_void);
        done(set(&real, c"openDirectory".as_ptr(), Some(ours)))
    }
}

/// What went through since the last time, one row a call: what, file, arguments, result.
pub fn log() -> Answer {
    let rows = std::mem::take(&mut STATE.lock().unwrap().log);
    let rows = rows.into_iter().map(|row| row.into_iter().map(Some).collect()).collect();
    Answer { rows, text: String::new() }
}

/// At the `nth` coming call of `op` (`change`: any that changes a file) on a file whose name has `file` in it: `kill`, `stop`,
/// a result code in its place, or `late` and a code to be given after it was done; with ` then OP ACTION` after it the next call of
/// that kind on such a file is trapped as well. Says how many calls are still to come of the last trap.
pub fn trap(op: &str, file: &str, nth: &str, action: &str) -> Result<Answer, Error> {
    let left = nth.parse().map_err(|_| Error::usage("trap OP FILE NTH ACTION"))?;
    let trap = Trap { op: op.to_owned(), file: file.to_owned(), left, action: action.to_owned() };
    let old = STATE.lock().unwrap().trap.replace(trap);
    Ok(Answer::text(old.map_or(0, |old| old.left).to_string()))
}

/// One call: springs the trap if it is for this one, else does it; logs it with its result.
fn call(op: &str, file: &str, arguments: &[String], act: impl FnOnce() -> c_int) -> c_int {
    let mut state = STATE.lock().unwrap();
    let mut action = None;
    if let Some(trap) = &mut state.trap {
        let change = matches!(op, "write" | "truncate" | "sync" | "delete");
        if trap.left > 0 && (trap.op == op || (trap.op == "change" && change)) && file.contains(trap.file.as_str()) {
            trap.left -= 1;
            action = (trap.left == 0).then(|| trap.action.clone());
            let first = action.as_deref().and_then(|action| action.split_once(" then "));
            if let Some((first, (op, second))) = first.and_then(|(first, next)| Some((first, next.split_once(' ')?))) {
                (trap.op, trap.left, trap.action) = (op.to_owned(), 1, second.to_owned());
                action = Some(first.to_owned());
            }
        }
    }
    drop(state);
    let code = match action.as_deref() {
        None => act(),
        Some("kill") => crate::process::kill(),
        Some("stop") => {
            unsafe { libc::raise(libc::SIGSTOP) };
            act()
        }
        Some(action) => match action.strip_prefix("late ") {
            Some(code) => {
                act();
                code.parse().expect("a code")
            }
            None => action.parse().expect("a code"),
        },
    };
    let mut row = vec![op.to_owned(), file.to_owned()];
    row.extend_from_slice(arguments);
    row.push(code.to_string());
    let mut state = STATE.lock().unwrap();
    state.log.push(row);
    if let Some(folder) = state.folder.as_deref().filter(|_| state.data) {
        let names = names_beside(folder);
        if names != state.names {
            state.log.push(["names".to_owned(), String::new()].into_iter().chain(names.iter().cloned()).collect());
            state.names = names;
        }
    }
    code
}

/// Stands before the C library's for everything in this program: syncs of directories reach no VFS, and the extension makes
/// its own.
#[unsafe(no_mangle)]
extern "C" fn fsync(descriptor: c_int) -> c_int {
    let code = unsafe { libc::syscall(libc::SYS_fsync, descriptor) } as c_int;
    synced(descriptor, code)
}

/// As `fsync`.
#[unsafe(no_mangle)]
extern "C" fn fdatasync(descriptor: c_int) -> c_int {
    let code = unsafe { libc::syscall(libc::SYS_fdatasync, descriptor) } as c_int;
    synced(descriptor, code)
}

/// Tells that the database's own directory was synced, and which names it had then.
fn synced(descriptor: c_int, code: c_int) -> c_int {
    let mut state = STATE.lock().unwrap();
    if code == 0
        && let Some(folder) = state.folder.as_deref().filter(|_| state.data)
        && std::fs::read_link(format!("/proc/self/fd/{descriptor}")).is_ok_and(|path| path == folder)
    {
        let names = std::fs::read_dir(folder).into_iter().flatten().flatten();
        let names = names.map(|entry| entry.file_name().to_string_lossy().into_owned());
        let row = ["syncdir".to_owned(), String::new()].into_iter().chain(names).collect();
        state.log.push(row);
    }
    code
}

/// What is in the directories in `folder`: `directory/=` and `directory/name=` with the content in hex.
fn names_beside(folder: &Path) -> Vec<String> {
    let mut names = Vec::new();
    for directory in std::fs::read_dir(folder).into_iter().flatten().flatten() {
        let Ok(entries) = std::fs::read_dir(directory.path()) else { continue };
        let directory = directory.file_name().to_string_lossy().into_owned();
        names.push(format!("{directory}/="));
        for entry in entries.flatten() {
            // A heartbeat may just have given it another name.
            let Ok(content) = std::fs::read(entry.path()) else { continue };
            names.push(format!("{directory}/{}={}", entry.file_name().to_string_lossy(), hex(&content)));
        }
    }
    names.sort();
    names
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

unsafe fn base_name(name: *const c_char) -> String {
    let path = unsafe { text(name) };
    path.rsplit('/').next().unwrap_or_default().to_owned()
}

unsafe extern "C" fn open<const AT: usize>(
    _: *mut sqlite3_vfs,
    name: *const c_char,
    file: *mut sqlite3_file,
    flags: c_int,
    out: *mut c_int,
) -> c_int {
    unsafe {
        let vfs = REAL[AT].load(Relaxed) as *mut sqlite3_vfs;
        let ours = file.cast::<File>();
        (*ours).methods = null();
        let words = vec![0u64; ((*vfs).sz_os_file as usize).div_ceil(8)].into_boxed_slice();
        let real = Box::into_raw(words).cast::<File>();
        let short = base_name(name);
        let create = if flags & 4 != 0 { "create" } else { "" };
        if flags & MAIN_DB != 0 {
            STATE.lock().unwrap().folder = Path::new(&text(name)).parent().map(Path::to_owned);
        }
        let code = call("open", &short, &[create.to_owned()], || {
            (*vfs).open.unwrap()(vfs, name, real.cast(), flags, out)
        });
        if code == api::OK {
            let given = if flags & MAIN_DB != 0 { name } else { null() };
            *ours = File { methods: &METHODS, real, name: Box::into_raw(Box::new(short)), given };
        }
        code
    }
}

unsafe extern "C" fn delete<const AT: usize>(_: *mut sqlite3_vfs, name: *const c_char, sync: c_int) -> c_int {
    unsafe {
        let vfs = REAL[AT].load(Relaxed) as *mut sqlite3_vfs;
        call("delete", &base_name(name), &[sync.to_string()], || (*vfs).delete.unwrap()(vfs, name, sync))
    }
}

unsafe extern "C" fn open_directory(name: *const c_char, out: *mut c_int) -> c_int {
    unsafe {
        let real: unsafe extern "C" fn(*const c_char, *mut c_int) -> c_int =
            std::mem::transmute(REAL[2].load(Relaxed));
        call("directory", "", &[], || real(name, out))
    }
}

/// A method that is told, and one that is not.
macro_rules! methods {
    ($($op:literal $name:ident ( $($argument:ident : $type:ty),* ) [ $($told:expr),* ];)+) => {
        $(unsafe extern "C" fn $name(file: *mut File $(, $argument: $type)*) -> c_int {
            unsafe {
                let real = (*file).real;
                call($op, &*(*file).name, &[$($told.to_string()),*], || ((*(*real).methods).$name)(real $(, $argument)*))
            }
        })+
    };
}
macro_rules! silent {
    ($($name:ident ( $($argument:ident : $type:ty),* ) $(-> $out:ty)?;)+) => {
        $(unsafe extern "C" fn $name(file: *mut File $(, $argument: $type)*) $(-> $out)? {
            unsafe {
                let real = (*file).real;
                ((*(*real).methods).$name)(real $(, $argument)*)
            }
        })+
    };
}

methods! {
    "truncate" truncate(size: i64) [size];
    "sync" sync(flags: c_int) [flags];
    "lock" lock(level: c_int) [level];
    "unlock" unlock(level: c_int) [level];
}
silent! {
    size(out: *mut i64) -> c_int;
    check(out: *mut c_int) -> c_int;
    control(op: c_int, argument: *mut c_void) -> c_int;
    sector() -> c_int;
    characteristics() -> c_int;
    shm_map(region: c_int, size: c_int, extend: c_int, out: *mut *mut c_void) -> c_int;
    shm_lock(offset: c_int, n: c_int, flags: c_int) -> c_int;
    shm_barrier();
    shm_unmap(delete: c_int) -> c_int;
}

/// Told only while it is trapped: there are many.
unsafe extern "C" fn read(file: *mut File, to: *mut c_void, amount: c_int, at: i64) -> c_int {
    unsafe {
        let real = (*file).real;
        let act = || ((*(*real).methods).read)(real, to, amount, at);
        let trapped = STATE.lock().unwrap().trap.as_ref().is_some_and(|trap| trap.op == "read");
        if trapped { call("read", &*(*file).name, &[at.to_string(), amount.to_string()], act) } else { act() }
    }
}

unsafe extern "C" fn write(file: *mut File, from: *const c_void, amount: c_int, at: i64) -> c_int {
    unsafe {
        let real = (*file).real;
        let mut told = vec![at.to_string(), amount.to_string()];
        if STATE.lock().unwrap().data {
            let bytes = std::slice::from_raw_parts(from.cast::<u8>(), amount as usize);
            told.push(hex(bytes));
        }
        call("write", &*(*file).name, &told, || ((*(*real).methods).write)(real, from, amount, at))
    }
}

unsafe extern "C" fn close(file: *mut File) -> c_int {
    unsafe {
        let File { real, name, given, .. } = *file;
        let name = Box::from_raw(name);
        if !given.is_null() && !text(given).ends_with(name.as_str()) {
            STATE.lock().unwrap().log.push(vec!["freed".to_owned(), name.to_string()]);
        }
        // The block of the real file stays: its size is not known here, and these programs are short.
        call("close", &name, &[], || ((*(*real).methods).close)(real))
    }
}

static METHODS: Methods = Methods {
    version: 2,
    close,
    read,
    write,
    truncate,
    sync,
    size,
    lock,
    unlock,
    check,
    control,
    sector,
    characteristics,
    shm_map,
    shm_lock,
    shm_barrier,
    shm_unmap,
};
