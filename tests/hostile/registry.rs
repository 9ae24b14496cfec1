//! Strange, forged and broken names and contents in the registry and the lock directory.

use crate::common;
use crate::common::bank::Sql;
use crate::common::hostile::{self, AT_ONCE, NETWORK, Place, SHORT, TRUSTED};
use crate::common::visitor::Visitor;
use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::time::{Duration, Instant};

/// A node that never was.
fn node(number: u64) -> String {
    format!("elsewhere-{}-{number:016x}", 1000 + number)
}

/// Names that are nobody's: of other programs, with the wrong grammar, or in the wrong directory.
fn strangers(lock: bool) -> Vec<Vec<u8>> {
    let wrong_place = if lock { ["beat", "exclusive"] } else { ["write", "fence"] };
    let tail = |word: &str| match word {
        "beat" => ".1.30000",
        "fence" => ".1.database",
        _ => ".1",
    };
    let mut names: Vec<Vec<u8>> =
        [".nfs000000000004d2a100000001", ".DS_Store", "Thumbs.db", "README", "write", "beat.."]
            .map(|name| name.as_bytes().to_vec())
            .to_vec();
    names.push(b"not\xff\xfeutf8".to_vec());
    names.push(b"two\nlines \x1b[2J".to_vec());
    names.push(vec![b'n'; 255]);
    for bad in ["01", "-1", "1.", "99999999999999999999999", "1.x", "0x1"] {
        names.push(format!("exclusive.{}.{bad}", node(1)).into_bytes());
    }
    for word in wrong_place {
        names.push(format!("{word}.{}{}", node(2), tail(word)).into_bytes());
    }
    names
}

fn put_strangers(dir: &Path, lock: bool) {
    for name in strangers(lock) {
        fs::write(dir.join(OsStr::from_bytes(&name)), "a stranger's").unwrap();
    }
    fs::create_dir(dir.join("a directory")).unwrap();
    fs::create_dir(dir.join("a directory").join("with more")).unwrap();
}

#[test]
fn strangers_names_count_for_nothing_and_stay() {
    let place = Place::registered();
    fs::create_dir(place.lock()).unwrap();
    put_strangers(&place.registry(), false);
    put_strangers(&place.lock(), true);
    let before = (hostile::names(&place.registry()), hostile::names(&place.lock()));
    place.assert_works(NETWORK);
    assert_eq!((hostile::names(&place.registry()), hostile::names(&place.lock())), before);
    let (text, json) = place.inspect();
    let rows = json["locks"].as_array().unwrap();
    assert!(rows.iter().filter(|row| row["kind"] == "unknown").count() >= 15, "{json:#}");
    assert!(text.contains(".DS_Store") && text.contains("left alone"), "{text}");
    assert_eq!(json["needs_attention"], true);
}

/// An empty lock directory: of a client that died between two steps, or of `unix-dotfile`.
#[test]
fn an_empty_lock_directory_keeps_nobody_out() {
    let place = Place::registered();
    fs::create_dir(place.lock()).unwrap();
    assert_eq!(place.inspect().1["locks"], serde_json::json!([]));
    place.assert_works(NETWORK);
    assert!(!place.lock().exists());
    // In trusted mode it may be a unix-dotfile client's: the sentence says so, and what to do.
    let place = Place::new();
    fs::create_dir(place.lock()).unwrap();
    let mut db = place.open(TRUSTED).unwrap();
    assert_eq!(db.sql("INSERT INTO t VALUES(3, 3)").unwrap_err().primary(), 5);
    let text = hostile::complaint(&mut db);
    assert!(
        text.contains("state.sqlite is in use") && text.contains("unix-dotfile") && text.contains("Remove"),
        "{text}"
    );
    place.assert_untouched();
    let told = || {
        let (text, json) = place.inspect();
        let rows = json["locks"].as_array().unwrap();
        assert_eq!((&json["needs_attention"], &rows[0]["kind"]), (&true.into(), &"unknown".into()), "{json:#}");
        for words in ["state.sqlite.lock has no name of coord's", "five minutes", "unix-dotfile", "not understood"] {
            assert!(text.contains(words), "{words}: {text}");
        }
        rows.len()
    };
    assert_eq!(told(), 1);
    fs::write(place.lock().join("thesis.txt"), "").unwrap();
    assert_eq!(told(), 2);
    fs::remove_dir_all(place.lock()).unwrap();
    place.assert_works(TRUSTED);
}

