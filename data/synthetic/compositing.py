"""Turn rendered people into photographs: background, things in front of the face, the camera.

All work is on one picture, float32 RGB in [0, 1], with numpy and Pillow.
"""

from __future__ import annotations

import io
import math
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

from data.synthetic.backgrounds import PictureFolder
from data.synthetic.maps import Part
from data.synthetic.rendering import RenderedFace
from data.synthetic.scene import random_colour

JPEG_QUALITY = (25, 95)
PLAIN_QUALITY = 95
FOLDER_SHARE = 0.8
"""Faces before the user's pictures, where there are some; the others have a made-up backdrop."""
_BOX_PX = 88.0
"""Size of the landmarks' box, sqrt(w h), in the R-Net's crop: what is drawn there in pixels grows
with it."""
BILINEAR, BICUBIC = Image.Resampling.BILINEAR, Image.Resampling.BICUBIC


@dataclass(frozen=True)
class Photograph:
    """A finished sample."""

    picture: np.ndarray
    """(H, W, 3) uint8 RGB."""
    quality: int
    """Of its JPEG file."""
    skin_mask: np.ndarray
    """(H, W) uint8, 255 where the face model's skin is seen."""
    gain: np.ndarray
    """(3,) factors that the camera put on red, green, blue, which act like more or less light."""
    cover: np.ndarray
    """(H, W) uint8: `Part.OCCLUDER` or `Part.OUTSIDE` where they hide the person, else 0."""

    @property
    def jpeg(self) -> bytes:
        """The encoded picture."""
        encoded = io.BytesIO()
        Image.fromarray(self.picture).save(encoded, "JPEG", quality=self.quality)
        return encoded.getvalue()


def compose(
    rng: np.random.Generator, face: RenderedFace, pictures: PictureFolder | None = None
) -> Photograph:
    """Finish one sample.

    Args:
        rng: random numbers of this sample.
        face: rendered in front of nothing.
        pictures: backgrounds that the user gives.
    """
    height, width = face.coverage.shape
    scene = None
    if pictures is not None and rng.uniform() < FOLDER_SHARE:
        scene = pictures.draw(rng, height, width)
    if scene is None:
        scene = background(rng, height, width)
    picture = face.colour + (1 - face.coverage[..., None]) * scene
    alpha = np.zeros((height, width), dtype=np.float32)
    if rng.uniform() < 0.3:
        picture, alpha = _occlude(rng, picture, face.landmarks_px, face.skin_colour)
    cover = np.where(alpha > 0.5, np.uint8(Part.OCCLUDER), np.uint8(0))
    if rng.uniform() < 0.06:
        picture, outside = _leave_photo(rng, picture)
        cover[outside] = Part.OUTSIDE
    picture, gain = develop(rng, picture)
    quality = int(rng.integers(*JPEG_QUALITY, endpoint=True))
    seen = face.skin * (1 - alpha) * (cover != Part.OUTSIDE)
    return Photograph(picture, quality, _mask(seen), gain, cover)


def compose_plain(face: RenderedFace) -> Photograph:
    """A sample that shows what its coefficients say: before grey, through a perfect camera."""
    picture = face.colour + (1 - face.coverage[..., None]) * np.float32(0.5)
    cover = np.zeros(face.coverage.shape, dtype=np.uint8)
    return Photograph(_to_bytes(picture), PLAIN_QUALITY, _mask(face.skin), np.ones(3), cover)


def _mask(share: np.ndarray) -> np.ndarray:
    return np.where(share > 0.5, np.uint8(255), np.uint8(0))


def background(rng: np.random.Generator, height: int, width: int) -> np.ndarray:
    """A backdrop (H, W, 3): plain wall, gradient, soft noise, or a blurred collage of shapes."""
    kind = rng.uniform()
    if kind < 0.15:
        image = backdrop(rng, height, width)
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
        image = collage(rng, height, width)
    return image.clip(0, 1)


def backdrop(rng: np.random.Generator, height: int, width: int) -> np.ndarray:
    """A plain wall (H, W, 3), a little brighter or darker towards its corners."""
    corners = random_colour(rng) + rng.normal(0, 0.03, (2, 2, 3))
    return _enlarge(corners, height, width)


def collage(rng: np.random.Generator, height: int, width: int) -> np.ndarray:
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
            draw.line(
                [(x, y), tuple(end)], fill=colour, width=max(1, round(rng.uniform(1, 12) * w / 224))
            )
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


