//! `coord detach` where programs of other hosts use the database, of which nothing is known but names.

mod common;

use common::hostile::Place;
use common::{Ran, SOON, run, until};
use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

const NODE: &str = "elsewhere-0a0b0c0d-4711-00000000000000aa";
const V1: &str = "sqlite-session-safe.lock.v1";
/// A lease that nobody outlives here, and the shortest.
const LONG: u64 = 60_000;
const SHORT: u64 = 1_000;

fn command(database: &Path, options: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_coord"));
    command.arg("detach").args(options).arg(database);
    command
}

fn detach(database: &Path, options: &[&str]) -> Ran {
    run(&mut command(database, options), 2 * SOON)
}

fn beat(place: &Place, n: u64, lease_ms: u64) -> PathBuf {
    place.registry().join(format!("beat.{NODE}.{n}.{lease_ms}"))
}

/// A database that a process of another host reads, whose heartbeat is there.
fn read_abroad(lease_ms: u64, protocol: &str) -> Place {
    let place = Place::registered();
    let contents = serde_json::json!({
        "protocol": protocol, "ownerId": NODE, "leaseMs": lease_ms, "createdAt": "2020-02-02T02:02:02Z",
        "process": {
            "pid": 4711, "hostname": "elsewhere", "bootId": "another", "pidNamespace": "another", "liveness": "/x.alive",
            "command": "sqlite3", "user": "ann"
        }
    });
    fs::write(beat(&place, 1, lease_ms), contents.to_string()).unwrap();
    fs::write(place.registry().join(format!("reader.{NODE}.2")), "").unwrap();
    place
}

/// Moves the heartbeat, and remembers whether anybody else has been in the registry.
struct Beating {
    stop: Arc<AtomicBool>,
    others: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Beating {
    /// At once, or as soon as somebody else is there.
    fn of(place: &Place, lease_ms: u64, at_once: bool) -> Beating {
        let (stop, others) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicBool::new(false)));
        let (ends, seen, registry) = (stop.clone(), others.clone(), place.registry());
        let thread = std::thread::spawn(move || {
            let path = |n: u64| registry.join(format!("beat.{NODE}.{n}.{lease_ms}"));
            let mut n = 1;
            while !ends.load(Ordering::Relaxed) {
                let mut names = fs::read_dir(&registry).unwrap().flatten();
                if names.any(|entry| !entry.file_name().to_string_lossy().contains(NODE)) {
                    seen.store(true, Ordering::Relaxed);
                }
                if (at_once || seen.load(Ordering::Relaxed)) && fs::rename(path(n), path(n + 1)).is_ok() {
                    n += 1;
                }
                std::thread::sleep(Duration::from_millis(10));
            }
        });
        Beating { stop, others, thread: Some(thread) }
    }

    fn met_somebody(&self) -> bool {
        self.others.load(Ordering::Relaxed)
    }
}

impl Drop for Beating {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        let _ = self.thread.take().expect("once").join();
    }
}

/// Every name beside the database with what is in it.
fn everything(place: &Place) -> Vec<(PathBuf, Vec<u8>)> {
    let mut found = Vec::new();
    for dir in [place.dir.path().to_path_buf(), place.registry(), place.lock()] {
        for entry in fs::read_dir(dir).into_iter().flatten() {
            let path = entry.unwrap().path();
            found.push((path.clone(), fs::read(path).unwrap_or_default()));
        }
    }
    found.sort();
    found
}

fn is_refused(ran: &Ran, words: &[&str]) {
    assert_eq!(ran.status.code(), Some(1), "{}{}", ran.out, ran.err);
    for word in words {
        assert!(ran.out.contains(word), "{word}: {}", ran.out);
    }
}

#[test]
fn who_lives_is_named_before_anything_is_locked() {
    let place = read_abroad(LONG, V1);
    let beating = Beating::of(&place, LONG, true);
    let begun = Instant::now();
    let who = "ann@elsewhere pid 4711 (sqlite3)";
    let ran = detach(&place.database, &[]);
    is_refused(&ran, &[who, "holds reader", "there for", "its heartbeat moves", "close that program", "REFUSED"]);
    assert!(begun.elapsed() < Duration::from_millis(LONG / 2), "{:?}", begun.elapsed());
    assert!(!beating.met_somebody(), "it has put up a name");
    drop(beating);
    place.assert_untouched();
}

