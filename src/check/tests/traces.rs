//! A check removes what it made and touches nothing else, whatever happens to it.

use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use super::faulty::{Defect, Faulty};
use crate::check::{Report, Together, Trouble, Watch, one_host, with_peer};
use crate::storage::disk::Disk;
use crate::storage::kind::Class;

/// Names in the directory, sorted.
fn names(dir: &Path) -> Vec<String> {
    let mut names: Vec<_> =
        fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned()).collect();
    names.sort();
    names
}

fn cannot(result: Result<Report, Trouble>) -> String {
    match result {
        Err(Trouble::Cannot(sentence)) => sentence,
        other => panic!("{other:?}"),
    }
}

/// Stopped at its first, second, ... opportunity: it ends at once and nothing is left.
#[test]
fn stopped_anywhere_it_leaves_nothing() {
    let dir = super::dir();
    // Each of the first ones, then every ninth: the steps ask at every turn of their loops.
    for opportunity in (0..20).chain((20..).step_by(9)) {
        let asked = AtomicU32::new(0);
        let stop = || asked.fetch_add(1, Ordering::Relaxed) >= opportunity;
        let result = one_host(&Disk::new(), dir.path(), &Watch { tell: &|_| {}, stop: &stop });
        assert_eq!(names(dir.path()), [""; 0], "stopped at opportunity {opportunity}");
        match result {
            Err(Trouble::Interrupted(None)) => {}
            Ok(_) => {
                assert!(opportunity > 20, "it was never asked to stop");
                return;
            }
            Err(other) => panic!("{other:?}"),
        }
    }
}

/// What cannot be removed is named, also when the check was stopped or could not be carried out.
#[test]
fn what_stays_is_named_whatever_ended_the_check() {
    let how = Together { rounds: 1, patience: Duration::from_millis(100) };
    for (peer, stopped) in [(false, true), (true, true), (true, false)] {
        let dir = super::dir();
        // Somebody puts a file into the check's directory.
        let stranger = || {
            let check = names(dir.path()).into_iter().find(|name| name.starts_with("coord-check"));
            let path = check.map(|check| dir.path().join(check).join("thesis.txt"));
            path.is_some_and(|path| fs::write(path, "precious").is_ok())
        };
        let stop = || stranger() && stopped;
        let watch = Watch { tell: &|_| {}, stop: &stop };
        let result = match peer {
            false => one_host(&Disk::new(), dir.path(), &watch),
            true => with_peer(&Faulty::new(Defect::None, Class::Shared), dir.path(), &how, &watch),
        };
        let told = match result {
            Err(Trouble::Interrupted(Some(left))) if stopped => left,
            Err(Trouble::Cannot(sentence)) if !stopped => sentence,
            other => panic!("{other:?}"),
        };
        assert!(told.contains("could not be removed") && told.contains("not of a check"), "{told}");
        let left = names(dir.path());
        assert!(left.len() == 1 && told.contains(&left[0]), "{left:?}: {told}");
        assert_eq!(fs::read(dir.path().join(&left[0]).join("thesis.txt")).unwrap(), b"precious");
    }
}

/// Out of space at its first, second, ... making of something: a sentence, and nothing is left.
#[test]
fn without_room_it_says_so_and_leaves_nothing() {
    let dir = super::dir();
    for room in [0, 1, 2, 3, 10, 100, 200, 300, 400] {
        let storage = Faulty::new(Defect::Room(room), Class::Shared);
        let sentence = cannot(one_host(&storage, dir.path(), &Watch::NOBODY));
        assert!(sentence.contains("no storage space") || sentence.contains("storage"), "{room}: {sentence}");
        assert_eq!(names(dir.path()), [""; 0], "room for {room}");
    }
}

#[test]
fn where_nothing_can_be_made_it_says_why() {
    let dir = super::dir();
    let read_only = Faulty::new(Defect::ReadOnly, Class::Shared);
    let sentence = cannot(one_host(&read_only, dir.path(), &Watch::NOBODY));
    assert!(sentence.contains("read-only") && sentence.contains("must be able to write"), "{sentence}");
    let file = dir.path().join("state.sqlite");
    fs::write(&file, "").unwrap();
    let sentence = cannot(one_host(&Disk::new(), &file, &Watch::NOBODY));
    assert!(sentence.contains("not a directory") && sentence.contains(dir.path().to_str().unwrap()), "{sentence}");
    let sentence = cannot(one_host(&Disk::new(), &dir.path().join("none"), &Watch::NOBODY));
    assert!(sentence.contains("none"), "{sentence}");
}

#[test]
fn odd_paths_are_checked_like_others() {
    let parent = super::dir();
    let odd = parent.path().join(std::ffi::OsStr::from_bytes(b"a dir?with#odd%names\n\xff"));
    fs::create_dir(&odd).unwrap();
    let link = parent.path().join("link");
    std::os::unix::fs::symlink(&odd, &link).unwrap();
    for path in [&odd, &link] {
        assert!(one_host(&Disk::new(), path, &Watch::NOBODY).is_ok());
    }
    assert_eq!(names(&odd), [""; 0]);
}

