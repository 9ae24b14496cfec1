"""The committed results: what was run, on what, and what came out. The document is made of nothing else."""

import datetime
import fcntl
import json
import subprocess

from .bed import HERE

FILE = HERE / "results.json"


def load():
    return json.loads(FILE.read_text()) if FILE.exists() else {"cells": []}


# What the library is built from: a commit that touches nothing of it leaves every result as it was.
PRODUCT = ["src", "Cargo.toml", "Cargo.lock"]


def source():
    """The last commit that changed what is built now."""
    top = HERE.parent.parent
    git = lambda *arguments: subprocess.run(["git", *arguments, "--", *PRODUCT], cwd=top, capture_output=True, text=True).stdout
    commit, dirty = git("log", "-1", "--abbrev=10", "--format=%h").strip(), git("status", "--porcelain")
    return commit + (" and changes" if dirty else "")


def save(machine, result):
    """Adds to the file. The same cell of the same commit has had more rounds; one of another commit is replaced. Two runs at once
    take turns."""
    with open(FILE.parent / "run") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        merge(machine, result)


def merge(machine, result):
    stamp = {"date": datetime.date.today().isoformat()} | {name: machine[name] for name in ("host", "kernel", "source")}
    all_results = load()
    cells = {key(cell): cell for cell in all_results["cells"]}
    cell = result.as_json() | stamp
    cell["wrong"] = cell["wrong"][:5]
    before = cells.get(key(cell))
    same = before and all(before[name] == cell[name] for name in ("host", "kernel", "source"))
    if same and before["verdict"] != "broken off" and not cell["requests"]:
        add(cell, before)
    cells[key(cell)] = cell
    all_results["cells"] = list(cells.values())
    all_results["packages"] = machine["packages"]
    FILE.write_text(json.dumps(all_results, indent=1, sort_keys=True) + "\n")


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
    cell["leases"] = before.get("leases", []) + cell["leases"]
    cell["wrong"] = (before["wrong"] + cell["wrong"])[:5]
    cell["errors"] = {**before["errors"], **{str(code): seen for code, seen in cell["errors"].items()}}
    if before["verdict"] != "right":
        cell["verdict"] = before["verdict"]


def key(cell):
    return cell["place"], cell["flavour"], cell["fault"], tuple(cell["steps"])
