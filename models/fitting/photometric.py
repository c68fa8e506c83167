"""The photometric term of a fit: residuals of pixels, and their rows of the Jacobian.

A pixel p sees a point of the face with barycentrics b in a triangle; its colour is

    c = A L,   A = sum_j b_j albedo_j,   L = Gamma^T Y(n),   n = R sum_j b_j n_j,

and the residual r = clip(c) - I(p). Moving the point by (dx, dy) pixels changes r by minus the
gradient of the rendering (the pixel then sees what was beside), or, following the point, by minus
that of the photo: both lead to the same place, and their mean further at each step (the efficient
second-order minimisation of Benhimane and Malis, IROS 2004). With X = R Y + t the posed point:

    dr = -g D dX + A Gamma^T (dY/dn) dn                     g (3, 2), D = d(pixel)/dX (2, 3)
    dX = w x (R Y) + dt + R dY,    dn = w x n + R dn_object
    dr = L T dc                    for the texture c,       T = sum_j b_j albedo basis_j
    dr = A Y(n) dGamma             for the light

Where faces keep light from themselves, Y(n) - S stands for Y(n), with their shadow S
(`models.self_shadow`), which turns with the head, dS = S G w, and which nothing else moves.

Visibility is not differentiated, as in the renderer.
"""

from __future__ import annotations

from copy import copy
from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from kornia.filters import spatial_gradient
from torch import Tensor

from models.camera import Camera, rotation_matrix
from models.face_model import FaceModel
from models.fitting.derivatives import JOINTS, FaceDerivatives
from models.fitting.energy import pixel_costs, pixel_derivatives
from models.fitting.focal import FOCAL, camera_of
from models.fitting.pixel_rows import Mixer, PixelFactors, pixel_rows
from models.fitting.terms import NormalEquations
from models.lighting import (
    harmonics_by_rotation,
    light_coefficients,
    lit_harmonics,
    sh_basis_gradient,
)
from models.parameters import Coefficients, ParameterLayout
from models.renderer import Fragments, Renderer, interpolate, rasterize
from models.self_shadow import SelfShadow
from models.stages import KnownPerson, PosedFace, ShapedFace, pose_face, shape_face
from options.fitting_weights import FitWeights

FACES_AT_ONCE = 4
"""Whose Jacobians are in memory together."""
_SAME_SURFACE_DM = 0.15
"""Neighbouring pixels whose depths differ by more see different parts of the face."""


@dataclass(frozen=True)
class PhotoLevel:
    """The photos at one resolution of the pyramid."""

    images: Float[Tensor, "batch 3 height width"]
    """RGB in [0, 1]."""
    attention: Float[Tensor, "batch 1 height width"]
    """Skin probability in [0, 1], or more where a pixel counts as several."""
    gradients: Float[Tensor, "batch height width 3 2"]
    """Of each channel by x and y, for one pixel of this level."""
    camera: Camera
    """That sees these pixels."""

    @classmethod
    def of(
        cls,
        images: Float[Tensor, "batch 3 height width"],
        attention: Float[Tensor, "batch 1 height width"],
        camera: Camera,
        stride: int,
    ) -> PhotoLevel:
        """Average squares of `stride` pixels; a rest at the right and below is left out."""
        if stride > 1:
            images, attention = F.avg_pool2d(images, stride), F.avg_pool2d(attention, stride)
        height, width = images.shape[2:]
        scale = torch.full_like(camera.focal_px, 1 / stride)
        return cls(
            images=images,
            attention=attention,
            gradients=spatial_gradient(images).permute(0, 3, 4, 1, 2).contiguous(),
            camera=camera.regrid(scale, torch.zeros_like(scale), (width, height)),
        )


@dataclass(frozen=True)
class RenderedFaces:
    """Faces as the pixels of a level see them, whatever the photo shows."""

    coefficients: Coefficients
    shaped: ShapedFace
    posed: PosedFace
    fragments: Fragments
    seen: Float[Tensor, "batch height width 4"]
    """Colours, and depth in the camera frame."""


