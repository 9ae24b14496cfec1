"""The run as a whole."""

import os
import subprocess

from . import document, image, needs, plan, report, results
from .bed import HERE, Bed, host_description
from .cells import run as run_cell
from .machine import Gone
from .say import Unavailable, progress

PROJECT = HERE.parent.parent
CANNOT = 77


def main(options):
    if options.document:
        document.write()
        return 0
    cells = plan.chosen(plan.quick() if options.quick else plan.full(options.rounds, options.few_steps), options.only)
    if options.list or not cells:
        print("\n".join(f"{cell.place.key:15} {cell.flavour.key:26} {cell.fault:15} {', '.join(cell.steps)}" for cell in cells))
        print(f"{len(cells)} cells")
        return 0 if cells else 2
    try:
        needs.release()
        needs.install()
        system = image.get()
    except Unavailable as reason:
        print(f"SKIPPED: nothing is shown about network filesystems: {reason}")
        print("test result: 0 passed; 0 failed; 1 ignored")
        return CANNOT
    done = []
    libraries = builds()
    revisions = {"source": results.revision(results.PRODUCT), "harness": results.revision(results.HARNESS)}
    with Bed(system, libraries, options.keep) as bed:
        machine = revisions | {"host": host_description(), "kernel": bed.kernel(), "packages": system.contents["packages"]}
        try:
            for number, cell in enumerate(cells):
                progress(f"{number + 1}/{len(cells)}: {cell.place.key}, {cell.flavour.key}, {cell.fault} {', '.join(cell.steps)}")
                done.append(run_cell(bed, cell, number))
                progress("    " + report.line(done[-1]))
                if options.save:
                    results.save(machine, done[-1])
                bed.heal()
        except (KeyboardInterrupt, Gone) as reason:
            progress(f"broken off: {reason!r}")
            done.append(report.broken_off(reason))
    if options.save:
        document.write()
    print(report.table(done))
    return 0 if report.as_expected(done) else 1


def builds():
    """The builds of the extension that the clients load, made now: what is tested is what is here."""
    target = os.environ.get("CARGO_TARGET_DIR", PROJECT / "target")
    paths = {}
    for name, more in (("release", ["--release"]), ("debug", ["--lib"])):
        progress(f"building coord ({name})")
        subprocess.run(["cargo", "build", "--locked", "--quiet", *more], cwd=PROJECT, check=True)
        paths[name] = PROJECT / target / name / "libcoord.so"
    return paths
