"""Run one function over many items in several processes, and outlive the death of any of them.

The standard pools either hang or give up everything when a process is killed (out of memory, a
crash inside a native library). Here it costs the one item that was being worked on.
"""

from __future__ import annotations

import multiprocessing
import os
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from multiprocessing.connection import Connection, wait
from typing import Any, TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")

_NOTHING = object()
_MOST_FAILED_STARTS = 3
"""In a row; more are no accident."""
_ONE_THREAD_VARIABLES = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")


@dataclass(frozen=True)
class WorkerDied:
    """What stands in place of a result when the process working on the item ended."""

    exit_code: int | None
    """As the operating system gives it; negative is the signal's number on Unix."""

    def __str__(self) -> str:
        return (
            f"the process working on it died (exit code {self.exit_code}); "
            "too little memory is the usual cause"
        )


@dataclass
class _Worker:
    """A process, the parent's end of its pipe, and the item it works on."""

    process: Any
    connection: Connection
    item: Any = _NOTHING


def map_in_processes(
    function: Callable[[Item], Result], items: Iterable[Item], num_workers: int
) -> Iterator[tuple[Item, Result | WorkerDied]]:
    """Yield (item, result) as they finish, in any order.

    Processes are spawned, on every platform alike, and compute with one thread each. Each holds
    its own unpickled copy of `function`, so that state it loads (models) is kept between items.

    Args:
        function: picklable; its own exceptions pass to the caller and end the run.
        items: picklable work items, taken as workers become free: they may be millions.
        num_workers: processes; 0 works in this one.

    Raises:
        RuntimeError: processes die before they can take an item.
    """
    if num_workers == 0:
        for item in items:
            yield item, function(item)
        return
    waiting = _Waiting(items)
    # No more workers than items; each takes its first one when it says hello.
    workers = [_start(function) for _ in range(waiting.look_ahead(num_workers))]
    failed_starts = 0
    try:
        while workers:
            ready = wait([worker.connection for worker in workers])
            for worker in [worker for worker in workers if worker.connection in ready]:
                item = worker.item
                try:
                    result, error = worker.connection.recv()
                except (EOFError, OSError):
                    result, error = WorkerDied(_end(worker)), None
                    workers.remove(worker)
                    # The system may kill one that is starting as well as any other.
                    failed_starts += item is _NOTHING
                    if failed_starts >= _MOST_FAILED_STARTS:
                        raise RuntimeError(
                            f"worker processes cannot start (exit code {result.exit_code}); "
                            "a script that starts them needs `if __name__ == '__main__':`"
                        ) from None
                    if waiting.look_ahead(1):
                        workers.append(_start(function))
                else:
                    if error is not None:
                        raise error
                    failed_starts = 0
                    worker.item = waiting.pop()
                    if worker.item is not _NOTHING:
                        _send(worker.connection, worker.item)
                    else:
                        _end(worker)
                        workers.remove(worker)
                if item is not _NOTHING:
                    yield item, result
    finally:
        for worker in workers:
            worker.process.terminate()
            _end(worker)


class _Waiting:
    """Items that no worker has taken, of which a few are fetched ahead."""

    def __init__(self, items: Iterable[Any]) -> None:
        self._items, self._fetched = iter(items), deque()

    def look_ahead(self, count: int) -> int:
        """How many items are left, if less than `count`."""
        self._fetched.extend(islice(self._items, max(count - len(self._fetched), 0)))
        return min(len(self._fetched), count)

    def pop(self) -> Any:
        """The next item, or _NOTHING."""
        return self._fetched.popleft() if self.look_ahead(1) else _NOTHING


def _start(function: Callable[[Any], Any]) -> _Worker:
    """A new worker, which says so itself when it can take an item."""
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=_work, args=(theirs, function), daemon=True)
    with _one_thread_each():
        process.start()
    # The child holds the only other end now, so that its death closes the pipe.
    theirs.close()
    return _Worker(process, ours)


def _end(worker: _Worker) -> int | None:
    """Hang up, wait for the process and give its exit code."""
    worker.connection.close()
    worker.process.join()
    return worker.process.exitcode


def _send(connection: Connection, item: Any) -> None:
    try:
        connection.send(item)
    except OSError:
        # The process is gone already; receiving from it says so.
        return


def _work(connection: Connection, function: Callable[[Any], Any]) -> None:
    """A worker's life: say hello, then one item in, one (result, error) out, until hung up on."""
    threading.Thread(target=_end_with_parent, daemon=True).start()
    try:
        connection.send((None, None))
        while True:
            item = connection.recv()
            try:
                reply = (function(item), None)
            except Exception as error:  # sent on: the parent decides
                reply = (None, error)
            connection.send(reply)
    except (EOFError, OSError, KeyboardInterrupt):
        return


def _end_with_parent() -> None:
    """End this worker when its parent is gone, even killed, whatever it is in the middle of."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


@contextmanager
def _one_thread_each() -> Iterator[None]:
    """Let processes started in this block compute with one thread: they share the cores.

    The numerical libraries read these variables when they are loaded, which is too early for a
    call in the worker itself.
    """
    before = {name: os.environ.get(name) for name in _ONE_THREAD_VARIABLES}
    os.environ.update(dict.fromkeys(_ONE_THREAD_VARIABLES, "1"))
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value
