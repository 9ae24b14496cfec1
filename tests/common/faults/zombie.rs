//! What a process delivers late that was frozen in the middle of a commit: by rights of the descriptors that it still has,
//! it journals one more page and writes to it, as SQLite does when its cache spills.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;

const MAGIC: [u8; 8] = [0xd9, 0xd5, 0x05, 0xf9, 0x20, 0xa1, 0x63, 0xd7];

/// The two descriptors.
pub struct Zombie {
    database: File,
    journal: File,
    /// A page write that is under way already: offset and size.
    pending: (u64, usize),
}

impl Zombie {
    /// Opens what the names stand for now.
    pub fn of(database: &Path, journal: &Path) -> Zombie {
        let open = |path: &Path| File::options().read(true).write(true).open(path).expect("the zombie's file");
        let bytes = std::fs::read(journal).expect("the journal");
        let page = Zombie::number(24, &bytes) as usize;
        let mut records = bytes[Zombie::number(20, &bytes) as usize..].chunks(4 + page + 4);
        let journaled = records.find_map(|record| Some(Zombie::number(0, record)).filter(|number| *number > 1));
        let offset = u64::from(journaled.expect("a page in the journal") - 1) * page as u64;
        Zombie { database: open(database), journal: open(journal), pending: (offset, page) }
    }

    fn number(at: usize, bytes: &[u8]) -> u32 {
        u32::from_be_bytes(bytes[at..at + 4].try_into().expect("four bytes"))
    }

    /// The write that was under way arrives, on a page that was journaled long before; then one more
    /// page is journaled and written, if there still is a journal to go on with.
    pub fn strike(&self) {
        let mut journal = std::fs::read(format!("/proc/self/fd/{}", fd(&self.journal))).expect("the journal");
        let number = Zombie::number;
        let (offset, size) = self.pending;
        self.database.write_all_at(&vec![0x5a; size], offset).expect("the zombie writes");
        if journal.len() < 28 || journal[..8] != MAGIC {
            return;
        }
        let (sector, page) = (number(20, &journal) as usize, number(24, &journal) as usize);
        let original = number(16, &journal);
        let mut journaled = std::collections::BTreeSet::new();
        let (mut header, mut records);
        let mut at = 0;
        loop {
            header = at;
            records = number(header + 8, &journal) as usize;
            at += sector;
            for _ in 0..records {
                journaled.insert(number(at, &journal));
                at += 4 + page + 4;
            }
            let next = at.div_ceil(sector) * sector;
            if journal.len() < next + 28 || journal[next..next + 8] != MAGIC {
                break;
            }
            at = next;
        }
        // The last page of the database that is not in the journal yet, as it is now.
        if let Some(victim) = (2..=original).rev().find(|page| !journaled.contains(page)) {
            let mut content = vec![0; page];
            self.database.read_exact_at(&mut content, u64::from(victim - 1) * page as u64).expect("a page");
            let nonce = number(header + 12, &journal);
            let mut sum = nonce;
            let mut x = page as i64 - 200;
            while x > 0 {
                sum = sum.wrapping_add(u32::from(content[x as usize]));
                x -= 200;
            }
            journal.truncate(at);
            journal.extend(victim.to_be_bytes());
            journal.extend(&content);
            journal.extend(sum.to_be_bytes());
            let count = u32::try_from(records + 1).expect("few records");
            journal[header + 8..header + 12].copy_from_slice(&count.to_be_bytes());
            self.journal.write_all_at(&journal, 0).expect("the zombie writes");
            let offset = u64::from(victim - 1) * page as u64;
            self.database.write_all_at(&vec![0x5a; page], offset).expect("the zombie writes");
        }
    }
}

fn fd(file: &File) -> i32 {
    std::os::fd::AsRawFd::as_raw_fd(file)
}
