//! The order of waiters on one host: tickets that are locks on the bytes of a host-local file (`fcntl`), so that the end of a
//! process takes its ticket along. Order only, never safety: whoever cannot have a ticket goes without.
//!
//! These are the locks that belong to a process: a forked child has none of its parent's, and one process has one ticket at a
//! database. **The file must be opened once a process and database**: closing any descriptor of it drops them all.

use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::FileExt;

/// The byte that is locked while a ticket is drawn.
const DRAWING: i64 = 0;
/// From here on one byte a ticket, and from there on one more for each waiter who is going to write.
const TICKETS: i64 = 1 << 20;
const WRITERS: i64 = 1 << 61;
/// See the module's head.
#[derive(Debug)]
pub struct LocalQueue {
    file: File,
    /// Ours, while we have one.
    ticket: Option<Ticket>,
}

#[derive(Clone, Copy, Debug)]
struct Ticket {
    number: i64,
    writes: bool,
}

impl LocalQueue {
    /// On a file that this process opens nowhere else.
    pub fn on(file: File) -> LocalQueue {
        LocalQueue { file, ticket: None }
    }

    fn region(kind: libc::c_int, start: i64, length: i64) -> libc::flock {
        // SAFETY: a structure of plain numbers.
        let mut region: libc::flock = unsafe { std::mem::zeroed() };
        region.l_type = kind as libc::c_short;
        region.l_whence = libc::SEEK_SET as libc::c_short;
        (region.l_start, region.l_len) = (start, length);
        region
    }

    fn set(&self, kind: libc::c_int, start: i64, length: i64) -> bool {
        let region = Self::region(kind, start, length);
        // SAFETY: an open descriptor, and a structure that the call only reads.
        unsafe { libc::fcntl(self.file.as_raw_fd(), libc::F_SETLK, &raw const region) == 0 }
    }

    /// Whether another process has locked any of these bytes.
    fn is_taken(&self, start: i64, length: i64) -> bool {
        let mut region = Self::region(libc::F_WRLCK, start, length);
        // SAFETY: an open descriptor, and a structure that the call fills.
        let asked = unsafe { libc::fcntl(self.file.as_raw_fd(), libc::F_GETLK, &raw mut region) };
        asked == 0 && libc::c_int::from(region.l_type) != libc::F_UNLCK
    }

    pub fn has_ticket(&self) -> bool {
        self.ticket.is_some()
    }

    /// Takes the last place, unless we have one already. Waits for nobody: where another process draws its ticket at this very
    /// moment, or stands still while it does, we have none yet.
    pub fn join(&mut self, writes: bool) {
        if self.ticket.is_none() && self.set(libc::F_WRLCK, DRAWING, 1) {
            self.ticket = self.draw(writes).ok();
            self.set(libc::F_UNLCK, DRAWING, 1);
        }
    }

    fn draw(&self, writes: bool) -> io::Result<Ticket> {
        let mut number = [0; 8];
        let got = self.file.read_at(&mut number, 0)?;
        let ticket = if got == 8 { i64::from_le_bytes(number) } else { 0 };
        if !(0..WRITERS - TICKETS - 1).contains(&ticket) {
            return Err(io::ErrorKind::InvalidData.into());
        }
        self.file.write_at(&(ticket + 1).to_le_bytes(), 0)?;
        if !self.set(libc::F_WRLCK, TICKETS + ticket, 1) {
            return Err(io::Error::last_os_error());
        }
        if writes {
            self.set(libc::F_WRLCK, WRITERS + ticket, 1);
        }
        Ok(Ticket { number: ticket, writes })
    }

    /// Whether nobody stands before us who still waits, or is still served. Who only reads has nothing to wait for from others
    /// who only read.
    pub fn is_first(&self) -> bool {
        match self.ticket {
            // A length of zero would mean: to the end.
            Some(Ticket { number: 0, .. }) => true,
            Some(Ticket { number, writes: true }) => !self.is_taken(TICKETS, number),
            Some(Ticket { number, writes: false }) => !self.is_taken(WRITERS, number),
            None => !self.is_taken(TICKETS, WRITERS - TICKETS),
        }
    }

    /// Whether another process has a ticket.
    pub fn others_wait(&self) -> bool {
        self.is_taken(TICKETS, WRITERS - TICKETS)
    }

    /// Whether another process has a ticket and is going to write.
    pub fn writers_wait(&self) -> bool {
        self.is_taken(WRITERS, 0)
    }

