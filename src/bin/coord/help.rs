//! The texts of `coord help`.

use crate::args::Topic;

pub fn text(topic: Topic) -> &'static str {
    match topic {
        Topic::All => ALL,
        Topic::Demo => DEMO,
        Topic::Inspect => INSPECT,
    }
}

const ALL: &str = "\
coord: share an ordinary SQLite file where file locks are broken, missing or local to a node

Usage:
  coord demo [options]          try it: real processes, kills and freezes, and a verdict
  coord inspect PATH [--json]   who holds what on a database, since when, alive or not
  coord help [COMMAND]          this text, or a command's own
  coord --version

Exit status: 0 all is well; 1 something is not; 2 the command could not run.
";

const DEMO: &str = "\
coord demo: real processes share one new database through coord while one is killed and one is frozen

Usage: coord demo [--dir DIR] [--processes N] [--seconds S] [--lease-ms MS] [--json] [--keep]

  --dir DIR       put the database DIR/demo.sqlite there, on any filesystem, NFS and SMB included; DIR is made
                  if need be, an existing database is refused   [a new directory under the temporary one]
  --processes N   writers, 2 to 64; two readers come on top   [6]
  --seconds S     1 to 3600; a run goes on until the frozen writer has come back   [15]
  --lease-ms MS   how long a silent process keeps its locks, 1000 to 3600000   [1500]
  --json          one JSON object at the end and nothing else
  --keep          leave the database where it is

Each writer moves money between accounts, one transaction at a time, and says which commits returned OK. After a
third of the time one is killed with SIGKILL in the middle of a commit, its database half written. After half of it
another is stopped at the same point for two leases, then continued. Readers check every sum. At the end each reported
commit must be in the database, the balance must be right, integrity_check must say ok, no lock may be left.

Exit status: 0 all of it held; 1 something did not (the files are kept); 2 it could not run; 130 interrupted.
NO_COLOR is honoured; when stdout is not a terminal, one plain line a second is written.
";

const INSPECT: &str = "\
coord inspect: who holds what on a database, read from the files beside it; changes nothing

Usage: coord inspect PATH [--json]

  PATH     the database file
  --json   the same as one JSON object

Exit status: 0 nothing needs attention; 1 something is stale or unknown; 2 it could not be read.
";
