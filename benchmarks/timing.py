"""Timing side by side: the cases take turns in one run, so that the load acts on all alike.

`table = compare({"plain": plain, "fast": fast})`, then `print(table)`; `table.ratio("fast")` says
how many times as fast as the first case it was.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch


@dataclass(frozen=True)
class Timing:
    """The measured times of one case in seconds, in the order they were taken."""

    name: str
    seconds: tuple[float, ...]

    @property
    def median(self) -> float:
        """Median time of a call in seconds."""
        return statistics.median(self.seconds)

    @property
    def minimum(self) -> float:
        """Shortest time of a call in seconds."""
        return min(self.seconds)


@dataclass(frozen=True)
class TimingTable:
    """Cases measured in turns; the first one is what the others are compared with."""

    timings: tuple[Timing, ...]
    title: str = ""

    def __getitem__(self, name: str) -> Timing:
        for timing in self.timings:
            if timing.name == name:
                return timing
        known = ", ".join(timing.name for timing in self.timings)
        raise KeyError(f"no case {name!r}; measured were: {known}")

    def ratio(self, name: str) -> float:
        """How many times as fast as the first case, by medians."""
        return self.timings[0].median / self[name].median

    def __str__(self) -> str:
        width = max(4, *(len(timing.name) for timing in self.timings))
        lines = [self.title] if self.title else []
        lines.append(f"{'case':<{width}}  {'median ms':>10}  {'min ms':>10}  {'times as fast':>13}")
        for timing in self.timings:
            lines.append(
                f"{timing.name:<{width}}  {1e3 * timing.median:>10.2f}  "
                f"{1e3 * timing.minimum:>10.2f}  {self.ratio(timing.name):>13.2f}"
            )
        return "\n".join(lines)


def threads_and_repeats(description: str | None, argv: Sequence[str] | None = None) -> int:
    """The command line `[--threads N] [--repeats N]`: sets torch's threads, returns the rounds."""
    parser = argparse.ArgumentParser(description=description, allow_abbrev=False)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--repeats", type=int, default=15)
    arguments = parser.parse_args(argv)
    for flag in ("threads", "repeats"):
        if getattr(arguments, flag) < 1:
            parser.error(f"--{flag} is {getattr(arguments, flag)}; it must be at least 1")
    torch.set_num_threads(arguments.threads)
    return arguments.repeats


def compare(
    cases: Mapping[str, Callable[[], object]],
    repeats: int = 20,
    *,
    warm_up: int = 1,
    title: str = "",
    before: Callable[[], object] | None = None,
) -> TimingTable:
    """Times the cases in turns: one call of each, `repeats` rounds, after `warm_up` rounds.

    Args:
        cases: name -> call without arguments. The first is the reference of the ratios.
        repeats: measured rounds.
        warm_up: unmeasured rounds before (compilation, caches).
        title: a line above the table.
        before: called before each measured call, outside of its time.
    """
    if not cases or repeats < 1:
        raise ValueError(f"compare needs cases and repeats >= 1, got {len(cases)} and {repeats}")
    for _ in range(warm_up):
        for call in cases.values():
            call()
    seconds: dict[str, list[float]] = {name: [] for name in cases}
    for _ in range(repeats):
        for name, call in cases.items():
            if before is not None:
                before()
            settle()
            start = time.perf_counter()
            call()
            settle()
            seconds[name].append(time.perf_counter() - start)
    return TimingTable(tuple(Timing(name, tuple(times)) for name, times in seconds.items()), title)


def settle() -> None:
    """Wait for the GPU, if one is in use: what is asked of it returns at once."""
    if torch.cuda.is_initialized():
        torch.cuda.synchronize()