@dataclass(frozen=True)
class PixelView:
    """What the pixels of a level see of the faces.

    M pixels, the most that a face of the batch has; those with fewer are filled up with pixels of
    weight 0.
    """

    rendered: RenderedFaces
    photo: Float[Tensor, "batch pixels 3"]
    """Its colours."""
    residuals: Float[Tensor, "batch pixels 3"]
    """Rendering, clipped to what a photo can show, minus photo."""
    attention: Float[Tensor, "batch pixels"]
    """As in `PhotoLevel`; 0 where nothing is compared."""
    about_eyes: Bool[Tensor, "batch pixels"]
    """Whether they show what surrounds an eye."""
    shows: Bool[Tensor, "batch pixels 3"]
    """Where the rendering is not clipped, and so has a derivative."""
    index: Int[Tensor, "batch pixels"]
    """Of the pixel in its image, row by row."""
    corners: Int[Tensor, "batch pixels 3"]
    """Vertices of the triangle that is seen."""
    barycentrics: Float[Tensor, "batch pixels 3"]
    gradients: Float[Tensor, "batch pixels 3 2"]
    """Of the rendering by x and y: that of the photo where it has none."""

    @property
    def coefficients(self) -> Coefficients:
        """Of the faces."""
        return self.rendered.coefficients

    @property
    def shaped(self) -> ShapedFace:
        """The faces before pose and light."""
        return self.rendered.shaped

    @property
    def posed(self) -> PosedFace:
        """The faces before the camera."""
        return self.rendered.posed

    @property
    def shares(self) -> Float[Tensor, "batch pixels"]:
        """Attention over its sum, or over one pixel where it is less."""
        return self.attention / self.attention.sum(dim=1, keepdim=True).clamp(min=1.0)


def unexplained(
    view: PixelView, weights: FitWeights, *, together: bool = False
) -> Float[Tensor, " batch"]:
    """Mean robust distance of the colours, as a share of the photo's own mean colour.

    So a photo at half its exposure comes to about the same. NaN where no pixel counts, infinite
    where all are black.

    Args:
        view: of the faces.
        weights: of the terms.
        together: the photos count as one.
    """
    costs = pixel_costs(view.residuals, view.about_eyes, weights)
    brightness = torch.linalg.vector_norm(view.photo, dim=-1)
    # Shares, so that large photos of a person count as small ones do.
    left, bright = (costs * view.shares).sum(dim=1), (brightness * view.shares).sum(dim=1)
    if together:
        left, bright = left.sum().expand_as(left), bright.sum().expand_as(bright)
    return left / bright


