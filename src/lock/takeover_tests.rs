//! A takeover from a host that is silent in the middle of its pages, on servers that do things in their own way.

use std::sync::atomic::Ordering;
use std::time::Duration;

use super::two_hosts::{Place, Program, at_once, host_on, process_of, run_without};
use super::{Database, Level, LockError, Seat};
use crate::protocol::names::{Kind, Name, NodeId};

const LEASE_MS: u64 = 30_000;

/// Somebody is silent from now on in the middle of a transaction; and a host whose clock goes on by itself.
fn silent(place: &Place) -> ((Database, Program, Seat), (Database, Program)) {
    let (there, mut dead) = host_on(&place.paths, "test", LEASE_MS);
    let mut seat = there.sit(0, at_once());
    for level in [Level::Shared, Level::Reserved, Level::Exclusive] {
        there.lock(&mut seat, level, &mut dead).unwrap();
    }
    dead.journal.as_ref().unwrap().write_at(&[0xd9; 512], 0).unwrap();
    let (here, heir) = host_on(&place.paths, "test", LEASE_MS);
    heir.client.clock.begin();
    ((there, dead, seat), (here, heir))
}

/// Tries until it is not busy any more, as programs do.
fn take_over(here: &Database, seat: &mut Seat, heir: &mut Program) {
    for _ in 0..200 {
        match here.lock(seat, Level::Shared, heir) {
            Err(LockError::Busy) => heir.client.clock.goes_on(Duration::from_secs(1)),
            taken => return taken.unwrap(),
        }
    }
    panic!("busy for ever: {:?}", seat.take_busy());
}

/// A takeover moves the files aside before it links the copies in their places. Where that link is refused for good, they are renamed.
#[test]
fn it_goes_through_where_a_file_has_one_name_only() {
    let place = Place::new();
    let (_silent, (here, mut heir)) = silent(&place);
    let mut seat = here.sit(0, at_once());
    heir.client.no_links.store(true, Ordering::Relaxed);
    take_over(&here, &mut seat, &mut heir);
    assert_eq!((heir.first_byte(), here.journal_is_hot()), (1, true), "the old state, and the journal that says so");
    assert!(!place.names().iter().any(|name| matches!(name.kind, Kind::Aside(_))), "{:?}", place.names());
    here.unlock(&mut seat, Level::None, &mut heir);
    here.stand_up(&mut seat, &mut heir);
}

/// Who copies a large database and gives no sign of life meanwhile is taken over from himself.
#[test]
fn it_is_never_silent_for_a_lease_while_it_copies() {
    let place = Place::new();
    std::fs::OpenOptions::new().write(true).open(&place.paths.database).unwrap().set_len(24 << 20).unwrap();
    let (_silent, (here, mut heir)) = silent(&place);
    let mut seat = here.sit(0, at_once());
    take_over(&here, &mut seat, &mut heir);
    let silent = heir.client.clock.longest_silence();
    println!("STATE {}", silent.as_secs());
    assert!(silent < Duration::from_millis(LEASE_MS) / 2, "{silent:?}");
    assert_eq!((heir.first_byte(), place.paths.database.metadata().unwrap().len()), (1, 24 << 20));
    here.unlock(&mut seat, Level::None, &mut heir);
    here.stand_up(&mut seat, &mut heir);
}

/// The negative control.
#[test]
fn without_heartbeats_between_portions_it_is_silent_for_longer() {
    let said = run_without("copy-beats", "lock::takeover_tests::it_is_never_silent_for_a_lease_while_it_copies");
    let seconds = said.split("STATE ").nth(1).and_then(|rest| rest.split_whitespace().next()?.parse().ok());
    assert!(seconds.is_some_and(|seconds: u64| seconds * 1000 > LEASE_MS), "{said}");
}

