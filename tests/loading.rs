//! Ways to load the extension, and what it may not do to the host that loads it: `coord` is registered once, is the
//! default only if asked for, never stands on itself, and survives what programs do to VFSes.

mod common;

use common::host::{Host, Sqlite, path};
use common::opener::Opener;
use std::path::{Path, PathBuf};

fn default_entry() -> &'static str {
    "sqlite3_coord_default_init"
}

/// The library under another path, as a project's own copy of it has.
fn copy(folder: &Path, name: &str) -> PathBuf {
    let path = folder.join(name);
    std::fs::copy(common::extension(), &path).expect("the library can be copied");
    path
}

/// A URI through `coord` in trusted mode, which needs nothing of the filesystem.
fn uri(folder: &Path, name: &str) -> String {
    Opener { extension: None, entry: None, query: "vfs=coord&coord_mode=trusted".into() }.uri(&folder.join(name))
}

/// A database through `coord` works in this host, from the first lock to the last.
fn assert_works(host: &mut Host, uri: &str) {
    host.open("probe", uri).ok();
    let before = host.exec("probe", "SELECT coord_locks_taken()").value().parse::<u64>().unwrap();
    host.exec("probe", "CREATE TABLE IF NOT EXISTS probe(a); INSERT INTO probe VALUES(1)").ok();
    let after = host.exec("probe", "SELECT coord_locks_taken()").value().parse::<u64>().unwrap();
    assert!(after > before, "{}: {uri} did not go through coord", host.label);
    assert_eq!(host.call(&["vfsname", "probe"]).ok(), "coord/unix", "{}", host.label);
    host.close("probe").ok();
}

#[test]
fn each_entry_point_registers_coord_once() {
    for sqlite in Sqlite::SUPPORTED {
        for (entry, default) in [
            ("", "unix"),
            ("sqlite3_coord_init", "unix"),
            ("sqlite3_coord_auto_init", "unix"),
            ("sqlite3_sqlitecoord_init", "unix"),
            (default_entry(), "coord"),
        ] {
            let dir = common::dir();
            let mut host = Host::start(sqlite);
            host.call(&["load", path(&common::extension()), entry]).ok();
            assert_eq!(host.vfs_default_and_coords(), (default.to_owned(), 1), "{entry} in {}", host.label);
            // The connection that loaded it is closed by now; the library must have stayed.
            assert_works(&mut host, &uri(dir.path(), "entry.sqlite"));
        }
    }
}

/// SQLite derives the entry point from the file's name.
#[test]
fn the_file_may_be_called_sqlite_coord() {
    let dir = common::dir();
    let mut host = Host::start(Sqlite::Middle);
    host.load(&copy(dir.path(), "sqlite_coord.so")).ok();
    assert_works(&mut host, &uri(dir.path(), "name.sqlite"));
}

/// `.so` left off, as SQLite's documentation loads libraries.
#[test]
fn the_suffix_may_be_left_off() {
    let dir = common::dir();
    let mut host = Host::start(Sqlite::Middle);
    host.load(&common::extension().with_extension("")).ok();
    assert_works(&mut host, &uri(dir.path(), "suffix.sqlite"));
}

/// An older SQLite is refused with a sentence that names both versions, and lives.
#[test]
fn below_the_floor_it_is_refused() {
    let dir = common::dir();
    let mut host = Host::start(Sqlite::BelowFloor);
    for entry in ["sqlite3_coord_init", default_entry(), "sqlite3_coord_auto_init", "sqlite3_sqlitecoord_init"] {
        let answer = host.call(&["load", path(&common::extension()), entry]);
        let message = &answer.error().message;
        assert!(message.contains("3.26") && message.contains("3.25.2"), "{entry}: {message}");
    }
    assert_eq!(host.vfs_default_and_coords(), ("unix".to_owned(), 0));
    host.open("plain", path(&dir.path().join("plain.sqlite"))).ok();
    assert_eq!(host.exec("plain", "CREATE TABLE t(a); SELECT sqlite_version()").value(), "3.25.2");
}

/// Beside a supported copy in the same process, too.
#[test]
fn a_refused_copy_does_not_disturb_another() {
    let dir = common::dir();
    let mut host = Host::two(Sqlite::Newest, Sqlite::BelowFloor);
    let extension = common::extension();
    host.call(&["b:load", path(&extension)]).error();
    host.load(&extension).ok();
    host.call(&["b:load", path(&extension)]).error();
    assert_works(&mut host, &uri(dir.path(), "beside.sqlite"));
}

