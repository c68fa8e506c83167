"""FaceScape's photos: true meshes, cameras, and predictions moved to where the truth is.

What is known of each photo is in tables that come with the code of the benchmark (`code/predef`);
layout and steps: `facescape.py`.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch

from models.renderer import interpolate, rasterize
from util.errors import InputError
from util.evaluation.benchmark_folders import (
    FACESCAPE_COUNTS,
    FACESCAPE_TABLES,
    REMEDIES,
    facescape_truths,
)
from util.mesh_files.mesh_reader import TriangleMesh, read_mesh
from util.model_files.safe_pickle import read_npy
from util.text import decode_text

PHOTO_PX = 256
PUPILS_MM = (64.0 + 61.7) / 2
"""Mean distance of the pupils of men and women."""
WILD, FOCALS, VIEWS = FACESCAPE_COUNTS["wild"], 3, 11
WILD_GROUPS = ("0-5 deg", "5-30 deg", "30-60 deg", "60-90 deg")
"""Of head angles, a hundred photos each."""
FOCAL_NAMES = ("f 1200", "f 600", "f 300")
_BEFORE_CAMERA = 2.0
"""Where the published code puts a prediction in orthographic space, which step 1 undoes."""
_FACE_HIGH = 3.0
"""Height that it gives a prediction before a perspective camera, in distances of the pupils."""
_OPENCV = np.array([1.0, -1.0, -1.0])
_REMEDY = REMEDIES["facescape"]


@dataclass(frozen=True)
class HeadPlace:
    """Where a head is, in millimetres of the camera's frame."""

    centre: np.ndarray
    """(3,)"""
    rotation: np.ndarray
    """(3, 3) from the head's frame."""

    def upright(self, vertices: np.ndarray) -> np.ndarray:
        """Points (N, 3) of the camera's frame in the head's."""
        return (vertices - self.centre) @ self.rotation


class FaceScapePhoto(Protocol):
    """A photo of either set."""

    @property
    def place(self) -> HeadPlace:
        """Of the head."""
        ...

    @property
    def groups(self) -> tuple[str, ...]:
        """Rows of the table that it counts in; empty ones are none."""
        ...

    def check(self) -> None:
        """See that what `read` needs is there.

        Raises:
            InputError: it is not.
        """
        ...

    def read(self, predicted: TriangleMesh, path: Path) -> tuple[TriangleMesh, TriangleMesh]:
        """The truth, and a prediction at its depth, millimetres before the camera.

        Args:
            predicted: in pixels of the photo.
            path: of its file, for messages.

        Raises:
            InputError: it lies nowhere over the truth; the truth is missing.
        """
        ...


@dataclass(frozen=True)
class WildPhoto:
    """A photo in the wild, orthographic: a prediction is shifted to its depth."""

    truth: Path
    half_mm: float
    """Millimetres of half the photo's side."""
    place: HeadPlace
    groups: tuple[str, ...]

    def check(self) -> None:
        """See `FaceScapePhoto`: nothing beside the truth, by which photos are found."""

    def read(self, predicted: TriangleMesh, path: Path) -> tuple[TriangleMesh, TriangleMesh]:
        """See `FaceScapePhoto`."""
        mesh = read_mesh(self.truth)
        truth = TriangleMesh(self.half_mm * mesh.vertices, mesh.triangles)
        vertices = normalised(predicted.vertices)
        vertices[:, 2] -= vertices[:, 2].mean() + _BEFORE_CAMERA
        vertices *= self.half_mm

        def depth(vertices: np.ndarray, triangles: np.ndarray) -> np.ndarray:
            return depth_map(orthographic(vertices, self.half_mm), -vertices[:, 2], triangles)

        difference, _ = depth_difference(
            depth(truth.vertices, truth.triangles), depth(vertices, predicted.triangles), path
        )
        vertices[:, 2] -= difference
        return truth, TriangleMesh(vertices, predicted.triangles)


