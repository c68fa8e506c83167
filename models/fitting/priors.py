"""Terms that are quadratic in the coefficients: E = x^T Q x + 2 q^T x + c, the same for all faces.

Their normal equations are exact, and made once.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from jaxtyping import Float
from torch import Tensor

from models.camera import angle_rates
from models.face_model import FaceModel
from models.fitting.derivatives import JOINTS
from models.fitting.focal import FOCAL
from models.fitting.terms import NormalEquations
from models.parameters import Coefficients, ParameterLayout
from options.fitting_weights import FitWeights

_ODD = 0.02
"""Share of a coefficient's variance that is added to what photographs show: the breath of noise in
these (`data.synthetic.expressions`) is half of it."""


@dataclass(frozen=True)
class Quadratic:
    """One term over the flat coefficients."""

    layout: ParameterLayout
    matrix: Float[Tensor, "parameters parameters"]
    vector: Float[Tensor, " parameters"]
    constant: float = 0.0

    def only(self, layout: ParameterLayout) -> Quadratic | None:
        """The part over some blocks, for fits that hold the others fixed; None if it has none.

        No term couples two blocks. Blocks that the layout has beyond this one's cost nothing.
        """
        ours, theirs = self.layout.slices, layout.slices
        names = [name for name in theirs if name in ours]
        here, there = (
            torch.cat([torch.arange(whole.size)[whole.slices[name]] for name in names])
            for whole in (self.layout, layout)
        )
        matrix = self.matrix.new_zeros(layout.size, layout.size)
        vector = self.vector.new_zeros(layout.size)
        matrix[there[:, None], there] = self.matrix[here[:, None], here]
        vector[there] = self.vector[here]
        return Quadratic(layout, matrix, vector, self.constant) if matrix.any() else None

    def to(self, like: Tensor) -> Quadratic:
        """Move and cast as a tensor is."""
        return replace(self, matrix=self.matrix.to(like), vector=self.vector.to(like))

    def look(self, coefficients: Coefficients) -> Float[Tensor, "batch parameters"]:
        """The flat coefficients."""
        return self.layout.join(coefficients)

    def energy(self, flat: Float[Tensor, "batch parameters"]) -> Float[Tensor, " batch"]:
        """Its value for each face."""
        product = flat @ self.matrix + 2 * self.vector
        return (product * flat).sum(dim=1) + self.constant

    def equations(self, flat: Float[Tensor, "batch parameters"]) -> NormalEquations:
        """Exact, but for angles, on which no prior depends."""
        gradient = 2 * (flat @ self.matrix + self.vector)
        return NormalEquations((2 * self.matrix).expand(len(flat), -1, -1), gradient)


@dataclass(frozen=True)
class Nearness:
    """Squared distance of coefficients from given ones: E = sum_k w_k (x_k - x0_k)^2."""

    layout: ParameterLayout
    """Of the coefficients that are free; others do not count."""
    weights: Float[Tensor, " parameters"]
    centre: Float[Tensor, "batch parameters"]
    """x0"""

    def look(self, coefficients: Coefficients) -> Coefficients:
        """The coefficients as they are."""
        return coefficients

    def energy(self, coefficients: Coefficients) -> Float[Tensor, " batch"]:
        """Its value for each face."""
        offset = self.layout.join(coefficients) - self.centre
        return (self.weights * offset.square()).sum(dim=1)

    def equations(self, coefficients: Coefficients) -> NormalEquations:
        """Exact but for the second derivatives of the angles by the rotation vector."""
        rates = step_rates(self.layout, coefficients)
        offset = self.layout.join(coefficients) - self.centre
        weighted = 2 * self.weights[:, None] * rates
        return NormalEquations(rates.mT @ weighted, (weighted.mT @ offset[..., None])[..., 0])


def step_rates(
    layout: ParameterLayout, coefficients: Coefficients
) -> Float[Tensor, "batch parameters parameters"]:
    """How coefficients change with a step: alike, but for angles, whose step is a rotation."""
    flat = layout.join(coefficients)
    rates = torch.eye(layout.size, dtype=flat.dtype, device=flat.device).repeat(len(flat), 1, 1)
    if "angles_rad" in layout.slices:
        part = layout.slices["angles_rad"]
        rates[:, part, part] = angle_rates(coefficients.angles_rad)
    return rates


def priors(face_model: FaceModel, weights: FitWeights) -> dict[str, Quadratic]:
    """The quadratic terms of a fit by name, weighted; those of weight zero are left out."""
    layout = face_model.layout
    zero = face_model.mean_shape.new_zeros(layout.size)
    is_natural = weights.natural_expression and face_model.natural_mean is not None
    by_block = {
        "identity": weights.w_identity,
        "expression": 0.0 if is_natural else weights.w_expression,
        "texture": weights.w_texture,
        # Joints that turn are expression too.
        **({} if face_model.skeleton is None else {JOINTS: weights.w_expression}),
    }
    terms = {
        name: Quadratic(layout, torch.diag(weight * _inverse_variances(face_model, name)), zero)
        for name, weight in by_block.items()
        if weight
    }
    if is_natural and weights.w_expression:
        terms["expression"] = _natural(face_model, weights.w_expression)
    if weights.w_light or weights.w_light_colour:
        terms["light"] = Quadratic(layout, _light(face_model, weights), zero)
    if weights.w_reflectance:
        terms["reflectance"] = _reflectance(face_model, weights.w_reflectance)
    return terms


def focal_prior(layout: ParameterLayout, weight: float) -> Quadratic:
    """The squared logarithm of the focal length over the given one, weighted."""
    matrix = torch.zeros(layout.size, layout.size)
    matrix[layout.slices[FOCAL], layout.slices[FOCAL]] = weight
    return Quadratic(layout, matrix, matrix[0] * 0)


def _inverse_variances(face_model: FaceModel, block: str) -> Tensor:
    """1 / sigma^2 on a block, 0 elsewhere."""
    (sigma,) = (b.sigma for b in face_model.layout.blocks if b.name == block)
    result = face_model.mean_shape.new_zeros(face_model.layout.size)
    result[face_model.layout.slices[block]] = result.new_tensor(sigma).square().reciprocal()
    return result


def _natural(face_model: FaceModel, weight: float) -> Quadratic:
    """Squared Mahalanobis distance of the expression from those of photographs, weighted.

    What photographs hardly show is made a little likelier than they say (`_ODD`), since nobody has
    listed all that faces do.
    """
    assert face_model.natural_mean is not None and face_model.natural_covariance is not None
    sigma, mean = face_model.expression_sigma.double(), face_model.natural_mean.double()
    spread = face_model.natural_covariance.double()
    precision = weight * torch.linalg.inv(spread + _ODD * torch.diag(sigma.square()))
    size, part = face_model.layout.size, face_model.layout.slices["expression"]
    matrix, vector = precision.new_zeros(size, size), precision.new_zeros(size)
    matrix[part, part] = (precision + precision.T) / 2
    vector[part] = -(precision @ mean)
    constant = float(mean @ precision @ mean)
    return Quadratic(face_model.layout, matrix, vector, constant).to(face_model.mean_shape)


def _light(face_model: FaceModel, weights: FitWeights) -> Tensor:
    """Mean square and variance over the channels (`losses.gamma_loss`) of gamma's 27 numbers."""
    size, part = face_model.layout.size, face_model.layout.slices["gamma"]
    result = face_model.mean_shape.new_zeros(size, size)
    harmonics = torch.eye(9, dtype=result.dtype, device=result.device)
    channels = torch.eye(3, dtype=result.dtype, device=result.device)
    spread = torch.kron(channels - 1 / 3, harmonics)
    whole = torch.kron(channels, harmonics)
    result[part, part] = (weights.w_light_colour * spread + weights.w_light * whole) / 27
    return result


def _reflectance(face_model: FaceModel, weight: float) -> Quadratic:
    """`losses.reflectance_loss`, which is quadratic in the texture: |d0 + D c|^2 / count."""
    mask = face_model.skin_mask[:, None]
    count = face_model.skin_mask.sum()

    def deviation(albedo: Tensor) -> Tensor:
        mean = (albedo * mask).sum(dim=-2, keepdim=True) / count
        return ((albedo - mean) * mask).flatten(-2)

    basis = deviation(face_model.albedo_basis.unflatten(1, (-1, 3)))
    mean = deviation(face_model.mean_albedo.unflatten(0, (-1, 3)))
    size, part = face_model.layout.size, face_model.layout.slices["texture"]
    matrix, vector = mean.new_zeros(size, size), mean.new_zeros(size)
    matrix[part, part] = weight * (basis @ basis.T) / count
    vector[part] = weight * (basis @ mean) / count
    return Quadratic(face_model.layout, matrix, vector, float(weight * mean.square().sum() / count))
