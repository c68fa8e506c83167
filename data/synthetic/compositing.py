"""Turn rendered people into photographs: background, things in front of the face, the camera.

All work is on one picture of the crop's size, float32 RGB in [0, 1], with numpy and Pillow.
"""

from __future__ import annotations

import io
import math
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageDraw

from data.synthetic.scene import random_colour

JPEG_QUALITY = (25, 95)
BILINEAR, BICUBIC = Image.Resampling.BILINEAR, Image.Resampling.BICUBIC


@dataclass(frozen=True)
class Photograph:
    """A finished sample."""

    jpeg: bytes
    """The encoded picture."""
    skin_mask: np.ndarray
    """(H, W) uint8, 255 where the face model's skin is seen."""
    gain: np.ndarray
    """(3,) factors that the camera put on red, green, blue, which act like more or less light."""


def compose(
    rng: np.random.Generator,
    colour: np.ndarray,
    coverage: np.ndarray,
    skin: np.ndarray,
    landmarks_px: np.ndarray,
    skin_colour: np.ndarray,
) -> Photograph:
    """Finish one sample.

    Args:
        rng: random numbers of this sample.
        colour: (H, W, 3) premultiplied rendering.
        coverage: (H, W) share of the person in each pixel.
        skin: (H, W) share of the face's skin.
        landmarks_px: (68, 2) continuous pixels, y down.
        skin_colour: (3,) lit skin, for hands.
    """
    height, width = coverage.shape
    picture = colour + (1 - coverage[..., None]) * background(rng, height, width)
    visible = np.ones((height, width), dtype=np.float32)
    if rng.uniform() < 0.3:
        picture, visible = _occlude(rng, picture, visible, landmarks_px, skin_colour)
    if rng.uniform() < 0.06:
        picture, visible = _leave_photo(rng, picture, visible)
    picture, gain = _develop(rng, picture)
    encoded = io.BytesIO()
    quality = int(rng.integers(*JPEG_QUALITY, endpoint=True))
    Image.fromarray(picture).save(encoded, "JPEG", quality=quality)
    mask = np.where(skin * visible > 0.5, np.uint8(255), np.uint8(0))
    return Photograph(encoded.getvalue(), mask, gain)


def background(rng: np.random.Generator, height: int, width: int) -> np.ndarray:
    """A backdrop (H, W, 3): plain wall, gradient, soft noise, or a blurred collage of shapes."""
    kind = rng.uniform()
    if kind < 0.15:
        corners = random_colour(rng) + rng.normal(0, 0.03, (2, 2, 3))
        image = _enlarge(corners, height, width)
    elif kind < 0.3:
        corners = random_colour(rng) + rng.normal(0, 0.18, (2, 2, 1))
        corners = corners + rng.normal(0, 0.06, (2, 2, 3))
        image = _enlarge(corners, height, width)
    elif kind < 0.5:
        image = np.zeros((height, width, 3), dtype=np.float32) + random_colour(rng)
        strength = rng.uniform(0.05, 0.3)
        for cells in (3, 7, 17, 50)[: rng.integers(1, 5)]:
            grey = rng.standard_normal((cells, cells, 1)) * strength
            tint = rng.standard_normal((cells, cells, 3)) * strength * 0.25
            image = image + _enlarge(grey + tint, height, width)
            strength *= 0.6
    else:
        image = _collage(rng, height, width)
    return image.clip(0, 1)


