"""`doctor.py`: what it says of a bare machine, of missing packages, and of the user's files."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.io import loadmat, savemat

from data import landmark_graph
from models.face_model import FaceModelData
from models.networks.resnet import resnet50
from options.face_options import FaceModelOptions
from options.network_options import RecognitionOptions, ReconstructionNetOptions
from tests.bfm_files import SMALL, write_small_sources
from tests.commands import load_script
from tests.face_files import flame_embedding, write_embedding, write_flame, write_ict
from tests.test_test_command import trained  # noqa: F401 - a fixture
from util import assets, diagnosis, installation
from util.assets import OPEN_FACE_MODEL
from util.errors import InputError
from util.installation import OPTIONAL, REQUIRED, Finding, Package, version_of
from util.model_files.bfm09_folder import SOURCE_FILES
from util.model_files.bfm_conversion import check_source, check_sources, convert_bfm09
from util.model_files.bfm_file import write_bfm_model
from util.model_files.ict_file import check_ict
from util.training.checkpoint import load_checkpoint, save_checkpoint

ROOT = Path(__file__).resolve().parents[1]
doctor = load_script("doctor")
STATE_WIDTH = len("  missing  ")
ARGV = ["--gpu_ids", "-1", "--num_cpu_threads", "1"]


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    forget()
    return tmp_path


def forget() -> None:
    """What a run keeps of the files, which are others in the next one."""
    diagnosis._face_model.cache_clear()


def lines(capsys: pytest.CaptureFixture[str]) -> list[str]:
    return capsys.readouterr().out.splitlines()


def line_of(shown: list[str], subject: str) -> str:
    (line,) = [line for line in shown if line[STATE_WIDTH:].startswith(f"{subject}: ")]
    return line


def test_a_fresh_clone_works(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    monkeypatch.setattr(diagnosis, "version_of", lambda _: "1.0")
    doctor.main(ARGV)
    shown = lines(capsys)
    assert shown[-1] == (
        "Works now: data_preparation.py, make_synthetic.py, train.py, "
        "test.py (once a run is trained), fit.py, animate.py, app.py, "
        "evaluate.py (with the files of a benchmark), export.py (once a run is trained)"
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


def test_what_needs_packages_that_are_not_there_says_so(monkeypatch: pytest.MonkeyPatch):
    """The commands themselves work."""
    monkeypatch.setattr(diagnosis, "version_of", lambda _: None)
    names = ("face model", "output", "renderer", "landmark detector", "identity loss", "R-Net")
    used = [Finding("ok", name, "") for name in names]
    sound, said = diagnosis.what_works({"Would be used": used, "Your runs": []})
    assert sound and "app.py (after pip install .[app])," in said
    onnx = "--format onnx after pip install .[export]"
    assert said.endswith(f"export.py (once a run is trained, {onnx})")
    a_run = [Finding("ok", "checkpoints/faces", "")]
    _, said = diagnosis.what_works({"Would be used": used, "Your runs": a_run})
    assert "test.py, fit.py" in said and said.endswith(f"export.py ({onnx})")
    # A missing detector keeps from it what looks for faces.
    used = [found for found in used if found.subject != "landmark detector"]
    sound, said = diagnosis.what_works({"Would be used": used, "Your runs": a_run})
    assert not sound and "Not: data_preparation.py, test.py, fit.py, app.py" in said


def test_a_missing_gpu_is_said_in_the_line_of_the_device(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    """Other commands print it by itself."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    (found,) = diagnosis.findings(diagnosis.device, doctor.read_options(ARGV[2:]))
    assert found == Finding("ok", "device", "cpu (--gpu_ids 0); no GPU found: computing on the CPU")
    assert capsys.readouterr().out == ""


