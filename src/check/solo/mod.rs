//! What one host can ask: of names ([`names`]), of data ([`data`]), of a file's replacement ([`replace`](mod@replace)), and how long each operation takes ([`latency`]).

use super::bench::{Bench, Trouble, Watch};
use super::place::Place;
use super::report::Host;
use crate::storage::Storage;

mod data;
mod latency;
mod names;
mod replace;

pub(super) use data::{PAGE, PAGES, content, make, whole};
pub(super) use names::{Got, got, settle, settled_names, still_there};
pub(super) use replace::{Files, Way, replace, stays_closed};

/// Every step, whatever the ones before have found.
pub(super) fn check(storage: &dyn Storage, place: &Place, watch: &Watch) -> Result<Host, Trouble> {
    let bench = Bench::new(storage, place, watch);
    let kind = storage.kind(&place.root);
    let mut findings = names::check(&bench)?;
    findings.append(&mut data::check(&bench, &kind)?);
    findings.extend(latency::measure(&bench)?);
    Ok(Host::new(storage.process(), &kind, findings, bench.latencies()))
}
