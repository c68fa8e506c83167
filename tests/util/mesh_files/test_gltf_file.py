"""glTF files: read back by the specification, and by trimesh."""

from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import trimesh
from PIL import Image
from scipy.spatial.transform import Rotation

from tests.conftest import grid_mesh
from tests.glb_reader import Glb
from util.mesh_files.gltf_file import (
    GltfAnimation,
    GltfCamera,
    GltfMesh,
    GltfPose,
    GltfScene,
    MorphTargets,
    encode_targets,
    glb_bytes,
    linear_colours,
    quaternions,
    write_glb,
)


def numbers() -> np.random.Generator:
    return np.random.default_rng(4)


def dome(**given: Any) -> GltfMesh:
    mesh = grid_mesh()
    return GltfMesh(mesh.vertices.numpy(), mesh.triangles.numpy(), **given)


def moving_dome(frames: int = 6) -> GltfScene:
    """Three targets over the dome: everywhere, at a few vertices, nowhere."""
    mesh = dome(colours=numbers().uniform(0, 1, (168, 3)))
    deltas = np.zeros((3, 168, 3))
    deltas[0] = numbers().normal(size=(168, 3)) * 0.02
    deltas[1, [3, 50, 167]] = numbers().normal(size=(3, 3)) * 0.1
    turns = Rotation.from_euler("xyz", numbers().uniform(-1, 1, (frames, 3)))
    return GltfScene(
        mesh,
        MorphTargets(("jawOpen", "eyeBlinkLeft", "tongueOut"), deltas),
        GltfAnimation(
            times_s=np.arange(frames) / 25,
            weights=numbers().uniform(0, 1, (frames, 3)),
            translations_dm=numbers().normal(size=(frames, 3)),
            rotations=turns.as_matrix(),
        ),
        GltfCamera(np.array([[900.0, 0, 300], [0, 910, 260], [0, 0, 1]]), (640, 480), 10.0),
        extras={"face_model": {"name": "größe"}},
    )


def png(colour: tuple[int, int, int] = (200, 100, 50)) -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (8, 4), colour).save(file, "PNG")
    return file.getvalue()


SCENES: dict[str, Callable[[], GltfScene]] = {
    "mesh alone": lambda: GltfScene(dome()),
    "normals": lambda: GltfScene(dome(normals=numbers().normal(size=(168, 3)) * 7)),
    "colours": lambda: GltfScene(dome(colours=numbers().uniform(-0.5, 1.5, (168, 3)))),
    "texture": lambda: GltfScene(dome(uv=numbers().uniform(0, 1, (168, 2)), texture_png=png())),
    "everything moves": moving_dome,
    "one frame": lambda: moving_dome(1),
    "camera alone": lambda: replace(moving_dome(), targets=None, animation=None),
}


@pytest.mark.parametrize("name", SCENES)
def test_files_are_valid(name: str):
    Glb.parse(glb_bytes(SCENES[name]())).check()


@pytest.mark.parametrize("length", range(4))
def test_parts_are_padded_to_four_bytes(length: int):
    """JSON by spaces, whatever its length, and whatever lies before and behind an odd image."""
    mesh = dome(uv=np.zeros((168, 2)), texture_png=png() + b"x" * length)
    scene = GltfScene(mesh, extras={"filled": "y" * length})
    glb = Glb.parse(glb_bytes(scene))
    glb.check()
    assert glb.view(glb.json["images"][0]["bufferView"]) == mesh.texture_png


def test_decimetres_become_metres_in_the_same_frame():
    scene = GltfScene(dome())
    glb = Glb.parse(glb_bytes(scene))
    np.testing.assert_allclose(glb.vertices() * 10, scene.mesh.vertices_dm, atol=1e-6)
    np.testing.assert_array_equal(glb.triangles, scene.mesh.triangles)


