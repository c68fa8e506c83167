"""Processes of one training start together and end together, for the reason that is shown."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from util.errors import InputError
from util.training.distributed import Place
from util.training.launch import processes_to_start, run_processes

SCRIPT = Path(__file__).with_name("two_processes.py")
ROOT = Path(__file__).resolve().parents[3]


@pytest.mark.parametrize(
    ("task", "code", "shown"),
    [
        ("defect", 1, "ZeroDivisionError: a bug in process 1"),
        ("slow_to_end", 1, "ZeroDivisionError: a bug in process 1"),
        ("bad_input", 2, "error: photo 7.png is bad"),
        ("busy", 1, "ZeroDivisionError: a bug in process 1"),
        pytest.param(
            "killed",
            137,
            "process 1 of 2 was ended by signal 9 (too little memory",
            marks=pytest.mark.skipif(os.name == "nt", reason="no SIGKILL"),
        ),
    ],
)
def test_one_that_ends_takes_the_other_along(
    task: str, code: int, shown: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
):
    with pytest.raises(SystemExit) as ended:
        run_processes([str(SCRIPT), task, str(tmp_path)], 2)
    assert ended.value.code == code
    errors = capfd.readouterr().err
    assert shown in errors
    assert ("Traceback" in errors) == (code == 1)
    if code == 1:
        assert "two_processes.py" in errors and "process 1 of 2 ended with exit code 1" in errors


def start_forever(folder: Path) -> tuple[subprocess.Popen, list[int]]:
    """A launcher in a process of its own, and its two children's ids once they live."""
    program = (
        f"import sys; sys.path.insert(0, {str(ROOT)!r})\n"
        "from util.training.launch import run_processes\n"
        f"run_processes([{str(SCRIPT)!r}, 'forever', {str(folder)!r}], 2)\n"
    )
    launcher = subprocess.Popen([sys.executable, "-c", program], stderr=subprocess.DEVNULL)
    end = time.monotonic() + 100
    while not all((folder / f"pid_{rank}").exists() for rank in range(2)):
        assert launcher.poll() is None and time.monotonic() < end
        time.sleep(0.1)
    time.sleep(0.2)
    return launcher, [int((folder / f"pid_{rank}").read_text("utf-8")) for rank in range(2)]


def alive(pid: int) -> bool:
    """Whether it runs; one that only waits for its parent to notice does not."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text("utf-8").rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state not in "ZX"


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="looks into /proc")
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_without_their_parent_none_goes_on(tmp_path: Path, number: int):
    """Neither a scheduler's polite signal nor the death of the launcher leaves orphans."""
    launcher, children = start_forever(tmp_path)
    assert all(map(alive, children))
    launcher.send_signal(number)
    launcher.wait(timeout=30)
    end = time.monotonic() + 60
    while any(map(alive, children)) and time.monotonic() < end:
        time.sleep(0.1)
    assert not any(map(alive, children))
    if number == signal.SIGTERM:
        assert launcher.returncode == 128 + number


def test_a_port_in_use_is_named():
    store = torch.distributed.TCPStore(  # pyright: ignore[reportPrivateImportUsage]
        "127.0.0.1", 0, is_master=True, wait_for_workers=False
    )
    with pytest.raises(InputError, match=rf"--ddp_port {store.port} cannot be used"):
        run_processes([str(SCRIPT), "messages", "."], 2, store.port)


def with_gpus(monkeypatch: pytest.MonkeyPatch, count: int) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: count > 0)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: count)


@pytest.mark.parametrize(
    ("gpu_ids", "world_size", "use_ddp", "gpus", "count", "said"),
    [
        ("0", 1, True, 4, 1, ""),
        ("0,1", 1, True, 4, 2, ""),
        ("0,1", 2, True, 4, 2, ""),
        ("1,2,3", 2, True, 4, 3, "--world_size 2 has no effect"),
        ("0,1", 2, False, 4, 1, "one process trains on GPU 0"),
        ("-1", 1, True, 4, 1, ""),
        ("-1", 2, True, 4, 2, ""),
        ("-1", 2, False, 0, 1, "one process trains on the CPU"),
        ("0", 2, True, 0, 2, ""),
    ],
)
def test_how_many_processes(
    gpu_ids: str,
    world_size: int,
    use_ddp: bool,
    gpus: int,
    count: int,
    said: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
):
    with_gpus(monkeypatch, gpus)
    assert processes_to_start(gpu_ids, world_size, use_ddp, None) == count
    shown = capsys.readouterr().out
    assert said in shown and bool(said) == bool(shown)


def test_a_member_of_a_group_starts_nothing(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    with_gpus(monkeypatch, 2)
    assert processes_to_start("0,1", 1, True, Place(0, 2)) == 1
    assert processes_to_start("0,1", 2, True, Place(0, 2)) == 1
    assert capsys.readouterr().out == ""
    assert processes_to_start("-1", 4, True, Place(0, 2)) == 1
    assert "--world_size 4 has no effect: the group has 2 processes" in capsys.readouterr().out


def test_missing_gpus_are_found_before_anything_starts(monkeypatch: pytest.MonkeyPatch):
    with_gpus(monkeypatch, 1)
    with pytest.raises(InputError, match=r"--gpu_ids 0,1: this machine has 1 usable GPU"):
        processes_to_start("0,1", 1, True, None)
