"""Checkpoints of the public code: read for testing and resuming, and ours read by it."""

from __future__ import annotations

import io
import math
import tarfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from torch.optim import lr_scheduler

from models import create_model
from models.assets import ModelAssets
from models.face_model import FaceModel, FaceModelData
from models.facerecon_model import FaceReconModel
from models.networks.reconstruction import create_reconstruction_net
from models.parameters import ParameterLayout
from options import ParsedOptions, parse_command
from options.base_options import BaseOptions
from options.network_options import ReconstructionNetOptions
from options.train_options import TrainOptions
from tests.conftest import make_tiny_face_data
from tests.util.model_files.public_layout import (
    PublicNet,
    imagenet_entries,
    public_entries,
    random_state,
)
from tests.util.model_files.test_file_kind import old_tar
from util.errors import InputError
from util.model_files.reconstruction_file import read_initial_weights
from util.training.checkpoint import load_checkpoint, load_tensors
from util.training.training_start import start
from util.training.training_state import (
    Progress,
    adopt_card,
    load_weights,
    resume_training,
    save_training,
)

CPU = torch.device("cpu")
LR = 1e-4


@pytest.fixture(scope="module")
def bfm09() -> FaceModel:
    """A face model that calls itself bfm09 and has its 80 + 64 + 80 components."""
    data = make_tiny_face_data()
    random = np.random.default_rng(3)
    count = len(data.mean_shape)

    def basis(columns: int) -> np.ndarray:
        return random.normal(0, 1e-3, (count, 3, columns)).astype(np.float32)

    changed = {
        "name": "bfm09",
        "identity_basis": basis(80),
        "expression_basis": basis(64),
        "albedo_basis": basis(80),
        "identity_sigma": np.ones(80, np.float32),
        "expression_sigma": np.ones(64, np.float32),
        "albedo_sigma": np.ones(80, np.float32),
        "unit_names": (),
        "unit_matrix": np.zeros((0, 0), np.float32),
    }
    return FaceModel(FaceModelData(**{**vars(data), **changed}))


def training_options(*argv: str) -> ParsedOptions:
    groups = (BaseOptions, TrainOptions, *FaceReconModel.option_groups)
    return parse_command(groups, ["--net_recon", "resnet18", *argv])


def model_of(options: ParsedOptions, face_model: FaceModel) -> FaceReconModel:
    model = create_model("facerecon", options, ModelAssets(face_model), CPU)
    assert isinstance(model, FaceReconModel)
    return model


class PublicTraining:
    """What the public code trains: one Adam over `parameters()`, StepLR by epochs."""

    def __init__(self, net_recon: str = "resnet18", use_last_fc: bool = False) -> None:
        self.net = PublicNet(net_recon, use_last_fc)
        self.optimizer = torch.optim.Adam(self.net.parameters(), lr=LR)
        self.schedule: lr_scheduler.LRScheduler = lr_scheduler.StepLR(
            self.optimizer, step_size=10, gamma=0.2
        )

    def step(self, seed: int) -> None:
        give_gradients(self.net, seed)
        self.optimizer.step()

    def epochs(self, count: int) -> None:
        for epoch in range(count):
            self.step(epoch)
            self.schedule.step()

    def checkpoint(self, *, old: bool = False) -> dict[str, Any]:
        optimizer, schedule = self.optimizer.state_dict(), self.schedule.state_dict()
        if old:
            optimizer, schedule = as_of_2021(optimizer), {**schedule, "verbose": False}
            schedule.pop("_is_initial", None)
        return {
            "net_recon": self.net.state_dict(),
            "opt_00": optimizer,
            "sched_00": schedule,
        }


def give_gradients(net: nn.Module, seed: int) -> None:
    """The same gradient to the parameter of the same name, whatever its place."""
    for name, parameter in net.named_parameters():
        value = math.sin(seed * 7919 + sum(map(ord, name)))
        parameter.grad = torch.full_like(parameter, value)


def as_of_2021(state: dict[str, Any]) -> dict[str, Any]:
    """An optimiser's state as torch 1.6 wrote it: steps are integers, no newer settings."""
    known = ("lr", "betas", "eps", "weight_decay", "amsgrad", "initial_lr", "params")
    return {
        "state": {k: {**v, "step": int(v["step"])} for k, v in state["state"].items()},
        "param_groups": [{k: g[k] for k in known} for g in state["param_groups"]],
    }


def write(path: Path, state: Mapping[str, Any], *, zipped: bool) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    torch.save(dict(state), path, _use_new_zipfile_serialization=zipped)
    return path


