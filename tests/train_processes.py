"""`train.py` in processes of its own that start in no time, to be killed, joined and compared.

Half of a short training is importing. Here one process imports once, and each training is forked
from it: a process with its own memory, workers and exit code, as the command's own would be.
"""

from __future__ import annotations

import multiprocessing
import os
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import torch.distributed as dist

SECONDS = 100
"""After which a process that has not ended is stuck."""

_METHOD = "forkserver" if "forkserver" in multiprocessing.get_all_start_methods() else "spawn"
_CONTEXT: Any = multiprocessing.get_context(_METHOD)
if _METHOD == "forkserver":
    # torch imports _dynamo, in seconds, with the first optimiser.
    # train.py imports what computes once its command line is read.
    _CONTEXT.set_forkserver_preload(
        [
            *("train", "data.loader", "data.registry", "models", "util.assets"),
            *(
                "util.training.launch",
                "util.training.training_start",
                "util.training.loop",
                "torch._dynamo",
                "tests.train_processes",
            ),
        ]
    )


def start(
    task: Callable[..., None],
    *arguments: Any,
    folder: Path,
    name: str = "process",
    environment: Mapping[str, str] | None = None,
) -> BaseProcess:
    """Begin a task in a process of its own.

    Args:
        task: a function of a module.
        arguments: for it.
        folder: where it works.
        name: what it prints goes to `<name>.out` and `<name>.err` there.
        environment: variables for it.
    """
    usual = multiprocessing.get_start_method()
    process = _CONTEXT.Process(
        target=_run, args=(usual, folder, name, dict(environment or {}), task, arguments)
    )
    process.start()
    return process


def ended(process: BaseProcess) -> int:
    """The exit code of a process, after its end."""
    process.join(SECONDS)
    if process.exitcode is None:
        process.kill()
        raise TimeoutError(f"the process did not end in {SECONDS} s")
    return process.exitcode


def train(folder: Path, *argv: str) -> str:
    """`train.py` with its R-Net a tiny one, to its end; what it printed."""
    code = ended(start(train_tiny, argv, folder=folder))
    assert code == 0, (folder / "process.err").read_text("utf-8")
    return (folder / "process.out").read_text("utf-8")


def train_two(folder: Path, *argv: str) -> str:
    """The same by two processes, as torchrun would start them; what the first one printed."""
    with two_places() as places:
        processes = [
            start(train_tiny, argv, folder=folder, name=f"rank{rank}", environment=place)
            for rank, place in enumerate(places)
        ]
        codes = [ended(process) for process in processes]
    errors = "".join((folder / f"rank{rank}.err").read_text("utf-8") for rank in range(2))
    assert codes == [0, 0], errors
    assert not (folder / "rank1.out").read_text("utf-8")
    return (folder / "rank0.out").read_text("utf-8")


@contextmanager
def two_places() -> Iterator[list[dict[str, str]]]:
    """The environment of each of two processes that shall find each other."""
    store = dist.TCPStore(  # pyright: ignore[reportPrivateImportUsage]
        "127.0.0.1", 0, is_master=True, wait_for_workers=False
    )
    shared = {
        "WORLD_SIZE": "2",
        "LOCAL_WORLD_SIZE": "2",
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(store.port),
        # The port is open already: neither process opens it.
        "TORCHELASTIC_USE_AGENT_STORE": "True",
    }
    yield [{**shared, "RANK": str(rank), "LOCAL_RANK": str(rank)} for rank in range(2)]


def train_tiny(argv: Sequence[str]) -> None:
    """The command, in the current process."""
    import train as command
    from tests.tiny_net import tiny_nets
    from util.command import run_command

    tiny_nets()
    run_command(lambda: command.main(argv))


def _run(
    start_method: str,
    folder: Path,
    name: str,
    environment: Mapping[str, str],
    task: Callable[..., None],
    arguments: Sequence[Any],
) -> None:
    # Loading processes begin as they would under the command, not as this one did.
    multiprocessing.set_start_method(start_method, force=True)
    os.environ.update(environment)
    os.chdir(folder)
    for stream, ending in ((sys.stdout, "out"), (sys.stderr, "err")):
        stream.flush()
        with Path(f"{name}.{ending}").open("wb") as file:
            os.dup2(file.fileno(), stream.fileno())
    task(*arguments)
