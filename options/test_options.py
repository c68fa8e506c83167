"""Options of `test.py` alone."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from options.flags import no_effect
from util.errors import InputError


@dataclass(frozen=True)
class TestOptions:
    """What is reconstructed, and how."""

    __test__ = False  # not a test case, whatever its name says to test collectors

    img_folder: str = "examples"
    """Folder of photos, or one photo; detections/<stem>.txt beside them are used where they are
    there."""
    faces: Literal["largest", "all"] = "largest"
    """Reconstruct the largest face of each photo, or all; a file in detections/ or landmarks/
    names the only face of its photo."""
    photo_overlay: bool = True
    """Also write <stem>_photo.jpg, the faces laid over the whole photo."""
    test_batch_size: int = 8
    """Faces that go through the network at once."""
    solve_appearance: bool = False
    """Replace the network's light and texture by the closed-form solution for each photo."""

    def __post_init__(self) -> None:
        """Refuse a batch of nothing."""
        if self.test_batch_size < 1:
            raise InputError(f"--test_batch_size is {self.test_batch_size}; it must be at least 1")


_NO_BOARD = "test.py writes no TensorBoard"
_ONE_PROCESS = "test.py runs in one process"


@dataclass(frozen=True)
class PublicTestOptions:
    """Accepted for public command lines."""

    phase: str = no_effect("test", "test.py reconstructs, whatever the phase is called")
    """Accepted."""
    dataset_mode: str | None = no_effect(None, "test.py reads photos")
    """Accepted."""
    vis_batch_nums: float = no_effect(1.0, _NO_BOARD)
    """Accepted."""
    eval_batch_nums: float = no_effect(float("inf"), "test.py reconstructs all photos")
    """Accepted."""
    display_per_batch: bool = no_effect(True, _NO_BOARD)
    """Accepted."""
    add_image: bool = no_effect(True, _NO_BOARD)
    """Accepted."""
    use_ddp: bool = no_effect(True, _ONE_PROCESS)
    """Accepted."""
    ddp_port: str = no_effect("12355", _ONE_PROCESS)
    """Accepted."""
    world_size: int = no_effect(1, _ONE_PROCESS)
    """Accepted."""
