"""A cell: one filesystem, one way to open the database, one kind of trouble, some rounds; and the verdict on it."""

import time
from dataclasses import asdict, dataclass, field

from .bank import Bank, Refused, shows_damage
from .check import check
from .faults import FAULTS
from .flavours import Flavour
from .machine import PATIENCE, Gone
from .mounts import Place
from .rank import Rank
from .replace import replace
from .requests import TIMES, count
from .say import progress
from .speed import speed
from .takeover import takeover


BROKEN_OFF = "broken off"


def outranks(wrong):
    """Whether something was seen by then that no machine that is gone explains."""
    return shows_damage(wrong) or any("a lock was left behind" in text or "nothing had befallen it" in text for text in wrong)


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
    by_step: dict = field(default_factory=dict)  # step -> rounds, and those that were wrong
    wrong: list = field(default_factory=list)
    errors: dict = field(default_factory=dict)
    requests: dict = field(default_factory=dict)
    speed: dict = field(default_factory=dict)
    leases: list = field(default_factory=list)  # how long each takeover took
    seconds: int = 0

    def add(self, bank):
        """What a bank has seen, beside what was wrong."""
        self.committed += len(bank.committed)
        self.views += bank.views
        for code, (count, text) in bank.errors.items():
            before, _ = self.errors.get(code, (0, text))
            self.errors[code] = (before + count, text)

    def as_json(self):
        return asdict(self)


def run(bed, cell, number):
    """Runs it; never raises for what the filesystem or the VFS does."""
    result = Result(cell.place.key, cell.flavour.key, cell.fault, list(cell.steps))
    begun = time.monotonic()
    bank, broken_off = None, []
    try:
        if cell.fault == "check":
            check(bed, cell, result)
        elif cell.fault == "replace":
            replace(bed, cell, result)
        elif cell.fault == "speed":
            speed(bed, cell, result)
        elif cell.fault in FAULTS:
            faults(bed, cell, number, result)
        else:
            bank = Bank(bed, cell.place, cell.flavour, f"cell{number}")
            bank.create()
            WORK[cell.fault](bank, cell, result)
            if cell.fault in UNDISTURBED:
                bank.nothing_happened()
            bank.judge()
    except Refused as refused:
        if not result.rounds:
            result.verdict = "refused"
        result.wrong.append(f"cannot open: {refused}")
    except Gone as gone:
        broken_off = [str(gone)]
    if bank:
        result.wrong += bank.wrong
        result.add(bank)
    if broken_off and not outranks(result.wrong):
        result.verdict = BROKEN_OFF
    result.wrong += broken_off
    result.verdict = result.verdict or ("WRONG" if result.wrong else "right")
    if cell.flavour.without and result.verdict == "WRONG" and not shows_damage(result.wrong):
        result.verdict = "wrong, but not as it has to be"
    result.seconds = round(time.monotonic() - begun)
    return result


def all_at_once(bank, cell, result):
    """Writers and a reader on each client, small and large transactions; or, instead of the large ones, VACUUM, changes of the
    schema and backups."""
    other = "maintain" if cell.fault == "maintenance" else "large"
    programs = []
    for machine in bank.machines:
        for kind in ("small", other, "reader"):
            program = bank.client(machine)
            programs.append((program, kind))
    for program, kind in programs:
        if kind == "reader":
            program.tell(views=1_000_000)
        elif kind == "maintain":
            program.tell(maintain=cell.rounds)
        else:
            program.tell(transfers=[bank.worker(), 1, cell.rounds, kind == "large"])
    for program, kind in programs:
        if kind != "reader":
            bank.drain(program, PATIENCE * 3)
    for program, kind in programs:
        bank.close(program)
        bank.must_have(program, {"reader": "view", "maintain": "maintained"}.get(kind, "committed"))
    if bank.maintained:
        result.told["VACUUM, change of the schema or backup"] = bank.maintained
    result.rounds = len(bank.committed) + bank.maintained


def requests(bank, cell, result):
    """What a transaction costs."""
    result.requests = count(bank)
    result.rounds = TIMES


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


def faults(bed, cell, number, result):
    """The fault at each step, each of `rounds` times, on many databases at once; they go on being used from one event to the next."""
    rank = Rank(bed, cell, f"cell{number}")
    try:
        for event, cases in enumerate(rank.events(), 1):
            rank.prepare()
            FAULTS[cell.fault](rank)
            rank.judge()
            for case in cases:
                key = f"{case.step}: {case.outcome}"
                result.told[key] = result.told.get(key, 0) + 1
                rounds, wrong = result.by_step.get(case.step, (0, 0))
                result.by_step[case.step] = (rounds + 1, wrong + bool(case.bank.wrong))
                result.rounds += 1
                case.report(result, f"event {event}")
            progress(f"    {rank.seconds()}, {result.rounds} rounds, {len(result.wrong)} wrong")
        rank.close()
    finally:
        rank.collect(result)


WORK = {"requests": requests, "takeover": takeover, "bank": all_at_once, "maintenance": all_at_once, "turns": turns}
# Of these, those in which nobody is killed.
UNDISTURBED = ("bank", "maintenance", "turns")
