"""SynergyNet: image to parameters, parameters to landmarks, landmarks back to parameters.

    image -> backbone -> pooled feature -> whitened parameters            (regressor)
    parameters -> coarse landmarks L_c                                    (the face model)
    L_c, pooled feature, shape, expression -> refined L_r = L_c + s MLP    (refinement)
    L_r -> whitened parameters S_2                                        (reverse)

After Wu, Xu and Neumann (3DV 2021). Only the regressor is used to infer: the refinement and the
way back exist to teach it. In the public code the last layers of both point networks end in ReLU,
so that residuals and parameters of the way back cannot be negative; here that is `public`.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from models.networks.ghostnet import GhostNet
from models.networks.mobilenet import MobileNetV1, MobileNetV2, initialise
from models.networks.resnet import resnet50
from models.synergy.morphable import SynergyFace
from models.synergy.parameters import SynergyMeaning, Whitening
from models.synergy.vector_neurons import VectorEncoder
from options.network_options import RESIDUAL_SCALE

SYNERGY_BACKBONES: dict[str, Callable[[], nn.Module]] = {
    "mobilenet_v2": MobileNetV2,
    "mobilenet_2": partial(MobileNetV1, 2.0),
    "mobilenet_1": partial(MobileNetV1, 1.0),
    "mobilenet_075": partial(MobileNetV1, 0.75),
    "mobilenet_05": partial(MobileNetV1, 0.5),
    "mobilenet_025": partial(MobileNetV1, 0.25),
    "resnet50": resnet50,
    "ghostnet": GhostNet,
}
"""What `--arch` chooses from: images to pooled features (B, feature_count)."""

DROPOUT = 0.2


def _as_rgb(images: Tensor) -> Tensor:
    return images


def _as_bgr128(images: Tensor) -> Tensor:
    return (images.flip(1) * 255 - 127.5) / 128


INPUT_RANGES: dict[str, Callable[[Tensor], Tensor]] = {"rgb01": _as_rgb, "bgr128": _as_bgr128}
"""From RGB in [0, 1] to what a network was trained with: as it is (datatool), or blue first and
about -1 to 1 (3DDFA)."""


@dataclass(frozen=True)
class Regression:
    """What the regressor says about images."""

    whitened: Float[Tensor, "batch parameters"]
    """Pose, shape, expression, whitened."""
    pooled: Float[Tensor, "batch features"]
    """The backbone's last feature maps, averaged."""


@dataclass(frozen=True)
class SynergyOutput:
    """All of the cycle. Landmarks in label coordinates of the crop, y down."""

    regression: Regression
    coarse: Float[Tensor, "batch 3 landmarks"]
    """Of the regressed parameters."""
    refined: Float[Tensor, "batch 3 landmarks"] | None = None
    """Coarse ones plus the refinement; None without the cycle."""
    reversed: Float[Tensor, "batch parameters"] | None = None
    """Whitened parameters from the refined landmarks; None without the cycle."""


class Regressor(nn.Module):
    """Backbone and three linear heads."""

    def __init__(self, arch: str, sizes: Sequence[int]) -> None:
        """Choose the backbone and the sizes of pose, shape and expression."""
        super().__init__()
        self.backbone = SYNERGY_BACKBONES[arch]()
        self.feature_count: int = self.backbone.feature_count  # pyright: ignore
        self.heads = nn.ModuleList(
            nn.Sequential(nn.Dropout(DROPOUT), nn.Linear(self.feature_count, size))
            for size in sizes
        )
        initialise(self.heads)

    def forward(self, images: Float[Tensor, "batch 3 height width"]) -> Regression:
        """Whitened parameters of images in the network's own range."""
        pooled = self.backbone(images).flatten(1)
        return Regression(torch.cat([head(pooled) for head in self.heads], dim=1), pooled)


class PointLayer(nn.Module):
    """The same linear map for each point, batch normalisation, and ReLU where wanted."""

    def __init__(self, inputs: int, outputs: int, activate: bool = True) -> None:
        super().__init__()
        self.conv = nn.Conv1d(inputs, outputs, 1)
        self.bn = nn.BatchNorm1d(outputs)
        self.activate = activate

    def forward(self, x: Float[Tensor, "batch inputs points"]) -> Tensor:
        """(B, inputs, P) to (B, outputs, P)."""
        x = self.bn(self.conv(x))
        return functional.relu(x) if self.activate else x


