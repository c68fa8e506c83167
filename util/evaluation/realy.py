"""REALY (Chai et al., ECCV 2022): regions of faces against 100 scans of the Headspace data.

    <root>/REALY_image/...                        photos, <id>.* or <id>_<view>.*
    <root>/REALY_HIFI3D_keypoints/<id>.obj        85 key points of the scan
    <root>/REALY_scan_region/<id>/{nose,mouth,forehead,cheek}.obj
    <root>/metrical_scale.txt                     millimetres of a scan's unit, a line each
    <root>/<template>.obj, <template>.txt         a template and its 85 key points: JSON of
                                                  [triangle, w0, w1], the third weight is the rest

All but the photos are also found below `<root>/data`. A prediction is `<id>.obj` in the template's
topology; the folder that is written for `--model` also holds template and key points, and is what
the authors want. Steps of the score:

1. Similarity by seven key points; then, for each region, a rigid motion (iterative closest points).
2. The scan's region is bent onto the prediction (`util.evaluation.nonrigid_icp`).
3. The bent region's nearest points on the prediction are where the scan's vertices belong: their
   mean distance, in millimetres. `all` is the mean of the four regions.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from scipy.spatial import KDTree

from models.face_model import FaceModelData
from models.landmarks import INNER
from options.evaluate_options import EvaluateOptions, RealyOptions
from options.flags import ParsedOptions
from util.atomic import write_text
from util.errors import InputError
from util.evaluation.benchmark_folders import REALY_REGIONS as REGIONS
from util.evaluation.benchmark_folders import REALY_TEMPLATES, REMEDIES
from util.evaluation.comparison import error_mesh
from util.evaluation.error_picture import ErrorMesh
from util.evaluation.mesh_benchmark import MeshBenchmark, MeshFolder, Score, Wanted
from util.evaluation.nonrigid_icp import bend_onto
from util.evaluation.photo_shapes import BenchmarkPhoto, PhotoShapes, photos_by_stem
from util.evaluation.predicted_meshes import MM_PER_DM, write_plain_obj
from util.evaluation.shape_methods import SEVEN
from util.evaluation.tables import BenchmarkTable, Column
from util.mesh_files.mesh_reader import TriangleMesh, find_mesh, read_mesh
from util.model_files.face_transfer import lay_over, mean_landmarks
from util.point_fits import Similarity, fit_similarity, nearest_rotation
from util.surface import SurfaceTree, nearest_on_surface
from util.text import decode_text

KEYPOINTS = 85
_EYES = tuple(range(36, 48))
_MOUTH = (*range(48, 61), 64)
ALIGNED_BY = {
    "forehead": (*_EYES, *range(17, 27)),
    "mouth": _MOUTH,
    "nose": (*range(27, 36), 70, 71),
    "cheek": (*_MOUTH, 76, 77, 36, 41, 40, 39, 42, 47, 46, 45, 7, 8, 9),
}
"""Key points of the rigid motion of each region."""
BENT_BY = {"forehead": ALIGNED_BY["forehead"], "mouth": _MOUTH, "nose": tuple(range(27, 36))}
"""Of its bending; the cheek has none."""
_LIGHTER = {"cheek": 4}
"""Part of the usual weight of key points against the region's vertices."""
_ROUNDS, _SETTLED = 100, 1e-6
_OWN_TEMPLATE = "face3d_"
"""How the names of our templates begin."""
_REMEDY = REMEDIES["realy"]

COLUMNS = (
    Column("method", "method"),
    Column("images", "images"),
    *(Column(region, f"{region}_mm", f"{region}_std_mm", best="least") for region in REGIONS),
    Column("all", "all_mm", best="least"),
)


@dataclass(frozen=True)
class RealyRow:
    """One method: means over images and their standard deviations (not errors), millimetres."""

    method: str
    data: str
    """Fingerprint of the images."""
    images: int
    nose_mm: float
    nose_std_mm: float
    mouth_mm: float
    mouth_std_mm: float
    forehead_mm: float
    forehead_std_mm: float
    cheek_mm: float
    cheek_std_mm: float
    all_mm: float


