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
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from itertools import islice
from multiprocessing.connection import Connection, wait
from typing import Any, Generic, TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")

_STARTING, _NOTHING = object(), object()
"""What a worker that has not said hello works on, and one that waits for an item."""
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
    item: Any = _STARTING

    @property
    def is_busy(self) -> bool:
        return self.item is not _STARTING and self.item is not _NOTHING

    def take(self, item: Any) -> None:
        """Work on it, or on _NOTHING."""
        self.item = item
        if self.is_busy:
            with suppress(OSError):  # the process is gone already; receiving from it says so
                self.connection.send(item)


def map_in_processes(
    function: Callable[[Item], Result], items: Iterable[Item], num_workers: int
) -> Iterator[tuple[Item, Result | WorkerDied]]:
    """Yield (item, result) as they finish, in any order: `WorkerPool.map` of a pool of its own."""
    with WorkerPool(function, num_workers) as pool:
        yield from pool.map(items)


class WorkerPool(Generic[Item, Result]):
    """Processes for one call of `map` after the other.

        with WorkerPool(function, 2) as pool:
            found = dict(pool.map(items))
            rest = dict(pool.map(others))

    Processes are spawned, on every platform alike, and compute with one thread each. Each holds
    its own unpickled copy of `function`, so that state it loads (models) is kept between items.
    """

    def __init__(self, function: Callable[[Item], Result], num_workers: int) -> None:
        """Nothing is started yet.

        Args:
            function: picklable; its own exceptions pass to the caller and end the call of `map`.
            num_workers: processes at most; 0 works in this one.
        """
        self._function = function
        self._num_workers = num_workers
        self._workers: list[_Worker] = []

    def __enter__(self) -> WorkerPool[Item, Result]:
        return self

    def __exit__(self, *_: object) -> None:
        self._end_all(self._workers)

    def map(self, items: Iterable[Item]) -> Iterator[tuple[Item, Result | WorkerDied]]:
        """Yield (item, result) as they finish, in any order.

        Args:
            items: picklable work items, taken as workers become free: they may be millions.

        Raises:
            RuntimeError: processes die before they can take an item.
        """
        if self._num_workers == 0:
            for item in items:
                yield item, self._function(item)
            return
        waiting = _Waiting(items)
        self._end_all([worker for worker in self._workers if not worker.process.is_alive()])
        # No more workers than items; a new one takes its first when it says hello.
        missing = waiting.look_ahead(self._num_workers) - len(self._workers)
        for worker in self._workers:
            if worker.item is _NOTHING:
                worker.take(waiting.pop())
        self._workers += [_start(self._function) for _ in range(missing)]
        failed_starts = 0
        try:
            while waiting.look_ahead(1) or any(worker.is_busy for worker in self._workers):
                ready = wait([worker.connection for worker in self._workers])
                for worker in [w for w in self._workers if w.connection in ready]:
                    item, was_busy = worker.item, worker.is_busy
                    try:
                        result, error = worker.connection.recv()
                    except (EOFError, OSError):
                        result, error = WorkerDied(_end(worker)), None
                        self._workers.remove(worker)
                        # The system may kill one that is starting as well as any other.
                        failed_starts += item is _STARTING
                        if failed_starts >= _MOST_FAILED_STARTS:
                            raise RuntimeError(
                                f"worker processes cannot start (exit code {result.exit_code}); "
                                "a script that starts them needs `if __name__ == '__main__':`"
                            ) from None
                        if waiting.look_ahead(1):
                            self._workers.append(_start(self._function))
                    else:
                        if error is not None:
                            raise error
                        failed_starts = 0
                        worker.take(waiting.pop())
                    if was_busy:
                        yield item, result
        finally:
            # After an exception, or where the caller has lost interest.
            self._end_all([worker for worker in self._workers if worker.is_busy])

    def _end_all(self, workers: Iterable[_Worker]) -> None:
        """Stop some, in the midst of an item too, and forget them."""
        for worker in list(workers):
            if worker.item is not _NOTHING:
                worker.process.terminate()
            _end(worker)
            self._workers.remove(worker)


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
