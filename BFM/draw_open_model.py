"""Draw the pictures of the open face model's card.

python -m BFM.draw_open_model --output docs/images

Every picture is the model's own: its mesh and its 1024 texture, Lambertian under one plain light
of spherical harmonics. The people are the first ones of seed 0, not chosen ones.
"""

from __future__ import annotations

import functools
import io
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import matplotlib
import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from models.camera import Camera, rotate, rotation_matrix
from models.face_model import FaceModel, FaceModelData
from models.lighting import irradiance
from models.renderer import Fragments, interpolate, rasterize
from models.texture import AlbedoTexture, corner_coordinates, sample_texture
from options import parse_command
from options.face_options import FaceRegion
from util.assets import OPEN_FACE_MODEL
from util.atomic import atomic_file
from util.command import run_command
from util.errors import InputError
from util.model_files.face_model_file import read_face_model
from util.model_files.texture_file import read_texture

SUPERSAMPLING = 3
LARGEST_BYTES = 100_000
"""Of a picture; its JPEG quality is the best that stays below."""
PAPER = 0.91
"""Grey behind the faces."""
INK = (60, 60, 66)
LABEL_PX = 13
GAP_PX = 3
PEOPLE_SEED = 0

# Harmonics of the light, the same for red, green and blue: from the front, from above and a little
# from the image's left, on top of the constant light (`models.lighting`).
_LIGHT = (0.06, -0.1, 0.2, 0.03, 0.0, 0.0, 0.0, 0.0, 0.0)
_CLAY = 0.72
"""Albedo where a mesh is shown, not a person."""
_WIRE_SHARE = 1 / 600
"""Width of a line against the side of the picture."""
_WIRE = (0.13, 0.24, 0.38)

_FONT = Path(matplotlib.get_data_path()) / "fonts" / "ttf" / "DejaVuSans.ttf"

Picture = Float[np.ndarray, "height width 3"]


@dataclass(frozen=True)
class DrawOptions:
    """Where the pictures go, and how large they are."""

    output: str = "docs/images"
    """Folder of the pictures; those of the same names are replaced."""
    scale: float = 1.0
    """1 draws them as they are committed."""

    def __post_init__(self) -> None:
        """Refuse pictures without pixels."""
        if not self.scale >= 0.05:
            raise ValueError(f"--scale is {self.scale}; must be at least 0.05")


@dataclass(frozen=True)
class View:
    """What a picture shows: a square of the plane through the object's origin."""

    width_dm: float
    """Side of the square."""
    centre_dm: tuple[float, float] = (0.0, 0.0)
    """Its middle, x and y."""
    yaw_deg: float = 0.0
    """The head's turn to its left, the image's right."""
    pitch_deg: float = 0.0
    """The head's nod."""

    def turned(self, yaw_deg: float) -> View:
        """The same of a head that turns; the middle follows the face."""
        x, y = self.centre_dm
        moved = x + MIDDLE_Z_DM * math.sin(math.radians(yaw_deg))
        return replace(self, yaw_deg=yaw_deg, centre_dm=(moved, y))

    def camera(self, size_px: int) -> Camera:
        """From 10 dm, as the R-Net's."""
        camera = Camera.rnet()
        focal = size_px * camera.distance_dm / self.width_dm
        scale = focal / camera.focal_px
        x, y = self.centre_dm
        per_dm = focal / camera.distance_dm
        centre = torch.tensor([[size_px / 2 - per_dm * x, size_px / 2 + per_dm * y]])
        shift = centre - camera.centre_px * scale
        return camera.regrid(scale, shift, (size_px, size_px))


MIDDLE_Z_DM = -0.4
"""Half-way between the nose and what is seen behind it."""
FACE = View(2.2, (0.0, 0.12))
CLOSE = View(1.8, (0.0, -0.06))
HEAD = View(2.9, (0.0, 0.1))
EYE = View(0.6, (0.31, 0.31), yaw_deg=12)
MOUTH = View(0.7, (0.06, -0.4), yaw_deg=12)


