"""The R-Net and its training: photo -> coefficients -> rendered face -> losses.

After Deng et al. (CVPRW 2019). Beside the weakly-supervised objective, faces rendered from the
model itself may be supervised by their true coefficients (`models.truth`), which is what makes a
few minutes on a CPU enough for a first network; and photos, in the beginning, by fitted ones.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from models import losses
from models.assets import ModelAssets
from models.base_model import BaseModel
from models.batch import FaceBatch
from models.camera import Camera
from models.compilation import NOTICE, compiled
from models.drawing import side_by_side
from models.losses import LANDMARK_WEIGHTS
from models.networks.dlib_backbone import DlibBackbone
from models.networks.reconstruction import NetworkOutput, create_reconstruction_net
from models.objective import WeakObjective
from models.parameters import Coefficients
from models.precision import autocast_dtype, gradient_scaler
from models.renderer import Renderer, resolve_backend
from models.schedule import Schedule, create_optimizer
from models.stages import Reconstruction, reconstruct
from models.truth import TruthObjective
from options.face_options import CameraOptions, LandmarkOptions, RenderOptions
from options.groups import MODEL_GROUPS, RNET_GROUPS
from options.loss_options import LabelOptions, ObjectiveOptions, TruthOptions
from options.network_options import OptimiserOptions, ReconstructionNetOptions
from util.errors import InputError
from util.training.distributed import Share


class FaceReconModel(BaseModel):
    """Trains and applies an R-Net."""

    inference_groups = RNET_GROUPS
    option_groups = MODEL_GROUPS["facerecon"]

    def __init__(self, options: Any, assets: ModelAssets, device: torch.device) -> None:
        """Build the network around a loaded face model.

        Args:
            options: parsed groups, found by their class; with `OptimiserOptions` among them the
                model can train, without it only reconstruct.
            assets: face model and, to train, the recognition net and first weights.
            device: where everything computes.
        """
        super().__init__(options, assets, device)
        self.face_model = assets.face_model.to(device)
        if self.face_model.landmark_embedding.count != len(LANDMARK_WEIGHTS):
            raise ValueError(
                f"face model {self.face_model.card} has {self.face_model.landmark_embedding.count} "
                "landmarks; give --face_model one with the 68 iBUG points, with which photos are "
                "compared"
            )
        self.layout = self.face_model.layout
        self.camera = Camera.rnet(options[CameraOptions]).to(device)
        backend = options[RenderOptions].renderer
        resolve_backend(backend, device)  # now, not in the first step
        self.renderer = Renderer(backend)
        self.landmark_origin = options[LandmarkOptions].landmark_origin
        net_options = options[ReconstructionNetOptions]
        self.net_recon = create_reconstruction_net(net_options, self.layout, assets.initial_weights)
        # channels_last: convolutions run 1.2 to 2 times as fast on CPUs and on tensor cores.
        self.net_recon.to(device).to(memory_format=torch.channels_last)  # pyright: ignore
        self.networks = {"net_recon": self.net_recon}
        self._compute = self.net_recon.predict
        """The network as it is called: compiled or not, with the same parameters."""
        self._compile = False
        self.autocast_dtype: torch.dtype | None = None
        self._progress = 0.0
        self.reconstruction: Reconstruction | None = None
        if OptimiserOptions in options:
            self._prepare_training(options, assets)

    def _prepare_training(self, options: Any, assets: ModelAssets) -> None:
        optimiser_options = options[OptimiserOptions]
        self.autocast_dtype = autocast_dtype(optimiser_options.amp, self.device)
        self.scaler = gradient_scaler(self.autocast_dtype, self.device)
        self._compile = optimiser_options.compile
        self.compile_networks(ranks=1)
        self.objective = WeakObjective(
            self.face_model,
            assets.recognition_net,
            options[ObjectiveOptions],
            self.landmark_origin,
        ).to(self.device)
        self.truth = TruthObjective(self.face_model, self.camera, options[TruthOptions])
        self.truth.to(self.device)
        self.labels: LabelOptions = options[LabelOptions]
        if self.labels.w_coeff > 0 and options[CameraOptions] != CameraOptions():
            raise InputError(
                "--w_coeff: coefficients are those of the R-Net's own camera; leave out --focal, "
                "--center, --camera_d, --z_near and --z_far, or --w_coeff"
            )
        if not self.objective.weights and not self.truth.active:
            # Neither would --w_coeff do alone: of fitted photos it fades.
            raise ValueError("no loss has a weight; give at least one of the --w_... flags above 0")
        self.w_keypoints = options[ObjectiveOptions].w_keypoints
        if self.w_keypoints != 0 and not isinstance(self.net_recon.backbone, DlibBackbone):
            raise ValueError("--w_keypoints needs --net_recon dlib: other backbones locate none")
        self.grad_clip = optimiser_options.grad_clip
        groups = self.net_recon.parameter_groups(optimiser_options.lr)
        self.optimizers = [create_optimizer(groups, optimiser_options)]
        self.schedules = [Schedule(self.optimizers[0], optimiser_options)]

    def compile_networks(self, ranks: int) -> None:
        """Compile the R-Net where `--compile` is given."""
        if self._compile:
            self._compute = compiled(self.net_recon.predict, self.device, ranks)
            self.notice = NOTICE

    def set_input(self, batch: FaceBatch) -> None:
        """Take a batch onto the device."""
        # Kept here, where looking at it waits for no GPU.
        self._has_truth, self._has_fit = batch.has_truth, batch.has_fit
        self.batch = batch.to(self.device)

    def predict(self, images: Tensor) -> Coefficients:
        """Coefficients of aligned photos (B, 3, 224, 224) in [0, 1]."""
        return self.layout.split(self.run_network(images).coefficients)

    def run_network(self, images: Tensor) -> NetworkOutput:
        """All that the R-Net says about aligned photos, in float32."""
        images = images.contiguous(memory_format=torch.channels_last)
        with torch.autocast(
            self.device.type,
            dtype=self.autocast_dtype or torch.bfloat16,
            enabled=self.autocast_dtype is not None,
        ):
            output = self._compute(images)
        return replace(output, coefficients=output.coefficients.float())

    def forward_inference(self) -> None:
        """Predict and render the current input."""
        self.show(self.predict(self.batch.images))

    def show(self, coefficients: Coefficients) -> None:
        """Make coefficients the current output, and render them."""
        self.coefficients = coefficients
        self.reconstruction = self.reconstruct(coefficients)

    def reconstruct(self, coefficients: Coefficients) -> Reconstruction:
        """Decode, pose, light and render coefficients with the fixed camera."""
        return reconstruct(self.face_model, self.renderer, self.camera, coefficients)

    def set_progress(self, progress: float) -> None:
        """Follow the share of the training done."""
        super().set_progress(progress)
        self._progress = progress

    def forward(self) -> None:
        """Predict, and render where a loss looks at the rendering."""
        self.output = self.run_network(self.batch.images)
        self.coefficients = self.layout.split(self.output.coefficients)
        self._with_truth, self._with_fit, rows = self._split()
        self._weak_rows = rows
        self.reconstruction = None
        if len(rows) == len(self.batch):
            self.reconstruction = self.reconstruct(self.coefficients)
        elif len(rows):
            of_rows = self.coefficients.rows(rows.to(self.device))
            self.reconstruction = self.reconstruct(of_rows)

    @property
    def _supervised(self) -> bool:
        """Whether known coefficients ever supervise faces of such a batch."""
        return self.batch.coefficients is not None and self._knows

    @property
    def _knows(self) -> bool:
        """Whether known coefficients, true or fitted ones, supervise at all."""
        return self.truth.active or self.labels.w_coeff > 0

    def _split(self) -> tuple[Tensor, Tensor, Tensor]:
        """Numbers of the faces that truth supervises, that fits do, that the weak losses look at.

        The latter are those that neither supervises now, after `--weak_from` all. They stay on the
        CPU: only batches of several kinds need them on the device, and copies wait for a GPU.
        """
        everyone = torch.arange(len(self.batch))
        none = torch.zeros(everyone.shape, dtype=torch.bool)
        true = fitted = none
        if self._supervised:
            true = ~none if self._has_truth is None else self._has_truth
        if self._has_fit is not None and self.labels.weight(self._progress) > 0:
            fitted = self._has_fit
        weak_from = self.truth.options.weak_from
        weak = ~(true | fitted) | (weak_from < 1 and self._progress >= weak_from)
        return everyone[true], everyone[fitted], everyone[weak]

    def compute_losses(self) -> Mapping[str, Tensor]:
        """Weighted terms of the objective and of the known coefficients, where there are any.

        In a batch that mixes faces of several kinds each face has the same weight: a term that
        looks at K of B faces counts K / B.
        """
        terms: dict[str, Tensor] = {}
        if self.w_keypoints != 0:
            terms["keypoints"] = self.w_keypoints * self._keypoint_error()
        if self._supervised and self._has_truth is not None:
            return terms | self._mixed_losses()
        if len(self._with_truth):
            assert self.batch.coefficients is not None
            terms |= self._by_truth(self.coefficients, self.batch.coefficients)
        if self.reconstruction is not None:
            terms |= self.objective(self.reconstruction, self.batch, self.share)
        return terms

    def _by_truth(self, predicted: Coefficients, true: Tensor) -> dict[str, Tensor]:
        """The terms of true coefficients, at the weights w_truth_... or by --w_coeff alone."""
        weight = 1.0 if self.truth.active else self.labels.w_coeff
        return self.truth.weighed(predicted, true, weight)

    def _mixed_losses(self) -> dict[str, Tensor]:
        """The terms of a batch of faces of several kinds; the same names in each step."""
        none = 0 * self.output.coefficients.sum()
        terms = dict.fromkeys((*self.truth.names, *self.objective.weights), none)
        weak, size = self._weak_rows, len(self.batch)
        fitted = partial(self.truth.weighed, weight=self.labels.weight(self._progress))
        for rows, supervise in ((self._with_truth, self._by_truth), (self._with_fit, fitted)):
            if len(rows):
                assert self.batch.coefficients is not None
                rows = rows.to(self.device)
                known = self.batch.coefficients.index_select(0, rows)
                for name, term in supervise(self.coefficients.rows(rows), known).items():
                    terms[name] = terms[name] + len(rows) / size * term
        # The faces of all processes that the weak losses look at are a batch of their own.
        share = Share.of(self.share.ranks, len(weak))
        if self.reconstruction is not None:
            batch = self.batch.rows(weak.to(self.device))
            for name, term in self.objective(self.reconstruction, batch, share).items():
                terms[name] = len(weak) / size * term
        elif "color" in self.objective.weights:
            share.sum(torch.zeros((), device=self.device))  # as the others do
        return terms

    def _keypoint_error(self) -> Tensor:
        """Mean distance of the keypoints from the given landmarks in pixels."""
        located, given = self.output.keypoints_px, self.batch.landmarks_px
        assert located is not None
        if given is None:
            raise InputError("the batch holds no landmarks, --w_keypoints needs them")
        return losses.mean_distance(located, given)

    @torch.no_grad()
    def signs(self) -> dict[str, Tensor]:
        """Rendered share, unweighted losses, and the share of each block beyond 3 sigma.

        Names are the fields of `util.training.training_watch.Signs`, blocks as
        `beyond_3_sigma.identity`; always the same ones, since processes add them up.
        """
        size, rendered = len(self.batch), len(self._weak_rows)
        weights, net = self.objective.weights, self.objective.recognition_net
        none = self.output.coefficients.new_zeros(())
        # Of the faces that the weak losses look at; their terms are means over the whole batch.
        of_rendered = {"mask_share": none}
        if self.reconstruction is not None:
            of_rendered["mask_share"] = rendered * self.reconstruction.face_mask.mean()
        if "lm" in weights:
            term = self.losses.get("lm", none).detach()
            of_rendered["landmark_px2"] = size * term / weights["lm"]
        if "feat" in weights and net is not None:
            term = self.losses.get("feat", none).detach()
            of_rendered["identity"] = size * term / weights["feat"] / net.stranger_distance
        found = {name: torch.stack([v, v.new_tensor(rendered)]) for name, v in of_rendered.items()}
        for block in self.layout.blocks:
            if block.sigma is not None:
                values = getattr(self.coefficients, block.name)
                beyond = values.abs() > 3 * values.new_tensor(block.sigma)
                total = size * beyond.float().mean()
                found[f"beyond_3_sigma.{block.name}"] = torch.stack([total, total.new_tensor(size)])
        return found

    def clip_gradients(self) -> bool:
        """Clip to the norm of `--grad_clip`; says whether the gradient was finite."""
        if self.grad_clip == 0:
            return super().clip_gradients()
        norm = nn.utils.clip_grad_norm_(self.net_recon.parameters(), self.grad_clip)
        return bool(torch.isfinite(norm))

    @torch.no_grad()
    def visuals(self) -> Tensor:
        """Photo | reconstruction over the photo | the same with landmarks, side by side.

        Given landmarks are drawn in blue, predicted ones in red.
        """
        reconstruction = self.reconstruction
        if reconstruction is None or len(reconstruction.coefficients) < len(self.batch):
            reconstruction = self.reconstruct(self.coefficients)
        return side_by_side(
            self.face_model,
            self.batch.images,
            reconstruction,
            self.batch.landmarks_px,
            self.landmark_origin,
        )
