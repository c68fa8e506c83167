"""Warns while a training goes wrong in a way that its losses do not show at a glance."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

WINDOW = 100
"""Looks over which a loss is averaged before it is compared with the average before."""
REPEAT = 1000
"""Looks for which a warning is not repeated."""

# The front of an aligned face covers a fifth to a quarter of the crop.
_EMPTY_SHARE = 0.02
# Of a normal distribution 0.3 % lies beyond 3 sigma.
_BEYOND_SHARE = 0.02
# Maintainers of the public code saw trainings stall near 45; good ones end below 10.
_STUCK_LANDMARKS_PX2 = 40.0
_STUCK_IDENTITY = 0.85
_FALL = 0.99
"""A loss falls if its average over a window is below this share of the one before."""


@dataclass(frozen=True)
class Signs:
    """What tells how a training goes, as means over faces of a step; None is not looked at.

    Of a step that mixes faces with and without truth, the first three see only the faces that are
    rendered.
    """

    mask_share: float | None = None
    """Share of the picture that the rendered front of the face covers."""
    landmark_px2: float | None = None
    """Landmark loss without its weight: weighted squared pixels."""
    identity: float | None = None
    """Distance of photo and rendering for the recognition net, 1 for two strangers."""
    beyond_3_sigma: Mapping[str, float] = field(default_factory=dict)
    """Share of the coefficients of each block with a prior that lie beyond three deviations."""


class TrainingWatch:
    """Looks at the signs of a training now and then, and words what is wrong, once in a while."""

    def __init__(self) -> None:
        self._looks = 0
        self._told: dict[str, int] = {}
        self._losses: dict[str, list[float]] = {}

    def look(self, signs: Signs) -> list[str]:
        """One line for each thing that is wrong and was not said lately."""
        self._looks += 1
        found: dict[str, str] = {}
        if signs.mask_share is not None and signs.mask_share < _EMPTY_SHARE:
            found["mask"] = (
                f"the rendered face covers {signs.mask_share:.1%} of the picture: it has left it, "
                "and the photometric loss sees nothing; check landmarks and --camera_d, lower --lr "
                "or start from other weights"
            )
        value = self._stuck("landmarks", signs.landmark_px2, _STUCK_LANDMARKS_PX2)
        if value is not None:
            found["landmarks"] = (
                f"the landmark loss stands still at {value:.0f} px^2 (below 10 is usual at the "
                "end); lower the regularisers first (--w_reg, --w_reflc), then --lr"
            )
        value = self._stuck("identity", signs.identity, _STUCK_IDENTITY)
        if value is not None:
            found["identity"] = (
                f"the identity loss stands still at {value:.0%} of the distance of strangers: no "
                "likeness is learned; look at the pictures in TensorBoard, raise --w_feat or lower "
                "--w_reg"
            )
        for name, share in signs.beyond_3_sigma.items():
            if share > _BEYOND_SHARE:
                found[name] = (
                    f"{share:.0%} of the {name} coefficients lie beyond 3 sigma (0.3% would be "
                    "usual): faces become implausible; raise --w_reg"
                )
        return [text for name, text in found.items() if self._is_news(name)]

    def _is_news(self, name: str) -> bool:
        last = self._told.get(name)
        if last is not None and self._looks - last < REPEAT:
            return False
        self._told[name] = self._looks
        return True

    def _stuck(self, name: str, value: float | None, least: float) -> float | None:
        """The last window's average, if a loss is high and has not fallen since the one before."""
        if value is None:
            return None
        values = self._losses.setdefault(name, [])
        values.append(value)
        if len(values) < 2 * WINDOW:
            return None
        before = sum(values[:WINDOW]) / WINDOW
        now = sum(values[WINDOW:]) / WINDOW
        del values[:WINDOW]
        return now if now >= least and now > _FALL * before else None
