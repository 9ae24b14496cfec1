//! Dropping the client's cache: two clients of one server, each of which keeps what it has read of a file until it is told
//! to drop it, as the kernels of two hosts do. On a disk the drop has no effect, so this is where it is shown to be needed.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::two_hosts::{Place, at_once, host, run_without};
use super::{Base, Level, LockError};
use crate::protocol::Paths;

#[test]
fn who_takes_shared_reads_what_others_have_written() {
    let dir = tempfile::tempdir().unwrap();
    let paths = Arc::new(Paths::new(&dir.path().join("db")));
    std::fs::write(&paths.database, [1]).unwrap();
    std::fs::write(&paths.journal, [0]).unwrap();
    // Coord is known here already: nobody has to wait for earlier readers.
    std::fs::create_dir(&paths.registry).unwrap();
    let ((here, mut reader), (there, mut writer)) = (host(&paths), host(&paths));
    let (mut seat, mut other) = (here.sit(0, at_once()), there.sit(0, at_once()));
    here.lock(&mut seat, Level::Shared, &mut reader).unwrap();
    assert_eq!((reader.first_byte(), here.journal_is_hot()), (1, false));
    here.unlock(&mut seat, Level::None, &mut reader);
    for level in [Level::Shared, Level::Reserved, Level::Exclusive] {
        there.lock(&mut other, level, &mut writer).unwrap();
    }
    writer.journal.as_ref().unwrap().write_at(&[0xd9], 0).unwrap();
    writer.database.as_ref().unwrap().write_at(&[2], 0).unwrap();
    there.unlock(&mut other, Level::None, &mut writer);
    here.lock(&mut seat, Level::Shared, &mut reader).unwrap();
    println!("STATE {} {}", reader.first_byte(), here.journal_is_hot());
    assert_eq!((reader.first_byte(), here.journal_is_hot()), (2, true), "an old page or an old journal was read");
    here.stand_up(&mut seat, &mut reader);
    there.stand_up(&mut other, &mut writer);
}

/// The platform's VFS opens by name, after our own descriptor was opened and compared with the directory. If the file is
/// replaced in between, the connection must not go on with another one than the manager looks after.
#[test]
fn a_file_that_is_replaced_while_it_is_opened_is_opened_anew() {
    let dir = tempfile::tempdir().unwrap();
    let paths = Arc::new(Paths::new(&dir.path().join("db")));
    let replace = |content: u8| {
        let copy = dir.path().join("copy");
        std::fs::write(&copy, [content]).unwrap();
        std::fs::rename(&copy, &paths.database).unwrap();
    };
    replace(1);
    std::fs::create_dir(&paths.registry).unwrap();
    let (here, mut reader) = host(&paths);
    let mut seat = here.sit(0, at_once());
    here.lock(&mut seat, Level::Shared, &mut reader).unwrap();
    here.unlock(&mut seat, Level::None, &mut reader);
    // Replaced once before the call, so that all handles are opened anew, and once within it.
    replace(2);
    let (copy, live) = (dir.path().join("late"), paths.database.clone());
    std::fs::write(&copy, [3]).unwrap();
    reader.before_opening = Some(Box::new(move || std::fs::rename(&copy, &live).unwrap()));
    let busy = here.lock(&mut seat, Level::Shared, &mut reader);
    println!("STATE {}", busy.is_ok());
    assert!(matches!(busy, Err(LockError::Busy)), "two different files are in use");
    here.lock(&mut seat, Level::Shared, &mut reader).unwrap();
    assert_eq!((reader.first_byte(), here.has_moved(&seat)), (3, false));
    here.stand_up(&mut seat, &mut reader);
}

