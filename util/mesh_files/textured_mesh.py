"""Meshes with texture maps: as the public SynergyNet tools write them, and as viewers want them.

Maps are in the coordinates of the Basel Face Model (`BFM_UV.npy`), origin bottom left. The public
tools write one colour a vertex, taken from the map's nearest pixel, and of the face only the part
that maps cover (`keptInd.npy`, `deletedTri.npy`). A mesh with the map itself as its texture shows
every pixel of it.
"""

from __future__ import annotations

import zlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from data.images import read_image, write_image
from models.synergy.morphable import SynergyFace
from util.atomic import atomic_file, write_bytes, write_text
from util.errors import InputError
from util.mesh_files.mesh_file import remark_lines
from util.model_files.safe_pickle import read_npy

_KEPT, _TRIANGLES = "keptInd.npy", "deletedTri.npy"
_REMEDY = "take 3dmm_data of SynergyNet as it is"


@dataclass(frozen=True)
class TexturedPart:
    """The part of a mesh that maps cover."""

    vertices: np.ndarray
    """(K,) numbers of its vertices."""
    triangles: np.ndarray
    """(F, 3) into these K."""
    uv: np.ndarray
    """(U, 2) texture coordinates in [0, 1], origin bottom left."""
    uv_triangles: np.ndarray
    """(F, 3) into these U."""

    @property
    def vertex_uv(self) -> np.ndarray:
        """(K, 2) one coordinate for each vertex; on seams that of any triangle."""
        result = np.zeros((len(self.vertices), 2), self.uv.dtype)
        result[self.triangles.reshape(-1)] = self.uv[self.uv_triangles.reshape(-1)]
        return result


def textured_part(face: SynergyFace, mm_folder: Path | None) -> TexturedPart:
    """What of a face is textured: by the files of 3dmm_data, else all of it.

    Raises:
        InputError: a face model without texture coordinates, or files of another one.
    """
    if face.uv is None or face.uv_triangles is None:
        raise InputError(
            "the face model has no texture coordinates; give --mm_folder 3dmm_data with BFM_UV.npy "
            "of SynergyNet (in 3DDFA_V2: configs/BFM_UV.mat)"
        )
    uv, corners = face.uv.cpu().numpy(), face.uv_triangles.cpu().numpy()
    triangles, count = face.triangles.cpu().numpy(), face.vertex_count
    paths = [] if mm_folder is None else [mm_folder / _KEPT, mm_folder / _TRIANGLES]
    if not any(path.is_file() for path in paths):
        return TexturedPart(np.arange(count), triangles, uv, corners)
    kept = _indices(paths[0], (-1,), count)
    part = _indices(paths[1], (3, -1), len(kept) + 1, first=1) - 1
    if len(uv) != count:
        raise InputError(f"{paths[0]} is of another face model than the checkpoint; {_REMEDY}")
    part = part.T
    normal = face.mean.reshape(-1, 3).cpu().numpy()[kept][part].astype(np.float64)
    towards = np.cross(normal[:, 1] - normal[:, 0], normal[:, 2] - normal[:, 0])[:, 2]
    if towards.sum() < 0:  # whichever way the file goes around
        part = part[:, ::-1]
    part = np.ascontiguousarray(part)
    return TexturedPart(kept, part, uv[kept], part)


def nearest_colours(texture: np.ndarray, uv: np.ndarray) -> np.ndarray:
    """The public rule: the pixel (int(v (H - 1)), int(u (W - 1))) of the map turned upside down.

    Args:
        texture: (H, W, 3) uint8.
        uv: (K, 2) in [0, 1].

    Returns:
        (K, 3) uint8.
    """
    turned = texture[::-1]
    size = np.array(texture.shape[1::-1]) - 1
    column, row = (np.clip(uv, 0, 1) * size).astype(np.int32).T
    return turned[row, column]


def write_public_obj(
    path: Path, vertices: np.ndarray, triangles: np.ndarray, colours: np.ndarray
) -> None:
    """Lines `v x y z R G B` with colours from 0 to 255, as SynergyNet's tools write them.

    Args:
        path: the .obj.
        vertices: (K, 3) pixels of the photo, y down as there.
        triangles: (F, 3) from 0.
        colours: (K, 3) uint8.
    """
    if not np.isfinite(vertices).all():
        raise ValueError(f"{path.name}: the mesh has non-finite vertices")
    rows = np.concatenate([vertices, colours.astype(np.float64)], axis=1)
    text = "v %.4f %.4f %.4f %.1f %.1f %.1f\n" * len(rows) % tuple(rows.ravel().tolist())
    faces = "f %d %d %d\n" * len(triangles) % tuple((triangles + 1).ravel().tolist())
    write_text(path, text + faces)


