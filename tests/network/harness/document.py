"""docs/filesystems.md, made of results.json and nothing else."""

from statistics import median

from . import results
from .bank import DAMAGED, primary
from .bed import HERE, NFS_GRACE, NFS_LEASE
from .faults import FAULTS
from .flavours import LEASE_MS
from .mounts import BY_KEY, PLACES
from .report import WRONG
from .steps import ALL_STEPS

FILE = HERE.parent.parent / "docs/filesystems.md"
# These have tables of their own.
ASIDE = ("check", "speed")

HEAD = """# Filesystems, as measured

This file is written by `tests/network/run --document` from `tests/network/results.json`, which `tests/network/run --save` fills. It
says what was run and what came out, no more: a fault that was not seen in so many rounds may still be there. Anybody can run it again.

Three machines in QEMU: a file server (ext4; knfsd and samba) and two clients with kernels of their own; {kernels};
host: {hosts}.
On each filesystem, a bank with an append-only history is used by processes on both clients. A cell is right if every reported commit
is there, every other transfer is there wholly or not at all, `integrity_check` is ok on both clients and at the server, no reader saw a
wrong sum or went back, and no lock was left behind.

What is done in a cell:

- **turns**: one client commits, the other must see it at once and commit on top of it, back and forth.
- **bank**: on each client a writer of small transactions, a writer of large ones and a reader, all at once.
- **maintenance**: the same with VACUUM, changes of the schema and backups in place of the large transactions.
- **check**: `coord check DIR --peer` on both clients; on one, without `--peer`, where there is nobody else to see it. It is right if
  both come to the same verdict, and it is the one that coord goes by when it opens a database there.
- **kill, power-off, freeze, cut, server-restart, clock-jump, disk-full**: a process on one client stands at a chosen step of a large
  transaction. It is killed (SIGKILL); or its machine is switched off; or its machine is frozen, with its clocks, until somebody on
  the other client has taken over and committed, and goes on then; or its network is cut until then; or the server is switched off
  and on; or its date jumps by an hour, forward or back, and it stands where it is for two leases (but in
  the midst of a call that takes a lock or gives it back, where no heartbeat goes out); or the server's disk is kept full until its transaction has ended. Somebody on the other client reads and commits: after the kill; while the machine is off, frozen or cut
  off; but once the transaction has ended and the first has committed again where the server was off and where the disk was full (there
  is room again). Where the date has jumped he wants to from the beginning, must not get in while the first stands there, and does once
  it has ended. Another process on the first machine reads when the fault strikes, and after a kill
  it commits, too. Whoever comes back must be able to commit again. The fault strikes many databases at once, each with its process
  at a step of its own, and each is judged by itself. **A round is one database at one step.** On 9p and virtiofs the server is the
  host of the emulated machines, so that nobody can be cut off from it, and it is not switched off.
- In a cell without a fault any error but SQLITE_BUSY is wrong; and so it is in kill, power-off, freeze, cut and clock-jump where the
  program that was told of it had not been struck. In every cell it is wrong if a program was told {damaged}.

Each cell in the tables of outcomes says of which commit of the product it is, and of which commit the harness was that judged it.
{older}

What differs from usual machines, beside their slowness:

- coord's lease is {lease} s in all of it, as an emulated machine easily stands still for a second or two; its default is 30 s.
- The NFS server's lease is {nfs_lease} s and its grace period {nfs_grace} s, where Linux has 90 s for each: what happens when they run out comes sooner.
- The kernels do not write dirty pages back by themselves (`dirty_writeback_centisecs` is 0, `dirty_expire_centisecs` an hour): what
  nobody syncs comes to the server as late as it may, where a usual client sends it within half a minute.
- The server's power-off is the end of its QEMU, and its disk is a file with `cache=unsafe`: what its kernel has given to the virtual
  disk survives, synced or not; only what was in its memory is lost.
"""

NOT_AT_ALL = """
## Not run at all

Other servers than Linux's knfsd and samba, other clients than Linux, other kernels than the ones above; macOS and Windows; hardware;
`soft` mounts, Kerberos, pNFS, `lookupcache`, `actimeo` and `noac` other than their defaults; ksmbd; Ceph, Lustre, GPFS
and other cluster filesystems; several faults at once.
"""


