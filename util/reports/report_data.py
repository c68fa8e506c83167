"""Faces as the reports' viewer reads them: small arrays, deflated, as base64 text.

Positions have 16 bits, what an expression unit adds has 8 of its largest. What all faces of a model
share (triangles, units) is packed once. Together about half a megabyte for the open model, at its
finest level too, of which the mesh before the refinement is shown: its vertices are among the
finer ones, and the others lie between them.
"""

from __future__ import annotations

import base64
import io
import zlib
from typing import Any

import numpy as np
from PIL import Image

from models.face_model import CoarserMesh, FaceModel
from models.lighting import light_coefficients
from models.mouth import behind_lips
from util.mesh_files.face_gltf import unit_deltas
from util.photos.face_result import FaceResult
from util.reports.report_parts import jpeg_bytes, jpeg_uri

NEGLIGIBLE_DM = 0.001
"""What a unit moves by less stays where it is."""
TEXTURE_PX = 512
"""Side of a texture on a page."""


def packed(array: np.ndarray) -> str:
    """Little-endian bytes, deflated, as base64."""
    little_endian = np.ascontiguousarray(array, dtype=array.dtype.newbyteorder("<"))
    return base64.b64encode(zlib.compress(little_endian.tobytes(), 6)).decode("ascii")


def pack_vertices(vertices: np.ndarray) -> dict[str, Any]:
    """Positions (V, 3), which `undifference` of common.js reads."""
    scale = max(float(np.abs(vertices).max()), 1e-6) / 32767
    levels = np.rint(vertices / scale).astype(np.int16)
    # Neighbours are near each other, so that differences deflate better; they may wrap.
    steps = np.diff(levels, axis=0, prepend=np.zeros((1, 3), np.int16))
    return {"steps": packed(steps.T), "scale": scale}


def pack_deltas(deltas: np.ndarray) -> dict[str, Any]:
    """What each of K shapes adds to positions (K, V, 3): all x, then all y, then all z."""
    scales = np.abs(deltas).max(axis=(1, 2), initial=0).clip(1e-9) / 127
    levels = np.rint(deltas / scales[:, None, None]).astype(np.int8)
    return {"scales": scales.tolist(), "deltas": packed(levels.swapaxes(1, 2))}


class TexturePacker:
    """Packs textures of one face model, whose texture coordinates they share.

    A vertex on a seam has several coordinates. Here it becomes several vertices: one keeps its
    number, copies for the others follow after the last vertex, and the corners of triangles that
    take a copy, a few, are told one by one.
    """

    def __init__(
        self, uv: np.ndarray, uv_triangles: np.ndarray, triangles: np.ndarray, vertex_count: int
    ) -> None:
        """Find the seams.

        Args:
            uv: (U, 2) in [0, 1], origin bottom left.
            uv_triangles: (F, 3) into these.
            triangles: (F, 3) of the mesh.
            vertex_count: of the mesh.
        """
        corners, of_uv = triangles.reshape(-1).astype(np.int64), uv_triangles.reshape(-1)
        pairs, pair_of = np.unique(corners * len(uv) + of_uv, return_inverse=True)
        # The least coordinate of a vertex keeps its number.
        vertices, coordinates = np.divmod(pairs, len(uv))
        is_first = np.diff(vertices, prepend=-1) > 0
        copies = vertices[~is_first]
        numbers = np.where(is_first, vertices, 0)
        numbers[~is_first] = vertex_count + np.arange(len(copies))
        every = np.zeros((vertex_count + len(copies), 2))
        every[numbers] = uv[coordinates].clip(0, 1)
        moved = numbers[pair_of.reshape(-1)]
        changed = np.flatnonzero(moved != corners)
        self._shared = {
            "uv": packed(np.rint(65535 * every.T).astype(np.uint16)),
            "copies": packed(copies.astype(np.uint32)),
            "corners": packed(changed.astype(np.uint32)),
            "become": packed(moved[changed].astype(np.uint32)),
        }

    def pack(self, picture: bytes, quality: int) -> dict[str, Any]:
        """A texture (the bytes of a picture file) as `loadTexture` of face.js reads it."""
        with Image.open(io.BytesIO(picture)) as image:
            small = image.convert("RGB").resize((TEXTURE_PX, TEXTURE_PX), Image.Resampling.BOX)
        content = jpeg_bytes(np.asarray(small), TEXTURE_PX, quality)
        return {**self._shared, "picture": jpeg_uri(content)}


