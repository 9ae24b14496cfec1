"""A program that uses the bank's database: one process, one connection. It gets JSON lines and answers with JSON lines.

Its argument: {"database": path, "vfs": name or null, "extension": path or null, "uri": more of the URI, "busy_ms": n, "prelude": SQL}

{"sql": "..."}                                    ->  {"rows": [...]} or {"error": "...", "code": n}
{"transfer": [worker, seq, large]}                ->  {"committed": [worker, seq, n]}, {"not": [worker, seq], ...} or {"unknown": ...}
{"transfers": [worker, first, count, large]}      ->  one of these for each, then {"done": how many}
{"views": count}                                  ->  {"view": [...]} for each, then {"done": how many}
{"state": 1}                                      ->  {"state": everything that a verdict needs}

Many at once are cut short by the next line that arrives.
"""

import json
import os
import random
import select
import sqlite3
import sys
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


def error(failure):
    return {"error": str(failure), "code": getattr(failure, "sqlite_errorcode", -1)}


class Client:
    def __init__(self, plan):
        self.plan = plan
        if plan["extension"]:
            loader = sqlite3.connect(":memory:")
            loader.enable_load_extension(True)
            loader.load_extension(plan["extension"])
        self.db = None
        self.open()

    def open(self):
        if self.db:
            self.db.close()
        uri = f"file:{self.plan['database']}?{self.plan['uri']}"
        self.db = sqlite3.connect(uri, uri=True, isolation_level=None, timeout=self.plan["busy_ms"] / 1000)
        for statement in filter(None, self.plan["prelude"].split(";")):
            self.db.execute(statement).fetchall()

    def recover(self, failure):
        """What an application does after an error that is not "busy": it opens anew and goes on."""
        if error(failure)["code"] & 0xFF != 5:
            for _ in range(20):
                try:
                    return self.open()
                except sqlite3.Error:
                    time.sleep(0.5)

    def rows(self, sql):
        return self.db.execute(sql).fetchall()

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
        self.db.execute("BEGIN IMMEDIATE")
        self.db.execute("UPDATE counter SET n = n + 1")
        self.db.execute("UPDATE account SET balance = balance - ? WHERE id = ?", (amount, src))
        self.db.execute("UPDATE account SET balance = balance + ? WHERE id = ?", (amount, dst))
        [(number,)] = self.rows("SELECT n FROM counter")
        self.db.execute("INSERT INTO history VALUES(?, ?, ?, ?, ?, ?)", (number, worker, seq, src, dst, amount))
        if large:
            self.db.execute("UPDATE ballast SET n = ?, padding = randomblob(3500)", (number,))
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
            self.db.execute("COMMIT")
        except sqlite3.Error as failure:
            rolled_back = self.rollback()
            busy = error(failure)["code"] & 0xFF == 5
            say(**{"not" if busy and rolled_back else "unknown": [worker, seq]}, **error(failure))
            return self.recover(failure)
        say(committed=[worker, seq, number])

    def view(self):
        try:
            self.db.execute("BEGIN")
            [(total,)] = self.rows("SELECT sum(balance) FROM account")
            [(counter,)] = self.rows("SELECT n FROM counter")
            [(rows, last)] = self.rows("SELECT count(*), ifnull(max(n), 0) FROM history")
            [(stray,)] = self.rows("SELECT count(DISTINCT n) - 1 FROM ballast")
            self.db.execute("COMMIT")
            say(view=[total, counter, rows, last, stray])
        except sqlite3.Error as failure:
            self.rollback()
            say(unread=1, **error(failure))
            self.recover(failure)

    def state(self):
        """By one connection, so it may be seen wrong and right at the same time only if the filesystem is."""
        return {
            "integrity": [row[0] for row in self.rows("PRAGMA integrity_check")],
            "sum": self.rows("SELECT sum(balance) FROM account")[0][0],
            "counter": self.rows("SELECT n FROM counter")[0][0],
            "history": self.rows("SELECT worker, seq, n FROM history ORDER BY n"),
            "ballast": self.rows("SELECT count(DISTINCT n) FROM ballast")[0][0],
            "wrong_accounts": self.rows(
                f"""SELECT id, balance, {FIRST_BALANCE} + ifnull((SELECT sum(amount) FROM history WHERE dst = id), 0)
                                       - ifnull((SELECT sum(amount) FROM history WHERE src = id), 0) AS due
                    FROM account WHERE balance <> due"""
            ),
        }

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
        elif word == "views":
            done = 0
            while done < value and not lines.waiting():
                self.view()
                done += 1
                if done < value:
                    time.sleep(0.3)
            say(done=done)
        elif word == "state":
            say(state=self.state())
        elif word == "create":
            self.create()
            say(created=1)
        elif word == "sql":
            say(rows=self.rows(value))
        elif word == "close":
            self.db.close()
            say(closed=1)
            sys.exit(0)


def main():
    try:
        client = Client(json.loads(sys.argv[1]))
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


main()
