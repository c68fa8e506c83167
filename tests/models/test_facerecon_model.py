"""The R-Net's training model: which losses are on when, robust steps, pictures, precision."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch

from models import create_model
from models.assets import ModelAssets
from models.batch import FaceBatch
from models.face_model import FaceModel, FaceModelData
from models.facerecon_model import FaceReconModel
from models.networks.reconstruction import NetworkOutput
from options.face_options import CameraOptions, FaceModelOptions, LandmarkOptions, RenderOptions
from options.flags import ParsedOptions
from options.loss_options import LabelOptions, ObjectiveOptions, TruthOptions
from options.network_options import OptimiserOptions, RecognitionOptions, ReconstructionNetOptions
from util.errors import InputError
from util.training.distributed import Ranks, Share

WEAK = ["color", "lm", "reg", "gamma", "reflc"]
TRUTH = ["t_shape", "t_pose", "t_px", "t_albedo", "t_light", "t_coeff"]


def make(
    face_model: FaceModel, *changed: object, training: bool = True, device: str = "cpu"
) -> FaceReconModel:
    """A model on resnet18 with some option groups in place of the defaults."""
    groups: list[object] = [
        ReconstructionNetOptions(net_recon="resnet18"),
        FaceModelOptions(),
        CameraOptions(),
        RenderOptions(renderer="torch"),
        LandmarkOptions(),
        RecognitionOptions(),
    ]
    if training:
        groups += [ObjectiveOptions(), TruthOptions(), LabelOptions(), OptimiserOptions(lr=1e-3)]
    replaced = {type(group): group for group in (*groups, *changed)}
    model = create_model(
        "facerecon",
        ParsedOptions(list(replaced.values())),
        ModelAssets(face_model),
        torch.device(device),
    )
    assert isinstance(model, FaceReconModel)
    return model


def test_photos_are_compared_with_68_points(tiny_face_data: FaceModelData):
    fewer = replace(
        tiny_face_data,
        landmark_vertices=tiny_face_data.landmark_vertices[:60],
        landmark_barycentrics=tiny_face_data.landmark_barycentrics[:60],
    )
    with pytest.raises(ValueError, match=r"face model tiny 1 .* has 60 landmarks; .*68 iBUG"):
        make(FaceModel(fewer))


def make_batch(model: FaceReconModel, supervised: bool, size: int = 2) -> FaceBatch:
    return FaceBatch(
        images=torch.rand(size, 3, 224, 224),
        paths=("a",) * size,
        landmarks_px=model.camera.project(
            model.camera.from_object(
                model.face_model.landmarks(model.face_model.mean_shape.reshape(1, -1, 3))
            )
        ).expand(size, -1, -1),
        skin_mask=torch.ones(size, 1, 224, 224),
        coefficients=0.1 * torch.randn(size, model.layout.size) if supervised else None,
    )


def terms_of(model: FaceReconModel, batch: FaceBatch, progress: float = 0.0) -> list[str]:
    model.set_progress(progress)
    model.set_input(batch)
    model.evaluate()
    return [name for name in model.losses if name != "all"]


ACTIVE = TruthOptions(w_truth_shape=1.0, w_truth_px=0.1)


def test_without_truth_the_weak_losses_are_on(tiny_face_model: FaceModel):
    model = make(tiny_face_model)
    assert terms_of(model, make_batch(model, supervised=False)) == WEAK
    # True coefficients alone change nothing while their weights are 0.
    assert terms_of(model, make_batch(model, supervised=True)) == WEAK


def test_truth_comes_first_and_the_weak_losses_join(tiny_face_model: FaceModel):
    model = make(tiny_face_model, replace(ACTIVE, weak_from=0.6))
    batch = make_batch(model, supervised=True)
    assert terms_of(model, batch, 0.0) == TRUTH
    assert model.reconstruction is None
    assert terms_of(model, batch, 0.59) == TRUTH
    assert terms_of(model, batch, 0.6) == TRUTH + WEAK
    assert model.reconstruction is not None
    # Left off by 1, also when the clock has run out.
    off = make(tiny_face_model, replace(ACTIVE, weak_from=1.0))
    assert terms_of(off, batch, 1.0) == TRUTH
    # Photos without truth are never without a loss.
    assert terms_of(model, make_batch(model, supervised=False), 0.0) == WEAK


def test_a_reconstruction_of_an_earlier_batch_is_not_reused(tiny_face_model: FaceModel):
    model = make(tiny_face_model, replace(ACTIVE, weak_from=0.6))
    assert terms_of(model, make_batch(model, supervised=False)) == WEAK
    assert terms_of(model, make_batch(model, supervised=True)) == TRUTH


def test_keypoints_learn_from_the_given_landmarks(tiny_face_model: FaceModel):
    """Whether or not true coefficients supervise beside them."""
    model = make(
        tiny_face_model,
        ReconstructionNetOptions(net_recon="dlib"),
        replace(ACTIVE, weak_from=0.6),
        ObjectiveOptions(w_keypoints=0.1),
    )
    batch = make_batch(model, supervised=True)
    assert terms_of(model, batch) == ["keypoints", *TRUTH]
    assert model.output.keypoints_px is not None and batch.landmarks_px is not None
    offset = torch.linalg.vector_norm(model.output.keypoints_px - batch.landmarks_px, dim=-1)
    assert float(model.losses["keypoints"]) == pytest.approx(0.1 * float(offset.mean()), rel=1e-5)
    assert terms_of(model, make_batch(model, supervised=False)) == ["keypoints", *WEAK]
    with pytest.raises(ValueError, match="no landmarks, --w_keypoints"):
        terms_of(model, replace(batch, landmarks_px=None))


def test_keypoints_need_a_backbone_that_locates_them(tiny_face_model: FaceModel):
    with pytest.raises(InputError, match="--w_keypoints needs --net_recon dlib"):
        make(tiny_face_model, ObjectiveOptions(w_keypoints=0.1))


def test_an_untrained_network_predicts_the_mean_face(tiny_face_model: FaceModel):
    model = make(tiny_face_model)
    batch = make_batch(model, supervised=False)
    model.eval()
    coefficients = model.predict(batch.images)
    assert not model.layout.join(coefficients).any()
    model.set_input(batch)
    model.evaluate()
    assert float(model.losses["lm"]) == pytest.approx(0, abs=1e-6)


def test_training_reduces_the_losses(tiny_face_model: FaceModel):
    model = make(tiny_face_model, ACTIVE, OptimiserOptions(lr=1e-4))
    model.set_input(make_batch(model, supervised=True))
    totals = []
    for _ in range(5):
        assert model.optimize_parameters()
        totals.append(float(model.losses["all"].detach()))
    assert totals[-1] < totals[0]
    names = [name for name in model.losses if name != "all"]
    assert names == TRUTH + WEAK


def test_signs_of_how_the_training_goes(tiny_face_model: FaceModel):
    model = make(tiny_face_model)
    model.set_input(make_batch(model, supervised=False))
    model.evaluate()
    signs = {name: float(total / count) for name, (total, count) in model.signs().items()}
    blocks = {f"beyond_3_sigma.{name}" for name in ("identity", "expression", "texture")}
    assert set(signs) == {"mask_share", "landmark_px2", *blocks}
    assert 0.1 < signs["mask_share"] < 0.9 and signs["landmark_px2"] < 1e-3
    assert all(signs[name] == 0 for name in blocks)
    # Sigmas of the expression are 0.5 and 2: one of two coefficients is beyond three of them.
    model.coefficients = replace(model.coefficients, expression=torch.full((2, 2), -2.0))
    assert model.signs()["beyond_3_sigma.expression"].tolist() == [1, 2]


def test_a_broken_photo_leaves_the_network_as_it_was(tiny_face_model: FaceModel):
    model = make(tiny_face_model)
    good = make_batch(model, supervised=False)
    model.set_input(good)
    assert model.optimize_parameters()
    before = {key: value.clone() for key, value in model.net_recon.state_dict().items()}
    images = good.images.clone()
    images[0, 0, 5, 5] = float("nan")
    model.set_input(replace(good, images=images))
    assert not model.optimize_parameters()
    after = model.net_recon.state_dict()
    assert all(torch.equal(value, after[key]) for key, value in before.items())
    assert any("running_mean" in key for key in before)


def test_clipping_limits_the_gradient(tiny_face_model: FaceModel):
    clipped = make(tiny_face_model, OptimiserOptions(lr=1e-3, grad_clip=1e-3))
    clipped.set_input(make_batch(clipped, supervised=False))
    assert clipped.optimize_parameters()
    gradients = [p.grad for p in clipped.net_recon.parameters() if p.grad is not None]
    assert float(torch.nn.utils.get_total_norm(gradients)) <= 1.001e-3


@pytest.mark.parametrize("landmarks", [False, True])
def test_visuals_are_photo_overlay_landmarks(tiny_face_model: FaceModel, landmarks: bool):
    model = make(tiny_face_model, training=False)
    batch = make_batch(model, supervised=False)
    if not landmarks:
        batch = replace(batch, landmarks_px=None)
    model.set_input(batch)
    model.eval()
    with torch.inference_mode():
        model.forward_inference()
    pictures = model.visuals()
    assert pictures.shape == (2, 3, 224, 672)
    photo, overlay, marked = pictures.split(224, dim=3)
    assert torch.equal(photo, batch.images)
    assert model.reconstruction is not None
    outside = (model.reconstruction.rendering.mask == 0).expand_as(photo)
    assert torch.equal(overlay[outside], photo[outside])
    red = torch.tensor([1.0, 0.0, 0.0])[None, :, None, None]
    assert 68 < int((marked == red).all(dim=1).sum(dim=(1, 2))[0]) <= 9 * 68


def test_visuals_render_where_training_did_not(tiny_face_model: FaceModel):
    model = make(tiny_face_model, replace(ACTIVE, weak_from=0.9))
    model.set_input(make_batch(model, supervised=True))
    model.evaluate()
    assert model.reconstruction is None
    assert model.visuals().shape == (2, 3, 224, 672)


def test_show_renders_given_coefficients(tiny_face_model: FaceModel):
    model = make(tiny_face_model, training=False)
    coefficients = model.layout.zeros(1)
    coefficients = replace(coefficients, gamma=torch.full((1, 27), 0.1))
    model.show(coefficients)
    assert model.reconstruction is not None
    assert model.reconstruction.coefficients is coefficients


def test_a_model_for_inference_has_nothing_to_train(tiny_face_model: FaceModel):
    model = make(tiny_face_model, training=False)
    assert model.optimizers == [] and model.schedules == []
    assert list(model.state()) == ["net_recon"]


def test_checkpoints_hold_the_network_alone(tiny_face_model: FaceModel):
    """No face model, no recognition net: their licences are not ours to pass on."""
    state = make(tiny_face_model).state()
    assert list(state) == ["net_recon", "opt_00", "sched_00"]
    assert all(key.startswith(("backbone.", "final_layers.")) for key in state["net_recon"])


def test_the_camera_follows_its_flags(tiny_face_model: FaceModel):
    model = make(tiny_face_model, CameraOptions(focal=900.0), training=False)
    assert model.camera.focal_px.tolist() == [[900.0, 900.0]]


def test_reduced_precision_ends_at_the_coefficients(tiny_face_model: FaceModel):
    model = make(tiny_face_model, OptimiserOptions(lr=1e-3, amp="bf16"))
    model.set_input(make_batch(model, supervised=False))
    assert model.optimize_parameters()
    assert {block.dtype for _, block in model.coefficients.items()} == {torch.float32}
    assert {p.dtype for p in model.net_recon.parameters()} == {torch.float32}
    assert all(value.dtype == torch.float32 for value in model.losses.values())


def test_half_precision_is_refused_on_the_cpu(tiny_face_model: FaceModel):
    with pytest.raises(InputError, match="--amp fp16 computes on GPUs"):
        make(tiny_face_model, OptimiserOptions(amp="fp16"))


def test_a_compiled_network_is_the_same_one(
    tiny_face_model: FaceModel, monkeypatch: pytest.MonkeyPatch
):
    """It computes, under the names and with the tensors of the plain one.

    A stand-in compiles: what checks shapes in these tests is nothing a compiler could trace.
    """
    calls = []

    def compiled(predict: Callable[[torch.Tensor], NetworkOutput]) -> Callable[..., NetworkOutput]:
        def call(images: torch.Tensor) -> NetworkOutput:
            calls.append(len(images))
            return predict(images)

        return call

    monkeypatch.setattr(torch, "compile", compiled)
    monkeypatch.setenv("CXX", sys.executable)  # a program, which is all that is looked for
    model = make(tiny_face_model, OptimiserOptions(lr=1e-3, compile=True))
    plain = make(tiny_face_model)
    assert "the first steps take a minute" in model.notice and not plain.notice
    plain.net_recon.load_state_dict(model.state()["net_recon"])
    batch = make_batch(model, supervised=False)
    for one in (model, plain):
        one.set_input(batch)
        assert one.optimize_parameters()
    assert calls == [2]
    for name, value in plain.state()["net_recon"].items():
        assert torch.equal(model.state()["net_recon"][name], value), name


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("amp", ["none", "bf16", "fp16"])
def test_training_on_a_gpu(tiny_face_model: FaceModel, amp: Any):
    # First the batch: a model moves the face model that it is given.
    batch = make_batch(make(tiny_face_model), supervised=False)
    model = make(tiny_face_model, OptimiserOptions(lr=1e-4, amp=amp), device="cuda")
    assert (model.scaler is not None) == (amp == "fp16")
    model.set_input(batch)
    totals = []
    for _ in range(8):
        assert model.optimize_parameters()
        totals.append(float(model.losses["all"].detach()))
        assert {block.dtype for _, block in model.coefficients.items()} == {torch.float32}
        assert all(value.dtype == torch.float32 for value in model.losses.values())
    assert totals[-1] < totals[0]


def test_a_mixed_batch_weighs_each_face_alike(tiny_face_model: FaceModel):
    """Truth counts for the faces that have it, the weak losses for the others."""
    model = make(tiny_face_model, replace(ACTIVE, weak_from=0.6))
    assert model.net_recon.final_layers is not None
    for head in model.net_recon.final_layers:
        torch.nn.init.normal_(head.get_parameter("weight"), std=1e-2)
    whole = make_batch(model, supervised=True, size=4)
    known, others = torch.tensor([0, 2, 3]), torch.tensor([1])
    has_truth = torch.tensor([True, False, True, True])
    assert whole.coefficients is not None
    garbage = whole.coefficients.clone()
    garbage[1] = 1e6
    mixed = replace(whole, coefficients=garbage, has_truth=has_truth)

    terms_of(model, whole.rows(known))
    expected = {name: 0.75 * value for name, value in model.losses.items() if name != "all"}
    terms_of(model, replace(whole.rows(others), coefficients=None))
    expected |= {name: 0.25 * value for name, value in model.losses.items() if name != "all"}
    assert terms_of(model, mixed) == TRUTH + WEAK == list(expected)
    for name, value in expected.items():
        torch.testing.assert_close(model.losses[name], value, rtol=1e-4, atol=1e-6)
    # Only one face was rendered; pictures still show all.
    assert model.reconstruction is not None and len(model.reconstruction.coefficients) == 1
    assert model.visuals().shape == (4, 3, 224, 3 * 224)
    # Later the weak losses look at all.
    terms_of(model, mixed, 0.6)
    assert model.reconstruction is not None and len(model.reconstruction.coefficients) == 4


@pytest.mark.parametrize("known", [True, False])
def test_batches_of_one_kind_have_the_names_of_mixed_ones(tiny_face_model: FaceModel, known: bool):
    """Processes add their losses up name by name."""
    model = make(tiny_face_model, replace(ACTIVE, weak_from=1.0))
    batch = replace(make_batch(model, supervised=True), has_truth=torch.full((2,), known))
    assert terms_of(model, batch) == TRUTH + WEAK
    zero, other = (WEAK, TRUTH) if known else (TRUTH, WEAK)
    assert all(float(model.losses[name]) == 0 for name in zero)
    assert float(sum(model.losses[name] for name in other)) > 0
    assert model.optimize_parameters()


class _Pair(Ranks):
    """Two processes, of which the sums are known."""

    def __init__(self, sums: list[float]) -> None:
        super().__init__(size=2)
        object.__setattr__(self, "_sums", list(sums))

    def sum(self, values: torch.Tensor) -> torch.Tensor:
        return torch.full_like(values, self._sums.pop(0))  # pyright: ignore


def test_mixed_batches_of_two_processes_add_up(tiny_face_model: FaceModel):
    """Three faces here with one photo, one photo there: as four in one process."""
    model = make(tiny_face_model, replace(ACTIVE, weak_from=1.0))
    batch = make_batch(model, supervised=True, size=4)
    assert batch.skin_mask is not None
    mask = batch.skin_mask * torch.tensor([0.1, 0.9, 0.4, 1.0])[:, None, None, None]
    batch = replace(batch, skin_mask=mask, has_truth=torch.tensor([True, True, False, False]))
    terms_of(model, batch)
    whole, sizes = dict(model.losses), []
    assert model.reconstruction is not None
    region = model.reconstruction.face_mask.sum(dim=(1, 2, 3)) * torch.tensor([0.4, 1.0])
    total = dict.fromkeys(whole, torch.zeros(()))
    for rows in (torch.tensor([0, 1, 2]), torch.tensor([3])):
        model.set_input(batch.rows(rows))
        model.eval()
        with torch.no_grad():
            model.forward()
            model.share = Share(_Pair([2.0, float(region.sum())]), len(rows) / 4)
            model._total()
        sizes.append(len(rows))
        total = {n: total[n] + len(rows) / 4 * value for n, value in model.losses.items()}
    for name, value in whole.items():
        torch.testing.assert_close(total[name], value, rtol=1e-4, atol=1e-6)


def test_signs_of_a_mixed_batch_add_up(tiny_face_model: FaceModel):
    """Also of a process that has no photo: the same names, and means over what is rendered."""
    model = make(tiny_face_model, replace(ACTIVE, weak_from=1.0))
    assert model.net_recon.final_layers is not None
    for head in model.net_recon.final_layers:
        torch.nn.init.normal_(head.get_parameter("weight"), std=1e-2)
    batch = make_batch(model, supervised=True, size=4)
    batch = replace(batch, has_truth=torch.tensor([True, True, False, True]))
    photo = replace(batch.rows(torch.tensor([2])), coefficients=None, has_truth=None)
    terms_of(model, photo)
    assert model.reconstruction is not None
    expected = {
        "mask_share": model.reconstruction.face_mask.mean(),
        "landmark_px2": model.losses["lm"] / model.objective.weights["lm"],
    }
    terms_of(model, batch)
    whole = model.signs()
    for name, value in expected.items():
        total, count = whole[name]
        assert count == 1
        torch.testing.assert_close(total, value, rtol=1e-4, atol=1e-6)
    parts = []
    for rows in (torch.tensor([0, 1]), torch.tensor([2, 3])):
        terms_of(model, batch.rows(rows))
        parts.append(model.signs())
    assert list(parts[0]) == list(parts[1]) == list(whole)
    assert parts[0]["mask_share"].tolist() == parts[0]["landmark_px2"].tolist() == [0, 0]
    for name, value in whole.items():
        torch.testing.assert_close(parts[0][name] + parts[1][name], value, rtol=1e-4, atol=1e-6)


def with_fits(model: FaceReconModel, fitted: list[bool], true: list[bool]) -> FaceBatch:
    """A batch of which some faces have fitted coefficients, some true ones, others none."""
    batch = make_batch(model, supervised=True, size=len(fitted))
    assert batch.coefficients is not None
    known = torch.tensor(fitted) | torch.tensor(true)
    return replace(
        batch,
        coefficients=torch.where(known[:, None], batch.coefficients, torch.zeros(())),
        has_truth=torch.tensor(true),
        has_fit=torch.tensor(fitted),
    )


def test_fits_supervise_beside_the_weak_losses_until_they_have_faded(tiny_face_model: FaceModel):
    model = make(tiny_face_model, LabelOptions(w_coeff=2.0, coeff_until=0.5))
    batch = with_fits(model, [True, True, False], [False] * 3)
    found = {}
    for progress in (0.0, 0.25, 0.5, 0.9):
        assert terms_of(model, batch, progress) == TRUTH + WEAK
        found[progress] = {name: float(value) for name, value in model.losses.items()}
        # All faces are rendered: what a fit says is no reason not to look at the photo.
        assert model.reconstruction is not None and len(model.reconstruction.coefficients) == 3
    assert batch.coefficients is not None
    rows = torch.tensor([0, 1])
    expected = model.truth.weighed(model.coefficients.rows(rows), batch.coefficients[rows], 2.0)
    for name in TRUTH:
        assert found[0.0][name] == pytest.approx(2 / 3 * float(expected[name]), rel=1e-5)
        assert found[0.25][name] == pytest.approx(found[0.0][name] / 2, rel=1e-5)
        assert found[0.5][name] == found[0.9][name] == 0
    photos = replace(batch, coefficients=None, has_truth=None, has_fit=None)
    assert terms_of(model, photos) == WEAK
    for name in WEAK:
        for losses in found.values():
            assert losses[name] == pytest.approx(float(model.losses[name]), rel=1e-5)


def test_the_weight_of_fits_is_that_of_truth_too_where_none_is_given(tiny_face_model: FaceModel):
    """`--w_coeff` alone takes the recipe's terms; what is true does not fade."""
    model = make(tiny_face_model, LabelOptions(w_coeff=2.0, coeff_until=0.5))
    batch = with_fits(model, [False, True], [True, False])
    assert batch.coefficients is not None
    for progress, of_fits in ((0.0, 2.0), (0.9, 0.0)):
        assert terms_of(model, batch, progress) == TRUTH + WEAK
        parts = [
            model.truth.weighed(model.coefficients.item(k), batch.coefficients[k : k + 1], weight)
            for k, weight in ((0, 2.0), (1, of_fits))
        ]
        for name in TRUTH:
            expected = sum(float(part[name]) for part in parts) / 2
            assert float(model.losses[name]) == pytest.approx(expected, rel=1e-4)
    everyone = replace(batch, has_truth=None, has_fit=None)
    assert terms_of(model, everyone, 0.9) == TRUTH + WEAK
    of_all = model.truth.weighed(model.coefficients, batch.coefficients, 2.0)
    assert float(model.losses["t_shape"]) == pytest.approx(float(of_all["t_shape"]), rel=1e-4)


