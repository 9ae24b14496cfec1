//! The host-local directory for liveness files and hints.

use std::fs::{self, DirBuilder, File, Permissions};
use std::io::{self, ErrorKind};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::Access;

use crate::storage::{disk, kind};

/// Where this process keeps its file.
#[derive(Clone, Debug)]
pub(super) struct Runtime {
    pub dir: PathBuf,
    /// Made for this process alone, and to be removed with it.
    pub own: bool,
}

/// The first that can be used of: the directory that was asked for, the user's in `/tmp`, a new one in `/tmp`.
pub(super) fn choose(asked: Option<&Path>) -> Option<Runtime> {
    choose_under(asked, Path::new("/tmp"))
}

fn choose_under(asked: Option<&Path>, tmp: &Path) -> Option<Runtime> {
    let uid = rustix::process::geteuid().as_raw();
    if let Some(asked) = asked.filter(|asked| unusable(asked).is_none()) {
        return Some(Runtime { dir: asked.to_owned(), own: false });
    }
    let usual = tmp.join(format!("coord-{uid}"));
    if make(&usual).is_ok() && is_ours(&usual, uid) && is_local(&usual) {
        return Some(Runtime { dir: usual, own: false });
    }
    let fresh = tmp.join(format!("coord-{uid}-{:016x}", disk::random()));
    let made = DirBuilder::new().mode(0o755).create(&fresh).is_ok() && opened_up(&fresh).is_ok();
    (made && is_ours(&fresh, uid) && is_local(&fresh)).then_some(Runtime { dir: fresh, own: true })
}

/// The directory that the environment asks for.
pub(super) fn asked() -> Option<PathBuf> {
    std::env::var_os("COORD_RUNTIME_DIR").filter(|dir| !dir.is_empty()).map(PathBuf::from)
}

/// What keeps a directory that was asked for from being used.
pub(super) fn unusable(asked: &Path) -> Option<String> {
    if !asked.is_absolute() {
        return Some("it is no absolute path".to_string());
    }
    if let Err(error) = make(asked) {
        return Some(format!("it cannot be made: {error}"));
    }
    if !is_local(asked) {
        return Some("it is not on a disk of this host alone".to_string());
    }
    let writable = rustix::fs::access(asked, Access::WRITE_OK | Access::EXEC_OK);
    writable.err().map(|error| format!("this user cannot write there: {error}"))
}

/// Makes the directory unless it is there. Others must be able to look in, whatever the umask.
fn make(dir: &Path) -> io::Result<()> {
    match DirBuilder::new().mode(0o755).create(dir) {
        Ok(()) => opened_up(dir),
        Err(error) if error.kind() == ErrorKind::AlreadyExists && dir.is_dir() => Ok(()),
        Err(error) => Err(error),
    }
}

fn opened_up(dir: &Path) -> io::Result<()> {
    if fs::symlink_metadata(dir)?.mode() & 0o755 == 0o755 {
        return Ok(());
    }
    fs::set_permissions(dir, Permissions::from_mode(0o755))
}

/// A real directory of ours that nobody else can make names in.
fn is_ours(dir: &Path, uid: u32) -> bool {
    fs::symlink_metadata(dir).is_ok_and(|found| found.is_dir() && found.uid() == uid && found.mode() & 0o022 == 0)
}

/// `flock` is proof only where this kernel alone decides it.
fn is_local(dir: &Path) -> bool {
    File::open(dir).is_ok_and(|opened| kind::is_local(&opened, dir))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn usual(tmp: &Path) -> PathBuf {
        tmp.join(format!("coord-{}", rustix::process::geteuid().as_raw()))
    }

    #[test]
    fn the_directory_asked_for_is_made_and_used() {
        let tmp = tempfile::tempdir().unwrap();
        let asked = tmp.path().join("asked");
        assert_eq!(choose_under(Some(&asked), tmp.path()).unwrap().dir, asked);
        let none = tmp.path().join("no/such/parent");
        assert_eq!(choose_under(Some(&none), tmp.path()).unwrap().dir, usual(tmp.path()));
        assert_eq!(choose_under(Some(Path::new("relative")), tmp.path()).unwrap().dir, usual(tmp.path()));
        assert!(unusable(&asked).is_none());
        assert!(unusable(&none).unwrap().starts_with("it cannot be made: "));
        assert_eq!(unusable(Path::new("relative")).unwrap(), "it is no absolute path");
        let file = tmp.path().join("file");
        fs::write(&file, "").unwrap();
        assert_eq!(choose_under(Some(&file), tmp.path()).unwrap().dir, usual(tmp.path()));
    }

    #[test]
    fn the_usual_one_is_shared_by_the_users_processes() {
        let tmp = tempfile::tempdir().unwrap();
        let first = choose_under(None, tmp.path()).unwrap();
        let second = choose_under(None, tmp.path()).unwrap();
        assert_eq!((first.dir, first.own), (second.dir, false));
        assert_eq!(fs::metadata(usual(tmp.path())).unwrap().mode() & 0o777, 0o755);
    }

    #[test]
    fn a_link_or_a_directory_open_to_others_is_passed_over_for_a_fresh_one() {
        let (tmp, elsewhere) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        std::os::unix::fs::symlink(elsewhere.path(), usual(tmp.path())).unwrap();
        let chosen = choose_under(None, tmp.path()).unwrap();
        assert!(chosen.own && chosen.dir != usual(tmp.path()));
        fs::remove_file(usual(tmp.path())).unwrap();
        fs::create_dir(usual(tmp.path())).unwrap();
        fs::set_permissions(usual(tmp.path()), Permissions::from_mode(0o777)).unwrap();
        assert!(choose_under(None, tmp.path()).unwrap().own);
    }

    #[test]
    fn without_any_directory_there_is_none() {
        assert!(choose_under(None, Path::new("/no/such/place")).is_none());
    }
}
