//! Two clients of one directory (two mounts of FUSE, each with a cache of its own), and on one of them a program that has the
//! database mapped into its memory: its kernel does not drop such pages when it is asked to.

use super::common::opener::Opener;
use super::common::puppet::Puppet;
use super::{Wrong, control};
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};
use std::process::Command;

/// bindfs; unmounted on drop.
struct Client(PathBuf);

impl Client {
    /// It may take what it knows of a file for true for a minute.
    fn mount(server: &Path, at: PathBuf) -> Client {
        std::fs::create_dir(&at).expect("a new directory");
        let mut command = Command::new("/usr/bin/bindfs");
        let done = command.args(["-o", "attr_timeout=60,entry_timeout=60"]).args([server, &at]).status();
        assert!(done.expect("it runs").success(), "bindfs does not mount");
        Client(at)
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}

/// All of a file, touched page by page.
struct Mapped(*mut libc::c_void, usize);

impl Mapped {
    fn whole(path: &Path) -> Mapped {
        let file = std::fs::File::open(path).expect("it opens");
        let length = file.metadata().expect("it is there").len() as usize;
        // SAFETY: a new mapping, read within the file's length, which nobody makes shorter here.
        unsafe {
            let (read, shared) = (libc::PROT_READ, libc::MAP_SHARED);
            let at = libc::mmap(std::ptr::null_mut(), length, read, shared, file.as_raw_fd(), 0);
            assert_ne!(at, libc::MAP_FAILED, "{}", std::io::Error::last_os_error());
            for offset in (0..length).step_by(4096) {
                std::ptr::read_volatile(at.cast::<u8>().add(offset));
            }
            Mapped(at, length)
        }
    }
}

impl Drop for Mapped {
    fn drop(&mut self) {
        // SAFETY: made above.
        unsafe { libc::munmap(self.0, self.1) };
    }
}

/// A process at each of two clients.
struct Two {
    here: Puppet,
    there: Puppet,
    clients: [Client; 2],
    _dir: tempfile::TempDir,
}

/// Whether that can be had.
fn can_mount() -> bool {
    let fuse = Path::new("/dev/fuse").exists();
    if !fuse {
        super::common::skip("there is no /dev/fuse");
    }
    fuse && super::common::have("/usr/bin/bindfs")
}

fn open(name: &'static str, dir: &Path, client: &Client, without: &str) -> Puppet {
    let mut puppet = Puppet::start(name, dir, without, &[]);
    let opener = Opener::coord("coord_unlock_asap=1&coord_lease_ms=1000");
    puppet.open("db", &client.0.join("a.sqlite"), &opener).expect("it opens");
    puppet.ok("PRAGMA busy_timeout=30000");
    puppet
}

impl Two {
    fn new(without: &str) -> Two {
        let dir = super::common::dir();
        let server = dir.path().join("server");
        std::fs::create_dir(&server).expect("a new directory");
        let clients = ["left", "right"].map(|name| Client::mount(&server, dir.path().join(name)));
        let here = open("here", dir.path(), &clients[0], without);
        let there = open("there", dir.path(), &clients[1], without);
        Two { here, there, clients, _dir: dir }
    }

    /// Rows of which all have the same figure.
    fn fill(&mut self) {
        self.here.ok("CREATE TABLE t(a, b)");
        self.here.ok("INSERT INTO t WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 300) \
             SELECT 1, zeroblob(900) FROM n");
    }

    /// What is wrong with what is read there.
    fn reads(&mut self, figure: &str) -> Wrong {
        match self.there.sql("SELECT group_concat(DISTINCT a) FROM t") {
            Ok(rows) if rows == [[figure]] => Wrong::new(),
            other => vec![format!("it reads {other:?}, where {figure} is committed")],
        }
    }
}

#[test]
fn what_another_host_has_committed_is_read_where_a_bystander_has_the_file_mapped() {
    if !can_mount() {
        return;
    }
    control(&["mapped-pages"], "it reads", |without| {
        let mut two = Two::new(without);
        two.fill();
        assert_eq!(two.reads("1"), Wrong::new());
        let _mapped = Mapped::whole(&two.clients[1].0.join("a.sqlite"));
        two.here.ok("UPDATE t SET a = 2");
        two.reads("2")
    });
}

/// The client knows for a minute how long the file was: empty.
#[test]
fn a_file_that_another_host_has_made_longer_is_read_to_its_end() {
    if !can_mount() {
        return;
    }
    control(&["fresh-size"], "no such table", |without| {
        let mut two = Two::new(without);
        two.there.ok("SELECT * FROM sqlite_master");
        two.fill();
        two.reads("1")
    });
}
