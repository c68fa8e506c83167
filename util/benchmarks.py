"""Benchmarks by name: what `evaluate.py --benchmark` chooses from."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Protocol

from data.detection import DetectionOptions
from options.evaluate_options import IctBenchmarkOptions, ScanBenchmarkOptions
from options.flags import ParsedOptions
from util.benchmark_aflw2000 import evaluate_aflw2000
from util.benchmark_facewarehouse import evaluate_facewarehouse
from util.benchmark_ict import evaluate_ict
from util.benchmark_m3dfb import evaluate_m3dfb
from util.benchmark_methods import METHODS
from util.benchmark_micc import evaluate_micc
from util.benchmark_now import evaluate_now
from util.benchmark_realy import evaluate_realy
from util.shape_methods import SHAPE_METHODS


class Kind(Protocol):
    """A method as the command line names it."""

    @property
    def groups(self) -> tuple[type, ...]:
        """Option dataclasses that it reads, beside `BaseOptions`."""
        ...


@dataclass(frozen=True)
class Benchmark:
    """What one benchmark is made of."""

    run: Callable[[ParsedOptions], None]
    methods: Mapping[str, Kind]
    """What `--model` chooses from."""
    groups: tuple[type, ...] = ()
    """Further option dataclasses that it reads."""
    model: str = "fit"
    """The method unless another is named."""


SCANS = (ScanBenchmarkOptions, DetectionOptions)
BENCHMARKS: Mapping[str, Benchmark] = {
    "aflw2000": Benchmark(evaluate_aflw2000, METHODS, model="facerecon"),
    "now": Benchmark(evaluate_now, SHAPE_METHODS, SCANS),
    "realy": Benchmark(evaluate_realy, SHAPE_METHODS, SCANS),
    "micc": Benchmark(evaluate_micc, SHAPE_METHODS, SCANS),
    "facewarehouse": Benchmark(evaluate_facewarehouse, SHAPE_METHODS, SCANS),
    "m3dfb": Benchmark(evaluate_m3dfb, SHAPE_METHODS, SCANS),
    "ict": Benchmark(evaluate_ict, SHAPE_METHODS, (IctBenchmarkOptions, DetectionOptions)),
}
