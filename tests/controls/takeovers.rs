//! Takeovers: what whoever breaks a lock must do in which order, and what he must tell.

use super::common::bank::SUM;
use super::common::stage::{Stage, number};
use super::common::until;
use super::{Wrong, control};

/// A breaker that stands still between finishing its copies and naming them complete is deposed, and names them while its heir
/// has looked for copies and goes by that. Its heartbeat after the naming tells it that it is nobody any more; and the heir,
/// who finds the copy gone that he has seen, looks again and carries the pair through. Without both, copies of long ago
/// replace what others have committed since.
#[test]
fn copies_that_get_their_name_too_late_replace_nothing() {
    control(&["ready-beat", "look-again"], "LOST", |without| {
        let mut stage = Stage::short_lease(without);
        let (mut zombie, mut breaker, mut heir) =
            (stage.patient("zombie"), stage.patient("breaker"), stage.patient("heir"));
        stage.pays(&mut zombie);
        zombie.ok(&stage.next().begin());
        zombie.stops_in(&["database-write"], "COMMIT");
        breaker.stops_in(&["fence-copied", "fence-named"], "BEGIN IMMEDIATE");
        heir.stops_in(&["takeover-listed"], "BEGIN IMMEDIATE");
        breaker.thaw();
        breaker.wait_stopped();
        heir.thaw();
        heir.answer().expect("it takes over");
        heir.ok("COMMIT");
        for _ in 0..3 {
            stage.pays(&mut heir);
        }
        breaker.thaw();
        let _ = breaker.answer();
        drop((zombie, breaker, heir));
        stage.wrong()
    });
}

/// Whoever clears up after a silent node dies in the middle of it. What is left of that node's names must still be known for
/// those of a deposed one: without its tombstone they are names of a node that nobody knows, which are watched for the default
/// lease of 30 s, whatever the lease is here.
#[test]
fn a_tombstone_goes_last() {
    control(&["tombstone-last"], "waited", |without| {
        let mut stage = Stage::short_lease(without);
        let (mut zombie, mut breaker) = (stage.patient("zombie"), stage.patient("breaker"));
        zombie.ok(&stage.next().begin());
        zombie.stops_in(&["database-write"], "COMMIT");
        breaker.stops_in(&["takeover-removing"], "BEGIN IMMEDIATE");
        let mut heir = stage.patient("heir");
        breaker.kill();
        let begun = std::time::Instant::now();
        let outcome = stage.transfer(&mut heir);
        let mut wrong = Wrong::new();
        if begun.elapsed().as_secs() >= 15 {
            wrong.push(format!("{outcome:?}: waited for {:?}", begun.elapsed()));
        }
        drop((zombie, heir));
        wrong.extend(stage.wrong());
        wrong
    });
}

/// A release takes the holder's name away first, `exclusive.*` then. Nothing here rests on the order; it is what PROTOCOL.md says
/// in 7.4, and an implementation that answers from the holder's name whether somebody writes would rest on it: for such a one
/// a name in L without `exclusive.*` is that of a writer whose journal is not to be rolled back.
#[test]
fn a_release_takes_the_holders_name_away_first() {
    control(&["release-order"], "no exclusive", |without| {
        let mut stage = Stage::long_lease(without);
        let mut writer = stage.hasty("writer");
        // It gives its lock back with its COMMIT.
        writer.ok("PRAGMA coord_linger=0");
        let transfer = stage.next();
        let number = number(&writer.ok(&transfer.begin()));
        let mut wrong = Wrong::new();
        writer.stops_in(&["releasing"], "COMMIT");
        let has = |suffix, word: &str| stage.names_in(suffix).iter().any(|name| name.starts_with(word));
        if has(".lock", "write.") && !has(".readers", "exclusive.") {
            wrong.push("a holder's name in L and no exclusive.*".into());
        }
        writer.thaw();
        let answer = writer.answer();
        stage.note_commit(&transfer, number, &answer);
        drop(writer);
        wrong.extend(stage.wrong());
        wrong
    });
}

/// A breaker dies between its last rename and saying that it has replaced the files, and so did the one whose lock it broke:
/// whoever comes next need not fence, and must say so all the same. On this filesystem a look at the path would tell as
/// well, which a network client may answer from memory; and so would registering anew, for who was deposed for his silence.
#[test]
fn a_replacement_that_nobody_told_of_is_told_of() {
    control(&["doubtful-epoch", "path-check", "handles-anew"], "LOST", |without| {
        let mut stage = Stage::short_lease(without);
        let (mut idle, mut zombie) = (stage.patient("idle"), stage.patient("zombie"));
        stage.pays(&mut idle);
        zombie.ok(&stage.next().begin());
        zombie.stops_in(&["database-write"], "COMMIT");
        let mut breaker = stage.patient("breaker");
        breaker.stops_in(&["fence-replaced"], "BEGIN IMMEDIATE");
        let mut heir = stage.patient("heir");
        zombie.kill();
        breaker.kill();
        for _ in 0..2 {
            stage.pays(&mut heir);
        }
        let mut wrong = Wrong::new();
        let outcome = stage.transfer(&mut idle);
        if let super::common::bank::Outcome::Committed(number) = outcome
            && number != 4
        {
            wrong.push(format!("LOST: its transfer has the number {number} and not 4"));
        }
        drop((idle, heir));
        wrong.extend(stage.wrong());
        wrong
    });
}

