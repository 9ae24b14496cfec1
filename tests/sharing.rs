//! Many processes on one database through the extension, killed and frozen in the middle: not one commit is lost.

mod common;

use common::opener::Opener;
use common::scenario;

#[test]
fn worker_entry() {
    common::worker::entry();
}

#[test]
fn killed_and_frozen_it_adds_up_in_trusted_mode() {
    scenario::killed_and_frozen_it_adds_up(&Opener::coord("coord_mode=trusted"));
}

#[test]
fn killed_and_frozen_it_adds_up_in_network_exclusive_mode() {
    scenario::killed_and_frozen_it_adds_up(&Opener::coord("coord_mode=network-exclusive"));
}

/// Trusted mode has no such case: there only the dead are deposed.
#[test]
fn frozen_past_its_lease_it_comes_back_to_an_error() {
    let opener = Opener::coord("coord_mode=network-exclusive&coord_lease_ms=1000");
    scenario::frozen_past_its_lease_it_comes_back_to_an_error(&opener);
}

/// Between transactions a process gives no sign of life, so others may depose it; it had nothing to lose and must not
/// notice. What is done here to its beat file is what a node does that finds it silent.
#[test]
fn a_connection_deposed_while_it_was_idle_goes_on() {
    let dir = common::dir();
    let database = dir.path().join("idle.sqlite");
    let db = Opener::coord("coord_mode=network-exclusive&coord_lease_ms=1000").open(&database).unwrap();
    db.execute_batch("CREATE TABLE t(a); INSERT INTO t VALUES(1)").unwrap();
    // Its next heartbeat is due by then; later does no harm.
    std::thread::sleep(std::time::Duration::from_millis(200));
    let registry = dir.path().join("idle.sqlite.readers");
    let names = || std::fs::read_dir(&registry).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let beat = names().find(|name| name.starts_with("beat.")).expect("it is registered");
    let mut stone = beat.replacen("beat.", "deposed.", 1);
    stone.truncate(stone.rfind('.').unwrap());
    std::fs::rename(registry.join(&beat), registry.join(format!("{stone}.00000000000000aa.1"))).unwrap();

    assert_eq!(db.query_row("SELECT a FROM t", [], |row| row.get::<_, i64>(0)), Ok(1));
    db.execute_batch("INSERT INTO t VALUES(2)").unwrap();
    assert!(!names().any(|name| name == beat), "it took its old name again");
}

/// Who joins readers of his own process heeds a waiting writer elsewhere, but not for ever one that has died: those inside
/// may stay for hours.
#[test]
fn a_dead_waiting_writer_keeps_no_reader_out() {
    let dir = common::dir();
    let database = dir.path().join("joined.sqlite");
    let opener = Opener::coord("coord_mode=network-exclusive&coord_lease_ms=1000");
    let inside = opener.open(&database).unwrap();
    inside.execute_batch("CREATE TABLE t(a); BEGIN; SELECT * FROM t").unwrap();
    // What a writer leaves that was killed while it waited: PENDING, and a heartbeat that stands.
    let registry = dir.path().join("joined.sqlite.readers");
    let dead = "elsewhere-1-00000000000000aa";
    std::fs::write(registry.join(format!("beat.{dead}.2.1000")), "").unwrap();
    std::fs::write(registry.join(format!("exclusive.{dead}.3")), "").unwrap();

    let joining = opener.open(&database).unwrap();
    joining.busy_timeout(std::time::Duration::from_secs(20)).unwrap();
    assert_eq!(joining.query_row("SELECT count(*) FROM t", [], |row| row.get::<_, i64>(0)), Ok(0));
    inside.execute_batch("COMMIT").unwrap();
}