class PhotometricTerm:
    """Compares faces with a level of the photos."""

    def __init__(
        self,
        face_model: FaceModel,
        tables: FaceDerivatives,
        renderer: Renderer,
        level: PhotoLevel,
        weights: FitWeights,
        layout: ParameterLayout | None = None,
        rendered: RenderedFaces | None = None,
        person: KnownPerson | None = None,
        self_shadow: SelfShadow | None = None,
    ) -> None:
        """Prepare the term; its own weight is in `weights`.

        The layout is of what is free: only joints, the focal length and faces whose shape stays
        need it. Faces that a term of the same camera and size has rendered are not rendered again
        when they are looked at. Of a known person, only such faces may be looked at. With a shadow,
        faces keep light from themselves.
        """
        self._layout = layout or face_model.layout
        self._face_model = face_model
        self._tables = tables
        self._renderer = renderer
        self._level = level
        self._weights = weights
        self._rendered = rendered
        self._person = person
        self._self_shadow = self_shadow

    def look(self, coefficients: Coefficients) -> PixelView:
        """Render the faces and compare the pixels of their front with the photos."""
        rendered = self._rendered
        if rendered is None or rendered.coefficients is not coefficients:
            rendered = self._render(coefficients)
        model, level = self._face_model, self._level
        fragments, seen = rendered.fragments, rendered.seen
        # The pixels that count.
        ids = fragments.triangle_id.flatten(1).long()
        counts = self._tables.is_front[ids] & (level.attention.flatten(1) > 0)
        index = _first_of(counts)
        attention = torch.where(counts, level.attention.flatten(1), 0.0)
        # What they see. Those that fill up look at a vertex, so that all numbers are finite.
        used = counts.gather(1, index)[..., None]
        barycentrics = _at(fragments.barycentrics.flatten(1, 2), index)
        vertex = barycentrics.new_tensor([1.0, 0.0, 0.0])
        images = level.images.permute(0, 2, 3, 1).flatten(1, 2)
        photo, colours = _at(images, index), _at(seen[..., :3].flatten(1, 2), index)
        return PixelView(
            rendered=rendered,
            photo=photo,
            residuals=colours.clamp(0, 1) - photo,
            attention=attention.gather(1, index),
            about_eyes=self._tables.is_about_eyes[ids.gather(1, index)],
            shows=(colours > 0) & (colours < 1),
            index=index,
            corners=model.triangles[ids.gather(1, index).clamp(min=0)].long(),
            barycentrics=torch.where(used, barycentrics, vertex),
            gradients=_rendered_gradients(seen, fragments, level.gradients, index),
        )

    def mean_attention(
        self, triangles: Bool[Tensor, " triangles_and_none"], view: PixelView
    ) -> Float[Tensor, " batch"]:
        """Of the pixels that show certain triangles; 0 where none does."""
        shows = triangles[view.rendered.fragments.triangle_id.long()][:, None]
        attention = torch.where(shows, self._level.attention, 0.0)
        return attention.sum(dim=(1, 2, 3)) / shows.sum(dim=(1, 2, 3)).clamp(min=1)

    def attending(
        self,
        triangles: Bool[Tensor, " triangles_and_none"],
        attention: Float[Tensor, " batch"],
        view: PixelView,
    ) -> PhotometricTerm:
        """The same with at least so much attention for the pixels that show certain triangles.

        Args:
            triangles: of the face model; False for the id -1 of empty pixels.
            attention: of each face; 1 is that of skin. Pixels that have none keep none.
            view: of the faces, where they are now: the pixels stay when the faces move.
        """
        shows = triangles[view.rendered.fragments.triangle_id.long()][:, None]
        now = self._level.attention
        changed = torch.where(shows & (now > 0), now.maximum(attention[:, None, None, None]), now)
        other = copy(self)
        other._level = replace(self._level, attention=changed)
        other._rendered = view.rendered
        return other

    def _render(self, coefficients: Coefficients) -> RenderedFaces:
        model, backend = self._face_model, self._renderer.backend
        camera = camera_of(self._level.camera, coefficients)
        shaped = shape_face(model, coefficients, self._person)
        posed = pose_face(model, shaped, coefficients, camera, self._self_shadow)
        clip = camera.clip(posed.vertices_camera)
        fragments = rasterize(clip, model.triangles, (camera.height, camera.width), backend=backend)
        features = torch.cat([posed.colours, posed.vertices_camera[..., 2:]], dim=-1)
        seen = interpolate(features, model.triangles, fragments, backend=backend)
        return RenderedFaces(coefficients, shaped, posed, fragments, seen)

    def energy(self, view: PixelView) -> Float[Tensor, " batch"]:
        """The weighted term."""
        costs = pixel_costs(view.residuals, view.about_eyes, self._weights)
        return self._weights.w_photo * (costs * view.shares).sum(dim=1)

    def equations(self, view: PixelView) -> NormalEquations:
        """Of the squared residuals, each with the weight that its robust cost gives it now."""
        found = pixel_derivatives(view.residuals, view.about_eyes, self._weights)
        roots = (self._weights.w_photo * view.shares * found.weights).sqrt()[..., None]
        residuals = (roots * found.pulls).flatten(1)
        factors = self._factors(view, roots * view.shows)
        by_focal = self._focal_rows(view, roots * view.shows)
        # A few faces at a time: the rows of one take up to 60 MB. Those with joints have tables of
        # their own.
        moves = "expression" in self._layout.slices
        at_once = FACES_AT_ONCE if view.coefficients.joints_rad is None or not moves else 1
        parts = []
        for part in torch.arange(len(residuals)).split(at_once):
            if not moves:
                rows = self._colour_rows(factors.faces(part))
            elif view.coefficients.joints_rad is None:
                rows = pixel_rows(factors.faces(part), self._tables)
            else:
                rows = self._jointed_rows(factors.faces(part), view.coefficients.item(int(part)))
            if by_focal is not None:
                rows = torch.cat([rows, by_focal[part]], dim=-1)
            parts.append(NormalEquations.of_squares(rows, residuals[part]))
        return NormalEquations(
            torch.cat([part.hessian for part in parts]),
            torch.cat([part.gradient for part in parts]),
        )

    def _colour_rows(self, factors: PixelFactors) -> Float[Tensor, "batch rows parameters"]:
        """Rows of faces whose shape and pose stay: of texture and light."""
        rows = pixel_rows(factors, self._tables)
        texture = self._tables.albedo.shape[2]
        return torch.cat([rows[..., :texture], rows[..., texture + 3 : texture + 30]], dim=-1)

    def _factors(self, view: PixelView, roots: Float[Tensor, "batch pixels 3"]) -> PixelFactors:
        """The formulas at the head of this file."""
        level, posed, coefficients = self._level, view.posed, view.coefficients
        camera = camera_of(level.camera, coefficients)
        at = Mixer(view.corners, view.barycentrics)
        albedo, normals = at(view.shaped.albedo), at(posed.normals)
        points = at(posed.vertices_camera)
        light = light_coefficients(coefficients.gamma)
        shadow = None if posed.shadow is None else at(posed.shadow)
        by_point = -self._gradients(view) @ camera.projection_derivatives(points)
        by_normal = albedo[..., None] * torch.einsum(
            "bkc,bmkx->bmcx", light, sh_basis_gradient(normals)
        )
        rotation = rotation_matrix(coefficients.angles_rad)[:, None]
        # w x v in the direction d is w . (v x d).
        offset = camera.to_object(points) - coefficients.translation_dm[:, None]
        by_rotation = torch.linalg.cross(offset[:, :, None], by_point) + torch.linalg.cross(
            normals[:, :, None], by_normal
        )
        if shadow is not None:
            turning = harmonics_by_rotation(shadow.dtype, shadow.device)
            by_shadow = torch.einsum("xkl,blc->bkcx", turning, light)
            by_rotation -= albedo[..., None] * torch.einsum("bmk,bkcx->bmcx", shadow, by_shadow)
        harmonics = lit_harmonics(normals, shadow)
        return PixelFactors(
            corners=view.corners,
            barycentrics=view.barycentrics,
            turned=torch.cat([by_point @ rotation, by_normal @ rotation], dim=-1),
            irradiance=harmonics @ light,
            by_rotation=by_rotation,
            by_point=by_point,
            albedo=albedo,
            harmonics=harmonics,
            roots=roots,
        )

    def _jointed_rows(
        self, factors: PixelFactors, coefficients: Coefficients
    ) -> Float[Tensor, "1 rows parameters"]:
        """Rows of one face whose joints turn: to the table, joints are shape; they come last."""
        tables = self._tables.posed(self._face_model, coefficients, self._layout)
        rows = pixel_rows(factors, tables)
        part = self._layout.slices.get(JOINTS, slice(0, 0))
        end = tables.surface.shape[2]
        start = end - (part.stop - part.start)
        return torch.cat([rows[..., :start], rows[..., end:], rows[..., start:end]], dim=-1)

    def _focal_rows(
        self, view: PixelView, roots: Float[Tensor, "batch pixels 3"]
    ) -> Float[Tensor, "batch rows 1"] | None:
        """Column of the focal length, -g dp / d log f, where it is free."""
        if FOCAL not in self._layout.slices:
            return None
        points = Mixer(view.corners, view.barycentrics)(view.posed.vertices_camera)
        moved = camera_of(self._level.camera, view.coefficients).zoom_derivatives(points)
        by_focal = -(self._gradients(view) @ moved[..., None])[..., 0]
        return (by_focal * roots).flatten(1)[..., None]

    def _gradients(self, view: PixelView) -> Float[Tensor, "batch pixels 3 2"]:
        """Mean of those of rendering and photo."""
        return (view.gradients + _at(self._level.gradients.flatten(1, 2), view.index)) / 2


