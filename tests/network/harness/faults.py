"""One round of a fault: somebody on the right stands at a chosen step, the fault strikes, somebody on the left goes on."""

from .machine import PATIENCE, Gone

# Steps of a transaction, each with the stop points that lead to it, all but the last only passed.
STEPS = {
    "lock directory made": ["made-lock"],
    "name put into it": ["entered-lock"],
    "exclusive announced": ["exclusive-announced"],
    "first page to be written": ["database-write"],
    "pages written, not synced": ["database-write"] * 4,
    "journal to be finalised": ["finalise"],
    "journal finalised": ["finalised"],
    "commit confirmed": ["confirmed"],
}
# Steps of a takeover from somebody who died in the middle of his pages.
TAKEOVER = {
    "takeover: listed": ["takeover-listed"],
    "takeover: copies made": ["fence-copied"],
    "takeover: copies named": ["fence-named"],
    "takeover: ready": ["fence-ready"],
    "takeover: between the renames": ["fence-between"],
    "takeover: replaced": ["fence-replaced"],
}
# Needs no stop point, so it is there for every build and every VFS: the page cache was too small and SQLite has written pages into
# the database, under EXCLUSIVE, before the COMMIT. They wait in the client's kernel.
SPILLED = "pages spilled"

ALL_STEPS = [SPILLED, *STEPS, *TAKEOVER]
STOPS = "/tmp/stops"


class Round:
    def __init__(self, bank, step, watchers):
        self.bank, self.step, self.bed, self.watchers = bank, step, bank.bed, watchers
        self.worker = bank.worker()

    def approach(self):
        """Brings a new process on the right to the step, and lets the readers look from then on."""
        self.reach()
        self.watchers.look()

    def reach(self):
        # Opened first: opening reads, and who reads takes over as well.
        self.victim = self.bank.client(self.bed.right, stops=STOPS)
        if self.step in TAKEOVER:
            first = self.bank.client(self.bed.right, stops=STOPS)
            self.stand(first, self.bank.worker(), ["database-write"] * 2)
            first.signal("KILL")
            self.bank.drain(first)
        if self.step == SPILLED:
            answer = self.victim.ask(begin=[self.worker, 1, True])
            if "begun" not in answer:
                raise Gone(f"the step was not reached: {answer}")
        else:
            self.stand(self.victim, self.worker, TAKEOVER.get(self.step) or STEPS[self.step])

    def stand(self, program, worker, points):
        lines = "".join(point + "\\n" for point in points)
        self.bed.right.ok(f"printf '{lines}' >{STOPS}")
        program.tell(transfer=[worker, 1, True])
        for passed in range(len(points)):
            program.wait_still()
            if passed + 1 < len(points):
                program.signal("CONT")
        if self.bed.right.ok(f"cat {STOPS}").strip():
            raise Gone(f"the step was not reached: {points}")

    def go_on(self):
        """The victim runs again, and says how it ended."""
        if self.step == SPILLED:
            self.victim.tell(commit=1)
        else:
            self.victim.signal("CONT")

    def end(self):
        outcome = self.bank.outcome(self.victim, PATIENCE * 2)
        # Once more it may be told of what it lost.
        after = [self.bank.transfer(self.victim, self.worker, 2)]
        if after[-1] != "committed":
            after.append(self.bank.transfer(self.victim, self.worker, 3))
        if after[-1] != "committed":
            self.bank.wrong.append(f"{self.step}: the one who came back cannot commit any more: {after}")
        self.bank.close(self.victim)
        return outcome

    def heir(self, machine, times=2):
        """Somebody else takes over; whether he could."""
        program, worker = self.bank.client(machine), self.bank.worker()
        outcomes = [self.bank.transfer(program, worker, seq, large=seq == 1) for seq in range(1, times + 1)]
        self.bank.close(program)
        if "committed" not in outcomes:
            self.bank.wrong.append(f"{self.step}: nobody could take over: {outcomes}")


def kill(round):
    round.approach()
    round.victim.signal("KILL")
    round.bank.drain(round.victim)
    round.heir(round.bed.left)
    round.heir(round.bed.right)
    return "dead"


def power_off(round):
    round.approach()
    round.bed.right.power_off()
    round.bank.drain(round.victim)
    round.heir(round.bed.left)
    round.bed.restart_client(round.bed.right)
    round.bed.mount(round.bank.place, round.bed.right)
    return "dead"


def freeze(round):
    round.approach()
    round.bed.right.freeze()
    try:
        round.heir(round.bed.left)
    finally:
        round.bed.right.thaw()
    round.go_on()
    return round.end()


def cut(round):
    round.approach()
    # Told while the link is there, as the commands go another way; it runs into silence at its next request.
    round.bed.right.link(False)
    try:
        round.go_on()
        round.heir(round.bed.left)
    finally:
        round.bed.right.link(True)
    return round.end()


def restart_server(round):
    round.approach()
    round.bed.server.power_off()
    round.go_on()
    round.bed.server.start()
    round.bed.serve()
    outcome = round.end()
    round.heir(round.bed.left)
    return outcome


FAULTS = {"kill": kill, "power-off": power_off, "freeze": freeze, "cut": cut, "server-restart": restart_server}
