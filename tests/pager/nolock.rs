//! Connections that ask for no locks. SQLite shows nobody the refusal of a database that is attached, and asks it for no lock.

use crate::room::{NETWORK, Room, SUM, TRUSTED, host};

#[test]
fn an_attached_database_without_locks_is_neither_read_nor_written() {
    for mode in [TRUSTED, NETWORK] {
        for (guards, nolock) in [("", "nolock=1"), ("", "nolock=1x"), ("", "nolock=0x1"), ("refused", "nolock=1")] {
            let case = format!("{mode} {nolock} {guards}");
            let room = Room::with_rows();
            let (mut blind, mut other) = (host(&[("COORD_TEST_WITHOUT", guards)]), host(&[]));
            blind.open("db", ":memory:").ok();
            let query = format!("{mode}&{nolock}");
            blind.exec("db", &format!("ATTACH '{}' AS s", room.uri(&query)));
            let read = blind.exec("db", "SELECT sum(v) FROM s.t");
            assert_eq!(read.result.is_ok(), !guards.is_empty(), "{case}: {read:?}");
            other.open("db", &room.uri(mode)).ok();
            other.exec("db", "UPDATE t SET v = 2").ok();
            other.close("db").ok();
            let written = blind.exec("db", "UPDATE s.t SET v = 3");
            assert!(written.result.is_err(), "{case}: {written:?}");
            let journal = std::fs::read(room.beside("-journal")).unwrap_or_default();
            let is_hot = journal.first().is_some_and(|byte| *byte != 0);
            assert_eq!(is_hot, !guards.is_empty(), "{case}: a journal over what others have committed");
            if guards.is_empty() {
                let told = blind.exec("db", "SELECT coord_last_error()").value();
                assert!(told.contains("nolock"), "{case}: {told}");
                other.open("db", &room.uri(mode)).ok();
                assert_eq!(other.exec("db", SUM).value(), "400", "{case}");
            }
        }
    }
}

/// What SQLite takes for no, or reads no second time, is no leave to go past the locks.
#[test]
fn what_sqlite_does_not_take_for_immutable_is_locked() {
    for value in ["immutable=-1", "immutable=yess", "immutable=0&immutable=1", "nolock=0&nolock=1"] {
        let room = Room::with_rows();
        let mut host = host(&[]);
        host.open("db", &room.uri(&format!("{NETWORK}&{value}"))).ok();
        let written = host.exec("db", "UPDATE t SET v = 2");
        assert!(written.result.is_ok(), "{value}: {written:?}, {:?}", host.exec("db", "SELECT coord_last_error()"));
        assert_ne!(host.exec("db", "SELECT coord_locks_taken()").value(), "0", "{value}");
    }
}
