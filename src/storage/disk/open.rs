//! Opening data files by name, and making sure that the name still means that file.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{self, ErrorKind};
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::Duration;

use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;

use super::super::Access;
use super::{id_of, listing, refuse};
use crate::storage::kind;

/// How often, and how long apart, the directory is listed again while the name leads to another inode.
const TRIES: u32 = 6;
const FIRST_PAUSE: Duration = Duration::from_millis(5);

/// Opens a regular file and nothing else: no symbolic link at the end of `path`, no FIFO to hang on.
pub(super) fn regular(path: &Path, access: Access) -> io::Result<File> {
    let access = match access {
        Access::Read => OFlags::RDONLY,
        Access::ReadWrite => OFlags::RDWR,
    };
    let flags = access | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let attempt = |flags| rustix::io::retry_on_intr(|| rustix::fs::open(path, flags, Mode::empty()));
    let file = match attempt(flags | OFlags::NONBLOCK) {
        // A lease or delegation on the file is being called back (fcntl(2), F_SETLEASE): wait for that.
        Err(Errno::AGAIN) if std::fs::symlink_metadata(path)?.is_file() => File::from(attempt(flags)?),
        // ENXIO: a socket, or a FIFO without a reader.
        Err(Errno::LOOP | Errno::NXIO) => return Err(refuse(ErrorKind::InvalidInput, path, "not a regular file")),
        other => File::from(other?),
    };
    if !file.metadata()?.is_file() {
        return Err(refuse(ErrorKind::InvalidInput, path, "not a regular file"));
    }
    Ok(file)
}

/// Opens the file that the server has under this name now; see [`crate::storage::Storage::open_listed`].
///
/// In builds with debug assertions it fails as if others of this host had an old file open (9p), for as long as there is a file that
/// `COORD_TEST_HELD` names.
pub(super) fn listed(path: &Path, access: Access, scratch: &Path) -> io::Result<File> {
    let Some(parent) = path.parent() else {
        return Err(refuse(ErrorKind::InvalidInput, path, "not a file's path"));
    };
    let held = || std::env::var_os("COORD_TEST_HELD").is_some_and(|sign| Path::new(&sign).exists());
    if cfg!(debug_assertions) && held() {
        return Err(refuse(ErrorKind::StaleNetworkFileHandle, path, "held, for a test"));
    }
    // No other kernel changes a local directory, and on some (overlay) its listing gives other inode numbers than `stat`.
    if kind::is_local(&File::from(listing::open_dir(parent)?), parent) {
        return regular(path, access);
    }
    listed_anew(path, access, scratch)
}

fn listed_anew(path: &Path, access: Access, scratch: &Path) -> io::Result<File> {
    let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else {
        return Err(refuse(ErrorKind::InvalidInput, path, "not a file's path"));
    };
    void_listing(scratch)?;
    until_listed(path, || listing_inode(parent, name), || regular(path, access))
}

/// Changes the directory, so that this client knows that it knows nothing of it.
fn void_listing(scratch: &Path) -> io::Result<()> {
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    drop(rustix::fs::open(scratch, flags, Mode::RUSR | Mode::WUSR)?);
    std::fs::remove_file(scratch)
}

/// The inode that the directory lists under this very name.
///
/// # Errors
/// Also if it lists another spelling of the name, and the filesystem takes the two for one: then it is not missing.
fn listing_inode(parent: &Path, name: &OsStr) -> io::Result<Option<u64>> {
    let entries = listing::entries(parent)?;
    match entries.iter().find(|entry| entry.name == name) {
        Some(entry) => Ok(Some(entry.inode)),
        None => match other_spelling(&parent.join(name), &entries) {
            Some(listed) => Err(spelled(&parent.join(name), listed)),
            None => Ok(None),
        },
    }
}

