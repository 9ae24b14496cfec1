"""A cell: one filesystem, one way to open the database, one kind of trouble, some rounds; and the verdict on it."""

import time
from dataclasses import asdict, dataclass, field

from .bank import Bank, Refused
from .faults import FAULTS, Round
from .flavours import Flavour
from .machine import PATIENCE, Gone
from .mounts import Place


@dataclass(frozen=True)
class Cell:
    place: Place
    flavour: Flavour
    fault: str
    steps: tuple = ()
    rounds: int = 1


@dataclass
class Result:
    place: str
    flavour: str
    fault: str
    steps: list
    verdict: str = ""
    rounds: int = 0
    committed: int = 0
    views: int = 0
    told: dict = field(default_factory=dict)
    wrong: list = field(default_factory=list)
    errors: dict = field(default_factory=dict)
    seconds: int = 0

    def as_json(self):
        return asdict(self)


def run(bed, cell, number):
    """Runs it; never raises for what the filesystem or the VFS does."""
    result = Result(cell.place.key, cell.flavour.key, cell.fault, list(cell.steps))
    begun = time.monotonic()
    bank = None
    try:
        bank = Bank(bed, cell.place, cell.flavour, f"cell{number}")
        bank.create()
        WORK[cell.fault](bank, cell, result)
        bank.judge()
    except Refused as refused:
        result.verdict = "refused"
        result.wrong.append(str(refused))
    except Gone as gone:
        (bank.wrong if bank else result.wrong).append(f"stuck: {gone}")
    if bank:
        result.wrong += bank.wrong
        result.committed, result.views, result.errors = len(bank.committed), bank.views, bank.errors
    result.verdict = result.verdict or ("WRONG" if result.wrong else "right")
    result.seconds = round(time.monotonic() - begun)
    return result


def all_at_once(bank, cell, result):
    """Writers and a reader on each client, small and large transactions."""
    programs = []
    for machine in bank.machines:
        for kind in ("small", "large", "reader"):
            program = bank.client(machine)
            programs.append((program, kind))
    for program, kind in programs:
        if kind == "reader":
            program.tell(views=1_000_000)
        else:
            program.tell(transfers=[bank.worker(), 1, cell.rounds, kind == "large"])
    for program, kind in programs:
        if kind != "reader":
            bank.drain(program, PATIENCE * 3)
    for program, kind in programs:
        bank.close(program)
    result.rounds = cell.rounds * 2 * len(bank.machines)


def turns(bank, cell, result):
    """One commits, then the other must see it and commit on top of it: the hand-over, back and forth."""
    programs = [(bank.client(machine), bank.worker()) for machine in bank.bed.clients]
    latest = 0
    for seq in range(1, cell.rounds + 1):
        for (writer, worker), (reader, _) in (programs, programs[::-1]):
            outcome = bank.transfer(writer, worker, seq, large=seq % 5 == 0)
            latest = max(latest, bank.committed.get((worker, seq), 0))
            reader.tell(views=1)
            bank.drain(reader)
            seen = bank.last_seen.get(id(reader), 0)
            if seen < latest:
                bank.wrong.append(f"{reader.machine.name} saw number {seen} after {latest} had been reported")
            if outcome != "committed" and len(bank.wrong) < 20:
                bank.wrong.append(f"turn {seq}: {outcome}, with nobody else there: {bank.errors}")
        result.rounds += 1
        if len(bank.wrong) > 20:
            break
    for program, _ in programs:
        bank.close(program)


def faults(bank, cell, result):
    """The fault at each step, each of `rounds` times, while readers on both sides look."""
    watchers = Watchers(bank)
    for step in cell.steps:
        for _ in range(cell.rounds):
            # At rest until the step is reached: a reader would take over as well as a writer.
            watchers.rest()
            outcome = FAULTS[cell.fault](Round(bank, step, watchers))
            key = f"{step}: {outcome}"
            result.told[key] = result.told.get(key, 0) + 1
            result.rounds += 1
    watchers.rest()
    for program in watchers.programs.values():
        bank.close(program)


class Watchers:
    """A reader on each client."""

    def __init__(self, bank):
        self.bank, self.programs = bank, {}

    def look(self):
        for machine in self.bank.bed.clients:
            self.programs[machine].tell(views=1_000_000)

    def rest(self):
        """They stop looking, and hold no lock. Whoever has died with its machine is replaced."""
        for machine in self.bank.bed.clients:
            program = self.programs.get(machine)
            if program:
                if program.alive():
                    program.tell(rest=1)
                self.bank.drain(program)
            if not program or not program.alive():
                self.programs[machine] = self.bank.client(machine)


WORK = {"bank": all_at_once, "turns": turns, **dict.fromkeys(FAULTS, faults)}