def test_what_fails_is_named_and_the_rest_goes_on(capsys: pytest.CaptureFixture[str]):
    Path("weights.pth").write_bytes(b"<!DOCTYPE html>")
    argv = ["--net_recog_path", "weights.pth", "--net_recon", "resnet18"]
    with pytest.raises(SystemExit) as stopped:
        doctor.main([*ARGV, *argv])
    assert stopped.value.code == 1
    shown = lines(capsys)
    line = line_of(shown, "recognition net")
    assert "weights.pth: not a PyTorch file but a web page" in line
    assert "  wrong    weights.pth: not a PyTorch file but a web page" in "\n".join(shown)
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


def test_a_bad_flag_is_refused_before_anything_is_printed(capsys: pytest.CaptureFixture[str]):
    with pytest.raises(InputError, match="--face_mode"):
        doctor.main([*ARGV, "--face_mode", "open"])
    assert capsys.readouterr().out == ""


def test_a_package_that_is_there_but_broken_is_named(folder: Path):
    package = folder / "site-packages" / "scipy"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text("raise OSError('libblas.so.3: no such file')\n")
    result = subprocess.run(
        [sys.executable, str(ROOT / "doctor.py"), *ARGV],
        env={**os.environ, "PYTHONPATH": str(package.parent)},
        capture_output=True,
        text=True,
        encoding="utf-8",
        check=False,
    )
    assert (result.returncode, result.stderr) == (1, "")
    shown = result.stdout.splitlines()
    assert shown[-1] == "Works now: nothing, a package cannot be imported"
    (line,) = [line for line in shown if "libblas" in line]
    assert line.startswith("  wrong    scipy: cannot be imported (OSError: ")


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
    save_checkpoint("checkpoints/synergy/epoch_latest.pth", {"net_synergy": {"w": torch.ones(2)}})
    doctor.main(ARGV)
    shown = lines(capsys)
    assert line_of(shown, "checkpoints/faces") == (
        "  ok       checkpoints/faces: epoch 20: resnet18 for open"
    )
    assert line_of(shown, "checkpoints/broken").startswith("  wrong")
    assert line_of(shown, "checkpoints/synergy") == (
        "  ok       checkpoints/synergy: epoch latest: a SynergyNet, for --model synergy"
    )
    assert "but the face model is open" in line_of(shown, "checkpoints/other")
    assert "train.py, test.py, fit.py" in shown[-1] and "once a run" not in shown[-1]


@pytest.mark.parametrize("is_any", [False, True])
def test_a_run_that_is_not_there_is_said(
    is_any: bool, request: pytest.FixtureRequest, capsys: pytest.CaptureFixture[str]
):
    there = "there are no runs in ./checkpoints"
    if is_any:
        request.getfixturevalue("trained")
        there = "the runs of ./checkpoints are faces"
    doctor.main([*ARGV, "--name", "nobody"])
    shown = lines(capsys)
    assert line_of(shown, "checkpoints/nobody") == (
        f"  missing  checkpoints/nobody: no such run (--name nobody); {there}; give another --name "
        "or --checkpoints_dir, or train it with train.py"
    )
    assert "test.py (once checkpoints/nobody is trained)" in shown[-1]


def test_a_checkpoint_that_is_not_there_is_said(
    trained: Path,  # noqa: F811
    capsys: pytest.CaptureFixture[str],
):
    assert trained.is_file()
    doctor.main([*ARGV, "--name", "faces", "--epoch", "99"])
    assert any("epoch_99.pth does not exist" in line for line in lines(capsys))
    doctor.main([*ARGV, "--name", "faces", "--epoch", "20"])
    shown = lines(capsys)
    assert line_of(shown, "checkpoints/faces").startswith("  ok") and "once a" not in shown[-1]


def test_the_packages_are_those_of_pyproject():
    text = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    (block,) = re.findall(r"^dependencies = \[\n(.*?)^\]", text, re.M | re.S)
    names = re.findall(r'^  "([\w-]+)', block, re.M)
    assert names == [package.distribution for package in REQUIRED]
    extras = dict(re.findall(r"^(\w+) = \[(.*?)\]", text.split("optional-dependencies]")[1], re.M))
    for package in OPTIONAL:
        assert package.distribution in extras[package.extra]
        assert package.purpose.endswith(f"; pip install .[{package.extra}]")
        assert package.command == "" or (ROOT / package.command).is_file()
        assert package.command or package.use


