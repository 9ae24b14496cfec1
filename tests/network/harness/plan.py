"""Which cells are run: a few for every change, or all."""

from .cells import Cell
from .faults import ALL_STEPS, FAULTS, SPILLED
from .flavours import COORD, DOTFILE, EXCLUSIVE, STEPPED, UNIX, without
from .mounts import BY_KEY, PLACES

WRITTEN = "pages written, not synced"
# Of every kind one: in the pages, at the end, in a takeover.
FEW = (WRITTEN, "journal finalised", "takeover: ready")


def quick():
    """The filesystem that is asked for most, the fault that everybody else fails, and that the checks themselves can fail."""
    nfs = BY_KEY["nfs42"]
    return [
        Cell(nfs, COORD, "turns", rounds=4),
        Cell(nfs, COORD, "bank", rounds=3),
        Cell(nfs, STEPPED, "freeze", (WRITTEN, "takeover: ready")),
        Cell(nfs, STEPPED, "kill", (WRITTEN,)),
        Cell(nfs, without("cache-drop"), "turns", rounds=3),
        Cell(nfs, without("fence"), "freeze", (WRITTEN,)),
    ]


def full(rounds, few_steps):
    """Everything. The first filesystem gets every fault at every step; the others those that can differ between them."""
    cells = []
    for place in PLACES:
        thorough = place.key == "nfs42"
        if not place.shared:
            cells += [Cell(place, flavour, "bank", rounds=rounds) for flavour in (COORD, EXCLUSIVE, UNIX)]
            continue
        cells += [Cell(place, COORD, "turns", rounds=rounds), Cell(place, COORD, "bank", rounds=rounds)]
        for fault in FAULTS:
            steps = tuple(ALL_STEPS) if thorough and not few_steps else FEW
            cells += [Cell(place, STEPPED, fault, steps, rounds), Cell(place, COORD, fault, (SPILLED,), rounds)]
        for native in (UNIX, DOTFILE):
            cells += [Cell(place, native, "turns", rounds=rounds), Cell(place, native, "bank", rounds=rounds)]
            cells += [Cell(place, native, fault, (SPILLED,), rounds) for fault in FAULTS]
        if thorough:
            cells += controls(place)
    return cells


def controls(place):
    """A guard is out, so each of these must fail."""
    return [
        Cell(place, without("cache-drop"), "turns", rounds=5),
        Cell(place, without("fence"), "freeze", (WRITTEN,), 3),
        Cell(place, without("commit-check"), "freeze", ("journal to be finalised",), 3),
    ]


def chosen(cells, only):
    """Those that one of the groups of words names: each of its words is the filesystem, the fault or the way to open."""
    groups = [set(group.split(",")) for group in only] or [set()]
    names = [(cell, {cell.place.key, cell.fault, cell.flavour.key, cell.flavour.vfs}) for cell in cells]
    return [cell for group in groups for cell, words in names if group <= words]
