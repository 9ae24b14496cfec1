//! A database that another one takes the place of while it is open: by a link in its path, or by its name.

use crate::common::host::{Host, Sqlite, path};
use crate::room::{NETWORK, ROWS, Room, SUM, TRUSTED, UNIX, host, host_of, sum, uri, without};
use std::os::unix::fs::symlink;

/// Two directories with a database each, and a link to the first.
fn versions() -> (Room, [std::path::PathBuf; 2], std::path::PathBuf) {
    let room = Room::new();
    let [first, second] = ["v1", "v2"].map(|name| room.dir.path().join(name).join("db.sqlite"));
    for (database, value) in [(&first, 1), (&second, 5)] {
        std::fs::create_dir(database.parent().unwrap()).unwrap();
        let db = rusqlite::Connection::open(database).unwrap();
        db.execute_batch(&format!("{ROWS} UPDATE t SET v = {value}")).unwrap();
    }
    let current = room.dir.path().join("current");
    symlink("v1", &current).unwrap();
    (room, [first, second], current)
}

/// SQLite before 3.39 hands the path over with its links. Where they lead elsewhere by the time that coord opens the database anew,
/// with its lock and journal beside the first, the first is what it stays with.
#[test]
fn a_link_in_the_middle_of_the_path_is_followed_once() {
    for guards in ["", "resolved-name"] {
        let (_room, [first, second], current) = versions();
        let mut writer = host_of(Sqlite::Middle, &[("COORD_TEST_WITHOUT", guards)]);
        writer.open("db", &uri(&current.join("db.sqlite"), NETWORK)).ok();
        std::fs::remove_file(&current).unwrap();
        symlink("v2", &current).unwrap();
        let answer = writer.exec("db", "UPDATE t SET v = 7 WHERE id <= 100");
        writer.close("db").ok();
        let mut look = host(&[]);
        let mut found = |database| {
            look.open("db", &uri(database, UNIX)).ok();
            let found = sum(&mut look, "db");
            look.close("db").ok();
            found
        };
        let (here, there) = (found(&first), found(&second));
        assert_eq!(there == "1000", guards.is_empty(), "{guards}: the other one holds {there}");
        if guards.is_empty() {
            assert_eq!(here, if answer.result.is_ok() { "800" } else { "200" }, "{answer:?}");
        }
    }
}

/// In trusted mode a connection leaves an empty journal and removes it in the end: not that of a database which has taken the place of
/// its own, whose writer may keep it open.
#[test]
fn a_kept_journal_stays_beside_another_database() {
    for (guards, stays) in [("", true), ("kept-of-another", false)] {
        let (room, restored) = (Room::with_rows(), Room::with_rows());
        let mut writer: Host = without(guards);
        writer.open("db", &room.uri(TRUSTED)).ok();
        writer.exec("db", "UPDATE t SET v = 2").ok();
        assert!(room.beside("-journal").exists(), "it is kept");
        std::fs::rename(&restored.database, &room.database).unwrap();
        writer.close("db").ok();
        assert_eq!(room.beside("-journal").exists(), stays, "{guards}");
        let mut look = host(&[]);
        look.open("db", &format!("file:{}?{UNIX}", path(&room.database))).ok();
        assert_eq!(look.exec("db", SUM).value(), "200");
    }
}
