//! What an open database costs while nobody uses it: memory, threads, wake-ups.

use super::fleet::Process;
use super::probe::{Crowd, DATABASES, NUMBER, Probe};
use super::{Configuration, workload};
use serde::Serialize;
use std::path::Path;

pub const NAME: &str = "footprint";

#[derive(Debug, Serialize)]
pub struct Footprint {
    pub databases: usize,
    pub results: Vec<Cost>,
}

#[derive(Debug, Serialize)]
pub struct Cost {
    pub configuration: String,
    #[serde(flatten)]
    pub crowd: Crowd,
    /// KiB for each database beyond what the first configuration needs: of heap or of resident memory, whichever grew more.
    pub more_kib: Option<f64>,
}

pub fn measure(dir: &Path, configurations: &[Configuration]) -> Result<Footprint, String> {
    let mut results: Vec<Cost> = Vec::new();
    for configuration in configurations {
        let crowd = of(dir, configuration).map_err(|error| format!("footprint of {}: {error}", configuration.name))?;
        let more_kib = results.first().map(|first| more(&crowd, &first.crowd));
        results.push(Cost { configuration: configuration.name.clone(), crowd, more_kib });
    }
    Ok(Footprint { databases: DATABASES, results })
}

fn more(crowd: &Crowd, first: &Crowd) -> f64 {
    let resident = crowd.resident_kib - first.resident_kib;
    let heap = crowd.heap_kib.zip(first.heap_kib).map(|(ours, theirs)| ours - theirs);
    heap.map_or(resident, |heap| heap.max(resident)).max(0.0)
}

fn of(dir: &Path, configuration: &Configuration) -> Result<Crowd, String> {
    let dir = dir.join(format!("{}-crowd", configuration.name));
    std::fs::create_dir(&dir).map_err(|error| format!("cannot make {}: {error}", dir.display()))?;
    let numbered =
        |number: &str| Configuration { name: number.to_string(), parameters: configuration.parameters.clone() };
    let plain = Configuration { name: "0".to_string(), parameters: "vfs=unix".to_string() };
    workload::prepare_small(&plain.uri(&dir)).map_err(|error| format!("cannot make a database: {error}"))?;
    for number in 1..=DATABASES {
        let to = numbered(&number.to_string()).database(&dir);
        std::fs::copy(plain.database(&dir), &to).map_err(|error| format!("cannot make {}: {error}", to.display()))?;
    }
    let mut process = Process::start(Probe::Crowd.command(&numbered(NUMBER).uri(&dir))?)?;
    let said = process.line()?;
    let crowd = serde_json::from_str(&said).map_err(|error| format!("a process said {said:?}: {error}"))?;
    process.end()?;
    let _ = std::fs::remove_dir_all(&dir);
    Ok(crowd)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_greater_growth_counts_and_never_less_than_nothing() {
        let crowd =
            |heap: Option<f64>, resident: f64| Crowd { heap_kib: heap, resident_kib: resident, ..Crowd::default() };
        assert!((more(&crowd(Some(9.0), 8.0), &crowd(Some(4.0), 4.0)) - 5.0).abs() < 1e-9);
        assert!((more(&crowd(None, 8.0), &crowd(None, 4.0)) - 4.0).abs() < 1e-9);
        assert!(more(&crowd(None, 3.0), &crowd(None, 4.0)).abs() < 1e-9);
    }
}
