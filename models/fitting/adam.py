"""The public fitter's way to a fit: so many steps of Adam, of the pose, then of everything.

    rigid   pose from the landmarks alone
    all     every coefficient from photo, landmarks and priors

At constant rates, without a rule to stop, as github.com/ascust/3DMM-Fitting-Pytorch has it
(fit_single_img.py). The energy is that of the Gauss-Newton steps, term by term (`energy`), but its
gradient comes from autograd through the trainer's stages and renderer. So both can be compared by
what they reach, and those who know the public schedule find it again.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping

import torch
from jaxtyping import Float
from torch import Tensor

from models.batch import FaceBatch
from models.face_model import FaceModel
from models.fitting.derivatives import FaceDerivatives
from models.fitting.energy import pixel_costs
from models.fitting.fitter import FaceFitter, Fit, StageReport
from models.fitting.photometric import PhotoLevel
from models.fitting.problem import Evaluation
from models.fitting.terms import Cost
from models.parameters import Coefficients
from models.precision import full_products
from models.renderer import Renderer
from models.stages import Reconstruction, reconstruct
from options.fitting_weights import AdamSchedule, FitWeights

POSE = ("angles_rad", "translation_dm")


class PhotoCost:
    """The photometric term as a formula that autograd differentiates.

    Its value is `PhotometricTerm`'s, which prepares much that only normal equations need.
    """

    def __init__(
        self,
        face_model: FaceModel,
        tables: FaceDerivatives,
        renderer: Renderer,
        level: PhotoLevel,
        weights: FitWeights,
    ) -> None:
        """Prepare the cost."""
        self._face_model = face_model
        self._tables = tables
        self._renderer = renderer
        self._level = level
        self._weights = weights

    def look(self, coefficients: Coefficients) -> Reconstruction:
        """Render the faces."""
        return reconstruct(self._face_model, self._renderer, self._level.camera, coefficients)

    def energy(self, view: Reconstruction) -> Float[Tensor, " batch"]:
        """The weighted cost; visibility is constant for the gradient."""
        image = view.rendering.image
        assert image is not None
        ids = view.rendering.fragments.triangle_id.flatten(1).long()
        attention = self._level.attention.flatten(1) * self._tables.is_front[ids]
        residuals = (image.clamp(0, 1) - self._level.images).flatten(2).transpose(1, 2)
        costs = pixel_costs(residuals, self._tables.is_about_eyes[ids], self._weights)
        total = attention.sum(dim=1).clamp(min=1.0)
        return self._weights.w_photo * (costs * attention).sum(dim=1) / total


def costs(fitter: FaceFitter, batch: FaceBatch, stride: int = 1) -> dict[str, Cost]:
    """All terms of `FaceFitter.photo_terms` by name, each with a gradient by autograd.

    Args:
        fitter: face model, camera, renderer and weights.
        batch: as `FaceFitter.fit` takes it.
        stride: side of the squares of pixels that are averaged.
    """
    photo = PhotoCost(
        fitter.face_model,
        fitter.tables,
        fitter.renderer,
        fitter.photo_level(batch, stride),
        fitter.weights,
    )
    return {**fitter.photo_terms(batch, stride).by_name, "photo": photo}


def fit_adam(
    fitter: FaceFitter,
    batch: FaceBatch,
    schedule: AdamSchedule | None = None,
    *,
    stride: int = 1,
    start: Coefficients | None = None,
    watch: Callable[[str, Evaluation], None] | None = None,
    one_person: bool = False,
) -> Fit:
    """Both stages.

    Args:
        fitter: face model, camera, renderer and weights.
        batch: crops in [0, 1] with skin masks and landmarks (origin "centre").
        schedule: of the steps.
        stride: side of the squares of pixels that are averaged.
        start: coefficients to begin with; None begins with the mean face that looks straight on.
        watch: called with the stage's name after every step.
        one_person: one identity and one albedo for all faces.

    Raises:
        ValueError: rigid steps, but no landmarks.
    """
    schedule = schedule or AdamSchedule()
    if batch.landmarks_px is None and schedule.rigid_steps:
        raise ValueError("rigid steps need landmarks; give some, or let rigid_steps be 0")
    now = start or fitter.face_model.layout.zeros(len(batch), batch.images.device)
    reports = []
    if batch.landmarks_px is not None:
        terms = fitter.landmark_terms(batch.landmarks_px).by_name
        now, report = descend(
            "rigid",
            {"landmarks": terms["landmarks"]},
            now,
            schedule.rigid_steps,
            schedule.rigid_rate,
            POSE,
            watch,
        )
        reports.append(report)
    now, report = descend(
        "all",
        costs(fitter, batch, stride),
        now,
        schedule.steps,
        schedule.rate,
        watch=watch,
        shared=("identity", "texture") if one_person else (),
    )
    return Fit(now, (*reports, report), fitter.camera)


def descend(
    name: str,
    terms: Mapping[str, Cost],
    start: Coefficients,
    steps: int,
    rate: float,
    free: Collection[str] = (),
    watch: Callable[[str, Evaluation], None] | None = None,
    shared: Collection[str] = (),
) -> tuple[Coefficients, StageReport]:
    """Steps of Adam down a sum of terms; each coefficient of each face has its own scale.

    A face whose step leads to what is not finite goes back before it, and stays there: it takes no
    further step, whatever the others do. The steps end where no face goes on.

    Args:
        name: of the stage.
        terms: by name.
        start: coefficients of the faces, which stay as they are.
        steps: how many.
        rate: largest change of a coefficient in a step, about.
        free: blocks that may change; none named is all.
        watch: called with name and evaluation after each step.
        shared: blocks that are the same for all faces; they begin with their means.
    """
    blocks = {
        key: block.detach().mean(dim=0, keepdim=True) if key in shared else block.detach().clone()
        for key, block in start.items()
    }
    count = len(start)
    moving = [block.requires_grad_() for key, block in blocks.items() if not free or key in free]
    optimiser = torch.optim.Adam(moving, lr=rate)
    energies = _energies(terms, _of_all(blocks, count))
    last = _detached(_of_all(blocks, count), energies)
    first, going = last.total, _are_finite(last.coefficients, last.energies)
    if shared:
        going = going.all().expand(count)  # what one cannot follow, none does
    tried = torch.zeros_like(first, dtype=torch.int64)
    for _ in range(steps):
        if not going.any():
            break
        optimiser.zero_grad()
        # Of a face that stopped, the gradient may be anything.
        torch.stack(list(energies.values())).sum(dim=0)[going].sum().backward()
        optimiser.step()
        tried += going
        if not going.all():
            _put_back(blocks, last.coefficients, ~going)
        energies = _energies(terms, _of_all(blocks, count))
        stop = going & ~_are_finite(_of_all(blocks, count), energies)
        if stop.any():
            stop = stop.any().expand(count) if shared else stop
            _put_back(blocks, last.coefficients, stop)
            energies = _energies(terms, _of_all(blocks, count))
            going = going & ~stop
        last = _detached(_of_all(blocks, count), energies)
        if watch is not None:
            watch(name, last)
    never = torch.zeros_like(first, dtype=torch.bool)
    ones = torch.ones_like(first)
    return last.coefficients, StageReport(name, last.energies, first, tried, never, ones)


@full_products()
def _energies(terms: Mapping[str, Cost], coefficients: Coefficients) -> dict[str, Tensor]:
    return {name: term.energy(term.look(coefficients)) for name, term in terms.items()}


def _of_all(blocks: Mapping[str, Tensor], count: int) -> Coefficients:
    """The coefficients of so many faces; those that are shared stand there once."""
    return Coefficients(**{name: block.expand(count, -1) for name, block in blocks.items()})


def _are_finite(coefficients: Coefficients, energies: Mapping[str, Tensor]) -> Tensor:
    """(B,) whether coefficients and energy of a face are."""
    checks = [energy.detach().isfinite() for energy in energies.values()]
    checks += [block.detach().isfinite().all(dim=1) for _, block in coefficients.items()]
    return torch.stack(checks).all(dim=0)


@torch.no_grad()
def _put_back(blocks: Mapping[str, Tensor], earlier: Coefficients, faces: Tensor) -> None:
    """Give some faces the coefficients that they had."""
    for name, block in earlier.items():
        count = len(blocks[name])
        blocks[name].copy_(torch.where(faces[:count, None], block[:count], blocks[name]))


def _detached(coefficients: Coefficients, energies: Mapping[str, Tensor]) -> Evaluation:
    """What stays as it is while the steps go on."""
    values = {name: block.detach().clone() for name, block in coefficients.items()}
    costs = {name: energy.detach() for name, energy in energies.items()}
    return Evaluation(Coefficients(**values), {}, costs)
