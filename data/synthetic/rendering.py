"""Render random faces with their surroundings: colour, coverage and skin, antialiased.

    coefficients -> shaped, posed face (the project's own stages)
                 -> light of its environment, less what the face shades itself (.shadowing)
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

from data.synthetic.cameras import joined
from data.synthetic.environment import to_gamma
from data.synthetic.maps import Part, Surface
from data.synthetic.sampling import SCENE, SampledFaces, generator
from data.synthetic.scene import (
    NOT_HAIR,
    SKULL_RINGS,
    SceneBuilder,
    SceneStyle,
    Surroundings,
    hair_field,
    sample_style,
    stack_styles,
)
from data.synthetic.shadowing import fit_light, remaining_light
from models.camera import Camera, rotate, rotation_matrix
from models.face_model import FaceModel
from models.kernels import kernel
from models.lighting import irradiance
from models.parameters import Coefficients
from models.renderer import Fragments, rasterize
from models.stages import pose_face, shape_face
from options.synthesis_options import Looks

SUPERSAMPLING = 2
TEXTURE_SIZE = (64, 1024)
HAIR_REACH = -0.4
"""Hair field below which no strand reaches."""
BEHIND_DM = 0.05
"""A landmark that lies so far behind the surface in its pixel is hidden by it."""


@dataclass(frozen=True)
class RenderedFace:
    """A person in front of nothing, in a picture of H x W pixels."""

    colour: np.ndarray
    """(H, W, 3) float32 in [0, 1], premultiplied by the coverage."""
    coverage: np.ndarray
    """(H, W) float32 in [0, 1]: share of the pixel that shows the person."""
    skin: np.ndarray
    """(H, W) float32 in [0, 1]: share that shows the face model's skin."""
    landmarks_px: np.ndarray
    """(68, 2) float32 continuous pixels, y down."""
    visible: np.ndarray
    """(68,) bool: within the picture, and neither the person nor hair or glasses in front."""
    gamma: np.ndarray
    """(27,) the light that explains the shaded skin."""
    skin_colour: np.ndarray
    """(3,) mean colour of the lit skin."""
    surface: Surface | None = None
    """What each pixel's centre shows; None unless asked for."""


