"""Flags of the public code: docs/flags.md and the parsers agree, flag by flag."""

from __future__ import annotations

import itertools
import math
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from data import DATASETS
from data.augmentation import Warp
from data.preparation import PreparationOptions
from models import MODELS
from options import parse_command
from options.base_options import DistributedOptions
from options.data_options import AugmentationOptions, DetectionOptions
from options.flags import NO_EFFECT, ParsedOptions
from tests.commands import load_script
from util.errors import InputError

ROOT = Path(__file__).resolve().parents[2]

# The options of the public repository, counted from its parsers: what nobody may drop unnoticed.
BASE = """name gpu_ids checkpoints_dir vis_batch_nums eval_batch_nums use_ddp ddp_port
display_per_batch add_image world_size model epoch verbose suffix"""
TRAIN = """data_root flist batch_size dataset_mode serial_batches num_threads max_dataset_size
preprocess use_aug flist_val batch_size_val display_freq print_freq save_latest_freq
save_epoch_freq evaluation_freq save_by_iter continue_train epoch_count phase pretrained_name
n_epochs lr lr_policy lr_decay_epochs"""
TEST = "phase dataset_mode img_folder"
MODEL = """net_recon init_path use_last_fc bfm_folder bfm_model focal center camera_d z_near z_far
use_opengl"""
LOSS = """net_recog net_recog_path use_crop_face use_predef_M shift_pixs scale_delta rot_angle
w_feat w_color w_reg w_id w_exp w_tex w_gamma w_lm w_reflc"""
PREPARATION = "data_root img_folder mode"
PUBLIC = {
    "all": BASE,
    "train": TRAIN,
    "test": TEST,
    "model": MODEL,
    "loss": LOSS,
    "preparation": PREPARATION,
}

train, test = load_script("train"), load_script("test")
GROUPS: dict[str, Callable[[dict[str, str]], Sequence[type]] | Sequence[type]] = {
    "train.py": train.option_groups,
    "test.py": test.GROUPS,
    "data_preparation.py": [PreparationOptions, DetectionOptions],
}
COMMANDS = {
    "all": ("train.py", "test.py"),
    "train": ("train.py",),
    "test": ("test.py",),
    "model": ("train.py", "test.py"),
    "loss": ("train.py",),
    "preparation": ("data_preparation.py",),
}


@dataclass(frozen=True)
class Row:
    """A line of the table."""

    flag: str
    command: str
    default: str
    here: str
    note: str


def read_table() -> list[Row]:
    page = (ROOT / "docs" / "flags.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| `--(\w+)` \| (.*?) \| ?(.*?) ?\| (.*?) \| ?(.*?) ?\|$", page, re.M)
    return [Row(f, c, d.strip("`"), h, n) for f, c, d, h, n in rows]


TABLE = read_table()
CASES = [(row, command) for row in TABLE for command in COMMANDS[row.command]]
NAMES = [f"{command} --{row.flag}" for row, command in CASES]


def parse(command: str, *argv: str) -> ParsedOptions:
    return parse_command(GROUPS[command], argv)


def test_the_table_lists_every_public_flag():
    listed = {(row.command, row.flag) for row in TABLE}
    assert listed == {(group, flag) for group, flags in PUBLIC.items() for flag in flags.split()}
    assert len(TABLE) == len(listed)
    for row in TABLE:
        assert row.here in ("same", "fixed", "replaced", "no effect"), row
        assert row.here == "same" or row.note, row


@pytest.mark.parametrize(
    ("flag", "command", "keys"), [("dataset_mode", "train", DATASETS), ("model", "all", MODELS)]
)
def test_the_row_names_every_choice(flag: str, command: str, keys: dict[str, Any]):
    (row,) = [row for row in TABLE if (row.flag, row.command) == (flag, command)]
    assert {row.default, *re.findall(r"`(\w+)`", row.note)} == keys.keys()


