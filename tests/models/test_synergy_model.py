"""SynergyModel: losses with their weights, what trains, what a checkpoint says."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from models.assets import SynergyAssets
from models.batch import FaceBatch
from models.synergy.losses import ParamLoss, WingLoss
from models.synergy.morphable import SynergyFace
from models.synergy.parameters import SynergyLayout, SynergyMeaning
from models.synergy_model import NETWORK, SynergyModel
from options import ParsedOptions
from options.network_options import OptimiserOptions, SynergyOptions
from tests.ddfa_folder import make_ddfa_folder
from util.errors import InputError
from util.synergy.ddfa_files import read_labels, read_morphable_folder

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_ddfa_folder(tmp_path_factory.mktemp("ddfa") / "data", count=6)


def make(
    root: Path, training: OptimiserOptions | None = None, device: torch.device = CPU, **settings
) -> SynergyModel:
    found = read_morphable_folder(root / "3dmm_data")
    assets = SynergyAssets(SynergyFace(found.arrays), found.whitening, SynergyMeaning())
    options = SynergyOptions(**{"arch": "mobilenet_025", **settings})
    groups = [options, training or OptimiserOptions(optimizer="sgd", lr=0.02)]
    return SynergyModel(ParsedOptions(groups), assets, device)


def batch(root: Path) -> FaceBatch:
    labels = torch.from_numpy(read_labels(root / "3dmm_data/param_all_norm_v201.pkl"))
    images = torch.rand(len(labels), 3, 120, 120)
    return FaceBatch(images, tuple("abcdef"), coefficients=labels)


@pytest.mark.parametrize("public", [False, True])
def test_five_losses_with_the_published_weights(root: Path, public: bool):
    model, faces = make(root, public=public), batch(root)
    model.set_input(faces)
    model.evaluate()
    out, label = model.output, faces.coefficients
    assert label is not None and out.reversed is not None and out.refined is not None
    given = model.net.face.landmarks(model.net.whitening.unwhiten(label))
    param, whitened = ParamLoss(SynergyLayout(), public), out.regression.whitened
    expected = {
        "coarse": 0.05 * WingLoss()(out.coarse, given),
        "param": 0.02 * param(whitened, label),
        "refined": 0.05 * WingLoss()(out.refined, given),
        "reverse": 0.02 * param(out.reversed, label, only_face=True),
        "consistency": 0.001 * param(out.reversed, whitened, only_face=True),
    }
    assert expected.keys() == model.losses.keys() - {"all"}
    for name, value in expected.items():
        torch.testing.assert_close(model.losses[name], value)
    torch.testing.assert_close(model.losses["all"], torch.stack([*expected.values()]).sum())


def test_consistency_moves_the_regressor_too(root: Path):
    weights = dict.fromkeys(("w_coarse", "w_refined", "w_param", "w_reverse"), 0.0)
    model = make(root, w_consistency=1.0, **weights)
    model.set_input(batch(root))
    model.train()
    model.forward()
    model.compute_losses()["consistency"].backward()
    head = model.net.regressor.heads[1][1].weight  # pyright: ignore
    assert head.grad is not None and head.grad.abs().max() > 0  # pyright: ignore


def test_steps_lower_the_loss(root: Path):
    model = make(root, OptimiserOptions(optimizer="adamw", lr=1e-3))
    model.set_input(batch(root))
    found = []
    for _ in range(12):
        assert model.optimize_parameters()
        found.append(float(model.losses["all"].detach()))
    assert min(found[-3:]) < 0.8 * found[0]


def test_without_the_cycle_the_regressor_trains_alone(root: Path):
    model = make(root, cycle=False)
    before = {name: value.clone() for name, value in model.net.state_dict().items()}
    model.set_input(batch(root))
    assert model.optimize_parameters()
    assert set(model.losses) == {"all", "coarse", "param"}
    changed = {
        name.split(".")[0]
        for name, value in model.net.state_dict().items()
        if not torch.equal(value, before[name])
    }
    assert changed == {"regressor"}


def test_pictures_show_both_landmarks(root: Path):
    model = make(root)
    model.set_input(batch(root))
    model.evaluate()
    pictures = model.visuals()
    assert pictures.shape == (6, 3, 120, 240)
    blue = (pictures[..., 120:] == torch.tensor([0.0, 0, 1])[:, None, None]).all(dim=1)
    assert blue.sum() > 100


def test_a_checkpoint_says_what_its_numbers_mean(root: Path):
    model = make(root)
    state = model.state()
    record = state["synergy"]
    assert record["sizes"] == [12, 40, 10] and record["arch"] == "mobilenet_025"
    assert record["face_model"]["fingerprint"] == model.net.face.card.fingerprint
    assert torch.equal(state[NETWORK]["whitening_mean"], model.net.whitening_mean)
    assert model.mismatch(state) == ""
    assert "its arch is mobilenet_025, this run has" in make(root, arch="ghostnet").mismatch(state)
    assert "its public is False" in make(root, public=True).mismatch(state)
    other = {**record, "face_model": {**record["face_model"], "fingerprint": "0"}}
    assert "its face_model is 3dmm_data (0)" in model.mismatch({"synergy": other})
    assert "does not say" in model.mismatch({})


def test_the_face_model_is_not_copied_in_each_step(root: Path):
    model = make(root)
    model.set_input(batch(root))
    model.optimize_parameters()
    largest = max(buffer.numel() for buffer in model._kept)
    assert largest < model.net.face.shape_basis.numel()


def test_what_cannot_train_is_refused(root: Path):
    model, faces = make(root), batch(root)
    model.set_input(faces.rows(torch.tensor([0])))
    with pytest.raises(InputError, match="--batch_size"):
        model.optimize_parameters()
    with pytest.raises(InputError, match="needs labels"):
        model.set_input(FaceBatch(faces.images, faces.paths))
    with pytest.raises(ValueError, match="--w_param is -1"):
        SynergyOptions(w_param=-1.0)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_steps_on_a_gpu_are_those_of_the_cpu(root: Path):
    losses = []
    for device in ("cpu", "cuda"):
        torch.manual_seed(0)
        training = OptimiserOptions(optimizer="sgd", lr=1e-3)
        model, faces = make(root, training, torch.device(device)), batch(root)
        steps = []
        for _ in range(3):
            model.set_input(faces)
            assert model.optimize_parameters()
            steps.append(torch.stack(list(model.losses.values())).detach().cpu())
        assert {p.device.type for p in model.net.parameters()} == {device}
        assert model.visuals().device.type == device
        losses.append(torch.stack(steps))
    # The GPU's convolutions round to TF32.
    torch.testing.assert_close(losses[1], losses[0], rtol=0.05, atol=1e-4)
