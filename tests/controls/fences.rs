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

/// A writer in the middle of its transaction fences a silent reader off, and cannot open its journal again afterwards. What it has
/// written there was not synced, and no handle is left to do that. It must not give the lock back as if all were well: on a network
/// that data may still be on its way, into what is the next owner's journal by then.
#[test]
fn data_whose_handle_is_gone_is_not_taken_for_synced() {
    control(&["lost-handle"], "given back", |without| {
        let mut stage = Stage::short_lease(without).shared();
        let (mut silent, mut writer) = (stage.patient("silent"), stage.patient("writer"));
        silent.ok("BEGIN; SELECT n FROM counter");
        silent.freeze();
        let transfer = stage.next();
        let number = number(&writer.ok(&transfer.begin()));
        writer.stops_in(&["fence-replaced"], "COMMIT");
        let journal = stage.database.with_extension("sqlite-journal");
        let elsewhere = stage.database.with_extension("elsewhere");
        std::fs::rename(&journal, &elsewhere).expect("the journal is there");
        std::fs::create_dir(&journal).expect("something that cannot be opened");
        writer.thaw();
        let answer = writer.answer();
        assert!(answer.is_err(), "it has no journal");
        stage.note_commit(&transfer, number, &answer);
        let _ = writer.sql("ROLLBACK");
        let mut wrong = Wrong::new();
        let node = format!("-{}-", writer.pid());
        if !stage.names_in(".readers").iter().any(|name| name.starts_with("deposed.") && name.contains(&node)) {
            wrong.push("the lock was given back with data that nobody has synced".into());
        }
        std::fs::remove_dir(&journal).expect("it is removed");
        std::fs::rename(&elsewhere, &journal).expect("the journal is put back");
        let mut heir = stage.patient("heir");
        stage.pays(&mut heir);
        silent.thaw();
        drop((silent, writer, heir));
        wrong.extend(stage.wrong());
        wrong
    });
}
