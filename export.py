"""Export a trained network for onnxruntime, TorchScript or torch.export, checked against PyTorch.

python export.py --model synergy --name mine --epoch best
python export.py --model synergy --weights pretrained/best.pth.tar --dense --int8
python export.py --model facerecon --name face_recon --epoch 20 --format torchscript
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from options import parse_command
from options.base_options import BaseOptions
from options.export_options import ExportOptions
from util.command import run_command
from util.errors import InputError
from util.export_run import EXPORTERS, export_network


def groups(given: Mapping[str, str]) -> tuple[type, ...]:
    """The options of the chosen network, beside those of all."""
    name = given.get("model", BaseOptions.model)
    if name not in EXPORTERS:
        raise InputError(f"--model {name} cannot be exported; choose one of {', '.join(EXPORTERS)}")
    return (ExportOptions, BaseOptions, *EXPORTERS[name].groups)


def main(argv: Sequence[str] | None = None) -> None:
    """Export, as the command line says."""
    export_network(parse_command(groups, argv, __doc__ or ""))


if __name__ == "__main__":
    run_command(main)
