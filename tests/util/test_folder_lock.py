"""One process at a time; the system lifts the lock of a process that is gone."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from util.folder_lock import LOCK_NAME, FolderLock

HOLD = """
import sys
from pathlib import Path
from util.folder_lock import FolderLock
lock = FolderLock(Path(sys.argv[1]))
print("held", flush=True)
sys.stdin.read()
"""


def test_a_second_one_is_kept_out(tmp_path: Path):
    lock = FolderLock(tmp_path)
    with pytest.raises(BlockingIOError):
        FolderLock(tmp_path)
    lock.release(remove=True)
    lock.release()
    assert not (tmp_path / LOCK_NAME).exists()
    FolderLock(tmp_path).release()
    assert (tmp_path / LOCK_NAME).exists()


def test_a_killed_process_holds_nothing(tmp_path: Path):
    root = Path(__file__).resolve().parents[2]
    with subprocess.Popen(
        [sys.executable, "-c", HOLD, str(tmp_path)],
        cwd=root,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline().strip() == b"held"
        with pytest.raises(BlockingIOError):
            FolderLock(tmp_path)
        process.kill()
        process.wait()
    FolderLock(tmp_path).release()


def test_a_lock_that_is_forgotten_is_lifted(tmp_path: Path):
    lock = FolderLock(tmp_path)
    del lock
    FolderLock(tmp_path).release()
