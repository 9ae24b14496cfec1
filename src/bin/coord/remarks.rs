//! What a look at a database's files tells beside its locks.

use coord::protocol::Paths;
use coord::vfs::foreseen_refusal;
use std::fs;
use std::io::{self, ErrorKind, Read};
use std::path::Path;

/// How every database begins that is not encrypted (<https://www.sqlite.org/fileformat2.html#magic_header_string>).
const MAGIC: &[u8] = b"SQLite format 3\0";

/// Why it could not be opened through coord by this user, or by who has no key to it.
pub fn obstacle(database: &Path) -> Option<String> {
    let shown = database.display();
    foreseen_refusal(database).or_else(|| match beginning(database, MAGIC.len()) {
        Ok(begins) if begins.is_empty() || begins == MAGIC => None,
        Ok(_) => Some(format!("{shown} does not begin like a SQLite database: it is encrypted, or something else")),
        // A takeover may have it aside.
        Err(error) if error.kind() == ErrorKind::NotFound => None,
        Err(error) => Some(format!("{shown} cannot be read: {error}")),
    })
}

/// Whether there is a journal that SQLite would roll back, as far as its first bytes say.
///
/// # Errors
/// `InvalidInput` if it is not a regular file.
pub fn journal_is_hot(paths: &Paths) -> io::Result<bool> {
    match paths.journal.symlink_metadata() {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(false),
        Err(error) => return Err(error),
        Ok(found) if !found.is_file() => return Err(ErrorKind::InvalidInput.into()),
        Ok(_) => {}
    }
    Ok(beginning(&paths.journal, 8)?.iter().any(|byte| *byte != 0))
}

fn beginning(path: &Path, length: usize) -> io::Result<Vec<u8>> {
    let mut begins = Vec::new();
    fs::File::open(path)?.take(length as u64).read_to_end(&mut begins)?;
    Ok(begins)
}
