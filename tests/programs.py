"""Programs started as a user starts them, in a process of their own."""

import subprocess
import sys


def run(module, *args):
    """Runs `python -m module` and returns the finished process."""
    return subprocess.run(
        [sys.executable, "-m", module, *map(str, args)],
        capture_output=True,
        text=True,
    )
