//! Through all system calls of a process: killed at each in turn, or each failed in turn.

use std::collections::BTreeSet;

use super::calls::{self, Sort};
use super::stepper::{self, Call, Child, Mouth};
use super::world::{self, World};

/// What a loop met.
#[derive(Debug, Default)]
pub struct Met {
    pub runs: usize,
    /// What the dead left, over all runs.
    pub traces: BTreeSet<String>,
    /// Calls at which something was done.
    pub calls: BTreeSet<&'static str>,
    /// Generations found afterwards that were not, or were, the new one.
    pub before: usize,
    pub after: usize,
    /// Statements that returned an error, by [`fail_each`].
    pub errors: usize,
    /// Connections that had to be opened anew, or to wait a lease out, after it.
    pub stuck: usize,
    pub wrong: Vec<String>,
}

impl Met {
    /// Both together.
    pub fn and(mut self, other: Met) -> Met {
        self.runs += other.runs;
        self.errors += other.errors;
        self.stuck += other.stuck;
        self.calls.extend(other.calls);
        self.wrong.extend(other.wrong);
        self
    }

    fn wrong(&mut self, at: &str, what: impl IntoIterator<Item = String>) {
        self.wrong.extend(what.into_iter().map(|what| format!("{at}: {what}")));
    }

    /// In trusted mode an empty lock directory is a `unix-dotfile` client's unless its maker has noted that it is his; one that
    /// dies between the two keeps writers out for minutes. Nothing else may have been wrong with those runs.
    pub fn but_for_an_unmarked_lock(mut self) -> Met {
        let count = self.wrong.len();
        self.wrong.retain(|wrong| {
            let unmarked = wrong.contains(r#", leaving {"L empty"}: "#);
            !(unmarked && (wrong.ends_with("database is locked") || wrong.ends_with(r#"left behind: ["L empty"]"#)))
        });
        // Two lines a run: one state on disk, some twenty calls.
        let most = if Steps::all_wanted() { 40 } else { 2 };
        assert!(count - self.wrong.len() <= most, "there is one such moment only: {count}");
        self
    }

    /// Fails the test unless nothing was wrong and all of `traces` were met.
    pub fn right(&self, traces: &[&str]) {
        let Met { runs, before, after, errors, stuck, .. } = self;
        println!(
            "{runs} runs, {before} before, {after} after, {errors} errors, {stuck} stuck; {:?}; {:?}",
            self.calls, self.traces
        );
        assert!(self.wrong.is_empty(), "{} things are wrong:\n{}", self.wrong.len(), self.wrong.join("\n"));
        if !traces.is_empty() {
            assert!(*before > 0 && *after > 0, "they died too early or too late, so little was shown");
        }
        for trace in traces {
            assert!(self.traces.contains(*trace), "no run met this, so little was shown: {trace}; {:?}", self.traces);
        }
    }

    /// Fails the test unless nothing was wrong and failed calls were felt: some ended a statement with an error.
    pub fn right_though_failed(&self) {
        self.right(&[]);
        assert!(self.errors > 0, "no statement felt a failure: {self:?}");
    }

    /// Fails the test unless something was wrong that speaks of `what`.
    pub fn caught(&self, what: &str) {
        println!("{} runs, {} wrong, such as {:?}", self.runs, self.wrong.len(), self.wrong.first());
        assert!(self.wrong.iter().any(|wrong| wrong.contains(what)), "no run noticed; {:?}", self.wrong);
    }
}

/// Which calls a loop stops at.
#[derive(Clone, Copy)]
pub struct Steps {
    first: usize,
    stride: usize,
    counts: fn(&Call) -> bool,
}

impl Steps {
    fn all_wanted() -> bool {
        std::env::var("COORD_TEST_ALL_STEPS").is_ok_and(|value| value == "1")
    }

    /// Every call, whatever it does.
    pub fn every() -> Steps {
        Steps { first: 1, stride: 1, counts: |_| true }
    }

    /// Every call that changes something on disk: to die before any other leaves what dying before the next of these leaves.
    /// Every call at all with `COORD_TEST_ALL_STEPS=1`.
    pub fn changes() -> Steps {
        let changes = |call: &Call| matches!(calls::describe(call).1, Sort::Name | Sort::Data);
        if Steps::all_wanted() { Steps::every() } else { Steps { counts: changes, ..Steps::every() } }
    }

    /// Every call that moves a name.
    pub fn renames() -> Steps {
        Steps { counts: |call| calls::rename_target(call).is_some(), ..Steps::every() }
    }

    /// Every `stride`-th of those, from a random one on; each of them with `COORD_TEST_ALL_STEPS=1`.
    pub fn sampled(self, stride: usize) -> Steps {
        if Steps::all_wanted() {
            return self;
        }
        let first = 1 + super::super::Rng::printed().below(stride as u64) as usize;
        Steps { first, stride, ..self }
    }
}

/// Opens the database and changes it once, all of it stepped; says `turned` when COMMIT has returned OK.
pub fn open_and_turn(world: &World, prelude: &str, mouth: &mut Mouth) {
    open_and_turn_with(world, "", prelude, mouth);
}

/// The same with more parameters.
pub fn open_and_turn_with(world: &World, more: &str, prelude: &str, mouth: &mut Mouth) {
    stepper::begin();
    if let Ok(mut db) = world.open_with(more)
        && super::super::bank::Sql::sql(&mut db, prelude).is_ok()
        && world::turn(&mut db).is_ok()
    {
        mouth.say("turned");
    }
    stepper::end();
}

/// Kills `victim` at each of its calls in turn, each time in a fresh world, and has another process recover. `old` is the
/// generation before; what the victim reported with `turned` must be there. `meanwhile` happens after the kill.
pub fn kill_at_each<Z>(
    steps: Steps,
    old: i64,
    fresh: impl Fn() -> World,
    victim: impl Fn(&World, &mut Mouth),
    prepare: impl Fn(&World) -> Z,
    meanwhile: impl Fn(&World, &Z),
) -> Met {
    let mut met = Met::default();
    let mut n = steps.first;
    loop {
        let world = fresh();
        let zombie = prepare(&world);
        let mut child = Child::stepped(|mouth| victim(&world, mouth));
        let mut count = 0;
        let call = child.run_to(|_, call| {
            count += usize::from((steps.counts)(call));
            count == n
        });
        let said = child.kill();
        let left = world.traces();
        meanwhile(&world, &zombie);
        let (found, mut wrong) = world::recover(&world, n.is_multiple_of(2));
        // Late again, after the recovery: nothing of it may show.
        meanwhile(&world, &zombie);
        let reported = said.iter().any(|line| line == "turned");
        match found {
            Some(found) if found == old && reported => {
                wrong.push(format!("LOST: reported, and generation {found} is there"));
            }
            Some(found) if found == old => met.before += 1,
            Some(found) if found == old + 1 => met.after += 1,
            Some(found) => wrong.push(format!("generation {found} is there, neither {old} nor the next")),
            None => {}
        }
        if wrong.is_empty() && met.runs.is_multiple_of(4) {
            let (found, more) = world::recover(&world, true);
            wrong.extend(more.into_iter().chain(world.litter(true)));
            if found.is_none() {
                wrong.push("nothing to be read at the second look".to_owned());
            }
        }
        let name = call.map_or("its end", |call| calls::describe(&call).0);
        met.calls.insert(name);
        met.wrong(&format!("killed before call {n} ({name}), leaving {left:?}"), wrong);
        met.traces.extend(left);
        met.runs += 1;
        if call.is_none() {
            return met;
        }
        n += steps.stride;
    }
}

/// How a call is failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Failure {
    /// It is not carried out.
    Refused(i32),
    /// It is carried out, and its answer is lost.
    Lied(i32),
}

impl Failure {
    /// Whether this call can fail so.
    fn fits(self, child: &Child, call: &Call) -> bool {
        let (_, sort) = calls::describe(call);
        // The child's own pipe to the test is no part of it.
        let pipe = || child.descriptor(call.args[0]).starts_with("pipe:");
        match (self, sort) {
            (_, Sort::Other) => false,
            (Failure::Refused(libc::EIO), sort) => sort != Sort::Close && (sort != Sort::Data || !pipe()),
            (Failure::Refused(libc::ENOSPC), sort) => sort == Sort::Name || (sort == Sort::Data && !pipe()),
            (Failure::Refused(_), sort) => sort == Sort::Name || sort == Sort::Look,
            (Failure::Lied(_), sort) => sort == Sort::Name || sort == Sort::Close,
        }
    }
}

/// Fails each call in turn that fits `failure`, in a process that changes the database once and closes it. It must get
/// an error or succeed, be able to go on, and leave no lock behind; another process must get in at once.
pub fn fail_each(steps: Steps, failure: Failure, old: i64, fresh: impl Fn() -> World, prelude: &str) -> Met {
    let mut met = Met::default();
    let mut n = steps.first;
    loop {
        let world = fresh();
        let mut child = Child::stepped(|mouth| unlucky(&world, old, prelude, mouth));
        let mut count = 0;
        let call = child.run_to(|child, call| {
            count += usize::from(failure.fits(child, call));
            count == n
        });
        match failure {
            _ if call.is_none() => {}
            Failure::Refused(errno) => child.refuse(errno),
            Failure::Lied(errno) => child.lie(errno),
        }
        child.release();
        let looks = call.is_some_and(|call| {
            let (name, sort) = calls::describe(&call);
            sort == Sort::Look || name == "open(create)"
        });
        let mut wrong = Vec::new();
        let mut expected: Option<i64> = None;
        loop {
            let line = child.hear();
            match line.split_once(' ') {
                Some(("error", _)) => met.errors += 1,
                Some(("stuck", text)) if looks && stuck_for_a_reason(text, old) => met.stuck += 1,
                Some(("stuck", text)) => wrong.push(format!("it cannot go on: {text}")),
                Some(("wrong", text)) => wrong.push(text.to_owned()),
                Some(("closed", generation)) => {
                    expected = generation.parse().ok();
                    break;
                }
                _ => break,
            }
        }
        // Its process still lives: what it left now would stand in the way for a whole lease.
        match expected {
            Some(expected) => {
                let (found, more) = world::recover(&world, n.is_multiple_of(2));
                wrong.extend(more);
                if found.is_some_and(|found| found != expected) {
                    wrong.push(format!("generation {found:?} is there, {expected} was reported"));
                }
            }
            None => wrong.push("it did not come to its end".to_owned()),
        }
        child.go();
        wrong.extend(child.end().err());
        let name = call.map_or("nothing", |call| calls::describe(&call).0);
        met.calls.insert(name);
        met.wrong(&format!("call {n} of those ({name}): {failure:?}"), wrong);
        met.runs += 1;
        if call.is_none() {
            return met;
        }
        n += steps.stride;
    }
}

/// SQLite opens for reading what it cannot open for writing, and stays with that. And who could not learn whether the
/// filesystem is its own, or who it is itself, cannot prove anybody dead.
fn stuck_for_a_reason(text: &str, old: i64) -> bool {
    text.contains("attempt to write a readonly database") || (old > 0 && text.starts_with("error 5 "))
}

/// One transaction and the connection's end, of which one call fails; then the process goes on.
fn unlucky(world: &World, mut old: i64, prelude: &str, mouth: &mut Mouth) {
    use super::super::bank::Sql;
    let mut lines = Vec::new();
    stepper::begin();
    let open = |lines: &mut Vec<String>| {
        let opened = world.open().and_then(|mut db| db.sql(prelude).map(|_| db));
        opened.inspect_err(|error| lines.push(format!("error {error}"))).ok()
    };
    if let Some(mut db) = open(&mut lines) {
        match world::turn(&mut db) {
            Ok(()) => old += 1,
            Err(error) => {
                lines.push(format!("error {error}"));
                // The failure is over: the same connection must be able to go on.
                match world::generation(&mut db) {
                    Ok(Ok(found)) if (old..=old + 1).contains(&found) => old = found,
                    Err(second) => lines.push(format!("stuck {second}, after {error}")),
                    other => lines.push(format!("wrong after {error}: {other:?}")),
                }
                match world::turn(&mut db) {
                    Ok(()) => old += 1,
                    Err(second) => {
                        let why = db.sql("PRAGMA coord_error");
                        lines.push(format!("stuck {second}, after {error}: {why:?}"));
                    }
                }
            }
        }
        if let Err((_, error)) = db.close() {
            lines.push(format!("wrong close: {error}"));
        }
    }
    stepper::end();
    lines.iter().for_each(|line| mouth.say(line));
    mouth.say(&format!("closed {old}"));
    mouth.wait();
    // Others have been there since; this process can still work.
    match open(&mut lines).map(|mut db| world::turn(&mut db)) {
        Some(Ok(())) => {}
        other => panic!("it cannot go on: {other:?} {lines:?}"),
    }
}
