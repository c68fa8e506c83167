"""`doctor.py`: what it says of a bare machine, of missing packages, and of the user's files."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from models.face_model import FaceModelData
from tests.test_test_command import trained  # noqa: F401 - a fixture
from tests.test_train_command import load_script
from util import installation
from util.bfm_conversion import SOURCE_FILES
from util.bfm_file import write_bfm_model
from util.checkpoint import load_checkpoint, save_checkpoint
from util.installation import OPTIONAL, REQUIRED, Package, version_of

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
    assert line_of(shown, "BFM/BFM_model_front.mat").startswith("  missing")
    for source in SOURCE_FILES:
        line = line_of(shown, f"BFM/{source.name}")
        assert line.startswith("  missing") and source.what in line and source.place in line


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


def test_the_users_model_is_read_and_its_sources_checked(capsys: pytest.CaptureFixture[str]):
    """What makes each file right or wrong is held by the tests of `util.bfm_conversion`."""
    Path("BFM").mkdir()
    Path("BFM/BFM_model_front.mat").write_bytes(b"\n<!DOCTYPE html><title>Quota exceeded</title>")
    Path("BFM/std_exp.txt").write_text("0.5 " * 79, encoding="utf-8")
    Path("BFM/Exp_Pca.bin").write_bytes(b"version https://git-lfs.github.com/spec/v1\n")
    doctor.main([*ARGV, "--face_model", "open"])
    shown = lines(capsys)
    model = line_of(shown, "BFM/BFM_model_front.mat")
    assert model.startswith("  wrong") and "web page" in model
    assert line_of(shown, "BFM/std_exp.txt").startswith("  ok")
    expressions = line_of(shown, "BFM/Exp_Pca.bin")
    assert expressions.startswith("  wrong") and "Git LFS" in expressions
    assert "Coarse_Dataset.zip" in expressions
    assert shown[-1].startswith("Works now: data_preparation.py, make_synthetic.py, train.py")


def test_a_converted_model_is_ok(capsys: pytest.CaptureFixture[str], open_face_data: FaceModelData):
    write_bfm_model(Path("BFM/BFM_model_front.mat"), open_face_data)
    doctor.main([*ARGV, "--face_model", "open"])
    assert line_of(lines(capsys), "BFM/BFM_model_front.mat").startswith("  ok")


def test_a_face_model_that_is_not_there(capsys: pytest.CaptureFixture[str]):
    with pytest.raises(SystemExit):
        doctor.main([*ARGV, "--face_model", "nowhere.npz"])
    shown = lines(capsys)
    assert "nowhere.npz" in line_of(shown, "face model")
    assert "Not: make_synthetic.py, train.py, test.py" in shown[-1]
