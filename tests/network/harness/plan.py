"""Which cells are run: a few for every change, or all."""

from .cells import Cell
from .faults import FAULTS, NEED_SERVER
from .flavours import ASAP, COORD, DOTFILE, EXCLUSIVE, NOBODY, STEPPED, UNIX, without
from .mounts import BY_KEY, PLACES
from .steps import ALL_STEPS, RELEASE, SMALL, SPILLED

WRITTEN = "pages written, not synced"
# Of every kind some: in the pages, at the end, in a release, in a takeover.
FEW = (SPILLED, WRITTEN, *SMALL, "journal finalised", *RELEASE, "takeover: ready", "takeover: database moved aside")

# Rounds of a control; it ends at the first event that shows what it has to.
AT_MOST = 16


def quick():
    """The filesystem that is asked for most, the fault that everybody else fails, and that the checks themselves can fail."""
    nfs = BY_KEY["nfs42"]
    return [
        Cell(nfs, COORD, "turns", rounds=4),
        Cell(nfs, COORD, "bank", rounds=3),
        Cell(nfs, STEPPED, "freeze", FEW),
        Cell(nfs, COORD, "requests"),
        Cell(nfs, ASAP, "requests"),
        Cell(nfs, UNIX, "requests"),
        Cell(nfs, without("cache-drop"), "turns", rounds=3),
        Cell(nfs, without("fence"), "freeze", (WRITTEN,), AT_MOST),
        Cell(nfs, without("aside"), "freeze", ("takeover: journal replaced",), AT_MOST),
    ]


def full(rounds, few_steps):
    """Everything. The first filesystem gets every fault at every step; the others those that can differ between them."""
    cells, several = [], max(3, rounds)
    for place in PLACES:
        thorough = place.key == "nfs42"
        cells.append(Cell(place, COORD, "check"))
        if place.shared and place.key != "9p-loose":
            cells.append(Cell(place, NOBODY, "replace"))
        if place.key.startswith("nfs"):
            cells += [Cell(place, flavour, "requests") for flavour in (COORD, ASAP, UNIX)]
            cells.append(Cell(place, COORD, "speed"))
        cells += [Cell(place, flavour, "maintenance", rounds=several) for flavour in (COORD, UNIX)]
        if not place.shared:
            cells += [Cell(place, flavour, "bank", rounds=several) for flavour in (COORD, EXCLUSIVE, UNIX)]
            continue
        cells += [Cell(place, COORD, "turns", rounds=several), Cell(place, COORD, "bank", rounds=several)]
        if place.key in ("nfs42", "nfs3", "9p"):
            cells.append(Cell(place, STEPPED, "takeover"))
        faults = [fault for fault in FAULTS if place.server or fault not in NEED_SERVER]
        for fault in faults:
            steps = tuple(ALL_STEPS) if thorough and not few_steps else with_controls(FEW, place, fault)
            cells.append(Cell(place, STEPPED, fault, steps, rounds))
            if thorough:
                cells.append(Cell(place, COORD, fault, (SPILLED,), rounds))
        for native in (UNIX, DOTFILE):
            cells += [Cell(place, native, "turns", rounds=several), Cell(place, native, "bank", rounds=several)]
            cells += [Cell(place, native, fault, (SPILLED,), rounds) for fault in faults]
    return cells + CONTROLS


def with_controls(steps, place, fault):
    """The steps, and those at which a guard is taken out there: that it went wrong shows something only where it is right with the
    guard."""
    controls = [control for control in CONTROLS if (control.place, control.fault) == (place, fault)]
    return tuple(dict.fromkeys([*steps, *(step for control in controls for step in control.steps)]))


# A guard is out, so each of these must fail. The last is on 9p: an NFS server itself refuses the late end of a journal that has no
# name any more, so there the check is the second of two; and the heartbeat often notices first (2 of 3 rounds). With the guard in,
# the first is the cell of turns on nfs42, but by a release build, from which no guard can be taken out; the others are in the cells
# of the freeze, by the same build.
CONTROLS = [
    Cell(BY_KEY["nfs42"], without("cache-drop"), "turns", rounds=3),
    Cell(BY_KEY["nfs42"], without("fence"), "freeze", (WRITTEN,), AT_MOST),
    Cell(BY_KEY["nfs42"], without("fence"), "cut", (WRITTEN,), AT_MOST),
    Cell(BY_KEY["nfs42"], without("aside"), "freeze", ("takeover: journal replaced",), AT_MOST),
    Cell(BY_KEY["9p"], without("commit-check"), "freeze", ("journal to be finalised",), AT_MOST),
]


def chosen(cells, only):
    """Those that one of the groups of words names: each of its words is the filesystem, the fault or the way to open."""
    groups = [set(group.split(",")) for group in only] or [set()]
    names = [(cell, {cell.place.key, cell.fault, cell.flavour.key}) for cell in cells]
    return [cell for group in groups for cell, words in names if group <= words]