@pytest.mark.parametrize(("row", "command"), CASES, ids=NAMES)
def test_the_public_default_is_accepted_and_ours(row: Row, command: str):
    default = parse(command).flat()[row.flag]
    if row.flag == "img_folder":
        if command == "test.py":
            assert default == row.default
        given = parse(command, "--img_folder", "a").flat()[row.flag]
        assert given == ("a" if command == "test.py" else ("a",))
        return
    given = parse(command, f"--{row.flag}={row.default}").flat()[row.flag]
    assert str(given) == row.default or float(given) == float(row.default)
    if row.flag == "net_recog":
        assert default == "auto" and row.here == "replaced"
    else:
        assert default == given


@pytest.mark.parametrize(("row", "command"), CASES, ids=NAMES)
def test_a_flag_says_that_it_has_no_effect_only_then(
    row: Row, command: str, capsys: pytest.CaptureFixture[str]
):
    value = row.default or "a"
    parse(command)
    assert capsys.readouterr().out == ""
    parse(command, f"--{row.flag}", value)
    shown = capsys.readouterr().out
    silent = not (row.here == "no effect" or (command == "test.py" and "no effect in" in row.note))
    assert shown.count("\n") == (0 if silent else 1)
    assert silent or shown.startswith(f"--{row.flag} has no effect: ")


TRAINING = [row for row, command in CASES if command == "train.py"]
# Of another dataset than the lists that the public code knows: the flags that mean nothing there.
IDLE = {
    "flist": "",
    "ddfa": "flist flist_val preprocess use_aug shift_pixs scale_delta rot_angle",
    "datatool": "data_root flist flist_val preprocess use_aug shift_pixs scale_delta rot_angle",
    "webdataset": "data_root flist flist_val",
    "synthetic": "data_root flist flist_val preprocess use_aug shift_pixs scale_delta rot_angle",
    "template": "data_root flist flist_val preprocess use_aug shift_pixs scale_delta rot_angle",
}


@pytest.mark.parametrize("row", TRAINING, ids=[row.flag for row in TRAINING])
@pytest.mark.parametrize("mode", DATASETS)
def test_every_dataset_accepts_every_public_flag(
    mode: str, row: Row, capsys: pytest.CaptureFixture[str]
):
    if row.flag != "dataset_mode":
        argv = [f"--dataset_mode={mode}", f"--{row.flag}", row.default or "a"]
        assert parse("train.py", *argv).given(row.flag)
    expected = ""
    if row.flag in IDLE[mode].split():
        expected = f"--{row.flag} has no effect: --dataset_mode {mode} does not use it\n"
    elif row.here == "no effect":
        expected = f"--{row.flag} has no effect: "
    shown = capsys.readouterr().out
    assert shown.startswith(expected) and shown.count("\n") == bool(expected)
    assert parse("train.py", f"--dataset_mode={mode}").flat().keys() >= {r.flag for r in TRAINING}


@pytest.mark.parametrize("mode", DATASETS)
def test_another_model_accepts_every_public_flag(mode: str, capsys: pytest.CaptureFixture[str]):
    argv = [f"--dataset_mode={mode}", "--model=template"]
    assert parse("train.py", *argv).flat().keys() >= {row.flag for row in TRAINING}
    parse("train.py", *argv, "--w_color=2")
    expected = "--w_color has no effect: --model template does not use it\n"
    assert capsys.readouterr().out == expected


