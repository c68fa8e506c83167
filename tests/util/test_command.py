"""Exit codes of the commands, seen from outside."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


def run(body: str, encoding: str = "utf-8") -> subprocess.CompletedProcess[str]:
    """A program whose main function has this body."""
    program = (
        f"import sys; sys.path.insert(0, {str(ROOT)!r})\n"
        "from util.command import run_command\n"
        "from util.errors import InputError\n"
        f"def main():\n    {body}\n"
        "run_command(main)\n"
        "print('after')\n"
    )
    return subprocess.run(
        [sys.executable, "-c", program],
        capture_output=True,
        text=True,
        timeout=60,
        encoding="utf-8",
        env={"PYTHONIOENCODING": encoding, "SYSTEMROOT": "C:\\Windows"},
    )


def test_success_is_zero():
    result = run("print('done')")
    assert (result.returncode, result.stdout, result.stderr) == (0, "done\nafter\n", "")


def test_bad_input_is_two_and_one_line():
    result = run("raise InputError('--name is empty; give the run a name')")
    assert result.returncode == 2
    assert result.stderr == "error: --name is empty; give the run a name\n"
    assert "after" not in result.stdout


def test_an_interrupt_is_130():
    result = run("raise KeyboardInterrupt")
    assert result.returncode == 130
    assert "Traceback" not in result.stderr


@pytest.mark.parametrize("error", ["ValueError('defect')", "RuntimeError('defect')"])
def test_a_defect_keeps_its_traceback(error: str):
    result = run(f"raise {error}")
    assert result.returncode == 1
    assert "Traceback" in result.stderr and "defect" in result.stderr


def test_help_is_zero():
    assert run("raise SystemExit(0)").returncode == 0


def test_a_path_that_the_terminal_cannot_show_is_still_reported():
    result = run(r"print('\u011f'); raise InputError('no \u011f.jpg')", encoding="ascii")
    assert result.returncode == 2
    assert "\\u011f" in result.stdout
    assert result.stderr == "error: no \\u011f.jpg\n"


def test_a_folder_that_cannot_be_written_is_one_line(tmp_path: Path):
    blocker = tmp_path / "file"
    blocker.write_text("", encoding="utf-8")
    result = run(f"import pathlib; pathlib.Path({str(blocker / 'x')!r}).mkdir(parents=True)")
    assert result.returncode == 2
    assert result.stderr.startswith("error: cannot write ")
    assert str(blocker) in result.stderr and len(result.stderr.splitlines()) == 1


def test_a_missing_file_of_the_program_keeps_its_traceback():
    result = run("open('nowhere')")
    assert result.returncode == 1 and "FileNotFoundError" in result.stderr
