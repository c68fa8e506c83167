"""Checkpoints: atomic, damage found, no code run, the wrong meaning refused."""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
import zipfile
from collections import OrderedDict
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from models.networks.reconstruction import ReconstructionNet
from models.parameters import ParameterLayout
from options.network_options import ReconstructionNetOptions
from util.errors import InputError
from util.training import checkpoint as checkpoint_module
from util.training.checkpoint import (
    FORMAT_VERSION,
    PUBLIC_CARD,
    CheckpointCard,
    check_card,
    load_checkpoint,
    load_network,
    load_tensors,
    read_card,
    save_checkpoint,
    strip_parallel_prefix,
)
from util.training.checkpoint_names import checkpoint_path, list_checkpoints, resolve_checkpoint

ROOT = Path(__file__).resolve().parents[3]
CARD = CheckpointCard(
    net_recon="dlib",
    layout=tuple((block.name, block.size) for block in ParameterLayout.for_sizes().blocks),
    face_model="open",
    face_model_version="1.0",
    face_model_hash="0123456789abcdef",
    landmark_origin="centre",
)


def _state(value: float = 1.0) -> dict[str, Any]:
    return {
        "net_recon": OrderedDict(weight=torch.full((300, 20), value), steps=torch.tensor(7)),
        "opt_00": {"state": {0: {"step": 3, "exp_avg": torch.rand(4)}}, "param_groups": []},
        "sched_00": {"last_epoch": 2, "best": float("inf"), "name": "step"},
        "card": CARD.to_dict(),
        "epoch": 20,
    }


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    path = tmp_path / "netz é" / "epoch_latest.pth"
    save_checkpoint(path, _state())
    return path


class _Bomb:
    """Pickles into a call that leaves a trace."""

    def __init__(self, trace: Path) -> None:
        self.trace = trace

    def __reduce__(self):
        return (Path.touch, (self.trace,))


# Round trip


def test_round_trip(saved: Path):
    state, loaded = _state(), load_checkpoint(saved)
    assert loaded.keys() == state.keys()
    assert torch.equal(loaded["net_recon"]["weight"], state["net_recon"]["weight"])
    assert int(loaded["net_recon"]["steps"]) == 7
    assert loaded["opt_00"]["state"][0]["step"] == 3
    assert loaded["sched_00"] == state["sched_00"]
    assert loaded["epoch"] == 20
    assert read_card(loaded, saved) == CARD


def test_training_state_continues_exactly(tmp_path: Path):
    """Network, Adam and scheduler as torch gives them."""

    def make():
        torch.manual_seed(1)
        net = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Linear(4, 2))
        optimizer = torch.optim.Adam(net.parameters(), lr=0.1)
        return net, optimizer, torch.optim.lr_scheduler.StepLR(optimizer, 2)

    def step(net, optimizer, scheduler):
        optimizer.zero_grad()
        net(torch.arange(12.0).reshape(4, 3)).square().sum().backward()
        optimizer.step()
        scheduler.step()

    first, second = make(), make()
    path = checkpoint_path(tmp_path, 1)
    for _ in range(3):
        step(*first)
    names = ("net_recon", "opt_00", "sched_00")
    save_checkpoint(path, {n: part.state_dict() for n, part in zip(names, first, strict=True)})
    loaded = load_checkpoint(path)
    load_network(second[0], loaded["net_recon"], path)
    for part, name in zip(second[1:], names[1:], strict=True):
        part.load_state_dict(loaded[name])
    step(*first)
    step(*second)
    for name, tensor in first[0].state_dict().items():
        assert torch.equal(tensor, second[0].state_dict()[name])


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (np.float64(1.0), r"sched_00\.x is a float64"),
        (Path("a"), r"sched_00\.x is a \w*Path"),
        ({1, 2}, r"sched_00\.x is a set"),
        ([torch.tensor([1.0, float("nan")])], r"sched_00\.x\[0\] has numbers that are not finite"),
        (torch.tensor(float("inf")), r"sched_00\.x has numbers that are not finite"),
        ({(1, 2): 3}, r"sched_00\.x has a key of type tuple"),
    ],
)
def test_what_could_not_be_read_back_is_not_written(saved: Path, value: Any, message: str):
    before = saved.read_bytes()
    with pytest.raises(ValueError, match=message):
        save_checkpoint(saved, {**_state(), "sched_00": {"x": value}})
    assert saved.read_bytes() == before


