"""The bank with its history on one filesystem, and what was seen of it from all sides.

Each transfer moves money between two accounts, raises a counter and writes one row of history under the new number. A commit is
*reported* once its line has reached this process, outside of the machines: no fault there can take that back.
"""

import json
import subprocess
import sys
from collections import Counter

from .machine import PATIENCE, Gone

SUM = 16_000
# Primary result codes of SQLite. The first is an answer; with any of the others somebody has seen damage, whatever is found later: tables
# that are not there (ERROR), a number that was given twice (CONSTRAINT).
BUSY = 5
DAMAGED = {"ERROR": 1, "CORRUPT": 11, "CONSTRAINT": 19, "MISMATCH": 20, "NOTADB": 26}


def primary(code):
    """The result code without its extension."""
    return int(code) & 0xFF


class Bank:
    def __init__(self, bed, place, flavour, name, mount=True):
        """`mount`: the directory is made, too, on a filesystem that may not be mounted yet."""
        self.bed, self.place, self.flavour, self.name = bed, place, flavour, name
        self.directory = f"{place.directory}/{name}"
        self.database = f"{self.directory}/bank.db"
        self.committed, self.refused, self.unknown = {}, set(), set()
        self.errors = {}  # by code: how often and the first text
        self.views, self.last_seen, self.wrong = 0, {}, []
        self.known = {}  # the highest number that had been reported when a program was asked to look, by its id
        self.did = Counter()  # how often each program did what, by its id and the word
        self.workers = self.maintained = 0
        self.created = False
        self.machines = bed.clients if place.shared else (bed.left,)
        if mount:
            for machine in self.machines:
                bed.mount(place, machine)
            bed.left.ok(f"rm -rf {self.directory}; mkdir {self.directory}")

    # Programs.

    def launch(self, machine, prelude="PRAGMA cache_size=10", stops=None, pause_ms=0):
        """Starts a process that opens a connection. `stops`: the file that names where it stops."""
        environment = dict(self.flavour.environment)
        if stops:
            environment["COORD_TEST_STOPS"] = stops
        plan = self.flavour.plan(self.database, prelude, self.place.refused) | {"pause_ms": pause_ms}
        return machine.client(plan, environment)

    def ready(self, program):
        """Waits until it has the database open."""
        answer = program.next()
        if "ready" not in answer:
            raise Refused(answer.get("error") or answer.get("text") or str(answer))
        return program

    def client(self, machine, **more):
        """A process with an open connection."""
        return self.ready(self.launch(machine, **more))

    def copy_of(self, other):
        """The database of another bank, which nobody uses, in this one's place, with its registry: quicker than `create`."""
        self.bed.left.ok(f"rm -rf {self.directory}; cp -r {other.directory} {self.directory}")
        self.created = True

    def create(self, machine=None):
        program = self.client(machine or self.bed.left)
        answer = program.ask(create=1)
        if "created" not in answer:
            raise Refused(answer.get("error", str(answer)))
        self.close(program)
        self.created = True

    def close(self, program):
        """Lets it go, and notes what it says until it has ended."""
        try:
            program.tell(close=1)
            while True:
                self.note(program, program.next())
        except Gone as gone:
            self.silent(program, gone)

    def worker(self):
        """A number for someone who makes transfers; never given twice."""
        self.workers += 1
        return self.workers

    def transfer(self, program, worker, seq=1, large=False, timeout=PATIENCE):
        """One transfer; the word that came back."""
        program.tell(transfer=[worker, seq, large])
        return self.outcome(program, timeout)

    def outcome(self, program, timeout=PATIENCE):
        while True:
            message = program.next(timeout)
            self.note(program, message)
            for word in ("committed", "not", "unknown"):
                if word in message:
                    return word

    def drain(self, program, timeout=PATIENCE):
        """Notes all it says until it is done, or has ended."""
        try:
            while True:
                message = program.next(timeout)
                self.note(program, message)
                if "done" in message:
                    return True
        except Gone as gone:
            self.silent(program, gone)
            return False

    def silent(self, program, gone):
        """It says nothing more, which is right if it has ended."""
        if program.alive():
            self.wrong.append(f"a program hangs: {gone}")

    def note(self, program, message):
        self.did.update((id(program), word) for word in ("committed", "view", "maintained") if word in message)
        if "committed" in message:
            worker, seq, number = message["committed"]
            self.committed[worker, seq] = number
        elif "not" in message:
            self.refused.add(tuple(message["not"]))
        elif "unknown" in message:
            self.unknown.add(tuple(message["unknown"]))
        elif "maintained" in message:
            self.maintained += 1
        elif "view" in message:
            self.views += 1
            self.look(program, *message["view"])
        elif "text" in message:
            self.wrong.append(f"{program.machine.name} says: {message['text'][:300]}")
        if "error" in message:
            count, text = self.errors.get(message["code"], (0, message["error"]))
            self.errors[message["code"]] = (count + 1, text)
            name, code, words = program.machine.name, primary(message["code"]), message["error"][:300]
            if code in DAMAGED.values():
                self.wrong.append(f"{name} was told: {words}")
            elif program.unharmed and code != BUSY:
                self.wrong.append(f"{name} was told, though nothing had befallen it: {words}")

    def look(self, program, total, counter, rows, last, stray):
        before = self.last_seen.get(id(program), 0)
        if total != SUM or not counter == rows == last or stray:
            seen = f"sum {total}, counter {counter}, rows {rows}, last {last}, ballast of {stray + 1} transfers"
            self.wrong.append(f"a reader on {program.machine.name} saw {seen}")
        if counter < self.known.get(id(program), 0):
            self.wrong.append(f"a reader on {program.machine.name} saw number {counter} after {self.known[id(program)]} had been reported")
        if counter < before:
            self.wrong.append(f"a reader on {program.machine.name} saw number {counter} after {before}")
        self.last_seen[id(program)] = counter

    def must_have(self, program, word):
        """Each must have had its part, else the others were undisturbed by it."""
        if not self.did[id(program), word]:
            self.wrong.append(f"nothing was shown: a program on {program.machine.name} never said {word!r}")

    def nothing_happened(self):
        """Where there was no fault, nobody may be told of anything but of others who use it, and work must have been done."""
        for code, (count, text) in self.errors.items():
            if primary(code) != BUSY:
                self.wrong.append(f"with no fault at all, {count} times: {text[:300]}")
        if not self.committed or not self.views:
            self.wrong.append(f"nothing was shown: {len(self.committed)} commits, {self.views} reads")

    def asks(self, program, **message):
        """Asks it to look, after all that has been reported by now."""
        self.known[id(program)] = max(self.committed.values(), default=0)
        program.tell(**message)

    # The verdict. Nobody may be using the database any more.

    def judge(self):
        """Everything that is wrong; empty is good."""
        closing = self.client(self.bed.left)
        outcome = self.transfer(closing, self.worker())
        if outcome != "committed":
            self.wrong.append(f"afterwards nobody can commit: {outcome}, {self.errors}")
        self.close(closing)
        states = {}
        for machine in self.machines:
            program = self.client(machine)
            states[machine.name] = program.ask(state=1)
            self.close(program)
        for machine in self.machines:
            machine.ok("sync")
        states["the server"] = states_at_server(self.bed, self.place, [self.name])[self.name]
        for who, answer in states.items():
            self.check(who, answer)
        self.wrong += [f"a lock was left behind: {name}" for name in self.locks()]
        return self.wrong

    def check(self, who, answer):
        if answer is None:
            return
        if "missing" in answer:
            self.wrong.append(f"{who}: LOST: the database itself is not there")
            return
        if "state" not in answer:
            self.wrong.append(f"{who} cannot read: {answer}")
            return
        state = answer["state"]
        history = {(worker, seq): n for worker, seq, n in state["history"]}
        numbers = sorted(n for _, _, n in state["history"])
        if state["integrity"] != ["ok"]:
            self.wrong.append(f"{who}: integrity_check: {state['integrity'][:3]}")
        if state["sum"] != SUM or state["counter"] != len(numbers) or numbers != list(range(1, len(numbers) + 1)):
            self.wrong.append(f"{who}: sum {state['sum']}, counter {state['counter']}, {len(numbers)} numbers in the history")
        if state["wrong_accounts"]:
            self.wrong.append(f"{who}: accounts against their history: {state['wrong_accounts'][:3]}")
        if state["ballast"] != 1:
            self.wrong.append(f"{who}: half of a large transaction is there")
        for key, number in self.committed.items():
            if history.get(key) != number:
                self.wrong.append(f"{who}: LOST: transfer {key}, reported as number {number}; there it is {history.get(key)}")
        for key in self.refused & history.keys():
            self.wrong.append(f"{who}: transfer {key} is there, though it did not commit")

    def locks(self):
        """Names of locks that stand although nobody is left, where they really are: a client may remember a directory for a minute."""
        look = "ls -d bank.db.lock bank.db.lock/.nfs* 2>/dev/null; ls bank.db.lock bank.db.readers 2>/dev/null; true"
        if self.place.server:
            names = self.bed.server.ok(f"cd {self.place.server}/{self.name}; {look}")
        elif self.place.shared:
            names = subprocess.run(["sh", "-c", look], cwd=self.bed.shared / self.name, capture_output=True, text=True).stdout
        else:
            names = self.bed.left.ok(f"cd {self.directory}; {look}")
        words = ("bank.db.lock", "reader.", "exclusive.", "write.", "fence.")
        return [name for name in names.split() if name.startswith(words) and not name.endswith(":")]


