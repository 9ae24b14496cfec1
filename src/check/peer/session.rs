//! Two ends in lockstep. Every message is a name in A's directory that is used once:
//!
//! ```text
//!     w.talk.<key>/m.<key>.<a|b>.<stage>.<number>.<word>      a word to the other
//!                  c.<key>.<a|b>.<stage>.<number>             what goes with it, closed before the word is said
//!                  m.<key>.<a|b>.bye                          this end gives up
//!                  m.<key>.<a|b>.unfit                        it does, as the filesystem does not carry the other's words
//! ```
//!
//! A stage is a step of the check. Within it each end says its next word and waits for the other's. Who fails in the middle
//! of a step says so, and both go to the end of that stage, where they exchange their accounts.

use std::collections::VecDeque;
use std::io::{self, ErrorKind};
use std::path::PathBuf;
use std::time::Duration;

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::pace::Pace;
use super::sign::{Life, Sign};
use crate::check::bench::{Bench, Halt, Seen, Trouble};
use crate::check::place::work_dir;
use crate::check::report::{Finding, Outcome};
use crate::protocol::NodeId;

/// Longest account that is read.
const ACCOUNT_BYTES: usize = 1 << 20;
/// So often it is looked for the other's word without a pause, so that both go on at nearly the same moment.
const EAGER: u32 = 16;
/// First and longest pause between two looks after that.
const POLL: Duration = Duration::from_millis(1);
const POLL_MAX: Duration = Duration::from_millis(20);
const FAILED: &str = "failed";
const BYE: &str = "bye";
const UNFIT: &str = "unfit";
/// How long an end that gives up leaves its directory for the other one to see why.
const GOODBYE: Duration = Duration::from_secs(2);

pub(super) struct Session<'a, 'b> {
    bench: &'b Bench<'a>,
    is_a: bool,
    /// A's, which every name of the session carries.
    key: u64,
    /// A's directory.
    dir: PathBuf,
    talk: PathBuf,
    other: NodeId,
    other_dir: PathBuf,
    patience: Duration,
    stage: u32,
    number: u32,
    looks: u64,
    names: [String; 2],
    /// Our last words, which the other may not have heard yet.
    said: VecDeque<PathBuf>,
    /// In all races: what one step has learnt of the two hosts holds in the next.
    pub pace: Pace,
    /// Steps in which what they are there to try did not take place.
    untried: Vec<String>,
}

/// One end's account of a step.
type Account<T> = Result<T, String>;

impl<'a, 'b> Session<'a, 'b> {
    /// `dir` is A's directory, `other_dir` the other end's.
    pub fn new(
        bench: &'b Bench<'a>,
        is_a: bool,
        other: NodeId,
        dir: PathBuf,
        other_dir: PathBuf,
        patience: Duration,
    ) -> Session<'a, 'b> {
        let key = if is_a { bench.place.node.key } else { other.key };
        let talk = work_dir(&dir, key, "talk");
        let names = ["this host".to_string(), "the other host".to_string()];
        Session {
            bench,
            is_a,
            key,
            dir,
            talk,
            other,
            other_dir,
            patience,
            stage: 0,
            number: 0,
            looks: 0,
            names,
            said: VecDeque::new(),
            pace: Pace::default(),
            untried: Vec::new(),
        }
    }

    /// The hosts' names, for accounts.
    pub fn introduce(&mut self, mine: &str, theirs: &str) {
        self.names = [mine.to_string(), theirs.to_string()];
    }

    pub fn is_a(&self) -> bool {
        self.is_a
    }

    pub fn key(&self) -> u64 {
        self.key
    }

    /// Whose turn it is in this round, and whether that is ours.
    pub fn leads(&self, round: u32) -> bool {
        round.is_multiple_of(2) == self.is_a
    }

    pub fn bench(&self) -> &'b Bench<'a> {
        self.bench
    }

    /// A directory for both, made by A. Both come out of this together.
    pub fn work(&mut self, word: &str) -> Result<PathBuf, Halt> {
        let dir = work_dir(&self.dir, self.key, &format!("two-{word}"));
        if self.is_a {
            let made = self.bench.storage.make_dir(&dir, self.bench.place.owner);
            made.map_err(crate::check::bench::failed("make a directory"))?;
        }
        self.meet()?;
        Ok(dir)
    }

    /// A name that both know.
    pub fn name(&self, word: &str, n: impl std::fmt::Display) -> String {
        format!("{word}.{:016x}.{n}", self.key)
    }

    /// A name that this end alone uses.
    pub fn own_name(&mut self, word: &str) -> String {
        self.looks += 1;
        format!("{word}.{:016x}.{}.{}", self.key, self.me(), self.looks)
    }

    fn me(&self) -> char {
        if self.is_a { 'a' } else { 'b' }
    }

    fn them(&self) -> char {
        if self.is_a { 'b' } else { 'a' }
    }

