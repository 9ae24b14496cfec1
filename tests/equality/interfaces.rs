//! SQLite's interfaces beside SQL: incremental blobs, backup, serialisation, hooks, file controls.

use crate::{Run, assert_equal};
use rusqlite::{Connection, ffi};
use std::ffi::{c_char, c_int, c_void};
use std::sync::{Arc, Mutex};

/// Reads and writes inside a large value, over many pages, and after its row has changed.
#[test]
fn incremental_blobs() {
    assert_equal("incremental blobs", |run| {
        let mut db = run.open("db.sqlite", "").expect("a new database");
        run.sql(
            &mut db,
            "CREATE TABLE t(id INTEGER PRIMARY KEY, b); INSERT INTO t VALUES(1, zeroblob(50000)), (2, 'text')",
        );
        // SAFETY: the connection is open; the blob is closed before it is.
        let codes = unsafe {
            let handle = db.handle();
            let mut blob = std::ptr::null_mut();
            let mut open = |row, flags| {
                let (main, t, b) = (c"main".as_ptr(), c"t".as_ptr(), c"b".as_ptr());
                ffi::sqlite3_blob_open(handle, main, t, b, row, flags, &mut blob)
            };
            let opened = [open(9, 1), open(1, 1)];
            let data = [7u8; 3000];
            let mut back = [0u8; 3000];
            let (from, to) = (data.as_ptr().cast(), back.as_mut_ptr().cast());
            let codes = [
                ffi::sqlite3_blob_bytes(blob),
                ffi::sqlite3_blob_write(blob, from, 3000, 20_000),
                ffi::sqlite3_blob_write(blob, from, 3000, 49_000),
                ffi::sqlite3_blob_read(blob, to, 3000, 20_500),
                ffi::sqlite3_blob_read(blob, to, 3000, -1),
                ffi::sqlite3_blob_reopen(blob, 2),
                ffi::sqlite3_blob_bytes(blob),
                ffi::sqlite3_blob_read(blob, to, 4, 0),
                ffi::sqlite3_exec(
                    handle,
                    c"UPDATE t SET b = 'new' WHERE id = 2".as_ptr(),
                    None,
                    to,
                    std::ptr::null_mut(),
                ),
                ffi::sqlite3_blob_read(blob, to, 2, 0),
                ffi::sqlite3_blob_close(blob),
            ];
            format!("{opened:?} {codes:?} {:?}", &back[..8])
        };
        run.note("blob", codes);
        run.sql(&mut db, "SELECT id, length(b), instr(hex(b), '07') FROM t");
        drop(db);
        run.bytes("db.sqlite");
    });
}

/// In both directions, in steps, with the source changing in between, and into a database of another page size.
#[test]
fn backups() {
    assert_equal("backups", |run| {
        let mut db = run.open("db.sqlite", "").expect("a new database");
        run.sql(&mut db, "PRAGMA page_size=1024; CREATE TABLE t(a); INSERT INTO t SELECT zeroblob(3000) FROM (SELECT 1 UNION SELECT 2)");
        let mut copy = run.open("copy.sqlite", "").expect("a new database");
        let mut other = Connection::open_in_memory().expect("memory");
        run.sql(&mut other, "PRAGMA page_size=4096; CREATE TABLE u(b); INSERT INTO u VALUES('memory')");
        let backup = |run: &mut Run, from: &Connection, to: &mut Connection, between: &mut dyn FnMut(&mut Run)| {
            let backup = rusqlite::backup::Backup::new(from, to);
            match &backup {
                Ok(backup) => {
                    for step in 0..6 {
                        let done = backup.step(3);
                        let left = backup.progress();
                        run.note("step", format!("{done:?} {} of {}", left.remaining, left.pagecount));
                        if step == 0 {
                            between(run);
                        }
                    }
                }
                Err(error) => run.note("backup", error),
            }
        };
        let mut second = run.open("db.sqlite", "").expect("it opens");
        backup(run, &db, &mut copy, &mut |run| run.sql(&mut second, "INSERT INTO t VALUES('in between')"));
        run.sql(&mut copy, "SELECT count(*) FROM t; PRAGMA integrity_check");
        backup(run, &other, &mut copy, &mut |_| {});
        run.sql(&mut copy, "SELECT * FROM u; PRAGMA page_size; INSERT INTO u VALUES('more')");
        backup(run, &copy, &mut other, &mut |_| {});
        run.sql(&mut other, "SELECT group_concat(b) FROM u");
        drop((copy, db, second));
        run.bytes("db.sqlite");
        run.bytes("copy.sqlite");
    });
}

