"""Textures from photos: what they show of a face, laid over its texture layout without seams.

    texel -> point on the posed mesh -> pixel of the whole photo              (models.texel_sight)
    colour / irradiance of the fitted light = albedo as the photo shows it
    seen texels | mirror image of the face | the model's own albedo            (three layers)

A layer that fills in is first made to agree with the seen colours where both are known, by a smooth
field of log ratios over the mesh, which goes on into the unseen (the minimum of data and gradient
energy: the membrane of Perez et al., Poisson Image Editing, SIGGRAPH 2003, in logarithms, where
light is additive); what is left at a border is fine detail, over which the weights fade. A texel
that looks like another part of a face than its own is not taken, and what is on one side only is
not mirrored (models.texel_agreement). All is done in albedo, so that light does not cross the nose
with the mirrored skin; a texture that keeps its light gets it back at the end.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from models.face_model import FaceModel
from models.mouth import behind_lips
from models.renderer import Renderer
from models.texel_agreement import TexelAgreement
from models.texel_sight import DARK, PhotoView, TexelObserver, TexelSight, smoothstep
from models.texture import AlbedoTexture, TextureData
from models.texture_surface import Continuation, TextureSurface

_LIGHT_MOVED = 0.5
"""Power of the light with which a texture that keeps it is filled in: half of what the harmonics
say, for they often overshoot beside noses."""
_SMOOTH_DM, _REACH_DM, _REACH_INSIDE_DM = 0.12, 1.0, 0.1
"""Length over which the matching field is smooth, over which it fades into the unseen, and into the
unseen inside of the mouth."""
_LARGEST_RATIO = 0.5
"""By how much the field may differ from its mean: beside highlights it would grow too large."""
_OWN_TONE = 0.12
"""By how much a person's albedo may smoothly differ from the fitted one; more of it is light that
the harmonics do not know: shadows, highlights."""
_EYE_RATIO = 0.15
"""The most of it on eyeballs: no eye is whiter than the model's."""
_SKIN_TONE, _SKIN_TINT = 0.6, 0.3
"""Differences from the face's usual logarithms, in brightness and between the channels, beyond
which something is not skin: hair, cloth, background."""
_BESIDE_COVER = 3
"""Edges of the mesh around such things over which skin counts less: their borders are blurred."""
_CONTINUED = 5
"""Edges of the mesh over which what is seen goes on into what is not: lips behind the seam of a
closed mouth, eyes under their lids."""
_MOUTH_CONTINUED = 25
"""The same inside of the mouth: about as many as lead from its lips to its back."""
_HAIRLINE_DM = 0.35
"""Width of the change from skin to scalp, whose albedo is that of stubble."""
_UNDERSIDE_DM, _UNDERSIDE_NORMAL = 0.22, 0.05
"""Distance from the points below the nose within which skin is its underside, and the most that its
normals look up."""
_UNDERSIDE_SMOOTH_DM = 0.04
"""Length over which the model is smoothed there: nostrils are larger."""
_HELD = 1e3
"""Attachment of what is not to change."""
_SHARPNESS = 4
"""Power of the weights by which the best of several photos wins."""


