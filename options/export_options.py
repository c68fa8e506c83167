"""Options of `export.py` alone."""

from __future__ import annotations

from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Literal

from data.images import list_images
from util.errors import InputError, of_flag
from util.folders import check_file

ONNX_PACKAGES = ("onnx", "onnxruntime", "onnxscript")
"""What writes and checks an ONNX file; an extra."""


@dataclass(frozen=True)
class ExportOptions:
    """What is written, and how it is checked."""

    format: Literal["onnx", "torchscript", "torch_export"] = "onnx"
    """onnx: for onnxruntime and others, any batch size (pip install .[export]); torchscript: for
    torch.jit.load, also from C++; torch_export: for torch.export.load."""
    export_path: str = ""
    """The file; else <name>.onnx, .pt or .pt2 beside the checkpoint."""
    opset: int = 18
    """Version of ONNX's operators."""
    dense: bool = False
    """Give the mesh too: the face model, whose licence then holds for the file, becomes part of
    it."""
    int8: bool = False
    """Also write <name>_int8.onnx, dynamically quantised, and print what that costs."""
    check_images: str = ""
    """Folder of face crops with which parity and quantisation are checked; else smooth noise."""

    def __post_init__(self) -> None:
        """Refuse what no file could be."""
        if self.opset < 18:
            raise InputError(f"--opset is {self.opset}; it must be at least 18")
        if self.int8 and self.format != "onnx":
            raise InputError(f"--int8 is for --format onnx, not {self.format}")


def check_export(chosen: ExportOptions) -> None:
    """Refuse what the file could not be written or checked with.

    Raises:
        InputError: no such pictures, a package is not installed, or --export_path cannot be
            written.
    """
    if chosen.check_images:
        with of_flag("check_images"):
            list_images(Path(chosen.check_images))
    if chosen.export_path:
        check_file(chosen.export_path, "export_path")
    if chosen.format == "onnx":
        for name in ONNX_PACKAGES:
            if find_spec(name) is None:
                raise InputError(package_missing(name, "it is not installed"))


def package_missing(name: str, why: str) -> str:
    """What to say where a package of the extra cannot be used."""
    return (
        f"--format onnx needs the package {name} ({why}); install it with `pip install .[export]`"
    )
