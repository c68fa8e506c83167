"""The training step that every model inherits: totals, updates, and what a bad batch leaves."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from models.base_model import BaseModel
from models.schedule import Schedule, create_optimizer
from options.network_options import OptimiserOptions
from util.training.checkpoint import load_checkpoint, save_checkpoint


class NormalisedRegression(BaseModel):
    """A linear map behind a batch normalisation; inputs may hold NaN."""

    def __init__(self, options: OptimiserOptions | None = None) -> None:
        super().__init__(None, None, torch.device("cpu"))
        options = options or OptimiserOptions(lr=0.1)
        torch.manual_seed(3)
        self.net = nn.Sequential(nn.BatchNorm1d(2), nn.Linear(2, 1))
        self.networks = {"net_a": self.net}
        self.optimizers = [create_optimizer([{"params": self.net.parameters()}], options)]
        self.schedules = [Schedule(self.optimizers[0], options)]

    def set_input(self, batch: Any) -> None:
        self.x = batch

    def forward(self) -> None:
        self.output = self.net(self.x)

    def compute_losses(self) -> Mapping[str, Tensor]:
        return {"near": self.output.square().mean(), "far": 2 * (self.output - 3).square().mean()}

    def visuals(self) -> Tensor:
        return torch.zeros(1, 3, 4, 4)


class RootAtZero(NormalisedRegression):
    """A finite loss whose gradient is not."""

    def compute_losses(self) -> Mapping[str, Tensor]:
        return {"root": (self.output * 0).sum().sqrt()}


def snapshot(model: BaseModel) -> dict[str, Tensor]:
    return {
        f"{name}.{key}": value.clone()
        for name, net in model.networks.items()
        for key, value in net.state_dict().items()
    }


def assert_same(before: dict[str, Tensor], after: dict[str, Tensor]) -> None:
    assert before.keys() == after.keys()
    for key, value in before.items():
        assert torch.equal(value, after[key]), key


def test_a_step_updates_and_names_its_losses():
    model = NormalisedRegression()
    before = snapshot(model)
    model.set_input(torch.randn(8, 2))
    assert model.optimize_parameters() is True
    after = snapshot(model)
    assert not torch.equal(before["net_a.1.weight"], after["net_a.1.weight"])
    assert not torch.equal(before["net_a.0.running_mean"], after["net_a.0.running_mean"])
    assert list(model.losses) == ["all", "near", "far"]
    assert float(model.losses["all"].detach()) == pytest.approx(
        float(model.losses["near"].detach()) + float(model.losses["far"].detach())
    )


def test_steps_reduce_the_loss():
    model = NormalisedRegression()
    model.set_input(torch.randn(16, 2))
    totals = []
    for _ in range(30):
        model.optimize_parameters()
        totals.append(float(model.losses["all"].detach()))
    assert totals[-1] < 0.7 * totals[0]


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_bad_batch_changes_nothing(value: float):
    """Neither weights, nor statistics of batch normalisation, nor Adam's moments."""
    model = NormalisedRegression()
    model.set_input(torch.randn(8, 2))
    model.optimize_parameters()
    before = snapshot(model)
    moments = {
        k: v["exp_avg"].clone() for k, v in model.optimizers[0].state_dict()["state"].items()
    }
    bad = torch.randn(8, 2)
    bad[3, 1] = value
    model.set_input(bad)
    assert model.optimize_parameters() is False
    assert_same(before, snapshot(model))
    for key, state in model.optimizers[0].state_dict()["state"].items():
        assert torch.equal(state["exp_avg"], moments[key])
    assert not torch.isfinite(model.losses["all"])
    model.set_input(torch.randn(8, 2))
    assert model.optimize_parameters() is True
    assert all(torch.isfinite(value).all() for value in snapshot(model).values())


