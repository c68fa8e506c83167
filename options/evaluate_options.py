"""Options of `evaluate.py` alone."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from options.flags import ParsedOptions
from options.synthesis_options import Looks
from util.errors import InputError

BenchmarkName = Literal[
    "aflw2000", "ict", "now", "realy", "micc", "facewarehouse", "facescape", "m3dfb"
]
AFLW2000_ROOT = "aflw2000_data"
"""Where aflw2000 is unless --benchmark_root says otherwise."""
MeshUnit = Literal["mm", "cm", "dm", "m", "unknown"]


@dataclass(frozen=True)
class EvaluateOptions:
    """What is compared, with what."""

    benchmark: BenchmarkName = "aflw2000"
    """Benchmark, a key of util.evaluation.benchmarks.BENCHMARKS."""
    benchmark_root: str = ""
    """Folder of the benchmark's files (docs/evaluation.md); empty is aflw2000_data for
    aflw2000."""
    out: str = ""
    """Folder of tables and pictures; methods that are evaluated into the same one stand in one
    table. Empty is results/ and the benchmark's name."""
    method_name: str = ""
    """Name of the method's rows; else that of its run or file."""
    predictions: str = ""
    """What to score in place of a model: a file (.npz) for aflw2000 (docs/synergynet_use.md), else
    a folder of meshes (docs/evaluation.md)."""
    save_predictions: bool = True
    """Also write the predictions, so that others can score them, or draw them otherwise."""
    eval_batch_size: int = 64
    """Images that go through a network at once."""
    pictures: bool = True
    """Draw the first 50 images and the 20 worst; of meshes, write the report with errors as
    colours."""

    def __post_init__(self) -> None:
        """Refuse a batch of nothing."""
        if self.eval_batch_size < 1:
            raise InputError(f"--eval_batch_size is {self.eval_batch_size}; it must be at least 1")


@dataclass(frozen=True)
class BenchmarkFitOptions:
    """How the fitter is evaluated (`--model fit`)."""

    preset: Literal["fast", "balanced", "best"] = "balanced"
    """How finely faces are fitted, as in fit.py; --benchmark ict fits with all of them unless one
    is given."""


@dataclass(frozen=True)
class IctBenchmarkOptions:
    """Renders of heads of ICT-FaceKit (`--benchmark ict`)."""

    ict: str = ""
    """Folder of ICT-FaceKit: FaceXModel, or the download that holds it. Given alone it means
    --benchmark ict."""
    heads: int = 100
    """Random heads, with a photo each."""
    people: int = 12
    """Random people with 1, 2, 4 and 8 photos each, taken together; 0 leaves them out."""
    looks: Looks = "full"
    """Of the renders: plain leaves out hair, ears, glasses, gloss and shadows."""
    head_seed: int = 5000
    """Random seed of heads and renders."""

    def __post_init__(self) -> None:
        """Refuse a table of nothing."""
        if self.heads < 1:
            raise InputError(f"--heads is {self.heads}; it must be 1 or more")
        if self.people < 0:
            raise InputError(f"--people is {self.people}; it must be 0 or more")


@dataclass(frozen=True)
class ScanBenchmarkOptions:
    """How meshes are compared with scans."""

    mesh_unit: MeshUnit = "unknown"
    """Unit of the meshes in --predictions; unknown leaves out what needs their size. Meshes that
    this program writes are in millimetres."""


@dataclass(frozen=True)
class NowOptions:
    """NoW (`--benchmark now`)."""

    image_set: Literal["validation", "test"] = "validation"
    """Validation is scored; for test, the folder to submit is written."""


@dataclass(frozen=True)
class RealyOptions:
    """REALY (`--benchmark realy`)."""

    image_folder: str = ""
    """Folder of photos, of which the benchmark's copy has several; empty is REALY_image in
    --benchmark_root."""
    template: str = ""
    """Name of the template of the meshes in --predictions: <name>.obj and its 85 key points
    <name>.txt, beside them or in --benchmark_root."""


@dataclass(frozen=True)
class FaceWarehouseOptions:
    """FaceWarehouse (`--benchmark facewarehouse`)."""

    compared_vertices: str = ""
    """File of the numbers of the predictions' vertices that are compared, from 0; empty is all in
    NoW's sphere about the face."""


@dataclass(frozen=True)
class FaceScapeOptions:
    """FaceScape (`--benchmark facescape`)."""

    photo_set: Literal["wild", "lab"] = "wild"
    """Photos in the wild, or renders of the lab's scans."""
    image_folder: str = ""
    """Folder of the set's photos in FaceScape's data, needed unless --predictions is given."""


@dataclass(frozen=True)
class M3dfbOptions:
    """M3DFB (`--benchmark m3dfb`)."""

    mesh_info: str = ""
    """M3DFB's file (.json) about the meshes in --predictions: lmk_indices and mean_face_shape."""


def results_folder(options: ParsedOptions) -> Path:
    """Where tables, report and pictures go: a folder for each set of photos."""
    chosen = options[EvaluateOptions]
    name = chosen.benchmark
    if FaceScapeOptions in options:
        name += f"_{options[FaceScapeOptions].photo_set}"
    return Path(chosen.out or f"results/{name}")
