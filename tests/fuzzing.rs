//! The fuzz targets (`fuzz/`) for everybody: what the fuzzers have kept is replayed, and random bytes go through the same
//! functions. `FUZZ_SECONDS=60` runs each target so long instead of one second, `COORD_TEST_SEED` from another seed on.

mod common;
#[path = "../fuzz/targets/mod.rs"]
mod targets;

use common::{Rng, SOON};
use std::path::Path;
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::time::{Duration, Instant};

/// Random bytes, or a kept input with a few of them changed.
fn mutated(corpus: &[Vec<u8>], rng: &mut Rng) -> Vec<u8> {
    if corpus.is_empty() || rng.below(4) == 0 {
        return (0..rng.below(200)).map(|_| rng.next() as u8).collect();
    }
    let mut bytes = corpus[rng.below(corpus.len() as u64) as usize].clone();
    for _ in 0..=rng.below(8) {
        let at = rng.below(bytes.len() as u64 + 1) as usize;
        match rng.below(3) {
            0 => bytes.insert(at, rng.next() as u8),
            1 if at < bytes.len() => drop(bytes.remove(at)),
            _ if at < bytes.len() => bytes[at] = rng.next() as u8,
            _ => {}
        }
    }
    bytes
}

fn corpus(target: &str) -> Vec<Vec<u8>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus").join(target);
    let mut paths: Vec<_> = folder.read_dir().expect("a corpus").map(|entry| entry.expect("an entry").path()).collect();
    paths.sort();
    paths.iter().map(|path| std::fs::read(path).expect("an input")).collect()
}

/// Runs a target in a thread of its own, which must not stand still.
fn fuzz(target: &'static str) {
    let run = targets::ALL.iter().find(|(name, _)| *name == target).expect("a target").1;
    let corpus = corpus(target);
    assert!(!corpus.is_empty(), "no input was kept for {target}");
    let mut rng = match std::env::var("COORD_TEST_SEED") {
        Ok(_) => Rng::printed(),
        Err(_) => Rng::seeded(1),
    };
    let seconds = std::env::var("FUZZ_SECONDS").map_or(1, |text| text.parse().expect("FUZZ_SECONDS is a number"));
    let end = Instant::now() + Duration::from_secs(seconds);
    let (inputs, received) = channel::<Vec<u8>>();
    let (done, answers) = channel();
    let worker = std::thread::spawn(move || {
        for bytes in received {
            run(&bytes);
            done.send(()).expect("the test waits");
        }
    });
    let mut runs = 0;
    let mut kept = corpus.iter().cloned();
    loop {
        let bytes = match kept.next() {
            Some(bytes) => bytes,
            None if Instant::now() < end => mutated(&corpus, &mut rng),
            None => break,
        };
        inputs.send(bytes.clone()).expect("the worker waits");
        match answers.recv_timeout(SOON) {
            Ok(()) => runs += 1,
            Err(RecvTimeoutError::Timeout) => panic!("{target}: no end after {SOON:?} of {bytes:02x?}"),
            Err(RecvTimeoutError::Disconnected) => panic!("{target} fails with {bytes:02x?}"),
        }
    }
    drop(inputs);
    worker.join().expect("it has not failed");
    println!("{target}: {runs} inputs, {} of them kept", corpus.len());
}

#[test]
fn beat_files_of_any_bytes() {
    fuzz("beat");
}

#[test]
fn names_of_any_bytes() {
    fuzz("names");
}

#[test]
fn parameters_of_any_bytes() {
    fuzz("parameters");
}

#[test]
fn calls_in_any_order() {
    fuzz("calls");
}

/// The control: the steps do what they are for, and what somebody holds is seen.
#[test]
fn a_lock_that_is_held_is_seen() {
    use targets::world::{Connection, locks_of};
    for network in [false, true] {
        let dir = common::dir();
        let path = dir.path().join("a.db");
        let flags = rusqlite::ffi::SQLITE_OPEN_READWRITE | rusqlite::ffi::SQLITE_OPEN_CREATE;
        let mut it = Connection::open(&path, targets::calls::parameters(network), flags).expect("opens");
        for held in 2..=12 {
            assert_eq!(targets::calls::transaction(&mut it, held), held, "network: {network}");
            assert!(!locks_of(&path).is_empty(), "network: {network}, {held} steps");
            it.close_journal();
            it.database.unlock(0);
            coord::lock::release_all();
            assert_eq!(locks_of(&path), Vec::<String>::new(), "network: {network}, {held} steps and unlocked");
            // What the steps left is a journal that is to be rolled back: made to nothing here.
            drop(std::fs::write(dir.path().join("a.db-journal"), b""));
        }
        assert_eq!(targets::calls::transaction(&mut it, 15), 15, "network: {network}");
        it.close();
    }
}