/// Between moving the journal aside and linking its copy a takeover leaves no journal for a moment. Who waits for the lock then
/// must not make one: it would be in the way of the copy.
#[test]
fn who_waits_for_the_lock_makes_no_journal() {
    let place = Place::new();
    let (journal, aside) = (&place.paths.journal, place.paths.parent.join("aside"));
    let ((here, mut holder), (there, mut waiter)) = (host(&place.paths), host(&place.paths));
    let (mut seat, mut other) = (here.sit(0, at_once()), there.sit(0, at_once()));
    there.lock(&mut other, Level::Shared, &mut waiter).unwrap();
    for level in [Level::Shared, Level::Reserved] {
        here.lock(&mut seat, level, &mut holder).unwrap();
    }
    std::fs::rename(journal, &aside).unwrap();
    assert!(matches!(there.lock(&mut other, Level::Reserved, &mut waiter), Err(LockError::Busy)));
    println!("STATE {}", journal.exists());
    assert!(!journal.exists());
    std::fs::rename(&aside, journal).unwrap();
    here.stand_up(&mut seat, &mut holder);
    there.stand_up(&mut other, &mut waiter);
}

/// The negative control: without the guard there is one.
#[test]
fn without_the_guard_a_waiter_makes_one() {
    let said = without("journal-under-lock", "who_waits_for_the_lock_makes_no_journal");
    assert!(said.contains("STATE true"), "{said}");
}

/// A writer's attempt at EXCLUSIVE had to open everything anew and failed after it had closed the journal; the program tries again.
/// SQLite has written into that journal what undoes its changes: nobody may change the database without it.
#[test]
fn a_writer_that_tries_again_has_its_journal() {
    let place = Place::new();
    std::fs::remove_file(&place.paths.journal).unwrap();
    let (here, mut writer) = host(&place.paths);
    let mut seat = here.sit(0, at_once());
    for level in [Level::Shared, Level::Reserved] {
        here.lock(&mut seat, level, &mut writer).unwrap();
    }
    assert!(writer.has_journal(), "made under the lock");
    // As the first attempt left it.
    writer.close_journal();
    place.replaced_elsewhere();
    here.lock(&mut seat, Level::Exclusive, &mut writer).unwrap();
    println!("STATE {}", writer.has_journal());
    assert!(writer.has_journal());
    here.stand_up(&mut seat, &mut writer);
}

/// The negative control: without the guard EXCLUSIVE is given all the same.
#[test]
fn without_the_guard_it_has_none() {
    let said = without("journal-wanted", "a_writer_that_tries_again_has_its_journal");
    assert!(said.contains("STATE false"), "{said}");
}

/// The database becomes another file, of twos.
fn put_another_in_its_place(paths: &Paths) {
    let copy = paths.parent.join("copy");
    std::fs::write(&copy, [2; 64]).unwrap();
    std::fs::rename(&copy, &paths.database).unwrap();
}

/// Under a read the database has become another file. Whether the connection goes on with that, and what it has open then.
fn replaced_under_a_read(by_takeover: bool) -> (bool, Option<u8>) {
    let place = Place::new();
    let (here, mut reader) = host(&place.paths);
    let mut seat = here.sit(0, at_once());
    here.lock(&mut seat, Level::Shared, &mut reader).unwrap();
    put_another_in_its_place(&place.paths);
    if by_takeover {
        place.replaced_elsewhere();
    }
    let goes_on = here.reopen(&mut seat, &mut reader).is_ok();
    let open = reader.is_open().then(|| reader.first_byte());
    here.stand_up(&mut seat, &mut reader);
    (goes_on, open)
}

/// What a takeover has put there is the same.
#[test]
fn who_reads_goes_on_after_a_takeover() {
    assert_eq!(replaced_under_a_read(true), (true, Some(2)));
}

/// What somebody has put there by hand is not: nothing of it is read.
#[test]
fn who_reads_reads_nothing_of_another_database() {
    let state = replaced_under_a_read(false);
    println!("STATE {state:?}");
    assert_eq!(state, (false, None));
}

/// The negative controls: it is gone on with; it stays open, for the next read.
#[test]
fn without_the_guards_another_database_is_read() {
    for (guard, state) in [("read-of-another", "STATE (true, Some(2))"), ("unconfirmed", "STATE (false, Some(2))")] {
        let said = without(guard, "who_reads_reads_nothing_of_another_database");
        assert!(said.contains(state), "{guard}: {said}");
    }
}

