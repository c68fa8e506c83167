"""Make `BFM_model_front.mat` of the Basel Face Model 2009 and of Guo et al.'s expressions.

As the public code's conversion: bases are multiplied by their standard deviations, lengths go from
micrometres to decimetres, and of the 53,490 vertices 35,709 stay:

    facemodel_info.mat      the mesh that stays, landmarks, masks; passed through
    BFM_front_idx.mat       idx: its vertices among the 53,215 of the expression basis
    BFM_exp_idx.mat         trimIndex: those among the 53,490 of the identity and texture bases

The mean of the expression basis is left out, so that zero is the neutral face of the identities.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from scipy.io import savemat
from tqdm import tqdm

from util.atomic import atomic_file
from util.errors import InputError
from util.model_files.bfm09_folder import (
    DEVIATIONS,
    EXPRESSION,
    EXPRESSION_INDEX,
    FRONT_INDEX,
    IDENTITY,
    MODEL_INFO,
    PUBLIC_FOLDER,
    SOURCE_FILES,
    SourceFile,
)
from util.model_files.bfm_file import (
    BASIS_SIZES,
    DEGREE,
    LANDMARKS,
    check_bfm_arrays,
    read_standard_points,
)
from util.model_files.mat_file import foreign_data, mat_shapes, read_mat
from util.text import decode_text

MICROMETRES = 1e5
"""In a decimetre."""


@dataclass(frozen=True)
class SourceSizes:
    """Sizes of the two published models."""

    vertices: int = 53490
    """Of the Basel Face Model 2009."""
    components: int = 199
    """Of its identity and of its texture basis."""
    expression_vertices: int = 53215
    expression_components: int = 79


BFM09_SIZES = SourceSizes()


_INFO_KEYS = ("frontmask2_idx", "skinmask", "keypoints", "point_buf", "tri", "tri_mask2")


def check_sources(folder: Path, sizes: SourceSizes = BFM09_SIZES) -> None:
    """See that the files are what their names say and fit each other, in milliseconds.

    Contents, keys, shapes and indices are held against each other, and the standard landmarks are
    read if they are there; what lies in the large matrices only the conversion can tell.

    Raises:
        InputError: a file is missing, something else, of another size, or does not fit another; the
            message says which one is right and who publishes it.
    """
    for source in SOURCE_FILES:
        check_source(folder, source, sizes)
    read_standard_points(folder)


def check_source(folder: Path, source: SourceFile, sizes: SourceSizes = BFM09_SIZES) -> None:
    """`check_sources` for one of the files."""
    if not (folder / source.name).is_file():
        raise InputError(f"{folder / source.name} does not exist; {source.remedy}")
    if source is EXPRESSION:
        _check_expression(folder / source.name, sizes)
    elif source is DEVIATIONS:
        _read_deviations(folder, sizes)
    else:
        _check_mat(folder, source, _expected_arrays(sizes)[source.name])
    if source is FRONT_INDEX:
        _check_choice(folder, sizes)
    elif source is EXPRESSION_INDEX:
        _read_index(folder, source, "trimIndex", sizes.vertices)
    elif source is MODEL_INFO:
        _check_info(folder)


def _expected_arrays(sizes: SourceSizes) -> dict[str, dict[str, tuple[int, ...] | None]]:
    """Arrays of each MATLAB file, and their shapes where these are fixed."""
    rows, components = 3 * sizes.vertices, sizes.components
    shapes = {"MU": (rows, 1), "PC": (rows, components), "EV": (components, 1)}
    return {
        IDENTITY.name: {
            f"{part}{key}": shape for part in ("shape", "tex") for key, shape in shapes.items()
        },
        EXPRESSION_INDEX.name: {"trimIndex": (sizes.expression_vertices, 1)},
        FRONT_INDEX.name: {"idx": None},
        MODEL_INFO.name: dict.fromkeys(_INFO_KEYS),
    }


def convert_bfm09(folder: Path, target: Path, sizes: SourceSizes = BFM09_SIZES) -> None:
    """Convert the user's files, with a progress bar; takes seconds.

    Integer arrays and means are the public conversion's; the bases equal its ones in float32, as
    which the public code reads them.

    Args:
        folder: holds `SOURCE_FILES`.
        target: the `.mat` to write; appears only when it is complete.
        sizes: of the models in the files.

    Raises:
        InputError: as `check_sources`; or a large matrix is damaged.
    """
    check_sources(folder, sizes)
    info = read_mat(folder / MODEL_INFO.name, _INFO_KEYS, MODEL_INFO.remedy)
    in_expression = _read_index(folder, FRONT_INDEX, "idx", sizes.expression_vertices)
    in_identity = _read_index(folder, EXPRESSION_INDEX, "trimIndex", sizes.vertices)[in_expression]
    total = sum(BASIS_SIZES.values())
    # Numbers that are not finite are named below.
    with (
        np.errstate(all="ignore"),
        tqdm(total=total, unit="component", desc=f"BFM09 to {target.name}") as bar,
    ):
        # One after the other, so that only one of the large matrices is in memory.
        mean_shape, identity = _identity_part(folder, "shape", in_identity, MICROMETRES, bar)
        mean_texture, texture = _identity_part(folder, "tex", in_identity, None, bar)
        deviations = _read_deviations(folder, sizes)
        columns = _expression_columns(folder / EXPRESSION.name, sizes)
        expression = _crop_basis(columns, deviations, in_expression, MICROMETRES, bar)
    arrays = {
        "meanshape": mean_shape,
        "meantex": mean_texture,
        "idBase": identity,
        "exBase": expression,
        "texBase": texture,
    }
    for key, array in arrays.items():
        source = EXPRESSION if key == "exBase" else IDENTITY
        with np.errstate(all="ignore"):
            finite = np.isfinite(array.astype(np.float32, copy=False)).all()
        if not finite:
            raise InputError(
                f"{folder / source.name} is damaged (numbers that are not finite); {source.remedy}"
            )
    try:
        check_bfm_arrays({**arrays, **info})
    except (ValueError, TypeError, IndexError) as error:
        # What the other files give has its sizes, and finite numbers.
        raise InputError(
            f"{folder / MODEL_INFO.name} is damaged or of another model ({error}); "
            f"{MODEL_INFO.remedy}"
        ) from error
    with atomic_file(target) as file:
        savemat(file, {**arrays, **info})


def _identity_part(
    folder: Path, part: str, vertices: np.ndarray, divisor: float | None, bar: tqdm
) -> tuple[np.ndarray, np.ndarray]:
    """Mean (1, 3V) in the file's type and basis (3V, K) of "shape" or "tex"."""
    path, remedy = folder / IDENTITY.name, IDENTITY.remedy
    count = BASIS_SIZES["idBase" if part == "shape" else "texBase"]
    mean, deviations = read_mat(path, [f"{part}MU", f"{part}EV"], remedy).values()
    (basis,) = read_mat(path, [f"{part}PC"], remedy, columns=count).values()
    mean = mean.reshape(-1, 3)[vertices].reshape(1, -1)
    if divisor is not None:
        mean = mean / divisor
    columns = [basis[:, k] for k in range(count)]
    return mean, _crop_basis(columns, deviations.ravel(), vertices, divisor, bar)


