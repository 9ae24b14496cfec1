"""Starts copies of client.py by forking, as Python takes a second to start on an emulated machine.

Standard input is a socket. Each message is {"plan": client.py's argument, "env": {...}} with two descriptors, the new process's
standard input and output; the answer is its process number. What is forked has loaded nothing of coord, so the copy is as good as a
process of its own.
"""

import json
import os
import signal
import socket
import sys

import client


def main():
    asked = socket.socket(fileno=0)
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody waits for them
    while True:
        text, (stdin, stdout), _, _ = socket.recv_fds(asked, 65536, 2)
        pid = os.fork()
        if pid == 0:
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            be_client(json.loads(text), stdin, stdout)
        os.close(stdin)
        os.close(stdout)
        asked.send(str(pid).encode())


def be_client(request, stdin, stdout):
    for number, descriptor in ((0, stdin), (1, stdout), (2, stdout)):
        os.dup2(descriptor, number)
    os.closerange(3, 64)
    # The library reads the environment when it is loaded, from the C side, which os.environ writes through to.
    os.environ.update(request["env"])
    client.main(request["plan"])
    sys.exit(0)


main()
