//! File names in the layout that SQLite hands to `xOpen` of a VFS.
//!
//! The name of a main database is more than a C text: its URI parameters follow it, each a key and a value, until an empty
//! key. VFS code looks behind names for them, so a name of our own must have the same shape.

use std::ffi::{CStr, c_char};

/// More parameters than a URI for a person or program would have.
const PARAMETERS_MAX: usize = 256;

/// Longer than any key or value that means something to a VFS.
const PARAMETER_BYTES_MAX: usize = 64 * 1024;

/// The path itself: the part of a name that ordinary C code sees.
///
/// # Safety
/// `name` is a C text that is alive and unchanged for `'a`.
pub unsafe fn path_of<'a>(name: *const c_char) -> &'a CStr {
    // SAFETY: the caller's promise.
    unsafe { CStr::from_ptr(name) }
}

/// The URI parameters behind the name of a main database, in their order, percent signs already decoded by the host. `None` if their
/// number or a length is beyond all reason: a damaged name does not lead through all memory, and no parameter goes unseen.
///
/// # Safety
/// `name` is null, or a name that a host has handed to `xOpen` with `SQLITE_OPEN_MAIN_DB`, still alive. **Other names (of
/// journals, of temporary files, of `xDelete` or `xAccess`) need not have parameters, nor an end to them.**
pub unsafe fn uri_parameters(name: *const c_char) -> Option<Vec<(Vec<u8>, Vec<u8>)>> {
    let mut parameters = Vec::new();
    if name.is_null() {
        return Some(parameters);
    }
    // SAFETY: a name begins with a C text, and the caller promises that parameters follow its end.
    let mut next = unsafe { name.add(path_of(name).count_bytes() + 1) };
    loop {
        // SAFETY: after the name and after each value there is a key, empty for the last.
        let key = unsafe { bounded(next) }?;
        if key.is_empty() {
            return Some(parameters);
        }
        if parameters.len() == PARAMETERS_MAX {
            return None;
        }
        // SAFETY: a key that is not empty is followed by a value.
        let value = unsafe { bounded(next.add(key.len() + 1)) }?;
        // SAFETY: past the ends of both, the next key begins.
        next = unsafe { next.add(key.len() + value.len() + 2) };
        parameters.push((key, value));
    }
}

/// A copy of the C text at `start`, `None` if it does not end within the limit.
///
/// # Safety
/// `start` is a C text, or at least as many readable bytes as the limit.
unsafe fn bounded(start: *const c_char) -> Option<Vec<u8>> {
    let mut text = Vec::new();
    while text.len() < PARAMETER_BYTES_MAX {
        // SAFETY: not past the text's end, which would have ended the loop.
        match unsafe { start.add(text.len()).read() } as u8 {
            0 => return Some(text),
            byte => text.push(byte),
        }
    }
    None
}

/// A path of our own, in the layout of a host's name: for files that we open beneath the host and that may outlive the memory
/// in which the host keeps its names.
///
/// Four zero bytes come before it, by which SQLite finds the beginning of a name; after its end come the parameters with an empty
/// key behind them, the journal's name and the WAL's, both empty if it is not a database's.
pub struct OwnedName(Box<[u8]>);

const BEFORE: usize = 4;

impl OwnedName {
    /// A copy of `path`.
    pub fn new(path: &CStr) -> OwnedName {
        OwnedName::of_parts(path.to_bytes(), &[], ["", ""])
    }

    /// `path` in the layout of a main database's name, with the parameters of `name`, which is one.
    ///
    /// # Safety
    /// As [`uri_parameters`].
    pub unsafe fn of_database(path: &CStr, name: *const c_char) -> OwnedName {
        // SAFETY: the caller's promise.
        let parameters = unsafe { uri_parameters(name) };
        OwnedName::of_parts(path.to_bytes(), &parameters.unwrap_or_default(), ["-journal", "-wal"])
    }

