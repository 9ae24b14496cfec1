"""Whether a file can be replaced that somebody has open, on the same machine or on the other one: what a fence rests on."""

import json

SCRIPT = "python3 /host/guest/replace.py"
# Seconds in which a late write has come to something, or hangs.
LATEST = 120


def replace(bed, cell, result):
    """What each way does while each of the machines has the file open. Nothing of it is right or wrong but this: a late write must not
    reach the new file, unless coord refuses the filesystem."""
    place, left = cell.place, bed.left
    for machine in bed.clients:
        bed.mount(place, machine)
    for who in bed.clients:
        for way in ("over", "aside"):
            folder = f"{place.directory}/replace-{who.name}-{way}"
            left.ok(f"rm -rf {folder}; mkdir {folder}; echo -n old >{folder}/file; echo -n new >{folder}/new; sync")
            holder = who.ok(f"{SCRIPT} hold {folder}/file >/tmp/says 2>&1 </dev/null & echo $!").strip()
            who.ok("for i in $(seq 300); do grep -q held /tmp/says && exit; sleep 0.1; done; cat /tmp/says; exit 1")
            status, out = left.run(f"{SCRIPT} {way} {folder}/file {folder}/new")
            later = left.ok(f"sleep 2; ls -A {folder}").split()
            who.ok(f"kill {holder}; rm /tmp/says")
            at_end = bed.server.ok(f"sleep 1; ls -A {place.server}/{folder.rpartition('/')[2]}").split() if place.server else later
            where = "by a program of the same host" if who is left else "by another host"
            key = f"open {where}, {'renamed over' if way == 'over' else 'moved aside'}"
            result.told[key] = described(out, later, at_end) if status == 0 else f"status {status}: {out[-200:]}"
            result.rounds += 1
    if place.server:
        late(bed, place, result)


def late(bed, place, result):
    """A file is replaced while the other client has it open; the server goes off and on; then the other one writes through what it
    has. A fence holds only if that does not reach the new file."""
    left, right = bed.clients
    folder = f"{place.directory}/replace-late"
    left.ok(f"rm -rf {folder}; mkdir {folder}; echo -n old >{folder}/file; echo -n new >{folder}/new; sync")
    right.ok("rm -f /tmp/late")
    holder = right.ok(f"{SCRIPT} hold {folder}/file >/tmp/says 2>&1 </dev/null & echo $!").strip()
    right.ok("for i in $(seq 300); do grep -q held /tmp/says && exit; sleep 0.1; done; cat /tmp/says; exit 1")
    status, out = left.run(f"{SCRIPT} aside {folder}/file {folder}/new")
    bed.restart_server()
    right.ok("touch /tmp/late")
    wait = "until grep late /tmp/says; do sleep 0.5; done"
    said = right.ok(f"timeout {LATEST} sh -c '{wait}' || echo late nothing in {LATEST} s", timeout=LATEST + 30)
    right.run(f"kill {holder}; rm -f /tmp/says /tmp/late")
    holds = bed.server.ok(f"cat {place.server}/replace-late/file; true")
    told = f"the late write: {said.split(maxsplit=1)[1].strip()}; the new file then holds: {holds or 'nothing'}"
    result.told["open by another host, moved aside, server off and on, written to late"] = told if status == 0 else out[-200:]
    if not place.refused and (status != 0 or holds != "new"):
        result.wrong.append(f"the file that replaced another holds {holds or 'nothing'} after a late write to that")
    result.rounds += 1


def described(out, later, at_end):
    seen = json.loads(out.splitlines()[-1])
    failed = ", ".join(f"{name}: {what}" for name, what in seen["steps"].items() if what != "ok") or "no error"
    names = lambda found: " ".join(sorted(".nfs…" if name.startswith(".nfs") else name for name in found)) or "nothing"
    return f"{failed}; then its name holds: {seen['holds']}; names: {names(later)}, after it was closed: {names(at_end)}"
