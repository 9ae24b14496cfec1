//! Which open database a name belongs to. SQLite hands `xOpen`, `xDelete` and `xAccess` the names of journal and WAL by
//! pointers into the same block of memory as the database's own name (the pager's), in every version since 3.26; the
//! database with the next lower name is the owner.

use std::collections::BTreeMap;
use std::ffi::{CStr, c_char};
use std::ptr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::database_file::DatabaseFile;
use crate::storage::liveness::ForkMutex;

/// Longest distance between a database's name and its journal's: two paths and the parameters of a URI.
const BLOCK_MAX: usize = 1 << 17;

struct Open {
    file: *mut DatabaseFile,
    /// As SQLite spells it, which makes the other names of it. The manager's path may be another one that leads to the same file.
    path: Vec<u8>,
    /// See [`DatabaseFile`]'s.
    writing: Arc<AtomicUsize>,
}

// SAFETY: only handed out again to the thread that runs the owning connection.
unsafe impl Send for Open {}

/// A child needs it too: what it has inherited must not go past us to the platform's VFS.
static OPEN: ForkMutex<BTreeMap<usize, Open>> = ForkMutex::new(BTreeMap::new(), before_fork, after_fork);

extern "C" fn before_fork() {
    OPEN.hold();
}

extern "C" fn after_fork() {
    OPEN.release();
}

/// What a name is to its database.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    Journal,
    Wal,
}

/// # Safety
/// `name` is the C text that SQLite has handed to `xOpen`.
pub unsafe fn add(name: *const c_char, file: *mut DatabaseFile, writing: Arc<AtomicUsize>) {
    // SAFETY: the caller's promise.
    let path = unsafe { CStr::from_ptr(name) }.to_bytes().to_vec();
    let open = Open { file, path, writing };
    OPEN.lock().insert(name.addr(), open);
}

pub fn remove(name: *const c_char) {
    OPEN.lock().remove(&name.addr());
}

/// Whether another open database file has begun to write in a transaction of this connection. Asked of what the files have told,
/// as another thread may be closing them.
pub fn another_writes(file: *const DatabaseFile, connection: usize) -> bool {
    let open = OPEN.lock();
    let mut others = open.values().filter(|open| !ptr::eq(open.file, file));
    connection != 0 && others.any(|open| open.writing.load(Ordering::Acquire) == connection)
}

/// Whether the database file that SQLite spells so has begun to write in a transaction, in network-exclusive mode.
pub fn is_written(path: &[u8]) -> bool {
    OPEN.lock().values().any(|open| open.path == path && open.writing.load(Ordering::Acquire) != 0)
}

/// The open database that `name` belongs to as its journal or WAL. The result is only to be used by the calling thread,
/// which runs that connection.
///
/// # Safety
/// `name` is null or a C text that SQLite handed to a VFS method.
pub unsafe fn owner(name: *const c_char) -> Option<(*mut DatabaseFile, Part)> {
    if name.is_null() {
        return None;
    }
    let open = OPEN.lock();
    let (address, found) = open.range(..name.addr()).next_back()?;
    if name.addr() - address > BLOCK_MAX {
        return None;
    }
    // SAFETY: the caller's promise.
    let name = unsafe { CStr::from_ptr(name) }.to_bytes();
    let suffix = name.strip_prefix(found.path.as_slice())?;
    match suffix {
        b"-journal" => Some((found.file, Part::Journal)),
        b"-wal" => Some((found.file, Part::Wal)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A thread has it locked at the fork, and the child has no such thread.
    #[test]
    fn no_child_waits_for_a_thread_of_its_parents() {
        let test = "vfs::connections::tests::no_child_waits_for_a_thread_of_its_parents";
        let hold = |locked: &dyn Fn()| {
            let _open = OPEN.lock();
            locked();
        };
        assert!(crate::storage::liveness::child_gets(test, hold, || drop(OPEN.lock())));
    }
}
