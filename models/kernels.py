"""Compiled loops for the CPU: how they are compiled, cached and spread over threads.

A kernel is a plain Python loop over numpy arrays of one batch item. It is serial, so that sums
run in a fixed order and results do not depend on the number of threads; the items of a batch are
shared out among threads instead. numba's own parallel loops are not used: they bring a second
thread pool that disturbs torch's and does not survive a fork.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import lru_cache
from typing import Any

import numba
import torch
from numba.core import event


def kernel(function: Callable[..., Any]) -> Callable[..., Any]:
    """Compile a loop at its first call for each type of arguments; releases the GIL.

    IEEE arithmetic in the order written (no fast-math), so that the torch backend can be equal
    bit by bit. The machine code is cached beside the source, or in the user's cache folder if
    that is read-only; where neither can be written each process compiles anew.
    Put `typing.no_type_check` under it: run-time type checkers must leave the loop alone.
    """
    options: dict[str, Any] = {"nogil": True, "error_model": "numpy"}
    try:
        return numba.njit(cache=True, **options)(function)
    except RuntimeError:  # numba: no locator available, nowhere to write
        return numba.njit(**options)(function)


class _FirstCompilation(event.Listener):
    """Tells once that a loop is being compiled."""

    def __init__(self, tell: Callable[[], None]) -> None:
        self._tell = tell
        self._told = threading.Lock()

    def on_start(self, event: event.Event) -> None:
        if self._told.acquire(blocking=False):
            self._tell()

    def on_end(self, event: event.Event) -> None:
        pass


@contextmanager
def on_first_compilation(tell: Callable[[], None]) -> Iterator[None]:
    """Within it, have the first compilation told; none is, where all loops come from the cache.

    Args:
        tell: called by the thread that compiles, before it does.
    """
    # numba looks into the cache first, and announces only what is not there.
    with event.install_listener("numba:compile", _FirstCompilation(tell)):
        yield


@lru_cache(maxsize=8)
def _thread_pool(process_id: int, threads: int) -> ThreadPoolExecutor:
    # The process id is part of the key because a forked child inherits the object, not the threads.
    return ThreadPoolExecutor(threads, thread_name_prefix=f"kernels-{process_id}")


def for_each_item(work: Callable[[int], None], items: int) -> None:
    """Call `work(item)` for every batch item, on as many threads as torch uses.

    `work` must write to places of its own item only.
    """
    threads = min(torch.get_num_threads(), items)
    if threads <= 1:
        for item in range(items):
            work(item)
        return
    # list() waits for all and raises what an item raised.
    list(_thread_pool(os.getpid(), threads).map(work, range(items)))
