"""A rank of databases under one fault: a freeze, a cut or a lost machine costs minutes here, so each of them strikes many databases
at once. On every database a victim on the right stands at the database's own step, a watcher on the right reads, and an heir on
the left goes on. Every database is judged by itself.
"""

import time

from .bank import Bank, Refused, shows_damage, states_at_server
from .faults import UNHARMED
from .flavours import LEASE_MS
from .machine import PATIENCE, Gone
from .steps import MID_PAGES, POINTS, RELEASE, SILENT, SMALL, SPILLED, TAKEOVER, schedule

# Databases at once. More would only wait for each other: two processors carry all three machines.
WIDTH = 36
# Each step has its rounds in at least so many events, if there are as many, so that not all of them are the same moment.
EVENTS = 2
# Where a guard is out: so many databases at once, in as many events as it takes until one of them shows it. What goes wrong then
# is a race, and on a busy machine it may end well.
CONTROL_WIDTH = 4
# For all of them together, as all of them are asked at once: one that never answers must not cost as long for each that follows.
SOON = PATIENCE * 2
# How often, two seconds apart, a lock must be there that nobody alive seems to have.
LOOKS = 4


def left(end):
    """Seconds until then, for whoever has answered long ago at least one."""
    return max(1, round(end - time.monotonic()))


class Case:
    """One database: its bank, its step, and who uses it. A second one that begins anew where the first was wrong has a bank of its own."""

    def __init__(self, rank, step, number):
        self.rank, self.step, self.number = rank, step, number
        self.flavour = rank.cell.flavour.giving_back_at_once() if step in RELEASE else rank.cell.flavour
        self.banks, self.programs = [], {}
        self.begin_anew()

    def begin_anew(self):
        """A fresh database. Whoever used the old one is killed; he may hang in his kernel for ever."""
        rank = self.rank
        for program in self.programs.values():
            if program.alive():
                program.signal("KILL")
        self.programs, self.lost = {}, ""
        name = f"{rank.name}-{self.number}-{len(self.banks)}"
        self.bank, self.reported = Bank(rank.bed, rank.cell.place, self.flavour, name, mount=False), 0
        self.bank.copy_of(rank.template)
        self.banks.append(self.bank)

    def launch(self, role):
        """Starts the program of that role, unless it runs."""
        if role in self.programs and self.programs[role].alive():
            return None
        rank = self.rank
        stops = f"{self.number}.{role}" if role in ("victim", "first") else None
        machine = rank.bed.left if role == "heir" else rank.bed.right
        self.programs[role] = self.bank.launch(machine, stops=stops and f"/stops/{stops}", pause_ms=500)
        self.programs[role].unharmed = role in UNHARMED.get(rank.cell.fault, ())
        return self.programs[role]

    def wrong(self, text):
        self.bank.wrong.append(text)

    def report(self, result, when):
        """Gives the result what was found wrong since the last time."""
        result.wrong += [f"{self.step}, {when}, database {self.number}: {text}" for text in self.bank.wrong[self.reported :]]
        self.reported = len(self.bank.wrong)

    def lose(self, text):
        """Nothing more can be asked of it until it begins anew."""
        self.lost = text
        self.wrong(text)

    def __getattr__(self, role):
        if role in ("victim", "watcher", "heir", "first"):
            return self.programs[role]
        raise AttributeError(role)


