"""Files that users bring: what each is, who publishes it, and how it is recognised."""

from __future__ import annotations

import struct
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from scipy.io import whosmat

from util.errors import InputError

Shape = tuple[int | None, ...]
"""None stands for any size."""


@dataclass(frozen=True)
class UserFile:
    """A file that the program takes where it is, and never brings itself."""

    name: str
    """File name, inside the folder that a flag names."""
    what: str
    """What it is for."""
    publisher: str
    """Who publishes it, and where inside what."""
    check: Callable[[Path], str]
    """Says what a file holds; raises InputError, naming what is wrong, if it is another one."""


_REPOSITORY = "the repository Deep3DFaceRecon_pytorch, folder BFM"
_BASEL = "University of Basel (faces.dmi.unibas.ch, on request)"

EXPRESSION_VERTICES, EXPRESSION_COMPONENTS = 53_215, 79
IDENTITY_VERTICES, IDENTITY_COMPONENTS = 53_490, 199


def check_mat(path: Path, arrays: Mapping[str, Shape]) -> str:
    """See that a MATLAB file holds arrays of these shapes, without reading them.

    Raises:
        InputError: another kind of file, or other arrays.
    """
    try:
        found = {name: shape for name, shape, _ in whosmat(path)}
    except Exception as error:
        # SciPy raises what its parts raise for files that are no MATLAB files.
        raise InputError(
            f"not a MATLAB file that can be read: it {_beginning(path)} ({error})"
        ) from error
    for name, shape in arrays.items():
        if name not in found:
            raise InputError(f"it lacks the array {name} (it holds {', '.join(found) or 'none'})")
        fits = len(shape) == len(found[name]) and all(
            wanted in (None, size) for wanted, size in zip(shape, found[name], strict=True)
        )
        if not fits:
            wanted = " x ".join("any" if size is None else str(size) for size in shape)
            size = " x ".join(map(str, found[name]))
            raise InputError(f"its array {name} is {size}, expected {wanted}")
    return ", ".join(f"{name} {' x '.join(map(str, found[name]))}" for name in arrays)


def check_expressions(path: Path) -> str:
    """Exp_Pca.bin: the number of components, then means and components as float32."""
    size = path.stat().st_size
    with path.open("rb") as file:
        head = file.read(4)
    components = struct.unpack("<i", head)[0] if len(head) == 4 else None
    expected = 4 + 4 * 3 * EXPRESSION_VERTICES * (1 + EXPRESSION_COMPONENTS)
    if components != EXPRESSION_COMPONENTS:
        raise InputError(
            f"it does not begin with {EXPRESSION_COMPONENTS}, the number of components: it "
            f"{_beginning(path)}"
        )
    if size != expected:
        state = "cut short" if size < expected else "too long"
        raise InputError(f"it is {state}: {size:,} bytes, expected {expected:,}")
    return f"{components} expression components of {EXPRESSION_VERTICES} vertices"


def check_numbers(count: int) -> Callable[[Path], str]:
    """A text of so many numbers."""

    def check(path: Path) -> str:
        try:
            numbers = [float(word) for word in path.read_text(encoding="utf-8-sig").split()]
        except ValueError as error:
            raise InputError(f"no list of numbers: it {_beginning(path)}") from error
        if len(numbers) != count:
            raise InputError(f"it holds {len(numbers)} numbers, expected {count}")
        return f"{count} numbers"

    return check


def check_converted_model(path: Path) -> str:
    """BFM_model_front.mat of any mesh: its bases must fit each other."""
    check_mat(path, _CONVERTED)
    shapes = {name: shape for name, shape, _ in whosmat(path)}
    rows = {shapes[name][0] for name in ("idBase", "exBase", "texBase")}
    rows |= {shapes[name][1] for name in ("meanshape", "meantex")}
    if len(rows) != 1 or rows.pop() != 3 * shapes["point_buf"][0]:
        raise InputError("its means, bases and point_buf are of different numbers of vertices")
    return f"{shapes['point_buf'][0]} vertices, {shapes['tri'][0]} triangles"


def _mat(**arrays: Shape) -> Callable[[Path], str]:
    return lambda path: check_mat(path, arrays)


_CONVERTED: dict[str, Shape] = {
    "meanshape": (1, None),
    "meantex": (1, None),
    "idBase": (None, 80),
    "exBase": (None, 64),
    "texBase": (None, 80),
    "tri": (None, 3),
    "point_buf": (None, 8),
    "tri_mask2": (None, 3),
    "keypoints": (1, 68),
    "skinmask": (1, None),
}
_IDENTITY: dict[str, Shape] = {
    "shapePC": (3 * IDENTITY_VERTICES, IDENTITY_COMPONENTS),
    "shapeMU": (3 * IDENTITY_VERTICES, 1),
    "shapeEV": (IDENTITY_COMPONENTS, 1),
    "texPC": (3 * IDENTITY_VERTICES, IDENTITY_COMPONENTS),
    "texMU": (3 * IDENTITY_VERTICES, 1),
    "texEV": (IDENTITY_COMPONENTS, 1),
}

BFM_FILES = (
    UserFile(
        "BFM_model_front.mat",
        "the Basel Face Model 2009 with expressions, as the public code uses it",
        "nobody: it is made from the files below",
        check_converted_model,
    ),
    UserFile(
        "01_MorphableModel.mat",
        "the Basel Face Model 2009: identity and texture",
        f"{_BASEL}: BaselFaceModel.tgz, in it PublicMM1/01_MorphableModel.mat",
        lambda path: check_mat(path, _IDENTITY),
    ),
    UserFile(
        "Exp_Pca.bin",
        "expressions for the Basel Face Model",
        "Guo et al., CoarseData (github.com/Juyong/3DFace)",
        check_expressions,
    ),
    UserFile(
        "BFM_front_idx.mat",
        "which vertices the public code keeps",
        _REPOSITORY,
        _mat(idx=(None, None)),
    ),
    UserFile(
        "BFM_exp_idx.mat",
        "which vertices have expressions",
        _REPOSITORY,
        _mat(trimIndex=(None, None)),
    ),
    UserFile(
        "facemodel_info.mat",
        "triangles, landmarks and masks of the public code's mesh",
        _REPOSITORY,
        _mat(tri=(None, 3), keypoints=(1, 68), tri_mask2=(None, 3), skinmask=(1, None)),
    ),
    UserFile(
        "std_exp.txt",
        "standard deviations of the expressions",
        _REPOSITORY,
        check_numbers(EXPRESSION_COMPONENTS),
    ),
    UserFile(
        "similarity_Lm3D_all.mat",
        "68 points to align photos by",
        _REPOSITORY,
        _mat(lm=(68, 3)),
    ),
)
"""Of `--bfm_folder`."""


def _beginning(path: Path) -> str:
    """How a file begins, for people who saved a web page or another format by mistake."""
    with path.open("rb") as file:
        head = file.read(64)
    if not head:
        return "is empty"
    if head.startswith(b"\x89HDF"):
        return "is an HDF5 file (.h5), such as the Basel models of 2017 and 2019"
    if head.lstrip().lower().startswith((b"<!doctype", b"<html")):
        return "is a web page"
    if head.startswith(b"version https://git-lfs"):
        return "is a Git LFS pointer, not the file itself"
    return f"begins with {head[:8]!r}"
