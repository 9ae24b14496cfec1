//! A directory with a database, and hosts that open it.

use crate::common::host::{Answer, Host, Sqlite};
use crate::common::opener::Opener;
use crate::common::{self, until};
use std::path::{Path, PathBuf};

/// How a database is opened.
pub const UNIX: &str = "vfs=unix";
pub const TRUSTED: &str = "vfs=coord&coord_mode=trusted";
pub const NETWORK: &str = "vfs=coord&coord_mode=network-exclusive";
/// With the shortest lease, for nodes that are to be taken over.
pub const SHORT: &str = "vfs=coord&coord_mode=network-exclusive&coord_lease_ms=1000";

pub struct Room {
    pub dir: tempfile::TempDir,
    pub database: PathBuf,
}

impl Room {
    pub fn new() -> Room {
        let dir = common::dir();
        Room { database: dir.path().join("db.sqlite"), dir }
    }

    /// With 200 rows of value 1 over some twenty pages, made by plain SQLite.
    pub fn with_rows() -> Room {
        let room = Room::new();
        let db = rusqlite::Connection::open(&room.database).expect("a new database");
        let sql = format!("PRAGMA page_size=1024; {ROWS}");
        db.execute_batch(&sql).expect("plain SQLite");
        room
    }

    pub fn uri(&self, query: &str) -> String {
        uri(&self.database, query)
    }

    pub fn beside(&self, suffix: &str) -> PathBuf {
        let mut name = self.database.clone().into_os_string();
        name.push(suffix);
        name.into()
    }

    pub fn journal_size(&self) -> u64 {
        self.beside("-journal").metadata().map_or(0, |found| found.len())
    }

    /// Whether the database's file, as it lies there, has rows that no transaction has committed.
    pub fn is_torn(&self) -> bool {
        let db = rusqlite::Connection::open(self.uri("vfs=unix&immutable=1")).expect("immutable");
        let torn = db.query_row(&format!("SELECT ({SUM}) <> 200"), [], |row| row.get(0));
        torn.unwrap_or(true)
    }
}

/// A table in which a half-written transaction shows: its sum is 200, or whatever one transaction makes of it.
pub const ROWS: &str = "CREATE TABLE t(id INTEGER PRIMARY KEY, v INTEGER, padding TEXT);
    WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 200)
        INSERT INTO t SELECT i, 1, hex(zeroblob(40)) FROM n;";
pub const SUM: &str = "SELECT sum(v) FROM t";

pub fn uri(path: &Path, query: &str) -> String {
    Opener { extension: None, entry: None, query: query.into() }.uri(path)
}

/// A program with this SQLite on the tracing VFS, the extension loaded.
pub fn host_of(sqlite: Sqlite, env: &[(&str, &str)]) -> Host {
    let mut host = Host::with(&[("a", sqlite)], env);
    host.call(&["trace"]).ok();
    host.load(&common::extension()).ok();
    host
}

pub fn host(env: &[(&str, &str)]) -> Host {
    host_of(Sqlite::Newest, env)
}

/// Opens the room's database as `db`, waiting for others as long as an application would.
pub fn open_waiting(host: &mut Host, uri: &str) {
    host.open("db", uri).ok();
    host.call(&["busy", "db", "20000"]).ok();
}

/// A program without these guards of the code under test.
pub fn without(guards: &str) -> Host {
    host(&[("COORD_TEST_WITHOUT", guards)])
}

/// Runs `sql`, which kills the program when it comes to the `nth` call of `op` on a file with `file` in its name.
pub fn dies_at(mut host: Host, name: &str, sql: &str, (op, file, nth): (&str, &str, u32)) {
    host.call(&["trap", op, file, &nth.to_string(), "kill"]).ok();
    host.send(&["exec", name, sql]);
    let status = host.wait();
    assert_eq!(std::os::unix::process::ExitStatusExt::signal(&status), Some(libc::SIGKILL), "{sql}");
}

/// Waits until the program has stopped itself.
pub fn wait_stopped(host: &Host) {
    let stat = format!("/proc/{}/stat", host.pid());
    until("a host to stand still", || {
        let stat = std::fs::read_to_string(&stat).unwrap_or_default();
        let state = stat.rsplit(") ").next().and_then(|rest| rest.chars().next());
        assert!(!matches!(state, None | Some('Z' | 'X')), "the host died");
        state == Some('T')
    });
}

/// The values of a transaction's rows, as far as they were given.
pub fn sum(host: &mut Host, name: &str) -> String {
    host.exec(name, SUM).value()
}

/// A failure that is one of input and output: not "busy", not a refusal of the statement.
pub fn is_io_error(answer: &Answer) -> bool {
    answer.result.as_ref().is_err_and(|error| error.primary() == 10)
}
