"""SynergyNet and its training: crop -> parameters -> landmarks -> refined ones -> parameters.

After Wu, Xu and Neumann (3DV 2021). Labels are parameters alone; true landmarks are what they
decode to.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from models.assets import SynergyAssets
from models.base_model import BaseModel
from models.batch import FaceBatch
from models.compilation import NOTICE, compiled
from models.drawing import BLUE, RED, draw_landmarks
from models.precision import autocast_dtype, gradient_scaler
from models.schedule import Schedule, create_optimizer
from models.synergy.losses import ParamLoss, WingLoss
from models.synergy.network import (
    Regression,
    SynergyNetwork,
    SynergyOutput,
)
from models.synergy.pose import to_continuous
from options.groups import MODEL_GROUPS
from options.network_options import OptimiserOptions, SynergyOptions
from util.errors import InputError

NETWORK = "net_synergy"
"""Key of the network in checkpoints."""


class SynergyModel(BaseModel):
    """Trains a SynergyNet."""

    option_groups = MODEL_GROUPS["synergy"]
    figure_of_merit = "coarse"

    def __init__(self, options: Any, assets: SynergyAssets, device: torch.device) -> None:
        """Build the network around the face model of the labels.

        Args:
            options: parsed groups, found by their class.
            assets: face model, whitening and meaning of the labels.
            device: where everything computes.
        """
        super().__init__(options, assets, device)
        self.options: SynergyOptions = options[SynergyOptions]
        self.net = SynergyNetwork(
            assets.face,
            assets.whitening,
            assets.meaning,
            arch=self.options.arch,
            public=self.options.public,
            residual_scale=self.options.residual_scale,
            use_rot_inv=self.options.use_rot_inv,
        )
        self.net.to(device)
        self.net.regressor.to(memory_format=torch.channels_last)  # pyright: ignore
        self.networks = {NETWORK: self.net}
        self.wing = WingLoss()
        self.param = ParamLoss(assets.meaning.layout, self.options.public)
        training = options[OptimiserOptions]
        self.autocast_dtype = autocast_dtype(training.amp, device)
        self.scaler = gradient_scaler(self.autocast_dtype, device)
        self._regress = self.net.regress
        self._compile = training.compile
        self.compile_networks(ranks=1)
        self.grad_clip = training.grad_clip
        used = self.net if self.options.cycle else self.net.regressor
        groups = [{"params": list(used.parameters()), "lr": training.lr}]
        self.optimizers = [create_optimizer(groups, training)]
        self.schedules = [Schedule(self.optimizers[0], training)]
        if not self.options.cycle:
            for part in (self.net.refinement, self.net.reverse):
                part.requires_grad_(False)

    def compile_networks(self, ranks: int) -> None:
        """Compile the regressor where `--compile` is given."""
        if self._compile:
            self._regress = compiled(self.net.regress, self.device, ranks)
            self.notice = NOTICE

    def set_input(self, batch: FaceBatch) -> None:
        """Take a batch onto the device."""
        if batch.coefficients is None:
            raise InputError("--model synergy needs labels; give --dataset_mode ddfa or datatool")
        self.batch = batch.to(self.device)

    def forward(self) -> None:
        """Regress and, unless it is off, go through the cycle."""
        images = self.batch.images.contiguous(memory_format=torch.channels_last)
        if self.net.training and len(images) < 2:
            raise InputError(
                "--batch_size: batch normalisation over a single face is no training; give at "
                "least 2 for each process"
            )
        with torch.autocast(
            self.device.type,
            dtype=self.autocast_dtype or torch.bfloat16,
            enabled=self.autocast_dtype is not None,
        ):
            regression = self._regress(images)
        regression = Regression(regression.whitened.float(), regression.pooled.float())
        self.output: SynergyOutput = self.net.close_cycle(regression, self.options.cycle)

    def compute_losses(self) -> Mapping[str, Tensor]:
        """Weighted terms; means over this process's faces."""
        label, output, o = self.batch.coefficients, self.output, self.options
        assert label is not None
        given = self.net.decode(label)
        whitened = output.regression.whitened
        terms = {
            "coarse": o.w_coarse * self.wing(output.coarse, given),
            "param": o.w_param * self.param(whitened, label),
        }
        if output.refined is not None and output.reversed is not None:
            # The regressed parameters are not held fixed in the last term: it moves both.
            terms |= {
                "refined": o.w_refined * self.wing(output.refined, given),
                "reverse": o.w_reverse * self.param(output.reversed, label, only_face=True),
                "consistency": o.w_consistency
                * self.param(output.reversed, whitened, only_face=True),
            }
        return terms

    def clip_gradients(self) -> bool:
        """Clip to the norm of `--grad_clip`; says whether the gradient was finite."""
        if self.grad_clip == 0:
            return super().clip_gradients()
        norm = torch.nn.utils.clip_grad_norm_(self.net.parameters(), self.grad_clip)
        return bool(torch.isfinite(norm))

    @torch.no_grad()
    def visuals(self) -> Tensor:
        """Crop | the same with true (blue) and regressed (red) landmarks."""
        marked = self.batch.images
        assert self.batch.coefficients is not None
        given = self.net.decode(self.batch.coefficients)
        for points, colour in ((given, BLUE), (self.output.coarse, RED)):
            pixels = to_continuous(points)[:, :2].transpose(1, 2)
            marked = draw_landmarks(marked, pixels, colour, radius=0)
        return torch.cat([self.batch.images, marked], dim=3)

    def state(self) -> dict[str, Any]:
        """As any model's, and what the numbers mean."""
        return {**super().state(), "synergy": self.record}

    @property
    def record(self) -> dict[str, Any]:
        """What the network is, and what its numbers mean, in plain values."""
        return {
            **self.net.meaning.record,
            "arch": self.net.arch,
            "public": self.net.public,
            "residual_scale": self.net.residual_scale,
            "use_rot_inv": self.net.use_rot_inv,
            "face_model": self.net.face.card.record,
        }

    def mismatch(self, state: Mapping[str, Any]) -> str:
        """Why a checkpoint is of another architecture or face model; "" if it is of this one."""
        found = state.get("synergy")
        if not isinstance(found, Mapping):
            return "it does not say what its numbers mean; take a checkpoint of --model synergy"
        for name, value in self.record.items():
            # Checkpoints from before the choice have the plain refinement.
            theirs, ours = found.get(name, False if name == "use_rot_inv" else None), value
            if name == "face_model" and isinstance(theirs, Mapping):
                theirs, ours = (
                    f"{card.get('name')} ({card.get('fingerprint')})" for card in (theirs, value)
                )
            if theirs != ours:
                return (
                    f"its {name} is {theirs}, this run has {ours}; give the one it was trained with"
                )
        return ""
