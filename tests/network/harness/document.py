"""docs/filesystems.md, made of results.json and nothing else."""

from . import results
from .bed import HERE
from .faults import ALL_STEPS, FAULTS
from .mounts import BY_KEY, PLACES
from .report import WRONG

FILE = HERE.parent.parent / "docs/filesystems.md"

HEAD = """# Filesystems, as measured

This file is written by `tests/network/run --document` from `tests/network/results.json`, which `tests/network/run --save` fills. It
says what was run and what came out, no more: a fault that was not seen in so many rounds may still be there. Anybody can run it again.

Three machines in QEMU: a file server (ext4; knfsd and samba) and two clients with kernels of their own; {kernels}; host: {hosts}.
On each filesystem, a bank with an append-only history is used by processes on both clients. A cell is right if every reported commit
is there, every other transfer is there wholly or not at all, `integrity_check` is ok on both clients and at the server, no reader saw a
wrong sum or went back, and no lock was left behind.

What is done in a cell:

- **turns**: one client commits, the other must see it at once and commit on top of it, back and forth.
- **bank**: on each client a writer of small transactions, a writer of large ones and a reader, all at once.
- **kill, power-off, freeze, cut, server-restart**: a process on one client stands at a chosen step of a large transaction. It is killed
  (SIGKILL); or its machine is switched off; or its machine is frozen, with its clocks, until somebody on the other client has taken
  over and committed, and goes on then; or its network is cut until then; or the server is switched off and on. Readers look
  meanwhile on both clients. Whoever comes back must be able to commit again.
"""


def write():
    everything = results.load()
    cells = everything["cells"]
    lines = [HEAD.format(kernels=", ".join(sorted({f"Linux {c['kernel']}" for c in cells})), hosts="; ".join(sorted({c["host"] for c in cells})))]
    lines += ["## Verdicts", "", "| filesystem | mount options | through coord | rounds | not run |", "|---|---|---|---|---|"]
    for place in PLACES:
        mine = [c for c in cells if c["place"] == place.key and is_coord(c)]
        rounds = sum(c["rounds"] for c in mine)
        lines.append(f"| {place.title} | {place.options or 'default'} | {verdict(mine)} | {rounds} | {missing(place, mine)} |")
    lines += natives(cells) + controls(cells) + costs(everything["requests"]) + details(cells)
    FILE.write_text("\n".join(lines) + "\n")


def is_coord(cell):
    return cell["flavour"].startswith("coord") and "without" not in cell["flavour"]


def verdict(cells):
    if not cells:
        return "not run"
    words = {cell["verdict"] for cell in cells}
    if words == {"refused"}:
        return "refused by coord: " + cells[0]["wrong"][0].partition("coord: ")[2]
    if WRONG in words:
        return "**errors were seen**, see below"
    return "no error was seen"


def missing(place, cells):
    if any(cell["verdict"] == "refused" for cell in cells):
        return ""
    run = {cell["fault"] for cell in cells}
    wanted = ["bank", "turns", *FAULTS] if place.shared else ["bank"]
    words = [fault for fault in wanted if fault not in run]
    if place.key == "nfs42" and "freeze" in run:
        steps = {step for cell in cells for step in cell["steps"]}
        words += [f"step “{step}”" for step in ALL_STEPS if step not in steps]
    return ", ".join(words) or "nothing of these"


def natives(cells):
    lines = ["", "## Without coord: the same through SQLite's own VFS", ""]
    lines += ["What users have today. `unix` uses the filesystem's locks; `unix-dotfile` a lock directory. The fault strikes when pages"]
    lines += ["of a large transaction were written before its COMMIT.", ""]
    lines += ["| filesystem | VFS | trouble | rounds | outcome | the first that was wrong |", "|---|---|---|---|---|---|"]
    for cell in cells:
        if cell["flavour"].startswith("unix"):
            lines.append(f"| {title(cell)} | `{cell['flavour']}` | {cell['fault']} | {cell['rounds']} | {cell['verdict']} | {first(cell)} |")
    return lines


def controls(cells):
    lines = ["", "## Controls: a guard is taken out of coord, so the cell has to fail", ""]
    lines += ["| filesystem | guard | trouble | rounds | outcome | the first that was wrong |", "|---|---|---|---|---|---|"]
    for cell in cells:
        if "without" in cell["flavour"]:
            guard = cell["flavour"].partition("without ")[2]
            outcome = "fails, as it has to" if cell["verdict"] == WRONG else "**does not fail**"
            lines.append(f"| {title(cell)} | {guard} | {cell['fault']} | {cell['rounds']} | {outcome} | {first(cell)} |")
    return lines


def costs(requests):
    lines = ["", "## Requests to the server per transaction", ""]
    lines += ["Counted by the client's kernel (`/proc/self/mountstats`), one connection with nobody else there, ten transactions each; a read"]
    lines += ["is one of five statements, a write the small transfer. Heartbeats are in it, and, on NFS 3, the lock manager's own requests are not."]
    lines += ["", "| filesystem | opened by | read | write | of the write |", "|---|---|---|---|---|"]
    for place, counted in requests.items():
        for flavour in ("coord", "unix"):
            if flavour in counted:
                read, write = counted[flavour]["read"], counted[flavour]["write"]
                most = sorted(((n, name) for name, n in write.items() if name != "total"), reverse=True)[:6]
                lines.append(
                    f"| {BY_KEY[place].title} | {flavour} | {read['total']} | {write['total']} | {', '.join(f'{name} {n}' for n, name in most)} |"
                )
    return lines


def details(cells):
    lines = ["", "## Every cell through coord", ""]
    lines += ["| filesystem | build | trouble | rounds | commits | reads | outcome | how the one at the step came back | date, source |"]
    lines += ["|---|---|---|---|---|---|---|---|---|"]
    for cell in sorted(filter(is_coord, cells), key=lambda c: [p.key for p in PLACES].index(c["place"])):
        build = "debug" if "debug" in cell["flavour"] else "release"
        outcome = cell["verdict"] + (": " + first(cell) if cell["verdict"] == WRONG else "")
        told = "; ".join(f"{key} ({times})" for key, times in cell["told"].items())
        lines.append(
            f"| {title(cell)} | {build} | {cell['fault']} | {cell['rounds']} | {cell['committed']} | {cell['views']} | {outcome} | {told}"
            f" | {cell['date']}, {cell['source']} |"
        )
    lines += ["", "“committed”: its COMMIT was reported and is there. “unknown”, “not”: it got an error. “dead”: there was nobody to tell."]
    return lines


def title(cell):
    return BY_KEY[cell["place"]].title


def first(cell):
    return cell["wrong"][0].replace("|", "/").replace("\n", " ")[:160] if cell["wrong"] else ""


