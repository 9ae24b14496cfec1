//! What this user's processes on this host remember of a lock directory in trusted mode.

use std::os::unix::fs::FileExt;
use std::time::{Duration, SystemTime};

use crate::switches::{self, Guard};

/// What tells a directory from the next one that is made under the same name, perhaps with the same inode.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Incarnation {
    pub text: String,
    /// When it was made, by the clock that dates this host's files; `None` where nobody asks a clock.
    pub born: Option<SystemTime>,
}

/// How long after a guard was written the directory that it announces may be made.
const ANNOUNCED: Duration = Duration::from_millis(100);
/// Files are dated by ticks of the kernel.
const TICK: Duration = Duration::from_millis(20);

/// See [`Storage::local_guard`]. Without a host-local directory it guards nothing and remembers nothing.
///
/// Its file says `0`: nothing is ours; `1?`: one is about to be made; `1` and an incarnation's text: that one is ours.
#[derive(Default)]
pub struct LocalGuard {
    file: Option<std::fs::File>,
    says: String,
}

impl LocalGuard {
    /// Takes over a file that is already locked.
    pub fn holding(file: std::fs::File) -> LocalGuard {
        let mut bytes = [0; 128];
        let got = file.read_at(&mut bytes, 0).unwrap_or(0);
        let says = String::from_utf8_lossy(&bytes[..got]).into_owned();
        LocalGuard { file: Some(file), says }
    }

    /// Whether this directory was made, or entered last, by one of this user's processes on this host.
    pub fn owns(&self, found: &Incarnation) -> bool {
        match self.says.strip_prefix('1') {
            Some("?") => found.born.is_none_or(|born| self.announced(born).unwrap_or(false)),
            Some(text) => text == found.text || switches::off(Guard::OwnDirectory),
            None => false,
        }
    }

    /// Whether who wrote "about to be made" has made it then, and died before he could say which it is.
    fn announced(&self, born: SystemTime) -> Option<bool> {
        let written = self.file.as_ref()?.metadata().ok()?.modified().ok()?;
        Some(born + TICK >= written && born <= written + ANNOUNCED)
    }

    pub fn about_to_make(&mut self) {
        self.say("1?".to_string());
    }

    pub fn made(&mut self, directory: &Incarnation) {
        self.say(format!("1{}", directory.text));
    }

    pub fn gone(&mut self) {
        self.say("0".to_string());
    }

    /// What it says, for [`LocalGuard::say`] to go back to.
    pub fn saying(&self) -> String {
        self.says.clone()
    }

    pub fn say(&mut self, text: String) {
        if let Some(file) = self.file.as_ref().filter(|_| text != self.says) {
            let _ = file.write_at(text.as_bytes(), 0).and_then(|_| file.set_len(text.len() as u64));
        }
        self.says = text;
    }
}

impl Drop for LocalGuard {
    /// Closing it is not enough: the lock is that of all copies of the descriptor, and a child that was forked meanwhile has one.
    fn drop(&mut self) {
        if let Some(file) = &self.file {
            let _ = file.unlock();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn guard() -> LocalGuard {
        LocalGuard::holding(tempfile::tempfile().unwrap())
    }

    fn directory(text: &str, born: SystemTime) -> Incarnation {
        Incarnation { text: text.to_string(), born: Some(born) }
    }

    #[test]
    fn what_was_made_is_ours_and_what_came_after_it_is_not() {
        let now = SystemTime::now();
        let (mut guard, one, next) = (guard(), directory("7 1", now), directory("7 2", now));
        assert!(!guard.owns(&one));
        guard.made(&one);
        assert!(guard.owns(&one) && !guard.owns(&next));
        let again = LocalGuard::holding(guard.file.take().unwrap());
        assert!(again.owns(&one) && !again.owns(&next));
    }

    #[test]
    fn what_a_child_has_inherited_keeps_nobody_out() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let open = || std::fs::File::open(file.path()).unwrap();
        let held = open();
        held.try_lock().unwrap();
        let _inherited = held.try_clone().unwrap();
        let guard = LocalGuard::holding(held);
        assert!(open().try_lock().is_err());
        drop(guard);
        open().try_lock().unwrap();
    }

    #[test]
    fn what_was_announced_is_ours_if_it_was_made_then() {
        let mut guard = guard();
        guard.about_to_make();
        let now = SystemTime::now();
        assert!(guard.owns(&directory("7 1", now)));
        assert!(!guard.owns(&directory("7 1", now + Duration::from_secs(1))));
        assert!(!guard.owns(&directory("7 1", now - Duration::from_secs(1))));
        guard.gone();
        assert!(!guard.owns(&directory("7 1", now)));
    }
}
