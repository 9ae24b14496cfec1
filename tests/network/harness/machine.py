"""One QEMU machine: booted, spoken to, frozen, cut off, switched off."""

import json
import os
import queue
import socket
import subprocess
import threading
import time

# TCG is slow, and others use the processor as well: nothing follows from how long something took, so limits are generous.
PATIENCE = 240
VIRTIOFSD = "/usr/lib/qemu/virtiofsd"  # from Debian's qemu-system-common; it needs root


class Gone(Exception):
    """A machine or a program does not answer."""


class Program:
    """A program that runs in a machine, line by line."""

    def __init__(self, machine, number):
        self.machine, self.number, self.pid, self.status = machine, number, None, None
        self.unharmed = False  # whether the fault, if there is one, strikes others only
        self.lines = queue.Queue()

    def tell(self, **message):
        self.machine.send({"to": self.number, "line": json.dumps(message)})

    def next(self, timeout=PATIENCE):
        """Its next line, as JSON."""
        try:
            line = self.lines.get(timeout=timeout)
        except queue.Empty:
            raise Gone(f"{self.machine.name}: no word from program {self.number} for {timeout} s") from None
        if line is None:
            raise Gone(f"{self.machine.name}: program {self.number} has ended")
        try:
            return json.loads(line)
        except ValueError:
            return {"text": line}

    def ask(self, timeout=PATIENCE, **message):
        self.tell(**message)
        return self.next(timeout)

    def alive(self):
        """Whether it has not ended, nor its machine been started anew."""
        machine = self.machine
        return self.status is None and machine.qemu.poll() is None and machine.programs.get(self.number) is self

    def signal(self, name):
        self.machine.run(f"kill -{name} {self.pid}")


