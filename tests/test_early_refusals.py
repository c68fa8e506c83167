"""What is wrong with a command line is said at once: before torch, which takes seconds, is in."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from data.images import write_image
from data.registry import DATASETS
from models import MODELS
from options.groups import (
    BENCHMARK_GROUPS,
    DATASET_GROUPS,
    EXPORT_GROUPS,
    MODEL_GROUPS,
)
from options.output_options import KINDS
from options.synthesis_options import SynthesisOptions
from util.evaluation.aflw2000_methods import METHODS
from util.evaluation.benchmarks import BENCHMARKS
from util.evaluation.shape_methods import SHAPE_METHODS
from util.export_run import EXPORTERS
from util.outputs import OUTPUTS

ROOT = Path(__file__).resolve().parents[1]
COMMANDS = (
    *("animate", "app", "data_preparation", "doctor", "evaluate", "export", "fit"),
    *("make_synthetic", "test", "train"),
)
TOOLS = (
    *("3dmm_fitting/convert_bfm09_data", "3dmm_fitting/fit_single_img", "3dmm_fitting/fit_video"),
    *("facereconstruction/train", "facereconstruction/infer", "synergynet/artistic"),
    *("synergynet/benchmark", "synergynet/main_train", "synergynet/singleImage"),
    *("synergynet/uv_texture_realFaces", "synergynet_bonseyes/main_train"),
)
HEAVY = ("torch", "numba", "scipy", "kornia", "dlib", "av", "matplotlib", "onnx", "tensorflow")

# One interpreter runs all command lines, each as `python <script>` would.
_CHILD = """
import contextlib, io, json, runpy, sys
root, heavy, lines = json.load(sys.stdin)
found = []
for argv in lines:
    sys.argv, sys.path[0] = argv, root
    shown, code = io.StringIO(), 0
    with contextlib.redirect_stdout(shown), contextlib.redirect_stderr(shown):
        try:
            runpy.run_path(argv[0], run_name="__main__")
        except SystemExit as end:
            code = end.code
    found.append((code, shown.getvalue(), sorted(set(heavy) & set(sys.modules))))
    if found[-1][2]:
        break