class SceneRenderer:
    """Renders samples of one face model on the CPU."""

    def __init__(
        self, face_model: FaceModel, looks: Looks = "full", *, surfaces: bool = False
    ) -> None:
        """Join the face's triangles with those of its surroundings.

        Args:
            face_model: whose faces are rendered.
            looks: plain shows what the coefficients say and nothing else.
            surfaces: give the surface in each pixel as well.
        """
        self.face_model = face_model
        self.looks: Looks = looks
        self._surfaces = surfaces
        self.builder = SceneBuilder(face_model)
        surrounding = torch.from_numpy(self.builder.triangles) + face_model.vertex_count
        self.triangles = torch.cat([face_model.triangles, surrounding.int()])
        face_parts = np.full(len(face_model.triangles), Part.FACE, dtype=np.uint8)
        self._parts = np.concatenate([face_parts, self.builder.parts])
        self._paths = face_model.light_paths() if looks == "full" else None
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
        self, faces: SampledFaces, seed: int, indices: Sequence[int]
    ) -> tuple[RenderedFace, ...]:
        """Render a batch.

        Args:
            faces: that `FaceSampler` drew.
            seed: of the whole set.
            indices: number of each sample; they choose its surroundings.
        """
        model = self.face_model
        rngs = [generator(seed, i, SCENE) for i in indices]
        c = model.layout.split(torch.from_numpy(faces.coefficients))
        camera = joined(faces.cameras)

        # 1. The face.
        shaped = shape_face(model, c)
        posed = pose_face(model, shaped, c, camera)
        neutral = self._neutral_landmarks(c.identity).numpy()
        chin = model.landmarks(shaped.vertices_object)[:, 8].numpy()
        vertices_object, albedo = shaped.vertices_object.numpy(), shaped.albedo.numpy()

        # 2. Its surroundings, posed alike.
        tones = albedo[:, self._skin > 0.5].mean(axis=(1, 2))
        styles = [sample_style(rng, tone) for rng, tone in zip(rngs, tones, strict=True)]
        style = stack_styles(styles)
        around = self.builder.build(vertices_object, albedo, neutral, chin - neutral[:, 8], style)
        if self.looks == "plain":
            around = around.hidden()
        around_camera, around_normals = self._pose(around, c, camera)

        # 3. Light.
        normals = torch.cat([posed.normals, around_normals], dim=1)
        light = irradiance(normals, c.gamma).clamp(min=0).numpy()
        gammas = c.gamma.numpy()
        if self._paths is not None:
            gammas = self._shade(light, faces, c, posed.normals.numpy())

        # 4. Features per vertex.
        eyes = neutral[:, 36:48].mean(axis=1)
        hair = np.concatenate([hair_field(vertices_object, eyes, style), around.hair], axis=1)
        hair[:, : model.vertex_count][:, self._eyes] = NOT_HAIR
        if self.looks == "plain":
            hair[:] = NOT_HAIR
        points = np.concatenate([vertices_object, around.vertices], axis=1)
        colours = np.concatenate([albedo, around.colours], axis=1).clip(0) * light
        brightness = light.mean(axis=2)
        if self.looks == "full":
            for item, rng in enumerate(rngs):
                self._skin_effects(
                    rng, colours[item], brightness[item], points[item], normals[item].numpy()
                )
        features = np.empty((*hair.shape, 8), dtype=np.float32)
        features[..., :3] = colours
        features[..., 3] = 0
        features[:, : model.vertex_count, 3] = self._skin
        features[..., 4] = hair
        features[..., 5] = brightness
        azimuth = np.arctan2(points[..., 0], points[..., 2] + 0.5) / (2 * np.pi)
        features[..., 6] = azimuth + 1 + style["texture_offset"][:, None]
        features[..., 7] = 0.35 * points[..., 1] + 2 + 7 * style["texture_offset"][:, None]

        # 5. Pixels.
        vertices_camera = torch.cat([posed.vertices_camera, around_camera], dim=1)
        depths = model.landmarks(posed.vertices_camera)[..., 2].numpy()
        lit_skin = colours[:, : model.vertex_count][:, self._skin > 0.5].mean(axis=1)
        rendered = []
        for item in range(len(indices)):
            mesh = _Mesh(
                vertices_camera[item : item + 1],
                self.triangles,
                features[item],
                self._parts,
                styles[item],
                self._strands,
            )
            landmarks = posed.landmarks_px[item].numpy()
            one = faces.cameras[item]
            fragments = mesh.rasterize(one, SUPERSAMPLING)
            picture = mesh.resolve(fragments)
            rendered.append(
                RenderedFace(
                    colour=picture[..., :3],
                    coverage=picture[..., 3],
                    skin=picture[..., 4],
                    landmarks_px=landmarks,
                    visible=mesh.visible(fragments, picture[..., 5], landmarks, depths[item]),
                    gamma=gammas[item],
                    skin_colour=lit_skin[item],
                    surface=mesh.surface(one, normals[item].numpy()) if self._surfaces else None,
                )
            )
        return tuple(rendered)

    def _shade(
        self, light: np.ndarray, faces: SampledFaces, c: Coefficients, normals: np.ndarray
    ) -> np.ndarray:
        """Take from the light (B, V + W, 3) what the face shades; returns what then explains it.

        The head beside the face is as dark as the face's border next to it.
        """
        assert self._paths is not None
        model, border = self.face_model, self.builder.border
        remaining = remaining_light(
            self._paths, list(faces.environments), rotation_matrix(c.angles_rad).numpy()
        )
        light[:, : model.vertex_count] *= remaining
        skull = slice(model.vertex_count, model.vertex_count + (SKULL_RINGS + 1) * len(border))
        light[:, skull] *= np.tile(remaining[:, border], (1, SKULL_RINGS + 1, 1))
        probes = np.flatnonzero(self._skin > 0.5)[::6]
        gammas = [
            to_gamma(
                fit_light(
                    normals[item, probes],
                    light[item, probes],
                    np.maximum(normals[item, probes, 2], 0),
                    environment.harmonics(),
                )
            )
            for item, environment in enumerate(faces.environments)
        ]
        return np.stack(gammas).astype(np.float32)

    def _neutral_landmarks(self, identity: torch.Tensor) -> torch.Tensor:
        """Landmarks (B, 68, 3) without expression, in the object frame."""
        flat = self._landmark_mean + identity @ self._landmark_basis
        return flat.unflatten(1, (-1, 3))

    def _pose(
        self, around: Surroundings, c: Coefficients, camera: Camera
    ) -> tuple[torch.Tensor, torch.Tensor]:
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
        return camera.from_object(posed), turned_normals

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
        noise = 1 + 0.025 * rng.standard_normal(face, dtype=np.float32)
        colours[:face] *= noise[:, None]
        if rng.uniform() < 0.15:  # of something outside of the picture
            direction = rng.standard_normal(3).astype(np.float32)
            direction /= np.linalg.norm(direction)
            along = points @ direction - np.float32(rng.normal(0, 0.3))
            steps = np.clip(along / np.float32(rng.uniform(0.04, 0.4)), -30, 30)
            shade = 1 - np.float32(rng.uniform(0.15, 0.6)) / (1 + np.exp(-steps))
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


