"""FaceScape's benchmark (Zhu et al., 2021): posed faces of photos, in the wild and in the lab.

    <root>/code/predef/wild_pupil_scales.npy (400)   millimetres of half the photo's side
    <root>/code/predef/wild_head_centers.npy, wild_rotations.npy       of each photo
    <root>/code/predef/lab_head_centers.npy (3), lab_rotations.npy (11)   of focal lengths, views
    <root>/data/wild_gt_mesh/<000>.obj               orthographic: the photo is [-1, 1] x [-1, 1]
    <root>/data/lab_gt_mesh/<00>.obj                 distance of the pupils 1
    <root>/data/lab_cam/<00>_<focal>_<view>.json     K (3 x 3) and [R t] (3 x 4), OpenCV

`<root>` is the repository's `benchmark/` with its data. A prediction is `<000>.obj`, or
`<00>_<0>_<00>.obj` for the lab, in pixels of the 256 x 256 photo: x to the right, y up from the
lower edge, z towards the camera, as those of 3DDFA_V2 and PRNet. Steps of the score:

1. Size and place in the photo stay as predicted; all is scaled so that the pupils are 62.85 mm
   apart in the truth. The prediction is moved along the line of sight alone: by the median
   difference of both depth maps.
2. Both surfaces are seen from the axis of the head (`cylinder_map`). complete: the part of the
   truth's places where the prediction has one too.
3. chamfer: mean distance of the vertices of either map's surface, in the common places, from the
   other surface. normals: mean angle of the normals there, as published: of (n + 1) / |n + 1|,
   which is smaller than that of the normals themselves, given in degrees beside it.

Photos without a prediction count in `done` alone, as published.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from models.face_model import FaceModelData
from models.landmarks import from_index, to_index
from models.stages import pose_face, shape_face
from options.evaluate_options import FaceScapeOptions
from options.flags import ParsedOptions
from util.errors import InputError
from util.evaluation.cylinder_map import CylinderMap, cylinder_map
from util.evaluation.error_picture import ErrorMesh
from util.evaluation.facescape_photos import (
    PHOTO_PX,
    FaceScapePhoto,
    HeadPlace,
    lab_photos,
    wild_photos,
)
from util.evaluation.mesh_benchmark import MeshBenchmark, MeshFolder, Score, Wanted
from util.evaluation.photo_shapes import PhotoShape, PhotoShapes, photos_named
from util.evaluation.predicted_meshes import MM_PER_DM, write_plain_obj
from util.evaluation.shape_methods import ShapeMethod
from util.evaluation.tables import BenchmarkTable, Column
from util.mesh_files.mesh_reader import ENDINGS, TriangleMesh, existing_mesh, read_mesh
from util.surface import SurfaceTree

EXPLANATION = """\
Meshes stay where they were predicted in the photo and are moved along the line of sight alone. \
chamfer: mean distance between both surfaces where both are seen from the head's axis (the \
colours); complete: the part of the truth that is covered; normals: mean angle, in radians as the \
published code takes it, in degrees of the normals themselves."""
COLUMNS = (
    Column("method", "method"),
    Column("photos", "group"),
    Column("number", "images"),
    Column("done %", "done_percent", digits=1, best="most"),
    Column("chamfer mm", "chamfer_mm", digits=2, best="least"),
    Column("normals rad", "normals_rad", best="least"),
    Column("complete %", "complete_percent", digits=1, best="most"),
    Column("normals deg", "normals_deg", digits=1, best="least"),
)


@dataclass(frozen=True)
class FaceScapeRow:
    """One method on one group of photos: means over those that are done."""

    method: str
    data: str
    """Fingerprint of the photos' names."""
    group: str
    images: int
    done_percent: float
    chamfer_mm: float
    normals_rad: float
    """As published."""
    complete_percent: float
    normals_deg: float
    """Of the normals themselves."""


@dataclass(frozen=True)
class Agreement:
    """A prediction against the truth, both on the head's cylinder."""

    complete: float
    chamfer_mm: float
    normals_rad: float
    normals_deg: float
    surface: TriangleMesh
    """Of the prediction, in the head's frame."""
    distances_mm: np.ndarray
    """(V,) of its vertices from the truth."""


