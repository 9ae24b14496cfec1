//! What coord does not open, each with a sentence that says what to do instead.

use std::fs::Metadata;
use std::io::Read;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use super::database_file::{DatabaseFile, WAL_HEADER, says_wal};
use super::host_copy::HostCopy;
use crate::host::ffi::*;
use crate::lock::Mode;
use crate::protocol::Paths;
use crate::protocol::error::{LOCK, REGISTRY, in_the_way};

/// Longest name that most filesystems take.
const NAME_MAX: usize = 255;
/// The longest suffix that is put to a database's name.
const SUFFIX: &str = ".readers";

pub fn too_much(path: &Path) -> String {
    format!(
        "coord: the URI of {} has more or longer parameters than coord reads. Leave out what nobody needs",
        path.display()
    )
}

pub fn nolock(path: &Path) -> String {
    format!(
        "coord: nolock=1 asks for no locks at all on {}, which is what coord is there for. Leave it out",
        path.display()
    )
}

/// What the names alone show.
pub fn before_opening(path: &Path) -> Option<String> {
    let name = path.file_name().map_or(0, |name| name.len());
    if name + SUFFIX.len() > NAME_MAX {
        return Some(format!(
            "coord: the file name of {} is {name} bytes long; coord needs {} more for its own names, and {NAME_MAX} is the most",
            path.display(),
            SUFFIX.len()
        ));
    }
    let found = path.symlink_metadata().ok()?;
    if !found.is_file() {
        return Some(format!("coord: {} is not a regular file", path.display()));
    }
    let linked = |found: &Metadata| found.nlink() > 1 && found.nlink() > 1 + names_of_a_takeover(path, found.ino());
    // A takeover may have ended between the two looks.
    if linked(&found) && path.symlink_metadata().is_ok_and(|again| linked(&again)) {
        return Some(format!(
            "coord: {} has {} names (hard links); programs that use another name would use other locks. Remove all names but one",
            path.display(),
            found.nlink()
        ));
    }
    if is_mount_point(path, &found) {
        return Some(format!(
            "coord: {} is mounted by itself, so its locks would lie in a directory that others do not see. Mount its whole \
             directory",
            path.display()
        ));
    }
    None
}

/// How many names the file has in the directories of coord's own: a copy that takes a database's place keeps its first name for a
/// moment, or until the next writer where somebody died in that moment. An NFS client gives one that is removed while somebody has
/// it open a name of its own (`.nfs…`), for as long as it is open.
fn names_of_a_takeover(path: &Path, inode: u64) -> u64 {
    let paths = Paths::new(path);
    let of = |dir: &Path| -> u64 {
        let entries = std::fs::read_dir(dir).into_iter().flatten().flatten();
        entries.filter(|entry| entry.metadata().is_ok_and(|found| found.ino() == inode)).count() as u64
    };
    of(&paths.lock) + of(&paths.registry)
}

/// Mounted by itself. Linux says so since 5.8; before, only the device of another filesystem tells. (On an overlay a file may have
/// another device than its directory all the same.)
#[cfg(target_os = "linux")]
fn is_mount_point(path: &Path, found: &Metadata) -> bool {
    use rustix::fs::{AtFlags, CWD, StatxAttributes, StatxFlags, statx};
    match statx(CWD, path, AtFlags::SYMLINK_NOFOLLOW, StatxFlags::BASIC_STATS) {
        Ok(told) if told.stx_attributes_mask.contains(StatxAttributes::MOUNT_ROOT) => {
            told.stx_attributes.contains(StatxAttributes::MOUNT_ROOT)
        }
        _ => has_another_device(path, found),
    }
}

#[cfg(not(target_os = "linux"))]
fn is_mount_point(path: &Path, found: &Metadata) -> bool {
    has_another_device(path, found)
}

/// Than its directory. Older SQLite hands over paths with symbolic links in the middle.
fn has_another_device(path: &Path, found: &Metadata) -> bool {
    path.parent().and_then(|parent| parent.metadata().ok()).is_some_and(|parent| parent.dev() != found.dev())
}

/// What the opened file shows.
pub fn after_opening(copy: &HostCopy, opened: &DatabaseFile) -> Option<String> {
    let path = &opened.paths().database;
    if let Some(file) = &opened.handles.database {
        let mut beginning = [0; WAL_HEADER];
        let read = match opened.database.mode() {
            Mode::Trusted => file.read_into(&mut beginning, 0),
            Mode::NetworkExclusive => opened.read_unlocked(&mut beginning, 0),
        };
        if read == SQLITE_OK && says_wal(&beginning) {
            return Some(wal_mode(path));
        }
    }
    if let Some(why) = beside(opened.paths()) {
        return Some(why);
    }
    match opened.database.mode() {
        Mode::Trusted if !copy.has_native_locks() => Some(format!(
            "coord: the VFS below coord in this program is {}, which has no file locks that coord could trust. Use \
             coord_mode=network-exclusive, or the platform's default VFS",
            copy.base_name()
        )),
        Mode::Trusted => None,
        Mode::NetworkExclusive => directory(opened.paths()),
    }
}

