//! A worker process of the demo: it moves money, or it reads and checks, until it is told to stop.
//!
//! It knows nothing of coord but the URI: an ordinary client of SQLite. It reports each commit after COMMIT has
//! returned OK and never before. When its stdin ends, the demo is gone, and so is it.

use super::event::{self, Event, Stage};
use super::{database, signals};
use crate::args::{self, Role};
use crate::{out, register};
use rusqlite::{Connection, ErrorCode, params};
use std::io::{BufRead, Write};
use std::process;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::{Duration, Instant};

/// Exit status of a worker whose demo went away.
const ORPHANED: i32 = 3;
/// After an error, before the next try.
const RETRY_PAUSE: Duration = Duration::from_millis(50);
/// Between transactions: think time up to this, so that the lock goes around.
const WRITER_PAUSE_US: u64 = 4_000;
const READER_PAUSE: Duration = Duration::from_millis(20);
/// In a held transaction: so few pages that SQLite has to write to the database before COMMIT.
const TINY_CACHE_PAGES: i32 = 4;
/// SQLite's default, in KiB.
const USUAL_CACHE: i32 = -2_000;

static STOPPED: AtomicBool = AtomicBool::new(false);
static HOLD: AtomicBool = AtomicBool::new(false);

pub fn run(options: &args::Worker) -> Result<u8, String> {
    signals::end_with_parent();
    let go = listen();
    if options.vfs == "coord" {
        register::register()?;
    }
    let uri = database::uri(&options.path, &options.vfs, options.lease_ms);
    let mut worker = Worker {
        id: options.id,
        seq: 0,
        rows_seen: 0,
        lease_ms: options.lease_ms,
        random: Random(options.id.into()),
        go,
    };
    let (mut connection, mut path_told) = (None, false);
    while !STOPPED.load(Ordering::SeqCst) {
        worker.seq += 1;
        match worker.turn(&mut connection, &uri, options.role) {
            Ok(()) if !path_told => {
                tell_path(connection.as_ref());
                path_told = true;
            }
            Ok(()) => {}
            Err(failure) => {
                worker.tell_failure(&failure, connection.as_ref());
                connection = keep(connection, &failure);
                std::thread::sleep(RETRY_PAUSE);
            }
        }
        std::thread::sleep(match options.role {
            Role::Writer => Duration::from_micros(worker.random.below(WRITER_PAUSE_US)),
            Role::Reader => READER_PAUSE,
        });
    }
    tell_path(connection.as_ref());
    drop(connection);
    tell(&Event::Done);
    Ok(0)
}

struct Worker {
    id: u32,
    seq: u64,
    rows_seen: u64,
    lease_ms: u32,
    random: Random,
    go: Receiver<()>,
}

struct Failure {
    stage: Stage,
    error: rusqlite::Error,
    waited: Duration,
}

impl Failure {
    fn at(stage: Stage, begun: Instant) -> impl Fn(rusqlite::Error) -> Failure {
        move |error| Failure { stage, error, waited: begun.elapsed() }
    }

    fn is_busy(&self) -> bool {
        self.error.sqlite_error_code() == Some(ErrorCode::DatabaseBusy)
    }
}

impl Worker {
    fn turn(&mut self, connection: &mut Option<Connection>, uri: &str, role: Role) -> Result<(), Failure> {
        let begun = Instant::now();
        if connection.is_none() {
            *connection = Some(database::open(uri, self.lease_ms).map_err(Failure::at(Stage::Open, begun))?);
        }
        let connection = connection.as_ref().expect("just opened");
        match role {
            Role::Writer => self.transfer(connection),
            Role::Reader => self.read(connection),
        }
    }

    /// One transfer: two balances, a row of history, the counter.
    fn transfer(&mut self, connection: &Connection) -> Result<(), Failure> {
        let begun = Instant::now();
        connection.execute_batch("BEGIN IMMEDIATE").map_err(Failure::at(Stage::Begin, begun))?;
        let wait_us = micros(begun);
        let held = HOLD.swap(false, Ordering::SeqCst);
        self.work(connection, held).map_err(|error| {
            HOLD.fetch_or(held, Ordering::SeqCst); // what was asked for is still owed
            Failure::at(Stage::Work, begun)(error)
        })?;
        tell(&Event::InCommit { seq: self.seq, held });
        if held {
            let _ = self.go.recv();
        }
        let begun = Instant::now();
        connection.execute_batch("COMMIT").map_err(Failure::at(Stage::Commit, begun))?;
        tell(&Event::Committed { seq: self.seq, wait_us, commit_us: micros(begun) });
        if held {
            let _ = connection.pragma_update(None, "cache_size", USUAL_CACHE);
        }
        Ok(())
    }

