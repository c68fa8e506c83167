"""The weakly-supervised objective: every weighted term equals a plain loop over numpy arrays."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from models.batch import FaceBatch
from models.camera import Camera
from models.face_model import FaceModel
from models.landmarks import five_from_68, to_index
from models.networks.recognition import RecognitionNet
from models.objective import WeakObjective
from models.renderer import Renderer
from models.stages import Reconstruction, reconstruct
from options.loss_options import ObjectiveOptions


class TinyRecognition(RecognitionNet):
    """Fixed random projection of a 16 px chip; remembers the transforms it was asked for."""

    def __init__(self) -> None:
        generator = torch.Generator().manual_seed(5)
        network = nn.Linear(3 * 16 * 16, 6)
        nn.init.normal_(network.weight, generator=generator)
        template = ((5.0, 6.0), (11.0, 6.0), (8.0, 9.0), (6.0, 12.0), (10.0, 12.0))
        super().__init__(network, template, 16)
        self.calls: list[Tensor] = []

    def align(self, images: Tensor, transforms: Tensor) -> Tensor:
        self.calls.append(transforms.detach().clone())
        return super().align(images, transforms)

    def embed(self, faces: Tensor) -> Tensor:
        return self.network(faces.flatten(1))

    def distance(self, a: Tensor, b: Tensor) -> Tensor:
        return torch.linalg.vector_norm(a - b, dim=-1)


@pytest.fixture
def flat(tiny_face_model: FaceModel) -> Tensor:
    return (0.1 * torch.randn(2, tiny_face_model.layout.size)).requires_grad_()


@pytest.fixture
def reconstruction(tiny_face_model: FaceModel, flat: Tensor) -> Reconstruction:
    return reconstruct(
        tiny_face_model, Renderer("torch"), Camera.rnet(), tiny_face_model.layout.split(flat)
    )


@pytest.fixture
def batch() -> FaceBatch:
    return FaceBatch(
        images=torch.rand(2, 3, 224, 224),
        paths=("a", "b"),
        landmarks_px=224 * torch.rand(2, 68, 2),
        skin_mask=torch.rand(2, 1, 224, 224),
        recognition_transforms=torch.tensor([[[0.07, 0.0, 0.0], [0.0, 0.07, 0.0]]] * 2),
    )


def array(tensor: Tensor | None) -> np.ndarray:
    assert tensor is not None
    return tensor.detach().double().numpy()


def values(terms: dict[str, Tensor]) -> dict[str, float]:
    return {name: float(term.detach()) for name, term in terms.items()}


def test_all_terms_equal_plain_loops(
    tiny_face_model: FaceModel, reconstruction: Reconstruction, batch: FaceBatch
):
    terms = values(WeakObjective(tiny_face_model, None, ObjectiveOptions())(reconstruction, batch))
    assert list(terms) == ["color", "lm", "reg", "gamma", "reflc"]

    mask = array(batch.skin_mask) * array(reconstruction.face_mask)
    difference = array(reconstruction.rendering.image) - array(batch.images)
    distance = np.sqrt(1e-6 + (difference**2).sum(axis=1, keepdims=True))
    assert terms["color"] == pytest.approx(1.92 * (distance * mask).sum() / mask.sum(), rel=1e-4)

    predicted, given = array(reconstruction.posed.landmarks_px), array(batch.landmarks_px)
    total = 0.0
    for b in range(2):
        for n in range(68):
            weight = 20.0 if n in (28, 29, 30, *range(60, 68)) else 1.0
            total += weight * float(((predicted[b, n] - given[b, n]) ** 2).sum())
    assert terms["lm"] == pytest.approx(1.6e-3 * total / (2 * 68), rel=1e-4)

    coefficients = reconstruction.coefficients
    total = 0.0
    for b in range(2):
        total += 1.0 * float((array(coefficients.identity)[b] ** 2).sum())
        total += 0.8 * float(((array(coefficients.expression)[b] / [0.5, 2.0]) ** 2).sum())
        total += 1.7e-2 * float((array(coefficients.texture)[b] ** 2).sum())
    assert terms["reg"] == pytest.approx(3e-4 * total / 2, rel=1e-4)

    gamma = array(coefficients.gamma).reshape(2, 3, 9)
    total = 0.0
    for b in range(2):
        for k in range(9):
            mean = gamma[b, :, k].mean()
            total += sum((gamma[b, c, k] - mean) ** 2 for c in range(3))
    assert terms["gamma"] == pytest.approx(10 * total / 54, rel=1e-4)

    albedo, skin = array(reconstruction.shaped.albedo), array(tiny_face_model.skin_mask)
    total = 0.0
    for b in range(2):
        mean = albedo[b][skin > 0].mean(axis=0)
        total += float(((albedo[b][skin > 0] - mean) ** 2).sum())
    assert terms["reflc"] == pytest.approx(5 * total / (2 * skin.sum()), rel=1e-4)


def test_the_published_weights_are_the_defaults():
    options = ObjectiveOptions()
    weights = {
        "w_feat": 0.2,
        "w_color": 1.92,
        "w_reg": 3e-4,
        "w_id": 1.0,
        "w_exp": 0.8,
        "w_tex": 1.7e-2,
        "w_gamma": 10.0,
        "w_lm": 1.6e-3,
        "w_reflc": 5.0,
    }
    assert {name: getattr(options, name) for name in weights} == weights
    assert options.use_crop_face is True and options.use_predef_M is False


def test_terms_are_linear_in_their_weights(
    tiny_face_model: FaceModel, reconstruction: Reconstruction, batch: FaceBatch
):
    once = WeakObjective(tiny_face_model, None, ObjectiveOptions())
    thrice = WeakObjective(
        tiny_face_model, None, ObjectiveOptions(w_color=5.76, w_lm=4.8e-3, w_reg=9e-4)
    )
    a, b = values(once(reconstruction, batch)), values(thrice(reconstruction, batch))
    for name in ("color", "lm", "reg"):
        assert b[name] == pytest.approx(3 * a[name], rel=1e-5)
    for name in ("gamma", "reflc"):
        assert b[name] == a[name]


def test_terms_without_weight_need_no_input(
    tiny_face_model: FaceModel, reconstruction: Reconstruction
):
    objective = WeakObjective(tiny_face_model, None, ObjectiveOptions(w_color=0.0, w_lm=0.0))
    terms = objective(reconstruction, FaceBatch(torch.zeros(2, 3, 224, 224), ("a", "b")))
    assert list(terms) == ["reg", "gamma", "reflc"]


@pytest.mark.parametrize("name", ["skin_mask", "landmarks_px", "recognition_transforms"])
def test_a_missing_input_is_named(
    tiny_face_model: FaceModel, reconstruction: Reconstruction, batch: FaceBatch, name: str
):
    objective = WeakObjective(tiny_face_model, TinyRecognition(), ObjectiveOptions())
    with pytest.raises(ValueError, match=f"holds no {name}"):
        objective(reconstruction, replace(batch, **{name: None}))


def test_without_crop_face_the_whole_mesh_counts(
    tiny_face_model: FaceModel, reconstruction: Reconstruction, batch: FaceBatch
):
    options = ObjectiveOptions(use_crop_face=False)
    term = WeakObjective(tiny_face_model, None, options)(reconstruction, batch)["color"]
    mask = array(batch.skin_mask) * array(reconstruction.rendering.mask)
    difference = array(reconstruction.rendering.image) - array(batch.images)
    distance = np.sqrt(1e-6 + (difference**2).sum(axis=1, keepdims=True))
    assert float(term.detach()) == pytest.approx(
        1.92 * (distance * mask).sum() / mask.sum(), rel=1e-4
    )


@pytest.mark.parametrize("predefined", [False, True])
def test_identity_compares_photo_and_rendering_on_the_template(
    tiny_face_model: FaceModel,
    reconstruction: Reconstruction,
    batch: FaceBatch,
    predefined: bool,
):
    net = TinyRecognition()
    options = ObjectiveOptions(use_predef_M=predefined)
    term = WeakObjective(tiny_face_model, net, options)(reconstruction, batch)["feat"]
    given = batch.recognition_transforms
    assert given is not None and reconstruction.rendering.image is not None
    of_photo, of_rendering = net.calls
    torch.testing.assert_close(of_photo, given)
    if predefined:
        torch.testing.assert_close(of_rendering, given)
    else:
        # The predicted five points, as file indices, land on the template as well as they can.
        five = to_index(five_from_68(reconstruction.posed.landmarks_px.detach()), "index")
        ones = torch.ones(2, 5, 1)
        landed = torch.cat([five, ones], dim=2) @ of_rendering.transpose(1, 2)
        residual = (landed - net.template).norm(dim=-1).mean()
        assert residual < 1.5
        for shift in ([0.5, 0.0], [0.0, 0.5]):
            moved = landed + torch.tensor(shift)
            assert (moved - net.template).square().sum() > (landed - net.template).square().sum()
    with torch.no_grad():
        expected = (
            (net(batch.images, given) - net(reconstruction.rendering.image, of_rendering))
            .norm(dim=-1)
            .mean()
        )
    assert float(term.detach()) == pytest.approx(0.2 * float(expected), rel=1e-5)


def test_the_landmark_origin_moves_the_recognition_crop(
    tiny_face_model: FaceModel, reconstruction: Reconstruction, batch: FaceBatch
):
    """The same predictions are other file indices under another origin."""
    nets = {}
    for origin in ("index", "centre"):
        nets[origin] = TinyRecognition()
        WeakObjective(tiny_face_model, nets[origin], ObjectiveOptions(), origin)(
            reconstruction, batch
        )
    index, centre = nets["index"].calls[1], nets["centre"].calls[1]
    torch.testing.assert_close(index[..., :2], centre[..., :2])
    # Indices under "centre" are those under "index" moved by (-0.5, +0.5) px.
    moved = centre[..., 2] + (centre[..., :2] @ torch.tensor([-0.5, 0.5]))
    torch.testing.assert_close(moved, index[..., 2])


def test_gradients_reach_the_coefficients_but_not_the_recognition_net(
    tiny_face_model: FaceModel, reconstruction: Reconstruction, batch: FaceBatch, flat: Tensor
):
    net = TinyRecognition()
    objective = WeakObjective(tiny_face_model, net, ObjectiveOptions())
    terms = objective(reconstruction, batch)
    torch.stack(list(terms.values())).sum().backward()
    assert flat.grad is not None and torch.isfinite(flat.grad).all()
    assert (flat.grad.abs().amax(dim=0) > 0).float().mean() > 0.9
    assert all(parameter.grad is None for parameter in net.parameters())


def test_it_holds_nothing_that_a_checkpoint_should_have(tiny_face_model: FaceModel):
    objective = WeakObjective(tiny_face_model, TinyRecognition(), ObjectiveOptions())
    assert not any(p.requires_grad for p in objective.parameters())
    assert tiny_face_model not in set(objective.modules())


def test_the_identity_term_goes_with_its_network(tiny_face_model: FaceModel):
    assert "feat" not in WeakObjective(tiny_face_model, None, ObjectiveOptions()).weights
    off = WeakObjective(tiny_face_model, TinyRecognition(), ObjectiveOptions(w_feat=0.0))
    assert "feat" not in off.weights
    assert math.isclose(
        WeakObjective(tiny_face_model, TinyRecognition(), ObjectiveOptions()).weights["feat"], 0.2
    )
