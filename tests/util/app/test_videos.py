"""Videos in a process of their own: what it says, how it fails, and that it ends."""

from __future__ import annotations

import os
import threading
import time
from pathlib import Path

import pytest

from models.face_model import FaceModel
from options.flags import parse_command
from options.groups import APP_GROUPS
from tests.video_files import write_file
from util.app.jobs import Job, JobCancelled, Wish
from util.app.videos import VideoWork
from util.errors import InputError

if os.name != "posix":
    pytest.skip("signals of POSIX", allow_module_level=True)

REPORT = """{"frames": 20, "frames_with_face": 19, "nme_inner": 0.0277, "jitter_px": 1.25,
"jitter_given_px": 3.7, "focal_px": 1015.0, "damage": "", "audio": "the sound is lost"}"""
GOOD = f"""
import sys, pathlib
flags = dict(token[2:].split("=", 1) for token in sys.argv[1:])
for title in ("finding the face", "tracking", "drawing"):
    for percent in (0, 50, 100):
        sys.stderr.write(f"\\r{{title}}: {{percent:3d}}%|###  | 5/10 [00:01<00:01, 9.1frame/s]")
sys.stderr.write("\\n")
out = pathlib.Path(flags["res_folder"])
(out / "video_fit.mp4").write_bytes(b"mp4")
(out / "arguments.txt").write_text(repr(flags))
(out / "video_report.json").write_text('''{REPORT}''')
"""


@pytest.fixture
def work(tmp_path: Path) -> VideoWork:
    argv = ["--gpu_ids", "-1", "--w_jaw", "0.5", "--port", "0", "--face_model", "open"]
    work = VideoWork(parse_command(APP_GROUPS, argv))
    work.program = tmp_path / "program.py"
    work.length_check = ("-c", "")  # uploads are made up
    return work


def job_of(folder: Path) -> Job:
    job = Job(Wish("video", "open@0", "fast"), folder / "job")
    job.results.mkdir(parents=True)
    job.upload = job.folder / "video.mp4"
    return job


def test_bars_become_stages_and_the_report_numbers(
    work: VideoWork, tiny_face_model: FaceModel, tmp_path: Path
):
    work.program.write_text(GOOD, encoding="utf-8")
    job = job_of(tmp_path)
    work(job, tiny_face_model)
    assert [(stage.name, stage.share) for stage in job.stages] == [
        *(("Read the video", 1.0), ("Find the face", 1.0)),
        *(("Follow the face", 1.0), ("Draw the video", 1.0)),
    ]
    assert b'"2.8% of the outer-eye distance"' in job.view and b"the sound is lost" in job.view
    # Flags of the command go on to the process, the app's own and the visitor's choice do not.
    flags = eval((job.results / "arguments.txt").read_text(encoding="utf-8"))
    assert flags == {
        "v_path": str(job.upload),
        "res_folder": str(job.results),
        "face_model": "open@0",
        "preset": "fast",
        "save_mesh": "glb_units",
        "gpu_ids": "-1",
        "w_jaw": "0.5",
    }


@pytest.mark.parametrize(
    ("saved", "passed"),
    [(["glb", "texture"], []), (["none"], []), (["glb", "sadtalker"], ["--save", "sadtalker"])],
)
def test_kinds_of_a_photo_are_not_asked_of_a_video(
    saved: list[str], passed: list[str], tiny_face_model: FaceModel, tmp_path: Path
):
    work = VideoWork(parse_command(APP_GROUPS, ["--save", *saved]))
    tokens = work.command(job_of(tmp_path), tiny_face_model)
    at = tokens.index("--save") if "--save" in tokens else len(tokens)
    assert tokens[at:] == passed


@pytest.mark.parametrize(
    ("minutes", "message"),
    [("0.03", "60 frames and lasts 0.0 minutes.*--video_minutes"), ("1", "")],
)
def test_long_videos_are_refused_before_they_are_fitted(
    tiny_face_model: FaceModel, tmp_path: Path, minutes: str, message: str
):
    """2.4 seconds of 25 frames each."""
    work = VideoWork(parse_command(APP_GROUPS, ["--video_minutes", minutes]))
    work.program = tmp_path / "program.py"
    work.program.write_text(GOOD, encoding="utf-8")
    job = job_of(tmp_path)
    assert job.upload is not None
    write_file(job.upload)
    if message:
        with pytest.raises(InputError, match=message):
            work(job, tiny_face_model)
        assert not list(job.results.iterdir())
    else:
        work(job, tiny_face_model)
        assert job.view


def test_a_fit_that_takes_too_long_is_ended(tiny_face_model: FaceModel, tmp_path: Path):
    work = VideoWork(parse_command(APP_GROUPS, ["--fit_minutes", "0.005"]))
    work.program, work.length_check = tmp_path / "program.py", ("-c", "")
    work.program.write_text("import time; time.sleep(60)", encoding="utf-8")
    began = time.monotonic()
    with pytest.raises(InputError, match=r"more than 0\.005 minutes.*--fit_minutes"):
        work(job_of(tmp_path), tiny_face_model)
    assert time.monotonic() - began < 30


@pytest.mark.parametrize(
    ("program", "message"),
    [
        ("import sys; sys.exit('error: video.mp4: no face in any of its 3 frames')", "no face in"),
        ("import os; os.kill(os.getpid(), 11)", "ended the process .SIGSEGV.; convert it"),
        ("raise KeyError('oops')", "a defect of the program: KeyError: 'oops'"),
        ("import sys; sys.exit(7)", "a defect of the program: exit code 7"),
    ],
)
def test_failures_are_sentences(
    work: VideoWork, tiny_face_model: FaceModel, tmp_path: Path, program: str, message: str
):
    work.program.write_text(program, encoding="utf-8")
    with pytest.raises(InputError, match=message):
        work(job_of(tmp_path), tiny_face_model)


def test_a_video_that_nobody_waits_for_is_ended_with_its_workers(
    work: VideoWork, tiny_face_model: FaceModel, tmp_path: Path
):
    note = tmp_path / "worker"
    work.program.write_text(
        "import subprocess, sys, time\n"
        "worker = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(60)'])\n"
        f"open({str(note)!r}, 'w').write(str(worker.pid))\n"
        "time.sleep(60)\n",
        encoding="utf-8",
    )
    job = job_of(tmp_path)

    def cancel() -> None:
        while not note.is_file() or not note.read_text(encoding="utf-8"):
            time.sleep(0.02)
        job.cancel()

    threading.Thread(target=cancel).start()
    began = time.monotonic()
    with pytest.raises(JobCancelled):
        work(job, tiny_face_model)
    assert time.monotonic() - began < 30
    worker = int(note.read_text(encoding="utf-8"))
    until = time.monotonic() + 60
    while is_alive(worker) and time.monotonic() < until:
        time.sleep(0.05)
    assert not is_alive(worker)


def is_alive(process: int) -> bool:
    """Whether it still runs; one that has ended may wait for somebody to notice."""
    try:
        state = Path(f"/proc/{process}/stat").read_text(encoding="utf-8").rpartition(")")[2]
    except OSError:
        return False
    return state.split()[0] != "Z"