def _first_of(counts: Bool[Tensor, "batch pixels"]) -> Int[Tensor, "batch most"]:
    """Indices of the pixels that count, each row filled up with others to the longest's length."""
    most = max(int(counts.sum(dim=1).max()), 1)
    if len(counts) == 1 and most <= int(counts.sum()):
        return counts[0].nonzero()[:, 0][None]
    return counts.byte().argsort(dim=1, descending=True, stable=True)[:, :most]


def _at(values: Tensor, index: Int[Tensor, "batch most"]) -> Tensor:
    """Rows (B, M, ...) of values (B, P, ...)."""
    item = torch.arange(len(values), device=values.device)[:, None]
    return values[item, index]


def _rendered_gradients(
    seen: Float[Tensor, "batch height width 4"],
    fragments: Fragments,
    photo: Float[Tensor, "batch height width 3 2"],
    index: Int[Tensor, "batch most"],
) -> Float[Tensor, "batch most 3 2"]:
    """Central differences of the rendering, where both neighbours show the same surface.

    Args:
        seen: colours and depth.
        fragments: of the rendering.
        photo: gradients that stand in elsewhere.
        index: pixels that are wanted.
    """
    height, width = seen.shape[1:3]
    flat, covered = seen.flatten(1, 2), fragments.covered.flatten(1)
    row, column = index // width, index % width
    here = _at(flat, index)
    of_photo = _at(photo.flatten(1, 2), index)
    gradients = []
    for axis, step, place, size in ((0, 1, column, width), (1, width, row, height)):
        has_both = (place > 0) & (place < size - 1)
        before = torch.where(has_both, index - step, index)
        after = torch.where(has_both, index + step, index)
        low, high = _at(flat, before), _at(flat, after)
        same = has_both & covered.gather(1, before) & covered.gather(1, after)
        for neighbour in (low, high):
            same &= (neighbour[..., 3] - here[..., 3]).abs() < _SAME_SURFACE_DM
        difference = (high[..., :3] - low[..., :3]) / 2
        gradients.append(torch.where(same[..., None], difference, of_photo[..., axis]))
    return torch.stack(gradients, dim=-1)
