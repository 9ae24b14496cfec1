"""How many requests a transaction costs on NFS: the client kernel's own count, from /proc/self/mountstats."""

import re

from .bank import Bank

TIMES = 10


def count(bed, place, flavour, name):
    """{"read": {"total": per transaction, "GETATTR": ...}, "write": ...}, of one connection with nobody else there."""
    bank = Bank(bed, place, flavour, f"requests-{name}")
    bank.create()
    program, worker, right = bank.client(bed.left), bank.worker(), {}
    bank.transfer(program, worker, 1)
    before = counters(bed.left, place)
    program.tell(views=TIMES)
    bank.drain(program)
    between = counters(bed.left, place)
    for seq in range(2, TIMES + 2):
        bank.transfer(program, worker, seq)
    after = counters(bed.left, place)
    bank.close(program)
    for word, first, second in (("read", before, between), ("write", between, after)):
        spent = {name: (second[name] - first.get(name, 0)) / TIMES for name in second}
        right[word] = {"total": round(sum(spent.values()), 1)}
        right[word] |= {name: n for name, n in sorted(spent.items(), key=lambda item: -item[1]) if n}
    return right


def counters(machine, place):
    """Requests so far by operation, of one mount."""
    text = machine.ok("cat /proc/self/mountstats")
    [mount] = [part for part in text.split("\ndevice ") if f" mounted on {place.directory} " in part]
    _, _, operations = mount.partition("per-op statistics")
    return {name: int(n) for name, n in re.findall(r"^\s+([A-Z_0-9]+): (\d+)", operations, re.MULTILINE)}
