//! Many connections and threads in one process, and a second process beside it, in both modes.

mod common;

use common::bank::{self, Outcome, Reported, Reports, Transfer};
use common::opener::Opener;
use common::scenario::new_bank;
use common::worker::{Role, Spec, Worker};
use common::{Rng, SOON};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

#[test]
fn worker_entry() {
    common::worker::entry();
}

const SCHEDULE: &str = "COORD_TEST_STOPS";

/// Not a test: a process in which one thread that loads the extension is held before it registers the VFS, while another does so.
#[test]
fn loader_entry() {
    let Some(schedule) = std::env::var_os(SCHEDULE).map(PathBuf::from) else { return };
    let load = || Opener::coord("").open(Path::new(":memory:")).map(drop);
    let slow = std::thread::spawn(load);
    let held = schedule.with_added_extension("registering").with_added_extension("held");
    common::until("the first thread to be held", || held.exists());
    load().expect("the second thread loads it");
    std::fs::remove_file(held).unwrap();
    slow.join().unwrap().expect("the first thread loads it, too");
}

#[test]
fn two_threads_may_load_it_at_the_same_moment() {
    let folder = common::dir();
    let schedule = folder.path().join("stops");
    std::fs::write(&schedule, "hold registering\n").unwrap();
    let mut child = std::process::Command::new(std::env::current_exe().unwrap());
    child.args(["--exact", "loader_entry", "--nocapture"]).env(SCHEDULE, &schedule);
    let ran = common::run(&mut child, SOON);
    assert!(ran.status.success(), "{}\n{}", ran.out, ran.err);
    assert_eq!(std::fs::read_to_string(&schedule).unwrap(), "", "nobody was held");
}

const TRANSFERS: u64 = 12;

/// Moves money until its share is done; each connection is opened anew now and then, so that openings and closings fall
/// into the others' transactions.
fn writer(id: u32, opener: &Opener, database: &Path) {
    let mut reports = Reports::append_to(&database.with_file_name(format!("{id}.reports")));
    let mut rng = Rng::seeded(u64::from(id));
    let open = || {
        let db = opener.open(database).expect("opens");
        db.busy_timeout(SOON).expect("a timeout");
        db
    };
    let (mut db, mut seq, mut committed, mut last) = (open(), 0, 0, 0);
    while committed < TRANSFERS {
        seq += 1;
        let transfer = Transfer::random(id, seq, &mut rng);
        let outcome = bank::transfer(&mut db, &transfer);
        reports.report(&transfer, &outcome);
        match outcome {
            Outcome::Committed(number) => {
                assert!(number > last, "number {number} was given after {last}");
                (last, committed) = (number, committed + 1);
            }
            Outcome::Not(error) | Outcome::Unknown(error) => assert!(error.is_busy(), "{error}"),
        }
        if seq % 5 == 0 {
            db = open();
        }
        std::thread::sleep(Duration::from_micros(rng.below(3000)));
    }
}

fn reader(opener: &Opener, database: &Path, done: &AtomicBool) -> u64 {
    let mut db = opener.open(database).expect("opens");
    db.busy_timeout(SOON).expect("a timeout");
    let (mut views, mut last) = (0, 0);
    while !done.load(Ordering::Acquire) {
        match bank::view(&mut db) {
            Ok(view) => {
                assert_eq!(view.wrong(last), None);
                (last, views) = (view.counter, views + 1);
            }
            Err(error) => assert!(error.is_busy(), "{error}"),
        }
        std::thread::sleep(Duration::from_millis(1));
    }
    views
}

fn threads_and_a_process(parameters: &str) {
    let dir = common::dir();
    let database = dir.path().join("bank.sqlite");
    let opener = Opener::coord(parameters);
    let mut db = new_bank(&opener, &database);
    let spec = Spec { prelude: "PRAGMA synchronous=OFF".into(), ..Spec::new(50, Role::Writer, &opener, &database) };
    let process = Worker::start_all([spec]).remove(0);
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let (opener, database, done) = (&opener, database.as_path(), &done);
        let readers: Vec<_> = (0..2).map(|_| scope.spawn(move || reader(opener, database, done))).collect();
        let writers: Vec<_> = (1..5).map(|id| scope.spawn(move || writer(id, opener, database))).collect();
        let ends: Vec<_> = writers.into_iter().map(|writer| writer.join()).collect();
        process.wait_for_commits(1);
        done.store(true, Ordering::Release);
        let views: u64 = readers.into_iter().map(|reader| reader.join().expect("a reader")).sum();
        assert!(views > 0 && ends.iter().all(Result::is_ok));
    });
    let end = process.finish();
    assert_eq!(end.right().not_busy(), 0, "{end:?}");
    let mut files: Vec<_> = (1..5).map(|id| database.with_file_name(format!("{id}.reports"))).collect();
    files.push(end.spec.reports());
    let reported = Reported::read(files);
    assert!(reported.committed.len() as u64 > 4 * TRANSFERS);
    bank::assert_right(&mut db, &reported);
}

#[test]
fn threads_and_a_second_process_add_up_in_trusted_mode() {
    threads_and_a_process("coord_mode=trusted");
}

#[test]
fn threads_and_a_second_process_add_up_in_network_exclusive_mode() {
    threads_and_a_process("coord_mode=network-exclusive");
}
