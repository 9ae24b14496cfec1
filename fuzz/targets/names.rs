//! The grammar of names: what is taken for one of ours is written exactly so, and what we write is understood.

use super::input::Input;
use coord::protocol::names::{Copy, HOST_MAX, Kind, Name, NodeId};
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;

pub fn run(data: &[u8]) {
    if let Some(name) = Name::parse(OsStr::from_bytes(data)) {
        assert_eq!(name.to_string().as_bytes(), data, "two spellings of one name");
        assert!(name.node.host.len() <= HOST_MAX);
    }
    let mut input = Input(data);
    let (hostname, boot) = (input.text(), input.text());
    let node = NodeId::new(&hostname, &boot, input.number() as u32, input.number());
    let kinds = [
        Kind::Write,
        Kind::New,
        Kind::Reader,
        Kind::Exclusive,
        Kind::Epoch,
        Kind::Beat { lease_ms: input.number() },
        Kind::Deposed { by: input.number(), m: input.number() },
        Kind::Fence(Copy::Journal),
        Kind::Fence(Copy::Database),
        Kind::Fence(Copy::Ready),
    ];
    let name = Name { node, n: input.number(), kind: input.pick(&kinds) };
    let text = name.to_string();
    assert!(text.len() <= 143, "too long for some filesystems: {text}");
    assert!(!text.contains('/'), "{text}");
    assert_eq!(Name::parse(OsStr::new(&text)), Some(name), "{text}");
    // One byte of it changed: a stranger's, or another of ours, but never the same one again.
    let (at, byte) = (input.below(text.len()), input.byte().unwrap_or(0));
    let mut other = text.clone().into_bytes();
    other[at] = byte;
    if let Some(other_name) = Name::parse(OsStr::from_bytes(&other)) {
        assert_eq!(other_name.to_string().into_bytes(), other, "two spellings of one name");
    }
}
