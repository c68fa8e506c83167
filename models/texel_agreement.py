"""Which texels show what the face model has there, and not another part of the face, or no face.

No fit is exact: lips may lie a few millimetres beside the photo's, so that texels of the lips show
teeth, and texels beside the mouth show lips. In the photo's own pose this looks right; a mouth that
closes has teeth on its lips. What gives it away is colour: the difference of the seen albedo's
logarithm to the model's is about the same everywhere on a part of a face, whoever the person is.
"""

from __future__ import annotations

import numpy as np
from scipy.sparse.csgraph import connected_components

from models.face_model import FaceModel
from models.mouth import behind_lips
from models.texture_surface import TextureSurface

_LESS_RED, _BRIGHTER, _DARKER = 0.17, 0.5, 0.5
"""Differences from the usual logarithms of a pair of lips of what is not lips: teeth are less red
and brighter, the gap between the lips is darker. Lips that are redder than most are lips."""
_REDDER = 0.3
"""Share of the lips, the least red, that does not say what is usual: there the teeth are."""
_LIP_SHARE = (0.35, 0.75)
"""Of the way from skin's tint to that of lips, between which skin begins to be lips, and is."""
_LEAST_TINT = 0.1
"""Length of that way below which the two cannot be told apart, nor would it be seen."""
_ONE_SIDED_TONE, _ONE_SIDED_TINT = 0.7, 0.25
"""Differences from a face's usual logarithms, in brightness and between the channels, of what is
not expected on its other side: jewels, hair, spots. Shading differs by nearly as much."""
_DETAIL_TONE, _DETAIL_TINT, _AROUND_DM = 0.35, 0.15, 0.35
"""The same from what is around, and the length over which it is smoothed: smaller things."""
_BESIDE_MOUTH = 6
"""Edges of the mesh around lips within which skin may show lips."""
_BEHIND = 3
"""Edges behind lips with teeth over which the inside of the mouth has none: it shows in the seam of
a mouth that closes."""
_BLUR = 1
"""Edges of the mesh by which photos are blurred around such things."""
_COVER, _SURE_COVER = 0.45, 0.8
"""Distances from the usual look of a face, 1 of which is something else for sure: hair over the
forehead reaches from where it is farther than the second to where it is nearer than the first."""
_BEYOND = 0.02
"""Sureness below which a place may be seen beyond the border of the face."""
_COVER_BLUR = 4
"""Edges of the mesh over which its border fades."""
_AROUND_FEATURES = 2
"""Edges around brows, lids and lips that belong to these."""


