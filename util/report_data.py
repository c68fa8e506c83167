"""A reconstructed face as the report's viewer reads it: small arrays, deflated, as base64 text.

Positions have 16 bits, what an expression unit adds has 8 of its largest. What all faces of a model
share (triangles, units) is packed once. Together about half a megabyte for the open model.
"""

from __future__ import annotations

import base64
import zlib
from typing import Any

import numpy as np

from models.face_model import FaceModel
from models.lighting import light_coefficients
from util.face_gltf import unit_deltas
from util.face_result import FaceResult

NEGLIGIBLE_DM = 0.001
"""What a unit moves by less stays where it is."""


def packed(array: np.ndarray) -> str:
    """Little-endian bytes, deflated, as base64."""
    little_endian = np.ascontiguousarray(array, dtype=array.dtype.newbyteorder("<"))
    return base64.b64encode(zlib.compress(little_endian.tobytes(), 6)).decode("ascii")


class MeshPacker:
    """Packs the meshes of one face model's faces."""

    def __init__(self, face_model: FaceModel) -> None:
        """Pack what they share.

        Args:
            face_model: on any device.
        """
        triangles = face_model.triangles.cpu().numpy()
        embedding = face_model.landmark_embedding
        self._wide = face_model.vertex_count > 65536
        self._triangles = packed(triangles.reshape(-1).astype("u4" if self._wide else "u2"))
        self._units = _units(face_model)
        self._landmarks = {
            "corners": embedding.vertices.cpu().numpy().reshape(-1).tolist(),
            "weights": [round(w, 4) for w in embedding.barycentrics.cpu().reshape(-1).tolist()],
        }

    def pack(self, face: FaceResult) -> dict[str, Any]:
        """What `loadFace` of face.js reads.

        Raises:
            ValueError: a vertex, colour or light is not finite, or the face has no albedo.
        """
        if face.albedo is None:
            raise ValueError(f"{face.stem}: a report needs the albedo of the face")
        # In the head's own frame: the viewer poses it.
        rotation, vertices = face.head_rotation, face.head_vertices
        harmonics = light_coefficients(face.coefficients.gamma.detach().double().cpu())[0].numpy()
        for what, values in (
            ("vertices", vertices),
            ("albedo", face.albedo),
            ("light", harmonics),
        ):
            if not np.isfinite(values).all():
                raise ValueError(f"{face.stem}: {what} of the report are not finite")
        scale = max(float(np.abs(vertices).max()), 1e-6) / 32767
        levels = np.rint(vertices / scale).astype(np.int16)
        # Neighbours are near each other, so that differences deflate better; they may wrap.
        steps = np.diff(levels, axis=0, prepend=np.zeros((1, 3), np.int16))
        return {
            "vertex_count": len(vertices),
            "vertices": {"steps": packed(steps.T), "scale": scale},
            "triangles": self._triangles,
            "wide": self._wide,
            "albedo": packed(np.rint(255 * face.albedo.clip(0, 1)).astype(np.uint8)),
            "harmonics": harmonics.reshape(-1).tolist(),
            "rotation": rotation.reshape(-1).tolist(),
            "units": self._units,
            "landmarks": self._landmarks,
        }


def _units(face_model: FaceModel) -> dict[str, Any]:
    """Names of the named expression units and what each adds, all x, then all y, then all z."""
    names, deltas = face_model.unit_names, unit_deltas(face_model)
    deltas[np.linalg.norm(deltas, axis=2) < NEGLIGIBLE_DM] = 0
    scales = np.abs(deltas).max(axis=(1, 2)).clip(1e-9) / 127
    levels = np.rint(deltas / scales[:, None, None]).astype(np.int8)
    return {
        "names": list(names),
        "scales": scales.tolist(),
        "deltas": packed(levels.swapaxes(1, 2)),
    }
