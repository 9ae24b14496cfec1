//! What the user wishes, from the URI (`coord_mode=…`) and the environment (`COORD_MODE=…`); the URI wins.

use std::fmt::Write;
use std::time::Duration;

use crate::protocol::lease;

/// `coord_mode`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum ModeWish {
    #[default]
    Auto,
    Trusted,
    NetworkExclusive,
}

/// The parameters of one connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wishes {
    pub mode: ModeWish,
    /// Milliseconds without a sign of life after which others may take this node's locks over.
    pub lease_ms: u64,
    /// Whether a lock call waits a silent holder's lease out, beyond the busy timeout.
    pub recovery_wait: bool,
    /// Use a filesystem that coord would refuse.
    pub force_fs: bool,
    /// Milliseconds for which an unused lock is kept; `None`: by what taking it costs.
    pub linger_ms: Option<u64>,
    /// Keep no lock beyond its transaction.
    pub unlock_asap: bool,
}

impl Default for Wishes {
    fn default() -> Wishes {
        Wishes {
            mode: ModeWish::Auto,
            lease_ms: lease::DEFAULT_MS,
            recovery_wait: true,
            force_fs: false,
            linger_ms: None,
            unlock_asap: false,
        }
    }
}

/// Longest time for which an unused lock can be kept.
const LINGER_MAX_MS: u64 = 60_000;

/// Every parameter, with what it takes.
const VALID: [(&str, &str); 6] = [
    ("coord_mode", "auto, trusted or network-exclusive"),
    ("coord_lease_ms", "a number of milliseconds from 1000 to 3600000"),
    ("coord_recovery_wait", "0 or 1"),
    ("coord_force_fs", "0 or 1"),
    ("coord_linger_ms", "a number of milliseconds from 0 to 60000, or auto"),
    ("coord_unlock_asap", "0 or 1"),
];

impl Wishes {
    /// `uri`: the parameters of the database's URI. `variable`: looks an environment variable up.
    ///
    /// # Errors
    /// What is wrong, and what is right.
    pub fn read(uri: &[(Vec<u8>, Vec<u8>)], variable: impl Fn(&str) -> Option<String>) -> Result<Wishes, String> {
        let mut wishes = Wishes::default();
        for (key, _) in VALID {
            let name = key.to_ascii_uppercase();
            if let Some(value) = variable(&name).filter(|value| !value.is_empty()) {
                wishes.set(key, &value).map_err(|takes| wrong("environment variable", &name, &value, takes))?;
            }
        }
        for (nth, (key, value)) in uri.iter().enumerate() {
            let first = uri[..nth].iter().find(|(other, _)| other == key);
            let (key, value) = (String::from_utf8_lossy(key), String::from_utf8_lossy(value));
            if !key.starts_with("coord_") {
                continue;
            }
            if !VALID.iter().any(|(valid, _)| *valid == key) {
                return Err(unknown(&key));
            }
            if let Some(first) = first.filter(|(_, first)| *first != value.as_bytes()) {
                return Err(twice(&key, &String::from_utf8_lossy(&first.1), &value));
            }
            wishes.set(&key, &value).map_err(|takes| wrong("URI parameter", &key, &value, takes))?;
        }
        Ok(wishes)
    }

    /// How long an unused lock is kept; `None`: by what taking it costs.
    pub fn linger(&self) -> Option<Duration> {
        if self.unlock_asap { Some(Duration::ZERO) } else { self.linger_ms.map(Duration::from_millis) }
    }