/// Where nothing can be replaced late writes are waited for, ten leases long; what ends uncleanly meanwhile and had nothing does not
/// make everybody wait anew.
#[test]
fn it_goes_through_in_the_end_where_nothing_can_be_replaced() {
    let place = Place::new();
    let (_silent, (here, mut heir)) = silent(&place);
    let mut seat = here.sit(0, at_once());
    heir.client.no_copies.store(true, Ordering::Relaxed);
    let clock = heir.client.clock.clone();
    let seconds = || clock.now().map_or(0, |now| now.0 / 1_000_000_000);
    for n in 1.. {
        let node = NodeId::new("idle", "00000000", n as u32, n);
        let stone = Name { node, n: 2, kind: Kind::Deposed { by: 1, m: n } };
        std::fs::write(place.paths.registry.join(stone.to_string()), []).unwrap();
        match here.lock(&mut seat, Level::Shared, &mut heir) {
            Err(LockError::Busy) => clock.goes_on(Duration::from_secs(1)),
            taken => {
                taken.unwrap();
                break;
            }
        }
        assert!(seconds() < 600, "kept out: {:?}", seat.take_busy());
    }
    assert!(seconds() > 300, "nobody may be sure earlier: {} s", seconds());
    here.unlock(&mut seat, Level::None, &mut heir);
    here.stand_up(&mut seat, &mut heir);
}

/// Containers that are killed while idle leave a heartbeat each, which nobody can tell from that of a living one on another host; and
/// programs that live for a moment watch nobody for a lease.
#[test]
fn what_the_idle_leave_goes_in_the_end() {
    let place = Place::new();
    let (_, first) = host_on(&place.paths, "test", LEASE_MS);
    first.client.clock.begin();
    let beat = |text: &str| Name::parse(std::ffi::OsStr::new(text)).unwrap();
    let gone = beat("beat.elsewhere-00000000-7-00000000000000aa.1.30000");
    // By its own clock this one has its lease still, and need not say so before it reads.
    let patient = beat("beat.elsewhere-00000000-8-00000000000000bb.1.3600000");
    let [path, stays] = [&gone, &patient].map(|beat| place.paths.registry.join(beat.to_string()));
    std::fs::write(&path, []).unwrap();
    std::fs::write(&stays, []).unwrap();
    for turn in 0..140 {
        let (here, mut mine) = process_of(first.client.clone(), &place.paths, "test", LEASE_MS);
        let mut seat = here.sit(0, at_once());
        for level in [Level::Shared, Level::Reserved] {
            here.lock(&mut seat, level, &mut mine).unwrap();
        }
        here.unlock(&mut seat, Level::None, &mut mine);
        here.stand_up(&mut seat, &mut mine);
        assert!(path.exists() || turn >= 60, "it may live: {turn}");
        first.client.clock.goes_on(Duration::from_secs(10));
    }
    let left = place.names().into_iter().filter(|name| name.node == gone.node).count();
    assert_eq!(left, 0, "{:?}", place.names());
    println!("STATE {}", stays.exists());
    assert!(stays.exists(), "deposed within its lease: {:?}", place.names());
}

/// The negative control.
#[test]
fn without_its_own_lease_an_idle_node_is_deposed_that_may_read() {
    let said = run_without("idle-lease", "lock::takeover_tests::what_the_idle_leave_goes_in_the_end");
    assert!(said.contains("STATE false"), "{said}");
}

/// Somebody reads while the files are replaced by a takeover elsewhere.
fn replaced_under_a_reader() -> (Place, Database, Program, Seat) {
    let place = Place::new();
    let (here, mut reader) = host_on(&place.paths, "test", LEASE_MS);
    let mut seat = here.sit(0, at_once());
    here.lock(&mut seat, Level::Shared, &mut reader).unwrap();
    look(&here);
    let copy = place.paths.parent.join("copy");
    std::fs::copy(&place.paths.database, &copy).unwrap();
    std::fs::rename(&copy, &place.paths.database).unwrap();
    (place, here, reader, seat)
}

fn look(here: &Database) -> u64 {
    let mut inner = here.inner();
    inner.look_for_intruders(&here.storage, &here.paths);
    inner.intrusions
}

