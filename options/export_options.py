"""Options of `export.py` alone."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from util.errors import InputError


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
