//! Names of databases, and the ways that lead to one.

use crate::common::bank::Sql;
use crate::common::hostile::{self, NETWORK, Place, TRUSTED};
use crate::common::visitor::Visitor;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;

/// Whatever a filesystem takes as a name is a database's name: locks, journal and status find it.
#[test]
fn any_file_name_will_do() {
    let longest = "n".repeat(255 - ".readers".len());
    let names: [&[u8]; 12] = [
        b"with some spaces.db",
        b"it's \"quoted\".db",
        b"what?vfs=unix&mode=ro",
        b"100%25 %41.db",
        b"#1.db",
        b"two\nlines\tand a tab.db",
        "ünï-データ-🦀.db".as_bytes(),
        b"not\xff\xfeutf8.db",
        b"-dash",
        b"back\\slash;semi&amp",
        &longest.as_bytes()[..200],
        longest.as_bytes(),
    ];
    for name in names {
        for mode in [TRUSTED, NETWORK] {
            let dir = crate::common::dir();
            let database = dir.path().join(OsStr::from_bytes(name));
            hostile::fill(&database);
            hostile::assert_works(&database, mode);
            let mut db = hostile::open(&database, mode).unwrap();
            db.sql("BEGIN IMMEDIATE").unwrap();
            let (text, json) = hostile::inspect(&database);
            assert_eq!(json["locks"][0]["kind"], "write", "{json:#}");
            assert!(text.contains("write"), "{text}");
        }
    }
}

/// One byte more than the longest, and the longest that a filesystem takes: a sentence that says how many are needed.
#[test]
fn too_long_a_name_is_refused_with_the_length() {
    for length in [248, 255] {
        let place = Place::named(&"n".repeat(length));
        place.assert_refused(NETWORK, &[&format!("{length} bytes"), "255"]);
        place.assert_refused(TRUSTED, &[&format!("{length} bytes")]);
    }
}

/// SQLite itself takes 512 bytes. Up to there all works, beyond it nothing breaks.
#[test]
fn deep_paths_work_as_far_as_sqlite_goes() {
    let dir = crate::common::dir();
    let mut deep = dir.path().to_path_buf();
    while deep.as_os_str().len() < 440 {
        deep.push("a-directory-in-a-directory");
    }
    std::fs::create_dir_all(&deep).unwrap();
    let database = deep.join("state.sqlite");
    hostile::fill(&database);
    hostile::assert_works(&database, NETWORK);
    let beyond = deep.join("x".repeat(100));
    assert!(hostile::open(&beyond, NETWORK).is_err());
    assert!(!beyond.exists());
}

/// Two paths, one file: one lock, whichever way it was opened.
#[test]
fn symbolic_links_lead_to_one_lock() {
    for mode in [TRUSTED, NETWORK] {
        let place = Place::new();
        let dir = place.dir.path();
        std::os::unix::fs::symlink("state.sqlite", dir.join("link.sqlite")).unwrap();
        std::os::unix::fs::symlink(".", dir.join("folder")).unwrap();
        let mut other = Visitor::new(dir);
        other.open(&place.database, mode).unwrap();
        other.sql("BEGIN IMMEDIATE").unwrap();
        for way in ["link.sqlite", "folder/state.sqlite", "folder/folder/link.sqlite"] {
            let mut db = hostile::open(&dir.join(way), mode).unwrap();
            assert_eq!(db.sql("BEGIN IMMEDIATE").unwrap_err().primary(), 5, "{way} {mode}");
            let text = hostile::complaint(&mut db);
            assert!(text.contains("state.sqlite is in use") && text.contains("by process"), "{text}");
            drop(db);
            assert!(!dir.join("link.sqlite.lock").exists() && !dir.join("link.sqlite.readers").exists());
        }
        other.sql("COMMIT").unwrap();
        other.end();
        for way in ["link.sqlite", "folder/state.sqlite"] {
            hostile::assert_works(&dir.join(way), mode);
        }
    }
}

