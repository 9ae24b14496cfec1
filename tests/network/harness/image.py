"""The image that all three machines boot: made of Debian packages only, once, and kept in a cache.

The cache is `$COORD_NETWORK_CACHE`, else `coord-network` in `$XDG_CACHE_HOME` or `~/.cache`. An image's key is what it is made of:
the Debian release, its packages, the kernel's package, and this file. The guests' programs are not in it: they come with each run.
"""

import hashlib
import json
import os
import re
import shutil
import subprocess
import tempfile
from pathlib import Path

from . import needs
from .say import Unavailable, progress

PACKAGES = """
    nfs-kernel-server nfs-common rpcbind cifs-utils samba python3-minimal libpython3-stdlib libsqlite3-0
    kmod iproute2 procps util-linux busybox-static e2fsprogs fuse3 sshfs openssh-sftp-server exfatprogs strace
""".split()

# Only unpacked: debootstrap would follow their wish for an older fuse, which does not go with fuse3.
UNPACKED = ["bindfs", "libfuse2"]

# The initial RAM disk's modules: the disk, the root that is laid over it, and the host's folder with the guests' programs.
BOOT_MODULES = ["virtio_blk", "virtio_pci", "ext4", "overlay", "9p", "9pnet_virtio"]

# What no cell can need of a kernel's modules.
UNUSED_MODULES = """
    sound net/bluetooth net/wireless net/mac80211 drivers/gpu drivers/media drivers/infiniband drivers/staging drivers/iio
    drivers/scsi drivers/usb drivers/hwmon drivers/input drivers/mmc drivers/mtd drivers/isdn drivers/hid drivers/bluetooth
    drivers/thunderbolt drivers/edac drivers/leds drivers/video drivers/net/ethernet drivers/net/wireless
""".split()

INIT = """#!/bin/busybox sh
b=/bin/busybox
$b mount -t devtmpfs d /dev; $b mount -t proc p /proc
for m in $($b cat /modules/order); do $b insmod /modules/$m; done
$b mount -t ext4 -o ro /dev/vda /lower && $b mount -t tmpfs t /over && $b mkdir /over/up /over/work || exec $b sh
$b mount -t overlay -o lowerdir=/lower,upperdir=/over/up,workdir=/over/work o /root || exec $b sh
$b mount -t 9p -o trans=virtio,version=9p2000.L,ro,msize=262144 host /root/host || exec $b sh
$b umount /proc; $b mount --move /dev /root/dev
exec $b switch_root /root /bin/sh /host/guest/init
"""


class Image:
    """Paths of a finished image."""

    def __init__(self, folder):
        self.kernel, self.root, self.initrd = folder / "vmlinuz", folder / "root.img", folder / "initrd.gz"
        self.contents = json.loads((folder / "contents.json").read_text())


def cache():
    named = os.environ.get("COORD_NETWORK_CACHE")
    return Path(named) if named else Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "coord-network"


def kernel_package():
    """The package of the release's current kernel."""
    listed = subprocess.run(["apt-cache", "depends", "linux-image-amd64"], capture_output=True, text=True).stdout
    found = re.search(r"Depends: (linux-image-\S+)", listed)
    if not found:
        raise Unavailable("apt knows no linux-image-amd64; run apt-get update")
    return found[1]


def get():
    """The image, from the cache or newly built."""
    suite, kernel = needs.release(), kernel_package()
    made_of = [suite, kernel, Path(__file__).read_text()]
    folder = cache() / hashlib.sha256("\n".join(made_of).encode()).hexdigest()[:16]
    if not folder.is_dir():
        folder.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder.parent, prefix="making.", ignore_cleanup_errors=True) as making:
            build(Path(making), suite, kernel)
            try:
                (Path(making) / "image").rename(folder)
            except OSError:
                if not folder.is_dir():  # else another run was faster
                    raise
    return Image(folder)