/// Loaded twice, from two connections, in the middle of a transaction.
#[test]
fn loading_again_changes_nothing() {
    for sqlite in Sqlite::SUPPORTED {
        let dir = common::dir();
        let extension = common::extension();
        let mut host = Host::start(sqlite);
        host.load(&extension).ok();
        host.open("one", &uri(dir.path(), "again.sqlite")).ok();
        host.exec("one", "CREATE TABLE t(a); BEGIN IMMEDIATE; INSERT INTO t VALUES(1)").ok();
        host.open("memory", ":memory:").ok();
        host.call(&["load", path(&extension), "", "memory"]).ok();
        host.call(&["load", path(&extension), "", "one"]).ok();
        host.load(&extension).ok();
        assert_eq!(host.vfs_default_and_coords(), ("unix".to_owned(), 1));
        host.open("two", &uri(dir.path(), "again.sqlite")).ok();
        assert_eq!(host.exec("two", "BEGIN IMMEDIATE").error().code, 5);
        host.exec("one", "COMMIT").ok();
        assert_eq!(host.exec("two", "SELECT a FROM t").value(), "1");
    }
}

/// A package's library and a project's copy of it in one process: two libraries to the loader, one VFS to the host.
/// The second may hand over or refuse with a sentence; either way all goes on through the first.
#[test]
fn a_copy_at_another_path_does_no_harm() {
    for sqlite in Sqlite::SUPPORTED {
        let dir = common::dir();
        let second = copy(dir.path(), "libcoord.so");
        let mut host = Host::start(sqlite);
        host.load(&common::extension()).ok();
        host.open("one", &uri(dir.path(), "paths.sqlite")).ok();
        host.exec("one", "CREATE TABLE t(a); BEGIN IMMEDIATE; INSERT INTO t VALUES(1)").ok();
        if let Err(error) = host.load(&second).result {
            assert!(error.message.contains("coord"), "a refusal without a sentence: {error}");
        }
        assert_eq!(host.vfs_default_and_coords(), ("unix".to_owned(), 1));
        host.open("two", &uri(dir.path(), "paths.sqlite")).ok();
        assert_eq!(host.exec("two", "BEGIN IMMEDIATE").error().code, 5, "two libraries, two lock managers");
        host.exec("one", "COMMIT").ok();
        host.exec("two", "INSERT INTO t VALUES(2)").ok();
        assert_eq!(host.exec("one", "SELECT count(*) FROM t").value(), "2");
        assert_works(&mut host, &uri(dir.path(), "third.sqlite"));
    }
}

/// What the second copy was asked for, the first one does: it becomes the default.
#[test]
fn a_copy_at_another_path_can_be_made_the_default() {
    for sqlite in Sqlite::SUPPORTED {
        let dir = common::dir();
        let second = copy(dir.path(), "libcoord.so");
        let mut host = Host::start(sqlite);
        host.load(&common::extension()).ok();
        host.call(&["load", path(&second), default_entry()]).ok();
        assert_eq!(host.vfs_default_and_coords(), ("coord".to_owned(), 1), "{}", host.label);
        host.open("named-by-nobody", path(&dir.path().join("default.sqlite"))).ok();
        assert_eq!(host.call(&["vfsname", "named-by-nobody"]).ok(), "coord/unix");
    }
}

/// As an automatic extension, too, where SQLite takes anything but `SQLITE_OK` for a failure.
#[test]
fn a_copy_at_another_path_can_be_an_automatic_extension() {
    let dir = common::dir();
    let second = std::ffi::CString::new(path(&copy(dir.path(), "libcoord.so"))).unwrap();
    Opener::coord("").open(Path::new(":memory:")).expect("the first copy is loaded");
    // SAFETY: an entry point by its name, in a library that stays.
    unsafe {
        let library = libc::dlopen(second.as_ptr(), libc::RTLD_NOW | libc::RTLD_LOCAL);
        assert!(!library.is_null());
        let symbol = libc::dlsym(library, c"sqlite3_coord_auto_init".as_ptr());
        assert!(!symbol.is_null());
        let entry: rusqlite::auto_extension::RawAutoExtension = std::mem::transmute(symbol);
        assert_eq!(rusqlite::ffi::sqlite3_auto_extension(Some(entry)), rusqlite::ffi::SQLITE_OK);
        let opened = rusqlite::Connection::open_in_memory();
        rusqlite::ffi::sqlite3_cancel_auto_extension(Some(entry));
        opened.expect("the database opens");
    }
}

