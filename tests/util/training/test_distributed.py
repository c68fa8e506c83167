"""Two processes: what they tell each other, and that their step is that of one."""

from __future__ import annotations

import pickle
from pathlib import Path

import pytest
import torch
from torch import nn

from models.batch_norm import SharedBatchNorm, synchronise_batch_norms
from models.face_model import FaceModelData
from models.networks.reconstruction import RECONSTRUCTION_NETS
from tests.tiny_net import TinyBackbone
from tests.train_processes import ended, start, two_places
from tests.util.training.training_step import step_of, step_together
from util.errors import InputError, PeerLost
from util.training.distributed import ALONE, WHOLE, Place, Ranks, Share, joined
from util.training.launch import run_processes


def test_messages_of_two_processes(tmp_path: Path, capfd: pytest.CaptureFixture[str]):
    script = Path(__file__).with_name("two_processes.py")
    run_processes([str(script), "messages", str(tmp_path)], 2)
    assert capfd.readouterr().out == "heard from 0\n"  # the other one prints nothing


def test_the_step_of_two_processes_is_that_of_one(
    tmp_path: Path, tiny_face_data: FaceModelData, monkeypatch: pytest.MonkeyPatch
):
    """With frozen statistics, and with those of the whole batch."""
    monkeypatch.setitem(RECONSTRUCTION_NETS, "resnet18", TinyBackbone)  # pyright: ignore
    (tmp_path / "tiny.pickle").write_bytes(pickle.dumps(tiny_face_data))
    with two_places() as places:
        processes = [
            start(step_together, folder=tmp_path, name=f"rank{rank}", environment=place)
            for rank, place in enumerate(places)
        ]
        codes = [ended(process) for process in processes]
    assert codes == [0, 0], (tmp_path / "rank0.err").read_text("utf-8")
    for frozen in (True, False):
        alone = step_of(tmp_path / "tiny.pickle", frozen, ALONE, slice(0, 3))
        two = torch.load(tmp_path / f"frozen_{frozen}.pt")
        assert set(alone["losses"]) == {"all", "feat", "color", "lm", "reg", "gamma", "reflc"}
        for part in ("losses", "gradients", "statistics"):
            assert alone[part].keys() == two[part].keys()
            for name, expected in alone[part].items():
                scale = float(expected.detach().abs().max())
                assert scale > 0 or part == "statistics", name
                torch.testing.assert_close(
                    two[part][name],
                    expected,
                    rtol=1e-4,
                    atol=2e-5 * scale,
                    msg=lambda text, what=f"{name}, frozen {frozen}": f"{what}: {text}",
                )


def test_alone_nothing_is_sent():
    values = torch.ones(3, requires_grad=True)
    assert ALONE.sum(values) is values
    assert (
        ALONE.gather(values) == ALONE.gather_to_first(values) == [values]
        and ALONE.first(2.5) == 2.5
    )
    assert ALONE.all(True) and not ALONE.all(False) and ALONE.is_first
    assert Share.of(ALONE, 7) is WHOLE and WHOLE.faces == 1
    with joined(None, torch.device("cpu")) as ranks:
        assert ranks is ALONE
    with joined(Place(0, 1), torch.device("cpu")) as ranks:  # torchrun with one process
        assert ranks is ALONE