class Studio:
    """Draws faces of one region and one level of detail of the open model."""

    def __init__(self, data: FaceModelData) -> None:
        """Textures are read when one is drawn."""
        self._data = data
        self.model = FaceModel(data)
        self._light = torch.tensor(_LIGHT).repeat(3)[None]

    @functools.cached_property
    def _texture(self) -> AlbedoTexture:
        maps, data = read_texture(OPEN_FACE_MODEL), self._data
        assert maps is not None and data.uv is not None and data.uv_triangles is not None
        return AlbedoTexture(data.uv, data.uv_triangles, data.triangles, maps)

    @functools.cached_property
    def _mean_texture(self) -> Tensor:
        return self._texture_of(None)

    def _texture_of(self, texture: Mapping[int, float] | Tensor | None) -> Tensor:
        coefficients = _coefficients(texture, len(self.model.albedo_sigma))
        return self._texture(self.model.albedo(coefficients), coefficients)

    @torch.no_grad()
    def portrait(
        self,
        view: View,
        size_px: int,
        identity: Mapping[int, float] | Tensor | None = None,
        units: Mapping[str, float] | None = None,
        texture: Mapping[int, float] | Tensor | None = None,
    ) -> Picture:
        """A face with the 1024 texture.

        Args:
            view: of the camera.
            size_px: side of the picture.
            identity: coefficients (1, 80), or those that are not 0 by number.
            units: strengths of named expression units.
            texture: as `identity`.
        """
        vertices = self._vertices(identity, units)
        picture = self._mean_texture if texture is None else self._texture_of(texture)
        uv, uv_triangles = self.model.uv, self.model.uv_triangles
        assert uv is not None and uv_triangles is not None

        def albedo(fragments: Fragments) -> Tensor:
            places = corner_coordinates(
                uv, uv_triangles, fragments.triangle_id, fragments.barycentrics
            )
            return sample_texture(picture, places)

        return self._draw(vertices, view, size_px, albedo)

    @torch.no_grad()
    def wireframe(self, view: View, size_px: int) -> Picture:
        """The mean face's mesh."""

        def albedo(fragments: Fragments) -> Tensor:
            return torch.full((*fragments.triangle_id.shape, 3), _CLAY)

        return self._draw(self._vertices(None, None), view, size_px, albedo, wire=True)

    def _vertices(
        self, identity: Mapping[int, float] | Tensor | None, units: Mapping[str, float] | None
    ) -> Tensor:
        person = _coefficients(identity, len(self.model.identity_sigma))
        return self.model.shape(person, self.model.units(units or {}))

    def _draw(
        self,
        vertices: Tensor,
        view: View,
        size_px: int,
        albedo: Callable[[Fragments], Tensor],
        wire: bool = False,
    ) -> Picture:
        """Pose, rasterise finer than the picture, light each pixel, average."""
        angles = torch.tensor([[view.pitch_deg, view.yaw_deg, 0.0]]).deg2rad()
        rotation = rotation_matrix(angles)
        normals = rotate(self.model.normals(vertices), rotation)
        camera = view.camera(SUPERSAMPLING * size_px)
        posed = camera.from_object(rotate(vertices, rotation))
        size = (camera.height, camera.width)
        triangles = self.model.triangles
        fragments = rasterize(camera.clip(posed), triangles, size)
        at_pixels = F.normalize(interpolate(normals, triangles, fragments), dim=-1)
        light = irradiance(at_pixels.flatten(1, 2), self._light).reshape(*at_pixels.shape)
        lit = (albedo(fragments) * light).clamp(0, 1)
        if wire:
            line = _edges(camera.project(posed), triangles, fragments, _WIRE_SHARE * camera.width)
            line = line[..., None]
            lit = lit + line * (lit.new_tensor(_WIRE) - lit)
        seen = fragments.covered[..., None]
        picture = torch.where(seen, lit, torch.full_like(lit, PAPER)).permute(0, 3, 1, 2)
        return F.avg_pool2d(picture, SUPERSAMPLING)[0].permute(1, 2, 0).numpy()


def _coefficients(values: Mapping[int, float] | Tensor | None, size: int) -> Tensor:
    if isinstance(values, Tensor):
        return values
    row = torch.zeros(1, size)
    for number, value in (values or {}).items():
        row[0, number] = value
    return row


def _edges(
    vertices_px: Float[Tensor, "1 vertices 2"],
    triangles: Tensor,
    fragments: Fragments,
    width_px: float,
) -> Float[Tensor, "1 height width"]:
    """How much of each pixel an edge of its triangle covers, drawn so wide.

    A barycentric times the triangle's height above the opposite edge is the distance from it.
    """
    corners = vertices_px[0, triangles.long()]
    opposite = corners.roll(-1, dims=1) - corners.roll(-2, dims=1)
    first, second = corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]
    area = (first[:, 0] * second[:, 1] - first[:, 1] * second[:, 0]).abs()
    heights = area[:, None] / opposite.norm(dim=2).clamp_min(1e-6)
    ids = fragments.triangle_id.long().clamp_min(0)
    distance = (fragments.barycentrics * heights[ids]).amin(dim=-1)
    return (width_px / 2 + 0.5 - distance).clamp(0, 1)


@functools.cache
def studio(region: FaceRegion = "face", level: int = 1) -> Studio:
    """Of the committed model; kept, since drawing the texture layout takes seconds."""
    return Studio(read_face_model(OPEN_FACE_MODEL, level, region))


