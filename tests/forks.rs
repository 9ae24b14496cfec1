//! A forked child is not its parent: what it inherited it may neither read nor write nor give back, whatever its clock says
//! of the parent's lease, and the parent goes on as if nothing had happened.

mod common;

use common::bank;
use common::forked::{Child, End, undone_beside_a_child};
use common::opener::Opener;
use common::puppet::Puppet;
use common::stage::Stage;

const MODES: [&str; 2] = ["coord_mode=trusted", "coord_mode=network-exclusive"];

#[test]
fn puppet_entry() {
    common::puppet::entry();
}

/// The child may not do anything with what it inherited.
fn assert_strange(child: &mut Puppet) {
    for sql in ["SELECT sum(balance) FROM account", "UPDATE account SET balance = 0", "BEGIN IMMEDIATE", "COMMIT"] {
        let error = child.sql(sql).expect_err(sql);
        assert!(!error.is_busy(), "{sql}: {error}");
    }
}

/// In the middle of a write transaction: the child's attempts, its rollback and its closing leave the parent's transaction
/// whole, also after the child opened the database anew (and was told to wait).
#[test]
fn a_child_of_a_writer_cannot_touch_its_transaction() {
    for mode in MODES {
        let mut stage = Stage::new(mode, "");
        let mut parent = stage.hasty("parent");
        stage.pays(&mut parent);
        let transfer = stage.next();
        // More pages than fit: some are in the file already.
        parent.ok("PRAGMA cache_size=4; PRAGMA cache_spill=2");
        let number = common::stage::number(&parent.ok(&transfer.begin()));
        parent.fork();
        // A statement that must read pages, which is refused, ends in a rollback of the child's idea of the transaction.
        let error = parent.sql("UPDATE account SET balance = balance + 1; SELECT * FROM account").expect_err(mode);
        assert!(!error.is_busy(), "{mode}: {error}");
        let _ = parent.sql("ROLLBACK");
        parent.close("db");
        let (opener, database) = (stage.opener.clone(), stage.database.clone());
        parent.open("db", &database, &opener).expect("the child opens the database anew");
        let error = parent.sql("BEGIN IMMEDIATE").expect_err("its parent has it");
        assert!(error.is_busy(), "{mode}: {error}");
        parent.switch();
        let answer = parent.sql("COMMIT");
        stage.note_commit(&transfer, number, &answer);
        answer.expect(mode);
        stage.pays(&mut parent);
        parent.switch();
        stage.pays(&mut parent);
        drop(parent);
        stage.assert_right();
    }
}

/// The journal of the parent's transaction is its parent's alone, whatever the child does and however the transaction ends.
#[test]
fn a_child_leaves_its_parents_journal_alone() {
    for mode in MODES {
        for journal in ["DELETE", "TRUNCATE", "PERSIST"] {
            for child in [Child::Closes, Child::Writes] {
                for end in [End::Rollback, End::Death] {
                    let stage = Stage::new(mode, "");
                    let wrong = undone_beside_a_child(&stage, journal, child, end);
                    assert!(wrong.is_empty(), "{mode}: {wrong:#?}");
                    stage.assert_right();
                }
            }
        }
    }
}

/// In the middle of a read transaction: the parent ends it, somebody writes, and the child, whose clock still knows the
/// parent's lease, must not go on reading: it would see a mix.
#[test]
fn a_child_of_a_reader_never_reads_on() {
    for mode in MODES {
        let mut stage = Stage::new(mode, "");
        let (mut parent, mut writer) = (stage.hasty("parent"), stage.hasty("writer"));
        let first = parent.ok("PRAGMA cache_size=1; BEGIN; SELECT balance FROM account WHERE id = 0")[0][0].clone();
        parent.fork();
        parent.switch();
        parent.ok("COMMIT");
        writer.ok("UPDATE account SET balance = balance + CASE id WHEN 0 THEN 500 WHEN 15 THEN -500 ELSE 0 END");
        parent.switch();
        match parent.sql("SELECT balance FROM account WHERE id = 15") {
            Err(error) => assert!(!error.is_busy(), "{mode}: {error}"),
            Ok(rows) => panic!("{mode}: the child read {first} and then {} in one transaction", rows[0][0]),
        }
        drop(parent);
        stage.pays(&mut writer);
    }
}

/// Between two transactions: the inherited connection is of no use to the child, a new one is; both work side by side.
#[test]
fn parent_and_child_work_side_by_side() {
    for mode in MODES {
        let mut stage = Stage::new(mode, "");
        let mut parent = stage.hasty("parent");
        stage.pays(&mut parent);
        parent.fork();
        assert_strange(&mut parent);
        let (opener, database) = (stage.opener.clone(), stage.database.clone());
        parent.close("db");
        parent.open("db", &database, &opener).expect("the child opens the database anew");
        for _ in 0..3 {
            stage.pays(&mut parent);
            parent.switch();
            stage.pays(&mut parent);
            parent.switch();
        }
        // The child's end gives nothing of its parent's away.
        parent.switch();
        parent.ok("BEGIN IMMEDIATE; UPDATE counter SET n = n");
        parent.switch();
        let error = parent.sql("BEGIN IMMEDIATE").expect_err("its parent has it");
        assert!(error.is_busy(), "{mode}: {error}");
        parent.close("db");
        parent.switch();
        let error = stage.hasty("third").sql("BEGIN IMMEDIATE").expect_err("the parent has it");
        assert!(error.is_busy(), "{mode}: {error}");
        parent.ok("ROLLBACK");
        drop(parent);
        stage.assert_right();
    }
}

/// A child of a program that only had the extension loaded is a program like any other.
#[test]
fn a_child_without_an_inherited_connection_is_like_any_other() {
    let dir = common::dir();
    let database = dir.path().join("bank.sqlite");
    let opener = Opener::coord("coord_mode=network-exclusive");
    let mut parent = Puppet::start("parent", dir.path(), "", &[]);
    parent.open("db", &database, &opener).expect("opens");
    bank::create(&mut parent).expect("the bank is founded");
    parent.close("db");
    parent.fork();
    parent.open("db", &database, &opener).expect("opens");
    parent.ok("UPDATE counter SET n = n");
    parent.switch();
    parent.open("db", &database, &opener).expect("opens");
    parent.ok("UPDATE counter SET n = n");
}
