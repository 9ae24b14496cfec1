//! What is refused, and which names go.

use super::*;
use coord::lock::report::LockRow;
use std::time::Duration;

const NODE: &str = "left-7-00000000000000aa";

fn paths() -> (tempfile::TempDir, Paths) {
    let dir = tempfile::tempdir().unwrap();
    let paths = Paths::new(&dir.path().join("a.sqlite"));
    fs::create_dir(&paths.registry).unwrap();
    fs::create_dir(&paths.lock).unwrap();
    (dir, paths)
}

fn row(kind: &str, verdict: &str) -> LockRow {
    LockRow {
        kind: kind.into(),
        verdict: verdict.into(),
        node: NODE.into(),
        host: "left".into(),
        pid: Some(7),
        ..LockRow::default()
    }
}

fn refusals(result: Result<(), Halt>) -> Vec<String> {
    match result {
        Ok(()) => Vec::new(),
        Err(Halt::Refused(why)) => why,
        Err(Halt::Cannot(why)) => panic!("{why}"),
        Err(Halt::Interrupted) => panic!("nobody interrupts it"),
    }
}

#[test]
fn whatever_is_not_provably_over_is_refused_with_what_to_do() {
    let (_dir, paths) = paths();
    fs::write(paths.registry.join(format!("beat.{NODE}.3.1000")), "").unwrap();
    for (kind, verdict, words) in [
        ("beat", "alive: its process", &["left pid 7", "close that program"][..]),
        ("beat", "unknown: look again", &["left pid 7", "or wait", "no such process", "beat.left-7-"]),
        ("beat", "idle: it holds nothing", &["remove this one file", "a.sqlite.readers/beat."]),
        ("beat", "deposed: by another", &["may have it open"]),
        ("new", "unknown", &["left pid 7"]),
        ("beat", "unknown: it speaks the protocol v9, this is v1", &["v9", "the same one everywhere", "readers/beat."]),
        ("write", "dead: its process has ended", &["holds write"]),
        ("exclusive", "silent, for 4 s", &["holds exclusive"]),
        ("reader", "unknown", &["holds reader"]),
        ("wish", "unknown", &["holds wish"]),
        ("aside", "dead: it has ended", &["the database itself may lie there", "through coord"]),
        ("fence", "dead: it has ended", &["the database itself may lie there", "remove nothing"]),
        ("unknown", "unknown: not a name of coord's: /x", &["not of coord", "/x"]),
    ] {
        let survey = Survey::new(&paths, vec![row(kind, verdict)]).unwrap();
        let why = refusals(survey.nobody_is_there());
        assert_eq!(why.len(), 1, "{kind} {verdict}");
        words.iter().for_each(|word| assert!(why[0].contains(word), "{word}: {}", why[0]));
    }
    let over = [row("beat", "dead: it has ended"), row("deposed", "deposed"), row("epoch", "the files were replaced")];
    let survey = Survey::new(&paths, over.to_vec()).unwrap();
    assert_eq!(refusals(survey.nobody_is_there()), [""; 0]);
}

/// From a process of this host that stands still the lock could be taken, but it would go on some time.
#[test]
fn who_is_known_to_be_there_is_not_broken_off() {
    let (_dir, paths) = paths();
    for (verdict, there) in [
        ("alive: its process runs on this host", true),
        ("silent: no heartbeat for 4 s; its process on this host stands still; the next writer takes over", true),
        ("silent: no heartbeat for 4 s; the next writer takes over", false),
        ("dead: its process on this host has ended", false),
    ] {
        let survey = Survey::new(&paths, vec![row("write", verdict)]).unwrap();
        assert_eq!(refusals(survey.nobody_is_alive()).len(), usize::from(there), "{verdict}");
    }
}

#[test]
fn a_dry_run_tells_of_those_after_whom_nobody_clears_up() {
    let (_dir, paths) = paths();
    let other = LockRow { node: "right-9-00000000000000cc".into(), pid: Some(9), ..row("beat", "unknown: look again") };
    let left = [row("write", "silent"), row("beat", "silent")];
    let survey = Survey::new(&paths, left.to_vec()).unwrap();
    assert_eq!(refusals(survey.nobody_else_is_there()), [""; 0]);
    assert!(matches!(survey.leavings()[..], [text] if text.contains("no sign of life") && !text.contains("died")));
    let dead = [row("write", "dead: it has ended"), row("beat", "dead: it has ended")];
    let survey = Survey::new(&paths, dead.to_vec()).unwrap();
    assert_eq!(refusals(survey.nobody_else_is_there()), [""; 0]);
    assert!(matches!(survey.leavings()[..], [text] if text.contains("died")));
    let survey = Survey::new(&paths, left.into_iter().chain([other]).collect()).unwrap();
    let why = refusals(survey.nobody_else_is_there());
    assert!(why.len() == 1 && why[0].contains("pid 9"), "{why:?}");
}

