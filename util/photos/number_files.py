"""Write what is known of a face beside its coefficients as `.json`: crop, camera, landmarks.

docs/results.md explains each entry.
"""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

from util.atomic import write_text
from util.photos.face_result import FaceResult

FORMAT_VERSION = 1


def write_face_file(path: Path, face: FaceResult) -> None:
    """Write `face_record` as UTF-8 text.

    Raises:
        ValueError: a number is not finite; nothing is written.
    """
    try:
        entries = [
            f"{json.dumps(key)}: {json.dumps(value, ensure_ascii=False, allow_nan=False)}"
            for key, value in face_record(face).items()
        ]
    except ValueError as error:
        raise ValueError(f"{path.name}: the camera or a landmark is not finite") from error
    # One entry a line: short, and still readable.
    write_text(path, "{" + ",\n ".join(entries) + "}\n")


def face_record(face: FaceResult) -> dict[str, Any]:
    """Plain values, as docs/results.md lists them; of a face in pixels its own record."""
    if face.pixels is not None:
        return {"photo": face.photo.name, "face": face.number, **face.pixels.record}
    alignment, camera = face.aligned, face.camera
    angles = face.coefficients.angles_rad[0].tolist()
    return {
        "format_version": FORMAT_VERSION,
        "photo": face.photo.name,
        "photo_size": list(alignment.photo_size),
        "face": face.number,
        "face_model": face.face_model.record,
        "crop_size": [alignment.crop_px, alignment.crop_px],
        "photo_to_crop": alignment.matrix.tolist(),
        "crop_to_photo": alignment.inverse_matrix.tolist(),
        "trans_params": alignment.public_parameters.tolist(),
        "K": camera.K.tolist(),
        "R": camera.R.tolist(),
        "t": camera.t.tolist(),
        "mesh_R": camera.mesh_R.tolist(),
        "mesh_t": camera.mesh_t.tolist(),
        "angles_deg": [math.degrees(angle) for angle in angles],
        "landmarks": face.landmarks_photo.tolist(),
    }
