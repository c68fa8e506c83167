"""What is wrong with a command line is said at once: before torch, which takes seconds, is in."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections import OrderedDict
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch

from data.images import write_image
from data.registry import DATASETS
from models import MODELS
from models.synergy_model import NETWORK
from options.export_options import ONNX_PACKAGES, ExportOptions, check_export
from options.groups import (
    BENCHMARK_GROUPS,
    DATASET_GROUPS,
    EXPORT_GROUPS,
    MODEL_GROUPS,
)
from options.output_checks import NEEDS_DISTANCE
from options.output_options import KINDS, TALKING_HEADS
from options.synthesis_options import SynthesisOptions
from util.errors import InputError
from util.evaluation.aflw2000_methods import METHODS
from util.evaluation.benchmarks import BENCHMARKS
from util.evaluation.shape_methods import SHAPE_METHODS
from util.export_run import EXPORTERS
from util.model_files.ict_folder import CONVERTED
from util.outputs import OUTPUTS
from util.outputs.talking_heads import TalkingHead
from util.training.checkpoint_kind import RNET, SYNERGY, check_kind

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


def save_networks(folder: Path) -> None:
    """Checkpoints of every kind, as far as their names tell them apart."""
    public = {"module.I2P.backbone.x": torch.ones(2), "module.u": torch.ones(2)}
    for name, content in {
        "rnet": {RNET: OrderedDict(x=torch.ones(2)), "sched_00": {"last_epoch": 3}, "card": {}},
        "public": {RNET: OrderedDict(x=torch.ones(2)), "opt_00": {"state": {}}},
        "opened": {RNET: OrderedDict(x=torch.ones(2)), "card": {"face_model": {"name": "open"}}},
        "synergy": {SYNERGY: OrderedDict(x=torch.ones(2)), "random": {"numpy": [b"ab", 1.5]}},
    }.items():
        (folder / "checkpoints" / name).mkdir(parents=True)
        torch.save(content, folder / "checkpoints" / name / "epoch_latest.pth")
    for name, is_new in (("new", True), ("old", False)):
        content = {"epoch": 80, "state_dict": public}
        torch.save(content, folder / f"{name}.tar", _use_new_zipfile_serialization=is_new)


def save_results(folder: Path) -> None:
    """Files of coefficients that say what they are of, without anything in them."""
    for stem, name in (("anna", "open"), ("ben", "bfm09")):
        (folder / f"{stem}.mat").touch()
        record = {"face_model": {"name": name, "version": "2", "fingerprint": name}}
        (folder / f"{stem}.json").write_text(json.dumps(record), encoding="utf-8")


def test_what_is_not_there_is_named_without_torch(tmp_path: Path):
    """Each with the value and what to do."""
    (tmp_path / "file").touch()
    (tmp_path / "talk.mp4").write_bytes(b"\0\0\0\x18ftypisom" + bytes(600))
    (tmp_path / "empty.mp4").touch()
    (tmp_path / "notes").write_text("some words\n", encoding="utf-8")
    for name in ("words.mp4", "words.jpg", "masks.txt", "epochs/epoch_latest.pth"):
        place = tmp_path / ("checkpoints" if name.endswith("pth") else "") / name
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text("of/mask/a.png\n", encoding="utf-8")
    (tmp_path / "empty").mkdir()
    (tmp_path / "other").mkdir()
    save_networks(tmp_path)
    save_results(tmp_path)
    (tmp_path / "ict").mkdir()
    (tmp_path / "ict" / CONVERTED).touch()
    for name in ("photos/anna.png", "other/b.png"):
        write_image(tmp_path / name, np.zeros((32, 30, 3), np.uint8))
    photo, there = "photos/anna.png", sorted(path.name for path in tmp_path.iterdir())
    synergy = ("test", "--model", "synergy", "--img_folder", "photos")
    listed = ("train", "--flist", "masks.txt", "--flist_val", "masks.txt")
    labelled = ("train", "--model", "synergy", "--dataset_mode", "ddfa")
    live = ("--dataset_mode", "synthetic", "--synthetic_live", "9")
    tars = ("train", "--dataset_mode", "webdataset", "--tar_shards")
    datatool = ("train", "--model", "synergy", "--dataset_mode", "datatool")
    cases = {
        ("fit",): "nothing to fit: give photos, a folder or a video",
        ("fit", "none.jpg"): "--img_path none.jpg does not exist .*; give the photo by its name",
        ("fit", "photos/ana.png"): r"did you mean photos/anna\.png\?",
        ("fit", "my.mp4"): "--v_path my.mp4 does not exist; give a video file",
        ("fit", "empty"): "--img_path empty has no pictures",
        ("fit", "--v_path", "empty"): "--v_path empty is a folder, not a video; give one video",
        ("fit", "--v_path", photo): r"--v_path photos/anna\.png is a single picture.* as a photo",
        ("fit", "--v_path", "notes"): "--v_path notes is text, not a video",
        ("fit", "words.mp4"): "--v_path words.mp4 is text, not a video, whatever its name says",
        ("fit", "empty.mp4"): r"--v_path empty.mp4 is empty \(0 bytes\); replace the file",
        ("fit", "words.jpg"): "--img_path words.jpg is not a JPEG.* convert it or take it away",
        ("fit", "talk.mp4", photo, "--res_folder", "r"): (
            r"talk\.mp4 is a video by its name, .*: python fit\.py talk\.mp4, then python fit\.py "
            r"photos/anna\.png, each with --res_folder r"
        ),
        ("fit", photo, "talk.mp4"): "talk.mp4 is a video by its name",
        ("fit", "--img_path", "talk.mp4"): r"--img_path talk.mp4 .* python fit.py --v_path talk",
        (
            "fit",
            "words.jpg",
            "notes",
        ): "--img_path notes is not a picture; its name must end in one of",
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
        ("fit", photo, "--landmarks", photo): "a.png.*",
        ("test", "--model", "synergie"): "--model synergie is unknown; choose one of facerecon, sy",
        ("fit", "--preset", "fast", photo): rf"photos are given by --img_path {photo}",
        ("fit", photo, "--preset", "slow"): "--preset: invalid choice: 'slow' .*fast",
        ("test",): "--img_folder examples does not exist",
        ("test", "photos"): "photos are given by --img_folder photos",
        ("test", "--img_folder", "photos", "--name", "no"): "there is no folder checkpoints/no",
        ("test", "--model", "synergy", "--v_path", "a.mp4"): "--v_path a.mp4 does not exist",
        ("test", "--img_folder", "words.jpg"): "--img_folder words.jpg is not a JPEG",
        (
            "test",
            "--model",
            "synergy",
            "--img_folder",
            "words.jpg",
        ): "--img_folder words.jpg is not",
        ("test", "--model", "synergy", "--v_path", "empty"): "--v_path empty is a folder",
        ("test", "--img_folder", "photos", "--name", "epochs"): (
            r"--epoch latest: .*epochs/epoch_latest\.pth: .* not a PyTorch file \(it is text\)"
        ),
        # Before its files are looked for: nobody should search for those that do not help.
        ("test", "--img_folder", "photos", "--name", "opened", "--face_model", "bfm09"): (
            "--face_model bfm09: .* was trained for the face model open; leave the flag out"
        ),
        ("export", "--name", "public", "--face_model", "flame"): "was trained for the .* bfm09; le",
        ("fit", photo, "--init", "regress", "--name", "opened", "--face_model", "ict"): (
            "--face_model ict: .* was trained for the face model open"
        ),
        (*synergy, "--weights", "w"): "--weights w does not exist; give a checkpoint's file",
        (*synergy, "--weights", "empty"): "--weights empty is a folder; give a checkpoint's file",
        (*synergy, "--weights", "notes"): r"--weights notes: .* not a PyTorch file \(it is text\)",
        (*synergy, "--weights", photo): r"--weights photos/anna\.png: .* not a PyTorch file",
        (*synergy, "--name", "synergy", "--mm_folder", "mm"): "--mm_folder mm does not exist; take",
        (
            *synergy,
            "--name",
            "rnet",
        ): "rnet/epoch_latest.pth holds an R-Net.*give --model facerecon",
        (
            *synergy,
            "--name",
            "synergy",
            "--save",
            "world",
        ): "--save world: K projects .* weak persp",
        (
            *(*synergy, "--name", "synergy", "--save", "glb", "texture"),
            *("--texture_light", "remove"),
        ): "--texture_light remove: a SynergyNet predicts no light",
        (
            "test",
            "--img_folder",
            "photos",
            "--name",
            "synergy",
        ): "holds a SynergyNet.*--model synerg",
        ("fit", photo, "--init", "regress", "--name", "synergy"): "a SynergyNet.*name another ch",
        ("fit", photo, "--init", "regress", "--name", "no"): "there is no folder checkpoints/no",
        ("fit", photo, "--save", "panohead"): "--save panohead: .*anna.png is 30 x 32; crop it",
        (
            "fit",
            photo,
            "--save",
            "facial",
            "--fit_focal",
        ): "FACIAL knows the usual focal length alo",
        ("fit", photo, "--face_model", "opne"): "--face_model opne is unknown; take auto, open",
        ("fit", photo, "--face_model", "open@7"): "--face_model open@7: the levels of detail are",
        ("fit", photo, "--face_model", "my.npz"): "--face_model my.npz: no such file",
        ("fit", photo, "--face_model", "empty"): "--face_model empty: .*FaceXModel/generic_neutral",
        (
            "fit",
            photo,
            "--face_model",
            "ict",
        ): "--face_model ict: there is no BFM/ict_face_model.npz",
        ("fit", photo, "--gpu_ids", "x"): "--gpu_ids x is no list of GPU numbers",
        (
            "fit",
            "talk.mp4",
            "--save",
            "texture",
        ): "--save texture is for photos; for a video it can",
        (
            "fit",
            "talk.mp4",
            "--save",
            "facial",
            "--fit_focal",
        ): "FACIAL knows the usual focal length",
        ("train",): "--flist datalist/train/masks.txt does not exist; make it with data_prep",
        ("train", "--flist", "a.txt:1,b.txt:2"): "--flist a.txt does not exist",
        ("train", "--dataset_mode", "synthetic"): r"make_synthetic.py --out datasets/synthetic",
        ("train", "--flist", "empty"): "--flist empty cannot be read",
        ("train", "--flist", "file"): "--flist file names no masks; make it with data_preparation",
        ("train", "--flist", "notes"): "--flist notes, line 1: .*not lie in a folder named mask",
        ("train", "--flist", "masks.txt", "--data_root", "nope"): (
            r"--data_root nope is no folder; .* of which the first would be nope/of/mask/a\.png"
        ),
        (*labelled, "--data_root", "nope"): "--data_root nope is no folder; give the one that tra",
        labelled: "--mm_folder 3dmm_data does not exist; take the folder 3dmm_data of 3DDFA",
        (*listed, "--pretrained_name", "epochs"): "--pretrained_name epochs: .* not a PyTorch file",
        (
            *listed,
            "--init_path",
            "notes",
        ): r"--init_path notes: .* not a PyTorch file \(it is text\)",
        (*listed, "--net_recog_path", "notes"): "--net_recog_path notes: .* not a PyTorch file",
        ("train", "--dataset_mode", "synthetic", "--synthetic_folder", "empty"): (
            "--synthetic_folder empty has no coefficients.npz; make"
        ),
        (
            "train",
            *live,
            "--synthetic_backgrounds",
            "no",
        ): "--synthetic_backgrounds no does not exi",
        (*tars, "empty"): "--tar_shards empty names no .tar files; write them with data_prep",
        (*tars, "no*.tar"): r"--tar_shards no\*.tar names no .tar files",
        (*tars, "s3://x"): "--tar_shards s3://x is no path; mount the storage",
        datatool: "--datatool_root_dir datatool is no folder; take a folder that the datatool wro",
        (*datatool, "--datatool_root_dir", "empty"): (
            "--train_tags HELEN, .*: empty.HELEN.dataset.json does not exist .4 of 4 tags have none"
        ),
        (*datatool, "--val_tags", "HELEN"): "--train_tags and --val_tags both have HELEN",
        ("train", "--dataset_mode", "folder"): "--dataset_mode folder is unknown; choose one of",
        ("train", "--continue_train"): "face_recon holds no run to go on with",
        ("train", "--checkpoints_dir", "file"): "--checkpoints_dir file/face_recon: file is no fo",
        ("data_preparation", "--img_folder", "nowhere"): "--img_folder nowhere does not exist",
        ("data_preparation", "photos"): "photos are given by --img_folder photos",
        ("make_synthetic", "--layout", "ddfa", "--maps", "all"): (
            "--layout ddfa has no place for --maps all; leave it out, or give --layout prepared"
        ),
        (
            "make_synthetic",
            "--layout",
            "datatool",
            "--size",
            "200",
        ): "of 450 pixels .* leave out --s",
        ("make_synthetic", "--backgrounds", "empty"): "--backgrounds empty has no pictures",
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
        ("animate", "--with", "words.mp4"): "--with words.mp4 is text, not a video",
        ("animate", "--with"): "--with: expected one argument",
        ("animate", "--coeffs", "anna", "--fps", "3"): "--fps is for a csv",
        (
            "animate",
            "--coeffs",
            "anna",
            "--with",
            "ben",
        ): r"ben.mat is of .*bfm09 2 .*anna.mat of open",
        ("animate", "--coeffs", "anna", "--face_model", "flame"): "flame: anna.mat is of .* open 2",
        (
            "animate",
            "--coeffs",
            "anna",
        ): r"a photo gives one frame; write a .png, a .glb or a folder",
        ("animate", "--coeffs", "anna", "--out", "a.mp4"): "--out a.mp4: a photo gives one frame",
        (
            "export",
            "--name",
            "rnet",
            "--check_images",
            "no",
        ): "--check_images no does not exist; gi",
        ("export", "--name", "no"): "there is no folder checkpoints/no",
        ("export", "--model", "synergy", "--name", "rnet"): "needs a SynergyNet",
        (
            "train",
            "--flist",
            "file",
            "--flist_val",
            "file",
            "--face_model",
            "opne",
        ): "opne is unknown",
        ("make_synthetic", "--face_model", "opne"): "--face_model opne is unknown",
        ("app", "--face_model", "opne"): "--face_model opne is unknown",
        ("export", "--model", "lenet"): "--model lenet cannot be exported; choose one of",
        ("evaluate", "--benchmark", "lfw"): "--benchmark lfw is unknown; choose one of aflw2000",
        ("evaluate", "--out", "file"): "--out file: file is no folder",
        ("evaluate",): "`python evaluate.py --ict ICT-FaceKit` renders heads",
        ("evaluate", "--benchmark", "aflw2000"): "--benchmark_root aflw2000_data does not exist",
        ("evaluate", "--ict", "nowhere"): "--ict nowhere is no folder; give ICT-FaceKit",
        ("evaluate", "--benchmark_root", "no"): "--benchmark_root no does not exist; give the fold",
        ("evaluate", "--benchmark_root", "empty", "--predictions", "no"): (
            r"--predictions no does not exist; a file of predictions \(\.npz\) holds"
        ),
        (
            "evaluate",
            "--benchmark_root",
            "empty",
            "--predictions",
            "notes",
        ): "--predictions notes is t",
        ("evaluate", "--benchmark", "now"): "--benchmark now needs --benchmark_root DIR",
        **{
            ("evaluate", "--benchmark", name, "--benchmark_root", "empty", *more): (
                f"--benchmark_root empty lacks {count} of {count} files .*: .*{last}"
            )
            for name, count, last, more in (
                ("now", 3, "scans_lmks_onlypp; .*now.is.tue.mpg.de", ()),
                ("now", 1, "imagepathstest.txt; .*now.is.tue", ("--image_set", "test")),
                ("realy", 2, "REALY_image; .*Headspace", ()),
                ("micc", 2, r"scans/<person>.ply\), frames/<person>/<video>/; docs/", ()),
                ("facewarehouse", 2, "images; docs/evaluation.md", ()),
                ("facescape", 4, "data/wild_gt_mesh/<0 to 399>.obj; .*github.com", ()),
                ("facescape", 4, "data/lab_cam/<photo>.json; .*github", ("--photo_set", "lab")),
            )
        },
        ("evaluate", "--benchmark_root", "empty", "--model", "fit"): (
            "--benchmark_root empty lacks 6 of 6 files .*AFLW2000-3D_crop.roi_box.npy; .*cleardusk"
        ),
        (
            "evaluate",
            "--ict",
            "empty",
        ): "--ict empty: there is no empty/ict_face_model.npz.*FaceXMod",
        ("evaluate", "--ict", "ict", "--predictions", "x"): "--predictions x is no folder",
        ("evaluate", "--ict", "ict", "--method_name", "a/b"): "a/b cannot name a folder",
        ("evaluate", "--ict", "ict", "--model", "facerecon"): "there is no folder checkpoints/f",
        ("evaluate", "--ict", "ict", "--model", "facerecon", "--name", "synergy"): "needs an R-Net",
        ("app", "--port", "99999"): "--port is 99999",
        ("tools/synergynet/singleImage", "-f", "nowhere"): "-f nowhere does not exist",
        ("tools/synergynet/singleImage", "-f", "words.mp4"): "-f words.mp4 is text, not a video",
        ("tools/synergynet/singleImage", "-f", "words.jpg"): "-f words.jpg is not a JPEG",
        ("tools/synergynet/artistic", "-f", "talk.mp4"): "-f talk.mp4 is not a picture; its name",
        ("tools/3dmm_fitting/fit_video", "--v_path", "a.mp4", "--res_folder", "r"): "--v_path a.mp",
    }
    lacking = {
        "bfm09": r"there is no BFM/BFM_model_front\.mat; .* BFM \(--bfm_folder\).*doctor\.py",
        "flame": r"BFM holds none of flame2023\.pkl.*flame\.is\.tue\.mpg\.de.*put it there \(--",
        "bfm17": r"there is no BFM/model2017-1_face12_nomouth\.h5; .*University of Basel.*put it t",
        "bfm19": r"there is no BFM/model2019_face12\.h5; .*put it there \(--bfm_folder\)",
    }
    takers = (
        *(("fit", photo), ("test", "--img_folder", photo, "--name", "rnet"), ("make_synthetic",)),
        *(("animate", "--coeffs", "anna"), ("export", "--name", "rnet"), ("app",)),
        listed,
        ("data_preparation", "--img_folder", "photos", "--fit"),
    )
    cases |= {
        (*line, "--face_model", name): f"--face_model {name}: {message}"
        for line in takers
        for name, message in lacking.items()
    }
    found = refusals(tmp_path, [list(line) for line in cases])
    for (line, message), (code, shown, heavy) in zip(cases.items(), found, strict=True):
        assert not heavy, line
        assert code == 2, (line, shown)
        with pytest.raises(ValueError, match=message):
            raise ValueError(shown)
    assert sorted(path.name for path in tmp_path.iterdir()) == there


@pytest.mark.parametrize(
    ("name", "holds"),
    [
        *(("checkpoints/rnet/epoch_latest.pth", RNET), ("new.tar", SYNERGY), ("old.tar", SYNERGY)),
        *(("checkpoints/synergy/epoch_latest.pth", SYNERGY), ("text", None), ("cut", None)),
        ("code", None),
    ],
)
def test_the_network_of_a_checkpoint_is_told_by_its_names(
    tmp_path: Path, name: str, holds: str | None
):
    """Nothing in the file runs; what cannot be told, but may be one, is left to the reader."""
    save_networks(tmp_path)
    (tmp_path / "text").write_text("no checkpoint", encoding="utf-8")
    (tmp_path / "cut").write_bytes((tmp_path / "new.tar").read_bytes()[:300])
    made = f"__import__('pathlib').Path({str(tmp_path / 'ran')!r}).touch()"
    (tmp_path / "code").write_bytes(b"\x80\x02cbuiltins\neval\n(V" + made.encode() + b"\ntR." * 4)
    for wanted in (RNET, SYNERGY):
        if name in ("text", "cut"):
            with pytest.raises(InputError, match=f"{name}: damaged or not a PyTorch file"):
                check_kind(tmp_path / name, wanted)
        elif holds in (None, wanted):
            check_kind(tmp_path / name, wanted)
        else:
            with pytest.raises(InputError, match="holds a"):
                check_kind(tmp_path / name, wanted)
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("name", ONNX_PACKAGES)
def test_a_package_that_is_missing_is_named(name: str, monkeypatch: pytest.MonkeyPatch):
    for package in ONNX_PACKAGES:
        found = ModuleType(package)
        found.__spec__ = ModuleSpec(package, None)
        monkeypatch.setitem(sys.modules, package, found)
    check_export(ExportOptions())
    monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(InputError, match=rf"--format onnx needs .* {name} .*pip install \.\[expo"):
        check_export(ExportOptions())
    check_export(ExportOptions(format="torchscript"))


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
    heads = [name for name, output in OUTPUTS.items() if issubclass(output, TalkingHead)]
    assert heads == [*TALKING_HEADS]
    assert NEEDS_DISTANCE.keys() <= OUTPUTS.keys()
    assert SYNERGY == NETWORK
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
