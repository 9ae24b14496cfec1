//! Directory listings: always of a newly opened directory, always whole.
//!
//! A rewound or kept directory stream shows a network client's old pages (measured: every time); so does glibc's `readdir`
//! hide one thing that matters here: it reports a directory that was removed meanwhile as an empty one. Hence the raw calls.

use std::ffi::OsString;
use std::io;
use std::path::Path;

/// A name, and the inode that the directory gives for it.
pub(super) struct Entry {
    pub name: OsString,
    pub inode: u64,
}

/// Room for one reading of some hundreds of names.
#[cfg(target_os = "linux")]
const BUFFER: usize = 32 * 1024;

/// How often a reading that was given up is begun again. A client that goes on opening a directory which is gone must not
/// hold us for ever.
#[cfg(target_os = "linux")]
const GIVEN_UP_MAX: u32 = 20;

/// All entries without `.` and `..`.
#[cfg(target_os = "linux")]
pub(super) fn entries(dir: &Path) -> io::Result<Vec<Entry>> {
    let mut buffer = Vec::with_capacity(BUFFER);
    Ok(until_whole(|| open_dir(dir), |opened| read_whole(opened, &mut buffer))?)
}

/// Opens and reads until a reading came to its end. A server may give a reading up at a name that was removed meanwhile (9p of
/// QEMU: measured, 29 of 11142 listings), and where the directory was removed and made anew meanwhile, NFS says that the handle is
/// stale (measured: once in 40 runs of VACUUM beside writers). What there is by then shows when it is opened anew.
#[cfg(target_os = "linux")]
fn until_whole<D>(
    mut open: impl FnMut() -> rustix::io::Result<D>,
    mut read: impl FnMut(&D) -> rustix::io::Result<Vec<Entry>>,
) -> rustix::io::Result<Vec<Entry>> {
    let mut given_up = 0;
    loop {
        let found = match open() {
            Ok(opened) => read(&opened),
            Err(rustix::io::Errno::STALE) => Err(rustix::io::Errno::STALE),
            Err(error) => return Err(error),
        };
        match found {
            Err(rustix::io::Errno::INTR) => {}
            Err(rustix::io::Errno::NOENT | rustix::io::Errno::STALE) if given_up < GIVEN_UP_MAX => given_up += 1,
            other => return other,
        }
    }
}

#[cfg(target_os = "linux")]
fn read_whole(opened: &std::os::fd::OwnedFd, buffer: &mut Vec<u8>) -> rustix::io::Result<Vec<Entry>> {
    use std::os::unix::ffi::OsStrExt;

    let mut found = Vec::new();
    let mut stream = rustix::fs::RawDir::new(opened, buffer.spare_capacity_mut());
    while let Some(entry) = stream.next() {
        let entry = entry?;
        let name = entry.file_name().to_bytes();
        if name != b"." && name != b".." {
            found.push(Entry { name: std::ffi::OsStr::from_bytes(name).to_owned(), inode: entry.ino() });
        }
    }
    Ok(found)
}

/// All entries without `.` and `..`.
#[cfg(not(target_os = "linux"))]
pub(super) fn entries(dir: &Path) -> io::Result<Vec<Entry>> {
    use std::os::unix::fs::DirEntryExt;

    let read_whole = || {
        std::fs::read_dir(dir)?
            .map(|entry| entry.map(|entry| Entry { name: entry.file_name(), inode: entry.ino() }))
            .collect::<io::Result<Vec<Entry>>>()
    };
    loop {
        match read_whole() {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            other => return other,
        }
    }
}

/// Opens a directory itself, not what a symbolic link in its place leads to.
pub(super) fn open_dir(dir: &Path) -> rustix::io::Result<std::os::fd::OwnedFd> {
    use rustix::fs::{Mode, OFlags};
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    rustix::io::retry_on_intr(|| rustix::fs::open(dir, flags, Mode::empty()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;
    use std::fs;

    #[test]
    fn all_of_many_names_are_listed_once_with_their_inodes() {
        use std::os::unix::fs::MetadataExt;
        let dir = tempfile::tempdir().unwrap();
        let long = "n".repeat(200);
        for number in 0..500 {
            fs::write(dir.path().join(format!("{long}{number}")), b"").unwrap();
        }
        let found = entries(dir.path()).unwrap();
        assert_eq!(found.len(), 500);
        assert_eq!(found.iter().map(|entry| &entry.name).collect::<BTreeSet<_>>().len(), 500);
        let meta = fs::metadata(dir.path().join(&found[0].name)).unwrap();
        assert_eq!(meta.ino(), found[0].inode);
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn a_reading_that_was_given_up_is_begun_again_unless_the_directory_is_gone() {
        use rustix::io::Errno;
        let entry = || Entry { name: "name".into(), inode: 1 };
        let mut answers = vec![Ok(vec![entry()]), Err(Errno::NOENT), Err(Errno::INTR), Err(Errno::NOENT)];
        let found = until_whole(|| Ok(()), |()| answers.pop().unwrap()).unwrap();
        assert_eq!((found.len(), answers.len()), (1, 0));
        // Gone: opening it anew says so. Gone, and opened from memory for ever: an end all the same.
        let mut opened = vec![Err(Errno::NOENT), Ok(())];
        assert_eq!(until_whole(|| opened.pop().unwrap(), |()| Err(Errno::NOENT)).err(), Some(Errno::NOENT));
        assert_eq!(until_whole(|| Ok(()), |()| Err(Errno::NOENT)).err(), Some(Errno::NOENT));
        assert_eq!(until_whole(|| Ok(()), |()| Err(Errno::IO)).err(), Some(Errno::IO));
        // Removed and made anew by another host, between the opening and the reading or before either.
        let mut answers = vec![Ok(Vec::new()), Err(Errno::STALE)];
        let mut opened = vec![Ok(()), Ok(()), Err(Errno::STALE)];
        assert!(until_whole(|| opened.pop().unwrap(), |()| answers.pop().unwrap()).is_ok_and(|found| found.is_empty()));
        assert_eq!(until_whole(|| Ok(()), |()| Err(Errno::STALE)).err(), Some(Errno::STALE));
    }

    #[test]
    fn a_missing_directory_a_file_and_a_link_are_errors() {
        let dir = tempfile::tempdir().unwrap();
        let (file, link) = (dir.path().join("file"), dir.path().join("link"));
        fs::write(&file, b"").unwrap();
        std::os::unix::fs::symlink(dir.path(), &link).unwrap();
        let kind_of = |path: &Path| entries(path).err().map(|error| error.kind());
        assert_eq!(kind_of(&dir.path().join("none")), Some(io::ErrorKind::NotFound));
        assert_eq!(kind_of(&file), Some(io::ErrorKind::NotADirectory));
        assert!(kind_of(&link).is_some());
        assert!(entries(dir.path()).is_ok_and(|found| found.len() == 2));
    }
}
