"""What the run tells while it goes on."""

import sys
import time

_begun = time.monotonic()


def progress(text):
    """One line, with the minutes since the start."""
    seconds = int(time.monotonic() - _begun)
    print(f"[{seconds // 60:3d}:{seconds % 60:02d}] {text}", flush=True)


class Unavailable(Exception):
    """Something this machine cannot give; the run is skipped, not failed."""


def stop(text):
    sys.exit(f"tests/network: {text}")
