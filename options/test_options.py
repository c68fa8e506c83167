"""Options of `test.py` alone."""

from __future__ import annotations

from dataclasses import dataclass

from util.errors import InputError


@dataclass(frozen=True)
class TestOptions:
    """What is reconstructed, and how."""

    __test__ = False  # not a test case, whatever its name says to test collectors

    phase: str = "test"
    """Accepted for public command lines, no effect."""
    dataset_mode: str | None = None
    """Accepted for public command lines, no effect: test.py reads photos."""
    img_folder: str = "examples"
    """Folder of photos, or one photo; detections/<stem>.txt beside them are used where they are
    there."""
    test_batch_size: int = 8
    """Photos that go through the network at once."""
    solve_appearance: bool = False
    """Replace the network's light and texture by the closed-form solution for each photo."""

    def __post_init__(self) -> None:
        """Refuse a batch of nothing."""
        if self.test_batch_size < 1:
            raise InputError(f"--test_batch_size is {self.test_batch_size}; it must be at least 1")