@dataclass(frozen=True)
class LabPhoto:
    """A photo in the lab, perspective: a prediction is scaled to its depth."""

    truth: Path
    camera: Path
    place: HeadPlace
    groups: tuple[str, ...]

    def check(self) -> None:
        """See `FaceScapePhoto`."""
        read_camera(self.camera)

    def read(self, predicted: TriangleMesh, path: Path) -> tuple[TriangleMesh, TriangleMesh]:
        """See `FaceScapePhoto`."""
        k, rotation, shift = read_camera(self.camera)
        mesh = read_mesh(self.truth)
        truth = PUPILS_MM * (mesh.vertices @ rotation.T + shift)
        vertices = normalised(predicted.vertices) * _OPENCV
        vertices[:, 2] += k[0, 0] / (PHOTO_PX / 2) - vertices[:, 2].mean()
        vertices *= PUPILS_MM * _FACE_HIGH / np.ptp(vertices[:, 1])

        def depth(vertices: np.ndarray, triangles: np.ndarray) -> np.ndarray:
            return depth_map(perspective(vertices, k, path), vertices[:, 2], triangles)

        difference, mean = depth_difference(
            depth(truth, mesh.triangles), depth(vertices, predicted.triangles), path
        )
        # About the camera, so that it stays where it is in the photo.
        vertices *= mean / (mean - difference)
        moved = TriangleMesh(vertices, predicted.triangles)
        return TriangleMesh(truth, mesh.triangles), moved


def normalised(vertices_px: np.ndarray) -> np.ndarray:
    """Pixels (V, 3) of a photo in halves of its side, x and y from its middle."""
    half = PHOTO_PX / 2
    return vertices_px / half - np.array([1.0, 1.0, 0.0])


def orthographic(vertices: np.ndarray, half_mm: float) -> np.ndarray:
    """Clip coordinates (V, 4) of a photo twice `half_mm` wide; the camera looks along -z."""
    depth = -vertices[:, 2]
    middle, reach = (depth.max() + depth.min()) / 2, np.ptp(depth) + 1e-6
    x, y = vertices[:, 0] / half_mm, vertices[:, 1] / half_mm
    return np.stack([x, y, (depth - middle) / reach, np.ones(len(depth))], axis=1)


def perspective(vertices: np.ndarray, k: np.ndarray, path: Path) -> np.ndarray:
    """Clip coordinates (V, 4) of an OpenCV camera.

    Raises:
        InputError: a vertex is not before the camera.
    """
    depth = vertices[:, 2]
    near, far = 0.9 * float(depth.min()), 1.1 * float(depth.max())
    if near <= 0:
        raise InputError(f"{path} reaches behind the camera, if it is as far away as its size says")
    pixels = vertices @ k.T
    x, y = (2 * pixels[:, axis] / PHOTO_PX - depth for axis in (0, 1))
    z = ((far + near) * depth - 2 * far * near) / (far - near)
    return np.stack([x, y, z, depth], axis=1)


@torch.no_grad()
def depth_map(clip: np.ndarray, depth: np.ndarray, triangles: np.ndarray) -> np.ndarray:
    """Depth of what each pixel of a photo sees; not a number where it sees nothing.

    Args:
        clip: (V, 4) clip coordinates.
        depth: (V,) of the vertices.
        triangles: (F, 3).
    """
    corners = torch.from_numpy(np.ascontiguousarray(triangles, np.int32))
    fragments = rasterize(
        torch.from_numpy(np.ascontiguousarray(clip, np.float64))[None],
        corners,
        (PHOTO_PX, PHOTO_PX),
    )
    values = torch.from_numpy(np.ascontiguousarray(depth, np.float64))[None, :, None]
    seen = interpolate(values, corners, fragments)[0, ..., 0].numpy()
    return np.where(fragments.covered[0].numpy(), seen, np.nan)