# Read for testing


@pytest.mark.parametrize("zipped", [True, False], ids=["zip", "pickle"])
@pytest.mark.parametrize("prefix", ["", "module."])
def test_weights_are_read_whatever_wrote_them(
    tmp_path: Path, bfm09: FaceModel, zipped: bool, prefix: str
):
    state = random_state(public_entries("resnet18"))
    prefixed = {f"{prefix}{name}": tensor for name, tensor in state.items()}
    path = write(tmp_path / "epoch_20.pth", {"net_recon": prefixed, "opt_00": {}}, zipped=zipped)
    checkpoint = load_checkpoint(path)
    given = parse_command(FaceReconModel.inference_groups, [])
    options = adopt_card(given, checkpoint, path)
    assert options[ReconstructionNetOptions].net_recon == "resnet18"
    model = model_of(options, bfm09)
    load_weights(checkpoint, path, model, options)
    loaded = model.net_recon.state_dict()
    assert loaded.keys() == state.keys()
    assert all(torch.equal(loaded[name], tensor) for name, tensor in state.items())


@pytest.mark.parametrize("net_recon", ["resnet18", "resnet34", "resnet50"])
@pytest.mark.parametrize("use_last_fc", [False, True])
def test_names_shapes_and_order_are_the_public_ones(net_recon: Any, use_last_fc: bool):
    """The order too: the optimiser's state has no names."""
    options = ReconstructionNetOptions(net_recon, use_last_fc=use_last_fc)
    with torch.device("meta"):
        net = create_reconstruction_net(options, ParameterLayout.for_sizes())
    ours = [(name, tuple(tensor.shape)) for name, tensor in net.state_dict().items()]
    assert ours == list(public_entries(net_recon, use_last_fc))


# Read for resuming


@pytest.mark.parametrize("old", [False, True], ids=["new", "2021"])
@pytest.mark.parametrize("use_last_fc", [False, True])
def test_a_public_training_goes_on_as_if_never_stopped(
    tmp_path: Path, bfm09: FaceModel, old: bool, use_last_fc: bool
):
    public = PublicTraining(use_last_fc=use_last_fc)
    public.epochs(9)
    state = public.checkpoint(old=old)
    path = write(tmp_path / "epoch_9.pth", state, zipped=not old)

    options = training_options("--lr", "0.5", "--use_last_fc", str(use_last_fc))
    model = model_of(options, bfm09)
    assert resume_training(path, model, options) == Progress(epoch=10)
    assert model.rate == pytest.approx(LR)
    # Two epochs more, the first of which ends a decay of the public schedule.
    for epoch in (9, 10):
        public.step(epoch)
        public.schedule.step()
        give_gradients(model.net_recon, epoch)
        model.optimizers[0].step()
        model.end_epoch(None)
        assert model.rate == pytest.approx(LR * 0.2)
        ours, theirs = model.net_recon.state_dict(), public.net.state_dict()
        for name, tensor in theirs.items():
            assert torch.equal(ours[name], tensor), name


def test_parameters_known_by_address_are_read(tmp_path: Path, bfm09: FaceModel):
    """PyTorch before 1.5 numbered an optimiser's parameters by `id()`."""
    public = PublicTraining()
    public.epochs(2)
    state = as_of_2021(public.optimizer.state_dict())
    address = {number: 140_000_000_000_000 + 72 * number for number in state["state"]}
    state["param_groups"][0]["params"] = list(address.values())
    state["state"] = {address[number]: value for number, value in state["state"].items()}
    path = write(tmp_path / "epoch_2.pth", {**public.checkpoint(), "opt_00": state}, zipped=False)
    options = training_options()
    model = model_of(options, bfm09)
    resume_training(path, model, options)
    public.step(5)
    give_gradients(model.net_recon, 5)
    model.optimizers[0].step()
    ours = model.net_recon.state_dict()
    assert all(torch.equal(ours[name], tensor) for name, tensor in public.net.state_dict().items())


@pytest.mark.parametrize(
    ("name", "flags", "epoch"),
    [
        ("epoch_20.pth", (), 21),
        ("epoch_latest.pth", (), 4),  # three epochs in the schedule
        ("epoch_iter_5000.pth", (), 4),
        ("epoch_20.pth", ("--epoch_count", "7"), 7),
    ],
)
def test_the_epoch_to_go_on_with(
    tmp_path: Path, bfm09: FaceModel, name: str, flags: tuple[str, ...], epoch: int
):
    public = PublicTraining()
    public.epochs(3)
    path = write(tmp_path / name, public.checkpoint(), zipped=True)
    options = training_options(*flags)
    assert resume_training(path, model_of(options, bfm09), options) == Progress(epoch=epoch)


