"""Start the processes of a training on this machine, watch over them, and end them together."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import IO

import torch.distributed as dist

from util.command import PEER_LOST
from util.devices import present_gpus
from util.errors import InputError
from util.training.distributed import PARENT, Place

_POLL_SECONDS = 0.1
# Processes that lose their peers say so within this time; then they are told to end, then made to.
_NOTICE_SECONDS = 1.0
_END_SECONDS = 5.0
# One that fails is gone for its peers before it has ended, on a busy machine by seconds: its
# sockets are closed first.
_REASON_SECONDS = 20.0


def processes_to_start(gpu_ids: str, world_size: int, use_ddp: bool, place: Place | None) -> int:
    """How many processes a command line asks this one to start; 1 if it shall compute itself.

    One a GPU in `--gpu_ids`; on the CPU `--world_size`. Says so where a flag has no effect.

    Args:
        gpu_ids: value of the flag.
        world_size: value of the flag.
        use_ddp: value of the flag.
        place: this process's in a group that is there already, in which case none is started.

    Raises:
        InputError: a GPU was asked for that is not there.
    """
    gpus = present_gpus(gpu_ids)
    if place is not None:
        if world_size not in (1, place.size) and place.rank == 0:
            print(f"--world_size {world_size} has no effect: the group has {place.size} processes.")
        return 1
    wanted = len(gpus) or world_size
    if wanted > 1 and not use_ddp:
        what = f"GPU {gpus[0]}" if gpus else "the CPU"
        print(f"--use_ddp False: one process trains on {what}.")
        return 1
    if gpus and world_size not in (1, len(gpus)):
        print(
            f"--world_size {world_size} has no effect: --gpu_ids {gpu_ids} asks for one process "
            "a GPU."
        )
    return wanted


@dataclass
class _Child:
    """One process and where its error messages go: the first one's to ours, others' to a file."""

    rank: int
    process: subprocess.Popen
    errors: IO[bytes] | None

    @property
    def code(self) -> int | None:
        return self.process.poll()

    @property
    def failed(self) -> bool:
        return self.code not in (None, 0)


def run_processes(command: Sequence[str], count: int, port: int = 0) -> None:
    """Run a Python command in so many processes, which find each other as under torchrun.

    The first process's output is seen as it comes; of another's, the errors if it is the one that
    failed. When one fails the others are ended.

    Args:
        command: script and arguments.
        count: processes.
        port: through which they meet; 0 takes any free one.

    Raises:
        InputError: the port is in use.
        SystemExit: a process failed; with its exit code.
    """
    try:
        store = dist.TCPStore(  # pyright: ignore[reportPrivateImportUsage]
            "127.0.0.1", port, is_master=True, wait_for_workers=False
        )
    except RuntimeError as error:
        raise InputError(
            f"--ddp_port {port} cannot be used ({str(error).strip().splitlines()[0]}); give a free "
            "port, or leave the flag out"
        ) from error
    children: list[_Child] = []
    with _sigterm_as_exit():
        try:
            for rank in range(count):
                children.append(_start(command, rank, count, store.port))
            while all(child.code in (None, 0) for child in children):
                if all(child.code == 0 for child in children):
                    return
                time.sleep(_POLL_SECONDS)
            _wait(children, _NOTICE_SECONDS)
            _wait_for_reason(children)
            _report(children)
        except KeyboardInterrupt:
            # The terminal sends it to all of them, and they may be finishing a file.
            _wait(children, 2 * _END_SECONDS)
            raise
        finally:
            _end(children)


def _start(command: Sequence[str], rank: int, count: int, port: int) -> _Child:
    place = {"RANK": rank, "WORLD_SIZE": count, "LOCAL_RANK": rank, "LOCAL_WORLD_SIZE": count}
    environment = {**os.environ, **{name: str(value) for name, value in place.items()}}
    environment[PARENT] = str(port)
    errors = None if rank == 0 else tempfile.TemporaryFile()  # noqa: SIM115 - lives with the child
    process = subprocess.Popen(
        [sys.executable, *command],
        env=environment,
        # Never written to: its end tells the process that this one is gone.
        stdin=subprocess.PIPE,
        stderr=errors,
    )
    return _Child(rank, process, errors)


def _wait(children: Sequence[_Child], seconds: float) -> None:
    """Until all have ended, at most so long."""
    end = time.monotonic() + seconds
    while any(child.code is None for child in children) and time.monotonic() < end:
        time.sleep(_POLL_SECONDS)


def _wait_for_reason(children: Sequence[_Child]) -> None:
    """While all that failed only lost a peer: until that one has ended too."""
    end = time.monotonic() + _REASON_SECONDS
    while time.monotonic() < end:
        codes = [child.code for child in children]
        if None not in codes or any(code not in (None, 0, PEER_LOST) for code in codes):
            return
        time.sleep(_POLL_SECONDS)


def _report(children: Sequence[_Child]) -> None:
    """Show why the training failed, and leave with that process's exit code."""
    failed = [child for child in children if child.failed]
    # Those that lost a peer are not the reason, and a killed one has lost nothing.
    causes = [child for child in failed if child.code != PEER_LOST] or failed
    cause = min(causes, key=lambda child: ((child.code or 0) > 0, child.rank))
    code = cause.code or 1
    if cause.errors is not None:
        cause.errors.seek(0)
        sys.stderr.write(cause.errors.read().decode(errors="backslashreplace"))
    who = f"process {cause.rank} of {len(children)}"
    if code < 0:
        reason = f"error: {who} was ended by signal {-code}"
        if -code == getattr(signal, "SIGKILL", None):
            reason += " (too little memory is the usual cause)"
        print(f"{reason}; go on from the last checkpoint by --continue_train", file=sys.stderr)
    elif cause.rank > 0:
        print(f"error: {who} ended with exit code {code}, and the others with it", file=sys.stderr)
    sys.exit(code if code > 0 else 128 - code)


def _end(children: Sequence[_Child]) -> None:
    """Ask those that still run to end, then make them."""
    for child in children:
        if child.code is None:
            child.process.terminate()
    _wait(children, _END_SECONDS)
    for child in children:
        if child.code is None:
            child.process.kill()
        child.process.wait()
        if child.process.stdin is not None:
            child.process.stdin.close()
        if child.errors is not None:
            child.errors.close()


@contextmanager
def _sigterm_as_exit() -> Iterator[None]:
    """Let a scheduler's SIGTERM end the children too, not this process alone."""

    def leave(number: int, _: object) -> None:
        sys.exit(128 + number)

    previous = signal.signal(signal.SIGTERM, leave)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, previous)
