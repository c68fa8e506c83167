"""Alignment of photos of 1000 and 4000 pixels: crop before resizing against resizing everything.

From the root: `python -m benchmarks.alignment [--repeats N]`.
"""

from __future__ import annotations

import argparse

import numpy as np
from PIL import Image

from benchmarks.skin_mask import colourful_image
from benchmarks.timing import compare
from data.alignment import Alignment

STANDARD_POINTS = np.array(
    [[-0.31, 0.29, 0.13], [0.31, 0.29, 0.13], [0, -0.02, 0.4], [-0.25, -0.34, 0.17],
     [0.25, -0.34, 0.17]]
)  # fmt: skip
"""Eyes, nose tip and mouth corners of a face in decimetres."""
FACE_HEIGHT_DM = 1.9
"""From the chin to the hair."""


def resize_then_crop(image: np.ndarray, alignment: Alignment) -> np.ndarray:
    """The public code's way."""
    resized = Image.fromarray(image).resize(alignment.resized_size, Image.Resampling.BICUBIC)
    left, top, side = alignment.left, alignment.top, alignment.crop_px
    return np.asarray(resized.crop((left, top, left + side, top + side)))


def main() -> None:
    """Print a table for each size of photo and face."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=10, help="measured rounds")
    arguments = parser.parse_args()
    for width, face_share in ((1000, 0.5), (4000, 0.8), (4000, 0.5), (4000, 0.2)):
        photo = np.ascontiguousarray(colourful_image(width)[: width * 3 // 4])
        scale = face_share * len(photo) / FACE_HEIGHT_DM
        five = STANDARD_POINTS[:, :2] * [scale, -scale] + [width / 2, len(photo) / 2]
        alignment = Alignment.from_landmarks(five, (width, len(photo)), STANDARD_POINTS)
        table = compare(
            {
                "resize all, crop": lambda p=photo, a=alignment: resize_then_crop(p, a),
                "crop first": lambda p=photo, a=alignment: a.cut(p),
            },
            arguments.repeats,
            title=f"{width} x {len(photo)} px photo, face of {face_share:.0%} of its height",
        )
        print(table)
        whole = resize_then_crop(photo, alignment).astype(int)
        difference = np.abs(alignment.cut(photo) - whole)
        print(
            f"{table.ratio('crop first'):.1f} times as fast; at most {difference.max()} of 255 "
            f"levels off, in {(difference > 0).mean():.1e} of the values\n"
        )


if __name__ == "__main__":
    main()
