//! What readers and waiting writers may rely on.

use crate::common::host::Host;
use crate::common::{self, until};
use crate::room::{NETWORK, Room, SHORT, SUM, TRUSTED, UNIX, host, sum, uri, without};
use std::time::{Duration, Instant};

/// SQLite knows by 16 bytes of the header whether its cached pages are still good. Another file with the same 16 bytes in
/// its place, a restored backup, is not noticed by them.
#[test]
fn a_replaced_file_with_the_same_header_is_read_anew() {
    let at_once = format!("{NETWORK}&coord_unlock_asap=1");
    for (query, expected) in [(at_once.as_str(), "600"), (UNIX, "400")] {
        let (room, other) = (Room::with_rows(), Room::with_rows());
        for (room, value) in [(&room, 2), (&other, 3)] {
            let db = rusqlite::Connection::open(&room.database).unwrap();
            db.execute_batch(&format!("UPDATE t SET v = {value}")).unwrap();
        }
        let header = |room: &Room| std::fs::read(&room.database).unwrap()[24..40].to_vec();
        assert_eq!(header(&room), header(&other), "the same 16 bytes");
        let mut host = host(&[]);
        host.open("db", &room.uri(query)).ok();
        assert_eq!(sum(&mut host, "db"), "400");
        std::fs::rename(&other.database, &room.database).unwrap();
        assert_eq!(sum(&mut host, "db"), expected, "{query}");
        if query != UNIX {
            host.exec("db", "UPDATE t SET v = 4").ok();
            let fresh = rusqlite::Connection::open(&room.database).unwrap();
            assert_eq!(fresh.query_row(SUM, [], |row| row.get::<_, i64>(0)).unwrap(), 800, "and written to");
        }
    }
}

/// POSIX drops all locks of a process on a file when it closes any descriptor of it. What coord does beside the client in
/// trusted mode, its service thread included, opens and closes none.
#[test]
fn nothing_of_ours_drops_native_locks() {
    let room = Room::with_rows();
    let mut holder = host(&[]);
    holder.open("db", &room.uri(TRUSTED)).ok();
    // A database with heartbeats on the same filesystem: when they move, the service thread has made its rounds.
    let beside = Room { dir: common::dir(), database: room.dir.path().join("beating.sqlite") };
    holder.open("beating", &uri(&beside.database, SHORT)).ok();
    holder.exec("beating", "CREATE TABLE t(a)").ok();
    holder.exec("beating", "BEGIN; SELECT * FROM t").ok();
    holder.exec("db", "BEGIN EXCLUSIVE; UPDATE t SET v = 2").ok();
    let first = counter(&beside, &holder);
    until("three heartbeats", || counter(&beside, &holder) >= first + 3);
    let path = room.database.to_str().unwrap();
    holder.exec("db", "PRAGMA coord_status; SELECT coord_info(); PRAGMA database_list").ok();
    holder.exec("beating", &format!("SELECT * FROM coord_locks('{path}')")).ok();
    let mut inspect = std::process::Command::new(env!("CARGO_BIN_EXE_coord"));
    common::run(inspect.arg("inspect").arg(path), Duration::from_secs(20)).ok();
    holder.open("second", &room.uri(TRUSTED)).ok();
    assert!(holder.exec("second", SUM).error().is_busy());
    holder.close("second").ok();
    let mut other = host(&[]);
    other.open("db", &room.uri(UNIX)).ok();
    assert!(other.exec("db", SUM).error().is_busy(), "a plain reader got in");
    assert!(other.exec("db", "BEGIN IMMEDIATE").error().is_busy(), "a plain writer got in");
    holder.call(&["open-and-close", path]).ok();
    other.exec("db", "BEGIN IMMEDIATE; ROLLBACK").ok();
}

