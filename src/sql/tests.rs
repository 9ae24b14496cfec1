//! The SQL surface in a real host: rusqlite's bundled SQLite, registered by auto-extension as a program would do it.

use std::ffi::{c_char, c_int};
use std::io;
use std::path::Path;

use rusqlite::{Connection, Error};

use super::functions::{self, Answer, Body, Function};
use super::{locks, register};
use crate::host::ffi::{SQLITE_ERROR, SQLITE_OK, sqlite3};
use crate::host::{Api, capture};
use crate::lock::report::LockRow;

/// What an entry point does, in small.
unsafe extern "C" fn entry(
    db: *mut rusqlite::ffi::sqlite3,
    message: *mut *mut c_char,
    table: *const rusqlite::ffi::sqlite3_api_routines,
) -> c_int {
    // SAFETY: the arguments of an entry point.
    let result = unsafe { capture(table.cast()).map(|api| (api, register(api, db.cast()))) };
    match result {
        Ok((_, Ok(()))) => SQLITE_OK,
        Ok((api, Err(sentence))) => {
            // SAFETY: the host's place for a message, which it frees.
            unsafe { *message = api.alloc_text(&sentence) };
            SQLITE_ERROR
        }
        Err(_) => SQLITE_ERROR,
    }
}

fn connection() -> Connection {
    // SAFETY: the entry point is part of this program.
    assert_eq!(unsafe { rusqlite::ffi::sqlite3_auto_extension(Some(entry)) }, SQLITE_OK);
    Connection::open_in_memory().unwrap()
}

/// The api of rusqlite's SQLite, by another way through an entry point.
fn api() -> &'static Api {
    use std::sync::OnceLock;
    static API: OnceLock<&'static Api> = OnceLock::new();
    unsafe extern "C" fn entry(
        _: *mut rusqlite::ffi::sqlite3,
        _: *mut *mut c_char,
        table: *const rusqlite::ffi::sqlite3_api_routines,
    ) -> c_int {
        // SAFETY: the table that SQLite hands to an entry point.
        let _ = API.set(unsafe { capture(table.cast()) }.unwrap());
        SQLITE_OK
    }
    // SAFETY: the entry point is part of this program.
    assert_eq!(unsafe { rusqlite::ffi::sqlite3_auto_extension(Some(entry)) }, SQLITE_OK);
    drop(Connection::open_in_memory().unwrap());
    API.get().unwrap()
}

fn handle(connection: &Connection) -> *mut sqlite3 {
    // SAFETY: used while the connection is open.
    unsafe { connection.handle() }.cast()
}

fn text(connection: &Connection, sql: &str) -> Option<String> {
    connection.query_row(sql, [], |row| row.get(0)).unwrap()
}

fn failure(connection: &Connection, sql: &str) -> String {
    match connection.query_row(sql, [], |_| Ok(())) {
        Err(Error::SqliteFailure(_, Some(message)) | Error::SqlInputError { msg: message, .. }) => message,
        other => panic!("{sql}: {other:?} instead of a failure"),
    }
}

/// A source of rows that depends on the file's name alone.
fn inspect(path: &Path) -> io::Result<Vec<LockRow>> {
    assert!(path.is_absolute());
    match path.file_name().and_then(|name| name.to_str()) {
        Some("two.db") => Ok(vec![
            LockRow {
                kind: "write".into(),
                node: "n1".into(),
                host: "h1".into(),
                pid: Some(17),
                user: "ü".into(),
                command: "python3".into(),
                age_ms: Some(u64::MAX),
                beat_age_ms: Some(250),
                lease_ms: Some(30_000),
                verdict: "alive".into(),
                mine: true,
            },
            LockRow { kind: "unknown".into(), ..LockRow::default() },
        ]),
        Some("one.db") => Ok(vec![LockRow { kind: "reader".into(), ..LockRow::default() }]),
        Some("panic.db") => panic!("made up"),
        _ => Err(io::ErrorKind::PermissionDenied.into()),
    }
}

fn with_rows() -> Connection {
    let connection = connection();
    // SAFETY: an open connection of that host, used by this thread alone.
    unsafe { locks::define(api(), handle(&connection), inspect) }.unwrap();
    connection
}

