//! A database in trusted mode is shared by a client of another host, which the native locks do not reach, while a program on the
//! server's own disk is in a transaction.

use super::common::opener::Opener;
use super::common::puppet::Puppet;
use super::common::stage::Stage;
use super::{Wrong, control};
use std::path::PathBuf;

fn beside(stage: &Stage, suffix: &str) -> PathBuf {
    stage.database.with_extension(format!("sqlite{suffix}"))
}

/// A program to which the filesystem is a server's.
fn client(stage: &Stage, without: &str) -> Puppet {
    let dir = stage.database.parent().expect("a folder");
    let mut client = Puppet::start("client", dir, without, &[("COORD_TEST_SHARED", "1")]);
    let opener = Opener::coord("coord_recovery_wait=0&coord_unlock_asap=1");
    client.open("db", &stage.database, &opener).expect("it opens");
    client
}

/// Of the first two accounts.
fn balances(puppet: &mut Puppet) -> [i64; 2] {
    let rows = puppet.ok("SELECT balance FROM account WHERE id < 2 ORDER BY id");
    [0, 1].map(|id: usize| rows[id][0].parse().expect("a balance"))
}

/// A client has the lock directory, and the program on the server has not noticed yet that the database is shared. To it the name
/// is one of an earlier run of its own machine.
#[test]
fn a_clients_name_is_not_taken_away_on_the_server() {
    control(&["foreign-lock"], "taken away", |without| {
        let stage = Stage::new("", without);
        let mut server = stage.hasty("server");
        server.ok("BEGIN; SELECT count(*) FROM account");
        let name = "write.host9-00000009-9-00000000000000ff.1";
        for suffix in [".readers", ".lock"] {
            std::fs::create_dir(beside(&stage, suffix)).expect("nobody was there");
        }
        std::fs::write(beside(&stage, ".lock").join(name), "").expect("it is made");
        server.sql("UPDATE account SET balance = 0 WHERE id = 0").expect_err("it is shared");
        match stage.names_in(".lock") == [name] {
            true => Wrong::new(),
            false => vec!["the client's name was taken away".into()],
        }
    });
}

/// The program on the server has stood still, whole, since it began to read; a client has shared the database and changed it.
#[test]
fn on_the_server_nobody_writes_over_a_clients_change() {
    control(&["not-registered"], "LOST", |without| {
        let mut stage = Stage::new("", without);
        let mut server = stage.hasty("server");
        // So that it has a journal that it keeps.
        stage.pays(&mut server);
        server.ok("BEGIN; SELECT sum(balance) FROM account");
        server.stops_in(&["reserved"], "UPDATE account SET balance = balance + 1 WHERE id = 1; COMMIT");
        server.clock_stops();
        let mut client = client(&stage, "");
        let before = balances(&mut client);
        for name in stage.names_in(".readers").iter().filter(|name| name.starts_with("reader.")) {
            // The stand-in for earlier readers: the program here has stood still for longer than anybody waits for that.
            std::fs::remove_file(beside(&stage, ".readers").join(name)).expect("it can be removed");
        }
        client.ok("UPDATE account SET balance = balance + 500 WHERE id = 0");
        server.thaw();
        let told = server.answer();
        drop(server);
        let added = [500, i64::from(told.is_ok())];
        let found = balances(&mut client);
        match [0, 1].into_iter().find(|&id| found[id] != before[id] + added[id]) {
            None => Wrong::new(),
            Some(id) => vec![format!("LOST: a commit on account {id}; the program on the server was told {told:?}")],
        }
    });
}

/// Who shares the database waits until the transaction that is under way on the server has ended.
#[test]
fn a_database_is_not_shared_under_a_writer_on_the_server() {
    control(&["registry-locked"], "broken off", |without| {
        let stage = Stage::new("", "");
        let mut server = stage.hasty("server");
        server.ok("BEGIN IMMEDIATE; UPDATE account SET balance = balance + 1 WHERE id = 0");
        let mut client = client(&stage, without);
        let _ = client.sql("SELECT count(*) FROM account");
        match server.sql("COMMIT") {
            Ok(_) => Wrong::new(),
            Err(error) => vec![format!("a transaction was broken off: {error}")],
        }
    });
}