/// Two connections of one process, whose node is deposed while one of them ends a transaction that never got beyond RESERVED. The
/// other registers anew and sees the journal of who took over and was killed in mid-COMMIT. What the first one ends is another
/// journal, of long ago: the hot one stays hot for the whole process.
#[test]
fn the_end_of_a_deposed_transaction_hides_no_hot_journal() {
    control(&["hot-cleared"], "torn", |without| {
        let mut stage = Stage::short_lease(without);
        let mut two = stage.patient("two");
        stage.pays(&mut two);
        two.open("other", &stage.database, &stage.opener).expect("the database opens");
        two.sql_on("other", &stage.next().begin()).expect("it is at RESERVED");
        two.holds_in("finalise", "other", "ROLLBACK");
        two.freeze();
        let mut heir = stage.patient("heir");
        heir.ok(&stage.next().begin());
        let pages = ["pass database-write", "pass database-write", "pass database-write", "database-write"];
        heir.stops_in(&pages, "COMMIT");
        heir.kill();
        two.stops_at(&["hold journal-asked"]);
        two.thaw();
        let look = "SELECT (SELECT count(*) FROM history), (SELECT n FROM counter), (SELECT sum(balance) FROM account)";
        two.begin(look);
        until("it to look for a journal", || {
            // It may be told first that the other connection's lock is lost.
            if two.answer_so_far().is_some() {
                two.begin(look);
            }
            two.is_held("journal-asked")
        });
        two.lets_go("finalise");
        // Whatever SQLite says of a ROLLBACK, nothing is lost by it.
        let _ = two.answer();
        two.lets_go("journal-asked");
        let seen = two.answer();
        let mut wrong = Wrong::new();
        if seen.as_ref().ok() != Some(&vec![vec!["1".into(), "1".into(), SUM.to_string()]]) {
            wrong.push(format!("torn: {seen:?}"));
        }
        drop(two);
        wrong.extend(stage.wrong());
        wrong
    });
}

/// Somebody moves the database away and who has it open is told so, also when he has to open it anew after the death of somebody else:
/// nothing empty springs up in its place, where his next changes would go.
#[test]
fn a_database_that_was_moved_away_is_not_made_anew() {
    control(&["made-once"], "made anew", |without| {
        let mut stage = Stage::short_lease(without);
        let (mut open, mut other) = (stage.patient("open"), stage.patient("other"));
        stage.pays(&mut open);
        stage.pays(&mut other);
        other.kill();
        let away = stage.database.with_extension("away");
        std::fs::rename(&stage.database, &away).expect("it is there");
        let mut wrong = Wrong::new();
        for sql in ["CREATE TABLE account(a)", "SELECT * FROM sqlite_schema", "CREATE TABLE IF NOT EXISTS account(a)"] {
            println!("{sql}: {:?}", open.sql(sql));
            if stage.database.exists() {
                wrong.push("it was made anew".into());
            }
        }
        drop(open);
        let _ = std::fs::remove_file(&stage.database);
        std::fs::rename(&away, &stage.database).expect("it is back");
        wrong.extend(stage.wrong());
        wrong
    });
}

/// Somebody finds a hot journal beside an empty database, and removes it, as SQLite does, when the one whose first transaction it is has
/// begun to fill the database: a program on the server, in trusted mode, while that is shared. That must be rolled back.
#[test]
fn a_hot_journal_is_not_removed_beside_a_database_that_is_empty_no_more() {
    control(&["empty-still"], "stays", |without| {
        let stage = Stage::short_lease(without);
        let page = std::fs::read(&stage.database).expect("a bank")[..4096].to_vec();
        std::fs::write(&stage.database, "").expect("emptied");
        // The header of a first transaction's journal: no records, and the database had no pages before.
        let mut journal = vec![0; 512];
        journal[..8].copy_from_slice(&[0xd9, 0xd5, 0x05, 0xf9, 0x20, 0xa1, 0x63, 0xd7]);
        journal[20..24].copy_from_slice(&512u32.to_be_bytes());
        journal[24..28].copy_from_slice(&4096u32.to_be_bytes());
        let mut reader = stage.patient("reader");
        let path = stage.database.with_extension("sqlite-journal");
        std::fs::write(&path, journal).expect("written");
        reader.stops_in(&["made-lock"], "SELECT count(*) FROM sqlite_schema");
        std::fs::write(&stage.database, &page).expect("the first page");
        reader.thaw();
        println!("{:?}", reader.answer());
        println!("{:?}", reader.sql("SELECT count(*) FROM sqlite_schema"));
        let size = std::fs::metadata(&stage.database).expect("it is there").len();
        drop(reader);
        if size > 0 { vec![format!("a part of a transaction stays: {size} bytes")] } else { Wrong::new() }
    });
}
