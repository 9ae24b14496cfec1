//! Each check has its negative: one thing spoilt in an otherwise sound run must give BROKEN, by that check alone.

use super::*;

fn commits(list: &[(u32, u64)]) -> BTreeSet<CommitId> {
    list.iter().map(|&(worker, seq)| CommitId { worker, seq }).collect()
}

/// Two workers, three reported commits, one of unknown outcome that is there and one that is not.
fn sound() -> Evidence {
    Evidence {
        through_coord: true,
        expected_balance: 100,
        balance: 100,
        counter: 4,
        history_rows: 4,
        history: commits(&[(1, 1), (1, 2), (2, 1), (2, 2)]),
        reported: commits(&[(1, 1), (1, 2), (2, 1)]),
        unknown: commits(&[(2, 2), (3, 9)]),
        integrity: vec!["ok".into()],
        plain: Some(Ok((100, 4))),
        reads: 7,
        paths: vec![Path { worker: "writer 1".into(), locks_taken: Some(5) }],
        killed: Some("killed".into()),
        thawed: Some("thawed".into()),
        ..Evidence::default()
    }
}

fn broken_by(spoil: impl FnOnce(&mut Evidence)) -> Vec<&'static str> {
    let mut evidence = sound();
    spoil(&mut evidence);
    let verdict = judge(&evidence);
    assert_eq!(verdict.word(), if verdict.held() { "HELD" } else { "BROKEN" });
    verdict.checks.iter().filter(|check| !check.held).map(|check| check.name).collect()
}

#[test]
fn a_sound_run_holds() {
    assert_eq!(broken_by(|_| ()), [] as [&str; 0]);
    assert!(judge(&sound()).held());
}

#[test]
fn a_reported_commit_that_is_missing_breaks_it() {
    let lost = |evidence: &mut Evidence| {
        evidence.reported.insert(CommitId { worker: 1, seq: 3 });
    };
    assert_eq!(broken_by(lost), ["reported commits"]);
    // Even where its outcome was also called unknown: COMMIT had returned OK.
    let lost_twice = |evidence: &mut Evidence| {
        evidence.reported.insert(CommitId { worker: 3, seq: 9 });
    };
    assert_eq!(broken_by(lost_twice), ["reported commits"]);
}

#[test]
fn a_wrong_balance_breaks_it() {
    let wrong = |evidence: &mut Evidence| {
        evidence.balance = 99;
        evidence.plain = Some(Ok((99, 4)));
    };
    assert_eq!(broken_by(wrong), ["balance"]);
}

#[test]
fn half_a_transfer_breaks_it() {
    let half = |evidence: &mut Evidence| evidence.wrong_accounts = vec![Account { id: 3, balance: 1, due: 2 }];
    assert_eq!(broken_by(half), ["accounts"]);
}

#[test]
fn a_commit_nobody_made_breaks_it() {
    let forbidden = |evidence: &mut Evidence| evidence.unknown = commits(&[(3, 9)]);
    assert_eq!(broken_by(forbidden), ["unreported commits"]);
}

#[test]
fn a_counter_that_is_off_breaks_it() {
    assert_eq!(broken_by(|evidence| evidence.counter = 3), ["commit counter"]);
    let doubled = |evidence: &mut Evidence| {
        (evidence.counter, evidence.history_rows) = (5, 5);
        evidence.plain = Some(Ok((100, 5)));
    };
    assert_eq!(broken_by(doubled), ["commit counter"]);
}

#[test]
fn a_damaged_file_or_no_look_at_it_breaks_it() {
    assert_eq!(broken_by(|evidence| evidence.integrity = vec!["row 3 missing".into()]), ["integrity_check"]);
    assert_eq!(broken_by(|evidence| evidence.integrity.clear()), ["integrity_check"]);
    assert_eq!(broken_by(|evidence| evidence.plain = Some(Ok((100, 3)))), ["without coord"]);
    assert_eq!(broken_by(|evidence| evidence.plain = Some(Err("hot journal".into()))), ["without coord"]);
    assert_eq!(broken_by(|evidence| evidence.plain = None), ["without coord"]);
}

#[test]
fn what_processes_saw_did_or_left_behind_breaks_it() {
    let sentence = || vec!["writer 3 hung".to_string()];
    assert_eq!(broken_by(|evidence| evidence.violations = sentence()), ["readers and writers"]);
    assert_eq!(broken_by(|evidence| evidence.failures = sentence()), ["processes"]);
    assert_eq!(broken_by(|evidence| evidence.leftovers = sentence()), ["leftover locks"]);
    assert_eq!(broken_by(|evidence| evidence.killed = None), ["killed and frozen"]);
    assert_eq!(broken_by(|evidence| evidence.thawed = None), ["killed and frozen"]);
}

#[test]
fn a_database_that_went_past_coord_breaks_it() {
    for locks_taken in [Some(0), None] {
        assert_eq!(broken_by(|evidence| evidence.paths[0].locks_taken = locks_taken), ["through coord"]);
    }
    assert_eq!(broken_by(|evidence| evidence.paths.clear()), ["through coord"]);
    let by_choice = |evidence: &mut Evidence| {
        evidence.through_coord = false;
        evidence.paths[0].locks_taken = None;
    };
    assert_eq!(broken_by(by_choice), [] as [&str; 0]);
}

#[test]
fn a_run_in_which_nothing_was_tried_is_no_success() {
    assert_eq!(broken_by(|evidence| evidence.reads = 0), ["work done"]);
    assert_eq!(broken_by(|evidence| evidence.reported.clear()), ["unreported commits", "work done"]);
    assert!(!judge(&Evidence::default()).held());
}

#[test]
fn long_lists_are_cut() {
    let mut evidence = sound();
    evidence.reported.extend((10..100).map(|seq| CommitId { worker: 1, seq }));
    let detail = judge(&evidence).checks.into_iter().find(|check| !check.held).unwrap().detail;
    assert!(detail.starts_with("90 of 93 LOST: worker 1 seq 10;") && detail.ends_with("and 85 more"), "{detail}");
}