/// A page that is read without a lock may arrive in the client's cache after the lock has dropped what was there. So on a
/// shared filesystem the header that SQLite reads at open goes around the cache.
#[test]
fn opening_leaves_nothing_in_the_cache() {
    let resident = |env: &[(&str, &str)]| {
        let room = Room::with_rows();
        // The introduction of the registry is not looked at here.
        std::fs::create_dir(room.beside(".readers")).unwrap();
        let file = std::fs::File::open(&room.database).unwrap();
        file.sync_all().unwrap();
        rustix::fs::fadvise(&file, 0, None, rustix::fs::Advice::DontNeed).unwrap();
        if is_resident(&file) {
            return None;
        }
        let env: Vec<_> = [("COORD_TEST_SHARED", "1")].iter().chain(env).copied().collect();
        let mut host = host(&env);
        host.open("db", &room.uri(NETWORK)).ok();
        host.exec("db", "PRAGMA coord_status").ok();
        let after = is_resident(&file);
        assert_eq!(sum(&mut host, "db"), "200", "and what is read under the lock is right");
        Some(after)
    };
    match (resident(&[]), resident(&[("COORD_TEST_WITHOUT", "uncached-header")])) {
        (Some(with), Some(without)) => assert_eq!((with, without), (false, true)),
        _ => common::skip("this filesystem keeps the pages of a file when it is asked to drop them"),
    }
}

/// Whether the file's first page is in this host's cache.
fn is_resident(file: &std::fs::File) -> bool {
    use std::os::fd::AsRawFd;
    let mut pages = [0u8; 1];
    // SAFETY: a mapping of one page, which is only asked about, and removed.
    unsafe {
        let at = libc::mmap(std::ptr::null_mut(), 4096, libc::PROT_READ, libc::MAP_SHARED, file.as_raw_fd(), 0);
        assert_ne!(at, libc::MAP_FAILED);
        assert_eq!(libc::mincore(at, 4096, pages.as_mut_ptr()), 0);
        libc::munmap(at, 4096);
    }
    pages[0] & 1 == 1
}

/// The counter of names of a host's node, from its heartbeat.
fn counter(room: &Room, host: &Host) -> u64 {
    let pid = format!("-{}-", host.pid());
    let mut found = None;
    until("a heartbeat to be seen", || {
        let names = std::fs::read_dir(room.beside(".readers")).unwrap().flatten();
        let names = names.map(|entry| entry.file_name().to_string_lossy().into_owned());
        let beat = names.filter(|name| name.starts_with("beat.") && name.contains(&pid)).max_by_key(|name| name.len());
        found = beat.and_then(|name| name.split('.').nth(2).and_then(|n| n.parse().ok()));
        found.is_some()
    });
    found.expect("just seen")
}

/// A statement that spills its cache asks for EXCLUSIVE again at every page. A reader that stays is waited for once, not
/// once for every page.
#[test]
fn a_spill_beside_a_reader_waits_once() {
    let spill = |mut writer: Host, rows: u32| {
        let room = Room::with_rows();
        let mut reader = host(&[]);
        reader.open("db", &room.uri(NETWORK)).ok();
        writer.open("db", &room.uri(NETWORK)).ok();
        writer.exec("db", "PRAGMA cache_size=5; BEGIN IMMEDIATE; UPDATE t SET v = 2 WHERE id = 1").ok();
        reader.exec("db", &format!("BEGIN; {SUM}")).ok();
        let start = Instant::now();
        writer.exec("db", &format!("INSERT INTO t SELECT id + 1000, 1, zeroblob(600) FROM t WHERE id <= {rows}")).ok();
        let took = start.elapsed();
        reader.exec("db", "COMMIT").ok();
        writer.exec("db", "COMMIT").ok();
        assert_eq!(sum(&mut reader, "db"), format!("{}", 201 + rows));
        took
    };
    let took = spill(host(&[]), 119);
    // The control waits for each page that it has to write, so it gets fewer of them.
    let blind = spill(without("wait-once"), 12);
    println!("{took:?} for 119 rows; {blind:?} for 12 with a wait for each attempt");
    let wait = Duration::from_millis(500);
    assert!(took < wait * 3 && blind >= wait * 4, "{took:?} as it is, {blind:?} with a wait for each attempt");
}
