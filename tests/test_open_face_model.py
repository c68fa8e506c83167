"""The committed open face model: geometry, bases, landmarks and colours, read with numpy alone."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import cast

import numpy as np
import pytest
import torch
from scipy.ndimage import label
from scipy.sparse import csr_matrix

from models.camera import Camera
from models.face_model import FaceModel
from models.renderer import rasterize

MODEL_FILE = Path(__file__).parents[1] / "BFM" / "open_face_model.npz"
# How an iBUG index changes under mirroring.
# fmt: off
MIRROR_68 = np.array(
    [*range(16, -1, -1), *range(26, 16, -1), 27, 28, 29, 30, 35, 34, 33, 32, 31,
     45, 44, 43, 42, 47, 46, 39, 38, 37, 36, 41, 40,
     54, 53, 52, 51, 50, 49, 48, 59, 58, 57, 56, 55, 64, 63, 62, 61, 60, 67, 66, 65]
)
# fmt: on
MIRROR = np.array([-1.0, 1.0, 1.0])


@pytest.fixture(scope="module")
def model() -> dict[str, np.ndarray]:
    with np.load(MODEL_FILE, allow_pickle=False) as archive:
        return {key: archive[key] for key in archive.files}


@pytest.fixture(scope="module")
def subdivision(model) -> csr_matrix:
    return csr_matrix(
        (model["subdivision_data"], model["subdivision_indices"], model["subdivision_indptr"]),
        shape=(len(model["mean_albedo"]), len(model["control_mean_shape"])),
    )


@pytest.fixture(scope="module")
def mean(model, subdivision) -> np.ndarray:
    return subdivision @ model["control_mean_shape"].astype(np.float64)


@pytest.fixture(scope="module")
def bases(model, subdivision) -> dict[str, np.ndarray]:
    def finer(name: str) -> np.ndarray:
        control = model[name].astype(np.float64)
        flat = subdivision @ control.reshape(len(control), -1)
        return flat.reshape(-1, *control.shape[1:])

    return {
        "identity": finer("control_identity_basis"),
        "expression": finer("control_expression_basis"),
        "albedo": model["albedo_basis_int8"] * model["albedo_scale"].astype(np.float64),
    }


def landmarks(model: dict[str, np.ndarray], vertices: np.ndarray) -> np.ndarray:
    corners = vertices[model["landmark_vertices"]]
    return np.einsum("lk,lkd->ld", model["landmark_barycentrics"], corners)


def unit(model: dict[str, np.ndarray], bases: dict[str, np.ndarray], *names: str) -> np.ndarray:
    known = list(model["unit_names"])
    coefficients = sum(model["unit_matrix"][known.index(name)] for name in names)
    return bases["expression"] @ coefficients


def vertex_normals(vertices: np.ndarray, triangles: np.ndarray) -> np.ndarray:
    a, b, c = (vertices[triangles[:, i]] for i in range(3))
    faces = np.cross(b - a, c - a)
    normals = np.zeros_like(vertices)
    for i in range(3):
        np.add.at(normals, triangles[:, i], faces)
    return normals / np.linalg.norm(normals, axis=1, keepdims=True)


def test_file_is_small_and_finite(model):
    assert MODEL_FILE.stat().st_size <= 12 * 2**20
    for key, value in model.items():
        if value.dtype.kind == "f":
            assert np.isfinite(value).all(), key


def test_sizes_agree(model):
    vertices, control = len(model["mean_albedo"]), len(model["control_mean_shape"])
    assert 9_000 < model["face_vertices"] < 12_000 < vertices < 16_000
    assert model["control_identity_basis"].shape == (control, 3, 80)
    assert model["control_expression_basis"].shape == (control, 3, 64)
    assert model["albedo_basis_int8"].shape == (vertices, 3, 80)
    assert model["unit_matrix"].shape == (len(model["unit_names"]), 64) == (52, 64)
    assert model["skin_mask"].shape == (vertices,)
    assert model["uv"].shape == (model["uv_triangles"].max() + 1, 2)
    assert model["uv_triangles"].shape == model["triangles"].shape
    assert model["triangles"].min() == 0
    assert model["triangles"].max() == vertices - 1
    regions = [value for key, value in model.items() if key.startswith("region_")]
    assert len(regions) >= 10
    assert all(region.shape == (vertices,) and region.any() for region in regions)


def test_subdivision_is_a_partition_of_unity(subdivision):
    np.testing.assert_allclose(np.asarray(subdivision.sum(axis=1)).ravel(), 1, atol=2e-6)
    # Every control point is needed by some vertex.
    assert (abs(subdivision).sum(axis=0) > 0).all()


def test_mean_face_is_mirror_symmetric(model, mean):
    twin = model["mirror_vertices"]
    np.testing.assert_array_equal(twin[twin], np.arange(len(twin)))
    np.testing.assert_allclose(mean[twin] * MIRROR, mean, atol=1e-5)
    np.testing.assert_allclose(
        model["mean_albedo"][twin].astype(float), model["mean_albedo"].astype(float), atol=1e-3
    )


def test_triangles_are_mirror_symmetric(model):
    twin = model["mirror_vertices"]
    as_sets = {frozenset(t) for t in model["triangles"].tolist()}
    assert as_sets == {frozenset(t) for t in twin[model["triangles"]].tolist()}


def test_landmarks_are_mirror_symmetric_and_in_ibug_order(model, mean):
    points = landmarks(model, mean)
    np.testing.assert_allclose(points[MIRROR_68] * MIRROR, points, atol=1e-5)
    assert (points[36:42, 0] < 0).all()  # the person's right eye is at the image's left
    assert (points[42:48, 0] > 0).all()
    assert points[30, 2] == points[:, 2].max()  # the tip of the nose is the foremost
    assert points[8, 1] == points[:, 1].min()
    assert points[48, 0] < points[51, 0] < points[54, 0]
    # The jaw's points descend evenly enough: none sits on top of its neighbour.
    steps = np.linalg.norm(np.diff(points[:17], axis=0), axis=1)
    assert steps.max() < 2.2 * steps.min()
    np.testing.assert_allclose(model["landmark_barycentrics"].sum(axis=1), 1, atol=1e-6)
    assert (model["landmark_barycentrics"] >= 0).all()


def test_alignment_points_follow_from_the_landmarks(model, mean):
    points = landmarks(model, mean)
    expected = np.stack(
        [
            points[[36, 39]].mean(axis=0),
            points[[42, 45]].mean(axis=0),
            points[30],
            points[48],
            points[54],
        ]
    )
    np.testing.assert_allclose(model["alignment_points"], expected, atol=1e-5)
    np.testing.assert_allclose(model["alignment_points"].mean(axis=0), [0, -0.046, 0.25], atol=0.01)


def test_scale_is_human(model, mean):
    points = landmarks(model, mean)
    eye_centres = np.linalg.norm(model["alignment_points"][1] - model["alignment_points"][0])
    assert 0.56 < eye_centres < 0.70  # 56 to 70 mm
    assert 1.2 < points[16, 0] - points[0, 0] < 1.6
    assert 0.9 < points[27, 1] - points[8, 1] < 1.3


def test_normals_point_outwards(model, mean):
    normals = vertex_normals(mean, model["triangles"])
    points = landmarks(model, mean)
    nose = np.linalg.norm(mean - points[30], axis=1) < 0.05
    assert (normals[nose, 2] > 0.2).all()
    face = int(model["face_vertices"])
    skin = (model["skin_mask"] > 0) & (np.arange(len(mean)) < face)
    outward = mean - np.array([0, points[30, 1], mean[:face, 2].min() - 0.3])
    assert ((normals * outward).sum(axis=1)[skin] > 0).mean() > 0.97
    for side in ("left", "right"):
        eye = model[f"region_eye_{side}"]
        centre = mean[eye].mean(axis=0) - [0, 0, 0.3]
        assert ((normals[eye] * (mean[eye] - centre)).sum(axis=1) > 0).all()


def test_triangles_are_sound(model, mean):
    triangles = model["triangles"]
    a, b, c = (mean[triangles[:, i]] for i in range(3))
    area = np.linalg.norm(np.cross(b - a, c - a), axis=1) / 2
    assert area.min() > 1e-8
    directed = np.concatenate([triangles[:, [0, 1]], triangles[:, [1, 2]], triangles[:, [2, 0]]])
    # A manifold with one orientation: each directed edge once, each edge at most twice.
    assert len(np.unique(directed, axis=0)) == len(directed)
    edges = np.unique(np.sort(directed, axis=1), axis=0)
    assert np.bincount(edges.ravel()).max() <= 8
    assert np.bincount(triangles.ravel()).max() <= 8
    assert np.bincount(triangles.ravel()).min() >= 1


def test_front_triangles_are_a_subset_without_border_and_cavities(model):
    all_triangles = {tuple(t) for t in model["triangles"].tolist()}
    assert all(tuple(t) in all_triangles for t in model["front_triangles"].tolist())
    assert not model["region_border"][model["front_triangles"]].any()
    assert len(model["front_triangles"]) > 0.6 * model["face_triangles"]


def test_skin_mask_leaves_out_what_is_not_skin(model):
    skin = model["skin_mask"] > 0
    assert set(np.unique(model["skin_mask"])) == {0.0, 1.0}
    assert 0.3 < skin.mean() < 0.9
    for name in ("lips", "brows", "eyeballs", "mouth_cavity", "lid_cavity", "border", "nostrils"):
        assert not (skin & model[f"region_{name}"]).any(), name


def test_nostrils_are_the_two_hollows_below_the_nose(model, mean):
    nostrils = mean[model["region_nostrils"]]
    points = landmarks(model, mean)
    base, wing = points[33], points[35]
    assert (nostrils[:, 1] > base[1]).all()  # and so above the mouth
    assert (nostrils[:, 1] < points[30, 1]).all()
    for side in (-1, 1):
        one = nostrils[side * nostrils[:, 0] > 0]
        assert len(one) == len(nostrils) / 2
        assert (np.abs(one[:, 0]) > 0.3 * wing[0]).all() and (np.abs(one[:, 0]) < wing[0]).all()
        assert np.ptp(one[:, 0]) < 0.06
    assert not (model["region_nostrils"] & model["region_mouth_cavity"]).any()


def test_coefficients_mean_the_same_as_in_version_2_4():
    """Checkpoints name this hash: landmarks and regions may change, shapes and colours not."""
    reader = importlib.import_module("util.model_files.face_model_file")
    assert reader.read_face_model(MODEL_FILE).card.fingerprint == "bbe292453d94e9c7"


@pytest.mark.parametrize("name", ["identity", "expression", "albedo"])
def test_components_have_a_parity(model, bases, name):
    basis, twin = bases[name], model["mirror_vertices"]
    flip = MIRROR if name != "albedo" else np.ones(3)
    mirrored = basis[twin] * flip[:, None]
    difference = np.abs(mirrored - model[f"{name}_parity"] * basis).max(axis=(0, 1))
    assert (difference <= 0.02 * np.abs(basis).max(axis=(0, 1)) + 1e-4).all()


def test_identity_coefficients_have_unit_scale(model, bases, mean):
    """Random people differ by as much as real heads: millimetres, and a head-size spread of 5 %."""
    for key in ("identity_sigma", "expression_sigma", "albedo_sigma"):
        np.testing.assert_array_equal(model[key], 1)
    rms_mm = 100 * np.sqrt((bases["identity"] ** 2).sum(axis=(1, 2)).mean())
    assert 2 < rms_mm < 8
    people = np.random.default_rng(0).normal(size=(200, 80))
    ear_vertices = model["landmark_vertices"][[0, 16], 0]
    ears = mean[ear_vertices] + np.einsum("vdk,pk->pvd", bases["identity"][ear_vertices], people)
    width = np.linalg.norm(ears[:, 1] - ears[:, 0], axis=1)
    assert 0.02 < width.std() / width.mean() < 0.09
    # The components are sorted by how much they move the face.
    strength = (bases["identity"] ** 2).sum(axis=(0, 1))
    assert strength[:10].sum() > strength[-10:].sum() * 20


def test_expression_units_move_what_they_name(model, bases, mean):
    points = landmarks(model, mean)

    def moved(*names: str) -> np.ndarray:
        return landmarks(model, mean + unit(model, bases, *names)) - points

    assert moved("jawOpen")[8, 1] < -0.08
    assert moved("jawOpen")[66, 1] < -0.08
    assert np.abs(moved("jawOpen")[36:48]).max() < 0.01
    smile = moved("mouthSmileLeft", "mouthSmileRight")
    assert smile[48, 0] < -0.02
    assert smile[54, 0] > 0.02
    assert moved("browInnerUp")[21, 1] > 0.02
    assert np.abs(moved("eyeBlinkLeft")[36:42]).max() < 0.01  # the other eye stays
    assert not moved("tongueOut").any()


def test_blink_closes_the_eye(model, bases, mean):
    def gap(vertices: np.ndarray) -> float:
        points = landmarks(model, vertices)
        return float((points[[43, 44], 1] - points[[47, 46], 1]).mean())

    closed = mean + unit(model, bases, "eyeBlinkLeft", "eyeBlinkRight")
    assert gap(closed) < 0.2 * gap(mean)
    assert abs(gap(closed)) < 0.02


def test_looking_sideways_turns_the_eyeball_rigidly(model, bases, mean):
    eye = model["region_eye_left"]
    looking = mean + unit(model, bases, "eyeLookOutLeft")
    pupil_moves = (looking - mean)[model["region_pupil"] & eye].mean(axis=0)
    assert pupil_moves[0] > 0.02  # towards the person's left
    scale = [np.linalg.norm(v[eye] - v[eye].mean(axis=0), axis=1) for v in (mean, looking)]
    np.testing.assert_allclose(scale[1], scale[0], rtol=0.12, atol=2e-3)


def test_mirrored_units_are_mirror_images(model, bases):
    twin = model["mirror_vertices"]
    for name in model["unit_names"]:
        if not name.endswith("Left"):
            continue
        left = unit(model, bases, str(name))
        right = unit(model, bases, f"{name.removesuffix('Left')}Right")
        np.testing.assert_allclose(left[twin] * MIRROR, right, atol=2e-3, err_msg=str(name))


def test_colours_are_a_face(model, bases):
    mean = model["mean_albedo"].astype(float)
    assert 0 <= mean.min() <= mean.max() <= 1
    skin = mean[model["skin_mask"] > 0].mean(axis=0)
    assert skin[0] > skin[1] > skin[2]
    lightness = {
        name: mean[model[f"region_{name}"]].mean()
        for name in ("sclera", "iris", "pupil", "brows", "lips")
    }
    assert lightness["pupil"] < lightness["iris"] < lightness["brows"] < skin.mean()
    # The lids shade most of the eyeballs; what shows is the lighter part.
    shown = np.quantile(mean[model["region_sclera"]].mean(axis=1), 0.8)
    assert shown > skin.mean()
    lips = mean[model["region_lips"]].mean(axis=0)
    assert lips[0] / lips[1] > skin[0] / skin[1]  # redder than the skin
    # Random colours stay in range but for a few values.
    people = np.random.default_rng(0).normal(size=(40, 80))
    colours = mean + np.einsum("vdk,pk->pvd", bases["albedo"], people)
    assert ((colours < 0) | (colours > 1)).mean() < 0.02
    assert 0.03 < colours[:, model["skin_mask"] > 0].mean(axis=1).std(axis=0).mean() < 0.2


def test_the_programs_reader_accepts_the_file(model, mean):
    reader = importlib.import_module("util.model_files.face_model_file")
    data = reader.read_face_model(MODEL_FILE)
    np.testing.assert_allclose(data.mean_shape, mean[: model["face_vertices"]], atol=1e-5)
    assert data.name == "open"
    assert data.licence == "CC0-1.0"
    assert data.unit_names == tuple(model["unit_names"].tolist())


@pytest.mark.parametrize("level", [0, 1, 2])
def test_no_triangle_of_the_layout_is_turned_over(level):
    reader = importlib.import_module("util.model_files.face_model_file")
    data = reader.read_face_model(MODEL_FILE, level, "head")
    a, b, c = (data.uv[data.uv_triangles[:, i]].astype(float) for i in range(3))
    across, along = b - a, c - a
    assert (across[:, 0] * along[:, 1] - across[:, 1] * along[:, 0]).min() > 0


def test_eyes_have_human_sizes_and_look_between_the_lids(model, mean):
    points = landmarks(model, mean)
    for side, upper, lower in (("right", (37, 38), (40, 41)), ("left", (43, 44), (46, 47))):
        eye = model[f"region_eye_{side}"]
        pupil = mean[model["region_pupil"] & eye]
        iris = mean[(model["region_iris"] | model["region_pupil"]) & eye]
        assert 0.03 < np.ptp(pupil[:, 0]) < 0.05
        assert 0.11 < np.ptp(iris[:, 0]) < 0.125
        # The pupil is wholly to be seen, and a little above the middle of the opening.
        above, below = (points[list(slots), 1].mean() for slots in (upper, lower))
        assert below < pupil[:, 1].min() < pupil[:, 1].max() < above
        assert 0 < pupil[:, 1].mean() - (above + below) / 2 < 0.015


def test_lids_cover_the_eye_when_blinking(model, mean, bases):
    """From the front, no part of an eyeball is nearer to the camera than the closed lids."""
    shape = mean + unit(model, bases, "eyeBlinkLeft", "eyeBlinkRight")
    points = landmarks(model, shape)
    for slots in (slice(36, 42), slice(42, 48)):
        opened = np.ptp(landmarks(model, mean)[slots, 1])
        assert np.ptp(points[slots, 1]) < 0.7 * opened  # corners keep their height
    assert seen_share(model, shape) < 0.02 < seen_share(model, mean)


def seen_share(model: dict[str, np.ndarray], shape: np.ndarray) -> float:
    """Share of the picture between the eyes' corners that shows eyeballs, seen from the front."""
    torch = pytest.importorskip("torch")
    from models.renderer import rasterize

    points = landmarks(model, shape)
    face = model["triangles"][: model["face_triangles"]].astype(np.int32)
    shown, total = 0, 0
    for outer, inner in ((36, 39), (45, 42)):
        centre = (points[outer] + points[inner]) / 2
        half = 0.7 * np.linalg.norm(points[outer] - points[inner])
        clip = np.concatenate([(shape - centre) / half, np.ones((len(shape), 1))], axis=1)
        clip[:, 2] *= -0.1
        drawn = rasterize(torch.from_numpy(clip[None]).float(), torch.from_numpy(face), (128, 128))
        ids = drawn.triangle_id.numpy()
        on_eye = model["region_eyeballs"][face[ids[ids >= 0]]].all(axis=1)
        shown, total = shown + int(on_eye.sum()), total + ids.size
    return shown / total


