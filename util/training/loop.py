"""The training loop's bookkeeping: steps, logs, validation, checkpoints, faults."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor

from data.bad_images import BadImages, too_many
from models.base_model import BaseModel
from models.batch import FaceBatch
from options.base_options import DisplayOptions
from options.flags import ParsedOptions
from options.train_options import LoaderOptions, TrainOptions
from util.errors import InputError
from util.reports.training_report import TRAINING_REPORT, State, TrainingReport
from util.training.checkpoint_names import BEST, LATEST, checkpoint_path
from util.training.distributed import Share
from util.training.run_log import RunLog, SilentLog
from util.training.training_state import Progress, save_training
from util.training.training_watch import Signs, TrainingWatch

LOOK_FREQ = 10
"""Steps between looks for what goes wrong; each waits for the device."""

_SHOWN = 8
"""Bad images that are printed, and not only logged."""


class Training:
    """One run of a model over its epochs; use as a context manager."""

    def __init__(
        self,
        model: BaseModel,
        options: ParsedOptions,
        folder: Path,
        batches_per_epoch: int,
        progress: Progress,
        bad_images: Sequence[BadImages] = (),
    ) -> None:
        """Continue at `progress`, with the other processes of `model.ranks`, if there are any.

        Args:
            model: with its networks loaded.
            options: of the run.
            folder: of its checkpoints and logs.
            batches_per_epoch: steps of an epoch.
            progress: where it stands.
            bad_images: of the loaders whose batches come.
        """
        self.bad_images = bad_images
        self.model, self.options, self.folder = model, options, folder
        self.ranks = model.ranks
        self.train, self.display = options[TrainOptions], options[DisplayOptions]
        # Public checkpoints do not count their steps.
        behind = batches_per_epoch * (progress.epoch - model.first_epoch)
        self.progress = progress if progress.step else replace(progress, step=behind)
        self.last_epoch = model.last_epoch
        self.total_steps = batches_per_epoch * (self.last_epoch - model.first_epoch + 1)
        self.bad_steps = 0
        self._problems: dict[str, str] = {}
        """What is wrong with bad images, by their names in `progress`; without those of a run that
        this one resumes."""
        self._saved_step = progress.step
        """That of the newest checkpoint; 0 before there is one."""
        self._merit: float | None = None
        """What decides about the best epoch, of the last validation."""
        self.watch = TrainingWatch()
        self._since = time.monotonic()
        self._before = progress.seconds
        timed = self.train.max_minutes > 0
        self.log: RunLog | SilentLog = SilentLog()
        self._report: TrainingReport | None = None
        if self.ranks.is_first:
            self.log = RunLog(folder, 0 if timed else self.total_steps, self.progress.step)
            if self.train.report:
                self._report = TrainingReport(folder, options, self.log.history)

    def __enter__(self) -> Training:
        self.log.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, *trace: object
    ) -> None:
        if kind is not None:
            self._write_report("stopped", str(error) or kind.__name__)
            if issubclass(kind, KeyboardInterrupt):
                self.log.line(f"stopped at step {self.progress.step}; {self._what_is_kept}")
        else:
            over = self.out_of_time or self.progress.epoch > self.last_epoch
            self._write_report("finished" if over else "stopped")
        self.log.__exit__(kind, error, *trace)

    @property
    def _what_is_kept(self) -> str:
        """From where a training that is stopped now can go on."""
        often = "more often by a lower --save_latest_freq"
        if not self._saved_step:
            return f"no checkpoint was saved yet: the first is at the end of an epoch, {often}"
        path = checkpoint_path(self.folder, LATEST)
        return f"--continue_train goes on from step {self._saved_step} ({path}), saved {often}"

    @property
    def seconds(self) -> float:
        """Time trained as of the last step, with the part before a resume.

        Read once a step, and of several processes on the first: what follows from the time, such
        as the end and the last save, must follow for all of them, and all from the same time.
        """
        return self.progress.seconds

    def _read_clock(self) -> float:
        return self.ranks.first(self._before + time.monotonic() - self._since)

    @property
    def epochs(self) -> range:
        """Epochs that are left to do; none where a resumed training has had its time."""
        return range(self.progress.epoch, 0 if self.out_of_time else self.last_epoch + 1)

    @property
    def out_of_time(self) -> bool:
        """Whether `--max_minutes` are over."""
        return 0 < self.train.max_minutes * 60 <= self.seconds

    @property
    def length(self) -> str:
        """When the training ends, by which flags; in one sentence."""
        steps = f"at step {self.total_steps:,}, with epoch {self.last_epoch:,} (--n_epochs)"
        minutes = self.train.max_minutes
        if minutes > 0:
            return f"Ends after {minutes:g} minutes (--max_minutes), or {steps}"
        return f"Ends {steps}; no limit of time (--max_minutes 0)"

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
        self._note_bad_images()
        self.model.set_progress(self.share_done)
        self.model.set_input(batch)
        good = self.model.optimize_parameters(Share.of(self.ranks, len(batch)))
        self.progress = replace(
            self.progress,
            step=self.progress.step + 1,
            batches=self.progress.batches + 1,
            seconds=self._read_clock(),
        )
        self._watch(good, batch.paths)
        step, train = self.progress.step, self.train
        is_last = step == self.total_steps or self.out_of_time
        printed = step == 1 or is_last or self._due(train.print_freq)
        losses = self._losses() if good and (printed or step % LOOK_FREQ == 0) else None
        if losses and printed:
            self.log.losses(self.progress.epoch, step, losses, "train", self.model.rate)
        if good and step % LOOK_FREQ == 0:
            self._look()
        self.log.advance(losses if step % LOOK_FREQ == 0 else None, self.seconds_left)
        drawn = self.display.add_image and self.ranks.is_first
        if good and drawn and (step == 1 or self._due(train.display_freq)):
            self.log.images(step, self.model.visuals(), "train", self.display.display_per_batch)
        if self._due(train.evaluation_freq):
            self.validate(val_faces)
            self._write_report()
        if self._due(train.save_latest_freq):
            self.save(*([f"iter_{step}"] if train.save_by_iter else []))

    def _due(self, frequency: int) -> bool:
        """Whether this step reaches a multiple: of batches, or of faces (`--display_per_batch`)."""
        counted = 1 if self.display.display_per_batch else self.options[LoaderOptions].batch_size
        done = self.progress.step * counted
        return done // frequency > (done - counted) // frequency

    def _watch(self, good: bool, paths: Sequence[str]) -> None:
        """Count steps without a finite loss, name their images, stop after too many."""
        self.bad_steps = 0 if good else self.bad_steps + 1
        if good:
            return
        paths = [path for part in self.ranks.gather(tuple(paths)) for path in part]
        shown = ", ".join(paths[:8]) + (f" and {len(paths) - 8} more" if len(paths) > 8 else "")
        self.log.line(f"step {self.progress.step}: loss not finite, step skipped; batch: {shown}")
        if self.bad_steps >= self.train.max_bad_steps:
            raise InputError(
                f"{self.bad_steps} steps in a row had no finite loss (--max_bad_steps); the last "
                f"checkpoint in {self.folder} is intact. Check the images named in "
                f"{self.folder / 'loss_log.txt'}, or lower --lr"
            )

    def _look(self) -> None:
        """Warn of what goes wrong without an error."""
        sums = self.model.signs()
        found = self.ranks.sum(torch.stack([*sums.values()])).tolist() if sums else []
        # What has no faces in any process is not looked at.
        signs = {n: total / count for n, (total, count) in zip(sums, found, strict=True) if count}
        prefix = "beyond_3_sigma."
        blocks = {k.removeprefix(prefix): v for k, v in signs.items() if k.startswith(prefix)}
        others = {k: v for k, v in signs.items() if not k.startswith(prefix)}
        for text in self.watch.look(Signs(**others, beyond_3_sigma=blocks)):
            self.log.line(f"warning: step {self.progress.step}: {text}")

    def _losses(self) -> dict[str, float]:
        """The last step's losses, over its whole batch."""
        return self._over_the_batch(self.model.losses)

    def _over_the_batch(self, means: Mapping[str, Tensor]) -> dict[str, float]:
        """Means over this process's faces as means over the whole batch."""
        if not means:
            return {}
        share = self.model.share
        parts = torch.stack([value.detach() for value in means.values()])
        return dict(zip(means, share.sum(parts * share.faces).tolist(), strict=True))

    def validate(self, val_faces: Iterable[FaceBatch]) -> float | None:
        """Mean loss over the validation faces; None if there are none.

        Several processes have a batch each in turn, so that the mean is that of one process.
        """
        losses: dict[int, dict[str, float]] = {}
        pictures: dict[int, Tensor] = {}
        for turn, batch in enumerate(val_faces):
            number = turn * self.ranks.size + self.ranks.rank
            if number >= self.display.eval_batch_nums:
                break
            self.model.set_input(batch)
            self.model.evaluate()
            losses[number] = self._losses()
            if number < self.display.vis_batch_nums and self.display.add_image:
                pictures[number] = self.model.visuals().cpu()
        self._note_bad_images()
        losses = {n: terms for part in self.ranks.gather(losses) for n, terms in part.items()}
        # Only the first process draws.
        shown = self.ranks.gather_to_first(pictures)
        pictures = {number: picture for part in shown for number, picture in part.items()}
        if not losses:
            return None
        for number in sorted(pictures):
            self.log.images(self.progress.step, pictures[number], f"val_{number}")
        means = {
            name: sum(losses[number][name] for number in sorted(losses)) / len(losses)
            for name in losses[0]
        }
        self.log.losses(self.progress.epoch, self.progress.step, means, "val", self.model.rate)
        self._merit = means[self.model.figure_of_merit]
        return means["all"]

    def end_epoch(self, epoch: int, val_faces: Iterable[FaceBatch]) -> None:
        """Validate, move the schedules on, save."""
        self._merit = None
        self.model.end_epoch(self.validate(val_faces))
        if bad := self._bad_in(epoch):
            self.log.line(
                f"{bad} images of epoch {epoch} could not be used; others took their places. "
                f"{self.folder / 'loss_log.txt'} names each where it was met first"
            )
        seconds = self._read_clock()
        self.progress = replace(self.progress, epoch=epoch + 1, batches=0, seconds=seconds)
        self.log.note(f"epoch {epoch} ends at step {self.progress.step} after {seconds:.1f} s")
        due = epoch % self.train.save_epoch_freq == 0 or epoch == self.last_epoch
        epochs = [str(epoch)] if due or self.out_of_time else []
        if self.train.keep_best and self._is_best():
            epochs.append(BEST)
        if epochs:
            self.save(*epochs)
        self._write_report()

    def _write_report(self, state: State = "running", reason: str = "") -> None:
        """Write the page of the run; where it cannot be written, the run goes on without one."""
        if self._report is None:
            return
        try:
            self._report.write(self.progress, self.last_epoch, self.share_done, state, reason)
        except Exception as error:
            # Whatever it is: days of training are worth more than their page.
            self._report = None
            problem = str(error) if isinstance(error, OSError) else repr(error)
            with suppress(OSError):  # a full disk takes no line of the log either
                self.log.line(f"no {TRAINING_REPORT} from now on: {problem}")

    def _is_best(self) -> bool:
        """Whether the epoch's validation is better than all before; notes it then."""
        best = self.progress.best
        if self._merit is None or (best is not None and self._merit >= best):
            return False
        self.progress = replace(self.progress, best=self._merit)
        return True

    def _bad_in(self, epoch: int) -> int:
        """How many images of an epoch could not be used so far, for training or validation."""
        return sum(last == epoch for last in self.progress.bad_images.values())

    def bad_images_named(self) -> str:
        """What was wrong with images since the start or the resume, in one sentence; "" for none.

        An image of both lists is named once where its message is the same.
        """
        problems = list(dict.fromkeys(self._problems.values()))
        if not problems:
            return ""
        more = len(problems) - _SHOWN
        rest = f"; {more} more are named in {self.folder / 'loss_log.txt'}" if more > 0 else ""
        return f"Images that could not be used: {'; '.join(problems[:_SHOWN])}{rest}"

    def _note_bad_images(self) -> None:
        """Name images that no process has met before, and count those of the epoch.

        Raises:
            InputError: in all processes, when there are too many.
        """
        found = {name: text for loader in self.bad_images for name, text in loader.take().items()}
        if self.ranks.all(not found):
            return
        found = {name: text for part in self.ranks.gather(found) for name, text in part.items()}
        epoch, known = self.progress.epoch, dict(self.progress.bad_images)
        for name, problem in found.items():
            if name not in known:
                self._name_bad_image(problem, len(known))
            known[name] = epoch
            self._problems[name] = problem
        self.progress = replace(self.progress, bad_images=known)
        limit = self.options[LoaderOptions].max_bad_images
        if (count := self._bad_in(epoch)) > limit:
            raise InputError(too_many(list(found.values()), count, limit))

    def _name_bad_image(self, problem: str, before: int) -> None:
        """Log why an image is replaced; on the terminal only the first few of a run."""
        line = f"step {self.progress.step + 1}: an image is replaced: {problem}"
        if before < _SHOWN:
            self.log.line(line)
        else:
            self.log.note(line)
        if before == _SHOWN:
            where = self.folder / "loss_log.txt"
            self.log.line(f"more images cannot be used; all are named in {where}")

    def save(self, *epochs: str) -> None:
        """Write `epoch_<epoch>.pth` for each epoch given, and then `epoch_latest.pth`.

        In this order, so that a run that is killed in between goes on from the older latest one,
        and writes what is missing when it comes by again.
        """
        for epoch in (*epochs, LATEST):
            path = checkpoint_path(self.folder, epoch)
            save_training(path, self.model, self.options, self.progress)
        self._saved_step = self.progress.step