def _collage(rng: np.random.Generator, height: int, width: int) -> np.ndarray:
    """Random shapes as of a room or a street; drawn small and enlarged, so out of focus."""
    reduction = float(rng.choice([1, 2, 4, 8], p=[0.2, 0.3, 0.3, 0.2]))
    h, w = math.ceil(height / reduction), math.ceil(width / reduction)
    image = Image.new("RGB", (w, h), _rgb(random_colour(rng)))
    draw = ImageDraw.Draw(image)
    for _ in range(rng.integers(4, 22)):
        x, y = rng.uniform(-0.2, 1.2, 2) * (w, h)
        size = rng.uniform(0.04, 0.6, 2) * (w, h) * rng.uniform(0.3, 1)
        colour = _rgb(random_colour(rng))
        shape = rng.choice(5, p=[0.27, 0.3, 0.25, 0.13, 0.05])
        box = (x - size[0], y - size[1], x + size[0], y + size[1])
        if shape == 0:
            draw.ellipse(box, fill=colour)
        elif shape == 1:
            draw.rectangle(box, fill=colour)
        elif shape == 2:
            points = rng.uniform(-1, 1, (int(rng.integers(3, 7)), 2)) * size + (x, y)
            draw.polygon([tuple(p) for p in points], fill=colour)
        elif shape == 3:
            end = rng.uniform(-0.5, 1.5, 2) * (w, h)
            draw.line([(x, y), tuple(end)], fill=colour, width=int(rng.integers(1, 12)))
        else:  # stripes: shelves, blinds, facades
            step = max(3.0, rng.uniform(0.03, 0.12) * w)
            upright = rng.uniform() < 0.5
            for k in range(8):
                along = (x if upright else y) + k * step
                line = [(along, 0), (along, h)] if upright else [(0, along), (w, along)]
                draw.line(line, fill=colour, width=max(1, int(step / 2.5)))
    if reduction > 1:
        image = image.resize((width, height), BICUBIC)
    picture = np.asarray(image, dtype=np.float32) * np.float32(1 / 255)
    if rng.uniform() < 0.5:
        grain = rng.standard_normal((height // 2, width // 2, 1), dtype=np.float32)
        picture = picture + _enlarge(grain * rng.uniform(0.01, 0.06), height, width)
    return picture


def _occlude(rng, picture, visible, landmarks_px, skin_colour):
    """Put a hand, a thing or a box in front of a part of the face."""
    height, width = visible.shape
    kind = rng.uniform()
    # Drawn at twice the size and halved: smooth edges.
    cover = Image.new("L", (2 * width, 2 * height), 0)
    draw = ImageDraw.Draw(cover)
    if kind < 0.4:
        _draw_hand(rng, draw, 2 * landmarks_px)
        base = skin_colour * rng.uniform(0.8, 1.1)
        shading = _enlarge(rng.normal(1, 0.12, (4, 4, 1)), height, width)
        thing = base * shading
    else:
        centre = 2 * landmarks_px[rng.integers(68)] + rng.normal(0, 40, 2)
        size = rng.uniform(20, 110, 2)
        turn = rng.uniform(0, np.pi)
        if kind < 0.7:
            corners = np.array([[-1, -1], [1, -1], [1, 1], [-1, 1]]) * size
        else:
            angle = np.sort(rng.uniform(0, 2 * np.pi, 9))
            radius = rng.uniform(0.5, 1.0, 9)[:, None]
            corners = np.stack([np.cos(angle), np.sin(angle)], axis=1) * radius * size
        rotation = np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]])
        draw.polygon([tuple(p) for p in corners @ rotation.T + centre], fill=255)
        if rng.uniform() < 0.5:
            thing = background(rng, height, width)
        else:
            shading = _enlarge(rng.normal(1, 0.1, (3, 3, 1)), height, width)
            thing = random_colour(rng) * shading
    alpha = np.asarray(cover.reduce(2), dtype=np.float32) * np.float32(1 / 255)
    mixed = picture + alpha[..., None] * (thing.astype(np.float32) - picture)
    return mixed, visible * (1 - alpha)


def _draw_hand(rng, draw, landmarks):
    """A palm and fingers that reach a point of the face from below or from the side."""
    target = landmarks[rng.choice([3, 5, 8, 11, 13, 33, 48, 54, 57, 66, 30, 36, 45, 19, 24])]
    middle = landmarks.mean(axis=0)
    angle = rng.uniform(0.1 * np.pi, 0.9 * np.pi) if rng.uniform() < 0.8 else rng.uniform(0, 6.28)
    outwards = np.array([np.cos(angle), np.sin(angle)])
    sideways = np.array([-outwards[1], outwards[0]])
    tip = target + rng.normal(0, 12, 2)
    finger = rng.uniform(17, 26)
    count = int(rng.integers(1, 5))
    knuckles = tip + outwards * rng.uniform(70, 120)
    for k in range(count):
        spread = (k - (count - 1) / 2) * finger * rng.uniform(0.9, 1.3)
        end = tip + sideways * spread * 1.1 + outwards * rng.uniform(0, 22)
        _capsule(draw, end, knuckles + sideways * spread, finger / 2)
    palm = knuckles + outwards * 45
    _capsule(draw, knuckles, palm, finger * 2)
    _capsule(draw, palm, palm + outwards * 300 + (palm - middle) * 0.2, finger * 1.6)