/// Nobody is called dead of whom that is not known.
#[test]
fn a_dry_run_does_not_take_the_unknown_for_dead() {
    let place = read_abroad(LONG, V1);
    let before = everything(&place);
    let ran = detach(&place.database, &["--dry-run"]);
    is_refused(&ran, &["may be alive: ann@elsewhere pid 4711", "holds reader", "REFUSED"]);
    assert!(!ran.out.contains("died") && !ran.out.contains("carried through"), "{}", ran.out);
    let ran = detach(&place.database, &["--dry-run", "--json"]);
    let json: serde_json::Value = serde_json::from_str(&ran.out).unwrap();
    assert!(json["refused"][0].as_str().unwrap().starts_with("may be alive: "), "{json:#}");
    assert_eq!(everything(&place), before);
}

#[test]
fn another_version_of_the_protocol_is_told_by_the_run_and_by_the_dry_run() {
    let place = read_abroad(LONG, "sqlite-session-safe.lock.v2");
    let before = everything(&place);
    for options in [&["--dry-run"][..], &[]] {
        let ran = detach(&place.database, options);
        is_refused(&ran, &["pid 4711", "sqlite-session-safe.lock.v2", "the same one everywhere"]);
    }
    assert_eq!(everything(&place), before);
}

/// Whoever wakes while the lock is waited for is named, and not kept out until the wait is over.
#[test]
fn who_shows_life_while_the_lock_is_waited_for_ends_the_wait() {
    let place = read_abroad(SHORT, V1);
    let beating = Beating::of(&place, SHORT, false);
    let begun = Instant::now();
    let ran = detach(&place.database, &[]);
    is_refused(&ran, &["ann@elsewhere pid 4711 (sqlite3)", "its heartbeat moves"]);
    assert!(beating.met_somebody(), "the schedule does not come to the lock");
    assert!(begun.elapsed() < Duration::from_secs(45), "{:?}", begun.elapsed());
    assert!(ran.err.contains("waiting for"), "{}", ran.err);
    drop(beating);
    let mut names = fs::read_dir(place.registry()).unwrap().flatten();
    assert!(names.all(|entry| entry.file_name().to_string_lossy().contains(NODE)), "a name is left");
    place.assert_untouched();
}

/// Begins, waits until it says what it waits for, and ends it.
fn interrupted(place: &Place, says: &str, by: i32) {
    let before = everything(place);
    let mut child =
        command(&place.database, &["--json"]).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(child.stderr.take().unwrap());
    let mut line = String::new();
    while !line.contains(says) {
        line.clear();
        assert_ne!(lines.read_line(&mut line).unwrap(), 0, "it ended before it said: {says}");
    }
    // SAFETY: a plain call; the child has not been waited for, so the pid is its own.
    unsafe { libc::kill(child.id() as i32, by) };
    let begun = Instant::now();
    let mut status = None;
    until("its end", || {
        status = child.try_wait().unwrap();
        status.is_some()
    });
    let mut rest = String::new();
    lines.read_to_string(&mut rest).unwrap();
    assert_eq!(status.unwrap().code(), Some(130), "{rest}");
    let json: serde_json::Value = serde_json::from_reader(child.stdout.take().unwrap()).unwrap();
    assert!(json["error"].as_str().unwrap().contains("stays in network-exclusive mode"), "{json}");
    assert!(rest.contains("interrupted") && rest.contains("stays in network-exclusive mode"), "{rest}");
    assert!(begun.elapsed() < Duration::from_secs(20), "{:?}", begun.elapsed());
    assert_eq!(everything(place), before, "something is left behind");
}

#[test]
fn interrupted_it_leaves_nothing_behind() {
    for by in [libc::SIGINT, libc::SIGTERM] {
        interrupted(&read_abroad(LONG, V1), "waiting for a sign of life of ann@elsewhere pid 4711", by);
        // Without a heartbeat there is nothing to watch: its name is waited for with the lock asked for.
        let place = read_abroad(LONG, V1);
        fs::remove_file(beat(&place, 1, LONG)).unwrap();
        interrupted(&place, "waiting for the lock, which elsewhere", by);
    }
}
