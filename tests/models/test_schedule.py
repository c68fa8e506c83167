"""Learning-rate schedules against the public formulas, and their saved states."""

from __future__ import annotations

import itertools
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from models.schedule import (
    DECAY_FROM_SHARE,
    WARM_UP_SHARE,
    Schedule,
    clock_factor,
    create_optimizer,
    load_optimizer,
    optimizer_state,
)
from options.network_options import OptimiserOptions
from util.training.checkpoint import load_checkpoint, save_checkpoint

POLICIES = ("linear", "step", "plateau", "cosine", "clock")


def make(options: OptimiserOptions, *rates: float) -> tuple[torch.optim.Optimizer, Schedule]:
    groups = [
        {"params": [torch.nn.Parameter(torch.zeros(2))], "lr": rate}
        for rate in rates or (options.lr,)
    ]
    optimizer = create_optimizer(groups, options)
    return optimizer, Schedule(optimizer, options)


def rates_by_epoch(options: OptimiserOptions, epochs: int) -> list[float]:
    """Learning rate during each epoch."""
    optimizer, schedule = make(options)
    rates = []
    for _ in range(epochs):
        rates.append(schedule.rate)
        optimizer.step()
        schedule.end_epoch(1.0)
    return rates


def test_step_divides_by_five_every_lr_decay_epochs():
    rates = rates_by_epoch(OptimiserOptions(lr=1e-4, lr_policy="step", lr_decay_epochs=10), 31)
    assert rates == pytest.approx([1e-4 * 0.2 ** (epoch // 10) for epoch in range(31)])


@pytest.mark.parametrize("first", [1, 4])
def test_linear_is_the_public_formula(first: int):
    options = OptimiserOptions(lr=1e-4, lr_policy="linear", n_epochs=7, epoch_count=first)
    expected = [1e-4 * (1 - max(0, epoch + first - 7) / float(7 + 1)) for epoch in range(7)]
    assert rates_by_epoch(options, 7) == pytest.approx(expected)


def test_cosine_falls_to_zero():
    options = OptimiserOptions(lr=2e-4, lr_policy="cosine", n_epochs=20)
    expected = [2e-4 * (1 + math.cos(math.pi * epoch / 20)) / 2 for epoch in range(21)]
    assert rates_by_epoch(options, 21) == pytest.approx(expected, abs=1e-18)


def test_plateau_waits_five_epochs_without_one_per_cent_of_gain():
    options = OptimiserOptions(lr=1e-3, lr_policy="plateau")
    _, schedule = make(options)
    schedule.end_epoch(1.0)
    for _ in range(5):
        schedule.end_epoch(0.995)  # better, but by less than 1 %
        assert schedule.rate == pytest.approx(1e-3)
    schedule.end_epoch(0.995)
    assert schedule.rate == pytest.approx(2e-4)


def test_plateau_without_a_validation_stays():
    _, schedule = make(OptimiserOptions(lr=1e-3, lr_policy="plateau"))
    for _ in range(20):
        schedule.end_epoch(None)
    assert schedule.rate == pytest.approx(1e-3)


def test_clock_warms_up_holds_and_falls():
    assert clock_factor(0.0) == pytest.approx(0.01)
    assert clock_factor(WARM_UP_SHARE / 2) == pytest.approx(0.5)
    assert clock_factor(WARM_UP_SHARE) == 1
    assert clock_factor(DECAY_FROM_SHARE) == pytest.approx(1)
    assert clock_factor((1 + DECAY_FROM_SHARE) / 2) == pytest.approx(0.5)
    assert clock_factor(1.0) == 0
    assert clock_factor(1.2) == 0
    values = [clock_factor(x / 1000) for x in range(1001)]
    assert max(abs(a - b) for a, b in itertools.pairwise(values)) < 0.025


def test_clock_keeps_the_ratio_of_groups():
    optimizer, schedule = make(OptimiserOptions(lr=1e-3, lr_policy="clock"), 1e-3, 3e-4)
    schedule.set_progress(0.7)
    rates = [group["lr"] for group in optimizer.param_groups]
    assert rates == pytest.approx([5e-4, 1.5e-4])
    schedule.set_progress(0.3)  # from the base, not from the last value
    assert schedule.rate == pytest.approx(1e-3)
    schedule.end_epoch(1.0)
    assert schedule.rate == pytest.approx(1e-3)


@pytest.mark.parametrize("policy", [p for p in POLICIES if p != "clock"])
def test_policies_by_epoch_do_not_heed_the_clock(policy):
    _, schedule = make(OptimiserOptions(lr=1e-3, lr_policy=policy))
    schedule.set_progress(0.99)
    assert schedule.rate == pytest.approx(1e-3)


@pytest.mark.parametrize("policy", POLICIES)
def test_a_saved_schedule_goes_on_alike(policy, tmp_path: Path):
    """Five epochs in one go, or three, a checkpoint file, and two more."""
    options = OptimiserOptions(lr=1e-3, lr_policy=policy, lr_decay_epochs=2, n_epochs=5)

    def run(optimizer: torch.optim.Optimizer, schedule: Schedule, epochs: range) -> list[float]:
        rates = []
        for epoch in epochs:
            schedule.set_progress(epoch / 5)
            rates.append(schedule.rate)
            optimizer.step()
            schedule.end_epoch(1.0)
        return rates

    whole = run(*make(options), range(5))
    optimizer, schedule = make(options)
    parts = run(optimizer, schedule, range(3))
    state = {"net": {}, "opt": optimizer.state_dict(), "sched": schedule.state_dict()}
    save_checkpoint(tmp_path / "a.pth", state)
    state = load_checkpoint(tmp_path / "a.pth", ("net",))
    optimizer, schedule = make(options)
    optimizer.load_state_dict(state["opt"])
    schedule.load_state_dict(state["sched"])
    assert parts + run(optimizer, schedule, range(3, 5)) == pytest.approx(whole, abs=1e-15)


def test_milestones_are_synergynets():
    """A fifth in epochs 1 to 5, all of it to 48, a fifth to 64, a 25th to 80."""
    options = OptimiserOptions(lr=0.08, lr_policy="milestones", n_epochs=80)
    rates = rates_by_epoch(options, 80)
    expected = [0.016] * 5 + [0.08] * 43 + [0.016] * 16 + [0.0032] * 16
    assert rates == pytest.approx(expected)
    options = replace(options, milestones=(2, 3), warmup=-1, epoch_count=2)
    assert rates_by_epoch(options, 3) == pytest.approx([0.08, 0.016, 0.0032])


def test_sgd_takes_nesterovs_step():
    """v = m v + g, x = x - lr (g + m v) with g = gradient + decay x, by hand."""
    options = OptimiserOptions(optimizer="sgd", lr=0.1, momentum=0.9, weight_decay=0.01)
    parameter = torch.nn.Parameter(torch.tensor([2.0]))
    optimizer = create_optimizer([{"params": [parameter], "lr": 0.1}], options)
    x, v = 2.0, 0.0
    for _ in range(3):
        parameter.grad = torch.tensor([3.0])
        optimizer.step()
        g = 3.0 + 0.01 * x
        v = 0.9 * v + g
        x -= 0.1 * (g + 0.9 * v)
        assert parameter.item() == pytest.approx(x, rel=1e-6)


def test_weight_decay_is_the_optimisers_own_unless_given():
    for name, default in (("adam", 0), ("adamw", 0.01), ("sgd", 0)):
        options = OptimiserOptions(optimizer=name)  # pyright: ignore
        assert make(options)[0].param_groups[0]["weight_decay"] == default
        given = make(replace(options, weight_decay=0.3))[0]
        assert given.param_groups[0]["weight_decay"] == 0.3


@pytest.mark.parametrize(
    ("name", "kind"), [("adam", torch.optim.Adam), ("adamw", torch.optim.AdamW)]
)
def test_optimizers_by_name(name, kind: type):
    options = OptimiserOptions(optimizer=name, lr=1e-3, beta1=0.8, beta2=0.99)
    optimizer, _ = make(options)
    assert type(optimizer) is kind
    assert optimizer.param_groups[0]["betas"] == (0.8, 0.99)


@pytest.mark.parametrize("name", ["adam", "adamw"])
def test_steps_are_those_of_the_paper(name):
    """Kingma and Ba (2015), algorithm 1; the decay of Loshchilov and Hutter (2019), algorithm 2."""
    options = OptimiserOptions(optimizer=name, lr=1e-2, beta1=0.8, beta2=0.9)
    optimizer, _ = make(options)
    parameter = optimizer.param_groups[0]["params"][0]
    decay = optimizer.param_groups[0]["weight_decay"]
    x, m, v = np.zeros(2), np.zeros(2), np.zeros(2)
    for step, gradient in enumerate(np.random.default_rng(0).normal(size=(5, 2)), start=1):
        parameter.grad = torch.from_numpy(gradient).float()
        optimizer.step()
        m = 0.8 * m + 0.2 * gradient
        v = 0.9 * v + 0.1 * gradient**2
        x = x * (1 - 1e-2 * decay)
        x = x - 1e-2 * m / (1 - 0.8**step) / (np.sqrt(v / (1 - 0.9**step)) + 1e-8)
        assert parameter.tolist() == pytest.approx(x.tolist(), rel=1e-4)


def test_moments_lie_in_memory_as_their_parameters_do():
    """The public code's lie row by row, ours have their channels innermost, and fused steps, which
    a GPU takes, read both in one order."""
    start, gradient = torch.randn(8, 3, 3, 3), torch.randn(8, 3, 3, 3)
    ends = []
    for fused in (False, True):
        plain = torch.nn.Parameter(start.clone())
        parameter = torch.nn.Parameter(start.clone(memory_format=torch.channels_last))
        saved = torch.optim.Adam([plain], lr=1e-2)
        plain.grad = gradient
        saved.step()
        resumed = torch.optim.Adam([parameter], lr=1e-2, fused=fused)
        load_optimizer(resumed, saved.state_dict())
        assert resumed.state[parameter]["exp_avg"].stride() == parameter.stride()
        parameter.grad = gradient.flip(0).clone(memory_format=torch.channels_last)
        resumed.step()
        ends.append(parameter.detach())
    torch.testing.assert_close(ends[1], ends[0], rtol=0, atol=1e-6)
    assert (ends[0] - start).abs().max() > 1e-3


@pytest.mark.parametrize("own", ["adam", "adamw", "sgd"])
@pytest.mark.parametrize("theirs", ["adam", "adamw", "sgd"])
def test_an_optimiser_of_another_kind_is_refused(theirs, own):
    """Its state means nothing to this one, or would quietly make it the other."""
    saved, _ = make(OptimiserOptions(optimizer=theirs))
    resumed, _ = make(OptimiserOptions(optimizer=own))
    state = saved.state_dict()
    if theirs == own:
        load_optimizer(resumed, state)
        return
    told = f"its optimiser is {theirs}, that of this run {own}; give the same --optimizer"
    with pytest.raises(ValueError, match=told):
        load_optimizer(resumed, state)


def test_files_before_adamw_had_a_sign_of_its_own_are_read():
    for name in ("adam", "adamw"):
        saved, _ = make(OptimiserOptions(optimizer=name))
        state = saved.state_dict()
        state["param_groups"][0].pop("decoupled_weight_decay")
        resumed, _ = make(OptimiserOptions(optimizer=name))
        load_optimizer(resumed, state)
        assert resumed.param_groups[0]["decoupled_weight_decay"] is (name == "adamw")


def test_checkpoints_leave_the_way_of_stepping_to_who_reads_them():
    parameter = torch.nn.Parameter(torch.zeros(2))
    optimizer = torch.optim.Adam([parameter], lr=1e-2, fused=True)
    parameter.grad = torch.ones(2)
    optimizer.step()
    state = optimizer_state(optimizer)
    plain = torch.optim.Adam([parameter], lr=1e-2).state_dict()["param_groups"]
    assert state["param_groups"] == plain
    assert state["state"][0]["step"] == 1
    assert optimizer.param_groups[0]["fused"] is True


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("name", ["adam", "adamw", "sgd"])
def test_a_gpu_takes_the_steps_of_a_cpu(name):
    """Fused ones, from a file of a CPU and of a network whose channels lie outermost."""
    options = OptimiserOptions(optimizer=name, lr=1e-2, beta1=0.8, beta2=0.9)
    gradients = torch.randn(2, 8, 3, 3, 3, generator=torch.Generator().manual_seed(0))

    def step(parameter: torch.nn.Parameter, optimizer: torch.optim.Optimizer, number: int) -> None:
        parameter.grad = torch.empty_like(parameter).copy_(gradients[number])
        optimizer.step()

    def begin(values: torch.Tensor) -> tuple[torch.nn.Parameter, torch.optim.Optimizer]:
        parameter = torch.nn.Parameter(values)
        return parameter, create_optimizer([{"params": [parameter]}], options)

    here, on_cpu = begin(torch.ones(8, 3, 3, 3))
    step(here, on_cpu, 0)
    there, on_gpu = begin(here.detach().to("cuda", memory_format=torch.channels_last))
    load_optimizer(on_gpu, optimizer_state(on_cpu))
    assert on_gpu.param_groups[0]["fused"] is True
    step(here, on_cpu, 1)
    step(there, on_gpu, 1)
    torch.testing.assert_close(there.detach().cpu(), here.detach(), rtol=1e-5, atol=1e-6)


def test_a_file_does_not_choose_how_steps_are_computed():
    """A run on a GPU goes on on a CPU as if it had always been there."""
    options = OptimiserOptions(optimizer="adam", lr=1e-3)
    saved, _ = make(options)
    for tensor in saved.param_groups[0]["params"]:
        tensor.grad = torch.ones(2)
    saved.step()
    state = saved.state_dict()
    state["param_groups"][0] |= {"fused": True, "foreach": None, "lr": 5e-4}
    resumed, _ = make(options)
    load_optimizer(resumed, state)
    group = resumed.param_groups[0]
    assert (group["fused"], group["lr"]) == (None, 5e-4)
    assert state["param_groups"][0]["fused"] is True  # what was read is left alone
    (kept,) = resumed.state.values()
    assert kept["step"] == 1 and torch.equal(kept["exp_avg"], torch.full((2,), 0.1))


@pytest.mark.parametrize(
    ("flag", "value"),
    [
        ("lr", 0.0),
        ("lr", -1e-4),
        ("lr", float("nan")),
        ("lr", 1e4),
        ("n_epochs", 0),
        ("lr_decay_epochs", 0),
        ("grad_clip", -1.0),
        ("beta1", 1.0),
        ("beta2", -0.1),
        ("epoch_count", 0),
        ("momentum", 1.0),
        ("weight_decay", -0.1),
    ],
)
def test_useless_values_are_refused_by_flag(flag: str, value: float):
    with pytest.raises(ValueError, match=rf"--{flag} is {value}"):
        replace(OptimiserOptions(), **{flag: value})


def test_milestones_out_of_order_are_refused():
    with pytest.raises(ValueError, match=r"--milestones are \(64, 48\)"):
        OptimiserOptions(milestones=(64, 48))
