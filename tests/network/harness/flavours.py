"""The ways to open the database that are compared."""

from dataclasses import dataclass, field, replace

# Of the clients' coord nodes. A machine under TCG stalls easily for a second, so this is not as short as it could be.
LEASE_MS = 15_000
# Busy timeouts. Without coord nothing depends on a lease of ours, but on the NFS server's (15 s), if on anything. A lock directory of
# `unix-dotfile` that nobody removes stays for ever, so a longer wait shows nothing more.
BUSY_MS, UNIX_BUSY_MS, DOTFILE_BUSY_MS = 90_000, 40_000, 10_000


@dataclass(frozen=True)
class Flavour:
    key: str
    vfs: str
    library: str | None = None  # the build of libcoord.so, by its name in /host
    without: str = ""  # the guard that is taken out: then the cell must fail
    uri: str = ""
    environment: dict = field(default_factory=dict, hash=False)
    busy_ms: int = BUSY_MS

    @property
    def coord(self):
        return self.library is not None

    @property
    def stepped(self):
        """Whether its process can be stopped at named points of the protocol."""
        return self.library == "debug"

    def giving_back_at_once(self):
        return replace(self, uri=self.uri + "&coord_unlock_asap=1")

    def plan(self, database, prelude, forced):
        """`forced`: on a filesystem that coord refuses."""
        lease = f"&coord_lease_ms={LEASE_MS}" + ("&coord_force_fs=1" if forced else "") if self.coord else ""
        library = f"/host/{self.library}/coord.so" if self.library else None
        uri = f"vfs={self.vfs}{lease}{self.uri}"
        return {"database": database, "extension": library, "uri": uri, "busy_ms": self.busy_ms, "prelude": prelude}


COORD = Flavour("coord", "coord", "release")
ASAP = Flavour("coord-unlock-asap", "coord", "release", uri="&coord_unlock_asap=1")
EXCLUSIVE = Flavour("coord-exclusive", "coord", "release", uri="&coord_mode=network-exclusive")
STEPPED = Flavour("coord-debug", "coord", "debug")
UNIX = Flavour("unix", "unix", busy_ms=UNIX_BUSY_MS)
# No database at all: what the filesystem itself does.
NOBODY = Flavour("the filesystem", "")
DOTFILE = Flavour("unix-dotfile", "unix-dotfile", busy_ms=DOTFILE_BUSY_MS)


def without(guard):
    return Flavour(f"without-{guard}", "coord", "debug", guard, environment={"COORD_TEST_WITHOUT": guard})
