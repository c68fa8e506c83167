"""Basel Face Models of 2017 and 2019: what becomes of a file, and every wrong one by its name."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from models.camera import Camera
from models.face_model import FaceModel, FaceModelData
from models.renderer import Renderer
from models.stages import reconstruct
from tests.face_files import NAMED_POINTS, write_bfm_h5
from util.errors import InputError
from util.model_files.bfm_h5_file import read_bfm_h5
from util.model_files.bfm_releases import BFM17, BFM19, RELEASES, BfmRelease
from util.model_files.face_transfer import mean_landmarks

h5py = pytest.importorskip("h5py")
SMALL = (
    BfmRelease("bfm17", "2017", "model2017-1_face12_nomouth.h5", 224, {500: "whole.h5"}),
    BfmRelease("bfm19", "2019", "model2019_face12.h5", 225, {600: "model2019_fullHead.h5"}),
)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "model2017-1_face12_nomouth.h5"


def test_it_is_the_file_in_decimetres(path: Path, tiny_face_data: FaceModelData):
    arrays = write_bfm_h5(path)
    data, message = read_bfm_h5(path, tiny_face_data, SMALL)
    assert str(path) in message and f"by {len(NAMED_POINTS)} of its named points" in message
    assert (data.name, data.version) == ("bfm17", "2017")
    model = FaceModel(data)
    # As many as the file has, not the 80, 64 and 80 of the published R-Net.
    sizes = [arrays[f"{part}/model/pcaVariance"].size for part in ("shape", "expression", "color")]
    assert sizes == [83, 66, 81] == [block.size for block in model.layout.blocks[:3]]
    random = np.random.default_rng(0)
    identity, expression, texture = (random.normal(size=(1, k)) for k in sizes)

    def part(name: str, weights: np.ndarray, mean: bool = True) -> np.ndarray:
        basis, variance = (arrays[f"{name}/model/{key}"] for key in ("pcaBasis", "pcaVariance"))
        moved = basis @ (np.sqrt(variance) * weights[0])
        return (moved + (arrays[f"{name}/model/mean"] if mean else 0)).reshape(-1, 3)

    millimetres = part("shape", identity) + part("expression", expression, mean=False)
    shape = model.shape(torch.from_numpy(identity).float(), torch.from_numpy(expression).float())
    shift = shape[0].numpy() - millimetres / 100
    np.testing.assert_allclose(shift, np.broadcast_to(shift[0], shift.shape), atol=1e-5)
    albedo = model.albedo(torch.from_numpy(texture).float())[0].numpy()
    np.testing.assert_allclose(albedo, part("color", texture), atol=1e-5)
    np.testing.assert_allclose(
        data.alignment_points.mean(axis=0), tiny_face_data.alignment_points.mean(axis=0), atol=1e-6
    )


def test_landmarks_are_the_named_points_and_the_others_between(
    path: Path, tiny_face_data: FaceModelData
):
    """The donor has the same face, so that all of them are known."""
    write_bfm_h5(path)
    data, _ = read_bfm_h5(path, tiny_face_data, SMALL)
    expected = mean_landmarks(tiny_face_data)
    found = mean_landmarks(data)
    shift = (found - expected)[30]
    for numbers in NAMED_POINTS.values():
        if len(numbers) == 1:
            np.testing.assert_allclose(found[numbers[0]] - shift, expected[numbers[0]], atol=1e-4)
    assert np.linalg.norm(found - shift - expected, axis=1).max() < 0.03


@pytest.mark.parametrize("form", ["array", "string", "padded string", "padded array"])
def test_the_names_may_be_an_array_or_a_string(
    path: Path, tiny_face_data: FaceModelData, form: str
):
    write_bfm_h5(path)
    if form != "array":
        with h5py.File(path, "a") as file:
            text = file["metadata/landmarks/json"][()].tobytes()
            del file["metadata/landmarks/json"]
            file["metadata/landmarks/json"] = {
                "string": text.decode(),
                "padded string": np.array(text, dtype=f"S{len(text) + 9}"),
                "padded array": np.frombuffer(text + bytes(9), np.uint8),
            }[form]
    read_bfm_h5(path, tiny_face_data, SMALL)


def test_it_renders(path: Path, tiny_face_data: FaceModelData):
    write_bfm_h5(path)
    model = FaceModel(read_bfm_h5(path, tiny_face_data, SMALL)[0])
    coefficients = model.layout.split(0.1 * torch.randn(1, model.layout.size))
    result = reconstruct(model, Renderer("torch"), Camera.rnet(), coefficients)
    assert 0.1 < float(result.face_mask.mean()) <= float(result.rendering.mask.mean()) < 0.9


def test_all_components_say_what_the_model_is(path: Path, tiny_face_data: FaceModelData):
    """The last one too: a file that differs in it alone is another model."""
    arrays = write_bfm_h5(path)
    first = read_bfm_h5(path, tiny_face_data, SMALL)[0].card
    basis = arrays["color/model/pcaBasis"]
    rewrite(path, "color/model/pcaBasis", lambda a: np.concatenate([a[:, :-1], basis[:, :1]], 1))
    second = read_bfm_h5(path, tiny_face_data, SMALL)[0].card
    assert first.fingerprint != second.fingerprint


def rewrite(path: Path, name: str, change: Callable[[Any], Any]) -> None:
    with h5py.File(path, "a") as file:
        value = change(file[name][()])
        del file[name]
        if value is not None:
            file[name] = value


LANDMARKS = "metadata/landmarks/json"
WRONG: dict[str, tuple[str, Callable[[Any], Any], str]] = {
    "lacks": ("color/model/mean", lambda _: None, "lacks color/model/mean"),
    "basis": ("shape/model/pcaBasis", lambda a: a[:-3], "shape/model/pcaBasis is"),
    "variance": ("color/model/pcaVariance", lambda a: -a, "no variances"),
    "cells": ("shape/representer/cells", lambda a: a + 9, "must index its 224 vertices"),
    "colour": ("color/model/mean", lambda a: a[3:], "669 numbers for 224 points"),
    "nan": ("shape/model/mean", lambda a: a * np.nan, "not finite"),
    "text": (LANDMARKS, lambda _: "nothing", "damaged or cut short"),
    "names": (LANDMARKS, lambda _: "[]", "lacks center.nose.tip, right.eye.corner_outer"),
    "list": (LANDMARKS, lambda _: '{"a": 1}', "no Basel Face Model"),
    "another": ("shape/model/mean", lambda a: a[:300], "100 vertices, expected 224 or 225"),
    "head": (
        "shape/model/mean",
        lambda _: np.zeros(1800, np.float32),
        "600 vertices, as model2019_fullHead.h5 has.*cut to it: bfm19 is model2019_face12.h5",
    ),
}


@pytest.mark.parametrize("kind", WRONG)
def test_wrong_contents_are_named(path: Path, tiny_face_data: FaceModelData, kind: str):
    write_bfm_h5(path)
    name, change, reason = WRONG[kind]
    rewrite(path, name, change)
    with pytest.raises(InputError, match=rf"{path.name}.*{reason}.*faces\.dmi\.unibas\.ch"):
        read_bfm_h5(path, tiny_face_data, SMALL, relatives=SMALL)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"<!DOCTYPE html>", "a web page"),
        (b"\x1f\x8b", "a gzip archive"),
        (b"words", "no HDF5 file"),
        (b"\x89HDF\r\n\x1a\n" + bytes(100), "damaged or cut short"),
    ],
)
def test_other_files_are_named(
    path: Path, tiny_face_data: FaceModelData, content: bytes, reason: str
):
    path.write_bytes(content)
    with pytest.raises(InputError, match=rf"{path.name} is {reason}.*{BFM17.file}.*{BFM19.file}"):
        read_bfm_h5(path, tiny_face_data)


def test_a_download_cut_short_is_named(path: Path, tiny_face_data: FaceModelData):
    write_bfm_h5(path)
    path.write_bytes(path.read_bytes()[:-2000])
    with pytest.raises(InputError, match="damaged or cut short"):
        read_bfm_h5(path, tiny_face_data, SMALL)


def test_the_other_years_file_is_named(path: Path, tiny_face_data: FaceModelData):
    write_bfm_h5(path)
    rewrite(path, "shape/model/mean", lambda _: np.zeros(3 * BFM19.vertices, np.float32))
    with pytest.raises(InputError, match=r"is the model of 2019; give --face_model bfm19"):
        read_bfm_h5(path, tiny_face_data, (BFM17,))
    rewrite(path, "shape/model/mean", lambda _: np.zeros(3 * 53149, np.float32))
    with pytest.raises(InputError, match=r"model2017-1_bfm_nomouth\.h5 has"):
        read_bfm_h5(path, tiny_face_data, (BFM17,))


def test_without_h5py_the_extra_is_named(
    path: Path, tiny_face_data: FaceModelData, monkeypatch: pytest.MonkeyPatch
):
    write_bfm_h5(path)
    monkeypatch.setitem(sys.modules, "h5py", None)
    with pytest.raises(InputError, match=r"needs the package h5py.*pip install \.\[bfm\]"):
        read_bfm_h5(path, tiny_face_data, SMALL)


def test_releases_are_told_apart():
    counts = [n for release in RELEASES for n in (release.vertices, *release.others)]
    assert len(set(counts)) == len(counts)