def test_movement_is_that_of_the_formula():
    """Rotation (base + weights * deltas) + translation, at the frames and halfway."""
    scene = moving_dome()
    glb = Glb.parse(glb_bytes(scene))
    mesh, targets, motion = scene.mesh, scene.targets, scene.animation
    assert targets is not None and motion is not None
    assert motion.weights is not None and motion.translations_dm is not None
    assert motion.rotations is not None

    def posed(weights: np.ndarray, rotation: np.ndarray, shift: np.ndarray) -> np.ndarray:
        shape = mesh.vertices_dm + np.einsum("t,tvc->vc", weights, targets.deltas_dm)
        return 0.1 * (shape @ rotation.T + shift)

    for k, time in enumerate(motion.times_s):
        exact = posed(motion.weights[k], motion.rotations[k], motion.translations_dm[k])
        np.testing.assert_allclose(glb.vertices(time), exact, atol=2e-7)
    turns = Rotation.from_matrix(motion.rotations)
    for k in range(5):
        half = (turns[k + 1] * turns[k].inv()).as_rotvec() / 2
        exact = posed(
            motion.weights[k : k + 2].mean(axis=0),
            (Rotation.from_rotvec(half) * turns[k]).as_matrix(),
            motion.translations_dm[k : k + 2].mean(axis=0),
        )
        np.testing.assert_allclose(glb.vertices((k + 0.5) / 25), exact, atol=5e-7)


def test_a_viewer_that_stands_still_shows_the_first_frame():
    glb = Glb.parse(glb_bytes(moving_dome()))
    np.testing.assert_allclose(glb.vertices(None), glb.vertices(0.0), atol=1e-7)


def test_weights_without_animation():
    deltas = np.ones((2, 168, 3))
    scene = GltfScene(dome(), MorphTargets(("a", "b"), deltas, np.array([0.25, 0.5])))
    still = Glb.parse(glb_bytes(scene)).vertices()
    np.testing.assert_allclose(still * 10, scene.mesh.vertices_dm + 0.75, atol=1e-6)
    off = Glb.parse(glb_bytes(GltfScene(dome(), MorphTargets(("a", "b"), deltas))))
    np.testing.assert_allclose(off.vertices() * 10, scene.mesh.vertices_dm, atol=1e-6)


def test_targets_take_the_smaller_form():
    glb = Glb.parse(glb_bytes(moving_dome()))
    assert glb.target_names == ["jawOpen", "eyeBlinkLeft", "tongueOut"]
    forms = [glb.json["accessors"][t["POSITION"]] for t in glb.primitive["targets"]]
    assert "sparse" not in forms[0]
    assert forms[1]["sparse"]["count"] == 3 and "bufferView" not in forms[1]
    # Some readers fail on a target without any element.
    assert forms[2]["sparse"]["count"] == 1
    np.testing.assert_array_equal(glb.targets[2], 0)
    assert forms[2]["min"] == forms[2]["max"] == [0, 0, 0]


@pytest.mark.parametrize("negligible_mm", [0.01, 0.5])
def test_what_targets_leave_out_is_below_the_threshold(negligible_mm: float):
    """Half the vertices hardly move: left out where they move by less, exact elsewhere."""
    deltas = numbers().normal(size=(1, 168, 3)) * np.geomspace(1e-6, 1e-1, 168)[:, None]
    targets = MorphTargets(("a",), deltas, negligible_mm=negligible_mm)
    stored = Glb.parse(glb_bytes(GltfScene(dome(), targets))).targets * 10
    small = np.linalg.norm(deltas, axis=2) < negligible_mm / 100
    assert 0.2 < small.mean() < 0.9
    np.testing.assert_array_equal(stored[small], 0)
    np.testing.assert_allclose(stored[~small], deltas[~small], rtol=1e-6)


def test_targets_that_were_encoded_before_give_the_same_file():
    """To the byte, whatever lies before them: other targets, an odd image, or nothing."""
    moved = moving_dome().targets
    assert moved is not None
    for length in range(4):
        mesh = dome(uv=np.zeros((168, 2)), texture_png=png() + b"x" * length)
        anew = GltfScene(mesh, moved)
        alone = GltfScene(mesh, common_targets=encode_targets(moved, 168))
        assert glb_bytes(anew) == glb_bytes(alone)
        own = MorphTargets(("photo",), moved.deltas_dm[1:2], np.ones(1))
        both = MorphTargets(
            ("photo", *moved.names),
            np.concatenate([own.deltas_dm, moved.deltas_dm]),
            np.array([1.0, 0, 0, 0]),
        )
        divided = GltfScene(mesh, own, common_targets=encode_targets(moved, 168))
        assert glb_bytes(divided) == glb_bytes(GltfScene(mesh, both))


def test_encoded_targets_of_another_mesh_are_refused():
    other = encode_targets(MorphTargets(("a",), np.ones((1, 167, 3))), 167)
    with pytest.raises(ValueError, match="167 vertices, the mesh has 168"):
        glb_bytes(GltfScene(dome(), common_targets=other))
    same = encode_targets(MorphTargets(("jawOpen",), np.ones((1, 168, 3))), 168)
    with pytest.raises(ValueError, match="names of morph targets"):
        glb_bytes(replace(moving_dome(), animation=None, common_targets=same))


