//! Scripts of SQL.

use crate::{Run, assert_equal};

/// Runs the steps on a new database and compares answers, the database's contents and its file.
fn script(name: &str, steps: &[&str]) {
    assert_equal(name, |run: &mut Run| {
        let mut db = run.open("db.sqlite", "").expect("a new database");
        for step in steps {
            run.sql(&mut db, step);
        }
        run.sql(&mut db, "PRAGMA main.integrity_check");
        run.sql(&mut db, "SELECT type, name, tbl_name, sql FROM sqlite_master ORDER BY rowid");
        db.close().expect("it closes");
        let mut db = run.open("db.sqlite", "").expect("the database opens again");
        run.sql(&mut db, "PRAGMA page_count; PRAGMA freelist_count; PRAGMA schema_version; PRAGMA integrity_check");
        drop(db);
        run.bytes("db.sqlite");
        run.bytes("other.sqlite");
    });
}

const NUMBERS: &str = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 2000)";

#[test]
fn schemas_and_constraints() {
    script(
        "schemas and constraints",
        &[
            "PRAGMA foreign_keys=ON",
            "CREATE TABLE parent(id INTEGER PRIMARY KEY AUTOINCREMENT, name TEXT NOT NULL UNIQUE COLLATE NOCASE)",
            "CREATE TABLE child(id INTEGER PRIMARY KEY, p INTEGER REFERENCES parent ON DELETE CASCADE, v CHECK(v > 0))",
            "CREATE TABLE bare(a TEXT PRIMARY KEY, b) WITHOUT ROWID; CREATE TABLE typed(a INT, b TEXT) STRICT",
            "CREATE INDEX i ON child(v) WHERE v < 100; CREATE INDEX e ON child(v * 2)",
            "CREATE VIEW w AS SELECT p, sum(v) s FROM child GROUP BY p",
            "CREATE TABLE log(what); CREATE TRIGGER a AFTER INSERT ON child BEGIN INSERT INTO log VALUES('in ' || new.id); END",
            "CREATE TRIGGER r BEFORE DELETE ON parent WHEN old.id = 1 BEGIN SELECT raise(ABORT, 'not this one'); END",
            "INSERT INTO parent(name) VALUES('one'), ('two'), ('three')",
            "INSERT INTO parent(name) VALUES('ONE')",
            "INSERT INTO parent(name) VALUES(NULL)",
            "INSERT INTO child VALUES(1, 2, 5), (2, 2, 7), (3, 3, 9)",
            "INSERT INTO child VALUES(4, 99, 1)",
            "INSERT INTO child VALUES(5, 2, 0)",
            "INSERT INTO child VALUES(1, 2, 3)",
            "INSERT OR REPLACE INTO child VALUES(1, 2, 50); INSERT OR IGNORE INTO child VALUES(1, 2, 51)",
            "INSERT INTO child VALUES(2, 2, 1) ON CONFLICT(id) DO UPDATE SET v = v + excluded.v RETURNING v",
            "INSERT INTO typed VALUES('x', 'y')",
            "INSERT INTO bare VALUES('b', 1), ('a', 2); SELECT * FROM bare",
            "DELETE FROM parent WHERE id = 1",
            "DELETE FROM parent WHERE id = 3",
            "SELECT * FROM w; SELECT * FROM log; SELECT * FROM sqlite_sequence",
            "ALTER TABLE child RENAME COLUMN v TO value; ALTER TABLE child ADD COLUMN more DEFAULT 7",
            "ALTER TABLE bare RENAME TO renamed; ALTER TABLE child DROP COLUMN more",
            "SELECT * FROM child; SELECT * FROM nothing",
            "DROP VIEW w; DROP TRIGGER a; DROP INDEX i; DROP TABLE log; REINDEX; ANALYZE",
            "SELECT tbl, idx, stat FROM sqlite_stat1 ORDER BY 1, 2",
            "PRAGMA foreign_key_check; PRAGMA foreign_key_list(child); PRAGMA table_info(child); PRAGMA index_list(child)",
        ],
    );
}

#[test]
fn transactions_and_savepoints() {
    script(
        "transactions and savepoints",
        &[
            "CREATE TABLE t(a)",
            "COMMIT",
            "ROLLBACK",
            "BEGIN; INSERT INTO t VALUES(1)",
            "BEGIN",
            "ROLLBACK; SELECT count(*) FROM t",
            "BEGIN IMMEDIATE; INSERT INTO t VALUES(2); SAVEPOINT one; INSERT INTO t VALUES(3); SAVEPOINT two",
            "INSERT INTO t VALUES(4); ROLLBACK TO two; INSERT INTO t VALUES(5); RELEASE one; COMMIT; SELECT a FROM t",
            "SAVEPOINT outer; INSERT INTO t VALUES(6); RELEASE outer",
            "SAVEPOINT outer; INSERT INTO t VALUES(7); ROLLBACK TO outer; RELEASE outer",
            "RELEASE nothing",
            "BEGIN EXCLUSIVE; DELETE FROM t; ROLLBACK; SELECT a FROM t",
            "BEGIN; CREATE TABLE u(a); DROP TABLE t; ROLLBACK; SELECT a FROM t; SELECT * FROM u",
            "CREATE TABLE k(a PRIMARY KEY ON CONFLICT ROLLBACK); INSERT INTO k VALUES(1)",
            "BEGIN; INSERT INTO t VALUES(8); INSERT INTO k VALUES(1)",
            "COMMIT",
            "SELECT a FROM t; SELECT changes(), total_changes(), last_insert_rowid()",
            "CREATE TEMP TABLE x(a); INSERT INTO x SELECT a FROM t; SELECT * FROM x; PRAGMA temp_store=FILE; DROP TABLE x",
        ],
    );
}

