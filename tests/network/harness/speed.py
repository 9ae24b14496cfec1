"""How fast a transaction is beside SQLite's own VFS: `coord bench` on one client, with nobody else there."""

from .check import COORD, report_in

WORKLOADS = ("r1", "w1-full")
# On an emulated machine a commit takes tens of milliseconds.
ROUNDS, MILLIS, LONGEST = 5, 4_000, 900


def speed(bed, cell, result):
    """{"r1": {"coord": ratio of the medians to unix's, its least and its greatest in the rounds, and the median in µs}}"""
    bed.mount(cell.place, bed.left)
    command = f"{COORD} bench --dir {cell.place.directory} --against unix --workloads {','.join(WORKLOADS)}"
    status, out = bed.left.run(f"{command} --rounds {ROUNDS} --millis {MILLIS} --json 2>/tmp/bench.err || tail -n 3 /tmp/bench.err", LONGEST)
    report = report_in(out)
    if status != 0 or report is None:
        result.wrong.append(f"status {status}: {out[-300:]}")
        return
    for workload in report["workloads"]:
        measured = result.speed.setdefault(workload["name"], {})
        for one in workload["results"]:
            [part] = one["parts"]
            measured[one["configuration"]] = {"us": part["p50_us"], "ratio": part["p50_ratio"]}
    result.rounds = ROUNDS