def test_bounds_of_sparse_targets_count_the_zeros():
    """All that moves goes one way: the vertices that stay lie outside of it."""
    deltas = np.zeros((1, 168, 3))
    deltas[0, 5] = [0.1, -0.2, 0.3]
    glb = Glb.parse(glb_bytes(GltfScene(dome(), MorphTargets(("a",), deltas))))
    accessor = glb.json["accessors"][glb.primitive["targets"][0]["POSITION"]]
    np.testing.assert_allclose(accessor["min"], [0, -0.02, 0], atol=1e-7)
    np.testing.assert_allclose(accessor["max"], [0.01, 0, 0.03], atol=1e-7)


@pytest.mark.parametrize(("vertices", "component_type"), [(65535, 5123), (65536, 5125)])
def test_indices_have_16_bits_where_they_fit(vertices: int, component_type: int):
    mesh = GltfMesh(
        numbers().normal(size=(vertices, 3)), np.array([[0, 1, 2], [vertices - 1, 0, 1]])
    )
    deltas = np.zeros((1, vertices, 3))
    deltas[0, -1] = 1
    glb = Glb.parse(glb_bytes(GltfScene(mesh, MorphTargets(("a",), deltas))))
    glb.check()
    assert glb.json["accessors"][glb.primitive["indices"]]["componentType"] == component_type
    sparse = glb.json["accessors"][glb.primitive["targets"][0]["POSITION"]]["sparse"]
    assert sparse["indices"]["componentType"] == component_type
    np.testing.assert_array_equal(glb.triangles, mesh.triangles)
    np.testing.assert_allclose(glb.targets[0, -1], 0.1, rtol=1e-6)


def test_colours_are_linear_light():
    """Against the formula of the standard, one number after the other; clipped, opaque."""
    colours = np.concatenate([np.linspace(-0.1, 1.1, 165), [0.04045, 0.04046, 0.5]])
    mesh = dome(colours=np.stack([colours, colours[::-1], 0 * colours], axis=1))
    stored = Glb.parse(glb_bytes(GltfScene(mesh))).attribute("COLOR_0")

    def linear(value: float) -> float:
        value = min(max(value, 0.0), 1.0)
        return value / 12.92 if value <= 0.04045 else ((value + 0.055) / 1.055) ** 2.4

    expected = [round(65535 * linear(value)) for value in colours.astype(np.float32)]
    assert np.abs(stored[:, 0].astype(int) - expected).max() <= 1
    np.testing.assert_array_equal(stored[:, 0], stored[::-1, 1])
    assert (stored[:, 2] == 0).all() and (stored[:, 3] == 65535).all()
    assert linear_colours(np.array(0.5)) == pytest.approx(0.21404114)


def test_colours_keep_their_eight_bits():
    levels = np.arange(256) / 255
    linear = np.rint(65535 * linear_colours(levels)) / 65535
    encoded = np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055)
    np.testing.assert_array_equal(np.rint(255 * encoded), np.arange(256))


def test_texture_coordinates_begin_at_the_top():
    uv = numbers().uniform(0, 1, (168, 2))
    glb = Glb.parse(glb_bytes(GltfScene(dome(uv=uv, texture_png=png()))))
    np.testing.assert_allclose(glb.attribute("TEXCOORD_0"), [[u, 1 - v] for u, v in uv], atol=1e-6)
    surface = glb.json["materials"][0]["pbrMetallicRoughness"]
    image = glb.json["images"][glb.json["textures"][surface["baseColorTexture"]["index"]]["source"]]
    assert image["mimeType"] == "image/png"
    assert glb.view(image["bufferView"]) == png()