def test_eyeballs_stay_behind_the_skin_of_a_laugh(open_face_model: FaceModel):
    """Of 60 random people, whose cheeks rise to below their eyes: eyeballs show between the lids,
    two pieces in all, and of two people at most anywhere else."""
    names, laugh = open_face_model.unit_names, torch.zeros(52)
    for name, strength in {"mouthSmile": 0.85, "cheekSquint": 0.6, "eyeSquint": 0.45}.items():
        for side in ("Left", "Right"):
            laugh[names.index(name + side)] = strength
    expression = (laugh @ open_face_model.unit_matrix)[None]
    draw = torch.Generator().manual_seed(0)
    eyes = open_face_model.regions["eyeballs"][open_face_model.triangles.long()].all(dim=1)
    camera = Camera.rnet()
    strays = 0
    for _ in range(60):
        shape = open_face_model.shape(torch.randn(1, 80, generator=draw), expression)
        clip = camera.clip(camera.from_object(shape))
        seen = rasterize(clip, open_face_model.triangles, (448, 448)).triangle_id[0].long()
        found = label(((seen >= 0) & eyes[seen]).numpy(), np.ones((3, 3)))
        pieces, count = cast(tuple[np.ndarray, int], found)
        strays += int((np.bincount(pieces.ravel(), minlength=count + 1)[1:] >= 15).sum() > 2)
    assert strays <= 2


def test_lids_do_not_cut_through_the_eyeballs(model, mean, bases):
    """In random faces the lids' skin lies outside of the spheres; behind it the cavity may not."""
    people = np.random.default_rng(0).normal(size=(200, 80))
    lids = model["region_lids"]
    for person in people:
        shape = mean + bases["identity"] @ person
        for side in ("left", "right"):
            ball = shape[model[f"region_eye_{side}"]]
            # Sphere: |p|^2 = 2 c.p + (r^2 - |c|^2), linear in c and the bracket.
            system = np.concatenate([2 * ball, np.ones((len(ball), 1))], axis=1)
            solution = np.linalg.lstsq(system, (ball**2).sum(axis=1), rcond=None)[0]
            centre = solution[:3]
            radius = np.sqrt(solution[3] + centre @ centre)
            assert np.linalg.norm(shape[lids] - centre, axis=1).min() > radius - 0.002  # dm