def _crop_basis(
    columns: Iterable[np.ndarray],
    deviations: np.ndarray,
    vertices: np.ndarray,
    divisor: float | None,
    bar: tqdm,
) -> np.ndarray:
    """Scaled components (3V, K) float32 of the vertices that stay.

    Column by column in the types of the files, so that rounding is the public code's, and the
    wider type never holds more than a column.
    """
    rows = (3 * vertices[:, None] + np.arange(3)).ravel()
    cropped = []
    for k, column in enumerate(columns):
        # As an array: a float64 scalar would not widen float32 in every version of NumPy.
        scaled = column[rows] * deviations[k : k + 1]
        cropped.append((scaled if divisor is None else scaled / divisor).astype(np.float32))
        bar.update()
    return np.stack(cropped).T  # as the file has it: column after column


def _expression_columns(path: Path, sizes: SourceSizes) -> Iterator[np.ndarray]:
    """Components (3V,) float32 of Exp_Pca.bin: the number of components, a mean, components."""
    length = 3 * sizes.expression_vertices
    with path.open("rb") as file:
        file.seek(4 + 4 * length)
        for _ in range(BASIS_SIZES["exBase"]):
            yield np.fromfile(file, "<f4", length)


def _check_expression(path: Path, sizes: SourceSizes) -> None:
    if kind := foreign_data(path):
        raise InputError(f"{path} is {kind}; {EXPRESSION.remedy}")
    size, wanted = path.stat().st_size, sizes.expression_components
    expected = 4 + 4 * 3 * sizes.expression_vertices * (1 + wanted)
    with path.open("rb") as file:
        components = int.from_bytes(file.read(4), "little")
    if components != wanted:
        raise InputError(
            f"{path} begins with {components}, where the number of components should be {wanted}: "
            f"it is another file; {EXPRESSION.remedy}"
        )
    if size != expected:
        problem = "is cut short" if size < expected else "is too long"
        raise InputError(f"{path} {problem}: {size} bytes of {expected}; {EXPRESSION.remedy}")