@dataclass(frozen=True)
class _Mesh:
    """The posed scene of one sample."""

    vertices_camera: torch.Tensor
    """(1, V, 3)"""
    triangles: torch.Tensor
    """(F, 3)"""
    features: np.ndarray
    """(V, 8) as `_resolve` reads them."""
    parts: np.ndarray
    """(F,) `Part` of each triangle."""
    style: SceneStyle
    strands: np.ndarray

    def rasterize(self, camera: Camera, times: int) -> Fragments:
        """What pixels of a `times` finer picture see."""
        size = (times * camera.height, times * camera.width)
        return rasterize(camera.clip(self.vertices_camera), self.triangles, size)

    def resolve(self, fragments: Fragments) -> np.ndarray:
        """(H, W, 6): colour times coverage, coverage, skin, hair."""
        height, width = fragments.triangle_id.shape[1:]
        picture = np.empty((height // SUPERSAMPLING, width // SUPERSAMPLING, 6), dtype=np.float32)
        style = self.style
        looks = np.array(
            [
                style.strand_contrast,
                style.edge_noise,
                style.edge_width,
                0.0 if style.hat > 0.5 else 0.25,
            ],
            dtype=np.float32,
        )
        _resolve(
            fragments.triangle_id[0].numpy(),
            fragments.barycentrics[0].numpy(),
            self.triangles.numpy(),
            self.features,
            style.hair_colour.astype(np.float32),
            looks,
            self.strands,
            picture,
        )
        return picture

    def visible(
        self, fragments: Fragments, hair: np.ndarray, landmarks_px: np.ndarray, depths: np.ndarray
    ) -> np.ndarray:
        """Whether each landmark (68, 2), at its depth (68,), is seen."""
        height, width = hair.shape
        column, row = np.floor(SUPERSAMPLING * landmarks_px).astype(int).T
        fine = (SUPERSAMPLING * height, SUPERSAMPLING * width)
        inside = (column >= 0) & (column < fine[1]) & (row >= 0) & (row < fine[0])
        column, row = column.clip(0, fine[1] - 1), row.clip(0, fine[0] - 1)
        face = fragments.triangle_id[0].numpy()[row, column]
        weights = fragments.barycentrics[0].numpy()[row, column]
        corners = self.vertices_camera[0, :, 2].numpy()[self.triangles.numpy()[face]]
        nearest = np.where(face >= 0, (weights * corners).sum(axis=1), np.inf)
        covered = hair[row // SUPERSAMPLING, column // SUPERSAMPLING] > 0.5
        return inside & ~covered & (nearest > depths - BEHIND_DM)

    def surface(self, camera: Camera, normals: np.ndarray) -> Surface:
        """What the centre of each pixel shows.

        Args:
            camera: of the picture.
            normals: (V, 3)
        """
        fragments = self.rasterize(camera, 1)
        face = fragments.triangle_id[0].numpy()
        seen = face >= 0
        corners = self.triangles.numpy()[face[seen]]
        weights = fragments.barycentrics[0].numpy()[seen][:, :, None]

        def at_pixels(attribute: np.ndarray) -> np.ndarray:
            return (weights * attribute[corners]).sum(axis=1)

        values = at_pixels(self.features)
        part = self.parts[face[seen]]
        part[(part == Part.FACE) & (values[:, 3] > 0.5)] = Part.SKIN
        rows, columns = self.strands.shape
        row = (values[:, 7] * rows).astype(int) & (rows - 1)
        column = (values[:, 6] * columns).astype(int) & (columns - 1)
        edge = values[:, 4] + self.style.edge_noise * self.strands[row, column]
        part[(values[:, 4] > HAIR_REACH) & (edge > 0)] = Part.HAIR
        normal = at_pixels(normals)
        parts = np.full(face.shape, Part.BACKGROUND, dtype=np.uint8)
        depth = np.zeros(face.shape, dtype=np.float32)
        normal_map = np.zeros((*face.shape, 3), dtype=np.float32)
        parts[seen] = part
        depth[seen] = at_pixels(self.vertices_camera[0].numpy())[:, 2]
        normal_map[seen] = normal / np.maximum(np.linalg.norm(normal, axis=1, keepdims=True), 1e-9)
        return Surface(parts, depth, normal_map)


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
        out: (H, W, 6) colour times coverage, coverage, skin, hair.
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
            for channel in range(6):
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
                if value[4] > HAIR_REACH:
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
                    out[y, x, 5] += quarter * alpha
                out[y, x, 0] += quarter * min(max(red, zero), one)
                out[y, x, 1] += quarter * min(max(green, zero), one)
                out[y, x, 2] += quarter * min(max(blue, zero), one)
                out[y, x, 3] += quarter
                out[y, x, 4] += quarter * skin