def test_without_a_weight_fits_change_nothing(tiny_face_model: FaceModel):
    model = make(tiny_face_model)
    batch = with_fits(model, [True, False], [False, False])
    assert terms_of(model, batch) == WEAK


def test_faces_of_three_kinds_in_one_batch(tiny_face_model: FaceModel):
    """Truth, fits and photos; with `--weak_from` 1 a fit stands alone, until it has faded."""
    labels = LabelOptions(w_coeff=0.5, coeff_until=0.5)
    model = make(tiny_face_model, replace(ACTIVE, weak_from=1.0), labels)
    assert model.net_recon.final_layers is not None
    for head in model.net_recon.final_layers:
        torch.nn.init.normal_(head.get_parameter("weight"), std=1e-2)
    batch = with_fits(model, [False, True, False, False], [True, False, False, True])
    assert terms_of(model, batch, 0.1) == TRUTH + WEAK
    assert batch.coefficients is not None
    assert model.reconstruction is not None and len(model.reconstruction.coefficients) == 1
    true, fits = torch.tensor([0, 3]), torch.tensor([1])
    of_true = model.truth(model.coefficients.rows(true), batch.coefficients[true])
    of_fits = model.truth.weighed(model.coefficients.rows(fits), batch.coefficients[fits], 0.4)
    for name in TRUTH:
        expected = float(of_true[name]) / 2 + float(of_fits[name]) / 4
        assert float(model.losses[name]) == pytest.approx(expected, rel=1e-4)
    # The fit has faded: its photo is one like any other, and the truth stays.
    terms_of(model, batch, 0.5)
    assert model.reconstruction is not None and len(model.reconstruction.coefficients) == 2
    assert float(model.losses["t_shape"]) == pytest.approx(float(of_true["t_shape"]) / 2, rel=1e-4)


