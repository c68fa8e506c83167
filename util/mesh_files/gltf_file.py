"""Write faces as binary glTF 2.0 (`.glb`): morph targets, their animation, a moving head, a camera.

What browsers, Blender and game engines read as it is. Our object frame is the format's own (x to
the right of the image, y up, the face looks along +z); decimetres become metres, and colours, which
the format wants linear, lose their sRGB encoding. Sections are those of the Khronos specification
2.0.1.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
from scipy.spatial.transform import Rotation

from util.atomic import write_bytes
from util.mesh_files.glb_container import (
    INDEX_BUFFER,
    VERTEX_BUFFER,
    GlbContainer,
    GlbPart,
    smallest_indices,
)

METRES = 0.1
"""Of one decimetre."""
MILLIMETRES = 100
"""Of one decimetre."""
_PNG = b"\x89PNG\r\n\x1a\n"
_LINEAR, _MIPMAPS, _CLAMP_TO_EDGE = 9729, 9987, 33071
_ORTHOGONAL = 1e-3
"""How far R R^T of a rotation may be from 1."""
_FORWARDS = np.array([0, 0, 1], np.float32)
"""The normal of vertices that have none."""


@dataclass(frozen=True)
class GltfMesh:
    """A triangle mesh with the look of skin. V vertices, F triangles."""

    vertices_dm: np.ndarray
    """(V, 3) object frame."""
    triangles: np.ndarray
    """(F, 3) int, counter-clockwise seen from outside."""
    normals: np.ndarray | None = None
    """(V, 3), of any length. Without them the format prescribes flat triangles."""
    colours: np.ndarray | None = None
    """(V, 3) RGB, sRGB-encoded; clipped to [0, 1]."""
    uv: np.ndarray | None = None
    """(U, 2) texture coordinates in [0, 1], origin bottom left, as face models have them."""
    uv_triangles: np.ndarray | None = None
    """(F, 3) the texture coordinates of the triangles' corners; None where coordinate v is that of
    vertex v. The format knows no seams: a vertex with several coordinates becomes several."""
    texture_png: bytes | None = None
    """Content of a PNG file that the texture coordinates lay over the mesh."""
    name: str = "face"


@dataclass(frozen=True)
class MorphTargets:
    """Shapes that are added to a mesh, each as strongly as its weight says. T targets.

    Weights should be in [0, 1], for Blender clips to it what it plays.
    """

    names: tuple[str, ...]
    """What readers call them. Programs that know ARKit's units want their exact names."""
    deltas_dm: np.ndarray
    """(T, V, 3) what a weight of 1 adds to each vertex."""
    weights: np.ndarray | None = None
    """(T,) in a file without animation; None for 0."""
    negligible_mm: float = 0.01
    """Where a target moves a vertex by less, it may leave it out, to be smaller."""


@dataclass(frozen=True)
class EncodedTargets:
    """Morph targets as they lie in a file: encoded once for many faces (`encode_targets`)."""

    names: tuple[str, ...]
    vertex_count: int
    """Of the meshes that they fit."""
    part: GlbPart
    """An accessor for each."""


@dataclass(frozen=True)
class GltfAnimation:
    """Movement over N frames, linear in between; a viewer that stands still shows the first."""

    times_s: np.ndarray
    """(N,) rising, from 0 on."""
    weights: np.ndarray | None = None
    """(N, T) of the morph targets."""
    translations_dm: np.ndarray | None = None
    """(N, 3) of the mesh, after its rotation."""
    rotations: np.ndarray | None = None
    """(N, 3, 3) of the mesh, acting on column vectors."""


@dataclass(frozen=True)
class GltfPose:
    """Where the mesh stands, in a scene without animation."""

    rotation: np.ndarray
    """(3, 3) acting on column vectors."""
    translation_dm: np.ndarray
    """(3,) after the rotation."""


@dataclass(frozen=True)
class GltfCamera:
    """A pinhole (or weak-perspective) camera that stands on the z axis and looks along -z.

    The format has the principal point in the middle of the picture. Where it is elsewhere, the view
    is widened on the nearer sides until it is in the middle; `picture` in the camera's `extras`
    says where in the view the picture then lies (x, y, width, height; its pixels), beside the whole
    K, width and height.
    """

    K: np.ndarray
    """(3, 3) pixels."""
    size_px: tuple[int, int]
    """Width and height of the picture."""
    distance_dm: float
    """From the origin of the object frame."""
    near_dm: float = 1.0
    """Depth of the nearest that is drawn."""
    kind: Literal["perspective", "weak"] = "perspective"
    """Weak perspective becomes the format's orthographic camera: K over the distance is then what a
    decimetre measures."""


