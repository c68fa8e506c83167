"""Photos, landmarks and datasets: everything between files and `models.batch.FaceBatch`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from data.loader import FaceLoader
    from data.registry import DATASETS, create_dataset

__all__ = ["DATASETS", "FaceLoader", "create_dataset"]


def __getattr__(name: str) -> Any:
    """Load the datasets when asked for: preparing photos needs neither them nor torch."""
    if name == "FaceLoader":
        from data.loader import FaceLoader

        return FaceLoader
    if name in ("DATASETS", "create_dataset"):
        from data import registry

        return getattr(registry, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
