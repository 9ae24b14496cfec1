"""A program that uses the bank's database: one process, one connection. It gets JSON lines and answers with JSON lines.

Its argument: {"database": path, "extension": path or null, "uri": more of the URI, "busy_ms": n, "pause_ms": n, "prelude": SQL}.
With a pause it is this program that tries again so often while the database is busy, and not SQLite, which would do so ten times a
second: where many wait at once that alone would keep the emulated machines busy.

{"sql": "..."}                                    ->  {"rows": [...]} or {"error": "...", "code": n}
{"transfer": [worker, seq, large]}                ->  {"committed": [worker, seq, n]}, {"not": [worker, seq], ...} or {"unknown": ...}
{"transfers": [worker, first, count, large]}      ->  one of these for each, then {"done": how many}
{"maintain": count}                               ->  {"maintained": what}, {"view": [...]} of a backup, or {"unmaintained": what} for
                                                      each VACUUM, change of the schema and backup, then {"done": how many}
{"views": count}                                  ->  {"view": [...]} for each, then {"done": how many}
{"view": 1}                                       ->  {"view": [...]} or {"unread": 1, ...}
{"state": 1}                                      ->  {"state": everything that a verdict needs}
{"states": [path, ...]}                           ->  {"states": {path: {"state": that of a copy of another database}, {"missing": 1}
                                                      or {"error": ...}}}
{"node": 1}                                       ->  {"node": coord's name for this process at the database}

Many at once are cut short by the next line that arrives.
"""

import json
import os
import random
import select
import shutil
import sqlite3
import sys
import tempfile
import time

ACCOUNTS, FIRST_BALANCE, BALLAST = 16, 1000, 60


class Lines:
    """Standard input by lines, and whether there is more."""

    def __init__(self):
        self.unread = b""

    def waiting(self):
        return b"\n" in self.unread or bool(select.select([0], [], [], 0)[0])

    def next(self):
        while b"\n" not in self.unread:
            got = os.read(0, 65536)
            if not got:
                sys.exit(0)
            self.unread += got
        line, _, self.unread = self.unread.partition(b"\n")
        return json.loads(line)


def say(**message):
    os.write(1, (json.dumps(message) + "\n").encode())


loader = None  # the connection that has loaded coord


def error(failure):
    """What SQLite says, and coord's own sentence if it is there and has one."""
    try:
        [(why,)] = loader.execute("SELECT coord_last_error()").fetchall()
    except sqlite3.Error:
        why = None
    return {"error": f"{failure}: {why}" if why else str(failure), "code": getattr(failure, "sqlite_errorcode", -1)}


def look(run):
    """What a reader sees, each figure by a statement of its own: the sum, the counter, the history's rows and last number, and
    how many numbers beyond one the ballast bears."""
    questions = (
        "SELECT sum(balance) FROM account",
        "SELECT n FROM counter",
        "SELECT count(*), ifnull(max(n), 0) FROM history",
        "SELECT count(DISTINCT n) - 1 FROM ballast",
    )
    return [figure for question in questions for figure in run(question)[0]]


def copied(path, folder):
    """Copies a database and the files beside it into the folder; the copy's path."""
    directory, name = os.path.split(path)
    with os.scandir(directory) as entries:
        for entry in entries:
            if entry.name.startswith(name) and entry.is_file():
                try:
                    shutil.copyfile(entry.path, f"{folder}/{entry.name}")
                except FileNotFoundError:
                    pass  # somebody has removed it meanwhile
    return f"{folder}/{name}"