    /// Sets how long an unused lock is kept, as `coord_linger_ms` does.
    ///
    /// # Errors
    /// What it takes.
    pub fn set_linger(&mut self, value: &str) -> Result<(), &'static str> {
        self.set("coord_linger_ms", value)?;
        self.unlock_asap = false;
        Ok(())
    }

    fn set(&mut self, key: &str, value: &str) -> Result<(), &'static str> {
        let takes = VALID.iter().find(|(valid, _)| *valid == key).map_or("", |(_, takes)| takes);
        let flag = || match value {
            "0" => Ok(false),
            "1" => Ok(true),
            _ => Err(takes),
        };
        match key {
            "coord_mode" => {
                self.mode = match value {
                    "auto" => ModeWish::Auto,
                    "trusted" => ModeWish::Trusted,
                    "network-exclusive" => ModeWish::NetworkExclusive,
                    _ => return Err(takes),
                }
            }
            "coord_lease_ms" => {
                let number = value.parse().ok().filter(|ms| (lease::MIN_MS..=lease::MAX_MS).contains(ms));
                self.lease_ms = number.ok_or(takes)?;
            }
            "coord_recovery_wait" => self.recovery_wait = flag()?,
            "coord_linger_ms" => self.linger_ms = linger(value).ok_or(takes)?,
            "coord_unlock_asap" => self.unlock_asap = flag()?,
            _ => self.force_fs = flag()?,
        }
        Ok(())
    }
}

/// `auto`, or milliseconds within the limit.
fn linger(value: &str) -> Option<Option<u64>> {
    match value {
        "auto" => Some(None),
        number => number.parse().ok().filter(|ms| *ms <= LINGER_MAX_MS).map(Some),
    }
}

fn wrong(what: &str, key: &str, value: &str, takes: &str) -> String {
    format!("{what} {key}={value} is not understood: it takes {takes}")
}

/// SQLite goes by the first of two, which is not what everybody expects.
fn twice(key: &str, first: &str, second: &str) -> String {
    format!("URI parameter {key} is given twice, as {first} and as {second}: leave one of them out")
}

fn unknown(key: &str) -> String {
    let mut text = format!("there is no URI parameter {key}; there are");
    for (position, (valid, takes)) in VALID.iter().enumerate() {
        let separator = if position == 0 { " " } else { "; " };
        let _ = write!(text, "{separator}{valid} ({takes})");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(uri: &[(&str, &str)], environment: &[(&str, &str)]) -> Result<Wishes, String> {
        let uri: Vec<_> = uri.iter().map(|(key, value)| (key.as_bytes().to_vec(), value.as_bytes().to_vec())).collect();
        Wishes::read(&uri, |name| {
            environment.iter().find(|(key, _)| *key == name).map(|(_, value)| (*value).to_string())
        })
    }

    #[test]
    fn the_uri_wins_over_the_environment() {
        let wishes = read(
            &[("vfs", "coord"), ("coord_lease_ms", "2000"), ("mode", "rw")],
            &[("COORD_LEASE_MS", "5000"), ("COORD_MODE", "network-exclusive"), ("COORD_RECOVERY_WAIT", "0")],
        )
        .unwrap();
        assert_eq!(wishes.lease_ms, 2000);
        assert_eq!(wishes.mode, ModeWish::NetworkExclusive);
        assert!(!wishes.recovery_wait && !wishes.force_fs);
    }

    #[test]
    fn errors_list_what_is_valid() {
        let error = read(&[("coord_lease", "3")], &[]).unwrap_err();
        for (valid, _) in VALID {
            assert!(error.contains(valid), "{error}");
        }
        let error = read(&[("coord_mode", "trusted"), ("coord_mode", "auto")], &[]).unwrap_err();
        assert!(error.contains("coord_mode is given twice, as trusted and as auto"), "{error}");
        read(&[("coord_mode", "trusted"), ("mode", "rw"), ("mode", "ro"), ("coord_mode", "trusted")], &[]).unwrap();
        for (key, value) in [
            ("coord_mode", "wal"),
            ("coord_mode", ""),
            ("coord_lease_ms", "999"),
            ("coord_lease_ms", "3600001"),
            ("coord_lease_ms", "-1"),
            ("coord_lease_ms", "30s"),
            ("coord_recovery_wait", "yes"),
            ("coord_force_fs", "2"),
            ("coord_linger_ms", "60001"),
            ("coord_linger_ms", "-1"),
            ("coord_linger_ms", "long"),
            ("coord_unlock_asap", "true"),
        ] {
            let error = read(&[(key, value)], &[]).unwrap_err();
            assert!(error.contains(key) && error.contains("it takes"), "{error}");
            let upper = key.to_ascii_uppercase();
            if !value.is_empty() {
                assert!(read(&[], &[(&upper, value)]).unwrap_err().contains(&upper));
            }
        }
    }
}
