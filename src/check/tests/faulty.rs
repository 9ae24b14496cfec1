//! A client of a filesystem with one defect, over a real directory. Two of them over one directory are two hosts, each with
//! caches of its own.

mod again;
mod defect;
mod file;

use std::collections::{HashMap, HashSet};
use std::ffi::OsString;
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use again::Again;
pub use defect::Defect;
use file::FaultyFile;

use crate::storage::disk::Disk;
use crate::storage::kind::Class;
use crate::storage::{
    Access, Attributes, DataFile, FileId, Incarnation, Instant, Kind, Liveness, Owner, Process, Storage,
};

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
    /// Directories made by the step that measures.
    folders: AtomicU64,
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
            folders: AtomicU64::new(0),
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

    /// What comes before a name is made for which two hosts race.
    fn come_late(&self, path: &Path) {
        let step = path.parent().and_then(Path::file_name).unwrap_or_default().to_string_lossy();
        match self.defect {
            Defect::SlowToMake if step.contains("two-race") || step.contains("two-crossing") => {
                self.disk.sleep(Duration::from_millis(20));
            }
            Defect::AlwaysSecond if step.contains("two-race-dir") => {
                let is_prize = path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("dir."));
                while is_prize && !path.exists() {
                    self.disk.sleep(Duration::from_millis(1));
                }
            }
            _ => {}
        }
    }

    /// A file with the caches of this client.
    fn file(&self, file: Box<dyn DataFile>, path: &Path) -> Box<dyn DataFile> {
        Box::new(FaultyFile {
            file: Mutex::new(file),
            path: path.to_path_buf(),
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
            let file: Arc<dyn DataFile + Sync> = Arc::new(FaultyFile {
                file: Mutex::new(opened),
                path: path.to_path_buf(),
                defect: self.defect,
                pages,
                asked,
            });
            self.opened.lock().unwrap().insert(path.to_path_buf(), file.clone());
            return Ok(Box::new(Again(file)));
        }
        Ok(self.file(opened, path))
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
        self.come_late(dir);
        let step = dir.parent().and_then(Path::file_name).unwrap_or_default().to_string_lossy();
        let fails = self.defect == Defect::MkdirFails && step.contains("latency");
        if fails && self.folders.fetch_add(1, Ordering::Relaxed) == 2 {
            return Err(io::Error::from_raw_os_error(libc::EIO));
        }
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
        self.come_late(path);
        match self.disk.create_new(path, contents, owner) {
            Err(error) if error.kind() == ErrorKind::AlreadyExists && self.defect == Defect::CreateTwice => Ok(()),
            done => done,
        }
    }
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let is_open = [from, to].iter().any(|path| {
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            name.starts_with("replace.") || name.starts_with("live.")
        });
        match self.defect {
            Defect::NoReplace | Defect::NoReplaceWriteByName if is_open => Err(ErrorKind::PermissionDenied.into()),
            Defect::AsideFails if is_open => Err(io::Error::from_raw_os_error(libc::EIO)),
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
        match self.defect {
            Defect::NoLinks => return Err(ErrorKind::CrossesDevices.into()),
            Defect::LinkReplaces if name.exists() => self.disk.unlink(name)?,
            _ => {}
        }
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
            Defect::WordHidden if step.contains("talk") => {
                let made = self.made.lock().unwrap();
                let hidden = |name: &str| name.starts_with("m.") && name.contains(".3.1.");
                names.retain(|name| made.contains(&dir.join(name)) || !hidden(&name.to_string_lossy()));
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
        Ok(self.file(self.disk.create_data(path, owner)?, path))
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
    fn known_for(&self, what: &str, state: &str) -> Duration {
        self.disk.known_for(what, state)
    }
    fn local_guard(&self, path: &Path) -> crate::storage::LocalGuard {
        self.disk.local_guard(path)
    }
}
