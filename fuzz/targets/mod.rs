//! What is fuzzed: one function a target, which takes any bytes and panics if a property does not hold. Used by the fuzzers in
//! `fuzz_targets` and by `tests/fuzzing.rs`.

#![allow(dead_code)] // Each fuzzer uses one of them.

pub mod beat;
pub mod calls;
mod input;
pub mod names;
pub mod parameters;
pub mod world;

/// A target and the name of its fuzzer and of its corpus.
pub type Target = (&'static str, fn(&[u8]));

pub const ALL: [Target; 4] =
    [("beat", beat::run), ("names", names::run), ("parameters", parameters::run), ("calls", calls::run)];