/// Only who replaces the file without a takeover is one who does not use coord.
#[test]
fn it_is_not_taken_for_an_intruder() {
    let (place, here, mut reader, mut seat) = replaced_under_a_reader();
    place.replaced_elsewhere();
    let accused = [look(&here), look(&here)];
    println!("STATE {accused:?}");
    assert_eq!(accused, [0, 0]);
    here.unlock(&mut seat, Level::None, &mut reader);
    here.stand_up(&mut seat, &mut reader);
    let (_place, here, mut reader, mut seat) = replaced_under_a_reader();
    assert_eq!(look(&here), 1, "replaced by hand");
    here.unlock(&mut seat, Level::None, &mut reader);
    here.stand_up(&mut seat, &mut reader);
}

/// A program that reads for an hour goes on opening connections: what the takeover has put there is what is being read.
#[test]
fn others_of_the_program_join_who_reads_the_old_files() {
    let (place, here, mut reader, mut seat) = replaced_under_a_reader();
    place.replaced_elsewhere();
    let (mut other, mut second) = (here.sit(0, at_once()), reader.another());
    let joined = here.lock(&mut other, Level::Shared, &mut second);
    println!("STATE {}", joined.is_ok());
    joined.unwrap();
    assert_eq!((reader.first_byte(), second.first_byte()), (1, 1));
    for (seat, base) in [(&mut seat, &mut reader), (&mut other, &mut second)] {
        here.unlock(seat, Level::None, base);
        here.stand_up(seat, base);
    }
    let (_place, here, mut reader, mut seat) = replaced_under_a_reader();
    let (mut other, mut second) = (here.sit(0, at_once()), reader.another());
    assert!(matches!(here.lock(&mut other, Level::Shared, &mut second), Err(LockError::Busy)), "replaced by hand");
    here.unlock(&mut seat, Level::None, &mut reader);
    here.stand_up(&mut seat, &mut reader);
}

/// The negative controls.
#[test]
fn without_the_guard_a_takeover_is_taken_for_an_intruder() {
    let said = run_without("taken-over", "lock::takeover_tests::it_is_not_taken_for_an_intruder");
    assert!(said.contains("STATE [1, 1]"), "{said}");
    let said = run_without("taken-over", "lock::takeover_tests::others_of_the_program_join_who_reads_the_old_files");
    assert!(said.contains("STATE false"), "{said}");
}

/// Somebody else has replaced the database, which this client does not know yet, and then a takeover of ours replaces the journal alone:
/// its epoch stands for both.
#[test]
fn it_opens_anew_what_somebody_else_has_replaced_before() {
    let place = Place::new();
    let (here, mut mine) = host_on(&place.paths, "test", LEASE_MS);
    mine.client.clock.begin();
    let mut seat = here.sit(0, at_once());
    here.lock(&mut seat, Level::Shared, &mut mine).unwrap();
    let old = place.paths.parent.join("old");
    std::fs::rename(&place.paths.database, &old).unwrap();
    std::fs::write(&place.paths.database, [2; 64]).unwrap();
    place.replaced_elsewhere();
    *mine.client.remembers.lock().unwrap() = Some(old);
    // Who had the write lock was deposed.
    let name = |n, kind| Name { node: NodeId::new("dead", "00000000", 1, 1), n, kind }.to_string();
    std::fs::create_dir(&place.paths.lock).unwrap();
    std::fs::write(place.paths.lock.join(name(1, Kind::Write)), []).unwrap();
    std::fs::write(place.paths.registry.join(name(2, Kind::Deposed { by: 2, m: 1 })), []).unwrap();
    while let Err(error) = here.lock(&mut seat, Level::Reserved, &mut mine) {
        assert!(matches!(error, LockError::Busy), "{error:?}");
        mine.client.clock.goes_on(Duration::from_secs(1));
    }
    println!("STATE {}", mine.first_byte());
    assert_eq!(mine.first_byte(), 2, "what others have committed since is lost");
    here.unlock(&mut seat, Level::None, &mut mine);
    here.stand_up(&mut seat, &mut mine);
}

