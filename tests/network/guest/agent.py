"""Does what the harness asks of this machine, over one virtio serial port: JSON, a line each way.

{"id": 1, "run": "a shell command", "timeout": 60}     ->  {"id": 1, "status": 0, "out": "..."}
{"id": 2, "client": client.py's plan, "env": {...}}    ->  {"id": 2, "pid": 77}, later {"from": 2, "line": "..."} for each line it
                                                           prints, and {"from": 2, "ended": 0}
{"to": 2, "line": "..."}                                   goes to that program's standard input
"""

import glob
import json
import os
import signal
import socket
import subprocess
import threading
import time

started = {}
sending = threading.Lock()


def send(message):
    text = (json.dumps(message) + "\n").encode()
    with sending:
        while text:
            try:
                text = text[os.write(port, text) :]
            except OSError:  # nobody listens at the moment
                time.sleep(0.05)


def run(request):
    process = subprocess.Popen(
        ["/bin/sh", "-c", request["run"]],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        start_new_session=True,
    )
    try:
        out, _ = process.communicate(timeout=request["timeout"])
        status = process.returncode
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        out, status = b"timed out", 124  # it may hang in the kernel for ever, so nobody waits for it
    send({"id": request["id"], "status": status, "out": out.decode("utf-8", "replace")})


class Nursery:
    """Where clients are forked; started when the first is wanted."""

    def __init__(self):
        self.socket, self.lock = None, threading.Lock()

    def fork(self, request):
        """The new process's number, its standard input and its standard output."""
        (stdin, to_it), (from_it, stdout) = os.pipe(), os.pipe()
        message = json.dumps({"plan": request["client"], "env": request["env"]}).encode()
        with self.lock:
            if self.socket is None:
                self.socket, its = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
                subprocess.Popen(["python3", "-u", "/host/guest/nursery.py"], stdin=its)
            socket.send_fds(self.socket, [message], [stdin, stdout])
            pid = int(self.socket.recv(64))
        os.close(stdin)
        os.close(stdout)
        return pid, os.fdopen(to_it, "wb"), os.fdopen(from_it, "rb")


nursery = Nursery()


def start(request):
    number = request["id"]
    pid, started[number], lines = nursery.fork(request)
    send({"id": number, "pid": pid})
    for line in lines:
        send({"from": number, "line": line.decode("utf-8", "replace").rstrip("\n")})
    send({"from": number, "ended": 0})


def tell(request):
    pipe = started[request["to"]]
    try:
        pipe.write((request["line"] + "\n").encode())
        pipe.flush()
    except OSError:
        pass  # it has ended, and says so itself


def find_port():
    for folder in glob.glob("/sys/class/virtio-ports/*"):
        with open(folder + "/name") as file:
            if file.read().strip() == "control":
                return "/dev/" + os.path.basename(folder)
    raise SystemExit("no control port")


port = os.open(find_port(), os.O_RDWR)
unread = b""
while True:
    try:
        got = os.read(port, 65536)
    except OSError:
        got = b""
    if not got:
        unread = b""
        time.sleep(0.05)
        continue
    *lines, unread = (unread + got).split(b"\n")
    for line in lines:
        request = json.loads(line)
        if "to" in request:
            tell(request)
        else:
            work = run if "run" in request else start
            threading.Thread(target=work, args=(request,), daemon=True).start()
