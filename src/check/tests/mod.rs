//! Each step of a check against a filesystem with the defect that it is there to find: the negative controls of the check
//! itself. And that a check leaves nothing behind, whatever happens to it.

mod faulty;
mod solo;
mod together;
mod traces;

/// A new directory, in memory where there is such a place: what is checked here is the check, not the disk.
fn dir() -> tempfile::TempDir {
    tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).unwrap()
}
