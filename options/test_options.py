"""Options of `test.py` alone."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from data.images import check_named_photos, find_folder, list_images
from options.base_options import DisplayOptions, DistributedOptions
from options.face_options import FaceModelOptions, check_face_model
from options.flags import ParsedOptions, no_effect, without_effect
from options.output_checks import check_photos
from options.output_options import OutputOptions
from util.errors import InputError, of_flag
from util.training.run_choice import find_trained


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
    report: bool = True
    """Also write <stem>_report.html, a page of each face to turn and to read, and index.html, which
    shows all."""
    test_batch_size: int = 8
    """Faces that go through the network at once."""
    solve_appearance: bool = False
    """Replace the network's light and texture by the closed-form solution for each photo."""
    refine: bool = False
    """Fit the face to the photo, as fit.py does, starting from the network's prediction."""

    def __post_init__(self) -> None:
        """Refuse a batch of nothing."""
        if self.test_batch_size < 1:
            raise InputError(f"--test_batch_size is {self.test_batch_size}; it must be at least 1")
        if self.refine and self.solve_appearance:
            raise InputError("--refine fits light and albedo as well; leave out --solve_appearance")


_NO_BOARD = "test.py writes no TensorBoard"
_ONE_PROCESS = "test.py runs in one process"


@dataclass(frozen=True)
class PublicTestOptions:
    """Accepted for public command lines."""

    phase: str = no_effect("test", "test.py reconstructs, whatever the phase is called")
    dataset_mode: str | None = no_effect(None, "test.py reads photos")


PublicTrainingOptions = without_effect(
    (DisplayOptions, DistributedOptions),
    {
        "vis_batch_nums": _NO_BOARD,
        "eval_batch_nums": "test.py reconstructs all photos",
        "display_per_batch": _NO_BOARD,
        "add_image": _NO_BOARD,
        "use_ddp": _ONE_PROCESS,
        "ddp_port": _ONE_PROCESS,
        "world_size": _ONE_PROCESS,
    },
)
"""What the public code shares between training and test."""


def check_test_input(options: ParsedOptions) -> None:
    """Refuse photos and runs that are not there, before the work.

    Raises:
        InputError: no such photos, face model or checkpoint, or photos that --save cannot take.
    """
    found = find_folder(options[TestOptions].img_folder, Path("datasets"))
    with of_flag("img_folder"):
        photos = list_images(found)
    check_named_photos([found], "img_folder")
    check_photos(options[OutputOptions].save, photos)
    find_trained(options)
    check_face_model(options[FaceModelOptions])
