"""Options of the template model and the template dataset, which show how to add one."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class TemplateOptions:
    """Options of the template model."""

    w_colour: float = 1.0
    """Weight of the colour loss."""


@dataclass(frozen=True)
class TemplateDatasetOptions:
    """Options of the template dataset."""

    num_discs: int = 64
    """Number of training samples; validation has a quarter of it."""
    disc_size_px: int = 224
    """Side of the images."""
