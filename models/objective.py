"""The weakly-supervised objective: every term, its weight, and their sum, in one place.

Equation 1 and sections 3.1, 3.2 of Deng et al. (CVPRW 2019): photometric + landmarks + identity,
and the regularisers of coefficients, texture and light, with the weights of the public code.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields

import torch
from torch import Tensor, nn

from models import losses
from models.batch import FaceBatch
from models.face_model import FaceModel
from models.landmarks import five_from_68, to_index
from models.networks.recognition import RecognitionNet
from models.precision import full_products
from models.similarity import estimate_similarity
from models.stages import Reconstruction
from options.face_options import LandmarkOrigin
from options.loss_options import ObjectiveOptions
from util.errors import InputError
from util.training.distributed import WHOLE, Share


@dataclass(frozen=True)
class _Inputs:
    """What a term may look at."""

    reconstruction: Reconstruction
    batch: FaceBatch
    share: Share


class WeakObjective(nn.Module):
    """Computes the weighted terms for a batch of reconstructions.

    Holds the recognition network, which is frozen and no part of checkpoints.
    """

    def __init__(
        self,
        face_model: FaceModel,
        recognition_net: RecognitionNet | None,
        options: ObjectiveOptions,
        landmark_origin: LandmarkOrigin = "index",
    ) -> None:
        """Choose the terms: those with a weight, identity only where there is a network."""
        super().__init__()
        self.options = options
        self._origin: LandmarkOrigin = landmark_origin
        # In a tuple, so that the shared face model does not become a submodule of the objective.
        self._face_model = (face_model,)
        self.recognition_net = recognition_net
        formulas: dict[str, Callable[[_Inputs], Tensor]] = {
            "feat": self._identity,
            "color": self._photometric,
            "lm": self._landmarks,
            "reg": self._regularisation,
            "gamma": self._light_colour,
            "reflc": self._reflectance,
        }
        weights = {
            "feat": options.w_feat if recognition_net is not None else 0.0,
            "color": options.w_color,
            "lm": options.w_lm,
            "reg": options.w_reg,
            "gamma": options.w_gamma,
            "reflc": options.w_reflc,
        }
        assert formulas.keys() == weights.keys()
        self.weights = {name: weight for name, weight in weights.items() if weight != 0}
        self._formulas = formulas

    @full_products()
    def forward(
        self, reconstruction: Reconstruction, batch: FaceBatch, share: Share = WHOLE
    ) -> dict[str, Tensor]:
        """Weighted terms by name.

        Args:
            reconstruction: of the batch.
            batch: photos and what supervises them.
            share: which part of the step's batch these are. The terms' means over all parts,
                weighted by `share.faces`, are the terms of the whole batch.

        Raises:
            ValueError: the batch lacks what a term compares with.
        """
        inputs = _Inputs(reconstruction, batch, share)
        return {name: w * self._formulas[name](inputs) for name, w in self.weights.items()}

    @property
    def face_model(self) -> FaceModel:
        """The model whose prior and skin the regularisers use."""
        return self._face_model[0]

    def _identity(self, inputs: _Inputs) -> Tensor:
        net, batch = self.recognition_net, inputs.batch
        assert net is not None
        given = _required(batch, "recognition_transforms")
        rendered = inputs.reconstruction.rendering.image
        assert rendered is not None
        transforms = given
        if not self.options.use_predef_M:
            # Constant for the gradient, as in the public code.
            five = five_from_68(inputs.reconstruction.posed.landmarks_px.detach())
            # Templates count pixel indices, like the given landmarks of files.
            transforms = estimate_similarity(to_index(five, self._origin), net.template)
        with torch.no_grad():
            target = net(batch.images, given)
        return losses.identity_loss(net(rendered, transforms), target, net.distance)

    def _photometric(self, inputs: _Inputs) -> Tensor:
        rendering, batch = inputs.reconstruction.rendering, inputs.batch
        assert rendering.image is not None
        region = inputs.reconstruction.face_mask if self.options.use_crop_face else rendering.mask
        mask = _required(batch, "skin_mask") * region
        # All other terms are means over faces; this one divides by the mask of all faces of the
        # step. Of N_r / max(sum_r S_r, 1), the sum over the parts is the whole; since parts are
        # weighted by their faces, this one is divided by that weight beforehand.
        share = inputs.share
        part = losses.photometric_loss(
            rendering.image, batch.images, mask, mask_sum=share.sum(mask.sum())
        )
        return part / share.faces

    def _landmarks(self, inputs: _Inputs) -> Tensor:
        given = _required(inputs.batch, "landmarks_px")
        return losses.landmark_loss(inputs.reconstruction.posed.landmarks_px, given)

    def _regularisation(self, inputs: _Inputs) -> Tensor:
        o, model = self.options, self.face_model
        return losses.coefficient_regularisation(
            inputs.reconstruction.coefficients,
            w_id=o.w_id,
            w_exp=o.w_exp,
            w_tex=o.w_tex,
            identity_sigma=model.identity_sigma,
            expression_sigma=model.expression_sigma,
            texture_sigma=model.albedo_sigma,
            joint_sigma=1.0 if model.skeleton is None else model.skeleton.sigma,
        )

    def _light_colour(self, inputs: _Inputs) -> Tensor:
        return losses.gamma_loss(inputs.reconstruction.coefficients.gamma)

    def _reflectance(self, inputs: _Inputs) -> Tensor:
        albedo = inputs.reconstruction.shaped.albedo
        return losses.reflectance_loss(albedo, self.face_model.skin_mask)


def _required(batch: FaceBatch, name: str) -> Tensor:
    value = getattr(batch, name)
    if value is None:
        known = [f.name for f in fields(batch) if getattr(batch, f.name) is not None]
        raise InputError(
            f"the batch holds no {name} (only {', '.join(known)}), but a loss needs it; give data "
            "that has it (synthetic faces: --synthetic_masks), or switch the loss off (--w_..., "
            "--weak_from 1)"
        )
    return value