def states_at_server(bed, place, names):
    """What plain SQLite makes of copies of the files where they really are, by the bank's name; `None` where there is no such place."""
    # "rw": what is not there must not be made by looking at it.
    plan = {"extension": None, "uri": "vfs=unix&mode=rw", "busy_ms": 1000, "prelude": "", "database": ":memory:"}
    if not place.server and not place.shared:
        return dict.fromkeys(names)
    paths = {name: f"{place.server or bed.shared}/{name}/bank.db" for name in names}
    request = {"states": list(paths.values())}
    if place.server:
        program = bed.server.client(plan)
        program.next()
        answer = program.ask(**request)
        program.tell(close=1)
    else:
        client = bed.folder / "host/guest/client.py"
        command = [sys.executable, client, json.dumps(plan)]
        done = subprocess.run(command, input=json.dumps(request) + "\n", capture_output=True, text=True)
        answer = json.loads(done.stdout.splitlines()[-1])
    return {name: answer["states"][path] for name, path in paths.items()}


# One of these is in what a control finds: data that are wrong. That somebody could not go on, or that a step was not reached, is none.
DAMAGE = (": LOST: ", " saw ", "integrity_check", "accounts against", "half of a large", "no such table", " was told: ")


def shows_damage(wrong):
    return any(sign in text for sign in DAMAGE for text in wrong)


class Refused(Exception):
    """The database could not be opened; the words say why."""