/// Transactions that are larger than the cache, so that pages go to the file in the middle.
#[test]
fn large_transactions() {
    let fill = format!("{NUMBERS} INSERT INTO t SELECT i, i * 7 % 1000, hex(zeroblob(i % 300)) FROM n");
    for mode in ["DELETE", "TRUNCATE", "PERSIST"] {
        script(
            "large transactions",
            &[
                &format!("PRAGMA journal_mode={mode}; PRAGMA cache_size=10"),
                "CREATE TABLE t(id INTEGER PRIMARY KEY, k, padding); CREATE INDEX i ON t(k)",
                &fill,
                "SELECT count(*), sum(k), sum(length(padding)) FROM t",
                "BEGIN; UPDATE t SET padding = padding || 'x', k = k + 1; SAVEPOINT s; DELETE FROM t WHERE id % 2; ROLLBACK TO s",
                "SELECT count(*), sum(k) FROM t; ROLLBACK; SELECT count(*), sum(k) FROM t",
                "BEGIN; DELETE FROM t WHERE id % 3; COMMIT; SELECT count(*), sum(k) FROM t",
                "PRAGMA journal_size_limit=1000; UPDATE t SET k = 1; SELECT sum(k) FROM t",
                "PRAGMA locking_mode=EXCLUSIVE; UPDATE t SET k = 2; SELECT sum(k) FROM t; UPDATE t SET k = 3",
                "PRAGMA locking_mode=NORMAL; SELECT sum(k) FROM t",
                "PRAGMA synchronous=OFF; UPDATE t SET k = 4; PRAGMA synchronous=EXTRA; UPDATE t SET k = 5",
            ],
        );
    }
}

#[test]
fn journal_modes() {
    script(
        "journal modes",
        &[
            "PRAGMA journal_mode; CREATE TABLE t(a); INSERT INTO t VALUES('start')",
            "PRAGMA journal_mode=WAL",
            "PRAGMA journal_mode=DELETE; INSERT INTO t VALUES('delete')",
            "PRAGMA journal_mode=TRUNCATE; INSERT INTO t VALUES('truncate')",
            "PRAGMA journal_mode=PERSIST; INSERT INTO t VALUES('persist')",
            "PRAGMA journal_mode=MEMORY",
            "INSERT INTO t VALUES('memory')",
            "PRAGMA journal_mode=OFF",
            "INSERT INTO t VALUES('off')",
            "PRAGMA journal_mode=DELETE; INSERT INTO t VALUES('delete again')",
            "SELECT group_concat(a) FROM t",
            "PRAGMA journal_mode=nonsense",
            "PRAGMA locking_mode=EXCLUSIVE; PRAGMA journal_mode=WAL",
            "PRAGMA locking_mode=NORMAL; PRAGMA journal_mode=DELETE; SELECT count(*) > 4 FROM t",
        ],
    );
}

#[test]
fn page_sizes_vacuum_and_auto_vacuum() {
    let fill = format!("{NUMBERS} INSERT INTO t SELECT i, hex(zeroblob(i % 200)) FROM n");
    for auto_vacuum in ["NONE", "FULL", "INCREMENTAL"] {
        script(
            "vacuum",
            &[
                "PRAGMA page_size=512",
                &format!("PRAGMA auto_vacuum={auto_vacuum}; CREATE TABLE t(id INTEGER PRIMARY KEY, a)"),
                &fill,
                "PRAGMA page_count; PRAGMA auto_vacuum; DELETE FROM t WHERE id % 2; PRAGMA freelist_count; PRAGMA page_count",
                "PRAGMA incremental_vacuum(20); PRAGMA freelist_count; PRAGMA page_count",
                "PRAGMA incremental_vacuum; PRAGMA freelist_count; PRAGMA page_count",
                "PRAGMA page_size=8192; VACUUM; PRAGMA page_size; PRAGMA page_count",
                "DROP TABLE t; VACUUM; PRAGMA page_count",
                "PRAGMA auto_vacuum=FULL; VACUUM; PRAGMA auto_vacuum; PRAGMA page_size=65536; VACUUM; PRAGMA page_size",
                "CREATE TABLE t(a); INSERT INTO t VALUES(zeroblob(300000)); DELETE FROM t; PRAGMA page_count",
                "BEGIN; VACUUM",
                "ROLLBACK; VACUUM INTO '{other}'",
                "VACUUM INTO '{other}'",
            ],
        );
    }
}