@dataclass(frozen=True)
class Template:
    """A topology and where the 85 key points lie in it."""

    triangles: np.ndarray
    """(F, 3)"""
    chosen: np.ndarray
    """(85,) triangles."""
    weights: np.ndarray
    """(85, 3) of their corners."""

    def keypoints(self, vertices: np.ndarray) -> np.ndarray:
        """(85, 3) of a mesh (V, 3)."""
        corners = vertices[self.triangles[self.chosen]]
        return (corners * self.weights[..., None]).sum(axis=1)


@dataclass(frozen=True)
class RealyScan:
    """What is known of one scan, in its own unit."""

    keypoints: np.ndarray
    """(85, 3)"""
    regions: dict[str, TriangleMesh]
    mm: float
    """Millimetres of the unit."""


@dataclass(frozen=True)
class RealyFolder(MeshFolder):
    """Predictions of one template."""

    root: Path
    """Of the benchmark."""
    template_name: str
    """That the user gives; empty for ours, which lies beside the meshes once they are written."""

    @cached_property
    def template(self) -> Template:
        """Of all meshes; read once, when the first is scored."""
        if self.template_name:
            return find_template(self.template_name, (self.path, self.root))
        (own,) = self.path.glob(f"{_OWN_TEMPLATE}*.obj")
        return read_template(own.with_suffix(""))[0]


class Realy(MeshBenchmark):
    """One face of each photo, as photographed, region by region."""

    table = BenchmarkTable(
        "REALY: mean distance of each region, mm (standard deviation over images)",
        "Colours: how far each vertex of the scan's regions is from where it belongs on the mesh, "
        "once its region has been bent onto it. Beside names: the mean of the four regions.",
        *("realy", RealyRow, COLUMNS),
    )
    each = "image"
    measures = tuple(f"{region}_mm" for region in REGIONS)

    def __init__(self, root: Path, options: ParsedOptions) -> None:
        """See `MeshBenchmark`."""
        super().__init__(root, options)
        self._template_name = options[RealyOptions].template

    def find(self, theirs: Path | None) -> Wanted:
        """See `MeshBenchmark`: every photo, or every mesh of the folder."""
        photos = {}
        if theirs is None:
            place = _photo_folder(self.root, self.options[RealyOptions].image_folder)
            by_stem = photos_by_stem(place)
            paths = list(by_stem.values())
            find_keypoints(self.root)
            photos = {stem: [BenchmarkPhoto(path, stem)] for stem, path in by_stem.items()}
        else:
            find_template(self._template_name, (theirs, self.root))
            paths = predictions(theirs, self._template_name)
        numbers = {path: _number(path) for path in paths}
        if self._is_scored:
            for number in dict.fromkeys(numbers.values()):
                find_scan(self.root, number)
        ordered = sorted(paths, key=lambda path: (numbers[path], path.stem))
        return Wanted([path.stem for path in ordered], photos)

    def predict(
        self, wanted: Wanted, shapes: PhotoShapes, data: FaceModelData, folder: Path
    ) -> None:
        """Write the prediction of every photo, the template and its key points.

        What an earlier run wrote there is removed: the folder is sent as it is.
        """
        template = folder / f"{_OWN_TEMPLATE}{data.name}_{len(data.mean_shape)}"
        _remove_earlier(folder)
        write_template(template, data, self.root)
        for found in shapes(wanted.each_photo):
            path = folder / f"{found.photo.name}.obj"
            write_plain_obj(path, MM_PER_DM * found.shape.vertices, found.shape.triangles)
        shapes.print_missed()

    def unscored(self, folder: Path) -> str:
        """Without the scans there is only the folder to send."""
        if self._is_scored:
            return ""
        return (
            f"{self.root} holds no REALY_scan_region: nothing is scored\n"
            f"Predictions in {folder}: the folder to send"
        )

    def folder(self, path: Path) -> RealyFolder:
        """See `MeshBenchmark`."""
        is_theirs = bool(self.options[EvaluateOptions].predictions)
        name = self._template_name if is_theirs else ""
        return RealyFolder(path, self.mesh_unit, self.root, name)

    @property
    def _is_scored(self) -> bool:
        """Whether the scans are there."""
        return _place(self.root, "REALY_scan_region").is_dir()

    def score(self, name: str, folder: MeshFolder) -> Score:
        """Errors of the four regions."""
        assert isinstance(folder, RealyFolder)  # as `folder` gives it
        path = folder.path / f"{name}.obj"
        scan = read_scan(self.root, _number(path))
        distances = region_distances(folder.template, path, scan)
        errors = tuple(float(each.mean()) for each in distances)
        return Score(float(np.mean(errors)), errors, lambda: _shown_regions(name, scan, distances))

    def rows(
        self, method: str, data: str, names: Sequence[str], scores: Sequence[Score]
    ) -> list[RealyRow]:
        """See `MeshBenchmark`."""
        errors = np.array([score.errors for score in scores])
        means = errors.mean(axis=0)
        spread = errors.std(axis=0, ddof=1) if len(errors) > 1 else np.full(len(REGIONS), np.nan)
        numbers = [float(n) for pair in zip(means, spread, strict=True) for n in pair]
        return [RealyRow(method, data, len(errors), *numbers, all_mm=float(means.mean()))]


