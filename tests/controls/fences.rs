//! The fence, and taking notice of it.

use super::common::stage::{Stage, number};
use super::{Wrong, control};

/// A page that a frozen writer was about to write, and writes after others have gone on.
#[test]
fn a_late_write_does_not_reach_the_database() {
    control(&["fence"], "integrity_check", |without| {
        let mut stage = Stage::short_lease(without);
        let (mut zombie, mut heir) = (stage.patient("zombie"), stage.patient("heir"));
        stage.pays(&mut zombie);
        let transfer = stage.next();
        let number = number(&zombie.ok(&transfer.begin()));
        // The first page only holds the counters of the file.
        zombie.stops_in(&["database-write"; 3], "COMMIT");
        for _ in 0..2 {
            zombie.thaw();
            zombie.wait_stopped();
        }
        for _ in 0..3 {
            stage.pays(&mut heir);
        }
        zombie.thaw();
        let answer = zombie.answer();
        assert!(answer.is_err(), "it learns afterwards that it was deposed");
        stage.note_commit(&transfer, number, &answer);
        drop((zombie, heir));
        stage.wrong()
    });
}

/// Who was idle during a fence and did not notice writes into a file that has no name any more. A node that was deposed for its
/// silence opens everything anew when it registers again, which would hide that nobody looks at the epoch.
#[test]
fn a_replaced_database_is_noticed() {
    control(&["epoch", "handles-anew"], "LOST", |without| {
        let mut stage = Stage::short_lease(without);
        let (mut idle, mut zombie, mut heir) = (stage.hasty("idle"), stage.patient("zombie"), stage.patient("heir"));
        stage.pays(&mut idle);
        let transfer = stage.next();
        zombie.ok(&transfer.begin());
        zombie.stops_in(&["database-write"], "COMMIT");
        stage.pays(&mut heir);
        let mut wrong = Wrong::new();
        if let Err(error) = common_view(&mut idle) {
            wrong.push(error);
        }
        let outcome = stage.transfer(&mut idle);
        println!("{outcome:?}");
        drop((idle, zombie, heir));
        wrong.extend(stage.wrong());
        wrong
    });
}

/// Some network clients rename over a file that they have open in two steps, between which there is no file of that name. So
/// the breaker closes what its own idle connections have open.
#[test]
fn idle_connections_have_nothing_open_when_the_database_is_replaced() {
    control(&["parking"], "still open", |without| {
        let mut stage = Stage::short_lease(without);
        let (mut zombie, mut heir) = (stage.patient("zombie"), stage.patient("heir"));
        heir.open("idle", &stage.database, &stage.opener).expect("a second connection");
        let sum = "SELECT sum(balance) FROM account";
        let before = heir.sql_on("idle", sum).expect("the sum");
        let transfer = stage.next();
        zombie.ok(&transfer.begin());
        zombie.stops_in(&["database-write"], "COMMIT");
        heir.stops_at(&["fence-between"]);
        heir.begin("BEGIN IMMEDIATE; COMMIT");
        heir.wait_stopped();
        let fds = std::fs::read_dir(format!("/proc/{}/fd", heir.pid())).expect("its descriptors").flatten();
        let paths = fds.filter_map(|fd| std::fs::read_link(fd.path()).ok());
        let mut wrong: Wrong = paths
            .filter(|path| *path == stage.database)
            .map(|path| format!("{} is still open", path.display()))
            .collect();
        heir.thaw();
        heir.answer().expect("the takeover ends well");
        assert_eq!(heir.sql_on("idle", sum).expect("opened anew"), before);
        drop((zombie, heir));
        wrong.extend(stage.wrong());
        wrong
    });
}

fn common_view(idle: &mut super::common::puppet::Puppet) -> Result<(), String> {
    let view = super::common::bank::view(idle).map_err(|error| error.to_string())?;
    view.wrong(2).map_or(Ok(()), |wrong| Err(format!("an old state was read: {wrong}")))
}

/// A writer who stands still when two pages of its transaction are written and the rest is not; what it has journaled must be rolled
/// back.
fn half_written(stage: &mut Stage) -> super::common::puppet::Puppet {
    let mut zombie = stage.patient("zombie");
    stage.pays(&mut zombie);
    let transfer = stage.next();
    zombie.ok(&transfer.begin());
    zombie.stops_in(&["pass database-write", "pass database-write", "database-write"], "COMMIT");
    zombie
}

/// A node that was fenced off long before moves the live journal aside, late.
fn move_aside(stage: &Stage) -> std::path::PathBuf {
    let journal = stage.database.with_extension("sqlite-journal");
    let mut aside = stage.database.clone().into_os_string();
    aside.push(".readers/aside.host9-00000009-9-00000000000000ff.1.journal");
    std::fs::rename(&journal, &aside).expect("the journal is there");
    journal
}

/// What happens to a hot journal while a breaker is about to replace it.
#[derive(Clone, Copy, PartialEq)]
enum Moved {
    /// It goes aside when he has looked there and not copied it yet.
    Aside,
    /// The same, and somebody makes an empty one.
    AsideAndMade,
    /// The same, and when his copy has the name his own rename is carried out once more.
    AsideAndTwice,
}