def _capsule(draw, start, end, radius):
    draw.line([tuple(start), tuple(end)], fill=255, width=max(1, round(2 * radius)))
    for x, y in (start, end):
        draw.ellipse((x - radius, y - radius, x + radius, y + radius), fill=255)


def _leave_photo(rng, picture, visible):
    """The crop reaches beyond the photo's edge: black, as data preparation leaves it."""
    height, width = visible.shape
    picture, visible = picture.copy(), visible.copy()
    depth = int(rng.uniform(3, 0.22 * width))
    edge = [np.s_[:depth], np.s_[height - depth :], np.s_[:, :depth], np.s_[:, width - depth :]]
    for chosen in rng.choice(4, size=1 + int(rng.uniform() < 0.2), replace=False):
        picture[edge[chosen]] = 0
        visible[edge[chosen]] = 0
    return picture, visible


def _develop(rng: np.random.Generator, picture: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """What camera and software do: (H, W, 3) float to uint8, and the gain of each channel."""
    height, width = picture.shape[:2]
    gain = np.ones(3)
    if rng.uniform() < 0.7:
        gain = gain * rng.normal(1, 0.08) * (1 + rng.normal(0, 0.025, 3))
        gain = gain.clip(0.75, 1.25)
        picture = picture * gain.astype(np.float32)
    if rng.uniform() < 0.3:
        grey = picture @ np.array([0.299, 0.587, 0.114], dtype=np.float32)
        amount = np.float32(rng.uniform(0.6, 1.25)) if rng.uniform() < 0.8 else np.float32(0)
        picture = grey[..., None] + amount * (picture - grey[..., None])
    levels = _to_bytes(picture)
    if rng.uniform() < 0.3:
        power = rng.uniform(0.8, 1.25)
        table = (np.linspace(0, 1, 256) ** power * 255 + 0.5).astype(np.uint8)
        levels = table[levels]
    if rng.uniform() < 0.5:
        # Small, out of focus, or enlarged from a small photo.
        factor = 1 + min(rng.exponential(0.7), 3.0)
        small = (max(48, round(width / factor)), max(48, round(height / factor)))
        shrunk = Image.fromarray(levels).resize(small, BILINEAR)
        levels = np.asarray(shrunk.resize((width, height), BICUBIC))
    elif rng.uniform() < 0.12:
        levels = _shake(rng, levels)
    if rng.uniform() < 0.5:
        noisy = levels.astype(np.float32)
        strength = np.float32(min(rng.exponential(3.0), 15.0))
        noisy += strength * rng.standard_normal((height, width, 1), dtype=np.float32)
        levels = noisy.clip(0, 255).astype(np.uint8)
    return levels, gain


def _shake(rng: np.random.Generator, levels: np.ndarray) -> np.ndarray:
    """Blur along a short line: a camera that moved."""
    steps = int(rng.integers(2, 6))
    direction = rng.uniform(-1, 1, 2)
    direction /= np.abs(direction).max()
    total = np.zeros(levels.shape, dtype=np.float32)
    for k in range(steps):
        # Centred, so that landmarks stay where they are.
        shift = np.rint(direction * (k - (steps - 1) / 2)).astype(int)
        total += np.roll(levels, tuple(shift), axis=(0, 1))
    return _to_bytes(total * np.float32(1 / 255 / steps))


def _enlarge(values: np.ndarray, height: int, width: int) -> np.ndarray:
    """Smoothly enlarge a small array (h, w, C) to (H, W, C)."""
    channels = [
        np.asarray(
            Image.fromarray(values[..., k].astype(np.float32)).resize((width, height), BICUBIC)
        )
        for k in range(values.shape[-1])
    ]
    return np.stack(channels, axis=-1)


def _to_bytes(picture: np.ndarray) -> np.ndarray:
    return (picture.clip(0, 1) * np.float32(255) + np.float32(0.5)).astype(np.uint8)


def _rgb(colour: np.ndarray) -> tuple[int, int, int]:
    red, green, blue = (int(255 * channel) for channel in colour)
    return red, green, blue
