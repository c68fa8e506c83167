"""What a fit weighs, and how long it looks: of photos, of videos, of the public solver."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Literal

Preset = Literal["fast", "balanced", "best"]

_FROM_ZERO = (lambda value: 0 <= value < math.inf, "a number from 0 on")
_ALLOWED: dict[str, tuple[Callable[[float], bool], str]] = {
    "w_not_skin": (lambda value: 0 <= value <= 1, "between 0 and 1"),
    "robust_colour": (lambda value: value > 0, "above 0, or inf"),
    "dark_lids": (lambda value: 0 < value <= 1, "above 0, and 1 at most"),
}
"""What the weights may be that are no plain factors, and in words."""


@dataclass(frozen=True)
class FitWeights:
    """Weights of the terms of a fit."""

    w_photo: float = 8.0
    """Colour distance over the visible skin, RGB in [0, 1]."""
    w_landmarks: float = 1.4e-3
    """Squared landmark distance in pixels of a 224 crop."""
    w_jaw: float = 0.1
    """Weight of each jaw landmark against an inner one: detectors mark a silhouette there."""
    w_mouth: float = 1.0
    """Weight of each mouth and nose bridge landmark (28 to 30, 48 to 67, counted from 0) against
    another inner one."""
    w_lids: float = 4.0
    """Weight of each lid landmark (37, 38, 40, 41, 43, 44, 46, 47) against another inner one: what
    colours say of lids is the lashes' and their shadow's, and opens eyes too wide."""
    w_identity: float = 2.5e-3
    """Squared identity coefficients, in standard deviations."""
    w_expression: float = 1e-3
    """Squared distance of the expression from usual ones, in their own standard deviations."""
    natural_expression: bool = True
    """Usual are those of photographs, where the face model knows their mean and covariance; else
    the neutral face, as for face models that know none."""
    w_texture: float = 5e-4
    """Squared texture coefficients."""
    w_light_colour: float = 10.0
    """Variance of the light over the colour channels."""
    w_light: float = 2.0
    """Mean square of the light coefficients against the constant light: whether a face is dark
    or badly lit, a photo does not tell."""
    w_reflectance: float = 0.0
    """Variance of the albedo over the skin. It prefers dark skin, whose variance is less: the
    texture's own prior serves better where the face model has a good one."""
    w_focal: float = 1e-3
    """Squared logarithm of the focal length over the given one, in fits that look for it
    (--fit_focal); counted once for each face, as all priors are."""
    w_not_skin: float = 0.2
    """Least attention of a pixel of the face's front whose colour is none of skin: lips, brows and
    eyes, but hair and glasses too."""
    self_shadow: bool = True
    """While its shape is sought a face keeps light from itself: sockets and what lies beside the
    nose are darker than their normals say. Colours and light of the result are then those without
    shadows, as in the public code and in training."""
    robust_colour: float = 0.1
    """Colour distance beyond which a pixel counts ever less; inf counts all alike."""
    dark_lids: float = 0.2
    """Multiplies robust_colour where the photo is darker than the face about the eyes: lashes, rims
    of glasses and strands of hair would be explained by eyes that are wide open. From 0 to 1, which
    makes no difference between dark and bright."""
    trusted_colour: float = 0.04
    """Mean colour distance, as a share of the photo's mean colour, below which a photo is trusted
    more: where the face explains it so well, as it does clean renders, w_photo grows with the
    inverse of the distance's square, up to 4 times. 0 trusts all photos alike. It is looked at
    after each level of pixels but the last, so that `fast`, which has one, knows nothing of it, nor
    does --solver adam."""

    def __post_init__(self) -> None:
        """Refuse weights that reward errors."""
        for name, value in vars(self).items():
            is_allowed, words = _ALLOWED.get(name, _FROM_ZERO)
            if not is_allowed(value):
                raise ValueError(f"--{name} is {value}; it must be {words}")


PUBLIC_WEIGHTS = FitWeights(
    w_photo=1.6,
    w_landmarks=100 / 224**2,
    w_jaw=1.0,
    w_mouth=10.0,
    w_lids=1.0,
    w_identity=1e-3,
    w_expression=8e-4,
    natural_expression=False,
    w_texture=1.7e-6,
    w_light_colour=0.0,
    w_light=0.0,
    w_reflectance=1.0,
    w_not_skin=0.0,
    self_shadow=False,
    robust_colour=math.inf,
    dark_lids=1.0,
    trusted_colour=0.0,
)
"""Those of the public fitter (github.com/ascust/3DMM-Fitting-Pytorch) in these units."""


