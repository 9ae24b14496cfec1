//! What two hosts must find together.

use std::path::Path;
use std::time::Duration;

use super::faulty::{Defect, Faulty};
use crate::check::{Finding, Outcome, Report, Together, Trouble, Verdict, Watch, with_peer};
use crate::storage::kind::Class;

const HOW: Together = Together { rounds: 8, patience: Duration::from_secs(120) };

fn end(dir: &Path, defect: Defect, class: Class, boot: &'static str) -> Result<Report, Trouble> {
    let mut storage = Faulty::new(defect, class);
    storage.boot = Some(boot);
    with_peer(&storage, dir, &HOW, &Watch::NOBODY)
}

/// Both ends' reports, which must agree, of a check between two hosts of which each has its own defect.
fn check(one: Defect, other: Defect, class: Class) -> Report {
    let dir = super::dir();
    let (a, b) = std::thread::scope(|scope| {
        let a = scope.spawn(|| end(dir.path(), one, class.clone(), "11111111"));
        let b = scope.spawn(|| end(dir.path(), other, class.clone(), "22222222"));
        (a.join().unwrap().unwrap(), b.join().unwrap().unwrap())
    });
    assert_eq!((a.verdict, &a.reason, &a.together, &a.hosts), (b.verdict, &b.reason, &b.together, &b.hosts));
    let left: Vec<_> = std::fs::read_dir(dir.path()).unwrap().collect();
    assert!(left.is_empty(), "{left:?}");
    a
}

fn finding<'a>(report: &'a Report, step: &str) -> &'a Finding {
    let found = report.together.iter().flatten().find(|finding| finding.name == step);
    found.unwrap_or_else(|| panic!("no step {step}: {:#?}", report.together))
}

#[test]
fn two_sound_hosts_agree_that_it_is_safe() {
    let report = check(Defect::None, Defect::None, Class::Shared);
    assert_eq!(report.verdict, Verdict::NetworkExclusive, "{report:#?}");
    assert_eq!((report.hosts.len(), report.together.as_ref().map(Vec::len)), (2, Some(10)));
    assert!(!report.not_shown.iter().any(|text| text.contains("another host") || text.contains("kernel")));
}

/// One defective client is enough, and both hosts refuse.
#[test]
fn each_defect_between_two_hosts_is_found_by_its_step_and_refused() {
    for (defect, step, word) in [
        (Defect::MkdirTwice, "two hosts, mkdir: one wins", "by both hosts"),
        (Defect::MkdirTwice, "two hosts, the lock directory, made and removed in turn", "made a second time"),
        (Defect::CreateTwice, "two hosts, exclusive create: one wins", "by both hosts"),
        (Defect::RenameTwice, "two hosts, rename: one wins", "by both hosts"),
        (Defect::ListingMisses, "two hosts, listing while names come and go", "8 of 8 names"),
        (Defect::ListingBehind("two-beats"), "two hosts, heartbeats in listings", "were not seen"),
        (Defect::DropNothing, "two hosts, data after a hand-over", "gave old data"),
        (Defect::RenameInPlace, "two hosts, late writes to a replaced file", "reached the new file"),
        (Defect::OpenStale, "two hosts, late writes to a replaced file", "led to the old file"),
        (Defect::MissingStays, "two hosts, a file that was not there, and is gone again", "were wrong"),
        (Defect::SizeStays, "two hosts, data after a hand-over", "times too large"),
        (Defect::DirectoryStays, "two hosts, the lock directory, made and removed in turn", "still exists"),
    ] {
        let report = check(defect, Defect::None, Class::Shared);
        let found = finding(&report, step);
        assert_eq!((report.verdict, found.outcome), (Verdict::Refused, Outcome::Fails), "{defect:?}: {found:?}");
        assert!(found.says.contains(word), "{defect:?}: {}", found.says);
    }
}

/// It takes two who see the other too late: one who is right always sees the other.
#[test]
fn two_who_both_look_too_late_are_found() {
    let late = Defect::ListingBehind("two-crossing");
    let report = check(late, late, Class::Shared);
    let found = finding(&report, "two hosts, own name, then listing: one sees the other");
    assert_eq!((report.verdict, found.outcome), (Verdict::Refused, Outcome::Fails), "{found:?}");
    assert!(found.says.contains("neither host saw"), "{}", found.says);
}

/// The step tells what the drop is worth: without it the same reads were stale.
#[test]
fn a_file_that_cannot_be_replaced_is_a_note() {
    let report = check(Defect::NoReplace, Defect::NoReplace, Class::Shared);
    let found = finding(&report, "two hosts, late writes to a replaced file");
    assert_eq!((report.verdict, found.outcome), (Verdict::NetworkExclusive, Outcome::Note), "{found:?}");
}

/// The two cannot even tell each other what they have seen: that is an answer, on both screens.
#[test]
fn what_does_not_carry_the_ends_words_is_refused() {
    let dir = super::dir();
    let both = |defects: [Defect; 2]| {
        std::thread::scope(|scope| {
            let path = dir.path();
            let ends = defects.map(|defect| scope.spawn(move || end(path, defect, Class::Shared, "11111111")));
            ends.map(|end| end.join().unwrap().unwrap())
        })
    };
    // Also if only one of them cannot read it.
    let [a, b] = both([Defect::ContentsLate, Defect::ContentsLate]);
    let [c, d] = both([Defect::ContentsLate, Defect::None]);
    for report in [a, b, c, d] {
        let found = finding(&report, "two hosts, talk");
        assert_eq!((report.verdict, found.outcome), (Verdict::Refused, Outcome::Fails), "{found:?}");
        assert!(report.reason.contains("did not arrive whole") && !report.advice.is_empty(), "{report:?}");
        assert!(report.not_shown[0].contains("another host"), "{:?}", report.not_shown);
    }
}

/// What this host refuses by itself is refused, whether another one comes or not; a fit one without a second host is not answered.
#[test]
fn nobody_is_needed_for_a_refusal() {
    let dir = super::dir();
    let alone = |class| {
        let how = Together { rounds: 1, patience: Duration::from_millis(10) };
        with_peer(&Faulty::new(Defect::None, class), dir.path(), &how, &Watch::NOBODY)
    };
    let report = alone(Class::Unfit("it is not for this".to_string())).unwrap();
    assert_eq!((report.verdict, report.together), (Verdict::Refused, None));
    assert!(report.notes[0].contains("no other check showed itself"), "{:?}", report.notes);
    assert!(matches!(alone(Class::Shared), Err(Trouble::Cannot(_))));
}

/// A disk of one's own that another kernel can see is not one.
#[test]
fn two_kernels_that_take_it_for_their_own_disk_are_refused() {
    let report = check(Defect::None, Defect::None, Class::Local);
    assert_eq!(report.verdict, Verdict::Refused);
    assert!(report.reason.contains("a disk of their own"), "{}", report.reason);
}
