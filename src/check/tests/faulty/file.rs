//! An open file of such a client.

use std::collections::hash_map::Entry;
use std::io::{self, ErrorKind};
use std::path::PathBuf;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use super::{Defect, Pages};
use crate::storage::{DataFile, FileId};

pub(super) struct FaultyFile {
    pub(super) file: Mutex<Box<dyn DataFile>>,
    pub(super) path: PathBuf,
    pub(super) defect: Defect,
    pub(super) pages: Pages,
    pub(super) asked: AtomicU64,
}

impl DataFile for FaultyFile {
    fn id(&self) -> io::Result<FileId> {
        let mut id = self.file.lock().unwrap().id()?;
        if self.defect == Defect::InodeMoves {
            id.inode += self.asked.fetch_add(1, Ordering::Relaxed);
        }
        Ok(id)
    }
    fn size(&self) -> io::Result<u64> {
        let size = self.file.lock().unwrap().size()?;
        if self.defect == Defect::SizeStays {
            let _ = self.asked.compare_exchange(0, size, Ordering::Relaxed, Ordering::Relaxed);
            return Ok(self.asked.load(Ordering::Relaxed));
        }
        Ok(size)
    }
    /// Through a cache that holds whole files until they are dropped or written.
    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        let file = self.file.lock().unwrap();
        if self.defect != Defect::DropNothing {
            return file.read_at(buf, offset);
        }
        let id = file.id()?;
        let mut pages = self.pages.lock().unwrap();
        if let Entry::Vacant(vacant) = pages.entry(id) {
            let mut whole = vec![0; file.size()? as usize];
            file.read_at(&mut whole, 0)?;
            vacant.insert(whole);
        }
        let rest = pages[&id].get(offset as usize..).unwrap_or_default();
        let got = rest.len().min(buf.len());
        buf[..got].copy_from_slice(&rest[..got]);
        Ok(got)
    }
    fn write_at(&self, buf: &[u8], offset: u64) -> io::Result<()> {
        let file = self.file.lock().unwrap();
        self.pages.lock().unwrap().remove(&file.id()?);
        let by_name = match self.defect {
            Defect::WriteByName => true,
            // Not in the first two rounds, of which this host leads one.
            Defect::NoReplaceWriteByName => self.path.extension().is_none_or(|round| round != "0" && round != "1"),
            _ => false,
        };
        if by_name {
            let file = std::fs::File::options().write(true).open(&self.path)?;
            return std::os::unix::fs::FileExt::write_all_at(&file, buf, offset);
        }
        file.write_at(buf, offset)
    }
    fn set_len(&self, len: u64) -> io::Result<()> {
        let file = self.file.lock().unwrap();
        self.pages.lock().unwrap().remove(&file.id()?);
        if self.defect == Defect::TruncateIgnored { Ok(()) } else { file.set_len(len) }
    }
    fn sync(&self) -> io::Result<()> {
        match self.defect {
            Defect::SyncFails => Err(io::Error::from_raw_os_error(libc::EIO)),
            _ => self.file.lock().unwrap().sync(),
        }
    }
    fn drop_cache(&self) -> io::Result<()> {
        match self.defect {
            Defect::NoDrop => Err(ErrorKind::Unsupported.into()),
            _ => self.file.lock().unwrap().drop_cache(),
        }
    }
    fn clone_from(&self, _: &dyn DataFile) -> bool {
        false
    }
}
