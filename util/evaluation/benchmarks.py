"""Benchmarks by name: what `evaluate.py --benchmark` runs; `options.groups` has their options."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial

from options.flags import ParsedOptions
from util.evaluation.aflw2000 import evaluate_aflw2000
from util.evaluation.facescape import FaceScape
from util.evaluation.facewarehouse import FaceWarehouse
from util.evaluation.ict import evaluate_ict
from util.evaluation.m3dfb import M3dfb
from util.evaluation.mesh_benchmark import evaluate_meshes
from util.evaluation.micc import Micc
from util.evaluation.now import Now
from util.evaluation.realy import Realy

BENCHMARKS: Mapping[str, Callable[[ParsedOptions], None]] = {
    "aflw2000": evaluate_aflw2000,
    "now": partial(evaluate_meshes, Now),
    "realy": partial(evaluate_meshes, Realy),
    "micc": partial(evaluate_meshes, Micc),
    "facewarehouse": partial(evaluate_meshes, FaceWarehouse),
    "facescape": partial(evaluate_meshes, FaceScape),
    "m3dfb": partial(evaluate_meshes, M3dfb),
    "ict": evaluate_ict,
}
