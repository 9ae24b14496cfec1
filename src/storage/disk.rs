//! Real files and the real clock.
