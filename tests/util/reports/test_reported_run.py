"""What reports say of their run: the options that somebody chose, as they would type them."""

from __future__ import annotations

from pathlib import Path

from options.face_options import FaceModelOptions
from options.flags import ParsedOptions, as_typed, flag_names, parse_command
from options.public_synergy import PublicDemoOptions
from tests.commands import load_script
from util.reports.reported_run import PLACES, ReportedRun, checkpoint_row

fit, photos = load_script("fit"), load_script("test")


def listed(options: ParsedOptions, **said) -> str:
    return dict(ReportedRun.of("fit.py", options, **said).rows())["Options"]


def test_what_was_given_and_differs_is_listed_as_typed(tmp_path: Path):
    (tmp_path / "mine.yaml").write_text("preset: best\nw_jaw: 0.1\nfaces: largest\n")
    typed = ["--w_photo", "4", "--save", "glb", "texture", "--report", "False", "--seed", "0"]
    places = ["--res_folder", "/home/somebody/fits", "--v_path", "/home/somebody/my talk.mp4"]
    config = ["--config", str(tmp_path / "mine.yaml")]
    options = parse_command(fit.GROUPS, [*config, *typed, *places])
    # What the program settles by itself, nobody gave.
    options = options.with_values(FaceModelOptions, jaw_landmarks="silhouette")
    assert listed(options) == "--preset best --report False --save glb texture --w_photo 4.0"
    assert listed(options, told=("preset", "report")) == "--save glb texture --w_photo 4.0"
    assert listed(parse_command(fit.GROUPS, ["--preset", "balanced"])) == "the defaults"


def test_values_with_spaces_are_quoted():
    assert as_typed({"method_name": "my method", "fast": True}) == (
        "--method_name 'my method' --fast True"
    )


def test_places_are_flags():
    """One that is renamed would be told to strangers."""
    groups = [*photos.GROUPS, *photos.GROUPS_OF_SYNERGY, *fit.GROUPS, PublicDemoOptions]
    assert flag_names(groups) >= PLACES


def test_rows_of_a_network_come_first():
    run = ReportedRun("test.py", {}, checkpoint_row(Path("/home/me/checkpoints/mine/epoch_3.pth")))
    assert [name for name, _ in run.rows()] == [
        *("Checkpoint", "Command", "Options", "Program", "Versions")
    ]
    assert dict(run.rows())["Checkpoint"] == "mine/epoch_3.pth"