/// What a killed check of this boot and a dead process has left goes, with strangers' files left where they are.
#[test]
fn what_the_dead_have_left_is_removed_and_nothing_else() {
    let dir = super::dir();
    let at = |name: &str| dir.path().join(name);
    let dead = dead_process();
    let key = "00000000000000aa";
    for check in [format!("coord-check.vm-{}-{key}", dead.pid), format!("coord-check-peer.vm-{}-{key}", dead.pid)] {
        let work = at(&check).join(format!("w.list.{key}"));
        fs::create_dir_all(&work).unwrap();
        fs::write(at(&check).join(format!("owner.{key}")), serde_json::to_vec(&dead).unwrap()).unwrap();
        fs::write(work.join(format!("new.{key}.3")), "").unwrap();
    }
    // Not of a check: other names, a file of that name, a living check's.
    for other in ["coord-check", "coord-check.x", "coord-check.vm-1-0000", "state.sqlite.lock"] {
        fs::create_dir(at(other)).unwrap();
    }
    fs::write(at(&format!("coord-check.vm-7-{key}")), "mine").unwrap();
    let alive = format!("coord-check.vm-8-{key}");
    fs::create_dir(at(&alive)).unwrap();
    let me = serde_json::to_vec(&crate::storage::Storage::process(&Disk::new())).unwrap();
    fs::write(at(&alive).join(format!("owner.{key}")), me).unwrap();

    let report = one_host(&Disk::new(), dir.path(), &Watch::NOBODY).unwrap();
    let mut expected =
        ["coord-check", "coord-check.x", "coord-check.vm-1-0000", "state.sqlite.lock"].map(String::from).to_vec();
    expected.extend([format!("coord-check.vm-7-{key}"), alive]);
    expected.sort();
    assert_eq!(names(dir.path()), expected);
    assert_eq!(report.notes.iter().filter(|note| note.starts_with("removed ")).count(), 2, "{:?}", report.notes);
}

/// A file that somebody has put into a dead check's directory stays, and is told of.
#[test]
fn a_strangers_file_in_a_dead_checks_directory_stays() {
    let dir = super::dir();
    let dead = dead_process();
    let check = dir.path().join(format!("coord-check.vm-{}-00000000000000aa", dead.pid));
    fs::create_dir(&check).unwrap();
    fs::write(check.join("owner.00000000000000aa"), serde_json::to_vec(&dead).unwrap()).unwrap();
    fs::write(check.join("thesis.txt"), "precious").unwrap();
    let report = one_host(&Disk::new(), dir.path(), &Watch::NOBODY).unwrap();
    assert_eq!(fs::read(check.join("thesis.txt")).unwrap(), b"precious");
    assert!(report.notes[0].contains("not of a check"), "{:?}", report.notes);
}

/// A process of this host that has ended, as its liveness file proves.
fn dead_process() -> crate::storage::Process {
    let me = crate::storage::Storage::process(&Disk::new());
    let mut file = Path::new(&me.liveness).with_file_name(format!("check-test-{}.alive", std::process::id()));
    let unique = crate::storage::disk::random();
    file.set_file_name(format!("4000000000-{unique:016x}.alive"));
    let dead = crate::storage::Process { pid: 4_000_000_000, liveness: file.to_string_lossy().into_owned(), ..me };
    fs::write(&file, serde_json::to_vec(&dead).unwrap()).unwrap();
    dead
}

#[test]
fn alone_it_waits_in_vain_and_says_so() {
    let dir = super::dir();
    let how = Together { rounds: 1, patience: Duration::from_millis(300) };
    let sentence = cannot(with_peer(&Disk::new(), dir.path(), &how, &Watch::NOBODY));
    assert!(sentence.contains("no other check showed itself"), "{sentence}");
    assert_eq!(names(dir.path()), [""; 0]);
}

/// A check is for two: of three, two find each other, and the third is told that the others were not free, or that nobody came.
#[test]
fn of_three_two_find_each_other() {
    let dir = super::dir();
    let how = Together { rounds: 1, patience: Duration::from_secs(8) };
    let results: Vec<_> = std::thread::scope(|scope| {
        let ends: Vec<_> =
            (0..3).map(|_| scope.spawn(|| with_peer(&Disk::new(), dir.path(), &how, &Watch::NOBODY))).collect();
        ends.into_iter().map(|end| end.join().unwrap()).collect()
    });
    let (done, left): (Vec<_>, Vec<_>) = results.into_iter().partition(Result::is_ok);
    assert_eq!(done.len(), 2, "{left:?}");
    let sentence = cannot(left.into_iter().next().unwrap());
    assert!(sentence.contains("none was free") || sentence.contains("no other check showed itself"), "{sentence}");
    assert_eq!(names(dir.path()), [""; 0]);
}

/// One end gives up in the middle: the other is told and does not wait its patience out; neither leaves anything.
#[test]
fn when_one_end_stops_the_other_is_told() {
    let dir = super::dir();
    let how = Together { rounds: 4, patience: Duration::from_secs(120) };
    let begun = std::sync::atomic::AtomicBool::new(false);
    let (stopped, other) = std::thread::scope(|scope| {
        let stopped = scope.spawn(|| {
            let tell = |text: &str| {
                if text.starts_with("together: heartbeats") {
                    begun.store(true, Ordering::SeqCst);
                }
            };
            let stop = || begun.load(Ordering::SeqCst);
            with_peer(&Disk::new(), dir.path(), &how, &Watch { tell: &tell, stop: &stop })
        });
        let other = scope.spawn(|| with_peer(&Disk::new(), dir.path(), &how, &Watch::NOBODY));
        (stopped.join().unwrap(), other.join().unwrap())
    });
    assert_eq!(stopped, Err(Trouble::Interrupted(None)));
    let sentence = cannot(other);
    assert!(sentence.contains("gave up") || sentence.contains("has ended the check"), "{sentence}");
    assert_eq!(names(dir.path()), [""; 0]);
}
