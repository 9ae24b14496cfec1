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
        (Defect::WriteByName, "two hosts, late writes to a replaced file", "reached the new file"),
        // Where this host replaces nothing, the rounds of the other one are judged all the same.
        (Defect::NoReplaceWriteByName, "two hosts, late writes to a replaced file", "reached the new file"),
        (Defect::AsideFails, "two hosts, late writes to a replaced file", "cannot move a file aside"),
        (Defect::OpenStale, "two hosts, late writes to a replaced file", "led to the old file"),
        (Defect::MissingStays, "two hosts, a file that was not there, and is gone again", "were wrong"),
        (Defect::SizeStays, "two hosts, data after a hand-over", "times too large"),
        (Defect::DirectoryStays, "two hosts, the lock directory, made and removed in turn", "still exists"),
    ] {
        // Only on a local filesystem a live file is renamed over.
        let class = if defect == Defect::RenameInPlace { Class::Local } else { Class::Shared };
        let report = check(defect, Defect::None, class);
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

/// One host is through with a batch before the other has made its first name: it waits for it, so that they meet all the same.
#[test]
fn a_fast_host_and_a_slow_one_meet() {
    let report = check(Defect::SlowToMake, Defect::None, Class::Shared);
    assert_eq!(report.verdict, Verdict::NetworkExclusive, "{report:#?}");
    for step in ["mkdir: one wins", "exclusive create: one wins", "own name, then listing: one sees the other"] {
        let found = finding(&report, &format!("two hosts, {step}"));
        assert!(found.outcome == Outcome::Holds && found.says.contains("the hosts met in"), "{found:?}");
    }
}

/// A race that never took place shows nothing: there is no verdict, for the same reason on both screens.
#[test]
fn without_a_race_there_is_no_verdict() {
    let dir = super::dir();
    let (a, b) = std::thread::scope(|scope| {
        let a = scope.spawn(|| end(dir.path(), Defect::AlwaysSecond, Class::Shared, "11111111"));
        let b = scope.spawn(|| end(dir.path(), Defect::None, Class::Shared, "22222222"));
        (a.join().unwrap(), b.join().unwrap())
    });
    let Err(Trouble::Cannot(sentence)) = &a else { panic!("{a:?}") };
    assert_eq!(a, b);
    for word in ["two hosts, mkdir: one wins", "never met", "not shown", "more --rounds"] {
        assert!(sentence.contains(word), "{word}: {sentence}");
    }
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
}

/// What is wrong is told, whatever else could not be tried.
#[test]
fn a_race_that_never_took_place_hides_no_failure() {
    let report = check(Defect::AlwaysSecond, Defect::WriteByName, Class::Shared);
    assert_eq!(report.verdict, Verdict::Refused);
    assert!(finding(&report, "two hosts, mkdir: one wins").says.contains("never met"), "{report:#?}");
}

/// A word that never shows: both ends move and wait for each other, but not longer than they were told to.
#[test]
fn a_word_that_never_shows_ends_the_check_on_both_hosts() {
    let dir = super::dir();
    let how = Together { rounds: 1, patience: Duration::from_secs(3) };
    let end = |defect| with_peer(&Faulty::new(defect, Class::Shared), dir.path(), &how, &Watch::NOBODY);
    let (deaf, other) = std::thread::scope(|scope| {
        let deaf = scope.spawn(|| end(Defect::WordHidden));
        let other = scope.spawn(|| end(Defect::None));
        (deaf.join().unwrap(), other.join().unwrap())
    });
    let (Err(Trouble::Cannot(deaf)), Err(Trouble::Cannot(other))) = (&deaf, &other) else {
        panic!("{deaf:?} {other:?}")
    };
    // Who ends first says why, and the other one that it was left, unless it came to the same end.
    let (mute, left): (Vec<_>, Vec<_>) = [deaf, other].into_iter().partition(|says| says.contains("is there"));
    assert!(!mute.is_empty(), "{left:?}");
    for (word, says) in
        ["no word of it was seen for 3 s", "do not show up in listings", "treat this filesystem as refused"]
            .iter()
            .flat_map(|word| mute.iter().map(move |says| (word, says)))
    {
        assert!(says.contains(word), "{word}: {says}");
    }
    assert!(left.iter().all(|says| says.contains("gave up") || says.contains("has ended the check")), "{left:?}");
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
}

/// Where there are no links the copy is renamed, which is said.
#[test]
fn a_filesystem_without_links_will_do() {
    let report = check(Defect::NoLinks, Defect::None, Class::Shared);
    let found = finding(&report, "two hosts, late writes to a replaced file");
    assert_eq!((report.verdict, found.outcome), (Verdict::NetworkExclusive, Outcome::Holds), "{found:?}");
    assert!(found.says.contains("no links here") && found.says.contains("linked under its name"), "{}", found.says);
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