def test_large_finite_numbers_are_not_mistaken_for_infinite(tmp_path: Path):
    path = tmp_path / "epoch_1.pth"
    large = torch.full((4,), 3e38)
    save_checkpoint(path, {"net_recon": {"weight": large}})
    assert torch.equal(load_checkpoint(path)["net_recon"]["weight"], large)


# Interrupted writes


def test_failing_write_leaves_the_old_file(saved: Path, monkeypatch: pytest.MonkeyPatch):
    before = saved.read_bytes()

    def fail(state: Any, file: Any) -> None:
        file.write(before[: len(before) // 2])
        raise OSError("No space left on device")

    monkeypatch.setattr(checkpoint_module.torch, "save", fail)
    with pytest.raises(InputError, match="No space"):
        save_checkpoint(saved, _state(2.0))
    assert saved.read_bytes() == before
    assert list(saved.parent.iterdir()) == [saved]


# Writes half of the second checkpoint, says so, and waits for its end.
_INTERRUPTED = """
import sys, time
from pathlib import Path
import torch
from util.training import checkpoint

path, save = Path(sys.argv[1]), torch.save
checkpoint.save_checkpoint(path, {"net_recon": {"weight": torch.ones(1000)}})

def half(state, file):
    save(state, file)
    file.seek(file.tell() // 2)
    file.truncate()
    file.flush()
    print("half", flush=True)
    time.sleep(60)

torch.save = half
checkpoint.save_checkpoint(path, {"net_recon": {"weight": torch.zeros(1000)}})
"""


def test_killed_process_leaves_the_old_file(tmp_path: Path):
    path = tmp_path / "epoch_latest.pth"
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    with subprocess.Popen(
        [sys.executable, "-c", _INTERRUPTED, str(path)],
        stdout=subprocess.PIPE,
        env=environment,
        text=True,
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline().strip() == "half"
        process.kill()
    assert len(list(tmp_path.iterdir())) == 2
    assert torch.equal(load_checkpoint(path)["net_recon"]["weight"], torch.ones(1000))
    assert list_checkpoints(tmp_path) == ["latest"]
    save_checkpoint(path, _state(3.0))
    assert load_checkpoint(path)["net_recon"]["weight"][0, 0] == 3.0


# Damaged files


@pytest.mark.parametrize("fraction", [0.0, 0.001, 0.1, 0.5, 0.9, 0.999])
def test_truncated_files_are_refused(saved: Path, fraction: float):
    content = saved.read_bytes()
    saved.write_bytes(content[: int(fraction * len(content))])
    with pytest.raises(InputError, match=r"netz é.epoch_latest\.pth: damaged"):
        load_checkpoint(saved)


def test_changed_bytes_are_found_or_harmless(saved: Path):
    content, expected = saved.read_bytes(), load_checkpoint(saved)
    found = 0
    for position in range(0, len(content), len(content) // 60):
        changed = bytearray(content)
        changed[position] ^= 0xFF
        saved.write_bytes(changed)
        try:
            loaded = load_checkpoint(saved)
        except InputError:
            found += 1
            continue
        assert loaded.keys() == expected.keys()
        assert torch.equal(loaded["net_recon"]["weight"], expected["net_recon"]["weight"])
    assert found > 40


@pytest.mark.parametrize(
    "content",
    [b"\x80\x04garbage", b"not a checkpoint at all", b"PK\x03\x04" + bytes(300), b"\x89PNG"],
)
def test_other_files_are_refused(tmp_path: Path, content: bytes):
    path = tmp_path / "epoch_1.pth"
    path.write_bytes(content)
    with pytest.raises(InputError, match=r"epoch_1\.pth: damaged or not a PyTorch file"):
        load_checkpoint(path)


@pytest.mark.parametrize("zipped", [True, False])
def test_code_is_not_executed(tmp_path: Path, zipped: bool):
    path, trace = tmp_path / "epoch_1.pth", tmp_path / "executed"
    bomb = {"net_recon": {"weight": torch.ones(2), "bomb": _Bomb(trace)}}
    torch.save(bomb, path, _use_new_zipfile_serialization=zipped)
    with pytest.raises(InputError, match=r"epoch_1\.pth: contains Python objects"):
        load_checkpoint(path)
    assert not trace.exists()
    torch.load(path, weights_only=False)
    assert trace.exists(), "the bomb itself does not work, so the test shows nothing"


def test_plain_pickles_are_not_executed(tmp_path: Path):
    path, trace = tmp_path / "epoch_1.pth", tmp_path / "executed"
    path.write_bytes(pickle.dumps({"net_recon": _Bomb(trace)}))
    with pytest.raises(InputError):
        load_checkpoint(path)
    assert not trace.exists()


def test_missing_file_and_other_contents(tmp_path: Path):
    with pytest.raises(InputError, match=r"epoch_1\.pth: no such file"):
        load_checkpoint(tmp_path / "epoch_1.pth")
    path = tmp_path / "list.pth"
    torch.save([torch.ones(2)], path)
    with pytest.raises(InputError, match=r"list\.pth: holds a list"):
        load_tensors(path)
    torch.save({"model": {}, "epoch": 3}, path)
    with pytest.raises(InputError, match=r"no entry net_recon \(found: model, epoch\)"):
        load_checkpoint(path)
    torch.save({1: torch.ones(1)}, path)
    with pytest.raises(InputError, match="not names"):
        load_tensors(path)


# Networks


def test_network_must_fit(tmp_path: Path):
    net, path = nn.Linear(3, 2), tmp_path / "x.pth"
    before = {name: tensor.clone() for name, tensor in net.state_dict().items()}
    weight, bias = torch.ones(2, 3), torch.ones(2)
    for state, message in [
        ({"weight": weight}, "missing bias"),
        ({"weight": weight, "bias": bias, "extra": bias, "more": bias}, "unknown extra, more"),
        ({"weight": torch.ones(2, 4), "bias": bias}, r"weight is \(2, 4\) where .* \(2, 3\)"),
        ({"weight": weight, "bias": "text"}, "bias is str"),
        ({"weight": weight * float("nan"), "bias": bias}, "weight has numbers that are not"),
    ]:
        with pytest.raises(InputError, match=rf"x\.pth.*{message}"):
            load_network(net, state, path)
        assert all(torch.equal(tensor, before[name]) for name, tensor in net.state_dict().items())
    load_network(net, {"weight": weight, "bias": bias}, path)
    assert torch.equal(net.weight, weight)


def test_another_architecture_is_named_shortly(tmp_path: Path):
    options = (ReconstructionNetOptions("resnet18"), ReconstructionNetOptions("dlib"))
    resnet, dlib = (ReconstructionNet(o, ParameterLayout.for_sizes()) for o in options)
    with pytest.raises(InputError, match=r"missing .* and .* more; unknown") as caught:
        load_network(dlib, resnet.state_dict(), tmp_path / "epoch_1.pth")
    assert len(str(caught.value)) < 500


def test_old_files_lack_batch_counters(tmp_path: Path):
    norm = nn.BatchNorm1d(2)
    state = {n: t for n, t in norm.state_dict().items() if n != "num_batches_tracked"}
    holder = nn.Sequential(norm)
    load_network(holder, {f"0.{name}": t + 1 for name, t in state.items()}, tmp_path / "x.pth")
    assert torch.equal(norm.running_mean, torch.ones(2))  # type: ignore[arg-type]


def test_prefix_of_parallel_training_is_removed(tmp_path: Path):
    path = tmp_path / "epoch_20.pth"
    weight = torch.ones(2, 3)
    torch.save({"net_recon": {"module.backbone.weight": weight}, "opt_00": {}}, path)
    assert list(load_checkpoint(path)["net_recon"]) == ["backbone.weight"]
    mixed = {"module.a": weight, "b": weight}
    assert strip_parallel_prefix(mixed) == mixed


# Cards


def test_public_checkpoint_means_bfm09(tmp_path: Path):
    options = ReconstructionNetOptions()
    for name, last in (("resnet50", False), ("resnet18", False), ("resnet34", True)):
        net = ReconstructionNet(
            replace(options, net_recon=name, use_last_fc=last), ParameterLayout.for_sizes()
        )
        card = read_card({"net_recon": net.state_dict()}, tmp_path)
        assert (card.net_recon, card.use_last_fc) == (name, last)
        assert (card.face_model, card.landmark_origin) == ("bfm09", "index")
        assert card.layout == PUBLIC_CARD.layout
    assert dict(PUBLIC_CARD.layout) == {
        "identity": 80,
        "expression": 64,
        "texture": 80,
        "angles_rad": 3,
        "gamma": 27,
        "translation_dm": 3,
    }


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"net_recon": "resnet50"},
            r"network is resnet50.*for dlib; give --net_recon resnet50",
        ),
        ({"use_last_fc": True}, r"with one last linear layer.*--use_last_fc True"),
        ({"face_model": "bfm09"}, r"face model bfm09 .*uses open .*--face_model bfm09"),
        ({"face_model_hash": "ffff"}, r"open \(1\.0, ffff\).*open \(1\.0, 0123456789ab\)"),
        (
            {"layout": (("identity", 100),)},
            r"open \(.*with the coefficients identity:100, this run uses open \(.*with "
            r"identity:80 expression:64",
        ),
    ],
)
def test_another_meaning_is_refused(change: dict[str, Any], message: str):
    with pytest.raises(InputError, match=rf"epoch_9\.pth: .*{message}"):
        check_card(replace(CARD, **change), CARD, "epoch_9.pth")