def test_fits_of_another_camera_are_refused(tiny_face_model: FaceModel):
    with pytest.raises(InputError, match="--w_coeff: coefficients are those of the R-Net's own"):
        make(tiny_face_model, LabelOptions(w_coeff=1.0), CameraOptions(focal=900.0))


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_a_batch_of_three_kinds_on_a_gpu(tiny_face_data: FaceModelData):
    """From pinned memory: the losses are those of the CPU."""
    found = []
    for device in ("cpu", "cuda"):
        torch.manual_seed(0)
        on_cpu = make(FaceModel(tiny_face_data))
        batch = with_fits(on_cpu, [False, True, False, False], [True, False, False, True])
        chosen = replace(ACTIVE, weak_from=1.0), LabelOptions(w_coeff=0.5, coeff_until=0.5)
        model = make(FaceModel(tiny_face_data), *chosen, device=device)
        model.set_progress(0.1)
        model.set_input(batch.pin_memory() if device == "cuda" else batch)
        assert model.optimize_parameters()
        assert list(model.losses) == ["all", *TRUTH, *WEAK]
        found.append(torch.stack([value.detach().cpu() for value in model.losses.values()]))
        assert all(sign.device.type == device for sign in model.signs().values())
        assert model.visuals().device.type == device
    torch.testing.assert_close(found[1], found[0], rtol=0.02, atol=1e-3)
