//! The bank on plain SQLite: proves the harness that the other tests stand on, and that it would see a loss.

mod common;

use common::bank::{self, Outcome, Reported, Sql, Transfer};
use common::opener::Opener;
use common::scenario::new_bank;
use common::worker::{Role, Spec, Worker};

#[test]
fn worker_entry() {
    common::worker::entry();
}

/// Many processes, killed and frozen at random moments and inside commits, with readers all the while.
#[test]
fn it_adds_up_on_plain_sqlite() {
    common::scenario::killed_and_frozen_it_adds_up(&Opener::plain());
}

/// Negative controls: each way to lose or invent money is seen by the check.
#[test]
fn every_loss_is_seen() {
    let losses = [
        ("DELETE FROM history WHERE n = 3; UPDATE history SET n = 3 WHERE n = 4; UPDATE counter SET n = 3", "LOST"),
        ("UPDATE account SET balance = balance + 1 WHERE id = 5", "the sum must be"),
        (
            "UPDATE account SET balance = balance + CASE id WHEN 5 THEN 1 ELSE -1 END WHERE id IN (5, 6)",
            "by its history",
        ),
        ("UPDATE counter SET n = n - 1", "counter: 3"),
        ("UPDATE history SET n = 9 WHERE n = 4", "last: 9"),
        ("UPDATE history SET seq = 77 WHERE n = 4", "LOST"),
        ("INSERT INTO history VALUES(5, 1, 99, 0, 1, 0); UPDATE counter SET n = 5", "did not commit"),
    ];
    for (sql, words) in losses {
        let dir = common::dir();
        let mut db = new_bank(&Opener::plain(), &dir.path().join("bank.sqlite"));
        let mut reports = bank::Reports::append_to(&dir.path().join("reports"));
        for seq in 1..=4 {
            let transfer = Transfer { worker: 1, seq, src: seq, dst: 0, amount: 7 };
            let outcome = bank::transfer(&mut db, &transfer);
            assert!(matches!(outcome, Outcome::Committed(n) if n == seq));
            reports.report(&transfer, &outcome);
        }
        let transfer = Transfer { worker: 1, seq: 99, src: 0, dst: 1, amount: 7 };
        reports.report(&transfer, &Outcome::Not(bank::SqlError { code: 5, message: String::new() }));
        let reported = Reported::read([dir.path().join("reports")]);
        bank::assert_right(&mut db, &reported);
        db.execute_batch(sql).unwrap();
        let wrong = bank::check(&mut db, &reported);
        assert!(wrong.iter().any(|line| line.contains(words)), "{sql}: {wrong:?}");
    }
}

/// Two writers that do not lock: both get the same number, and the check sees that one of them is lost. (Journals in
/// memory: with a file between them the second to commit would stumble over its missing journal.)
#[test]
fn writers_without_locks_are_caught() {
    let dir = common::dir();
    let database = dir.path().join("bank.sqlite");
    let opener = Opener::builtin("unix-none");
    let mut first = new_bank(&opener, &database);
    let mut second = opener.open(&database).unwrap();
    let mut reports = bank::Reports::append_to(&dir.path().join("reports"));
    let one = Transfer { worker: 1, seq: 1, src: 2, dst: 3, amount: 10 };
    let two = Transfer { worker: 2, seq: 1, src: 4, dst: 5, amount: 10 };
    for db in [&mut first, &mut second] {
        db.sql("PRAGMA journal_mode=MEMORY").unwrap();
    }
    // The second reads before the first has written.
    first.sql(&one.begin()).unwrap();
    let outcome = bank::transfer(&mut second, &two);
    reports.report(&two, &outcome);
    first.sql("COMMIT").unwrap();
    reports.report(&one, &Outcome::Committed(1));
    drop((first, second));
    let wrong = bank::check(&mut opener.open(&database).unwrap(), &Reported::read([dir.path().join("reports")]));
    assert!(!wrong.is_empty());
}

/// The same through Python and through the oldest SQLite, on one database.
#[test]
fn any_client_can_hold_an_account() {
    let dir = common::dir();
    let database = dir.path().join("bank.sqlite");
    let mut db = new_bank(&Opener::plain(), &database);
    let uri = Opener::plain().uri(&database);
    let mut hosts = vec![common::host::Host::two(common::host::Sqlite::Floor, common::host::Sqlite::Newest)];
    if common::have("/usr/bin/python3") {
        hosts.push(common::host::Host::python(&[]));
    }
    let mut reports = bank::Reports::append_to(&dir.path().join("reports"));
    for (worker, host) in hosts.iter_mut().enumerate() {
        host.open("bank", &uri).ok();
        for seq in 1..=3 {
            let transfer = Transfer::random(worker as u32, seq, &mut common::Rng::seeded(seq));
            let outcome = bank::transfer(&mut host.connection("bank"), &transfer);
            assert!(matches!(outcome, Outcome::Committed(_)), "{}: {outcome:?}", host.label);
            reports.report(&transfer, &outcome);
        }
        assert_eq!(bank::view(&mut host.connection("bank")).unwrap().wrong(3), None);
    }
    bank::assert_right(&mut db, &Reported::read([dir.path().join("reports")]));
}

#[test]
#[should_panic(expected = "took more than")]
fn a_command_that_hangs_fails_the_test() {
    common::run(std::process::Command::new("sleep").arg("600"), std::time::Duration::from_millis(50));
}

#[test]
#[should_panic(expected = "the host ended (signal: 9 (SIGKILL)) at 3.54.1: kill")]
fn a_host_that_dies_fails_the_test_with_what_was_sent() {
    common::host::Host::start(common::host::Sqlite::Newest).call(&["kill"]);
}

#[test]
#[should_panic(expected = "no such vfs: none-such")]
fn a_worker_that_cannot_open_fails_the_test() {
    let dir = common::dir();
    let database = dir.path().join("bank.sqlite");
    drop(new_bank(&Opener::plain(), &database));
    let opener = Opener { extension: None, entry: None, query: "vfs=none-such".into() };
    let worker = Spec::new(1, Role::Writer, &opener, &database);
    Worker::start(worker).finish().right();
}
