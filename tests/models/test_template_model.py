"""The live template: it trains, validates, draws and resumes like any model."""

from __future__ import annotations

import pytest
import torch

from models import MODELS, create_model, find_model
from models.batch import FaceBatch
from models.template_model import TemplateModel
from options.flags import ParsedOptions
from options.network_options import OptimiserOptions
from options.template_options import TemplateOptions


def make(weight: float = 1.0) -> TemplateModel:
    options = ParsedOptions([TemplateOptions(weight), OptimiserOptions(lr=0.05)])
    model = create_model("template", options, None, torch.device("cpu"))  # pyright: ignore
    assert isinstance(model, TemplateModel)
    return model


def test_it_learns_the_mean_colour():
    colour = torch.tensor([0.8, 0.3, 0.5])
    images = colour[None, :, None, None] + 0.1 * torch.randn(4, 3, 8, 8)
    model = make()
    for _ in range(150):
        model.set_input(FaceBatch(images, ("x",) * 4))
        assert model.optimize_parameters()
    mean = images.mean(dim=(0, 2, 3))
    torch.testing.assert_close(model.net.colour.detach(), mean, atol=0.02, rtol=0)


def test_the_loss_is_the_weighted_mean_square():
    images = torch.rand(2, 3, 4, 4)
    model = make(weight=3.0)
    model.set_input(FaceBatch(images, ("x", "y")))
    model.evaluate()
    assert float(model.losses["colour"]) == pytest.approx(3 * float(images.square().mean()))
    assert model.losses["all"] == model.losses["colour"]


def test_visuals_are_pictures_side_by_side():
    model = make()
    images = torch.rand(2, 3, 4, 4)
    model.set_input(FaceBatch(images, ("x", "y")))
    model.evaluate()
    pictures = model.visuals()
    assert pictures.shape == (2, 3, 4, 8)
    assert torch.equal(pictures[..., :4], images)


def test_models_by_name():
    assert find_model("template") is TemplateModel
    for name, kind in MODELS.items():
        assert find_model(name) is kind
    with pytest.raises(ValueError, match=r"--model nothing is unknown.*synergy, template"):
        find_model("nothing")