class TexelAgreement:
    """Compares what photos show with one face model. N texels, V vertices."""

    def __init__(self, face_model: FaceModel, surface: TextureSurface) -> None:
        """Find the parts of the mesh; in models that do not name lips, none disagrees there."""
        self._surface = surface
        empty = np.zeros(face_model.vertex_count, bool)

        def region(name: str) -> np.ndarray:
            return face_model.regions[name].numpy() if name in face_model.regions else empty

        self._inside = behind_lips(face_model).numpy()
        self.lips = (region("lips") | region("mouth_ring")) & ~self._inside
        """(V,) With the ring behind their seam, which a mouth shows that is nearly closed."""
        near = self.lips.astype(np.float64)
        for _ in range(_BESIDE_MOUTH):
            near = np.maximum(near, surface.adjacency @ near > 0)
        self._beside = (near > 0) & ~self.lips & ~region("mouth_cavity")
        self._outer = region("scalp") | region("border") | region("ears")
        self._bare = _bare_skin(face_model, surface)

    def around_mouth(self, seen: np.ndarray, model: np.ndarray, weight: np.ndarray) -> np.ndarray:
        """How far texels (N,) of lips show lips, and texels beside the mouth do not; 1 elsewhere.

        Args:
            seen: (N, 3) logarithms of the albedo that is seen.
            model: (N, 3) those of the model.
            weight: (N,) how well the photo shows it.
        """
        away, known = self._surface.at_vertices(seen - model, weight)
        lips, skin = (self.lips & (known > 0.5)), (self._beside & (known > 0.5))
        own = np.ones(len(known))
        if lips.sum() < 3 or skin.sum() < 3:
            return np.ones_like(weight)
        redness = _redness(away)
        redder = lips & (redness >= np.quantile(redness[lips], _REDDER))
        usual = np.median(away[redder], axis=0)
        own[self.lips] = _lip_likeness(away[self.lips] - usual)

        shown, _ = self._surface.at_vertices(seen, weight)
        drawn, _ = self._surface.at_vertices(model, np.ones_like(weight))
        of_skin = np.median(shown[skin], axis=0)
        way = _tint(np.median(drawn[redder], axis=0) + usual - of_skin)
        length = float(np.linalg.norm(way))
        if length > _LEAST_TINT:
            # The model's own change around lips belongs to skin.
            change = _tint(away - np.median(away[skin], axis=0))
            share = change @ way / length**2
            low, high = _LIP_SHARE
            rest = 1 - ((share - low) / (high - low)).clip(0, 1)
            own[self._beside] = rest[self._beside]
        own[known <= 0] = 1
        for _ in range(_BEHIND):
            own = np.where(self._inside, self._surface.least_around(own), own)
        return self._blurred(own, _BLUR)

    def hair(self, away: np.ndarray, sure: np.ndarray, weight: np.ndarray) -> np.ndarray:
        """How far texels (N,) show what hangs over forehead and temples: hair, a cap.

        By colour alone it is like a shadow or a scar, and blurred also by its detail; but it comes
        from beyond the border of the face, and goes on without a gap to where nothing but itself
        can look so. Strong shadows and stains that reach the border are taken for it. Brows and
        beards are a face's own, and so is all of models that do not say where these are.

        Args:
            away: (V,) distances of the vertices from the usual look of the face.
            sure: (N,) in [0, 1]: 0 where a texel may show what is behind the face.
            weight: (N,) how well the photo shows it.
        """
        surface = self._surface
        _, known = surface.at_vertices(sure[:, None], weight)
        inside, _ = surface.at_vertices(sure[:, None], np.ones_like(sure))
        odd = np.flatnonzero(self._bare & (known > 0) & (away > _COVER))
        covered = np.zeros(len(away))
        if len(odd):
            _, piece = connected_components(surface.adjacency[odd][:, odd], directed=False)
            from_beyond = piece[(self._outer | (inside[:, 0] < _BEYOND))[odd]]
            striking = piece[away[odd] > _SURE_COVER]
            covered[odd] = np.isin(piece, np.intersect1d(from_beyond, striking))
        return 1 - self._blurred(1 - covered, _COVER_BLUR)

    def on_both_sides(self, log_ratio: np.ndarray, weight: np.ndarray) -> np.ndarray:
        """How far texels (N,) show what the other side of the face may have too.

        Args:
            log_ratio: (N, 3) of the albedo that is seen to the model's.
            weight: (N,) how well the photo shows it.
        """
        away, known = self._surface.at_vertices(log_ratio, weight)
        if not (known > 0.5).any():
            return np.ones_like(weight)
        usual = np.median(away[known > 0.5], axis=0)
        membrane = self._surface.membrane(known + 1e-3, _AROUND_DM)
        around = membrane.solve((known[:, None] * (away - usual)).astype(np.float64))
        detail = away - usual - around
        own = _likeness(away - usual, _ONE_SIDED_TONE, _ONE_SIDED_TINT)
        own = np.minimum(own, _likeness(detail, _DETAIL_TONE, _DETAIL_TINT))
        own[known <= 0] = 1
        return self._blurred(own, _BLUR)

    def _blurred(self, own: np.ndarray, edges: int) -> np.ndarray:
        """Agreement of vertices at texels (N,), less beside what does not agree."""
        for _ in range(edges):
            own = self._surface.least_around(own)
        for _ in range(edges):
            own = self._surface.blurred(own)
        return self._surface.at_texels(own)


def _bare_skin(face_model: FaceModel, surface: TextureSurface) -> np.ndarray:
    """(V,) vertices of forehead, temples and outer cheeks, which have no hair of their own.

    None of models that do not name brows, beard and what else is found by its name here.
    """
    needed = ("brows", "lids", "lips", "beard", "eyeballs", "lid_cavity")
    if any(name not in face_model.regions for name in needed):
        return np.zeros(face_model.vertex_count, bool)
    regions = {name: face_model.regions[name].numpy() for name in needed}
    x, y, _ = face_model.mean_shape.cpu().reshape(-1, 3).numpy().T
    own = (regions["brows"] | regions["lids"] | regions["lips"]).astype(np.float64)
    for _ in range(_AROUND_FEATURES):
        own = np.maximum(own, surface.adjacency @ own > 0)
    hidden = regions["eyeballs"] | regions["lid_cavity"] | behind_lips(face_model).numpy()
    upper = y > y[regions["eyeballs"]].mean()
    outer = np.abs(x) > np.abs(x[regions["lids"]]).max()
    return (upper | outer) & ~hidden & ~regions["beard"] & (own == 0)


def _tint(logarithms: np.ndarray) -> np.ndarray:
    """What of logarithms (..., 3) is between the channels."""
    return logarithms - logarithms.mean(axis=-1, keepdims=True)


def _redness(logarithms: np.ndarray) -> np.ndarray:
    return logarithms[:, 0] - logarithms[:, 1:].mean(axis=1)


def _lip_likeness(away: np.ndarray) -> np.ndarray:
    """1 where logarithms (V, 3) of lips are as usual, falling towards teeth and darkness."""
    tone = away.mean(axis=1)
    less_red = (-_redness(away)).clip(0) / _LESS_RED
    bright = np.where(tone > 0, tone / _BRIGHTER, tone / _DARKER)
    # Bright alone is a highlight on moist lips.
    bright = np.where(tone > 0, bright * less_red.clip(max=1), bright)
    return 1 / (1 + np.hypot(less_red, bright) ** 4)


def _likeness(away: np.ndarray, tone: float, tint: float) -> np.ndarray:
    """1 where logarithms (V, 3) are about 0, falling where they differ by more than so much."""
    bright = away.mean(axis=1) / tone
    coloured = np.linalg.norm(_tint(away), axis=1) / tint
    return 1 / (1 + np.hypot(bright, coloured) ** 4)