    /// Gives our place up, or ends our turn.
    pub fn leave(&mut self) {
        if self.ticket.take().is_some() {
            self.set(libc::F_UNLCK, TICKETS, 0);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Locks of one process never stand in each other's way, so the others are children: each does as its parent's pipe says.
    struct Other {
        pid: i32,
        tells: File,
        hears: File,
    }

    impl Other {
        fn at(path: &std::path::Path) -> Other {
            use std::io::{Read, Write};
            use std::os::fd::FromRawFd;
            let mut ends = [0; 4];
            // SAFETY: room for two pairs of descriptors, which become ours.
            let (mut ear, tells, hears, mut mouth) = unsafe {
                assert_eq!(libc::pipe(ends.as_mut_ptr()) + libc::pipe(ends.as_mut_ptr().add(2)), 0);
                (
                    File::from_raw_fd(ends[0]),
                    File::from_raw_fd(ends[1]),
                    File::from_raw_fd(ends[2]),
                    File::from_raw_fd(ends[3]),
                )
            };
            // SAFETY: the child uses plain files only, and ends without the harness.
            let pid = unsafe { libc::fork() };
            if pid == 0 {
                let file = File::options().read(true).write(true).open(path);
                let mut queue = file.map(LocalQueue::on).ok();
                let mut word = [0];
                while ear.read(&mut word).is_ok_and(|got| got == 1) {
                    let Some(queue) = &mut queue else { break };
                    let answer = match word[0] {
                        b'r' | b'w' => {
                            queue.join(word[0] == b'w');
                            queue.has_ticket()
                        }
                        b'f' => queue.is_first(),
                        _ => {
                            queue.leave();
                            true
                        }
                    };
                    let _ = mouth.write_all(&[u8::from(answer)]);
                }
                // SAFETY: ends the child here and now.
                unsafe { libc::_exit(0) };
            }
            Other { pid, tells, hears }
        }

        fn ask(&mut self, word: u8) -> bool {
            use std::io::{Read, Write};
            self.tells.write_all(&[word]).unwrap();
            let mut answer = [9];
            self.hears.read_exact(&mut answer).unwrap();
            answer[0] == 1
        }

        fn kill(self) {
            // SAFETY: our own child.
            unsafe {
                libc::kill(self.pid, libc::SIGKILL);
                libc::waitpid(self.pid, std::ptr::null_mut(), 0);
            }
        }
    }

    #[test]
    fn first_come_first_served_and_the_dead_wait_no_more() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("queue");
        std::fs::write(&path, b"").unwrap();
        let mut others: Vec<Other> = (0..4).map(|_| Other::at(&path)).collect();
        let mut mine = LocalQueue::on(File::options().read(true).write(true).open(&path).unwrap());
        assert!(mine.is_first() && !mine.others_wait());
        for (at, other) in others.iter_mut().enumerate() {
            assert!(other.ask(if at == 3 { b'r' } else { b'w' }));
        }
        mine.join(true);
        assert!(mine.others_wait() && mine.writers_wait() && !mine.is_first());
        assert_eq!(others.iter_mut().map(|other| other.ask(b'f')).collect::<Vec<_>>(), [true, false, false, false]);
        // One in the middle dies: nobody is first by that.
        others.remove(1).kill();
        assert_eq!(others.iter_mut().map(|other| other.ask(b'f')).collect::<Vec<_>>(), [true, false, false]);
        assert!(others[0].ask(b'l'));
        assert_eq!(others.iter_mut().map(|other| other.ask(b'f')).collect::<Vec<_>>(), [false, true, false]);
        // The first dies: behind it is one who only reads, and we.
        others.remove(1).kill();
        assert!(others[1].ask(b'f') && !mine.is_first());
        others.remove(1).kill();
        assert!(mine.is_first() && !mine.writers_wait());
        mine.leave();
        assert!(others[0].ask(b'w') && !mine.is_first());
        others.remove(0).kill();
        assert!(mine.is_first() && !mine.others_wait());
    }

    #[test]
    fn who_only_reads_waits_for_writers_alone() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("queue");
        std::fs::write(&path, b"").unwrap();
        let mut others: Vec<Other> = (0..3).map(|_| Other::at(&path)).collect();
        for (other, word) in others.iter_mut().zip([b'w', b'r', b'r']) {
            assert!(other.ask(word));
        }
        assert_eq!(others.iter_mut().map(|other| other.ask(b'f')).collect::<Vec<_>>(), [true, false, false]);
        assert!(others[0].ask(b'l') && others[0].ask(b'w'));
        assert_eq!(others.iter_mut().map(|other| other.ask(b'f')).collect::<Vec<_>>(), [false, true, true]);
        others.into_iter().for_each(Other::kill);
    }
}
