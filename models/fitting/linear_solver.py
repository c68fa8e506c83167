"""Solve damped normal equations: of each face alone, or of faces that share a part.

In double precision, by Cholesky factors: the blocks differ by many orders of magnitude, and torch's
batched LU solver has hung on such systems.
"""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from models.fitting.terms import NormalEquations


def solve(
    equations: NormalEquations, damping: Float[Tensor, " batch"]
) -> tuple[Float[Tensor, "batch parameters"], Bool[Tensor, " batch"]]:
    """The damped step of each face, and whether its equations could be solved."""
    hessian, gradient = equations.hessian.double(), equations.gradient.double()
    diagonal = hessian.diagonal(dim1=1, dim2=2)
    damped = hessian + torch.diag_embed(damping[:, None].double() * diagonal + _floor(diagonal))
    factor, problem = torch.linalg.cholesky_ex(damped)
    step = torch.cholesky_solve(-gradient[..., None], factor)[..., 0]
    solved = (problem == 0) & step.isfinite().all(dim=1)
    return step.to(equations.gradient), solved


def solve_shared(
    equations: NormalEquations,
    damping: Float[Tensor, " batch"],
    shared: Bool[Tensor, " parameters"],
) -> tuple[Float[Tensor, "batch parameters"], Bool[Tensor, " batch"]]:
    """One damped step of all faces together, whose shared parameters move alike.

    With s the shared and l_f the local parameters of face f, the steps solve

        sum_f (A_f ds + B_f^T dl_f) = -sum_f a_f,     B_f ds + D_f dl_f = -d_f.

    The local ones are eliminated (Schur complement): dl_f = -D_f^-1 (d_f + B_f ds) leaves

        (sum_f A_f - B_f^T D_f^-1 B_f) ds = -sum_f (a_f - B_f^T D_f^-1 d_f),

    a system whose size does not grow with the number of faces.

    Args:
        equations: of the faces.
        damping: the same for all.
        shared: which parameters are.
    """
    hessian, gradient = equations.hessian.double(), equations.gradient.double()
    diagonal = hessian.diagonal(dim1=1, dim2=2)
    damped = hessian + torch.diag_embed(damping[:, None].double() * diagonal + _floor(diagonal))
    local = ~shared
    coupling, own = damped[:, local][:, :, shared], damped[:, local][:, :, local]
    factor, problem = torch.linalg.cholesky_ex(own)
    right = torch.cat([coupling, gradient[:, local, None]], dim=2)
    eliminated = torch.cholesky_solve(right, factor)  # D^-1 [B, d]
    reduced = (damped[:, shared][:, :, shared] - coupling.mT @ eliminated[..., :-1]).sum(dim=0)
    reduced_right = gradient[:, shared] - (coupling.mT @ eliminated[..., -1:])[..., 0]
    top, top_problem = torch.linalg.cholesky_ex(reduced)
    of_shared = torch.cholesky_solve(-reduced_right.sum(dim=0)[:, None], top)
    step = torch.empty_like(gradient)
    step[:, shared] = of_shared[:, 0]
    step[:, local] = -(eliminated[..., :-1] @ of_shared + eliminated[..., -1:])[..., 0]
    solved = bool((problem == 0).all()) and bool(top_problem == 0) and bool(step.isfinite().all())
    return step.to(equations.gradient), torch.full_like(damping, solved, dtype=torch.bool)


def _floor(diagonal: Float[Tensor, "batch parameters"]) -> Float[Tensor, "batch 1"]:
    """What is added to the diagonal, so that a parameter without influence stays where it is."""
    return 1e-12 * diagonal.amax(dim=1, keepdim=True)