def test_seams_divide_vertices():
    """Each corner of each triangle keeps its place, its target, its colour and its coordinate."""
    triangles = grid_mesh().triangles.numpy()
    uv = numbers().uniform(0, 1, (200, 2))
    uv_triangles = triangles.copy()
    uv_triangles[:60] = (uv_triangles[:60] + 32) % 200  # another island
    deltas = numbers().normal(size=(1, 168, 3)) * (np.arange(168) < 20)[:, None]
    colours = numbers().uniform(0, 1, (168, 3))
    mesh = dome(uv=uv, uv_triangles=uv_triangles, colours=colours)
    glb = Glb.parse(glb_bytes(GltfScene(mesh, MorphTargets(("a",), deltas))))
    glb.check()
    assert 168 < len(glb.attribute("POSITION")) < 168 + 180
    corners = glb.triangles
    found = glb.attribute("POSITION")[corners] * 10
    np.testing.assert_allclose(found, mesh.vertices_dm[triangles], atol=1e-6)
    np.testing.assert_allclose(glb.targets[0][corners] * 10, deltas[0][triangles], atol=1e-6)
    light = 65535 * linear_colours(colours)[triangles]
    np.testing.assert_allclose(glb.attribute("COLOR_0")[corners][..., :3], light, atol=1)
    flipped = glb.attribute("TEXCOORD_0")[corners] * [1, -1] + [0, 1]
    np.testing.assert_allclose(flipped, uv[uv_triangles], atol=1e-6)


def test_the_material_is_skin_not_metal():
    (material,) = Glb.parse(glb_bytes(GltfScene(dome()))).json["materials"]
    assert material["doubleSided"] is True
    assert material["pbrMetallicRoughness"] == {"metallicFactor": 0, "roughnessFactor": 1}


def test_lone_vertices_have_a_normal_too():
    normals = np.zeros((168, 3))
    normals[1:] = [0, 3, 4]
    glb = Glb.parse(glb_bytes(GltfScene(dome(normals=normals))))
    glb.check()
    np.testing.assert_allclose(glb.attribute("NORMAL")[1:], [[0, 0.6, 0.8]] * 167, atol=1e-6)


def test_quaternions_turn_alike_and_never_jump():
    """Three turns about a slanted axis, so that the sign changes on the way."""
    axis = np.array([1.0, 2, -1]) / np.sqrt(6)
    exact = Rotation.from_rotvec(axis * np.linspace(0, 6 * np.pi, 90)[:, None])
    found = quaternions(exact.as_matrix())
    points = numbers().normal(size=(90, 3))
    turned = np.stack([_turn(q, p) for q, p in zip(found, points, strict=True)])
    np.testing.assert_allclose(turned, exact.apply(points), atol=1e-12)
    assert ((found[1:] * found[:-1]).sum(axis=1) > 0.9).all()
    assert (found[:, 3] < -0.9).any() and found[0, 3] > 0


def _turn(quaternion: np.ndarray, point: np.ndarray) -> np.ndarray:
    """By the matrix of a quaternion, from the textbook."""
    x, y, z, w = quaternion
    rows = [
        [1 - 2 * (y * y + z * z), 2 * (x * y - z * w), 2 * (x * z + y * w)],
        [2 * (x * y + z * w), 1 - 2 * (x * x + z * z), 2 * (y * z - x * w)],
        [2 * (x * z - y * w), 2 * (y * z + x * w), 1 - 2 * (x * x + y * y)],
    ]
    return np.array(rows) @ point


def test_the_camera_sees_what_the_pinhole_sees():
    """Pixels by the format's projection matrix, where the principal point is the middle."""
    K = np.array([[900.0, 0, 320], [0, 910, 240], [0, 0, 1]])
    scene = GltfScene(dome(), camera=GltfCamera(K, (640, 480), 8.0))
    glb = Glb.parse(glb_bytes(scene))
    node, camera = glb.json["nodes"][1], glb.json["cameras"][0]
    assert glb.json["scenes"][0]["nodes"] == [0, 1] and node["camera"] == 0
    assert "rotation" not in node  # it looks along -z
    x, y, z = (glb.vertices() - node["translation"]).T
    view = camera["perspective"]
    up = 1 / np.tan(view["yfov"] / 2)
    across, height = up / view["aspectRatio"] * x / -z, up * y / -z
    found = np.stack([(across + 1) / 2 * 640, (1 - height) / 2 * 480], axis=1)
    dm = scene.mesh.vertices_dm * [1, -1, -1] + [0, 0, 8]
    pixels = dm @ K.T
    np.testing.assert_allclose(found, pixels[:, :2] / pixels[:, 2:], atol=1e-4)
    assert camera["extras"] == {
        "K": K.tolist(),
        "width": 640,
        "height": 480,
        "picture": [0, 0, 640, 480],
    }
    assert view["znear"] < -z.max()


