//! A client of a filesystem with one defect, over a real directory. Two of them over one directory are two hosts, each with
//! caches of its own.

mod again;

use std::collections::hash_map::Entry;
use std::collections::{HashMap, HashSet};
use std::ffi::OsString;
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use again::Again;

use crate::storage::disk::Disk;
use crate::storage::kind::Class;
use crate::storage::{
    Access, Attributes, DataFile, FileId, Incarnation, Instant, Kind, Liveness, Owner, Process, Storage,
};

/// What is wrong with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Defect {
    None,
    /// Who comes second is told that he has won, too.
    MkdirTwice,
    CreateTwice,
    RenameTwice,
    /// A rename over a file puts the new content into the old inode.
    RenameInPlace,
    /// A rename over a file that somebody has open is refused.
    NoReplace,
    /// A listing shows of others' names those that were there at the listing before.
    ListingBehind(&'static str),
    /// A listing is the one before.
    ListingOld,
    /// Names beyond the hundredth are not listed.
    ListingCut,
    ListingTwice,
    /// A listing fails, or misses a name that stays, when another one was removed since the one before.
    ListingFails,
    ListingMisses,
    RmdirFull,
    ShortNames,
    CapitalNames,
    SyncFails,
    NoDrop,
    /// Pages stay in the cache although it was dropped.
    DropNothing,
    /// A file's size by handle is that of the first question, whatever it is by then; the data is right.
    SizeStays,
    DirectStale,
    TruncateIgnored,
    InodeMoves,
    RightsLost,
    LocksShared,
    /// A name leads to the file that it was opened as first.
    OpenStale,
    /// A name that was missing once stays missing.
    MissingStays,
    /// What others have written into a new file is not there yet.
    ContentsLate,
    /// A directory that was known once cannot be made anew.
    DirectoryStays,
    ReadOnly,
    /// There is room for so many operations that make something.
    Room(i64),
}

pub struct Faulty {
    disk: Disk,
    pub defect: Defect,
    pub class: Class,
    /// Which run of which kernel it pretends to be.
    pub boot: Option<&'static str>,
    listed: Mutex<HashMap<PathBuf, Vec<OsString>>>,
    made: Mutex<HashSet<PathBuf>>,
    known: Mutex<HashSet<PathBuf>>,
    missing: Mutex<HashSet<PathBuf>>,
    opened: Mutex<HashMap<PathBuf, Arc<dyn DataFile + Sync>>>,
    pages: Pages,
    room: AtomicI64,
    /// Names removed by a step that makes and removes them all the time.
    removed: AtomicU64,
}

type Pages = Arc<Mutex<HashMap<FileId, Vec<u8>>>>;

impl Faulty {
    pub fn new(defect: Defect, class: Class) -> Faulty {
        Faulty {
            disk: Disk::new(),
            defect,
            class,
            boot: None,
            listed: Mutex::default(),
            made: Mutex::default(),
            known: Mutex::default(),
            missing: Mutex::default(),
            opened: Mutex::default(),
            pages: Pages::default(),
            removed: AtomicU64::new(0),
            room: AtomicI64::new(if let Defect::Room(room) = defect { room } else { i64::MAX }),
        }
    }

    fn may_make(&self, path: &Path) -> io::Result<()> {
        if self.defect == Defect::ReadOnly {
            return Err(ErrorKind::ReadOnlyFilesystem.into());
        }
        let name = path.file_name().unwrap_or_default().len();
        if self.defect == Defect::ShortNames && name > 100 {
            return Err(ErrorKind::InvalidFilename.into());
        }
        if self.room.fetch_sub(1, Ordering::Relaxed) <= 0 {
            return Err(ErrorKind::StorageFull.into());
        }
        self.made.lock().unwrap().insert(path.to_path_buf());
        Ok(())
    }

    /// A file with the caches of this client.
    fn file(&self, file: Box<dyn DataFile>) -> Box<dyn DataFile> {
        Box::new(FaultyFile {
            file: Mutex::new(file),
            defect: self.defect,
            pages: self.pages.clone(),
            asked: AtomicU64::new(0),
        })
    }

