"""The R-Net: a backbone and seven linear heads that predict face, pose and light from a photo.

Deng et al., CVPRW 2019, section 3: a ResNet-50 whose pooled features are mapped to 257 numbers. The
heads start at zero, so an untrained network predicts the mean face, unrotated and centred.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from models.networks.dlib_backbone import DlibBackbone, DlibFeatures
from models.networks.resnet import ResNet, resnet18, resnet34, resnet50
from models.parameters import ParameterLayout
from options.face_options import CROP_PX
from options.network_options import ReconstructionNetOptions


@dataclass(frozen=True)
class NetworkOutput:
    """What the R-Net says about a batch of crops."""

    coefficients: Float[Tensor, "batch coefficients"]
    """Flat vectors; `ParameterLayout.split` names their blocks."""
    keypoints_px: Float[Tensor, "batch 68 2"] | None
    """Where the backbone locates the landmarks, continuous pixels of the crop, y down; None for
    backbones that do not."""


RECONSTRUCTION_NETS: dict[str, Callable[[int | None], ResNet | DlibBackbone]] = {
    "resnet18": resnet18,
    "resnet34": resnet34,
    "resnet50": resnet50,
    "dlib": DlibBackbone,
}
"""Backbones by the name of `--net_recon`; the argument is the width of a last linear layer."""


class ReconstructionNet(nn.Module):
    """Predict coefficients from aligned crops.

    Parameter names are the public ones: `backbone.*` and `final_layers.{0..6}.*` (identity,
    expression, texture, angles, gamma, translation x and y, translation z).

    Args:
        options: architecture.
        layout: blocks and sizes of the coefficients, from the face model.

    Raises:
        ValueError: `use_last_fc` for an architecture that does not have it.
    """

    output_sigmas: Tensor

    def __init__(self, options: ReconstructionNetOptions, layout: ParameterLayout) -> None:
        super().__init__()
        create_backbone = RECONSTRUCTION_NETS[options.net_recon]
        self.backbone = create_backbone(layout.size if options.use_last_fc else None)
        self.final_layers = None
        if not options.use_last_fc:
            features = self.backbone.feature_count
            self.final_layers = nn.ModuleList(
                nn.Conv2d(features, size, 1) for size in head_sizes(layout)
            )
            for head in self.final_layers:
                nn.init.zeros_(head.get_parameter("weight"))
                nn.init.zeros_(head.get_parameter("bias"))
        # Part of the architecture, not learned: not in the state dict.
        sigmas = _output_sigmas(self.backbone, layout)
        self.register_buffer("output_sigmas", sigmas, persistent=False)

    def forward(
        self, images: Float[Tensor, "batch 3 height width"]
    ) -> Float[Tensor, "batch coefficients"]:
        """Predict flat coefficient vectors, as `predict` does."""
        return self.predict(images).coefficients

    def predict(self, images: Float[Tensor, "batch 3 height width"]) -> NetworkOutput:
        """Predict coefficients, and with some backbones the places of landmarks.

        Args:
            images: aligned crops of 224 x 224 px, RGB in [0, 1], not normalised further.

        Raises:
            ValueError: the images do not have this size.
        """
        if images.shape[2:] != (CROP_PX, CROP_PX):
            raise ValueError(
                f"the R-Net takes images (B, 3, {CROP_PX}, {CROP_PX}), got {tuple(images.shape)}"
            )
        features, keypoints_px = self.backbone(images), None
        if isinstance(features, DlibFeatures):
            features, keypoints_px = features.features, features.keypoints_px
        features = features.to(self.output_sigmas.dtype)
        if self.final_layers is None:
            return NetworkOutput(features, keypoints_px)
        # In full precision under autocast: bfloat16 would round angles and depth to three digits.
        with torch.autocast(images.device.type, enabled=False):
            flat = torch.cat([head(features) for head in self.final_layers], dim=1).flatten(1)
            return NetworkOutput(flat * self.output_sigmas, keypoints_px)

    def parameter_groups(self, learning_rate: float) -> list[dict[str, Any]]:
        """Parameter groups for an optimiser: a pretrained dlib trunk learns more slowly.

        Args:
            learning_rate: of the new layers, and of everything where there is no such trunk.

        Returns:
            Groups with `params` and `lr` that together hold each parameter that learns once.
        """
        learning = [parameter for parameter in self.parameters() if parameter.requires_grad]
        if not isinstance(self.backbone, DlibBackbone):
            return [{"params": learning, "lr": learning_rate}]
        trunk = {id(parameter) for parameter in self.backbone.trunk.parameters()}
        slow = learning_rate * DlibBackbone.TRUNK_LEARNING_RATE
        return [
            {"params": [p for p in learning if id(p) not in trunk], "lr": learning_rate},
            {"params": [p for p in learning if id(p) in trunk], "lr": slow},
        ]


def create_reconstruction_net(
    options: ReconstructionNetOptions,
    layout: ParameterLayout,
    initial_weights: Mapping[str, Tensor] | None = None,
) -> ReconstructionNet:
    """Build an R-Net, from pretrained weights of its backbone if given.

    Args:
        options: architecture.
        layout: blocks and sizes of the coefficients, from the face model.
        initial_weights: one tensor for each of `pretrained_names`
            (`util.model_files.reconstruction_file` reads them); None leaves the network random.

    Raises:
        ValueError: the weights do not fit the architecture.
    """
    net = ReconstructionNet(options, layout)
    if initial_weights is None:
        return net
    state = net.backbone.state_dict()
    names = pretrained_names(net.backbone)
    if set(names) != set(initial_weights):
        raise ValueError(
            f"the initial weights are not those of --net_recon {options.net_recon}: it takes "
            f"{len(names)} tensors from {names[0]} to {names[-1]}"
        )
    for name in names:
        if initial_weights[name].shape != state[name].shape:
            raise ValueError(
                f"initial weights: {name} is {tuple(initial_weights[name].shape)} where "
                f"--net_recon {options.net_recon} has {tuple(state[name].shape)}"
            )
    net.backbone.load_state_dict({**state, **initial_weights})
    return net


def pretrained_names(backbone: ResNet | DlibBackbone) -> list[str]:
    """Names of the backbone's tensors that pretrained networks hold.

    A resnet takes all but the last linear layer, dlib's backbone takes its trunk.
    """
    if isinstance(backbone, DlibBackbone):
        return [name for name in backbone.state_dict() if name.startswith("trunk.")]
    return [name for name in backbone.state_dict() if not name.startswith("fc.")]


def head_sizes(layout: ParameterLayout) -> list[int]:
    """Outputs of the heads: one head a block, but translation has one for x and y and one for z."""
    sizes: list[int] = []
    for block in layout.blocks:
        sizes += [2, 1] if block.name == "translation_dm" else [block.size]
    return sizes


def _output_sigmas(backbone: nn.Module, layout: ParameterLayout) -> Float[Tensor, " coefficients"]:
    """What each raw output is multiplied by: 1 for the public architectures."""
    sigmas = torch.ones(layout.size)
    if isinstance(backbone, DlibBackbone):
        for name, part in layout.slices.items():
            sigmas[part] = torch.tensor(backbone.OUTPUT_SIGMAS.get(name, 1.0))
    return sigmas
