//! Byte-range locks as SQLite's `unix` VFS makes them of the kernel's, for worlds in trusted mode: what each open handle holds.
//! They end with their process, however it ends, and nobody else gives them up.

use std::cell::{Cell, RefCell};

use rusqlite::ffi::*;

use crate::sim::server::Inode;
use crate::sim::weather::Broken;
use crate::sim::world::State;

const SHARED: i32 = SQLITE_LOCK_SHARED;
const RESERVED: i32 = SQLITE_LOCK_RESERVED;
const PENDING: i32 = SQLITE_LOCK_PENDING;
const EXCLUSIVE: i32 = SQLITE_LOCK_EXCLUSIVE;

struct Held {
    handle: u64,
    inode: Inode,
    process: usize,
    level: i32,
}

thread_local! {
    static HELD: RefCell<Vec<Held>> = const { RefCell::new(Vec::new()) };
    static LAST: Cell<u64> = const { Cell::new(0) };
}

/// Nobody holds anything: the world is new.
pub fn forget() {
    HELD.set(Vec::new());
}

/// An open database.
pub struct Handle {
    number: u64,
    inode: Inode,
}

impl Handle {
    pub fn new(inode: Inode) -> Handle {
        LAST.set(LAST.get() + 1);
        Handle { number: LAST.get(), inode }
    }

    pub fn level(&self) -> i32 {
        HELD.with_borrow(|held| {
            held.iter().find(|held| held.handle == self.number).map_or(SQLITE_LOCK_NONE, |held| held.level)
        })
    }

    fn set(&self, process: usize, level: i32) {
        HELD.with_borrow_mut(|held| {
            held.retain(|held| held.handle != self.number);
            if level > SQLITE_LOCK_NONE {
                held.push(Held { handle: self.number, inode: self.inode, process, level });
            }
        });
    }

    /// The highest level of another handle whose process lives.
    fn beside(&self, state: &State) -> i32 {
        HELD.with_borrow(|held| {
            let others = held.iter().filter(|held| held.inode == self.inode && held.handle != self.number);
            others.filter(|held| !state.processes[held.process].crashed).map(|held| held.level).max().unwrap_or(0)
        })
    }

    /// As `xLock`: one try.
    pub fn lock(&self, state: &State, process: usize, level: i32) -> i32 {
        let open_to_all = state.broken == Some(Broken::OpenLocks);
        let like_a_writer = state.broken == Some(Broken::ReservedBesideRecoverer);
        let beside = if open_to_all { SQLITE_LOCK_NONE } else { self.beside(state) };
        let free = match level {
            SHARED => beside < PENDING,
            RESERVED => beside < RESERVED,
            // On its way up it stops new readers, and keeps that when those inside are not done.
            _ if beside >= PENDING => false,
            _ => {
                // Not who wants to roll a journal back: others would take him for a writer whose journal is not hot.
                if beside == SHARED && (self.level() >= RESERVED || like_a_writer) {
                    self.set(process, PENDING);
                }
                beside == SQLITE_LOCK_NONE
            }
        };
        if free && level > self.level() {
            self.set(process, level);
        }
        if free { SQLITE_OK } else { SQLITE_BUSY }
    }

    /// As `xUnlock`.
    pub fn unlock(&self, process: usize, level: i32) {
        if level < self.level() {
            self.set(process, level);
        }
    }

    /// As `xCheckReservedLock`.
    pub fn is_reserved(&self, state: &State) -> bool {
        self.level().max(self.beside(state)) >= RESERVED
    }

    pub fn is_locked(&self) -> bool {
        self.level() > SQLITE_LOCK_NONE
    }

    pub fn may_write(&self) -> bool {
        self.level() == EXCLUSIVE
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        let _ = HELD.try_with(|held| held.borrow_mut().retain(|held| held.handle != self.number));
    }
}
