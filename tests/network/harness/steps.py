"""The steps at which a fault may strike, each with the stop points that lead to it: all but the last are only passed."""

# Of a transaction.
STEPS = {
    "lock directory made": ["made-lock"],
    "name put into it": ["entered-lock"],
    "exclusive announced": ["exclusive-announced"],
    "first page to be written": ["database-write"],
    "pages written, not synced": ["database-write"] * 4,
    "pages written at the COMMIT": ["database-write"] * 2,
    "journal to be finalised": ["finalise"],
    "journal finalised": ["finalised"],
    "commit confirmed": ["confirmed"],
}
# Of a transaction that fits into the page cache, as most do: it writes its pages at its COMMIT. The others are of a large one, whose
# pages go out earlier.
SMALL = ("pages written at the COMMIT",)
# Of the giving back of the lock. These are by clients that do so at once: where it lingers, nobody is told when.
RELEASE = {"lock to be given back": ["releasing"]}
# Of a takeover from somebody who died in the middle of his pages.
TAKEOVER = {
    "takeover: listed": ["takeover-listed"],
    "takeover: copies made": ["fence-copied"],
    "takeover: copies named": ["fence-named"],
    "takeover: ready": ["fence-ready"],
    "takeover: journal moved aside": ["fence-aside"],
    "takeover: journal replaced": ["fence-between"],
    "takeover: database moved aside": ["fence-aside"] * 2,
    "takeover: replaced": ["fence-replaced"],
}
# Needs no stop point, so it is there for every build and every VFS: the page cache was too small and SQLite has written pages into
# the database, under EXCLUSIVE, before the COMMIT. They wait in the client's kernel.
SPILLED = "pages spilled"

# Inside of a call that takes a lock or gives it back: it is the lock manager itself that stands there, and no heartbeat goes out.
SILENT = {"lock directory made", "name put into it", "exclusive announced", *RELEASE, *TAKEOVER}

ALL_STEPS = [SPILLED, *STEPS, *RELEASE, *TAKEOVER]
# The points that lead a victim to each of them.
POINTS = STEPS | RELEASE | TAKEOVER
# How the one dies from whom a takeover takes over.
MID_PAGES = ["database-write"] * 2


def schedule(points):
    """What COORD_TEST_STOPS wants: the last point is where the thread is held, while the process's other threads go on."""
    return "".join(f"pass {point}\n" for point in points[:-1]) + f"hold {points[-1]}\n"