#[test]
fn serialisation() {
    assert_equal("serialisation", |run| {
        let mut db = run.open("db.sqlite", "").expect("a new database");
        run.sql(&mut db, "CREATE TABLE t(a); INSERT INTO t VALUES('kept'), (zeroblob(20000))");
        // SAFETY: the connection is open; the memory is SQLite's and is freed by it.
        let (sum, code) = unsafe {
            let mut size = 0;
            let image = ffi::sqlite3_serialize(db.handle(), c"main".as_ptr(), &mut size, 0);
            assert!(!image.is_null());
            let bytes = std::slice::from_raw_parts(image, usize::try_from(size).expect("a size"));
            let sum = bytes.iter().fold(0u64, |sum, byte| sum.wrapping_mul(31).wrapping_add(u64::from(*byte)));
            let flags = ffi::SQLITE_DESERIALIZE_FREEONCLOSE | ffi::SQLITE_DESERIALIZE_RESIZEABLE;
            (sum, ffi::sqlite3_deserialize(db.handle(), c"main".as_ptr(), image, size, size, flags))
        };
        run.note("image", format!("{sum} {code}"));
        // From here on the connection works in memory.
        run.sql(&mut db, "INSERT INTO t VALUES('lost'); SELECT count(*) FROM t");
        let mut file = run.open("db.sqlite", "").expect("it opens");
        run.sql(&mut file, "SELECT count(*) FROM t");
    });
}

#[test]
fn hooks_and_states() {
    assert_equal("hooks and states", |run| {
        let mut db = run.open("db.sqlite", "").expect("a new database");
        run.sql(&mut db, "CREATE TABLE t(a)");
        let said = Arc::new(Mutex::new(Vec::new()));
        let say = |what: &'static str| {
            let said = said.clone();
            move || said.lock().unwrap().push(what.to_owned())
        };
        let (commit, rollback, updates) = (say("commit"), say("rollback"), said.clone());
        let mut refused = false;
        db.commit_hook(Some(move || {
            commit();
            refused = !refused;
            !refused
        }))
        .expect("a hook");
        db.rollback_hook(Some(rollback)).expect("a hook");
        db.update_hook(Some(move |action, _: &str, table: &str, row| {
            updates.lock().unwrap().push(format!("{action:?} {table} {row}"));
        }))
        .expect("a hook");
        for sql in [
            "INSERT INTO t VALUES(1)",
            "INSERT INTO t VALUES(2)",
            "BEGIN; UPDATE t SET a = 3; ROLLBACK",
            "BEGIN; DELETE FROM t; COMMIT",
        ] {
            run.sql(&mut db, sql);
            let states = format!("{:?} {}", db.transaction_state(Some("main")), db.is_autocommit());
            run.note("state", states);
        }
        run.sql(&mut db, "ROLLBACK");
        run.sql(&mut db, "SELECT a FROM t");
        let said = said.lock().unwrap().join(", ");
        run.note("hooks", said);
    });
}

/// A file control with a number in and out.
fn control(db: &Connection, operation: c_int, value: i64) -> String {
    let mut value = value;
    // SAFETY: the connection is open and these operations take an int or a 64-bit number.
    let code = unsafe {
        ffi::sqlite3_file_control(
            db.handle(),
            c"main".as_ptr(),
            operation,
            std::ptr::from_mut(&mut value).cast::<c_void>(),
        )
    };
    format!("{code} {value}")
}

#[test]
fn file_controls() {
    assert_equal("file controls", |run| {
        let mut db = run.open("db.sqlite", "").expect("a new database");
        run.sql(&mut db, "CREATE TABLE t(a); INSERT INTO t VALUES(1)");
        for (what, operation, value) in [
            ("has moved", ffi::SQLITE_FCNTL_HAS_MOVED, 0),
            ("persist wal", ffi::SQLITE_FCNTL_PERSIST_WAL, -1),
            ("powersafe overwrite", ffi::SQLITE_FCNTL_POWERSAFE_OVERWRITE, -1),
            ("reserve bytes", ffi::SQLITE_FCNTL_RESERVE_BYTES, -1),
            ("lock state", ffi::SQLITE_FCNTL_LOCKSTATE, 0),
            ("unknown", 9999, 0),
        ] {
            let answer = control(&db, operation, value);
            run.note(what, answer);
        }
        run.sql(&mut db, "BEGIN IMMEDIATE");
        let answer = control(&db, ffi::SQLITE_FCNTL_LOCKSTATE, 0);
        run.note("lock state, reserved", answer);
        run.sql(&mut db, "ROLLBACK");
        let path = db.path().unwrap_or_default().to_owned();
        run.note("path", path);
    });
}

#[test]
fn the_vfs_says_its_name() {
    assert_equal("names of the VFS", |run| {
        let db = run.open("db.sqlite", "").expect("a new database");
        for round in 0..2 {
            let mut name: *mut c_char = std::ptr::null_mut();
            // SAFETY: the connection is open; this operation gives a text that is ours to free.
            let text = unsafe {
                let out = std::ptr::from_mut(&mut name).cast::<c_void>();
                ffi::sqlite3_file_control(db.handle(), c"main".as_ptr(), ffi::SQLITE_FCNTL_VFSNAME, out);
                let text = std::ffi::CStr::from_ptr(name).to_string_lossy().into_owned();
                ffi::sqlite3_free(name.cast());
                text
            };
            run.note(&format!("round {round}"), text);
        }
    });
}