def test_saved_options_do_not_complain(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    path = tmp_path / "options.yaml"
    path.write_text("use_opengl: true\nphase: train\n", encoding="utf-8")
    parse("train.py", "--config", str(path))
    assert capsys.readouterr().out == ""


def test_no_other_flag_is_without_effect():
    for command, groups in GROUPS.items():
        found = set()
        for group in groups({}) if callable(groups) else groups:
            found |= {f.name for f in fields(group) if NO_EFFECT in f.metadata}
        listed = {
            row.flag
            for row, where in CASES
            if where == command
            and (row.here == "no effect" or (where == "test.py" and "no effect in" in row.note))
        }
        assert found == listed, command


@pytest.mark.parametrize(
    "value", ["True", "False", "true", "0", "1", "yes", "no", "t", "f", "y", "n"]
)
@pytest.mark.parametrize("flag", ["use_ddp", "use_aug", "use_opengl", "use_crop_face", "add_image"])
def test_public_booleans(flag: str, value: str):
    expected = value.lower() in ("true", "1", "yes", "t", "y")
    assert parse("train.py", f"--{flag}", value).flat()[flag] is expected
    assert parse("train.py", f"--{flag}={value}").flat()[flag] is expected
    assert parse("train.py", f"--{flag}").flat()[flag] is True


KINDS = ("shift", "scale", "rot", "flip")
SUBSETS = [
    "_".join(order)
    for size in range(len(KINDS) + 1)
    for subset in itertools.combinations(KINDS, size)
    for order in itertools.permutations(subset)
]


@pytest.mark.parametrize("preprocess", [*SUBSETS, "none"])
def test_every_subset_of_preprocess_changes_just_that(preprocess: str):
    options = parse("train.py", f"--preprocess={preprocess}")[AugmentationOptions]
    warps = [Warp.draw(options, np.random.default_rng(seed)) for seed in range(40)]
    kinds = preprocess.split("_")
    changed: dict[str, Any] = {
        "shift": any(warp.shift_px != (0, 0) for warp in warps),
        "scale": any(warp.scale != 1 for warp in warps),
        "rot": any(warp.angle_rad != 0 for warp in warps),
        "flip": any(warp.flip for warp in warps),
    }
    assert changed == {kind: kind in kinds for kind in KINDS}
    assert all(np.abs(warp.shift_px).max() <= 10 for warp in warps)
    assert all(0.9 <= warp.scale <= 1.1 for warp in warps)
    assert all(abs(warp.angle_rad) <= math.radians(10) for warp in warps)


def test_shift_pixs_may_be_a_fraction_as_in_the_public_code():
    options = parse("train.py", "--shift_pixs", "2.9")[AugmentationOptions]
    shifts = [Warp.draw(options, np.random.default_rng(seed)).shift_px for seed in range(60)]
    assert np.abs(shifts).max() == 2
    with pytest.raises(InputError, match="--shift_pixs"):
        parse("train.py", "--shift_pixs", "inf")


PUBLIC_LINES = [
    (
        "train.py",
        "--name=a --gpu_ids=0,1 --use_opengl False --net_recog r50 "
        "--init_path checkpoints/init_model/resnet50-0676ba61.pth --use_ddp=True --verbose",
    ),
    ("train.py", "--gpu_ids=0 --continue_train --epoch=12 --lr_policy cosine --preprocess shift"),
    ("train.py", "--flist datalist/train/masks.txt --flist_val datalist/val/masks.txt --lr 1e-5"),
    ("test.py", "--name=official --epoch=20 --img_folder=./datasets/examples"),
    ("test.py", "--name a --epoch 20 --img_folder x --use_opengl False --bfm_folder BFM"),
    ("test.py", "--name=a --epoch=20 --img_folder=x --use_ddp=False --gpu_ids=0 --dataset_mode=x"),
    ("data_preparation.py", "--img_folder a b c --mode val --data_root datasets"),
]


@pytest.mark.parametrize(("command", "line"), PUBLIC_LINES)
def test_public_command_lines_parse(command: str, line: str):
    options = parse(command, *line.split())
    for flag in re.findall(r"--(\w+)", line):
        assert options.given(flag)


def test_the_flags_of_several_processes_are_one_group():
    """`test.py` names them itself: it runs in one process."""
    assert {"use_ddp", "ddp_port", "world_size"} <= {f.name for f in fields(DistributedOptions)}
