"""A face from a photo by an exported network: landmarks, head pose, mesh. An example to copy.

python face_from_onnx.py mine.onnx photo.jpg --box 120 80 340 330 --out result

It needs onnxruntime, numpy and Pillow, and nothing of this project. The box is that of the face
from brows to chin (left, top, right, bottom in pixels, of any detector); without one the picture
is taken to be a face crop already. Written are result.txt (landmarks x y z), result.jpg (drawn)
and, where the file was exported with --dense, result.obj.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnxruntime
from PIL import Image, ImageDraw, ImageOps


@dataclass(frozen=True)
class Face:
    """What the network says about one face."""

    landmarks: np.ndarray
    """(68, 3): x, y in continuous pixels of the photo (first pixel's centre at 0.5), y down; z
    towards the camera, in the unit of the vertices."""
    angles_deg: tuple[float, float, float]
    """Pitch (up), yaw (to the image's right), roll (clockwise in the image)."""
    vertices: np.ndarray | None
    """(N, 3) x right, y up, z towards the camera."""
    triangles: np.ndarray | None
    """(F, 3)"""


class FaceNetwork:
    """An .onnx file that export.py wrote."""

    def __init__(self, path: Path) -> None:
        """Load it; its metadata say how crops must look."""
        self.session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
        meaning = self.session.get_modelmeta().custom_metadata_map.get("face3d")
        if meaning is None:
            raise ValueError(f"{path} was not written by export.py: it does not say what it needs")
        self.meaning = json.loads(meaning)
        self.names = [output.name for output in self.session.get_outputs()]

    def __call__(self, photo: Image.Image, box: tuple[float, float, float, float] | None) -> Face:
        """The face in a box of an RGB photo; without a box the photo is the crop."""
        side = self.meaning["image_px"]
        window = self._window(photo, box)
        left, top, right, bottom = window
        zoom_x, zoom_y = (right - left) / side, (bottom - top) / side
        # 1. Cut the window out (black beyond the photo) and scale it to the network's size.
        size = (max(round(right - left), 1), max(round(bottom - top), 1))
        part = photo.transform(size, Image.Transform.EXTENT, window, Image.Resampling.BILINEAR)
        crop = part.resize((side, side), Image.Resampling.BILINEAR)
        # 2. One picture, channels first, RGB in [0, 1].
        images = np.asarray(crop, np.float32).transpose(2, 0, 1)[None] / 255
        found = [np.asarray(output) for output in self.session.run(None, {"images": images})]
        outputs = dict(zip(self.names, found, strict=True))
        # 3. Landmarks back to the photo.
        landmarks = outputs["landmarks"][0].astype(np.float64)
        landmarks[:, :2] = landmarks[:, :2] * [zoom_x, zoom_y] + [left, top]
        # 4. Angles of R = Rz(roll) Ry(yaw) Rx(pitch); y up, so that signs of two of them turn.
        r = outputs["rotation"][0].astype(np.float64)
        pitch = -math.atan2(r[2, 1], r[2, 2])
        yaw = math.asin(max(-1.0, min(1.0, -r[2, 0])))
        roll = -math.atan2(r[1, 0], r[0, 0])
        vertices = outputs.get("vertices")
        return Face(
            landmarks,
            (math.degrees(pitch), math.degrees(yaw), math.degrees(roll)),
            None if vertices is None else vertices[0],
            outputs.get("triangles"),
        )

    def _window(self, photo: Image.Image, box: tuple[float, ...] | None) -> tuple[float, ...]:
        """The part of the photo (left, top, right, bottom) that becomes the crop."""
        if box is None:
            return (0, 0, photo.width, photo.height)
        # The network has learned crops in which the landmarks' box lies in a certain place.
        left, top, right, bottom = box
        a, b, c, d = self.meaning["face_box_px"]
        zoom = max(right - left, bottom - top) / max(c - a, d - b)
        x = (left + right) / 2 - zoom * (a + c) / 2
        y = (top + bottom) / 2 - zoom * (b + d) / 2
        side = zoom * self.meaning["image_px"]
        return (x, y, x + side, y + side)


def write_obj(path: Path, vertices: np.ndarray, triangles: np.ndarray) -> None:
    """Write a mesh that any viewer opens."""
    lines = [f"v {x:.6f} {y:.6f} {z:.6f}" for x, y, z in vertices]
    lines += [f"f {a} {b} {c}" for a, b, c in triangles + 1]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")


def main() -> None:
    """Run on one photo."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model", type=Path, help="the .onnx file")
    parser.add_argument("photo", type=Path)
    parser.add_argument("--box", type=float, nargs=4, metavar=("L", "T", "R", "B"))
    parser.add_argument("--out", type=Path, default=Path("face"), help="results, without an ending")
    arguments = parser.parse_args()
    box = arguments.box
    if box is not None and (box[2] <= box[0] or box[3] <= box[1]):
        sys.exit(f"error: --box {box} is not left, top, right, bottom")
    for path in (arguments.model, arguments.photo):
        if not path.is_file():
            sys.exit(f"error: {path} does not exist")
    photo = ImageOps.exif_transpose(Image.open(arguments.photo)).convert("RGB")
    face = FaceNetwork(arguments.model)(photo, None if box is None else tuple(box))
    print("pitch {:.1f}, yaw {:.1f}, roll {:.1f} degrees".format(*face.angles_deg))

    out: Path = arguments.out
    out.parent.mkdir(parents=True, exist_ok=True)
    np.savetxt(f"{out}.txt", face.landmarks, fmt="%.3f")
    draw = ImageDraw.Draw(photo)
    for x, y, _ in face.landmarks:
        draw.ellipse((x - 2, y - 2, x + 2, y + 2), fill=(255, 48, 48))
    photo.save(f"{out}.jpg", quality=95)
    if face.vertices is not None and face.triangles is not None:
        write_obj(Path(f"{out}.obj"), face.vertices, face.triangles)


if __name__ == "__main__":
    main()
