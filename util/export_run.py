"""Export the network that a command line names: by `--model`, with the check that belongs to it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn

from data.images import list_images, read_image
from models.export_nets import RNetExport, SynergyExport
from options.base_options import BaseOptions, run_folder
from options.export_options import ExportOptions
from options.flags import ParsedOptions
from util.export_file import (
    BATCHES,
    ENDINGS,
    landmark_change_px,
    load_onnx,
    quantise,
    smooth_images,
    write_export,
)
from util.synergy.synergy_trained import load_trained_synergy
from util.training.checkpoint_names import resolve_checkpoint
from util.training.trained_model import load_reconstruction_model

CHECKED = 16
"""Pictures with which parity and quantisation are checked."""


@dataclass(frozen=True)
class Exportable:
    """A network that can be exported."""

    net: nn.Module
    checkpoint: Path


def export_network(options: ParsedOptions) -> Path:
    """Write the file or files, and say how far they are from the network.

    Returns:
        The file.
    """
    chosen = options[ExportOptions]
    found = EXPORTERS[options[BaseOptions].model](options)
    net = found.net.cpu().float().eval()
    net.to(memory_format=torch.contiguous_format)  # pyright: ignore[reportCallIssue]
    net.requires_grad_(False)
    beside = found.checkpoint.with_name(found.checkpoint.name.partition(".")[0])
    path = Path(chosen.export_path or f"{beside}{ENDINGS[chosen.format]}")
    images = check_images(chosen.check_images, net.image_px)  # pyright: ignore
    for parity in write_export(net, path, chosen.format, images, chosen.opset):
        print(
            f"{parity.name}: differs from PyTorch's by at most {parity.largest:.2g}, "
            f"{parity.relative:.1e} of its size"
        )
    print(f"{path} written, {path.stat().st_size / 1e6:.1f} MB")
    if chosen.dense:
        card = net.meaning()["face_model"]  # pyright: ignore
        print(
            f"The file holds the face model {card['name']} {card['version']}, under its licence: "
            f"{card['licence'] or 'that of its authors'}"
        )
    if chosen.int8:
        small = path.with_name(f"{path.stem}_int8.onnx")
        quantise(path, small)
        change = landmark_change_px(load_onnx(path), load_onnx(small), images.numpy())
        on = f"pictures of {chosen.check_images}" if chosen.check_images else "pictures of noise"
        print(
            f"{small} written, {small.stat().st_size / 1e6:.1f} MB; its landmarks lie "
            f"{change.mean():.2f} pixels of the crop of {net.image_px} beside the others', at most "
            f"{change.max():.2f} ({len(change)} {on})"
        )
    return path


def check_images(folder: str, side: int) -> Tensor:
    """Pictures (N, 3, side, side) in [0, 1]: of a folder, several times if it has few; or made."""
    if not folder:
        return smooth_images(CHECKED, side)
    paths = list_images(Path(folder))[:CHECKED]
    pictures = [
        np.asarray(Image.fromarray(read_image(path)).resize((side, side), Image.Resampling.BICUBIC))
        for path in paths
    ]
    pictures *= -(-max(BATCHES) // len(pictures))
    return torch.from_numpy(np.stack(pictures)).permute(0, 3, 1, 2).float() / 255


def _load_synergy(options: ParsedOptions) -> Exportable:
    trained = load_trained_synergy(options)
    dense = options[ExportOptions].dense
    if dense:
        trained.need_triangles()
    return Exportable(SynergyExport(trained.network, dense), trained.path)


def _load_network(options: ParsedOptions) -> Exportable:
    base = options[BaseOptions]
    model, options = load_reconstruction_model(options)
    path = resolve_checkpoint(run_folder(options), base.epoch)
    parts = model.net_recon, model.face_model, model.camera.to("cpu")
    return Exportable(RNetExport(*parts, options[ExportOptions].dense), path)


EXPORTERS: Mapping[str, Callable[[ParsedOptions], Exportable]] = {
    "facerecon": _load_network,
    "synergy": _load_synergy,
}
