"""The committed results: what was run, on what, and what came out. The document is made of nothing else."""

import datetime
import json
import subprocess

from .bed import HERE

FILE = HERE / "results.json"


def load():
    return json.loads(FILE.read_text()) if FILE.exists() else {"cells": [], "requests": {}}


def save(machine, done, requests):
    """Adds to the file; a cell that was there is replaced."""
    commit = subprocess.run(["git", "rev-parse", "--short=10", "HEAD"], cwd=HERE, capture_output=True, text=True).stdout.strip()
    dirty = subprocess.run(["git", "status", "--porcelain", "--", "../../src"], cwd=HERE, capture_output=True, text=True).stdout
    stamp = {"date": datetime.date.today().isoformat(), "source": commit + (" and changes" if dirty else "")}
    stamp |= {"host": machine["host"], "kernel": machine["kernel"]}
    all_results = load()
    cells = {key(cell): cell for cell in all_results["cells"]}
    for result in done:
        if result.rounds or result.verdict == "refused":
            cell = result.as_json() | stamp
            cell["wrong"] = cell["wrong"][:5]
            cells[key(cell)] = cell
    all_results["cells"] = list(cells.values())
    all_results["requests"] |= {place: counted | stamp for place, counted in requests.items()}
    all_results["packages"] = machine["packages"]
    FILE.write_text(json.dumps(all_results, indent=1, sort_keys=True) + "\n")


def key(cell):
    return cell["place"], cell["flavour"], cell["fault"], tuple(cell["steps"])
