"""How many requests a transaction costs on NFS: the client kernel's own count, from /proc/self/mountstats."""

import re

from .machine import Gone

TIMES = 10


def count(bank):
    """{"read": {"total": per transaction, "GETATTR": ...}, "write": ...}, of one connection with nobody else there."""
    left, place = bank.bed.left, bank.place
    program, worker, counted = bank.client(left), bank.worker(), {}
    commit(bank, program, worker, 1)
    before = counters(left, place)
    for _ in range(TIMES):  # at once after one another: a kept lock looks now and then whether somebody wants it
        read(bank, program)
    between = counters(left, place)
    for seq in range(2, TIMES + 2):
        commit(bank, program, worker, seq)
    after = counters(left, place)
    bank.close(program)
    for word, first, second in (("read", before, between), ("write", between, after)):
        spent = {name: (second[name] - first.get(name, 0)) / TIMES for name in second}
        counted[word] = {"total": round(sum(spent.values()), 1)}
        counted[word] |= {name: n for name, n in sorted(spent.items(), key=lambda item: -item[1]) if n}
    return counted


def commit(bank, program, worker, seq):
    """What does not commit costs something else."""
    if (outcome := bank.transfer(program, worker, seq)) != "committed":
        raise Gone(f"what was to be counted did not commit, with nobody else there: {outcome}, {bank.errors}")


def read(bank, program):
    answer = program.ask(view=1)
    bank.note(program, answer)
    if "view" not in answer:
        raise Gone(f"what was to be counted could not read, with nobody else there: {answer}")


def counters(machine, place):
    """Requests so far by operation, of one mount."""
    text = machine.ok("cat /proc/self/mountstats")
    [mount] = [part for part in text.split("\ndevice ") if f" mounted on {place.directory} " in part]
    _, _, operations = mount.partition("per-op statistics")
    return {name: int(n) for name, n in re.findall(r"^\s+([A-Z_0-9]+): (\d+)", operations, re.MULTILINE)}