@pytest.mark.parametrize("policy", ["linear", "step", "plateau", "cosine"])
def test_all_public_policies_resume(tmp_path: Path, bfm09: FaceModel, policy: str):
    net = PublicNet("resnet18")
    optimizer = torch.optim.Adam(net.parameters(), lr=LR)
    schedule: Any = {
        "linear": lambda: lr_scheduler.LambdaLR(optimizer, lambda e: 1 - max(0, e - 19) / 21),
        "step": lambda: lr_scheduler.StepLR(optimizer, 10, gamma=0.2),
        "plateau": lambda: lr_scheduler.ReduceLROnPlateau(
            optimizer, mode="min", factor=0.2, threshold=0.01, patience=5
        ),
        "cosine": lambda: lr_scheduler.CosineAnnealingLR(optimizer, T_max=20, eta_min=0),
    }[policy]()
    optimizer.step()
    for _ in range(4):
        schedule.step(*([1.0] if policy == "plateau" else []))
    state = {
        "net_recon": net.state_dict(),
        "opt_00": optimizer.state_dict(),
        "sched_00": schedule.state_dict(),
    }
    path = write(tmp_path / "epoch_4.pth", state, zipped=True)
    options = training_options("--lr_policy", policy)
    model = model_of(options, bfm09)
    assert resume_training(path, model, options).epoch == 5
    for _ in range(4):
        schedule.step(*([1.0] if policy == "plateau" else []))
        model.end_epoch(1.0)
        assert model.rate == optimizer.param_groups[0]["lr"]


def test_a_public_plateau_goes_on_by_its_own_count(tmp_path: Path, bfm09: FaceModel):
    """The public code tells its schedule a loss of 0 each epoch: its files have 0 for the best.

    Their state is used as it is, so that the rate falls after the epochs after which it would have
    fallen there.
    """
    net = PublicNet("resnet18")
    optimizer = torch.optim.Adam(net.parameters(), lr=LR)
    schedule = lr_scheduler.ReduceLROnPlateau(
        optimizer, mode="min", factor=0.2, threshold=0.01, patience=5
    )
    optimizer.step()
    for _ in range(4):
        schedule.step(0)
    state = {
        "net_recon": net.state_dict(),
        "opt_00": optimizer.state_dict(),
        "sched_00": schedule.state_dict(),
    }
    path = write(tmp_path / "epoch_4.pth", state, zipped=True)
    options = training_options("--lr_policy", "plateau")
    model = model_of(options, bfm09)
    resume_training(path, model, options)
    rates = []
    for epoch in range(8):
        schedule.step(0)
        model.end_epoch(0.9**epoch)
        rates.append(model.rate)
        assert model.rate == optimizer.param_groups[0]["lr"]
    assert rates[0] == LR and rates[-1] == pytest.approx(0.2 * LR)


def test_a_run_without_checkpoints_resumes_the_one_that_is_named(tmp_path: Path, bfm09: FaceModel):
    public = PublicTraining()
    public.epochs(1)
    write(tmp_path / "theirs" / "epoch_20.pth", public.checkpoint(), zipped=True)
    flags = ["--checkpoints_dir", str(tmp_path), "--continue_train", "--epoch", "20"]
    options = training_options(*flags, "--pretrained_name", "theirs")
    model = model_of(options, bfm09)
    assert start(model, options, tmp_path / "mine").epoch == 21
    assert model.optimizers[0].state_dict()["state"]
    # Then it has its own, which come first.
    save_training(tmp_path / "mine" / "epoch_20.pth", model, options, Progress(epoch=3, step=9))
    assert start(model, options, tmp_path / "mine") == Progress(epoch=3, step=9)


def test_an_optimiser_over_other_parameters_is_refused(tmp_path: Path, bfm09: FaceModel):
    public = PublicTraining()
    public.epochs(1)
    options = training_options()
    broken = public.checkpoint()
    first = broken["opt_00"]["state"]
    first[0], first[1] = first[1], first[0]
    other = PublicTraining("resnet34")
    cases: list[tuple[Any, str]] = [
        (
            broken["opt_00"],
            r"its optimiser's exp_avg of parameter 0 is \(64,\) where .* \(64, 3, 7, 7\)",
        ),
        (other.optimizer.state_dict(), r"its optimiser has 122 parameters, that of this run 74"),
        ({"state": {}}, "its optimiser's state lacks 'param_groups'"),
        ("text", "its optimiser's state is malformed"),
    ]
    for state, message in cases:
        path = tmp_path / "epoch_1.pth"
        write(path, {**public.checkpoint(), "opt_00": state}, zipped=True)
        with pytest.raises(InputError, match=rf"epoch_1\.pth: {message}.*--pretrained_name"):
            resume_training(path, model_of(options, bfm09), options)
    write(path, {**public.checkpoint(), "sched_00": [1, 2]}, zipped=True)
    with pytest.raises(InputError, match=r"epoch_1\.pth: its schedule is a list"):
        resume_training(path, model_of(options, bfm09), options)