@dataclass(frozen=True)
class GltfScene:
    """What a file holds."""

    mesh: GltfMesh
    targets: MorphTargets | None = None
    animation: GltfAnimation | None = None
    camera: GltfCamera | None = None
    pose: GltfPose | None = None
    extras: Mapping[str, Any] = field(default_factory=dict)
    """What else is worth knowing, in types that JSON has; written as `asset.extras`."""
    common_targets: EncodedTargets | None = None
    """Come after `targets`, at weight 0. They fit meshes without seams (`without_seams`)."""


def write_glb(path: Path, scene: GltfScene) -> None:
    """Write a scene atomically.

    Raises:
        ValueError: numbers are not finite or arrays contradict each other; the message names them,
            and nothing is written.
    """
    try:
        content = glb_bytes(scene)
    except ValueError as error:
        raise ValueError(f"{path.name}: {error}") from error
    write_bytes(path, content)


def glb_bytes(scene: GltfScene) -> bytes:
    """The content of a scene's file.

    Raises:
        ValueError: numbers are not finite or arrays contradict each other.
    """
    container = GlbContainer()
    seamless = without_seams(scene.mesh)
    mesh = _mesh(container, scene.mesh, seamless)
    face: dict[str, Any] = {"name": scene.mesh.name, "mesh": 0}
    document: dict[str, Any] = {
        "asset": {"version": "2.0", "generator": "face3d"},
        "scene": 0,
        "scenes": [{"nodes": [0]}],
        "nodes": [face],
        "meshes": [mesh],
        "materials": [_material(scene.mesh)],
    }
    if scene.extras:
        document["asset"]["extras"] = dict(scene.extras)
    if scene.mesh.texture_png is not None:
        document |= _texture(container, scene.mesh.texture_png)
    if scene.targets is not None or scene.common_targets is not None:
        _add_targets(container, mesh, scene, seamless)
    if scene.animation is not None:
        channels = _channels(scene.animation, len(mesh.get("weights", ())))
        document["animations"] = [_animation(container, scene.animation, channels)]
        for path, values in channels.items():
            (mesh if path == "weights" else face)[path] = values[0].tolist()
    if scene.pose is not None:
        face |= _pose(scene.pose)
    if scene.camera is not None:
        document["cameras"] = [_camera(scene.camera)]
        standing = [0.0, 0.0, METRES * scene.camera.distance_dm]
        document["nodes"].append({"name": "camera", "camera": 0, "translation": standing})
        document["scenes"][0]["nodes"].append(1)
    return container.file(document)


def linear_colours(srgb: np.ndarray) -> np.ndarray:
    """sRGB-encoded colours in [0, 1] as amounts of light (IEC 61966-2-1)."""
    return np.where(srgb <= 0.04045, srgb / 12.92, ((srgb + 0.055) / 1.055) ** 2.4)


def quaternions(rotations: np.ndarray) -> np.ndarray:
    """(N, 3, 3) rotations -> (N, 4) unit quaternions x, y, z, w without jumps of sign.

    q and -q are the same rotation; of two neighbours of opposite sign, programs that interpolate
    number by number would make a full turn.
    """
    found = Rotation.from_matrix(rotations).as_quat()
    found[0] *= 1 if found[0, 3] >= 0 else -1
    turned = np.where((found[1:] * found[:-1]).sum(axis=1) < 0, -1, 1)
    found[1:] *= np.cumprod(turned)[:, None]
    return found


@dataclass(frozen=True)
class Seamless:
    """The vertices that are written: each texture coordinate of a vertex has one of its own."""

    vertices: np.ndarray
    """(W,) the vertex of the mesh that each written one is."""
    triangles: np.ndarray
    """(F, 3) of the written ones."""
    uv: np.ndarray | None
    """(W, 2) float32 of the written ones."""


def without_seams(mesh: GltfMesh) -> Seamless:
    """What of a mesh is written, since the format knows no seams.

    A caller that writes many faces of one model gives meshes of these vertices and triangles, with
    as many texture coordinates: they need no work, and `common_targets` fit them.

    Raises:
        ValueError: triangles or texture coordinates contradict the vertices.
    """
    count = len(mesh.vertices_dm)
    triangles = _indices("triangles", mesh.triangles, count)
    if mesh.uv is None:
        return Seamless(np.arange(count), triangles, None)
    if mesh.uv_triangles is None:
        return Seamless(np.arange(count), triangles, _floats("uv", mesh.uv, (count, 2)))
    uv = _floats("uv", mesh.uv, (None, 2))
    uv_triangles = _indices("uv_triangles", mesh.uv_triangles, len(uv))
    if uv_triangles.shape != triangles.shape:
        raise ValueError(f"uv_triangles is {uv_triangles.shape}, triangles {triangles.shape}")
    corners = triangles.astype(np.int64) * len(uv) + uv_triangles
    written, places = np.unique(corners, return_inverse=True)
    vertices, uv = written // len(uv), uv[written % len(uv)]
    return Seamless(vertices, places.reshape(triangles.shape), uv)


