//! One file of a fence and its copy. Whatever takes long is done in portions, with the heartbeat kept up between them: a node that is
//! silent while it copies would be taken over from, and so would whoever does that, for ever.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::error::Denied;
use super::node::Node;
use crate::storage::DataFile;
use crate::switches::{self, Guard};

/// Copied and compared at a time.
const CHUNK: usize = 1 << 20;

/// One file and its copy in the making.
pub(super) struct Pair {
    pub source: PathBuf,
    pub copy: PathBuf,
    pub from: Option<Box<dyn DataFile>>,
    pub to: Box<dyn DataFile>,
}

/// So many bytes are copied and synced in one go: as many as take a small part of the time between two heartbeats, whether the server is
/// a disk beside us or at the end of a slow line.
struct Portion {
    bytes: u64,
    interval: Duration,
}

impl Portion {
    const LEAST: u64 = CHUNK as u64;
    const MOST: u64 = 64 * Portion::LEAST;

    fn new(interval: Duration) -> Portion {
        Portion { bytes: Portion::LEAST, interval }
    }

    /// The last one took so long.
    fn took(&mut self, span: Duration) {
        if span < self.interval / 8 {
            self.bytes = (self.bytes * 2).min(Portion::MOST);
        } else if span > self.interval / 2 {
            self.bytes = (self.bytes / 2).max(Portion::LEAST);
        }
    }
}

impl Node {
    fn portion(&self) -> Portion {
        Portion::new(self.lease_span() / 6)
    }

    /// `first`: the copy is empty still.
    pub(super) fn copy_pair(&mut self, Pair { source, copy, from, to }: &Pair, first: bool) -> Result<(), Denied> {
        let Some(from) = from else { return Ok(()) };
        from.drop_cache().map_err(Denied::io("copy", source))?;
        let done = first && (**to).clone_from(&**from);
        if !done {
            self.copy_once(&**from, &**to).map_err(|error| error.at(source, copy))?;
        }
        to.sync().map_err(Denied::io("sync", copy))
    }

    /// Through this host, always. A server that copies within itself (NFS 4.2's COPY, `copy_file_range`) says by a call of its own
    /// when it is done; Linux servers lose that call when a connection breaks, and Linux clients wait for it for ever.
    fn copy_once(&mut self, source: &dyn DataFile, target: &dyn DataFile) -> Result<(), Failed> {
        let mut buf = vec![0; CHUNK];
        let (mut portion, mut offset, mut unsynced, mut begun) = (self.portion(), 0, 0, self.storage.now());
        loop {
            if !switches::off(Guard::CopyBeats) {
                self.heartbeat_if_due().map_err(Failed::Denied)?;
            }
            let got = source.read_at(&mut buf, offset).map_err(Failed::Source)?;
            if got == 0 {
                return target.set_len(offset).map_err(Failed::Copy);
            }
            target.write_at(&buf[..got], offset).map_err(Failed::Copy)?;
            (offset, unsynced) = (offset + got as u64, unsynced + got as u64);
            if unsynced >= portion.bytes {
                target.sync().map_err(Failed::Copy)?;
                let now = self.storage.now();
                portion.took(now.since(begun));
                (unsynced, begun) = (0, now);
            }
        }
    }

    pub(super) fn is_equal(&mut self, Pair { source, copy, from, to }: &Pair) -> Result<bool, Denied> {
        let Some(from) = from else { return Ok(true) };
        let (mut a, mut b) = (vec![0; CHUNK], vec![0; CHUNK]);
        let mut offset = 0;
        loop {
            self.heartbeat_if_due()?;
            let got = from.read_at(&mut a, offset).map_err(Denied::io("read", source))?;
            let same = to.read_at(&mut b, offset).map_err(Denied::io("read", copy))?;
            if a[..got] != b[..same] {
                return Ok(false);
            }
            if got == 0 {
                return Ok(true);
            }
            offset += got as u64;
        }
    }
}

/// Which side of a copy failed.
enum Failed {
    Source(io::Error),
    Copy(io::Error),
    Denied(Denied),
}

impl Failed {
    fn at(self, source: &Path, copy: &Path) -> Denied {
        match self {
            Failed::Source(error) => Denied::io("read", source)(error),
            Failed::Copy(error) => Denied::io("write", copy)(error),
            Failed::Denied(denied) => denied,
        }
    }
}