def test_a_package_that_came_another_way_is_there():
    assert version_of(Package("no-such-distribution", "json")) == "version unknown"
    assert version_of(Package("no-such-distribution", "no_such_module")) is None


def test_the_users_model_is_read_and_its_sources_checked(capsys: pytest.CaptureFixture[str]):
    """What makes a file right or wrong is held by tests of `util.model_files.bfm_conversion`."""
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


@pytest.fixture
def small_sources(monkeypatch: pytest.MonkeyPatch) -> Path:
    """The files that bfm09 is made of, in sizes that the program takes for the published ones."""
    write_small_sources(Path("BFM"))
    for module, function in (
        (diagnosis, check_source),
        (diagnosis, check_sources),
        (assets, convert_bfm09),
    ):
        monkeypatch.setattr(module, function.__name__, partial(function, sizes=SMALL))
    return Path("BFM")


@pytest.mark.usefixtures("small_sources")
def test_bfm09_is_not_made_while_looking(capsys: pytest.CaptureFixture[str]):
    before = sorted(Path("BFM").iterdir())
    doctor.main(ARGV)
    shown = lines(capsys)
    assert sorted(Path("BFM").iterdir()) == before
    line = line_of(shown, "face model")
    assert line.startswith("  ok") and "bfm09, which is made of the files in BFM" in line
    assert "the first run makes it" in line_of(shown, "BFM/BFM_model_front.mat")
    assert line_of(shown, "BFM/similarity_Lm3D_all.mat").startswith("  ok")

    (Path("BFM") / "std_exp.txt").write_text("0.5 " * 3, encoding="utf-8")
    forget()
    with pytest.raises(SystemExit):
        doctor.main(ARGV)
    shown = lines(capsys)
    line = line_of(shown, "face model")
    assert line.startswith("  wrong") and "or give --face_model open" in line
    assert line_of(shown, "renderer").startswith("  ok")


def change(name: str, key: str, array: Callable[[np.ndarray], np.ndarray]) -> None:
    """Save one of the user's files again with another array in it."""
    content = {k: v for k, v in loadmat(f"BFM/{name}").items() if not k.startswith("__")}
    savemat(f"BFM/{name}", {**content, key: array(content[key])})


@pytest.mark.parametrize("face_model", ["auto", "bfm09"])
@pytest.mark.parametrize(
    ("name", "spoil", "message"),
    [
        (
            "BFM_front_idx.mat",
            lambda name: change(name, "idx", lambda index: index[:-4]),
            "chooses 220 vertices, but BFM/facemodel_info.mat has 224",
        ),
        (
            "facemodel_info.mat",
            lambda name: change(name, "keypoints", lambda points: points[:, :60]),
            "(keypoints is (1, 60), expected (1, 68))",
        ),
        (
            "similarity_Lm3D_all.mat",
            lambda name: Path("BFM", name).write_bytes(b"<!DOCTYPE html>"),
            "a web page",
        ),
        (
            "similarity_Lm3D_all.mat",
            lambda name: change(name, "lm", lambda points: points[:60]),
            "lm is no (68, 3) array of numbers",
        ),
    ],
    ids=["index", "landmarks", "web page", "standard landmarks"],
)
@pytest.mark.usefixtures("small_sources")
def test_files_that_would_not_become_bfm09_are_named_as_by_the_commands(
    face_model: str,
    name: str,
    spoil: Callable[[str], object],
    message: str,
    capsys: pytest.CaptureFixture[str],
):
    spoil(name)
    with pytest.raises(SystemExit) as stopped:
        doctor.main([*ARGV, "--face_model", face_model, "--bfm_folder", "BFM"])
    assert stopped.value.code == 1
    shown = lines(capsys)
    with pytest.raises(InputError) as caught:
        assets.choose_face_model(FaceModelOptions(face_model, bfm_folder="BFM"))
    assert line_of(shown, "face model") == f"  wrong    face model: {caught.value}"
    assert message in str(caught.value)
    line = line_of(shown, f"BFM/{name}")
    assert line.startswith("  wrong") and message in line and line.count(f"BFM/{name}") == 1
    assert shown[-1].startswith("Works now: data_preparation.py. Not: make_synthetic.py, train.py,")


