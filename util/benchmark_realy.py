"""REALY (Chai et al., ECCV 2022): regions of faces against 100 scans of the Headspace data.

    <root>/REALY_image/...                        photos, <id>.* or <id>_<view>.*
    <root>/REALY_HIFI3D_keypoints/<id>.obj        85 key points of the scan
    <root>/REALY_scan_region/<id>/{nose,mouth,forehead,cheek}.obj
    <root>/metrical_scale.txt                     millimetres of a scan's unit, a line each
    <root>/<topology>.obj, <topology>.txt         a template and its 85 key points: JSON of
                                                  [triangle, w0, w1], the third weight is the rest

All but the photos are also found below `<root>/data`. A prediction is `<id>.obj` in the template's
topology; the folder that is written for `--model` also holds template and key points, and is what
the authors want. Steps of the score:

1. Similarity by seven key points; then, for each region, a rigid motion (iterative closest points).
2. The scan's region is bent onto the prediction (`util.nonrigid_icp`).
3. The bent region's nearest points on the prediction are where the scan's vertices belong: their
   mean distance, in millimetres. `all` is the mean of the four regions.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from scipy.spatial import KDTree
from tqdm import tqdm

from data.detection import DetectionOptions, create_detector
from data.images import list_images
from models.face_model import FaceModelData
from models.landmarks import INNER
from options.base_options import BaseOptions
from options.evaluate_options import EvaluateOptions, ScanBenchmarkOptions, results_folder
from options.flags import ParsedOptions
from util.atomic import write_text
from util.benchmark_names import method_name
from util.benchmark_tables import Column, write_tables
from util.errors import InputError
from util.face_transfer import lay_over, mean_landmarks
from util.mesh_reader import TriangleMesh, read_mesh
from util.nonrigid_icp import bend_onto
from util.photo_shapes import BenchmarkPhoto, PhotoShapes
from util.point_fits import Similarity, fit_similarity, nearest_rotation
from util.scan_predictions import MM_PER_DM, write_plain_obj
from util.shape_methods import SEVEN, SHAPE_METHODS
from util.surface import SurfaceTree, nearest_on_surface
from util.text import decode_text

REGIONS = ("nose", "mouth", "forehead", "cheek")
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
_TEMPLATES = ("HIFI3D", "BFM09", "Deep3D", "FLAME", "3DDFA_v2")
_OWN_TEMPLATE = "face3d_"
"""How the names of our templates begin."""
_REMEDY = "the folder comes from github.com/czh-98/REALY and the Headspace agreement"

COLUMNS = (
    Column("method", "method"),
    Column("images", "images"),
    *(Column(region, f"{region}_mm", f"{region}_std_mm") for region in REGIONS),
    Column("all", "all_mm"),
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


def evaluate_realy(options: ParsedOptions) -> None:
    """Predict, and score where the scans are there."""
    chosen, wanted = options[EvaluateOptions], options[ScanBenchmarkOptions]
    root, name, out = Path(chosen.benchmark_root), method_name(options), results_folder(chosen)
    folder, topology = Path(chosen.predictions), wanted.topology
    found = None
    if not chosen.predictions:
        folder = out / name / "predictions"
        topology, found = predict_photos(root, folder, options)
    if not _place(root, "REALY_scan_region").is_dir():
        print(f"{root} holds no REALY_scan_region: nothing is scored")
        print(f"Predictions in {folder}: the folder to send")
        return
    template = find_template(topology, (folder, root))
    found = predictions(folder, topology) if found is None else found
    errors = np.array(
        [score(template, path, read_scan(root, number)) for path, number in tqdm(found)]
    )
    data = hashlib.sha256(" ".join(path.stem for path, _ in found).encode()).hexdigest()[:12]
    table = write_tables(out / "realy", [_row(name, data, errors)], RealyRow, COLUMNS)
    lines = [",".join(["image", *(f"{region}_mm" for region in REGIONS)])]
    for (path, _), row in zip(found, errors, strict=True):
        lines.append(",".join([f'"{path.stem}"', *(f"{value:.4f}" for value in row)]))
    write_text(out / name / "images.csv", "\n".join(lines) + "\n")
    print(f"\nREALY: mean distance of each region, mm (standard deviation over images)\n{table}\n")
    print(f"Tables in {out}, errors of each image in {out / name}")


def predict_photos(
    root: Path, folder: Path, options: ParsedOptions
) -> tuple[str, list[tuple[Path, int]]]:
    """Write the prediction of every photo, the template and its key points.

    What an earlier run wrote there is removed: the folder is sent as it is.

    Returns:
        The template's name; and see `predictions`.
    """
    place = Path(options[ScanBenchmarkOptions].image_folder or root / "REALY_image")
    if not place.is_dir():
        raise InputError(f"{place} does not exist; give the photos by --image_folder, {_REMEDY}")
    inside = [path.name for path in sorted(place.iterdir()) if path.is_dir()]
    if inside and not any(path.is_file() for path in place.iterdir()):
        raise InputError(
            f"{place} holds folders only ({', '.join(inside)}); name one by --image_folder"
        )
    photos = list_images(place)
    for photo in photos:
        _number(photo)
    method, data = SHAPE_METHODS[options[BaseOptions].model].create(options)
    topology = f"{_OWN_TEMPLATE}{data.name}_{len(data.mean_shape)}"
    _remove_earlier(folder)
    write_template(folder / topology, data, root)
    detector = create_detector(options[DetectionOptions])
    shapes = PhotoShapes(method, detector, options[EvaluateOptions].eval_batch_size, neutral=False)
    written = []
    for found in shapes([BenchmarkPhoto(photo, photo.stem) for photo in photos]):
        path = folder / f"{found.photo.name}.obj"
        write_plain_obj(path, MM_PER_DM * found.shape.vertices, found.shape.triangles)
        written.append(path)
    shapes.print_missed()
    return topology, _numbered(written)


def _remove_earlier(folder: Path) -> None:
    """Remove templates and meshes named as ours; files of others stay."""
    for path in folder.glob("*"):
        is_template = path.stem.startswith(_OWN_TEMPLATE) and path.suffix in (".obj", ".txt")
        if is_template or (path.suffix == ".obj" and path.stem.split("_")[0].isdecimal()):
            path.unlink()


def write_template(stem: Path, data: FaceModelData, root: Path) -> None:
    """Write `<stem>.obj` and the 85 key points `<stem>.txt` of a face model.

    The key points of one of REALY's templates are carried over by the landmarks inside the face,
    which are among them.
    """
    name = next((n for n in _TEMPLATES if _file(root, f"{n}.txt").is_file()), None)
    if name is None:
        raise InputError(
            f"{_file(root, 'HIFI3D.txt')} does not exist, nor another of "
            f"{', '.join(_TEMPLATES)}; one of them says where the 85 key points are, {_REMEDY}"
        )
    template, mesh = read_template(_file(root, name))
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
    """The template of a topology, beside the predictions or in the benchmark's folder."""
    if not name:
        raise InputError(
            "--topology is not given; realy needs the name of the template of the meshes in "
            "--predictions: <name>.obj and the 85 key points <name>.txt"
        )
    for folder in folders:
        for stem in (folder / name, folder / "data" / name):
            if (stem.parent / f"{name}.txt").is_file():
                return read_template(stem)[0]
    raise InputError(
        f"--topology {name}: there is no {folders[0] / name}.txt, nor in {folders[-1]}"
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


def predictions(folder: Path, topology: str) -> list[tuple[Path, int]]:
    """The meshes of a folder with the number of the scan of each.

    Raises:
        InputError: none.
    """
    if not folder.is_dir():
        raise InputError(f"--predictions {folder} is no folder; give that of the meshes")
    found = [path for path in folder.glob("*.obj") if path.stem != topology]
    if not found:
        raise InputError(f"--predictions {folder} holds no <id>.obj")
    return _numbered(found)


def _numbered(paths: Sequence[Path]) -> list[tuple[Path, int]]:
    numbered = [(path, _number(path)) for path in paths]
    return sorted(numbered, key=lambda item: (item[1], item[0].stem))


def read_scan(root: Path, number: int) -> RealyScan:
    """Read what belongs to one scan.

    Raises:
        InputError: a file is missing or of another kind.
    """
    path = _place(root, "REALY_HIFI3D_keypoints") / f"{number}.obj"
    keypoints = read_mesh(path, surface=False).vertices
    if len(keypoints) != KEYPOINTS:
        raise InputError(f"{path} holds {len(keypoints)} points, expected {KEYPOINTS}; {_REMEDY}")
    place = _place(root, "REALY_scan_region") / str(number)
    regions = {region: merged(read_mesh(place / f"{region}.obj")) for region in REGIONS}
    scales = _file(root, "metrical_scale.txt")
    try:
        mm = np.loadtxt(scales, ndmin=1)
    except (OSError, ValueError) as error:
        raise InputError(f"{scales} cannot be read ({error}); {_REMEDY}") from error
    if not 1 <= number <= len(mm):
        raise InputError(f"{scales} holds {len(mm)} scales, none of scan {number}")
    return RealyScan(keypoints, regions, float(mm[number - 1]))


def merged(mesh: TriangleMesh) -> TriangleMesh:
    """The mesh with vertices at one place as one, and without those of no face."""
    used, triangles = np.unique(mesh.triangles, return_inverse=True)
    vertices, number = np.unique(mesh.vertices[used], axis=0, return_inverse=True)
    return TriangleMesh(vertices, number.reshape(-1)[triangles.reshape(-1, 3)])


def score(template: Template, path: Path, scan: RealyScan) -> list[float]:
    """Errors of the four regions, millimetres.

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
    errors = []
    for region in REGIONS:
        part = scan.regions[region]
        motion = align_region(surface, points, start, part.vertices, scan.keypoints, region)
        errors.append(scan.mm * region_error(surface, points, motion, part, scan.keypoints, region))
    return errors


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


def region_error(
    surface: SurfaceTree,
    keypoints: np.ndarray,
    motion: Similarity,
    part: TriangleMesh,
    true_keypoints: np.ndarray,
    region: str,
) -> float:
    """Mean distance of a region's vertices from where they belong, in the scan's unit."""
    targets = nearest_moved(surface, motion, part.vertices)
    if region in BENT_BY:
        numbers = list(BENT_BY[region])
        ours = np.asarray(KDTree(part.vertices).query(true_keypoints[numbers])[1])
        bent = bend_onto(part.vertices, part.triangles, targets, ours, motion(keypoints[numbers]))
    else:
        bent = bend_onto(part.vertices, part.triangles, targets)
    belongs = nearest_moved(surface, motion, bent)
    return float(np.linalg.norm(belongs - part.vertices, axis=1).mean())


def nearest_moved(surface: SurfaceTree, motion: Similarity, points: np.ndarray) -> np.ndarray:
    """The nearest points (P, 3) of a surface that was moved."""
    return motion(surface.nearest(motion.back(points)).mix(surface.vertices))


def _row(method: str, data: str, errors: np.ndarray) -> RealyRow:
    means = errors.mean(axis=0)
    spread = errors.std(axis=0, ddof=1) if len(errors) > 1 else np.full(len(REGIONS), np.nan)
    numbers = [float(n) for pair in zip(means, spread, strict=True) for n in pair]
    return RealyRow(method, data, len(errors), *numbers, all_mm=float(means.mean()))


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
