"""`doctor.py`: what it says of a bare machine, of missing packages, and of the user's files."""

from __future__ import annotations

import re
import struct
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.io import savemat

from tests.test_test_command import trained  # noqa: F401 - a fixture
from tests.test_train_command import load_script
from util import installation
from util.checkpoint import load_checkpoint, save_checkpoint
from util.diagnosis import user_files
from util.errors import InputError
from util.installation import OPTIONAL, REQUIRED, Package, version_of
from util.user_files import (
    BFM_FILES,
    EXPRESSION_COMPONENTS,
    EXPRESSION_VERTICES,
    UserFile,
    check_mat,
)

ROOT = Path(__file__).resolve().parents[1]
doctor = load_script("doctor")
ARGV = ["--gpu_ids", "-1", "--num_cpu_threads", "1"]


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.chdir(tmp_path)
    threads = torch.get_num_threads()
    yield tmp_path
    torch.set_num_threads(threads)


def lines(capsys: pytest.CaptureFixture[str]) -> list[str]:
    return capsys.readouterr().out.splitlines()


def line_of(shown: list[str], subject: str) -> str:
    (line,) = [line for line in shown if f" {subject}: " in line]
    return line


def test_a_fresh_clone_works(capsys: pytest.CaptureFixture[str]):
    doctor.main(ARGV)
    shown = lines(capsys)
    assert shown[-1] == (
        "Works now: data_preparation.py, make_synthetic.py, train.py, "
        "test.py (once a run is trained)"
    )
    assert line_of(shown, "torch").split() == ["ok", "torch:", torch.__version__]
    assert "ok       face model: open" in line_of(shown, "face model")
    assert "numba on cpu (--renderer auto)" in line_of(shown, "renderer")
    assert "dlib's recognition network" in line_of(shown, "identity loss")
    assert not any(line.startswith("  wrong") for line in shown)
    for file in BFM_FILES:
        line = line_of(shown, f"BFM/{file.name}")
        assert line.startswith("  missing") and file.what in line and file.publisher in line


def test_what_fails_is_named_and_the_rest_goes_on(capsys: pytest.CaptureFixture[str]):
    Path("weights.pth").write_bytes(b"<!DOCTYPE html>")
    argv = ["--net_recog_path", "weights.pth", "--net_recon", "resnet18"]
    with pytest.raises(SystemExit) as stopped:
        doctor.main([*ARGV, *argv])
    assert stopped.value.code == 1
    shown = lines(capsys)
    assert "weights.pth: damaged" in line_of(shown, "recognition net")
    assert "ok" in line_of(shown, "renderer")
    assert shown[-1].startswith("Works now: data_preparation.py, make_synthetic.py, test.py")
    assert "Not: train.py" in shown[-1]