_POINT_WIDTHS = (3, 64, 64, 64, 128, 1024)


def _point_encoder() -> list[PointLayer]:
    """Five layers from coordinates to 1024 features."""
    pairs = itertools.pairwise(_POINT_WIDTHS)
    return [PointLayer(inputs, outputs) for inputs, outputs in pairs]


def _correcting_layers(width: int, public: bool) -> list[PointLayer]:
    """From what is known of a point and of the whole face to three numbers for the point."""
    return [
        PointLayer(width, 512),
        PointLayer(512, 256),
        PointLayer(256, 128),
        PointLayer(128, 3, activate=public),
    ]


def _correct(layers: Iterable[nn.Module], of_points: Tensor, of_all: Sequence[Tensor]) -> Tensor:
    """Features (B, n, P) of points, and of whole faces (B, m) each, through the last layers."""
    repeated = torch.cat(list(of_all), dim=1)[:, :, None].expand(-1, -1, of_points.shape[2])
    x = torch.cat([of_points, repeated], dim=1)
    for layer in layers:
        x = layer(x)
    return x


class Refinement(nn.Module):
    """Landmarks, image feature and face parameters to a correction of each landmark.

    A PointNet (Qi et al., CVPR 2017): features of each point, their maximum over all points, and
    from both together with what is known of the whole face three numbers for each point.
    """

    def __init__(self, feature_count: int, face_parameters: int, public: bool = False) -> None:
        """Add up the widths: 64 + 1024 + pooled feature + shape and expression."""
        super().__init__()
        width = _POINT_WIDTHS[2] + _POINT_WIDTHS[-1] + feature_count + face_parameters
        self.layers = nn.ModuleList([*_point_encoder(), *_correcting_layers(width, public)])

    def forward(
        self,
        landmarks: Float[Tensor, "batch 3 landmarks"],
        pooled: Float[Tensor, "batch features"],
        face_parameters: Float[Tensor, "batch face"],
    ) -> Float[Tensor, "batch 3 landmarks"]:
        """Corrections, before their scale."""
        of_points = landmarks
        for layer in self.layers[:2]:
            of_points = layer(of_points)
        x = of_points
        for layer in self.layers[2:5]:
            x = layer(x)
        return _correct(self.layers[5:], of_points, [x.amax(dim=2), pooled, face_parameters])


class VectorRefinement(nn.Module):
    """The refinement with vector neurons before the maximum, the default of the datatool's fork."""

    def __init__(self, feature_count: int, face_parameters: int, public: bool = False) -> None:
        """Add up the widths: 192 + 1536 + pooled feature + shape and expression."""
        super().__init__()
        width = VectorEncoder.POINT + VectorEncoder.WHOLE + feature_count + face_parameters
        self.encoder = VectorEncoder()
        self.layers = nn.ModuleList(_correcting_layers(width, public))

    def forward(
        self,
        landmarks: Float[Tensor, "batch 3 landmarks"],
        pooled: Float[Tensor, "batch features"],
        face_parameters: Float[Tensor, "batch face"],
    ) -> Float[Tensor, "batch 3 landmarks"]:
        """Corrections, before their scale."""
        of_points, of_landmarks = self.encoder(landmarks)
        return _correct(self.layers, of_points, [of_landmarks, pooled, face_parameters])


class Reverse(nn.Module):
    """Landmarks to whitened parameters, by another PointNet with three heads."""

    def __init__(self, sizes: Sequence[int], public: bool = False) -> None:
        """Choose the sizes of pose, shape and expression."""
        super().__init__()
        self.layers = nn.ModuleList(_point_encoder())
        self.heads = nn.ModuleList(
            PointLayer(_POINT_WIDTHS[-1], size, activate=public) for size in sizes
        )

    def forward(
        self, landmarks: Float[Tensor, "batch 3 landmarks"]
    ) -> Float[Tensor, "batch parameters"]:
        """Pose, shape, expression, whitened."""
        x = landmarks
        for layer in self.layers:
            x = layer(x)
        of_all = x.amax(dim=2, keepdim=True)
        return torch.cat([head(of_all) for head in self.heads], dim=1)[:, :, 0]