class PhotoTexture:
    """Makes textures of one face model.

    Args:
        face_model: with texture coordinates.
        size: side of the texture in texels.
        fine: the model's fine maps, where it has some.
        renderer: draws on the CPU.

    Raises:
        ValueError: the face model has no texture coordinates.
    """

    def __init__(
        self,
        face_model: FaceModel,
        size: int = 1024,
        fine: TextureData | None = None,
        renderer: Renderer | None = None,
    ) -> None:
        if face_model.uv is None or face_model.uv_triangles is None:
            raise ValueError(f"face model {face_model.card.name} has no texture coordinates")
        vertices = face_model.mean_shape.cpu().reshape(-1, 3).numpy()
        layout = (
            face_model.triangles.cpu().numpy(),
            face_model.uv.cpu().numpy(),
            face_model.uv_triangles.cpu().numpy(),
        )
        self.surface = TextureSurface(vertices, *layout, size)
        self.observe = TexelObserver(face_model, self.surface, renderer or Renderer())
        self._mean_albedo = face_model.mean_albedo.cpu()
        self._albedo_basis = face_model.albedo_basis.cpu()
        self._mouth_vertices = behind_lips(face_model).numpy()
        self._agreement = TexelAgreement(face_model, self.surface)
        eyes = face_model.regions.get("eyeballs", torch.zeros(len(vertices), dtype=torch.bool))
        self._in_lips = Continuation(self.surface, self._agreement.lips, _CONTINUED)
        self._in_eyes = Continuation(self.surface, eyes.cpu().numpy(), _CONTINUED)
        self._in_mouth = Continuation(self.surface, self._mouth_vertices, _MOUTH_CONTINUED)
        self._soften_scalp = _SoftScalp(face_model, self.surface)
        self._smooth_underside = _SmoothUnderside(face_model, self.surface)
        self._drawn = None
        if fine is not None:
            triangles, uv, uv_triangles = layout
            self._drawn = AlbedoTexture(uv, uv_triangles, triangles, fine)

    def __call__(
        self,
        views: Sequence[PhotoView],
        texture_coefficients: Tensor,
        *,
        keep_light: bool = True,
    ) -> np.ndarray:
        """The texture of one person.

        Args:
            views: one or more photos of the person; colours and light are those of the one that
                shows most.
            texture_coefficients: (1, C).
            keep_light: of the photo; else it is divided out.

        Returns:
            (size, size, 3) uint8 RGB, row 0 at v = 1; beyond the layout the nearest texel goes on.
        """
        surface, regions = self.surface, self.observe.regions
        every = [self.observe(view, _LIGHT_MOVED if keep_light else 1.0) for view in views]
        main = max(every, key=lambda one: float(one.quality.sum()))
        seen, weight, sure = self._merged(every, main)
        model = np.log(self.model_albedo(texture_coefficients) + DARK)
        model = self._grained(self._soften_scalp(model), seen, weight)
        model = self._smooth_underside(model)
        away = self._unusual((seen + np.log(main.irradiance), seen - model), weight)
        bare = 1 - self._agreement.hair(away, sure, weight)
        skin = self._skin(away)
        own = self._agreement.around_mouth(seen, model, weight)
        skin = skin * bare * own
        weight = weight * np.maximum(skin, sure * bare * own)

        field = self._matched(seen - model, weight * skin)
        filled = model + field
        self._continue(filled, seen, weight * skin)
        if surface.mirror is not None:
            usual = self._agreement.on_both_sides(seen - model, weight * skin)
            usual = np.maximum(usual, regions.features)
            mirrored = surface.mirrored(np.column_stack([seen, weight * skin * usual]))
            other, other_weight = mirrored[:, :3], mirrored[:, 3]
            other_weight = other_weight * self.observe.fading(other_weight > 0)
            other_weight[regions.eyes] = 0  # the other eye looks the other way
            other = other + self._matched(seen - other, np.minimum(weight * skin, other_weight))
            filled += smoothstep(other_weight, 0.0, 1.0)[:, None] * (other - filled)
        filled += weight[:, None] * (seen - filled)

        if not keep_light:
            filled -= np.where(regions.inner[:, None], 0, _light_left(field, weight * skin))
        colour = np.exp(filled) - DARK
        if keep_light:
            colour *= main.irradiance
        return surface.picture(np.rint(255 * colour.clip(0, 1)).astype(np.uint8))

    def model_albedo(self, texture_coefficients: Tensor) -> np.ndarray:
        """The face model's own albedo (N, 3) of each texel, in [0, 1]."""
        coefficients = texture_coefficients.detach().cpu().float()
        with torch.no_grad():
            flat = torch.addmm(self._mean_albedo, coefficients, self._albedo_basis)
            vertex = flat.unflatten(1, (-1, 3))
            if self._drawn is None:
                return self.surface.at_texels(vertex[0].numpy()).clip(0, 1)
            drawn = self._drawn(vertex, coefficients)
            size = (self.surface.size, self.surface.size)
            if self._drawn.size != size:
                drawn = F.interpolate(drawn, size, mode="bilinear", antialias=True)
        return self.surface.of_picture(drawn[0].permute(1, 2, 0).numpy())

    def _merged(
        self, every: Sequence[TexelSight], main: TexelSight
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Log albedo, weight and sureness of several photos: the best ones, in the main one's tone.

        Eyes and mouth, which move, are the main photo's wherever it shows them.
        """
        if len(every) == 1:
            return main.log_albedo, main.weight, main.sure
        total, shares = np.zeros_like(main.log_albedo), np.zeros_like(main.weight)
        best = max(float(one.quality.max()) for one in every)
        for one in every:
            albedo = one.log_albedo
            if one is not main:
                both = np.minimum(one.weight, main.weight)
                albedo = albedo + self._matched(main.log_albedo - albedo, both)
            share = (one.quality / max(best, 1e-9)) ** _SHARPNESS
            if one is main:
                share = np.where(self.observe.regions.inner, 1e3, 1.0) * share
            total = total + share[:, None] * albedo
            shares = shares + share
        weight = np.max([one.weight for one in every], axis=0)
        sure = np.max([one.sure for one in every], axis=0)
        known = shares > 1e-12
        mean = total / np.where(known, shares, 1)[:, None]
        return np.where(known[:, None], mean, main.log_albedo).astype(np.float32), weight, sure

    def _matched(self, log_ratio: np.ndarray, weight: np.ndarray) -> np.ndarray:
        """A smooth field (N, 3) that follows log ratios where they weigh, and goes on elsewhere.

        Far from all that is known it comes back to the mean; inside the mouth, where teeth say
        little of what lies around them in the dark, to 0 and soon.
        """
        regions, inside = self.observe.regions, self._mouth_vertices
        # The photo's iris is elsewhere on the eyeball than the model's.
        weight = np.where(regions.irises, 0, weight)
        ratios, data = self.surface.at_vertices(log_ratio, weight)
        outside = np.where(inside, 0, data)
        mean = outside @ ratios / max(float(outside.sum()), 1e-9)
        away = np.where(inside[:, None], ratios, ratios - mean)
        reach = np.where(inside, _REACH_INSIDE_DM, _REACH_DM)
        membrane = self.surface.membrane(data + (_SMOOTH_DM / reach) ** 2, _SMOOTH_DM)
        field = membrane.solve((data[:, None] * away).astype(np.float64))
        limited = _LARGEST_RATIO * np.tanh(field / _LARGEST_RATIO) + mean
        found = self.surface.at_texels(np.where(inside[:, None], field, limited))
        found[regions.eyes] = found[regions.eyes].clip(max=_EYE_RATIO)
        return found

    def _continue(self, filled: np.ndarray, seen: np.ndarray, weight: np.ndarray) -> None:
        """Let lips, eyeballs and the inside of the mouth go on as the photo shows them, in place.

        Lips are narrower than the field is smooth, and where they come to an end in the seam of a
        closed mouth, those of the model would be seen as a line. So would the dark rim of the
        model's iris under a lid that is not quite where the photo has it: the photo's iris is
        elsewhere, so that colours themselves go on, and not what they differ by.

        Args:
            filled: (N, 3) to be changed.
            seen: (N, 3)
            weight: (N,) how well the photo shows it.
        """
        surface, eyes = self.surface, self.observe.regions.eyes
        away, held = surface.at_vertices(seen - filled, weight)
        filled += surface.at_texels(self._in_lips(away, smoothstep(held, 0.5, 1.0)))
        # Teeth are the photo's alone: without, every smile that turns shows a dark hole.
        for part, go_on in (
            (eyes, self._in_eyes),
            (surface.inside(self._mouth_vertices), self._in_mouth),
        ):
            values, held = surface.at_vertices(seen, np.where(part, weight, 0))
            spread = go_on(np.column_stack([values, np.ones_like(held)]), held)
            near = surface.at_texels(spread)[part]
            share = near[:, 3:].clip(1e-6, 1)
            filled[part] += share * (near[:, :3] / share - filled[part])

    def _unusual(self, logarithms: Sequence[np.ndarray], weight: np.ndarray) -> np.ndarray:
        """How far vertices (V,) are from the usual look of the face; 1 is no skin.

        Args:
            logarithms: (N, 3) of what is about the same everywhere on a face; it is enough to be
                usual in one of them.
            weight: (N,) how well the photo shows it.
        """
        least = np.full(len(self.surface.degree), np.inf)
        for values in logarithms:
            means, known = self.surface.at_vertices(values, weight)
            if not (known > 0.5).any():
                return np.zeros_like(least)
            away = means - np.median(means[known > 0.5], axis=0)
            tone = away.mean(axis=1)
            tint = np.linalg.norm(away - tone[:, None], axis=1)
            least = np.minimum(least, np.hypot(tone / _SKIN_TONE, tint / _SKIN_TINT))
        return least

    def _skin(self, away: np.ndarray) -> np.ndarray:
        """How far each texel (N,) shows the face and not what covers it.

        Args:
            away: (V,) distances from the usual look of the face.
        """
        regions = self.observe.regions
        own = 1 / (1 + away**4)
        for _ in range(_BESIDE_COVER):
            own = self.surface.least_around(own)
        for _ in range(_BESIDE_COVER):
            own = self.surface.blurred(own)
        skin = np.maximum(self.surface.at_texels(own), regions.features)
        return np.where(regions.inner, 1, skin).astype(np.float32)

    def _grained(self, model: np.ndarray, seen: np.ndarray, weight: np.ndarray) -> np.ndarray:
        """The model's logarithms (N, 3) with no more fine detail than the photo has.

        Else a smooth photo would end where pores begin.
        """
        shown = (weight > 0.9) & ~self.observe.regions.inner
        if not shown.any():
            return model
        fine = model - self.surface.smooth(model)
        usual = float(np.median(np.abs(fine[shown])))
        photo = float(np.median(np.abs((seen - self.surface.smooth(seen))[shown])))
        return model - max(1 - photo / max(usual, 1e-6), 0.0) * fine


class _SoftScalp:
    """Takes the edge from where a model's skin becomes scalp, which has the albedo of stubble."""

    def __init__(self, face_model: FaceModel, surface: TextureSurface) -> None:
        """Prepare it; models that name no scalp stay as they are."""
        self._surface = surface

        def around(name: str, edges: int) -> np.ndarray:
            found = np.zeros(face_model.vertex_count)
            if name in face_model.regions:
                found[face_model.regions[name].cpu().numpy()] = 1
            for _ in range(edges):
                found = np.maximum(found, surface.adjacency @ found > 0)
            return found

        near = around("scalp", round(_HAIRLINE_DM / surface.edge_dm))
        near[around("brows", _BESIDE_COVER) > 0] = 0  # whose colour would spread
        self._near = near > 0
        self._stubble = surface.at_texels(surface.blurred(around("scalp", _BESIDE_COVER)))[:, None]
        loose = (surface.edge_dm / _HAIRLINE_DM) ** 2
        self._attachment = np.where(self._near, loose, _HELD)
        self._membrane = surface.membrane(self._attachment, surface.edge_dm)

    def __call__(self, model: np.ndarray) -> np.ndarray:
        """Logarithms (N, 3) of the model without that edge."""
        if not self._near.any():
            return model
        smooth = self._surface.at_vertices(model, np.ones(len(model), np.float32))[0]
        soft = self._membrane.solve((self._attachment[:, None] * smooth).astype(np.float64))
        change = self._surface.at_texels(np.where(self._near[:, None], soft - smooth, 0))
        return model + change - self._stubble * (model - self._surface.at_texels(smooth))


class _SmoothUnderside:
    """Takes the grain from the underside of a model's nose, which few photos show.

    A layout that is seen from the front has a third of the usual texels there, so that pores would
    be as large as nostrils, and hide them.
    """

    def __init__(self, face_model: FaceModel, surface: TextureSurface) -> None:
        """Prepare it; models without the 68 points stay as they are."""
        self._surface = surface
        vertices = face_model.mean_shape.cpu().reshape(-1, 3)
        embedding = face_model.landmark_embedding
        corners = vertices[embedding.vertices.cpu()]
        points = (embedding.barycentrics.cpu()[..., None] * corners).sum(dim=1).numpy()
        part = np.zeros(face_model.vertex_count)
        if len(points) == 68:
            nose, lip = points[31:36], points[51]
            away = np.linalg.norm(vertices.numpy() - nose.mean(axis=0), axis=1)
            up = face_model.normals(face_model.mean_shape.reshape(1, -1, 3))[0, :, 1].cpu().numpy()
            above_lip = vertices[:, 1].numpy() > (nose[2, 1] + lip[1]) / 2
            part[(away < _UNDERSIDE_DM) & (up < _UNDERSIDE_NORMAL) & above_lip] = 1
        self._edges = max(1, round(_UNDERSIDE_SMOOTH_DM / surface.edge_dm))
        for _ in range(self._edges):
            part = surface.blurred(part)
        self._share = surface.at_texels(part)[:, None]

    def __call__(self, model: np.ndarray) -> np.ndarray:
        """Logarithms (N, 3) of the model without that grain."""
        smooth = self._surface.at_vertices(model, np.ones(len(model), np.float32))[0]
        for _ in range(self._edges):
            smooth = self._surface.blurred(smooth)
        return model + self._share * (self._surface.at_texels(smooth) - model)


def _light_left(field: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """Of a field of log ratios (N, 3) of what is seen to the model, what is no albedo."""
    away = field - weight @ field / max(float(weight.sum()), 1e-9)
    return away - away.clip(-_OWN_TONE, _OWN_TONE)