# Ours, read by the public code


@pytest.mark.parametrize("policy", ["linear", "step"])
def test_ours_load_in_the_public_way(tmp_path: Path, bfm09: FaceModel, policy: str):
    """`torch.load`, then `load_state_dict` of network, optimiser and schedule."""
    options = training_options("--lr_policy", policy)
    model = model_of(options, bfm09)
    for epoch in range(2):
        give_gradients(model.net_recon, epoch)
        model.optimizers[0].step()
        model.end_epoch(None)
    path = tmp_path / "epoch_2.pth"
    save_training(path, model, options, Progress(epoch=3, step=2))

    state = torch.load(path, map_location="cpu")
    public = PublicTraining()
    if policy == "linear":
        public.schedule = lr_scheduler.LambdaLR(public.optimizer, lambda e: 1 - max(0, e - 19) / 21)
    public.net.load_state_dict(state["net_recon"])
    public.optimizer.load_state_dict(state["opt_00"])
    public.schedule.load_state_dict(state["sched_00"])
    assert public.schedule.last_epoch == 2
    public.step(5)
    give_gradients(model.net_recon, 5)
    model.optimizers[0].step()
    for name, tensor in model.net_recon.state_dict().items():
        assert torch.equal(public.net.state_dict()[name], tensor), name


# ImageNet weights


@pytest.mark.parametrize("zipped", [True, False], ids=["zip", "pickle"])
def test_imagenet_file_under_its_default_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, zipped: bool
):
    monkeypatch.chdir(tmp_path)
    options = ReconstructionNetOptions()
    state = random_state(imagenet_entries("resnet50"))
    assert state["fc.weight"].shape == (1000, 2048)
    write(Path(options.init_path), state, zipped=zipped)
    weights, message = read_initial_weights(options)
    assert weights is not None and message == f"backbone from {Path(options.init_path)}"
    net = create_reconstruction_net(options, ParameterLayout.for_sizes(), weights)
    for name, tensor in net.backbone.state_dict().items():
        assert torch.equal(tensor, state[name]), name
    assert not any(head.weight.any() for head in net.final_layers)  # type: ignore


# Wrong files


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"<!DOCTYPE html><html><body>Sign in</body></html>", r"web page.*browser"),
        (b"\xef\xbb\xbf\n <HTML>", r"web page"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:1\n", r"LFS pointer.*git lfs"),
        (b"\x1f\x8b\x08\x00" + bytes(99), r"gzip archive.*unpack"),
        (b"\x89HDF\r\n\x1a\n" + bytes(99), r"HDF5"),
    ],
)
def test_what_is_no_pytorch_file_is_named(tmp_path: Path, content: bytes, message: str):
    path = tmp_path / "epoch_20.pth"
    path.write_bytes(content)
    with pytest.raises(InputError, match=rf"epoch_20\.pth: not a PyTorch file but .*{message}"):
        load_checkpoint(path)


def test_tar_files_of_pytorch_0_1_are_named(tmp_path: Path):
    path = tmp_path / "epoch_20.pth"
    with tarfile.open(path, "w") as archive:
        for name in ("storages", "tensors", "pickle"):
            member = tarfile.TarInfo(name)
            member.size = 4
            archive.addfile(member, io.BytesIO(b"\x80\x02N."))
    with pytest.raises(InputError, match=r"epoch_20\.pth: a tar file; PyTorch 0\.1 .*save it once"):
        load_tensors(path)
    path.write_bytes(old_tar("sys_info") + bytes(1024))
    with pytest.raises(InputError, match=r"epoch_20\.pth: a tar file; PyTorch 0\.1 .*save it once"):
        load_tensors(path)


def test_a_recognition_network_is_no_checkpoint(tmp_path: Path):
    path = write(tmp_path / "epoch_20.pth", {"conv1.weight": torch.ones(1)}, zipped=True)
    with pytest.raises(InputError, match=r"no entry net_recon \(found: conv1\.weight\)"):
        load_checkpoint(path)
