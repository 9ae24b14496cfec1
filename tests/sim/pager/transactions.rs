//! Transactions from beginning to end, in the order of steps of SQLite's pager.

use coord::lock::Level;
use coord::storage::Storage;
use coord::switches::{self, Guard};

use super::{Connection, HEADER, MAGIC, Stop};
use crate::sim::base::MARK_AT;
use crate::sim::history::{Content, Fate, PAGE, PAGES};

impl Connection {
    /// A read transaction.
    pub fn read(&mut self) -> Result<(), Stop> {
        let known = self.known();
        let content = self.shared().and_then(|()| self.content());
        if let Ok(content) = &content {
            self.saw(content, known);
        }
        self.unlock(Level::None);
        content.map(drop)
    }

    /// A transaction that changes nothing: whoever makes it still clears up after the dead.
    pub fn touch(&mut self) {
        let _ = self.shared().and_then(|()| self.lock(Level::Reserved)).and_then(|()| self.lock(Level::Exclusive));
        self.unlock(Level::None);
    }

    /// A write transaction.
    pub fn write(&mut self, tag: u64) -> Result<(), Stop> {
        self.world().history.fates.insert(tag, Fate::Running);
        let mut fate = Fate::Failed;
        let done = self.transaction(tag, &mut fate);
        {
            let mut state = self.world();
            let task = self.task;
            state.note(task, || format!("transaction {tag:x}: {done:?}, {fate:?}"));
            // Before the locks go: from then on others may look.
            match &done {
                Ok(()) => state.history.report(tag),
                Err(_) => drop(state.history.fates.insert(tag, fate)),
            }
        }
        if done.is_err() {
            self.cache = None;
        }
        // Who does not get EXCLUSIVE rolls back: he has written nothing but his journal. Otherwise it may not be finalised.
        let clean = match done {
            Err(Stop::Busy) if self.seat.level() >= Level::Reserved => self.finalise().is_ok(),
            Err(Stop::Busy | Stop::Lost) => false,
            // What is there already can be written over; or that fails, too.
            Err(Stop::Full) => self.draw(3) > 0 && self.undo().is_ok(),
            _ => true,
        };
        if !clean {
            self.manager.doubt(&mut self.seat);
        }
        if done.is_ok() {
            self.unlock(Level::Shared);
        }
        self.unlock(Level::None);
        done
    }

    fn transaction(&mut self, tag: u64, fate: &mut Fate) -> Result<(), Stop> {
        let known = self.known();
        self.shared()?;
        let before = self.content()?;
        self.saw(&before, known);
        let (rarely, longest) = self.world().thinks;
        if self.draw(rarely) == 0 {
            // It thinks, while others of its process go on.
            let span = self.draw(longest);
            self.handles.storage.sleep(std::time::Duration::from_millis(span));
        }
        self.lock(Level::Reserved)?;
        let after = before.next(tag);
        self.handles.journal_mark = Some(tag.to_le_bytes());
        self.write_header([0; 2])?;
        // The cache is full after some pages: these are journaled, and written, before the others.
        let (spilled, keeps) = (self.draw(3 * PAGES as u64) as usize, self.draw(4) > 0);
        let often = self.world().faults.parted > 0;
        let spilled = if spilled < PAGES || often { spilled % PAGES } else { 0 };
        if spilled > 0 {
            self.world().count("transaction: pages written before its end");
            self.write_pages(&before, &after, 0..spilled)?;
        }
        if !keeps {
            self.world().count("transaction: rolled back by its maker");
            if spilled > 0 {
                self.roll_back()?;
            } else {
                self.finalise()?;
            }
            return Err(Stop::RolledBack);
        }
        self.write_pages(&before, &after, spilled..PAGES)?;
        self.sync_database()?;
        *fate = Fate::Unknown;
        self.world().history.fates.insert(tag, Fate::Unknown);
        self.finalise()?;
        if !switches::off(Guard::CommitCheck) {
            self.manager.confirm(&self.seat).map_err(|_| Stop::Lost)?;
        }
        self.cache = Some(after);
        Ok(())
    }

    /// Rolls back what was written.
    fn undo(&mut self) -> Result<(), Stop> {
        match self.seat.level() {
            Level::Exclusive => self.roll_back(),
            Level::Reserved => self.finalise(),
            _ => Ok(()),
        }
    }

    /// Journals these pages, and writes them once the journal is certain.
    fn write_pages(&mut self, before: &Content, after: &Content, which: std::ops::Range<usize>) -> Result<(), Stop> {
        for number in which.clone() {
            let mut record = vec![number as u8];
            record.extend_from_slice(&before.pages[number]);
            self.journal(|journal| journal.write_at(&record, (HEADER + number * (PAGE + 1)) as u64))?;
        }
        self.become_exclusive()?;
        self.sync_journal()?;
        self.write_header([MAGIC, which.end as u8])?;
        self.sync_journal()?;
        for number in which {
            self.write_database(&after.pages[number], (number * PAGE) as u64)?;
        }
        Ok(())
    }

    fn write_header(&mut self, start: [u8; 2]) -> Result<(), Stop> {
        let mut header = [0; HEADER];
        header[..2].copy_from_slice(&start);
        header[MARK_AT as usize..].copy_from_slice(&self.handles.journal_mark.unwrap_or_default());
        self.journal(|journal| journal.write_at(&header, 0))
    }

    fn become_exclusive(&mut self) -> Result<(), Stop> {
        let mut tries = 0;
        while let Err(stop) = self.lock(Level::Exclusive) {
            tries += 1;
            if tries > 20 || matches!(stop, Stop::Lost | Stop::Full) {
                return Err(stop);
            }
            self.handles.storage.sleep(std::time::Duration::from_millis(20));
        }
        Ok(())
    }
}
