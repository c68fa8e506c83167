"""Write networks for other runtimes, and refuse a file that does not compute the same.

Each format is written into a temporary file, loaded and run by its own runtime with batches of two
sizes, compared with PyTorch, and only then takes its name: no file is left that is not as good as
the network it came from.
"""

from __future__ import annotations

import importlib
import json
import logging
import shutil
import tempfile
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from options.export_options import ONNX_PACKAGES, package_missing
from util.errors import InputError

INPUT = "images"
METADATA = "face3d"
"""Key of the JSON among an ONNX file's metadata."""
LARGEST_RELATIVE = 1e-4
"""Difference of two runtimes over the output's largest number: float32 sums in another order."""
BATCHES = (1, 3)
ENDINGS = {"onnx": ".onnx", "torchscript": ".pt", "torch_export": ".pt2"}

Outputs = Sequence[np.ndarray]
Run = Callable[[np.ndarray], Outputs]
"""Images (B, 3, S, S) float32 to the outputs."""


@dataclass(frozen=True)
class Parity:
    """How far a runtime's outputs are from PyTorch's."""

    name: str
    """Of the output."""
    largest: float
    """Absolute difference."""
    relative: float
    """Over the output's largest number."""


class ParityError(InputError):
    """A file that does not compute what its network computes."""


def write_export(
    net: nn.Module, path: Path, form: str, images: Tensor, opset: int = 18
) -> list[Parity]:
    """Write one format, checked.

    Args:
        net: a `models.export_nets.ExportNet`, in inference mode, on the CPU.
        path: the file.
        form: key of ENDINGS.
        images: (B, 3, S, S) float32 with which it is checked, at least as many as BATCHES say.
        opset: of ONNX.

    Raises:
        ParityError: the outputs differ; nothing is left at `path` but what was there before.
        InputError: a package is missing.
    """
    if form == "onnx":
        _need(*ONNX_PACKAGES)
    write = {"onnx": _write_onnx, "torchscript": _write_script, "torch_export": _write_program}
    load = {"onnx": load_onnx, "torchscript": load_script, "torch_export": load_program}
    path.parent.mkdir(parents=True, exist_ok=True)
    with _beside(path) as temporary:
        write[form](net, temporary, images, opset)
        found = compare(net, load[form](temporary), images)
        check(found, path)
        shutil.move(temporary, path)
    return found


def compare(net: nn.Module, run: Run, images: Tensor) -> list[Parity]:
    """The outputs of a runtime against PyTorch's, the largest difference over BATCHES."""
    names: tuple[str, ...] = net.outputs  # pyright: ignore[reportAssignmentType]
    worst = dict.fromkeys(names, (0.0, 0.0))
    for size in BATCHES:
        batch = images[:size].contiguous()
        with torch.inference_mode():
            expected = net(batch)
        for name, ours, theirs in zip(names, expected, run(batch.numpy()), strict=True):
            wanted = ours.numpy().astype(np.float64)
            if theirs.shape != wanted.shape:
                raise ParityError(
                    f"{name} is {theirs.shape} for {size} images, PyTorch gives {wanted.shape}"
                )
            off = float(np.abs(theirs - wanted).max()) if wanted.size else 0.0
            off = off if np.isfinite(off) else np.inf
            scale = max(float(np.abs(wanted).max(initial=0.0)), 1e-6)
            worst[name] = (max(worst[name][0], off), max(worst[name][1], off / scale))
    return [Parity(name, *differences) for name, differences in worst.items()]


def check(found: Sequence[Parity], path: Path) -> None:
    """Refuse outputs that differ by more than rounding.

    Raises:
        ParityError: naming the output.
    """
    for parity in found:
        if not parity.relative <= LARGEST_RELATIVE:
            raise ParityError(
                f"{path}: {parity.name} differs from PyTorch's by {parity.largest:.3g}, "
                f"{parity.relative:.1e} of its size, where {LARGEST_RELATIVE:.0e} is rounding; the "
                "file is not kept: update onnx, onnxscript and onnxruntime, or give another "
                "--format"
            )


