"""Several processes that train one network: join their group, add up over it, stay alike.

Every process computes a part of each step's batch. Let the batch have B faces, process r B_r of
them, and let its loss L_r be a mean over its own faces. The mean over the batch, and its gradient,
are

    L = sum_r (B_r / B) L_r,      dL/dw = sum_r d[(B_r / B) L_r]/dw

so that each process multiplies its loss by its `Share.faces` before it goes backward, and the
gradients are added. A term that divides by anything else than a number of faces (the photometric
one: by the mask of the whole batch) asks `Share.sum` for that number. Nothing is approximate: up to
the rounding of sums, the step is that of one process with the whole batch.

Gradients are added explicitly, in one message after the backward pass, in place of torch's
DistributedDataParallel: the networks stay what they are (names in checkpoints, frozen parts,
compiled or not), and what is exchanged can be read here.
"""

from __future__ import annotations

import os
import re
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, redirect_stdout
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

from util.errors import InputError, PeerLost

PARENT = "FACE3D_PARENT"
"""Set for processes that `util.training.launch` started: where its store listens, and that its pipe
is their standard input."""
# A step waits for the slowest process: a first step compiles kernels, a save may hang on a network
# file system. Lost processes are noticed at once, not by this limit.
_TIMEOUT = timedelta(minutes=30)
# What gloo, NCCL and the store say of another end that is gone or silent; the classes of their
# errors do not tell it from other failures.
_LOST = re.compile(
    r"connection (was )?(likely )?(closed|reset|refused|aborted)|closed by peer|socket closed"
    r"|broken pipe|timed out|timeout|communicator was aborted|remote (process|worker|server)"
    r"|ncclRemoteError",
    re.IGNORECASE,
)


@dataclass(frozen=True)
class Ranks:
    """The processes of a training as one of them sees them; by default it is alone.

    Except for `is_first`, every method must be called by all processes, in the same order.
    """

    rank: int = 0
    """Number of this process, from 0."""
    size: int = 1
    """Number of processes."""

    @property
    def is_first(self) -> bool:
        """Whether this is the process that prints and writes."""
        return self.rank == 0

    def sum(self, values: Tensor) -> Tensor:
        """Add a tensor up over the processes; without gradient."""
        if self.size == 1:
            return values
        total = values.detach().clone(memory_format=torch.contiguous_format)
        with _peers():
            dist.all_reduce(total)
        return total

    def all(self, here: bool) -> bool:
        """Whether something holds in every process."""
        if self.size == 1:
            return here
        return float(self.sum(torch.tensor(float(not here)))) == 0

    def first(self, value: float) -> float:
        """The first process's value, for what may differ, such as the time."""
        if self.size == 1:
            return value
        number = torch.tensor(value, dtype=torch.float64)
        with _peers():
            dist.broadcast(number, src=0)
        return float(number)

    def gather(self, value: Any) -> list[Any]:
        """Everyone's value (plain, or tensors on the CPU), by rank."""
        if self.size == 1:
            return [value]
        values: list[Any] = [None] * self.size
        with _peers():
            dist.all_gather_object(values, value)
        return values

    def gather_to_first(self, value: Any) -> list[Any]:
        """As `gather`, but only the first process gets the values, others an empty list."""
        if self.size == 1:
            return [value]
        values: list[Any] | None = [None] * self.size if self.is_first else None
        with _peers():
            dist.gather_object(value, values, dst=0)
        return values or []

    def barrier(self) -> None:
        """Wait until every process has come here."""
        self.all(True)

    @torch.no_grad()
    def copy_from_first(self, tensors: Iterable[Tensor]) -> None:
        """Fill tensors with those of the first process."""
        if self.size == 1:
            return
        for tensor in tensors:
            # Channels-last weights are no plain block of memory, which messages must be.
            message = tensor.detach().contiguous().clone()
            with _peers():
                dist.broadcast(message, src=0)
            tensor.copy_(message)

    @torch.no_grad()
    def add_gradients(self, parameters: Iterable[torch.nn.Parameter]) -> None:
        """Replace each gradient by its sum over the processes.

        Parameters without a gradient are left out: the losses that are on are the same everywhere,
        and with them the parameters that they reach.
        """
        if self.size == 1:
            return
        gradients = [p.grad for p in parameters if p.grad is not None]
        if not gradients:
            return
        total = self.sum(torch.cat([gradient.flatten() for gradient in gradients]))
        parts = total.split([gradient.numel() for gradient in gradients])
        for gradient, part in zip(gradients, parts, strict=True):
            gradient.copy_(part.view(gradient.shape))