/// One copy of SQLite loads the one path, another copy the other: still one lock manager.
#[test]
fn two_paths_in_two_copies_keep_each_other_out() {
    let dir = common::dir();
    let second = copy(dir.path(), "libcoord.so");
    let mut host = Host::two(Sqlite::Floor, Sqlite::Newest);
    let uri = uri(dir.path(), "apart.sqlite");
    host.load(&common::extension()).ok();
    host.open("one", &uri).ok();
    host.exec("one", "CREATE TABLE t(a); BEGIN IMMEDIATE; INSERT INTO t VALUES(1)").ok();
    // Two lock managers in a process cannot see each other, so the second must either join the first or be refused.
    match host.call(&["b:load", path(&second)]).result {
        Err(error) => assert!(error.message.contains("coord"), "a refusal without a sentence: {error}"),
        Ok(_) => {
            host.call(&["b:open", "two", &uri]).ok();
            assert_eq!(host.call(&["b:exec", "two", "BEGIN IMMEDIATE"]).error().code, 5);
            host.call(&["b:close", "two"]).ok();
            let mut third = Host::start(Sqlite::Middle);
            third.load(&common::extension()).ok();
            third.open("db", &uri).ok();
            assert_eq!(third.exec("db", "BEGIN IMMEDIATE").error().code, 5, "the second library's close let one in");
        }
    }
    host.exec("one", "COMMIT").ok();
}

/// The default stays `coord` when the plain entry is used later, and the plain entry makes way for the other.
#[test]
fn a_later_plain_load_keeps_the_default() {
    for sqlite in Sqlite::SUPPORTED {
        let dir = common::dir();
        let extension = common::extension();
        let mut host = Host::start(sqlite);
        host.load(&extension).ok();
        assert_eq!(host.vfs_default_and_coords(), ("unix".to_owned(), 1));
        host.call(&["load", path(&extension), default_entry()]).ok();
        assert_eq!(host.vfs_default_and_coords(), ("coord".to_owned(), 1));
        host.load(&extension).ok();
        host.load(&copy(dir.path(), "libcoord.so"));
        assert_eq!(host.vfs_default_and_coords(), ("coord".to_owned(), 1));
        host.open("named-by-nobody", path(&dir.path().join("default.sqlite"))).ok();
        assert_eq!(host.call(&["vfsname", "named-by-nobody"]).ok(), "coord/unix");
    }
}

/// As the default it must not take itself for the platform's VFS: the first use would never return.
#[test]
fn coord_never_stands_on_coord() {
    let dir = common::dir();
    let mut host = Host::start(Sqlite::Middle);
    for library in [common::extension(), copy(dir.path(), "libcoord.so"), copy(dir.path(), "sqlite_coord.so")] {
        for entry in [default_entry(), "sqlite3_coord_auto_init", default_entry()] {
            host.call(&["load", path(&library), entry]);
        }
    }
    assert_eq!(host.vfs_default_and_coords(), ("coord".to_owned(), 1));
    assert_works(&mut host, &uri(dir.path(), "stack.sqlite"));
}

#[test]
fn coord_default_in_the_environment_makes_it_the_default() {
    for (value, default) in [("1", "coord"), ("0", "unix"), ("", "unix")] {
        let dir = common::dir();
        let mut host = Host::with(&[("a", Sqlite::Floor)], &[("COORD_DEFAULT", value)]);
        host.load(&common::extension()).ok();
        assert_eq!(host.vfs_default_and_coords(), (default.to_owned(), 1), "COORD_DEFAULT={value}");
        host.open("plain-name", path(&dir.path().join("plain.sqlite"))).ok();
        host.exec("plain-name", "CREATE TABLE t(a)").ok();
        let vfs = if default == "coord" { "coord/unix" } else { default };
        assert_eq!(host.call(&["vfsname", "plain-name"]).ok(), vfs);
    }
    let mut host = Host::with(&[("a", Sqlite::Floor)], &[("COORD_DEFAULT", "true")]);
    let refused = host.load(&common::extension()).result.expect_err("a typing error leads past coord");
    assert!(refused.message.contains("COORD_DEFAULT") && refused.message.contains("0 or 1"), "{}", refused.message);
}

#[test]
fn a_directory_for_liveness_files_that_cannot_be_used_is_told() {
    let mut host = Host::with(&[("a", Sqlite::Floor)], &[("COORD_RUNTIME_DIR", "run/coord")]);
    host.load(&common::extension()).ok();
    host.open("memory", ":memory:").ok();
    let said = host.exec("memory", "SELECT coord_last_error()").value();
    assert!(said.contains("COORD_RUNTIME_DIR=run/coord is not used: it is no absolute path"), "{said}");
}

