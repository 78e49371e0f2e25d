"""Memory that this process has used."""

from __future__ import annotations

import sys

import psutil

if sys.platform != "win32":
    import resource


def peak_memory_bytes() -> int:
    """The most memory that this process has held at once."""
    if sys.platform != "win32":
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return peak if sys.platform == "darwin" else peak * 1024  # Linux counts kilobytes
    return int(psutil.Process().memory_info().peak_wset)