class FaceScape(MeshBenchmark):
    """One posed face of each photo, where it lies in the photo."""

    each = "image"
    measures = ("chamfer_mm", "normals_rad", "complete", "normals_deg")

    def __init__(self, root: Path, options: ParsedOptions) -> None:
        """See `MeshBenchmark`; reads where the heads are."""
        super().__init__(root, options)
        self._set = options[FaceScapeOptions].photo_set
        self.table = BenchmarkTable(
            f"FaceScape, {self._set}: posed faces, means over photos that are done",
            EXPLANATION,
            *(f"facescape_{self._set}", FaceScapeRow, COLUMNS),
        )
        read = wild_photos if self._set == "wild" else lab_photos
        self._photos: Mapping[str, FaceScapePhoto] = read(root)

    def find(self, theirs: Path | None) -> Wanted:
        """See `MeshBenchmark`: all photos, of which some must have a prediction."""
        names, photos = list(self._photos), {}
        if theirs is None:
            place = Path(self.options[FaceScapeOptions].image_folder)
            if not self.options[FaceScapeOptions].image_folder or not place.is_dir():
                raise InputError(
                    f"--image_folder {place} is no folder; give that of the photos in FaceScape's "
                    f"data ({names[0]}.* and so on)"
                )
            photos = photos_named(place, names)
            done = names
        else:
            done = [name for name in names if existing_mesh(theirs / name)]
            if not done:
                raise InputError(f"{theirs} holds no <photo>.obj or .ply, such as {names[0]}.obj")
        for name in done:
            self._photos[name].check()
        return Wanted(names, photos)

    def predict(
        self, wanted: Wanted, shapes: PhotoShapes, data: FaceModelData, folder: Path
    ) -> None:
        """Write the mesh of every photo in which a face is found."""
        for found in shapes(wanted.each_photo):
            stem = folder / found.photo.name
            for ending in ENDINGS:  # of an earlier run
                stem.with_suffix(ending).unlink(missing_ok=True)
            if found.face is not None:
                vertices = photo_vertices(found, shapes.method)
                write_plain_obj(stem.with_suffix(".obj"), vertices, found.shape.triangles)
        shapes.print_missed("they count as not done")

    def score(self, name: str, folder: MeshFolder) -> Score:
        """See `MeshBenchmark`."""
        path = existing_mesh(folder.path / name)
        if path is None:
            return Score(math.nan, (math.nan,) * len(self.measures), None)
        photo = self._photos[name]
        found = agreement(*photo.read(read_mesh(path), path), photo.place, path)
        numbers = (found.chamfer_mm, found.normals_rad, found.complete, found.normals_deg)
        return Score(found.chamfer_mm, numbers, lambda: _shown(name, found))

    def rows(
        self, method: str, data: str, names: Sequence[str], scores: Sequence[Score]
    ) -> list[FaceScapeRow]:
        """See `MeshBenchmark`."""
        table = np.array([score.errors for score in scores])
        groups = np.array([self._photos[name].groups for name in names])
        rows = []
        for group in dict.fromkeys(("all", *groups.T.reshape(-1).tolist())):
            chosen = (groups == group).any(axis=1) | (group == "all")
            if not group or not chosen.any():
                continue
            done = table[chosen][~np.isnan(table[chosen, 0])]
            means = done.mean(axis=0) if len(done) else np.full(len(self.measures), np.nan)
            chamfer, normals, complete, degrees = means.tolist()
            share = 100 * len(done) / int(chosen.sum())
            rows.append(
                FaceScapeRow(
                    *(method, data, group, int(chosen.sum()), share),
                    *(chamfer, normals, 100 * complete, degrees),
                )
            )
        return rows