#[test]
fn functions_answer() {
    let connection = connection();
    assert_eq!(text(&connection, "SELECT coord_version()").unwrap(), env!("CARGO_PKG_VERSION"));
    let taken: i64 = connection.query_row("SELECT coord_locks_taken()", [], |row| row.get(0)).unwrap();
    assert!(taken >= 0);
    let error_type = text(&connection, "SELECT typeof(coord_last_error())").unwrap();
    assert!(error_type == "null" || error_type == "text", "{error_type}");

    let info = text(&connection, "SELECT coord_info()").unwrap();
    let info: serde_json::Value = serde_json::from_str(&info).unwrap();
    assert_eq!(info["sqlite_version"], rusqlite::version());
    assert_eq!(info["coord_version"], env!("CARGO_PKG_VERSION"));
    assert!(info["base_vfs"].is_string() && info["default_vfs"].is_string());
    for (key, value) in crate::lock::report::info().as_object().unwrap() {
        assert!(info.get(key).is_some(), "{key} = {value} of the process is lost");
    }
}

/// The filesystem's verdict as JSON; the directory is as it was; without a directory there is a sentence.
#[test]
fn a_filesystem_can_be_checked_by_sql() {
    let connection = connection();
    let dir = tempfile::tempdir().unwrap();
    let sql = format!("SELECT coord_check('{}')", dir.path().display());
    let report: serde_json::Value = serde_json::from_str(&text(&connection, &sql).unwrap()).unwrap();
    let fit = ["trusted safe", "network-exclusive safe"];
    assert!(fit.contains(&report["verdict"].as_str().unwrap()), "{report:#}");
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
    assert!(failure(&connection, "SELECT coord_check('/no/such')").contains("cannot check /no/such"));
    for nothing in ["NULL", "''"] {
        let message = failure(&connection, &format!("SELECT coord_check({nothing})"));
        assert_eq!(message, "coord: coord_check needs a path");
    }
}

/// A function of ours that fails or panics fails the statement, with a sentence, and the connection goes on.
#[test]
fn failures_become_sql_errors() {
    static FAILS: Function =
        Function { name: c"t_fails", flags: 0, body: Body::Plain(|_| Err("a sentence".to_owned())) };
    static PANICS: Function = Function { name: c"t_panics", flags: 0, body: Body::Plain(|_| panic!("made up")) };
    static NULL: Function = Function { name: c"t_null", flags: 0, body: Body::Plain(|_| Ok(Answer::Null)) };
    let connection = connection();
    for function in [&FAILS, &PANICS, &NULL] {
        // SAFETY: an open connection of that host, used by this thread alone.
        unsafe { functions::define(api(), handle(&connection), function) }.unwrap();
    }
    assert_eq!(failure(&connection, "SELECT t_fails()"), "a sentence");
    assert!(failure(&connection, "SELECT t_panics()").ends_with("made up"));
    assert_eq!(text(&connection, "SELECT t_null()"), None);
}

/// A schema from elsewhere cannot reach what is closed to it.
#[test]
fn views_are_kept_out() {
    let connection = with_rows();
    connection
        .execute_batch(
            "CREATE VIEW v_default AS SELECT coord_default(); CREATE VIEW v_locks AS SELECT * FROM coord_locks('/two.db');
             CREATE VIEW v_version AS SELECT coord_version(); CREATE VIEW v_info AS SELECT coord_info();
             CREATE VIEW v_check AS SELECT coord_check('/tmp');",
        )
        .unwrap();
    assert!(failure(&connection, "SELECT * FROM v_default").contains("unsafe use of coord_default"));
    assert!(failure(&connection, "SELECT * FROM v_check").contains("unsafe use of coord_check"));
    assert!(failure(&connection, "SELECT * FROM v_locks").contains("unsafe use of virtual table"));
    // The control: what is not closed does answer, and with a schema that is not trusted only the harmless does.
    assert!(text(&connection, "SELECT * FROM v_info").is_some());
    connection.execute_batch("PRAGMA trusted_schema = OFF").unwrap();
    assert!(failure(&connection, "SELECT * FROM v_info").contains("unsafe use of coord_info"));
    assert!(text(&connection, "SELECT * FROM v_version").is_some());
}

