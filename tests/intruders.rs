//! While this process holds a lock nobody else may change the file. A program without coord cannot be stopped, but it is
//! noticed at the next look of the service thread, counted, and named in the log and in `coord_last_error()`.

mod common;

use common::opener::Opener;
use std::io::Write;
use std::path::Path;

const MODES: [&str; 2] = ["coord_mode=trusted", "coord_mode=network-exclusive"];

fn reader(mode: &str, database: &Path) -> rusqlite::Connection {
    let opener = Opener::coord(&format!("{mode}&coord_lease_ms=1000"));
    let connection = opener.open(database).expect("it opens");
    let sql = "CREATE TABLE IF NOT EXISTS t(a); INSERT INTO t VALUES(1); BEGIN; SELECT count(*) FROM t;";
    connection.execute_batch(sql).expect("it reads");
    connection
}

fn status(connection: &rusqlite::Connection) -> serde_json::Value {
    let text: String = connection.query_row("PRAGMA coord_status", [], |row| row.get(0)).expect("a status");
    serde_json::from_str(&text).expect("it is JSON")
}

fn intrusions(connection: &rusqlite::Connection) -> u64 {
    status(connection)["intrusions"].as_u64().expect("a number")
}

#[test]
fn a_change_by_a_program_without_coord_is_noticed() {
    for mode in MODES {
        let dir = common::dir();
        let database = dir.path().join("watched.sqlite");
        let connection = reader(mode, &database);
        // The first look is what later ones are compared with: some rounds of it, then a change that no lock allows.
        let begun = std::time::Instant::now();
        common::until("some looks were taken", || begun.elapsed().as_millis() > 600);
        assert_eq!(intrusions(&connection), 0, "{mode}: nothing has happened yet");
        let mut file = std::fs::OpenOptions::new().append(true).open(&database).expect("it can be written");
        file.write_all(&[0; 4096]).expect("it is written");
        // In trusted mode this process's native locks would go with the descriptor; the test needs them no more.
        drop(file);
        common::until("the change is noticed", || intrusions(&connection) > 0);
        let error: String =
            connection.query_row("SELECT coord_last_error()", [], |row| row.get(0)).expect("a sentence");
        assert!(error.contains("watched.sqlite") && error.contains("does not use coord"), "{mode}: {error}");
    }
}

/// The control: what this process and others do under their locks is no intrusion.
#[test]
fn work_under_locks_is_no_intrusion() {
    for mode in MODES {
        let dir = common::dir();
        let database = dir.path().join("busy.sqlite");
        let watcher = reader(mode, &database);
        watcher.execute_batch("COMMIT").expect("it ends");
        let writer = Opener::coord(&format!("{mode}&coord_lease_ms=1000")).open(&database).expect("it opens");
        let begun = std::time::Instant::now();
        while begun.elapsed().as_millis() < 900 {
            writer.execute_batch("INSERT INTO t SELECT randomblob(500) FROM t LIMIT 50").expect("it writes");
            watcher.execute_batch("BEGIN; SELECT count(*) FROM t; COMMIT").expect("it reads");
        }
        assert_eq!(intrusions(&watcher), 0, "{mode}");
    }
}
