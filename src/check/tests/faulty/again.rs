//! One open file by several handles.

use std::io;
use std::sync::Arc;

use crate::storage::{DataFile, FileId};

/// Another handle on the same open file.
pub(super) struct Again(pub(super) Arc<dyn DataFile + Sync>);

impl DataFile for Again {
    fn id(&self) -> io::Result<FileId> {
        self.0.id()
    }
    fn size(&self) -> io::Result<u64> {
        self.0.size()
    }
    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        self.0.read_at(buf, offset)
    }
    fn write_at(&self, buf: &[u8], offset: u64) -> io::Result<()> {
        self.0.write_at(buf, offset)
    }
    fn set_len(&self, len: u64) -> io::Result<()> {
        self.0.set_len(len)
    }
    fn sync(&self) -> io::Result<()> {
        self.0.sync()
    }
    fn drop_cache(&self) -> io::Result<()> {
        self.0.drop_cache()
    }
    fn clone_from(&self, _: &dyn DataFile) -> bool {
        false
    }
}
