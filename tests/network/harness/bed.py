"""The three machines: a file server, and two clients called left and right."""

import os
import random
import shutil
import subprocess
import tempfile
from pathlib import Path

from . import mounts
from .machine import Gone, Machine
from .say import progress

# Seconds. Shorter than Linux's 90, so that what the server does when they run out can be seen.
NFS_LEASE, NFS_GRACE = 15, 12

HERE = Path(__file__).resolve().parent.parent


class Bed:
    def __init__(self, image, libraries, keep=False):
        """`libraries`: name -> path of a build of libcoord.so, put where the clients see it as /host/<name>/coord.so."""
        self.keep = keep
        self.folder = Path(tempfile.mkdtemp(prefix="coord-network."))
        host, self.shared, self.stops = (self.folder / name for name in ("host", "shared", "stops"))
        host.mkdir()
        self.stops.mkdir()
        self.shared.mkdir(mode=0o777)
        shutil.copytree(HERE / "guest", host / "guest")
        for name, path in libraries.items():
            (host / name).mkdir()
            shutil.copy(path, host / name / "coord.so")
            if (path.parent / "coord").exists():
                shutil.copy(path.parent / "coord", host / name / "coord")
        (host / "hosts").write_text("127.0.0.1 localhost\n10.9.0.1 server\n10.9.0.2 left\n10.9.0.3 right\n")
        disk = self.folder / "server.disk"
        with open(disk, "wb") as file:
            file.truncate(2 << 30)
        subprocess.run(["mkfs.ext4", "-q", "-F", disk], check=True)
        # A multicast group of this run's own, on the loopback interface only.
        group = f"239.{random.randint(1, 254)}.{random.randint(1, 254)}.{random.randint(1, 254)}:{random.randint(20000, 30000)}"
        programs = ("host", host, ",readonly=on")
        shares = [programs, ("shared", self.shared, ""), ("loose", self.shared, ""), ("stops", self.stops, "")]

        def machine(name, number, memory_mb, **more):
            return Machine(name, f"10.9.0.{number}", memory_mb, image, self.folder, group, **more)

        self.server = machine("server", 1, 768, disks=[disk], shares=[programs])
        self.left = machine("left", 2, 1536, shares=shares, virtiofs=self.shared)
        self.right = machine("right", 3, 1536, shares=shares, virtiofs=self.shared)
        self.clients = (self.left, self.right)

    def __enter__(self):
        try:
            progress("booting three machines")
            for machine in (self.server, *self.clients):
                machine.start()
            self.serve()
            for machine in self.clients:
                machine.wait()
            progress("all three answer")
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_):
        for machine in (self.server, *self.clients):
            machine.power_off()
        if self.keep:
            progress(f"kept: {self.folder}")
        else:
            shutil.rmtree(self.folder, ignore_errors=True)

    def serve(self):
        self.server.wait()
        self.server.ok(f"LEASE={NFS_LEASE} GRACE={NFS_GRACE} sh /host/guest/server.sh")

    def restart_server(self):
        """Cuts its power and boots it again."""
        self.server.power_off()
        self.server.start()
        self.serve()

    def restart_client(self, machine):
        """Boots a client that has lost its power."""
        machine.power_off()
        machine.start()
        machine.wait()

    def heal(self):
        """After a cell: no program of it is left, and all machines answer."""
        for machine in self.clients:
            try:
                machine.thaw()
                machine.link(True)
                pids = [str(program.pid) for program in machine.programs.values() if program.status is None]
                if pids:
                    machine.ok(f"kill -KILL {' '.join(pids)}; kill -CONT {' '.join(pids)}; true", timeout=30)
            except (Gone, OSError):
                progress(f"{machine.name} does not answer: it is switched off and on")
                self.restart_client(machine)
        try:
            self.server.ok("true", timeout=30)
        except Gone:
            progress("the server does not answer: it is switched off and on")
            self.restart_server()

    def mount(self, place, machine):
        machine.ok(mounts.command(place), timeout=90)

    def kernel(self):
        return self.left.ok("uname -r").strip()


def host_description():
    model = "unknown processor"
    with open("/proc/cpuinfo") as file:
        for line in file:
            if line.startswith("model name"):
                model = line.split(":")[1].strip()
                break
    return f"{model}, {os.cpu_count()} processors, QEMU without KVM"
