//! What a command that takes long is doing.

use crate::out;
use std::cell::RefCell;
use std::io::IsTerminal;

/// One line on stderr, written over on a terminal; elsewhere only what takes long is told.
pub struct Progress {
    terminal: bool,
    last: RefCell<String>,
}

impl Progress {
    pub fn new() -> Progress {
        Progress { terminal: std::io::stderr().is_terminal(), last: RefCell::default() }
    }

    /// `text`: what is done, and in brackets for how long.
    pub fn tell(&self, text: &str) {
        let text = out::harmless(text);
        if self.terminal {
            out::overwrite(&text);
            return;
        }
        // Without the seconds a line is told once.
        let stem = text.split(" (").next().unwrap_or_default().to_string();
        let is_news = *self.last.borrow() != stem && (stem.starts_with("waiting") || stem.starts_with("together"));
        if is_news {
            out::complain(&stem);
        }
        *self.last.borrow_mut() = stem;
    }

    /// Wipes the line, before anything else is said.
    pub fn end(&self) {
        if self.terminal {
            out::overwrite("");
        }
    }
}
