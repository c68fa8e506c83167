"""What visitors ask for, done one after the other in a thread that keeps the fitter warm.

A job takes its place in the line when its upload begins (`open`), waits once it has arrived
(`submit`), and is kept with its files until it is removed or newer ones take its place.
"""

from __future__ import annotations

import secrets
import shutil
import threading
import time
import traceback
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from util.errors import InputError

State = Literal["uploading", "waiting", "running", "choosing", "done", "failed", "cancelled"]
FINISHED = ("choosing", "done", "failed", "cancelled")
HIDDEN_FILES = ("summary.csv", "index.html")
"""What a results folder has for many faces; a visitor has one."""


class LineFull(Exception):
    """No more places; the visitor should come again."""


class JobCancelled(Exception):
    """The visitor does not want it any more."""


@dataclass(frozen=True)
class Wish:
    """What is to be done with an upload."""

    kind: Literal["photo", "video"]
    face_model: str
    """One of those that the server offers."""
    preset: str
    face: int = 0
    """Number of the face that was chosen, 1 for the largest; 0 before anybody has chosen."""


@dataclass
class Stage:
    """A part of a job as the page lists it."""

    name: str
    steps: int = 0
    energy: float | None = None
    """Of a fit, after its last step."""
    share: float | None = None
    """Of the stage that is done, where that is known."""


@dataclass(eq=False)  # what it holds has arrays, which have no one truth value
class Job:
    """One photo or video on its way; its thread writes, requests read."""

    wish: Wish
    folder: Path
    """Its own, removed with it."""
    id: str = field(default_factory=lambda: secrets.token_urlsafe(16))
    state: State = "uploading"
    upload: Path | None = None
    """The file that came, under a name of ours."""
    stages: list[Stage] = field(default_factory=list)
    error: str = ""
    faces: tuple[Mapping[str, Any], ...] = ()
    """Boxes of the faces that were found, in shares of the photo's width and height."""
    found: Any = None
    """What the faces were found as, for another job on the same photo."""
    view: bytes = b""
    """JSON of what there is to see."""
    began: float = field(default_factory=time.monotonic)
    ended: float | None = None
    _cancelled: threading.Event = field(default_factory=threading.Event)

    @property
    def results(self) -> Path:
        """Folder of the files to take."""
        return self.folder / "results"

    def files(self) -> dict[str, Path]:
        """Those files by name; whatever a fit writes is among them."""
        return {
            path.relative_to(self.results).as_posix(): path
            for path in sorted(self.results.rglob("*"))
            if path.is_file() and path.name not in HIDDEN_FILES and not path.is_symlink()
        }

    def stage(self, name: str) -> Stage:
        """Begin a part; or go on with it, if it is the last one.

        Raises:
            JobCancelled: nobody wants it any more.
        """
        self.check()
        if not self.stages or self.stages[-1].name != name:
            self.stages.append(Stage(name))
        return self.stages[-1]

    def check(self) -> None:
        """Raise `JobCancelled` if nobody wants it any more."""
        if self._cancelled.is_set():
            raise JobCancelled

    def cancel(self) -> None:
        """Ask its thread to stop; it does at its next `check`."""
        self._cancelled.set()