/// The negative control.
#[test]
fn without_a_listing_it_opens_the_old_one() {
    let test = "lock::takeover_tests::it_opens_anew_what_somebody_else_has_replaced_before";
    let said = run_without("fresh-replaced", test);
    assert!(said.contains("STATE 1"), "{said}");
}

/// The files were replaced since SHARED, and the attempt that opened them anew failed for want of a heartbeat. Then a program on the server,
/// which had the database for itself when it was shared, leaves its journal hot: the next attempt must look for that all the same.
#[test]
fn an_attempt_after_one_that_failed_looks_for_a_hot_journal() {
    let place = Place::new();
    let (here, mut mine) = host_on(&place.paths, "test", LEASE_MS);
    let mut seat = here.sit(0, at_once());
    here.lock(&mut seat, Level::Shared, &mut mine).unwrap();
    assert!(!here.journal_is_hot());
    place.replaced_elsewhere();
    let client = mine.client.clone();
    mine.before_opening = Some(Box::new(move || client.no_beats.store(true, Ordering::Relaxed)));
    here.lock(&mut seat, Level::Reserved, &mut mine).unwrap_err();
    assert!(mine.client.no_beats.swap(false, Ordering::Relaxed), "it was opened anew");
    std::fs::write(&place.paths.journal, [0xd9; 512]).unwrap();
    let granted = here.lock(&mut seat, Level::Reserved, &mut mine).is_ok();
    println!("STATE {granted}");
    assert!(!granted, "its journal is written over");
    here.unlock(&mut seat, Level::None, &mut mine);
    here.stand_up(&mut seat, &mut mine);
}

/// The negative control.
#[test]
fn without_that_the_attempt_before_hides_it() {
    let test = "lock::takeover_tests::an_attempt_after_one_that_failed_looks_for_a_hot_journal";
    let said = run_without("since-shared", test);
    assert!(said.contains("STATE true"), "{said}");
}

/// A host shares a database and reads it; a program on the server, in trusted mode still, leaves its journal hot then. Whether RESERVED
/// is granted over that journal, by one who tries again after `pause`.
fn reserved_over_a_hot_journal(pause: Duration) -> bool {
    let place = Place::new();
    let stand_in = Name { node: NodeId::new("maker", "00000000", 0, 7), n: 1, kind: Kind::Reader };
    std::fs::write(place.paths.registry.join(stand_in.to_string()), []).unwrap();
    let (here, mut program) = host_on(&place.paths, "test", LEASE_MS);
    program.client.clock.begin();
    let mut seat = here.sit(0, at_once());
    here.lock(&mut seat, Level::Shared, &mut program).unwrap();
    assert!(!here.journal_is_hot());
    std::fs::write(&place.paths.journal, [0xd9; 512]).unwrap();
    std::fs::write(&place.paths.database, [2; 64]).unwrap();
    let granted = loop {
        match here.lock(&mut seat, Level::Reserved, &mut program) {
            Err(LockError::Busy) => program.client.clock.goes_on(pause),
            granted => break granted.is_ok(),
        }
    };
    here.unlock(&mut seat, Level::None, &mut program);
    here.stand_up(&mut seat, &mut program);
    granted
}

/// The name that stands for such programs is deposed as any other, and its tombstone has to stand for a while as any other.
#[test]
fn who_began_before_it_was_shared_is_waited_for_to_the_end() {
    let granted = [250, 20_000].map(|pause| reserved_over_a_hot_journal(Duration::from_millis(pause)));
    println!("STATE {granted:?}");
    assert_eq!(granted, [false, false]);
}

/// The negative control.
#[test]
fn without_that_it_writes_over_their_journal() {
    for guard in ["ghost-settles", "earlier-writers"] {
        let said = run_without(guard, "lock::takeover_tests::who_began_before_it_was_shared_is_waited_for_to_the_end");
        assert!(said.contains("STATE [true, true]"), "{guard}: {said}");
    }
}

