"""Render random faces with their surroundings: colour, coverage and skin, antialiased.

    coefficients -> shaped, posed, lit face (the project's own stages)
                 -> skin texture, gloss, soft shadow           (per vertex, in addition)
                 -> one mesh with hair, head, glasses          (data.synthetic.scene)
                 -> rasterised at twice the size, averaged     (models.renderer)

Everything that a trained network would have to undo is either in the coefficients or, like gloss,
an effect that its photos will show too.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from data.synthetic.sampling import SCENE, generator
from data.synthetic.scene import (
    NOT_HAIR,
    SceneBuilder,
    SceneStyle,
    Surroundings,
    hair_field,
    sample_style,
    stack_styles,
)
from models.camera import Camera, rotate, rotation_matrix
from models.face_model import FaceModel
from models.kernels import kernel
from models.lighting import irradiance
from models.parameters import Coefficients
from models.renderer import rasterize
from models.stages import pose_face, shape_face

SUPERSAMPLING = 2
TEXTURE_SIZE = (64, 1024)


@dataclass(frozen=True)
class RenderedFaces:
    """A batch of faces in front of nothing."""

    colour: np.ndarray
    """(B, H, W, 3) float32 in [0, 1], premultiplied by the coverage."""
    coverage: np.ndarray
    """(B, H, W) float32 in [0, 1]: share of the pixel that shows the person."""
    skin: np.ndarray
    """(B, H, W) float32 in [0, 1]: share that shows the face model's skin."""
    landmarks_px: np.ndarray
    """(B, 68, 2) float32 continuous pixels, y down."""
    styles: tuple[SceneStyle, ...]
    """What surrounds each face."""
    skin_colour: np.ndarray
    """(B, 3) mean colour of the lit skin."""