def _mesh(container: GlbContainer, mesh: GltfMesh, seamless: Seamless) -> dict[str, Any]:
    """A mesh of one primitive."""
    vertices, uv = seamless.vertices, seamless.uv
    shape = (len(mesh.vertices_dm), 3)

    def attribute(values: np.ndarray, **options: bool) -> int:
        return container.accessor(values, VERTEX_BUFFER, **options)

    positions = _floats("vertices_dm", METRES * np.asarray(mesh.vertices_dm), shape)
    attributes = {"POSITION": attribute(positions[vertices], bounds=True)}
    if mesh.normals is not None:
        normals = _unit_length(_floats("normals", mesh.normals, shape))
        attributes["NORMAL"] = attribute(normals[vertices])
    if mesh.colours is not None:
        if mesh.texture_png is not None:
            raise ValueError("colours and texture_png are both given; readers multiply the two")
        linear = linear_colours(_floats("colours", mesh.colours, shape).clip(0, 1))
        # 16 bits, since linear light needs them in the dark; opaque, as alignment to four bytes
        # (3.6.2.4) leaves room for a fourth number anyway.
        levels = np.full((len(linear), 4), 65535, np.uint16)
        levels[:, :3] = np.rint(65535 * linear)
        attributes["COLOR_0"] = attribute(levels[vertices], normalized=True)
    if uv is not None:
        # The format's origin is top left.
        attributes["TEXCOORD_0"] = attribute(np.stack([uv[:, 0], 1 - uv[:, 1]], axis=1))
    elif mesh.texture_png is not None:
        raise ValueError("texture_png is given without uv, which lays it over the mesh")
    indices = smallest_indices(seamless.triangles.reshape(-1), len(vertices))
    primitive = {
        "attributes": attributes,
        "indices": container.accessor(indices, INDEX_BUFFER),
        "material": 0,
    }
    return {"name": mesh.name, "primitives": [primitive]}


def _material(mesh: GltfMesh) -> dict[str, Any]:
    """Skin without gloss; the format's default is metal. Open surfaces show both sides."""
    surface: dict[str, Any] = {"metallicFactor": 0, "roughnessFactor": 1}
    if mesh.texture_png is not None:
        surface["baseColorTexture"] = {"index": 0}
    return {"name": "skin", "pbrMetallicRoughness": surface, "doubleSided": True}


def _texture(container: GlbContainer, png: bytes) -> dict[str, Any]:
    if not png.startswith(_PNG):
        raise ValueError("texture_png is not the content of a PNG file")
    sampler = {"magFilter": _LINEAR, "minFilter": _MIPMAPS}
    sampler |= {"wrapS": _CLAMP_TO_EDGE, "wrapT": _CLAMP_TO_EDGE}
    return {
        "images": [{"bufferView": container.view(png), "mimeType": "image/png"}],
        "samplers": [sampler],
        "textures": [{"source": 0, "sampler": 0}],
    }


def encode_targets(targets: MorphTargets, vertex_count: int) -> EncodedTargets:
    """Encode targets that many meshes without seams share.

    Args:
        targets: their weights are not looked at.
        vertex_count: of the meshes.

    Raises:
        ValueError: the targets contradict each other or the number of vertices.
    """
    container = GlbContainer()
    _encode(container, targets, vertex_count, np.arange(vertex_count))
    return EncodedTargets(targets.names, vertex_count, container.part())