    fn message(&self, of: char, what: &str) -> String {
        format!("m.{:016x}.{of}.{what}", self.key)
    }

    /// Neither goes on before the other is here.
    pub fn meet(&mut self) -> Result<(), Halt> {
        self.say("here").map(drop)
    }

    /// Says a word (`[a-z0-9-]`) and waits for the other's.
    pub fn say(&mut self, word: &str) -> Result<String, Halt> {
        self.number += 1;
        let at = format!("{}.{}.", self.stage, self.number);
        self.post(&format!("{at}{word}"))?;
        self.hear(&at, true)
    }

    fn post(&mut self, what: &str) -> Result<(), Trouble> {
        let path = self.talk.join(self.message(self.me(), what));
        let made = self.bench.storage.create_new(&path, b"", self.bench.place.owner);
        made.map_err(|error| self.lost("make a file in", &error))?;
        // What we have heard last was said by one who had heard our last word but one.
        self.said.push_back(path);
        if self.said.len() > 2
            && let Some(heard) = self.said.pop_front()
        {
            let _ = self.bench.storage.unlink(&heard);
        }
        Ok(())
    }

    /// What a failure to talk means: the directory went with its owner, or the filesystem fails.
    fn lost(&self, what: &str, error: &io::Error) -> Trouble {
        let missing = |error: io::Error| error.kind() == ErrorKind::NotFound;
        let gone = error.kind() == ErrorKind::NotFound && self.bench.storage.attributes(&self.talk).is_err_and(missing);
        Trouble::Cannot(match gone {
            true => format!("{} has ended the check", self.names[1]),
            false => format!(
                "cannot talk to {}: cannot {what} {}: {error}; if it goes on like that, treat this filesystem as refused",
                self.names[1],
                self.talk.display()
            ),
        })
    }

    /// Waits for the other's message that begins so; the rest of it.
    fn hear(&mut self, begins: &str, heeds_failure: bool) -> Result<String, Halt> {
        let wanted = self.message(self.them(), begins);
        let failed = self.message(self.them(), &format!("{}.{FAILED}", self.stage));
        let (bye, unfit) = (self.message(self.them(), BYE), self.message(self.them(), UNFIT));
        let mut sign = Sign::new(self.bench.storage.now());
        let mut pause = POLL;
        let mut looks = 0;
        loop {
            let names = self.look()?;
            if let Some(rest) = names.iter().find_map(|name| name.strip_prefix(&wanted)) {
                return Ok(rest.to_string());
            }
            if heeds_failure && names.contains(&failed) {
                return Err(Halt::Failed(String::new()));
            }
            if names.contains(&unfit) {
                let says = format!("what this host wrote into a new file did not arrive whole on {}", self.names[1]);
                return Err(Halt::Failed(says));
            }
            if names.contains(&bye) {
                return Err(Trouble::Cannot(format!("{} gave up; its screen says why", self.names[1])).into());
            }
            self.bench.go_on()?;
            self.is_there(&mut sign)?;
            looks += 1;
            if looks > EAGER {
                self.bench.storage.sleep(pause);
                pause = (pause * 2).min(POLL_MAX);
            }
        }
    }

    /// What is in the directory of messages, listed afresh.
    fn look(&mut self) -> Result<Vec<String>, Trouble> {
        let own = self.own_name("look");
        let own = self.talk.join(own);
        let made = self.bench.storage.create_new(&own, b"", self.bench.place.owner);
        made.map_err(|error| self.lost("make a file in", &error))?;
        let listed = self.bench.storage.list(&self.talk);
        let _ = self.bench.storage.unlink(&own);
        let names = listed.map_err(|error| self.lost("list", &error))?;
        Ok(names.iter().map(|name| name.to_string_lossy().into_owned()).collect())
    }

    /// An error when the other end has not been seen to move, or to say anything, for too long.
    fn is_there(&self, sign: &mut Sign) -> Result<(), Trouble> {
        let (other, pid, seconds) = (&self.names[1], self.other.pid, self.patience.as_secs());
        Err(Trouble::Cannot(match sign.life(self.bench, &self.other_dir, self.patience) {
            Life::Open => return Ok(()),
            Life::Gone => format!(
                "nothing was seen of {other} (pid {pid}) for {seconds} s: it is gone or cut off, or its names do not get here any \
                 more"
            ),
            Life::Mute => format!(
                "{other} (pid {pid}) is there, but no word of it was seen for {seconds} s: the names that it makes do not show up in \
                 listings here, or it is too slow for this --wait; if it goes on like that, treat this filesystem as refused"
            ),
        }))
    }

    /// Gives the other end a value and gets its. [`Halt::Failed`] if it did not arrive as it was written.
    pub fn exchange<T: Serialize + DeserializeOwned>(&mut self, mine: &T) -> Result<T, Halt> {
        self.stage += 1;
        self.number = 0;
        self.give(mine)
    }