def test_same_meaning_passes():
    check_card(CARD, CARD, "x")
    check_card(replace(CARD, face_model_hash=""), CARD, "x")
    check_card(replace(CARD, landmark_origin="index", face_model_version="1.1"), CARD, "x")


@pytest.mark.parametrize(
    ("card", "message"),
    [
        ({**CARD.to_dict(), "format_version": FORMAT_VERSION + 1}, "update the program"),
        ({k: v for k, v in CARD.to_dict().items() if k != "face_model"}, "lacks 'face_model'"),
        ({**CARD.to_dict(), "layout": 3}, "malformed"),
        ("text", "malformed"),
        (None, "malformed"),
    ],
)
def test_broken_cards_are_refused(card: Any, message: str):
    with pytest.raises(InputError, match=rf"epoch_9\.pth: .*{message}"):
        read_card({"net_recon": {}, "card": card}, "epoch_9.pth")


# Names


def test_epochs_are_found_and_listed_in_order(tmp_path: Path):
    for epoch in ("20", "3", "latest", "iter_5000"):
        checkpoint_path(tmp_path, epoch).touch()
    (tmp_path / "loss_log.txt").touch()
    (tmp_path / "epoch_7.pth").mkdir()
    assert list_checkpoints(tmp_path) == ["3", "20", "iter_5000", "latest"]
    assert resolve_checkpoint(tmp_path, "20").name == "epoch_20.pth"
    assert resolve_checkpoint(tmp_path, "iter_5000").is_file()
    with pytest.raises(InputError, match=r"--epoch 7: .*has --epoch 3, 20, iter_5000, latest"):
        resolve_checkpoint(tmp_path, "7")


def test_missing_folder_and_empty_folder(tmp_path: Path):
    with pytest.raises(InputError, match=r"no folder .*--name"):
        resolve_checkpoint(tmp_path / "nothing", "latest")
    with pytest.raises(InputError, match="train first"):
        resolve_checkpoint(tmp_path, "latest")


def test_what_a_damaged_file_lacks_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    whole, part = tmp_path / "epoch_1.pth", tmp_path / "epoch_2.pth"
    save_checkpoint(whole, {"net_recon": {"w": torch.zeros(9), "v": torch.ones(4)}})
    with zipfile.ZipFile(whole) as archive, zipfile.ZipFile(part, "w") as copy:
        for name in archive.namelist():
            if not name.endswith("data/1"):
                copy.writestr(name, archive.read(name))
    with pytest.raises(InputError, match=r"epoch_2\.pth: damaged .*data/1: file not found"):
        load_checkpoint(part)

    def lack(*_: object, **__: object) -> None:
        raise KeyError("storage 7")

    monkeypatch.setattr(torch, "load", lack)
    with pytest.raises(InputError, match=r"it refers to 'storage 7', which it does not hold"):
        load_checkpoint(whole)