def _check_mat(
    folder: Path, source: SourceFile, expected: dict[str, tuple[int, ...] | None]
) -> None:
    """Compare names and, where they are fixed, shapes; a vector may lie or stand."""
    path = folder / source.name
    shapes = mat_shapes(path, source.remedy, expected)
    for key, shape in expected.items():
        if shape is not None and not _fits(shapes[key], shape):
            raise InputError(f"{path}: {key} is {shapes[key]}, expected {shape}; {source.remedy}")


def _fits(shape: tuple[int, ...], expected: tuple[int, ...]) -> bool:
    return shape == expected or (1 in expected and shape == expected[::-1])


def _check_choice(folder: Path, sizes: SourceSizes) -> None:
    """See that as many vertices are chosen as the mesh has."""
    chosen = len(_read_index(folder, FRONT_INDEX, "idx", sizes.expression_vertices))
    path = folder / MODEL_INFO.name
    try:
        vertices = len(read_mat(path, ["point_buf"], MODEL_INFO.remedy)["point_buf"])
    except InputError:
        return  # said of that file, whose fault it is
    if chosen != vertices:
        raise InputError(
            f"{folder / FRONT_INDEX.name} chooses {chosen} vertices, but {path} has {vertices}; "
            f"take both from the same place: {PUBLIC_FOLDER}"
        )


def _check_info(folder: Path) -> None:
    """See that landmarks, masks and triangles are those of one mesh."""
    path = folder / MODEL_INFO.name
    problem = _mesh_problem(read_mat(path, _INFO_KEYS, MODEL_INFO.remedy))
    if problem is not None:
        raise InputError(f"{path} is damaged or of another model ({problem}); {MODEL_INFO.remedy}")


def _mesh_problem(info: dict[str, np.ndarray]) -> str | None:
    """What contradicts the number of vertices that point_buf has rows for."""
    vertices = len(info["point_buf"])
    expected = {
        "point_buf": (vertices, DEGREE),
        "skinmask": (1, vertices),
        "keypoints": (1, LANDMARKS),
        "tri": (len(info["tri"]), 3),
        "tri_mask2": (len(info["tri_mask2"]), 3),
    }
    for key, shape in expected.items():
        if not _fits(info[key].shape, shape):
            return f"{key} is {info[key].shape}, expected {shape}"
    for key in ("tri", "tri_mask2", "keypoints", "frontmask2_idx"):
        index = info[key]
        within = index.size > 0 and ((index >= 1) & (index <= vertices)).all()
        if not within or (index % 1 != 0).any():
            return f"{key} must hold whole numbers from 1 to {vertices}"
    if not np.isfinite(info["skinmask"]).all():
        return "skinmask holds numbers that are not finite"
    return None


def _read_index(folder: Path, source: SourceFile, key: str, limit: int) -> np.ndarray:
    """Vertices from 1 -> from 0."""
    path = folder / source.name
    index = read_mat(path, [key], source.remedy)[key].ravel()
    within = index.size > 0 and ((index >= 1) & (index <= limit)).all()
    if not within or (index % 1 != 0).any():
        raise InputError(f"{path}: {key} must name vertices from 1 to {limit}; {source.remedy}")
    return index.astype(np.int64) - 1


def _read_deviations(folder: Path, sizes: SourceSizes) -> np.ndarray:
    """Standard deviations of the expression components (K,) float64."""
    path = folder / DEVIATIONS.name
    if kind := foreign_data(path):
        raise InputError(f"{path} is {kind}; {DEVIATIONS.remedy}")
    try:
        numbers = np.array(decode_text(path.read_bytes()).split(), np.float64)
    except ValueError as error:
        raise InputError(f"{path} is no list of numbers ({error}); {DEVIATIONS.remedy}") from error
    if len(numbers) != sizes.expression_components or not np.isfinite(numbers).all():
        raise InputError(
            f"{path} holds {len(numbers)} numbers, expected {sizes.expression_components} finite "
            f"ones; {DEVIATIONS.remedy}"
        )
    return numbers