/// One takes the lock directory over after it has listed it; meanwhile a breaker of its own host, which is in there too, has come to
/// the middle of a fence and been killed, and the zombie that was to be fenced off goes on for a moment.
#[test]
fn a_fence_that_was_begun_after_the_listing_is_carried_through() {
    use crate::protocol::names::Copy;
    use std::fs::{self, OpenOptions};
    use std::io::Write;
    use std::os::unix::fs::FileExt;

    const DEAD: u32 = 4711;
    let place = Place::new();
    let paths = place.paths.clone();
    let (zombie, breaker) = (NodeId::new("zombie", "00000000", 1, 1), NodeId::new("breaker", "00000000", DEAD, 2));
    let text = |node: &NodeId, n, kind| Name { node: node.clone(), n, kind }.to_string();
    fs::write(&paths.journal, [0xd9; 512]).unwrap();
    fs::write(paths.registry.join(text(&zombie, 1, Kind::Exclusive)), []).unwrap();
    fs::write(paths.registry.join(text(&zombie, 2, Kind::Deposed { by: 2, m: 1 })), []).unwrap();
    let (here, mut program) = host_on(&paths, "test", LEASE_MS);
    program.client.clock.begin();
    let comes = {
        let (paths, breaker) = (paths.clone(), breaker.clone());
        move || {
            let process = serde_json::json!({"pid": DEAD, "bootId": "b", "pidNamespace": "p", "liveness": "/x.alive"});
            let beat = serde_json::json!({
                "protocol": crate::protocol::beat::PROTOCOL, "ownerId": breaker.to_string(), "process": process
            });
            let kind = Kind::Beat { lease_ms: LEASE_MS };
            fs::write(paths.registry.join(text(&breaker, 3, kind)), beat.to_string()).unwrap();
            fs::write(paths.lock.join(text(&breaker, 4, Kind::Write)), []).unwrap();
        }
    };
    let goes = {
        let (paths, client) = (paths.clone(), program.client.clone());
        move || {
            fs::write(paths.registry.join(text(&breaker, 5, Kind::Exclusive)), []).unwrap();
            let copy = paths.lock.join(text(&breaker, 6, Kind::Fence(Copy::Journal)));
            fs::copy(&paths.journal, &copy).unwrap();
            fs::copy(&paths.database, paths.lock.join(text(&breaker, 6, Kind::Fence(Copy::Ready)))).unwrap();
            let aside = paths.registry.join(text(&breaker, 7, Kind::Aside(Copy::Journal)));
            fs::rename(&paths.journal, &aside).unwrap();
            fs::hard_link(&copy, &paths.journal).unwrap();
            client.dead.store(DEAD, Ordering::Relaxed);
            // The old content of a page into the journal that the zombie has open, and then the page.
            OpenOptions::new().append(true).open(&aside).unwrap().write_all(b"page 0 was 1").unwrap();
            OpenOptions::new().write(true).open(&paths.database).unwrap().write_all_at(&[9], 0).unwrap();
        }
    };
    *program.client.listings.around.lock().unwrap() = Some((Box::new(comes), Box::new(goes)));
    let mut seat = here.sit(0, at_once());
    take_over(&here, &mut seat, &mut program);
    let undone = fs::read(&place.paths.journal).unwrap().ends_with(b"page 0 was 1");
    println!("STATE {} {undone}", program.first_byte());
    assert!(program.first_byte() == 1 || undone, "nothing rolls the page back");
    here.unlock(&mut seat, Level::None, &mut program);
    here.stand_up(&mut seat, &mut program);
}

/// The negative control.
#[test]
fn without_a_new_listing_a_page_of_the_zombies_stays() {
    let test = "lock::takeover_tests::a_fence_that_was_begun_after_the_listing_is_carried_through";
    let said = run_without("fresh-view", test);
    assert!(said.contains("STATE 9 false"), "{said}");
}