/// See [`crate::storage::Storage::spelled_otherwise`].
pub(super) fn spelled_otherwise(path: &Path) -> io::Result<Option<OsString>> {
    let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else { return Ok(None) };
    let entries = listing::entries(parent)?;
    if entries.iter().any(|entry| entry.name == name) {
        return Ok(None);
    }
    Ok(other_spelling(path, &entries).map(OsStr::to_owned))
}

/// The entry that `path`, which is not listed, leads to by another spelling (case, or Unicode's normal forms). That it has the same
/// inode is not enough: a client may remember what was there under the name, and its inode may be another's by now.
fn other_spelling<'a>(path: &Path, entries: &'a [listing::Entry]) -> Option<&'a OsStr> {
    let name = path.file_name()?;
    let alike = |other: &OsStr| other.eq_ignore_ascii_case(name) || !(other.is_ascii() || name.is_ascii());
    let mut inode = None;
    let leads_there = |entry: &&listing::Entry| {
        let found = *inode.get_or_insert_with(|| std::fs::symlink_metadata(path).map_or(0, |found| found.ino()));
        found == entry.inode && found != 0
    };
    entries.iter().filter(|entry| alike(&entry.name)).find(leads_there).map(|entry| entry.name.as_os_str())
}

fn spelled(path: &Path, listed: &OsStr) -> io::Error {
    let what = format!("its directory lists it as {listed:?}, and this filesystem takes the two names for one");
    refuse(ErrorKind::Other, path, &what)
}

