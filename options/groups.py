"""Which options models, datasets and benchmarks have, by the names that flags choose.

They stand here, and not with what computes, so that a command line can be read, and refused, before
torch is imported; classes (`option_groups`) take theirs from here.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TypeVar

from options.app_options import AppOptions
from options.base_options import BaseOptions
from options.data_options import (
    AugmentationOptions,
    DatatoolOptions,
    DdfaOptions,
    DetectionOptions,
    FlistOptions,
    SyntheticOptions,
    WebdatasetOptions,
)
from options.evaluate_options import (
    BenchmarkFitOptions,
    FaceScapeOptions,
    FaceWarehouseOptions,
    IctBenchmarkOptions,
    M3dfbOptions,
    NowOptions,
    RealyOptions,
    ScanBenchmarkOptions,
)
from options.face_options import CameraOptions, FaceModelOptions, LandmarkOptions, RenderOptions
from options.fitting_weights import FitWeights
from options.loss_options import LabelOptions, ObjectiveOptions, TruthOptions
from options.network_options import (
    OptimiserOptions,
    RecognitionOptions,
    ReconstructionNetOptions,
    SynergyModelOptions,
    SynergyOptions,
)
from options.output_options import OutputOptions
from options.template_options import TemplateDatasetOptions, TemplateOptions
from util.errors import InputError

Groups = tuple[type, ...]

RNET_GROUPS: Groups = (
    *(ReconstructionNetOptions, FaceModelOptions, CameraOptions, RenderOptions),
    LandmarkOptions,
)
"""Of a trained R-Net."""
SYNERGY_GROUPS: Groups = (SynergyModelOptions, FaceModelOptions)
"""Of a trained SynergyNet."""
TRACKING_GROUPS: Groups = (
    *(BaseOptions, DetectionOptions, FaceModelOptions, CameraOptions, RenderOptions),
)
"""Those that a fit of a video takes over from another command."""

APP_GROUPS: Groups = (
    *(AppOptions, OutputOptions, FitWeights, BaseOptions, DetectionOptions),
    *(FaceModelOptions, CameraOptions, RenderOptions),
)
"""Of the app, whose fitter is that of fit.py."""

MODEL_GROUPS: Mapping[str, Groups] = {
    "facerecon": (
        *RNET_GROUPS,
        *(RecognitionOptions, ObjectiveOptions, TruthOptions, LabelOptions, OptimiserOptions),
    ),
    "synergy": (SynergyOptions, OptimiserOptions),
    "template": (TemplateOptions, OptimiserOptions),
}
"""Of a model in training."""

DATASET_GROUPS: Mapping[str, Groups] = {
    "datatool": (DatatoolOptions, FaceModelOptions),
    "ddfa": (DdfaOptions,),
    "flist": (FlistOptions, AugmentationOptions, LandmarkOptions, LabelOptions),
    "synthetic": (SyntheticOptions, LandmarkOptions),
    "template": (TemplateDatasetOptions,),
    "webdataset": (WebdatasetOptions, AugmentationOptions, LandmarkOptions, LabelOptions),
}


EXPORT_GROUPS: Mapping[str, Groups] = {"facerecon": RNET_GROUPS, "synergy": SYNERGY_GROUPS}
"""Of a network that export.py takes, beside its own options."""


@dataclass(frozen=True)
class BenchmarkGroups:
    """Of a benchmark of evaluate.py."""

    methods: Mapping[str, Groups]
    """What `--model` chooses from, with the options of each; none where files are scored alone."""
    own: Groups = ()
    """Of the benchmark itself."""
    model: str = "fit"
    """The method unless another is named."""


_FIT_GROUPS: Groups = (BenchmarkFitOptions, FaceModelOptions, CameraOptions, RenderOptions)
_SHAPE_METHODS = {"fit": _FIT_GROUPS, "facerecon": RNET_GROUPS, "mean": _FIT_GROUPS[1:]}


def _meshes(*groups: type) -> BenchmarkGroups:
    """A benchmark of meshes, with its own options."""
    return BenchmarkGroups(_SHAPE_METHODS, (ScanBenchmarkOptions, DetectionOptions, *groups))


BENCHMARK_GROUPS: Mapping[str, BenchmarkGroups] = {
    "aflw2000": BenchmarkGroups(
        {
            "synergy": SYNERGY_GROUPS,
            "facerecon": RNET_GROUPS,
            "fit": (BenchmarkFitOptions, DetectionOptions, *_FIT_GROUPS[1:]),
        },
        model="facerecon",
    ),
    "now": _meshes(NowOptions),
    "realy": _meshes(RealyOptions),
    "micc": _meshes(),
    "facewarehouse": _meshes(FaceWarehouseOptions),
    "facescape": _meshes(FaceScapeOptions),
    "m3dfb": BenchmarkGroups({}, (M3dfbOptions,), model=""),
    "ict": BenchmarkGroups(_SHAPE_METHODS, (IctBenchmarkOptions, DetectionOptions)),
}


Entry = TypeVar("Entry")


def chosen_groups(flag: str, name: str, table: Mapping[str, Entry]) -> Entry:
    """What a table has for the value of a flag.

    Raises:
        InputError: nothing.
    """
    if name not in table:
        raise InputError(f"--{flag} {name} is unknown; choose one of {', '.join(table)}")
    return table[name]