    fn open_with(
        &self,
        path: &Path,
        open: impl Fn() -> io::Result<Box<dyn DataFile>>,
    ) -> io::Result<Box<dyn DataFile>> {
        if self.defect == Defect::MissingStays && self.missing.lock().unwrap().contains(path) {
            return Err(ErrorKind::NotFound.into());
        }
        if self.defect == Defect::OpenStale
            && let Some(first) = self.opened.lock().unwrap().get(path)
        {
            return Ok(Box::new(Again(first.clone())));
        }
        let opened = open().inspect_err(|error| {
            if error.kind() == ErrorKind::NotFound {
                self.missing.lock().unwrap().insert(path.to_path_buf());
            }
        })?;
        if self.defect == Defect::OpenStale {
            let pages = self.pages.clone();
            let asked = AtomicU64::new(0);
            let file: Arc<dyn DataFile + Sync> =
                Arc::new(FaultyFile { file: Mutex::new(opened), defect: self.defect, pages, asked });
            self.opened.lock().unwrap().insert(path.to_path_buf(), file.clone());
            return Ok(Box::new(Again(file)));
        }
        Ok(self.file(opened))
    }
}

impl Storage for Faulty {
    fn now(&self) -> Instant {
        self.disk.now()
    }
    fn sleep(&self, span: Duration) {
        self.disk.sleep(span);
    }
    fn date(&self) -> String {
        self.disk.date()
    }
    fn random(&self) -> u64 {
        self.disk.random()
    }
    fn make_dir(&self, dir: &Path, owner: Owner) -> io::Result<()> {
        self.may_make(dir)?;
        if self.defect == Defect::DirectoryStays && self.known.lock().unwrap().contains(dir) {
            return Err(ErrorKind::AlreadyExists.into());
        }
        match self.disk.make_dir(dir, owner) {
            Err(error) if error.kind() == ErrorKind::AlreadyExists => {
                self.known.lock().unwrap().insert(dir.to_path_buf());
                if self.defect == Defect::MkdirTwice { Ok(()) } else { Err(error) }
            }
            done => done,
        }
    }
    fn remove_dir(&self, dir: &Path) -> io::Result<()> {
        match self.defect {
            Defect::RmdirFull => std::fs::remove_dir_all(dir),
            _ => self.disk.remove_dir(dir),
        }
    }
    fn create_new(&self, path: &Path, contents: &[u8], owner: Owner) -> io::Result<()> {
        self.may_make(path)?;
        match self.disk.create_new(path, contents, owner) {
            Err(error) if error.kind() == ErrorKind::AlreadyExists && self.defect == Defect::CreateTwice => Ok(()),
            done => done,
        }
    }
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let live = to.file_name().unwrap_or_default().to_string_lossy();
        let is_open = live.starts_with("replace.") || live.starts_with("live.");
        match self.defect {
            Defect::NoReplace if is_open => Err(ErrorKind::PermissionDenied.into()),
            Defect::RenameInPlace if to.exists() => {
                let content = std::fs::read(from)?;
                let file = std::fs::File::options().write(true).truncate(true).open(to)?;
                std::os::unix::fs::FileExt::write_all_at(&file, &content, 0)?;
                self.disk.unlink(from)
            }
            Defect::RenameTwice => match self.disk.rename(from, to) {
                Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
                done => done,
            },
            _ => self.disk.rename(from, to),
        }
    }
    fn link(&self, file: &Path, name: &Path) -> io::Result<()> {
        self.disk.link(file, name)
    }
    fn unlink(&self, path: &Path) -> io::Result<()> {
        let moving = path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("moving"));
        self.removed.fetch_add(u64::from(moving), Ordering::Relaxed);
        self.disk.unlink(path)
    }
    fn list(&self, dir: &Path) -> io::Result<Vec<OsString>> {
        let mut names = self.disk.list(dir)?;
        let step = dir.file_name().unwrap_or_default().to_string_lossy();
        match self.defect {
            Defect::ListingBehind(word) if step.contains(word) => {
                let before = self.listed.lock().unwrap().insert(dir.to_path_buf(), names.clone()).unwrap_or_default();
                let made = self.made.lock().unwrap();
                names.retain(|name| made.contains(&dir.join(name)));
                names.extend(before.into_iter().filter(|name| !made.contains(&dir.join(name))));
            }
            Defect::ListingOld if step.contains("list-fresh") => {
                names = self.listed.lock().unwrap().insert(dir.to_path_buf(), names).unwrap_or_default();
            }
            Defect::ListingCut if step.contains("list-many") => names.truncate(100),
            Defect::ListingTwice if step.contains("list-many") => names.extend_from_within(..1),
            Defect::ListingFails | Defect::ListingMisses if step.contains("motion") => {
                // What another host removes is not seen here: there the first listing is taken for such a one.
                let first = self.listed.lock().unwrap().insert(dir.to_path_buf(), Vec::new()).is_none();
                let removed = self.removed.swap(0, Ordering::Relaxed) > 0 || first && step.contains("two-");
                match self.defect {
                    Defect::ListingFails if removed => return Err(ErrorKind::NotFound.into()),
                    Defect::ListingMisses if removed => {
                        names.retain(|name| !name.to_string_lossy().starts_with("settled"))
                    }
                    _ => {}
                }
            }
            Defect::CapitalNames if step.contains("names") => {
                names.iter_mut().for_each(|name| name.make_ascii_uppercase());
            }
            _ => {}
        }
        Ok(names)
    }
    fn read_small(&self, path: &Path, limit: usize) -> io::Result<Vec<u8>> {
        match self.defect == Defect::ContentsLate && !self.made.lock().unwrap().contains(path) {
            true => Ok(Vec::new()),
            false => self.disk.read_small(path, limit),
        }
    }
    fn append_line(&self, path: &Path, line: &str, owner: Owner) -> io::Result<()> {
        self.disk.append_line(path, line, owner)
    }
    fn incarnation(&self, dir: &Path) -> io::Result<Incarnation> {
        self.disk.incarnation(dir)
    }
    fn attributes(&self, path: &Path) -> io::Result<Attributes> {
        self.disk.attributes(path)
    }
    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        self.disk.sync_dir(dir)
    }
    fn open(&self, path: &Path, access: Access) -> io::Result<Box<dyn DataFile>> {
        self.open_with(path, || self.disk.open(path, access))
    }
    fn read_uncached(&self, path: &Path, limit: usize) -> io::Result<Vec<u8>> {
        match self.defect {
            Defect::DirectStale => Ok(vec![0; limit]),
            Defect::NoDrop => Err(ErrorKind::Unsupported.into()),
            _ => self.disk.read_uncached(path, limit),
        }
    }
    fn open_listed(&self, path: &Path, access: Access, scratch: &Path) -> io::Result<Box<dyn DataFile>> {
        self.open_with(path, || self.disk.open_listed(path, access, scratch))
    }
    fn create_data(&self, path: &Path, owner: Owner) -> io::Result<Box<dyn DataFile>> {
        self.may_make(path)?;
        Ok(self.file(self.disk.create_data(path, owner)?))
    }
    fn copy_attributes(&self, from: &Path, to: &Path) -> io::Result<()> {
        match self.defect {
            Defect::RightsLost => Err(ErrorKind::PermissionDenied.into()),
            _ => self.disk.copy_attributes(from, to),
        }
    }
    fn kind(&self, _: &Path) -> Kind {
        Kind { name: "fakefs".to_string(), class: self.class.clone() }
    }
    fn native_locks(&self, path: &Path) -> io::Result<bool> {
        if self.defect == Defect::LocksShared { Ok(false) } else { self.disk.native_locks(path) }
    }
    fn process(&self) -> Process {
        let boot = self.boot.map(str::to_string);
        let process = self.disk.process();
        Process { boot_id: boot.unwrap_or(process.boot_id.clone()), ..process }
    }
    fn liveness(&self, process: &Process) -> Liveness {
        self.disk.liveness(process)
    }
    fn known_for(&self, key: &str) -> Duration {
        self.disk.known_for(key)
    }
    fn local_guard(&self, path: &Path) -> crate::storage::LocalGuard {
        self.disk.local_guard(path)
    }
}

struct FaultyFile {
    file: Mutex<Box<dyn DataFile>>,
    defect: Defect,
    pages: Pages,
    asked: AtomicU64,
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
