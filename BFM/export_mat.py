"""Write a face model in the layout of the public code's BFM_model_front.mat.

python -m BFM.export_mat --face_model open --output open_face_model.mat

With --face_model bfm09 it converts the user's files, which every command else does by itself.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from options import parse_command
from options.face_options import FaceModelOptions
from util.assets import read_chosen_face_model
from util.command import run_command
from util.errors import InputError
from util.model_files.bfm_file import write_bfm_model


@dataclass(frozen=True)
class ExportOptions:
    """Where the file goes."""

    output: str = "face_model.mat"
    """The .mat file to write; an existing one is not replaced."""


def main(arguments: Sequence[str] | None = None) -> None:
    """Read the face model, write it."""
    options = parse_command([FaceModelOptions, ExportOptions], arguments, __doc__ or "")
    path = Path(options[ExportOptions].output)
    if path.exists():
        raise InputError(f"--output {path} exists; give another name, or remove it")
    data, message = read_chosen_face_model(options[FaceModelOptions])
    try:
        write_bfm_model(path, data)
    except ValueError as error:
        raise InputError(f"--face_model {options[FaceModelOptions].face_model}: {error}") from error
    print(f"{path}: {data.card}, {message}")


if __name__ == "__main__":
    run_command(main)