def quantise(path: Path, target: Path) -> None:
    """Write an ONNX file with weights in 8 bits, activations quantised as they come.

    Raises:
        InputError: a package is missing, or it cannot be done.
    """
    _need("onnx", "onnxruntime")
    from onnxruntime.quantization import QuantType, quantize_dynamic

    with _beside(target) as temporary, _quietly():
        # Unsigned, since the runtime's integer convolution on CPUs takes no other weights.
        quantize_dynamic(path, temporary, weight_type=QuantType.QUInt8)
        shutil.move(temporary, target)


def landmark_change_px(before: Run, after: Run, images: np.ndarray) -> np.ndarray:
    """Mean distance (B,) of the landmarks of two runtimes, in pixels of the crop."""
    first, second = (run(images)[1][..., :2].astype(np.float64) for run in (before, after))
    return np.linalg.norm(first - second, axis=2).mean(axis=1)


def load_onnx(path: Path) -> Run:
    """Run an ONNX file by onnxruntime, on one thread of the CPU."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    return lambda images: [np.asarray(output) for output in session.run(None, {INPUT: images})]


def load_script(path: Path) -> Run:
    """Run a TorchScript file."""
    with _quietly():
        module = torch.jit.load(str(path))
    return _torch_run(module)


def load_program(path: Path) -> Run:
    """Run a file of torch.export."""
    with _quietly():
        module = torch.export.load(path).module()
    return _torch_run(module)


def smooth_images(count: int, side: int, seed: int = 0) -> Tensor:
    """Pictures (count, 3, side, side) of soft colours in [0, 1]: more like photos than noise is."""
    generator = torch.Generator().manual_seed(seed)
    coarse = torch.rand(count, 3, 9, 9, generator=generator)
    size = (side, side)
    return nn.functional.interpolate(coarse, size, mode="bicubic", align_corners=True).clamp(0, 1)


def _torch_run(module: Any) -> Run:
    def run(images: np.ndarray) -> Outputs:
        with torch.inference_mode():
            return [output.numpy() for output in module(torch.from_numpy(images))]

    return run


def _write_onnx(net: nn.Module, path: Path, images: Tensor, opset: int) -> None:
    import onnx

    batch = torch.export.Dim("batch")
    with _quietly():
        program = torch.onnx.export(
            net,
            (images[: BATCHES[-1]],),
            dynamo=True,
            input_names=[INPUT],
            output_names=list(net.outputs),  # pyright: ignore[reportArgumentType, reportCallIssue]
            dynamic_shapes=({0: batch},),
            opset_version=opset,
            verbose=False,
        )
    assert program is not None
    model = program.model_proto
    _set_metadata(model, net.meaning())  # pyright: ignore[reportCallIssue]
    onnx.save(model, str(path))


def _set_metadata(model: Any, meaning: Mapping[str, Any]) -> None:
    entry = model.metadata_props.add()
    entry.key, entry.value = METADATA, json.dumps(meaning)


def _write_script(net: nn.Module, path: Path, images: Tensor, opset: int) -> None:
    with _quietly(), torch.inference_mode():
        traced = torch.jit.trace(net, images[: BATCHES[-1]], check_trace=False)
        extra = {METADATA: json.dumps(net.meaning())}  # pyright: ignore[reportCallIssue]
        torch.jit.save(traced, str(path), _extra_files=extra)


def _write_program(net: nn.Module, path: Path, images: Tensor, opset: int) -> None:
    with _quietly(), torch.no_grad():
        shapes = ({0: torch.export.Dim("batch")},)
        program = torch.export.export(
            net, (images[: BATCHES[-1]],), dynamic_shapes=shapes, strict=False
        )
        extra = {METADATA: json.dumps(net.meaning())}  # pyright: ignore[reportCallIssue]
        torch.export.save(program, path, extra_files=extra)


def _need(*packages: str) -> None:
    for name in packages:
        try:
            importlib.import_module(name)
        except ImportError as error:
            raise InputError(package_missing(name, str(error))) from error


@contextmanager
def _beside(path: Path) -> Iterator[Path]:
    """A temporary file of the same ending in the same folder, gone afterwards."""
    path.parent.mkdir(parents=True, exist_ok=True)
    folder = Path(tempfile.mkdtemp(prefix=".", suffix=".part", dir=path.parent))
    try:
        yield folder / path.name
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def _quietly() -> Iterator[None]:
    """Without the exporters' remarks on their own future, which concern no user."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)
