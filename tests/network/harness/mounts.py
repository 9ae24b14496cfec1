"""The filesystems that are tried, and how each is mounted."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Place:
    key: str  # as in --only and in the results
    title: str
    mount: str  # a shell command; DIR stands for the mount point
    options: str  # what of it matters, for people
    server: str = ""  # where the server has the same directory
    shared: bool = True  # seen by both clients
    refused: bool = False  # by coord: its cells force it

    @property
    def directory(self):
        return f"/mnt/{self.key}"


def nfs(key, title, version, export="nfs", more=""):
    path = f"/export/{export}"
    source = f"server:{path}" if version == "3" else f"server:/{export}"
    options = f"vers={version}{more}"
    helpers = "" if "nolock" in more or version != "3" else "pgrep rpcbind >/dev/null || rpcbind -w; pgrep rpc.statd >/dev/null || rpc.statd; "
    # A superblock of its own: otherwise a second mount of one export would take over the first one's options.
    return Place(key, title, f"{helpers}mount -t nfs -o {options},hard,nosharecache {source} DIR", options, path)


def smb(key, title, more=""):
    options = f"vers=3.1.1{more}"
    command = f"mount -t cifs -o {options},username=root,password=coord,nosharesock //server/smb DIR"
    return Place(key, title, command, options, "/export/smb", refused=True)


def plan9(key, title, tag, more=""):
    command = f"mount -t 9p -o trans=virtio,version=9p2000.L,msize=262144{more} {tag} DIR"
    return Place(key, title, command, f"version=9p2000.L{more}", server="")


def local(key, title, make, options=""):
    image = f"/tmp/{key}.img"
    command = f"modprobe loop; truncate -s 100M {image} && {make} {image} && mount {options} {image} DIR"
    return Place(key, title, command, options, shared=False)


PLACES = [
    nfs("nfs42", "NFS 4.2", "4.2"),
    nfs("nfs41", "NFS 4.1", "4.1"),
    nfs("nfs40", "NFS 4.0", "4.0"),
    nfs("nfs3", "NFS 3", "3"),
    nfs("nfs3-nolock", "NFS 3, nolock", "3", more=",nolock"),
    nfs("nfs3-seconds", "NFS 3, server with whole seconds", "3", export="seconds", more=",nolock"),
    nfs("nfs42-seconds", "NFS 4.2, server with whole seconds", "4.2", export="seconds"),
    smb("smb", "SMB 3.1.1"),
    smb("smb-nobrl", "SMB 3.1.1, nobrl", ",nobrl"),
    smb("smb-none", "SMB 3.1.1, cache=none", ",cache=none"),
    plan9("9p", "9p, virtio", "shared"),
    plan9("9p-loose", "9p, virtio, cache=loose", "loose", ",cache=loose"),
    Place("virtiofs", "virtiofs, cache=none", "modprobe virtiofs; mount -t virtiofs virtiofs DIR", "cache=none (virtiofsd)"),
    local("ext4", "ext4 on a local disk", "mkfs.ext4 -q", "-o loop"),
    local("exfat", "exFAT on a local disk", "mkfs.exfat", "-o loop"),
    Place(
        "sshfs",
        "sshfs",
        # Its own server speaks on a pipe here; what coord looks at, the mount, is the same as over the network.
        "modprobe fuse; mkdir -p /tmp/behind; mkfifo /tmp/pipe; "
        "(/usr/lib/openssh/sftp-server </tmp/pipe | sshfs -f -o passive :/tmp/behind DIR >/tmp/pipe) >/dev/null 2>&1 & "
        "for i in $(seq 60); do grep ' DIR ' /proc/mounts && exit; sleep 0.5; done; exit 1",
        "",
        shared=False,
    ),
    Place(
        "bindfs",
        "FUSE passthrough (bindfs)",
        "modprobe fuse; mkdir -p /tmp/passed && mount -t tmpfs p /tmp/passed && bindfs /tmp/passed DIR >/dev/null 2>&1",
        "",
        shared=False,
    ),
]
BY_KEY = {place.key: place for place in PLACES}


def command(place):
    """Mounts it, unless it is."""
    mount = place.mount.replace("DIR", place.directory)
    return f"mkdir -p {place.directory}; grep -q ' {place.directory} ' /proc/mounts || {{ {mount}; }}"