class SynergyNetwork(nn.Module):
    """The regressor and the cycle around a face model.

    State dicts hold the whitening, without which the numbers mean nothing, but not the face model.
    """

    whitening_mean: Tensor
    whitening_std: Tensor

    def __init__(
        self,
        face: SynergyFace,
        whitening: Whitening,
        meaning: SynergyMeaning | None = None,
        *,
        arch: str = "mobilenet_v2",
        public: bool = False,
        residual_scale: float = RESIDUAL_SCALE,
        use_rot_inv: bool = False,
    ) -> None:
        """Build with random weights.

        Args:
            face: decodes the parameters.
            whitening: of the parameters.
            meaning: of the parameters and images; None takes that of the published weights, with
                the sizes of the face.
            arch: key of `SYNERGY_BACKBONES`.
            public: let both point networks end in ReLU.
            residual_scale: pixels of the crop that 1 of the refinement moves a landmark.
            use_rot_inv: let the refinement begin with vector neurons.

        Raises:
            ValueError: unknown names; sizes that contradict each other.
        """
        super().__init__()
        self.meaning = meaning or SynergyMeaning(
            face.layout, face.image_px, num_landmarks=face.landmark_count
        )
        layout = self.meaning.layout
        if arch not in SYNERGY_BACKBONES:
            raise ValueError(f"--arch {arch} is unknown; choose of {', '.join(SYNERGY_BACKBONES)}")
        if self.meaning.input_range not in INPUT_RANGES:
            raise ValueError(f"images as {self.meaning.input_range} are unknown")
        if face.layout != layout or len(whitening) != layout.size:
            raise ValueError(
                f"the network has {layout}, the face model {face.layout}, the whitening "
                f"{len(whitening)} numbers"
            )
        self.arch, self.public, self.residual_scale = arch, public, residual_scale
        self.face = face
        self.regressor = Regressor(arch, layout.sizes)
        face_parameters = layout.shape + layout.expression
        self.use_rot_inv = use_rot_inv
        refinement = VectorRefinement if use_rot_inv else Refinement
        self.refinement = refinement(self.regressor.feature_count, face_parameters, public)
        self.reverse = Reverse(layout.sizes, public)
        self.register_buffer("whitening_mean", whitening.mean.clone())
        self.register_buffer("whitening_std", whitening.std.clone())
        self._prepare = INPUT_RANGES[self.meaning.input_range]

    @property
    def whitening(self) -> Whitening:
        """As it is now: a checkpoint brings its own."""
        return Whitening(self.whitening_mean, self.whitening_std)

    def regress(self, images: Float[Tensor, "batch 3 height width"]) -> Regression:
        """Whitened parameters and pooled features of crops, RGB in [0, 1]."""
        return self.regressor(self._prepare(images))

    def decode(self, whitened: Float[Tensor, "batch parameters"]) -> Tensor:
        """Coarse landmarks (B, 3, L) of whitened parameters, in label coordinates of the crop."""
        return self.face.landmarks(self.unwhiten(whitened))

    def unwhiten(
        self, whitened: Float[Tensor, "batch parameters"]
    ) -> Float[Tensor, "batch parameters"]:
        """Parameters as the face model takes them."""
        return whitened * self.whitening_std + self.whitening_mean

    def close_cycle(self, regression: Regression, refine: bool = True) -> SynergyOutput:
        """Everything that follows from the regression.

        Args:
            regression: of `regress`.
            refine: also refine the landmarks and go back from them.
        """
        coarse = self.decode(regression.whitened)
        if not refine:
            return SynergyOutput(regression, coarse)
        face_parameters = regression.whitened[:, self.meaning.layout.pose :]
        correction = self.refinement(coarse, regression.pooled, face_parameters)
        refined = coarse + self.residual_scale * correction
        return SynergyOutput(regression, coarse, refined, self.reverse(refined))

    def forward(self, images: Float[Tensor, "batch 3 height width"]) -> SynergyOutput:
        """The whole cycle for crops, RGB in [0, 1]."""
        return self.close_cycle(self.regress(images))

    @torch.no_grad()
    def predict(
        self, images: Float[Tensor, "batch 3 height width"]
    ) -> Float[Tensor, "batch parameters"]:
        """Parameters of crops, RGB in [0, 1], for `SynergyFace`: not whitened. In eval mode only.

        As in the public code landmarks come from these, unrefined.
        """
        return self.unwhiten(self.regress(images).whitened)
