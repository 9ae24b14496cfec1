"""`coord check DIR --peer` between the two clients, or `coord check DIR` on one where there is nobody else to see it."""

import json
import re
import threading

COORD = "/host/release/coord"
SAFE, REFUSED, TRUSTED = 0, 1, 3
# Emulated machines need minutes for what hosts do in seconds.
LONGEST = 900


def check(bed, cell, result):
    """Both must come to one verdict, and to the one by which coord goes when it opens a database there."""
    place = cell.place
    machines = bed.clients if place.shared else (bed.left,)
    for machine in machines:
        bed.mount(place, machine)
    more = f"--peer --wait {LONGEST // 3}" if place.shared else ""
    command = f"{COORD} check {place.directory} {more} --json 2>/tmp/check.err; status=$?; cat /tmp/check.err >&2; exit $status"
    answers = {}

    def ask(machine):
        answers[machine.name] = machine.run(command, LONGEST)

    threads = [threading.Thread(target=ask, args=(machine,)) for machine in machines]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for name in (machine.name for machine in machines):
        status, out = answers.get(name, (None, "no answer"))
        report = report_in(out)
        if report is None:
            result.wrong.append(f"{name}: status {status}: {out[-300:]}")
            continue
        result.rounds += 1
        findings = [finding for host in report["hosts"] for finding in host["findings"]] + (report["together"] or [])
        result.views += len(findings)
        result.told[f"{name}: {report['verdict']}: {report['reason']}"] = 1
        if status not in expected(place):
            result.wrong.append(f"{name} says {report['verdict']}: {report['reason']}")
    if len({text.partition(": ")[2] for text in result.told}) > 1:
        result.wrong.append("they do not agree")


def expected(place):
    if place.refused or place.key in ("sshfs", "9p-loose"):
        return (REFUSED,)
    # A passthrough may lead anywhere, so that it is never taken for a local disk.
    return (SAFE,) if place.shared or place.key == "bindfs" else (TRUSTED,)


def report_in(out):
    """The JSON object in what was printed, around which there may be lines of progress."""
    begins = re.search(r"^\{", out, re.MULTILINE)
    try:
        return json.loads(out[begins.start() : out.rindex("}") + 1]) if begins else None
    except ValueError:
        return None
