"""The faults. Each strikes one rank of databases once, while every victim on the right stands at its step. Where a fault can miss
without a sign of its own, it is looked whether it has struck: a round in which nothing happened shows nothing."""

# Who uses a database in a fault that strikes others only; everybody else may be told any error. A date that jumps must harm nobody.
UNHARMED = {
    "kill": ("heir", "watcher"),
    "power-off": ("heir", "watcher"),
    "freeze": ("heir",),
    "cut": ("heir",),
    "clock-jump": ("heir", "watcher", "victim"),
}
# They strike the file server or the way to it. 9p and virtiofs have neither: the client's emulator itself is their server.
NEED_SERVER = ("cut", "server-restart", "disk-full")


def struck(rank, is_so, what):
    """Loses every database of the rank unless the fault is there."""
    if not is_so:
        rank.each(lambda case: case.lose(f"the fault did not strike: {what}"))


def reaches_server(rank):
    status, _ = rank.right.run("python3 -c 'import socket; socket.create_connection((\"server\", 2049), 3)'")
    return status == 0


def kill(rank):
    rank.approach()
    rank.kill("victim", rank.cases)
    rank.dead()
    rank.take_over()
    rank.take_over("watcher")


def power_off(rank):
    rank.approach()
    rank.right.power_off()
    rank.each(lambda case: case.bank.drain(case.victim))
    rank.rest()
    rank.dead()
    rank.take_over()
    rank.bed.restart_client(rank.right)
    rank.bed.mount(rank.cell.place, rank.right)
    rank.open("watcher")


def freeze(rank):
    rank.approach()
    rank.right.freeze()
    try:
        rank.take_over()
        rank.go_on()
    finally:
        rank.right.thaw()
    rank.end()
    rank.commit_again()


def cut(rank):
    rank.approach()
    struck(rank, reaches_server(rank), "the server was not reached before")
    rank.right.link(False)
    try:
        struck(rank, not reaches_server(rank), "the server is reached still")
        # They run into silence at their next request.
        rank.go_on()
        rank.take_over()
    finally:
        rank.right.link(True)
    rank.end()
    rank.commit_again()


def restart_server(rank):
    rank.approach()
    rank.server.power_off()
    rank.go_on()
    rank.server.start()
    rank.bed.serve()
    rank.end()
    rank.commit_again()
    rank.take_over()


def jump_clock(rank):
    """The date of the victims' machine jumps by an hour, forward and back by turns. For two leases everybody who sends heartbeats stands
    where he is then: who waits on the other client must see that he lives."""
    rank.approach()
    rank.begin_to_take_over()
    rank.jumps = not getattr(rank, "jumps", False)
    there, back = ("+1 hour", "-1 hour") if rank.jumps else ("-1 hour", "+1 hour")
    rank.right.ok(f"date -s '{there}'")
    try:
        stand, go = rank.beating()
        rank.go_on(go)
        rank.nobody_gets_in(stand)
        rank.go_on(stand)
        rank.end()
        rank.commit_again()
        rank.taken_over()
    finally:
        rank.right.ok(f"date -s '{back}'")


def fill_disk(rank):
    """The server's disk is full from the step until the transactions have ended, and whatever is given back is taken at once."""
    rank.approach()
    filler = f"{rank.cell.place.server}/filler"
    fill = f"cat /dev/zero >>{filler}"
    rank.server.run(f"{fill}; sync; {fill}")
    # With nothing of the command's own open, so that nobody waits for it. It ends when its file in memory is gone, and removes the
    # filler, which so tells that it has ended.
    loop = f"while [ -e /tmp/filling ]; do sync; {fill}; sleep 0.2; done; rm {filler}"
    rank.server.ok(f"touch /tmp/filling; ({loop}) </dev/null >/dev/null 2>&1 &")
    try:
        struck(rank, full(rank, filler), "there is room on the server's disk")
        rank.go_on()
        rank.end()
        struck(rank, full(rank, filler), "there was room on the server's disk in the end")
    finally:
        rank.server.ok(f"rm /tmp/filling; while [ -e {filler} ]; do sleep 0.1; done; rm -f {filler}.more; sync")
    for case in rank.cases:
        if case.outcome == "committed":
            case.outcome = "committed, the full disk did not stop it"
    if not any(case.outcome in ("not", "unknown") for case in rank.cases):
        rank.each(lambda case: case.wrong("nothing was shown: the full disk has stopped none of them"))
    rank.commit_again()
    rank.take_over()


def full(rank, filler):
    """Whether there is no room, if not at once then soon: what somebody has just given back is there until it is taken."""
    look = f"for i in $(seq 20); do head -c 4096 /dev/zero >>{filler}.more || exit 0; sleep 0.1; done; exit 1"
    status, _ = rank.server.run(look)
    return status == 0


FAULTS = {
    "kill": kill,
    "power-off": power_off,
    "freeze": freeze,
    "cut": cut,
    "server-restart": restart_server,
    "clock-jump": jump_clock,
    "disk-full": fill_disk,
}
