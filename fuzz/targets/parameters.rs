//! The parameters of a URI, as SQLite lays them out behind a database's name.

use super::input::Input;
use coord::host::uri_parameters;
use coord::lock::{ModeWish, Wishes};
use coord::protocol::lease;

const KEYS: [&str; 8] =
    ["coord_mode", "coord_lease_ms", "coord_recovery_wait", "coord_force_fs", "coord_", "coord_Mode", "vfs", "mode"];
const VALUES: [&str; 10] =
    ["auto", "trusted", "network-exclusive", "0", "1", "1000", "3600000", "+1000", "18446744073709551616", ""];

pub fn run(data: &[u8]) {
    let mut input = Input(data);
    let variables: Vec<(String, String)> =
        (0..input.below(3)).map(|_| (key(&mut input).to_uppercase(), value(&mut input))).collect();
    let mut wanted = Vec::new();
    while !input.0.is_empty() && wanted.len() < 300 {
        wanted.push((key(&mut input).into_bytes(), value(&mut input).into_bytes()));
    }
    // A name, then keys and values each with a zero at its end, then an empty key.
    let mut block = b"/tmp/x\0".to_vec();
    for (key, value) in &wanted {
        block.extend([key.as_slice(), b"\0", value, b"\0"].concat());
    }
    block.extend([0; 4]);
    // SAFETY: a name in SQLite's layout.
    let read = unsafe { uri_parameters(block.as_ptr().cast()) };
    // An empty key ends them, as it does for SQLite.
    let until = wanted.iter().position(|(key, _)| key.is_empty()).unwrap_or(wanted.len());
    let Some(read) = read else {
        assert!(until > 256, "so few are not too many");
        return;
    };
    assert_eq!(read, wanted[..until]);

    let variable = |name: &str| variables.iter().find(|(key, _)| key == name).map(|(_, value)| value.clone());
    let last = |key: &str| read.iter().rev().find(|(k, _)| k == key.as_bytes()).map(|(_, value)| value.as_slice());
    match Wishes::read(&read, variable) {
        Ok(wishes) => {
            assert!((lease::MIN_MS..=lease::MAX_MS).contains(&wishes.lease_ms));
            let known = |key: &[u8]| KEYS[..4].iter().any(|known| known.as_bytes() == key);
            let foreign = read.iter().find(|(key, _)| key.starts_with(b"coord_") && !known(key));
            assert_eq!(foreign, None, "an unknown parameter is not refused");
            let mode = match last("coord_mode") {
                None => wishes.mode,
                Some(b"auto") => ModeWish::Auto,
                Some(b"trusted") => ModeWish::Trusted,
                Some(b"network-exclusive") => ModeWish::NetworkExclusive,
                Some(other) => panic!("taken for a mode: {other:?}"),
            };
            assert_eq!(wishes.mode, mode, "the URI does not win");
        }
        Err(text) => {
            // What follows "coord: … is not opened: ".
            let begins = ["URI parameter ", "environment variable ", "there is no URI parameter "];
            assert!(begins.iter().any(|begin| text.starts_with(begin)) && text.len() > 20, "{text}");
        }
    }
}

fn key(input: &mut Input) -> String {
    match input.below(10) {
        at if at < KEYS.len() => KEYS[at].to_owned(),
        _ => input.text().replace('\0', "?"),
    }
}

fn value(input: &mut Input) -> String {
    match input.below(12) {
        at if at < VALUES.len() => VALUES[at].to_owned(),
        _ => input.text().replace('\0', "?"),
    }
}