def _photo_folder(root: Path, given: str) -> Path:
    """Where the photos are.

    Raises:
        InputError: no such folder, or one of folders.
    """
    place = Path(given or root / "REALY_image")
    if not place.is_dir():
        raise InputError(f"{place} does not exist; give the photos by --image_folder, {_REMEDY}")
    inside = [path.name for path in sorted(place.iterdir()) if path.is_dir()]
    if inside and not any(path.is_file() for path in place.iterdir()):
        raise InputError(
            f"{place} holds folders only ({', '.join(inside)}); name one by --image_folder"
        )
    return place


def _remove_earlier(folder: Path) -> None:
    """Remove templates and meshes named as ours; files of others stay."""
    for path in folder.glob("*"):
        is_template = path.stem.startswith(_OWN_TEMPLATE) and path.suffix in (".obj", ".txt")
        if is_template or (path.suffix == ".obj" and path.stem.split("_")[0].isdecimal()):
            path.unlink()


def find_keypoints(root: Path) -> Path:
    """One of REALY's templates, which say where the 85 key points are; without ending.

    Raises:
        InputError: there is none.
    """
    name = next((n for n in REALY_TEMPLATES if _file(root, f"{n}.txt").is_file()), None)
    if name is None:
        raise InputError(
            f"{_file(root, 'HIFI3D.txt')} does not exist, nor another of "
            f"{', '.join(REALY_TEMPLATES)}; one of them says where the 85 key points are, {_REMEDY}"
        )
    return _file(root, name)


def write_template(stem: Path, data: FaceModelData, root: Path) -> None:
    """Write `<stem>.obj` and the 85 key points `<stem>.txt` of a face model.

    The key points of one of REALY's templates are carried over by the landmarks inside the face,
    which are among them.
    """
    template, mesh = read_template(find_keypoints(root))
    points = template.keypoints(mesh.vertices)
    mean = data.mean_shape.astype(np.float64)
    if mesh.vertices.shape == mean.shape and np.array_equal(mesh.triangles, data.triangles):
        chosen, weights = template.chosen, template.weights
    else:
        laid = lay_over(points, points[INNER], mean_landmarks(data)[INNER])
        found = nearest_on_surface(laid, mean, data.triangles)
        chosen, weights = found.triangles, found.barycentrics
    write_plain_obj(stem.parent / f"{stem.name}.obj", MM_PER_DM * mean, data.triangles)
    rows = [[int(t), float(w[0]), float(w[1])] for t, w in zip(chosen, weights, strict=True)]
    write_text(stem.parent / f"{stem.name}.txt", json.dumps(rows))


def find_template(name: str, folders: Sequence[Path]) -> Template:
    """A template by its name, beside the predictions or in the benchmark's folder."""
    if not name:
        raise InputError(
            "--template is not given; realy needs the name of the template of the meshes in "
            "--predictions: <name>.obj and the 85 key points <name>.txt"
        )
    for folder in folders:
        for stem in (folder / name, folder / "data" / name):
            if (stem.parent / f"{name}.txt").is_file():
                return read_template(stem)[0]
    raise InputError(
        f"--template {name}: there is no {folders[0] / name}.txt, nor in {folders[-1]}"
    )