@pytest.mark.parametrize("middle", [(320, 240), (500, 100), (-40, 700)])
def test_the_picture_lies_in_the_view_where_the_file_says(middle: tuple[int, int]):
    """Also with the principal point aside, or outside the picture."""
    K = np.array([[900.0, 0, middle[0]], [0, 910, middle[1]], [0, 0, 1]])
    glb = Glb.parse(glb_bytes(GltfScene(dome(), camera=GltfCamera(K, (640, 480), 8.0))))
    view, extras = glb.json["cameras"][0]["perspective"], glb.json["cameras"][0]["extras"]
    left, top, width, height = extras["picture"]
    # The view has the pixels of the picture, so that half its height is f tan(yfov / 2) of them.
    view_height = 2 * 910 * np.tan(view["yfov"] / 2)
    view_width = 2 * 900 * np.tan(view["yfov"] / 2) * view["aspectRatio"]
    assert (width, height) == (640, 480)
    assert left >= 0 and left + width <= view_width + 1e-6
    assert top >= 0 and top + height <= view_height + 1e-6
    np.testing.assert_allclose(
        (left + middle[0], top + middle[1]), (view_width / 2, view_height / 2)
    )


def test_a_pose_stands_at_the_node():
    turn = Rotation.from_euler("xyz", (0.3, -0.4, 0.1)).as_matrix()
    shift = np.array([0.2, -0.1, 0.3])
    glb = Glb.parse(glb_bytes(GltfScene(dome(), pose=GltfPose(turn, shift))))
    node = glb.json["nodes"][0]
    np.testing.assert_allclose(node["translation"], 0.1 * shift, rtol=1e-6)
    np.testing.assert_allclose(
        [_turn(node["rotation"], corner) for corner in np.eye(3)], turn.T, atol=1e-6
    )
    with pytest.raises(ValueError, match="rotation of the pose"):
        glb_bytes(GltfScene(dome(), pose=GltfPose(2 * turn, shift)))


def test_extras_are_kept():
    scene = moving_dome()
    assert Glb.parse(glb_bytes(scene)).json["asset"]["extras"] == scene.extras


def test_trimesh_reads_the_same_mesh(tmp_path: Path):
    mesh = dome(colours=numbers().uniform(0, 1, (168, 3)))
    write_glb(tmp_path / "größe.glb", GltfScene(mesh))
    read: Any = trimesh.load(tmp_path / "größe.glb", process=False)
    (found,) = read.geometry.values()
    np.testing.assert_allclose(found.vertices * 10, mesh.vertices_dm, atol=1e-6)
    np.testing.assert_array_equal(found.faces, mesh.triangles)


def test_trimesh_reads_the_same_texture():
    uv = numbers().uniform(0, 1, (168, 2))
    content = glb_bytes(GltfScene(dome(uv=uv, texture_png=png((9, 8, 7)))))
    read: Any = trimesh.load(io.BytesIO(content), file_type="glb", process=False)
    (found,) = read.geometry.values()
    np.testing.assert_allclose(found.visual.uv, uv, atol=1e-6)
    material = found.visual.material
    assert material.baseColorTexture.getpixel((0, 0)) == (9, 8, 7)
    assert material.metallicFactor == 0 and material.roughnessFactor == 1


def test_the_same_scene_is_the_same_file():
    scene = moving_dome()
    assert glb_bytes(scene) == glb_bytes(scene)


def _with(part: str, **changes: Any) -> GltfScene:
    scene = moving_dome()
    return replace(scene, **{part: replace(getattr(scene, part), **changes)})


def _holed(array: np.ndarray, value: float = np.nan) -> np.ndarray:
    array = np.array(array, np.float64)
    array.reshape(-1)[4] = value
    return array