class JobLine:
    """The line of jobs and the thread that does them."""

    def __init__(self, folder: Path, waiting: int, kept: int) -> None:
        """An empty line.

        Args:
            folder: of the jobs' own folders.
            waiting: jobs that may wait, those whose upload is still arriving included.
            kept: finished ones that stay.
        """
        self._folder, self._most, self._kept = folder, waiting, kept
        self._jobs: dict[str, Job] = {}
        self._line: deque[Job] = deque()
        self._running: Job | None = None
        self._changed = threading.Condition()
        self._closed = False
        self._thread: threading.Thread | None = None
        self.ready = False
        """Whether the fitter is loaded."""

    def start(
        self,
        prepare: Callable[[], Callable[[Job], None]],
        on_failure: Callable[[BaseException], None] = lambda error: None,
    ) -> None:
        """Begin to work.

        Args:
            prepare: loads, in the thread, what does a job.
            on_failure: told if that cannot be loaded.
        """

        def run() -> None:
            try:
                work = prepare()
            except BaseException as error:
                on_failure(error)
                return
            self.ready = True
            while (job := self._next()) is not None:
                self._do(work, job)

        self._thread = threading.Thread(target=run, name="jobs", daemon=True)
        self._thread.start()

    def open(self, wish: Wish) -> Job:
        """Take a place in the line for an upload that is about to arrive.

        Raises:
            LineFull: there is none.
        """
        with self._changed:
            coming = sum(job.state == "uploading" for job in self._jobs.values())
            if self._closed or coming + len(self._line) >= self._most:
                raise LineFull(
                    f"{self._most} photos or videos are waiting already; try again in a moment"
                )
            job = Job(wish, Path())
            job.folder = self._folder / job.id
            job.folder.mkdir()
            self._jobs[job.id] = job
        return job

    def submit(self, job: Job) -> None:
        """Its upload is there: let it wait for its turn."""
        with self._changed:
            if job.state != "uploading":  # removed meanwhile
                return
            job.state, job.began = "waiting", time.monotonic()
            self._line.append(job)
            self._changed.notify_all()

    def get(self, job_id: str) -> Job | None:
        """A job by its id."""
        with self._changed:
            return self._jobs.get(job_id)

    def place(self, job: Job) -> int:
        """How many come before a waiting job."""
        with self._changed:
            before = self._line.index(job) if job in self._line else 0
            return before + (self._running is not None)

    def remove(self, job: Job) -> None:
        """Stop a job and forget it with its files."""
        job.cancel()
        with self._changed:
            self._jobs.pop(job.id, None)
            if job in self._line:
                self._line.remove(job)
            if job is self._running:
                return  # its thread still writes there; `_do` removes the folder
            job.state = "cancelled"
        shutil.rmtree(job.folder, ignore_errors=True)

    def close(self, seconds: float = 10) -> None:
        """Stop all, and wait a while for the thread."""
        with self._changed:
            self._closed = True
            self._line.clear()
            for job in self._jobs.values():
                job.cancel()
            self._changed.notify_all()
        if self._thread is not None and self.ready:  # what is being loaded holds no files
            self._thread.join(seconds)

    def _next(self) -> Job | None:
        """Wait for the next job; None when the line is closed."""
        with self._changed:
            while not self._line and not self._closed:
                self._changed.wait()
            if self._closed:
                return None
            job = self._line.popleft()
            job.state, self._running = "running", job
            return job

    def _do(self, work: Callable[[Job], None], job: Job) -> None:
        state: State = "done"
        try:
            job.results.mkdir()
            job.check()
            work(job)
            state = "choosing" if job.faces and not job.view else "done"
        except JobCancelled:
            state = "cancelled"
        except InputError as error:
            state, job.error = "failed", self._in_words(job, str(error))
        except Exception as error:
            traceback.print_exc()
            name = type(error).__name__
            if isinstance(error, OSError):
                job.error = f"the results cannot be written ({error.strerror or name})"
            else:
                job.error = f"a defect of the program ({name}); the terminal shows where"
            state = "failed"
        job.ended = time.monotonic()
        with self._changed:
            self._running = None
            job.state = state
            is_known = job.id in self._jobs
            done = [other for other in self._jobs.values() if other.state in FINISHED]
            old = sorted(done, key=lambda other: other.ended or 0)[: -self._kept]
        if not is_known:
            shutil.rmtree(job.folder, ignore_errors=True)
        for other in old:
            self.remove(other)

    def _in_words(self, job: Job, message: str) -> str:
        """A message without our folders' names."""
        upload = str(job.upload)
        return message.replace(upload, f"the {job.wish.kind}").replace(f"{job.folder}/", "")
