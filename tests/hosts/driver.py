"""The part of the driver's protocol (driver/main.rs) that Python's own sqlite3 module can answer.

Run with an interpreter whose module loads extensions: /usr/bin/python3 on Debian. Takes no arguments.
"""

import contextlib
import os
import signal
import sqlite3
import sys

connections = {}


def unescape(field):
    text, chars = "", iter(field)
    for char in chars:
        if char == "\\":
            char = next(chars, "\\")
            char = {"t": "\t", "n": "\n"}.get(char, char)
        text += char
    return text


def escape(value):
    if value is None:
        return "\\0"
    if isinstance(value, bytes):
        value = value.decode("utf-8", "replace")
    return str(value).replace("\\", "\\\\").replace("\t", "\\t").replace("\n", "\\n")


def load(path, entry="", name=""):
    connection = connections[name] if name else sqlite3.connect(":memory:")
    connection.enable_load_extension(True)
    if entry:
        # Python before 3.12 has no entry-point argument; the SQL function has.
        connection.execute("SELECT load_extension(?, ?)", (path, entry))
    else:
        connection.load_extension(path)
    if not name:
        connection.close()


def open_(name, uri, vfs=""):
    if vfs:
        uri += ("&" if "?" in uri else "?") + "vfs=" + vfs
    # A busy timeout of nothing, as the C API has it; autocommit, so that BEGIN and COMMIT are the test's.
    connections[name] = sqlite3.connect(uri, uri=uri.startswith("file:"), isolation_level=None, timeout=0)


def execute(rows, name, sql):
    statement = ""
    # complete_statement() knows strings, comments and triggers.
    for piece in sql.split(";"):
        statement += piece + ";"
        if statement.strip(" \n;") and sqlite3.complete_statement(statement):
            rows.extend(connections[name].execute(statement))
            statement = ""


def busy(name, ms):
    connections[name].execute("PRAGMA busy_timeout=%d" % int(ms)).close()


def answer(rows, command, *args):
    if command == "version":
        return sqlite3.sqlite_version
    if command == "pid":
        return os.getpid()
    if command == "load":
        load(*args)
    elif command == "open":
        open_(*args)
    elif command == "exec":
        execute(rows, *args)
    elif command == "busy":
        busy(*args)
    elif command == "close":
        connections.pop(args[0]).close()
    elif command == "backup":
        with contextlib.closing(sqlite3.connect(args[1])) as copy:
            connections[args[0]].backup(copy, pages=1, sleep=0.01)
    elif command == "kill":
        os.kill(os.getpid(), signal.SIGKILL)
    elif command in ("quit", "return"):
        sys.exit(0)
    else:
        raise ValueError("what is %s to Python?" % command)
    return ""


for line in sys.stdin:
    rows = []
    try:
        last = "ok\t" + escape(answer(rows, *map(unescape, line.rstrip("\n").split("\t"))))
    except sqlite3.Error as error:
        last = "error\t%d\t%s" % (getattr(error, "sqlite_errorcode", 1), escape(error))
    except (KeyError, TypeError, ValueError) as error:
        last = "error\t-1\t" + escape(error)
    for row in rows:
        print("=\t" + "\t".join(map(escape, row)))
    print(last + "\n.", flush=True)
