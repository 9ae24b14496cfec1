//! A database in hostile surroundings: what it was before, what may not change, and what the command says of it.

use super::bank::{Sql, SqlError};
use super::opener::Opener;
use std::collections::BTreeSet;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Command;

/// A directory with a database that plain SQLite made, and its bytes.
pub struct Place {
    pub dir: tempfile::TempDir,
    pub database: PathBuf,
    pub bytes: Vec<u8>,
}

pub const NETWORK: &str = "coord_mode=network-exclusive";
/// The same for tests that look at what is on disk between transactions.
pub const AT_ONCE: &str = "coord_mode=network-exclusive&coord_unlock_asap=1";
pub const TRUSTED: &str = "coord_mode=trusted";
/// The shortest lease.
pub const SHORT: &str = "coord_mode=network-exclusive&coord_lease_ms=1000";

impl Place {
    pub fn new() -> Place {
        Place::named("state.sqlite")
    }

    pub fn named(name: &str) -> Place {
        let dir = super::dir();
        let database = dir.path().join(name);
        // Under a short name: a long one leaves no room for plain SQLite's journal.
        let made = dir.path().join("new");
        fill(&made);
        std::fs::rename(&made, &database).expect("a new name");
        let bytes = std::fs::read(&database).expect("just made");
        Place { dir, database, bytes }
    }

    /// Network-exclusive already, with nobody in it.
    pub fn registered() -> Place {
        let place = Place::new();
        std::fs::create_dir(place.registry()).expect("a new directory");
        place
    }

    pub fn beside(&self, suffix: &str) -> PathBuf {
        let mut path = self.database.as_os_str().to_owned();
        path.push(suffix);
        path.into()
    }

    pub fn lock(&self) -> PathBuf {
        self.beside(".lock")
    }

    pub fn registry(&self) -> PathBuf {
        self.beside(".readers")
    }

    pub fn open(&self, parameters: &str) -> Result<rusqlite::Connection, SqlError> {
        open(&self.database, parameters)
    }

    /// What lies in the directory.
    pub fn names(&self) -> BTreeSet<OsString> {
        names(self.dir.path())
    }

    /// Not a byte of the database is another.
    pub fn assert_untouched(&self) {
        assert!(std::fs::read(&self.database).expect("it is there") == self.bytes, "the database was changed");
    }

    /// Opening is refused with a sentence that has these words in it; nothing is changed, nothing is left behind.
    pub fn assert_refused(&self, parameters: &str, words: &[&str]) -> String {
        let before = self.names();
        let error = match self.open(parameters) {
            Err(error) => error,
            Ok(_) => panic!("{parameters}: it opened"),
        };
        assert!(error.message.contains("coord: "), "{parameters}: no sentence of coord's: {error}");
        for word in words {
            assert!(error.message.contains(word), "{parameters}: {word} is not in: {error}");
        }
        self.assert_untouched();
        assert_eq!(self.names(), before, "{parameters}: the refusal left something behind");
        error.message
    }

    /// Reading and writing through coord work, for plain SQLite too, and nothing of ours is left in the lock directory.
    pub fn assert_works(&self, parameters: &str) {
        assert_works(&self.database, parameters);
    }

    /// `coord inspect` in both forms: it ends with a status of its own, its text is harmless, its JSON is JSON.
    pub fn inspect(&self) -> (String, serde_json::Value) {
        inspect(&self.database)
    }
}

pub fn fill(database: &Path) {
    let plain = rusqlite::Connection::open(database).expect("a new database");
    plain
        .execute_batch("CREATE TABLE t(a, b); INSERT INTO t VALUES(1, hex(zeroblob(6000))), (2, 'two');")
        .expect("plain SQLite works");
}

pub fn names(dir: &Path) -> BTreeSet<OsString> {
    std::fs::read_dir(dir).expect("a directory").map(|entry| entry.expect("an entry").file_name()).collect()
}

pub fn open(database: &Path, parameters: &str) -> Result<rusqlite::Connection, SqlError> {
    Opener::coord(parameters).open(database).map_err(sql_error)
}

pub fn sql_error(error: rusqlite::Error) -> SqlError {
    match error {
        rusqlite::Error::SqliteFailure(e, message) => {
            SqlError { code: e.extended_code, message: message.unwrap_or_default() }
        }
        other => SqlError { code: -1, message: other.to_string() },
    }
}

/// What coord has to say of a connection's last error; a sentence, or the test fails.
pub fn complaint(db: &mut impl Sql) -> String {
    let rows = db.sql("PRAGMA coord_error").expect("the pragma needs no lock");
    let text = rows.into_iter().flatten().next().unwrap_or_default();
    assert!(text.starts_with("coord: "), "no sentence: {text:?}");
    text
}

pub fn assert_works(database: &Path, parameters: &str) {
    let context = || format!("{} {parameters}", database.display());
    let mut db = open(database, parameters).unwrap_or_else(|e| panic!("{}: {e}", context()));
    let write = "CREATE TABLE IF NOT EXISTS w(a); BEGIN IMMEDIATE; INSERT INTO w VALUES(7); COMMIT";
    if let Err(error) = db.sql(write) {
        panic!("{}: {error}: {}", context(), complaint(&mut db));
    }
    let found = db.sql("SELECT count(*) >= 2 FROM t").map_err(|e| e.to_string());
    assert_eq!(found, Ok(vec![vec!["1".to_string()]]), "{}", context());
    drop(db);
    let mut plain = rusqlite::Connection::open(database).expect("plain SQLite");
    assert_eq!(
        plain.sql("PRAGMA integrity_check").map_err(|e| e.to_string()),
        Ok(vec![vec!["ok".to_string()]]),
        "{}",
        context()
    );
    assert_ne!(plain.sql("SELECT count(*) FROM w").expect("it was made")[0][0], "0", "{}", context());
}

pub fn inspect(database: &Path) -> (String, serde_json::Value) {
    let command = |json: bool| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_coord"));
        command.arg("inspect").args(json.then_some("--json")).arg(database);
        super::run(&mut command, super::SOON)
    };
    let (text, json) = (command(false), command(true));
    for ran in [&text, &json] {
        assert!(matches!(ran.status.code(), Some(0..=2)), "{:?}: {}", ran.status, ran.err);
        assert!(!ran.err.contains("panicked"), "{}", ran.err);
    }
    assert!(
        text.out.chars().all(|c| c == '\n' || !c.is_control()),
        "control characters on the terminal: {:?}",
        text.out
    );
    let parsed = serde_json::from_str(&json.out).unwrap_or_else(|e| panic!("{e}: {}{}", json.out, json.err));
    (text.out, parsed)
}