def _occlude(
    rng: np.random.Generator, picture: np.ndarray, landmarks: np.ndarray, skin_colour: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Put a hand, a mask or a thing in front of a part of the face; returns also what it covers."""
    height, width = picture.shape[:2]
    unit = math.sqrt(float(np.ptp(landmarks, axis=0).prod())) / _BOX_PX
    kind = rng.uniform()
    # Drawn at twice the size and halved: smooth edges.
    cover = Image.new("L", (2 * width, 2 * height), 0)
    draw = ImageDraw.Draw(cover)
    if kind < 0.4:
        shading = _draw_hand(rng, draw, 2 * landmarks, 2 * unit, (height, width))
        thing = skin_colour * rng.uniform(0.8, 1.1) * shading
    elif kind < 0.5:
        thing = _draw_mask(rng, draw, 2 * landmarks, (height, width))
    else:
        centre = 2 * landmarks[rng.integers(68)] + rng.normal(0, 40, 2) * unit
        size = rng.uniform(20, 95, 2) * unit
        turn = rng.uniform(0, np.pi)
        if kind < 0.75:
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
    return picture + alpha[..., None] * (thing.astype(np.float32) - picture), alpha


def _draw_hand(
    rng: np.random.Generator,
    draw: ImageDraw.ImageDraw,
    landmarks: np.ndarray,
    unit: float,
    size: tuple[int, int],
) -> np.ndarray:
    """A palm and fingers that reach a point of the face from below or from the side.

    Returns:
        (H, W, 1) shading: fingers are round, darker towards their edges.
    """
    target = landmarks[rng.choice([3, 5, 8, 11, 13, 33, 48, 54, 57, 66, 30, 36, 45, 19, 24])]
    middle = landmarks.mean(axis=0)
    angle = rng.uniform(0.1 * np.pi, 0.9 * np.pi) if rng.uniform() < 0.8 else rng.uniform(0, 6.28)
    outwards = np.array([np.cos(angle), np.sin(angle)])
    sideways = np.array([-outwards[1], outwards[0]])
    tip = target + rng.normal(0, 6, 2) * unit
    finger = rng.uniform(9, 13) * unit
    count = int(rng.integers(1, 5))
    knuckles = tip + outwards * rng.uniform(35, 60) * unit
    palm = knuckles + outwards * 22 * unit
    wrist = palm + outwards * 150 * unit + (palm - middle) * 0.2
    height, width = size
    round_shade = Image.new("L", (2 * width, 2 * height), 188)
    shade = ImageDraw.Draw(round_shade)
    bones = [(knuckles, palm, 2 * finger), (palm, wrist, 1.6 * finger)]
    for k in range(count):
        spread = (k - (count - 1) / 2) * finger * rng.uniform(0.9, 1.3)
        end = tip + sideways * spread * 1.1 + outwards * rng.uniform(0, 11) * unit
        bones.append((end, knuckles + sideways * spread, finger / 2))
    for start, end, radius in bones:
        _capsule(draw, start, end, radius, 255)
        for share, level in ((1.0, 188), (0.85, 212), (0.65, 228), (0.4, 240)):
            _capsule(shade, start, end, radius * share, level)
    blurred = round_shade.reduce(2).filter(ImageFilter.GaussianBlur(0.6 * unit))
    large = _enlarge(rng.normal(1, 0.1, (3, 3, 1)), height, width)
    return np.asarray(blurred, dtype=np.float32)[..., None] / 235 * large


def _draw_mask(
    rng: np.random.Generator,
    draw: ImageDraw.ImageDraw,
    landmarks: np.ndarray,
    size: tuple[int, int],
) -> np.ndarray:
    """A cloth mask over nose and mouth; returns its colours (H, W, 3)."""
    height, width = size
    top = landmarks[28] + (landmarks[29] - landmarks[28]) * rng.uniform(-0.5, 1)
    outline = [top, *landmarks[14:1:-1]]
    draw.polygon([tuple(p) for p in outline], fill=255)
    cloth = np.array([(0.62, 0.78, 0.88), (0.9, 0.9, 0.9), (0.08, 0.08, 0.09)])
    colour = cloth[rng.integers(3)] if rng.uniform() < 0.7 else random_colour(rng)
    # Brightest along the ridge of the nose, folds across.
    columns = (np.arange(width) - landmarks[33, 0] / 2) / max(width / 4, 1)
    ridge = 1.05 - 0.35 * np.minimum(columns**2, 1)
    rows = np.arange(height)[:, None] * (2 * np.pi * rng.uniform(4, 7) / np.ptp(landmarks[:, 1]))
    folds = 1 + rng.uniform(0, 0.06) * np.sin(rows + 0.3 * columns)
    return colour * (ridge * folds * rng.uniform(0.6, 1.05))[..., None]


def _capsule(draw: ImageDraw.ImageDraw, start, end, radius: float, level: int) -> None:
    draw.line([tuple(start), tuple(end)], fill=level, width=max(1, round(2 * radius)))
    for x, y in (start, end):
        draw.ellipse((x - radius, y - radius, x + radius, y + radius), fill=level)


def _leave_photo(rng: np.random.Generator, picture: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The crop reaches beyond the photo's edge: black, as data preparation leaves it."""
    height, width = picture.shape[:2]
    picture, outside = picture.copy(), np.zeros((height, width), dtype=bool)
    depth = int(rng.uniform(3, 0.22 * width))
    edge = [np.s_[:depth], np.s_[height - depth :], np.s_[:, :depth], np.s_[:, width - depth :]]
    for chosen in rng.choice(4, size=1 + int(rng.uniform() < 0.2), replace=False):
        picture[edge[chosen]] = 0
        outside[edge[chosen]] = True
    return picture, outside


def develop(rng: np.random.Generator, picture: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
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
