//! The demo's database: how it is opened, what is in it, and what it says in the end.

use super::verdict::{Account, CommitId, Evidence};
use rusqlite::{Connection, OpenFlags, Result, params};
use std::collections::BTreeSet;
use std::path::Path;
use std::time::Duration;

pub const ACCOUNTS: i64 = 200;
pub const OPENING_BALANCE: i64 = 1_000;
pub const TOTAL: i64 = ACCOUNTS * OPENING_BALANCE;

/// Makes an account's row wide enough that all of them fill some thirty pages.
const NOTE_BYTES: usize = 500;
/// Together with some leases longer than anything the demo does to its workers, so that SQLITE_BUSY is news.
const BUSY_TIMEOUT: Duration = Duration::from_secs(10);

/// The URI of a database by a VFS. Only `coord` gets coord's parameters.
pub fn uri(path: &Path, vfs: &str, lease_ms: u32) -> String {
    let path = percent_encode(path.as_os_str().as_encoded_bytes());
    match vfs {
        "coord" => format!("file:{path}?vfs=coord&coord_mode=network-exclusive&coord_lease_ms={lease_ms}"),
        _ => format!("file:{path}?vfs={}", percent_encode(vfs.as_bytes())),
    }
}

/// RFC 3986: everything but the unreserved characters and the slash becomes `%XX`.
pub fn percent_encode(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len());
    for &byte in bytes {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' | b'/' => text.push(byte.into()),
            _ => text += &format!("%{byte:02X}"),
        }
    }
    text
}

/// Opens for reading and writing; creates nothing.
pub fn open(uri: &str, lease_ms: u32) -> Result<Connection> {
    open_with(uri, lease_ms, OpenFlags::SQLITE_OPEN_READ_WRITE)
}

fn open_with(uri: &str, lease_ms: u32, flags: OpenFlags) -> Result<Connection> {
    let connection =
        Connection::open_with_flags(uri, flags | OpenFlags::SQLITE_OPEN_URI | OpenFlags::SQLITE_OPEN_NO_MUTEX)?;
    connection.busy_timeout(BUSY_TIMEOUT + 3 * Duration::from_millis(lease_ms.into()))?;
    Ok(connection)
}

/// Makes the new database. `path` must not exist; the caller has looked.
pub fn create(uri: &str, lease_ms: u32) -> Result<()> {
    let connection = open_with(uri, lease_ms, OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_CREATE)?;
    connection.execute_batch(
        "BEGIN IMMEDIATE;
         CREATE TABLE account(id INTEGER PRIMARY KEY, balance INTEGER NOT NULL, touched INTEGER NOT NULL, note TEXT);
         CREATE TABLE history(worker INTEGER, seq INTEGER, source INTEGER, target INTEGER, amount INTEGER,
                              UNIQUE(worker, seq));
         CREATE TABLE counter(commits INTEGER NOT NULL);
         INSERT INTO counter VALUES(0);",
    )?;
    let mut insert = connection.prepare("INSERT INTO account VALUES(?1, ?2, 0, ?3)")?;
    for id in 1..=ACCOUNTS {
        insert.execute(params![id, OPENING_BALANCE, "x".repeat(NOTE_BYTES)])?;
    }
    drop(insert);
    connection.execute_batch("COMMIT")
}

/// What this process's SQLite says about its way to the file; none if it has no such function.
pub fn locks_taken(connection: &Connection) -> Option<i64> {
    connection.query_row("SELECT coord_locks_taken()", [], |row| row.get(0)).ok()
}

/// coord's own sentence about the last error, where there is one.
pub fn last_error(connection: &Connection) -> Option<String> {
    connection.query_row("SELECT coord_last_error()", [], |row| row.get(0)).ok().flatten()
}

/// The final look through the workers' own VFS, under the write lock: it must still be possible to get it.
pub fn examine(uri: &str, lease_ms: u32, evidence: &mut Evidence) -> Result<()> {
    let connection = open(uri, lease_ms)?;
    connection.execute_batch("BEGIN IMMEDIATE")?;
    evidence.balance = balance(&connection)?;
    evidence.history = history(&connection)?;
    evidence.history_rows = count(&connection, "SELECT count(*) FROM history")?;
    evidence.counter = count(&connection, "SELECT commits FROM counter")?;
    evidence.wrong_accounts = wrong_accounts(&connection)?;
    let mut check = connection.prepare("PRAGMA integrity_check")?;
    evidence.integrity = check.query_map([], |row| row.get(0))?.collect::<Result<_>>()?;
    connection.execute_batch("COMMIT")
}