def read_template(stem: Path) -> tuple[Template, TriangleMesh]:
    """Read `<stem>.obj` and `<stem>.txt`.

    Raises:
        InputError: a file is missing, or not 85 key points of this mesh.
    """
    stem = stem.with_suffix("") if stem.suffix == ".txt" else stem
    mesh = read_mesh(stem.parent / f"{stem.name}.obj")
    path = stem.parent / f"{stem.name}.txt"
    try:
        rows = np.array(json.loads(decode_text(path.read_bytes())), np.float64)
    except (ValueError, TypeError, OSError) as error:
        raise InputError(f"{path} is no JSON of key points ({error})") from error
    if rows.shape != (KEYPOINTS, 3) or not np.isfinite(rows).all():
        raise InputError(
            f"{path} has the shape {rows.shape}; it must hold {KEYPOINTS} rows [triangle, w0, w1]"
        )
    chosen = rows[:, 0].astype(int)
    if chosen.min() < 0 or chosen.max() >= len(mesh.triangles):
        raise InputError(
            f"{path} names triangle {chosen.max()} of {len(mesh.triangles)}: it is of another mesh"
        )
    weights = np.column_stack([rows[:, 1:], 1 - rows[:, 1] - rows[:, 2]])
    return Template(mesh.triangles, chosen, weights), mesh


def predictions(folder: Path, template: str) -> list[Path]:
    """The meshes of a folder.

    Raises:
        InputError: none.
    """
    found = [path for path in folder.glob("*.obj") if path.stem != template]
    if not found:
        raise InputError(f"--predictions {folder} holds no <id>.obj")
    return found


def find_scan(root: Path, number: int) -> tuple[np.ndarray, float, dict[str, Path]]:
    """Key points (85, 3) of a scan, millimetres of its unit, and the files of its regions.

    Raises:
        InputError: a file is missing or of another kind.
    """
    path = _place(root, "REALY_HIFI3D_keypoints") / f"{number}.obj"
    keypoints = read_mesh(path, surface=False).vertices
    if len(keypoints) != KEYPOINTS:
        raise InputError(f"{path} holds {len(keypoints)} points, expected {KEYPOINTS}; {_REMEDY}")
    place = _place(root, "REALY_scan_region") / str(number)
    regions = {region: find_mesh(place / region) for region in REGIONS}
    scales = _file(root, "metrical_scale.txt")
    try:
        mm = np.loadtxt(scales, ndmin=1)
    except (OSError, ValueError) as error:
        raise InputError(f"{scales} cannot be read ({error}); {_REMEDY}") from error
    if not 1 <= number <= len(mm):
        raise InputError(f"{scales} holds {len(mm)} scales, none of scan {number}")
    return keypoints, float(mm[number - 1]), regions


def read_scan(root: Path, number: int) -> RealyScan:
    """Read what belongs to one scan; see `find_scan`."""
    keypoints, mm, paths = find_scan(root, number)
    regions = {region: merged(read_mesh(path)) for region, path in paths.items()}
    return RealyScan(keypoints, regions, mm)


def merged(mesh: TriangleMesh) -> TriangleMesh:
    """The mesh with vertices at one place as one, and without those of no face."""
    used, triangles = np.unique(mesh.triangles, return_inverse=True)
    vertices, number = np.unique(mesh.vertices[used], axis=0, return_inverse=True)
    return TriangleMesh(vertices, number.reshape(-1)[triangles.reshape(-1, 3)])


def region_distances(template: Template, path: Path, scan: RealyScan) -> list[np.ndarray]:
    """Distances of the vertices of each region from where they belong, millimetres.

    Raises:
        InputError: the mesh is of another topology.
    """
    mesh = read_mesh(path)
    if template.triangles.max() >= len(mesh.vertices):
        raise InputError(
            f"{path} holds {len(mesh.vertices)} vertices, fewer than its template: all meshes must "
            "keep the template's topology"
        )
    surface = SurfaceTree(mesh.vertices, mesh.triangles)
    points = template.keypoints(mesh.vertices)
    start = seven_point_similarity(points[list(SEVEN)], scan.keypoints[list(SEVEN)])
    distances = []
    for region in REGIONS:
        part = scan.regions[region]
        motion = align_region(surface, points, start, part.vertices, scan.keypoints, region)
        distances.append(scan.mm * bent_distances(surface, points, motion, part, scan, region))
    return distances


