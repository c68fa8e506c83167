"""Benchmarks by name: what `evaluate.py --benchmark` chooses from."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Protocol

from options.data_options import DetectionOptions
from options.evaluate_options import (
    FaceScapeOptions,
    FaceWarehouseOptions,
    IctBenchmarkOptions,
    M3dfbOptions,
    NowOptions,
    RealyOptions,
    ScanBenchmarkOptions,
)
from options.flags import ParsedOptions
from util.evaluation.aflw2000 import evaluate_aflw2000
from util.evaluation.aflw2000_methods import METHODS
from util.evaluation.facescape import FaceScape
from util.evaluation.facewarehouse import FaceWarehouse
from util.evaluation.ict import evaluate_ict
from util.evaluation.m3dfb import M3dfb
from util.evaluation.mesh_benchmark import MeshBenchmark, evaluate_meshes
from util.evaluation.micc import Micc
from util.evaluation.now import Now
from util.evaluation.realy import Realy
from util.evaluation.shape_methods import SHAPE_METHODS


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


def _meshes(kind: type[MeshBenchmark], *groups: type) -> Benchmark:
    """A benchmark of meshes, with its own options."""
    run = partial(evaluate_meshes, kind)
    return Benchmark(run, SHAPE_METHODS, (ScanBenchmarkOptions, DetectionOptions, *groups))


BENCHMARKS: Mapping[str, Benchmark] = {
    "aflw2000": Benchmark(evaluate_aflw2000, METHODS, model="facerecon"),
    "now": _meshes(Now, NowOptions),
    "realy": _meshes(Realy, RealyOptions),
    "micc": _meshes(Micc),
    "facewarehouse": _meshes(FaceWarehouse, FaceWarehouseOptions),
    "facescape": _meshes(FaceScape, FaceScapeOptions),
    "m3dfb": _meshes(M3dfb, M3dfbOptions),
    "ict": Benchmark(evaluate_ict, SHAPE_METHODS, (IctBenchmarkOptions, DetectionOptions)),
}
