"""The faults. Each strikes one rank of databases once, while every victim on the right stands at its step."""


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
    rank.right.link(False)
    try:
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
    """The date of the victims' machine jumps by an hour, forward and back by turns."""
    rank.approach()
    rank.jumps = not getattr(rank, "jumps", False)
    there, back = ("+1 hour", "-1 hour") if rank.jumps else ("-1 hour", "+1 hour")
    rank.right.ok(f"date -s '{there}'")
    try:
        rank.go_on()
        rank.end()
        rank.commit_again()
        rank.take_over()
    finally:
        rank.right.ok(f"date -s '{back}'")


def fill_disk(rank):
    """The server's disk is full from the step until the transactions have ended."""
    rank.approach()
    folder = rank.cell.place.server
    rank.server.run(f"dd if=/dev/zero of={folder}/filler bs=1M; dd if=/dev/zero of={folder}/filler2 bs=512; sync")
    try:
        rank.go_on()
        rank.end()
    finally:
        rank.server.ok(f"rm {folder}/filler*; sync")
    rank.commit_again()
    rank.take_over()


FAULTS = {
    "kill": kill,
    "power-off": power_off,
    "freeze": freeze,
    "cut": cut,
    "server-restart": restart_server,
    "clock-jump": jump_clock,
    "disk-full": fill_disk,
}
