"""What a run saves of its options: for people, and to be given to --config again."""

from __future__ import annotations

import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest
import yaml

from options import parse_command, record, write_options
from options.base_options import BaseOptions, DisplayOptions, DistributedOptions
from options.train_options import LoaderOptions, TrainOptions

GROUPS = [BaseOptions, DisplayOptions, DistributedOptions, TrainOptions, LoaderOptions]


@dataclass(frozen=True)
class Odd:
    """Values that are easy to lose on the way."""

    folders: tuple[str, ...] = ()
    """Folders."""
    files: tuple[str, ...] = ("a", "b")
    """Files."""
    maybe: int | None = None
    """Perhaps."""
    text: str = "x"
    """Text."""


def test_options_survive_the_round_trip_through_config(tmp_path: Path):
    argv = ["--name", "0012", "--gpu_ids", "-1", "--vis_batch_nums", "3", "--use_ddp", "False"]
    argv += ["--suffix", "a: {model} # é", "--epoch", "20", "--serial_batches"]
    argv += ["--max_minutes", "1e-7", "--pretrained_name", "other run"]
    argv += ["--folders", "a b", "true", "--text", "null"]
    options = parse_command([*GROUPS, Odd], argv)
    write_options(options, tmp_path, "train")
    again = parse_command([*GROUPS, Odd], ["--config", str(tmp_path / "options.yaml")])
    assert again.flat() == options.flat()
    assert again.flat()["eval_batch_nums"] == float("inf")


def test_defaults_survive_too(tmp_path: Path):
    options = parse_command([*GROUPS, Odd], [])
    write_options(options, tmp_path, "train")
    again = parse_command([*GROUPS, Odd], ["--config", str(tmp_path / "options.yaml")])
    assert again.flat() == options.flat()


def test_the_text_lists_every_option_and_the_commit(tmp_path: Path):
    options = parse_command(GROUPS, ["--name", "my run"])
    write_options(options, tmp_path, "train")
    text = (tmp_path / "train_opt.txt").read_text(encoding="utf-8")
    for name, value in options.flat().items():
        assert re.search(rf"^ *{name}: {re.escape(str(value))} *$", text, re.MULTILINE), name
    assert re.search(
        r"^ *git_commit: ([0-9a-f]{40}(\+changes:[0-9a-f]{8})?|unknown)$", text, re.MULTILINE
    )
    assert text.splitlines()[0].startswith("---") and text.splitlines()[-1].startswith("---")


def test_the_yaml_names_the_commit_in_a_comment(tmp_path: Path):
    write_options(parse_command(GROUPS, []), tmp_path, "train")
    text = (tmp_path / "options.yaml").read_text(encoding="utf-8")
    assert text.startswith(f"# git commit {record.git_commit()}\n")
    assert next(iter(yaml.safe_load(text))) == "name"


def test_a_test_run_does_not_replace_the_training_record(tmp_path: Path):
    write_options(parse_command(GROUPS, ["--name", "a"]), tmp_path, "train")
    write_options(parse_command(GROUPS, ["--name", "b"]), tmp_path, "test")
    assert "name: a" in (tmp_path / "options.yaml").read_text(encoding="utf-8")
    assert "name: b" in (tmp_path / "test_options.yaml").read_text(encoding="utf-8")
    assert (tmp_path / "test_opt.txt").is_file() and (tmp_path / "train_opt.txt").is_file()


def test_the_folder_is_made(tmp_path: Path):
    write_options(parse_command(GROUPS, []), tmp_path / "new" / "run", "train")
    assert (tmp_path / "new" / "run" / "options.yaml").is_file()


@pytest.fixture
def copy_in_git(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A repository of its own with the module inside, as in a clone."""
    if shutil.which("git") is None:
        pytest.skip("git is not installed")
    module = tmp_path / "options" / "record.py"
    module.parent.mkdir()
    module.write_text("# first\n", encoding="utf-8")
    monkeypatch.setattr(record, "__file__", str(module))
    # No configuration of the machine's, such as signing or hooks.
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", str(tmp_path / "none"))
    monkeypatch.setenv("GIT_CONFIG_NOSYSTEM", "1")
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    return tmp_path


def git(folder: Path, *arguments: str) -> str:
    identity = ["-c", "user.name=Test", "-c", "user.email=test@example.org"]
    command = ["git", "-C", str(folder), *identity, *arguments]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


def test_the_commit_and_whether_the_tree_was_edited(copy_in_git: Path):
    assert record.git_commit() == "unknown"
    git(copy_in_git, "init", "-q")
    assert record.git_commit() == "unknown"
    git(copy_in_git, "add", ".")
    git(copy_in_git, "commit", "-q", "-m", "first")
    head = git(copy_in_git, "rev-parse", "HEAD")
    assert record.git_commit() == head
    (copy_in_git / "untracked.txt").write_text("results", encoding="utf-8")
    assert record.git_commit() == head
    (copy_in_git / "options" / "record.py").write_text("# edited\n", encoding="utf-8")
    first = record.git_commit()
    assert re.fullmatch(head + r"\+changes:[0-9a-f]{8}", first)


def test_without_git_the_commit_is_unknown(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("PATH", "")
    assert record.git_commit() == "unknown"


def test_changed_options_are_those_of_the_earlier_run(tmp_path: Path):
    names = ("name", "batch_size", "pretrained_name")
    first = parse_command(GROUPS, ["--name", "a", "--epoch", "3"])
    assert record.changed_options(first, tmp_path, "test", names) == {}
    write_options(first, tmp_path, "test")
    assert record.changed_options(first, tmp_path, "test", names) == {}
    second = parse_command(GROUPS, ["--name", "a", "--batch_size", "8", "--epoch", "4"])
    assert record.changed_options(second, tmp_path, "test", names) == {"batch_size": (32, 8)}
    for text in ("a: [", "- 1", "{name: a}"):
        (tmp_path / "test_options.yaml").write_text(text, encoding="utf-8")
        assert record.changed_options(second, tmp_path, "test", names) == {}