BROKEN: dict[str, tuple[Callable[[], GltfScene], str]] = {
    "vertices": (lambda: _with("mesh", vertices_dm=_holed(dome().vertices_dm)), "vertices_dm"),
    "too large": (lambda: _with("mesh", vertices_dm=_holed(dome().vertices_dm, 1e300)), "vertices"),
    "normals": (lambda: _with("mesh", normals=_holed(np.ones((168, 3)))), "normals holds"),
    "colours": (lambda: _with("mesh", colours=_holed(np.ones((168, 3)), np.inf)), "colours holds"),
    "uv": (lambda: _with("mesh", uv=_holed(np.ones((168, 2)))), "uv holds"),
    "deltas": (
        lambda: _with("targets", deltas_dm=_holed(np.ones((3, 168, 3)))),
        "deltas_dm of jawOpen holds",
    ),
    "rest weights": (lambda: _with("targets", weights=np.full(3, np.inf)), "morph targets holds"),
    "times": (lambda: _with("animation", times_s=_holed(np.arange(6.0))), "times_s holds"),
    "weights": (lambda: _with("animation", weights=_holed(np.ones((6, 3)))), "weights .* holds"),
    "translations": (
        lambda: _with("animation", translations_dm=_holed(np.ones((6, 3)))),
        "translations_dm holds",
    ),
    "rotations": (lambda: _with("animation", rotations=_holed(np.ones((6, 3, 3)))), "rotations"),
    "extras": (lambda: replace(moving_dome(), extras={"x": np.nan}), "JSON"),
    "camera": (lambda: _with("camera", K=np.full((3, 3), np.nan)), "K of the camera"),
    "camera without focal length": (lambda: _with("camera", K=np.zeros((3, 3))), "focal"),
    "camera in the head": (lambda: _with("camera", distance_dm=0.0), "distance"),
    "vertex shape": (lambda: GltfScene(GltfMesh(np.ones((4, 2)), np.array([[0, 1, 2]]))), "vert"),
    "triangle range": (lambda: _with("mesh", triangles=np.array([[0, 1, 168]])), "index the 168"),
    "triangle type": (lambda: _with("mesh", triangles=np.ones((1, 3))), "triangles is float64"),
    "no triangles": (lambda: _with("mesh", triangles=np.zeros((0, 3), int)), "not be empty"),
    "few colours": (lambda: _with("mesh", colours=np.ones((5, 3))), "colours is"),
    "colours and texture": (
        lambda: _with("mesh", uv=np.ones((168, 2)), texture_png=png()),
        "readers multiply",
    ),
    "texture without uv": (
        lambda: _with("mesh", colours=None, texture_png=png()),
        "without uv",
    ),
    "a JPEG": (
        lambda: _with("mesh", colours=None, uv=np.ones((168, 2)), texture_png=b"\xff\xd8\xff"),
        "not the content of a PNG",
    ),
    "other uv triangles": (
        lambda: _with("mesh", uv=np.ones((9, 2)), uv_triangles=np.array([[0, 1, 2]])),
        "uv_triangles is",
    ),
    "names": (lambda: _with("targets", names=("a", "b")), "deltas_dm is .* 2 names"),
    "the same name": (lambda: _with("targets", names=("a", "b", "a")), "once"),
    "no targets": (lambda: _with("targets", names=()), "names"),
    "weights without targets": (lambda: replace(moving_dome(), targets=None), "no morph targets"),
    "few weights": (lambda: _with("animation", weights=np.ones((6, 2))), r"weights .* \(6, 2\)"),
    "frames": (lambda: _with("animation", translations_dm=np.ones((5, 3))), r"\(5, 3\)"),
    "falling times": (lambda: _with("animation", times_s=np.arange(6.0)[::-1]), "rise"),
    "equal times": (lambda: _with("animation", times_s=1e6 + np.arange(6) / 1e3), "rise"),
    "negative times": (lambda: _with("animation", times_s=np.arange(6.0) - 1), "rise"),
    "no frames": (lambda: moving_dome(0), "rise|times"),
    "a mirror": (
        lambda: _with("animation", rotations=np.tile(np.diag([1.0, 1, -1]), (6, 1, 1))),
        "frame 0 is no rotation",
    ),
    "a stretch": (
        lambda: _with(
            "animation", rotations=np.eye(3) * np.array([1, 1, 1, 1, 1.01, 1])[:, None, None]
        ),
        "frame 4 is no rotation",
    ),
    "no movement": (
        lambda: _with("animation", weights=None, translations_dm=None, rotations=None),
        "moves nothing",
    ),
}


@pytest.mark.parametrize("name", BROKEN)
def test_broken_scenes_are_refused_and_the_old_file_stays(tmp_path: Path, name: str):
    broken, message = BROKEN[name]
    path = tmp_path / "a.glb"
    path.write_bytes(b"old")
    with pytest.raises(ValueError, match=rf"a\.glb: .*{message}"):
        write_glb(path, broken())
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_inputs_are_not_changed(tmp_path: Path):
    scene = moving_dome()
    assert scene.animation is not None and scene.animation.rotations is not None
    kept = scene.animation.rotations.copy(), scene.mesh.vertices_dm.copy()
    write_glb(tmp_path / "a.glb", scene)
    np.testing.assert_array_equal(scene.animation.rotations, kept[0])
    np.testing.assert_array_equal(scene.mesh.vertices_dm, kept[1])
