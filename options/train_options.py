"""Options of `train.py` alone."""

from __future__ import annotations

from dataclasses import dataclass

from options.flags import no_effect
from util.errors import InputError


@dataclass(frozen=True)
class TrainOptions:
    """Schedule of training."""

    phase: str = no_effect("train", "train.py trains, whatever the phase is called")
    dataset_mode: str = "flist"
    """Dataset class, a key of data.DATASETS."""
    max_minutes: float = 0.0
    """Stop after this many minutes of training, the learning rate following the clock under
    --lr_policy clock; 0 sets no limit of time, so that --n_epochs alone ends it."""
    continue_train: bool = False
    """Resume from the run's latest checkpoint, as if it had not stopped; a run that stopped before
    its first one begins anew."""
    overwrite: bool = False
    """Replace an earlier run of this name; without it a finished or broken-off run is protected."""
    pretrained_name: str | None = None
    """Start from the weights of another run under checkpoints_dir."""
    max_bad_steps: int = 10
    """Stop after this many steps in a row whose loss is not finite."""
    print_freq: int = 100
    """Steps between lines of the loss log."""
    display_freq: int = 1000
    """Steps between pictures in TensorBoard."""
    save_latest_freq: int = 5000
    """Steps between saves of epoch_latest.pth."""
    save_epoch_freq: int = 1
    """Epochs between saves of epoch_<number>.pth."""
    keep_best: bool = False
    """Also keep epoch_best.pth, of the epoch whose validation loss was the smallest."""
    save_by_iter: bool = False
    """Also keep epoch_iter_<step>.pth at every save of latest."""
    evaluation_freq: int = 5000
    """Steps between validations; one more follows each epoch's end."""
    report: bool = True
    """Keep report.html in the run's folder, a page of curves and pictures, written anew at every
    validation."""

    def __post_init__(self) -> None:
        """Refuse numbers that no training could use."""
        for flag in (
            "max_bad_steps",
            "print_freq",
            "display_freq",
            "save_latest_freq",
            "save_epoch_freq",
            "evaluation_freq",
        ):
            if getattr(self, flag) < 1:
                raise InputError(f"--{flag} is {getattr(self, flag)}; it must be at least 1")
        if not self.max_minutes >= 0:
            raise InputError(f"--max_minutes is {self.max_minutes}; it must be 0 or more")


@dataclass(frozen=True)
class LoaderOptions:
    """How samples become batches."""

    batch_size: int = 32
    """Faces in a step, over all processes."""
    batch_size_val: int = 32
    """Faces in a validation batch; each is one process's."""
    num_threads: int = 4
    """Processes that load images, as many again for validation, one a core at the most; shared by
    the training's on each machine. 0 loads in those."""
    serial_batches: bool = False
    """Take images in the order of the list, not shuffled."""
    max_dataset_size: float = float("inf")
    """Use at most so many images."""
    max_bad_images: int = 100
    """Images that may turn out corrupt or gone in an epoch, over all processes: each is replaced by
    another one, and named when it is met first. One more ends the run."""

    def __post_init__(self) -> None:
        """Refuse sizes that give no batch."""
        for flag in ("batch_size", "batch_size_val"):
            if getattr(self, flag) < 1:
                raise InputError(f"--{flag} is {getattr(self, flag)}; it must be at least 1")
        if self.max_bad_images < 0:
            raise InputError(f"--max_bad_images is {self.max_bad_images}; it must be 0 or more")
        if self.num_threads < 0:
            raise InputError(f"--num_threads is {self.num_threads}; it must be 0 or more")
        if not self.max_dataset_size >= 1:  # NaN is refused too
            raise InputError(f"--max_dataset_size is {self.max_dataset_size}; it must be 1 or more")