def test_a_run_is_held_against_its_own_face_model(
    trained: Path,  # noqa: F811
    open_face_data: FaceModelData,
    capsys: pytest.CaptureFixture[str],
):
    """As test.py does, though auto would take the user's model; a typed flag is another matter."""
    write_bfm_model(Path("BFM/BFM_model_front.mat"), replace(open_face_data, name="bfm09"))
    card = load_checkpoint(trained)
    card["card"]["face_model"] |= {"name": "bfm09", "fingerprint": "0" * 16}
    save_checkpoint("checkpoints/theirs/epoch_latest.pth", card)
    doctor.main(ARGV)
    shown = lines(capsys)
    assert "face model: bfm09" in line_of(shown, "face model")
    assert line_of(shown, "checkpoints/faces").startswith("  ok")
    assert "but the face model is bfm09" in line_of(shown, "checkpoints/theirs")
    doctor.main([*ARGV, "--face_model", "bfm09"])
    assert "but the face model is bfm09" in line_of(lines(capsys), "checkpoints/faces")
    Path("BFM/BFM_model_front.mat").unlink()
    forget()
    doctor.main(ARGV)
    line = line_of(lines(capsys), "checkpoints/theirs")
    assert line.startswith("  wrong") and "there is no BFM/BFM_model_front.mat" in line


@pytest.mark.parametrize(
    ("argv", "subject", "text"),
    [
        (["--gpu_ids", "77"], "device", "--gpu_ids 77: this machine has"),
        (["--renderer", "nvdiffrast"], "renderer", "--renderer nvdiffrast needs a CUDA device"),
    ],
)
def test_what_fails_has_its_own_name(
    argv: list[str], subject: str, text: str, capsys: pytest.CaptureFixture[str]
):
    with pytest.raises(SystemExit):
        doctor.main([*ARGV, *argv])
    shown = lines(capsys)
    assert line_of(shown, "face model").startswith("  ok")
    assert line_of(shown, subject).startswith("  wrong") and text in line_of(shown, subject)
    # It draws with a renderer of its own.
    assert "make_synthetic.py" in shown[-1].partition("Not:")[0]
    assert "Not: train.py, test.py" in shown[-1]


def test_the_files_of_the_chosen_detector(capsys: pytest.CaptureFixture[str]):
    root = Path("checkpoints/lm_model")
    root.mkdir(parents=True)
    (root / "test_mean_face.txt").write_text("0.5 " * 136, encoding="utf-8")
    (root / "BBRegressorParam_r.mat").write_bytes(b"<!DOCTYPE html>")
    with pytest.raises(SystemExit):
        doctor.main([*ARGV, "--detector", "tensorflow"])
    shown = lines(capsys)
    assert line_of(shown, f"{root}/test_mean_face.txt").startswith("  ok")
    regression = [line for line in shown if line.startswith(f"  wrong    {root}/BBRegr")]
    assert len(regression) == 1 and "web page" in regression[0]
    graph = line_of(shown, f"{root}/68lm_detector.pb")
    assert graph.startswith("  missing") and "68 landmark archive" in graph
    with pytest.raises(SystemExit):
        doctor.main([*ARGV, "--detector", "insightface"])
    line = line_of(lines(capsys), "--insightface_root")
    assert line.startswith("  missing") and "buffalo_l" in line


