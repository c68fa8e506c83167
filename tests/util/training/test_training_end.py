"""What a training says when it is through: commands that mean this run, and only what is there."""

from __future__ import annotations

import shlex
from pathlib import Path

import pytest

from options import ParsedOptions, parse_command
from options.base_options import BaseOptions, run_folder
from tests.commands import load_script
from util.reports.training_report import TRAINING_REPORT
from util.training.checkpoint_names import resolve_checkpoint
from util.training.training_end import closing_words

train, test = load_script("train"), load_script("test")


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def a_run(*argv: str, holds: tuple[str, ...] = ("epoch_latest.pth",)) -> tuple[Path, ParsedOptions]:
    """Its folder, in which are empty files of these names, and its options."""
    options = parse_command(train.option_groups, argv, "")
    place = run_folder(options)
    place.mkdir(parents=True)
    for name in holds:
        (place / name).touch()
    return place, options


def lines(said: str) -> dict[str, str]:
    """What follows the first word of each line."""
    return dict(line.split(": ", 1) for line in said.splitlines())


@pytest.mark.parametrize(
    ("argv", "expected"),
    [
        ([], "test.py --name face_recon --img_folder"),
        (["--model", "synergy", "--name", "a b"], "test.py --model synergy --name 'a b' --img"),
        (["--checkpoints_dir", "there"], "--name face_recon --checkpoints_dir there --img_folder"),
        (["--checkpoints_dir", "my runs/x"], "--checkpoints_dir 'my runs/x' --img_folder"),
        (["--name", "a", "--suffix", "x"], "--name a_x --img_folder"),
        (["--name", "tries/a"], "--name tries/a --img_folder"),
        (["--name", "it's $HOME"], "--img_folder"),
    ],
)
@pytest.mark.parametrize("best", [False, True])
def test_the_next_command_takes_this_run(argv: list[str], expected: str, best: bool):
    holds = ("epoch_latest.pth", "epoch_best.pth") if best else ("epoch_latest.pth",)
    place, options = a_run(*argv, holds=holds)
    said = closing_words(place, options)
    assert expected.replace(" --img", " --epoch best --img" if best else " --img") in said
    # What is said is a command that test.py takes, and it means this checkpoint.
    words = shlex.split(lines(said)["Next"].replace("FOLDER_OF_PHOTOS", "photos"))
    assert words[:2] == ["python", "test.py"] and words[-1] == "photos"
    tested = parse_command(test.groups, words[2:], "")
    assert run_folder(tested) == place
    found = resolve_checkpoint(run_folder(tested), tested[BaseOptions].epoch)
    assert found == place / ("epoch_best.pth" if best else "epoch_latest.pth")


def test_a_model_that_test_py_does_not_run_has_no_next_command():
    said = lines(closing_words(*a_run("--model", "template", "--dataset_mode", "template")))
    assert "Next" not in said and {"Checkpoint", "TensorBoard"} <= said.keys()


def test_only_what_is_there_is_named():
    place, options = a_run()
    said = lines(closing_words(place, options))
    assert said["Checkpoint"] == str(place / "epoch_latest.pth"), "no best one yet"
    assert said.keys() == {"Checkpoint", "TensorBoard", "Next"}, "no report yet"
    (place / "epoch_best.pth").touch()
    (place / TRAINING_REPORT).touch()
    said = lines(closing_words(place, options))
    assert said["Checkpoint"].endswith(f"of the best validation: {place / 'epoch_best.pth'}")
    assert said["Report, open in a browser"] == str(place / TRAINING_REPORT)


def test_a_report_that_was_not_written_is_not_shown():
    """One of an earlier training may lie there still."""
    place, options = a_run("--report", "False", holds=(TRAINING_REPORT, "epoch_latest.pth"))
    assert TRAINING_REPORT not in closing_words(place, options)


def test_paths_can_be_typed_as_they_stand():
    place, options = a_run("--name", "a (b) & c")
    words = shlex.split(lines(closing_words(place, options))["TensorBoard"])
    assert words == ["tensorboard", "--logdir", str(place / "logs")]
