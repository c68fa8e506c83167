"""The photometric term of a fit by the light alone: shape, albedo and pose stay as they are.

The pixels then see the same points whatever the light is, so that nothing is rendered again:

    r_p = clip(sum_j b_j A_j Y(n_j) Gamma) - I_p,    dr = sum_j b_j A_j Y(n_j) dGamma

where it is not clipped, with barycentrics b_j, albedo A_j and normal n_j of a triangle's corners.

A few steps take some milliseconds, and spare the steps of everything most of their way: under the
constant light nearly every pixel of a bright photo is an outlier.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from models.fitting.energy import pixel_costs, pixel_derivatives
from models.fitting.photometric import PixelView
from models.fitting.pixel_rows import Mixer
from models.fitting.terms import NormalEquations
from models.lighting import light_coefficients
from models.parameters import Coefficients
from options.fitting_weights import FitWeights


@dataclass(frozen=True)
class LitPixels:
    """What the pixels show under some light."""

    residuals: Float[Tensor, "batch pixels 3"]
    """Rendering, clipped to what a photo can show, minus photo."""
    shows: Bool[Tensor, "batch pixels 3"]
    """Where it is not clipped, and so has a derivative."""


class LightTerm:
    """Compares pixels that were looked at once with their photos, under any light."""

    def __init__(
        self,
        view: PixelView,
        weights: FitWeights,
        albedo: Float[Tensor, "batch vertices 3"] | None = None,
    ) -> None:
        """Keep what the pixels see.

        Args:
            view: of the faces whose light is fitted.
            weights: as in the photometric term.
            albedo: of the vertices; None takes the faces' own.
        """
        at = Mixer(view.corners, view.barycentrics)
        harmonics = view.posed.harmonics[..., None, :]
        albedo = view.shaped.albedo if albedo is None else albedo
        self._by_light = at(albedo[..., None] * harmonics)  # (B, M, 3, 9)
        self._photo = view.photo
        self._shares = view.shares
        self._about_eyes = view.about_eyes
        self._weights = weights

    def look(self, coefficients: Coefficients) -> LitPixels:
        """Light the pixels; nothing but the light counts."""
        colours = self._colours(coefficients)
        shows = (colours > 0) & (colours < 1)
        return LitPixels(colours.clamp(0, 1) - self._photo, shows)

    def energy(self, view: LitPixels) -> Float[Tensor, " batch"]:
        """The photometric term, weighted."""
        costs = pixel_costs(view.residuals, self._about_eyes, self._weights)
        return self._weights.w_photo * (costs * self._shares).sum(dim=1)

    def equations(self, view: LitPixels) -> NormalEquations:
        """Of the squared residuals, each with the weight that its robust cost gives it now.

        Each channel has its own light, so that they are three systems of nine.
        """
        found = pixel_derivatives(view.residuals, self._about_eyes, self._weights)
        roots = (self._weights.w_photo * self._shares * found.weights).sqrt()[..., None]
        rows = self._by_light * (roots * view.shows)[..., None]
        channels = [
            NormalEquations.of_squares(rows[:, :, c], (roots * found.pulls)[..., c])
            for c in range(3)
        ]
        hessian = rows.new_zeros(len(rows), 27, 27)
        for c, channel in enumerate(channels):
            hessian[:, 9 * c : 9 * c + 9, 9 * c : 9 * c + 9] = channel.hessian
        return NormalEquations(hessian, torch.cat([c.gradient for c in channels], dim=1))

    def _colours(self, coefficients: Coefficients) -> Float[Tensor, "batch pixels 3"]:
        """Not clipped."""
        light = light_coefficients(coefficients.gamma)
        return torch.einsum("bmck,bkc->bmc", self._by_light, light)
