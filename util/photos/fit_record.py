"""What is known of a fit beside its result: energies, steps, time, warnings (`<stem>_fit.json`)."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path

from util.atomic import write_text

FORMAT_VERSION = 1


@dataclass(frozen=True)
class StageRecord:
    """One stage of the fit of one face."""

    name: str
    """landmarks, or photo_<side of the squares of pixels that were averaged>; rigid and all for
    adam."""
    steps: int
    """Tried, the undone ones included."""
    converged: bool
    """Whether it ended by itself, not by the number of steps."""
    energy_before: float
    energy_after: float
    terms: dict[str, float]
    """Weighted terms of the energy at the end, by name."""
    trust: float
    """How many times w_photo counted, 1 or more: of photos that the face explains well it is a
    multiple, as the stage before has found it."""


@dataclass(frozen=True)
class FitRecord:
    """The fit of one face."""

    solver: str
    """gauss_newton, or adam."""
    preset: str
    """Empty for adam, which has none."""
    weights: dict[str, float]
    """Of the terms (docs/fitting.md)."""
    init: str
    """landmarks, or regress."""
    focal_px: float
    """Of the crop of 224 pixels."""
    fitted_focal: bool
    """Whether it was looked for."""
    faces_together: int
    """How many faces share identity and albedo with this one, itself included."""
    seconds: float
    """Its share of the time of the faces that were fitted side by side; detection and drawing
    aside."""
    stages: tuple[StageRecord, ...]
    warnings: tuple[str, ...]

    @property
    def energy(self) -> float:
        """At the end of the last stage."""
        return self.stages[-1].energy_after


def write_fit_record(path: Path, record: FitRecord) -> None:
    """Write as UTF-8 JSON; an infinite weight becomes the text "inf".

    Raises:
        ValueError: an energy is not finite; nothing is written.
    """
    plain = {"format_version": FORMAT_VERSION, **asdict(record)}
    plain["weights"] = {
        name: value if value != float("inf") else "inf" for name, value in record.weights.items()
    }
    try:
        text = json.dumps(plain, indent=1, ensure_ascii=False, allow_nan=False)
    except ValueError as error:
        raise ValueError(f"{path.name}: an energy is not finite") from error
    write_text(path, text + "\n")
