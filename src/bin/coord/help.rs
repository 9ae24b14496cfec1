//! The texts of `coord help`.

use crate::args::Topic;

pub fn text(topic: Topic) -> &'static str {
    match topic {
        Topic::All => ALL,
        Topic::Demo => DEMO,
        Topic::Inspect => INSPECT,
        Topic::Bench => BENCH,
    }
}

const ALL: &str = "\
coord: share an ordinary SQLite file where file locks are broken, missing or local to a node

Usage:
  coord demo [options]          try it: real processes, kills and freezes, and a verdict
  coord inspect PATH [--json]   who holds what on a database, since when, alive or not
  coord bench [options]         how fast, how fair, how many system calls, against SQLite's own locks
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

const BENCH: &str = "\
coord bench: the same workloads through coord and through SQLite's own VFSes, alternated within one run

Usage: coord bench [--dir DIR] [--against VFS,...] [--workloads NAME,...] [--rounds N] [--millis MS] [--json]

  --dir DIR         make a new directory in DIR and remove it at the end; any filesystem   [the temporary directory]
  --against VFS     unix, unix-dotfile, unix-excl, unix-none; the first is what the others are compared with   [unix]
  --workloads NAME  r1, w1-off, w1-normal, w1-full, w1-extra, rN, wN, mix, open, load, scan, mixture   [all]
  --rounds N        1 to 1000; each configuration runs once a round, the order changes   [5]
  --millis MS       length of one run, 10 to 600000   [400]
  --json            one JSON object at the end and nothing else

Each configuration has an identical database of its own. coord runs in network-exclusive mode and, where the filesystem is
local, in trusted mode too. Ratios are medians of the rounds' ratios, with the least and the greatest; times are medians
of the rounds, max is the greatest of all. System calls are those of one turn, counted by tracing a process of its own.

Exit status: 0 it ran; 2 it could not.
";