class Client:
    def __init__(self, plan):
        self.plan = plan
        global loader
        loader = sqlite3.connect(":memory:")
        if plan["extension"]:
            loader.enable_load_extension(True)
            loader.load_extension(plan["extension"])
        self.db = None
        self.open()

    def open(self):
        if self.db:
            self.db.close()
        uri = f"file:{self.plan['database']}?{self.plan['uri']}"
        timeout = 0 if self.plan.get("pause_ms") else self.plan["busy_ms"] / 1000
        self.db = sqlite3.connect(uri, uri=True, isolation_level=None, timeout=timeout)
        for statement in filter(None, self.plan["prelude"].split(";")):
            self.run(statement)

    def run(self, sql, values=()):
        """The rows; or the error, "busy" only after the plan's time."""
        pause, end = self.plan.get("pause_ms", 0) / 1000, time.monotonic() + self.plan["busy_ms"] / 1000
        while True:
            try:
                return self.db.execute(sql, values).fetchall()
            except sqlite3.Error as failure:
                if not pause or error(failure)["code"] & 0xFF != 5 or time.monotonic() > end:
                    raise
            time.sleep(pause)

    def recover(self, failure):
        """What an application does after an error that is not "busy": it opens anew and goes on."""
        if error(failure)["code"] & 0xFF != 5:
            for _ in range(20):
                try:
                    return self.open()
                except sqlite3.Error:
                    time.sleep(0.5)

    def create(self):
        self.db.executescript(
            f"""BEGIN IMMEDIATE;
            CREATE TABLE account(id INTEGER PRIMARY KEY, balance INTEGER NOT NULL, padding TEXT NOT NULL);
            CREATE TABLE history(n INTEGER PRIMARY KEY, worker INTEGER, seq INTEGER, src INTEGER, dst INTEGER, amount INTEGER,
                                 UNIQUE(worker, seq));
            CREATE TABLE counter(n INTEGER NOT NULL);
            CREATE TABLE ballast(id INTEGER PRIMARY KEY, n INTEGER, padding BLOB);
            INSERT INTO counter VALUES(0);
            WITH RECURSIVE ids(i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM ids WHERE i + 1 < {ACCOUNTS})
                INSERT INTO account SELECT i, {FIRST_BALANCE}, hex(zeroblob(800)) FROM ids;
            WITH RECURSIVE ids(i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM ids WHERE i + 1 < {BALLAST})
                INSERT INTO ballast SELECT i, 0, zeroblob(3500) FROM ids;
            COMMIT;"""
        )

    def begin(self, worker, seq, large):
        """Everything of a transfer but its COMMIT; its number. A large one rewrites the ballast, too much for the page cache, so
        that SQLite writes pages into the database before the commit."""
        rng = random.Random(worker * 1_000_003 + seq)
        src, dst = rng.sample(range(ACCOUNTS), 2)
        amount = rng.randint(1, 50)
        self.run("BEGIN IMMEDIATE")
        self.run("UPDATE counter SET n = n + 1")
        self.run("UPDATE account SET balance = balance - ? WHERE id = ?", (amount, src))
        self.run("UPDATE account SET balance = balance + ? WHERE id = ?", (amount, dst))
        [(number,)] = self.run("SELECT n FROM counter")
        self.run("INSERT INTO history VALUES(?, ?, ?, ?, ?, ?)", (number, worker, seq, src, dst, amount))
        if large:
            self.run("UPDATE ballast SET n = ?, padding = randomblob(3500)", (number,))
        return number

    def rollback(self):
        try:
            self.db.execute("ROLLBACK")
            return True
        except sqlite3.Error:
            return not self.db.in_transaction

    def transfer(self, worker, seq, large):
        try:
            number = self.begin(worker, seq, large)
        except sqlite3.Error as failure:
            self.rollback()
            say(**{"not": [worker, seq]}, **error(failure))
            return self.recover(failure)
        self.commit(worker, seq, number)

    def commit(self, worker, seq, number):
        try:
            self.run("COMMIT")
        except sqlite3.Error as failure:
            rolled_back = self.rollback()
            busy = error(failure)["code"] & 0xFF == 5
            say(**{"not" if busy and rolled_back else "unknown": [worker, seq]}, **error(failure))
            return self.recover(failure)
        say(committed=[worker, seq, number])

    def view(self):
        try:
            self.run("BEGIN")
            seen = look(self.run)
            self.run("COMMIT")
            say(view=seen)
        except sqlite3.Error as failure:
            self.rollback()
            say(unread=1, **error(failure))
            self.recover(failure)

    def maintain(self, turn):
        """One of the things that are done to a database beside its transactions."""
        what = ("VACUUM", "schema", "backup")[turn % 3]
        try:
            if what == "VACUUM":
                self.db.execute("VACUUM")
            elif what == "schema":
                name = f"by_amount_{os.uname().nodename}"
                self.db.execute(f"CREATE INDEX IF NOT EXISTS {name} ON history(amount)")
                self.db.execute(f"DROP INDEX IF EXISTS {name}")
            else:
                copy = sqlite3.connect(":memory:")
                self.db.backup(copy, pages=20)
                say(view=look(lambda sql: copy.execute(sql).fetchall()))
                copy.close()
            say(maintained=what)
        except sqlite3.Error as failure:
            self.rollback()
            say(unmaintained=what, **error(failure))
            self.recover(failure)

    def state(self):
        """By one connection, so it may be seen wrong and right at the same time only if the filesystem is."""
        self.run("BEGIN")
        try:
            return {
                "sum": self.run("SELECT sum(balance) FROM account")[0][0],
                "counter": self.run("SELECT n FROM counter")[0][0],
                "history": self.run("SELECT worker, seq, n FROM history ORDER BY n"),
                "ballast": self.run("SELECT count(DISTINCT n) FROM ballast")[0][0],
                "wrong_accounts": self.run(
                    f"""SELECT id, balance, {FIRST_BALANCE} + ifnull((SELECT sum(amount) FROM history WHERE dst = id), 0)
                                           - ifnull((SELECT sum(amount) FROM history WHERE src = id), 0) AS due
                        FROM account WHERE balance <> due"""
                ),
                "integrity": [row[0] for row in self.run("PRAGMA integrity_check")],
            }
        finally:
            self.rollback()

    def state_of_copy(self, path):
        """Of another database, which is left as it is."""
        with tempfile.TemporaryDirectory() as folder:
            try:
                self.plan["database"] = copied(path, folder)
                os.stat(self.plan["database"])
            except FileNotFoundError:
                return {"missing": 1}
            except OSError as failure:
                return {"error": f"it cannot be copied: {failure}", "code": -1}
            try:
                self.open()
                return {"state": self.state()}
            except sqlite3.Error as failure:
                return error(failure)

    def obey(self, request, lines):
        [(word, value)] = request.items()
        if word == "transfer":
            self.transfer(*value)
        elif word == "begin":  # a transfer without its end, to be held open while something happens
            self.begun = (*value[:2], self.begin(*value))
            say(begun=self.begun)
        elif word == "commit":
            self.commit(*self.begun)
        elif word == "transfers":
            worker, first, count, large = value
            rng, done = random.Random(worker), 0
            while done < count and not lines.waiting():
                self.transfer(worker, first + done, large)
                done += 1
                time.sleep(rng.random() * 0.1)
            say(done=done)
        elif word in ("views", "maintain"):
            done = 0
            while done < value and not lines.waiting():
                self.view() if word == "views" else self.maintain(done)
                done += 1
                if done < value:
                    time.sleep(0.3)
            say(done=done)
        elif word == "view":
            self.view()
        elif word == "states":
            say(states={path: self.state_of_copy(path) for path in value})
        elif word == "node":
            [(status,)] = self.run("PRAGMA coord_status")
            say(node=json.loads(status)["node"])
        elif word == "state":
            say(state=self.state())
        elif word == "create":
            self.create()
            say(created=1)
        elif word == "sql":
            say(rows=self.run(value))
        elif word == "close":
            self.db.close()
            say(closed=1)
            sys.exit(0)


def main(plan):
    try:
        client = Client(plan)
    except sqlite3.Error as failure:
        return say(refused=1, **error(failure))
    say(ready=1)
    lines = Lines()
    while True:
        request = lines.next()
        try:
            client.obey(request, lines)
        except sqlite3.Error as failure:
            say(**error(failure))


if __name__ == "__main__":
    main(json.loads(sys.argv[1]))
