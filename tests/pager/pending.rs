//! A writer that waits to be exclusive lets nobody begin to read, in trusted mode as in SQLite's own VFS: else it would wait for ever
//! where readers overlap.

use crate::room::{Room, TRUSTED, UNIX, host, without};

#[test]
fn nobody_begins_to_read_while_a_writer_waits() {
    for (guards, query, admitted) in [("", UNIX, false), ("", TRUSTED, false), ("pending-noted", TRUSTED, true)] {
        let room = Room::with_rows();
        let mut host = if guards.is_empty() { host(&[]) } else { without(guards) };
        for name in ["reader", "writer", "next"] {
            host.open(name, &room.uri(query)).ok();
        }
        host.call(&["hold", "reader", "SELECT id FROM t"]).ok();
        host.exec("writer", "BEGIN IMMEDIATE; UPDATE t SET v = 2").ok();
        assert_eq!(host.exec("writer", "COMMIT").error().primary(), 5, "{query}: somebody reads");
        let answer = host.exec("next", "SELECT sum(v) FROM t");
        assert_eq!(answer.result.is_ok(), admitted, "{query} {guards}: {answer:?}");
        host.exec("writer", "ROLLBACK").ok();
        host.exec("next", "SELECT sum(v) FROM t").ok();
    }
}
