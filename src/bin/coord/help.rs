//! The texts of `coord help`.

use crate::args::Topic;

pub fn text(topic: Topic) -> &'static str {
    match topic {
        Topic::All => ALL,
        Topic::Demo => DEMO,
        Topic::Inspect => INSPECT,
        Topic::Bench => BENCH,
        Topic::Check => CHECK,
        Topic::Detach => DETACH,
    }
}

const ALL: &str = "\
coord: share an ordinary SQLite file where file locks are broken, missing or local to a node

Usage:
  coord demo [options]          try it: real processes, kills and freezes, and a verdict
  coord inspect PATH [--json]   who holds what on a database, and whether that is alive
  coord bench [options]         how fast, how fair, how many system calls, against SQLite's own locks
  coord check DIR [options]     is the filesystem that DIR is on fit for coord, and in which mode?
  coord detach PATH [options]   give a database back to plain SQLite
  coord help [COMMAND]          this text, or a command's own
  coord --version

Exit status: 0 all is well; 1 something is not; 2 the command could not run. `coord check` has more.
With --json, a command that could not run says {\"error\": \"…\"} on stdout as well; wrong usage is told on stderr only.
";

const DEMO: &str = "\
coord demo: real processes share one new database through coord while one is killed and one is frozen

Usage: coord demo [--dir DIR] [--processes N] [--seconds S] [--lease-ms MS] [--json] [--keep]

  --dir DIR       put the database DIR/demo.sqlite there, on any filesystem, NFS included; DIR is made
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
coord inspect: who holds what on a database, read from the files beside it; changes nothing. Outside network-exclusive
mode also who has SQLite's own locks (native-shared, -reserved, -pending, -exclusive), of the processes of this host

Usage: coord inspect PATH [--json]

  PATH     the database file
  --json   the same as one JSON object

OPEN FOR is how long that program has had the database open, not how long it has had the lock. A process of another host is
`unknown` at first: look again after a lease.

Exit status: 0 nothing needs attention; 1 something is dead, silent, deposed, no name of
coord's, or keeps the database from being opened as it is; 2 it could not be read.
";

const DETACH: &str = "\
coord detach: give a database that is in network-exclusive mode back to plain SQLite

Usage: coord detach PATH [--dry-run] [--json]

  PATH       the database file
  --dry-run  look, say what would be done, change nothing
  --json     the same as one JSON object

Close every program that uses the database first, on every host. It opens the database through coord and locks it, which
rolls back what was not committed and finishes what a process that died in the middle of a takeover has left: until then the
database itself may lie in PATH.lock or PATH.readers, so remove nothing there by hand. Then it removes the names of the
dead and PATH.readers. PATH-journal may stay, empty or beginning with zeros: no SQLite takes that for a journal.

It refuses as long as anybody may have the database open, and says who, where, and what to do. Of a process of another
host it cannot know whether that has ended: before it locks anything it watches for a lease at most whether its heartbeat
moves. If that stands still, wait and run it again, or have somebody look on that host. A dry run does not watch. A program
that has opened the database and not used it yet leaves no sign: it would put it into network-exclusive mode again, beside
whoever uses it then.

Exit status: 0 done, or there was nothing to do; 1 refused; 2 it could not run; 130 interrupted, no lock is left behind.
";

const BENCH: &str = "\
coord bench: the same workloads through coord and through SQLite's own VFSes, alternated within one run

Usage: coord bench [--dir DIR] [--against VFS,...] [--workloads NAME,...] [--rounds N] [--millis MS]
                   [--json | --markdown] [--svg FILE]

  --dir DIR         make a new directory in DIR and remove it at the end; any filesystem   [the temporary directory]
  --against VFS     unix, unix-dotfile, unix-excl, unix-none; the first is what the others are compared with   [unix]
  --workloads NAME  r1, w1-off, w1-normal, w1-full, w1-extra, rN, wN, mix, open, load, scan, mixture, takeover,
                    footprint, requests   [all]
  --rounds N        1 to 1000; each configuration runs once a round, the order changes   [5]
  --millis MS       length of one run, 10 to 600000   [400]
  --json            one JSON object at the end and nothing else
  --markdown        the report as a document, as in docs/performance.md
  --svg FILE        draw the distributions of latencies and each process's share there, and replace what FILE was

Each configuration has an identical database of its own. coord runs in network-exclusive mode and, where the filesystem is
local, in trusted mode too. Ratios are medians of the rounds' ratios, with the least and the greatest; times are medians
of the rounds, max is the greatest of all. System calls are those of one turn, counted by tracing a process of its own.
takeover kills processes that hold a lock and takes the time until another one has it; footprint opens 200 databases and
looks at memory, threads and wake-ups; requests mounts a FUSE filesystem (bindfs, if it is installed) over a directory of
its own and counts what a read and a small write ask of it. At the end each of the project's bars that this run could
measure is compared.

Exit status: 0 it ran; 2 it could not; 130 interrupted.
";

const CHECK: &str = "\
coord check: is the filesystem that DIR is on fit for coord, and in which mode?

Usage: coord check DIR [--peer] [--rounds N] [--wait S] [--json]

  DIR          the directory that a database is in, or will be
  --peer       two hosts check together: start this on both, with DIR as each of them sees it, in any order; they
               find each other through the directory
  --rounds N   with --peer: how often each race and each hand-over is tried, 1 to 10000; the higher of the two counts  [50]
  --wait S     with --peer: how many seconds to wait for the other host, and for each of its answers, 1 to 3600  [120]
  --json       one JSON object on stdout

It makes one directory, coord-check.* or coord-check-peer.*, in DIR, works in that, and removes it, also when it is
interrupted. What a check that was killed has left is removed by the next one: at once if that was on the same host, else
once this host has known it for five minutes without a change. Nothing else in DIR is touched.

One host asks what its own kernel shows: the filesystem's type, whether one of several makes a directory or a file,
whether listings are complete and fresh, the cache drop, sync, replacing an open file, names, native locks, and how long
each takes. It cannot see what another host sees. Two hosts race each other for names, look whether they see one another's,
read what the other has just written, with and without dropping what they have cached, and write through old handles to
files that the other has replaced. No clock is compared between them.

Verdict and exit status:
  network-exclusive safe   0     programs of several hosts may share a database, all of them with coord. From one host
                                 alone this says only that nothing spoke against it: not_shown has the rest
  trusted safe             3     a disk of this host: its programs may share a database, also with plain SQLite
  refused                  1     it does not do what coord needs; the reason and what to do are told
  (no verdict)             2     the check could not be carried out (no such directory, cannot be written, no space,
                                 no other host, hosts that never met in a race: more --rounds)
                         130     interrupted; a second Ctrl-C ends it at once and leaves its directory to the next check
";