/// One sentence for each, with all that he holds.
#[test]
fn a_holder_of_whom_nothing_is_known_may_be_alive() {
    let (_dir, paths) = paths();
    let held = ["write", "reader", "beat", "fence"].map(|kind| LockRow {
        lease_ms: Some(1_000),
        age_ms: Some(61_000),
        user: "ann".into(),
        ..row(kind, "unknown: look again")
    });
    let survey = Survey::new(&paths, held.to_vec()).unwrap();
    assert_eq!(refusals(survey.nobody_is_alive()), [""; 0]);
    assert_eq!(survey.leavings(), [""; 0]);
    let why = refusals(survey.nobody_else_is_there());
    assert_eq!(why.len(), 1, "{why:?}");
    for word in ["may be alive: ann@left pid 7", "holds fence and reader and write", "there for 61.0 s"] {
        assert!(why[0].contains(word), "{word}: {}", why[0]);
    }
    assert!(survey.undecided(Duration::ZERO).is_some_and(|who| who == "ann@left pid 7"));
    assert_eq!(survey.undecided(Duration::from_secs(1)), None, "its lease has run out");
    // Of what a takeover has left nobody need live who has no heartbeat.
    let aside = Survey::new(&paths, vec![row("aside", "unknown: it has no heartbeat")]).unwrap();
    assert_eq!((refusals(aside.nobody_else_is_there()).len(), aside.leavings().len()), (0, 1));
}

#[test]
fn a_heartbeat_that_moves_is_of_somebody_who_lives() {
    let (_dir, paths) = paths();
    let path = |n: u32| paths.registry.join(format!("beat.{NODE}.{n}.1000"));
    fs::write(path(3), "").unwrap();
    let mut watch = Watch::new();
    let rows = [row("reader", "silent"), row("beat", "silent")];
    let mut living = || watch.living(&Survey::new(&paths, rows.to_vec()).unwrap());
    assert_eq!([living(), living()], [const { Vec::<String>::new() }; 2]);
    fs::rename(path(3), path(4)).unwrap();
    let why = living();
    assert!(why.len() == 1 && why[0].contains("left pid 7") && why[0].contains("holds reader"), "{why:?}");
}

#[test]
fn only_names_that_nobody_needs_are_removed() {
    let (_dir, paths) = paths();
    let other = "left-8-00000000000000bb";
    let go = [
        format!("beat.{NODE}.3.1000"),
        format!("deposed.{other}.0.00000000000000aa.4"),
        format!("epoch.{other}.9"),
        format!("new.{NODE}.4"),
        "takeovers.jsonl".to_string(),
    ];
    let stay = [
        format!("aside.{NODE}.5.database"),
        format!("beat.{other}.3.1000"),
        format!("exclusive.{NODE}.6"),
        format!("new.{other}.4"),
        format!("reader.{NODE}.7"),
        "thesis.txt".to_string(),
    ];
    go.iter().chain(&stay).for_each(|name| fs::write(paths.registry.join(name), "").unwrap());
    for name in [format!("write.{NODE}.1"), format!("fence.{NODE}.2.ready")] {
        fs::write(paths.lock.join(name), "").unwrap();
    }
    let survey = Survey::new(&paths, vec![row("beat", "dead: it has ended")]).unwrap();
    let mut expected: Vec<_> = go.iter().map(|name| paths.registry.join(name)).collect();
    expected.sort();
    let mut names = survey.names;
    names.sort();
    assert_eq!(names, expected);
}

#[test]
fn a_journal_is_in_the_way_that_some_sqlite_takes_for_one() {
    let (_dir, paths) = paths();
    fs::write(&paths.database, "").unwrap();
    let is_hot = || journal_is_hot(&paths);
    assert!(matches!(is_hot(), Ok(false)));
    for (content, hot) in [
        (&b""[..], false),
        (&[0; 600], false),
        (b"\0\0\0\0\0\0\0\xd7", true),
        (b"\xd9\xd5\x05\xf9\x20\xa1\x63\xd7", true),
    ] {
        fs::write(&paths.journal, content).unwrap();
        assert!(is_hot().is_ok_and(|found| found == hot), "{content:?}");
        // Nothing is done to it while it could be another's.
        let mut outcome = Outcome::default();
        let cleared = clear(&paths, &mut outcome);
        assert_eq!((cleared.is_err(), fs::read(&paths.journal).unwrap() == content), (hot, true), "{content:?}");
    }
    fs::remove_file(&paths.journal).unwrap();
    std::os::unix::fs::symlink("elsewhere", &paths.journal).unwrap();
    assert!(matches!(is_hot(), Err(Halt::Refused(why)) if why[0].contains("regular file")));
}
