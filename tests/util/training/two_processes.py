"""What the processes of the distributed tests run: `two_processes.py TASK FOLDER`."""

from __future__ import annotations

import atexit
import os
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[3]))

import torch
import torch.distributed as dist
from torch import nn

from util.command import run_command
from util.errors import InputError
from util.training.distributed import Place, Ranks, Share, joined


def messages(folder: Path, ranks: Ranks) -> None:
    """Every method of `Ranks`, with what it should give; the first process prints."""
    del folder
    rank = float(ranks.rank)
    assert ranks.sum(torch.tensor([rank, 1.0])).tolist() == [1, 2]
    assert ranks.all(True) and not ranks.all(ranks.is_first) and not ranks.all(False)
    assert ranks.first(10 + rank) == 10
    assert ranks.gather({"rank": rank}) == [{"rank": 0}, {"rank": 1}]
    gathered = ranks.gather_to_first(torch.tensor(rank))
    assert [float(value) for value in gathered] == ([0, 1] if ranks.is_first else [])
    weights = torch.full((2, 3, 4, 4), rank).to(memory_format=torch.channels_last)
    ranks.copy_from_first([weights])
    assert not weights.any() and weights.is_contiguous(memory_format=torch.channels_last)
    parameter, unused = nn.Parameter(torch.zeros(2, 2)), nn.Parameter(torch.zeros(3))
    parameter.grad = torch.full((2, 2), 1 + rank)
    ranks.add_gradients([unused, parameter])
    assert parameter.grad.eq(3).all() and unused.grad is None
    share = Share.of(ranks, 3 if ranks.is_first else 1)
    assert share.faces == (0.75 if ranks.is_first else 0.25)
    assert not ranks.all(bool(torch.isfinite(torch.tensor(float("nan") if rank else 1.0))))
    ranks.barrier()
    print("heard from", ranks.rank)


def defect(folder: Path, ranks: Ranks) -> None:
    """The second process has a bug; the first waits for it."""
    del folder
    if not ranks.is_first:
        raise ZeroDivisionError("a bug in process 1")
    ranks.barrier()


def slow_to_end(folder: Path, ranks: Ranks) -> None:
    """The second process has a bug, and has closed its connections seconds before it ends."""
    del folder
    if not ranks.is_first:
        dist.destroy_process_group()
        atexit.register(time.sleep, 3)
        raise ZeroDivisionError("a bug in process 1")
    ranks.barrier()


def bad_input(folder: Path, ranks: Ranks) -> None:
    """The second process meets a bad file."""
    del folder
    if not ranks.is_first:
        raise InputError("photo 7.png is bad")
    ranks.barrier()


def killed(folder: Path, ranks: Ranks) -> None:
    """The system kills the second process, as it does when memory runs out."""
    del folder
    if not ranks.is_first:
        os.kill(os.getpid(), signal.SIGKILL)
    ranks.barrier()


def busy(folder: Path, ranks: Ranks) -> None:
    """The second process has a bug while the first one listens to nobody."""
    del folder
    if not ranks.is_first:
        raise ZeroDivisionError("a bug in process 1")
    time.sleep(1000)


def forever(folder: Path, ranks: Ranks) -> None:
    """Both note that they live, and go on."""
    (folder / f"pid_{ranks.rank}").write_text(str(os.getpid()), encoding="utf-8")
    time.sleep(1000)


TASKS: dict[str, Callable[[Path, Ranks], None]] = {
    task.__name__: task
    for task in (messages, defect, slow_to_end, bad_input, killed, busy, forever)
}


def main() -> None:
    """Join the group and do the task."""
    with joined(Place.from_environment(), torch.device("cpu")) as ranks:
        TASKS[sys.argv[1]](Path(sys.argv[2]), ranks)


if __name__ == "__main__":
    run_command(main)