def _add_targets(
    container: GlbContainer, mesh: dict[str, Any], scene: GltfScene, seamless: Seamless
) -> None:
    """Add a scene's morph targets to its mesh."""
    own, common = scene.targets, scene.common_targets
    names, numbers, weights = [], [], []
    if own is not None:
        numbers += _encode(container, own, len(scene.mesh.vertices_dm), seamless.vertices)
        given = np.zeros(len(own.names)) if own.weights is None else own.weights
        weights += _floats("weights of morph targets", given, (len(own.names),)).tolist()
        names += own.names
    if common is not None:
        counts = len(scene.mesh.vertices_dm), len(seamless.vertices)
        if counts != (common.vertex_count, common.vertex_count):
            raise ValueError(
                f"common_targets are of {common.vertex_count} vertices, the mesh has {counts[0]} "
                f"and is written with {counts[1]}"
            )
        first = container.append(common.part)
        numbers += range(first, first + len(common.names))
        weights += [0.0] * len(common.names)
        names += common.names
    _check_names(names)
    mesh["primitives"][0]["targets"] = [{"POSITION": number} for number in numbers]
    mesh["weights"] = weights
    mesh["extras"] = {"targetNames": names}


def _check_names(names: Sequence[str]) -> None:
    if not names or len(set(names)) < len(names):
        raise ValueError("names of morph targets must be given, each once")


def _encode(
    container: GlbContainer, targets: MorphTargets, vertex_count: int, vertices: np.ndarray
) -> list[int]:
    """Add targets of a mesh that is written with `vertices` of its own; returns their accessors."""
    names = targets.names
    _check_names(names)
    deltas = np.asarray(targets.deltas_dm)
    if deltas.shape != (len(names), vertex_count, 3):
        raise ValueError(
            f"deltas_dm is {deltas.shape}, expected {(len(names), vertex_count, 3)} for "
            f"{len(names)} names and {vertex_count} vertices"
        )
    return [
        _target(container, f"deltas_dm of {name}", delta, targets, vertices)
        for name, delta in zip(names, deltas, strict=True)
    ]


def _target(
    container: GlbContainer,
    what: str,
    delta_dm: np.ndarray,
    targets: MorphTargets,
    vertices: np.ndarray,
) -> int:
    """Add a target as all or as some of its elements, whichever is smaller."""
    positions = _floats(what, METRES * delta_dm, delta_dm.shape)[vertices]
    lengths_mm = np.linalg.norm(positions, axis=1) / METRES * MILLIMETRES
    (moved,) = np.nonzero(lengths_mm >= targets.negligible_mm)
    index_bytes = smallest_indices(moved, len(vertices)).itemsize
    if len(moved) * (12 + index_bytes) >= 12 * len(vertices):
        return container.accessor(positions, VERTEX_BUFFER, bounds=True)
    if len(moved) == 0:
        # A target without any element is valid, but some readers fail on it.
        moved, positions = np.zeros(1, np.int64), np.zeros_like(positions)
    return container.sparse_accessor(len(vertices), moved, positions[moved])


def _times(animation: GltfAnimation) -> np.ndarray:
    times = _floats("times_s", animation.times_s, (None,))
    if len(times) == 0 or times[0] < 0 or not (np.diff(times) > 0).all():
        raise ValueError(
            "times_s must be there and rise from 0 on, by more than single precision resolves"
        )
    return times


def _channels(animation: GltfAnimation, target_count: int) -> dict[str, np.ndarray]:
    """What moves, by the format's name of it, as float32."""
    frames = len(_times(animation))
    channels: dict[str, np.ndarray] = {}
    if animation.translations_dm is not None:
        shifts = METRES * np.asarray(animation.translations_dm)
        channels["translation"] = _floats("translations_dm", shifts, (frames, 3))
    if animation.rotations is not None:
        rotations = _floats("rotations", animation.rotations, (frames, 3, 3)).astype(np.float64)
        bent = _bent(rotations)
        if bent.any():
            raise ValueError(f"rotations of frame {int(bent.argmax())} is no rotation")
        channels["rotation"] = quaternions(rotations).astype(np.float32)
    if animation.weights is not None:
        if target_count == 0:
            raise ValueError("the animation has weights, but there are no morph targets")
        weights = _floats("weights of the animation", animation.weights, (frames, target_count))
        channels["weights"] = weights
    if not channels:
        raise ValueError("the animation moves nothing; leave it out")
    return channels


def _pose(pose: GltfPose) -> dict[str, list[float]]:
    rotation = _floats("rotation of the pose", pose.rotation, (3, 3)).astype(np.float64)
    shift = _floats("translation_dm of the pose", METRES * np.asarray(pose.translation_dm), (3,))
    if _bent(rotation[None])[0]:
        raise ValueError("rotation of the pose is no rotation")
    return {"rotation": quaternions(rotation[None])[0].tolist(), "translation": shift.tolist()}


def _bent(rotations: np.ndarray) -> np.ndarray:
    """Which of (N, 3, 3) matrices are no rotations."""
    products = rotations @ rotations.swapaxes(1, 2)
    bent = np.abs(products - np.eye(3)).max(axis=(1, 2)) > _ORTHOGONAL
    return bent | (np.linalg.det(rotations) < 0)


