"""Public SynergyNet weights: names and shapes listed anew, the same outputs, bad files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from models.synergy.morphable import SynergyFace
from models.synergy.network import SynergyNetwork
from options.face_options import FaceModelOptions
from tests.ddfa_folder import make_ddfa_folder
from util.errors import InputError
from util.synergy.ddfa_files import read_morphable_folder
from util.synergy.synergy_checkpoint import FaceFiles, load_synergy, own_name, save_public_synergy

ROWS = 3 * 224


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_ddfa_folder(tmp_path_factory.mktemp("ddfa") / "data", count=8) / "3dmm_data"


@pytest.fixture(scope="module")
def network(folder: Path) -> SynergyNetwork:
    torch.manual_seed(0)
    found = read_morphable_folder(folder)
    return SynergyNetwork(SynergyFace(found.arrays), found.whitening, public=True).eval()


@pytest.fixture
def public(tmp_path: Path, network: SynergyNetwork) -> Path:
    save_public_synergy(tmp_path / "best.pth.tar", network, epoch=80)
    return tmp_path / "best.pth.tar"


def norm(name: str, size: int) -> dict[str, tuple[int, ...]]:
    fields = ("weight", "bias", "running_mean", "running_var")
    return {f"{name}.{field}": (size,) for field in fields} | {f"{name}.num_batches_tracked": ()}


def published() -> dict[str, tuple[int, ...]]:
    """Names and shapes of best.pth.tar in its order, from the published layers."""
    names: dict[str, tuple[int, ...]] = {
        **{"param_mean": (102,), "param_std": (102,), "w_shp": (ROWS, 40), "u": (ROWS, 1)},
        **{"w_exp": (ROWS, 10), "u_base": (204, 1), "w_shp_base": (204, 40)},
        "w_exp_base": (204, 10),
    }
    root = "I2P.backbone.features"
    names |= {f"{root}.0.0.weight": (32, 3, 3, 3)} | norm(f"{root}.0.1", 32)
    table = [(1, 16, 1), (6, 24, 2), (6, 32, 3), (6, 64, 4), (6, 96, 3), (6, 160, 3), (6, 320, 1)]
    inputs, block = 32, 0
    for expansion, outputs, repeats in table:
        for _ in range(repeats):
            block += 1
            wide, name, k = inputs * expansion, f"{root}.{block}.conv", 0
            if expansion > 1:
                names |= {f"{name}.0.0.weight": (wide, inputs, 1, 1)} | norm(f"{name}.0.1", wide)
                k = 1
            names |= {f"{name}.{k}.0.weight": (wide, 1, 3, 3)} | norm(f"{name}.{k}.1", wide)
            names |= {f"{name}.{k + 1}.weight": (outputs, wide, 1, 1)}
            names |= norm(f"{name}.{k + 2}", outputs)
            inputs = outputs
    names |= {f"{root}.18.0.weight": (1280, 320, 1, 1)} | norm(f"{root}.18.1", 1280)
    for kind, size in (("ori", 12), ("shape", 40), ("exp", 10)):
        name = f"I2P.backbone.classifier_{kind}.1"
        names |= {f"{name}.weight": (size, 1280), f"{name}.bias": (size,)}
    encoder = [(3, 64), (64, 64), (64, 64), (64, 128), (128, 1024)]
    forward = [*encoder, (2418, 512), (512, 256), (256, 128), (128, 3)]
    forward = [(str(number), *pair) for number, pair in enumerate(forward, 1)]
    reverse = [(str(number), *pair) for number, pair in enumerate(encoder, 1)]
    reverse += [("6_1", 1024, 12), ("6_2", 1024, 40), ("6_3", 1024, 10)]
    for part, layers in (("forwardDirection", forward), ("reverseDirection", reverse)):
        for number, i, o in layers:
            name = f"{part}.conv{number}"
            names |= {f"{name}.weight": (o, i, 1), f"{name}.bias": (o,)}
        for number, _, o in layers:
            names |= norm(f"{part}.bn{number}", o)
    return {f"module.{name}": shape for name, shape in names.items()}


def test_names_shapes_and_order_are_the_public_ones(public: Path):
    content = torch.load(public, weights_only=True)
    assert content["epoch"] == 80 and set(content) == {"epoch", "state_dict"}
    found = {name: tuple(value.shape) for name, value in content["state_dict"].items()}
    assert found == published() and list(found) == list(published())
    assert len(found) == 445


def test_every_weight_has_one_name(network: SynergyNetwork):
    names = [name.removeprefix("module.") for name in published()]
    ours = [own for name in names if (own := own_name(name))]
    expected = set(network.state_dict()) - {"whitening_mean", "whitening_std"}
    assert len(ours) == len(set(ours)) and set(ours) == expected
    assert own_name("forwardDirection.conv9.weight") == "refinement.layers.8.conv.weight"
    assert own_name("reverseDirection.bn6_2.bias") == "reverse.heads.1.bn.bias"


def test_public_weights_give_the_same_outputs(public: Path, network: SynergyNetwork):
    loaded, images = load_synergy(public), torch.rand(2, 3, 120, 120)
    assert loaded.public and not loaded.training
    for found, expected in (
        (loaded(images).refined, network(images).refined),
        (loaded(images).reversed, network(images).reversed),
        (loaded.predict(images), network.predict(images)),
    ):
        assert found is not None and expected is not None and torch.equal(found, expected)
    parameters = network.predict(images)
    assert torch.equal(loaded.face.vertices(parameters), network.face.vertices(parameters))
    assert len(loaded.face.triangles) == 0


def test_a_folder_brings_triangles(public: Path, folder: Path, network: SynergyNetwork):
    loaded = load_synergy(public, FaceFiles(folder))
    assert torch.equal(loaded.face.triangles, network.face.triangles)
    assert loaded.face.card.fingerprint == network.face.card.fingerprint


def change(public: Path, **values: Any) -> Path:
    content = torch.load(public, weights_only=True)
    for name, value in values.items():
        if value is None:
            del content["state_dict"][f"module.{name}"]
        else:
            content["state_dict"][f"module.{name}"] = value
    torch.save(content, public)
    return public


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"u_base": None}, "has no u_base"),
        ({"w_exp": torch.zeros(ROWS, 9)}, rf"w_exp is \({ROWS}, 9\), not \({ROWS}, 10\)"),
        ({"u_base": torch.zeros(204, 1) + 0.5}, "u_base has points that u has not"),
        ({"extra": torch.zeros(1)}, "an unknown extra"),
        ({"param_std": torch.zeros(102)}, "standard deviation number 0 is not above 0"),
    ],
)
def test_bad_public_files(public: Path, values: dict[str, Any], words: str):
    with pytest.raises(InputError, match=words):
        load_synergy(change(public, **values))


def test_what_is_no_synergynet(tmp_path: Path):
    torch.save({"net_recon": {}}, tmp_path / "a.pth")
    with pytest.raises(InputError, match=r"holds no SynergyNet \(found: net_recon\)"):
        load_synergy(tmp_path / "a.pth")
    with pytest.raises(InputError, match="no such file"):
        load_synergy(tmp_path / "b.pth", FaceFiles(options=FaceModelOptions()))


def test_another_backbone_has_no_place_there(tmp_path: Path, folder: Path):
    found = read_morphable_folder(folder)
    net = SynergyNetwork(SynergyFace(found.arrays), found.whitening, arch="mobilenet_025")
    with pytest.raises(InputError, match="this network is mobilenet_025"):
        save_public_synergy(tmp_path / "a.pth.tar", net)
