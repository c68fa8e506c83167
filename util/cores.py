"""How many cores this process may use; torch-free, since preparation's workers import it."""

from __future__ import annotations

import os


def usable_cores() -> int:
    """Cores that this process may run on; containers and schedulers often grant fewer."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