def _animation(
    container: GlbContainer, animation: GltfAnimation, channels: Mapping[str, np.ndarray]
) -> dict[str, Any]:
    seconds = container.accessor(_times(animation), bounds=True)
    samplers, targets = [], []
    for path, values in channels.items():
        # All weights of a frame are scalars in a row (3.11).
        stored = container.accessor(values.reshape(-1) if path == "weights" else values)
        targets.append({"sampler": len(samplers), "target": {"node": 0, "path": path}})
        samplers.append({"input": seconds, "output": stored, "interpolation": "LINEAR"})
    return {"name": "video", "channels": targets, "samplers": samplers}


def _camera(camera: GltfCamera) -> dict[str, Any]:
    """A camera by its angle of view: half the height is seen under atan(h / 2 f).

    An orthographic one by half the width and height that it sees.
    """
    K = np.asarray(camera.K, np.float64)
    width, height = camera.size_px
    if K.shape != (3, 3) or not np.isfinite(K).all() or min(K[0, 0], K[1, 1]) <= 0:
        raise ValueError("K of the camera must be (3, 3), finite and with focal lengths above 0")
    if min(width, height) <= 0 or not (camera.distance_dm > 0 and camera.near_dm > 0):
        raise ValueError("size, distance and nearest depth of the camera must be above 0")
    (left, view_width), (top, view_height) = _centred(K[0, 2], width), _centred(K[1, 2], height)
    picture = [left, top, width, height]
    if camera.kind == "weak":
        pixels_a_metre = K.diagonal()[:2] / (METRES * camera.distance_dm)
        half = np.array([view_width, view_height]) / 2 / pixels_a_metre
        orthographic = {
            "xmag": float(half[0]),
            "ymag": float(half[1]),
            "znear": METRES * camera.near_dm,
            "zfar": METRES * 2 * camera.distance_dm,
        }
        extras = {
            "pixels_a_metre": pixels_a_metre.tolist(),
            "centre": K[:2, 2].tolist(),
            "width": width,
            "height": height,
            "picture": picture,
        }
        return {"type": "orthographic", "orthographic": orthographic, "extras": extras}
    perspective = {
        "yfov": 2 * math.atan(view_height / (2 * K[1, 1])),
        "aspectRatio": float(view_width / K[0, 0] / (view_height / K[1, 1])),
        "znear": METRES * camera.near_dm,
    }
    extras = {"K": K.tolist(), "width": width, "height": height, "picture": picture}
    return {"type": "perspective", "perspective": perspective, "extras": extras}


def _centred(middle: float, size: float) -> tuple[float, float]:
    """Where a side [0, size] begins in the smallest side around it whose middle is given.

    Returns:
        That place, and the length of the side around it.
    """
    around = float(2 * max(middle, size - middle))
    return around / 2 - float(middle), around


def _floats(what: str, values: np.ndarray, shape: tuple[int | None, ...]) -> np.ndarray:
    """float32 of the given shape, finite also after rounding.

    Raises:
        ValueError: it is not; None in the shape stands for any number.
    """
    values = np.asarray(values)
    sizes_fit = all(b in (a, None) for a, b in zip(values.shape, shape, strict=False))
    if len(values.shape) != len(shape) or not sizes_fit:
        expected = tuple("any" if size is None else size for size in shape)
        raise ValueError(f"{what} is {values.shape}, expected {expected}")
    with np.errstate(over="ignore"):
        values = values.astype(np.float32)
    if not np.isfinite(values).all():
        raise ValueError(f"{what} holds non-finite numbers")
    return values


def _indices(what: str, triangles: np.ndarray, count: int) -> np.ndarray:
    triangles = np.asarray(triangles)
    if triangles.ndim != 2 or triangles.shape[1] != 3 or triangles.dtype.kind not in "iu":
        raise ValueError(f"{what} is {triangles.dtype} {triangles.shape}, expected int (F, 3)")
    if triangles.size == 0 or triangles.min() < 0 or triangles.max() >= count:
        raise ValueError(f"{what} must index the {count} there are and not be empty")
    return triangles


def _unit_length(normals: np.ndarray) -> np.ndarray:
    """Normalised, as the format demands; any direction where there is none, as of lone vertices."""
    lengths = np.linalg.norm(normals, axis=1, keepdims=True)
    return np.where(lengths > 0, normals / np.maximum(lengths, 1e-30), _FORWARDS)