def build(making, suite, kernel):
    needs.as_root(["true"])
    root, image = making / "root", making / "image"
    image.mkdir()
    progress(f"downloading {kernel} (about 70 MB) and {len(PACKAGES)} packages of Debian {suite} with theirs (about 120 MB)")
    run(["apt-get", "download", "-q", kernel, *UNPACKED], cwd=making)
    [package] = making.glob("linux-image-*.deb")
    run(["dpkg-deb", "-x", package, making / "kernel"])
    progress("building the image (2 to 4 minutes, once; it takes about 1 GB of the cache)")
    include = "--include=" + ",".join(PACKAGES)
    run(needs.as_root(["debootstrap", "--variant=minbase", include, suite, root, needs.mirror(suite)]))
    for name in UNPACKED:
        [archive] = making.glob(f"{name}_*.deb")
        run(needs.as_root(["sh", "-c", f"dpkg-deb --fsys-tarfile {archive} | tar -x --keep-directory-symlink -C {root}"]))
    [modules] = (making / "kernel/lib/modules").iterdir()
    for unused in UNUSED_MODULES:
        shutil.rmtree(modules / "kernel" / unused, ignore_errors=True)
    run(needs.as_root(["mkdir", "-p", root / "lib/modules", root / "host", root / "export", root / "mnt"]))
    run(needs.as_root(["cp", "-r", modules, root / "lib/modules/"]))
    run(needs.as_root(["chroot", root, "depmod", modules.name]))
    versions = run(["dpkg-query", f"--admindir={root}/var/lib/dpkg", "-W", "-f", "${Package} ${Version}\n"])
    versions = dict(line.split(" ", 1) for line in versions.splitlines())
    (image / "vmlinuz").write_bytes((making / f"kernel/boot/vmlinuz-{modules.name}").read_bytes())
    initial_ram_disk(making, root, modules.name, image / "initrd.gz")
    run(needs.as_root(["sh", "-c", f"rm -rf {root}/var/cache/apt/* {root}/var/lib/apt/lists/* {root}/usr/share/doc"]))
    run(["truncate", "-s", "1500M", image / "root.img"])
    run(needs.as_root(["mkfs.ext4", "-q", "-d", root, "-O", "^has_journal", "-m", "0", image / "root.img"]))
    run(needs.as_root(["rm", "-rf", root]))
    contents = {
        "release": suite,
        "kernel": run(["dpkg-deb", "-f", package, "Package", "Version"]).split("\n"),
        "packages": {name: versions.get(name) for name in PACKAGES},
    }
    (image / "contents.json").write_text(json.dumps(contents, indent=1))


def initial_ram_disk(making, root, version, result):
    tree = making / "initrd"
    for name in "bin dev proc lower over root modules".split():
        (tree / name).mkdir(parents=True)
    shutil.copy(root / "bin/busybox", tree / "bin/")
    order = []
    for module in BOOT_MODULES:
        wanted = run(needs.as_root(["chroot", root, "modprobe", "-S", version, "--show-depends", module]))
        for line in wanted.splitlines():
            word, _, path = line.strip().partition(" ")
            path = Path(path.strip())
            if word == "insmod" and path.name not in order:
                shutil.copy(root / str(path).lstrip("/"), tree / "modules/")
                order.append(path.name)
    (tree / "modules/order").write_text("\n".join(order) + "\n")
    (tree / "init").write_text(INIT)
    (tree / "init").chmod(0o755)
    run(["sh", "-c", f"cd {tree} && find . | cpio --quiet -o -H newc -R 0:0 | gzip -1 >{result}"])


def run(command, **options):
    done = subprocess.run([str(word) for word in command], capture_output=True, text=True, **options)
    if done.returncode != 0:
        tail = (done.stderr.strip() or done.stdout.strip())[-600:]
        raise Unavailable(f"{' '.join(map(str, command[:3]))} … ended with {done.returncode}: {tail}")
    return done.stdout.strip()