def agreement(
    truth: TriangleMesh, predicted: TriangleMesh, place: HeadPlace, path: Path
) -> Agreement:
    """Steps 2 and 3.

    Args:
        truth: millimetres, camera frame.
        predicted: the same.
        place: of the head.
        path: of the prediction, for messages.

    Raises:
        InputError: the two have no place in common.
    """
    true_map, own_map = (
        cylinder_map(TriangleMesh(place.upright(mesh.vertices), mesh.triangles))
        for mesh in (truth, predicted)
    )
    common = true_map.filled & own_map.filled
    true_surface, own_surface = true_map.mesh(common), own_map.mesh(common)
    if not len(true_surface.triangles) or not len(own_surface.triangles):
        raise InputError(
            f"{path} covers nothing of the head that the photo shows: it must be in pixels of the "
            f"{PHOTO_PX} x {PHOTO_PX} photo, x to the right, y up, z towards the camera"
        )
    away, back = (
        SurfaceTree(target.vertices, target.triangles).nearest(source.vertices).distances
        for source, target in ((own_surface, true_surface), (true_surface, own_surface))
    )
    published, degrees = normal_angles(true_map, own_map, common)
    return Agreement(
        complete=float(common.sum() / true_map.filled.sum()),
        chamfer_mm=float(np.concatenate([away, back]).mean()),
        normals_rad=published,
        normals_deg=degrees,
        surface=own_surface,
        distances_mm=away,
    )


def normal_angles(
    first: CylinderMap, second: CylinderMap, places: np.ndarray
) -> tuple[float, float]:
    """Mean angle of the normals in some places: as published, in radians, and in degrees.

    The published code shifts normals by one in each coordinate, as colours of pictures are, before
    it takes their angle.
    """
    pairs = [each.normals[places] for each in (first, second)]
    shifted = [normals + 1 for normals in pairs]

    def mean_angle(a: np.ndarray, b: np.ndarray) -> float:
        lengths = np.linalg.norm(a, axis=1) * np.linalg.norm(b, axis=1)
        cosines = (a * b).sum(axis=1) / np.where(lengths > 0, lengths, 1)
        return float(np.arccos(cosines.clip(-1, 1)).mean())

    return mean_angle(*shifted), math.degrees(mean_angle(*pairs))


@torch.no_grad()
def photo_vertices(found: PhotoShape, method: ShapeMethod) -> np.ndarray:
    """A face of ours (V, 3) in pixels of its photo, as predictions are.

    As the published code takes meshes of perspective methods: scaled as at their mean depth.

    Raises:
        InputError: the photo has another size than the benchmark's.
    """
    assert found.face is not None
    alignment = found.face.face.alignment
    if tuple(alignment.photo_size) != (PHOTO_PX, PHOTO_PX):
        width, height = alignment.photo_size
        raise InputError(
            f"{found.photo.path} has {width} x {height} pixels; FaceScape's photos have "
            f"{PHOTO_PX} x {PHOTO_PX}, to which its meshes belong"
        )
    model, camera = method.face_model, method.camera
    shaped = shape_face(model, found.coefficients)
    posed = pose_face(model, shaped, found.coefficients, camera)
    vertices = posed.vertices_camera[0].double().cpu()
    depth = vertices[:, 2].mean()
    scale = camera.focal_px[0].double().cpu() / depth
    down = camera.centre_px[0].double().cpu() + vertices[:, :2] * scale * torch.tensor([1.0, -1.0])
    # As exact continuous pixels, whatever the network means by them.
    crop = from_index(to_index(down[None], method.landmark_origin), "centre")[0].numpy()
    matrix = alignment.inverse_matrix
    photo = crop @ matrix[:, :2].T + matrix[:, 2]
    towards = (depth - vertices[:, 2]).numpy() * float(scale[0]) * matrix[0, 0]
    return np.stack([photo[:, 0], PHOTO_PX - photo[:, 1], towards], axis=1)


def _shown(name: str, found: Agreement) -> ErrorMesh:
    vertices = found.surface.vertices / MM_PER_DM
    middle = (vertices.max(axis=0) + vertices.min(axis=0)) / 2
    return ErrorMesh(name, vertices - middle, found.surface.triangles, found.distances_mm)