    /// `beside`: what is put to the path for the names of journal and WAL.
    fn of_parts(path: &[u8], parameters: &[(Vec<u8>, Vec<u8>)], beside: [&str; 2]) -> OwnedName {
        let mut bytes = vec![0; BEFORE];
        let mut add = |parts: &[&[u8]]| {
            parts.iter().for_each(|part| bytes.extend_from_slice(part));
            bytes.push(0);
        };
        add(&[path]);
        for (key, value) in parameters {
            add(&[key]);
            add(&[value]);
        }
        add(&[]);
        for suffix in beside {
            let path = if suffix.is_empty() { &[][..] } else { path };
            add(&[path, suffix.as_bytes()]);
        }
        OwnedName(bytes.into_boxed_slice())
    }

    /// For `xOpen` and its likes. Valid until this value is dropped; moving the value does not move the name.
    pub fn as_ptr(&self) -> *const c_char {
        self.0[BEFORE..].as_ptr().cast()
    }

    /// The path alone.
    pub fn path(&self) -> &CStr {
        CStr::from_bytes_until_nul(&self.0[BEFORE..]).unwrap_or(c"")
    }
}

impl std::fmt::Debug for OwnedName {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.path().fmt(formatter)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(block: &[u8]) -> Option<Vec<(Vec<u8>, Vec<u8>)>> {
        // SAFETY: the tests' blocks have the shape that is asked for.
        unsafe { uri_parameters(block.as_ptr().cast()) }
    }

    #[test]
    fn parameters_follow_the_name() {
        let found = parse(b"/a/b.db\0vfs\0coord\0empty\0\0mode\0ro\0\0");
        let expected: Vec<(Vec<u8>, Vec<u8>)> =
            [("vfs", "coord"), ("empty", ""), ("mode", "ro")].map(|(key, value)| (key.into(), value.into())).into();
        assert_eq!(found, Some(expected));
        assert_eq!(parse(b"/a/b.db\0\0"), Some(Vec::new()));
        // SAFETY: null is allowed.
        assert_eq!(unsafe { uri_parameters(std::ptr::null()) }, Some(Vec::new()));
    }

    /// A block without an end, or with far too much in it, is not followed for ever, and not taken for one with less in it.
    #[test]
    fn limits_hold() {
        for (count, read) in [(PARAMETERS_MAX, true), (PARAMETERS_MAX + 1, false)] {
            let mut many = b"n\0".to_vec();
            many.extend(b"k\0v\0".repeat(count));
            many.push(0);
            assert_eq!(parse(&many).is_some_and(|found| found.len() == count), read);
        }

        let mut long = b"n\0k\0".to_vec();
        long.extend(std::iter::repeat_n(b'v', PARAMETER_BYTES_MAX));
        assert_eq!(parse(&long), None);
    }

    #[test]
    fn a_database_is_copied_with_all_that_belongs_to_it() {
        for name in [&b"/a/b.db\0vfs\0coord\0empty\0\0\0"[..], b"/a/b.db\0\0"] {
            // SAFETY: the layout of a database's name.
            let copy = unsafe { OwnedName::of_database(c"/a/b.db", name.as_ptr().cast()) };
            let expected = [b"\0\0\0\0", name, b"/a/b.db-journal\0/a/b.db-wal\0"].concat();
            assert_eq!(copy.0[..], expected[..]);
            assert_eq!(copy.path(), c"/a/b.db");
        }
    }

    #[test]
    fn own_names_have_the_layout() {
        let name = OwnedName::new(c"/a/b.db");
        let start = name.as_ptr();
        assert_eq!(name.path(), c"/a/b.db");
        assert_eq!(&*name.0, b"\0\0\0\0/a/b.db\0\0\0\0");
        let moved = Box::new(name);
        assert_eq!(moved.as_ptr(), start);
        // SAFETY: the name has the layout of a main database's.
        assert_eq!(unsafe { uri_parameters(moved.as_ptr()) }, Some(Vec::new()));
    }
}
