"""What a disk or the system may do to a training: full, read-only, out of memory."""

from __future__ import annotations

import errno
import io
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from data.loader import loader_deaths_named
from util.errors import InputError
from util.training import checkpoint as checkpoint_module
from util.training.checkpoint import load_checkpoint, save_checkpoint

ROOT = Path(__file__).resolve().parents[1]
TEMPLATE = ["--model", "template", "--dataset_mode", "template", "--disc_size_px", "16"]
RUN = ["--gpu_ids", "-1", "--num_cpu_threads", "1", "--num_discs", "8", "--batch_size", "4"]
COMMAND = [sys.executable, str(ROOT / "train.py"), *TEMPLATE, *RUN, "--add_image", "False"]


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 200 kB; only where mounting is allowed."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = shutil.which("mount")
    command = [mount or "mount", "-t", "tmpfs", "-o", "size=200k", "tmpfs", str(folder)]
    if mount is None or subprocess.run(command, capture_output=True, check=False).returncode != 0:
        pytest.skip("no file system may be mounted here")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


def state(numbers: int) -> dict[str, dict[str, torch.Tensor]]:
    return {"net_a": {"w": torch.full((numbers,), 2.0)}}


def test_a_full_disk_leaves_the_checkpoint_before(small_disk: Path):
    path = small_disk / "epoch_latest.pth"
    save_checkpoint(path, state(1000))
    with pytest.raises(
        InputError,
        match=r"epoch_latest\.pth cannot be written: No space left on device; it needs 0\.4 MB, "
        r".*disk has 0\.\d MB free\. The earlier file.*intact.*--continue_train",
    ):
        save_checkpoint(path, state(100_000))
    assert torch.equal(load_checkpoint(path, ("net_a",))["net_a"]["w"], torch.full((1000,), 2.0))
    assert list(small_disk.iterdir()) == [path]


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EROFS])
def test_a_refused_first_save_is_explained(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
):
    def refuse(*_: object) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(checkpoint_module.torch, "save", refuse)
    with pytest.raises(InputError) as error:
        save_checkpoint(tmp_path / "epoch_1.pth", state(10))
    assert os.strerror(number) in str(error.value) and "start again" in str(error.value)
    assert "intact" not in str(error.value)
    assert list(tmp_path.iterdir()) == []


def test_an_error_of_another_kind_stays_what_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    def fail(*_: object) -> None:
        raise RuntimeError("a defect")

    monkeypatch.setattr(checkpoint_module.torch, "save", fail)
    with pytest.raises(RuntimeError, match="a defect"):
        save_checkpoint(tmp_path / "epoch_1.pth", state(10))


def test_a_disk_that_fills_up_ends_the_training_in_one_line(small_disk: Path):
    # The first checkpoints fit; soon one more of those that are kept does not.
    argv = ["--name", "full", "--checkpoints_dir", str(small_disk), "--num_threads", "0"]
    result = subprocess.run(
        [*COMMAND, *argv, "--n_epochs", "20"], capture_output=True, text=True, timeout=100
    )
    assert result.returncode == 2
    (line,) = [line for line in result.stderr.splitlines() if "error: " in line]
    assert "No space left on device" in line and "Traceback" not in result.stderr
    kept = sorted((small_disk / "full").glob("epoch_*.pth"))
    assert kept
    for path in kept:
        load_checkpoint(path, ("net_colour",))


def test_a_read_only_folder_is_named_before_the_training(tmp_path: Path):
    folder = tmp_path / "checkpoints"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "ro,size=100k", "tmpfs", str(folder)]
    mounted = False
    if os.name != "nt" and os.geteuid() == 0:  # whom permissions do not stop
        if not shutil.which("mount") or subprocess.run(mount, check=False).returncode != 0:
            pytest.skip("no file system may be mounted here")
        mounted = True
    else:
        folder.chmod(0o500)
    try:
        result = subprocess.run(
            [*COMMAND, "--num_threads", "0", "--checkpoints_dir", str(folder)],
            capture_output=True,
            text=True,
            timeout=100,
        )
    finally:
        if mounted:
            subprocess.run(["umount", str(folder)], check=True)
        else:
            folder.chmod(0o700)
    assert result.returncode == 2
    assert f"{folder} cannot be written by this user; give another --chec" in result.stderr
    assert "step" not in result.stderr and "Traceback" not in result.stderr


def command_line(process: str) -> bytes:
    """Empty if it has ended: Python also starts `uname` and the like, once and for a moment."""
    try:
        return Path(f"/proc/{process}/cmdline").read_bytes()
    except OSError:
        return b""


@pytest.mark.skipif(not Path("/proc").is_dir(), reason="looks for processes in /proc")
def test_a_killed_loader_is_explained_and_costs_nothing_saved(tmp_path: Path):
    argv = ["--name", "a", "--num_threads", "1", "--n_epochs", "100000", "--save_latest_freq", "1"]
    process = subprocess.Popen(
        [*COMMAND, *argv, "--print_freq", "1"],
        cwd=tmp_path,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    latest = tmp_path / "checkpoints" / "a" / "epoch_latest.pth"
    end = time.monotonic() + 100
    while not latest.exists():
        assert process.poll() is None and time.monotonic() < end
        time.sleep(0.05)
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text("utf-8").split()
    loaders = [child for child in children if b"train.py" in command_line(child)]
    os.kill(int(loaders[-1]), signal.SIGKILL)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 2
    # A signal that comes while Python starts a process makes it grumble before.
    _, found, message = errors.partition("error: a process that loads images was ended by the")
    assert found and "--continue_train" in message and "Traceback" not in message
    load_checkpoint(latest, ("net_colour",))


def test_a_killed_loader_is_explained_in_the_midst_of_a_save_too():
    class Interrupted(io.BytesIO):
        """Torch's handler of the signal comes while torch writes."""

        def write(self, part: Any) -> int:
            if self.tell() == 0:
                return super().write(part)
            raise RuntimeError("DataLoader worker (pid 1234) is killed by signal: Killed.")

    with pytest.raises(RuntimeError, match="unexpected pos") as written:
        torch.save(state(10), Interrupted())
    told = r"\(DataLoader worker \(pid 1234\) is killed .*Killed\)"
    with pytest.raises(InputError, match=told), loader_deaths_named():
        raise written.value
    with pytest.raises(RuntimeError, match="of another kind"), loader_deaths_named():
        raise RuntimeError("of another kind")
