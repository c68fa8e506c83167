"""The one-command start: arguments, environment and messages; nothing is installed or trained."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

import quickstart


@pytest.fixture
def calls(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """A project folder of its own, and the commands that would have been run in it."""
    found: list[list[str]] = []
    monkeypatch.setattr(quickstart, "ROOT", tmp_path)
    monkeypatch.setattr(quickstart, "ENVIRONMENT", tmp_path / ".venv")
    monkeypatch.setattr(quickstart, "run", lambda *words: found.append([str(w) for w in words]))
    monkeypatch.setattr(quickstart, "has_pip", lambda python: True)
    (tmp_path / "pyproject.toml").write_text("one", encoding="utf-8")

    def create(folder: Path, with_pip: bool) -> None:
        assert with_pip
        found.append(["create", folder.name])
        python = folder / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
        python.parent.mkdir(parents=True, exist_ok=True)
        python.write_bytes(b"")

    monkeypatch.setattr(quickstart.venv, "create", create)
    return found


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--minutes", "0"], "--minutes is 0.0; it must be above 0"),
        (["--minutes", "nan"], "--minutes is nan"),
        (["--minutes", "long"], "--minutes"),
        (["--faces", "99"], "--faces is 99; at least 100"),
        (["-k", "camera"], "unknown arguments: -k camera"),
        # No guesses at what shortened names mean.
        (["--test"], "unknown arguments: --test"),
        (["--min", "3"], "unknown arguments: --min 3"),
    ],
)
def test_bad_arguments_are_named(calls, capsys, arguments: list[str], message: str) -> None:
    with pytest.raises(SystemExit) as ended:
        quickstart.main(arguments)
    assert ended.value.code == 2
    assert message in capsys.readouterr().err
    assert not calls


def test_commands_are_shown_as_one_types_them(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(quickstart, "ROOT", tmp_path)
    python = tmp_path / "bin" / "python"
    shown = quickstart.shown([python, "train.py", "--name", "my run", 8.0])
    assert shown == quickstart.shown(
        [Path("bin") / "python", "train.py", "--name", "my run", "8.0"]
    )
    assert shown.endswith("train.py --name 'my run' 8.0")


def test_the_environment_is_made_once_and_again_when_the_requirements_change(
    calls, tmp_path: Path
) -> None:
    python = quickstart.prepare_environment()
    assert python.is_file()
    install = [str(python), "-m", "pip", "install", "--quiet", f"{tmp_path}[dev,demo,app]"]
    assert calls == [["create", ".venv"], install]
    assert quickstart.prepare_environment() == python
    assert len(calls) == 2
    (tmp_path / "pyproject.toml").write_text("two", encoding="utf-8")
    quickstart.prepare_environment()
    assert calls[2:] == [install]


def test_an_installation_that_failed_is_tried_again(calls, monkeypatch, capsys) -> None:
    def fail(*words: object) -> None:
        raise subprocess.CalledProcessError(7, [str(word) for word in words])

    with monkeypatch.context() as patch:
        patch.setattr(quickstart, "run", fail)
        assert quickstart.main(["--tests"]) == 7
    printed = capsys.readouterr().out
    assert "error: this command failed with exit code 7: " in printed
    assert "-m pip install" in printed
    assert quickstart.main(["--tests"]) == 0
    assert [words[2] for words in calls[1:]] == ["pip", "pytest"]


def test_an_environment_without_pip_is_completed(calls, monkeypatch) -> None:
    quickstart.create_environment()
    monkeypatch.setattr(quickstart, "has_pip", lambda python: False)
    quickstart.prepare_environment()
    assert [words[0] for words in calls].count("create") == 2


def test_pip_is_looked_for_by_running_it(tmp_path: Path) -> None:
    if os.name == "nt":
        pytest.skip("programs that are scripts")
    for answer in (0, 1):
        python = tmp_path / f"python{answer}"
        python.write_text(f"#!/bin/sh\nexit {answer}\n", encoding="utf-8")
        python.chmod(0o755)
        assert quickstart.has_pip(python) == (answer == 0)


@pytest.mark.parametrize("error", [subprocess.CalledProcessError(1, "ensurepip"), ImportError()])
def test_a_python_without_venv_names_the_package(calls, monkeypatch, capsys, error) -> None:
    def fail(folder: Path, with_pip: bool) -> None:
        raise error

    monkeypatch.setattr(quickstart.venv, "create", fail)
    assert quickstart.main([]) == 1
    package = f"python{sys.version_info.major}.{sys.version_info.minor}-venv"
    assert f"sudo apt install {package}" in capsys.readouterr().out
    assert not calls


def test_a_folder_that_cannot_be_written_is_named(calls, monkeypatch, capsys) -> None:
    def fail(folder: Path, with_pip: bool) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(quickstart.venv, "create", fail)
    assert quickstart.main([]) == 1
    printed = capsys.readouterr().out
    assert ".venv cannot be made: [Errno 13] Permission denied" in printed
    assert "apt" not in printed


def test_what_an_interruption_keeps(calls, monkeypatch, capsys) -> None:
    def interrupt(*words: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(quickstart, "run", interrupt)
    assert quickstart.main([]) == 130
    printed = capsys.readouterr().out
    assert "rendered faces" in printed
    assert "training starts anew" in printed


def test_the_demo_goes_from_photos_to_results(calls, tmp_path: Path, capsys) -> None:
    assert quickstart.main(["--minutes", "3", "--faces", "500", "--name", "mine"]) == 0
    scripts = [
        next(w for w in words[1:] if w.endswith(".py") or w == "data.portraits")
        for words in calls[2:]
    ]
    assert scripts == [
        "data.portraits",
        "make_synthetic.py",
        "data_preparation.py",
        "train.py",
        "test.py",
        "fit.py",
    ]
    assert calls[3][-2:] == ["--n", "500"]
    assert calls[5][2:4] == ["--name", "mine"]
    assert calls[5][-2:] == ["--max_minutes", "3.0"]
    results = tmp_path / "checkpoints" / "mine" / "results" / "portraits"
    printed = capsys.readouterr().out
    assert str(results / "epoch_latest_000000") in printed
    assert str(tmp_path / "fits") in printed


def test_arguments_of_pytest_go_with_tests(calls) -> None:
    assert quickstart.main(["--tests", "-k", "camera"]) == 0
    assert calls[-1][1:] == ["-m", "pytest", "-k", "camera"]
