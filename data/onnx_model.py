"""A network in an .onnx file, run by onnxruntime on the CPU."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from util.errors import InputError
from util.model_files.file_kind import foreign_kind


class OnnxModel:
    """Loaded at the first use, and again after unpickling.

    Args:
        path: the file.

    Raises:
        InputError: the file is missing or obviously another one.
    """

    def __init__(self, path: Path) -> None:
        if not path.is_file():
            raise InputError(f"{path}: no such file; check the path")
        if kind := foreign_kind(path):
            raise InputError(f"{path}: not an ONNX file but {kind}")
        self.path = path
        self._session: Any = None

    def __getstate__(self) -> dict[str, Any]:
        return {"path": self.path, "_session": None}

    @property
    def session(self) -> Any:
        """The runtime's session.

        Raises:
            InputError: onnxruntime is not installed or cannot read the file.
        """
        if self._session is not None:
            return self._session
        try:
            import onnxruntime
        except ImportError as error:
            raise InputError(
                f"{self.path}: running ONNX networks needs the package onnxruntime; install it "
                "with: pip install onnxruntime"
            ) from error
        options = onnxruntime.SessionOptions()
        # Several processes prepare photos at once; more threads would only contend.
        options.intra_op_num_threads = 1
        options.log_severity_level = 3
        try:
            self._session = onnxruntime.InferenceSession(
                str(self.path), options, providers=["CPUExecutionProvider"]
            )
        except Exception as error:
            # The runtime has an exception class for every kind of damage, none of them public.
            reason = " ".join(str(error).split())[:200]
            raise InputError(
                f"{self.path}: damaged or not an ONNX file ({reason}); copy it again"
            ) from error
        return self._session

    @property
    def input_shape(self) -> list[int | str | None]:
        """Sizes of the input; a name or None where any size is taken."""
        return self.session.get_inputs()[0].shape

    def run(self, array: np.ndarray) -> list[np.ndarray]:
        """All outputs for one input."""
        return self.session.run(None, {self.session.get_inputs()[0].name: array})