class SceneRenderer:
    """Renders samples of one face model through one camera on the CPU."""

    def __init__(self, face_model: FaceModel, camera: Camera) -> None:
        """Join the face's triangles with those of its surroundings."""
        self.face_model = face_model
        self.camera = camera
        self.size = (camera.height, camera.width)
        self.builder = SceneBuilder(face_model)
        surrounding = torch.from_numpy(self.builder.triangles) + face_model.vertex_count
        self.triangles = torch.cat([face_model.triangles, surrounding.int()])
        self._strands = strand_texture()
        basis = face_model.shape_basis[: len(face_model.identity_sigma)].unflatten(1, (-1, 3))
        self._landmark_basis = face_model.landmarks(basis).flatten(1)
        mean = face_model.mean_shape.reshape(1, -1, 3)
        self._landmark_mean = face_model.landmarks(mean).flatten()
        none = torch.zeros(face_model.vertex_count, dtype=torch.bool)
        self._eyes = face_model.regions.get("eyeballs", none).numpy()
        self._skin = face_model.skin_mask.numpy()

    @torch.no_grad()
    def render(
        self, coefficients: torch.Tensor, seed: int, indices: Sequence[int]
    ) -> RenderedFaces:
        """Render a batch.

        Args:
            coefficients: (B, P) flat vectors.
            seed: of the whole set.
            indices: number of each sample; they choose its surroundings.
        """
        model = self.face_model
        rngs = [generator(seed, i, SCENE) for i in indices]
        styles = tuple(sample_style(rng) for rng in rngs)
        style = stack_styles(list(styles))
        c = model.layout.split(coefficients)

        # 1. The face.
        shaped = shape_face(model, c)
        posed = pose_face(model, shaped, c, self.camera)
        neutral = self._neutral_landmarks(c.identity).numpy()
        chin = model.landmarks(shaped.vertices_object)[:, 8].numpy()

        # 2. Its surroundings, posed and lit alike.
        vertices_object, albedo = shaped.vertices_object.numpy(), shaped.albedo.numpy()
        around = self.builder.build(vertices_object, albedo, neutral, chin - neutral[:, 8], style)
        around_camera, around_normals = self._pose(around, c)
        light = irradiance(around_normals, c.gamma).clamp(min=0)
        around_colours = torch.from_numpy(around.colours) * light

        # 3. Features per vertex.
        eyes = neutral[:, 36:48].mean(axis=1)
        hair = np.concatenate([hair_field(vertices_object, eyes, style), around.hair], axis=1)
        hair[:, : model.vertex_count][:, self._eyes] = NOT_HAIR
        points = np.concatenate([vertices_object, around.vertices], axis=1)
        normals = torch.cat([posed.normals, around_normals], dim=1).numpy()
        colours = torch.cat([posed.colours.clamp(min=0), around_colours], dim=1).numpy()
        face_light = irradiance(posed.normals, c.gamma).clamp(min=0)
        brightness = torch.cat([face_light, light], dim=1).mean(dim=2).numpy()
        for item, rng in enumerate(rngs):
            self._skin_effects(rng, colours[item], brightness[item], points[item], normals[item])
        features = np.empty((*hair.shape, 8), dtype=np.float32)
        features[..., :3] = colours
        features[..., 3] = 0
        features[:, : model.vertex_count, 3] = self._skin
        features[..., 4] = hair
        features[..., 5] = brightness
        azimuth = np.arctan2(points[..., 0], points[..., 2] + 0.5) / (2 * np.pi)
        features[..., 6] = azimuth + 1 + style["texture_offset"][:, None]
        features[..., 7] = 0.35 * points[..., 1] + 2 + 7 * style["texture_offset"][:, None]

        # 4. Pixels.
        vertices_camera = torch.cat([posed.vertices_camera, around_camera], dim=1)
        size = (SUPERSAMPLING * self.size[0], SUPERSAMPLING * self.size[1])
        fragments = rasterize(self.camera.clip(vertices_camera), self.triangles, size)
        looks = np.stack(
            [
                style["strand_contrast"],
                style["edge_noise"],
                style["edge_width"],
                np.where(style["hat"] > 0.5, 0.0, 0.25),
            ],
            axis=1,
        ).astype(np.float32)
        picture = np.empty((len(indices), *self.size, 5), dtype=np.float32)
        triangles = self.triangles.numpy()
        for item in range(len(indices)):
            _resolve(
                fragments.triangle_id[item].numpy(),
                fragments.barycentrics[item].numpy(),
                triangles,
                features[item],
                style["hair_colour"][item],
                looks[item],
                self._strands,
                picture[item],
            )
        lit_skin = colours[:, : model.vertex_count][:, self._skin > 0.5].mean(axis=1)
        return RenderedFaces(
            colour=picture[..., :3],
            coverage=picture[..., 3],
            skin=picture[..., 4],
            landmarks_px=posed.landmarks_px.numpy(),
            styles=styles,
            skin_colour=lit_skin,
        )

    def _neutral_landmarks(self, identity: torch.Tensor) -> torch.Tensor:
        """Landmarks (B, 68, 3) without expression, in the object frame."""
        flat = self._landmark_mean + identity @ self._landmark_basis
        return flat.unflatten(1, (-1, 3))

    def _pose(self, around: Surroundings, c: Coefficients) -> tuple[torch.Tensor, torch.Tensor]:
        """Vertices in the camera frame and normals; the shoulders follow the head only partly."""
        vertices, normals = torch.from_numpy(around.vertices), torch.from_numpy(around.normals)
        follow = torch.from_numpy(around.follow)[:, None]
        head = rotation_matrix(c.angles_rad)
        body = rotation_matrix(c.angles_rad * torch.tensor([0.0, 0.2, 0.2]))
        # Mixing two rotations shrinks nothing visible at these angles.
        turned = rotate(vertices, head) * follow + rotate(vertices, body) * (1 - follow)
        turned_normals = rotate(normals, head) * follow + rotate(normals, body) * (1 - follow)
        turned_normals = torch.nn.functional.normalize(turned_normals, dim=2)
        posed = turned + c.translation_dm[:, None]
        return self.camera.from_object(posed), turned_normals

    def _skin_effects(
        self,
        rng: np.random.Generator,
        colours: np.ndarray,
        brightness: np.ndarray,
        points: np.ndarray,
        normals: np.ndarray,
    ) -> None:
        """Texture noise, soft shadow and gloss of one sample, in place on (V, ...) arrays."""
        face = self.face_model.vertex_count
        noise = 1 + 0.04 * rng.standard_normal(face, dtype=np.float32)
        colours[:face] *= noise[:, None]
        if rng.uniform() < 0.25:
            direction = rng.standard_normal(3).astype(np.float32)
            direction /= np.linalg.norm(direction)
            along = points @ direction - np.float32(rng.normal(0, 0.3))
            width = np.float32(rng.uniform(0.04, 0.4))
            shade = 1 - np.float32(rng.uniform(0.15, 0.6)) / (1 + np.exp(-along / width))
            # Relative to the whole face, whose brightness stays that of the true light.
            shade /= shade[:face].mean()
            colours *= shade[:, None]
            brightness *= shade
        to_lamp = np.array([rng.normal(0, 0.7), rng.normal(0.5, 0.5), 1.0])
        half = to_lamp / np.linalg.norm(to_lamp) + np.array([0, 0, 1.0])
        half = (half / np.linalg.norm(half)).astype(np.float32)
        towards = np.maximum(normals[:face] @ half, 0)
        if rng.uniform() < 0.5:
            gloss = towards ** np.float32(rng.uniform(4, 25)) * np.float32(rng.uniform(0.03, 0.2))
            colours[:face] += (gloss * self._skin)[:, None]
        glint = towards[self._eyes] ** 60 * np.float32(rng.uniform(0.0, 0.8))
        colours[:face][self._eyes] += glint[:, None]


