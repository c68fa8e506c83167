"""What may be computed with short mantissas, and what never is."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch

from models.camera import Camera
from models.face_model import FaceModel
from models.precision import autocast_dtype, full_products, gradient_scaler
from models.renderer import Renderer
from models.stages import pose_face, reconstruct, shape_face
from util.devices import choose_device

CPU, GPU = torch.device("cpu"), torch.device("cuda")


@pytest.fixture(autouse=True)
def settings() -> Iterator[None]:
    """The precision is global; put it back."""
    precision = torch.get_float32_matmul_precision()
    yield
    torch.set_float32_matmul_precision(precision)


class Spy(Renderer):
    """Notes the precision of matrix products while it draws."""

    seen: str = ""

    def __call__(self, *arguments, **named):
        self.seen = torch.get_float32_matmul_precision()
        return super().__call__(*arguments, **named)


@pytest.mark.parametrize("setting", ["high", "medium"])
def test_geometry_is_computed_in_full_precision(tiny_face_model: FaceModel, setting: str):
    coefficients = tiny_face_model.layout.split(0.1 * torch.randn(2, tiny_face_model.layout.size))
    spy, camera = Spy("torch"), Camera.rnet()
    exact = reconstruct(tiny_face_model, spy, camera, coefficients)
    torch.set_float32_matmul_precision(setting)
    found = reconstruct(tiny_face_model, spy, camera, coefficients)
    assert spy.seen == "highest"
    assert torch.equal(found.posed.landmarks_px, exact.posed.landmarks_px)
    assert found.rendering.image is not None and exact.rendering.image is not None
    assert torch.equal(found.rendering.image, exact.rendering.image)
    assert torch.get_float32_matmul_precision() == setting  # the caller's choice is back


def test_the_setting_comes_back_after_an_error():
    torch.set_float32_matmul_precision("high")
    with pytest.raises(ZeroDivisionError), full_products():
        assert torch.get_float32_matmul_precision() == "highest"
        raise ZeroDivisionError
    assert torch.get_float32_matmul_precision() == "high"


def test_commands_switch_it_off_for_the_backward_pass_too():
    torch.set_float32_matmul_precision("high")  # as some containers' variables do
    choose_device("-1", threads=1)
    assert torch.get_float32_matmul_precision() == "highest"


def test_autocast_dtypes():
    assert autocast_dtype("none", CPU) is None
    assert autocast_dtype("bf16", CPU) is torch.bfloat16
    assert autocast_dtype("fp16", GPU) is torch.float16
    assert autocast_dtype("auto", GPU) is None
    assert autocast_dtype("auto", CPU) in (None, torch.bfloat16)
    with pytest.raises(ValueError, match="--amp fp16 computes on GPUs, this run is on the cpu"):
        autocast_dtype("fp16", CPU)


def test_only_half_precision_scales_gradients():
    assert gradient_scaler(None, CPU) is None and gradient_scaler(torch.bfloat16, CPU) is None
    assert gradient_scaler(torch.float16, CPU) is not None


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_tf32_does_not_reach_the_projection(open_face_model: FaceModel):
    """Within a thousandth of a pixel of float64, where TF32 would be off by a tenth."""
    torch.set_float32_matmul_precision("high")
    flat = torch.randn(4, open_face_model.layout.size)
    flat[:, open_face_model.layout.slices["translation_dm"]] = 0
    landmarks = []
    for device, dtype in (("cuda", torch.float32), ("cpu", torch.float64)):
        model = open_face_model.to(device).to(dtype)
        coefficients = model.layout.split(flat.to(device).to(dtype))
        camera = Camera.rnet().to(device).to(dtype)
        posed = pose_face(model, shape_face(model, coefficients), coefficients, camera)
        landmarks.append(posed.landmarks_px.double().cpu())
    torch.testing.assert_close(landmarks[0], landmarks[1], rtol=0, atol=1e-3)
