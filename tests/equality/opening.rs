//! Ways to open a file, and files that are no database or not a whole one.

use crate::{Run, assert_equal, exists};

/// Opens `name` with these URI parameters, notes what comes of it and of some SQL.
fn try_open(run: &mut Run, name: &str, more: &str, sql: &[&str]) {
    match run.open(name, more) {
        Ok(mut db) => {
            run.note(&format!("open {name} {more}"), "ok");
            for sql in sql {
                run.sql(&mut db, sql);
            }
            let state = (db.is_readonly("main"), db.is_autocommit());
            run.note("state", format!("{state:?}"));
        }
        Err(error) => {
            // The message has the URI in it.
            run.note(&format!("open {name} {more}"), format!("{:?}", error.sqlite_error()));
            for _ in sql {
                run.note("not run", "");
            }
            run.note("state", "");
        }
    }
}

const USE: &[&str] =
    &["SELECT count(*) FROM sqlite_master", "CREATE TABLE IF NOT EXISTS t(a)", "INSERT INTO t VALUES(1)"];

#[test]
fn open_modes() {
    assert_equal("open modes", |run| {
        for mode in ["ro", "rw"] {
            // Without CREATE a missing file is an error, and stays missing.
            try_open(run, "missing.sqlite", &format!("&mode={mode}"), USE);
            let made = exists(&run.file("missing.sqlite"));
            run.note("made", made);
        }
        for more in
            ["&mode=rwc", "&mode=rw", "&mode=ro", "&mode=ro&cache=private", "&cache=shared", "&immutable=1", "&psow=0"]
        {
            try_open(run, "db.sqlite", more, USE);
        }
        try_open(run, "no/such/folder.sqlite", "", USE);
        try_open(run, "memory", "&mode=memory", USE);
        let made = exists(&run.file("memory"));
        run.note("made", made);
        try_open(run, "name with spaces, ünïcode % and 'quotes'.sqlite", "", USE);
        run.bytes("db.sqlite");
        run.bytes("name with spaces, ünïcode % and 'quotes'.sqlite");
    });
}

#[test]
fn strange_files() {
    assert_equal("strange files", |run| {
        let mut db = run.open("good.sqlite", "").expect("a new database");
        run.sql(
            &mut db,
            "PRAGMA page_size=1024; CREATE TABLE t(a); INSERT INTO t VALUES(zeroblob(9000)); CREATE TABLE u(a)",
        );
        drop(db);
        let good = std::fs::read(run.file("good.sqlite")).expect("just made");
        let mut torn = good.clone();
        torn[1024..1034].fill(0xff);
        let mut version = good.clone();
        version[18] = 3;
        let mut reserved = good.clone();
        reserved[16..18].copy_from_slice(&[0, 7]);
        let text = b"This is a text and no database, though it is longer than a header, which has a hundred bytes to say what it is.\n";
        for (name, bytes) in [
            ("empty", &b""[..]),
            ("one byte", &b"x"[..]),
            ("text", &text[..]),
            ("cut header", &good[..60]),
            ("cut pages", &good[..3000]),
            ("torn", &torn),
            ("future version", &version),
            ("bad page size", &reserved),
        ] {
            std::fs::write(run.file(name), bytes).expect("a file");
            try_open(run, name, "", &["SELECT length(a) FROM t", "PRAGMA integrity_check", "INSERT INTO u VALUES(1)"]);
            run.bytes(name);
        }
    });
}

/// A read-only connection sees what another commits, and cannot write.
#[test]
fn reading_beside_a_writer() {
    assert_equal("reading beside a writer", |run| {
        let mut writer = run.open("db.sqlite", "").expect("a new database");
        run.sql(&mut writer, "CREATE TABLE t(a); INSERT INTO t VALUES(1)");
        let mut reader = run.open("db.sqlite", "&mode=ro").expect("it opens");
        run.sql(&mut reader, "SELECT count(*) FROM t; PRAGMA data_version");
        run.sql(&mut writer, "INSERT INTO t VALUES(2)");
        run.sql(&mut reader, "SELECT count(*) FROM t; PRAGMA data_version");
        run.sql(&mut reader, "INSERT INTO t VALUES(3)");
        run.sql(&mut writer, "BEGIN IMMEDIATE; INSERT INTO t VALUES(3)");
        run.sql(&mut reader, "SELECT count(*) FROM t");
        run.sql(&mut reader, "BEGIN; SELECT count(*) FROM t");
        run.sql(&mut writer, "COMMIT");
        run.sql(&mut reader, "COMMIT");
        run.sql(&mut writer, "COMMIT");
        run.sql(&mut reader, "SELECT count(*) FROM t");
        run.sql(&mut writer, "BEGIN EXCLUSIVE");
        run.sql(&mut reader, "SELECT count(*) FROM t");
        run.sql(&mut writer, "ROLLBACK; DROP TABLE t; CREATE TABLE t(b)");
        run.sql(&mut reader, "SELECT b FROM t");
    });
}