def page_mesh(face_model: FaceModel) -> CoarserMesh:
    """What a page shows: the coarser mesh of a model that has one, else its own."""
    if face_model.coarser is not None:
        return face_model.coarser
    embedding = face_model.landmark_embedding
    uv, uv_triangles = face_model.uv, face_model.uv_triangles
    return CoarserMesh(
        face_model.vertex_count,
        face_model.triangles.cpu().numpy(),
        embedding.vertices.cpu().numpy(),
        embedding.barycentrics.cpu().numpy(),
        None if uv is None else uv.cpu().numpy(),
        None if uv_triangles is None else uv_triangles.cpu().numpy(),
    )


class MeshPacker:
    """Packs the meshes of one face model's faces, as `page_mesh` shows them."""

    def __init__(self, face_model: FaceModel) -> None:
        """Pack what they share.

        Args:
            face_model: on any device.
        """
        mesh = page_mesh(face_model)
        self._count = count = mesh.vertex_count
        self._wide = count > 65536
        self._triangles = packed(mesh.triangles.reshape(-1).astype("u4" if self._wide else "u2"))
        inside = np.flatnonzero(behind_lips(face_model).cpu().numpy()[:count])
        self._inside = packed(inside.astype(np.uint32))
        self._units = _units(face_model, count)
        self._texture = None
        if mesh.uv is not None and mesh.uv_triangles is not None:
            self._texture = TexturePacker(mesh.uv, mesh.uv_triangles, mesh.triangles, count)
        self._landmarks = {
            "corners": mesh.landmark_vertices.reshape(-1).tolist(),
            "weights": [round(w, 4) for w in mesh.landmark_barycentrics.reshape(-1).tolist()],
        }

    def pack(self, face: FaceResult) -> dict[str, Any]:
        """What `loadFace` of face.js reads.

        Raises:
            ValueError: a vertex, colour or light is not finite.
        """
        # In the head's own frame: the viewer poses it.
        rotation, vertices = face.head_rotation, face.head_vertices
        colours, light = face.surface_colours, None
        if face.light is not None:
            light = light_coefficients(face.light.detach().double().cpu())[0].numpy().reshape(-1)
        for what, values in (
            ("vertices", vertices),
            ("colours" if face.albedo is None else "albedo", colours),
            ("light", np.zeros(0) if light is None else light),
        ):
            if not np.isfinite(values).all():
                raise ValueError(f"{face.stem}: {what} of the report are not finite")
        return {
            **self.pack_head(vertices, colours),
            "harmonics": None if light is None else light.tolist(),
            "rotation": rotation.reshape(-1).tolist(),
            "units": self._units,
        }

    def pack_texture(self, texture_png: bytes | None, quality: int) -> dict[str, Any] | None:
        """A face's texture; None where there is none, or the model has no texture coordinates.

        Args:
            texture_png: picture whose bottom row is v = 0.
            quality: of the JPEG that it becomes.
        """
        if texture_png is None or self._texture is None:
            return None
        return self._texture.pack(texture_png, quality)

    def pack_head(self, vertices: np.ndarray, colours: np.ndarray) -> dict[str, Any]:
        """Mesh, colours (the albedo where it is known) and landmarks of a head in its own frame.

        Args:
            vertices: (V, 3) of the face model, decimetres.
            colours: (V, 3) in [0, 1].
        """
        vertices, colours = vertices[: self._count], colours[: self._count]
        return {
            "vertex_count": self._count,
            "vertices": pack_vertices(vertices),
            "triangles": self._triangles,
            "wide": self._wide,
            "colours": packed(np.rint(255 * colours.clip(0, 1)).astype(np.uint8)),
            "inside": self._inside,
            "landmarks": self._landmarks,
        }


def _units(face_model: FaceModel, count: int) -> dict[str, Any]:
    """Names of the named expression units, and what each adds to the first `count` vertices."""
    deltas = unit_deltas(face_model)[:, :count]
    deltas[np.linalg.norm(deltas, axis=2) < NEGLIGIBLE_DM] = 0
    return {"names": list(face_model.unit_names), **pack_deltas(deltas)}