/// What would be refused to this user if the database were opened now, as far as its names, their rights and its first bytes tell.
pub fn foreseen(path: &Path) -> Option<String> {
    let in_wal_mode = || {
        let mut beginning = [0; WAL_HEADER];
        std::fs::File::open(path).ok()?.read_exact(&mut beginning).ok()?;
        says_wal(&beginning).then(|| wal_mode(path))
    };
    let paths = Paths::new(path);
    let shared = || paths.registry.is_dir().then(|| directory(&paths))?;
    before_opening(path).or_else(in_wal_mode).or_else(|| beside(&paths)).or_else(shared)
}

/// A WAL, or something else in the place of coord's directories.
fn beside(paths: &Paths) -> Option<String> {
    let path = &paths.database;
    let mut wal = path.as_os_str().to_os_string();
    wal.push("-wal");
    // SQLite takes an empty one for none, and does not remove it.
    if Path::new(&wal).symlink_metadata().is_ok_and(|found| !found.is_file() || found.len() > 0) {
        return Some(wal_beside(path));
    }
    [(LOCK, &paths.lock), (REGISTRY, &paths.registry)].into_iter().find_map(|(place, there)| {
        let found = there.symlink_metadata().ok().filter(|found| !found.is_dir())?;
        Some(in_the_way(there, place, found.is_symlink()))
    })
}

/// Why a commit over several files is refused.
pub fn several_files(path: &Path) -> String {
    format!(
        "coord: a transaction that writes {} and another database file at once cannot be committed: the moment in which both count is \
         outside of what the lock protocol guards. Write them in two transactions, or begin with BEGIN if only one is written: BEGIN \
         IMMEDIATE counts all attached files",
        path.display()
    )
}

fn wal_mode(path: &Path) -> String {
    format!(
        "coord: {} is in WAL mode, which needs memory shared by all clients. Open it once with plain SQLite where all its \
         users are on one host, and run PRAGMA journal_mode=DELETE",
        path.display()
    )
}

/// It may hold transactions that are not in the database yet.
pub fn wal_beside(path: &Path) -> String {
    format!(
        "coord: {0}-wal lies beside {0}, which is to be used without a WAL. Open it once with plain SQLite on the host where it \
         was written and run PRAGMA journal_mode=DELETE",
        path.display()
    )
}

/// In network-exclusive mode readers too make names in the database's directory.
fn directory(paths: &Paths) -> Option<String> {
    let parent = &paths.parent;
    let found = parent.symlink_metadata().ok()?;
    let writable = rustix::fs::access(parent, rustix::fs::Access::WRITE_OK | rustix::fs::Access::EXEC_OK).is_ok();
    if !writable {
        return Some(format!(
            "coord: the directory {} cannot be written, and a lock is a name in it. Give this user write permission there; a \
             database that nobody ever writes can be opened with immutable=1",
            parent.display()
        ));
    }
    let me = rustix::process::geteuid().as_raw();
    let owner = paths.database.symlink_metadata().ok()?.uid();
    if found.mode() & 0o1000 != 0 && me != 0 && owner != me {
        return Some(format!(
            "coord: {} is a sticky directory and the database belongs to another user, whose locks could not be taken over after \
             a crash. Put it into a directory of its own",
            parent.display()
        ));
    }
    None
}

impl DatabaseFile {
    /// SQLite wants to open a WAL.
    pub fn refuse_wal(&mut self) -> i32 {
        let text = format!(
            "coord: {} cannot be used with a WAL, which needs memory shared by all clients; use journal_mode=DELETE",
            self.paths().database.display()
        );
        self.fail(SQLITE_CANTOPEN, text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Older SQLite hands over a path with a link in the middle: the link may lie on another filesystem than the file.
    #[test]
    fn a_linked_directory_is_not_taken_for_a_mounted_file() {
        let Ok(elsewhere) = tempfile::tempdir_in("/dev/shm") else { return };
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(elsewhere.path().join("state.sqlite"), b"").unwrap();
        std::os::unix::fs::symlink(elsewhere.path(), dir.path().join("link")).unwrap();
        assert_eq!(before_opening(&dir.path().join("link/state.sqlite")), None);
    }
}