KNOWN_FACE = ("known_colour", "known_expression", "known_landmarks")
"""Factors of `TrackWeights` on the weights of a fit."""


@dataclass(frozen=True)
class TrackWeights:
    """How closely frames are held to the frame before them, and how stiff their motion is."""

    near_expression: float = 1.5e-3
    """Squared change of the expression in standard deviations."""
    near_rotation: float = 1.0
    """Squared change of the angles in radians."""
    near_translation: float = 1.0
    """Squared change of the translation in decimetres."""
    near_light: float = 0.25
    """Squared change of the light coefficients."""
    smoothing: float = 14.0
    """Stiffness of the motion against the certainty of a usual frame, at 25 frames a second: motion
    of periods below 2 pi smoothing^(1/4) / 25 seconds is damped, quick motion less. 0 leaves the
    tracked motion as it is."""
    known_colour: float = 3.0
    """Multiplies robust_colour while frames of a known person are tracked: where the colour of the
    skin is known, what differs is a lid or a lip more often than a hand."""
    known_expression: float = 0.5
    """Multiplies w_expression meanwhile: there is no identity that it could be mistaken for."""
    known_landmarks: float = 8.0
    """Multiplies w_landmarks meanwhile: a known face has fewer ways to be bent towards landmarks
    that are off."""

    def __post_init__(self) -> None:
        """Refuse weights that reward jumps."""
        for name, value in vars(self).items():
            if not 0 <= value < math.inf:
                raise ValueError(f"--{name} is {value}; it must be a number from 0 on")
        if self.known_colour == 0:
            raise ValueError(f"--known_colour is {self.known_colour}; it must be above 0")

    def of_known_face(self, weights: FitWeights) -> FitWeights:
        """The weights of a fit as they are while its person is followed."""
        return replace(
            weights,
            robust_colour=self.known_colour * weights.robust_colour,
            w_expression=self.known_expression * weights.w_expression,
            w_landmarks=self.known_landmarks * weights.w_landmarks,
        )


@dataclass(frozen=True)
class AdamSchedule:
    """How many steps, and how large; the defaults are the public fitter's."""

    rigid_steps: int = 1000
    """Steps of the pose (public: --first_rf_iters)."""
    steps: int = 500
    """Steps of everything (--first_nrf_iters)."""
    rigid_rate: float = 1e-2
    """Adam's rate of the first (--rf_lr), in radians and decimetres."""
    rate: float = 1e-2
    """And of the second (--nrf_lr), for coefficients of all kinds."""
    next_rigid_steps: int = 50
    """Steps of the pose of a video's further frames, from the frame before (--rest_rf_iters)."""
    next_steps: int = 30
    """And of everything that changes from frame to frame (--rest_nrf_iters)."""

    def __post_init__(self) -> None:
        """Refuse what no step can be made with."""
        for name in ("rigid_steps", "steps", "next_rigid_steps", "next_steps"):
            if getattr(self, name) < 0:
                raise ValueError(f"{name} is {getattr(self, name)}; it must be 0 or more")
        for name in ("rigid_rate", "rate"):
            if not getattr(self, name) > 0:
                raise ValueError(f"{name} is {getattr(self, name)}; it must be above 0")


@dataclass(frozen=True)
class SmoothingOptions:
    """How calm the motion of a video is."""

    smooth_min_hz: float = 1.0
    """Cutoff of the one-euro filter at rest; lower is calmer, 0 leaves the motion as it is."""
    smooth_beta: float = 4.0
    """How fast the cutoff rises with the motion, per face width a second; higher lags less."""

    def __post_init__(self) -> None:
        """Refuse what no filter could be."""
        if self.smooth_min_hz < 0 or self.smooth_beta < 0:
            raise ValueError(
                f"--smooth_min_hz is {self.smooth_min_hz} and --smooth_beta {self.smooth_beta}; "
                "both must be 0 or more"
            )
