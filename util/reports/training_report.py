"""A training run as a page that opens by double click: `report.html` in its folder.

Written anew at every validation and at the end, from what the run logs anyway: curves and warnings
of `loss_log.txt`, the pictures that `util/training/run_pictures.py` keeps, and the options.
"""

from __future__ import annotations

import platform
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Literal

import torch

from options.flags import ParsedOptions
from options.record import git_commit
from util.atomic import write_text
from util.reports.report_parts import (
    escaped,
    file_items,
    fill,
    head,
    jpeg_uri,
    part,
    script,
    script_json,
    table_rows,
    versions,
    warning_card,
)
from util.training.run_history import LossCurve, RunHistory
from util.training.run_pictures import RunPictures
from util.training.training_state import Progress

TRAINING_REPORT = "report.html"
PICTURE_BYTES = 2_000_000
"""Of all pictures in a page; base64 adds a third."""
MOST_SHARE = 0.03
"""Of the time that a training may spend on its report: validations that follow one another fast do
not each write one."""
State = Literal["running", "finished", "stopped"]

_TERMS = {
    "all": "Total",
    "feat": "Identity (feat)",
    "color": "Colours (color)",
    "lm": "Landmarks (lm)",
    "reg": "Coefficients (reg)",
    "gamma": "Light (gamma)",
    "reflc": "Even albedo (reflc)",
    "t_shape": "True shape (t_shape)",
    "t_pose": "True pose (t_pose)",
    "t_px": "True points (t_px)",
    "t_albedo": "True albedo (t_albedo)",
    "t_light": "True light (t_light)",
    "t_coeff": "True coefficients (t_coeff)",
    "keypoints": "Keypoints on the way (keypoints)",
    "coarse": "Regressed landmarks (coarse)",
    "refined": "Refined landmarks (refined)",
    "param": "Parameters (param)",
    "reverse": "Parameters from landmarks (reverse)",
    "consistency": "Agreement of both (consistency)",
}
"""Titles of terms; others go by their names."""
_ORDERS = ("name", "overwrite", "continue_train")
"""Options that say nothing about what was trained."""
_FILES = {
    "loss_log.txt": "all losses as text",
    "train_opt.txt": "all options",
    "options.yaml": "the same, for --config",
    "epoch_latest.pth": "the network",
    "epoch_best.pth": "the best epoch's",
    "pictures": "all that are kept",
}
_SMOOTHED_FROM = 60
"""Points of a training curve from which on it is smoothed at first."""