/// The same file read as any SQLite would, by no VFS of ours and without a lock (everybody has gone): sum and rows.
pub fn examine_plainly(path: &Path) -> Result<(i64, u64)> {
    let uri = format!("file:{}?vfs=unix&immutable=1&mode=ro", percent_encode(path.as_os_str().as_encoded_bytes()));
    let connection = open_with(&uri, 0, OpenFlags::SQLITE_OPEN_READ_ONLY)?;
    Ok((balance(&connection)?, count(&connection, "SELECT count(*) FROM history")?))
}

/// One number that cannot be negative.
pub fn count(connection: &Connection, sql: &str) -> Result<u64> {
    let number: i64 = connection.prepare_cached(sql)?.query_row([], |row| row.get(0))?;
    u64::try_from(number).map_err(|_| rusqlite::Error::IntegralValueOutOfRange(0, number))
}

pub fn balance(connection: &Connection) -> Result<i64> {
    connection.prepare_cached("SELECT sum(balance) FROM account")?.query_row([], |row| row.get(0))
}

fn history(connection: &Connection) -> Result<BTreeSet<CommitId>> {
    let mut rows = connection.prepare("SELECT worker, seq FROM history")?;
    rows.query_map([], |row| Ok(CommitId { worker: row.get(0)?, seq: row.get::<_, i64>(1)? as u64 }))?.collect()
}

/// Accounts whose balance is not what their history makes it: a transfer of which only one half is there.
fn wrong_accounts(connection: &Connection) -> Result<Vec<Account>> {
    let mut rows = connection.prepare(
        "WITH moved(id, amount) AS (SELECT source, -amount FROM history UNION ALL SELECT target, amount FROM history),
              due(id, balance) AS (SELECT a.id, ?1 + coalesce(sum(m.amount), 0)
                                   FROM account a LEFT JOIN moved m ON m.id = a.id GROUP BY a.id)
         SELECT a.id, a.balance, due.balance FROM account a JOIN due USING(id) WHERE a.balance <> due.balance",
    )?;
    rows.query_map([OPENING_BALANCE], |row| Ok(Account { id: row.get(0)?, balance: row.get(1)?, due: row.get(2)? }))?
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_of_any_kind_survive_the_uri() {
        assert_eq!(percent_encode(b"/a-b_c.~/Z9"), "/a-b_c.~/Z9");
        assert_eq!(percent_encode(b"/a b?c#d%e&f='\""), "/a%20b%3Fc%23d%25e%26f%3D%27%22");
        assert_eq!(percent_encode("/ü\n".as_bytes()), "/%C3%BC%0A");
        assert_eq!(percent_encode(&[b'/', 0xff]), "/%FF");
    }

    #[test]
    fn the_uri_carries_coords_parameters_for_coord_only() {
        let path = Path::new("/mnt/a b/demo.sqlite");
        assert_eq!(
            uri(path, "coord", 1_500),
            "file:/mnt/a%20b/demo.sqlite?vfs=coord&coord_mode=network-exclusive&coord_lease_ms=1500"
        );
        assert_eq!(uri(path, "unix", 1_500), "file:/mnt/a%20b/demo.sqlite?vfs=unix");
    }

    #[test]
    fn a_transfer_of_which_one_half_is_missing_is_found() {
        let dir = tempfile::tempdir().unwrap();
        let uri = uri(&dir.path().join("a ?%.sqlite"), "unix", 1_500);
        create(&uri, 0).unwrap();
        let mut evidence = Evidence::default();
        examine(&uri, 0, &mut evidence).unwrap();
        assert_eq!((evidence.balance, evidence.wrong_accounts.len()), (TOTAL, 0));
        open(&uri, 0).unwrap().execute_batch("INSERT INTO history VALUES(1, 1, 5, 6, 10)").unwrap();
        examine(&uri, 0, &mut evidence).unwrap();
        let wrong: Vec<_> = evidence.wrong_accounts.iter().map(|account| (account.id, account.due)).collect();
        assert_eq!(wrong, [(5, 990), (6, 1_010)]);
        assert_eq!(evidence.history, BTreeSet::from([CommitId { worker: 1, seq: 1 }]));
    }
}
