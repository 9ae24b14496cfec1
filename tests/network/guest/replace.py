"""What happens to a file that somebody has open when another takes its name, as a program on this machine sees it.

replace.py hold FILE          opens it for reading and writing, says "held", and waits to be killed; or until /tmp/late is
                              there, then writes to it and says "late" and what came of that
replace.py over FILE NEW      renames NEW over FILE
replace.py aside FILE NEW     moves FILE to FILE.aside, links NEW as FILE, removes NEW and then FILE.aside

The latter two print {"steps": {step: "ok" or the error}, "names": [...], "holds": what FILE holds}.
"""

import errno
import json
import os
import sys
import time

what, path, *more = sys.argv[1:]
if what == "hold":
    with open(path, "r+b") as file:
        print("held", flush=True)
        while not os.path.exists("/tmp/late"):
            time.sleep(0.1)
        try:
            os.pwrite(file.fileno(), b"LATE", 0)
            os.fsync(file.fileno())
            print("late ok", flush=True)
        except OSError as error:
            print("late", errno.errorcode.get(error.errno, str(error.errno)), flush=True)
        time.sleep(3600)

steps = {}


def step(name, action, *arguments):
    try:
        action(*arguments)
        steps[name] = "ok"
    except OSError as error:
        steps[name] = errno.errorcode.get(error.errno, str(error.errno))


new, aside = more[0], path + ".aside"
if what == "over":
    step("rename over it", os.rename, new, path)
else:
    step("move it aside", os.rename, path, aside)
    step("link the new one", os.link, new, path)
    step("remove the new one's name", os.unlink, new)
    step("remove the old one", os.unlink, aside)
names = sorted(name for name in os.listdir(os.path.dirname(path)))
try:
    with open(path, "rb") as file:
        holds = file.read().decode()
except OSError as error:
    holds = errno.errorcode.get(error.errno, str(error.errno))
print(json.dumps({"steps": steps, "names": names, "holds": holds}))