@pytest.mark.parametrize("kind", [nn.BatchNorm1d, nn.BatchNorm2d])
@pytest.mark.parametrize("momentum", [0.1, None])
def test_shared_batch_norm_alone_is_torchs_own(kind: type[nn.Module], momentum: float | None):
    shape = (6, 4) if kind is nn.BatchNorm1d else (6, 4, 5, 5)
    torch.manual_seed(0)
    own = nn.Sequential(kind(4, momentum=momentum))
    nn.init.uniform_(own[0].get_parameter("weight"))
    nn.init.uniform_(own[0].get_parameter("bias"))
    shared = nn.Sequential(kind(4, momentum=momentum))
    shared.load_state_dict(own.state_dict())
    parameters = dict(shared.named_parameters())
    synchronise_batch_norms(shared, Ranks())
    assert isinstance(shared[0], SharedBatchNorm)
    # The same tensors under the same names: optimisers and checkpoints notice nothing.
    assert all(value is parameters[name] for name, value in shared.named_parameters())
    for training in (True, True, False):
        own.train(training)
        shared.train(training)
        x = 100 + torch.randn(shape)  # a mean far above the deviation
        results = []
        for net in (own, shared):
            inputs = x.clone().requires_grad_()
            output = net(inputs)
            (output * torch.linspace(-1, 1, output.numel()).view(shape)).sum().backward()
            results.append((output, inputs.grad))
        torch.testing.assert_close(results[0], results[1], rtol=1e-4, atol=1e-4)
        for name, value in own.state_dict().items():
            torch.testing.assert_close(shared.state_dict()[name], value, rtol=1e-5, atol=1e-5)
    for a, b in zip(own.parameters(), shared.parameters(), strict=True):
        torch.testing.assert_close(a.grad, b.grad, rtol=1e-3, atol=1e-3)


def test_places_come_from_the_environment(monkeypatch: pytest.MonkeyPatch):
    for name in ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE"):
        monkeypatch.delenv(name, raising=False)
    assert Place.from_environment() is None
    monkeypatch.setenv("RANK", "5")
    assert Place.from_environment() is None
    monkeypatch.setenv("WORLD_SIZE", "8")
    assert Place.from_environment() == Place(5, 8, 0, 1)
    monkeypatch.setenv("LOCAL_RANK", "1")
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "4")
    assert Place.from_environment() == Place(5, 8, 1, 4)
    monkeypatch.setenv("WORLD_SIZE", "5")
    with pytest.raises(InputError, match="RANK is 5 and WORLD_SIZE 5"):
        Place.from_environment()
    monkeypatch.setenv("WORLD_SIZE", "many")
    with pytest.raises(InputError, match="many"):
        Place.from_environment()


@pytest.mark.parametrize(
    "text",
    [
        "[pair.cc:553] Connection closed by peer [127.0.0.1]:21390. This is typically caused by",
        "[pair.cc:537] Read error [127.0.0.1]:17817: Connection reset by peer.",
        "[tcp/pair.cc] Write error: Broken pipe",
        "[tcp/pair.cc:501] Socket closed [127.0.0.1]:21390",
        "Timed out waiting 1800000ms for recv operation to complete",
        "The client socket has timed out after 1800000ms while trying to connect to (host, 1)",
        "NCCL error: remote process exited or there was a network error, ncclRemoteError",
        "NCCL communicator was aborted on rank 1.",
    ],
)
def test_a_lost_process_is_told_as_such(text: str, monkeypatch: pytest.MonkeyPatch):
    def fail(*_: object, **__: object) -> None:
        raise RuntimeError(text)

    monkeypatch.setattr(torch.distributed, "all_reduce", fail)
    with pytest.raises(PeerLost, match="another process of this training ended"):
        Ranks(0, 2).sum(torch.zeros(3))


@pytest.mark.parametrize(
    "text",
    [
        "Invalid scalar type",
        "CUDA out of memory. Tried to allocate 2.00 GiB",
        "The server socket has failed to listen on any local network address. EADDRINUSE",
        "NCCL error: invalid usage (run with NCCL_DEBUG=WARN for details)",
    ],
)
def test_other_failures_keep_their_own_words(text: str, monkeypatch: pytest.MonkeyPatch):
    def fail(*_: object, **__: object) -> None:
        raise RuntimeError(text)

    monkeypatch.setattr(torch.distributed, "all_reduce", fail)
    with pytest.raises(RuntimeError) as error:
        Ranks(0, 2).sum(torch.zeros(3))
    assert type(error.value) is RuntimeError and str(error.value) == text
