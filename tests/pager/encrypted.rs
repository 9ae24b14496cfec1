//! Programs whose SQLite encrypts in its pager (SQLCipher and others): what coord is given is noise, and must stay what it is.

use crate::common::host::{Host, Sqlite};
use crate::common::{self, opener::Opener};
use crate::room::{NETWORK, Room, TRUSTED, UNIX, host, sum};
use rusqlite::ffi;
use std::ffi::c_void;

/// A first page as such a program writes it: no header, and where one would say "WAL" the same bytes by chance.
fn noise() -> Vec<u8> {
    let mut page: Vec<u8> = (0..1024_u32).map(|n| (n * 7 + 3) as u8).collect();
    page[18..20].fill(2);
    page
}

/// Writes to the database's own file as the pager does, in the middle of its transaction.
fn write_first_page(connection: &rusqlite::Connection, page: &[u8]) -> i32 {
    let mut file: *mut ffi::sqlite3_file = std::ptr::null_mut();
    // SAFETY: the connection is open and used by this thread alone; its file is open as long as it is, and has methods.
    unsafe {
        let out = (&raw mut file).cast::<c_void>();
        let told =
            ffi::sqlite3_file_control(connection.handle(), c"main".as_ptr(), ffi::SQLITE_FCNTL_FILE_POINTER, out);
        assert_eq!(told, ffi::SQLITE_OK);
        let write = (*(*file).pMethods).xWrite.unwrap();
        write(file, page.as_ptr().cast(), page.len() as i32, 0)
    }
}

#[test]
fn what_is_no_header_of_sqlites_is_written_as_it_is() {
    for query in [NETWORK, TRUSTED] {
        let room = Room::with_rows();
        let opener = Opener { extension: Some(common::extension()), entry: None, query: query.into() };
        let connection = opener.open(&room.database).unwrap();
        let journaled = "PRAGMA cache_size=1; BEGIN EXCLUSIVE; CREATE TABLE u(a); UPDATE t SET v = 2";
        connection.execute_batch(journaled).unwrap();
        assert_eq!(write_first_page(&connection, &noise()), ffi::SQLITE_OK, "{query}");
        assert_eq!(std::fs::read(&room.database).unwrap()[..1024], noise(), "{query}");
        connection.execute_batch("ROLLBACK").unwrap();
        let sum: i64 = connection.query_row("SELECT sum(v) FROM t", [], |row| row.get(0)).unwrap();
        assert_eq!(sum, 200, "{query}");
    }
}

/// Nor is it refused as one in WAL mode.
#[test]
fn an_encrypted_database_is_not_taken_for_one_in_wal_mode() {
    for query in [NETWORK, TRUSTED, UNIX] {
        let room = Room::new();
        std::fs::write(&room.database, noise()).unwrap();
        let mut host = host(&[]);
        host.open("db", &room.uri(query)).ok();
        // Without its key it is none; with it this would be a page.
        let answer = host.exec("db", "SELECT * FROM sqlite_schema");
        assert_eq!(answer.error().code, ffi::SQLITE_NOTADB, "{query}: {answer:?}");
    }
}

/// A VFS on top of the platform's keeps its key, or what else it was told, with the file that was open then. In network-exclusive mode coord
/// opens files anew, so what is written would be plain: it is not used there.
#[test]
fn a_default_vfs_that_is_not_the_platforms_own_is_not_opened_anew() {
    let program = |guards: &str| {
        let mut host = Host::with(&[("a", Sqlite::Newest)], &[("COORD_TEST_WITHOUT", guards)]);
        host.call(&["register-vfs", "cipher-unix", "default"]).ok();
        host.load(&common::extension()).ok();
        host
    };
    let room = Room::with_rows();
    let mut host = program("");
    host.open("db", &room.uri(TRUSTED)).ok();
    host.exec("db", "UPDATE t SET v = 2").ok();
    host.open("network", &room.uri(NETWORK)).ok();
    let answer = host.exec("network", "UPDATE t SET v = 3");
    assert!(answer.result.is_err(), "{answer:?}");
    let told = host.exec("db", "SELECT coord_last_error()").value();
    assert!(told.contains("cipher-unix") && told.contains("coord_mode=trusted"), "{told}");
    host.close("network").ok();
    // Another program makes it network-exclusive while this one has it open.
    let mut other = self::host(&[]);
    other.open("db", &room.uri(NETWORK)).ok();
    other.exec("db", "UPDATE t SET v = 4").ok();
    let failed = (0..3).all(|_| host.exec("db", "UPDATE t SET v = 5").result.is_err());
    assert!(failed, "a file was opened anew below the connection");
    assert_eq!(sum(&mut other, "db"), "800");

    let room = Room::with_rows();
    let mut host = program("own-base");
    host.open("db", &room.uri(NETWORK)).ok();
    host.exec("db", "UPDATE t SET v = 3").ok();
}
