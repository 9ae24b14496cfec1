//! Where figures come from: machine, filesystem, versions, date. Nothing of it is typed in by hand.

use serde::Serialize;
use std::path::Path;

#[derive(Debug, Serialize)]
pub struct Machine {
    pub date: String,
    pub kernel: String,
    pub cpus: usize,
    pub processor: String,
    pub memory_kib: u64,
    pub load: String,
    pub filesystem: String,
    /// Not on a network, nor passed in from another machine.
    pub local: bool,
    pub directory: String,
    pub sqlite: String,
    pub coord: String,
}

fn read(path: &str) -> String {
    std::fs::read_to_string(path).unwrap_or_default().trim().to_string()
}

/// The value of the first line that begins with `key` and a colon.
fn field(text: &str, key: &str) -> String {
    let line = text.lines().find(|line| line.starts_with(key));
    line.and_then(|line| line.split_once(':')).map_or(String::new(), |(_, value)| value.trim().to_string())
}

impl Machine {
    pub fn here(dir: &Path) -> Machine {
        let storage = coord::lock::storage();
        let memory = field(&read("/proc/meminfo"), "MemTotal");
        let kind = storage.kind(dir);
        Machine {
            date: storage.date(),
            kernel: read("/proc/sys/kernel/osrelease"),
            cpus: std::thread::available_parallelism().map_or(0, usize::from),
            processor: field(&read("/proc/cpuinfo"), "model name"),
            memory_kib: memory.split(' ').next().and_then(|kib| kib.parse().ok()).unwrap_or(0),
            load: read("/proc/loadavg").split(' ').take(3).collect::<Vec<_>>().join(" "),
            local: kind.is_local(),
            filesystem: kind.name,
            directory: dir.display().to_string(),
            sqlite: rusqlite::version().to_string(),
            coord: env!("CARGO_PKG_VERSION").to_string(),
        }
    }
}
