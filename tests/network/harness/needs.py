"""What the run needs on this machine, from Debian, and how it is got."""

import os
import re
import shutil
import subprocess

from .say import Unavailable, progress

# program -> the package that has it
PROGRAMS = {
    "qemu-system-x86_64": "qemu-system-x86",
    "debootstrap": "debootstrap",
    "cpio": "cpio",
    "mkfs.ext4": "e2fsprogs",
    "dpkg-deb": "dpkg",
}


def as_root(command):
    """The command as root runs it: as it is, or with sudo if that asks for no password."""
    if os.geteuid() == 0:
        return command
    if shutil.which("sudo") and subprocess.run(["sudo", "-n", "true"], capture_output=True).returncode == 0:
        return ["sudo", "-n", *command]
    raise Unavailable(f"'{command[0]}' needs root: run this as root, or where sudo asks for no password")


def release():
    """The code name of the Debian that runs here. The guests run the same, so that what was built here loads there."""
    fields = {}
    try:
        with open("/etc/os-release") as file:
            for line in file:
                key, _, value = line.strip().partition("=")
                fields[key] = value.strip('"')
    except OSError:
        pass
    if fields.get("ID") != "debian" or "VERSION_CODENAME" not in fields or os.uname().machine != "x86_64":
        raise Unavailable("this needs Debian on x86_64, and takes the guests' packages from the same release")
    return fields["VERSION_CODENAME"]


def mirror(suite):
    """The mirror that this machine's own apt uses for its release."""
    listed = subprocess.run(
        ["apt-get", "indextargets", "--format", "$(REPO_URI) $(CODENAME)"], capture_output=True, text=True
    ).stdout
    for line in listed.splitlines():
        uri, _, codename = line.partition(" ")
        if codename == suite:
            return uri
    return "http://deb.debian.org/debian/"


def install():
    """Installs the programs that are missing here."""
    os.environ["PATH"] += ":/usr/sbin:/sbin"
    missing = sorted({package for program, package in PROGRAMS.items() if not shutil.which(program)})
    if not missing:
        return
    if not shutil.which("apt-get"):
        raise Unavailable(f"not installed, and there is no apt-get here: {', '.join(missing)}")
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive", "LC_ALL": "C"}
    command = ["apt-get", "install", "-y", "--no-install-recommends", *missing]
    subprocess.run(as_root(["apt-get", "update", "-qq"]), env=environment, capture_output=True)
    plan = subprocess.run([*command, "--assume-no"], env=environment, capture_output=True, text=True).stdout
    sizes = re.findall(r"^(?:Need to get|After this operation).*$", plan, re.MULTILINE)
    progress(f"installing {', '.join(missing)}. {' '.join(sizes)}")
    done = subprocess.run(as_root(command), env=environment, capture_output=True, text=True)
    if done.returncode != 0:
        raise Unavailable(f"apt-get install {' '.join(missing)}: {done.stderr.strip()[-300:]}")
