"""The committed results: what was run, on what, and what came out. The document is made of nothing else."""

import datetime
import fcntl
import json
import subprocess

from .bank import shows_damage
from .bed import HERE
from .cells import BROKEN_OFF
from .report import WRONG

FILE = HERE / "results.json"


def load():
    everything = json.loads(FILE.read_text()) if FILE.exists() else {"cells": []}
    everything["cells"] = newest(everything["cells"])
    return everything


def newest(cells):
    """One of each: the file may hold cells of older lists of steps beside the newer."""
    by_key = {key(cell): cell for cell in sorted(cells, key=lambda cell: (cell["date"], cell["rounds"]))}
    return [cell for cell in cells if cell is by_key[key(cell)]]


# What the library is built from: a commit that touches nothing of it leaves every result as it was. And what judges it.
PRODUCT = ["src", "Cargo.toml", "Cargo.lock"]
HARNESS = ["tests/network/harness", "tests/network/guest"]
# Only where all of these are the same do rounds belong together. Cells of older harnesses do not say which it was.
SAME = ("host", "kernel", "source", "harness")
CHANGED = " and changes"


def revision(paths):
    """The last commit that changed any of these as they are now."""
    top = HERE.parent.parent
    git = lambda *arguments: subprocess.run(["git", *arguments, "--", *paths], cwd=top, capture_output=True, text=True).stdout
    commit, dirty = git("log", "-1", "--abbrev=10", "--format=%h").strip(), git("status", "--porcelain")
    return commit + (CHANGED if dirty else "")


def save(machine, result):
    """Adds to the file. The same cell of the same commits has had more rounds; one of others is replaced. Two runs at once take turns."""
    with open(FILE.parent / "run") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        merge(machine, result)


def merge(machine, result):
    stamp = {"date": datetime.date.today().isoformat()} | {name: machine[name] for name in SAME}
    all_results = load()
    cells = {key(cell): cell for cell in all_results["cells"]}
    cell = result.as_json() | stamp
    before = cells.get(key(cell))
    # Of a control the newest alone counts: it has to fail each time.
    control = cell["flavour"].startswith("without-")
    if before and before["rounds"] and not cell["rounds"] and cell["verdict"] == BROKEN_OFF:
        return  # it shows nothing, so it takes nothing back
    if before and before["source"] == cell["source"] and before["verdict"] != BROKEN_OFF and not control:
        # What is not committed may be another thing each time.
        known = not any(cell[name].endswith(CHANGED) for name in ("source", "harness"))
        if known and all(before.get(name, "") == cell[name] for name in SAME) and not cell["requests"]:
            add(cell, before)
        if before["wrong"]:
            cell["wrong"] = before["wrong"] + cell["wrong"]
            cell["verdict"] = WRONG if WRONG in (before["verdict"], cell["verdict"]) else before["verdict"]
    cell["wrong"] = sorted(cell["wrong"], key=lambda text: not shows_damage([text]))[:5]
    cells[key(cell)] = cell
    all_results["cells"] = list(cells.values())
    all_results["packages"] = machine["packages"]
    new = FILE.with_suffix(".new")
    new.write_text(json.dumps(all_results, indent=1, sort_keys=True) + "\n")
    new.replace(FILE)


def add(cell, before):
    """The rounds of before, too."""
    for name in ("rounds", "committed", "views", "seconds"):
        cell[name] += before[name]
    for key, told in before["told"].items():
        # How often; or a sentence, of which the newest counts.
        cell["told"][key] = cell["told"].get(key, 0) + told if isinstance(told, int) else cell["told"].get(key, told)
    for step, (rounds, wrong) in before.get("by_step", {}).items():
        more, more_wrong = cell["by_step"].get(step, (0, 0))
        cell["by_step"][step] = (rounds + more, wrong + more_wrong)
    cell["steps"] = list(dict.fromkeys([*before["steps"], *cell["steps"]]))
    cell["leases"] = before.get("leases", []) + cell["leases"]
    errors = {str(code): tuple(seen) for code, seen in before["errors"].items()}
    for code, (count, text) in cell["errors"].items():
        earlier, first = errors.get(str(code), (0, text))
        errors[str(code)] = (earlier + count, first)
    cell["errors"] = errors


def key(cell):
    """Not the steps: they change, and what was seen at the old ones must not stay for ever."""
    return cell["place"], cell["flavour"], cell["fault"]
