//! A client that looks no name up again while any program of its host has the file open (9p), and a takeover elsewhere that has
//! replaced the files.

use std::sync::atomic::Ordering;

use super::two_hosts::{Place, Program, host_on, long, run_without, transaction};
use super::{Base, Database, Level, LockError, Seat};

/// Two seconds, and on a busy machine for as long as it takes to try a few hundred times: files are looked at now and then only.
fn patience() -> impl Fn() -> bool {
    let (begun, tries) = (std::time::Instant::now(), std::cell::Cell::new(0));
    move || {
        tries.set(tries.get() + 1);
        std::thread::sleep(std::time::Duration::from_millis(2));
        tries.get() < 400 || begun.elapsed() < std::time::Duration::from_secs(2)
    }
}

/// Others of this host cannot read the new files while a lock is kept on the old ones, however often it is used.
#[test]
fn a_lock_that_keeps_others_from_replaced_files_is_given_up() {
    let place = Place::new();
    let (here, mut mine) = host_on(&place.paths, "9p", 60_000);
    let mut seat = here.sit(0, long());
    transaction(&here, &mut seat, &mut mine, Level::Shared).unwrap();
    here.tick();
    assert!(place.held().0, "kept");
    place.replaced_elsewhere();
    let tried = patience();
    while place.held().0 && tried() {
        transaction(&here, &mut seat, &mut mine, Level::Shared).unwrap();
        here.tick();
    }
    println!("STATE {}", place.held().0);
    assert!(!place.held().0, "the old files stay open");
    // Whoever reads next is on the new ones, and keeps them.
    transaction(&here, &mut seat, &mut mine, Level::Shared).unwrap();
    here.tick();
    assert!(place.held().0);
    here.stand_up(&mut seat, &mut mine);
}

/// The negative control.
#[test]
fn without_the_guard_it_is_kept_for_ever() {
    let said =
        run_without("held-names", "lock::held_names_tests::a_lock_that_keeps_others_from_replaced_files_is_given_up");
    assert!(said.contains("STATE true"), "{said}");
}

/// With ever new readers of this program others of its host would wait for ever: those inside finish, nobody joins them.
#[test]
fn nobody_joins_who_reads_the_old_files() {
    let place = Place::new();
    let (here, mut mine) = host_on(&place.paths, "9p", 60_000);
    let (mut seat, mut other, mut second) = (here.sit(0, long()), here.sit(0, long()), mine.another());
    here.lock(&mut seat, Level::Shared, &mut mine).unwrap();
    transaction(&here, &mut other, &mut second, Level::Shared).expect("it joins");
    place.replaced_elsewhere();
    let tried = patience();
    let mut joins = Ok(());
    while joins.is_ok() && tried() {
        joins = transaction(&here, &mut other, &mut second, Level::Shared);
    }
    println!("STATE {}", joins.is_ok());
    assert!(matches!(joins, Err(LockError::Busy)), "{joins:?}");
    here.unlock(&mut seat, Level::None, &mut mine);
    transaction(&here, &mut other, &mut second, Level::Shared).expect("the new files");
    here.stand_up(&mut seat, &mut mine);
    here.stand_up(&mut other, &mut second);
}

/// The negative control.
#[test]
fn without_the_guard_they_join() {
    let said = run_without("held-names", "lock::held_names_tests::nobody_joins_who_reads_the_old_files");
    assert!(said.contains("STATE true"), "{said}");
}

/// A transaction that wanted to write, and has no files now: others of its host have the old ones open.
fn kept_from_the_new_ones() -> (Place, Database, Program, Seat) {
    let place = Place::new();
    let (here, mut mine) = host_on(&place.paths, "9p", 60_000);
    let mut seat = here.sit(0, long());
    here.lock(&mut seat, Level::Shared, &mut mine).unwrap();
    place.replaced_elsewhere();
    mine.client.held.store(true, Ordering::Relaxed);
    assert!(matches!(here.lock(&mut seat, Level::Reserved, &mut mine), Err(LockError::Busy)));
    assert!(!mine.is_open());
    (place, here, mine, seat)
}

/// What another connection of this program has parked since is what keeps the old file open.
#[test]
fn a_parked_handle_is_in_nobodys_way() {
    struct Parked(std::sync::Arc<super::two_hosts::Client>);
    impl Drop for Parked {
        fn drop(&mut self) {
            self.0.held.store(false, Ordering::Relaxed);
        }
    }
    let (_place, here, mut mine, mut seat) = kept_from_the_new_ones();
    here.inner().parked.push((99, Box::new(Parked(mine.client.clone()))));
    here.reopen(&mut seat, &mut mine).unwrap();
    here.stand_up(&mut seat, &mut mine);
}

/// Who wants to write in the middle of a transaction must open the new files, and others of his host have the old ones open: he is
/// busy, and reads on as soon as he can.
#[test]
fn who_could_not_open_them_for_writing_reads_on() {
    let (_place, here, mut mine, mut seat) = kept_from_the_new_ones();
    assert!(
        matches!(here.reopen(&mut seat, &mut mine), Err(LockError::Busy)),
        "not an error that ends the transaction"
    );
    mine.client.held.store(false, Ordering::Relaxed);
    here.reopen(&mut seat, &mut mine).unwrap();
    assert_eq!((mine.first_byte(), here.has_moved(&seat)), (1, false));
    here.lock(&mut seat, Level::Reserved, &mut mine).unwrap();
    assert!(mine.has_journal());
    here.unlock(&mut seat, Level::None, &mut mine);
    here.stand_up(&mut seat, &mut mine);
}