class Machine:
    def __init__(self, name, address, memory_mb, image, folder, network, disks=(), shares=(), virtiofs=None):
        """`virtiofs`: a folder of the host that the machine may mount under the tag `virtiofs`."""
        self.name, self.address, self.memory_mb, self.image = name, address, memory_mb, image
        self.folder, self.network, self.disks, self.shares = folder, network, disks, shares
        self.virtiofs = virtiofs if os.geteuid() == 0 and os.path.exists(VIRTIOFSD) else None
        self.qemu = self.daemon = self.channel = None
        self.boots = 0

    def start(self):
        """Begins to boot; `wait` says when it is there."""
        self.boots += 1
        self.sockets = {name: self.folder / f"{self.name}.{self.boots}.{name}" for name in ("control", "qmp")}
        # A plain processor: what newer ones can do (five levels of page tables, wide vectors) costs more to emulate than it saves.
        arguments = [
            *["-name", self.name, "-accel", "tcg,tb-size=128", "-cpu", "Nehalem", "-smp", "1", "-m", str(self.memory_mb)],
            *["-nodefaults", "-no-user-config", "-display", "none", "-no-reboot"],
            *["-kernel", self.image.kernel, "-initrd", self.image.initrd, "-append"],
            # Without no_timer_check a kernel on a busy host may find that its timer does not work.
            "console=ttyS0 quiet loglevel=4 panic=5 no_timer_check random.trust_cpu=on mitigations=off net.ifnames=0"
            f" machine={self.name} address={self.address}",
            *["-serial", f"file:{self.folder}/{self.name}.{self.boots}.console"],
            *["-qmp", f"unix:{self.sockets['qmp']},server=on,wait=off"],
            *["-drive", f"file={self.image.root},format=raw,if=virtio,readonly=on,file.locking=off"],
            *["-netdev", f"socket,id=n0,mcast={self.network},localaddr=127.0.0.1"],
            *["-device", f"virtio-net-pci,netdev=n0,id=net0,mac=52:54:00:09:00:{int(self.address.split('.')[3]):02x},romfile="],
            *["-object", "rng-random,id=r0,filename=/dev/urandom", "-device", "virtio-rng-pci,rng=r0"],
            *["-device", "virtio-serial-pci", "-chardev", f"socket,id=c0,path={self.sockets['control']},server=on,wait=off"],
            *["-device", "virtserialport,chardev=c0,name=control"],
        ]
        for disk in self.disks:
            arguments += ["-drive", f"file={disk},format=raw,if=virtio,cache=unsafe"]
        for tag, path, rights in self.shares:
            options = f"local,path={path},mount_tag={tag},security_model=none,multidevs=remap{rights}"
            arguments += ["-virtfs", options]
        if self.virtiofs:
            arguments += self.start_virtiofsd()
        log = open(self.folder / f"{self.name}.{self.boots}.qemu", "w")
        command = ["qemu-system-x86_64", *map(str, arguments)]
        self.qemu = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        self.answers, self.programs, self.last = {}, {}, 0
        self.lock = threading.Lock()
        self.channel = self.connect("control")
        threading.Thread(target=self.listen, args=(self.channel,), daemon=True).start()

    def start_virtiofsd(self):
        """The daemon shares the machine's memory; it ends when QEMU does. Returns QEMU's options."""
        path = self.folder / f"{self.name}.{self.boots}.virtiofs"
        command = [VIRTIOFSD, f"--socket-path={path}", "-o", f"source={self.virtiofs},cache=none,sandbox=chroot", "-f"]
        with open(f"{path}.log", "w") as log:
            self.daemon = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        end = time.monotonic() + 20
        while not path.exists():
            if self.daemon.poll() is not None or time.monotonic() > end:
                raise Gone(f"{self.name}: virtiofsd did not start: {open(f'{path}.log').read()[-300:]}")
            time.sleep(0.05)
        memory = f"memory-backend-memfd,id=memory,size={self.memory_mb}M,share=on"
        return [
            *["-object", memory, "-numa", "node,memdev=memory", "-chardev", f"socket,id=v0,path={path}"],
            *["-device", "vhost-user-fs-pci,chardev=v0,tag=virtiofs"],
        ]

    def connect(self, which):
        end = time.monotonic() + 20
        while True:
            connection = socket.socket(socket.AF_UNIX)
            try:
                connection.connect(str(self.sockets[which]))
                return connection
            except OSError:
                connection.close()
                if self.qemu.poll() is not None or time.monotonic() > end:
                    log = (self.folder / f"{self.name}.{self.boots}.qemu").read_text()
                    raise Gone(f"{self.name}: QEMU did not start: {log[-300:]}") from None
                time.sleep(0.05)

    def wait(self):
        """Until it has booted."""
        end = time.monotonic() + PATIENCE
        while time.monotonic() < end and self.qemu.poll() is None:
            try:
                return self.run("true", timeout=3)
            except Gone:
                pass
        raise Gone(f"{self.name} did not boot; see {self.folder}/{self.name}.{self.boots}.console")

    # The control channel. All that is said is kept beside the console's log.

    def keep(self, arrow, text):
        with open(self.folder / "said", "a") as file:
            file.write(f"{time.monotonic():.2f} {self.name} {arrow} {text}\n")

    def listen(self, channel):
        unread = b""
        while True:
            try:
                got = channel.recv(65536)
            except OSError:
                got = b""
            if not got:
                break
            *lines, unread = (unread + got).split(b"\n")
            for line in lines:
                self.keep("<", line.decode())
                message = json.loads(line)
                if "from" in message:
                    program = self.programs[message["from"]]
                    program.status = message.get("ended")
                    program.lines.put(message.get("line"))
                elif message["id"] in self.answers:
                    self.answers[message["id"]].put(message)
        for program in list(self.programs.values()):
            program.lines.put(None)

    def send(self, message):
        text = json.dumps(message)
        self.keep(">", text)
        try:
            with self.lock:
                self.channel.sendall(f"{text}\n".encode())
        except OSError as error:
            raise Gone(f"{self.name}: {error}") from None

    def number(self):
        with self.lock:
            self.last += 1
            return self.last

    def ask(self, message, timeout):
        number = message.setdefault("id", self.number())
        self.answers[number] = queue.Queue()
        self.send(message)
        try:
            return self.answers[number].get(timeout=timeout)
        except queue.Empty:
            raise Gone(f"{self.name} does not answer: {message}") from None
        finally:
            del self.answers[number]

    def run(self, command, timeout=PATIENCE):
        """Runs a shell command; (exit status, output)."""
        answer = self.ask({"run": command, "timeout": timeout}, timeout + 5)
        return answer["status"], answer["out"]

    def ok(self, command, timeout=PATIENCE):
        """Runs a shell command that must succeed; its output."""
        status, out = self.run(command, timeout)
        if status != 0:
            raise Gone(f"{self.name}: status {status} from: {command}\n{out[-1000:]}")
        return out

    def client(self, plan, environment=None):
        """Starts a program that uses a database, to talk with."""
        program = Program(self, self.number())
        self.programs[program.number] = program
        answer = self.ask({"id": program.number, "client": plan, "env": environment or {}}, PATIENCE)
        program.pid = answer["pid"]
        return program

    # Faults.

    def qmp(self, command, **arguments):
        self.keep("!", f"{command} {arguments}")
        with self.connect("qmp") as connection:
            file = connection.makefile("rw")
            file.readline()  # the greeting
            for message in ({"execute": "qmp_capabilities"}, {"execute": command, "arguments": arguments}):
                file.write(json.dumps(message) + "\n")
                file.flush()
                while True:
                    answer = json.loads(file.readline())
                    if "return" in answer:
                        break
                    if "error" in answer:
                        raise Gone(f"{self.name}: {command}: {answer['error']}")

    def freeze(self):
        """The whole machine stands still, its clocks too."""
        self.qmp("stop")

    def thaw(self):
        self.qmp("cont")

    def link(self, up):
        """Plugs its network cable in or out."""
        self.qmp("set_link", name="net0", up=up)

    def power_off(self):
        """It loses its power: no sync, no goodbye."""
        if self.qemu and self.qemu.poll() is None:
            self.qemu.kill()
            self.qemu.wait()
        if self.daemon:
            self.daemon.kill()
            self.daemon.wait()
        if self.channel:
            self.channel.close()
