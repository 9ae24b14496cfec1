//! Which records of a journal a rollback would find. SQLite begins a header with zeros in place of its first bytes, and puts them, and the
//! number of records under it, there when it syncs the journal; unless `synchronous` is OFF, where the header says that all of
//! the file counts (<https://www.sqlite.org/fileformat2.html#the_rollback_journal>). Where that is turned off in the middle of a transaction, which
//! SQLite prevents only between BEGIN and COMMIT of the same connection, nothing ever counts what is under the last header.

use std::collections::HashSet;
use std::ffi::c_int;

use super::{MAGIC, ZERO_HEADER};
use crate::host::ffi::*;
use crate::switches::{self, Guard};
use crate::vfs::database_file::DatabaseFile;

/// What is written again into a header: the magic bytes and the number of records.
const COUNT: usize = MAGIC.len() + 4;
/// Where a header says how long it is.
const SECTOR_AT: usize = 20;

/// The records of one transaction.
#[derive(Debug, Default)]
pub(super) struct Records {
    /// Where the last header begins; none if it says that all of the file counts.
    header: Option<i64>,
    /// Pages with a record that no header counts yet.
    uncounted: HashSet<u32>,
    /// A header was left without its count: what comes behind it is found by nobody.
    cut_off: bool,
}

impl Records {
    /// This was written to the journal. Headers and records begin at multiples of eight, the pages in the records four bytes behind.
    pub fn written(&mut self, data: &[u8], offset: i64) {
        let number =
            |at: usize| data.get(at..at + 4).and_then(|four| four.try_into().ok()).map_or(0, u32::from_be_bytes);
        if offset % 8 != 0 {
            return;
        }
        if data.len() > ZERO_HEADER {
            // A header is longer than a page where the page is smaller than a sector: the same is written again behind it.
            let sector = i64::from(number(SECTOR_AT));
            if sector < 32 || offset % sector != 0 {
                return;
            }
            if offset == 0 {
                *self = Records::default();
            }
            self.cut_off |= !self.uncounted.is_empty();
            self.header = (!data.starts_with(&MAGIC)).then_some(offset);
        } else if data.len() == COUNT && data.starts_with(&MAGIC) && self.header == Some(offset) {
            if !self.cut_off {
                self.uncounted.clear();
            }
        } else if data.len() == 4 && self.header.is_some() {
            self.uncounted.insert(number(0));
        }
    }

    /// Whether the page of this length at this offset of the database would be rolled back, if it has a record at all.
    fn count(&self, length: usize, offset: i64) -> bool {
        let page = offset / i64::try_from(length.max(1)).unwrap_or(i64::MAX) + 1;
        !u32::try_from(page).is_ok_and(|page| self.uncounted.contains(&page))
    }
}

impl DatabaseFile {
    /// Whether this page may be written: what it was before is found by whoever rolls this transaction back.
    pub(in crate::vfs) fn has_its_record(&mut self, length: usize, offset: i64) -> Result<(), c_int> {
        // While all of it is undone the pages are written as they were.
        if self.transaction.undoing || self.transaction.records.count(length, offset) || switches::off(Guard::Uncounted)
        {
            return Ok(());
        }
        let text = format!(
            "coord: {} was to be written before its journal counts what is undone: PRAGMA synchronous was set to OFF in the middle of \
             this transaction. Roll it back, and set that between transactions",
            self.paths().database.display()
        );
        Err(self.fail(SQLITE_IOERR_WRITE, text))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PAGE: usize = 1024;

    fn header(magic: bool) -> Vec<u8> {
        let mut header = vec![0; 512];
        if magic {
            header[..8].copy_from_slice(&MAGIC);
            header[8..12].copy_from_slice(&[0xff; 4]);
        }
        header[SECTOR_AT..SECTOR_AT + 4].copy_from_slice(&512u32.to_be_bytes());
        header
    }

    fn count(records: u32) -> Vec<u8> {
        [&MAGIC[..], &records.to_be_bytes()].concat()
    }

    /// The record of this page, as SQLite writes it.
    fn record(records: &mut Records, page: u32, at: i64) -> i64 {
        records.written(&page.to_be_bytes(), at);
        // A page that looks like a header, and one that looks like the count.
        records.written(&header(true).repeat(2), at + 4);
        records.written(&[7; 4], at + 4 + PAGE as i64);
        at + 8 + PAGE as i64
    }

    fn covered(records: &Records, page: i64) -> bool {
        records.count(PAGE, (page - 1) * PAGE as i64)
    }

    #[test]
    fn a_page_may_be_written_once_its_record_counts() {
        let mut records = Records::default();
        records.written(&header(false), 0);
        let end = record(&mut records, 3, 512);
        assert!(!covered(&records, 3) && covered(&records, 4));
        records.written(&count(1), 0);
        assert!(covered(&records, 3));
        // Behind a header of its own.
        let second = (end + 511) / 512 * 512;
        records.written(&header(false), second);
        record(&mut records, 5, second + 512);
        assert!(covered(&records, 3) && !covered(&records, 5));
        records.written(&count(1), 0);
        assert!(!covered(&records, 5), "another header's count");
        records.written(&count(1), second);
        assert!(covered(&records, 5));
    }

    #[test]
    fn behind_a_header_that_was_never_counted_nothing_is_found() {
        let mut records = Records::default();
        records.written(&header(false), 0);
        record(&mut records, 3, 512);
        records.written(&header(false), 2048);
        record(&mut records, 5, 2560);
        records.written(&count(1), 2048);
        assert!(!covered(&records, 3) && !covered(&records, 5));
        // The next transaction.
        records.written(&header(false), 0);
        assert!(covered(&records, 3));
    }

    #[test]
    fn where_all_of_the_file_counts_every_page_may_be_written() {
        let mut records = Records::default();
        records.written(&header(true), 0);
        record(&mut records, 3, 512);
        assert!(covered(&records, 3));
    }
}
