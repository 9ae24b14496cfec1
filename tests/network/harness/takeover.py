"""How long somebody waits who wants to commit while the one who has the lock, on another host, is killed: from the kill to his commit."""

import time

from .flavours import LEASE_MS
from .machine import PATIENCE, Gone
from .steps import MID_PAGES, schedule

TIMES = 8
# The heir is waiting by then, and has seen the victim's heartbeats.
WAITS = 4
# In leases: earlier nobody can know that he is dead, and much later is no takeover. The last heartbeat may be a third of one older than
# the kill, and the emulated machines are slow.
LEAST, MOST = 0.6, 4


def takeover(bank, _cell, result):
    """In leases of the victim's, one after the other: `result.leases`."""
    bed = bank.bed
    for number in range(TIMES):
        stops = bed.stops / f"{bank.name}.{number}"
        stops.write_text(schedule(MID_PAGES))
        heir = bank.client(bed.left)
        victim = bank.client(bed.right, stops=f"/stops/{stops.name}")
        victim.tell(transfer=[bank.worker(), 1, True])
        held = bed.stops / f"{stops.name}.{MID_PAGES[-1]}.held"
        end = time.monotonic() + PATIENCE
        while not held.exists():
            if time.monotonic() > end:
                raise Gone(f"the step was not reached: {list(victim.lines.queue)}")
            time.sleep(0.1)
        heir.tell(transfer=[bank.worker(), 1, False])
        time.sleep(WAITS)
        begun = time.monotonic()
        bed.right.ok(f"kill -KILL {victim.pid}")
        outcome = bank.outcome(heir)
        result.leases.append(round((time.monotonic() - begun) * 1000 / LEASE_MS, 3))
        if outcome != "committed":
            bank.wrong.append(f"round {number}: {outcome}, {bank.errors}")
        elif not LEAST <= result.leases[-1] <= MOST:
            bank.wrong.append(f"round {number}: it took {result.leases[-1]} leases")
        bank.drain(victim)
        bank.close(heir)
        result.rounds += 1