ALONE = Ranks()


@dataclass(frozen=True)
class Share:
    """One process's part of a batch; by default it has the whole."""

    ranks: Ranks = field(default=ALONE)
    faces: float = 1.0
    """Its part of the batch's faces, in [0, 1]."""

    @classmethod
    def of(cls, ranks: Ranks, faces: int) -> Share:
        """The share of a process that has so many of a step's faces."""
        if ranks.size == 1:
            return WHOLE
        total = ranks.sum(torch.tensor(float(faces), dtype=torch.float64))
        return cls(ranks, faces / max(float(total), 1.0))

    def sum(self, values: Tensor) -> Tensor:
        """Add a tensor up over all parts of the batch; without gradient where there are several."""
        return self.ranks.sum(values)


WHOLE = Share()


@dataclass(frozen=True)
class Place:
    """Where a process stands in its group, as its starter's environment says."""

    rank: int = 0
    size: int = 1
    local_rank: int = 0
    """Its number on this machine, which chooses its GPU."""
    local_size: int = 1
    """Processes on this machine, which share its cores."""

    @classmethod
    def from_environment(cls) -> Place | None:
        """The place that torchrun, or `util.training.launch`, gave; None without them.

        Raises:
            InputError: variables that contradict each other.
        """
        if "RANK" not in os.environ or "WORLD_SIZE" not in os.environ:
            return None
        try:
            rank, size = int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])
            # Starters other than torchrun may not say: then each machine has one process.
            local_rank = int(os.environ.get("LOCAL_RANK", 0))
            local_size = int(os.environ.get("LOCAL_WORLD_SIZE", local_rank + 1))
        except ValueError as error:
            raise InputError(
                f"RANK, WORLD_SIZE, LOCAL_RANK in the environment must be numbers ({error}); "
                "torchrun sets them"
            ) from error
        if not 0 <= rank < size:
            raise InputError(
                f"RANK is {rank} and WORLD_SIZE {size} in the environment; needed is "
                "0 <= RANK < WORLD_SIZE, as torchrun sets them"
            )
        return cls(rank, size, local_rank, local_size)


@contextmanager
def joined(place: Place | None, device: torch.device) -> Iterator[Ranks]:
    """Be a member of the group for the length of the block.

    NCCL carries what lies on GPUs, gloo what lies on the CPU. Only the first process prints; what
    others write to the standard error stream stays.

    Args:
        place: from `Place.from_environment`; None or a group of one exchanges nothing.
        device: of this process.

    Raises:
        PeerLost: the group cannot be joined in time.
    """
    if place is None or place.size == 1:
        yield ALONE
        return
    backend = "gloo"
    if device.type == "cuda":
        torch.cuda.set_device(device)
        backend = "cpu:gloo,cuda:nccl"
    parent = os.environ.get(PARENT)
    with _peers():
        if parent is None:
            dist.init_process_group(backend, timeout=_TIMEOUT)
        else:
            _end_with_parent()
            store = dist.TCPStore(  # pyright: ignore[reportPrivateImportUsage]
                "127.0.0.1", int(parent), place.size, is_master=False, timeout=_TIMEOUT
            )
            dist.init_process_group(
                backend, store=store, rank=place.rank, world_size=place.size, timeout=_TIMEOUT
            )
    ranks = Ranks(place.rank, place.size)
    if ranks.is_first:
        yield ranks
    else:
        with open(os.devnull, "w", encoding="utf-8") as nowhere, redirect_stdout(nowhere):  # noqa: PTH123
            yield ranks
    # Not after an error: others may be in the midst of a message, which leaving waits for.
    dist.destroy_process_group()


def _end_with_parent() -> None:
    """End this process when the one that started it is gone, however that ended."""

    def watch() -> None:
        # The parent never writes; the end of the stream is the end of the parent. Not through
        # sys.stdin, whose lock this thread would hold while the interpreter shuts down.
        os.read(0, 1)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


@contextmanager
def _peers() -> Iterator[None]:
    """Name the usual reason for a message that fails: the other end is gone.

    Other errors, such as a tensor that no message can carry or a port in use, say themselves what
    is wrong.
    """
    try:
        yield
    except RuntimeError as error:
        if not _LOST.search(str(error)):
            raise
        first_line = str(error).strip().partition("\n")[0][:120]
        raise PeerLost(
            f"stopped, because another process of this training ended ({first_line})"
        ) from error
