"""The command itself: exit codes and what it prints."""

import subprocess
import sys
import tarfile
from pathlib import Path

import numpy as np
import pytest

import data_preparation
from data.images import write_image
from util.errors import InputError

ROOT = Path(__file__).resolve().parent.parent


def run(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """As a user runs it, from a folder of his own."""
    return subprocess.run(
        [sys.executable, str(ROOT / "data_preparation.py"), *arguments],
        cwd=folder,
        capture_output=True,
        text=True,
        encoding="utf-8",
        check=False,
    )


def test_prepares_a_folder_and_prints_the_summary(tmp_path, astronaut_head) -> None:
    write_image(tmp_path / "datasets" / "mine" / "a.png", astronaut_head)
    (tmp_path / "datasets" / "mine" / "b.png").write_bytes(b"")
    result = run(tmp_path, "--img_folder", "mine", "--num_workers", "1")
    assert result.returncode == 0, result.stderr
    assert "done 1, skipped 0, failed 1" in result.stdout
    assert "b.png is empty" in result.stdout
    assert (tmp_path / "datalist" / "train" / "masks.txt").read_text(
        encoding="utf-8"
    ) == "datasets/mine/mask/a.png\n"


def test_nothing_usable_is_exit_code_1(tmp_path, monkeypatch, capsys) -> None:
    monkeypatch.chdir(tmp_path)
    write_image(tmp_path / "empty" / "a.png", np.zeros((64, 64, 3), np.uint8))
    with pytest.raises(SystemExit) as ended:
        data_preparation.main(["--img_folder", "empty", "--num_workers", "0"])
    assert ended.value.code == 1
    assert "1 x no face" in capsys.readouterr().out


def test_parts_and_their_merger(tmp_path, monkeypatch, capsys, astronaut_head) -> None:
    """Exit codes as a scheduler sees them: a part is done, a merger is whole or not."""
    monkeypatch.chdir(tmp_path)
    write_image(tmp_path / "mine" / "a.png", astronaut_head)
    (tmp_path / "mine" / "b.png").touch()
    part = ["--img_folder", "mine", "--num_workers", "0", "--mode", "val", "--shard"]
    data_preparation.main([*part, "0/2"])
    with pytest.raises(InputError, match="1 of 2 parts are not prepared"):
        data_preparation.main(["--merge", "--mode", "val", "--tar_folder", "tars"])
    assert not (tmp_path / "tars").exists()
    data_preparation.main([*part, "1/2"])
    merge = ["--merge", "--mode", "val", "--img_folder", "mine"]
    (tmp_path / "mine" / "c.png").touch()
    with pytest.raises(SystemExit) as ended:
        data_preparation.main([*merge, "--tar_folder", "tars"])
    assert ended.value.code == 1
    assert "mine holds 1 photos more" in capsys.readouterr().out
    assert not (tmp_path / "tars").exists()
    (tmp_path / "mine" / "c.png").unlink()
    data_preparation.main([*merge, "--tar_folder", "tars"])
    shown, bars = capsys.readouterr()
    assert "packing: 100%" in bars and "1/1" in bars
    assert "1 x picture, such as: mine/b.png is empty" in shown
    assert "1 photos in 1 tar files" in shown
    with tarfile.open(tmp_path / "tars" / "val" / "faces-000000.tar") as tar:
        assert [name.partition(".")[2] for name in tar.getnames()] == [
            *("png", "landmarks.txt", "mask.png", "json")
        ]
    lists = tmp_path / "datalist" / "val"
    assert (lists / "masks.txt").read_text(encoding="utf-8") == "mine/mask/a.png\n"
    assert "b.png,picture," in (tmp_path / "mine" / "preparation_report.csv").read_text("utf-8")


def test_a_partial_merger_is_what_was_asked_for(tmp_path, monkeypatch, capsys, astronaut_head):
    monkeypatch.chdir(tmp_path)
    write_image(tmp_path / "mine" / "a.png", astronaut_head)  # its name puts it into part 0
    data_preparation.main(["--img_folder", "mine", "--num_workers", "0", "--shard", "0/3"])
    data_preparation.main(["--merge", "--merge_partial"])
    assert "missing: 2 of 3 parts" in capsys.readouterr().out
    masks = tmp_path / "datalist" / "train" / "masks.txt"
    assert masks.read_text(encoding="utf-8") == "mine/mask/a.png\n"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--img_folder", "nowhere"], "--img_folder nowhere does not exist"),
        ([], "--img_folder is missing"),
        (["--img_folder", "a", "--colour", "red"], "--colour"),
        (["--img_folder", "a", "--mode", "demo"], "--mode"),
        (["--img_folder", "a", "--num_workers", "-3"], "--num_workers is -3"),
        (["--img_folder", "a", "--shard", "4/4"], "--shard 4/4: part 4 of 4 does not exist"),
        (["--merge", "--shard", "0/4"], "--shard and --merge"),
        (["--merge_partial"], "--merge_partial says how to --merge"),
        (["--merge"], "holds no finished part"),
    ],
)
def test_bad_input_is_one_line_and_exit_code_2(tmp_path, arguments, message) -> None:
    result = run(tmp_path, *arguments)
    assert result.returncode == 2
    assert result.stderr.startswith("error: ")
    assert message in result.stderr
    assert "Traceback" not in result.stderr
    assert not list(tmp_path.iterdir())


@pytest.fixture
def astronaut_head() -> np.ndarray:
    astronaut = pytest.importorskip("skimage.data").astronaut()
    return np.ascontiguousarray(astronaut[:256, 100:340])


def test_photos_are_fitted_on_request(tmp_path, monkeypatch, capsys, astronaut_head) -> None:
    monkeypatch.chdir(tmp_path)
    write_image(tmp_path / "mine" / "a.png", astronaut_head)
    run = ["--img_folder", "mine", "--num_workers", "0"]
    fit = ["--fit", "--fit_preset", "fast", "--face_model", "open@0"]
    data_preparation.main([*run, *fit])
    shown = capsys.readouterr().out
    assert shown.startswith("Face model: open ") and "fitted 1, doubtful 0" in shown
    assert (tmp_path / "mine" / "coefficients" / "a.json").is_file()
    data_preparation.main([*run, *fit])
    shown = capsys.readouterr().out
    assert "skipped 1" in shown and "fitted 1, doubtful 0" in shown
    # Flags of the face model mean nothing without fitting.
    with pytest.raises(InputError, match=r"unrecognized arguments: .*--face_model"):
        data_preparation.main([*run, "--face_model", "open@0"])


def test_preparing_alone_loads_no_torch() -> None:
    """It takes seconds in each process."""
    code = "import sys, data_preparation; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=False).returncode == 0
