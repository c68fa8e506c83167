"""How fast a SynergyNet is: a face, its mesh, a photo's pipeline, and where training time goes.

python -m benchmarks.synergynet [--threads N] [--repeats N]

Weights are random, which costs the same. Inference runs on one thread whatever --threads says, a
face at a time, as published figures do (3DDFA_V2: 4.4 ms with its mobilenet_v1); training on
--threads. Without onnx, onnxscript and onnxruntime only PyTorch is timed.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

from benchmarks.timing import Timing, compare, threads_and_repeats
from data.ddfa_dataset import augment, black_border
from data.images import read_image, write_image
from data.square_crop import SquareCrop
from models.assets import SynergyAssets
from models.batch import FaceBatch
from models.export_nets import SynergyExport
from models.networks.folding import fold_batch_norms
from models.synergy.morphable import SynergyFace, face_arrays
from models.synergy.network import SynergyNetwork
from models.synergy.parameters import DDFA_LAYOUT, SynergyMeaning, Whitening
from models.synergy_model import SynergyModel
from options import parse_command
from options.data_options import DdfaOptions
from options.face_options import FaceModelOptions
from options.network_options import OptimiserOptions, SynergyOptions
from util.assets import load_face_model
from util.errors import InputError
from util.export_file import load_onnx, smooth_images, write_export
from util.synergy.synergy_faces import predict_faces
from util.synergy.synergy_trained import TrainedSynergy

BATCH = 64
REGRESSOR_MS, MESH_MS, PIPELINE_MS = 5.0, 1.0, 15.0
"""What one face may take: the regressor, 10k vertices more, and from photo to mesh."""


def main() -> None:
    """Print both tables and the targets."""
    repeats = threads_and_repeats(__doc__)
    threads = torch.get_num_threads()
    torch.manual_seed(0)
    assets = _assets()
    torch.set_num_threads(1)
    _inference(assets, repeats)
    torch.set_num_threads(threads)
    _training(assets, repeats)


def _inference(assets: SynergyAssets, repeats: int) -> None:
    """One face at a time on one thread."""
    network = SynergyNetwork(assets.face, assets.whitening, assets.meaning).eval()
    network.requires_grad_(False)
    fold_batch_norms(network.regressor)
    images = smooth_images(4, assets.meaning.image_px)
    parameters = network.predict(images[:1])
    cases: dict[str, Callable[[], object]] = {
        "regressor, PyTorch": lambda: network.predict(images[:1])
    }
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "net.onnx"
        try:
            write_export(SynergyExport(network).eval(), path, "onnx", images)
            run, one = load_onnx(path), images[:1].numpy()
            cases["regressor, landmarks, pose, onnxruntime"] = lambda: run(one)
            whole_path = path.with_name("dense.onnx")
            write_export(SynergyExport(network, dense=True).eval(), whole_path, "onnx", images)
            dense = load_onnx(whole_path)
        except InputError as error:
            print(error)
            dense = None
        vertices = assets.face.vertex_count
        mesh = f"mesh of {vertices} vertices"
        cases[mesh] = lambda: assets.face.vertices(parameters)
        trained = TrainedSynergy(network, path, None, torch.device("cpu"))
        photo = np.random.default_rng(0).integers(0, 256, (1080, 1920, 3)).astype(np.uint8)
        crop = SquareCrop((1920, 1080), 700, 300, 1120, 720)
        whole = "photo with box to landmarks, pose, mesh, PyTorch"
        cases[whole] = lambda: predict_faces(trained, photo, [crop])
        if dense is not None:

            def in_photo() -> None:
                cut = crop.cut(photo).astype(np.float32).transpose(2, 0, 1)[None] / 255
                _, landmarks, _, vertices, _ = dense(cut)
                crop.to_photo(landmarks[0])
                crop.to_photo(vertices[0])

            whole = "photo with box to landmarks, pose, mesh, onnxruntime"
            cases[whole] = in_photo
        with torch.inference_mode():
            table = compare(cases, repeats, warm_up=3, title="one face, one thread")
    print(table)
    fastest = min(
        (table[name] for name in cases if name.startswith("regressor")), key=lambda t: t.median
    )
    _target(fastest, REGRESSOR_MS)
    _target(table[mesh], MESH_MS)
    _target(table[whole], PIPELINE_MS)


def _target(timing: Timing, limit_ms: float) -> None:
    print(f"{timing.name}: {1e3 * timing.median:.2f} ms (target below {limit_ms:.0f})")


def _training(assets: SynergyAssets, repeats: int) -> None:
    """A step of a batch: data, forward with losses, backward with update."""
    options = parse_command([SynergyOptions, OptimiserOptions, DdfaOptions], ["--lr", "1e-4"])
    model = SynergyModel(options, assets, torch.device("cpu"))
    model.train()
    random = np.random.default_rng(0)
    side = assets.meaning.image_px
    with tempfile.TemporaryDirectory() as folder:
        picture = (smooth_images(1, side)[0] * 255).byte().permute(1, 2, 0).numpy()
        path = Path(folder) / "crop.jpg"
        write_image(path, picture)

        def data() -> None:
            crops = [
                black_border(augment(read_image(path), random, options[DdfaOptions]), 5)
                for _ in range(BATCH)
            ]
            np.stack(crops)

        batch = FaceBatch(
            images=smooth_images(BATCH, side),
            paths=("crop",) * BATCH,
            coefficients=torch.randn(BATCH, DDFA_LAYOUT.size),
        )
        model.set_input(batch)

        def forward() -> None:
            model.forward()
            torch.stack(list(model.compute_losses().values())).sum()

        def step() -> None:
            model.optimize_parameters()

        table = compare(
            {"data": data, "forward and losses": forward, "whole step without data": step},
            max(repeats // 3, 2),
            title=f"training, batch {BATCH}, {torch.get_num_threads()} threads",
        )
    print(table)
    loading, ahead, whole = (
        table[name].median for name in ("data", "forward and losses", "whole step without data")
    )
    verdict = "which keeps up" if loading < whole else "so that it takes several"
    print(
        f"{BATCH / whole:.0f} faces a second: forward {ahead / whole:.0%}, backward and update "
        f"{1 - ahead / whole:.0%}; one loading process prepares {BATCH / loading:.0f} faces a "
        f"second, {verdict}"
    )


def _assets() -> SynergyAssets:
    """The open model, and a pose that fills the crop."""
    arrays = face_arrays(load_face_model(FaceModelOptions("open")), DDFA_LAYOUT)
    mean, std = torch.zeros(DDFA_LAYOUT.size), torch.ones(DDFA_LAYOUT.size)
    mean[[0, 5, 10]], mean[3], mean[7] = 4.5e-4, 60.0, 60.0
    std[:12] = torch.tensor([1e-4, 1e-4, 1e-4, 5.0] * 3)
    return SynergyAssets(SynergyFace(arrays, DDFA_LAYOUT), Whitening(mean, std), SynergyMeaning())


if __name__ == "__main__":
    main()