class Rank:
    def __init__(self, bed, cell, name):
        self.bed, self.cell, self.name = bed, cell, name
        self.folder = bed.stops
        self.left, self.right, self.server = bed.left, bed.right, bed.server
        self.template = Bank(bed, cell.place, cell.flavour, f"{name}-template")
        self.template.create()
        each = max(1, min(WIDTH // len(cell.steps), -(-cell.rounds // EVENTS)))
        if cell.flavour.without:
            each = CONTROL_WIDTH
        self.left_over = {step: cell.rounds for step in cell.steps}
        numbered = enumerate(step for step in cell.steps for _ in range(each))
        self.all_cases = [Case(self, step, number) for number, step in numbered]
        self.cases, self.times, self.looking = [], [], False

    def mark(self, phase):
        self.times.append((phase, time.monotonic()))

    def events(self):
        """Chooses, event by event, the databases that take part, until every step has had its rounds or a control has shown."""
        while any(self.left_over.values()) and not self.shown():
            self.cases = []
            for case in self.all_cases:
                if self.left_over[case.step]:
                    self.left_over[case.step] -= 1
                    self.cases.append(case)
            yield self.cases

    def shown(self):
        """Without the guard it went wrong, as it has to."""
        return self.cell.flavour.without and any(shows_damage(case.bank.wrong) for case in self.cases)

    # What happens to all of them at once. What does not answer is that database's own failure, not the others'.

    def each(self, work, cases=None):
        for case in self.cases if cases is None else cases:
            if not case.lost:
                try:
                    work(case)
                except (Gone, Refused) as failure:
                    case.lose(str(failure))

    def prepare(self):
        """Everybody has the database open and is at rest. Opened first: opening reads, and who reads takes over as well."""
        self.times = [("begin", time.monotonic())]
        for file in self.folder.iterdir():
            file.unlink()
        for case in self.cases:
            if case.lost or case.bank.wrong:
                case.begin_anew()
            case.worker, case.seq, case.outcome = case.bank.worker(), 1, "nothing"
        self.open("heir", "watcher", "victim")
        self.open("first", cases=self.taking_over())
        self.mark("prepared")

    def open(self, *roles, cases=None):
        begun = []
        for role in roles:
            self.each(lambda case: begun.append((case, case.launch(role))), cases)
        for case, program in begun:
            self.each(lambda case: program and case.bank.ready(program), [case])

    def taking_over(self):
        return [case for case in self.cases if case.step in TAKEOVER]

    def approach(self):
        """Brings every victim to its step, and lets the watchers look from then on."""
        firsts = self.taking_over()
        self.stand(firsts, "first", lambda case: MID_PAGES, lambda case: (case.bank.worker(), 1))
        self.kill("first", firsts)
        self.stand(self.cases, "victim", lambda case: POINTS.get(case.step), lambda case: (case.worker, 1))
        self.each(lambda case: case.bank.asks(case.watcher, views=2))
        self.looking = True
        self.mark("approached")

    def rest(self):
        """The watchers have looked, or are dead."""
        if self.looking:
            self.each(lambda case: case.bank.drain(case.watcher))
        self.looking = False

    def stand(self, cases, role, points, transfer):
        for case in cases:
            if case.step != SPILLED:
                (self.folder / f"{case.number}.{role}").write_text(schedule(points(case)))
        for case in cases:
            word = "begin" if case.step == SPILLED else "transfer"
            large = role == "first" or case.step not in SMALL
            self.each(lambda case: getattr(case, role).tell(**{word: [*transfer(case), large]}), [case])
        end = time.monotonic() + PATIENCE
        for case in cases:
            self.each(lambda case: self.wait_for(case, getattr(case, role), self.sign(case, role, points(case)), end), [case])

    def sign(self, case, role, points):
        """The file that is there while it is held at the last of these points."""
        return self.folder / f"{case.number}.{role}.{points[-1] if points else SPILLED}.held"

    def wait_for(self, case, program, sign, end):
        """Until it stands at its step. It does not if it says something instead, or nothing for long."""
        if case.step == SPILLED:
            answer = program.next()
            if "begun" not in answer:
                raise Gone(f"the step was not reached: {answer}")
            return
        while not sign.exists():
            if not program.lines.empty() or time.monotonic() > end:
                raise Gone(f"the step was not reached: {list(program.lines.queue)}")
            time.sleep(0.1)

    def go_on(self, cases=None):
        """Their victims run again, at once: the signs they wait for are the host's files, so even a frozen machine finds them gone."""
        cases = self.cases if cases is None else cases
        for case in cases:
            self.sign(case, "victim", POINTS.get(case.step)).unlink(missing_ok=True)
        self.each(lambda case: case.step == SPILLED and case.victim.tell(commit=1), cases)

    def beating(self):
        """Those whose victims send heartbeats where they stand, and the others."""
        return [[case for case in self.cases if (case.step in SILENT) == silent] for silent in (False, True)]

    def kill(self, role, cases):
        pids = [str(case.programs[role].pid) for case in cases if not case.lost]
        if pids:
            self.right.ok(f"kill -KILL {' '.join(pids)}")
        self.each(lambda case: case.bank.drain(getattr(case, role)), cases)

    def dead(self):
        """The victims are gone, and cannot be told."""
        for case in self.cases:
            case.outcome = "dead"

    def take_over(self, role="heir"):
        """Somebody else looks and commits on every database."""
        if role == "watcher":
            self.rest()
        self.begin_to_take_over(role)
        self.taken_over(role)

    def begin_to_take_over(self, role="heir"):
        """Whoever has the lock still keeps him waiting."""
        worker = {case: case.bank.worker() for case in self.cases}
        for case in self.cases:
            self.each(lambda case: case.bank.asks(case.programs[role], view=1), [case])
            for seq in (1, 2):
                self.each(lambda case: case.programs[role].tell(transfer=[worker[case], seq, seq == 1]), [case])

    def nobody_gets_in(self, cases):
        """For two leases: who stands there sends heartbeats all the while."""
        time.sleep(2 * LEASE_MS / 1000)
        for case in cases:
            said = [line for line in case.heir.lines.queue if line and "committed" in line]
            if said and not case.lost:
                case.wrong(f"somebody committed past one who lives and has the lock: {said}")
        self.mark("kept waiting")

    def taken_over(self, role="heir"):
        """He has committed, at the second try at the latest."""
        end = time.monotonic() + SOON
        self.each(lambda case: self.could_commit(case, role, end))
        self.mark(f"taken over by {role}")

    def could_commit(self, case, role, end):
        outcomes = [case.bank.outcome(case.programs[role], left(end)) for _ in (1, 2)]
        if "committed" not in outcomes:
            case.wrong(f"kept out: {outcomes}, {case.bank.errors}")

    def end(self):
        """How the victims' transactions ended."""

        end = time.monotonic() + SOON

        def ended(case):
            case.outcome = case.bank.outcome(case.victim, left(end))

        self.each(ended)
        self.mark("ended")

    def commit_again(self):
        """Each victim must be able to commit afterwards; once it may be told of what it lost."""

        def again(case):
            case.seq += 1
            case.victim.tell(transfer=[case.worker, case.seq, False])

        def after(case):
            case.after.append(case.bank.outcome(case.victim, left(end)))

        for case in self.cases:
            case.after = []
        for _ in (1, 2):
            still = [case for case in self.cases if case.after[-1:] != ["committed"]]
            self.each(again, still)
            end = time.monotonic() + SOON
            self.each(after, still)
        for case in self.cases:
            if not case.lost and case.after[-1] != "committed":
                case.wrong(f"the one who came back cannot commit any more: {case.after}, {case.bank.errors}")

    # The verdict on each.

    def judge(self):
        """Both clients' views and the server's files against what was reported; and the names that are left."""
        self.mark("committed again")
        nodes = set()
        roles = [role for role in ("heir", "watcher") if role in self.cases[0].programs]
        self.rest()
        for role in roles:
            self.each(lambda case: case.programs[role].tell(state=1))
        end = time.monotonic() + SOON
        for role in roles:
            self.each(lambda case: case.bank.check(case.programs[role].machine.name, self.answer(case, role, "state", end)))
        if self.cell.flavour.coord:
            for case in self.cases:
                for role in (*roles, "victim"):
                    if case.programs[role].alive():
                        self.each(lambda case: nodes.add(case.programs[role].ask(node=1).get("node")), [case])
        self.check_at_server(self.cases)
        for case, names in self.left_behind(nodes):
            for name in names:
                case.wrong(f"a lock was left behind: {name}")
        self.mark("judged")

    def check_at_server(self, cases):
        """The files where they really are. What waits in the clients' kernels goes there first, so that nothing comes after the look."""
        for machine in self.bed.clients:
            machine.ok("sync")
        states = states_at_server(self.bed, self.cell.place, [case.bank.name for case in cases])
        for case in cases:
            case.bank.check("the server", states[case.bank.name])

    def left_behind(self, nodes):
        """Of each database what stood there at every look. Who lives may keep what he has for a while, and the lock directory with
        it; the last look, when all are gone, knows no such excuse."""
        living = [node for node in nodes if node]
        left = [(case, []) for case in self.cases]
        for look in range(LOOKS):
            if left and look:
                time.sleep(2)
            found = [(case, [name for name in case.bank.locks() if not any(node in name for node in living)]) for case, _ in left]
            left = [(case, names) for case, names in found if names]
        return left

    def answer(self, case, role, word, end):
        while True:
            message = case.programs[role].next(left(end))
            if word in message or "error" in message and "unread" not in message:
                return message
            case.bank.note(case.programs[role], message)

    def close(self):
        """Everybody leaves; then every reported commit must be there still, and no lock may be left at all."""
        living = [case for case in self.all_cases if not case.lost and not case.bank.wrong]
        for case in living:
            programs = [program for program in case.programs.values() if program.alive()]
            self.each(lambda case: [program.tell(close=1) for program in programs], [case])
            self.each(lambda case: [case.bank.drain(program) for program in programs], [case])
        self.check_at_server(living)
        for case in living:
            for name in case.bank.locks():
                case.wrong(f"a lock was left behind when all had gone: {name}")

    def collect(self, result):
        """What is not in the result yet of what was wrong, and all that was seen, also where a fault was broken off in its midst."""
        result.wrong += self.template.wrong
        for case in self.all_cases:
            case.report(result, "at the end")
            for bank in case.banks:
                result.add(bank)

    def seconds(self):
        """How long the phases of the event took, for whoever makes the suite faster."""
        return ", ".join(f"{name} {round(end - begin)} s" for (_, begin), (name, end) in zip(self.times, self.times[1:]))
