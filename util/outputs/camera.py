"""`camera`: the camera of the photo, in the conventions of OpenCV, OpenGL and PyTorch3D."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np

from models.camera_conventions import (
    focal_35mm,
    opencv_intrinsics,
    opengl_orthographic,
    opengl_projection,
    opengl_view,
    pytorch3d_view,
)
from util.atomic import write_text
from util.outputs.output import Output
from util.photos.face_result import FaceResult
from util.photos.photo_camera import PhotoCamera

FORMAT_VERSION = 1


class CameraOutput(Output):
    """Each convention has the head's pose, for meshes at rest, and that of the posed mesh."""

    what = "camera of the photo, for OpenCV, OpenGL and PyTorch3D"
    endings = ("_camera.json",)

    def write(self, folder: Path, face: FaceResult) -> None:
        """Write `<stem>_camera.json`."""
        path = folder / f"{face.stem}_camera.json"
        camera = face.camera
        arrays = (camera.K, camera.R, camera.t, camera.mesh_R, camera.mesh_t)
        if not all(np.isfinite(array).all() for array in arrays):
            raise ValueError(f"{path.name}: the camera is not finite")
        write_text(path, _text(self.record(face)) + "\n")

    def record(self, face: FaceResult) -> dict[str, Any]:
        """Plain values, as docs/outputs.md lists them.

        Raises:
            ValueError: the face is not finite, or lies outside of its photo.
        """
        if face.camera.kind == "weak":
            return self._weak_record(face)
        camera, size = face.camera, face.alignment.photo_size
        scale = self.source.options.units_in_a_dm
        usual = self.source.camera.refocused(face.focal_scale)
        near, far = scale * usual.near_dm, scale * usual.far_dm
        poses = _poses(camera, scale)
        K, t = camera.K, scale * camera.t
        opencv: dict[str, Any] = {"K": opencv_intrinsics(K)}
        opengl: dict[str, Any] = {"projection": opengl_projection(K, size, near, far)}
        pytorch3d: dict[str, Any] = {
            "focal_length": K.diagonal()[:2],
            "principal_point": K[:2, 2],
            "image_size": np.array(size[::-1]),
            "in_ndc": False,
        }
        for prefix, (R, shift) in poses.items():
            opencv |= {f"{prefix}R": R, f"{prefix}t": shift}
            opengl[f"{prefix}model_view"] = opengl_view(R, shift)
            rows, moved = pytorch3d_view(R, shift)
            pytorch3d |= {f"{prefix}R": rows, f"{prefix}T": moved}
        return _plain(
            {
                **self._head(face),
                "distance": float(np.linalg.norm(t)),
                "depth": float(t[2]),
                "near": near,
                "far": far,
                "focal_px": K.diagonal()[:2],
                "focal_35mm": focal_35mm(K, size),
                "focal_fitted": face.fit is not None and face.fit.fitted_focal,
                "field_of_view_deg": [
                    math.degrees(2 * math.atan(side / 2 / focal))
                    for side, focal in zip(size, K.diagonal()[:2], strict=True)
                ],
                "maps": self.source.maps.box(face).record,
                "opencv": opencv,
                "opengl": opengl,
                "pytorch3d": pytorch3d,
            }
        )

    def _head(self, face: FaceResult) -> dict[str, Any]:
        return {
            "format_version": FORMAT_VERSION,
            "photo": face.photo.name,
            "photo_size": list(face.alignment.photo_size),
            "face": face.number,
            "face_model": face.face_model.record,
            "unit": self.source.options.unit,
            "projection": face.camera.kind,
        }

    def _weak_record(self, face: FaceResult) -> dict[str, Any]:
        """As docs/outputs.md lists it for weak perspective: no distance, no focal length.

        A point's pixel is `scale (R X + t) + centre`, whatever its depth. Points are told apart in
        depth by t, whose third number only keeps them before the camera.
        """
        camera, size = face.camera, face.alignment.photo_size
        scale = self.source.options.units_in_a_dm
        usual = self.source.camera
        near, far = scale * usual.near_dm, scale * usual.far_dm
        pixels = camera.pixels_a_dm / scale
        centre = camera.K[:2, 2]
        opencv: dict[str, Any] = {"scale": pixels, "centre": centre - 0.5}
        opengl: dict[str, Any] = {
            "projection": opengl_orthographic(pixels, centre, size, near, far)
        }
        pytorch3d: dict[str, Any] = {
            "focal_length": pixels,
            "principal_point": centre,
            "image_size": np.array(size[::-1]),
            "in_ndc": False,
        }
        for prefix, (R, shift) in _poses(camera, scale).items():
            opencv |= {f"{prefix}R": R, f"{prefix}t": shift}
            opengl[f"{prefix}model_view"] = opengl_view(R, shift)
            rows, moved = pytorch3d_view(R, shift)
            pytorch3d |= {f"{prefix}R": rows, f"{prefix}T": moved}
        return _plain(
            {
                **self._head(face),
                "near": near,
                "far": far,
                "pixels_a_unit": pixels,
                "maps": self.source.maps.box(face).record,
                "opencv": opencv,
                "opengl": opengl,
                "pytorch3d": pytorch3d,
            }
        )


def _poses(camera: PhotoCamera, scale: float) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Prefix of the keys -> rotation and translation, of the head at rest and the posed mesh."""
    return {"": (camera.R, scale * camera.t), "mesh_": (camera.mesh_R, scale * camera.mesh_t)}


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _plain(inner) for key, inner in value.items()}
    return value.tolist() if isinstance(value, np.ndarray) else value


def _text(record: dict[str, Any], indent: str = "") -> str:
    """JSON with one entry a line: short, and still readable."""
    lines = []
    for key, value in record.items():
        if isinstance(value, dict):
            text = _text(value, indent + " ")
        else:
            text = json.dumps(value, ensure_ascii=False, allow_nan=False)
        lines.append(f"{indent} {json.dumps(key)}: {text}")
    return "{\n" + ",\n".join(lines) + f"\n{indent}}}"