/// Lists and opens in turn until both speak of one inode.
fn until_listed(
    path: &Path,
    mut inode_listed: impl FnMut() -> io::Result<Option<u64>>,
    mut open: impl FnMut() -> io::Result<File>,
) -> io::Result<File> {
    let mut pause = FIRST_PAUSE;
    let (mut seen, mut kind) = (String::new(), ErrorKind::Other);
    for attempt in 0..TRIES {
        if attempt > 0 {
            std::thread::sleep(pause);
            pause *= 2;
        }
        let Some(expected) = inode_listed()? else {
            return Err(refuse(ErrorKind::NotFound, path, "not in its directory's listing"));
        };
        match open() {
            Ok(file) => match id_of(&file.metadata()?).inode {
                found if found == expected => return Ok(file),
                found => {
                    seen = format!("its directory lists inode {expected}, opening it gave inode {found}");
                    kind = ErrorKind::StaleNetworkFileHandle;
                }
            },
            // Replaced between the listing and the opening, or the client's old handle.
            Err(error) if matches!(error.raw_os_error(), Some(libc::ENOENT | libc::ESTALE)) => {
                // Never "not found": it is listed.
                seen = format!("its directory lists inode {expected}, opening it gave: {error}");
                kind = ErrorKind::Other;
            }
            Err(error) => return Err(error),
        }
    }
    Err(refuse(kind, path, &format!("{seen}; still so after {TRIES} tries")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::Cell;
    use std::fs;

    #[test]
    fn only_regular_files_are_opened_and_nothing_hangs() {
        let dir = tempfile::tempdir().unwrap();
        let (file, link, fifo) = (dir.path().join("file"), dir.path().join("link"), dir.path().join("fifo"));
        fs::write(&file, b"x").unwrap();
        std::os::unix::fs::symlink(&file, &link).unwrap();
        rustix::fs::mknodat(rustix::fs::CWD, &fifo, rustix::fs::FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).unwrap();
        let _socket = std::os::unix::net::UnixListener::bind(dir.path().join("socket")).unwrap();
        assert!(regular(&file, Access::ReadWrite).is_ok());
        for name in ["link", "fifo", "socket", "."] {
            assert!(regular(&dir.path().join(name), Access::Read).is_err(), "{name}");
        }
        assert_eq!(regular(&dir.path().join("none"), Access::Read).unwrap_err().kind(), ErrorKind::NotFound);
    }

    #[test]
    fn a_name_that_leads_elsewhere_is_listed_and_opened_again() {
        let dir = tempfile::tempdir().unwrap();
        let (old, new) = (dir.path().join("old"), dir.path().join("new"));
        fs::write(&old, b"old").unwrap();
        fs::write(&new, b"new").unwrap();
        let inode = fs::metadata(&new).unwrap().ino();
        let opens = Cell::new(0);
        let file = until_listed(
            &new,
            || Ok(Some(inode)),
            || {
                opens.set(opens.get() + 1);
                File::open(if opens.get() < 3 { &old } else { &new })
            },
        );
        assert_eq!(file.unwrap().metadata().unwrap().ino(), inode);
        assert_eq!(opens.get(), 3);
    }

    #[test]
    fn a_name_that_never_leads_there_is_an_error_that_says_what_was_seen() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("file");
        fs::write(&path, b"").unwrap();
        let error = until_listed(&path, || Ok(Some(1)), || File::open(&path)).unwrap_err();
        assert!(error.to_string().contains("lists inode 1, opening it gave inode"), "{error}");
        assert_eq!(error.kind(), ErrorKind::StaleNetworkFileHandle);
        // What is listed is there, whatever this client says: taken for missing it would be replaced by nothing.
        for code in [libc::ENOENT, libc::ESTALE] {
            let error = until_listed(&path, || Ok(Some(1)), || Err(io::Error::from_raw_os_error(code))).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Other, "{error}");
        }
        let error = until_listed(&path, || Ok(None), || File::open(&path)).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::NotFound);
    }

    /// The whole way that files on a network go, on a disk (unless that is an overlay, see above).
    #[test]
    fn what_is_listed_is_what_is_opened() {
        let dir = tempfile::tempdir().unwrap();
        if kind::classify(dir.path()).name == "overlay" {
            return;
        }
        let at = |name: &str| dir.path().join(name);
        fs::write(at("db"), b"").unwrap();
        let file = listed_anew(&at("db"), Access::ReadWrite, &at("s1")).unwrap();
        assert_eq!(file.metadata().unwrap().ino(), fs::metadata(at("db")).unwrap().ino());
        assert_eq!(listed_anew(&at("no"), Access::Read, &at("s2")).unwrap_err().kind(), ErrorKind::NotFound);
        assert_eq!(listing::entries(dir.path()).unwrap().len(), 1);
    }

    /// A filesystem that takes two spellings for one is pretended by a second name of the same file.
    #[test]
    fn another_spelling_is_not_missing() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        let listing = |names: &[&str]| -> Vec<listing::Entry> {
            let of = |name: &&str| listing::Entry { name: name.into(), inode: fs::metadata(at(name)).unwrap().ino() };
            names.iter().map(of).collect()
        };
        for (asked, listed) in [("State.db", "state.DB"), ("caf\u{e9}.db", "cafe\u{301}.db")] {
            fs::write(at(asked), b"").unwrap();
            fs::hard_link(at(asked), at(listed)).unwrap();
            fs::write(at("other"), b"").unwrap();
            let entries = listing(&["other", listed]);
            assert_eq!(other_spelling(&at(asked), &entries), Some(OsStr::new(listed)));
            // The client remembers a file whose inode is another's by now; and one that is missing.
            fs::hard_link(at(asked), at("again")).unwrap();
            assert_eq!(other_spelling(&at(asked), &listing(&["other", "again"])), None);
            fs::remove_file(at("again")).unwrap();
            fs::remove_file(at(asked)).unwrap();
            assert_eq!(other_spelling(&at(asked), &entries), None);
        }
    }

    #[test]
    fn the_scratch_name_is_gone_again_and_never_replaces_anything() {
        let dir = tempfile::tempdir().unwrap();
        let scratch = dir.path().join("scratch");
        void_listing(&scratch).unwrap();
        assert_eq!(listing_inode(dir.path(), "scratch".as_ref()).unwrap(), None);
        fs::write(&scratch, b"kept").unwrap();
        assert!(void_listing(&scratch).is_err());
        assert_eq!(fs::read(&scratch).unwrap(), b"kept");
    }
}
