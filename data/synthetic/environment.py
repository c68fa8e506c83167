"""What lights a face: a sky with a sun, a room with windows and lamps, a photographer's lamps.

An environment is distant light from all directions. The face model sees of it nine harmonics a
channel (`models.lighting`); shadows that the face casts on itself are computed from the light of
each direction (`data.synthetic.shadowing`).
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from functools import cache

import numpy as np
import torch

from data.synthetic.lighting import lamp_coefficients
from models.lighting import AMBIENT, sh_basis
from models.self_shadow import sphere

OUTDOOR_SHARE, STUDIO_SHARE = 0.35, 0.2
"""Of all environments; the others are rooms."""
DIRECTIONS = 768
"""Directions by which light is integrated: a lamp of sharpness 60 still covers a dozen."""


@dataclass(frozen=True)
class Environment:
    """Distant light: a vertical gradient and some lobes. Directions as the camera sees them."""

    above: np.ndarray
    """(3,) radiance from straight above."""
    below: np.ndarray
    """(3,) from straight below."""
    towards: np.ndarray
    """(L, 3) unit vectors to the lobes' middles: x right, y up, z to the camera."""
    colours: np.ndarray
    """(L, 3) irradiance of a surface that faces the lobe, over pi as all light here."""
    sharpness: np.ndarray
    """(L,) of exp(sharpness (cos - 1)): 60 is a lamp, 3 half a wall."""

    def radiance(self, directions: np.ndarray) -> np.ndarray:
        """Light (D, 3) from unit directions (D, 3)."""
        height = 0.5 + 0.5 * directions[:, 1:2]
        light = self.below + (self.above - self.below) * height * height * (3 - 2 * height)
        cosine = directions @ self.towards.T
        # The integral of the lobe over the sphere is 2 pi / sharpness, nearly all of it close to
        # the middle, so that this peak makes the irradiance over pi its colour.
        peak = self.colours * self.sharpness[:, None] / 2
        return light + np.exp(self.sharpness * (cosine - 1)) @ peak

    def harmonics(self) -> np.ndarray:
        """(3, 9) in the basis of `models.lighting.sh_basis`, which give the irradiance."""
        directions, projection = _projection()
        return self.radiance(directions).T @ projection

    def gamma(self) -> np.ndarray:
        """(27,) light coefficients, which are relative to the constant light."""
        return to_gamma(self.harmonics())

    def times(self, factor: np.ndarray) -> Environment:
        """The same with each channel, (3,) or a number, brighter."""
        return replace(
            self,
            above=self.above * factor,
            below=self.below * factor,
            colours=self.colours * factor,
        )


def to_gamma(harmonics: np.ndarray) -> np.ndarray:
    """Light coefficients (27,) of harmonics (3, 9): without the constant light."""
    relative = harmonics.copy()
    relative[:, 0] -= AMBIENT
    return relative.reshape(-1)


def sample_environment(rng: np.random.Generator) -> Environment:
    """Draw an environment, as bright as a camera exposes a face in it."""
    kind = rng.uniform()
    if kind < OUTDOOR_SHARE:
        found = _outdoors(rng)
    elif kind < OUTDOOR_SHARE + STUDIO_SHARE:
        found = _studio(rng)
    else:
        found = _room(rng)
    # 1. White balance: a camera takes most of the light's colour away.
    colour = _seen(found)
    grey = colour.mean()
    balance = (grey / colour) ** rng.uniform(0.6, 1.0)
    # 2. Exposure: for the light on what faces the camera.
    exposure = rng.uniform(0.66, 1.02) / grey
    return found.times(balance * exposure * (1 + np.clip(rng.normal(0, 0.03, 3), -0.08, 0.08)))