#[test]
fn encodings_and_values() {
    for encoding in ["UTF-8", "UTF-16le", "UTF-16be"] {
        script(
            "encodings",
            &[
                &format!("PRAGMA encoding='{encoding}'; CREATE TABLE t(a COLLATE NOCASE, b); PRAGMA encoding"),
                "INSERT INTO t VALUES('Zürich', 1.5), ('東京', x'00ff'), ('zÜRICH', NULL), ('', -9223372036854775808)",
                "SELECT a, typeof(b), b, length(a), hex(a) FROM t ORDER BY a, b; PRAGMA encoding='UTF-8'; PRAGMA encoding",
                "INSERT INTO t VALUES(1e308 * 10, 0.1 + 0.2); SELECT a, b, quote(b) FROM t WHERE typeof(b) = 'real'",
                "INSERT INTO t SELECT zeroblob(100000), hex(zeroblob(50000)); SELECT sum(length(a)), sum(length(b)) FROM t",
            ],
        );
    }
}

#[test]
fn virtual_tables() {
    script(
        "virtual tables",
        &[
            "CREATE VIRTUAL TABLE f USING fts5(title, body); CREATE VIRTUAL TABLE g USING fts4(body)",
            "INSERT INTO f VALUES('one', 'the quick brown fox'), ('two', 'the lazy dog'), ('three', 'quick quick')",
            "INSERT INTO g SELECT body FROM f",
            "SELECT title FROM f WHERE f MATCH 'quick' ORDER BY rank; SELECT body FROM g WHERE g MATCH 'lazy OR fox'",
            "DELETE FROM f WHERE title = 'three'; INSERT INTO f(f) VALUES('optimize'); INSERT INTO f(f) VALUES('integrity-check')",
            "SELECT highlight(f, 1, '[', ']') FROM f WHERE f MATCH 'qui*'",
            "CREATE VIRTUAL TABLE r USING rtree(id, x0, x1, y0, y1); INSERT INTO r VALUES(1, 0, 1, 0, 1), (2, 5, 6, 5, 6)",
            "SELECT id FROM r WHERE x0 > 2; SELECT rtreecheck('r')",
            "SELECT name, sum(pgsize) > 0 FROM dbstat GROUP BY name",
            "SELECT key, value FROM json_each('{\"a\": [1, 2]}')",
        ],
    );
}

#[test]
fn pragmas() {
    script(
        "pragmas",
        &[
            "CREATE TABLE t(a); INSERT INTO t VALUES(1); PRAGMA user_version=77; PRAGMA application_id=123456",
            "PRAGMA user_version; PRAGMA application_id; PRAGMA data_version; PRAGMA schema_version",
            "PRAGMA cache_size; PRAGMA page_size; PRAGMA max_page_count; PRAGMA locking_mode; PRAGMA synchronous",
            "PRAGMA mmap_size=1000000",
            "PRAGMA busy_timeout=10; PRAGMA cache_spill; PRAGMA secure_delete=ON; DELETE FROM t; INSERT INTO t VALUES('again')",
            "PRAGMA max_page_count=3",
            "INSERT INTO t VALUES(zeroblob(100000))",
            "PRAGMA max_page_count=1000; INSERT INTO t VALUES(zeroblob(10000)); SELECT count(*) FROM t",
            "PRAGMA query_only=ON; INSERT INTO t VALUES(2)",
            "PRAGMA query_only=OFF; PRAGMA database_list; PRAGMA quick_check; PRAGMA optimize",
            "PRAGMA writable_schema=ON; UPDATE sqlite_master SET sql = sql || ' '; PRAGMA writable_schema=RESET",
            "PRAGMA wal_checkpoint; PRAGMA compile_options",
            "PRAGMA no_such_pragma; PRAGMA cell_size_check=ON; PRAGMA checkpoint_fullfsync; PRAGMA fullfsync",
            "SELECT 1 FROM",
        ],
    );
}

#[test]
fn attached_databases() {
    script(
        "attached databases",
        &[
            "CREATE TABLE t(a); ATTACH '{other}' AS two; CREATE TABLE two.u(a)",
            "INSERT INTO t VALUES(1); INSERT INTO two.u VALUES(2)",
            "ATTACH ':memory:' AS three; CREATE TABLE three.v AS SELECT * FROM t UNION SELECT * FROM two.u; SELECT * FROM v",
            "ATTACH '' AS four; CREATE TABLE four.x AS SELECT * FROM v; SELECT * FROM four.x",
            "BEGIN; INSERT INTO t VALUES(3); INSERT INTO three.v VALUES(4); ROLLBACK; SELECT count(*) FROM v",
            "BEGIN",
            "INSERT INTO t VALUES(5); INSERT INTO two.u VALUES(5); COMMIT",
            "SELECT * FROM t; SELECT * FROM two.u",
            "DETACH nothing",
            "DETACH three; DETACH four; DETACH two; SELECT * FROM two.u",
        ],
    );
}
