//! Is this filesystem fit for coord, and in which mode? Behind `coord check` and `SELECT coord_check('dir')`.
//!
//! What class a filesystem is of, and why, is said in one place, [`crate::storage::kind`], which is all that the shim asks when
//! it opens a database. The check starts from the same answer and adds what it has measured: it asks of the filesystem,
//! through [`Storage`], exactly the operations that the protocol rests on, and looks whether they do what [`Storage`] promises.
//!
//! One host ([`one_host`]) can find out much, but not what another host sees: for that two run at once ([`with_peer`]), find each
//! other through the directory, and go through every promise that one client makes to another.
//!
//! **A check finds what is wrong often enough to be seen in some hundred rounds.** It does not show what a server keeps after
//! a power cut, nor what arrives late from a host that was frozen.

use std::path::Path;

use crate::storage::Storage;

mod bench;
mod leftovers;
mod peer;
mod place;
mod report;
mod solo;
#[cfg(test)]
mod tests;
mod verdict;

pub use bench::{Trouble, Watch};
pub use peer::{Together, with_peer};
pub use report::{Finding, Host, Latency, Outcome, Report, Verdict};

use place::Place;

/// Asks a directory's filesystem all that one host can ask.
///
/// # Errors
/// [`Trouble`] if the check could not be carried out. What it made is removed in any case, or named.
pub fn one_host(storage: &dyn Storage, dir: &Path, watch: &Watch) -> Result<Report, Trouble> {
    let started = storage.now();
    let mut place = Place::make(storage, dir, place::SOLO)?;
    let checked = solo::check(storage, &place, watch);
    let left = place.clear();
    let checked = checked.map_err(|trouble| trouble.leaving(left.clone()))?;
    let mut report = Report::new(storage, dir, vec![checked], None);
    report.notes.append(&mut left.into_iter().chain(place.notes()).collect());
    report.seconds = storage.now().since(started).as_secs_f64();
    Ok(report)
}
