"""Fit visitors' videos by `fit.py`, in a process of its own.

A decoder that a hostile file brings down takes no server with it, and a job that nobody waits for
can be ended at once.
"""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import IO

from models.face_model import FaceModel
from options.app_options import AppOptions
from options.flags import ParsedOptions, flag_tokens
from util.app.jobs import Job, Stage
from util.errors import InputError
from util.outputs import OUTPUTS
from util.outputs.talking_heads import TalkingHead

ROOT = Path(__file__).resolve().parents[2]
_BAR = re.compile(r"^([a-z ]+):\s+(\d+)%\|")
"""A progress bar of `fit.py`: what is done, and how much of it in per cent."""
_TITLES = {
    "finding the face": "Find the face",
    "tracking": "Follow the face",
    "drawing": "Draw the video",
}
_REPORTED = {
    "frames": ("Frames", "{:.0f}"),
    "frames_with_face": ("With a face", "{:.0f}"),
    "nme_inner": ("Inner landmarks off by", "{:.1%} of the outer-eye distance"),
    "jitter_px": ("Jitter", "{:.2f} px"),
    "jitter_given_px": ("Jitter of the landmarks found", "{:.2f} px"),
    "focal_px": ("Focal length of the crops", "{:.0f} px"),
}
"""Numbers of `<stem>_report.json` that the page shows."""


class VideoWork:
    """Does the jobs of videos."""

    program = ROOT / "fit.py"
    length_check: Sequence[str] = ("-m", "util.app.video_length")
    """Python's arguments before a file and the most minutes."""

    def __init__(self, options: ParsedOptions) -> None:
        """Take over what the command was given."""
        own = vars(options[AppOptions])
        self._minutes = options[AppOptions].video_minutes
        self._fit_minutes = options[AppOptions].fit_minutes
        given = {n: v for n, v in options.flat().items() if n not in own and options.given(n)}
        given.pop("face_model", None)
        # `fit.py` refuses kinds of a photo; here they are meant for the other tab.
        kinds = [name for name in given.pop("save", ()) if _is_of_videos(name)]
        if kinds:
            given["save"] = tuple(kinds)
        self._flags = [token for name, value in given.items() for token in flag_tokens(name, value)]

    def command(self, job: Job, face_model: FaceModel) -> list[str]:
        """The command line that does a job."""
        wish, mesh = job.wish, "glb_units" if face_model.unit_names else "glb"
        flags = {
            "v_path": job.upload,
            "res_folder": job.results,
            "face_model": wish.face_model,
            "preset": wish.preset,
            "save_mesh": "none" if face_model.skeleton is not None else mesh,
        }
        tokens = [token for name, value in flags.items() for token in flag_tokens(name, value)]
        return [sys.executable, str(self.program), *tokens, *self._flags]

    def __call__(self, job: Job, face_model: FaceModel) -> None:
        """Fit a video.

        Args:
            job: with the upload.
            face_model: that the wish names.

        Raises:
            InputError: it is too long or takes too long, what `fit.py` says is wrong, or that ended
                without a word.
            JobCancelled: nobody waits any more.
        """
        assert job.upload is not None
        job.stage("Read the video")
        check = [sys.executable, *self.length_check, str(job.upload), str(self._minutes)]
        until = time.monotonic() + 60 * self._fit_minutes
        for command in (check, self.command(job, face_model)):
            self._run(job, command, until)
        shown = {"numbers": _numbers(job.results), "video": f"{job.upload.stem}_fit.mp4"}
        job.view = json.dumps(shown).encode()

    def _run(self, job: Job, command: Sequence[str], until: float) -> None:
        """Run a command until it ends, its time is over, or nobody waits any more."""
        paths = [str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]
        process = subprocess.Popen(
            command,
            cwd=Path.cwd(),
            env=os.environ | {"PYTHONPATH": os.pathsep.join(paths)},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            start_new_session=os.name == "posix",
        )
        assert process.stderr is not None
        last_lines: deque[str] = deque(maxlen=20)
        reader = threading.Thread(target=self._follow, args=(process.stderr, job, last_lines))
        reader.start()
        try:
            while process.poll() is None:
                job.check()
                if time.monotonic() > until:
                    raise InputError(
                        f"the fit takes more than {self._fit_minutes:g} minutes and was ended: cut "
                        "the video, take the preset fast, or let whoever runs the app give "
                        "--fit_minutes"
                    )
                try:
                    process.wait(0.1)
                except subprocess.TimeoutExpired:
                    continue
        finally:
            _end(process)
            reader.join()
            process.stderr.close()
        if process.returncode != 0:
            raise InputError(_reason(last_lines, process.returncode))

    def _follow(self, stream: IO[bytes], job: Job, last_lines: deque[str]) -> None:
        """Read what the process says until it ends."""
        for line in _lines(stream):
            bar = _BAR.match(line)
            if bar is None:
                last_lines.append(line)
                continue
            title = _TITLES.get(bar[1], bar[1].capitalize())
            if job.stages[-1].name != title:
                job.stages[-1].share = 1.0
                job.stages.append(Stage(title))
            job.stages[-1].share = int(bar[2]) / 100


def _is_of_videos(kind: str) -> bool:
    """Whether a kind of `--save` is written of videos too."""
    return kind in OUTPUTS and issubclass(OUTPUTS[kind], TalkingHead)


def _lines(stream: IO[bytes]) -> Iterable[str]:
    """Lines, of which progress bars end with a carriage return."""
    rest = b""
    while chunk := stream.read1(4096):  # pyright: ignore[reportAttributeAccessIssue]
        *lines, rest = re.split(rb"[\r\n]+", rest + chunk)
        yield from (line.decode("utf-8", "replace").strip() for line in lines if line.strip())
    if rest.strip():
        yield rest.decode("utf-8", "replace").strip()


def _reason(last_lines: Iterable[str], code: int) -> str:
    """What a failed run said; defects keep their last line only."""
    said = [line for line in last_lines if not line.startswith("Face model:")]
    errors = [line.removeprefix("error: ") for line in said if line.startswith("error: ")]
    if errors:
        return errors[-1]
    if code < 0:
        return f"reading the video ended the process ({signal.Signals(-code).name}); convert it"
    return f"a defect of the program: {said[-1] if said else f'exit code {code}'}"


def _numbers(results: Path) -> list[tuple[str, str]]:
    """Rows of the page's table."""
    (path,) = results.glob("*_report.json")
    report = json.loads(path.read_text(encoding="utf-8"))
    rows = [(label, form.format(report[key])) for key, (label, form) in _REPORTED.items()]
    return rows + [("Note", report[key]) for key in ("clock", "damage", "audio") if report.get(key)]


def _end(process: subprocess.Popen[bytes]) -> None:
    """End a process with those that it has started, if it still runs."""
    if process.poll() is not None:
        return
    for stop in ("SIGTERM", "SIGKILL"):
        if os.name == "posix":
            os.killpg(process.pid, getattr(signal, stop))
        else:
            process.kill()
        try:
            process.wait(5)
            return
        except subprocess.TimeoutExpired:
            continue