class TrainingReport:
    """Writes the page of one run."""

    def __init__(self, folder: Path, options: ParsedOptions, history: RunHistory) -> None:
        """Take what is shown.

        Args:
            folder: of the run.
            options: of the run.
            history: of the run, which grows as it goes on.
        """
        self._folder, self._options, self._history = folder, options, history
        self._pictures = RunPictures(folder)
        self._commit = git_commit()
        self._free_at = 0.0

    def write(
        self,
        progress: Progress,
        last_epoch: int,
        share_done: float,
        state: State = "running",
        reason: str = "",
    ) -> bool:
        """Write `report.html`, unless the run goes on and the last one was just written.

        Args:
            progress: where the run stands.
            last_epoch: that it goes to.
            share_done: of the training, in [0, 1].
            state: of the run.
            reason: why it was stopped.

        Returns:
            Whether it was written.

        Raises:
            OSError: no space, no permission.
        """
        began = time.monotonic()
        if state == "running" and began < self._free_at:
            return False
        page = self.page(progress, last_epoch, share_done, state, reason)
        write_text(self._folder / TRAINING_REPORT, page)
        now = time.monotonic()
        self._free_at = now + (now - began) / MOST_SHARE
        return True

    def page(
        self,
        progress: Progress,
        last_epoch: int,
        share_done: float,
        state: State = "running",
        reason: str = "",
    ) -> str:
        """The page as text; arguments as those of `write`."""
        flat, history = self._options.flat(), self._history
        phase, pictures = self._chosen_pictures()
        named = "validation" if phase == "val" else "training"
        written = time.strftime("%Y-%m-%d %H:%M")
        model = f" of the model {flat['model']}" if "model" in flat else ""
        subtitle = f"Training{model} on the data set {flat['dataset_mode']}, as of {written}"
        smooth = 0.8 if len(list(history.train)) >= _SMOOTHED_FROM else 0
        hidden = " hidden"
        return fill(
            {
                "title": escaped(self._folder.name),
                "subtitle": escaped(subtitle),
                "head": head(self._folder.name),
                "state": state,
                "tiles": "".join(
                    f"<div><dt>{escaped(name)}</dt><dd>{escaped(value)}"
                    f"<small>{escaped(more)}</small></dd></div>"
                    for name, value, more in self._tiles(progress, last_epoch, share_done)
                ),
                "warnings": warning_card(self._warnings(reason)),
                "smooth": str(smooth),
                "no_pictures": "" if pictures else hidden,
                "pictures_title": f"Faces of the {named}",
                "changed": table_rows(self._changed()),
                "no_events": "" if history.events else hidden,
                "events": "".join(f"<li>{escaped(text)}</li>" for _, text in history.events[::-1]),
                "used": table_rows(self._used()),
                "files": file_items(
                    {n: what for n, what in _FILES.items() if (self._folder / n).exists()}
                ),
                "data": script_json(self._folder.name, self._data(named, pictures)),
                "common": script(part("common.js")),
                "charts": script(part("charts.js")),
                "script": script(part("training.js")),
            },
            "training.html",
        )

    def _data(self, phase: str, pictures: Mapping[int, bytes]) -> dict[str, Any]:
        """What training.js reads."""
        history = self._history
        every = [*history.train, *history.val]
        names = dict.fromkeys(name for point in every for name in point.losses)
        points = history.points
        epoch_of = {point.step: point.epoch for point in history.val}
        minutes, before = [], 0.0
        for end in history.epochs:
            minutes.append(float(f"{(end.seconds - before) / 60:.4g}"))
            before = end.seconds
        return {
            "terms": {name: _TERMS.get(name, name) for name in names},
            "train": _columns(history.train),
            "val": _columns(history.val),
            "steps": [point.step for point in points],
            "epochs": [point.epoch for point in points],
            "rates": [point.rate for point in points],
            "epoch_numbers": [end.epoch for end in history.epochs],
            "epoch_minutes": minutes,
            "phase": phase,
            "pictures": [
                {"step": step, "epoch": epoch_of.get(step), "source": jpeg_uri(content)}
                for step, content in pictures.items()
            ],
        }

    def _chosen_pictures(self) -> tuple[str, dict[int, bytes]]:
        """Those of the validation, or of the training where there are none, at most so many bytes.

        Returns:
            The phase; step -> JPEG file.
        """
        phase = "val"
        paths = self._pictures.of(phase)
        if not paths:
            phase = "train"
            paths = self._pictures.of(phase)
        found = {step: path.read_bytes() for step, path in paths.items()}
        while len(found) > 1 and sum(map(len, found.values())) > PICTURE_BYTES:
            steps = list(found)
            # From the newest on, so that it stays.
            found = {step: found[step] for step in sorted(steps[::-1][::2])}
        return phase, found

    def _tiles(
        self, progress: Progress, last_epoch: int, share_done: float
    ) -> Iterator[tuple[str, str, str]]:
        """Name, value, and a word on it."""
        history, seconds = self._history, progress.seconds
        timed = self._options.flat()["max_minutes"] > 0
        done = progress.epoch - 1 + bool(progress.batches)
        yield "Epoch", str(max(done, 1)), "by the clock" if timed else f"of {last_epoch}"
        yield "Step", str(progress.step), f"{100 * share_done:.0f} % of the training"
        if history.train.last is not None:
            total = history.train.last.losses.get("all", float("nan"))
            yield "Training loss", f"{total:.4g}", f"at step {history.train.last.step}"
        if history.best is not None:
            total = history.best.losses.get("all", float("nan"))
            yield "Best validation", f"{total:.4g}", f"total, epoch {history.best.epoch}"
        left = seconds / share_done * (1 - share_done) if share_done > 0 else 0.0
        yield "Time trained", duration(seconds), f"about {duration(left)} left" if left else ""

    def _warnings(self, reason: str) -> Iterator[str]:
        if reason:
            yield f"Stopped: {reason}"
        found = [text for _, text in self._history.events if text.startswith("warning: ")]
        skipped = [text for _, text in self._history.events if "loss not finite" in text]
        yield from (text.removeprefix("warning: ") for text in found[-3:])
        if skipped:
            yield f"{len(skipped)} steps had no finite loss and were skipped"

    def _changed(self) -> Iterator[tuple[str, str]]:
        for name, (value, default) in self._options.changed().items():
            if name in _ORDERS:
                continue
            yield f"--{name}", f"{_said(value)} (default {_said(default)})"

    def _used(self) -> Iterator[tuple[str, str]]:
        history = self._history
        if history.begun:
            yield "Begun", history.begun[0]
        if len(history.begun) > 1:
            yield "Resumed", ", ".join(history.begun[1:])
        yield "Program", f"commit {self._commit}"
        yield "Versions", versions()
        machine = platform.platform()
        if torch.cuda.is_available():
            machine += f", {torch.cuda.get_device_name()}"
        yield "Machine", machine


def _columns(curve: LossCurve) -> dict[str, Any]:
    """Points as lists, which a page reads faster; a term that a point lacks is None there."""
    points = list(curve)
    names = dict.fromkeys(name for point in points for name in point.losses)
    return {
        "steps": [point.step for point in points],
        "losses": {name: [_short(point.losses.get(name)) for point in points] for name in names},
    }


def _short(value: float | None) -> float | None:
    """A number of few digits; None for what no curve can show."""
    return None if value is None or value - value != 0 else float(f"{value:.4g}")


def _said(value: Any) -> str:
    if isinstance(value, (tuple, list)):
        return " ".join(map(str, value)) or "none"
    return "none" if value in (None, "") else str(value)


def duration(seconds: float) -> str:
    """Such as 45 s, 12 min, 3 h 20 min."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    if minutes < 90:
        return f"{minutes} min"
    return f"{minutes // 60} h {minutes % 60} min"