def _shown_regions(name: str, scan: RealyScan, distances: Sequence[np.ndarray]) -> ErrorMesh:
    """The four regions, which overlap, as one mesh: of vertices at one place, one is seen."""
    parts = [scan.regions[region] for region in REGIONS]
    firsts = np.cumsum([0, *(len(part.vertices) for part in parts[:-1])])
    triangles = [part.triangles + first for part, first in zip(parts, firsts, strict=True)]
    mesh = TriangleMesh(
        np.concatenate([part.vertices for part in parts]), np.concatenate(triangles)
    )
    return error_mesh(name, mesh, scan.keypoints[list(SEVEN)], np.concatenate(distances))


def seven_point_similarity(source: np.ndarray, target: np.ndarray) -> Similarity:
    """As REALY's: the size by sums of absolute coordinates, not by squares."""
    p, q = source - source.mean(axis=0), target - target.mean(axis=0)
    rotation = nearest_rotation(p.T @ q).T
    scale = float(np.abs(q).sum() / np.abs(p @ rotation.T).sum())
    return Similarity(scale, rotation, target.mean(axis=0) - scale * rotation @ source.mean(axis=0))


def align_region(
    surface: SurfaceTree,
    keypoints: np.ndarray,
    start: Similarity,
    points: np.ndarray,
    true_keypoints: np.ndarray,
    region: str,
) -> Similarity:
    """The rigid motion of a prediction onto one region of a scan, after a first similarity.

    Args:
        surface: of the prediction.
        keypoints: (85, 3) of it.
        start: first motion; its scale is kept.
        points: (P, 3) vertices of the region.
        true_keypoints: (85, 3) of the scan.
        region: which.
    """
    numbers = list(ALIGNED_BY[region])
    times = int(len(points) / len(numbers) / _LIGHTER.get(region, 1))
    weights = np.concatenate([np.ones(len(points)), np.full(len(numbers), float(times))])
    target = np.concatenate([points, true_keypoints[numbers]])
    motion, before = start, 0.0
    for _ in range(_ROUNDS + 1):
        touched = nearest_moved(surface, motion, points)
        source = np.concatenate([touched, motion(keypoints[numbers])])
        step = fit_similarity(source, target, scaled=False, weights=weights)
        squares = ((step(source) - target) ** 2).sum(axis=1)
        error = float((weights * squares).sum() / weights.sum())
        if abs(error - before) < _SETTLED:
            break
        before = error
        motion = Similarity(
            motion.scale, step.rotation @ motion.rotation, step(motion.shift[None])[0]
        )
    return motion


def bent_distances(
    surface: SurfaceTree,
    keypoints: np.ndarray,
    motion: Similarity,
    part: TriangleMesh,
    scan: RealyScan,
    region: str,
) -> np.ndarray:
    """Distances of a region's vertices from where they belong, in the scan's unit."""
    targets = nearest_moved(surface, motion, part.vertices)
    if region in BENT_BY:
        numbers = list(BENT_BY[region])
        ours = np.asarray(KDTree(part.vertices).query(scan.keypoints[numbers])[1])
        bent = bend_onto(part.vertices, part.triangles, targets, ours, motion(keypoints[numbers]))
    else:
        bent = bend_onto(part.vertices, part.triangles, targets)
    belongs = nearest_moved(surface, motion, bent)
    return np.linalg.norm(belongs - part.vertices, axis=1)


def nearest_moved(surface: SurfaceTree, motion: Similarity, points: np.ndarray) -> np.ndarray:
    """The nearest points (P, 3) of a surface that was moved."""
    return motion(surface.nearest(motion.back(points)).mix(surface.vertices))


def _number(path: Path) -> int:
    try:
        return int(path.stem.split("_")[0])
    except ValueError:
        raise InputError(
            f"{path} is named after no scan; names are <id> or <id>_<view>, as the photos'"
        ) from None


def _place(root: Path, name: str) -> Path:
    below = root / "data" / name
    return below if below.is_dir() else root / name


def _file(root: Path, name: str) -> Path:
    below = root / "data" / name
    return below if (below.is_file() or (root / "data" / f"{name}.txt").is_file()) else root / name