def test_missing_packages_end_it_early(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    nothing = Package("no-such-distribution", "no_such_module")
    monkeypatch.setattr(installation, "REQUIRED", (*REQUIRED, nothing))
    with pytest.raises(SystemExit) as stopped:
        doctor.main(ARGV)
    assert stopped.value.code == 1
    shown = lines(capsys)
    assert line_of(shown, "no-such-distribution").startswith("  wrong")
    assert shown[-1].startswith("Works now: nothing") and "pip install ." in shown[-1]


def test_no_place_to_write(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    def refuse(**_: object) -> None:
        raise OSError(30, "Read-only file system")

    monkeypatch.setattr("tempfile.TemporaryFile", refuse)
    with pytest.raises(SystemExit):
        doctor.main(ARGV)
    shown = lines(capsys)
    assert "cannot be written: Read-only file system" in line_of(shown, "output")
    assert shown[-1].startswith("Works now: nothing. Not: ")


def test_runs_are_read(
    trained: Path,  # noqa: F811
    capsys: pytest.CaptureFixture[str],
):
    broken = Path("checkpoints/broken/epoch_3.pth")
    broken.parent.mkdir()
    broken.write_bytes(b"not a checkpoint")
    checkpoint = load_checkpoint(trained)
    checkpoint["card"]["face_model"] |= {"name": "other", "fingerprint": "0" * 16}
    save_checkpoint("checkpoints/other/epoch_latest.pth", checkpoint)
    doctor.main(ARGV)
    shown = lines(capsys)
    assert line_of(shown, "checkpoints/faces") == (
        "  ok       checkpoints/faces: epoch 20: resnet18 for open"
    )
    assert line_of(shown, "checkpoints/broken").startswith("  wrong")
    assert "but the face model is open" in line_of(shown, "checkpoints/other")
    assert shown[-1].endswith("train.py, test.py")


def test_the_packages_are_those_of_pyproject():
    text = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    (block,) = re.findall(r"^dependencies = \[\n(.*?)^\]", text, re.M | re.S)
    names = re.findall(r'^  "([\w-]+)', block, re.M)
    assert names == [package.distribution for package in REQUIRED]
    extras = dict(re.findall(r"^(\w+) = \[(.*?)\]", text.split("optional-dependencies]")[1], re.M))
    for package in OPTIONAL:
        (extra,) = re.findall(r"pip install \.\[(\w+)\]", package.purpose)
        assert package.distribution in extras[extra]


def test_a_package_that_came_another_way_is_there():
    assert version_of(Package("no-such-distribution", "json")) == "version unknown"
    assert version_of(Package("no-such-distribution", "no_such_module")) is None


def bfm_file(name: str) -> UserFile:
    (file,) = [file for file in BFM_FILES if file.name == name]
    return file


def verdict(folder: Path, name: str) -> tuple[str, str]:
    (finding,) = user_files(folder, (bfm_file(name),))
    return finding.state, finding.detail


def converted(vertices: int = 30) -> dict[str, np.ndarray]:
    """BFM_model_front.mat, small."""
    return {
        "meanshape": np.zeros((1, 3 * vertices), np.float32),
        "meantex": np.zeros((1, 3 * vertices), np.float32),
        "idBase": np.zeros((3 * vertices, 80), np.float32),
        "exBase": np.zeros((3 * vertices, 64), np.float32),
        "texBase": np.zeros((3 * vertices, 80), np.float32),
        "tri": np.ones((50, 3), np.int32),
        "point_buf": np.ones((vertices, 8), np.int32),
        "tri_mask2": np.ones((40, 3), np.int32),
        "keypoints": np.ones((1, 68), np.int32),
        "skinmask": np.ones((1, vertices), np.uint8),
    }


def test_right_files_are_recognised(tmp_path: Path):
    savemat(tmp_path / "BFM_model_front.mat", converted())
    assert verdict(tmp_path, "BFM_model_front.mat") == ("ok", "30 vertices, 50 triangles")
    with (tmp_path / "Exp_Pca.bin").open("wb") as file:
        file.write(struct.pack("<i", EXPRESSION_COMPONENTS))
        file.truncate(4 + 12 * EXPRESSION_VERTICES * (1 + EXPRESSION_COMPONENTS))
    assert verdict(tmp_path, "Exp_Pca.bin")[0] == "ok"
    (tmp_path / "std_exp.txt").write_text("0.5 " * 79, encoding="utf-8")
    assert verdict(tmp_path, "std_exp.txt") == ("ok", "79 numbers")
    savemat(tmp_path / "BFM_front_idx.mat", {"idx": np.ones((9, 1))})
    assert verdict(tmp_path, "BFM_front_idx.mat") == ("ok", "idx 9 x 1")


WEB_PAGE = b"\n<!DOCTYPE html><html><title>Quota exceeded</title></html>"


@pytest.mark.parametrize(
    ("name", "content", "named"),
    [
        ("Exp_Pca.bin", struct.pack("<i", 79) + bytes(1000), "cut short: 1,004 bytes"),
        ("Exp_Pca.bin", WEB_PAGE, "is a web page"),
        ("Exp_Pca.bin", b"", "is empty"),
        ("Exp_Pca.bin", struct.pack("<i", 29) + bytes(9), "does not begin with 79"),
        ("01_MorphableModel.mat", WEB_PAGE, "is a web page"),
        ("01_MorphableModel.mat", b"\x89HDF\r\n\x1a\n" + bytes(99), "2017 and 2019"),
        ("01_MorphableModel.mat", b"version https://git-lfs.github.com/spec/v1\n", "Git LFS"),
        ("01_MorphableModel.mat", b"", "is empty"),
        ("01_MorphableModel.mat", b"MATLAB" + bytes(200), "not a MATLAB file"),
        ("std_exp.txt", b"0.5 0.25", "holds 2 numbers, expected 79"),
        ("std_exp.txt", b"0.5 x", "no list of numbers"),
        ("std_exp.txt", b"\xff\xfe\x00", "no list of numbers"),
    ],
)
def test_other_files_are_named(tmp_path: Path, name: str, content: bytes, named: str):
    (tmp_path / name).write_bytes(content)
    state, detail = verdict(tmp_path, name)
    assert state == "wrong" and named in detail
    assert bfm_file(name).publisher in detail


def test_other_matlab_files_are_named(tmp_path: Path):
    savemat(tmp_path / "01_MorphableModel.mat", {"shapePC": np.zeros((30, 19))})
    assert (
        "shapePC is 30 x 19, expected 160470 x 199" in verdict(tmp_path, "01_MorphableModel.mat")[1]
    )
    savemat(tmp_path / "BFM_exp_idx.mat", {"idx": np.zeros((3, 1))})
    assert "lacks the array trimIndex (it holds idx)" in verdict(tmp_path, "BFM_exp_idx.mat")[1]
    mixed = converted() | {"texBase": np.zeros((60, 80), np.float32)}
    savemat(tmp_path / "BFM_model_front.mat", mixed)
    assert "different numbers of vertices" in verdict(tmp_path, "BFM_model_front.mat")[1]
    with pytest.raises(InputError, match="lacks the array b"):
        check_mat(tmp_path / "BFM_exp_idx.mat", {"b": (None,)})


def test_a_face_model_that_is_not_there(capsys: pytest.CaptureFixture[str]):
    with pytest.raises(SystemExit):
        doctor.main([*ARGV, "--face_model", "nowhere.npz"])
    shown = lines(capsys)
    assert "nowhere.npz" in line_of(shown, "face model")
    assert "Not: make_synthetic.py, train.py, test.py" in shown[-1]
