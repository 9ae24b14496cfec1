"""Does what the harness asks of this machine, over one virtio serial port: JSON, a line each way.

{"id": 1, "run": "a shell command", "timeout": 60}     ->  {"id": 1, "status": 0, "out": "..."}
{"id": 2, "start": ["program", ...], "env": {...}}     ->  {"id": 2, "pid": 77}, later {"from": 2, "line": "..."} for each line it
                                                           prints, and {"from": 2, "ended": its exit status}
{"to": 2, "line": "..."}                                   goes to that program's standard input
{"id": 3, "still": 2}                                  ->  {"id": 3, "state": ...}, its state in /proc, as soon as the program is stopped
                                                           (SIGSTOP) or has ended, or after two seconds
"""

import glob
import json
import os
import signal
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


def start(request):
    number = request["id"]
    environment = {**os.environ, **request.get("env", {})}
    process = subprocess.Popen(
        request["start"], env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )
    started[number] = process
    send({"id": number, "pid": process.pid})
    for line in process.stdout:
        send({"from": number, "line": line.decode("utf-8", "replace").rstrip("\n")})
    send({"from": number, "ended": process.wait()})


def tell(request):
    pipe = started[request["to"]].stdin
    try:
        pipe.write((request["line"] + "\n").encode())
        pipe.flush()
    except OSError:
        pass  # it has ended, and says so itself


def still(request):
    pid = started[request["still"]].pid
    state, end = "X", time.monotonic() + 2
    while time.monotonic() < end:
        try:
            with open(f"/proc/{pid}/stat") as file:
                state = file.read().rpartition(") ")[2][:1]
        except OSError:
            state = "X"
        if state in "TtZX":
            break
        time.sleep(0.05)
    send({"id": request["id"], "state": state})


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
            work = run if "run" in request else start if "start" in request else still
            threading.Thread(target=work, args=(request,), daemon=True).start()
