"""The training loop's bookkeeping: steps, logs, validation, checkpoints, faults."""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path

from models.base_model import BaseModel
from models.batch import FaceBatch
from options.base_options import DisplayOptions
from options.flags import ParsedOptions
from options.train_options import TrainOptions
from util.checkpoint import checkpoint_path
from util.errors import InputError
from util.run_log import RunLog
from util.training_state import Progress, save_training


class Training:
    """One run of a model over its epochs; use as a context manager."""

    def __init__(
        self,
        model: BaseModel,
        options: ParsedOptions,
        folder: Path,
        batches_per_epoch: int,
        progress: Progress,
    ) -> None:
        """Continue at `progress`."""
        self.model, self.options, self.folder = model, options, folder
        self.train, self.display = options[TrainOptions], options[DisplayOptions]
        # Public checkpoints do not count their steps.
        behind = batches_per_epoch * (progress.epoch - model.first_epoch)
        self.progress = progress if progress.step else replace(progress, step=behind)
        self.last_epoch = model.last_epoch
        self.total_steps = batches_per_epoch * (self.last_epoch - model.first_epoch + 1)
        self.bad_steps = 0
        self._since = time.monotonic()
        self._before = progress.seconds
        timed = self.train.max_minutes > 0
        self.log = RunLog(folder, 0 if timed else self.total_steps, self.progress.step)

    def __enter__(self) -> Training:
        self.log.__enter__()
        return self

    def __exit__(self, *error: object) -> None:
        self.log.__exit__(*error)

    @property
    def seconds(self) -> float:
        """Time trained, with the part before a resume."""
        return self._before + time.monotonic() - self._since

    @property
    def out_of_time(self) -> bool:
        """Whether `--max_minutes` are over."""
        return 0 < self.train.max_minutes * 60 <= self.seconds

    @property
    def seconds_left(self) -> float | None:
        """Time until `--max_minutes` are over; None for a training by epochs."""
        if self.train.max_minutes == 0:
            return None
        return max(0.0, 60 * self.train.max_minutes - self.seconds)

    @property
    def share_done(self) -> float:
        """Share of the training that is over, by the clock or by steps."""
        by_steps = self.progress.step / max(self.total_steps, 1)
        if self.train.max_minutes > 0:
            return min(1.0, max(by_steps, self.seconds / (60 * self.train.max_minutes)))
        return min(1.0, by_steps)

    def step(self, batch: FaceBatch, val_faces: Iterable[FaceBatch]) -> None:
        """One training step with what is due after it."""
        self.model.set_progress(self.share_done)
        self.model.set_input(batch)
        good = self.model.optimize_parameters()
        self.progress = replace(
            self.progress,
            step=self.progress.step + 1,
            batches=self.progress.batches + 1,
            seconds=self.seconds,
        )
        self._watch(good, batch.paths)
        step, train = self.progress.step, self.train
        if good and (step == 1 or step % train.print_freq == 0):
            losses = self._losses()
            self.log.losses(self.progress.epoch, step, losses, "train", self.model.rate)
        self.log.advance(self._losses() if good and step % 10 == 0 else None, self.seconds_left)
        if good and self.display.add_image and (step == 1 or step % train.display_freq == 0):
            self.log.images(step, self.model.visuals(), "train", self.display.display_per_batch)
        if step % train.evaluation_freq == 0:
            self.validate(val_faces)
        if step % train.save_latest_freq == 0:
            self.save("latest")
            if train.save_by_iter:
                self.save(f"iter_{step}")

    def _watch(self, good: bool, paths: Sequence[str]) -> None:
        """Count steps without a finite loss, name their images, stop after too many."""
        self.bad_steps = 0 if good else self.bad_steps + 1
        if good:
            return
        shown = ", ".join(paths[:8]) + (f" and {len(paths) - 8} more" if len(paths) > 8 else "")
        self.log.line(f"step {self.progress.step}: loss not finite, step skipped; batch: {shown}")
        if self.bad_steps >= self.train.max_bad_steps:
            raise InputError(
                f"{self.bad_steps} steps in a row had no finite loss (--max_bad_steps); the last "
                f"checkpoint in {self.folder} is intact. Check the images named in "
                f"{self.folder / 'loss_log.txt'}, or lower --lr"
            )

    def _losses(self) -> dict[str, float]:
        return {name: float(value.detach()) for name, value in self.model.losses.items()}

    def validate(self, val_faces: Iterable[FaceBatch]) -> float | None:
        """Mean loss over the validation faces; None if there are none."""
        sums: dict[str, float] = {}
        batches = 0
        for number, batch in enumerate(val_faces):
            if number >= self.display.eval_batch_nums:
                break
            self.model.set_input(batch)
            self.model.evaluate()
            batches += 1
            for name, value in self._losses().items():
                sums[name] = sums.get(name, 0.0) + value
            if number < self.display.vis_batch_nums and self.display.add_image:
                self.log.images(self.progress.step, self.model.visuals(), f"val_{number}")
        if not batches:
            return None
        means = {name: value / batches for name, value in sums.items()}
        self.log.losses(self.progress.epoch, self.progress.step, means, "val", self.model.rate)
        return means["all"]

    def end_epoch(self, epoch: int, val_faces: Iterable[FaceBatch]) -> None:
        """Validate, move the schedules on, save."""
        self.model.end_epoch(self.validate(val_faces))
        self.progress = replace(self.progress, epoch=epoch + 1, batches=0, seconds=self.seconds)
        if epoch % self.train.save_epoch_freq == 0 or epoch == self.last_epoch or self.out_of_time:
            self.save("latest")
            self.save(str(epoch))

    def save(self, epoch: str) -> None:
        """Write `epoch_<epoch>.pth`."""
        save_training(checkpoint_path(self.folder, epoch), self.model, self.options, self.progress)
