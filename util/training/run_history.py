"""What happened in a training run so far, as its `loss_log.txt` says: losses, epochs, warnings."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

MOST_POINTS = 1500
"""Of a curve; a longer one keeps every second point, then every fourth, and so on."""
MOST_EVENTS = 200
"""Warnings and other lines that are kept: the last ones."""

_LOSSES = re.compile(r"\((train|val), epoch (\d+), step (\d+), lr (\S+)\) (.*)")
_TERM = re.compile(r"(\S+): (\S+)")
_EPOCH = re.compile(r"epoch (\d+) ends at step (\d+) after (\S+) s")
_STEP = re.compile(r"step (\d+)")
_SESSION = re.compile(r"=+ (.+?) =+")


@dataclass(frozen=True)
class LossPoint:
    """Weighted loss terms at one step."""

    step: int
    epoch: int
    rate: float
    losses: Mapping[str, float]


@dataclass(frozen=True)
class EpochEnd:
    """When an epoch ended."""

    epoch: int
    step: int
    seconds: float
    """Trained in all until then, with the parts before a resume."""


class LossCurve:
    """The points of one phase, evenly thinned as they become many; the last one always stays."""

    def __init__(self) -> None:
        self._kept: list[LossPoint] = []
        self._last: LossPoint | None = None
        self._seen, self._stride = 0, 1

    def __iter__(self) -> Iterator[LossPoint]:
        yield from self._kept
        if self._last is not None and (not self._kept or self._last is not self._kept[-1]):
            yield self._last

    @property
    def last(self) -> LossPoint | None:
        """The newest point."""
        return self._last

    def add(self, point: LossPoint) -> None:
        """Take the next point."""
        self._last = point
        if self._seen % self._stride == 0:
            self._kept.append(point)
        self._seen += 1
        if len(self._kept) > MOST_POINTS:
            self._kept, self._stride = self._kept[::2], 2 * self._stride

    def forget_after(self, step: int) -> None:
        """Drop what a resumed run does again."""
        self._kept = [point for point in self._kept if point.step <= step]
        self._seen = len(self._kept) * self._stride
        if self._last is not None and self._last.step > step:
            self._last = self._kept[-1] if self._kept else None


@dataclass
class RunHistory:
    """Grows line by line, as the log does."""

    train: LossCurve = field(default_factory=LossCurve)
    val: LossCurve = field(default_factory=LossCurve)
    best: LossPoint | None = None
    """The validation whose total was the smallest."""
    epochs: list[EpochEnd] = field(default_factory=list)
    events: list[tuple[int, str]] = field(default_factory=list)
    """Step at which, or before which, something was said, and what."""
    event_count: int = 0
    begun: list[str] = field(default_factory=list)
    """When the run began, and when it was resumed."""
    _is_resuming: bool = False

    @property
    def points(self) -> list[LossPoint]:
        """Of training and validation, one for each step; both know the rate of a step."""
        by_step = {point.step: point for curve in (self.val, self.train) for point in curve}
        return [by_step[step] for step in sorted(by_step)]

    @classmethod
    def read(cls, path: Path) -> RunHistory:
        """The history that a log tells; empty where there is none."""
        history = cls()
        try:
            with path.open(encoding="utf-8", errors="replace") as file:
                for line in file:
                    history.take(line.rstrip("\n"))
        except FileNotFoundError:
            pass
        return history

    def take(self, line: str) -> None:
        """Take the next line of the log."""
        if found := _LOSSES.fullmatch(line):
            phase, epoch, step, rate, terms = found.groups()
            point = _point(int(step), int(epoch), rate, terms)
            if point is not None:
                self._add(phase, point)
        elif found := _EPOCH.fullmatch(line):
            self.epochs.append(EpochEnd(int(found[1]), int(found[2]), float(found[3])))
        elif found := _SESSION.fullmatch(line):
            self.begun.append(found[1])
            self._is_resuming = True
        elif line.strip():
            found = _STEP.search(line)
            last = self.train.last.step if self.train.last is not None else 0
            self.events.append((int(found[1]) if found else last, line))
            self.event_count += 1
            del self.events[:-MOST_EVENTS]

    def forget_after(self, step: int) -> None:
        """Drop what a run that is resumed after `step` does again."""
        for curve in (self.train, self.val):
            curve.forget_after(step)
        self.best = min(self.val, key=_total, default=None)
        self.epochs = [end for end in self.epochs if end.step <= step]
        kept = [event for event in self.events if event[0] <= step]
        self.event_count -= len(self.events) - len(kept)
        self.events = kept

    def _add(self, phase: str, point: LossPoint) -> None:
        if self._is_resuming:
            # A log does not say after which step its next part goes on: it comes before this one.
            self.forget_after(point.step - 1)
            self._is_resuming = False
        if phase == "train":
            self.train.add(point)
            return
        self.val.add(point)
        if self.best is None or _total(point) < _total(self.best):
            self.best = point


def _point(step: int, epoch: int, rate: str, terms: str) -> LossPoint | None:
    """A line's numbers; None for a line that was cut off while it was written."""
    try:
        losses = {name: float(value) for name, value in _TERM.findall(terms)}
        return LossPoint(step, epoch, float(rate), losses) if losses else None
    except ValueError:
        return None


def _total(point: LossPoint) -> float:
    return point.losses.get("all", float("inf"))