#[test]
fn locks_are_a_table() {
    let connection = with_rows();
    let mut statement = connection.prepare("SELECT *, path, rowid FROM coord_locks('/x/two.db')").unwrap();
    let names = "kind node host pid user command age_ms beat_age_ms lease_ms verdict mine path rowid";
    assert_eq!(statement.column_names().collect::<Vec<_>>().join(" "), names);
    let rows: Vec<Vec<rusqlite::types::Value>> = statement
        .query_map([], |row| (0..13).map(|column| row.get(column)).collect())
        .unwrap()
        .collect::<Result<_, _>>()
        .unwrap();
    use rusqlite::types::Value::{Integer, Null};
    let text = |text: &str| rusqlite::types::Value::Text(text.to_owned());
    assert_eq!(
        rows[0],
        [
            text("write"),
            text("n1"),
            text("h1"),
            Integer(17),
            text("ü"),
            text("python3"),
            Integer(i64::MAX),
            Integer(250),
            Integer(30_000),
            text("alive"),
            Integer(1),
            text("/x/two.db"),
            Integer(0),
        ]
    );
    assert_eq!((&rows[1][3], &rows[1][6], &rows[1][10], &rows[1][12]), (&Null, &Null, &Integer(0), &Integer(1)));
    assert_eq!(rows.len(), 2);

    // One scan for each row of another table, in whichever order it is written, with the argument in WHERE, relative or bound.
    let join = "WITH d(file) AS (VALUES ('/two.db'), ('/one.db')) SELECT group_concat(kind) FROM ";
    for tables in
        ["d, coord_locks(d.file)", "coord_locks AS l JOIN d ON l.path = d.file", "d LEFT JOIN coord_locks(d.file)"]
    {
        assert_eq!(self::text(&connection, &format!("{join}{tables}")).unwrap(), "write,unknown,reader", "{tables}");
    }
    let kind: String =
        connection.query_row("SELECT kind FROM coord_locks WHERE path = ?1", ["one.db"], |row| row.get(0)).unwrap();
    assert_eq!(kind, "reader");
}

#[test]
fn locks_without_an_answer_say_why() {
    let connection = with_rows();
    for sql in ["coord_locks", "coord_locks(NULL)", "coord_locks('')", "coord_locks WHERE path > 'a'"] {
        let message = failure(&connection, &format!("SELECT * FROM {sql}"));
        assert!(message.contains("coord_locks('/path/to/file.db')"), "{sql}: {message}");
    }
    let message = failure(&connection, "SELECT * FROM coord_locks('/no/such.db')");
    assert!(message.contains("/no/such.db") && message.contains("permission denied"), "{message}");
    assert!(failure(&connection, "SELECT * FROM coord_locks('/panic.db')").ends_with("made up"));
    assert!(failure(&connection, "CREATE VIRTUAL TABLE t USING coord_locks").contains("no such module"));
    // A failed scan leaves the table usable.
    assert_eq!(text(&connection, "SELECT kind FROM coord_locks('/one.db')").as_deref(), Some("reader"));
}

/// Loading coord into a connection that has it already must work even from `SELECT load_extension(...)`, when a statement runs.
#[test]
fn registering_again_is_harmless() {
    let connection = with_rows();
    let mut statement = connection.prepare("SELECT kind, coord_version() FROM coord_locks('/two.db')").unwrap();
    let mut rows = statement.query([]).unwrap();
    assert!(rows.next().unwrap().is_some());
    for _ in 0..2 {
        // SAFETY: an open connection of that host, used by this thread alone.
        unsafe { register(api(), handle(&connection)) }.unwrap();
    }
    assert!(rows.next().unwrap().is_some());
    assert!(rows.next().unwrap().is_none());
    drop(rows);
    drop(statement);
    assert_eq!(text(&connection, "SELECT coord_version()").unwrap(), env!("CARGO_PKG_VERSION"));
}
