//! What one host must find, and what it cannot.

use super::faulty::{Defect, Faulty};
use crate::check::{Finding, Outcome, Report, Verdict, Watch, one_host};
use crate::storage::kind::Class;

fn check(defect: Defect, class: Class) -> Report {
    let dir = super::dir();
    let report = one_host(&Faulty::new(defect, class), dir.path(), &Watch::NOBODY).unwrap();
    let left: Vec<_> = std::fs::read_dir(dir.path()).unwrap().collect();
    // What is not listed cannot be removed.
    let hides = matches!(defect, Defect::ListingFails | Defect::ListingMisses);
    assert!((left.is_empty() || hides) && report.notes.is_empty(), "{defect:?}: {left:?} {:?}", report.notes);
    report
}

fn failures(report: &Report) -> Vec<&Finding> {
    report.hosts[0].findings.iter().filter(|finding| finding.outcome == Outcome::Fails).collect()
}

#[test]
fn a_sound_filesystem_is_safe_in_the_mode_of_its_class() {
    for (class, verdict) in [(Class::Local, Verdict::Trusted), (Class::Shared, Verdict::NetworkExclusive)] {
        let report = check(Defect::None, class);
        assert_eq!(report.verdict, verdict, "{report:#?}");
        assert!(report.hosts[0].findings.iter().all(|finding| finding.outcome == Outcome::Holds), "{report:#?}");
        assert!(report.hosts[0].latency.iter().all(|latency| latency.samples == 20));
    }
}

/// A type that is known to be unfit is refused although every step holds.
#[test]
fn an_unfit_type_is_refused_with_its_reason() {
    let report = check(Defect::None, Class::Unfit("it caches; mount it by NFS".to_string()));
    assert_eq!(report.verdict, Verdict::Refused);
    assert!(report.reason.contains("fakefs") && report.reason.contains("mount it by NFS"), "{}", report.reason);
}

/// The step that must find each defect, and a word of what it says.
#[test]
fn each_defect_is_found_by_its_step_and_refused() {
    for (defect, step, word) in [
        (Defect::MkdirTwice, "mkdir: one wins", "was won by 4"),
        (Defect::CreateTwice, "exclusive create: one wins", "was won by 4"),
        (Defect::RenameTwice, "rename: one wins", "was won by 4"),
        (Defect::ListingOld, "listing: fresh after an own change", "not in a listing"),
        (Defect::ListingCut, "listing: complete", "misses 140"),
        (Defect::ListingTwice, "listing: complete", "1 names twice"),
        (Defect::ListingFails, "listing: while names come and go", "cannot list"),
        (Defect::ListingMisses, "listing: while names come and go", "8 of 8 names"),
        (Defect::RmdirFull, "rmdir keeps what is full", "could be removed"),
        (Defect::ShortNames, "names", "cannot be made"),
        (Defect::CapitalNames, "names", "another spelling"),
        (Defect::SyncFails, "sync", "cannot sync"),
        (Defect::NoDrop, "cache drop", "cannot drop"),
        (Defect::DirectStale, "read around the cache", "something else"),
        (Defect::TruncateIgnored, "truncate and grow", "bytes has"),
        (Defect::InodeMoves, "file identity", "several inode numbers"),
        (Defect::RenameInPlace, "replace an open file", "has reached the new file (the copy was renamed over it)"),
        (Defect::WriteByName, "replace an open file", "has reached the new file (it was moved aside"),
        (Defect::AsideFails, "replace an open file", "cannot move a file aside"),
        (Defect::MkdirFails, "latency", "cannot make a directory"),
        (Defect::LinkReplaces, "link: a taken name stays", "has replaced"),
    ] {
        // Only on a local filesystem a live file is renamed over.
        let class = if defect == Defect::RenameInPlace { Class::Local } else { Class::Shared };
        let report = check(defect, class);
        assert_eq!(report.verdict, Verdict::Refused, "{defect:?}");
        let found = failures(&report);
        let by_step = found.iter().find(|finding| finding.name == step);
        let by_step = by_step.unwrap_or_else(|| panic!("{defect:?} was not found by {step}: {found:#?}"));
        assert!(by_step.says.contains(word), "{defect:?}: {}", by_step.says);
        assert!(by_step.advice.as_ref().is_some_and(|advice| report.advice.contains(advice)), "{defect:?}");
    }
}

/// Trusted mode rests on native locks, network-exclusive mode does not.
#[test]
fn native_locks_that_do_not_lock_refuse_a_disk_only() {
    let report = check(Defect::LocksShared, Class::Local);
    assert_eq!((report.verdict, failures(&report)[0].name.as_str()), (Verdict::Refused, "native locks"));
    assert_eq!(check(Defect::LocksShared, Class::Shared).verdict, Verdict::NetworkExclusive);
}

/// What the protocol can do with is told and not refused.
#[test]
fn what_the_protocol_can_do_with_is_a_note() {
    for (defect, step) in
        [(Defect::NoReplace, "replace an open file"), (Defect::RightsLost, "owner and rights of a copy")]
    {
        let report = check(defect, Class::Shared);
        assert_eq!(report.verdict, Verdict::NetworkExclusive, "{defect:?}");
        let finding = report.hosts[0].findings.iter().find(|finding| finding.name == step).unwrap();
        assert_eq!(finding.outcome, Outcome::Note);
        assert!(finding.says.contains("ten leases"), "{}", finding.says);
    }
}

/// A live file is replaced as a fence does it there, and the finding says how.
#[test]
fn a_file_is_replaced_in_the_protocols_way() {
    for (defect, class, word) in [
        (Defect::None, Class::Local, "the copy was renamed over it"),
        (Defect::None, Class::Shared, "the copy linked under its name"),
        (Defect::NoLinks, Class::Shared, "as there are no links here"),
    ] {
        let report = check(defect, class);
        assert_ne!(report.verdict, Verdict::Refused);
        let finding = report.hosts[0].findings.iter().find(|finding| finding.name == "replace an open file").unwrap();
        assert!(finding.outcome == Outcome::Holds && finding.says.contains(word), "{defect:?}: {finding:?}");
    }
}

/// One host cannot see that its cache is not dropped, and says that it has not.
#[test]
fn what_one_host_cannot_see_it_says() {
    let report = check(Defect::DropNothing, Class::Shared);
    assert_eq!(report.verdict, Verdict::NetworkExclusive);
    assert!(report.not_shown.iter().any(|text| text.contains("what another host sees")));
    assert!(report.advice[0].contains("--peer"));
}