/// A link to nothing: the database is made where the link leads, with its locks beside it, or not at all.
#[test]
fn a_dangling_link_leads_to_where_it_leads() {
    let dir = crate::common::dir();
    std::os::unix::fs::symlink("real.sqlite", dir.path().join("link.sqlite")).unwrap();
    match hostile::open(&dir.path().join("link.sqlite"), NETWORK) {
        Ok(mut db) => {
            db.sql("CREATE TABLE t(a)").unwrap();
            assert!(dir.path().join("real.sqlite").is_file() && dir.path().join("real.sqlite.readers").is_dir());
        }
        Err(error) => assert!(error.message.contains("coord: "), "{error}"),
    }
}

/// Another name of the same file would have other locks.
#[test]
fn hard_links_are_refused() {
    let place = Place::new();
    std::fs::hard_link(&place.database, place.dir.path().join("second.sqlite")).unwrap();
    for mode in [TRUSTED, NETWORK] {
        place.assert_refused(mode, &["2 names", "hard links", "Remove all names but one"]);
    }
}

/// In coord's own directories a copy keeps its first name for a while, and an NFS client its own for one that was removed while open.
#[test]
fn names_in_the_directories_of_the_protocol_are_no_hard_links() {
    let place = Place::registered();
    std::fs::hard_link(&place.database, place.registry().join(".nfs00000000000002a600000001")).unwrap();
    place.assert_works(NETWORK);
}

/// A file that is mounted by itself has its locks in a directory that others do not see.
#[test]
fn a_mounted_file_is_refused() {
    let (place, elsewhere) = (Place::new(), Place::new());
    // The same filesystem would not show: the check is on the device.
    let shm = PathBuf::from(format!("/dev/shm/coord-test-{}", std::process::id()));
    if std::fs::write(&shm, &place.bytes).is_err() {
        return crate::common::skip("there is no /dev/shm");
    }
    let Some(_mount) = crate::room::Mount::bind(&shm, &elsewhere.database) else {
        let _ = std::fs::remove_file(&shm);
        return crate::common::skip("this user may not mount");
    };
    let before = elsewhere.names();
    let error = elsewhere.open(NETWORK).map(drop).unwrap_err().message;
    assert!(error.contains("is mounted by itself") && error.contains("Mount its whole directory"), "{error}");
    assert_eq!(elsewhere.names(), before);
    assert!(std::fs::read(&shm).unwrap() == place.bytes);
    let _ = std::fs::remove_file(&shm);
}

/// An overlay's files may have another device than its directories: they are not mounted by themselves.
#[test]
fn a_database_on_an_overlay_of_two_filesystems_works() {
    let dir = crate::common::dir();
    let [lower, upper, at] = ["lower", "upper", "merged"].map(|name| dir.path().join(name));
    for part in [&lower, &upper, &at] {
        std::fs::create_dir(part).unwrap();
    }
    let memory = |at| crate::room::Mount::tmpfs(at, "size=2m");
    let (Some(_lower), Some(_upper)) = (memory(&lower), memory(&upper)) else {
        return crate::common::skip("this user may not mount a tmpfs");
    };
    hostile::fill(&lower.join("state.sqlite"));
    let [top, work] = ["top", "work"].map(|name| upper.join(name));
    std::fs::create_dir(&top).unwrap();
    std::fs::create_dir(&work).unwrap();
    let layers = format!("lowerdir={},upperdir={},workdir={}", lower.display(), top.display(), work.display());
    let Some(_merged) = crate::room::Mount::with(&at, &["-t", "overlay", "-o", &layers, "none"]) else {
        return crate::common::skip("this user may not mount an overlay");
    };
    let database = at.join("state.sqlite");
    let device = |path: &std::path::Path| std::os::unix::fs::MetadataExt::dev(&path.metadata().unwrap());
    if device(&database) == device(&at) {
        crate::common::skip("this overlay gives its files its own device: another one is not tried");
    }
    for mode in [TRUSTED, NETWORK] {
        hostile::assert_works(&database, mode);
    }
}