def test_a_finite_loss_with_a_bad_gradient_changes_nothing():
    model = RootAtZero()
    before = snapshot(model)
    model.set_input(torch.randn(8, 2))
    assert model.optimize_parameters() is False
    assert float(model.losses["all"].detach()) == 0
    assert_same(before, snapshot(model))


def test_scaled_gradients_take_the_same_steps():
    """A power of two scales exactly, so that the weights are those without, bit for bit."""
    plain, scaled = NormalisedRegression(), NormalisedRegression()
    scaled.scaler = torch.amp.GradScaler("cpu", init_scale=2.0**10)  # pyright: ignore
    for batch in [torch.randn(8, 2) for _ in range(5)]:
        for model in (plain, scaled):
            model.set_input(batch)
            assert model.optimize_parameters()
    assert_same(snapshot(plain), snapshot(scaled))
    again = NormalisedRegression()
    again.scaler = torch.amp.GradScaler("cpu")  # pyright: ignore
    scaled.scaler.update(2.0**5)
    again.load_training_state(scaled.state())
    assert again.scaler.get_scale() == 2.0**5
    again.load_training_state(plain.state())  # a checkpoint without a scale


def test_an_overflow_lowers_the_scale_and_says_nothing_about_the_batch():
    model = NormalisedRegression()
    model.scaler = torch.amp.GradScaler("cpu", init_scale=2.0**127)  # pyright: ignore
    before = snapshot(model)
    model.set_input(1e3 * torch.randn(8, 2))
    assert model.optimize_parameters() is True
    assert_same(before, snapshot(model))
    assert model.scaler.get_scale() == 2.0**126
    # A gradient that no scale makes finite is the batch's own.
    broken = RootAtZero()
    broken.scaler = torch.amp.GradScaler("cpu", init_scale=1.0)  # pyright: ignore
    broken.set_input(torch.randn(8, 2))
    assert broken.optimize_parameters() is False


def test_evaluate_changes_nothing_and_keeps_no_graph():
    model = NormalisedRegression()
    before = snapshot(model)
    model.set_input(torch.randn(8, 2))
    model.evaluate()
    assert_same(before, snapshot(model))
    assert not model.losses["all"].requires_grad
    assert not model.net.training
    model.optimize_parameters()
    assert model.net.training


def test_state_round_trip_continues_alike(tmp_path: Path):
    options = OptimiserOptions(lr=0.1, lr_policy="step", lr_decay_epochs=1)
    batches = [torch.randn(8, 2) for _ in range(6)]

    def train(model: BaseModel, batches: list[Tensor]) -> None:
        for batch in batches:
            model.set_input(batch)
            model.optimize_parameters()
        model.end_epoch(None)

    whole = NormalisedRegression(options)
    train(whole, batches[:3])
    save_checkpoint(tmp_path / "epoch_1.pth", whole.state())
    train(whole, batches[3:])

    resumed = NormalisedRegression(options)
    state = load_checkpoint(tmp_path / "epoch_1.pth", ("net_a",))
    resumed.networks["net_a"].load_state_dict(state["net_a"])
    resumed.load_training_state(state)
    assert resumed.rate == pytest.approx(0.02)
    train(resumed, batches[3:])
    assert_same(snapshot(whole), snapshot(resumed))
    assert resumed.rate == whole.rate


def test_state_names_networks_optimisers_and_schedules():
    assert list(NormalisedRegression().state()) == ["net_a", "opt_00", "sched_00"]


@pytest.mark.parametrize("missing", ["opt_00", "sched_00"])
def test_a_checkpoint_for_inference_cannot_be_resumed(missing: str):
    model = NormalisedRegression()
    state = model.state()
    del state[missing]
    with pytest.raises(ValueError, match=f"no '{missing}' to resume"):
        model.load_training_state(state)


def test_epochs_come_from_the_options():
    model = NormalisedRegression(OptimiserOptions(epoch_count=3, n_epochs=9))
    assert (model.first_epoch, model.last_epoch) == (3, 9)
