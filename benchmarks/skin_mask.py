"""Skin mask of a 1024 x 1024 photo against the two plain ways to write it.

From the root: `OMP_NUM_THREADS=1 python -m benchmarks.skin_mask [--repeats N]`, one thread for all.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable

import numpy as np
from PIL import Image

from benchmarks.timing import compare
from data.skin_mask import (
    NOT_SKIN,
    RGB_TO_YCBCR,
    SKIN,
    SKIN_PRIOR,
    YCBCR_OFFSET,
    GaussianMixture,
    skin_mask,
)

TARGETS = {"loop with math.exp": 30, "(e @ C) * e": 10}
SIDE_PX = 1024


def loop_exp(powers: np.ndarray) -> np.ndarray:
    """The exponential of each number in turn."""
    return np.array([math.exp(power) for power in powers])


def plain_mask(image: np.ndarray, exp: Callable[[np.ndarray], np.ndarray]) -> np.ndarray:
    """The mask with one row a pixel, in double precision."""
    colours = image.reshape(-1, 3) @ RGB_TO_YCBCR.T + YCBCR_OFFSET

    def likelihood(mixture: GaussianMixture) -> np.ndarray:
        total = np.zeros(len(colours))
        for component, mean in enumerate(mixture.means):
            e = colours - mean
            distance = ((e @ mixture.inverse_covariance(component)) * e).sum(axis=1)
            total += mixture.factor(component) * exp(-0.5 * distance)
        return total

    skin, other = SKIN_PRIOR * likelihood(SKIN), (1 - SKIN_PRIOR) * likelihood(NOT_SKIN)
    return np.round(255 * skin / (skin + other)).astype(np.uint8).reshape(image.shape[:2])


def colourful_image(side_px: int) -> np.ndarray:
    """Smooth patches of skin tones and of any colours, with some noise."""
    random = np.random.default_rng(0)
    patches = random.integers(0, 256, (24, 24, 3))
    patches[:, :12] = np.clip(random.normal([200, 150, 120], 25, (24, 12, 3)), 0, 255)
    smooth = Image.fromarray(patches.astype(np.uint8)).resize((side_px, side_px))
    noise = random.normal(0, 4, (side_px, side_px, 3))
    return np.clip(np.asarray(smooth) + noise, 0, 255).astype(np.uint8)


def main() -> None:
    """Print the table, the ratios and the largest difference."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=5, help="measured rounds")
    arguments = parser.parse_args()
    image = colourful_image(SIDE_PX)
    forms = {
        "loop with math.exp": lambda: plain_mask(image, loop_exp),
        "(e @ C) * e": lambda: plain_mask(image, np.exp),
        "skin_mask": lambda: skin_mask(image),
    }
    title = f"skin mask, {SIDE_PX} x {SIDE_PX}"
    table = compare(forms, arguments.repeats, title=title)
    print(table)
    for name, target in TARGETS.items():
        ratio = table[name].median / table["skin_mask"].median
        print(f"{ratio:.0f} times as fast as {name} (target {target})")
    difference = np.abs(skin_mask(image).astype(int) - plain_mask(image, np.exp))
    print(
        f"at most {difference.max()} of 255 levels off (target 1), "
        f"in {(difference > 0).mean():.1e} of the pixels (target 1e-4)"
    )


if __name__ == "__main__":
    main()