/// PROJ keeps a pointer behind the file, at the default VFS's size: equal sizes let the default change in between.
#[test]
fn file_size_and_path_limit_equal_the_platforms() {
    for sqlite in Sqlite::SUPPORTED {
        let mut host = Host::start(sqlite);
        host.load(&common::extension()).ok();
        let rows = host.vfs();
        let numbers = |name: &str| rows.iter().find(|row| row[0] == name).expect("registered")[1..3].to_vec();
        assert_eq!(numbers("coord"), numbers("unix"), "{}", host.label);
    }
}

/// PROJ, so GDAL and spatialite: the VFS's functions are called with a struct that is not its own, its io methods are
/// copied whole and replaced, and the default changes between open and close.
#[test]
fn functions_survive_a_foreign_vfs() {
    for sqlite in Sqlite::SUPPORTED {
        let dir = common::dir();
        let database = dir.path().join("foreign.sqlite");
        let mut host = Host::start(sqlite);
        host.call(&["load", path(&common::extension()), default_entry()]).ok();
        let rows = host.call(&["foreign-vfs", path(&database)]).rows();
        assert_eq!(rows[0][1..], ["0", path(&database)], "{rows:?}");
        assert!(rows[1..6].iter().all(|row| row[1] == "0"), "{rows:?}");
        assert_eq!(rows[6][..2], ["xDelete", "5898"], "{rows:?}");
        host.call(&["open", "db", path(&database), "foreign"]).ok();
        host.exec("db", "CREATE TABLE t(a); INSERT INTO t VALUES(1)").ok();
        host.open("second", path(&database)).ok();
        host.exec("db", "BEGIN IMMEDIATE").ok();
        assert_eq!(host.exec("second", "BEGIN IMMEDIATE").error().code, 5);
        host.exec("db", "COMMIT").ok();
        host.call(&["register-vfs", "another", "default"]).ok();
        host.close("db").ok();
        host.close("second").ok();
        assert_eq!(host.call(&["fds", path(&database)]).ok(), "0");
    }
}

/// sqlite3_shutdown() makes `unix` the default again and forgets auto-extensions; the VFS stays. Loading again mends.
#[test]
fn shutdown_and_initialize_are_survived() {
    for sqlite in Sqlite::SUPPORTED {
        let dir = common::dir();
        let extension = common::extension();
        let mut host = Host::start(sqlite);
        host.load(&extension).ok();
        assert_works(&mut host, &uri(dir.path(), "shutdown.sqlite"));
        for _ in 0..2 {
            host.call(&["shutdown"]).ok();
            host.call(&["initialize"]).ok();
            // Without loading again: it works or says why not; the process lives.
            if host.open("between", &uri(dir.path(), "shutdown.sqlite")).result.is_ok() {
                host.exec("between", "INSERT INTO probe VALUES(2)");
                host.close("between").ok();
            }
            host.load(&extension).ok();
            assert_eq!(host.vfs_default_and_coords(), ("unix".to_owned(), 1));
            assert_works(&mut host, &uri(dir.path(), "shutdown.sqlite"));
        }
    }
}

/// A program that maps every database into memory does not map one of ours: mapped pages cannot be taken back.
#[test]
fn nothing_is_mapped() {
    for sqlite in Sqlite::SUPPORTED {
        let dir = common::dir();
        let mut host = Host::start(sqlite);
        host.call(&["config-mmap", "67108864"]).ok();
        host.load(&common::extension()).ok();
        for (name, query, mapped) in [("plain", "vfs=unix", true), ("ours", "vfs=coord&coord_mode=trusted", false)] {
            let database = dir.path().join(name);
            let opener = Opener { extension: None, entry: None, query: query.into() };
            host.open(name, &opener.uri(&database)).ok();
            host.exec(name, "PRAGMA mmap_size=67108864; CREATE TABLE t(a); INSERT INTO t VALUES(zeroblob(100000))")
                .ok();
            host.exec(name, "BEGIN; SELECT length(a) FROM t").ok();
            let count = host.call(&["maps", path(&database)]);
            assert_eq!(count.ok() != "0", mapped, "{} {name}", host.label);
        }
    }
}

/// ATTACH takes the VFS of the connection's main database, unless its URI says otherwise.
#[test]
fn an_attached_database_can_name_coord() {
    let dir = common::dir();
    let mut host = Host::start(Sqlite::Middle);
    host.load(&common::extension()).ok();
    host.open("db", path(&dir.path().join("main.sqlite"))).ok();
    host.exec("db", &format!("ATTACH '{}' AS shared", uri(dir.path(), "attached.sqlite"))).ok();
    let count = |host: &mut Host| host.exec("db", "SELECT coord_locks_taken()").value().parse::<u64>().unwrap();
    let before = count(&mut host);
    host.exec("db", "CREATE TABLE shared.t(a); INSERT INTO shared.t VALUES(1)").ok();
    assert!(count(&mut host) > before);
}
