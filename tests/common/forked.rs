//! What a forked child can do to the transaction of its parent.

use super::stage::Stage;

/// What the child does with the connection that it has inherited.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Child {
    /// It never uses it.
    Closes,
    /// It changes pages that lie in its cache.
    Writes,
}

/// How the parent's transaction ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    Rollback,
    Death,
}

/// A process forks in the middle of a transaction with all of it in its cache, its child does something, and the parent, after more
/// changes than fit into its cache, undoes them. What is wrong with the database then.
pub fn undone_beside_a_child(stage: &Stage, journal: &str, child: Child, end: End) -> Vec<String> {
    let mut parent = stage.hasty("parent");
    parent.ok(&format!(
        "PRAGMA journal_mode={journal};
         CREATE TABLE IF NOT EXISTS leaf(id INTEGER PRIMARY KEY, v INTEGER, padding);
         WITH RECURSIVE n(i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM n WHERE i < 399)
             INSERT OR REPLACE INTO leaf SELECT i, 0, zeroblob(1500) FROM n;
         PRAGMA cache_size=2000;
         BEGIN; SELECT sum(length(padding)) FROM leaf; UPDATE leaf SET v = 1 WHERE id < 2"
    ));
    parent.fork();
    if child == Child::Closes {
        parent.close("db");
    }
    parent.switch();
    parent.ok("PRAGMA cache_size=5; UPDATE leaf SET v = 1 WHERE id < 150");
    if child == Child::Writes {
        parent.switch();
        let _ = parent.sql("UPDATE leaf SET v = 2 WHERE id > 200");
        parent.switch();
    }
    let mut wrong = Vec::new();
    match end {
        End::Rollback => {
            if let Err(error) = parent.sql("ROLLBACK") {
                wrong.push(format!("the parent cannot roll back: {error}"));
            }
            drop(parent);
        }
        End::Death => parent.kill(),
    }
    let mut next = stage.patient("next");
    match next.sql("SELECT count(*) FROM leaf WHERE v <> 0; PRAGMA integrity_check") {
        Ok(rows) if rows.concat() == ["0", "ok"] => {}
        answer => wrong.push(format!("{journal}, {child:?}, {end:?}: what was undone is there: {answer:?}")),
    }
    wrong
}