def test_the_landmark_graph_is_listed_where_nobody_asks_for_it(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    """In one line where nothing of it is there; what is there is checked, and harms nobody."""
    root = Path("checkpoints/lm_model")
    doctor.main(ARGV)
    shown = lines(capsys)
    (line,) = [line for line in shown if "lm_model" in line]
    assert line == line_of(shown, f"{root}/68lm_detector.pb")
    assert line.startswith("  missing") and "github.com/sicxu/Deep3DFaceRecon_pytorch" in line
    assert "BBRegressorParam_r.mat" in line and "test_mean_face.txt" in line
    assert "--detector tensorflow" in line and "--lm_folder" in line

    root.mkdir(parents=True)
    (root / "68lm_detector.pb").write_bytes(b"<!DOCTYPE html>")
    (root / "test_mean_face.txt").write_text("0.5 " * 136, encoding="utf-8")
    doctor.main(ARGV)
    shown = lines(capsys)
    graph = line_of(shown, f"{root}/68lm_detector.pb")
    assert graph.startswith("  wrong") and "a web page" in graph
    assert line_of(shown, f"{root}/test_mean_face.txt").startswith("  ok")
    assert line_of(shown, f"{root}/BBRegressorParam_r.mat").startswith("  missing")

    # What would run it is no part of the file.
    (root / "68lm_detector.pb").write_bytes(b"\x0a\x12 a graph")
    monkeypatch.setattr(landmark_graph, "_installed", lambda _: False)
    doctor.main(ARGV)
    graph = line_of(lines(capsys), f"{root}/68lm_detector.pb")
    assert graph.startswith("  ok") and "was not run" in graph and "needs TensorFlow" in graph


def test_a_wrong_graph_is_named_before_tensorflow(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    root = Path("checkpoints/lm_model")
    write_landmark_files(root, b"<!DOCTYPE html>")
    monkeypatch.setattr(landmark_graph, "_installed", lambda _: False)
    with pytest.raises(SystemExit) as stopped:
        doctor.main([*ARGV, "--detector", "tensorflow"])
    assert stopped.value.code == 1
    shown = lines(capsys)
    found = line_of(shown, "detector")
    assert found.startswith("  wrong") and "68lm_detector.pb: not a TensorFlow graph but" in found
    assert line_of(shown, f"{root}/68lm_detector.pb").startswith("  wrong")
    checked = shown[shown.index("Would be used") :]
    assert not any("pip install tensorflow" in line for line in checked)


def write_landmark_files(root: Path, graph: bytes) -> None:
    """The graph, and its companions as they should be."""
    root.mkdir(parents=True)
    (root / "68lm_detector.pb").write_bytes(graph)
    (root / "test_mean_face.txt").write_text("0.5 " * 136, encoding="utf-8")
    layers = {"W1": np.ones((6, 10)), "B1": np.ones(6), "W2": np.ones((3, 6)), "B2": np.ones(3)}
    savemat(root / "BBRegressorParam_r.mat", layers)


def test_the_doctor_converts_nothing(monkeypatch: pytest.MonkeyPatch):
    """Though all packages are said to be there."""
    write_landmark_files(Path("checkpoints/lm_model"), b"\x0a\x12 a graph")
    monkeypatch.setattr(landmark_graph, "_installed", lambda _: True)
    monkeypatch.setattr(landmark_graph, "convert_graph", lambda *_: pytest.fail("it converts"))
    before = sorted(Path().rglob("*"))
    doctor.main([*ARGV, "--detector", "tensorflow"])
    assert sorted(Path().rglob("*")) == before


def test_unused_weights_are_read_before_they_are_called_ok(capsys: pytest.CaptureFixture[str]):
    path = Path(RecognitionOptions.net_recog_path)
    path.parent.mkdir(parents=True)
    path.write_bytes(b"<!DOCTYPE html>")
    doctor.main([*ARGV, "--net_recog", "dlib"])
    line = line_of(lines(capsys), str(path))
    assert line.startswith("  wrong") and "web page" in line


def test_a_checkpoint_in_the_place_of_imagenets_weights(capsys: pytest.CaptureFixture[str]):
    """It stops what would start from it, and is named where nothing would."""
    path = Path(ReconstructionNetOptions.init_path)
    path.parent.mkdir(parents=True)
    torch.save({"net_recon": {"backbone.conv1.weight": torch.ones(2)}}, path)
    with pytest.raises(SystemExit) as stopped:
        doctor.main(ARGV)
    assert stopped.value.code == 1
    shown = lines(capsys)
    line = line_of(shown, "initial weights")
    assert line.startswith(f"  wrong    initial weights: {path}: not the weights of a resnet50")
    assert line_of(shown, str(path)).startswith("  wrong")
    assert "Not: train.py; see" in shown[-1]
    for net in ("dlib", "resnet18"):
        doctor.main([*ARGV, "--net_recon", net])
        shown = lines(capsys)
        assert line_of(shown, f"R-Net ({net})").startswith("  ok")
        line = line_of(shown, str(path))
        assert line.startswith("  wrong") and "it has no conv1.weight" in line
    torch.save(resnet50().state_dict(), path)
    doctor.main([*ARGV, "--net_recon", "resnet18"])
    line = line_of(lines(capsys), str(path))
    assert line.startswith("  ok") and "but --net_recon resnet18 starts from others" in line


def test_a_face_model_that_is_not_there(capsys: pytest.CaptureFixture[str]):
    with pytest.raises(SystemExit):
        doctor.main([*ARGV, "--face_model", "nowhere.npz"])
    shown = lines(capsys)
    assert "nowhere.npz" in line_of(shown, "face model")
    assert "Not: make_synthetic.py, train.py, test.py" in shown[-1]


def test_further_face_models_are_listed(capsys: pytest.CaptureFixture[str]):
    """Each with where it is from if it is missing, and what is wrong with it if it is not."""
    doctor.main(ARGV)
    shown = lines(capsys)
    for subject, publisher in {
        "BFM/FaceXModel": "ICT-FaceKit",
        "BFM/flame2023.pkl": "flame.is.tue.mpg.de",
        "BFM/model2017-1_face12_nomouth.h5": "faces.dmi.unibas.ch",
        "BFM/model2019_face12.h5": "faces.dmi.unibas.ch",
    }.items():
        line = line_of(shown, subject)
        assert line.startswith("  missing") and publisher in line
    write_embedding(Path("BFM"), flame_embedding(write_flame(Path("BFM"))))
    Path("BFM/model2019_face12.h5").write_bytes(b"<!DOCTYPE html>")
    write_ict(Path("BFM/FaceXModel"))
    forget()
    doctor.main(ARGV)
    shown = lines(capsys)
    assert line_of(shown, "BFM/generic_model.pkl").startswith("  ok")
    assert "flame generic_model" in line_of(shown, "BFM/generic_model.pkl")
    assert "a web page" in line_of(shown, "BFM/model2019_face12.h5")
    # It has 3 of the 100 identities.
    assert "identity003.obj does not exist" in line_of(shown, "BFM/FaceXModel")


def test_ict_is_not_made_while_looking(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    layout = write_ict(Path("BFM/FaceXModel"))
    monkeypatch.setattr(diagnosis, "check_ict", partial(check_ict, layout=layout))
    doctor.main([*ARGV, "--face_model", "ict"])
    shown = lines(capsys)
    assert "ict, which is made of the files in BFM at the first run" in line_of(shown, "face model")
    assert "5 expressions, converted at the first run" in line_of(shown, "BFM/FaceXModel")
    assert not Path("BFM/ict_face_model.npz").exists()
    shutil.copy(OPEN_FACE_MODEL, "BFM/ict_face_model.npz")  # says not what it is of
    before = Path("BFM/ict_face_model.npz").read_bytes()
    forget()
    doctor.main([*ARGV, "--face_model", "ict"])
    shown = lines(capsys)
    assert "5 expressions, converted at the first run" in line_of(shown, "BFM/FaceXModel")
    assert Path("BFM/ict_face_model.npz").read_bytes() == before