def write():
    everything = results.load()
    cells = everything["cells"]
    kernels, hosts = sorted({f"Linux {c['kernel']}" for c in cells}), sorted({c["host"] for c in cells})
    figures = {"lease": LEASE_MS // 1000, "nfs_lease": NFS_LEASE, "nfs_grace": NFS_GRACE, "older": older(cells)}
    figures["damaged"] = ", ".join(f"SQLITE_{name}" for name in DAMAGED)
    lines = [HEAD.format(kernels=", ".join(kernels), hosts="; ".join(hosts), **figures)]
    lines += ["## Verdicts", ""]
    lines += ["| filesystem | mount options | through coord | rounds | run | `coord check` | not run |", "|---|---|---|---|---|---|---|"]
    for place in PLACES:
        mine = [c for c in cells if c["place"] == place.key and is_coord(c)]
        used = [c for c in mine if c["fault"] not in ASIDE]
        rounds = sum(c["rounds"] for c in used)
        columns = [place.title, place.options or "default", verdict(place, used), rounds, span(used), checked(mine), missing(place, used)]
        lines.append("| " + " | ".join(map(str, columns)) + " |")
    lines += replaced(cells) + steps(cells) + natives(cells) + controls(cells) + costs(cells) + speeds(cells) + takeovers(cells) + details(cells)
    FILE.write_text("\n".join(lines) + "\n" + NOT_AT_ALL)


def span(cells):
    """The days on which they were run."""
    days = sorted({cell["date"] for cell in cells})
    return " to ".join(dict.fromkeys([days[0], days[-1]])) if days else ""


def older(cells):
    """Of the cells that do not say what has judged them."""
    count = sum(not cell.get("harness") for cell in cells)
    if not count:
        return "The errors that programs got are listed, whatever became of them."
    return (
        f"{count} of the {len(cells)} cells name none for the harness: an older one has judged them, perhaps by fewer of these rules. It\n"
        "looked at the server's files before the clients had given away all that waited in their kernels, let nobody wait while a date\n"
        "jumped, and filled the disk only once, so that room was there again when something had been removed. The errors that programs got\n"
        "are listed all the same."
    )


def stamp(cell):
    """When it was run, on which commit of the product, and which commit of the harness has judged it."""
    return ", ".join(filter(None, (cell["date"], cell["source"], cell.get("harness"))))


def checked(cells):
    """What `coord check` said there."""
    said = sorted({text.split(": ")[1] for cell in cells if cell["fault"] == "check" for text in cell["told"]})
    return " / ".join(said) or "not run"


def replaced(cells):
    """What happens to an open file whose name another takes."""
    lines = ["", "## Replacing a file that somebody has open", "", "A fence replaces the database. Tried from one client, on a file that a program of that"]
    lines += ["client or of the other has open: renaming the new file over it; and moving it aside, linking the new one under its name and"]
    lines += ["removing the old one; and what becomes of a write to the old file after the server went off and on. `.nfs…` is the name under which an NFS client keeps what it has open: it moves the file there in a step of"]
    lines += ["its own, and removes it when it is closed.", "", "| filesystem | the file is | what happened |", "|---|---|---|"]
    for cell in cells:
        if cell["fault"] == "replace":
            lines += [f"| {title(cell)} | {key} | {told} |" for key, told in sorted(cell["told"].items())]
    return lines


def steps(cells):
    """Of each filesystem a table: how many rounds of which fault at which step, and how many of them were wrong."""
    lines = ["", "## Faults through coord, step by step", "", "Rounds; those that were wrong, if any, in brackets. Debug builds, which can be held at"]
    lines += ["named points. The transactions are large ones, whose pages go out before the COMMIT as the page cache is too small, but for “pages"]
    lines += ["written at the COMMIT”. At “pages spilled” they wait in the client's kernel."]
    for place in PLACES:
        mine = {}
        for cell in cells:
            if cell["place"] == place.key and cell["flavour"] == "coord-debug":
                for step, figures in cell.get("by_step", {}).items():
                    before = mine.setdefault(cell["fault"], {}).get(step, (0, 0))
                    mine[cell["fault"]][step] = [a + b for a, b in zip(before, figures)]
        columns = [fault for fault in FAULTS if fault in mine]
        if not columns:
            continue
        lines += ["", f"### {place.title}", "", "| step | " + " | ".join(columns) + " |", "|---" * (len(columns) + 1) + "|"]
        for step in ALL_STEPS:
            figures = [mine[fault].get(step, (0, 0)) for fault in columns]
            if any(rounds for rounds, _ in figures):
                texts = [f"{rounds} **({wrong})**" if wrong else str(rounds or "") for rounds, wrong in figures]
                lines.append(f"| {step} | " + " | ".join(texts) + " |")
    return lines


def is_coord(cell):
    return cell["flavour"].startswith("coord")


def verdict(place, cells):
    if place.refused:
        return "**refused by coord**, unless forced (`coord_force_fs=1`); forced: " + seen(cells)
    return seen(cells)


def seen(cells):
    if not cells:
        return "not run"
    words = {cell["verdict"] for cell in cells}
    if words == {"refused"}:
        return "refused by coord: " + cells[0]["wrong"][0].partition(" is on ")[2].partition(": ")[2]
    if words & {WRONG, "refused"}:
        return "**wrong**, see below"
    if "broken off" in words:
        return "not all could be run, see below"
    return "nothing wrong was seen"


def missing(place, cells):
    if any(cell["verdict"] == "refused" for cell in cells):
        return ""
    cells = [cell for cell in cells if cell["rounds"]]
    run = {cell["fault"] for cell in cells}
    wanted = ["turns", "bank", "maintenance", *FAULTS] if place.shared else ["bank", "maintenance"]
    words = [fault for fault in wanted if fault not in run]
    seen_steps = {step for cell in cells for step in cell.get("by_step", {})} & set(ALL_STEPS)
    if 0 < len(seen_steps) < len(ALL_STEPS):
        words.append(f"{len(ALL_STEPS) - len(seen_steps)} of {len(ALL_STEPS)} steps")
    return ", ".join(words) or "nothing of these"


def natives(cells):
    lines = ["", "## Without coord: the same through SQLite's own VFS", ""]
    lines += ["What users have today. `unix` uses the filesystem's locks; `unix-dotfile` a lock directory. The fault strikes when pages"]
    lines += ["of a large transaction were written before its COMMIT. Who could not go on within his busy timeout is said to be kept out: 40 s for"]
    lines += ["`unix`, 10 or 40 s for `unix-dotfile`, whose lock nobody takes over.", ""]
    lines += ["| filesystem | VFS | trouble | rounds | outcome | the first that was wrong | errors that programs got | date, source, harness |"]
    lines += ["|---|---|---|---|---|---|---|---|"]
    for cell in sorted(cells, key=native_order):
        if cell["flavour"].startswith("unix") and not cell["requests"]:
            outcome = "could not be used" if cell["verdict"] == "refused" else cell["verdict"]
            columns = [title(cell), f"`{cell['flavour']}`", cell["fault"], cell["rounds"], outcome, first(cell), errors(cell), stamp(cell)]
            lines.append("| " + " | ".join(map(str, columns)) + " |")
    return lines


def native_order(cell):
    troubles = ["turns", "bank", "maintenance", *FAULTS]
    trouble = troubles.index(cell["fault"]) if cell["fault"] in troubles else len(troubles)
    return [place.key for place in PLACES].index(cell["place"]), cell["flavour"], trouble


def controls(cells):
    lines = ["", "## Controls: a guard is taken out of coord, so the cell has to fail", ""]
    lines += ["| filesystem | guard | trouble | rounds | outcome | the first that was wrong | errors that programs got | date, source, harness |"]
    lines += ["|---|---|---|---|---|---|---|---|"]
    for cell in cells:
        if cell["flavour"].startswith("without-"):
            guard = cell["flavour"].removeprefix("without-")
            outcome = "fails, as it has to" if cell["verdict"] == WRONG else "**does not fail**"
            columns = [title(cell), guard, cell["fault"], cell["rounds"], outcome, first(cell), errors(cell), stamp(cell)]
            lines.append("| " + " | ".join(map(str, columns)) + " |")
    return lines


def costs(cells):
    lines = ["", "## Requests to the server per transaction", ""]
    lines += ["Counted by the client's kernel (`/proc/self/mountstats`), one connection with nobody else there, ten transactions each; a read"]
    lines += ["is one of five statements, a write the small transfer. Heartbeats are in it, and the looks of a kept lock whether somebody else wants it, every 20 to 50 ms; on NFS 3 the lock manager's own"]
    lines += ["requests are not. `coord` keeps its locks between the transactions; `coord-unlock-asap`, with coord_unlock_asap=1, gives them"]
    lines += ["back after each."]
    lines += ["", "| filesystem | opened by | read | write | of the write |", "|---|---|---|---|---|"]
    for cell in cells:
        if cell["requests"]:
            read, write = cell["requests"]["read"], cell["requests"]["write"]
            parts = sorted(((n, name) for name, n in write.items() if name != "total"), reverse=True)[:7]
            parts = ", ".join(f"{name} {n}" for n, name in parts)
            lines.append(f"| {title(cell)} | {cell['flavour']} | {read['total']} | {write['total']} | {parts} |")
    return lines


def speeds(cells):
    lines = ["", "## Time of a transaction", "", "`coord bench` on one client with nobody else there. The machines are emulated without KVM, so processor time counts for"]
    lines += ["far more than on hardware: the medians say little, their ratios within one run more. Of the rounds the median, least and greatest."]
    lines += ["", "| filesystem | workload | unix, median | opened by | ratio of the medians |", "|---|---|---|---|---|"]
    for cell in cells:
        for workload, measured in cell.get("speed", {}).items():
            for configuration, figures in measured.items():
                if ratio := figures["ratio"]:
                    texts = [f"{ratio[key]:.2g}" for key in ("median", "least", "greatest")]
                    unix = f"{measured['unix']['us'] / 1000:.1f} ms"
                    lines.append(f"| {title(cell)} | {workload} | {unix} | {configuration} | {texts[0]} ({texts[1]} to {texts[2]}) |")
    return lines


def takeovers(cells):
    lines = ["", "## Time of a takeover", "", "Somebody waits to commit; who has the lock, on another host, is killed in the middle of his pages. From the kill to the"]
    lines += [f"other's commit, the new copy of the database among it, in leases (of {LEASE_MS // 1000} s): nobody can know earlier that he is dead."]
    lines += ["", "| filesystem | rounds | median | least | greatest |", "|---|---|---|---|---|"]
    for cell in cells:
        if leases := cell.get("leases"):
            lines.append(f"| {title(cell)} | {len(leases)} | {median(leases):.2f} | {min(leases):.2f} | {max(leases):.2f} |")
    return lines


def details(cells):
    lines = ["", "## Every cell through coord", ""]
    lines += ["| filesystem | opened by | trouble | rounds | commits | reads | outcome | how the one at the step came back | errors that programs got | date, source, harness |"]
    lines += ["|---|---|---|---|---|---|---|---|---|---|"]
    used = [cell for cell in cells if is_coord(cell) and cell["fault"] not in ASIDE]
    for cell in sorted(used, key=lambda c: [p.key for p in PLACES].index(c["place"])):
        outcome = cell["verdict"] + (": " + first(cell) if cell["wrong"] else "")
        told = came_back(cell["told"])
        lines.append(
            f"| {title(cell)} | {cell['flavour']} | {cell['fault']} | {cell['rounds']} | {cell['committed']} | {cell['views']} | {outcome} | {told}"
            f" | {errors(cell)} | {stamp(cell)} |"
        )
    lines += ["", "coord: the release build. coord-debug: the debug build, which can be stopped at named points. coord-exclusive: the release build with"]
    lines += ["coord_mode=network-exclusive."]
    lines += ["", "“committed”: its COMMIT was reported and is there. “unknown”, “not”: it got an error. “dead”: there was nobody to tell."]
    lines += ["“committed, the full disk did not stop it”: it needed no more room, or found some that had just been given back. Cells of older"]
    lines += ["harnesses say “committed” for it."]
    return lines


# By primary result code.
ERRORS = {5: "BUSY", 8: "READONLY", 10: "IOERR", 13: "FULL", 14: "CANTOPEN"} | {code: name for name, code in DAMAGED.items()}


def errors(cell):
    """How often which of SQLite's errors was told to a program, whatever became of it."""
    sums = {}
    for code, (count, _) in cell["errors"].items():
        name = ERRORS.get(primary(code), f"code {code}")
        sums[name] = sums.get(name, 0) + count
    return ", ".join(f"{name} {count}" for name, count in sorted(sums.items()))


def came_back(told):
    """Of all steps together: how often which outcome."""
    sums = {}
    for key, times in told.items():
        word = key.rpartition(": ")[2]
        sums[word] = sums.get(word, 0) + times
    return ", ".join(f"{word} {times}" for word, times in sorted(sums.items()))


def title(cell):
    return BY_KEY[cell["place"]].title


def first(cell):
    return cell["wrong"][0].replace("|", "/").replace("\n", " ")[:160] if cell["wrong"] else ""