/// Broken beat files, each of a node that stands in everybody's way and gives no sign of life: after one lease they are
/// cleared up, whatever is in them and whatever they are.
#[test]
fn whatever_a_beat_file_is_it_hinders_for_one_lease_only() {
    let place = Place::registered();
    let beat = |number: u64| place.registry().join(format!("beat.{}.1.1000", node(number)));
    let contents: Vec<Vec<u8>> = vec![
        Vec::new(),
        b"garbage".to_vec(),
        b"\xff\xfe\x00\x01".to_vec(),
        vec![0; 4096],
        br#"{"protocol":7,"process":[]}"#.to_vec(),
        br#"{"process":{"pid":-1}}"#.to_vec(),
        "[".repeat(4000).into_bytes(),
        br#"{"leaseMs":18446744073709551615,"createdAt":"9999-99-99","process":{"pid":4294967295,"liveness":"/dev/zero"}}"#
            .to_vec(),
        br#"{"process":{"command":"\u001b[2J\u0000","user":"\n","hostname":"","liveness":"../../x.alive"}}"#.to_vec(),
    ];
    for (number, bytes) in contents.iter().enumerate() {
        fs::write(beat(number as u64), bytes).unwrap();
    }
    let huge = fs::File::create(beat(20)).unwrap();
    huge.set_len(3 << 30).unwrap();
    std::os::unix::fs::symlink("/dev/zero", beat(21)).unwrap();
    std::os::unix::fs::symlink("/no/such", beat(22)).unwrap();
    fs::create_dir(beat(23)).unwrap();
    let fifo = std::ffi::CString::new(beat(24).as_os_str().as_bytes()).unwrap();
    // SAFETY: a C text.
    assert_eq!(unsafe { libc::mkfifo(fifo.as_ptr(), 0o666) }, 0);
    let _socket = std::os::unix::net::UnixListener::bind(place.dir.path().join("s")).unwrap();
    fs::rename(place.dir.path().join("s"), beat(25)).unwrap();
    for number in (0..contents.len() as u64).chain(20..26) {
        fs::write(place.registry().join(format!("exclusive.{}.2", node(number))), "").unwrap();
    }
    // A presence that is a directory, and one that is a link.
    fs::remove_file(place.registry().join(format!("exclusive.{}.2", node(0)))).unwrap();
    fs::create_dir(place.registry().join(format!("exclusive.{}.2", node(0)))).unwrap();
    let (text, json) = place.inspect();
    assert!(json["locks"].as_array().unwrap().len() >= 29, "{text}");
    let begun = Instant::now();
    let mut db = place.open(SHORT).unwrap();
    let mut asked = 0;
    common::until("the first read past the broken ones", || {
        asked += 1;
        db.sql("SELECT count(*) FROM t").is_ok()
    });
    assert!(begun.elapsed() < Duration::from_secs(20), "{:?}, asked {asked} times", begun.elapsed());
    drop(db);
    place.assert_untouched();
    place.assert_works(SHORT);
    let left = hostile::names(&place.registry());
    assert!(!left.iter().any(|name| name.to_string_lossy().starts_with("exclusive.")), "{left:?}");
}

