"""Face models that the user brings: chosen by name or path, decoded, rendered, trained."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch

from data.synthetic.sampling import FaceSampler
from models.camera import Camera
from models.face_model import FaceModel
from models.renderer import Renderer
from models.stages import reconstruct
from options.face_options import FaceModelOptions
from options.loss_options import TruthOptions
from tests.face_files import (
    flame_arrays,
    flame_embedding,
    plain,
    write_bfm_h5,
    write_embedding,
    write_flame,
    write_ict,
)
from tests.models.test_facerecon_model import make, make_batch
from util import assets
from util.assets import choose_face_model, load_face_model
from util.errors import InputError
from util.model_files import bfm_releases, ict_file
from util.model_files.bfm_releases import BfmRelease
from util.model_files.ict_file import convert_ict

PUBLISHED = (80, 64, 80)
OF_THE_FILE = (83, 66, 81)
"""What `write_bfm_h5` writes."""
RELEASES = (
    BfmRelease("bfm17", "2017", "model2017-1_face12_nomouth.h5", 224, {500: "whole.h5"}),
    BfmRelease("bfm19", "2019", "model2019_face12.h5", 224, {600: "model2019_fullHead.h5"}),
)


def put_ict(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    layout = write_ict(folder / "FaceXModel")
    monkeypatch.setattr(assets, "convert_ict", partial(convert_ict, layout=layout))


def put_flame(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_embedding(folder, flame_embedding(write_flame(folder)))


def put_bfm(folder: Path, monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    pytest.importorskip("h5py")
    write_bfm_h5(folder / RELEASES[number].file)
    monkeypatch.setattr(bfm_releases, "RELEASES", RELEASES)


@dataclass(frozen=True)
class Kind:
    put: Callable[[Path, pytest.MonkeyPatch], None]
    path: str
    """What else names it, below the folder."""
    joints: int = 0
    sizes: tuple[int, int, int] = PUBLISHED
    """Of identity, expression and texture."""


KINDS = {
    "ict": Kind(put_ict, "FaceXModel"),
    "flame": Kind(put_flame, "generic_model.pkl", joints=12),
    "bfm17": Kind(partial(put_bfm, number=0), RELEASES[0].file, sizes=OF_THE_FILE),
    "bfm19": Kind(partial(put_bfm, number=1), RELEASES[1].file, sizes=OF_THE_FILE),
}


def options(folder: Path, name: str) -> FaceModelOptions:
    return FaceModelOptions(face_model=name, bfm_folder=str(folder))


@pytest.mark.parametrize("name", KINDS)
def test_from_files_to_a_training_step(tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch):
    kind = KINDS[name]
    kind.put(tmp_path, monkeypatch)
    face_model, message = choose_face_model(options(tmp_path, name))
    assert face_model.card.name == name and str(tmp_path) in message
    sizes = {block.name: block.size for block in face_model.layout.blocks}
    assert (sizes["identity"], sizes["expression"], sizes["texture"]) == kind.sizes
    assert sizes.get("joints_rad", 0) == kind.joints

    model = make(face_model, TruthOptions(w_truth_shape=1.0, weak_from=0.0))
    batch = make_batch(model, supervised=True)
    model.set_progress(0.5)
    model.set_input(batch)
    before = {n: p.detach().clone() for n, p in model.net_recon.named_parameters()}
    model.optimize_parameters()
    assert all(bool(value.isfinite()) for value in model.losses.values())
    assert {"lm", "color", "reg", "t_shape"} <= set(model.losses)
    heads = {n for n, p in model.net_recon.named_parameters() if not torch.equal(p, before[n])}
    # Every block learns, the joints too.
    assert {n for n in heads if n.endswith("weight") and "final_layers" in n} == {
        f"final_layers.{k}.weight" for k in range(8 if kind.joints else 7)
    }


@pytest.mark.parametrize("name", KINDS)
def test_a_path_is_the_same_model(tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch):
    kind = KINDS[name]
    kind.put(tmp_path, monkeypatch)
    named = load_face_model(options(tmp_path, name))
    by_path = load_face_model(options(Path("nowhere"), str(tmp_path / kind.path)))
    if name != "bfm19":  # its small stand-in has as many vertices as that of 2017
        assert by_path.card == named.card


@pytest.mark.parametrize("name", KINDS)
def test_missing_files_are_named_with_their_publisher(tmp_path: Path, name: str):
    pattern = {
        "ict": r"FaceXModel.*github\.com/ICT-VGL/ICT-FaceKit",
        "flame": r"generic_model\.pkl.*flame\.is\.tue\.mpg\.de",
        "bfm17": r"model2017-1_face12_nomouth\.h5.*faces\.dmi\.unibas\.ch",
        "bfm19": r"model2019_face12\.h5.*faces\.dmi\.unibas\.ch",
    }[name]
    with pytest.raises(InputError, match=rf"face.model {name}: .*{pattern}"):
        load_face_model(options(tmp_path, name))


def test_ict_is_converted_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    put_ict(tmp_path, monkeypatch)
    first = load_face_model(options(tmp_path, "ict"))
    made = tmp_path / "ict_face_model.npz"
    content = made.read_bytes()
    assert "ICT-FaceKit from" in capsys.readouterr().err
    (tmp_path / "FaceXModel" / "jawOpen.obj").unlink()  # not needed any more
    assert load_face_model(options(tmp_path, "ict")).card == first.card
    assert load_face_model(FaceModelOptions(face_model=str(made))).card == first.card
    assert made.read_bytes() == content and capsys.readouterr().err == ""
    made.write_bytes(content[:100])
    with pytest.raises(InputError, match=r"remove it to have it made again of .*FaceXModel"):
        load_face_model(options(tmp_path, "ict"))


@pytest.mark.parametrize("change", ["donor", "converter", "older program"])
def test_a_stale_ict_is_made_again(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    change: str,
):
    put_ict(tmp_path, monkeypatch)
    _, fresh = choose_face_model(options(tmp_path, "ict"))
    made = tmp_path / "ict_face_model.npz"
    if change == "converter":
        monkeypatch.setattr(ict_file, "CONVERTER_VERSION", 10**6)
    elif change == "donor":  # even one whose coefficients mean the same
        donor = assets._donor()
        donor = replace(donor, skin_mask=1 - donor.skin_mask)
        monkeypatch.setattr(assets, "_donor", lambda: donor)
    else:
        with np.load(made) as arrays:
            content = {k: v for k, v in arrays.items() if k not in ("made_of", "fingerprint")}
        np.savez(made, **content)
    stale = made.read_bytes()
    meshes = (tmp_path / "FaceXModel").rename(tmp_path / "elsewhere")
    capsys.readouterr()
    _, message = choose_face_model(options(tmp_path, "ict"))
    assert "for another version of the open model or of this program" in message
    assert made.read_bytes() == stale
    meshes.rename(tmp_path / "FaceXModel")
    _, message = choose_face_model(options(tmp_path, "ict"))
    assert message == fresh and "ICT-FaceKit from" in capsys.readouterr().err
    assert made.read_bytes() != stale
    choose_face_model(options(tmp_path, "ict"))
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("by_path", [False, True])
@pytest.mark.parametrize("name", KINDS)
def test_the_region_head_is_refused(
    tmp_path: Path, name: str, by_path: bool, monkeypatch: pytest.MonkeyPatch
):
    kind = KINDS[name]
    kind.put(tmp_path, monkeypatch)
    chosen = str(tmp_path / kind.path) if by_path else name
    wanted = replace(options(tmp_path, chosen), face_region="head")
    with pytest.raises(InputError, match=rf"--face_region head: face model {chosen} has no reg"):
        choose_face_model(wanted)


def test_regions_belong_to_native_files_whatever_their_ending(tmp_path: Path):
    np.savez(tmp_path / "flame.npz", **plain(flame_arrays()))
    wanted = FaceModelOptions(face_model=str(tmp_path / "flame.npz"), face_region="head")
    with pytest.raises(InputError, match=r"head: face model .*flame\.npz has no regions"):
        choose_face_model(wanted)
    native = tmp_path / "MINE.NPZ"
    native.write_bytes(assets.OPEN_FACE_MODEL.read_bytes())
    head = choose_face_model(replace(wanted, face_model=str(native)))[0]
    face = choose_face_model(FaceModelOptions(face_model=str(native)))[0]
    assert head.vertex_count > face.vertex_count
    with pytest.raises(InputError, match="--face_model bfm2030 is unknown"):
        choose_face_model(replace(wanted, face_model="bfm2030"))


def test_a_relative_of_the_wanted_file_is_named(tmp_path: Path):
    (tmp_path / "model2019_fullHead.h5").write_bytes(b"")
    with pytest.raises(InputError, match=r"model2019_fullHead\.h5, which is there, shows more"):
        load_face_model(options(tmp_path, "bfm19"))


def test_flame_npz_is_told_from_native_files(tmp_path: Path):
    arrays = flame_arrays()
    np.savez(tmp_path / "mine.npz", **plain(arrays))
    write_embedding(tmp_path, flame_embedding(arrays))
    path = str(tmp_path / "mine.npz")
    assert load_face_model(FaceModelOptions(face_model=path)).card.name == "flame"


def test_a_folder_of_something_else_is_named(tmp_path: Path):
    with pytest.raises(InputError, match=r"needs FaceXModel/generic_neutral_mesh\.obj"):
        load_face_model(FaceModelOptions(face_model=str(tmp_path)))


@pytest.fixture
def flame(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FaceModel:
    put_flame(tmp_path, monkeypatch)
    return load_face_model(options(tmp_path, "flame"))


def test_random_faces_move_the_jaw_but_not_the_neck(flame: FaceModel):
    camera = Camera.rnet()
    flat = torch.from_numpy(FaceSampler(flame).sample(0, range(8)).coefficients)
    joints = flame.layout.split(flat).joints_rad
    assert joints is not None
    assert not joints[:, :3].any() and (joints[:, 3] > 0).all() and joints[:, 6:].any()
    rendered = reconstruct(flame, Renderer("torch"), camera, flame.layout.split(flat[:2]))
    assert rendered.rendering.mask.any()


def test_true_joints_are_compared(flame: FaceModel):
    """Faces that differ in the jaw alone differ in the loss."""
    model = make(flame, TruthOptions(w_truth_shape=1.0))
    true = torch.zeros(1, flame.layout.size)
    predicted = true.clone()
    terms = model.truth(flame.layout.split(predicted), true)
    assert float(terms["t_shape"]) == pytest.approx(0, abs=1e-6)
    predicted[:, flame.layout.slices["joints_rad"].start + 3] = 0.3
    assert float(model.truth(flame.layout.split(predicted), true)["t_shape"]) > 0.01