def material_stem(stem: str) -> str:
    """Name of the material and texture of `<stem>.obj`, without ending.

    Names end at a space in .obj and .mtl files. `a b` must not take the texture of `a_b` beside it.
    """
    if not any(character.isspace() for character in stem):
        return stem
    mark = zlib.crc32(stem.encode("utf-8", "surrogateescape")) & 0xFFFF
    return "_".join(stem.split()) + f"_{mark:04x}"


def write_textured_obj(
    path: Path,
    vertices: np.ndarray,
    triangles: np.ndarray,
    uv: np.ndarray,
    uv_triangles: np.ndarray,
    texture: np.ndarray | bytes,
    *,
    decimals: int = 4,
    remark: str = "",
    material: str = "",
) -> None:
    """Write `<stem>.obj`, and its material (.mtl) and texture (.png) beside it.

    Args:
        path: the .obj.
        vertices: (K, 3) y up.
        triangles: (F, 3) from 0, counter-clockwise seen from outside.
        uv: (U, 2) origin bottom left.
        uv_triangles: (F, 3) corners' coordinates.
        texture: (H, W, 3) uint8, or the content of a PNG file.
        decimals: of coordinates.
        remark: a line, or several, before the mesh, such as its unit.
        material: name of .mtl and .png, without spaces; else `material_stem` gives it.

    Raises:
        ValueError: a number is not finite; nothing is written.
    """
    if not (np.isfinite(vertices).all() and np.isfinite(uv).all()):
        raise ValueError(f"{path.name}: the mesh has non-finite numbers")
    material = material or material_stem(path.stem)
    lines = [remark_lines(remark), f"mtllib {material}.mtl\nusemtl skin\n"]
    vertex = "v " + " ".join([f"%.{decimals}f"] * 3) + "\n"
    lines.append(vertex * len(vertices) % tuple(vertices.ravel().tolist()))
    lines.append("vt %.6f %.6f\n" * len(uv) % tuple(uv.ravel().tolist()))
    both = np.stack([triangles, uv_triangles], axis=2) + 1
    lines.append("f %d/%d %d/%d %d/%d\n" * len(both) % tuple(both.ravel().tolist()))
    surface = "newmtl skin\nKa 1 1 1\nKd 1 1 1\nKs 0 0 0\nillum 1\n" + f"map_Kd {material}.png\n"
    picture = path.with_name(f"{material}.png")
    if isinstance(texture, bytes):
        write_bytes(picture, texture)
    else:
        write_image(picture, texture)
    write_text(path.with_name(f"{material}.mtl"), surface)
    with atomic_file(path, "w") as file:
        file.writelines(lines)


def read_map(folder: Path, names: tuple[str, ...]) -> np.ndarray:
    """The texture map of a photo, (H, W, 3) uint8.

    Args:
        folder: of the maps.
        names: that it may have; the first that is there is taken.

    Raises:
        InputError: none is there.
    """
    for name in names:
        if (folder / name).is_file():
            return read_image(folder / name)
    raise InputError(
        f"{folder / names[0]} does not exist: the texture map of this photo; SynergyNet's "
        "uv_art.zip and texture_data hold those of its examples"
    )


def _indices(path: Path, shape: tuple[int, ...], limit: int, first: int = 0) -> np.ndarray:
    """Whole numbers from `first` to below `limit`."""
    array = read_npy(path, _REMEDY)
    fits = isinstance(array, np.ndarray) and array.dtype.kind in "iu"
    if fits and array.ndim == 2 and shape[0] == -1 and 1 in array.shape:
        array = array.reshape(-1)
    fits = fits and len(array.shape) == len(shape)
    if not fits or any(w not in (-1, n) for w, n in zip(shape, array.shape, strict=True)):
        raise InputError(f"{path} does not hold numbers of {shape}; {_REMEDY}")
    if array.size == 0:
        raise InputError(f"{path} is empty; {_REMEDY}")
    if array.min() < first or array.max() >= limit:
        raise InputError(
            f"{path} holds numbers from {array.min()} to {array.max()}, needed are {first} to "
            f"{limit - 1}: it is of another face model; {_REMEDY}"
        )
    return array.astype(np.int64)
