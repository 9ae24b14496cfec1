//! The listing of the lock directory and the readers' names.

use super::common::stage::Stage;
use super::common::until;
use super::{Wrong, control};

/// Two in the lock directory: the first is late with its name, the second found the directory empty and entered. At least
/// one must see the other.
#[test]
fn of_two_in_the_lock_directory_one_goes() {
    control(&["lock-listing"], "two nodes", |without| {
        let mut stage = Stage::long_lease(without);
        let (mut late, mut quick) = (stage.hasty("late"), stage.hasty("quick"));
        stage.pays(&mut quick);
        late.stops_in(&["made-lock"], "BEGIN IMMEDIATE");
        let transfer = stage.next();
        quick.ok(&transfer.begin());
        late.thaw();
        let mut wrong = Wrong::new();
        if late.answer().is_ok() {
            wrong.push("two nodes hold the write lock".into());
        }
        // What it would do there: its journal is that of the other.
        let _ = late.sql("UPDATE counter SET n = n + 1; ROLLBACK");
        quick.stops_in(&["database-write"; 3], "COMMIT");
        for _ in 0..2 {
            quick.thaw();
            quick.wait_stopped();
        }
        quick.kill();
        drop(late);
        wrong.extend(stage.wrong());
        if !without.is_empty() {
            assert!(wrong.len() > 1, "two in the lock directory did no harm: {wrong:?}");
        }
        wrong
    });
}

/// A reader in the middle of its transaction, and a writer that would commit.
#[test]
fn nobody_writes_under_a_reader() {
    control(&["reader-registry"], "a mix", |without| {
        let stage = Stage::long_lease(without);
        let (mut reader, mut writer) = (stage.hasty("reader"), stage.hasty("writer"));
        let first = reader.ok("PRAGMA cache_size=1; BEGIN; SELECT balance FROM account WHERE id = 0");
        let update = "UPDATE account SET balance = balance + CASE id WHEN 0 THEN 500 WHEN 15 THEN -500 ELSE 0 END;";
        let written = writer.sql(update);
        let second = reader.ok("SELECT balance FROM account WHERE id = 15");
        if without.is_empty() {
            assert!(written.expect_err("it is read").is_busy());
            reader.ok("COMMIT");
            writer.ok(update);
        }
        drop((reader, writer));
        let mut wrong = Wrong::new();
        if (&first[0][0], &second[0][0]) != (&"1000".to_string(), &"1000".to_string()) {
            wrong.push(format!("a mix of two states: {} and {}", first[0][0], second[0][0]));
        }
        wrong
    });
}

/// Two at SHARED see the journal that a killed writer left. Whoever has the lock directory waits for the other one to go; if
/// that one stayed and waited for the directory, neither would ever roll back, and with a few more of them nobody would for a minute.
#[test]
fn of_two_that_would_roll_back_one_gives_way() {
    control(&["gives-way"], "locked", |without| {
        let mut stage = Stage::long_lease(without);
        // Who does not give way stays for as long as its patience lasts, which is longer than the other one's.
        let (mut first, mut second) = (stage.hasty("first"), stage.patient("second"));
        let mut victim = stage.patient("victim");
        victim.ok("PRAGMA coord_linger=0");
        stage.pays(&mut victim);
        victim.ok(&stage.next().begin());
        victim.stops_in(&["pass database-write", "database-write"], "COMMIT");
        victim.kill();
        let look = "SELECT count(*) FROM history";
        first.stops_in(&["journal-asked"], look);
        second.stops_in(&["journal-asked"], look);
        first.thaw();
        until("the first to ask for EXCLUSIVE", || {
            stage.names_in(".readers").iter().any(|name| name.starts_with("exclusive."))
        });
        second.thaw();
        let rows = first.answer();
        // The other one was at SHARED beside it, and is told to come again.
        let _ = second.answer();
        let mut wrong = Wrong::new();
        if rows.as_ref().ok() != Some(&vec![vec!["1".into()]]) {
            wrong.push(format!("{rows:?}"));
        }
        drop((first, second));
        wrong.extend(stage.wrong());
        wrong
    });
}

/// What an NFS client keeps of a removed file until its last request is answered holds the lock directory; when it goes, nobody but the
/// one who left it there removes that. Whoever keeps his lock for a while looks after it more often than that is tried.
#[test]
fn a_lock_directory_that_was_not_empty_is_removed_later() {
    control(&["lock-left"], "left behind", |without| {
        let mut wrong = Wrong::new();
        for linger in ["0", "2000"] {
            let mut stage = Stage::new("coord_mode=network-exclusive&coord_lease_ms=4000", without);
            let mut holder = stage.patient("holder");
            stage.pays(&mut holder);
            holder.ok(&format!("PRAGMA coord_linger={linger}"));
            let transfer = stage.next();
            holder.ok(&transfer.begin());
            let mut remains = stage.database.clone().into_os_string();
            remains.push(".lock/.nfs0001");
            std::fs::write(&remains, "").expect("somebody's file");
            holder.ok("ROLLBACK");
            // It lasts for a quarter of the time for which it is tried.
            std::thread::sleep(std::time::Duration::from_millis(1000));
            std::fs::remove_file(&remains).expect("it is gone");
            let lock = std::path::Path::new(&remains).parent().expect("the lock directory");
            let since = std::time::Instant::now();
            while lock.exists() && since.elapsed() < std::time::Duration::from_secs(10) {
                std::thread::sleep(std::time::Duration::from_millis(20));
            }
            if lock.exists() {
                wrong.push(format!("linger {linger}: the lock directory was left behind"));
            }
            drop(holder);
            wrong.extend(stage.wrong());
        }
        wrong
    });
}
