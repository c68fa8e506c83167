"""A training's log: progress bar, `loss_log.txt` flushed by line, TensorBoard, pictures."""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

import torch
from torch import Tensor
from torch.utils.tensorboard import SummaryWriter
from tqdm import tqdm

from util.training.run_history import RunHistory
from util.training.run_pictures import RunPictures


class SilentLog:
    """Takes what a `RunLog` takes and keeps nothing: for all processes but the first."""

    def __enter__(self) -> SilentLog:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def advance(
        self, losses: Mapping[str, float] | None = None, seconds_left: float | None = None
    ) -> None:
        """See `RunLog`."""

    def line(self, text: str) -> None:
        """See `RunLog`."""

    def note(self, *lines: str) -> None:
        """See `RunLog`."""

    def losses(self, epoch: int, step: int, losses: Mapping[str, float], phase: str, rate: float):
        """See `RunLog`."""

    def images(self, step: int, pictures: Tensor, phase: str, per_batch: bool = True) -> None:
        """See `RunLog`."""


class RunLog:
    """Writes what happens in one run; use as a context manager."""

    def __init__(self, folder: Path, total_steps: int, first_step: int = 0) -> None:
        """Open the files in the run's folder, appending to an earlier log.

        Args:
            folder: the run's folder.
            total_steps: length of the bar; 0 if unknown.
            first_step: where a resumed run goes on.
        """
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / "loss_log.txt"
        self.history = RunHistory.read(path)
        """What this run, and the part before a resume, has logged."""
        self.history.forget_after(first_step)
        # Line-buffered: a run that is killed keeps every finished line.
        self._file = path.open("a", encoding="utf-8", buffering=1)
        self._write(f"================ {time.strftime('%Y-%m-%d %H:%M:%S')} ================")
        # What a killed run wrote after its checkpoint comes again.
        purge_step = first_step + 1 if first_step else None
        self._board = SummaryWriter(folder / "logs", purge_step=purge_step)
        self._pictures = RunPictures(folder)
        self._pictures.forget_after(first_step)
        # Into a file a line now and then; on a terminal the bar is alive.
        interval = 0.2 if sys.stderr.isatty() else 20
        self._bar = tqdm(
            total=total_steps or None,
            initial=first_step,
            unit="step",
            dynamic_ncols=True,
            mininterval=interval,
        )

    def __enter__(self) -> RunLog:
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.close()
        # On a full disk closing fails as the write before it did, which has been raised already.
        with suppress(OSError):
            self._board.close()
        with suppress(OSError):
            self._file.close()

    def advance(
        self, losses: Mapping[str, float] | None = None, seconds_left: float | None = None
    ) -> None:
        """Move the bar by one step.

        Args:
            losses: shown beside the bar.
            seconds_left: of a training that ends by the clock, for which the bar knows no end.
        """
        if losses:
            left = "" if seconds_left is None else f"{tqdm.format_interval(seconds_left)} left, "
            self._bar.set_postfix_str(left + _joined(losses), refresh=False)
        self._bar.update()

    def line(self, text: str) -> None:
        """Print a line above the bar and keep it in the log file."""
        self._bar.write(text)
        self._write(text)

    def _write(self, line: str) -> None:
        try:
            self._file.write(line + "\n")
        except OSError as error:
            # A full disk is told without the name of the file.
            raise OSError(error.errno, error.strerror, self._file.name) from error
        self.history.take(line)

    def note(self, *lines: str) -> None:
        """Keep lines in the log file only."""
        for line in lines:
            self._write(line)

    def losses(self, epoch: int, step: int, losses: Mapping[str, float], phase: str, rate: float):
        """Log weighted loss terms.

        Args:
            epoch: number of the epoch.
            step: steps since the beginning of the training.
            losses: terms by name.
            phase: "train" or "val".
            rate: learning rate.
        """
        line = f"({phase}, epoch {epoch}, step {step}, lr {rate:.2e}) {_joined(losses)}"
        if phase == "train":
            self._write(line)
        else:
            self.line(line)
        for name, value in losses.items():
            self._board.add_scalar(f"{phase}/{name}", value, step)
        self._board.add_scalar("lr", rate, step)

    def images(self, step: int, pictures: Tensor, phase: str, per_batch: bool = True) -> None:
        """Log pictures (B, 3, H, W), below each other in one image or one by one.

        The first faces of a training step, and those of a validation's first batch, are kept as
        files too.
        """
        pictures = pictures.detach().cpu().clamp(0, 1)
        if phase in ("train", "val_0"):
            self._pictures.add(phase.removesuffix("_0"), step, pictures)
        if per_batch:
            sheet = torch.cat(list(pictures[:8]), dim=1)
            self._board.add_image(f"{phase}/faces", sheet, step)
        else:
            for number, picture in enumerate(pictures):
                self._board.add_image(f"{phase}/face_{number:03d}", picture, step)


def _joined(losses: Mapping[str, float]) -> str:
    return " ".join(f"{name}: {_digits(value)}" for name, value in losses.items())


def _digits(value: float) -> str:
    """Four places as in the public log; small terms would be nothing but zeros so."""
    return f"{value:.4f}" if value == 0 or not abs(value) < 0.01 else f"{value:.2e}"
