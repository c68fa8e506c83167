"""One training step of a small real model, as each process of a test takes it."""

from __future__ import annotations

import pickle
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor, nn

from models import create_model
from models.assets import ModelAssets
from models.batch import FaceBatch
from models.face_model import FaceModel
from models.facerecon_model import FaceReconModel
from models.networks.recognition import RecognitionNet
from options import parse_command
from tests.tiny_net import tiny_nets
from util.training.distributed import Place, Ranks, Share, joined

CPU = torch.device("cpu")


class TinyRecognition(RecognitionNet):
    """A fixed random projection of a 16 px chip."""

    def __init__(self) -> None:
        generator = torch.Generator().manual_seed(5)
        network = nn.Linear(3 * 16 * 16, 6)
        nn.init.normal_(network.weight, generator=generator)
        template = ((5.0, 6.0), (11.0, 6.0), (8.0, 9.0), (6.0, 12.0), (10.0, 12.0))
        super().__init__(network, template, 16)

    def embed(self, faces: Tensor) -> Tensor:
        return self.network(faces.flatten(1).float())

    def distance(self, a: Tensor, b: Tensor) -> Tensor:
        return torch.linalg.vector_norm(a - b, dim=-1)


def face_recon(face_model_file: Path) -> FaceReconModel:
    """The real training model on a tiny face, with all losses on and gradients everywhere."""
    torch.set_num_threads(1)
    argv = ["--net_recon", "resnet18", "--renderer", "torch"]
    options = parse_command(FaceReconModel.option_groups, argv)
    face_model = FaceModel(pickle.loads(face_model_file.read_bytes()))
    torch.manual_seed(1)
    model = create_model("facerecon", options, ModelAssets(face_model, TinyRecognition()), CPU)
    assert isinstance(model, FaceReconModel) and model.net_recon.final_layers is not None
    for head in model.net_recon.final_layers:  # zeros would let no gradient through
        nn.init.normal_(head.get_parameter("weight"), std=1e-3)
    return model


def faces(model: FaceReconModel, count: int) -> FaceBatch:
    """Random photos with the mean face's landmarks; their masks are of very different sizes."""
    generator = torch.Generator().manual_seed(2)
    points = model.face_model.landmarks(model.face_model.mean_shape.reshape(1, -1, 3))
    landmarks = model.camera.project(model.camera.from_object(points)).expand(count, -1, -1)
    mask = torch.zeros(count, 1, 224, 224)
    for number in range(count):
        mask[number, :, : 224 // (1 + 3 * number)] = 1
    return FaceBatch(
        images=torch.rand(count, 3, 224, 224, generator=generator),
        paths=tuple(map(str, range(count))),
        landmarks_px=landmarks + torch.randn(count, 68, 2, generator=generator),
        skin_mask=mask,
        recognition_transforms=torch.tensor([[[0.07, 0.0, 0.0], [0.0, 0.07, 0.0]]] * count),
    )


def part(batch: FaceBatch, rows: slice) -> FaceBatch:
    assert batch.landmarks_px is not None and batch.skin_mask is not None
    assert batch.recognition_transforms is not None
    return FaceBatch(
        images=batch.images[rows],
        paths=batch.paths[rows],
        landmarks_px=batch.landmarks_px[rows],
        skin_mask=batch.skin_mask[rows],
        recognition_transforms=batch.recognition_transforms[rows],
    )


def step_of(
    face_model_file: Path, frozen: bool, ranks: Ranks, rows: slice
) -> dict[str, dict[str, Tensor]]:
    """Gradients, batch statistics and losses of one step on some rows of three faces."""
    model = face_recon(face_model_file)
    model.distribute(ranks)
    batch = part(faces(model, 3), rows)
    if frozen:
        model.eval()
        model.train = lambda: None
    else:
        # Through the statistics of three faces, float32's rounding grows to a percent of the first
        # layer's gradient; in float64 the networks show that nothing else differs.
        model.net_recon.double()
        batch = replace(batch, images=batch.images.double())
    model.set_input(batch)
    share = Share.of(ranks, len(batch))
    assert model.optimize_parameters(share)
    return {
        "gradients": {
            n: p.grad for n, p in model.net_recon.named_parameters() if p.grad is not None
        },
        "statistics": dict(model.net_recon.named_buffers()),
        "losses": {n: share.sum(v.detach() * share.faces) for n, v in model.losses.items()},
    }


def step_together() -> None:
    """In a process of two: two of three faces in the first, one in the second."""
    tiny_nets()
    with joined(Place.from_environment(), CPU) as ranks:
        rows = slice(0, 2) if ranks.is_first else slice(2, 3)
        for frozen in (True, False):
            found = step_of(Path("tiny.pickle"), frozen, ranks, rows)
            if ranks.is_first:
                torch.save(found, f"frozen_{frozen}.pt")
