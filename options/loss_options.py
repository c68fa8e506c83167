"""Options of what an R-Net learns from: weights of losses, and of true and fitted labels."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class ObjectiveOptions:
    """Weights of the weakly-supervised losses."""

    w_feat: float = 0.2
    """Identity: distance of the recognition features of photo and rendering."""
    w_color: float = 1.92
    """Photometric: colour distance over the visible skin."""
    w_reg: float = 3.0e-4
    """Regularisation of the coefficients, over all blocks."""
    w_id: float = 1.0
    """Share of identity in the regularisation."""
    w_exp: float = 0.8
    """Share of expression in the regularisation."""
    w_tex: float = 1.7e-2
    """Share of texture in the regularisation."""
    w_gamma: float = 10.0
    """Colour of the light: variance of gamma over the channels."""
    w_lm: float = 1.6e-3
    """Landmarks: weighted squared distance in pixels."""
    w_reflc: float = 5.0
    """Reflectance: variance of the skin's albedo."""
    w_keypoints: float = 0.0
    """Distance, in pixels, of the given landmarks from where the backbone itself locates them
    (--net_recon dlib); on also while true coefficients alone supervise."""
    use_crop_face: bool = True
    """Photometric loss on the front of the face only, not on the whole mesh."""
    use_predef_M: bool = False
    """Crop the rendering for the recognition net by the given landmarks, not the predicted."""


@dataclass(frozen=True)
class TruthOptions:
    """Weights of the supervision by true coefficients (synthetic faces)."""

    w_truth_shape: float = 0.0
    """Distance of neutral-pose vertices, per decimetre."""
    w_truth_pose: float = 0.0
    """Distance of rotated vertices, per decimetre."""
    w_truth_px: float = 0.0
    """Distance of projected vertices and landmarks, per pixel."""
    w_truth_albedo: float = 0.0
    """Absolute difference of the albedo."""
    w_truth_light: float = 0.0
    """Absolute difference of the light on the true normals."""
    w_truth_coefficients: float = 0.0
    """Squared difference of identity, expression and texture in standard deviations."""
    weak_from: float = 0.0
    """Share of the training after which the weakly-supervised losses join this supervision; 1
    leaves them off."""


@dataclass(frozen=True)
class LabelOptions:
    """Supervision by known coefficients: true ones, or such that were fitted to photos."""

    w_coeff: float = 0.0
    """Weight of the supervision by coefficients where they are known: true ones of synthetic faces,
    and those fitted to photos (data_preparation.py --fit). It multiplies the weights of
    configs/synthetic.yaml. Where w_truth_... are given, true ones have those, and fitted ones
    w_coeff times those."""
    coeff_until: float = 0.5
    """Share of the training in which the weight of fitted ones falls to 0, in a straight line."""

    def __post_init__(self) -> None:
        """Refuse weights that reward errors, and ends that no training reaches."""
        if not 0 <= self.w_coeff < float("inf"):
            raise ValueError(f"--w_coeff is {self.w_coeff}; it must be 0 or more")
        if not 0 < self.coeff_until <= 1:
            raise ValueError(
                f"--coeff_until is {self.coeff_until}; it must lie above 0 and be at most 1"
            )

    def weight(self, progress: float) -> float:
        """That of fitted ones when this share of the training is over."""
        return self.w_coeff * max(0.0, 1 - progress / self.coeff_until)
