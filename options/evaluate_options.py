"""Options of `evaluate.py` alone."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from util.errors import InputError


@dataclass(frozen=True)
class EvaluateOptions:
    """What is compared, with what."""

    benchmark: Literal["aflw2000"] = "aflw2000"
    """Benchmark, a key of util.benchmarks.BENCHMARKS."""
    benchmark_root: str = "aflw2000_data"
    """Folder of the benchmark's images and labels."""
    out: str = "results/aflw2000"
    """Folder of tables and pictures; methods that are evaluated into the same one stand in one
    table."""
    method_name: str = ""
    """Name of the method's rows; else that of its run or file."""
    predictions: str = ""
    """File of predictions (.npz) to score in place of a model; docs/synergynet_use.md says what it
    holds."""
    save_predictions: bool = True
    """Also write the predictions, so that others can score them, or draw them otherwise."""
    eval_batch_size: int = 64
    """Images that go through a network at once."""
    pictures: bool = True
    """Draw the first 50 images and the 20 worst."""

    def __post_init__(self) -> None:
        """Refuse a batch of nothing."""
        if self.eval_batch_size < 1:
            raise InputError(f"--eval_batch_size is {self.eval_batch_size}; it must be at least 1")


@dataclass(frozen=True)
class BenchmarkFitOptions:
    """How the fitter is evaluated (`--model fit`)."""

    preset: Literal["fast", "balanced", "best"] = "balanced"
    """How finely faces are fitted, as in fit.py."""