def _outdoors(rng: np.random.Generator) -> Environment:
    """Sky, ground, and a sun whose strength goes from clouded to bright."""
    clouds = rng.uniform()
    blue = np.array([0.75, 0.92, 1.25])
    sky = blue + (1 - blue) * clouds
    ground = rng.uniform(0.1, 0.4) * np.array([1.0, 0.95, 0.85]) * rng.normal(1, 0.05, 3)
    sun = rng.uniform(0, 2.2) * (1 - clouds) + 0.1
    warmth = rng.uniform(0, 0.35)
    colour = sun * np.array([1 + 0.3 * warmth, 1.0, 1 - 0.6 * warmth])
    elevation = rng.uniform(12, 75)
    return _environment(
        sky, ground, [(_direction(rng.normal(0, 65), elevation), colour, rng.uniform(15, 60))]
    )


def _room(rng: np.random.Generator) -> Environment:
    """Walls, a brighter ceiling, windows and lamps."""
    tint = 1 + np.clip(rng.normal(0, 0.05, 3), -0.12, 0.12)
    walls = rng.uniform(0.3, 1.0) * tint
    lights = []
    for _ in range(rng.integers(0, 3)):  # windows
        daylight = np.array([0.95, 1.0, 1.08])
        towards = _direction(rng.normal(0, 70), rng.uniform(-10, 35))
        lights.append((towards, rng.uniform(0.1, 1.0) * daylight, rng.uniform(2.5, 9)))
    for _ in range(rng.integers(0 if lights else 1, 3)):  # lamps
        warmth = rng.uniform(0, 0.5)
        glow = np.array([1 + 0.25 * warmth, 1.0, 1 - 0.55 * warmth])
        towards = _direction(rng.normal(0, 60), np.clip(rng.normal(50, 20), 5, 85))
        lights.append((towards, rng.uniform(0.1, 0.8) * glow, rng.uniform(10, 50)))
    return _environment(walls * rng.uniform(1, 1.4), walls * rng.uniform(0.3, 0.8), lights)


def _studio(rng: np.random.Generator) -> Environment:
    """A flash or a soft box near the camera in dim light, at times one from behind."""
    dim = np.full(3, rng.uniform(0.1, 0.5))
    colour = 1 + np.clip(rng.normal(0, 0.04, 3), -0.1, 0.1)
    towards = _direction(rng.normal(0, 30), rng.normal(20, 15))
    lights = [(towards, colour, rng.uniform(4, 60))]
    if rng.uniform() < 0.4:
        side = rng.choice([-1, 1]) * rng.uniform(100, 150)
        rim = rng.uniform(0.2, 1.2) * (1 + rng.normal(0, 0.1, 3)).clip(0.7, 1.3)
        lights.append((_direction(side, rng.uniform(0, 45)), rim, rng.uniform(10, 40)))
    return _environment(dim, dim * rng.uniform(0.4, 1), lights)


def _environment(
    above: np.ndarray, below: np.ndarray, lights: list[tuple[np.ndarray, np.ndarray, float]]
) -> Environment:
    towards, colours, sharpness = zip(*lights, strict=True)
    return Environment(above, below, np.stack(towards), np.stack(colours), np.array(sharpness))


def _direction(azimuth_deg: float, elevation_deg: float) -> np.ndarray:
    """Unit vector: azimuth from the camera's side to the right, elevation upwards."""
    azimuth, elevation = math.radians(azimuth_deg), math.radians(elevation_deg)
    level = math.cos(elevation)
    return np.array([math.sin(azimuth) * level, math.sin(elevation), math.cos(azimuth) * level])


def _seen(environment: Environment) -> np.ndarray:
    """Mean irradiance (3,) of what a camera sees of a head."""
    return (_front_basis() @ environment.harmonics().T).mean(axis=0)


@cache
def _front_basis() -> np.ndarray:
    normals = sphere(64)
    return sh_basis(torch.from_numpy(normals[normals[:, 2] > 0.3])).numpy()


@cache
def _projection() -> tuple[np.ndarray, np.ndarray]:
    """Directions (D, 3) and what light of each adds to the harmonics, (D, 9)."""
    directions = sphere(DIRECTIONS)
    return directions, np.stack(
        # Over pi, as radiance is counted here: even light of 1 gives an irradiance of 1.
        [lamp_coefficients(d) * 4 / DIRECTIONS for d in directions]
    )