/// An `exclusive.*` of a node without a beat (a create that was delivered late) hinders for the default lease, also
/// programs that live for one statement.
#[test]
fn a_ghost_blocks_nobody_for_ever() {
    let place = Place::registered();
    fs::write(place.registry().join(format!("exclusive.{}.2", node(1))), "").unwrap();
    let begun = Instant::now();
    let mut denied = 0;
    // One connection a statement, as a shell script would.
    let works = |denied: &mut u32| {
        let mut db = place.open(NETWORK).unwrap();
        match db.sql("BEGIN IMMEDIATE; INSERT INTO t VALUES(3, 3); COMMIT") {
            Ok(_) => true,
            Err(error) => {
                assert_eq!(error.primary(), 5, "{error}");
                let text = hostile::complaint(&mut db);
                assert!(text.contains("being") && text.contains("on elsewhere"), "{text}");
                *denied += 1;
                false
            }
        }
    };
    while !works(&mut denied) {
        assert!(begun.elapsed() < Duration::from_secs(90), "denied {denied} times");
        std::thread::sleep(Duration::from_millis(500));
    }
    assert!(begun.elapsed() >= Duration::from_secs(25), "cleared up before its lease was over: {:?}", begun.elapsed());
    assert!(!place.lock().exists());
}

/// Names of our own node that somebody else made.
#[test]
fn forged_names_of_our_own_node_cost_a_transaction_at_most() {
    let place = Place::registered();
    let mut db = place.open(AT_ONCE).unwrap();
    db.sql("BEGIN; SELECT * FROM t").unwrap();
    let listed = hostile::names(&place.registry());
    let own = listed
        .iter()
        .find_map(|name| name.to_str()?.strip_prefix("beat.")?.split_once('.').map(|(id, _)| id.to_string()));
    let own = own.expect("we are registered");
    let put = |name: String| fs::write(place.registry().join(name), "").unwrap();
    for n in [1, 999_999] {
        put(format!("reader.{own}.{n}"));
        put(format!("exclusive.{own}.{n}"));
        put(format!("new.{own}.{n}"));
    }
    // Without a real heartbeat behind it.
    put(format!("deposed.{own}.0.00000000000000aa.1"));
    db.sql("COMMIT; INSERT INTO t VALUES(3, 'past the forged presence')").unwrap();
    let left = hostile::names(&place.registry());
    assert!(!left.iter().any(|name| name.to_string_lossy().starts_with("exclusive.")), "{left:?}");
    // A tombstone ends the node: an error, nothing lost, and the next transaction is a new node's.
    db.sql("BEGIN IMMEDIATE; INSERT INTO t VALUES(4, 'lost')").unwrap();
    put(format!("deposed.{own}.999999.00000000000000aa.2"));
    db.sql("COMMIT").unwrap_err();
    let text = hostile::complaint(&mut db);
    assert!(text.contains("lost its locks on") && text.contains("run the transaction again"), "{text}");
    let _ = db.sql("ROLLBACK");
    let begun = Instant::now();
    common::until("the next transaction", || db.sql("INSERT INTO t VALUES(5, 'next')").is_ok());
    assert!(begun.elapsed() < Duration::from_secs(50));
    assert_eq!(db.sql("SELECT group_concat(a) FROM t").unwrap()[0][0], "1,2,3,5");
    assert_eq!(db.sql("PRAGMA integrity_check").unwrap()[0][0], "ok");
}

/// Ten thousand files of others, and thousands of dead nodes: slower, not stuck.
#[test]
fn ten_thousand_names_are_only_slow() {
    let place = Place::registered();
    fs::create_dir(place.lock()).unwrap();
    for number in 0..10_000 {
        fs::write(place.registry().join(format!(".nfs{number:024x}")), "").unwrap();
    }
    for number in 0..500 {
        fs::write(place.registry().join(format!("beat.{}.1.1000", node(number))), "{}").unwrap();
        fs::write(place.registry().join(format!("deposed.{}.7.00000000000000aa.1", node(10_000 + number))), "")
            .unwrap();
        fs::write(place.lock().join(format!("stranger-{number}")), "").unwrap();
    }
    let begun = Instant::now();
    place.assert_works(NETWORK);
    assert!(begun.elapsed() < Duration::from_secs(30), "{:?}", begun.elapsed());
    let left = hostile::names(&place.registry());
    assert!(!left.iter().any(|name| name.to_string_lossy().starts_with("deposed.")), "tombstones were left");
    let (_, json) = place.inspect();
    assert!(json["locks"].as_array().unwrap().len() >= 11_000);
}

