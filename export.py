"""Export a trained network for onnxruntime, TorchScript or torch.export, checked against PyTorch.

python export.py --model synergy --name mine --epoch best
python export.py --model synergy --weights pretrained/best.pth.tar --dense --int8
python export.py --model facerecon --name face_recon --epoch 20 --format torchscript
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from options import parse_command
from options.base_options import BaseOptions
from options.export_options import ExportOptions, check_export
from options.face_options import FaceModelOptions, check_face_model
from options.groups import EXPORT_GROUPS
from util.command import run_command
from util.errors import InputError
from util.training.run_choice import find_trained


def groups(given: Mapping[str, str]) -> tuple[type, ...]:
    """The options of the chosen network, beside those of all."""
    name = given.get("model", BaseOptions.model)
    if name not in EXPORT_GROUPS:
        raise InputError(
            f"--model {name} cannot be exported; choose one of {', '.join(EXPORT_GROUPS)}"
        )
    return (ExportOptions, BaseOptions, *EXPORT_GROUPS[name])


def main(argv: Sequence[str] | None = None) -> None:
    """Export, as the command line says."""
    options = parse_command(groups, argv, __doc__ or "")
    find_trained(options)
    check_face_model(options[FaceModelOptions])
    check_export(options[ExportOptions])
    # What computes takes seconds to import: only now that the command line is sound.
    from util.export_run import export_network

    export_network(options)


if __name__ == "__main__":
    run_command(main)
