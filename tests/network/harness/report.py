"""What people see at the end."""

from .cells import BROKEN_OFF, Result
from .mounts import BY_KEY

RIGHT, WRONG, REFUSED = "right", "WRONG", "refused"


def expected(result):
    """What has to come out; None where nothing has to: that column only shows what there is without coord."""
    if result.fault == "check" or (result.fault == "replace" and not BY_KEY[result.place].refused):
        return RIGHT
    if result.flavour.startswith("without-"):
        return WRONG
    if result.flavour.startswith("coord"):
        return REFUSED if result.place in ("sshfs", "9p-loose") else RIGHT
    return None


def is_as_expected(result):
    """One that was broken off shows nothing, whatever it was to show."""
    return result.verdict != BROKEN_OFF and expected(result) in (None, result.verdict)


def as_expected(done):
    return all(map(is_as_expected, done))


def line(result):
    words = [result.verdict, f"{result.rounds} rounds", f"{result.committed} commits", f"{result.views} reads", f"{result.seconds} s"]
    words += [f"{key} {times}" for key, times in result.told.items()]
    if not is_as_expected(result):
        words.append(f"EXPECTED: {expected(result) or 'that it can be run'}")
    return "; ".join(words + result.wrong[:3])


def broken_off(reason):
    return Result("", "coord", "the run itself", [], BROKEN_OFF, wrong=[repr(reason)])


def table(done):
    lines = ["", f"{'filesystem':15} {'opened by':26} {'trouble':15} {'rounds':>6} {'commits':>7} {'reads':>6} verdict"]
    for result in done:
        note = "" if is_as_expected(result) else "   <-- not as it has to be"
        if expected(result) == WRONG and not note:
            note = "   (a guard is out: it has to be)"
        lines.append(
            f"{result.place:15} {result.flavour:26} {result.fault:15} {result.rounds:6} {result.committed:7} {result.views:6}"
            f" {result.verdict}{note}"
        )
        if result.wrong and expected(result) != WRONG:
            lines += [f"{'':18}{text}" for text in result.wrong[:4]]
    counted = [result for result in done if result.requests]
    if counted:
        lines += ["", "requests to the server per transaction, one client alone:"]
    for result in counted:
        read, write = result.requests["read"]["total"], result.requests["write"]["total"]
        lines.append(f"{result.place:15} {result.flavour:10} read {read:5}   write {write:5}")
    good = sum(map(is_as_expected, done))
    # In the form of cargo test, which .ci/run adds up.
    lines += ["", f"test result: cells as they have to be: {good} passed; {len(done) - good} failed; 0 ignored"]
    return "\n".join(lines)