    /// [`Session::exchange`] at the end of a stage.
    fn give<T: Serialize + DeserializeOwned>(&mut self, mine: &T) -> Result<T, Halt> {
        let path = |of: char| self.talk.join(format!("c.{:016x}.{of}.{}", self.key, self.stage));
        let (ours, theirs) = (path(self.me()), path(self.them()));
        let text = serde_json::to_vec(mine).map_err(|error| Trouble::Cannot(format!("an account: {error}")))?;
        let made = self.bench.storage.create_new(&ours, &text, self.bench.place.owner);
        made.map_err(|error| self.lost("write a file in", &error))?;
        let end = format!("{}.end", self.stage);
        self.post(&end)?;
        self.hear(&end, false)?;
        let read = self.bench.storage.read_small(&theirs, ACCOUNT_BYTES);
        let text = read.map_err(|error| self.lost("read what the other end has written in", &error))?;
        serde_json::from_slice(&text).map_err(|error| {
            if error.is_data() {
                let says = format!("{} says something else than this version of coord expects: {error}", self.names[1]);
                return Halt::Trouble(Trouble::Cannot(says + "; use one version on both"));
            }
            Halt::Failed(format!(
                "what {} wrote into a new file did not arrive whole ({} bytes: {error})",
                self.names[1],
                text.len()
            ))
        })
    }

    /// One step of the check, run by both ends; `judge` gets A's account first.
    pub fn step<T: Serialize + DeserializeOwned>(
        &mut self,
        name: &str,
        advice: &str,
        body: impl FnOnce(&mut Self) -> Result<T, Halt>,
        judge: impl FnOnce(&T, &T) -> Result<Seen, Halt>,
    ) -> Result<Finding, Halt> {
        self.bench.go_on()?;
        self.bench.tell(&format!("together: {name}"));
        self.stage += 1;
        self.number = 0;
        let mine: Account<T> = match body(self) {
            Ok(account) => Ok(account),
            Err(Halt::Trouble(trouble)) => return Err(trouble.into()),
            Err(Halt::Failed(says)) => {
                self.post(&format!("{}.{FAILED}", self.stage))?;
                // It must stay for the other to see.
                self.said.clear();
                Err(if says.is_empty() { says } else { format!("on {}: {says}", self.names[0]) })
            }
        };
        let theirs: Account<T> = self.give(&mine)?;
        let (a, b) = if self.is_a { (mine, theirs) } else { (theirs, mine) };
        let judged = match (&a, &b) {
            (Ok(a), Ok(b)) => judge(a, b),
            (a, b) => {
                let said = [a.as_ref().err(), b.as_ref().err()].into_iter().flatten().filter(|says| !says.is_empty());
                Err(Halt::Failed(said.cloned().collect::<Vec<_>>().join("; ")))
            }
        };
        let (outcome, says) = match judged {
            Ok(seen) => {
                if !seen.shown {
                    self.untried.push(format!("two hosts, {name}: {}", seen.says));
                }
                (seen.outcome, seen.says)
            }
            Err(Halt::Failed(says)) => (Outcome::Fails, says),
            Err(Halt::Trouble(trouble)) => return Err(trouble.into()),
        };
        let advice = (outcome == Outcome::Fails).then(|| advice.to_string());
        Ok(Finding { name: format!("two hosts, {name}"), outcome, says, advice })
    }

    /// Why there can be no verdict, if a step has shown nothing. Both ends come to it together, and neither leaves before both have.
    pub fn untried(&mut self) -> Option<Trouble> {
        let sentence = self.untried.join("; ");
        if sentence.is_empty() {
            return None;
        }
        // Who is heard has come to it, too; who has gone already also.
        let _ = self.exchange(&());
        Some(Trouble::Cannot(format!("{sentence}. Run it again on both hosts with more --rounds")))
    }

    /// The last thing: after a failure the other is told, else both wait until neither needs A's directory any more. What the other
    /// has found out in the meantime is the result then.
    pub fn close<T>(&mut self, result: Result<T, Halt>) -> Result<T, Halt> {
        match &result {
            // A removes the directory as soon as it has heard B, who may then find it gone.
            Ok(_) => {
                if let Err(Halt::Failed(says)) = self.exchange(&()) {
                    return Err(Halt::Failed(says));
                }
            }
            Err(Halt::Trouble(_)) => drop(self.post(BYE)),
            Err(Halt::Failed(_)) => {
                let until = self.bench.storage.now().after(GOODBYE);
                let (bye, unfit) = (self.message(self.them(), BYE), self.message(self.them(), UNFIT));
                let _ = self.post(UNFIT);
                // Our directory may be where they talk.
                while self.bench.storage.now() < until {
                    match self.look() {
                        Ok(names) if !(names.contains(&bye) || names.contains(&unfit)) => {
                            self.bench.storage.sleep(POLL_MAX)
                        }
                        _ => break,
                    }
                }
            }
        }
        result
    }
}