def strand_texture() -> np.ndarray:
    """A periodic texture in [-1, 1] that varies quickly across strands and slowly along them."""
    rng = np.random.default_rng(0)
    rows, columns = TEXTURE_SIZE
    texture = np.zeros(TEXTURE_SIZE)
    for period, weight in ((1, 0.35), (3, 0.4), (9, 0.45), (40, 0.4)):
        grain = rng.standard_normal((rows, -(-columns // period)))
        # Strands keep their colour over some rows.
        for _ in range(4):
            grain = (grain + np.roll(grain, 1, axis=0) + np.roll(grain, -1, axis=0)) / 3
        texture += weight * np.repeat(grain / grain.std(), period, axis=1)[:, :columns]
    return (texture / 2.2).clip(-1, 1).astype(np.float32)


@kernel
def _resolve(ids, barycentrics, triangles, features, hair_colour, looks, strands, out):
    """Shade each subpixel and average the four of a pixel.

    Args:
        ids: (2 H, 2 W) int32 triangle or -1.
        barycentrics: (2 H, 2 W, 3).
        triangles: (F, 3) int32.
        features: (V, 8) red, green, blue, skin, hair field, brightness, strand coordinates.
        hair_colour: (3,)
        looks: (4,) strand contrast, edge noise, edge width, sheen.
        strands: texture, rows along the strands.
        out: (H, W, 5) colour times coverage, coverage, skin.
    """
    height, width = out.shape[0], out.shape[1]
    rows, columns = strands.shape  # powers of two
    zero, half, one = np.float32(0), np.float32(0.5), np.float32(1)
    shadow, reach = np.float32(0.35), np.float32(1 / 0.12)
    contrast, edge_noise, sharpness, sheen = looks[0], looks[1], half / looks[2], looks[3]
    value = np.empty(8, np.float32)
    quarter = np.float32(0.25)
    for y in range(height):
        for x in range(width):
            for channel in range(5):
                out[y, x, channel] = 0
            for sub in range(4):
                sy, sx = 2 * y + (sub >> 1), 2 * x + (sub & 1)
                face = ids[sy, sx]
                if face < 0:
                    continue
                a, b, c = triangles[face, 0], triangles[face, 1], triangles[face, 2]
                wa, wb = barycentrics[sy, sx, 0], barycentrics[sy, sx, 1]
                wc = barycentrics[sy, sx, 2]
                for k in range(5):
                    value[k] = wa * features[a, k] + wb * features[b, k] + wc * features[c, k]
                red, green, blue, skin = value[0], value[1], value[2], value[3]
                if value[4] > -0.4:
                    for k in range(5, 8):
                        value[k] = wa * features[a, k] + wb * features[b, k] + wc * features[c, k]
                    column = int(value[6] * columns) & (columns - 1)
                    row = int(value[7] * rows) & (rows - 1)
                    strand = strands[row, column]
                    inside = value[4] + edge_noise * strand
                    alpha = min(max(half + inside * sharpness, zero), one)
                    # Hair shades the skin next to it.
                    shade = one - shadow * min(max(one + inside * reach, zero), one)
                    band = one - abs(np.float32((row & 31) * 0.0625) - one)
                    tone = (np.float32(0.25) + np.float32(0.8) * value[5]) * max(
                        one + contrast * strand, np.float32(0.1)
                    ) + sheen * band * band * value[5] * (one + strand) * half
                    red = (one - alpha) * red * shade + alpha * hair_colour[0] * tone
                    green = (one - alpha) * green * shade + alpha * hair_colour[1] * tone
                    blue = (one - alpha) * blue * shade + alpha * hair_colour[2] * tone
                    skin = skin * (one - alpha)
                out[y, x, 0] += quarter * min(max(red, zero), one)
                out[y, x, 1] += quarter * min(max(green, zero), one)
                out[y, x, 2] += quarter * min(max(blue, zero), one)
                out[y, x, 3] += quarter
                out[y, x, 4] += quarter * skin