    fn work(&mut self, connection: &Connection, held: bool) -> rusqlite::Result<()> {
        check_sum(database::balance(connection)?, "inside a write transaction");
        let source = 1 + self.random.below(database::ACCOUNTS as u64) as i64;
        let target = 1 + (source + self.random.below(database::ACCOUNTS as u64 - 1) as i64) % database::ACCOUNTS;
        let amount = 1 + self.random.below(9) as i64;
        if held {
            connection.pragma_update(None, "cache_size", TINY_CACHE_PAGES)?;
        }
        let mut moving = connection.prepare_cached("UPDATE account SET balance = balance + ?2 WHERE id = ?1")?;
        moving.execute([source, -amount])?;
        moving.execute([target, amount])?;
        connection.prepare_cached("INSERT INTO history VALUES(?1, ?2, ?3, ?4, ?5)")?.execute(params![
            self.id,
            self.seq as i64,
            source,
            target,
            amount
        ])?;
        connection.prepare_cached("UPDATE counter SET commits = commits + 1")?.execute([])?;
        if held {
            connection.execute("UPDATE account SET touched = touched + 1", [])?;
        }
        Ok(())
    }

    /// One read transaction: the sum is what it always is, and nothing that was committed has gone.
    fn read(&mut self, connection: &Connection) -> Result<(), Failure> {
        let begun = Instant::now();
        connection.execute_batch("BEGIN").map_err(Failure::at(Stage::Begin, begun))?;
        let counter = database::count(connection, "SELECT commits FROM counter");
        let counter = counter.map_err(Failure::at(Stage::Begin, begun))?;
        let wait_us = micros(begun);
        let rows = database::count(connection, "SELECT count(*) FROM history");
        let rows = rows.map_err(Failure::at(Stage::Work, begun))?;
        let sum = database::balance(connection).map_err(Failure::at(Stage::Work, begun))?;
        connection.execute_batch("COMMIT").map_err(Failure::at(Stage::Commit, begun))?;
        check_sum(sum, "in a read transaction");
        expect(rows == counter, || format!("{rows} rows of history beside a counter of {counter}"));
        let before = self.rows_seen;
        expect(rows >= before, || format!("{rows} rows of history after {before} were seen"));
        self.rows_seen = rows.max(before);
        tell(&Event::Read { rows, wait_us });
        Ok(())
    }

    fn tell_failure(&self, failure: &Failure, connection: Option<&Connection>) {
        if failure.is_busy() && failure.stage != Stage::Commit {
            tell(&Event::Busy { wait_us: failure.waited.as_micros() as u64 });
            return;
        }
        let code = failure.error.sqlite_error().map_or(0, |error| error.extended_code);
        let mut message = failure.error.to_string();
        if let Some(sentence) = connection.and_then(database::last_error) {
            message = format!("{message}: {sentence}");
        }
        tell(&Event::Failed { seq: self.seq, stage: failure.stage, code, message });
    }
}

/// After BUSY the connection is good, once rolled back; after anything else the worker takes a new one.
fn keep(connection: Option<Connection>, failure: &Failure) -> Option<Connection> {
    let connection = connection?;
    let clean = connection.is_autocommit() || connection.execute_batch("ROLLBACK").is_ok();
    (failure.is_busy() && clean).then_some(connection)
}

fn check_sum(sum: i64, place: &str) {
    expect(sum == database::TOTAL, || format!("the balance was {sum}, not {}, {place}", database::TOTAL));
}

fn expect(held: bool, sentence: impl FnOnce() -> String) {
    if !held {
        tell(&Event::Violation { sentence: sentence() });
    }
}

fn tell_path(connection: Option<&Connection>) {
    if let Some(connection) = connection {
        tell(&Event::Path { locks_taken: database::locks_taken(connection) });
    }
}

fn tell(event: &Event) {
    let mut stdout = std::io::stdout().lock();
    if stdout.write_all(event.to_line().as_bytes()).and_then(|()| stdout.flush()).is_err() {
        process::exit(ORPHANED);
    }
}

fn micros(since: Instant) -> u64 {
    since.elapsed().as_micros() as u64
}

/// Hears the demo's words in a thread of its own; what comes back is its `go`.
fn listen() -> Receiver<()> {
    let (sender, receiver) = channel();
    std::thread::spawn(move || hear(&sender));
    receiver
}

fn hear(go: &Sender<()>) {
    for word in std::io::stdin().lock().lines().map_while(Result::ok) {
        match word.as_str() {
            event::STOP => STOPPED.store(true, Ordering::SeqCst),
            event::HOLD => HOLD.store(true, Ordering::SeqCst),
            event::GO => drop(go.send(())),
            other => out::complain(&format!("a demo worker was told {other:?}, which means nothing to it")),
        }
    }
    process::exit(ORPHANED);
}

/// Marsaglia's xorshift64 ("Xorshift RNGs", 2003): which accounts, how long to think. Nothing depends on its quality.
struct Random(u64);

impl Random {
    fn below(&mut self, limit: u64) -> u64 {
        let mut x = self.0.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
        x ^= x << 13;
        x ^= x >> 7;
        x ^= x << 17;
        self.0 = x;
        (x >> 16) % limit
    }
}