/// A reader is about to write, the files have been replaced, and what it has opened anew cannot be confirmed.
#[test]
fn who_could_not_be_confirmed_as_a_writer_has_nothing_open() {
    let place = Place::new();
    let (here, mut reader) = host(&place.paths);
    let mut seat = here.sit(0, at_once());
    here.lock(&mut seat, Level::Shared, &mut reader).unwrap();
    put_another_in_its_place(&place.paths);
    place.replaced_elsewhere();
    let client = reader.client.clone();
    reader.before_opening = Some(Box::new(move || client.no_beats.store(true, Ordering::Relaxed)));
    assert!(here.lock(&mut seat, Level::Reserved, &mut reader).is_err());
    println!("STATE {:?}", reader.is_open().then(|| reader.first_byte()));
    assert!(!reader.is_open(), "what it reads may be half of somebody's transaction");
    reader.client.no_beats.store(false, Ordering::Relaxed);
    here.lock(&mut seat, Level::Reserved, &mut reader).unwrap();
    assert!(reader.is_open(), "the next attempt opens it");
    assert_eq!(reader.first_byte(), 2);
    here.stand_up(&mut seat, &mut reader);
}

/// The negative control: it stays open, for the next read.
#[test]
fn without_the_guard_what_nobody_confirmed_stays_open() {
    let said = without("unconfirmed", "who_could_not_be_confirmed_as_a_writer_has_nothing_open");
    assert!(said.contains("STATE Some(2)"), "{said}");
}

/// The negative control: without the comparison the lock is given.
#[test]
fn without_the_comparison_two_files_are_in_use() {
    let said = without("handle-check", "a_file_that_is_replaced_while_it_is_opened_is_opened_anew");
    assert!(said.contains("STATE true"), "{said}");
}

/// The negative control: without the guard both the page and the journal are what this client remembers.
#[test]
fn without_the_drop_old_pages_are_read() {
    let said = without("cache-drop", "who_takes_shared_reads_what_others_have_written");
    assert!(said.contains("STATE 1 false"), "{said}");
}

/// What a test of this file prints as it fails without a guard.
fn without(guard: &str, test: &str) -> String {
    run_without(guard, &format!("lock::coherence_tests::{test}"))
}

/// There was no journal when it was looked for, and before the reader's name stood somebody made one, wrote into the database, could
/// not go on and went: nothing but the journal says so.
#[test]
fn a_journal_that_was_made_and_left_hot_before_the_readers_name_stood_is_seen() {
    let place = Place::new();
    std::fs::remove_file(&place.paths.journal).unwrap();
    let ((here, mut reader), (there, mut writer)) = (host(&place.paths), host(&place.paths));
    let mut seat = here.sit(0, at_once());
    let fails = move || {
        let mut other = there.sit(0, at_once());
        for level in [Level::Shared, Level::Reserved, Level::Exclusive] {
            there.lock(&mut other, level, &mut writer).unwrap();
        }
        writer.journal.as_ref().unwrap().write_at(&[0xd9; 512], 0).unwrap();
        writer.database.as_ref().unwrap().write_at(&[2], 0).unwrap();
        there.journal_left();
        there.unlock(&mut other, Level::None, &mut writer);
        there.stand_up(&mut other, &mut writer);
    };
    *reader.client.before_reader.lock().unwrap() = Some(Box::new(fails));
    here.lock(&mut seat, Level::Shared, &mut reader).unwrap();
    println!("STATE {} {}", reader.first_byte(), here.journal_is_hot());
    assert_eq!((reader.first_byte(), here.journal_is_hot()), (2, true), "half a transaction is read for a whole one");
    here.unlock(&mut seat, Level::None, &mut reader);
    here.stand_up(&mut seat, &mut reader);
}

/// The negative control.
#[test]
fn without_the_second_look_for_a_journal_half_a_transaction_is_read() {
    let test = "lock::coherence_tests::a_journal_that_was_made_and_left_hot_before_the_readers_name_stood_is_seen";
    let said = run_without("late-journal", test);
    assert!(said.contains("STATE 2 false"), "{said}");
}