/// Two versions of the protocol on one database would not keep each other out.
#[test]
fn another_version_of_the_protocol_is_refused_by_name() {
    let place = Place::registered();
    let beat = place.registry().join(format!("beat.{}.1.30000", node(1)));
    let contents = |protocol: &str| format!(r#"{{"protocol":"{protocol}","ownerId":"{}"}}"#, node(1));
    fs::write(&beat, contents("sqlite-session-safe.lock.v2")).unwrap();
    let before = hostile::names(&place.registry());
    for sql in ["SELECT * FROM t", "INSERT INTO t VALUES(3, 3)"] {
        let mut db = place.open(NETWORK).unwrap();
        db.sql(sql).unwrap_err();
        let text = hostile::complaint(&mut db);
        for word in
            ["sqlite-session-safe.lock.v2", "sqlite-session-safe.lock.v1", "on elsewhere", "state.sqlite.readers/beat."]
        {
            assert!(text.contains(word), "{word} is not in: {text}");
        }
    }
    place.assert_untouched();
    assert_eq!(hostile::names(&place.registry()), before, "the refused one left something behind");
    let (text, _) = place.inspect();
    assert!(text.contains("sqlite-session-safe.lock.v2"), "{text}");
    // Control: the same beat in our own protocol is a neighbour, and so is one that says nothing.
    fs::write(&beat, contents("sqlite-session-safe.lock.v1")).unwrap();
    place.assert_works(NETWORK);
    fs::write(&beat, contents("")).unwrap();
    place.assert_works(NETWORK);
}

/// The one that came after us and does not look: noticed when it stands in the way.
#[test]
fn another_version_that_comes_later_is_refused_when_it_is_met() {
    let place = Place::registered();
    let mut db = place.open(AT_ONCE).unwrap();
    db.sql("SELECT * FROM t").unwrap();
    let contents = format!(r#"{{"protocol":"future.v9","ownerId":"{}"}}"#, node(1));
    fs::write(place.registry().join(format!("beat.{}.1.30000", node(1))), contents).unwrap();
    fs::write(place.registry().join(format!("exclusive.{}.2", node(1))), "").unwrap();
    db.sql("SELECT * FROM t").unwrap_err();
    assert!(hostile::complaint(&mut db).contains("future.v9"));
    place.assert_untouched();
}

/// A holder who lives is named with its process, its host and the file.
#[test]
fn who_stands_in_the_way_is_told() {
    for mode in [TRUSTED, NETWORK] {
        let place = Place::new();
        let mut other = Visitor::new(place.dir.path());
        other.open(&place.database, mode).unwrap();
        other.sql("BEGIN IMMEDIATE").unwrap();
        let mut db = place.open(mode).unwrap();
        assert_eq!(db.sql("BEGIN IMMEDIATE").unwrap_err().primary(), 5);
        let text = hostile::complaint(&mut db);
        assert!(text.contains("state.sqlite is in use: being written by process "), "{mode}: {text}");
        // Another connection of this very process.
        other.sql("COMMIT").unwrap();
        let mut second = place.open(mode).unwrap();
        second.sql("BEGIN IMMEDIATE").unwrap();
        db.sql("BEGIN IMMEDIATE").unwrap_err();
        let text = hostile::complaint(&mut db);
        assert!(text.contains("another connection of this very program"), "{mode}: {text}");
    }
}