json.dump(found, sys.__stdout__)
"""


def refusals(folder: Path, lines: list[list[str]]) -> list[tuple[int, str, list[str]]]:
    """Exit code, what was printed, and the heavy modules that were imported, of command lines."""
    argv = [[str(ROOT / f"{name}.py"), *flags] for name, *flags in lines]
    result = subprocess.run(
        [sys.executable, "-c", _CHILD],
        input=json.dumps([str(ROOT), HEAVY, argv]),
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert result.returncode == 0, result.stderr
    return json.loads(result.stdout)


def test_flags_and_help_need_no_torch(tmp_path: Path):
    names = [*COMMANDS, *(f"tools/{tool}" for tool in TOOLS)]
    config = tmp_path / "one.yaml"
    config.write_text("batch_size: 2\nno_such: 1\n", encoding="utf-8")
    lines = [[name, flag] for name in names for flag in ("--help", "--no_such_flag")]
    lines += [[name, "--config", str(config)] for name in COMMANDS]
    for (name, *flags), (code, shown, heavy) in zip(lines, refusals(tmp_path, lines), strict=True):
        assert not heavy, (name, flags)
        if flags == ["--help"]:
            assert code == 0 and "usage:" in shown, (name, shown)
        else:
            assert code == 2 and shown.startswith("error: "), (name, shown)


def test_what_is_not_there_is_named_without_torch(tmp_path: Path):
    """Each with the value and what to do."""
    (tmp_path / "file").touch()
    (tmp_path / "empty").mkdir()
    (tmp_path / "other").mkdir()
    for name in ("photos/anna.png", "other/b.png"):
        write_image(tmp_path / name, np.zeros((32, 32, 3), np.uint8))
    photo = "photos/anna.png"
    cases = {
        ("fit",): "nothing to fit: give photos, a folder or a video",
        ("fit", "none.jpg"): "--img_path none.jpg does not exist .*; give the photo by its name",
        ("fit", "photos/ana.png"): r"did you mean photos/anna\.png\?",
        ("fit", "my.mp4"): "--v_path my.mp4 does not exist; give a video file",
        ("fit", "empty"): "empty has no pictures",
        ("fit", photo, "none.jpg"): "--img_path none.jpg does not exist",
        ("fit", photo, "other/b.png"): r"lie in several folders \(photos, other\); .*put them into",
        ("fit", photo, "other"): "other is a folder; give it alone",
        ("fit", photo, "--res_folder", "file"): "--res_folder file: file is no folder, .*give anot",
        ("fit", photo, "--res_folder", "file/a/b"): "--res_folder file/a/b: file is no folder",
        ("fit", photo, "--save", "panohed"): "--save panohed: .*did you mean panohead",
        ("fit", photo, "--save", "none", "glb"): "none stands alone",
        ("fit", "--save", "glb", photo): "photos stand before --save",
        ("fit", "--same_person", photo): "neither True nor False; photos stand before the flags",
        ("fit", photo, "--landmarks", "p.txt"): "--landmarks p.txt: there is no such file",
        ("fit", "--preset", "fast", photo): rf"photos are given by --img_path {photo}",
        ("fit", photo, "--preset", "slow"): "--preset: invalid choice: 'slow' .*fast",
        ("test",): "--img_folder examples does not exist",
        ("test", "photos"): "photos are given by --img_folder photos",
        ("test", "--img_folder", "photos", "--name", "no"): "there is no folder checkpoints/no",
        ("test", "--model", "synergy", "--v_path", "a.mp4"): "--v_path a.mp4 does not exist",
        (
            "test",
            "--model",
            "synergy",
            "--img_folder",
            "photos",
            "--weights",
            "w",
        ): "--weights w",
        ("train",): "--flist datalist/train/masks.txt does not exist; make it with data_prep",
        ("train", "--flist", "a.txt:1,b.txt:2"): "--flist a.txt does not exist",
        ("train", "--dataset_mode", "synthetic"): r"make_synthetic.py --out datasets/synthetic",
        ("train", "--dataset_mode", "folder"): "--dataset_mode folder is unknown; choose one of",
        ("train", "--continue_train"): "face_recon holds no run to go on with",
        ("train", "--checkpoints_dir", "file"): "--checkpoints_dir file/face_recon: file is no fo",
        ("data_preparation", "--img_folder", "nowhere"): "--img_folder nowhere does not exist",
        ("data_preparation", "photos"): "photos are given by --img_folder photos",
        ("make_synthetic", "--out", "file/x"): "--out file/x: file is no folder",
        ("make_synthetic", "--shard", "3/2"): "--shard 3/2: part 3 of 2 does not exist",
        (
            "animate",
            "--coeffs",
            "a",
            "--out",
            "x.avi",
        ): r"--out x.avi: the ending is .*\.mp4, ",
        ("animate", "--coeffs", "fits/a"): "--coeffs fits/a: there is no such file.* results of fi",
        ("animate", "--with", "happy"): "--with happy: there is no such file.* a csv of named uni",
        ("animate", "--with", photo): r"--with .* is a photo; fit it first: python fit.py",
        ("animate", "--coeffs", "a", "--take", "mouth"): "--take mouth is unknown; it can be expre",
        ("animate", "--with"): "--with: expected one argument",
        ("export", "--name", "no"): "there is no folder checkpoints/no",
        ("export", "--model", "lenet"): "--model lenet cannot be exported; choose one of",
        ("evaluate", "--benchmark", "lfw"): "--benchmark lfw is unknown; choose one of aflw2000",
        ("evaluate", "--out", "file"): "--out file: file is no folder",
        ("evaluate",): "--benchmark_root aflw2000_data does not exist",
        ("evaluate", "--ict", "nowhere"): "--ict nowhere is no folder; give ICT-FaceKit",
        ("evaluate", "--benchmark", "now"): "--benchmark now needs --benchmark_root DIR",
        ("evaluate", "--ict", "empty", "--predictions", "x"): "--predictions x is no folder",
        ("evaluate", "--ict", "empty", "--method_name", "a/b"): "a/b cannot name a folder",
        ("evaluate", "--ict", "empty", "--model", "facerecon"): "there is no folder checkpoints/f",
        ("app", "--port", "99999"): "--port is 99999",
        ("tools/synergynet/singleImage", "-f", "nowhere"): "-f nowhere does not exist",
        ("tools/3dmm_fitting/fit_video", "--v_path", "a.mp4", "--res_folder", "r"): "--v_path a.mp",
    }
    found = refusals(tmp_path, [list(line) for line in cases])
    for (line, message), (code, shown, heavy) in zip(cases.items(), found, strict=True):
        assert not heavy, line
        assert code == 2, (line, shown)
        with pytest.raises(ValueError, match=message):
            raise ValueError(shown)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["empty", "file", "other", "photos"]


@pytest.mark.skipif(os.name == "nt" or not hasattr(os, "geteuid"), reason="permissions of POSIX")
@pytest.mark.skipif(hasattr(os, "geteuid") and os.geteuid() == 0, reason="root may write anywhere")
def test_a_folder_that_cannot_be_written_is_refused(tmp_path: Path):
    write_image(tmp_path / "a.png", np.zeros((32, 32, 3), np.uint8))
    (tmp_path / "closed").mkdir(mode=0o500)
    ((code, shown, heavy),) = refusals(tmp_path, [["fit", "a.png", "--res_folder", "closed/x"]])
    assert code == 2 and not heavy and "closed cannot be written by this user" in shown


def test_what_has_options_is_what_computes():
    """Names stand apart from what computes, which would have to be imported."""
    assert MODELS.keys() == MODEL_GROUPS.keys()
    assert DATASETS.keys() == DATASET_GROUPS.keys()
    assert EXPORTERS.keys() == EXPORT_GROUPS.keys()
    assert tuple(OUTPUTS) == KINDS
    assert BENCHMARKS.keys() == BENCHMARK_GROUPS.keys()
    for name, groups in BENCHMARK_GROUPS.items():
        methods = METHODS if name == "aflw2000" else SHAPE_METHODS
        if name == "m3dfb":
            assert not groups.methods and not groups.model
            continue
        assert groups.methods.keys() == methods.keys()
        assert groups.model in groups.methods


@pytest.mark.parametrize(("n", "n_val"), [(1, 8), (8, 8), (500, 50), (12000, 256), (10**6, 256)])
def test_few_faces_are_validated_by_few(n: int, n_val: int):
    assert SynthesisOptions(n=n).validation().n == n_val
    assert SynthesisOptions(n=n, n_val=3).validation().n == 3