fn with_the_journal_moved(moved: Moved, without: &str) -> Wrong {
    let mut stage = Stage::short_lease(without).shared();
    let zombie = half_written(&mut stage);
    let (mut breaker, mut next) = (stage.patient("breaker"), stage.patient("next"));
    breaker.stops_in(&["fence-begins"], "BEGIN IMMEDIATE; COMMIT");
    let journal = move_aside(&stage);
    if moved != Moved::Aside {
        std::fs::File::create(&journal).expect("a new one");
    }
    if moved == Moved::AsideAndTwice {
        breaker.stops_at(&["fence-replaced"]);
        breaker.thaw();
        breaker.wait_stopped();
        std::fs::rename(&journal, aside_of_a_breaker(&stage)).expect("the copy has the name");
    }
    breaker.thaw();
    println!("{:?}", breaker.answer());
    let mut wrong = whoever_comes_next(&mut stage, &mut next);
    drop((zombie, breaker, next));
    wrong.extend(stage.wrong());
    wrong
}

/// Nobody may be kept out for good.
fn whoever_comes_next(stage: &mut Stage, next: &mut super::common::puppet::Puppet) -> Wrong {
    match stage.transfer(next) {
        super::common::bank::Outcome::Committed(_) => Wrong::new(),
        other => vec![format!("whoever came next was kept out: {other:?}")],
    }
}

/// The journal that lies aside under a breaker's name.
fn aside_of_a_breaker(stage: &Stage) -> std::path::PathBuf {
    let names = stage.names_in(".readers");
    let own = |name: &&String| name.starts_with("aside.") && name.ends_with(".journal") && !name.contains("host9");
    let name = names.iter().find(own).expect("what he has replaced");
    let mut path = stage.database.clone().into_os_string();
    path.push(format!(".readers/{name}"));
    path.into()
}

#[test]
fn a_journal_that_is_aside_when_it_is_to_be_copied_is_not_missing() {
    control(&["late-aside"], "", |without| with_the_journal_moved(Moved::Aside, without));
}

#[test]
fn a_hot_journal_aside_is_not_removed_for_a_cold_one() {
    control(&["hot-aside"], "", |without| with_the_journal_moved(Moved::AsideAndMade, without));
}

#[test]
fn a_hot_journal_aside_is_not_removed_when_the_copy_goes_aside_as_well() {
    control(&["hot-aside"], "", |without| with_the_journal_moved(Moved::AsideAndTwice, without));
}

/// Who is about to roll a journal back clears up after a reader, and opens the journal anew that he has put in its place. If it is
/// aside again by then, nothing has been rolled back yet.
#[test]
fn a_journal_that_is_aside_after_the_fence_is_not_missing() {
    control(&["late-aside"], "half", |without| {
        let mut stage = Stage::short_lease(without).shared();
        let zombie = half_written(&mut stage);
        let (mut breaker, mut reader) = (stage.patient("breaker"), stage.patient("reader"));
        breaker.stops_in(
            &["before-exclusive"],
            "SELECT (SELECT n FROM counter) - (SELECT count(*) FROM history NOT INDEXED)",
        );
        reader.stops_in(&["reader-announced"], "SELECT n FROM counter");
        breaker.stops_at(&["pass fence-replaced", "own-reopened"]);
        breaker.thaw();
        breaker.wait_stopped();
        move_aside(&stage);
        breaker.thaw();
        let answer = breaker.answer();
        println!("{answer:?}");
        let mut wrong = Wrong::new();
        if answer.is_ok_and(|rows| rows != [["0"]]) {
            wrong.push("half of a transaction was read".into());
        }
        drop((zombie, breaker, reader));
        wrong.extend(stage.wrong());
        wrong
    });
}

/// A writer's journal becomes hot by one byte, which may arrive when a breaker has replaced the journal and stands still then: whoever
/// finishes his work finds a hot journal aside and the breaker's cold copy in its place.
#[test]
fn a_journal_that_becomes_hot_aside_keeps_nobody_out() {
    let mut stage = Stage::short_lease("").shared();
    let mut zombie = stage.patient("zombie");
    zombie.ok("PRAGMA coord_linger=0");
    stage.pays(&mut zombie);
    let transfer = stage.next();
    zombie.ok(&transfer.begin());
    zombie.stops_in(&["exclusive-announced"], "COMMIT");
    let (mut breaker, mut next) = (stage.patient("breaker"), stage.patient("next"));
    breaker.stops_in(&["fence-between"], "BEGIN IMMEDIATE; COMMIT");
    let aside = std::fs::OpenOptions::new().write(true).open(aside_of_a_breaker(&stage)).expect("it is there");
    std::os::unix::fs::FileExt::write_at(&aside, &[0xd9], 0).expect("the byte arrives");
    stage.pays(&mut next);
    drop((zombie, breaker, next));
    stage.assert_right();
}
