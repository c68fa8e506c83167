"""The run that a report is of, as rows of what was used: command, options, program."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from options.flags import ParsedOptions, as_typed
from options.record import git_commit
from util.reports.report_parts import versions

PLACES = {
    *("img_folder", "img_path", "files", "v_path", "res_folder", "cache_folder"),
    *("checkpoints_dir", "name", "suffix", "epoch", "bfm_folder", "mm_folder", "uv_folder"),
    *("gpu_ids", "num_cpu_threads", "nworkers", "ngpus", "faces_at_once", "test_batch_size"),
    *("model", "verbose"),
}
"""Flags that say where files lie, or how a machine shares the work: they change no result, and
pages go to people whom somebody's folders do not concern. Networks have rows of their own."""
_FILES = {"landmarks"}
"""Flags whose file tells what the result came from: it is named without its folder."""


def checkpoint_row(path: Path) -> dict[str, str]:
    """What is said of a network's file: its run and its name."""
    return {"Checkpoint": "/".join(path.parts[-2:])}


@dataclass(frozen=True)
class ReportedRun:
    """What all reports of a run say of it."""

    command: str
    """Such as fit.py."""
    flags: Mapping[str, object] = field(default_factory=dict)
    """Those that were given and are unlike their defaults."""
    network: Mapping[str, str] = field(default_factory=dict)
    """What is said of a network, where one predicted the faces."""

    @classmethod
    def of(
        cls,
        command: str,
        options: ParsedOptions,
        *,
        network: Mapping[str, str] | None = None,
        told: Collection[str] = (),
    ) -> ReportedRun:
        """Of a run's options.

        Args:
            command: that runs.
            options: as they were parsed.
            network: rows of the network.
            told: flags that rows of their own tell.
        """
        flags = {
            name: Path(str(value)).name if name in _FILES else value
            for name, (value, _) in options.changed().items()
            if options.given(name) and name not in PLACES and name not in told
        }
        return cls(command, flags, network or {})

    def rows(self) -> Iterator[tuple[str, str]]:
        """Names and values, after those of the face model."""
        yield from self.network.items()
        yield "Command", self.command
        yield "Options", as_typed(self.flags) or "the defaults"
        yield "Program", f"commit {self._commit}"
        yield "Versions", versions()

    @cached_property
    def _commit(self) -> str:
        return git_commit()
