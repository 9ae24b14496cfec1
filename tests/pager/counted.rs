//! `PRAGMA synchronous=OFF` in the middle of a transaction: SQLite refuses it between BEGIN and COMMIT, but not from another connection
//! that shares its cache. From then on no header of the journal is given its count, so that whoever rolls back finds no record.

use crate::room::{NETWORK, Room, SHORT, dies_at, host, is_io_error, open_waiting, sum, without};

/// A transaction that another connection turns the syncs off for, up to its COMMIT.
fn begun(room: &Room, host: &mut crate::common::host::Host, spill: bool) {
    let uri = room.uri(&format!("{SHORT}&cache=shared"));
    host.open("db", &uri).ok();
    host.open("other", &uri).ok();
    if spill {
        host.exec("db", "PRAGMA cache_size=4").ok();
    }
    host.exec("db", "BEGIN IMMEDIATE; UPDATE t SET v = 2 WHERE id <= 100").ok();
    host.exec("other", "PRAGMA synchronous=OFF").ok();
    host.exec("db", "UPDATE t SET v = 2 WHERE id > 100");
}

#[test]
fn no_page_is_written_that_could_not_be_rolled_back() {
    for spill in [false, true] {
        let room = Room::with_rows();
        let mut writer = host(&[]);
        begun(&room, &mut writer, spill);
        let answer = writer.exec("db", "COMMIT");
        assert!(is_io_error(&answer) || spill, "{answer:?}");
        if is_io_error(&answer) && !spill {
            let text = writer.exec("db", "PRAGMA coord_error").value();
            assert!(text.contains("PRAGMA synchronous was set to OFF in the middle"), "{text}");
        }
        writer.exec("db", "ROLLBACK");
        let mut next = host(&[]);
        open_waiting(&mut next, &room.uri(NETWORK));
        assert_eq!(sum(&mut next, "db"), if answer.result.is_ok() { "400" } else { "200" }, "{spill}");
        // The next one is as any other.
        writer.exec("db", "UPDATE t SET v = 3").ok();
        assert_eq!(sum(&mut next, "db"), "600");
    }
}

/// The negative control.
#[test]
fn without_a_count_half_a_transaction_is_kept() {
    let room = Room::with_rows();
    let mut writer = without("uncounted");
    begun(&room, &mut writer, false);
    dies_at(writer, "db", "COMMIT", ("write", "db.sqlite", 8));
    assert!(room.is_torn());
    let mut next = host(&[]);
    open_waiting(&mut next, &room.uri(SHORT));
    let found = sum(&mut next, "db");
    assert!(!["200", "400"].contains(&found.as_str()), "{found}");
}