def depth_difference(truth: np.ndarray, predicted: np.ndarray, path: Path) -> tuple[float, float]:
    """Of two depth maps: the truth's depth less the prediction's, and the truth's mean depth.

    The median, which has the least sum of absolute differences: what the published code searches.

    Raises:
        InputError: no pixel sees both.
    """
    both = ~np.isnan(truth) & ~np.isnan(predicted)
    if not both.any():
        raise InputError(
            f"{path} lies nowhere over the head in the photo: it must be in pixels of the "
            f"{PHOTO_PX} x {PHOTO_PX} photo, x to the right, y up, z towards the camera"
        )
    return float(np.median((truth - predicted)[both])), float(truth[both].mean())


def read_camera(path: Path) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """K (3, 3), rotation (3, 3) and shift (3,) of a lab photo.

    Raises:
        InputError: no such file, or another content.
    """
    if not path.is_file():
        raise InputError(f"{path} does not exist; {_REMEDY}")
    try:
        k, pose = (
            np.array(part, np.float64) for part in json.loads(decode_text(path.read_bytes()))
        )
    except (ValueError, TypeError) as error:
        raise InputError(f"{path} does not hold K and [R t] ({error}); {_REMEDY}") from error
    if k.shape != (3, 3) or pose.shape[1:] != (4,) or len(pose) < 3:
        raise InputError(
            f"{path} holds matrices of {k.shape} and {pose.shape}, expected (3, 3) and (3, 4)"
        )
    return k, pose[:3, :3], pose[:3, 3]


def wild_photos(root: Path) -> Mapping[str, WildPhoto]:
    """Those whose truth is in the user's copy, by name."""
    shapes = ((WILD,), (WILD, 3), (WILD, 3, 3))
    scales, centres, rotations = map(partial(_table, root), FACESCAPE_TABLES["wild"], shapes)
    photos = {}
    for name, path in _truths(root, "wild"):
        number = int(name)
        half = float(scales[number])
        place = HeadPlace(half * centres[number], rotations[number])
        photos[name] = WildPhoto(path, half, place, (WILD_GROUPS[number // 100],))
    return photos


def lab_photos(root: Path) -> Mapping[str, LabPhoto]:
    """See `wild_photos`."""
    shapes = ((FOCALS, 3), (VIEWS, 3, 3))
    centres, rotations = map(partial(_table, root), FACESCAPE_TABLES["lab"], shapes)
    photos = {}
    for subject, path in _truths(root, "lab"):
        for focal in range(FOCALS):
            for view in range(VIEWS):
                name = f"{subject}_{focal}_{view:02d}"
                camera = root / "data" / "lab_cam" / f"{name}.json"
                place = HeadPlace(centres[focal], rotations[view])
                # Angles are those of photos with the longest focal length, as published.
                angle = "" if focal else ("0-5 deg" if view == 0 else _lab_angle(view))
                photos[name] = LabPhoto(path, camera, place, (angle, FOCAL_NAMES[focal]))
    return photos


def _lab_angle(view: int) -> str:
    return "30 deg" if view < 9 else "60 deg"


def _truths(root: Path, photo_set: str) -> Iterator[tuple[str, Path]]:
    """Names and meshes that are there.

    Raises:
        InputError: none is.
    """
    place, count = root / "data" / f"{photo_set}_gt_mesh", FACESCAPE_COUNTS[photo_set]
    found = facescape_truths(root, photo_set)
    if not found:
        raise InputError(
            f"--benchmark_root: {place} holds no mesh that is named by a number below {count}; "
            f"{_REMEDY}"
        )
    if len(found) != count:
        print(f"{place} holds {len(found)} meshes; the published one has {count}")
    for path in found:
        yield path.stem, path


def _table(root: Path, name: str, shape: tuple[int, ...]) -> np.ndarray:
    path = root / "code" / "predef" / f"{name}.npy"
    if not path.is_file():
        raise InputError(f"--benchmark_root: {path} does not exist; {_REMEDY}")
    values: Any = np.asarray(read_npy(path, _REMEDY))
    if values.shape != shape or values.dtype.kind != "f" or not np.isfinite(values).all():
        raise InputError(f"{path} has the shape {values.shape}, expected {shape}; {_REMEDY}")
    return values.astype(np.float64)