def sheet(
    pictures: Sequence[Picture],
    columns: int,
    labels: Sequence[str] = (),
    font_px: int = LABEL_PX,
) -> Image.Image:
    """Pictures of one size in rows, each with its label below, if there are labels."""
    height, width = pictures[0].shape[:2]
    below = font_px + font_px // 2 if labels else 0
    rows = -(-len(pictures) // columns)
    step_x, step_y = width + GAP_PX, height + below + GAP_PX
    whole = Image.new("RGB", (columns * step_x - GAP_PX, rows * step_y - GAP_PX), "white")
    pen, font = ImageDraw.Draw(whole), ImageFont.truetype(_FONT, font_px)
    for number, picture in enumerate(pictures):
        row, column = divmod(number, columns)
        left, top = column * step_x, row * step_y
        whole.paste(Image.fromarray(np.rint(255 * picture).astype(np.uint8)), (left, top))
        if labels:
            middle = (left + width / 2, top + height + below / 2)
            pen.text(middle, labels[number], INK, font=font, anchor="mm")
    return whole


def mean_sheet(scale: float) -> Image.Image:
    """The mean face from three sides, and the head from two."""
    size = round(300 * scale)
    pictures = [studio("face").portrait(FACE.turned(yaw), size) for yaw in (0, 35, 75)]
    pictures += [studio("head").portrait(HEAD.turned(yaw), size) for yaw in (-35, -90)]
    return sheet(pictures, len(pictures))


def identity_sheet(scale: float) -> Image.Image:
    """What the first components of identity change."""
    view, size = FACE.turned(20), round(200 * scale)
    return _components(scale, lambda k, value: studio().portrait(view, size, {k: value}))


def texture_sheet(scale: float) -> Image.Image:
    """What the first components of albedo change."""
    size = round(200 * scale)
    return _components(scale, lambda k, value: studio().portrait(FACE, size, texture={k: value}))


def _components(scale: float, draw: Callable[[int, float], Picture]) -> Image.Image:
    count = 6
    pictures = [draw(number, value) for value in (-2.0, 2.0) for number in range(count)]
    labels = [f"{number + 1}: {value} σ" for value in ("−2", "+2") for number in range(count)]
    return sheet(pictures, count, labels, _font_px(scale))


def people_sheet(scale: float) -> Image.Image:
    """Random people: all coefficients N(0, 1), the heads turned a little."""
    rng, columns, rows = np.random.default_rng(PEOPLE_SEED), 7, 3
    head = studio("head")
    pictures = []
    for _ in range(columns * rows):
        identity, texture = (
            torch.from_numpy(rng.standard_normal((1, len(sigma)), dtype=np.float32)) * sigma
            for sigma in (head.model.identity_sigma, head.model.albedo_sigma)
        )
        view = CLOSE.turned(rng.uniform(-25, 25))
        size = round(170 * scale)
        pictures.append(head.portrait(view, size, identity=identity, texture=texture))
    return sheet(pictures, columns)


def units_sheet(scale: float) -> Image.Image:
    """Every expression unit at full strength."""
    face, view = studio(), CLOSE.turned(10)
    shown = {name: {name: 1.0} for name in face.model.unit_names}
    # It closes the lips of an open jaw, and means nothing without one.
    shown["mouthClose"]["jawOpen"] = 1.0
    pictures = [face.portrait(view, round(132 * scale), units=units) for units in shown.values()]
    return sheet(pictures, 9, list(shown), _font_px(scale, 11))


def levels_sheet(scale: float) -> Image.Image:
    """The meshes of the three levels of detail, near one eye and near the mouth."""
    size = round(300 * scale)
    levels = [studio("face", level) for level in (0, 1, 2)]
    pictures = [drawn.wireframe(view, size) for view in (EYE, MOUTH) for drawn in levels]
    labels = [
        f"open@{level}: {drawn.model.vertex_count:,} vertices" for level, drawn in enumerate(levels)
    ]
    return sheet(pictures, 3, 2 * labels, _font_px(scale))


def _font_px(scale: float, px: int = LABEL_PX) -> int:
    return max(6, round(px * scale))


SHEETS: dict[str, Callable[[float], Image.Image]] = {
    "open_model_mean": mean_sheet,
    "open_model_identity": identity_sheet,
    "open_model_texture": texture_sheet,
    "open_model_people": people_sheet,
    "open_model_units": units_sheet,
    "open_model_levels": levels_sheet,
}


def jpeg(picture: Image.Image, largest: int = LARGEST_BYTES) -> bytes:
    """The picture's JPEG file in the best quality, of every third, that is not too large."""
    for quality in range(92, 30, -3):
        buffer = io.BytesIO()
        picture.save(buffer, "JPEG", quality=quality, optimize=True)
        if buffer.tell() <= largest:
            break
    return buffer.getvalue()


def main(arguments: Sequence[str] | None = None) -> None:
    """Draw and write all sheets."""
    options = parse_command([DrawOptions], arguments, __doc__ or "")[DrawOptions]
    folder = Path(options.output)
    if folder.exists() and not folder.is_dir():
        raise InputError(f"--output {folder} is a file; give a folder")
    for name, draw in SHEETS.items():
        path = folder / f"{name}.jpg"
        with atomic_file(path) as file:
            file.write(jpeg(draw(options.scale)))
        print(f"{path}: {path.stat().st_size / 1000:.0f} kB")


if __name__ == "__main__":
    run_command(main)
