//! An open data file.

use std::fs::File;
use std::io::{self, ErrorKind};
use std::os::fd::{AsRawFd, BorrowedFd};
use std::os::unix::fs::FileExt;
use std::path::Path;

use super::super::{Access, DataFile, FileId};
use super::{id_of, open};
use crate::storage::kind;
use crate::switches::{self, Guard};

/// A file on a filesystem whose class was looked up when it was opened.
pub(super) struct DiskFile {
    file: File,
    local: bool,
}

impl DiskFile {
    pub(super) fn new(file: File, path: &Path) -> DiskFile {
        let local = kind::is_local(&file, path);
        DiskFile { file, local }
    }
}

impl DataFile for DiskFile {
    fn id(&self) -> io::Result<FileId> {
        Ok(id_of(&self.file.metadata()?))
    }

    fn size(&self) -> io::Result<u64> {
        Ok(self.file.metadata()?.len())
    }

    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        let mut done = 0;
        while done < buf.len() {
            match self.file.read_at(&mut buf[done..], offset + done as u64) {
                Ok(0) => break,
                Ok(count) => done += count,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(done)
    }

    fn write_at(&self, buf: &[u8], offset: u64) -> io::Result<()> {
        self.file.write_all_at(buf, offset)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.file.set_len(len)
    }

    fn sync(&self) -> io::Result<()> {
        sync(&self.file)
    }

    fn drop_cache(&self) -> io::Result<()> {
        if self.local {
            return Ok(());
        }
        ask_for_attributes(&self.file)?;
        drop_cache(&self.file)?;
        if switches::off(Guard::MappedPages) || is_dropped(&self.file) {
            return Ok(());
        }
        open_anew(&self.file);
        drop_cache(&self.file)
    }

    fn clone_from(&self, source: &dyn DataFile) -> bool {
        let Some(source) = source.raw_fd() else { return false };
        // SAFETY: the descriptor belongs to `source`, which is borrowed for the length of this call.
        clone(&self.file, unsafe { BorrowedFd::borrow_raw(source) }).unwrap_or(false)
    }

    fn raw_fd(&self) -> Option<i32> {
        Some(self.file.as_raw_fd())
    }
}

/// See [`crate::storage::Storage::read_uncached`].
pub(super) fn read_uncached(path: &Path, limit: usize) -> io::Result<Vec<u8>> {
    let file = open::regular(path, Access::Read)?;
    if kind::is_local(&file, path) || switches::off(Guard::UncachedHeader) {
        let mut bytes = vec![0; limit];
        let file = DiskFile { file, local: true };
        let got = file.read_at(&mut bytes, 0)?;
        bytes.truncate(got);
        return Ok(bytes);
    }
    around_cache(&file, limit)
}

/// A direct read (open(2), `O_DIRECT`), which wants memory, offset and length in whole blocks.
#[cfg(target_os = "linux")]
fn around_cache(file: &File, limit: usize) -> io::Result<Vec<u8>> {
    use rustix::fs::OFlags;
    #[repr(align(4096))]
    struct Block([u8; 4096]);
    let unsupported = |_| io::Error::from(ErrorKind::Unsupported);
    let flags = rustix::fs::fcntl_getfl(file)?;
    rustix::fs::fcntl_setfl(file, flags | OFlags::DIRECT).map_err(unsupported)?;
    let mut block = Box::new(Block([0; 4096]));
    let got = rustix::io::retry_on_intr(|| rustix::io::pread(file, &mut block.0, 0)).map_err(unsupported)?;
    Ok(block.0[..got.min(limit)].to_vec())
}

#[cfg(not(target_os = "linux"))]
fn around_cache(_file: &File, _limit: usize) -> io::Result<Vec<u8>> {
    Err(io::Error::from(ErrorKind::Unsupported))
}

/// fdatasync: the data, and of the metadata what is needed to read it back, that is the size.
#[cfg(not(target_vendor = "apple"))]
fn sync(file: &File) -> io::Result<()> {
    Ok(rustix::io::retry_on_intr(|| rustix::fs::fdatasync(file))?)
}

/// fsync on macOS stops at the drive's cache; not every filesystem has the real one.
#[cfg(target_vendor = "apple")]
fn sync(file: &File) -> io::Result<()> {
    use rustix::io::Errno;
    match rustix::io::retry_on_intr(|| rustix::fs::fcntl_fullfsync(file)) {
        Err(Errno::INVAL | Errno::NOTSUP | Errno::OPNOTSUPP | Errno::NOTTY) => {
            Ok(rustix::io::retry_on_intr(|| rustix::fs::fsync(file))?)
        }
        other => Ok(other?),
    }
}

/// Clean pages of the whole inode, for every descriptor of this host; dirty ones stay (posix_fadvise(2)).
#[cfg(target_os = "linux")]
fn drop_cache(file: &File) -> io::Result<()> {
    Ok(rustix::io::retry_on_intr(|| rustix::fs::fadvise(file, 0, None, rustix::fs::Advice::DontNeed))?)
}

/// Asks the server how long the file is (statx(2), `AT_STATX_FORCE_SYNC`): a client goes by what it knows of that for seconds, and reads
/// nothing beyond it. Where the file has changed it forgets its pages as well, the mapped ones with them.
#[cfg(target_os = "linux")]
fn ask_for_attributes(file: &File) -> io::Result<()> {
    use rustix::fs::{AtFlags, StatxFlags, statx};
    if switches::off(Guard::FreshSize) {
        return Ok(());
    }
    let flags = AtFlags::EMPTY_PATH | AtFlags::STATX_FORCE_SYNC;
    let asked = rustix::io::retry_on_intr(|| statx(file, "", flags, StatxFlags::BASIC_STATS));
    match asked {
        // Of a file that is gone at the server every read says so, and where it goes on nobody makes it longer.
        Ok(_) | Err(rustix::io::Errno::STALE | rustix::io::Errno::NOENT) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

#[cfg(not(target_os = "linux"))]
fn ask_for_attributes(_file: &File) -> io::Result<()> {
    Ok(())
}

/// Whether nothing of the file is left in this host's cache. Pages that a program has mapped, or is just reading, are not dropped,
/// without a word.
#[cfg(target_os = "linux")]
fn is_dropped(file: &File) -> bool {
    match pages_left(file) {
        Ok(left) => !left,
        // What we cannot map nobody has mapped.
        Err(error) => error.raw_os_error() == Some(libc::ENODEV),
    }
}

/// Pages asked for at once.
#[cfg(target_os = "linux")]
const AT_ONCE: usize = 1 << 18;

/// Whether a page of the file is in the cache (mincore(2)). That is told only to who may write the file: others are told of every
/// page that it is there, also of one behind the file's end, which is asked for first.
#[cfg(target_os = "linux")]
fn pages_left(file: &File) -> io::Result<bool> {
    let page = rustix::param::page_size();
    let size = usize::try_from(file.metadata()?.len()).map_err(|_| ErrorKind::FileTooLarge)?.next_multiple_of(page);
    let length = size + 2 * page;
    // SAFETY: a mapping of its own, never touched: a file that becomes shorter does no harm.
    let mapped =
        unsafe { libc::mmap(std::ptr::null_mut(), length, libc::PROT_NONE, libc::MAP_PRIVATE, file.as_raw_fd(), 0) };
    if mapped == libc::MAP_FAILED {
        return Err(io::Error::last_os_error());
    }
    let mut there = vec![0_u8; AT_ONCE.min(length / page)];
    let mut is_there = |from: usize, pages: usize| {
        // SAFETY: the pages lie within the mapping, and there is a byte for each of them.
        match unsafe { libc::mincore(mapped.byte_add(from), pages * page, there.as_mut_ptr()) } {
            0 => Ok(there[..pages].iter().any(|page| page & 1 != 0)),
            _ => Err(io::Error::last_os_error()),
        }
    };
    let mut left = is_there(length - page, 1);
    let mut at = 0;
    while at < size && matches!(left, Ok(false)) {
        let pages = AT_ONCE.min((size - at) / page);
        left = is_there(at, pages);
        at += pages * page;
    }
    // SAFETY: the mapping made above.
    unsafe { libc::munmap(mapped, length) };
    left
}

/// Opens the very same file once more, which is what makes a client ask the server whether it has changed, and if so forget what is
/// mapped as well (NFS: close-to-open consistency; FUSE forgets at each opening). Best effort: where it fails, so does what follows.
#[cfg(target_os = "linux")]
fn open_anew(file: &File) {
    drop(File::open(format!("/proc/self/fd/{}", file.as_raw_fd())));
}

#[cfg(not(target_os = "linux"))]
fn is_dropped(_file: &File) -> bool {
    true
}

#[cfg(not(target_os = "linux"))]
fn open_anew(_file: &File) {}

#[cfg(not(target_os = "linux"))]
fn drop_cache(_file: &File) -> io::Result<()> {
    Err(io::Error::new(
        ErrorKind::Unsupported,
        "this system cannot drop what it has cached of a shared file; use a Linux host for databases on a network",
    ))
}

/// Reflink. True if `to` now is as long as `from` was.
#[cfg(target_os = "linux")]
fn clone(to: &File, from: BorrowedFd<'_>) -> io::Result<bool> {
    let size = rustix::fs::fstat(from)?.st_size as u64;
    rustix::fs::ioctl_ficlone(to, from)?;
    Ok(to.metadata()?.len() == size)
}

#[cfg(not(target_os = "linux"))]
fn clone(_to: &File, _from: BorrowedFd<'_>) -> io::Result<bool> {
    Ok(false)
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    /// On a disk the call must not be made at all (it throws away a cache that is right), elsewhere it must be.
    #[test]
    fn the_cache_is_dropped_only_where_another_host_may_write() {
        let (reader, _writer) = std::io::pipe().unwrap();
        let mut file = DiskFile { file: File::from(std::os::fd::OwnedFd::from(reader)), local: true };
        assert!(file.drop_cache().is_ok());
        file.local = false;
        assert!(file.drop_cache().is_err(), "a pipe refuses the advice, so this shows that it was given");
        let disk = tempfile::tempfile().unwrap();
        assert!(DiskFile { file: disk, local: false }.drop_cache().is_ok());
    }

    #[test]
    fn pages_that_are_left_are_seen() {
        let dir = tempfile::tempdir_in(env!("CARGO_MANIFEST_DIR")).unwrap();
        let file = File::options().read(true).write(true).create_new(true).open(dir.path().join("file")).unwrap();
        assert!(is_dropped(&file), "an empty one");
        file.write_all_at(&[1; 20_000], 0).unwrap();
        assert!(!is_dropped(&file), "just written");
    }
}
